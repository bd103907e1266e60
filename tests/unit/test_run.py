"""Runs: what training may replace, data that lacks modalities, measurements that cannot be used, what users hand in."""

import csv
import gzip
import json
import os
import shutil
import zlib

import numpy as np
import pytest
import torch

import molchord as mc
from molchord.api import Measurement, SampleError
from molchord.data.reading import measurements_of, molecules_of
from molchord.errors import DataError, GraphError, OutputError, OutputExistsError, QueryError, RunError
from molchord.evaluate.embedding import embed_dataset
from molchord.evaluate.pools import measured_masses
from molchord.evaluate.repeats import out_of_fold, over_seeds
from molchord.evaluate.spectral_library import spectral_entries
from molchord.run import Run
from molchord.run_folder import read_run_manifest, read_trained_on, trained_smiles
from molchord.testing import MOLECULES, examples_of, tiny_data, tiny_run
from molchord.train.trainer import Trainer
from molchord_modalities.msms import MSMS

SPLITS = ["train"] * 10 + ["val"] * 2 + ["test"] * 4
FLAT = Measurement(
    arrays={"wavenumber": np.array([1.0, 2.0], np.float32), "absorbance": np.array([1.0, 1.0], np.float32)},
    columns={"origin": "measured"},
)
"""Off the grid: it cannot be used."""


def graph_of(*names, seed=1, scalar_features=(), train=None, **towers):
    encoders = {name: mc.Use("mlp", width=16, hidden=[16]) for name in ("ir", "raman")}
    encoders["msms"] = mc.Use("peak_transformer", width=16, hidden=16, layers=1)
    encoders["structure"] = mc.Use("gine", width=16, hidden=16, layers=2)
    return mc.ModelGraph.of(
        embedding_dim=16,
        seed=seed,
        scalar_features=scalar_features,
        modalities={name: mc.Use(name, encoder=encoders[name], **towers.get(name, {})) for name in names},
        loss=mc.Use("all_pairs"),
        train={"epochs": 1, "batch_size": 8, "workers": 0, **(train or {})},
    )


def spectra(name, *, origin="computed"):
    return [Measurement(arrays=m.arrays, columns={**m.columns, "origin": origin}) for m in examples_of(name, 16)]


def data_of(path, *names, origin="computed", **given):
    measurements = {name: spectra(name, origin=origin) for name in names} | given
    return mc.from_measurements(MOLECULES, measurements, path, splits=SPLITS)


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    """A run of four modalities with its data."""
    folder = tmp_path_factory.mktemp("every")
    data = data_of(folder / "data", "ir", "raman", "msms")
    return Run.train(graph_of("structure", "ir", "raman", "msms"), data, folder / "run", progress=False), data


@pytest.fixture(scope="module")
def only_ir(tmp_path_factory):
    return data_of(tmp_path_factory.mktemp("ir") / "data", "ir")


def weights(run):
    return {name: tensor.clone() for name, tensor in run.model.state_dict().items()}


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# --- what --force may replace


def test_force_never_replaces_what_is_no_run(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "manifest.json").write_text("{}")
    (tmp_path / "thesis" / "chapter.txt").write_text("keep")
    (tmp_path / "file").write_text("keep")
    (tmp_path / "link").symlink_to(tmp_path / "thesis")
    data_of(tmp_path / "other", "ir")
    before = contents(tmp_path)
    for name in ("thesis", "file", "link", "other"):
        with pytest.raises(RunError, match="is not replaced"):
            Run.train(graph_of("structure", "ir"), tiny_data(), tmp_path / name, force=True, progress=False)
    with pytest.raises(OutputExistsError):
        Run.train(graph_of("structure", "ir"), tiny_data(), tmp_path / "thesis", progress=False)
    assert contents(tmp_path) == before


