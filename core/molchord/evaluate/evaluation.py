"""Measure a model: every subset of its spectra against every pool, next to the baselines that need no training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from molchord.api import Compares, Measurement
from molchord.errors import DataError, did_you_mean
from molchord.evaluate.audit import audit_split, nearest_training, top1_by_nearest
from molchord.evaluate.baselines import (
    fixed_ranking,
    mass_alone,
    neighbours_of,
    own_similarity,
    peak_coincidence,
    random_counts,
)
from molchord.evaluate.calibration import confidences, logit_scorer
from molchord.evaluate.embedded import (
    Embedded,
    Queries,
    Spectra,
    candidate_pool,
    model_scorer,
    queries_of,
    subsets,
)
from molchord.evaluate.pairs import PairMetrics, told_apart
from molchord.evaluate.pools import CandidatePool, measured_masses
from molchord.evaluate.reranking import Reranked, features_scorer, reranked_scorer
from molchord.evaluate.results import Evaluation, Row, SplitAudit
from molchord.retrieval.metrics import (
    METRICS,
    Counts,
    Scorer,
    blind_mrr,
    bootstrap,
    calibration_error,
    expected_metrics,
    mean_by_molecule,
    paired_tanimoto,
    query_metrics,
    tally,
)
from molchord.retrieval.scores import self_consistency
from molchord.run_folder import code_version
from molchord.vocabulary import ALL_FUSIONS, DEFAULT_POOLS, FUSIONS, MODES, POOLS

__all__ = ["Baselines", "Embedded", "OwnSimilarity", "PeakPositions", "Spectra", "blind_mrr", "evaluate"]


@final
@dataclass(frozen=True, kw_only=True)
class OwnSimilarity:
    """A modality's own similarity and where its measurements are.

    Attributes:
        modality: Offers `similarity`.
        read: Reads a measurement by its index in `Embedded.spectra`.
    """

    modality: Compares
    read: Callable[[int], Measurement]


@final
@dataclass(frozen=True, kw_only=True)
class PeakPositions:
    """Where the peaks of a modality's measurements are.

    Attributes:
        read: Gives the positions, in `unit`, of a measurement by its index in `Embedded.spectra`.
        unit: Modalities of one unit can be matched with each other.
        width: How far apart two positions still count as equal.
    """

    read: Callable[[int], NDArray[np.floating]]
    unit: str
    width: float


@final
@dataclass(frozen=True, kw_only=True)
class Baselines:
    """What the baselines need beyond the embedded data set; the random and the mass baseline need nothing.

    Attributes:
        neighbours: Per modality, the molecule of the training spectrum nearest to each measurement (-1: none).
        own: Per modality, its own similarity, printed in library mode.
        peaks: Per modality, the positions of its peaks, matched between modalities in library mode.
        candidates_only: (n,) score of each candidate by a model trained the same way that sees no spectrum; NaN where
            it has none.
        most_queries: Most queries that a modality's own similarity is measured on, since it may be slow.
    """

    neighbours: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    own: Mapping[str, OwnSimilarity] = field(default_factory=dict)
    peaks: Mapping[str, PeakPositions] = field(default_factory=dict)
    candidates_only: NDArray[np.float64] | None = None
    most_queries: int = 1000


def evaluate(
    embedded: Embedded,
    *,
    pools: Sequence[str] = DEFAULT_POOLS,
    modes: Sequence[str] = MODES,
    fusions: Sequence[str] = FUSIONS,
    split: str = "test",
    seed: int = 0,
    resamples: int = 1000,
    most_spectra: int = 32,
    baselines: Baselines | None = None,
    calibration: Mapping[int, float] | None = None,
    reranked: Reranked | None = None,
    fingerprints: NDArray[np.uint8] | None = None,
    audit: bool = True,
    tautomers: int | None = 2000,
    settings: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> Evaluation:
    """Measure every non-empty subset of the spectra, each over the molecules of a split that have all of the subset.

    A molecule with several spectra of a modality has several queries: the r-th takes measurement r modulo their number
    of each modality; metrics average by molecule first. A query whose true molecule is not in the pool is a miss.

    Args:
        embedded: The embedded data set.
        pools: ``test``, ``all``, ``all:N``, ``isomers``, ``unseen:N``, ``mass:Xppm``.
        modes: ``blind`` and ``library``, kept apart.
        fusions: Forms of the geometric mean, or ``published``.
        split: The split whose molecules are the queries (and the pool ``test``); ``val`` for choosing anything.
        seed: Of the bootstrap, the mass errors and the draw of unseen structures.
        resamples: Bootstrap resamples over molecules.
        most_spectra: Most queries per molecule.
        baselines: What further baselines need; None prints the random and the mass baseline only.
        calibration: Number of spectra to beta, for the expected calibration error of blind ``gm-exp`` rows.
        reranked: A fitted re-ranker, for rows of its own next to those of blind ``gm-exp``.
        fingerprints: (n, bytes) packed Morgan fingerprints; None computes them.
        audit: Whether to audit the split.
        tautomers: Most canonical tautomers to compute for the audit; None skips them.
        settings: What else belongs with the metrics, such as the graph's hash and the candidates' geometry.
        device: Where scores are computed.

    Raises:
        DataError: Unknown pool, mode, fusion or split, none or one twice, no candidate, or no query at all.

    Example:
        >>> import torch
        >>> embedded = Embedded(
        ...     key14=["A", "B"], smiles=["C", "CC"], formula=["CH4", "C2H6"], exact_mass=np.array([16.031, 30.047]),
        ...     split=np.array([2, 2]), trained=np.zeros(2, bool), candidates=torch.eye(2), present=np.ones(2, bool),
        ...     spectra={"ir": Spectra(molecule=np.array([0, 1]), vectors=torch.eye(2))},
        ... )
        >>> found = evaluate(embedded, pools=["test"], modes=["blind"], fusions=["gm-exp"], audit=False)
        >>> found.find("ir", system="model").metrics["top1"]
        Interval(value=1.0, low=1.0, high=1.0)
    """
    _check(embedded, pools, modes, fusions)
    run = _Run(
        embedded=embedded,
        pools=tuple(pools),
        split=split,
        seed=seed,
        resamples=resamples,
        measured=measured_masses(embedded.exact_mass, seed),
        fingerprints=_morgan(embedded.smiles) if fingerprints is None else fingerprints,
        device=device,
    )
    rows: list[Row] = []
    notes: list[str] = []
    consistency: dict[str, float] = {}
    pairs: dict[str, PairMetrics] = {}
    if "library" in modes and len(embedded.spectra) < 2:
        modes = [mode for mode in modes if mode != "library"]
        notes.append("library mode needs two modalities with spectra; it is left out")
    if reranked is not None and reranked.split == split:
        notes.append(f"re-ranking: its weights were fitted on these very queries of {split!r}, so its rows flatter it")
    for subset in subsets(list(embedded.spectra)):
        name = " + ".join(subset)
        queries = queries_of(embedded, subset, split, most=most_spectra)
        if len(queries) == 0:
            notes.append(f"{name}: no molecule of split {split!r} has all of these spectra")
            continue
        if len(subset) > 1:
            consistency[name] = float(self_consistency(queries.vectors(embedded)).nanmean())
        rows += _subset_rows(run, queries, modes, fusions, calibration or {}, reranked)
        scorer = model_scorer(embedded, queries, fusion=fusions[0], mode="blind", device=device)
        apart = told_apart(scorer, embedded, queries, split, seed=seed)
        pairs |= {} if apart is None else {name: apart}
        rows += _baseline_rows(run, queries, baselines or Baselines(), modes)
    if not rows:
        raise DataError(f"evaluation failed: no molecule of split {split!r} has a spectrum; choose another split")
    found = _audit(run, rows, fusions[0], tautomers) if audit else None
    described = {"seed": seed, "split": split, "resamples": resamples, **code_version(), **(settings or {})}
    return Evaluation(
        rows=tuple(rows), settings=described, self_consistency=consistency, notes=tuple(notes), audit=found, pairs=pairs
    )


_FEWEST = 10


# --- rows ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What every row of one evaluation shares."""

    embedded: Embedded
    pools: tuple[str, ...]
    split: str
    seed: int
    resamples: int
    measured: NDArray[np.float64]
    fingerprints: NDArray[np.uint8]
    device: str

    def make_pools(self, queries: Queries) -> list[CandidatePool]:
        return [candidate_pool(self.embedded, queries, text, split=self.split, seed=self.seed) for text in self.pools]

    def count(self, scorer: Scorer, queries: Queries) -> Iterator[tuple[CandidatePool, Counts]]:
        pools = self.make_pools(queries)
        counts = tally(scorer, queries.truth(self.embedded), pools, len(self.embedded))
        return zip(pools, counts, strict=True)

    def row(
        self,
        queries: Queries,
        pool: CandidatePool,
        counts: Counts,
        metrics: NDArray[np.float64],
        *,
        system: str,
        mode: str = "",
        fusion: str = "",
        with_mass: bool = False,
        left_out: int = 0,
        error: float | None = None,
    ) -> Row:
        """Make a row of per-query metrics.

        Queries leave where an isomer pool has one member, which is not a test, or a row with mass has none to go by.
        """
        with_mass = with_mass or pool.with_mass
        kept = counts.size > 1 if pool.isomers else np.ones(len(queries), dtype=np.bool_)
        if with_mass:
            kept = kept & queries.mass_known(self.embedded)
        means = mean_by_molecule(metrics[kept], queries.molecule[kept])
        intervals = bootstrap(means[1], resamples=self.resamples, seed=self.seed)
        return Row(
            system=system,
            subset=queries.subset,
            mode=mode,
            fusion=fusion,
            pool=pool.name,
            pool_size=float(np.median(counts.size[kept])) if kept.any() else 0.0,
            queries=int(kept.sum()),
            molecules=len(means[0]),
            left_out=int((~kept).sum()) + left_out,
            unreachable=int((~counts.found[kept]).sum()),
            with_mass=with_mass,
            metrics=dict(zip(METRICS, intervals, strict=True)),
            calibration_error=error,
            by_molecule=means,
        )

    def metrics(self, queries: Queries, counts: Counts) -> NDArray[np.float64]:
        """Return the metrics of each query, ties against the system."""
        rival = paired_tanimoto(self.fingerprints[queries.molecule], self.fingerprints[counts.rival])
        return query_metrics(counts, np.where(counts.rival >= 0, rival, 0.0))


