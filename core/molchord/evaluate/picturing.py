"""Makes the pictures of an evaluation: of every spectrum alone and of all together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from molchord.absence import Background
from molchord.api import SampleError
from molchord.data.store import DataSet
from molchord.embedder import Embedder
from molchord.errors import PluginError
from molchord.evaluate.confusion import confusion
from molchord.evaluate.embedded import Embedded, Queries, candidate_pool, model_scorer, queries_of
from molchord.evaluate.embedding import EmbeddedData, Perturb, readers, scalar_features_of
from molchord.evaluate.pictures import Confusion, Curve, Neighbourhood, Pictures, Reliability, SpaceMap
from molchord.evaluate.properties import embedded_molecules
from molchord.evaluate.reliability import FEWEST, reliabilities
from molchord.evaluate.robustness import against_noise, against_pool_size, noisy_vectors
from molchord.evaluate.space import neighbourhoods, space_map
from molchord.host import installed
from molchord.properties import AskedProperty
from molchord.retrieval.metrics import Counts, tally
from molchord.run_folder import RunManifest

__all__ = ["chosen_subsets", "make_pictures"]

_MOST_MAPPED, _MOST_ASKED, _MOST_NOISY = 300, 1000, 200
"""Molecules of the map; of the curves against pool size and the confusions; of those against noise. More are drawn
from."""

_EXAMPLES, _GROUPS = 3, 4


def make_pictures(
    embedder: Embedder,
    manifest: RunManifest,
    dataset: DataSet,
    found: EmbeddedData,
    *,
    split: str = "test",
    seed: int = 0,
    perturb: Perturb | None = None,
    projection: str = "pca",
) -> Pictures:
    """Make the pictures of an evaluation, from vectors that are there and a few spectra embedded anew with noise.

    Args:
        embedder: The model.
        manifest: Of its run, with what was calibrated.
        dataset: The data set.
        found: It, embedded.
        split: Whose molecules are queries.
        seed: Of all draws.
        perturb: As it was embedded with.
        projection: One of `vocabulary.PROJECTIONS`.
    """
    embedded, notes = found.embedded, list[str]()
    chosen = [_asked(embedded, subset, split, seed) for subset in chosen_subsets(embedded, split)]
    properties = _properties(notes)
    rows = _drawn(np.flatnonzero(embedded.in_split(split) & embedded.present), _MOST_MAPPED, seed)
    space, near = _space(embedded, rows, chosen, properties, notes, projection, seed)
    background = Background.read(embedder.path)
    reliability = [
        one
        for asked in chosen
        for one in reliabilities(
            embedded, asked.queries.subset, beta=manifest.beta, absence=manifest.absence, background=background,
            split=split, seed=seed,
        )
    ]  # fmt: skip
    notes += _without_reliability(chosen, reliability, manifest)
    curves = [against_pool_size(asked.queries, asked.counts, seed=seed) for asked in chosen]
    noise = _Noise(embedder=embedder, dataset=dataset, found=found, split=split, seed=seed, perturb=perturb)
    curves += noise.curves(chosen, notes)
    return Pictures(
        space=space,
        neighbourhoods=near,
        reliability=tuple(reliability),
        confusions=tuple(_confusions(embedded, chosen, properties, notes)),
        curves=tuple(curves),
        notes=tuple(dict.fromkeys(notes)),
    )


def chosen_subsets(embedded: Embedded, split: str) -> list[tuple[str, ...]]:
    """Return every spectrum alone, and the most of them that some molecule of the split has together.

    Of several sets of so many the one that most molecules have is taken.
    """
    there = {name: np.zeros(len(embedded), dtype=np.bool_) for name in embedded.spectra}
    for name, part in embedded.spectra.items():
        there[name][part.molecule] = True
    asked = embedded.in_split(split)
    alone: list[tuple[str, ...]] = [(name,) for name, has in there.items() if (has & asked).any()]
    table = np.column_stack([has[asked] for has in there.values()]) if there else np.zeros((0, 0), dtype=np.bool_)
    kinds, counts = np.unique(table, axis=0, return_counts=True)
    best = max(zip(kinds.sum(axis=1).tolist(), counts.tolist(), range(len(kinds)), strict=True), default=(0, 0, 0))
    together = tuple(name for name, has in zip(there, kinds[best[2]], strict=True) if has) if best[0] > 1 else ()
    return [*alone, together] if together else alone


@final
@dataclass(frozen=True, kw_only=True)
class _Asked:
    """Queries of a set of spectra, one a molecule, and how they rank among all candidates."""

    queries: Queries
    counts: Counts

    @property
    def first(self) -> NDArray[np.int64]:
        """Return the first hit of each query: of several that score the same as the molecule, another one."""
        return np.where(self.counts.rank == 1, self.queries.molecule, self.counts.rival)


def _asked(embedded: Embedded, subset: tuple[str, ...], split: str, seed: int) -> _Asked:
    queries = _kept(queries_of(embedded, subset, split, most=1), _MOST_ASKED, seed)
    pool = candidate_pool(embedded, queries, "all", split=split, seed=seed)
    scorer = model_scorer(embedded, queries, fusion="gm-exp", mode="blind")
    return _Asked(queries=queries, counts=tally(scorer, queries.truth(embedded), [pool], len(embedded))[0])


def _kept(queries: Queries, most: int, seed: int) -> Queries:
    rows = _drawn(np.arange(len(queries)), most, seed)
    chosen = {name: part[rows] for name, part in queries.measurement.items()}
    return Queries(subset=queries.subset, molecule=queries.molecule[rows], measurement=chosen)


def _drawn(of: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng(seed).permutation(of)[:most])


# --- map and neighbours ----------------------------------------------------------------------------------------------


def _space(
    embedded: Embedded,
    rows: NDArray[np.int64],
    chosen: list[_Asked],
    properties: list[AskedProperty],
    notes: list[str],
    projection: str,
    seed: int,
) -> tuple[SpaceMap | None, tuple[Neighbourhood, ...]]:
    if len(rows) == 0:
        notes.append("map: no molecule of the split could be embedded")
        return None, ()
    groups = dict(_groups(embedded, rows, properties, notes))
    shown = sorted(groups, key=lambda name: abs(float(np.nanmean(groups[name])) - 0.5))[:_GROUPS]
    space = space_map(embedded, rows, groups={name: groups[name] for name in shown}, projection=projection, seed=seed)
    # Those with the most spectra, drawn.
    richness = sum((np.isin(rows, asked.queries.molecule).astype(int) for asked in chosen), np.zeros(len(rows)))
    shuffled = np.random.default_rng(seed).permutation(len(rows))
    order = shuffled[np.argsort(-richness[shuffled], kind="stable")]
    return space, neighbourhoods(embedded, rows[order][:_EXAMPLES].tolist())


def _groups(
    embedded: Embedded, rows: NDArray[np.int64], properties: list[AskedProperty], notes: list[str]
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield what some of the molecules have and others have not, a tenth of them at least."""
    for asked in properties:
        try:
            values = asked.values(embedded_molecules(embedded, rows))
        except PluginError as error:
            notes.append(f"groups: {error}")
            continue
        for name, column in zip(asked.names, values.T, strict=True):
            if np.isfinite(column).any() and 0.1 <= np.nanmean(column) <= 0.9:
                yield name, column