def test_force_replaces_a_run_and_an_empty_folder(tmp_path):
    (tmp_path / "run").mkdir()
    Run.train(graph_of("structure", "ir"), tiny_data(), tmp_path / "run", force=True, progress=False)
    (tmp_path / "run" / "old.txt").write_text("goes")
    Run.train(graph_of("structure", "ir", seed=2), tiny_data(), tmp_path / "run", force=True, progress=False)
    assert Run.load(tmp_path / "run").graph.seed == 2
    assert not (tmp_path / "run" / "old.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("where", ["data", "data/run", "."])
def test_a_run_is_kept_apart_from_its_data(tmp_path, where):
    data = data_of(tmp_path / "data", "ir")
    before = contents(tmp_path / "data")
    with pytest.raises(RunError, match="overlaps the data set"):
        Run.train(graph_of("structure", "ir"), data, tmp_path / where, force=True, progress=False)
    assert contents(tmp_path / "data") == before


def test_a_run_is_kept_apart_from_the_runs_it_comes_from(tmp_path):
    first = Run.train(graph_of("structure", "ir"), tiny_data(), tmp_path / "first", progress=False)
    before = contents(tmp_path / "first")
    with pytest.raises(RunError, match="overlaps the run that weights come from"):
        first.realign(tiny_data(), tmp_path / "first", force=True, progress=False)
    graph = graph_of("structure", "ir", train={"init": {"modalities.ir": f"{tmp_path / 'first'}#modalities.ir"}})
    with pytest.raises(RunError, match="overlaps the run that weights come from"):
        Run.train(graph, tiny_data(), tmp_path / "first", force=True, progress=False)
    assert contents(tmp_path / "first") == before


def test_what_fails_before_training_leaves_the_old_run(tmp_path):
    Run.train(graph_of("structure", "ir"), tiny_data(), tmp_path / "run", progress=False)
    source = Run.train(graph_of("structure", "ir"), tiny_data(), tmp_path / "source", progress=False)
    before = contents(tmp_path / "run")
    wrong = graph_of("structure", "ir", train={"init": {"modalities.ir": f"{tmp_path / 'gone'}#modalities.ir"}})
    (source.path / "trained_on.txt").unlink()
    for attempt in (
        lambda: Run.train(wrong, tiny_data(), tmp_path / "run", force=True, progress=False),
        lambda: Run.train(graph_of("structure", "raman"), tiny_data(), tmp_path / "run", force=True, progress=False),
        lambda: source.realign(tiny_data(), tmp_path / "run", epochs=1, force=True, progress=False),
    ):
        with pytest.raises(mc.MolchordError):
            attempt()
    assert contents(tmp_path / "run") == before


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    graph = graph_of("structure", "ir")
    with pytest.raises(OutputError, match=r"run' cannot be written \(File exists\); choose another place"):
        Run.train(graph, tiny_data(), tmp_path / "file" / "run", progress=False)


# --- resuming from the start


def test_a_run_killed_at_once_is_resumed(tmp_path, monkeypatch):
    graph = graph_of("structure", "ir", train={"ema": 0.9})
    whole = Run.train(graph, tiny_data(), tmp_path / "whole", progress=False)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", killed)
        with pytest.raises(KeyboardInterrupt):
            Run.train(graph, tiny_data(), tmp_path / "run", progress=False)
    with pytest.raises(RunError, match="--resume"):
        Run.load(tmp_path / "run")
    resumed = Run.resume(tmp_path / "run", progress=False)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole).values(), weights(resumed).values(), strict=True))


def test_determinism_sets_up_cublas(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "x")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    Trainer(graph_of("structure", "ir"), tiny_data(), progress=False)
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    Trainer(graph_of("structure", "ir", train={"deterministic": True}), tiny_data(), progress=False)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


# --- data that lacks modalities


def test_realignment_needs_no_measurement_of_every_modality(every, only_ir, tmp_path, monkeypatch):
    run, _ = every

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", killed)
        with pytest.warns(UserWarning, match="no measurements") as caught, pytest.raises(KeyboardInterrupt):
            run.realign(only_ir, tmp_path / "run", trainable=["heads"], epochs=2, progress=False)
    assert ["'raman'" in str(w.message) for w in caught] == [True, False]
    assert all("its tower stays as it is" in str(w.message) for w in caught)
    moved = Run.resume(tmp_path / "run", progress=False)
    before, after = weights(run), weights(moved)
    changed = {name.rpartition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"modalities.structure.head.out", "modalities.ir.head.out"}
    assert moved.manifest.molecules["raman"] == 0
    assert moved.manifest.molecules["structure+ir"] == 10


