"""The files of a run: read back as written, whole or refused in one sentence, whatever happened to them."""

import json
import os
import shutil
import warnings

import pytest
import torch
from torch import nn

from molchord.data.store import DataSet
from molchord.errors import OutputExistsError, RunError
from molchord.files import write_tensors
from molchord.host import Host, Problem
from molchord.run_folder import (
    RunManifest,
    check_output,
    check_run_output,
    code_version,
    initialise,
    load_into,
    read_run_manifest,
    read_trained_on,
    read_weights,
    saved_graph,
    taken_states,
    trained_smiles,
    training_data,
    write_run_manifest,
    write_trained_on,
    write_weights,
)
from molchord.run_place import SHIPPED, find_run
from molchord.testing import tiny_run

MANIFEST = {
    "format": 1,
    "molchord": "0.2",
    "device": "cpu",
    "plugins": [],
    "specs": {},
    "candidate": "structure",
    "data": {"path": "/nowhere", "sha256": "0"},
}


def run_at(folder, **changes):
    """A folder with a manifest of these fields."""
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(MANIFEST | changes))
    return folder


@pytest.fixture
def run(tmp_path):
    """A trained run, to do with as one likes."""
    shutil.copytree(tiny_run().path, tmp_path / "run")
    return tmp_path / "run"


# --- the manifest


def test_a_manifest_is_read_back_as_it_was_written(tmp_path):
    manifest = RunManifest(
        **MANIFEST | {"tau": {"ir": 0.07}, "beta": {1: 0.5, 2: 1.5}, "likeness": {"ir": [(0.1, 0.01), (0.2, 0.05)]}}
    )
    write_run_manifest(tmp_path, manifest)
    assert read_run_manifest(tmp_path) == manifest
    assert list(read_run_manifest(tmp_path).beta) == [1, 2]  # numbers, though JSON's keys are text
    assert (tmp_path / "manifest.json").read_bytes().endswith(b"}\n")


def test_fields_of_earlier_versions_are_left_out(tmp_path):
    old = run_at(tmp_path / "old", pool={"size": 3}, familiar={"ir": 0.2}, trust={"a": 1})
    assert read_run_manifest(old) == RunManifest(**MANIFEST)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has a damaged manifest.json ("),
        (b"{", "has a damaged manifest.json ("),
        (b"[]", "has a damaged manifest.json ("),
        (b"\xff\xfe", "has a damaged manifest.json ("),
        (b"null", "has a damaged manifest.json ("),
        (b"{}", "has format None, this molchord reads 1; train it again"),
        (b'{"format": 2}', "has format 2, this molchord reads 1; a newer one wrote it, so update molchord"),
        (b'{"format": "1"}', "has format '1', this molchord reads 1; train it again"),
        (b'{"format": 1}', "has a damaged manifest.json ("),
        (json.dumps(MANIFEST | {"new": 1}).encode(), "has a damaged manifest.json ("),
        (json.dumps(MANIFEST | {"tau": {"ir": "hot"}}).encode(), "has a damaged manifest.json ("),
        (json.dumps(MANIFEST).encode()[:-20], "has a damaged manifest.json ("),
    ],
)
def test_a_manifest_that_is_none_is_one_sentence(tmp_path, content, said):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(RunError) as caught:
        read_run_manifest(tmp_path)
    assert str(caught.value).startswith(f"run {str(tmp_path)!r} {said}")
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(("; train it again", "; a newer one wrote it, so update molchord"))


def test_a_folder_without_a_manifest_says_what_to_give(tmp_path):
    tail = "; give a folder that `molchord train` wrote, or 'pretrained'"
    for path, lack in ((tmp_path, "has no manifest.json"), (tmp_path / "gone", "does not exist")):
        with pytest.raises(RunError) as caught:
            read_run_manifest(path)
        assert str(caught.value) == f"run {str(path)!r} {lack}{tail}"


# --- where a run may be written


