"""From stored measurements to batches of all modalities.

A training row is a molecule; each epoch draws one measurement per modality. Every random choice derives from
(seed, epoch, row, modality), so a batch is the same whichever worker makes it and whenever it is made.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from molchord.api import Derives, Measurement, Modality, SampleError
from molchord.data.derived import derive
from molchord.data.store import DataSet, MeasurementTable
from molchord.errors import DataError, did_you_mean
from molchord.graph.nodes import ModalityNode
from molchord.graph.resolve import ModelGraph
from molchord.seeding import random_state

Missing: TypeAlias = Literal["refuse", "empty"]
"""What happens to a modality that a data set has no measurement for: an error, or a source without any."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Measurements of b molecules.

    Attributes:
        molecule: (b,) int64 row of each molecule in the data set.
        present: Which molecules have the modality, each (b,) bool.
        inputs: The modality's own batch of the present molecules only, in row order.
        scalar_features: (b, a) float32 known numbers of the molecules, NaN where unknown.
        features: Per-molecule features that the loss asked for, each (b, ...).
        failures: Measurements that could not be used: (modality, id, reason).
    """

    molecule: Tensor
    present: dict[str, Tensor]
    inputs: dict[str, Any]
    scalar_features: Tensor
    features: dict[str, Tensor] = field(default_factory=dict)
    failures: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class BatchShard:
    """What one process has of a batch.

    Attributes:
        chunks: Its molecules in mini-batches, as many as go through the encoders together; at least one.
        rank: Which of the processes it is.
        sizes: How many molecules of the batch each process has, in order of rank.
    """

    chunks: tuple[Batch, ...]
    rank: int = 0
    sizes: tuple[int, ...]

    @property
    def rows(self) -> slice:
        """Where its molecules are in the batch."""
        first = sum(self.sizes[: self.rank])
        return slice(first, first + self.sizes[self.rank])


def divided(count: int, parts: int) -> tuple[int, ...]:
    """Divide rows into parts of nearly the same size.

    Example:
        >>> divided(7, 2), divided(1, 2)
        ((3, 4), (0, 1))
    """
    return tuple(count * (i + 1) // parts - count * i // parts for i in range(parts))


@final
class NoMeasurements:
    """Replaces the table of a modality that a data set has no measurement for."""

    def __init__(self) -> None:
        self.molecule: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        return 0

    def of(self, row: int) -> NDArray[np.int64]:
        """Return the indices of a molecule's measurements: none."""
        return self.molecule

    def read(self, index: int) -> Measurement:
        """Raise `IndexError`, as a table does for an index that it lacks."""
        raise IndexError(f"measurement {index} of none")


class Source:
    """One modality of a model graph as the loader sees it: the measurements of each molecule, and their transform.

    Args:
        name: Name in the graph.
        modality: What the plugin's `build` returned.
        table: Stored or derived measurements.
        selected: (k,) bool, which of them the graph's `where` admits.
        weights: (k,) sampling weights, or None for uniform.
        missing: Why there is no measurement, in a sentence; None: there are some.

    Attributes:
        change: What is made of the measurement of an index once it is read; None: nothing.
    """

    def __init__(
        self,
        name: str,
        modality: Modality,
        table: MeasurementTable | NoMeasurements,
        selected: NDArray[np.bool_] | None = None,
        weights: NDArray[np.float64] | None = None,
        missing: str | None = None,
    ) -> None:
        self.name = name
        self.modality = modality
        self.table = table
        self.change: Callable[[int, Measurement], Measurement] | None = None
        self.missing = missing
        # A measurement of weight 0 is never drawn, hence not there.
        weighty = None if weights is None else weights > 0
        self._selected = weighty if selected is None else selected if weighty is None else selected & weighty
        self._weights = weights

    def leave_out(self, molecules: NDArray[np.int64]) -> None:
        """Admit no measurement of these molecules any more."""
        kept = ~np.isin(self.table.molecule, molecules)
        self._selected = kept if self._selected is None else self._selected & kept

    def choices(self, row: int) -> NDArray[np.int64]:
        """Return the indices of a molecule's admitted measurements."""
        indices = self.table.of(row)
        return indices if self._selected is None else indices[self._selected[indices]]

    def measurements(self) -> NDArray[np.int64]:
        """Return the indices of all admitted measurements."""
        indices = np.arange(len(self.table))
        return indices if self._selected is None else indices[self._selected]

    def present(self, molecules: int) -> NDArray[np.bool_]:
        """Return which of the data set's molecules have an admitted measurement, (molecules,)."""
        out = np.zeros(molecules, dtype=bool)
        out[self.table.molecule[self.measurements()]] = True
        return out

    def draw(self, row: int, rng: np.random.Generator | None) -> int | None:
        """Choose one measurement of a molecule; the first one where `rng` is None; None where there is none."""
        indices = self.choices(row)
        if len(indices) == 0:
            return None
        if rng is None or len(indices) == 1:
            return int(indices[0])
        if self._weights is None:
            return int(rng.choice(indices))
        weights = self._weights[indices]
        return int(rng.choice(indices, p=weights / weights.sum()))

    def sample(self, index: int, rng: np.random.Generator | None) -> Any:
        """Read and transform one measurement; raises `SampleError` where it cannot be used."""
        return self.modality.transform(self.read(index), rng)

    def read(self, index: int) -> Measurement:
        """Read one measurement."""
        measurement = self.table.read(index)
        return measurement if self.change is None else self.change(index, measurement)