def test_evaluation_notes_the_modalities_that_are_not_there(every, only_ir, tmp_path):
    run, _ = every
    found = run.evaluate(only_ir, pools=["test"], out=tmp_path)
    assert found.find("ir", system="model", mode="blind", fusion="gm-exp").molecules == 4
    assert {row.subset for row in found.rows} == {("ir",)}
    missing = [note for note in found.notes if "has no measurements" in note]
    assert len(missing) == 2
    assert "'raman'" in missing[0]
    assert (tmp_path / "report.html").is_file()
    assert not (tmp_path / "unusable.csv").exists()


def test_a_data_set_with_nothing_to_query_is_refused(tmp_path):
    run = Run.train(graph_of("structure", "ir"), tiny_data(), tmp_path / "run", progress=False)
    raman = data_of(None, "raman")
    with pytest.raises(DataError, match="no measurements 'ir' for modality 'ir'; did you mean|allowed: 'raman'"):
        run.evaluate(raman)
    with pytest.raises(DataError, match="no measurements 'ir' for modality 'ir'"):
        run.realign(raman, epochs=1, progress=False)


def test_a_fresh_training_refuses_a_modality_without_measurements(only_ir, tmp_path):
    with pytest.raises(DataError, match="has no measurements 'raman' for modality 'raman'"):
        Run.train(graph_of("structure", "ir", "raman"), only_ir, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_run_of_computed_spectra_is_realigned_to_measured_ones(tmp_path):
    graph = graph_of("structure", "ir", ir={"where": {"origin": "computed"}})
    run = Run.train(graph, tiny_data(), tmp_path / "run", progress=False)
    measured = data_of(tmp_path / "data", "ir", origin="measured")
    with pytest.raises(DataError, match="where"):
        run.realign(measured, epochs=1, progress=False)
    with pytest.raises(DataError, match="where"):
        run.evaluate(measured)
    moved = run.realign(measured, tmp_path / "moved", epochs=1, where={"ir": {}}, progress=False)
    assert dict(Run.load(tmp_path / "moved").graph.modalities["ir"].where) == {}
    assert dict(run.graph.modalities["ir"].where) == {"origin": "computed"}
    after = moved.evaluate(measured, pools=["test"], modes=["blind"])
    before = run.evaluate(measured, pools=["test"], modes=["blind"], where={"ir": {"origin": "measured"}})
    assert before.find("ir", system="model", fusion="gm-exp").molecules == 4
    assert after.settings["graph"] != before.settings["graph"]
    assert run.graph == graph


def test_realignment_is_checked_before_it_starts(tmp_path):
    run, out = tiny_run(), tmp_path / "run"
    for wrong, sentence in (
        (
            {"trainable": ["modalities.ir.haed"]},
            "unknown part 'modalities.ir.haed'; did you mean 'modalities.ir.head'?",
        ),
        ({"epochs": 0}, "epochs"),
        ({"lr": -1e-3}, "lr"),
        ({"where": {"ir": {"orgin": "computed"}}}, "did you mean 'origin'?"),
    ):
        with pytest.raises(GraphError, match=sentence.replace("?", r"\?")):
            run.realign(tiny_data(), out, progress=False, **wrong)
    with pytest.raises(RunError, match=r"modality 'irr', which the run lacks; did you mean 'ir'\?"):
        run.realign(tiny_data(), out, where={"irr": {}}, progress=False)
    assert not out.exists()


def test_a_pool_that_cannot_be_made_is_refused_before_anything_is_embedded(monkeypatch):
    monkeypatch.setattr("molchord.evaluate.measure.embed_dataset", lambda *_, **__: pytest.fail("it embeds"))
    for pool, message in (("unseen:5000", "needs 5000 structures"), ("tset", "unknown pool 'tset'")):
        with pytest.raises(DataError, match=message):
            tiny_run().evaluate(pools=["test", pool])


@pytest.mark.parametrize("seed", [-1, 1.5, "7"])
def test_a_seed_that_is_none_is_refused_before_anything_is_embedded(monkeypatch, seed):
    monkeypatch.setattr("molchord.evaluate.measure.embed_dataset", lambda *_, **__: pytest.fail("it embeds"))
    with pytest.raises(DataError, match=f"`seed` is {seed!r}, but must be a whole number of at least 0"):
        tiny_run().evaluate(pools=["test"], seed=seed)


# --- measurements that cannot be used


def test_unusable_measurements_are_counted_and_listed(tmp_path):
    given = spectra("ir")
    given[12], given[13] = FLAT, [given[13], FLAT]
    data = data_of(None, ir=given)
    found = tiny_run().evaluate(data, pools=["test"], modes=["blind"], fusions=["gm-exp"], out=tmp_path)
    notes = [note for note in found.notes if "cannot be used" in note]
    assert len(notes) == 1
    assert notes[0].startswith("ir: 2 measurements cannot be used")
    assert found.find("ir", system="model").molecules == 3
    with (tmp_path / "unusable.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["modality"], r["key14"]) for r in rows] == [("ir", key) for key in data.keys([12, 13])]
    assert all(row["reason"] for row in rows)
    assert json.loads((tmp_path / "evaluation.json").read_text())["notes"] == list(found.notes)
    tiny_run().evaluate(tiny_data(), pools=["test"], modes=["blind"], fusions=["gm-exp"], out=tmp_path, force=True)
    assert not (tmp_path / "unusable.csv").exists()


def test_a_library_with_spectra_is_made_of_a_data_set_here(tmp_path):
    with pytest.raises(DataError, match="`spectra` needs a data set as the source; SMILES alone carry no spectra"):
        tiny_run().library(["CCO"], tmp_path / "library", spectra=True)
    with pytest.raises(
        DataError, match="`spectra` is embedded by engine 'local' alone, got 'ray'; leave the engine out"
    ):
        tiny_run().library(tiny_data(), tmp_path / "library", spectra=True, engine="ray")
    assert len(tiny_run().library(tiny_data().path, spectra=True)) == len(tiny_data())
    assert not (tmp_path / "library").exists()


def test_a_spectral_library_lists_the_molecules_it_lacks(tmp_path, monkeypatch):
    run = Run.load(tiny_run().path)
    plugin = type(run.modalities["structure"])
    original = plugin.transform

    def refusing(self, measurement, rng):
        calls.append(1)
        if len(calls) == 3:
            raise SampleError("x", "no such atom")
        return original(self, measurement, rng)

    calls = []
    given = spectra("ir")
    given[0] = FLAT
    data = data_of(None, ir=given)
    monkeypatch.setattr(plugin, "transform", refusing)
    with pytest.warns(UserWarning, match="ir: 1 measurements cannot be used"):
        library = run.library(data, tmp_path / "library", spectra=True)
    assert len(library) == 15
    assert (library.path / "failures.csv").read_text().splitlines() == [
        "molecule,reason",
        f"{data.keys([2])[0]},no such atom",
    ]
    failures = []
    calls.clear()
    with pytest.warns(UserWarning, match="ir: 1 "):
        assert len(list(spectral_entries(run.embedder, data, failures=failures))) == 15
    assert len(failures) == 1


# --- scalar_features


def test_queries_get_a_measured_mass_and_candidates_the_exact_one(tmp_path):
    graph = graph_of("structure", "ir", scalar_features=["exact_mass"])
    run = Run.train(graph, tiny_data(), tmp_path / "run", progress=False)
    data, exact = tiny_data(), tiny_data().numeric("exact_mass")
    found = embed_dataset(run.embedder, data, mass_seed=5).embedded
    plain = embed_dataset(run.embedder, data).embedded
    assert torch.equal(found.candidates, plain.candidates)
    assert not torch.equal(found.spectra["ir"].vectors, plain.spectra["ir"].vectors)
    mass = measured_masses(exact, 5)[3]
    table = data.table("ir")
    asked = run.embed("ir", table.read(int(table.of(3)[0])), scalar_features={"exact_mass": float(np.float32(mass))})
    np.testing.assert_allclose(found.spectra["ir"].vectors[3].numpy(), asked[0], atol=1e-5)


# --- loading


def test_another_version_of_a_plugin_warns(tmp_path):
    shutil.copytree(tiny_run().path, tmp_path / "run")
    content = json.loads((tmp_path / "run" / "manifest.json").read_text())
    content["plugins"][1]["version"] = "0.0.1"
    del content["checksum"]
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(content))
    stamp = read_run_manifest(tmp_path / "run").plugins[1]
    with pytest.warns(UserWarning, match=f"'{stamp.name}' of version 0.0.1, installed is ") as caught:
        Run.load(tmp_path / "run")
    assert len(caught) == 1


# --- what users hand in


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (np.ones((5, 2)), "ndarray"),
        (np.ones(5), "ndarray"),
        ([np.ones(5)], "ndarray"),
        ({"wavenumber": np.ones(5)}, "dict"),
        (3, "int"),
        (torch.ones(2, 2), "Tensor"),
    ],
)
def test_bare_numbers_are_refused_with_how_to_wrap_them(given, kind):
    wrapped = r"given as '" + kind + r"'.*`mc.Measurement\(arrays={NAME: ...}\)` with names of .*'wavenumber' in cm\^-1"
    with pytest.raises(QueryError, match=wrapped):
        tiny_run().embed("ir", given)