@pytest.mark.parametrize(
    ("out", "data", "overlaps"),
    [
        ("out", "data", False),
        ("data", "data", True),
        ("data/runs/a", "data", True),
        (".", "data", True),
        ("data2", "data", False),  # a name that begins alike
        ("data/../out", "data", False),
        ("link/a", "data", True),
    ],
)
def test_a_run_never_overlaps_what_it_is_made_of(tmp_path, out, data, overlaps):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    out, data = tmp_path / out, tmp_path / data
    if not overlaps:
        check_run_output(out, [("data set", data)], force=True)
        return
    with pytest.raises(RunError) as caught:
        check_run_output(out, [("other", tmp_path.parent / "x"), ("data set", data)], force=True)
    assert str(caught.value) == f"output {str(out)!r} overlaps the data set {str(data)!r}; choose another folder"


def test_only_a_run_or_an_empty_folder_is_replaced(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(run_at(tmp_path / "run"))
    for name in ("gone", "empty", "run"):
        check_run_output(tmp_path / name, [], force=True)
    for name in ("full", "file"):
        with pytest.raises(
            RunError, match=f"output .*{name}' is not replaced, because it is not a run: run .* manifest.json"
        ):
            check_run_output(tmp_path / name, [], force=True)
    with pytest.raises(RunError, match="link' is a symbolic link and is not replaced; choose another folder"):
        check_run_output(tmp_path / "link", [], force=True)
    run_at(tmp_path / "newer", format=2)
    with pytest.raises(RunError, match="newer' is not replaced.*has format 2"):  # who knows what it holds
        check_run_output(tmp_path / "newer", [], force=True)


def test_without_force_nothing_that_exists_is_replaced(tmp_path):
    check_output(tmp_path / "gone", force=False)
    check_output(tmp_path, force=True)
    for path in (tmp_path, run_at(tmp_path / "run")):
        with pytest.raises(OutputExistsError, match="already exists; choose another folder or pass `--force`"):
            check_output(path, force=False)
        with pytest.raises(OutputExistsError):
            check_run_output(path, [("data set", path)], force=False)


def test_the_word_pretrained_is_the_shipped_run_unless_a_folder_has_the_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_run("pretrained") == SHIPPED
    assert find_run("./runs/pretrained") == tmp_path.joinpath("runs", "pretrained").relative_to(tmp_path)
    (tmp_path / "pretrained").mkdir()
    assert find_run("pretrained").resolve() == tmp_path / "pretrained"


# --- what it was trained on


def test_the_list_of_molecules_is_sorted_and_read_back(tmp_path):
    smiles = {"QNAYBMKLOCPYGJ": "CC(N)C(=O)O", "CSCPPACGZOOCGX": "CC(C)=O", "BSYNRYMUTXBXSQ": ""}
    write_trained_on(tmp_path, smiles)
    assert (tmp_path / "trained_on.txt").read_text() == (
        "BSYNRYMUTXBXSQ\nCSCPPACGZOOCGX CC(C)=O\nQNAYBMKLOCPYGJ CC(N)C(=O)O\n"
    )
    assert trained_smiles(tmp_path) == smiles
    assert read_trained_on(tmp_path) == set(smiles)
    write_trained_on(tmp_path, {})
    assert trained_smiles(tmp_path) == {}


def test_a_list_that_is_missing_or_damaged_is_not_an_empty_one(tmp_path):
    """Metrics on unseen molecules rest on it."""
    with pytest.raises(RunError) as caught:
        read_trained_on(tmp_path)
    assert str(caught.value) == f"run {str(tmp_path)!r} has no trained_on.txt; restore it, or train the run again"
    (tmp_path / "trained_on.txt").write_bytes(b"QNAYBMKLOCPYGJ C\xff\n")
    with pytest.raises(
        RunError, match=r"^trained_on.txt of run .* cannot be read \(.*\); restore it, or train the run again$"
    ):
        trained_smiles(tmp_path)
    (tmp_path / "trained_on.txt").unlink()
    (tmp_path / "trained_on.txt").mkdir()
    with pytest.raises(RunError, match="cannot be read"):
        trained_smiles(tmp_path)


# --- weights


def test_weights_of_any_layout_are_read_back(tmp_path):
    shared = torch.arange(12.0).reshape(3, 4)
    given = {
        "view": shared[:, 1],
        "transposed": shared.T,
        "tied": shared,
        "again": shared,
        "half": shared.half(),
        "counted": torch.tensor(7),
        "none": torch.zeros(0, 3),
        "learned": nn.Parameter(torch.ones(2)),
    }
    write_weights(tmp_path / "w.safetensors", given, {"progress": "é"})
    found, metadata = read_weights(tmp_path / "w.safetensors")
    assert metadata == {"progress": "é"}
    assert found.keys() == given.keys()
    for name, tensor in given.items():
        assert torch.equal(found[name], tensor.detach())
        assert found[name].dtype == tensor.dtype
        assert not found[name].requires_grad


def test_names_of_earlier_versions_are_todays(tmp_path):
    write_tensors(tmp_path / "w.safetensors", {"anchor_mean": torch.ones(1), "model.anchor_std": torch.ones(1)})
    assert sorted(read_weights(tmp_path / "w.safetensors")[0]) == ["model.scalar_std", "scalar_mean"]


@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "garbage", "folder"])
def test_damaged_weights_are_one_sentence(tmp_path, damage):
    path = tmp_path / "w.safetensors"
    write_weights(path, {"a": torch.ones(100)})
    whole = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "gone":
        path.write_bytes({"empty": b"", "cut": whole[:-40], "garbage": os.urandom(len(whole))}[damage])
    with pytest.raises(RunError) as caught:
        read_weights(path)
    assert str(caught.value).startswith(f"weights {str(path)!r} cannot be read (")
    assert str(caught.value).endswith("); train or copy the run again")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("0.bias"), 'Missing key(s) in state_dict: "0.bias".'),
        (lambda t: t.update(more=torch.ones(1)), 'Unexpected key(s) in state_dict: "more".'),
        (lambda t: t.update({"0.bias": torch.ones(9)}), "size mismatch for 0.bias"),
    ],
)
def test_weights_of_another_model_are_refused_with_the_first_difference(change, said):
    model = nn.Sequential(nn.Linear(2, 3))
    tensors = {name: torch.zeros_like(t) for name, t in model.state_dict().items()}
    load_into(model, tensors, "run 'a'")
    assert not model[0].weight.any()
    change(tensors)
    with pytest.raises(RunError) as caught:
        load_into(model, tensors, "run 'a'")
    assert str(caught.value).startswith(f"run 'a' does not fit the model graph: {said}")
    assert str(caught.value).endswith("; use the graph it was trained with")
    assert "\n" not in str(caught.value)


