"""Checks of a model graph's names against each other: parts, columns, scalar features, stored data.

They look at what the user wrote, so they find their faults even where another part of the graph is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from molchord.api import Category, Real, Stores
from molchord.complaints import Complaint, DocumentPath
from molchord.errors import did_you_mean
from molchord.graph.settings import HeadConfig
from molchord.vocabulary import ORIGINS

__all__ = [
    "check_missing",
    "check_sampling",
    "check_scalar_features",
    "check_train",
    "check_where",
    "mapping_at",
    "parts_of",
]

ORIGIN = Category(ORIGINS)


def mapping_at(data: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """Return the mapping below some keys; an empty one where it is missing (which is reported elsewhere)."""
    value: Any = data
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def parts_of(heads: Mapping[str, HeadConfig | None]) -> tuple[str, ...]:
    """Return the dotted paths of a graph's parts; None means a head that could be any.

    Example:
        >>> parts_of({"ir": HeadConfig(layers=1, layer_norm=False)})
        ('modalities', 'modalities.ir', 'modalities.ir.encoder', 'modalities.ir.head', 'modalities.ir.head.out', 'loss')
    """
    parts = ["modalities"]
    for name, head in heads.items():
        tower = f"modalities.{name}"
        parts += [tower, f"{tower}.encoder", f"{tower}.head", f"{tower}.head.out"]
        if head is None or head.layers > 1:
            parts.append(f"{tower}.head.projection")
        if head is None or head.layer_norm:
            parts.append(f"{tower}.head.norm")
    return (*parts, "loss")


def check_train(train: Mapping[str, Any], parts: Sequence[str]) -> Iterator[Complaint]:
    """Find names in `train` that are not parts of the graph, and sources of weights that are not written RUN#PART."""
    named: list[tuple[DocumentPath, object]] = []
    for rates in ("lr", "weight_decay"):
        groups = mapping_at(train, "optimizer", rates)
        named += [(("optimizer", rates, key), key) for key in groups if key != "default"]
    named += [(("init", key), key) for key in mapping_at(train, "init")]
    named += [(("trainable", key), key) for key in mapping_at(train, "trainable") if key != "default"]
    for path, part in named:
        if isinstance(part, str) and part not in parts:
            yield ("train", *path), f"unknown part {part!r}; {did_you_mean(part, parts)}"
    for part, source in mapping_at(train, "init").items():
        run, _, theirs = source.partition("#") if isinstance(source, str) else ("?", "#", "?")
        if not run or not theirs:
            yield ("train", "init", part), f"got {source!r}; write RUN#PART, such as 'runs/a#{part}'"


def check_sampling(sampling: Mapping[str, Any], stores: Mapping[str, Stores | None]) -> Iterator[Complaint]:
    """Find modalities, columns and values in `train.sampling` that do not exist.

    Args:
        sampling: What the user wrote.
        stores: Declaration of each modality of the graph, None where its plugin was not found.
    """
    for name, columns in sampling.items():
        at: DocumentPath = ("train", "sampling", name)
        declared = stores.get(name)
        if name not in stores:
            yield at, f"unknown modality {name!r} in this graph; {did_you_mean(name, stores)}"
        elif declared is not None and isinstance(columns, dict):
            values = {column: list(weights) for column, weights in columns.items() if isinstance(weights, dict)}
            yield from check_where(values, declared, f"modality {name!r}", at)


def check_missing(missing: Mapping[str, Any], names: Sequence[str], candidate: str | None) -> Iterator[Complaint]:
    """Find modalities in `train.missing` that do not exist, and the one that is retrieved, which is never missing."""
    allowed = [name for name in names if name != candidate]
    for name in missing:
        if name not in allowed:
            what = "is what is retrieved" if name == candidate else "is unknown in this graph"
            yield ("train", "missing", name), f"modality {name!r} {what}; {did_you_mean(name, allowed)}"


def check_where(where: Mapping[str, Any], stores: Stores, owner: str, at: DocumentPath) -> Iterator[Complaint]:
    """Find columns and values that a modality's measurements do not have.

    Example:
        >>> list(check_where({"origin": "measurd"}, Stores(arrays={}), "modality 'ir'", ("where",)))
        [(('where', 'origin'), "got 'measurd'; did you mean 'measured'?")]
    """
    for column, wanted in where.items():
        faults = [_fault(column, v, stores, owner) for v in (wanted if isinstance(wanted, list) else [wanted])]
        yield from [((*at, column), fault) for fault in dict.fromkeys(faults) if fault is not None]


def _fault(column: str, value: object, stores: Stores, owner: str) -> str | None:
    columns = {"origin": ORIGIN, **stores.columns}
    declared = columns.get(column)
    if declared is None:
        return f"unknown column {column!r} of {owner}; {did_you_mean(column, columns)}"
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None  # no value of any column, which validation has reported already
    if isinstance(declared, Real):
        return (
            None
            if not isinstance(value, str)
            else f"got {value!r}; column {column!r} holds numbers in {declared.unit!r}"
        )
    if not isinstance(value, str):
        return f"got {value!r}; column {column!r} holds text"
    if declared.values and value not in declared.values:
        return f"got {value!r}; {did_you_mean(value, declared.values)}"
    return None


def check_scalar_features(scalar_features: object, declared: Sequence[str], at: DocumentPath) -> Iterator[Complaint]:
    """Find scalar features of a tower that the graph does not declare."""
    for i, feature in enumerate(scalar_features if isinstance(scalar_features, list) else []):
        if isinstance(feature, str) and feature not in declared:
            tail = did_you_mean(feature, declared) if declared else "declare it in the graph's `scalar_features`"
            yield (*at, i), f"unknown scalar feature {feature!r}; {tail}"