def test_a_long_smiles_is_no_file_name():
    assert tiny_run().embed("structure", "C" * 300).shape == (1, 16)


@pytest.mark.parametrize("name", ["a.csv", "b.smi.gz", "c.smi.gz"])
def test_a_file_that_is_no_text_is_a_sentence(tmp_path, name):
    packed = bytearray(gzip.compress(b"CCO\n" * 1000))
    content = {
        "a.csv": b"smiles\n\xff\xfe\x00\x81",
        "b.smi.gz": bytes(packed[:-9]),
        "c.smi.gz": bytes(packed[:12] + b"\xff\xff\xff\xff" + packed[16:]),
    }[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        tiny_run().library(tmp_path / name, tmp_path / "library")
    assert [p.name for p in tmp_path.iterdir()] == [name]
    if name == "c.smi.gz":
        with pytest.raises((zlib.error, OSError)):
            gzip.decompress(content)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("", "there is none"), ("\n \n", "there is none"), ("nonsense x\nC(C\n", "the first of 2 refused: nonsense")],
)
def test_a_file_without_a_molecule_leaves_no_library(tmp_path, content, sentence):
    (tmp_path / "a.smi").write_text(content)
    with pytest.raises(DataError, match=sentence):
        tiny_run().library(tmp_path / "a.smi", tmp_path / "library")
    assert [p.name for p in tmp_path.iterdir()] == ["a.smi"]