def sources(
    graph: ModelGraph,
    modalities: Mapping[str, Modality],
    dataset: DataSet,
    *,
    missing: Missing = "refuse",
    workers: int | None = None,
    progress: bool = False,
) -> dict[str, Source]:
    """Open the measurements of every modality of a graph; those made from the molecule are derived, or read from cache.

    Args:
        graph: Resolved model graph.
        modalities: What each modality plugin built.
        dataset: Data set.
        missing: Refuse a modality without a measurement, or give it an empty source that has why in `Source.missing`.
        workers: Processes that derive.
        progress: Show progress bars.

    Raises:
        DataError: The data set holds no measurement for a modality; with ``missing="empty"``, for any stored one.
    """
    out = {}
    stored = []
    for name, node in graph.modalities.items():
        modality = modalities[name]
        if isinstance(modality, Derives):
            table = derive(
                dataset,
                node.use,
                modality,
                node.config,
                stores=node.record.stores,
                version=node.plugin.version,
                workers=workers,
                progress=progress,
            )
            out[name] = Source(name, modality, table)
            continue
        out[name] = _stored(name, node, modality, dataset, graph.train.sampling.get(name))
        stored.append(out[name].missing)
    reasons = [reason for reason in stored if reason is not None]
    if reasons and (missing == "refuse" or len(reasons) == len(stored)):
        raise DataError(reasons[0])
    return out


def _stored(
    name: str,
    node: ModalityNode,
    modality: Modality,
    dataset: DataSet,
    sampling: Mapping[str, Mapping[str, float]] | None,
) -> Source:
    if node.data not in dataset.stored:
        reason = f"data set {str(dataset.path)!r} has no measurements {node.data!r} for modality {name!r}"
        return Source(name, modality, NoMeasurements(), missing=f"{reason}; {did_you_mean(node.data, dataset.stored)}")
    table = dataset.table(node.data, node.record.stores, modality)
    selected = table.select(node.where) if node.where else None
    missing = None
    if selected is not None and not selected.any():
        missing = (
            f"modality {name!r} finds no measurement in {str(dataset.path)!r} where {dict(node.where)!r}; "
            f"change `where`, or import such measurements"
        )
    return Source(name, modality, table, selected, _weights(table, sampling), missing)


def _weights(table: MeasurementTable, sampling: Mapping[str, Mapping[str, float]] | None) -> NDArray[np.float64] | None:
    if not sampling:
        return None
    weights = np.ones(len(table))
    for column, by_value in sampling.items():
        weights *= np.array([by_value.get(str(value), 1.0) for value in table.column(column)])
    return weights


class DrawnRows(Dataset[dict[str, Any]]):
    """Molecules as a torch data set; an item is requested by (epoch, row), epoch -1 meaning deterministic."""

    def __init__(self, sources: Mapping[str, Source], seed: int) -> None:
        self._feeds = dict(sources)
        self._seed = seed

    def __getitem__(self, index: tuple[int, int]) -> dict[str, Any]:
        epoch, row = index
        samples: dict[str, Any] = {}
        failures = []
        for name, source in self._feeds.items():
            rng = None if epoch < 0 else np.random.default_rng(random_state(self._seed, epoch, row, name))
            chosen = source.draw(row, rng)
            if chosen is None:
                continue
            try:
                samples[name] = source.sample(chosen, rng)
            except SampleError as error:
                failures.append((name, error.id, error.reason))
        return {"row": row, "samples": samples, "failures": failures}