# --- properties ------------------------------------------------------------------------------------------------------


def _properties(notes: list[str]) -> list[AskedProperty]:
    """Build every installed property with its defaults."""
    found = []
    for plugin in installed().plugins:
        if plugin.type == "property":
            try:
                found.append(AskedProperty(plugin.qualified))
            except PluginError as error:
                notes.append(f"groups: {error}")
    if not found:
        notes.append("groups: no property is installed that says what a molecule has")
    return found


def _confusions(
    embedded: Embedded, chosen: list[_Asked], properties: list[AskedProperty], notes: list[str]
) -> Iterator[Confusion]:
    for asked in properties:
        for one in chosen:
            try:
                yield confusion(embedded, asked, one.queries.subset, one.queries.molecule, one.first)
            except PluginError as error:
                notes.append(f"groups: {error}")
                break


def _without_reliability(chosen: list[_Asked], found: list[Reliability], manifest: RunManifest) -> Iterator[str]:
    shown = {one.subset for one in found}
    for asked in chosen:
        subset = asked.queries.subset
        if subset not in shown:
            why = (
                f"there are fewer than {FEWEST} queries"
                if len(subset) in manifest.beta
                else "probabilities were not calibrated for such queries"
            )
            yield f"stated probability of {' + '.join(subset)}: {why}"


# --- noise -----------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, kw_only=True)
class _Noise:
    """What embedding spectra anew needs."""

    embedder: Embedder
    dataset: DataSet
    found: EmbeddedData
    split: str
    seed: int
    perturb: Perturb | None

    def curves(self, chosen: list[_Asked], notes: list[str]) -> Iterator[Curve]:
        """Yield a curve for each set of spectra that noise can be added to."""
        embedded = self.found.embedded
        asked = [_kept(one.queries, _MOST_NOISY, self.seed) for one in chosen]
        vectors = {name: self._vectors(name, asked, notes) for name in embedded.spectra}
        for queries in asked:
            made = {name: by_level for name in queries.subset if (by_level := vectors[name])}
            if len(made) == len(queries.subset):
                levels = next(iter(made.values()))
                noisy = {level: {name: by_level[level] for name, by_level in made.items()} for level in levels}
                yield against_noise(embedded, queries, noisy, split=self.split, seed=self.seed)

    def _vectors(self, name: str, asked: list[Queries], notes: list[str]) -> Mapping[float, Tensor] | None:
        rows = np.unique(np.concatenate([np.zeros(0, np.int64), *(q.measurement.get(name, []) for q in asked)]))
        if len(rows) == 0:
            return None
        read = readers(self.embedder, self.dataset, self.found, split=self.split, perturb=self.perturb)[name]
        scalars = scalar_features_of(self.embedder, self.dataset, self.seed)
        try:
            made = noisy_vectors(
                self.embedder, self.found.embedded, name, rows.astype(np.int64), read, scalars, seed=self.seed
            )
        except SampleError as error:
            notes.append(f"noise on {name}: a spectrum cannot be drawn ({error})")
            return None
        if made is None:
            notes.append(f"noise on {name}: it stores no curve and no heights of peaks that noise could be added to")
        return made
