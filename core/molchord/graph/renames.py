"""Keys of a model graph that have another name today: read as what they are now, with a warning."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from molchord.complaints import DocumentPath, dotted
from molchord.deprecation import DEPRECATED
from molchord.errors import GraphError
from molchord.graph.strict_yaml import Document

__all__ = ["renewed"]

KEYS: Mapping[DocumentPath, str] = {
    ("anchors",): "scalar_features",
    ("modalities", "*", "anchors"): "scalar_features",
    ("train", "accumulate"): "accumulate_grad_batches",
    ("train", "anchor_dropout"): "scalar_feature_dropout",
    ("train", "chunk"): "mini_batch_size",
    ("train", "free"): "trainable",
    ("train", "freeze"): "trainable",
}
"""Today's key by the path of the old one; ``*`` is any name."""


def renewed(document: Document) -> Document:
    """Return a document with today's keys.

    Raises:
        GraphError: An old key is present together with the new one.

    Warns:
        DeprecationWarning: An old key is used.

    Example:
        >>> from molchord.graph.strict_yaml import parse_yaml
        >>> with warnings.catch_warnings(action="ignore"):
        ...     renewed(parse_yaml("train: {chunk: 64, free: [loss]}")).data
        {'train': {'mini_batch_size': 64, 'trainable': {'default': False, 'loss': True}}}
    """
    lines = dict(document.lines)
    return Document(_renewed(document.data, (), (), lines, document), lines, document.source)


def _renewed(
    value: Any, path: DocumentPath, pattern: DocumentPath, lines: dict[DocumentPath, int], document: Document
) -> Any:
    """Return a value with today's keys; `pattern` is its path in `KEYS`, and `lines` follow."""
    if not isinstance(value, dict) or not any(old[: len(pattern)] == pattern for old in KEYS):
        return value
    out: dict[Any, Any] = {}
    for key, item in value.items():
        inner: DocumentPath = (*pattern, "*") if pattern == ("modalities",) else (*pattern, key)
        new = KEYS.get(inner)
        if new is None:
            out[key] = _renewed(item, (*path, key), inner, lines, document)
            continue
        entry = DEPRECATED[dotted(inner)]
        where = f"{document.source}:{document.line((*path, key))}: " if document.source else ""
        warnings.warn(f"{where}{entry}", DeprecationWarning, stacklevel=2)
        if new in value:
            raise GraphError([f"{where}{dotted((*path, key))}: is `{new}` today, which is given too; leave one out"])
        _move(lines, (*path, key), (*path, new))
        out[new] = out.get(new, {}) | _trainable(key, item) if new == "trainable" else item
    return out


def _trainable(key: str, parts: Any) -> Any:
    """Return what a list of parts to train alone, or of parts not to train, means for each part."""
    names = parts if isinstance(parts, (list, tuple)) else []
    only = {"default": False} if key == "free" and names else {}
    return only | {name: key == "free" for name in names if isinstance(name, str)}


def _move(lines: dict[DocumentPath, int], old: DocumentPath, new: DocumentPath) -> None:
    for at in [at for at in lines if at[: len(old)] == old]:
        line = lines.pop(at)
        lines.setdefault(new if at == old else (*new, *at[len(old) :]), line)
