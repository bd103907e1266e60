"""Files and folders of jobs and results: nothing is lost, mixed up or computed twice, whatever was stopped or damaged."""

import dataclasses

import numpy as np
import pytest

from molchord.api import Array, Config, SimulatorRecord
from molchord.errors import DataError, PluginError
from molchord.host import Plugin
from molchord.simulation.files import Contents, Outcome, read_contents, read_entries, write_entries
from molchord.simulation.folder import DIED, SimulationFolder, settled

DECLARED = {
    "energy": Array(unit="eV", dtype="float64"),
    "field": Array(unit="T", shape=(3,)),
    "freq": Array(unit="cm^-1", axis="modes"),
    "move": Array(unit="1", axis="modes", shape=(2, 3), dtype="float64"),
    "atom": Array(unit="1", axis="atoms", dtype="int64"),
}


class Settings(Config):
    level: int = 2
    name: str = "a"


def plugin(name="toy", dist="toys", **changes):
    record = SimulatorRecord(
        name=name, summary="toy", api=1, makes=("ir",), jobs={"atom": Array(unit="1", axis="atoms", dtype="int64")}, results=DECLARED,
        config=Settings, build=lambda config: None, **changes,
    )  # fmt: skip
    return Plugin("simulator", record, dist, "1.0")


def outcome(number, modes=2, atoms=1, **changes):
    rng = np.random.default_rng(number)
    arrays = {
        "energy": np.array(float(number)),
        "field": rng.random(3).astype(np.float32),
        "freq": rng.random(modes).astype(np.float32),
        "move": rng.random((modes, 2, 3)),
        "atom": rng.integers(0, 9, atoms),
    }
    return Outcome(id=f"KEY{number}", smiles="C" * (number + 1), arrays=arrays | changes)


def failed(number, reason="it is too large"):
    return Outcome(id=f"BAD{number}", smiles="O" * number, reason=reason)


def written(path, *entries, **made_by):
    write_entries(path, DECLARED, entries, **({"prepared_by": "hand", "computed_by": "head"} | made_by))
    return path


# --- files


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [failed(1)],
        [outcome(0)],
        [outcome(0, modes=0, atoms=0)],
        [outcome(0), failed(1), outcome(2, modes=5, atoms=0), outcome(3, modes=0), failed(4, "é: ; ü"), outcome(5)],
    ],
    ids=["nothing", "a failure", "one", "empty axes", "many"],
)
def test_what_is_written_is_read_back_in_order(tmp_path, entries):
    path = written(tmp_path / "f.npz", *entries)
    contents = read_contents(path)
    done = [entry for entry in entries if entry.arrays is not None]
    assert contents.ids == tuple(entry.id for entry in done)
    assert [(f.id, f.smiles, f.reason) for f in contents.failed] == [
        (f.id, f.smiles, f.reason) for f in entries if f.arrays is None
    ]
    assert (contents.prepared_by, contents.computed_by) == ("hand", "head")
    found = list(read_entries(path, DECLARED))
    assert [(f.id, f.smiles) for f in found] == [(f.id, f.smiles) for f in done]
    for read, given in zip(found, done, strict=True):
        assert read.arrays.keys() == DECLARED.keys()
        for name, array in DECLARED.items():
            assert read.arrays[name].dtype == array.dtype
            np.testing.assert_array_equal(read.arrays[name], given.arrays[name])


def test_numbers_are_stored_in_their_declared_types(tmp_path):
    path = written(tmp_path / "f.npz", outcome(0, freq=[1, 2], atom=np.array([3.0]), energy=4))
    (found,) = read_entries(path, DECLARED)
    assert found.arrays["freq"].dtype == np.float32
    assert found.arrays["atom"].tolist() == [3]
    assert float(found.arrays["energy"]) == 4.0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"freq": np.zeros(3)}, "`move` of shape (2, 2, 3)"),  # another length than the axis has
        ({"field": np.zeros(2)}, "`field` of shape (2,)"),
        ({"field": np.zeros((1, 3))}, "`field` of shape (1, 3)"),
        ({"energy": np.zeros(1)}, "`energy` of shape (1,)"),
        ({"freq": np.array(1.0)}, "`freq` of shape ()"),
        ({"move": np.zeros((2, 3, 2))}, "`move` of shape (2, 3, 2)"),
        ({"more": np.zeros(1)}, "['atom', 'energy', 'field', 'freq', 'more', 'move']"),
    ],
)
def test_arrays_that_are_not_as_declared_are_refused_and_nothing_is_written(tmp_path, changes, said):
    with pytest.raises(PluginError) as caught:
        written(tmp_path / "f.npz", outcome(0), outcome(1, **changes))
    assert str(caught.value).startswith(f"the simulator gave {said} for 'CC'; ")
    assert list(tmp_path.iterdir()) == []


