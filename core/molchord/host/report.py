"""What `molchord plugins list` and `molchord plugins check` print."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

from packaging.utils import canonicalize_name

from molchord.host.collector import Plugin, Problem
from molchord.host.discovery import Host
from molchord.host.registry import BUILTIN
from molchord.host.types import PLUGIN_TYPES
from molchord.text_table import aligned

__all__ = ["heavy_imports", "plugin_row", "plugin_table"]

HEAVY = ("torch", "rdkit")
"""What a plugin package must not import before one of its plugins is built."""

TIMEOUT = 120
"""Seconds that an outside package may take to import."""

COLUMNS = ("name", "type", "kinds", "summary", "distribution", "version", "api")


def plugin_row(plugin: Plugin) -> dict[str, Any]:
    """Return what is reported about a plugin, as JSON values."""
    record = plugin.record
    return {
        "name": record.name,
        "type": plugin.type,
        "kinds": list(PLUGIN_TYPES[plugin.type].kinds_of(record)),
        "summary": record.summary,
        "distribution": plugin.dist,
        "version": plugin.version,
        "api": record.api,
    }


def plugin_table(host: Host) -> str:
    """Return a text table of the usable plugins, one per line."""
    rows = [COLUMNS, *(tuple(_cell(row[column]) for column in COLUMNS) for row in map(plugin_row, host.plugins))]
    return "\n".join(aligned(rows))


def _cell(value: Any) -> str:
    return ", ".join(value) or "-" if isinstance(value, list) else str(value)


def heavy_imports(host: Host) -> Iterator[Problem]:
    """Import each outside entry point in a process of its own, and yield those that pull in torch or RDKit."""
    for entry in host.entry_points:
        provided = [p for p in host.plugins if entry.dist is not None and p.dist == canonicalize_name(entry.dist.name)]
        if not provided or provided[0].dist == BUILTIN:
            continue
        code = f"import sys, {entry.module}; print(*(m for m in {HEAVY!r} if m in sys.modules))"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        fail = partial(Problem, entry.name, provided[0].dist, provided[0].version, "import")
        try:
            done = subprocess.run(
                [sys.executable, "-c", code],
                env=environment,
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            yield fail(f"takes more than {TIMEOUT} s to import", "do the work inside `build`")
            continue
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            yield fail(f"failed to import in a process of its own: {last}", f"repair or uninstall {provided[0].dist}")
        elif done.stdout.split():
            heavy = " and ".join(done.stdout.split())
            yield fail(f"imports {heavy} when it is found, which slows every command", "import it inside `build`")
