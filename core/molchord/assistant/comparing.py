"""Molecules held against each other: by each spectrum, its parts, their groups, and what to measure next."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from molchord.api import Molecule, SampleError
from molchord.assistant.answers import Choice, Comparison, HeldAgainst
from molchord.assistant.kept import FoundAnswer, NextStep
from molchord.assistant.telling import further_told, groups_told, molecule_told, rounded, spectra_told
from molchord.chem import molecule
from molchord.errors import QueryError
from molchord.library.hits import Hit
from molchord.properties import AskedProperty
from molchord.prospects import Channels, Prospect, prospects
from molchord.references import structure_vectors
from molchord.vocabulary import DEFAULT_PROPERTY

if TYPE_CHECKING:
    from molchord.run import Run

__all__ = ["compared", "compared_unmeasured"]

MOST_COMPARED = 10
"""Molecules at most that are compared."""

_EXPLAINED = 3
"""Of more than two molecules so many are held against the others part by part."""


def compared(found: FoundAnswer, ranks: Sequence[int], smiles: Sequence[str], step: NextStep) -> Comparison:
    """Compare hits of an answer, and other molecules, by its spectra; without either, its first two hits.

    Raises:
        QueryError: There is no such hit, a SMILES cannot be read, or there are not 2 to `MOST_COMPARED` molecules.
    """
    by_rank = {hit.rank: hit for hit in found.hits}
    for rank in ranks:
        if rank not in by_rank:
            raise QueryError(f"there is no hit {rank!r}; the ranks found are 1 to {len(by_rank)}")
    wanted = [_molecule_of(by_rank[rank]) for rank in (ranks or ([] if smiles else [*by_rank][:2]))]
    chosen = _several([*wanted, *map(_parsed, smiles)])
    run = found.run
    # Any mass is within the window: what towers may take in is no filter here.
    mass: dict[str, Any] = {} if found.mass is None else {"mass": found.mass, "da": 1e6}
    hits = run.search(run.library([one.smiles for one in chosen]), k=len(chosen), **mass, **found.spectra)
    known = {hit.key14: hit for hit in found.hits}
    shown = [_as_known(hit, known.get(hit.key14)) for hit in hits]
    asked = AskedProperty(DEFAULT_PROPERTY)
    shared, differing, own = _groups(asked, [_molecule_of(hit) for hit in hits])
    bands = []
    for hit in hits[: 1 if len(hits) == 2 else _EXPLAINED]:
        step(f"leaving out parts of the spectra for {hit.smiles}")
        why = run.explain(hits, hit=hit.rank, others=len(hits) - 1, mass=found.mass, **found.spectra)
        bands.append(HeldAgainst(smiles=hit.smiles, spectra=spectra_told(why, contrary_by_odds=True)))
    return Comparison(
        choices=[
            Choice(molecule=molecule_told(hit, mass=found.mass), groups=groups)
            for hit, groups in zip(shown, own, strict=True)
        ],
        best_by_spectrum={name: max(hits, key=lambda hit: hit.cosines[name]).smiles for name in hits[0].cosines},
        shared_groups=shared,
        likely_groups=groups_told(run.groups(found.hits).estimates, differing),
        bands=bands,
        next_measurements=further_told(hits.prospects),
        none_of_these=rounded(found.hits.none_of_these),
        notes=_notes(shown, found),
    )


def compared_unmeasured(run: Run, smiles: Sequence[str]) -> Comparison:
    """Compare molecules of which nothing was measured: their groups, and which measurement would tell them apart.

    Raises:
        QueryError: A SMILES cannot be read, or there are not 2 to `MOST_COMPARED` molecules.
    """
    chosen = _several([*map(_parsed, smiles)])
    shared, _, own = _groups(AskedProperty(DEFAULT_PROPERTY), chosen)
    hits = [
        Hit(
            rank=rank, key14=one.key14, smiles=one.smiles, formula=one.formula, exact_mass=one.exact_mass,
            score=math.nan, cosines={}, probability=None,
        )
        for rank, one in enumerate(chosen, start=1)
    ]  # fmt: skip
    return Comparison(
        choices=[Choice(molecule=molecule_told(hit), groups=groups) for hit, groups in zip(hits, own, strict=True)],
        best_by_spectrum={},
        shared_groups=shared,
        likely_groups=[],
        bands=[],
        next_measurements=further_told(_telling_apart(run, chosen)),
        none_of_these=None,
        notes=["no spectrum was given: nothing is said of which of them it is; ranks are the order of asking"],
    )


# --- helpers ---------------------------------------------------------------------------------------------------------


def _parsed(smiles: str) -> Molecule:
    try:
        return molecule(smiles)
    except SampleError as error:
        raise QueryError(f"{smiles!r} cannot be compared ({error.reason}); give its SMILES") from None


def _molecule_of(hit: Hit) -> Molecule:
    return Molecule(key14=hit.key14, smiles=hit.smiles, formula=hit.formula, exact_mass=hit.exact_mass)


def _several(molecules: Sequence[Molecule]) -> list[Molecule]:
    """Return each molecule once."""
    chosen = list({one.key14: one for one in molecules}.values())
    if not 2 <= len(chosen) <= MOST_COMPARED:
        raise QueryError(
            f"{len(chosen)} different molecules are to be compared; give 2 to {MOST_COMPARED}, as ranks of hits or "
            "SMILES (stereoisomers are one molecule here)"
        )
    return chosen


def _as_known(hit: Hit, known: Hit | None) -> Hit:
    """Return a hit of a search among a few as the search among all candidates stated it."""
    if known is None:
        return dataclasses.replace(hit, probability=None)
    return dataclasses.replace(known, rank=hit.rank, cosines=hit.cosines)


def _groups(asked: AskedProperty, molecules: Sequence[Molecule]) -> tuple[list[str], list[str], list[list[str]]]:
    """Return the groups that all have, those that some have, and of the latter each molecule's own."""
    values = asked.values(molecules)
    has = np.nan_to_num(values) > 0
    said = ~np.isnan(values).any(axis=1)
    everywhere = has[said].all(axis=0) if said.any() else np.zeros(len(asked.names), dtype=bool)
    some = has.any(axis=0) & ~everywhere
    names = np.array(asked.names, dtype=object)
    return names[everywhere].tolist(), names[some].tolist(), [names[row & some].tolist() for row in has]


def _telling_apart(run: Run, molecules: Sequence[Molecule]) -> list[Prospect]:
    """Return which spectrum would tell molecules apart that are equally probable, the best one first."""
    channels, beta = Channels.read(run.path), run.manifest.beta.get(1)
    if channels is None or beta is None:
        return []
    vectors = structure_vectors(run.embedder, molecules, {})
    if len(vectors) < len(molecules):
        return []
    return prospects(
        torch.stack([vectors[one.key14].float() for one in molecules]),
        [1 / len(molecules)] * len(molecules),
        channels,
        {name: beta / run.manifest.tau[name] for name in run.spectra},
    )


def _notes(shown: Sequence[Hit], found: FoundAnswer) -> list[str]:
    known = {hit.key14 for hit in found.hits}
    others = [hit.smiles for hit in shown if hit.key14 not in known]
    notes = ["which fits best of these says nothing of whether it is one of them; see `none_of_these`"]
    if others:
        notes.append(f"not among the first hits of the answer, so without a probability: {', '.join(others)}")
    return notes
