"""Batches that train one pair of modalities each, in turn, while the other towers rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import final

import torch

from molchord.api import Modality
from molchord.data.loader import Batch, BatchShard
from molchord.graph.resolve import ModelGraph
from molchord.model import Model, pairs_of

__all__ = ["Turns"]


@final
class Turns:
    """Takes turns among the pairs of a graph's loss ("Molecular Vision", PNNL 2024, 2.6 and 2.7).

    Which pair a batch trains follows from its number, so that a resumed training continues with the same one.

    Args:
        graph: Resolved model graph.
        modalities: What each modality plugin built.
    """

    def __init__(self, graph: ModelGraph, modalities: Mapping[str, Modality]) -> None:
        self._pairs = pairs_of(graph)
        self._modalities = dict(modalities)
        self._used: set[str] = set()

    def share(self, share: BatchShard, number: int) -> BatchShard:
        """Return a share of batch `number`, counted from the first epoch, in which one pair is present."""
        pair = self._pairs[number % len(self._pairs)]
        self._used |= set(pair)
        return replace(share, chunks=tuple(self._only(chunk, pair) for chunk in share.chunks))

    def rest(self, model: Model) -> None:
        """Drop the gradients of towers that no batch of the step trained: momentum and weight decay leave them too."""
        for name, tower in model.modalities.items():
            if name not in self._used:
                for parameter in tower.parameters():
                    parameter.grad = None
        self._used.clear()

    def _only(self, chunk: Batch, pair: tuple[str, str]) -> Batch:
        hidden = [name for name in chunk.present if name not in pair]
        return replace(
            chunk,
            present={**chunk.present, **{name: torch.zeros_like(chunk.present[name]) for name in hidden}},
            inputs={**chunk.inputs, **{name: self._modalities[name].collate([]) for name in hidden}},
        )
