"""A whole data set through a model: embeddings for evaluation, and the raw spectra that baselines read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from molchord.api import (
    Compares,
    Derives,
    Locates,
    Measurement,
    ModalityRecord,
    SampleError,
    SpectrumBatch,
    SpectrumSpec,
)
from molchord.data.derived import failures as underived
from molchord.data.loader import NoMeasurements, Source, scalar_table, sources
from molchord.data.store import DataSet, MeasurementTable
from molchord.embedder import EMBEDDED_AT_ONCE, Embedder
from molchord.errors import DataError, RunError
from molchord.evaluate.baselines import nearest_by_cosine, nearest_by_similarity
from molchord.evaluate.embedded import Embedded, Spectra
from molchord.evaluate.evaluation import Baselines, OwnSimilarity, PeakPositions
from molchord.evaluate.pools import make_pool, measured_masses
from molchord.retrieval.scores import pooled_by
from molchord.run_folder import trained_smiles

MASS = "exact_mass"


Perturb: TypeAlias = Callable[[str, Measurement, str], Measurement]
"""What a query's measurement becomes before it is searched with: ``perturb(modality, measurement, key14)``."""

Unusable: TypeAlias = tuple[str, str, str]
"""A measurement that cannot be used: modality, key14 of its molecule, reason."""


@final
@dataclass(frozen=True, kw_only=True)
class EmbeddedData:
    """A data set, embedded, and what could not be.

    Attributes:
        embedded: Vectors of candidates and spectra.
        indices: For each modality the index in its table of every row of `Spectra.vectors`; the first one's where a
            row is of several measurements.
        parts: For each modality the indices of all measurements that every row is of.
        unusable: Measurements that cannot be used, and molecules that cannot be derived.
        missing: Why there is no measurement of a modality, by its name.
    """

    embedded: Embedded
    indices: Mapping[str, NDArray[np.int64]]
    parts: Mapping[str, Sequence[NDArray[np.int64]]]
    unusable: tuple[Unusable, ...]
    missing: Mapping[str, str]

    def combined(self) -> EmbeddedData:
        """Return the data with all measurements of a modality that a molecule has as one, their vectors pooled.

        The baselines take the first of them.
        """
        spectra, indices, parts = {}, {}, {}
        for name, part in self.embedded.spectra.items():
            order = np.argsort(part.molecule, kind="stable")
            rows, starts = np.unique(part.molecule[order], return_index=True)
            vectors = pooled_by(part.vectors, torch.from_numpy(part.molecule), len(self.embedded))[0]
            tells = part.reveals_mass
            known = None if tells is None else np.isin(rows, part.molecule[tells])
            spectra[name] = Spectra(molecule=rows, vectors=vectors[torch.from_numpy(rows)], reveals_mass=known)
            indices[name] = self.indices[name][order[starts]]
            parts[name] = np.split(self.indices[name][order], starts[1:])
        embedded = dataclasses.replace(self.embedded, spectra=spectra)
        return dataclasses.replace(self, embedded=embedded, indices=indices, parts=parts)

    def notes(self) -> tuple[str, ...]:
        """Return what was left out, one sentence per modality."""
        by_modality: dict[str, list[Unusable]] = {}
        for entry in self.unusable:
            by_modality.setdefault(entry[0], []).append(entry)
        counted = (
            f"{name}: {len(entries)} measurements cannot be used and count as absent "
            f"(the first of {entries[0][1]}: {entries[0][2]})"
            for name, entries in by_modality.items()
        )
        return (*self.missing.values(), *counted)


