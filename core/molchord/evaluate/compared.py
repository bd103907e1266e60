"""Validation queries compared with references: what a search among candidates and references is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from molchord.absence import Background
from molchord.data.store import DataSet
from molchord.embedder import Embedder
from molchord.evaluate.calibration import logits
from molchord.evaluate.embedded import Embedded, Queries, queries_of
from molchord.evaluate.embedding import EmbeddedData, Perturb, readers
from molchord.references import identical, similarity
from molchord.vocabulary import Origin

__all__ = ["Compared", "ReferenceSearches", "compare", "reference_searches"]

FEWEST_COMPARED = 40
"""Queries of a set of spectra, and queries with a reference of their molecule, without which nothing is fitted."""

_MOST, _MOST_SPECTRA, _REPEATS = 300, 1500, 4
"""Queries of a set of spectra, measurements of a modality, and queries of a molecule at most."""


@final
@dataclass(frozen=True, kw_only=True)
class Compared:
    """Queries of one modality against references of it; a queries, r references.

    Attributes:
        rows: (a,) ascending row of each query's measurement among those of the embedded data set.
        measured: (a,) whether it is measured.
        owner: (r,) molecule of each reference.
        references_measured: (r,) whether it is measured.
        values: (a, r) similarities; NaN for the query itself.
    """

    rows: NDArray[np.int64]
    measured: NDArray[np.bool_]
    owner: NDArray[np.int64]
    references_measured: NDArray[np.bool_]
    values: Float[NDArray[np.float64], "a r"]

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the places of measurements among the queries."""
        return np.searchsorted(self.rows, rows)

    def best(
        self, rows: NDArray[np.int64], place: NDArray[np.int64], candidates: int, origin: Origin
    ) -> Float[NDArray[np.float64], "q n"] | None:
        """Return the similarity of each candidate's best reference of an origin, NaN without one; None where none has.

        Args:
            rows: (q,) measurements that ask.
            place: Place of each molecule among the candidates; -1 where it is none.
            candidates: How many there are.
            origin: Of the references.
        """
        usable = (place[self.owner] >= 0) & (self.references_measured == (origin == "measured"))
        if not usable.any():
            return None
        values, out = self.values[self.of(rows)], np.full((len(rows), candidates), np.nan)
        for column in np.flatnonzero(usable).tolist():
            own = place[self.owner[column]]
            out[:, own] = np.fmax(out[:, own], values[:, column])
        return out


@final
@dataclass(frozen=True, kw_only=True)
class ReferenceSearches:
    """Queries of one set of spectra and what there is to judge n candidates by; q queries.

    Attributes:
        embedded: The n candidates.
        queries: What most of them are.
        molecule: (q,) each query's molecule.
        logits: (q, n) beta times the logits of the structures.
        behind: (q, b) the same of molecules that no query is of.
        total: beta times the sum of 1 / tau.
        likeness: By modality, (q, n) similarity of the best reference of each candidate; NaN where it has none.
    """

    embedded: Embedded
    queries: Origin
    molecule: NDArray[np.int64]
    logits: Float[NDArray[np.float64], "q n"]
    behind: Float[NDArray[np.float64], "q b"]
    total: float
    likeness: Mapping[str, Float[NDArray[np.float64], "q n"]]


def compare(
    embedder: Embedder,
    dataset: DataSet,
    found: EmbeddedData,
    *,
    perturb: Perturb | None = None,
    split: str = "val",
    every: bool = False,
    seed: int = 0,
) -> dict[str, Compared]:
    """Compare the queries of a split with references, by modality; a query is no reference of its own.

    Args:
        embedder: The model.
        dataset: The data set.
        found: The same, embedded.
        perturb: What made the queries of stored measurements.
        split: Whose measurements are queries.
        every: Whether those of all molecules are references; else those of the split.
        seed: Of the draws, where there are too many.
    """
    stored, changed = readers(embedder, dataset, found), readers(embedder, dataset, found, split=split, perturb=perturb)
    inside, out = found.embedded.in_split(split), {}
    for name, part in found.embedded.spectra.items():
        single = queries_of(found.embedded, (name,), split, most=_REPEATS).measurement[name]
        rows = np.sort(np.random.default_rng(seed).permutation(np.unique(single))[:_MOST_SPECTRA])
        usable = np.flatnonzero(every | inside[part.molecule])
        usable = np.sort(np.random.default_rng(seed).permutation(usable)[:_MOST_SPECTRA])
        if len(rows) < FEWEST_COMPARED:
            continue
        asked = [changed[name](int(row))[0] for row in rows]
        references = [stored[name](int(row))[0] for row in usable]
        values = similarity(embedder, name, asked, references)
        for place, row in enumerate(rows.tolist()):
            own = np.flatnonzero(usable == row)
            if len(own) and identical(asked[place], [references[int(own[0])]]):
                values[place, own] = np.nan
        out[name] = Compared(
            rows=rows,
            measured=np.array([one.origin == "measured" for one in asked], dtype=bool),
            owner=part.molecule[usable],
            references_measured=np.array([one.origin == "measured" for one in references], dtype=bool),
            values=values,
        )
    return out


