"""A data set as a model sees it: candidate vectors and spectrum vectors, and the queries made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from molchord.errors import DataError
from molchord.evaluate.pools import CandidatePool, make_pool, measured_masses
from molchord.retrieval.metrics import Scorer
from molchord.retrieval.scores import library_scores, pooled_by, scores
from molchord.vocabulary import SPLITS

__all__ = ["Embedded", "Queries", "Spectra", "candidate_pool", "model_scorer", "queries_of", "subsets"]


@final
@dataclass(frozen=True, kw_only=True)
class Spectra:
    """The embedded measurements of one modality.

    Attributes:
        molecule: (k,) int64 molecule of each measurement.
        vectors: (k, d) unit rows.
        reveals_mass: (k,) whether the molecule's mass can be known where one has this measurement; None: of all.
    """

    molecule: NDArray[np.int64]
    vectors: Tensor
    reveals_mass: NDArray[np.bool_] | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Embedded:
    """Everything that an evaluation needs to know; n molecules, one each a key14.

    Attributes:
        key14: n keys.
        smiles: n SMILES.
        formula: n formulas.
        exact_mass: (n,) in Da.
        split: (n,) index into ``("train", "val", "test")``; any other number means a molecule of no split (a decoy).
        trained: (n,) bool, whether the molecule's structure was trained on.
        candidates: (n, d) unit rows, anything where `present` is false.
        present: (n,) bool, whether the molecule could be embedded as a candidate.
        spectra: Measurements per modality, in the order in which subsets are named.
        tau: Temperature of each modality with the candidate; None means 1.
        pair_tau: Temperatures of pairs of spectra, for library mode.
        with_mass: Modalities whose embedding knows the molecule's mass (a scalar feature, the precursor m/z).
        trained_elsewhere: SMILES, by key14, of the molecules that were trained on and are not among these, empty where
            it is not known; for the split audit.
    """

    key14: Sequence[str]
    smiles: Sequence[str]
    formula: Sequence[str]
    exact_mass: NDArray[np.float64]
    split: NDArray[np.integer]
    trained: NDArray[np.bool_]
    candidates: Tensor
    present: NDArray[np.bool_]
    spectra: Mapping[str, Spectra]
    tau: Mapping[str, float] | None = None
    pair_tau: Mapping[tuple[str, str], float] | None = None
    with_mass: frozenset[str] = field(default_factory=frozenset)
    trained_elsewhere: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("smiles", "formula", "exact_mass", "split", "trained", "candidates", "present"):
            if len(getattr(self, name)) != len(self.key14):
                raise DataError(
                    f"evaluation failed: `{name}` has {len(getattr(self, name))} entries for {len(self.key14)} "
                    "molecules; give one each"
                )
        if len(set(self.key14)) != len(self.key14):
            raise DataError("evaluation failed: two molecules have the same key14; merge them first")
        for name, part in self.spectra.items():
            if len(part.molecule) != len(part.vectors):
                raise DataError(
                    f"evaluation failed: {name!r} has {len(part.vectors)} vectors for {len(part.molecule)} "
                    "measurements; give one each"
                )

    def __len__(self) -> int:
        return len(self.key14)

    def in_split(self, split: str) -> NDArray[np.bool_]:
        """Return which molecules belong to a split."""
        if split not in SPLITS:
            raise DataError(f"evaluation failed: unknown split {split!r}; allowed: {', '.join(map(repr, SPLITS))}")
        return np.asarray(self.split == SPLITS.index(split))


@final
@dataclass(frozen=True, kw_only=True)
class Queries:
    """The queries of one subset of modalities.

    Attributes:
        subset: Names of the modalities.
        molecule: (q,) each query's molecule.
        measurement: The measurement that each query takes, per modality, each (q,).
    """

    subset: tuple[str, ...]
    molecule: NDArray[np.int64]
    measurement: Mapping[str, NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.molecule)

    def truth(self, embedded: Embedded) -> Tensor:
        """Return the index of each query's true candidate, -1 where it could not be embedded."""
        return torch.from_numpy(np.where(embedded.present[self.molecule], self.molecule, -1))

    def mass_known(self, embedded: Embedded) -> NDArray[np.bool_]:
        """Return the queries whose mass can be known, so that metrics "with mass" can include them, (q,)."""
        known = np.ones(len(self), dtype=np.bool_)
        for name, rows in self.measurement.items():
            tells = embedded.spectra[name].reveals_mass
            known &= True if tells is None else tells[rows]
        return known

    def vectors(self, embedded: Embedded) -> dict[str, Tensor]:
        """Return the unit rows of the queries, per modality."""
        return {name: embedded.spectra[name].vectors[torch.from_numpy(self.measurement[name])] for name in self.subset}


def subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every non-empty subset, small ones first.

    Example:
        >>> subsets(["ir", "raman"])
        [('ir',), ('raman',), ('ir', 'raman')]
    """
    return [part for size in range(1, len(modalities) + 1) for part in combinations(modalities, size)]


def queries_of(embedded: Embedded, subset: tuple[str, ...], split: str, *, most: int = 32) -> Queries:
    """Make the queries of a subset: the molecules of the split that have every modality of it.

    Every spectrum is in a query of its own: the r-th query of a molecule takes measurement r modulo their number of
    each modality, with r up to the largest number of measurements. Metrics average them by molecule first.

    Args:
        embedded: The embedded data set.
        subset: Names of modalities.
        split: Name of the split.
        most: Largest number of queries per molecule.
    """
    kept, counts, orders, starts = embedded.in_split(split), {}, {}, {}
    for name in subset:
        molecule = embedded.spectra[name].molecule
        counts[name] = np.bincount(molecule, minlength=len(embedded))
        orders[name] = np.argsort(molecule, kind="stable")
        starts[name] = np.cumsum(counts[name]) - counts[name]
        kept = kept & (counts[name] > 0)
    molecules = np.flatnonzero(kept)
    repeats = np.minimum(np.max([counts[name][molecules] for name in subset], axis=0), most)
    queried = np.repeat(molecules, repeats)
    turn = np.arange(len(queried)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    chosen = {name: orders[name][starts[name][queried] + turn % counts[name][queried]] for name in subset}
    return Queries(subset=subset, molecule=queried, measurement=chosen)


def candidate_pool(embedded: Embedded, queries: Queries, text: str, *, split: str, seed: int) -> CandidatePool:
    """Make the pool of a name for queries of a split; otherwise as `pools.make_pool`.

    Args:
        embedded: The embedded data set.
        queries: The queries.
        text: Name of the pool.
        split: Whose molecules are queried.
        seed: Of the draws of members and of the mass errors.
    """
    return make_pool(
        text,
        molecule=queries.molecule,
        present=embedded.present,
        queried=embedded.in_split(split),
        held_out=embedded.in_split("test") | embedded.in_split("val"),
        trained=embedded.trained,
        formula=embedded.formula,
        mass=embedded.exact_mass,
        measured=measured_masses(embedded.exact_mass, seed),
        seed=seed,
    )


def model_scorer(embedded: Embedded, queries: Queries, *, fusion: str, mode: str, device: str = "cpu") -> Scorer:
    """Return the model's own scorer of these queries in a mode (``blind`` or ``library``) with a fusion."""
    vectors = {name: rows.to(device) for name, rows in queries.vectors(embedded).items()}
    spectra, spectra_present = {}, {}
    if mode == "library":
        for name, part in embedded.spectra.items():
            owner = torch.from_numpy(part.molecule).to(part.vectors.device)
            rows, has = pooled_by(part.vectors, owner, len(embedded))
            spectra[name], spectra_present[name] = rows, has

    def scorer(rows: slice, columns: slice | Tensor) -> Tensor:
        query = {name: part[rows] for name, part in vectors.items()}
        candidates = embedded.candidates[columns].to(device)
        if mode == "blind":
            return scores(query, candidates, fusion=fusion, tau=embedded.tau)
        return library_scores(
            query,
            candidates,
            {name: part[columns].to(device) for name, part in spectra.items()},
            fusion=fusion,
            tau=embedded.tau,
            pair_tau=embedded.pair_tau,
            spectra_present={name: part[columns].to(device) for name, part in spectra_present.items()},
        )

    return scorer