def _subset_rows(
    run: _Run,
    queries: Queries,
    modes: Sequence[str],
    fusions: Sequence[str],
    calibration: Mapping[int, float],
    reranked: Reranked | None,
) -> Iterator[Row]:
    """Measure one subset of the spectra by the model, and re-ranked where it is blind ``gm-exp``."""
    for mode in modes:
        for fusion in fusions:
            beta = calibration.get(len(queries.subset)) if (mode, fusion) == ("blind", "gm-exp") else None
            yield from _model_rows(run, queries, mode, fusion, beta)
    if reranked is not None and "blind" in modes and "gm-exp" in fusions:
        yield from _reranked_rows(run, queries, reranked, calibration)
        yield from _features_rows(run, queries, reranked)


def _model_rows(run: _Run, queries: Queries, mode: str, fusion: str, beta: float | None) -> Iterator[Row]:
    aware = not run.embedded.with_mass.isdisjoint(queries.subset)
    if mode == "library":
        aware = aware or bool(run.embedded.with_mass)
    scorer = model_scorer(run.embedded, queries, fusion=fusion, mode=mode, device=run.device)
    for pool, counts in run.count(scorer, queries):
        error = None if beta is None else _error(run, queries, pool, beta)
        metrics = run.metrics(queries, counts)
        yield run.row(
            queries, pool, counts, metrics, system="model", mode=mode, fusion=fusion, with_mass=aware, error=error
        )


