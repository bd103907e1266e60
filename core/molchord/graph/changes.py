"""A graph with some of its settings changed, checked as any graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from molchord.errors import RunError, did_you_mean
from molchord.graph.resolve import ModelGraph

__all__ = ["changed"]


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
