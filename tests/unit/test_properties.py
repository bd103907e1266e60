"""What the hits of a search have in common, as probabilities."""

import dataclasses
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import molchord as mc
from molchord.api import Molecule, SampleError
from molchord.cli.main import main
from molchord.cli.output import estimates_text
from molchord.errors import PluginError, QueryError, RunError
from molchord.evaluate.embedded import Embedded, Spectra
from molchord.evaluate.properties import fit_properties
from molchord.host import installed
from molchord.library.hits import Hit, Hits
from molchord.properties import AskedProperty, PropertyFit, Vote, estimated, read_properties, vote, write_properties
from molchord.testing import tiny_run

MANIFEST = SimpleNamespace(beta={1: 2.0}, tau={"ir": 0.5})
"""So that a cosine counts four times in the logarithm of the odds."""


def hit(rank, smiles, cosine, probability=None):
    facts = {"key14": f"KEY{rank}", "formula": "", "exact_mass": 1.0, "score": 0.0}
    return Hit(rank=rank, smiles=smiles, cosines={"ir": cosine}, probability=probability, **facts)


def hits(none, *given, uncalibrated=()):
    return Hits(given, none_of_these=none, candidates=len(given), uncalibrated=uncalibrated)


@pytest.fixture
def asked():
    return AskedProperty("functional_groups")


@pytest.fixture
def fitted(tmp_path, asked):
    """A run's folder of which nitriles are frequent, and the vote is sharpened and drawn by a tenth."""
    base = tuple(0.4 if name == "nitrile" else 0.0 for name in asked.names)
    votes = {"ir": Vote(temperature=2.0, draw=0.1)}
    write_properties(tmp_path, {asked.name: PropertyFit(names=asked.names, base=base, votes=votes)})
    return tmp_path


def test_what_none_of_these_leaves_is_shared_by_the_hits_and_the_rest_by_their_vote(asked, fitted):
    found = estimated(asked, hits(0.25, hit(1, "CC#N", 0.9, 0.6), hit(2, "CCO", 0.7, 0.15)), fitted, MANIFEST)
    odds = np.exp(2.0 * 4 * (0.9 - 0.7))  # temperature 2
    unlisted = 0.9 * odds / (1 + odds) + 0.1 * 0.4
    assert found["nitrile"].share == pytest.approx(0.75 * 0.6 / 0.75 + 0.25 * unlisted)
    assert found["nitrile"].probability == found["nitrile"].share
    assert found["nitrile"].base == 0.4
    assert found["thiol"].share == 0
    assert [one.share for one in found.estimates] == sorted((one.share for one in found.estimates), reverse=True)
    assert found.calibrated


def test_without_probabilities_the_cosines_share_and_without_none_of_these_the_vote_decides(asked, fitted):
    two = hit(1, "CC#N", 0.9), hit(2, "CCO", 0.7)
    listed = 1 / (1 + np.exp(-4 * 0.2))
    assert estimated(asked, hits(0.0, *two), fitted, MANIFEST)["nitrile"].share == pytest.approx(listed)
    unlisted = 0.9 / (1 + np.exp(-8 * 0.2)) + 0.1 * 0.4
    assert estimated(asked, hits(None, *two), fitted, MANIFEST)["nitrile"].share == pytest.approx(unlisted)


def test_nothing_above_a_half_is_stated_where_measured_spectra_were_not_calibrated(asked, fitted):
    found = estimated(asked, hits(0.0, hit(1, "CC#N", 0.9), hit(2, "OCC", 0.7), uncalibrated=["ir"]), fitted, MANIFEST)
    assert found["nitrile"].probability is None
    assert found["nitrile"].share > 0.5
    assert found["alcohol"].probability == pytest.approx(found["alcohol"].share)
    assert "nitrile (not calibrated)" in estimates_text(found)


def test_what_was_not_fitted_is_an_estimate_without_a_probability(asked, tmp_path, fitted):
    one = hits(0.0, hit(1, "CC#N", 0.9))
    nothing = estimated(asked, one, tmp_path / "empty", MANIFEST)
    assert (nothing.calibrated, nothing["nitrile"].probability, nothing["nitrile"].share) == (False, None, 1.0)
    others = [dataclasses.replace(one[0], cosines={"raman": 0.9})]
    assert not estimated(asked, others, fitted, MANIFEST).calibrated


def test_hits_that_nothing_can_be_said_of_do_not_vote(asked, fitted):
    found = estimated(asked, hits(0.0, hit(1, "no molecule", 0.9), hit(2, "CC#N", 0.1)), fitted, MANIFEST)
    assert found["nitrile"].share == 1.0
    with pytest.raises(QueryError, match="'molchord:functional_groups' says nothing of the hits, of which there are 1"):
        estimated(asked, hits(0.0, hit(1, "no molecule", 0.9)), fitted, MANIFEST)


