"""Spectra of one query that do not look like the same molecule: counted, told, and how sure that leaves an answer."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from molchord.agreement import MOST, Agreement, disagreements
from molchord.evaluate.agreement import fit_agreement
from molchord.evaluate.embedded import Embedded, Spectra

DIM, MOLECULES = 32, 1200


def embedded(noise: float) -> Embedded:
    """Molecules with three spectra each near their own vector; half of them validate, half test."""
    rng = torch.Generator().manual_seed(0)
    candidates = functional.normalize(torch.randn(MOLECULES, DIM, generator=rng), dim=1)

    def spectra():
        vectors = candidates + noise * torch.randn(MOLECULES, DIM, generator=rng)
        return Spectra(molecule=np.arange(MOLECULES), vectors=functional.normalize(vectors, dim=1))

    return Embedded(
        key14=[f"KEY{i}" for i in range(MOLECULES)],
        smiles=["C"] * MOLECULES,
        formula=["CH4"] * MOLECULES,
        exact_mass=np.full(MOLECULES, 16.0),
        split=np.arange(MOLECULES) % 2 + 1,
        trained=np.zeros(MOLECULES, dtype=bool),
        candidates=candidates,
        present=np.ones(MOLECULES, dtype=bool),
        spectra={name: spectra() for name in ("ir", "raman", "msms")},
    )


def said(data, agreement, names, swap=None):
    """The warnings of each test molecule's query, one spectrum taken from the next molecule if asked."""
    test = np.flatnonzero(data.in_split("test"))
    vectors = {name: data.spectra[name].vectors[test] for name in names}
    if swap:
        vectors[swap] = vectors[swap].roll(1, 0)
    return [disagreements({name: part[i] for name, part in vectors.items()}, agreement) for i in range(len(test))]


@pytest.mark.parametrize("names", [("ir", "raman"), ("ir", "raman", "msms")])
def test_right_queries_are_hardly_ever_warned_of_and_swapped_ones_nearly_always(names):
    data = embedded(noise=0.15)
    agreement = fit_agreement(data)
    assert np.mean([bool(found) for found in said(data, agreement, names)]) <= 0.05
    assert np.mean([bool(found) for found in said(data, agreement, names, swap="raman")]) > 0.9


def test_spectra_that_say_nothing_of_each_other_warn_of_no_more_queries_swapped_or_not():
    data = embedded(noise=50.0)
    agreement = fit_agreement(data)
    for swap in (None, "ir"):
        assert np.mean([bool(found) for found in said(data, agreement, ("ir", "raman"), swap)]) <= 0.06


def test_the_factor_is_what_is_left_of_one_in_twenty_queries_being_swapped():
    data = embedded(noise=0.3)
    agreement = fit_agreement(data)
    right, swapped = (said(data, agreement, ("ir", "raman"), swap) for swap in (None, "raman"))
    factors = [found[0].confidence_factor for found in right if found]
    count = {kind: sum(map(bool, found)) for kind, found in (("right", right), ("swapped", swapped))}
    true = 0.95 * count["right"] / (0.95 * count["right"] + 0.05 * count["swapped"])
    assert np.mean(factors) == pytest.approx(true, abs=0.15)


def test_the_warning_names_both_spectra_and_an_older_run_has_none():
    data = embedded(noise=0.15)
    [warning] = next(found for found in said(data, fit_agreement(data), ("ir", "raman"), "ir") if found)
    assert "'ir'" in warning.message
    assert "'raman'" in warning.message
    assert not any(said(data, Agreement(), ("ir", "raman"), "ir"))


def test_few_molecules_with_both_spectra_fit_nothing():
    data = embedded(noise=0.15)
    few = Spectra(molecule=np.arange(20), vectors=data.spectra["raman"].vectors[:20])
    lower = fit_agreement(dataclasses.replace(data, spectra={**data.spectra, "raman": few})).lower
    assert list(lower) == ["ir + msms"]
    assert all(right <= MOST for pairs in lower.values() for _, right, _ in pairs)


def test_of_three_spectra_the_one_that_does_not_fit_is_named():
    data = embedded(noise=0.15)
    found = said(data, fit_agreement(data), ("ir", "raman", "msms"), swap="msms")
    named = [
        one[0].message.startswith("the 'msms' spectrum does not look like the same molecule as 'ir'")
        for one in found
        if one
    ]
    assert np.mean(named) > 0.95