# --- parts of other runs


class Towers(nn.Module):
    def __init__(self, value, width=2):
        super().__init__()
        self.modalities = nn.ModuleDict({name: nn.Linear(width, 2) for name in ("ir", "ir2", "raman")})
        for parameter in self.parameters():
            nn.init.constant_(parameter, value)


def saved(folder, value, width=2):
    folder.mkdir()
    write_weights(folder / "model.safetensors", Towers(value, width).state_dict())
    return folder


def values(model):
    return {name: part.weight[0, 0].item() for name, part in model.modalities.items()}


def test_parts_are_taken_from_the_runs_named_and_no_others(tmp_path):
    one, two = saved(tmp_path / "one", 1.0), saved(tmp_path / "two", 2.0)
    model = Towers(0.0)
    initialise(model, {"modalities.ir": f"{one}#modalities.ir", "modalities.raman": f"{two}#modalities.ir2"})
    assert values(model) == {"ir": 1.0, "ir2": 0.0, "raman": 2.0}
    initialise(model, {})
    assert values(model) == {"ir": 1.0, "ir2": 0.0, "raman": 2.0}
    initialise(model, {"modalities": f"{two}#modalities"})
    assert values(model) == {"ir": 2.0, "ir2": 2.0, "raman": 2.0}


def test_a_part_that_is_not_there_or_differs_changes_nothing(tmp_path):
    one, wide = saved(tmp_path / "one", 1.0), saved(tmp_path / "wide", 1.0, width=3)
    for sources, said in (
        (
            {"modalities.ir": f"{one}#modalities.nmr"},
            f"run {str(one)!r} has no part 'modalities.nmr'; see its graph.yaml",
        ),
        (
            {"modalities.ir2": f"{one}#modalities.ir", "modalities.ir": f"{wide}#modalities.ir"},
            f"{str(wide) + '#modalities.ir'!r} differs in 'modalities.ir.weight'; give both parts the same configuration",
        ),
        (
            {"modalities.ir": f"{one}#modalities"},
            f"{str(one) + '#modalities'!r} differs in 'modalities.ir.bias'; give both parts the same configuration",
        ),
    ):
        model = Towers(0.0)
        with pytest.raises(RunError) as caught:
            initialise(model, sources)
        assert str(caught.value) == f"`train.init` of 'modalities.ir': {said}"
        assert values(model) == {"ir": 0.0, "ir2": 0.0, "raman": 0.0}
    with pytest.raises(RunError, match="weights .*gone.* cannot be read"):
        initialise(Towers(0.0), {"modalities.ir": f"{tmp_path / 'gone'}#modalities.ir"})