def test_a_molecule_is_asked_about_once_and_a_property_that_fails_is_named(monkeypatch):
    told, plugin = [], installed().find("property", "functional_groups")
    ethanol = Molecule(key14="A", smiles="CCO", formula="C2H6O", exact_mass=46.04)
    fake = SimpleNamespace(names=("x",), of=lambda molecule: told.append(molecule) or [1.0])
    monkeypatch.setattr("molchord.properties.build", lambda *_: SimpleNamespace(plugin=plugin, it=fake))
    counted = AskedProperty("mine")
    assert counted.values([ethanol, ethanol]).tolist() == [[1.0], [1.0]]
    assert len(told) == 1
    fake.of = lambda molecule: [1.0, 2.0]
    with pytest.raises(
        PluginError, match=r"property 'molchord:functional_groups' failed \(ValueError: \(2,\) values for 1"
    ):
        counted.values([dataclasses.replace(ethanol, key14="B")])
    fake.of = lambda molecule: (_ for _ in ()).throw(SampleError("B", "no"))
    assert np.isnan(counted.values([dataclasses.replace(ethanol, key14="C")])).all()


# --- the fit ---------------------------------------------------------------------------------------------------------


def planted(noise):
    """Nitriles and alcohols apart in the space: spectra lie beside their molecules, as far off as `noise` says."""
    rng = np.random.default_rng(0)
    smiles = [f"{'C' * n}{end}" for n in range(1, 81) for end in ("C#N", "CO")]
    side = np.array([[1.0, 0.0] if one.endswith("N") else [0.0, 1.0] for one in smiles])
    rest = rng.normal(0, 0.3, (len(smiles), 6))
    structures = torch.nn.functional.normalize(torch.from_numpy(np.hstack([side, rest])), dim=1).float()
    spectra = structures + torch.from_numpy(rng.normal(0, noise, structures.shape)).float()
    split = np.where(np.arange(len(smiles)) % 160 < 60, 1, 0)
    return Embedded(
        key14=[f"KEY{number}" for number in range(len(smiles))],
        smiles=smiles,
        formula=["C"] * len(smiles),
        exact_mass=np.ones(len(smiles)),
        split=split,
        trained=split == 0,
        candidates=structures,
        present=np.ones(len(smiles), dtype=bool),
        spectra={"ir": Spectra(molecule=np.arange(len(smiles)), vectors=torch.nn.functional.normalize(spectra, dim=1))},
    )


def test_the_fit_trusts_votes_more_where_spectra_lie_nearer_to_their_molecules():
    near, far = (
        fit_properties(planted(noise), {"ir": 0.1}, {1: 1.0})["molchord:functional_groups"] for noise in (0.02, 3.0)
    )
    assert near.votes["ir"].draw <= 0.01
    assert far.votes["ir"].draw >= 0.2
    assert near.base[near.names.index("nitrile")] == pytest.approx(0.5, abs=0.1)
    assert near.base[near.names.index("thiol")] < 0.01


def test_what_was_fitted_before_stays_where_other_data_says_nothing():
    before = fit_properties(planted(0.02), {"ir": 0.1}, {1: 1.0})
    [(name, old)] = before.items()
    old = old.model_copy(update={"votes": {"raman": Vote(temperature=0.3)}})
    new = fit_properties(planted(0.02), {"ir": 0.1}, {1: 1.0}, {name: old})[name]
    assert set(new.votes) == {"ir", "raman"}
    assert new.base == old.base
    few = dataclasses.replace(planted(0.02), split=np.zeros(160, dtype=int))
    assert fit_properties(few, {"ir": 0.1}, {1: 1.0}) == {}


def test_a_vote_is_weighted_and_drawn():
    values = np.array([[1.0], [0.0]])
    assert vote(np.log([3.0, 1.0]), values, np.array([0.0]), Vote()).tolist() == pytest.approx([0.75])
    assert vote(np.log([3.0, 1.0]), values, np.array([0.2]), Vote(draw=1.0)).tolist() == pytest.approx([0.2])
    assert vote(np.log([[3.0, 1.0]]), values[None], np.array([0.0]), Vote(temperature=2)).tolist() == [
        pytest.approx([0.9])
    ]


# --- on disk, and from the command line ------------------------------------------------------------------------------


def test_a_damaged_file_is_one_sentence(tmp_path):
    assert read_properties(tmp_path) == {}
    (tmp_path / "properties.json").write_text('{"a": {"names": 3}}')
    with pytest.raises(RunError, match=r"properties.json' cannot be read \(.*\); calibrate the run again"):
        read_properties(tmp_path)


def test_the_shipped_run_was_fitted_for_every_set_of_spectra_that_none_of_these_was():
    run = mc.load("pretrained", device="cpu")
    [fit] = read_properties(run.path).values()
    assert fit.votes.keys() == run.manifest.absence.keys()
    assert len(fit.names) == len(fit.base) == 37


@pytest.mark.filterwarnings("ignore:the query of")
def test_search_says_which_groups_there_are(tmp_path, capsys):
    run = mc.Run.load(shutil.copytree(tiny_run().path, tmp_path / "run"))
    library = run.library(["CCO", "CC#N", "CSC"], tmp_path / "library")
    (tmp_path / "a.csv").write_text(
        "cm-1,absorbance\n" + "\n".join(f"{x},{np.exp(-(((x - 1700) / 20) ** 2))}" for x in range(450, 4050, 4))
    )
    words = ["search", str(run.path), str(library.path), "--ir", str(tmp_path / "a.csv"), "--k", "1"]
    assert main([*words, "--groups"]) == 0
    said = capsys.readouterr().out
    assert "it has: " in said
    assert len([line for line in said.splitlines() if line.startswith("1 ")]) == 1
    assert not [line for line in said.splitlines() if line.startswith("2 ")]
    assert main([*words, "--groups", "functional_group"]) == 2
    assert "did you mean 'functional_groups'?" in capsys.readouterr().err