def test_rows_of_a_table_that_are_ragged_are_listed(tmp_path):
    (tmp_path / "a.csv").write_text("smiles,name\nCCO,ethanol\nCO,methanol,extra\n")
    failures = []
    assert [m.formula for m in molecules_of(tmp_path / "a.csv", failures)] == ["C2H6O"]
    assert [f.id for f in failures] == ["a.csv:3"]


# --- evaluation of perturbed, combined and out-of-fold queries


BLIND = {"pools": ["all"], "modes": ["blind"], "fusions": ["gm-exp"]}


def test_queries_are_perturbed_and_nothing_else(every):
    run, data = every
    asked = []

    def perturb(modality, measurement, key14):
        asked.append((modality, key14))
        return examples_of("ir", 1)[0] if modality == "ir" else measurement

    plain, changed = (embed_dataset(run.embedder, data, perturb=p).embedded for p in (None, perturb))
    tested = data.rows("test")
    assert {key for _, key in asked} == set(data.keys(tested))
    assert {name for name, _ in asked} == {"ir", "raman", "msms"}
    assert torch.equal(plain.candidates, changed.candidates)
    assert torch.equal(plain.spectra["raman"].vectors, changed.spectra["raman"].vectors)
    rows = plain.spectra["ir"].molecule
    first = changed.spectra["ir"].vectors[rows == tested[0]]
    torch.testing.assert_close(changed.spectra["ir"].vectors[np.isin(rows, tested)], first.expand(len(tested), -1))
    kept = ~np.isin(rows, tested)
    assert torch.equal(plain.spectra["ir"].vectors[kept], changed.spectra["ir"].vectors[kept])
    found = run.evaluate(data, perturb=perturb, **BLIND)
    assert found.settings["perturb"] == repr(perturb)
    # Four equal queries have one first hit, which is right for one of them at most.
    assert found.find("ir", system="model").metrics["top1"].value <= 0.25
    with pytest.raises(DataError, match="`perturb` changes queries of blind mode only"):
        run.evaluate(data, perturb=perturb)


