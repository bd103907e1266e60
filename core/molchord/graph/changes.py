"""A graph with some of its settings changed, checked as any graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from molchord.errors import RunError, did_you_mean
from molchord.graph.resolve import ModelGraph

__all__ = ["changed", "realigned"]

_WHOLE = {"init": {}, "fraction": 1.0, "missing": {}}
"""Settings of a training that thin or replace something, switched off."""


def changed(
    graph: ModelGraph,
    where: Mapping[str, Mapping[str, Any]] | None = None,
    train: Mapping[str, Any] | None = None,
) -> ModelGraph:
    """Return a graph with another choice of measurements and other settings of the training.

    Args:
        graph: A resolved graph.
        where: Which measurements to use, by modality, in place of its ``where``.
        train: Settings of the training by key.

    Raises:
        RunError: `where` names a modality that the graph lacks.
        GraphError: The result is wrong; holds all complaints.
    """
    mapping = graph.to_dict()
    mapping["train"] |= dict(train or {})
    for name, chosen in (where or {}).items():
        if name not in graph.modalities:
            raise RunError(
                f"`where` names modality {name!r}, which the run lacks; {did_you_mean(name, graph.modalities)}"
            )
        mapping["modalities"][name]["where"] = dict(chosen)
    return ModelGraph.from_dict(mapping)


def realigned(
    graph: ModelGraph, trainable: Sequence[str] | None, epochs: int, where: Mapping[str, Mapping[str, Any]] | None
) -> ModelGraph:
    """Return a graph that trains a few parts only, as `Run.realign` has it, on all the data and from given weights."""
    parts = [f"modalities.{name}.head.out" for name in graph.modalities] if trainable is None else trainable
    chosen = {"default": False, **dict.fromkeys(parts, True)}
    return changed(graph, where, {**_WHOLE, "trainable": chosen, "epochs": epochs})
