"""The script that ships a run, and the run that is shipped."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pytest
import torch
from models import make_pretrained
from safetensors.torch import load_file

import molchord as mc
from molchord.run_folder import read_trained_on, read_weights, trained_smiles
from molchord.testing import MOLECULES, examples_of, tiny_data, tiny_run
from molchord.verify import verify

ACETAMIPRID = "CC(=NC#N)N(C)Cc1ccc(Cl)nc1"
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    out = tmp_path_factory.mktemp("ship") / "pretrained"
    return make_pretrained.ship(tiny_run(), tiny_data(), out)


def test_weights_are_shipped_small_and_nothing_more(shipped):
    assert {path.name for path in shipped.path.iterdir()} == {
        "graph.yaml", "manifest.json", "model.safetensors", "trained_on.txt"
    }  # fmt: skip
    stored = load_file(shipped.path / "model.safetensors")
    own, read = tiny_run().model.state_dict(), read_weights(shipped.path / "model.safetensors")[0]
    assert read.keys() == own.keys()
    for name, tensor in read.items():
        rounded = 0.5 / 127 * own[name].abs().amax() if stored[name].dtype == torch.int8 else 1e-6
        assert torch.allclose(tensor.to(own[name].dtype), own[name], rtol=1e-3, atol=1.01 * float(rounded)), name


def test_a_shipped_run_is_calibrated_and_says_what_it_saw(shipped):
    assert shipped.manifest.tau
    assert shipped.manifest.beta
    assert read_trained_on(shipped.path) == read_trained_on(tiny_run().path)
    assert all(trained_smiles(shipped.path).values())
    assert not shipped.manifest.data["path"].startswith("/")
    assert verify(shipped.path) == []


def test_a_shipped_run_finds_what_the_run_finds(shipped):
    smiles = tiny_data().smiles()
    query = examples_of("ir", 1)[0]
    found, expected = ([h.smiles for h in r.search(r.library(smiles), ir=query, k=3)] for r in (shipped, tiny_run()))
    assert found == expected


def test_the_card_holds_the_figures(shipped, monkeypatch):
    data = tiny_data()
    found = {"clean": shipped.evaluate(data, pools=["all"], modes=["blind"], fusions=["gm-exp"])}
    monkeypatch.setattr(make_pretrained, "LEAST", 1)
    row = found["clean"].find("ir", system="model", pool="all")
    text = make_pretrained.card(shipped, tiny_run(), data, found, [("measured here", row)])
    top1 = row.metrics["top1"].value
    for name in ("clean", "measured here"):
        assert f"| {name} | IR | {row.molecules} | {len(data)} | {100 * top1:.1f} [" in text
    assert f"{len(data.rows('train'))} molecules that chemists meet" in text
    assert f"{tiny_run().manifest.molecules['ir']} IR" in text


# --- the run that is in the repository -------------------------------------------------------------------------------


def test_the_shipped_run_answers_without_training(tmp_path, monkeypatch):
    """Acetamiprid, which is in the test split, among the molecules of the kit."""
    monkeypatch.chdir(ROOT)
    run = mc.load("pretrained")
    assert run.spectra == ("ir", "raman", "msms", "carbon", "proton")
    seen = read_trained_on(run.path)
    assert len(seen) > 7_000
    library = run.library([*MOLECULES, ACETAMIPRID])
    unknown = {name: next((ROOT / "examples/unknown-ordinary").glob(f"{name}.*")) for name in ("ir", "raman", "msms")}
    for names in (("ir",), ("ir", "raman"), ("ir", "raman", "msms")):
        hits = run.search(library, k=3, **{name: unknown[name] for name in names})
        assert hits[0].smiles == ACETAMIPRID
        assert hits[0].key14 not in seen
        assert 0 <= hits.none_of_these < 0.5
    told_of_an_ir_and_a_raman_spectrum_of_two_molecules(run, library, unknown)
    advice_differs_by_what_was_measured(run, library, unknown)


def told_of_an_ir_and_a_raman_spectrum_of_two_molecules(run, library, unknown):
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        hits = run.search(library, ir=unknown["ir"], raman=ROOT / "examples/unknown/raman.csv")
    said = "the 'ir' and the 'raman' spectrum do not look like the same molecule"
    assert any(warning.startswith(said) for warning in hits[0].quality_warnings)
    assert hits[0].probability < 0.2


def advice_differs_by_what_was_measured(run, library, unknown):
    for names in (("ir",), ("ir", "raman")):
        advised = run.next_measurement(library, k=1, **{name: unknown[name] for name in names})
        assert {one.modality for one in advised} == {*run.spectra} - {*names}
        assert [one.entropy for one in advised] == sorted(one.entropy for one in advised)
        assert all(one.entropy <= one.entropy_now for one in advised)


def test_a_folder_of_that_name_wins(tmp_path, monkeypatch):
    shutil.copytree(tiny_run().path, tmp_path / "pretrained")
    monkeypatch.chdir(tmp_path)
    assert mc.load("pretrained").id == tiny_run().id


def test_what_is_shipped_stays_small():
    sizes = [path.stat().st_size for path in (ROOT / "models" / "pretrained").iterdir()]
    assert sum(sizes) <= 20 * 2**20