def test_an_unusable_perturbed_query_is_listed(every):
    run, data = every
    found = run.evaluate(data, perturb=lambda name, m, key: FLAT if name == "ir" else m, **BLIND)
    assert any("ir: 4 measurements cannot be used" in note for note in found.notes)


def test_all_spectra_of_a_molecule_make_one_query(every, tmp_path):
    run, _ = every
    pairs = [[a, b] for a, b in zip(examples_of("msms", 16), examples_of("msms", 16, seed=1), strict=True)]
    data = data_of(tmp_path / "data", "ir", msms=pairs)
    single, combined = (run.evaluate(data, combine=c, **BLIND).find("msms", system="model") for c in (False, True))
    assert (single.queries, combined.queries, combined.molecules) == (8, 4, 4)
    embedded = embed_dataset(run.embedder, data).combined().embedded
    vector = run.embed("msms", pairs[0]).mean(axis=0)
    np.testing.assert_allclose(embedded.spectra["msms"].vectors[0].numpy(), vector / np.linalg.norm(vector), atol=1e-5)


def test_baselines_and_audit_can_be_left_out(every):
    run, data = every
    found = run.evaluate(data, baselines=False, audit=False, **BLIND)
    assert found.audit is None
    assert "nearest training spectrum" in {row.system for row in run.evaluate(data, **BLIND).rows}
    assert "nearest training spectrum" not in {row.system for row in found.rows}


def test_a_run_lists_what_it_was_trained_on_with_structures_and_reads_old_lists(only_ir, tmp_path):
    pretrained = Run.train(graph_of("structure", "ir"), only_ir, tmp_path / "first", progress=False)
    known = dict(zip(only_ir.keys(), only_ir.smiles(), strict=True))
    trained = set(only_ir.keys(only_ir.rows("train")))
    assert trained_smiles(pretrained.path) == {key: known[key] for key in trained}
    lone = sorted(trained)[0]
    path = pretrained.path / "trained_on.txt"
    lines = path.read_text().splitlines()
    path.write_text("".join(f"{lone if line.startswith(lone) else line}\n" for line in lines))
    manifest = json.loads((pretrained.path / "manifest.json").read_text())
    del manifest["checksum"], manifest["files"]  # as runs were written then
    (pretrained.path / "manifest.json").write_text(json.dumps(manifest))
    other = mc.from_measurements(
        ["CCCCO", "CCCO", "CCCCCO", "C1CCCC1"], {"ir": examples_of("ir", 4)}, tmp_path / "other",
        splits=["train", "train", "val", "test"],
    )  # fmt: skip
    moved = pretrained.realign(other, tmp_path / "moved", epochs=1, progress=False)
    both = {**known, **dict(zip(other.keys(), other.smiles(), strict=True))}
    expected = {key: both[key] for key in trained | set(other.keys(other.rows("train")))} | {lone: ""}
    assert trained_smiles(moved.path) == expected
    assert read_trained_on(moved.path) == set(expected)
    elsewhere = embed_dataset(moved.embedder, other).embedded.trained_elsewhere
    assert elsewhere == {key: text for key, text in expected.items() if key in trained}
    assert moved.evaluate(**BLIND).audit.unknown == 1


