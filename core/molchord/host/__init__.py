"""Finds the installed plugins, builds them, and says what became of those that fail."""

from molchord.host.discovery import (
    CORE_KINDS,
    ENTRY_POINT_GROUP,
    NAME,
    PLUGIN_TYPES,
    RESERVED_KEYS,
    RESERVED_NAMES,
    GraphRecord,
    Host,
    Plugin,
    PluginType,
    Problem,
    Record,
    installed,
)

__all__ = [
    "CORE_KINDS",
    "ENTRY_POINT_GROUP",
    "NAME",
    "PLUGIN_TYPES",
    "RESERVED_KEYS",
    "RESERVED_NAMES",
    "GraphRecord",
    "Host",
    "Plugin",
    "PluginType",
    "Problem",
    "Record",
    "installed",
]
