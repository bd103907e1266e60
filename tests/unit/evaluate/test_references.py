"""How references count: fitted on searches with another spectrum of the molecule, without one, and without it."""

from functools import cache

import numpy as np
import pytest
import torch
from torch.nn import functional

from molchord.absence import Background
from molchord.evaluate.compared import Compared, reference_searches
from molchord.evaluate.embedded import Embedded, Spectra
from molchord.evaluate.references import fit_weights_of_references, reference_answers

DIM, MOLECULES = 16, 160


@cache
def data() -> Embedded:
    """Two spectra of each molecule, a model that tells little, formulas of six molecules each."""
    rng = torch.Generator().manual_seed(0)
    candidates = functional.normalize(torch.randn(MOLECULES, DIM, generator=rng), dim=1)
    twice = candidates.repeat(2, 1)
    seen = functional.normalize(twice + 0.6 * torch.randn(2 * MOLECULES, DIM, generator=rng), dim=1)
    return Embedded(
        key14=[f"KEY{i}" for i in range(MOLECULES)],
        smiles=["C"] * MOLECULES,
        formula=[f"C{i // 6}" for i in range(MOLECULES)],
        exact_mass=np.array([12.0 * (i // 6) + 100 for i in range(MOLECULES)]),
        split=np.arange(MOLECULES) % 2 + 1,
        trained=np.zeros(MOLECULES, dtype=bool),
        candidates=candidates,
        present=np.ones(MOLECULES, dtype=bool),
        spectra={"ir": Spectra(molecule=np.tile(np.arange(MOLECULES), 2), vectors=seen)},
        tau={"ir": 0.2},
    )


def compared(spread) -> dict[str, Compared]:
    """Similarities of the same molecule's spectra near 0.9, of others' near 0.6, more or less apart."""
    rng = np.random.default_rng(1)
    owner = data().spectra["ir"].molecule
    values = rng.normal(0.6, spread, (len(owner), len(owner)))
    same = owner[:, None] == owner
    values[same] = rng.normal(0.9, spread, same.sum())
    np.fill_diagonal(values, np.nan)
    measured = np.ones(len(owner), dtype=bool)
    return {
        "ir": Compared(
            rows=np.arange(len(owner)), measured=measured, owner=owner, references_measured=measured,
            values=np.clip(values, -1, 1),
        )
    }  # fmt: skip


def searches(spread, split):
    background = Background(key14=("other",), vectors=torch.zeros(1, DIM))
    made = reference_searches(
        data(), compared(spread), background, {"ir": 0.2}, {1: 1.0}, ("ir",), "measured", split=split
    )
    assert made is not None
    return made


@cache
def fitted(spread):
    weights = fit_weights_of_references(searches(spread, "val"), ("ir",))
    assert weights is not None
    return weights


def test_references_that_tell_molecules_apart_count_and_others_do_not():
    near = {spread: fitted(spread).spectra["ir"][1] for spread in (0.05, 5.0)}
    assert near[0.05] > 1 > near[5.0] >= 0


def test_the_molecule_is_found_by_its_reference_and_by_its_structure_where_it_has_none():
    made = reference_answers(searches(0.05, "test"), fitted(0.05), "none", sizes=(20,), seed=2)
    alone = ~made.referenced & ~made.absent
    assert made.right[made.referenced].mean() > 0.9
    assert made.right[alone].mean() > 0.3
    assert not made.right[made.absent].any()


@pytest.mark.parametrize("narrowed", ["none", "formula"])
def test_what_is_stated_is_as_often_right(narrowed):
    weights = fitted(0.1)
    made = reference_answers(searches(0.1, "test"), weights, narrowed, sizes=(20, 100), seed=2)
    none = np.array([weights.probability_of_none(row, narrowed) for row in made.rows])
    kinds = (made.referenced, ~made.referenced & ~made.absent, made.absent)
    weight = sum(share * kind / kind.sum() for share, kind in zip((0.4, 0.4, 0.2), kinds, strict=True))
    for stated, true in ((none, made.absent), ((1 - none) * made.share, made.right)):
        assert (weight * stated).sum() == pytest.approx((weight * true).sum(), abs=0.06)


def test_a_query_is_never_its_own_reference():
    made = searches(0.05, "test")
    own = made.likeness["ir"][np.arange(len(made.molecule)), made.molecule]
    assert np.isfinite(own).all()
    assert own.max() < 1.0 + 1e-9
    alone = {"ir": compared(0.05)["ir"]}
    first = data().spectra["ir"].molecule < 0  # no molecule keeps a reference
    none = Compared(
        rows=alone["ir"].rows, measured=alone["ir"].measured, owner=alone["ir"].owner,
        references_measured=first, values=alone["ir"].values,
    )  # fmt: skip
    assert reference_searches(data(), {"ir": none}, None, {"ir": 0.2}, {1: 1.0}, ("ir",), "measured") is None