def _reranked_rows(run: _Run, queries: Queries, by: Reranked, calibration: Mapping[int, float] | None) -> Iterator[Row]:
    aware = not run.embedded.with_mass.isdisjoint(queries.subset)
    for pool in run.make_pools(queries):
        weights = by.weights.get(pool.name, {}).get(" + ".join(queries.subset))
        if weights is None:
            continue
        scorer = reranked_scorer(run.embedded, queries, pool, by, weights, calibration)
        counts = tally(scorer, queries.truth(run.embedded), [pool], len(run.embedded))[0]
        metrics = run.metrics(queries, counts)
        yield run.row(queries, pool, counts, metrics, system=by.system, mode="blind", fusion="gm-exp", with_mass=aware)


def _features_rows(run: _Run, queries: Queries, by: Reranked) -> Iterator[Row]:
    """Yield baselines: all candidates ranked by a re-ranker's features, without the model's score."""
    for pool in run.make_pools(queries):
        weights = by.alone.get(pool.name, {}).get(" + ".join(queries.subset))
        if weights is None:
            continue
        name = by.reranking.name
        for system, chosen in ((f"{name} alone", weights), (f"{name}, first feature", None)):
            scorer = features_scorer(run.embedded, queries, pool, by, chosen)
            counts = tally(scorer, queries.truth(run.embedded), [pool], len(run.embedded))[0]
            yield run.row(queries, pool, counts, run.metrics(queries, counts), system=system, mode="blind")


