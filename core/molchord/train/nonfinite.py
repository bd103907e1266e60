"""Finds what makes a training step not finite: a measurement, an embedding, the loss or a gradient, by its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from molchord.data.loader import BatchShard, Source
from molchord.data.store import DataSet
from molchord.graph.resolve import ModelGraph
from molchord.train.step import Seed, Step

__all__ = ["LARGEST", "SKIPPED_IN_A_ROW", "cause_of"]

SKIPPED_IN_A_ROW = 10
"""Steps in a row that may be skipped before a training ends."""

LARGEST = 1e30
"""Values of a measurement above this overflow in fp32 as soon as they are squared."""


def cause_of(
    step: Step,
    shares: Sequence[tuple[Seed, BatchShard]],
    graph: ModelGraph,
    dataset: DataSet,
    sources: Mapping[str, Source],
) -> str:
    """Return what of a step is not finite, as a sentence without its end.

    Each molecule is embedded by itself as far as batch statistics go, so that one does not hide behind the others.

    Args:
        step: What learned from the batches; gradients of the parameters are still there.
        shares: This process's batches of the step, with the seed of each.
        graph: The model graph.
        dataset: Whose molecules are in the batches.
        sources: Their measurements, by modality.
    """
    model = step.model
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        for name, row in _wrong_embeddings(step, shares):
            key = dataset.keys([row])[0]
            node, found = graph.modalities[name], _largest(sources[name], row)
            if found is not None:
                return f"modality {name!r} ({node.use}): the measurement of {key} holds the value {found:g}"
            return f"encoder {node.encoder.use!r} of modality {name!r}: the embedding of {key} is not finite"
    finally:
        for module, training in modes:
            module.training = training
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
            return f"loss {graph.loss.use!r}: it or its gradient is not finite, first that of {name!r}"
    return f"loss {graph.loss.use!r}: it is not finite"


def _wrong_embeddings(step: Step, shares: Sequence[tuple[Seed, BatchShard]]) -> Iterator[tuple[str, int]]:
    """Yield modality and row of the data set of each embedding that is not finite."""
    for seed, share in shares:
        first = share.rows.start
        for chunk in share.chunks:
            rows = slice(first, first + len(chunk.molecule))
            first = rows.stop
            with torch.no_grad():
                embedded = step.encode(chunk, seed, rows, None)
            for name, raw in embedded.raw.items():
                wrong: Tensor = ~raw.isfinite().all(dim=1).cpu() & chunk.present[name].cpu()
                for place in torch.nonzero(wrong)[:, 0].tolist():
                    yield name, int(chunk.molecule[place])


def _largest(source: Source, row: int) -> float | None:
    """Return a value of a molecule's measurements that no network can take; None: there is none."""
    for index in source.choices(row).tolist():
        for values in source.read(index).arrays.values():
            numbers = np.asarray(values)
            if numbers.dtype.kind == "f" and numbers.size:
                wrong = numbers[~(np.abs(numbers.astype(np.float64)) < LARGEST)]
                if len(wrong):
                    return float(wrong.flat[0])
    return None