@pytest.mark.parametrize(
    ("part", "source", "taken"),
    [
        ("modalities.ir", "modalities.ir", "ir"),
        ("modalities.ir.encoder", "modalities.raman.encoder", "ir"),
        ("modalities.ir", "modalities.nmr", None),  # has none there
        ("modalities.ir.head", "modalities.ir.head", None),  # a head sees no measurement
        ("modalities.ir.encoder", "modalities.ir.head", None),
        ("modalities", "modalities", None),
        ("loss", "loss", None),
    ],
)
def test_a_fitted_state_comes_with_an_encoder(tmp_path, part, source, taken):
    run_at(tmp_path / "r", fitted={"ir": {"mean": 1}, "raman": {"mean": 2}})
    found = taken_states({part: f"{tmp_path / 'r'}#{source}"})
    assert found == ({} if taken is None else {taken: {"mean": 2 if "raman" in source else 1}})


# --- plugins, graph and data


def test_a_run_whose_plugin_is_gone_says_what_to_install(run, monkeypatch):
    manifest = read_run_manifest(run)
    stamp = manifest.plugins[0].model_copy(update={"name": "molchord-nmr:nmr", "version": "1.2", "type": "modality"})
    manifest.plugins.append(stamp)
    with pytest.raises(RunError) as caught:
        saved_graph(run, manifest)
    assert str(caught.value) == (
        f"run {str(run)!r} needs modality 'nmr' of molchord-nmr 1.2, which is not installed; run 'pip install molchord-nmr'"
    )
    problem = Problem("entry point", "molchord-nmr", "1.3", "import", "No module named 'x'", "run 'pip install x'")
    monkeypatch.setattr("molchord.run_folder.installed", lambda: Host(plugins=(), problems=(problem,)))
    manifest.plugins[:] = [stamp]
    with pytest.raises(RunError, match=r"needs modality 'nmr', but .*No module named 'x'"):
        saved_graph(run, manifest)


def test_another_version_is_warned_of_once_a_plugin_and_the_graph_is_the_same(run):
    manifest = read_run_manifest(run)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = saved_graph(run, manifest)
    assert graph == tiny_run().graph
    manifest.plugins[0] = manifest.plugins[0].model_copy(update={"version": "0.0.7"})
    first = manifest.plugins[0]
    with pytest.warns(
        UserWarning, match=f"was trained with {first.type} '{first.name}' of version 0.0.7, installed is"
    ) as caught:
        saved_graph(run, manifest)
    assert len(caught) == 1


def test_the_training_data_is_opened_as_it_was_or_not_at_all(tmp_path):
    data = DataSet.from_measurements(["C", "CC", "CCC"], {}, tmp_path / "d", stores={})
    said = {"path": str(data.path), "sha256": data.sha256}
    run_at(tmp_path / "r")

    def manifest(**changes):
        return RunManifest(**MANIFEST | {"data": said | changes})

    assert training_data(tmp_path / "r", manifest()).rule is None
    assert training_data(tmp_path / "r", manifest(split="fold:1")).rule == "fold:1"
    with pytest.raises(RunError) as caught:
        training_data(tmp_path / "r", manifest(sha256="0" * 64))
    assert str(caught.value) == (
        f"data set {str(data.path)!r} has changed since run {str(tmp_path / 'r')!r} was trained; pass the data set explicitly"
    )
    with pytest.raises(RunError, match=r"was trained on a data set that cannot be opened: data set .*gone"):
        training_data(tmp_path / "r", manifest(path=str(tmp_path / "gone")))


def test_the_version_is_known_without_git(monkeypatch):
    here = code_version()
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert code_version() == {"version": here["version"], "commit": None}