def test_reports_name_the_split_that_was_looked_at(only_ir, tmp_path):
    fold = mc.DataSet(only_ir.path, split="fold:1")
    run = Run.train(graph_of("structure", "ir"), fold, tmp_path / "run", progress=False)
    found = run.evaluate(out=tmp_path / "out", **BLIND)
    assert found.settings["split_rule"] == "fold:1"
    assert "rule: fold:1," in (tmp_path / "out" / "report.html").read_text()
    assert run.evaluate(only_ir, **BLIND).settings["split_rule"] == only_ir.manifest.split


def test_folds_are_trained_apart_and_joined_out_of_fold(only_ir, tmp_path):
    folds = [mc.DataSet(only_ir.path, split=f"fold:{number}") for number in range(5)]
    graph = graph_of("structure", "ir")
    evaluations = []
    for number, fold in enumerate(folds):
        run = Run.train(graph, fold, tmp_path / str(number), progress=False)
        assert run.data().rule == f"fold:{number}"
        assert read_trained_on(run.path) == set(fold.keys(fold.rows("train")))
        evaluations.append(run.evaluate(**BLIND))
    joined = out_of_fold(evaluations)
    assert joined.audit.overlap == 0
    assert sum(joined.audit.histogram) == 16
    assert joined.settings["split_rule"] == [f"fold:{number}" for number in range(5)]
    assert joined.settings["seed"] == 0
    row = joined.find("ir", system="model")
    assert (row.molecules, row.queries, row.pool_size) == (16, 16, 16)
    parts = [evaluation.find("ir", system="model") for evaluation in evaluations]
    assert row.by_molecule[0].tolist() == list(range(16))
    mean = sum(p.molecules * p.metrics["mrr"].value for p in parts) / 16
    assert row.metrics["mrr"].value == pytest.approx(mean)
    assert row.metrics["mrr"].low < mean < row.metrics["mrr"].high
    with pytest.raises(DataError, match="two of them tested the same molecule"):
        out_of_fold([evaluations[0], evaluations[0]])
    with pytest.raises(DataError, match="there is none"):
        out_of_fold([])


def test_seeds_are_averaged_molecule_by_molecule(every):
    run, data = every
    other = Run.train(graph_of("structure", "ir", "raman", "msms", seed=2), data, progress=False)
    parts = [r.evaluate(data, **BLIND) for r in (run, other)]
    joined = over_seeds(parts).find("ir", "raman", system="model")
    values = [part.find("ir", "raman", system="model").by_molecule[1] for part in parts]
    np.testing.assert_allclose(joined.by_molecule[1], np.mean(values, axis=0))
    assert (joined.queries, joined.molecules) == (4, 4)
    narrow = run.evaluate(data, pools=["test"], modes=["blind"], fusions=["gm-exp"])
    with pytest.raises(DataError, match="have the row"):
        over_seeds([parts[0], narrow])
    validation = run.evaluate(data, split="val", **BLIND)
    with pytest.raises(DataError, match="their rows are of different molecules"):
        over_seeds([parts[0], validation])


def test_realignment_takes_all_of_the_new_data(only_ir, tmp_path):
    thinned = Run.train(graph_of("structure", "ir", train={"fraction": 0.5}), only_ir, tmp_path / "a", progress=False)
    assert thinned.manifest.molecules["molecules"] == 5
    assert thinned.realign(only_ir, epochs=1, progress=False).manifest.molecules["molecules"] == 10