def reference_searches(
    whole: Embedded,
    compared: Mapping[str, Compared],
    background: Background | None,
    tau: Mapping[str, float],
    beta: Mapping[int, float],
    subset: tuple[str, ...],
    origin: Origin,
    *,
    split: str = "val",
    every: bool = False,
    seed: int = 0,
) -> ReferenceSearches | None:
    """Make the searches of one set of spectra, with references of one origin; None where there are too few.

    Args:
        whole: The embedded data set.
        compared: As `compare` gives it for the same split.
        background: Of the run; None: it has none.
        tau: Temperatures.
        beta: Confidence factor for each number of spectra.
        subset: The modalities.
        origin: Of the references.
        split: Whose queries.
        every: Whether all molecules are candidates; else those of the split.
        seed: Of the draw of queries.
    """
    if not set(subset) <= set(compared) or len(subset) not in beta:
        return None
    queries = _drawn(queries_of(whole, subset, split, most=_REPEATS), whole, compared, seed)
    if len(queries) < FEWEST_COMPARED:
        return None
    members = np.flatnonzero((every | whole.in_split(split)) & whole.present)
    place = np.full(len(whole), -1)
    place[members] = np.arange(len(members))
    likeness = {
        name: table
        for name in subset
        if (table := compared[name].best(queries.measurement[name], place, len(members), origin)) is not None
    }
    own = place[queries.molecule]
    known = np.zeros(len(own), dtype=bool)
    for table in likeness.values():
        known |= np.isfinite(table[np.arange(len(own)), own])
    if known.sum() < FEWEST_COMPARED:
        return None
    vectors, factor = {name: part.cpu() for name, part in queries.vectors(whole).items()}, beta[len(subset)]
    behind = torch.zeros(len(own), 0) if background is None else logits(vectors, background.vectors, tau)
    measured = [compared[name].measured[compared[name].of(queries.measurement[name])].mean() for name in subset]
    return ReferenceSearches(
        embedded=_only(whole, members),
        queries="measured" if np.mean(measured) >= 0.5 else "computed",
        molecule=own,
        logits=(factor * logits(vectors, whole.candidates[torch.from_numpy(members)].cpu(), tau)).double().numpy(),
        behind=(factor * behind).double().numpy(),
        total=factor * sum(1 / tau[name] for name in subset),
        likeness=likeness,
    )


def _drawn(queries: Queries, whole: Embedded, compared: Mapping[str, Compared], seed: int) -> Queries:
    """Return so many queries at most, of molecules that are candidates and of measurements that were compared."""
    usable = whole.present[queries.molecule]
    for name, rows in queries.measurement.items():
        usable &= np.isin(rows, compared[name].rows)
    chosen = np.sort(np.random.default_rng(seed).permutation(np.flatnonzero(usable))[:_MOST])
    taken = {name: rows[chosen] for name, rows in queries.measurement.items()}
    return Queries(subset=queries.subset, molecule=queries.molecule[chosen], measurement=taken)


def _only(whole: Embedded, members: NDArray[np.int64]) -> Embedded:
    """Return the candidates alone."""
    taken = torch.from_numpy(members)
    return Embedded(
        key14=[whole.key14[i] for i in members], smiles=[whole.smiles[i] for i in members],
        formula=[whole.formula[i] for i in members], exact_mass=whole.exact_mass[members], split=whole.split[members],
        trained=whole.trained[members], candidates=whole.candidates[taken], present=whole.present[members], spectra={},
    )  # fmt: skip