def embed_dataset(
    embedder: Embedder,
    dataset: DataSet,
    *,
    mass_seed: int | None = None,
    split: str = "test",
    perturb: Perturb | None = None,
    progress: bool = False,
) -> EmbeddedData:
    """Embed every molecule and every measurement of a data set.

    Args:
        embedder: The model that embeds.
        dataset: Data set; a modality that it lacks has no spectrum.
        mass_seed: Seed of the measured masses that spectra get for the scalar feature ``exact_mass``, as an
            instrument would give them; None: the exact ones, as candidates always get.
        split: Whose measurements `perturb` changes.
        perturb: Changes the measurements of spectra of that split; None: all stay as they are stored.
        progress: Show progress bars.

    Raises:
        DataError: The data set has a measurement of none of the run's modalities.
    """
    opened = _opened(embedder, dataset, split, perturb, progress=progress)
    keys = dataset.keys()
    unusable = [
        (name, key, reason)
        for name, source in opened.items()
        if isinstance(source.modality, Derives) and isinstance(source.table, MeasurementTable)
        for key, reason in underived(source.table)
    ]
    vectors, rows, _ = _embed_feed(
        embedder, opened[embedder.candidate], scalar_features_of(embedder, dataset), keys, unusable, progress
    )
    candidates, present = pooled_by(vectors, torch.from_numpy(rows), len(dataset))
    scalar_features = scalar_features_of(embedder, dataset, mass_seed)
    spectra, indices = {}, {}
    for name in embedder.spectra:
        vectors, rows, indices[name] = _embed_feed(embedder, opened[name], scalar_features, keys, unusable, progress)
        known = _reveals_mass(embedder.graph.modalities[name].record, opened[name].table, indices[name])
        spectra[name] = Spectra(molecule=rows, vectors=vectors, reveals_mass=known)
    seen, here = trained_smiles(embedder.path), set(keys)
    embedded = Embedded(
        key14=keys,
        smiles=dataset.smiles(),
        formula=dataset.formulas(),
        exact_mass=np.array(dataset.numeric("exact_mass")),
        split=dataset.split,
        trained=np.array([key in seen for key in keys], dtype=bool),
        candidates=candidates.float(),
        present=present.numpy(),
        spectra=spectra,
        tau=embedder.tau,
        pair_tau=embedder.model.pair_temperatures(),
        with_mass=with_mass(embedder),
        trained_elsewhere={key: smiles for key, smiles in seen.items() if key not in here},
    )
    missing = {name: source.missing for name, source in opened.items() if source.missing is not None}
    parts = {name: list(found[:, None]) for name, found in indices.items()}
    return EmbeddedData(embedded=embedded, indices=indices, parts=parts, unusable=tuple(unusable), missing=missing)


def check_pools(embedder: Embedder, dataset: DataSet, pools: Sequence[str], *, split: str, seed: int) -> None:
    """Refuse pools that cannot be made of a data set, before anything is embedded.

    Raises:
        DataError: Unknown pool, or one with too few structures.
    """
    if len(dataset.rows(split)) == 0:
        return  # which the evaluation reports better
    numbers, keys, seen = np.arange(len(dataset)), dataset.keys(), trained_smiles(embedder.path)
    queried = np.isin(numbers, dataset.rows(split))
    held_out = np.isin(numbers, np.concatenate([dataset.rows("test"), dataset.rows("val")]))
    trained = np.array([key in seen for key in keys], dtype=np.bool_)
    formula, mass = dataset.formulas(), np.array(dataset.numeric("exact_mass"))
    for text in pools:
        make_pool(
            text,
            molecule=np.zeros(0, dtype=np.int64),
            present=np.ones(len(dataset), dtype=np.bool_),
            queried=queried,
            held_out=held_out,
            trained=trained,
            formula=formula,
            mass=mass,
            measured=mass,
            seed=seed,
        )


def with_mass(embedder: Embedder) -> frozenset[str]:
    """Name the spectra whose embedding knows the mass: by a scalar feature, or by a column of the whole measurement."""
    return frozenset(
        name
        for name in embedder.spectra
        if embedder.graph.modalities[name].scalar_features
        or getattr(embedder.graph.modalities[name].spec, "reveals_mass", False)
    )


