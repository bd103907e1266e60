"""What is wrong with a record that a plugin handed in, whatever its type."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields

from pydantic import BaseModel

from molchord.api import API_VERSION
from molchord.api.record import Record
from molchord.errors import did_you_mean
from molchord.host.types import NAME, Fault, PluginType
from molchord.vocabulary import KINDS

__all__ = ["fault_of"]


def fault_of(row: PluginType, record: Record) -> Fault | None:
    """Return what is wrong with a record of a type and what to do; None: nothing."""
    if not isinstance(record.name, str) or NAME.fullmatch(record.name) is None:
        return f"has the name {record.name!r}", "take lower-case letters, digits and '_', a letter first"
    if record.name in row.names:
        return f"has the reserved name {record.name!r}", "take another name"
    if record.api != API_VERSION:
        newer = isinstance(record.api, int) and record.api > API_VERSION
        return (
            f"was written for plugin API {record.api!r}, and this molchord speaks {API_VERSION}",
            "upgrade molchord" if newer else "upgrade the plugin",
        )
    if not isinstance(record.summary, str) or not record.summary.strip():
        return "has an empty `summary`", "say in one line what it is"
    for field in fields(record):
        if field.name in ("spec", "build") and not callable(getattr(record, field.name)):
            return f"has a `{field.name}` that cannot be called", "give a function"
    return _fault_of_config(row, record) or _fault_of_kinds(row, record) or row.fault(record)


def _fault_of_config(row: PluginType, record: Record) -> Fault | None:
    config = record.config
    if not (inspect.isclass(config) and issubclass(config, BaseModel)):
        return f"has `config` {config!r}, which is not a pydantic model", "derive it from 'molchord.api.Config'"
    if not config.model_config.get("frozen") or config.model_config.get("extra") != "forbid":
        return f"has a `config` {config.__name__} that is not frozen with extra='forbid'", "derive it from 'Config'"
    keys = {key for name, f in config.model_fields.items() for key in (name, f.alias) if key is not None}
    taken = sorted(keys & row.keys)
    if taken:
        return f"has configuration key {taken[0]!r}, which is the engine's in a model graph", "rename the field"
    return None


def _fault_of_kinds(row: PluginType, record: Record) -> Fault | None:
    if not row.kinds:
        return None
    kinds = getattr(record, row.kinds)
    if not isinstance(kinds, tuple) or not kinds:
        return f"has `{row.kinds}` {kinds!r}", "give a tuple of one kind or more"
    for kind in kinds:
        if kind not in KINDS and (not isinstance(kind, str) or not re.fullmatch(r"[\w.-]+:[\w.-]+", kind)):
            advice = f"{did_you_mean(str(kind), KINDS)}; your own is 'dist:kind'"
            return f"has kind {kind!r} in `{row.kinds}`", advice
    return None
