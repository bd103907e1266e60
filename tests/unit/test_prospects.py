"""Which measurement to make next: what each modality would tell of candidates that are hard to tell apart."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from molchord.errors import RunError
from molchord.evaluate.channels import fit_channels
from molchord.evaluate.embedded import Embedded, Spectra
from molchord.prospects import Channels, prospects

DIM, MOLECULES = 16, 600
HALVES = {"left": slice(None, DIM // 2), "right": slice(DIM // 2, None)}


@pytest.fixture(scope="module")
def data() -> Embedded:
    """Each modality sees one half of the directions, a third sees all but errs as the left one does."""
    rng = torch.Generator().manual_seed(0)
    candidates = functional.normalize(torch.randn(MOLECULES, DIM, generator=rng), dim=1)
    errors = 0.3 * torch.randn(MOLECULES, DIM, generator=rng)
    spectra = {}
    for name, half in HALVES.items():
        seen = torch.zeros(MOLECULES, DIM)
        seen[:, half] = candidates[:, half]
        own = errors if name == "left" else 0.3 * torch.randn(MOLECULES, DIM, generator=rng)
        spectra[name] = seen + 0.3 * own
    spectra["twin"] = candidates + 0.3 * errors
    return Embedded(
        key14=[f"KEY{i}" for i in range(MOLECULES)],
        smiles=["C"] * MOLECULES,
        formula=["CH4"] * MOLECULES,
        exact_mass=np.full(MOLECULES, 16.0),
        split=np.ones(MOLECULES, dtype=int),
        trained=np.zeros(MOLECULES, dtype=bool),
        candidates=candidates,
        present=np.ones(MOLECULES, dtype=bool),
        spectra={name: Spectra(molecule=np.arange(MOLECULES), vectors=v) for name, v in spectra.items()},
    )


@pytest.fixture(scope="module")
def channels(data) -> Channels:
    return fit_channels(data)


def differing_in(half):
    """Two molecules that differ in one half of the directions only."""
    base = torch.ones(DIM) / DIM**0.5
    other = base.clone()
    other[HALVES[half]] *= torch.tensor([1.0, -1.0]).repeat(DIM // 4)
    return torch.stack([base, other])


@pytest.mark.parametrize("half", HALVES)
def test_what_sees_the_difference_is_advised(channels, half):
    first, second = prospects(differing_in(half), [0.5, 0.5], channels, {"left": 20.0, "right": 20.0})
    assert first.modality == half
    assert first.entropy < second.entropy
    assert first.right > second.right >= 0.45
    assert (first.right_now, first.entropy_now) == (0.5, 1.0)


def test_what_is_expected_is_what_happens(data, channels):
    """The expectation, averaged over queries, is the mean of what measuring gives."""
    rng = np.random.default_rng(1)
    expected, happened = [], []
    for _ in range(300):
        chosen = rng.choice(MOLECULES, 8, replace=False)
        vectors = data.candidates[chosen]
        [one] = prospects(vectors, [1 / 8] * 8, channels, {"right": 8.0})
        expected.append(one.right)
        seen = vectors @ data.spectra["right"].vectors[chosen[0]]
        happened.append(int(seen.argmax()) == 0)
    assert np.mean(expected) == pytest.approx(np.mean(happened), abs=0.07)


def test_a_measurement_that_errs_as_one_already_made_tells_less(data, channels):
    pair, made = differing_in("left"), {"left": data.spectra["left"].vectors[0]}
    [without] = prospects(pair, [0.5, 0.5], channels, {"twin": 20.0})
    [given] = prospects(pair, [0.5, 0.5], channels, {"twin": 20.0}, made)
    assert given.right != pytest.approx(without.right, abs=1e-6)


def test_molecules_that_are_not_listed_stay_unfound(channels):
    [one] = prospects(differing_in("left"), [0.2, 0.2], channels, {"left": 20.0})
    assert one.right_now == pytest.approx(0.2)
    assert one.right <= 0.4


def test_they_are_written_and_read_and_damage_is_told(channels, tmp_path):
    assert Channels.read(tmp_path) is None
    channels.write(tmp_path)
    again = Channels.read(tmp_path)
    before, after = (
        prospects(differing_in("left"), [0.5, 0.5], one, {"left": 20.0, "right": 20.0}) for one in (channels, again)
    )
    assert [one.modality for one in before] == [one.modality for one in after]
    assert [one.entropy for one in before] == pytest.approx([one.entropy for one in after], abs=0.02)
    path = tmp_path / "channels.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match="calibrate the run again"):
        Channels.read(tmp_path)