def baselines_of(
    embedder: Embedder,
    dataset: DataSet,
    embedded: Embedded,
    indices: Mapping[str, NDArray[np.int64]],
    *,
    split: str = "test",
    perturb: Perturb | None = None,
    candidates_only: Embedder | None = None,
) -> Baselines:
    """Prepare the baselines that need raw spectra: nearest training spectrum, and a modality's own similarity."""
    opened = _opened(embedder, dataset, split, perturb)
    asked = embedded.in_split(split)
    neighbours, own, peaks = {}, {}, {}
    for name, part in embedded.spectra.items():
        source, modality = opened[name], embedder.modalities[name]
        reader = _reader(source, indices[name])
        queried = np.flatnonzero(asked[part.molecule])
        training = np.flatnonzero(embedded.trained[part.molecule])
        if len(queried) and len(training):
            nearest = _nearest(source, reader, queried, training)
            neighbours[name] = np.full(len(part.molecule), -1, dtype=np.int64)
            neighbours[name][queried] = np.where(nearest >= 0, part.molecule[nearest], -1)
        if isinstance(modality, Compares):
            own[name] = OwnSimilarity(modality=modality, read=reader)
        spec = embedder.graph.modalities[name].spec
        if isinstance(modality, Locates) and isinstance(spec, SpectrumSpec):
            step = abs(spec.stop - spec.start) / max(1, spec.points - 1)
            peaks[name] = PeakPositions(read=_peaks(modality, reader), unit=spec.unit, width=step)
    fixed = None if candidates_only is None else _prior(candidates_only, dataset)
    return Baselines(neighbours=neighbours, own=own, peaks=peaks, candidates_only=fixed)


def readers(
    embedder: Embedder,
    dataset: DataSet,
    found: EmbeddedData,
    *,
    split: str = "test",
    perturb: Perturb | None = None,
) -> dict[str, Callable[[int], list[Measurement]]]:
    """Return, per modality, what reads measurements for a row of `Spectra.vectors`; options as in `embed_dataset`."""
    opened = _opened(embedder, dataset, split, perturb)
    return {name: _reader_of_all(opened[name], parts) for name, parts in found.parts.items()}


def _prior(embedder: Embedder, dataset: DataSet) -> NDArray[np.float64]:
    """Score every candidate by a run that sees no spectrum: all its queries are the same."""
    if not embedder.graph.train.candidates_only:
        raise RunError(
            f"run {str(embedder.path)!r} is not a candidates-only model: it has seen spectra; "
            f"train the same graph with `train.candidates_only: true`"
        )
    embedded = embed_dataset(embedder, dataset).embedded
    total = torch.zeros(embedded.candidates.shape[1])
    for name, part in embedded.spectra.items():
        if len(part.vectors):
            total += part.vectors.mean(dim=0) / (embedded.tau or {}).get(name, 1.0)
    values = (embedded.candidates @ total).double().numpy()
    return np.where(embedded.present, values, np.nan)


# --- helpers ---------------------------------------------------------------------------------------------------------


def _opened(
    embedder: Embedder, dataset: DataSet, split: str, perturb: Perturb | None, *, progress: bool = False
) -> dict[str, Source]:
    """Open a run's measurements; those of spectra of the split are changed by `perturb`, candidates never are."""
    opened = sources(embedder.graph, embedder.modalities, dataset, missing="empty", progress=progress)
    if perturb is not None:
        rows = dataset.rows(split)
        queried = dict(zip(rows.tolist(), dataset.keys(rows), strict=True))
        for name in embedder.spectra:
            opened[name].change = _change(opened[name], queried, perturb)
    return opened


def _change(source: Source, queried: Mapping[int, str], perturb: Perturb) -> Callable[[int, Measurement], Measurement]:
    def change(index: int, measurement: Measurement) -> Measurement:
        key = queried.get(int(source.table.molecule[index]))
        return measurement if key is None else perturb(source.name, measurement, key)

    return change


def scalar_features_of(embedder: Embedder, dataset: DataSet, mass_seed: int | None = None) -> NDArray[np.float32]:
    """Return the scalar features of each molecule, with masses as an instrument would give them by `mass_seed`."""
    table = scalar_table(dataset, embedder.graph.scalar_features)
    if mass_seed is not None and MASS in embedder.graph.scalar_features:
        table[:, embedder.graph.scalar_features.index(MASS)] = measured_masses(dataset.numeric(MASS), mass_seed)
    return table


