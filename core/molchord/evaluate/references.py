"""Fits how measured or computed references count beside the model's own opinion, and when none is right.

Validation queries are searched in three ways: with their molecule among the candidates and another of its spectra among
the references, with the molecule alone, and with neither. References are those of a tenth, a half or all of the
molecules, so that hits with and without one compete.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from molchord.absence import Background, Filter
from molchord.data.store import DataSet
from molchord.embedder import Embedder
from molchord.errors import DataError
from molchord.evaluate.absence import logistic_weights
from molchord.evaluate.calibration import logits
from molchord.evaluate.embedded import Embedded, Queries, queries_of, subsets
from molchord.evaluate.embedding import EmbeddedData, Perturb, readers
from molchord.reference_weights import Origin, ReferenceWeights, merged_features, terms
from molchord.references import identical, similarity

__all__ = [
    "Compared",
    "ReferenceAnswers",
    "ReferenceSearches",
    "compare",
    "fit_references",
    "reference_answers",
    "reference_searches",
]

_SIZES = (5, 20, 100, 500)
_KNOWN = (0.1, 0.5, 1.0)
"""Shares of the molecules that have references."""

_ABSENT = 0.2
"""Share of the searches without their molecule that the fit is for; half of the others have it among the references."""

_FEWEST, _MOST, _MOST_SPECTRA, _REPEATS = 40, 300, 1500, 4
"""Queries of a set of spectra, least and most, measurements of a modality, and queries of a molecule at most."""

_TOGETHER = 2
"""Spectra of a query that weights are fitted for together at most; those of more are put together from single ones."""

_PPM = 10e-6


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


@final
@dataclass(frozen=True, kw_only=True)
class ReferenceAnswers:
    """Searches of which it is known whether they could succeed, k of them.

    Attributes:
        rows: (k, 8) features of the first hit.
        absent: (k,) whether the molecule was not among the candidates.
        referenced: (k,) whether it had a reference.
        right: (k,) whether the first hit is it.
        share: (k,) share of the first hit.
    """

    rows: NDArray[np.float64]
    absent: NDArray[np.bool_]
    referenced: NDArray[np.bool_]
    right: NDArray[np.bool_]
    share: NDArray[np.float64]


def fit_references(
    embedder: Embedder,
    dataset: DataSet,
    found: EmbeddedData,
    background: Background | None,
    tau: Mapping[str, float],
    beta: Mapping[int, float],
    *,
    perturb: Perturb | None = None,
    split: str = "val",
    seed: int = 0,
) -> dict[Origin, dict[str, ReferenceWeights]]:
    """Fit on the queries of a split, with the measurements of the same molecules as references.

    Args:
        embedder: The model.
        dataset: The data set.
        found: The data set, embedded; queries that `perturb` changed included.
        background: Of the run; None: it has none.
        tau: Temperatures.
        beta: Confidence factor for each number of spectra.
        perturb: What made the queries of stored measurements; a query that nothing changed is no reference of its own.
        split: Whose queries.
        seed: Of all draws.

    Returns:
        By origin of the references, then by the query's modalities joined by " + ", where there are enough queries with
        a reference of their molecule.

    Raises:
        DataError: There are not enough for any.
    """
    out: dict[Origin, dict[str, ReferenceWeights]] = {}
    compared = compare(embedder, dataset, found, perturb=perturb, split=split, seed=seed)
    origins: tuple[Origin, ...] = ("measured", "computed")
    for origin, subset in product(origins, subsets(list(compared))):
        if len(subset) > _TOGETHER:
            continue
        made = reference_searches(found.embedded, compared, background, tau, beta, subset, origin, split=split)
        weights = None if made is None else _fit(made, subset, seed)
        if weights is not None:
            out.setdefault(origin, {})[" + ".join(subset)] = weights
    if not out:
        raise DataError(
            f"references of {str(dataset.path)!r} cannot be calibrated: fewer than {_FEWEST} queries have a second "
            "spectrum of their molecule; give a data set with several measurements of a molecule"
        )
    return out


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
        if len(rows) < _FEWEST:
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
    if len(queries) < _FEWEST:
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
    if known.sum() < _FEWEST:
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


def reference_answers(
    searches: ReferenceSearches,
    weights: ReferenceWeights,
    narrowed: Filter,
    *,
    sizes: Sequence[int] = _SIZES,
    seed: int = 0,
) -> ReferenceAnswers | None:
    """Search with each query in the three ways for each pool; None where there is no search.

    Args:
        searches: The queries.
        weights: How references count.
        narrowed: What narrowed the candidates.
        sizes: Numbers of random candidates, where nothing did.
        seed: Of all draws.
    """
    made = []
    for query, pool, own, likeness, absent in _searches(searches, narrowed, sizes, seed):
        worth = sum(weights.worth(name, values) for name, values in likeness.items())
        has = np.any([np.isfinite(values) for values in likeness.values()], axis=0)
        scores = weights.structure * searches.logits[query, pool] + worth
        first = int(scores.argmax())
        share = float(np.exp(scores[first] - np.logaddexp.reduce(scores)))
        structure = float(searches.logits[query, pool[first]])
        row = merged_features(
            structure, structure / searches.total, len(pool), share, torch.from_numpy(searches.behind[query]),
            first=worth[first] if has[first] else np.nan,
            best=worth[has].max() if has.any() else np.nan,
        )  # fmt: skip
        place = np.flatnonzero(pool == own)
        known = not absent and bool(has[place[0]])
        made.append((row, absent, known, not absent and first == place[0], share))
    if not made:
        return None
    rows, absents, referenced, right, shares = zip(*made, strict=True)
    return ReferenceAnswers(
        rows=np.stack(rows), absent=np.array(absents), referenced=np.array(referenced),
        right=np.array(right), share=np.array(shares),
    )  # fmt: skip


# --- helpers


def _fit(searches: ReferenceSearches, subset: tuple[str, ...], seed: int) -> ReferenceWeights | None:
    """Fit the scores by the likelihood of the molecules that are there, then none of these by who came first."""
    names = [name for name in subset if name in searches.likeness]
    found, count = _conditional_logit(searches, names, seed)
    spectra = {name: tuple(map(float, found[1 + 3 * i : 4 + 3 * i])) for i, name in enumerate(names)}
    weights = ReferenceWeights(structure=float(found[0]), spectra=spectra, queries=searches.queries, fitted_on=count)
    none: dict[Filter, list[float]] = {}
    filters: tuple[Filter, ...] = ("none", "formula", "mass")
    for narrowed in filters:
        made = reference_answers(searches, weights, narrowed, seed=seed)
        if made is None or min(made.absent.sum(), made.referenced.sum()) < _FEWEST:
            continue
        none[narrowed] = logistic_weights(made.rows, made.absent, _weight(made))
    return weights.model_copy(update={"none": none}) if "none" in none else None


def _weight(made: ReferenceAnswers) -> NDArray[np.float64]:
    """Weigh the searches so that a fifth is without the molecule, and half of the others with a reference of it."""
    known, alone = made.referenced, ~made.referenced & ~made.absent
    weight = np.zeros(len(made.rows))
    for kind, share in ((made.absent, _ABSENT), (known, (1 - _ABSENT) / 2), (alone, (1 - _ABSENT) / 2)):
        weight[kind] = share / max(1, kind.sum())
    return weight


def _conditional_logit(searches: ReferenceSearches, names: Sequence[str], seed: int) -> tuple[NDArray[np.float64], int]:
    """Fit the weights of a softmax over candidates, with a weak prior that the structure counts as it is."""
    rows, weight = [], []
    for narrowed, sizes in (("none", (20, 100)), ("formula", ())):
        for query, pool, own, likeness, absent in _searches(searches, narrowed, sizes, seed):  # type: ignore[arg-type]
            if absent or len(pool) < 2:
                continue
            columns = [searches.logits[query, pool][:, None], *(terms(likeness[name]) for name in names)]
            place = int(np.flatnonzero(pool == own)[0])
            known = any(np.isfinite(likeness[name][place]) for name in names)
            order = np.append(place, np.delete(np.arange(len(pool)), place))  # the molecule comes first
            rows.append(np.concatenate(columns, axis=1)[order])
            weight.append(known)
    longest, width = max(map(len, rows)), rows[0].shape[1]
    table, there = np.zeros((len(rows), longest, width)), np.zeros((len(rows), longest), dtype=bool)
    for i, part in enumerate(rows):
        table[i, : len(part)], there[i, : len(part)] = part, True
    known = np.array(weight)
    each = torch.from_numpy(np.where(known, 0.5 / max(1, known.sum()), 0.5 / max(1, (~known).sum())))
    x, mask = torch.from_numpy(table), torch.from_numpy(there)
    prior = torch.tensor([1.0, *([0.0] * (width - 1))], dtype=torch.float64)
    fitted = prior.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([fitted], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = (x @ fitted).masked_fill(~mask, -torch.inf)
        loss = (each * (total.logsumexp(dim=1) - total[:, 0])).sum() + 1e-3 * (fitted - prior).square().sum()
        torch.autograd.backward(loss)
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return fitted.detach().numpy(), len(rows)


def _searches(
    searches: ReferenceSearches, narrowed: Filter, sizes: Sequence[int], seed: int
) -> Iterator[tuple[int, NDArray[np.int64], int, dict[str, Float[NDArray[np.float64], " n"]], bool]]:
    """Yield query, pool, its molecule, the pool's likenesses and whether the molecule is not in the pool."""
    rng = np.random.default_rng(seed)
    whole, formulas = searches.embedded, np.array(searches.embedded.formula)
    for query, own in enumerate(searches.molecule.tolist()):
        others = np.ones(len(whole), dtype=bool)
        if narrowed == "formula":
            others = formulas == formulas[own]
        elif narrowed == "mass":
            others = np.abs(whole.exact_mass - whole.exact_mass[own]) <= _PPM * whole.exact_mass[own]
        others[own] = False
        usable = rng.permutation(np.flatnonzero(others))
        for size in [min(size, len(usable)) for size in sizes] if narrowed == "none" else [len(usable)]:
            if size == 0:
                continue
            drawn = usable[:size]
            known = rng.random(size) < rng.choice(_KNOWN)
            for pool, with_reference in (
                (np.append(drawn[1:], own), True), (np.append(drawn[1:], own), False), (drawn, False),
            ):  # fmt: skip
                absent = pool is drawn
                shown = known if absent else np.append(known[1:], with_reference)
                likeness = {
                    name: np.where(shown, part[query, pool], np.nan) for name, part in searches.likeness.items()
                }
                if with_reference and not any(np.isfinite(part[-1]) for part in likeness.values()):
                    continue
                yield query, pool, own, likeness, absent


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