def _baseline_rows(run: _Run, queries: Queries, baselines: Baselines, modes: Sequence[str]) -> Iterator[Row]:
    mass = mass_alone(run.embedded.exact_mass, run.measured[queries.molecule])
    for pool, counts in run.count(mass, queries):
        chance = random_counts(counts)
        yield run.row(queries, pool, chance, expected_metrics(chance), system="random (expected)")
        yield run.row(queries, pool, counts, run.metrics(queries, counts), system="mass alone", with_mass=True)
        expected = expected_metrics(counts)
        yield run.row(queries, pool, counts, expected, system="mass alone (expected)", with_mass=True)
    if baselines.candidates_only is not None:
        fixed = fixed_ranking(baselines.candidates_only, len(queries))
        for pool, counts in run.count(fixed, queries):
            yield run.row(queries, pool, counts, run.metrics(queries, counts), system="candidates only")
    neighbours = [baselines.neighbours[m][queries.measurement[m]] for m in queries.subset if m in baselines.neighbours]
    if len(neighbours) == len(queries.subset):
        for pool, counts in run.count(neighbours_of(run.fingerprints, neighbours), queries):
            yield run.row(queries, pool, counts, run.metrics(queries, counts), system="nearest training spectrum")
    if "library" in modes and len(queries.subset) == 1 and queries.subset[0] in baselines.own:
        yield from _own_rows(run, queries, baselines)
    if "library" in modes:
        yield from _peak_rows(run, queries, baselines.peaks)


def _peak_rows(run: _Run, queries: Queries, peaks: Mapping[str, PeakPositions]) -> Iterator[Row]:
    """Yield the rows of peak coincidence: the query's peaks against those of the candidates' other modalities.

    There are none unless every modality of the query has a unit in common with another modality.
    """
    units = {peaks[name].unit for name in queries.subset if name in peaks}
    names = [name for name in peaks if peaks[name].unit in units]
    if len(units) != 1 or not set(queries.subset) <= set(names) or len(names) < 2:
        return
    asked, known = {}, {}
    for name in names:
        molecule = run.embedded.spectra[name].molecule
        positions = [peaks[name].read(i) for i in range(len(molecule))]
        of_molecule: list[list[NDArray[np.floating]]] = [[] for _ in range(len(run.embedded))]
        for owner, found in zip(molecule.tolist(), positions, strict=True):
            of_molecule[owner].append(found)
        known[name] = [np.concatenate([np.zeros(0), *parts]) for parts in of_molecule]
        if name in queries.subset:
            asked[name] = [positions[i] for i in queries.measurement[name].tolist()]
    scorer = peak_coincidence(asked, known, max(peaks[name].width for name in names))
    for pool, counts in run.count(scorer, queries):
        yield run.row(queries, pool, counts, run.metrics(queries, counts), system="peak coincidence", mode="library")