def _embed_feed(
    embedder: Embedder,
    source: Source,
    scalar_features: NDArray[np.float32],
    keys: Sequence[str],
    unusable: list[Unusable],
    progress: bool,
) -> tuple[Tensor, NDArray[np.int64], NDArray[np.int64]]:
    """Embed all admitted measurements; returns vectors, their molecules and their indices in the table.

    Those that cannot be used go to `unusable`, with the key14 of `keys`.
    """
    all_indices = source.measurements()
    vectors, kept = [torch.zeros(0, embedder.graph.embedding_dim)], []
    starts = range(0, len(all_indices), EMBEDDED_AT_ONCE)
    for start in tqdm(starts, desc=f"embed {source.name}", disable=None if progress else True, leave=False):
        usable, samples = [], []
        for index in all_indices[start : start + EMBEDDED_AT_ONCE].tolist():
            try:
                samples.append(source.sample(index, None))
            except SampleError as error:
                unusable.append((source.name, keys[source.table.molecule[index]], error.reason))
                continue
            usable.append(index)
        if usable:
            rows = source.table.molecule[usable]
            vectors.append(embedder.embed_samples(source.name, samples, scalar_features[rows]).cpu())
            kept += usable
    indices = np.array(kept, dtype=np.int64)
    return torch.cat(vectors), np.asarray(source.table.molecule[indices], dtype=np.int64), indices


def _reveals_mass(
    record: ModalityRecord, table: MeasurementTable | NoMeasurements, indices: NDArray[np.int64]
) -> NDArray[np.bool_] | None:
    """Return from which measurements the molecule's mass can be known; None: from all."""
    if record.mass_needs is None or not isinstance(table, MeasurementTable):
        return None
    return ~table.select({record.mass_needs: None})[indices]


def _reader(source: Source, indices: NDArray[np.int64]) -> Callable[[int], Measurement]:
    return lambda i: source.read(int(indices[i]))


def _reader_of_all(source: Source, parts: Sequence[NDArray[np.int64]]) -> Callable[[int], list[Measurement]]:
    return lambda i: [source.read(index) for index in parts[i].tolist()]


def _peaks(modality: Locates, read: Callable[[int], Measurement]) -> Callable[[int], NDArray[np.floating]]:
    return cache(lambda i: modality.peaks(read(i)))


def _nearest(
    source: Source, read: Callable[[int], Measurement], queried: NDArray[np.int64], training: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the training measurement nearest to each queried one: by the modality's own similarity, else by cosine."""
    first = _flat(source, read, queried[:1])
    if first is not None:
        found = nearest_by_cosine(_all_flat(source, read, queried), _all_flat(source, read, training))
        return training[found]
    if isinstance(source.modality, Compares):
        return nearest_by_similarity(source.modality, [read(int(i)) for i in queried], read, training.tolist())
    return np.full(len(queried), -1, dtype=np.int64)


def _flat(
    source: Source, read: Callable[[int], Measurement], chosen: Sequence[int] | NDArray[np.int64]
) -> Tensor | None:
    """Return measurements as rows on their grid, or None where their kind has none."""
    samples = [source.modality.transform(read(int(i)), None) for i in chosen]
    batch = source.modality.prepare(source.modality.collate(samples), None)
    return batch.values.flatten(1) if isinstance(batch, SpectrumBatch) else None


def _all_flat(source: Source, read: Callable[[int], Measurement], chosen: NDArray[np.int64]) -> Tensor:
    starts = range(0, len(chosen), EMBEDDED_AT_ONCE)
    blocks = [_flat(source, read, chosen[start : start + EMBEDDED_AT_ONCE]) for start in starts]
    found = [block for block in blocks if block is not None]
    if not found:
        raise DataError("baseline 'nearest training spectrum' has no spectra to compare; choose another split")
    return torch.cat(found)
