"""The table of plugin types: one row is all that the engine knows of a type.

Hooks, checks of records, reserved names, kinds, templates and the conformance kit follow from it, so that a new type is
one row here, and a record with what its `build` returns in `molchord.api`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeAlias

import pluggy
from pydantic import ValidationError

from molchord.api import (
    EncoderRecord,
    IndexRecord,
    LoggerRecord,
    LossRecord,
    ModalityRecord,
    PropertyRecord,
    RerankerRecord,
    SimulatorRecord,
    Stores,
)
from molchord.api.record import Record
from molchord.errors import did_you_mean

__all__ = ["NAME", "PLUGIN_TYPES", "RESERVED_KEYS", "RESERVED_NAMES", "Fault", "PluginType", "hookspecs", "type_of"]

Fault: TypeAlias = tuple[str, str]
"""What is wrong with a record, and what to do."""

NAME = re.compile(r"[a-z][a-z0-9_]*")
"""What a plugin, and a modality of a graph, may be called."""

RESERVED_KEYS = frozenset({"use", "encoder", "head", "scalar_features", "anchors", "data", "where"})
"""Keys of a modality in a model graph that are the engine's; all others are its plugin's configuration."""

RESERVED_NAMES = frozenset(
    [
        *("k", "mass", "mz", "adduct", "ppm", "da", "formula", "elements", "library", "run", "fusion", "map", "mode"),
        *("rerank", "computed", "groups", "hit", "hits", "others", "against", "plot", "use_precursor", "same_sample"),
        *("references", "clean", "report"),
        *("simulator", "index", "seed", "device", "out", "json", "force", "help"),
        *("column", "skip", "x_unit", "y_unit"),
    ]
)
"""Names that a modality cannot have, since the command line uses them for other things."""


@dataclass(frozen=True, kw_only=True)
class PluginType:
    """One row of the table.

    Attributes:
        plural: The type's name for several; the hook that returns its records is ``molchord_`` and this.
        record: The class of its records.
        keys: Keys next to a plugin's configuration that are the engine's, so that no configuration can have them.
        names: Names that such a plugin cannot have.
        kinds: Field of the record that lists kinds; empty: such a plugin has none.
        fault: Finds what is wrong with a record beyond what is checked of every record.
        checks: Module of the conformance kit with the checks of this type; empty: those of every record only.
    """

    plural: str
    record: type[Record]
    keys: frozenset[str] = frozenset({"use"})
    names: frozenset[str] = frozenset()
    kinds: str = ""
    fault: Callable[[Any], Fault | None] = lambda _: None
    checks: str = ""

    @property
    def hook(self) -> str:
        """Return the name of the hook."""
        return f"molchord_{self.plural}"

    def kinds_of(self, record: Record) -> tuple[str, ...]:
        """Return the kinds of a record; empty where its type has none."""
        return tuple(getattr(record, self.kinds)) if self.kinds else ()


def _fault_of_modality(record: ModalityRecord) -> Fault | None:
    if not isinstance(record.stores, Stores):
        return f"has `stores` {record.stores!r}", "give a 'molchord.api.Stores'"
    try:
        record.config()
    except ValidationError as error:
        return f"has a `config` without a default for {error.errors()[0]['loc'][0]!r}", "give every field a default"
    return None


PLUGIN_TYPES: dict[str, PluginType] = {
    "modality": PluginType(
        plural="modalities",
        record=ModalityRecord,
        keys=RESERVED_KEYS,
        names=RESERVED_NAMES,
        kinds="kinds",
        fault=_fault_of_modality,
        checks="molchord.testing.modalities",
    ),
    "encoder": PluginType(
        plural="encoders",
        record=EncoderRecord,
        keys=frozenset({"use", "kind"}),
        kinds="accepts",
        checks="molchord.testing.encoders",
    ),
    "loss": PluginType(plural="losses", record=LossRecord, checks="molchord.testing.losses"),
    "reranker": PluginType(plural="rerankers", record=RerankerRecord, checks="molchord.testing.rerankers"),
    "simulator": PluginType(plural="simulators", record=SimulatorRecord, checks="molchord.testing.simulators"),
    "index": PluginType(plural="indexes", record=IndexRecord, checks="molchord.testing.indexes"),
    "logger": PluginType(plural="loggers", record=LoggerRecord, checks="molchord.testing.loggers"),
    "property": PluginType(plural="properties", record=PropertyRecord, checks="molchord.testing.properties"),
}
"""The plugin types, in the order in which they are listed."""


def type_of(record: Record) -> PluginType:
    """Return the row of a record.

    Raises:
        TypeError: It is not a record of a plugin type.

    Example:
        >>> from molchord.host import installed
        >>> type_of(installed().find("loss", "all_pairs").record).plural
        'losses'
    """
    for row in PLUGIN_TYPES.values():
        if isinstance(record, row.record):
            return row
    names = [row.record.__name__ for row in PLUGIN_TYPES.values()]
    got = type(record).__name__
    raise TypeError(f"got a {got!r}, which is not a record of a plugin type; {did_you_mean(got, names)}")


def hookspecs() -> SimpleNamespace:
    """Return what pluggy holds hooks against: each takes nothing and returns a list of records.

    Example:
        >>> "molchord_losses" in vars(hookspecs())
        True
    """

    @pluggy.HookspecMarker("molchord")
    def hook() -> list[Record]:  # type: ignore[empty-body]
        """Return the plugins of one type that a package provides."""

    return SimpleNamespace(**{row.hook: hook for row in PLUGIN_TYPES.values()})
