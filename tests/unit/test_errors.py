"""Every error of a user's making is one sentence: what failed, where, got vs allowed, what to do."""

import pickle
from pathlib import Path

import pytest

import molchord
from molchord import ModelGraph, errors
from molchord.case.case import Case
from molchord.chem import molecule
from molchord.data.store import DataSet
from molchord.errors import (
    DataError,
    FolderInUseError,
    GraphError,
    MolchordError,
    NotInCase,
    OutputError,
    OutputExistsError,
    PluginError,
    QueryError,
    RunError,
    SampleError,
    TrainingStopped,
)
from molchord.files import replace_file
from molchord.host import installed
from molchord.library.filters import sought_formula

CLASSES = {cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, MolchordError)}


def throw(error):
    raise error


def asked_of_a_case(id):
    with Case.create(Path("made.case"), run="pretrained", candidates="ordinary") as case:
        case.sample(id)


CASES = {
    GraphError: (
        lambda: ModelGraph.from_dict(
            {"schema": 1, "modalities": {"a": {"use": "structur"}}, "los": {"use": "all_pairs"}}
        ),
        ["los: unknown key for the model graph; did you mean 'loss'?", "unknown modality 'structur'; did you mean"],
    ),
    PluginError: (lambda: installed().find("encoder", "gin"), ["unknown encoder 'gin'; did you mean 'gine'?"]),
    DataError: (
        lambda: DataSet("nowhere"),
        ["data set 'nowhere' does not exist; make one with `molchord data import`"],
    ),
    RunError: (lambda: molchord.load("nowhere"), ["run 'nowhere' does not exist; give a folder that"]),
    QueryError: (lambda: sought_formula("C9H8O4)"), ["formula 'C9H8O4)' cannot be read; write it such as 'C9H8O4'"]),
    SampleError: (lambda: molecule("C1CC"), ["C1CC: ", "SMILES 'C1CC'"]),
    OutputError: (
        lambda: replace_file(Path("gone") / "note.txt", ""),
        ["'gone/note.txt' cannot be written (No such file or directory); choose another place, or see to its perm"],
    ),
    OutputExistsError: (
        lambda: throw(OutputExistsError("runs/a")),
        ["output 'runs/a' already exists; choose another folder or pass `--force` to replace it"],
    ),
    FolderInUseError: (
        lambda: throw(FolderInUseError("runs/a", "process 7")),
        ["folder 'runs/a' is being changed by process 7; try again when it has ended"],
    ),
    NotInCase: (
        lambda: asked_of_a_case("s9"),
        ["sample 's9' is not in this case; it may have been removed: look at the list of samples"],
    ),
    TrainingStopped: (
        lambda: throw(TrainingStopped("runs/a", 2, 41)),
        ["training stopped in epoch 3 after step 41; all is saved, go on with: molchord train --resume runs/a"],
    ),
}


def test_every_class_has_an_example_here_and_says_what_it_is():
    assert set(CASES) == CLASSES - {MolchordError}
    for cls in CLASSES:
        assert cls.__doc__, cls.__name__


@pytest.mark.parametrize("cls", CASES, ids=lambda cls: cls.__name__)
def test_the_message_is_a_sentence_that_names_the_value_and_the_way_out(cls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cause, parts = CASES[cls]
    with pytest.raises(cls) as caught:
        cause()
    message = str(caught.value)
    assert type(caught.value) is cls
    assert all(part in message for part in parts), message
    lines = message.splitlines()
    assert len(lines) == (len(caught.value.complaints) if cls is GraphError else 1)
    assert not [line for line in lines if line.endswith(".") or line != line.strip()]
    # An error of one measurement is counted and listed, not answered by the user.
    assert cls is SampleError or all("; " in line for line in lines), message


def test_exit_statuses_of_the_command_line():
    assert {cls.__name__: cls.status for cls in CLASSES if cls.status != 2} == {"TrainingStopped": 130}


def test_a_sample_error_crosses_processes_whole():
    error = pickle.loads(pickle.dumps(SampleError("a.mgf: entry 3", "has no peak")))
    assert (error.id, error.reason, str(error)) == ("a.mgf: entry 3", "has no peak", "a.mgf: entry 3: has no peak")