def test_a_query_file_of_several_molecules_is_refused_and_one_to_embed_is_not(tmp_path):
    msms = MSMS.build(MSMS.config(), MSMS.kinds[0])

    def measured(*smiles):
        path = tmp_path / "query.mgf"
        entries = "BEGIN IONS\nSMILES={}\nPEPMASS=147.04\nADDUCT=[M+H]+\n65.04 10\n91.05 100\nEND IONS\n"
        path.write_text("\n".join(entries.format(text) for text in smiles))
        return path

    with pytest.raises(QueryError, match="holds 'msms' of 2 molecules; a query is of one"):
        measurements_of(msms, measured("CCO", "OCC", "CC#N"), "msms", MSMS.stores, of_one=True)
    assert len(measurements_of(msms, measured("CCO", "OCC"), "msms", MSMS.stores, of_one=True)) == 2
    assert len(measurements_of(msms, measured("CCO", "CC#N"), "msms", MSMS.stores)) == 2
    with pytest.raises(QueryError, match="is a folder or a pipe; give the path of a spectrum file"):
        measurements_of(msms, tmp_path, "msms", MSMS.stores)


def test_a_library_may_be_given_by_its_folder(tmp_path):
    run = tiny_run()
    library = run.library(["CCO", "CC#N"], tmp_path / "library")
    query = examples_of("ir", 1)
    assert run.search(str(library.path), ir=query) == run.search(library, ir=query)


def ion(mz, adduct="[M+H]+", **columns):
    """A tandem mass spectrum of an ion."""
    arrays = {"mz": np.array([31.0, 43.0], np.float32), "intensity": np.array([1.0, 0.5], np.float32)}
    return Measurement(arrays=arrays, columns={"precursor_mz": mz, "adduct": adduct, "ion_mode": "positive", **columns})


@pytest.fixture(scope="module")
def alcohols(every):
    """A library of methanol to propanol, with the masses 32.0262, 46.0419 and 60.0575."""
    return every[0].library(["CO", "CCO", "CCCO"])


def test_a_mass_that_contradicts_the_precursor_is_said_and_lowers_the_probability(every, alcohols):
    run, _ = every
    assert run.search(alcohols, msms=ion(47.0491), mass=46.0419)[0].quality_warnings == ()
    with pytest.warns(UserWarning, match="32.0262, contradicts the precursor of 'msms'"):
        hits = run.search(alcohols, msms=ion(47.0491), mass=32.0262)
    assert [hit.smiles for hit in hits] == ["CO"]
    assert "contradicts the precursor" in hits[0].quality_warnings[0]
    with pytest.raises(QueryError, match=r"no candidate .* is the m/z of the ion of 'msms'.*--adduct '\[M\+H\]\+'"):
        run.search(alcohols, msms=ion(47.0491), mass=47.0491)


def test_the_mass_may_come_from_the_precursor(every, alcohols):
    run, _ = every
    assert [h.smiles for h in run.search(alcohols, msms=ion(47.0491), use_precursor=True)] == ["CCO"]
    assert len(run.search(alcohols, msms=ion(47.0491), use_precursor=True, da=15.0)) == 3
    with pytest.raises(QueryError, match="does not state which ion it is; give it: --mz 47.0491"):
        run.search(alcohols, msms=ion(47.0491, None), use_precursor=True)
    with pytest.raises(QueryError, match="leave one out"):
        run.search(alcohols, msms=ion(47.0491), use_precursor=True, mass=46.0419)
    with pytest.raises(QueryError, match="no spectrum of the query states the m/z"):
        run.search(alcohols, ir=examples_of("ir", 1), use_precursor=True)


def test_spectra_of_several_molecules_need_the_word_that_they_are_of_one_sample(every, alcohols):
    run, _ = every
    several = [ion(47.0491), ion(33.0335)]
    with pytest.raises(QueryError, match=r"'measurement 1' and 'measurement 2', which state molecules of 46.0418 and"):
        run.search(alcohols, msms=several)
    with pytest.warns(UserWarning, match="two spectra of 'msms' are of different molecules"):
        run.search(alcohols, msms=several, same_sample=True)
    assert len(run.search(alcohols, msms=[ion(47.0491), ion(69.0310, "[M+Na]+")])) == 3