class Collate:
    """Turn items of `DrawnRows` into a `Batch`."""

    def __init__(
        self,
        modalities: Mapping[str, Modality],
        scalar_features: NDArray[np.float32],
        features: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        self._modalities = dict(modalities)
        self.scalar_features = scalar_features
        self._features = dict(features or {})

    def __call__(self, items: Sequence[dict[str, Any]]) -> Batch:
        """Collate the present samples of each modality."""
        rows = np.array([item["row"] for item in items], dtype=np.int64)
        present, inputs = {}, {}
        for name, modality in self._modalities.items():
            present[name] = torch.tensor([name in item["samples"] for item in items], dtype=torch.bool)
            inputs[name] = modality.collate([item["samples"][name] for item in items if name in item["samples"]])
        return Batch(
            molecule=torch.from_numpy(rows),
            present=present,
            inputs=inputs,
            scalar_features=torch.from_numpy(np.ascontiguousarray(self.scalar_features[rows])),
            features={name: torch.from_numpy(np.array(values[rows])) for name, values in self._features.items()},
            failures=tuple(failure for item in items for failure in item["failures"]),
        )


class Batches:
    """Batches of a set of molecules, epoch by epoch.

    Args:
        sources: Feeds by modality name.
        collate: Makes a batch of items.
        rows: Molecules to go through.
        batch_size: Molecules per batch.
        seed: Seed of the order and of every draw.
        workers: Loader processes.
        shuffle: Draw a new order and new measurements each epoch; False: rows in order, first measurements.
        chunk: Molecules per `Batch`; None: all that this process has of a batch.
        rank: Which of the processes this is that share each batch.
        processes: How many they are.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        collate: Callable[[Sequence[dict[str, Any]]], Batch],
        rows: NDArray[np.int64],
        *,
        batch_size: int,
        seed: int,
        workers: int = 0,
        shuffle: bool = True,
        chunk: int | None = None,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self._chunk = chunk
        self._rank = rank
        self._processes = processes
        self._rows = rows
        self._size = batch_size
        self._seed = seed
        self._shuffle = shuffle
        self._sampler = _Order()
        self._loader: DataLoader[Any] = DataLoader(
            DrawnRows(sources, seed),
            batch_sampler=self._sampler,
            collate_fn=collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            multiprocessing_context="forkserver" if workers > 0 else None,
            worker_init_fn=_ignore_interrupts if workers > 0 else None,
            # An own generator, so that making an iterator does not draw from torch's global one.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        return -(-len(self._rows) // self._size)

    def epoch(self, epoch: int = 0, start: int = 0, order: NDArray[np.int64] | None = None) -> Iterator[Batch]:
        """Yield what `shares` does, one mini-batch after another: whole batches, where nothing divides them."""
        for share in self.shares(epoch, start, order):
            yield from share.chunks

    def shares(self, epoch: int = 0, start: int = 0, order: NDArray[np.int64] | None = None) -> Iterator[BatchShard]:
        """Yield this process's share of the batches of one epoch from batch `start` on.

        Args:
            epoch: Number of the epoch.
            start: First batch.
            order: Molecules of the epoch, where chosen elsewhere.

        Raises:
            DataError: A loader process died.
        """
        rows = self._rows if order is None else order
        if self._shuffle and order is None:
            rows = np.random.default_rng(random_state(self._seed, epoch, "order")).permutation(rows)
        number = epoch if self._shuffle else -1
        shares = []
        for first in range(start * self._size, len(rows), self._size):
            sizes = divided(min(self._size, len(rows) - first), self._processes)
            own = [(number, int(row)) for row in rows[first + sum(sizes[: self._rank]) :][: sizes[self._rank]]]
            step = self._chunk or max(1, len(own))
            shares.append((sizes, [own[i : i + step] for i in range(0, max(1, len(own)), step)]))
        self._sampler.batches = [chunk for _, chunks in shares for chunk in chunks]
        try:
            loaded = iter(self._loader)
            for sizes, chunks in shares:
                yield BatchShard(chunks=tuple(next(loaded) for _ in chunks), rank=self._rank, sizes=sizes)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise DataError(
                'a loader process died; set `train.workers: 0`, or guard the script with `if __name__ == "__main__":`'
            ) from error


def _ignore_interrupts(worker: int) -> None:
    """Leave signals to the training process, which ends the current step and saves; its workers end with it."""
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)


class _Order:
    """The batches of the current epoch; the loader asks again at each epoch."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[int, int]]] = []

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)
