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


HEADS = "heads"
"""The word for the last layer of every projection head, among the parts that `realigned` trains."""


def realigned(
    graph: ModelGraph,
    trainable: Sequence[str] | None,
    epochs: int,
    lr: float | None,
    where: Mapping[str, Mapping[str, Any]] | None,
    weight_decay: float | None = None,
) -> ModelGraph:
    """Return a graph that trains some parts only, as `Run.realign` has it, on all the data and from given weights."""
    towers = [f"modalities.{name}" for name in graph.modalities]
    parts = towers if trainable is None else trainable
    named = [part for one in parts for part in ([f"{tower}.head.out" for tower in towers] if one == HEADS else [one])]
    train = {**_WHOLE, "trainable": {"default": False, **dict.fromkeys(named, True)}, "epochs": epochs}
    given = {name: value for name, value in (("lr", lr), ("weight_decay", weight_decay)) if value is not None}
    if given:
        train["optimizer"] = graph.to_dict()["train"]["optimizer"] | given
    return changed(graph, where, train)