def _own_rows(run: _Run, queries: Queries, baselines: Baselines) -> Iterator[Row]:
    """Yield the rows of a modality's own similarity, over the queries whose molecule has another reference spectrum.

    There are none where fewer than ten molecules have one.
    """
    name = queries.subset[0]
    molecule = run.embedded.spectra[name].molecule
    usable = np.flatnonzero(np.bincount(molecule, minlength=len(run.embedded))[queries.molecule] > 1)
    chosen = np.sort(np.random.default_rng(run.seed).permutation(usable)[: baselines.most_queries])
    if len(np.unique(queries.molecule[chosen])) < _FEWEST:
        return  # a percentage of a handful of molecules misleads
    fewer = Queries(
        subset=queries.subset,
        molecule=queries.molecule[chosen],
        measurement={name: queries.measurement[name][chosen]},
    )
    own = baselines.own[name]
    scorer = own_similarity(
        own.modality,
        own.read,
        queries=fewer.measurement[name],
        references=np.flatnonzero(run.embedded.present[molecule]),
        molecule=molecule,
        candidates=len(run.embedded),
    )
    gone = len(queries) - len(fewer)
    for pool, counts in run.count(scorer, fewer):
        metrics = run.metrics(fewer, counts)
        yield run.row(fewer, pool, counts, metrics, system="own similarity", mode="library", left_out=gone)


def _error(run: _Run, queries: Queries, pool: CandidatePool, beta: float) -> float:
    """Return the expected calibration error of the first hit's probability, before any quality warning lowers it."""
    scorer = logit_scorer(run.embedded, queries, beta, device=run.device)
    return calibration_error(*confidences(scorer, queries.truth(run.embedded), pool, len(run.embedded)))


def _audit(run: _Run, rows: Sequence[Row], fusion: str, tautomers: int | None) -> SplitAudit:
    """Audit the split against all molecules that were trained on, those of other data sets too."""
    embedded = run.embedded
    others = [smiles for smiles in embedded.trained_elsewhere.values() if smiles]
    tested = np.pad(embedded.in_split(run.split), (0, len(others)))
    trained = np.pad(embedded.trained, (0, len(others)), constant_values=True)
    fingerprints = run.fingerprints if not others else np.concatenate([run.fingerprints, _morgan(others)])
    nearest = nearest_training(fingerprints, tested, trained)
    blind = [r for r in rows if (r.system, r.mode, r.fusion, r.pool) == ("model", "blind", fusion, run.pools[0])]
    top1 = {
        " + ".join(r.subset): top1_by_nearest(r.by_molecule[0], r.by_molecule[1][:, 0], tested, nearest) for r in blind
    }
    return audit_split(
        smiles=[*embedded.smiles, *others],
        tested=tested,
        trained=trained,
        nearest=nearest,
        top1=top1,
        tautomers=tautomers,
        unknown=len(embedded.trained_elsewhere) - len(others),
    )


# --- helpers ---------------------------------------------------------------------------------------------------------


def _check(embedded: Embedded, pools: Sequence[str], modes: Sequence[str], fusions: Sequence[str]) -> None:
    for name, allowed, given in (("pool", POOLS, pools), ("mode", MODES, modes), ("fusion", ALL_FUSIONS, fusions)):
        for value in given if name != "pool" else ():  # a pool is checked where it is made
            if value not in allowed:
                raise DataError(f"evaluation failed: unknown {name} {value!r}; {did_you_mean(value, allowed)}")
        if not given:
            raise DataError(f"evaluation failed: no {name} was given; allowed: {', '.join(map(repr, allowed))}")
        if len(set(given)) < len(given):
            raise DataError(f"evaluation failed: a {name} is given twice in {list(given)!r}; name each once")
    if not embedded.spectra:
        raise DataError(
            "evaluation failed: there are no spectra; evaluate a run that has one modality beside the candidate"
        )


def _morgan(smiles: Sequence[str]) -> NDArray[np.uint8]:
    from molchord.chem import morgan

    return morgan(smiles)