def test_an_array_too_few_is_named():
    arrays = dict(outcome(0).arrays)
    del arrays["freq"]
    with pytest.raises(PluginError) as caught:
        write_entries("never", DECLARED, [dataclasses.replace(outcome(0), arrays=arrays)])
    assert str(caught.value) == (
        "the simulator gave ['atom', 'energy', 'field', 'move'] for 'C'; declared are "
        "['atom', 'energy', 'field', 'freq', 'move']"
    )


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_file_is_one_sentence_or_as_it_was(tmp_path, seed):
    path = written(tmp_path / "f.npz", outcome(0), failed(1), outcome(2, modes=5))
    content, before = bytearray(path.read_bytes()), read_contents(path)
    rng = np.random.default_rng(seed)
    if seed % 4 == 0:
        content = content[: rng.integers(0, len(content))]
    else:
        for place in rng.integers(0, len(content), size=6):
            content[place] ^= int(rng.integers(1, 256))
    path.write_bytes(content)
    try:
        found, said = read_contents(path), None
    except DataError as error:
        found, said = None, str(error)
    if said is None:
        assert found == before  # where only padding or a time was hit
    else:
        assert said.startswith(f"file {str(path)!r} cannot be read (")
        assert said.endswith("); delete it and simulate again")
        assert "\n" not in said


@pytest.mark.parametrize(
    "change",
    [
        lambda stored: stored.pop("id"),
        lambda stored: stored.pop("prepared_by"),
        lambda stored: stored.update(smiles=stored["smiles"][:1]),
        lambda stored: stored.update(failed_id=np.array(["a", "b", "c"])),
        lambda stored: stored.update(id=np.array(3)),
    ],
)
def test_a_sound_archive_of_something_else_is_refused(tmp_path, change):
    path = written(tmp_path / "f.npz", outcome(0), failed(1), outcome(2))
    with np.load(path) as archive:
        stored = {name: archive[name] for name in archive.files}
    change(stored)
    np.savez(path, **stored)
    with pytest.raises(DataError, match="cannot be read"):
        read_contents(path)


def test_nothing_is_unpickled(tmp_path):
    path = tmp_path / "f.npz"
    np.savez(path, id=np.array([{"a": 1}], dtype=object), smiles=np.array(["C"]))
    with pytest.raises(DataError, match="cannot be read"):
        read_contents(path)


# --- folders


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr("molchord.simulation.folder.ENTRIES_PER_FILE", 2)


def folder(path, given=None, config=None):
    return SimulationFolder(path, given or plugin(), config or Settings())


def fill(one, *entries, kind="results"):
    return one.fill(kind, iter(entries), len(entries), {"prepared_by": "hand", "computed_by": "head"}, False)


def names(path):
    return sorted(p.name for p in path.iterdir() if p.suffix == ".npz")


@pytest.mark.parametrize(("count", "files"), [(0, []), (1, [1]), (2, [2]), (5, [2, 2, 1])])
def test_each_chunk_is_a_file(tmp_path, short, count, files):
    one = folder(tmp_path / "f")
    assert fill(one, *(outcome(i) for i in range(count))) == len(files)
    contents = one.contents("results")
    assert [path.name for path in contents] == [f"results-{i:05d}.npz" for i in range(len(files))]
    assert [len(content.ids) for content in contents.values()] == files
    assert one.contents("jobs") == {}


def test_what_was_finished_is_kept_when_the_rest_fails(tmp_path, short):
    def stream():
        yield from (outcome(i) for i in range(3))
        raise KeyboardInterrupt

    one = folder(tmp_path / "f")
    with pytest.raises(KeyboardInterrupt):
        one.fill("results", stream(), 9, {"prepared_by": "hand"}, False)
    assert [content.ids for content in one.contents("results").values()] == [("KEY0", "KEY1"), ("KEY2",)]
    assert not [path for path in one.path.iterdir() if path.name.startswith(".")]


def test_jobs_and_results_of_one_folder_have_numbers_of_their_own(tmp_path):
    """A result keeps the number of its job, so a file of either takes the next that none has."""
    one = folder(tmp_path / "f")
    write_entries(one.path / "results-00007.npz", DECLARED, [outcome(0)], prepared_by="x")
    fill(one, Outcome(id="A", smiles="C", arrays={"atom": np.array([1])}), kind="jobs")
    fill(one, outcome(2))
    assert names(one.path) == ["jobs-00008.npz", "results-00007.npz", "results-00009.npz"]


def test_molecules_whose_process_died_are_not_settled():
    contents = [
        Contents(ids=("A", "B"), failed=(failed(1), failed(2, DIED)), prepared_by=""),
        Contents(ids=(), failed=(failed(3, DIED), failed(2, "later")), prepared_by=""),
    ]
    assert settled(contents) == {"A", "B", "BAD1", "BAD2"}
    assert settled(contents[:1]) == {"A", "B", "BAD1"}
    assert settled([]) == set()


def test_a_molecule_in_two_files_is_handed_on_once(tmp_path):
    one = folder(tmp_path / "f")
    fill(one, outcome(0), outcome(1))
    fill(one, outcome(2))
    fill(one, outcome(1, modes=9), outcome(3), outcome(0))
    (tmp_path / "scratch").mkdir()
    contents = one.contents("results")
    found = one.distinct(contents, tmp_path / "scratch")
    assert [path.name for path in found] == [f"results-0000{i}.npz" for i in range(3)]
    assert [path.parent.name for path in found] == ["f", "f", "scratch"]
    read = [entry for path in found for entry in read_entries(path, DECLARED)]
    assert [entry.id for entry in read] == ["KEY0", "KEY1", "KEY2", "KEY3"]
    assert len(read[1].arrays["freq"]) == 2  # the first one that was made
    assert [content.ids for content in one.contents("results").values()] == [c.ids for c in contents.values()]


def test_a_folder_belongs_to_one_simulator_with_one_configuration(tmp_path):
    folder(tmp_path / "f")
    folder(tmp_path / "f")
    mark = (tmp_path / "f" / "simulator.txt").read_text()
    assert mark == 'toys:toy\n{"level":2,"name":"a"}\n1\n'
    with pytest.raises(DataError) as caught:
        folder(tmp_path / "f", plugin(dist="others"))
    assert str(caught.value) == (
        f"folder {str(tmp_path / 'f')!r} belongs to simulator 'toys:toy', not to 'others:toy'; name another one by `--jobs`"
    )
    with pytest.raises(DataError) as caught:
        folder(tmp_path / "f", config=Settings(level=3))
    assert str(caught.value) == (
        f'folder {str(tmp_path / "f")!r} holds jobs of simulator \'toys:toy\' with {{"level":2,"name":"a"}}, and '
        '{"level":3,"name":"a"} is asked for; name another one by `--jobs`'
    )
    assert (tmp_path / "f" / "simulator.txt").read_text() == mark


@pytest.mark.parametrize(
    ("mark", "config", "fits"),
    [
        ("toys:toy", Settings(), True),  # of a version without configurations
        ("toys:toy\n", Settings(), True),
        ("toys:toy\n", Settings(level=3), False),
        ('toys:toy\n{"level": 3}', Settings(level=3), True),  # what is not said is the default
        ('toys:toy\n{"level": 3}', Settings(level=3, name="b"), False),
        ("toys:toy\n{", Settings(), False),
        ('toys:toy\n{"gone": 1}\n1', Settings(), False),
        ("toys:toy\n{}\nx", Settings(), False),
        ("\ufffd", Settings(), False),
        ("", Settings(), False),
    ],
)
def test_marks_of_earlier_versions_and_damaged_ones(tmp_path, mark, config, fits):
    written = b"\xff\xfe" if mark == "\ufffd" else mark.encode()
    (tmp_path / "simulator.txt").write_bytes(written)
    if fits:
        folder(tmp_path, config=config)
        return
    with pytest.raises(DataError, match="name another one by `--jobs`"):
        folder(tmp_path, config=config)
    assert (tmp_path / "simulator.txt").read_bytes() == written


def test_settings_of_an_older_version_are_migrated_before_they_are_compared(tmp_path):
    (tmp_path / "simulator.txt").write_text('toys:toy\n{"depth": 3}\n1\n')
    newer = plugin(config_version=2, migrate_config=lambda config, version: {"level": config["depth"]})
    folder(tmp_path, newer, Settings(level=3))
    assert (tmp_path / "simulator.txt").read_text().splitlines()[2] == "2"


@pytest.mark.parametrize("what", ["file", "full"])
def test_what_is_something_else_is_not_taken(tmp_path, what):
    path = tmp_path / "f"
    if what == "file":
        path.write_text("")
    else:
        path.mkdir()
        (path / "thesis.txt").write_text("keep")
    with pytest.raises(DataError) as caught:
        folder(path)
    assert str(caught.value) == f"{str(path)!r} is there and is not a folder of jobs; name another one by `--jobs`"


def test_an_empty_or_new_folder_is_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "a" / "b"):
        folder(path)
        assert (path / "simulator.txt").is_file()
