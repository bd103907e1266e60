"""Finds the installed plugins, the built-in ones through the same entry points as everybody else's."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from importlib import metadata

from packaging.utils import canonicalize_name

from molchord.api import API_VERSION, ModalityRecord
from molchord.deprecation import DEPRECATED
from molchord.errors import PluginError, did_you_mean
from molchord.host.collector import Collector, Plugin, Problem
from molchord.host.registry import BUILTIN, ENVIRONMENT, Policy, Registry, read_registry
from molchord.host.types import PLUGIN_TYPES

__all__ = ["ENTRY_POINT_GROUP", "Host", "installed"]

ENTRY_POINT_GROUP = "molchord"


@dataclass(frozen=True)
class Host:
    """The plugins that can be used, and what became of the others.

    Attributes:
        plugins: Usable plugins, sorted by type, name and distribution.
        problems: Failures, a sentence each by `str`.
        blocked: Distributions that the policy keeps out, never imported.
        warnings: Sentences.
        entry_points: The entry points of every distribution that was imported.
    """

    plugins: tuple[Plugin, ...] = ()
    problems: tuple[Problem, ...] = ()
    blocked: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    entry_points: tuple[metadata.EntryPoint, ...] = field(default=(), repr=False)
    registry: Registry = field(default_factory=lambda: Registry(api=API_VERSION), repr=False)

    @classmethod
    def discover(cls, policy: Policy | None = None, entry_points: Iterable[metadata.EntryPoint] | None = None) -> Host:
        """Find plugins, importing only what the policy admits.

        Args:
            policy: What may be loaded; None: as the registry files specify.
            entry_points: Where to look; None: everything installed.

        Example:
            >>> Host.discover(entry_points=[]).plugins
            ()
        """
        catalogue = read_registry()
        if entry_points is None:
            entry_points = metadata.entry_points(group=ENTRY_POINT_GROUP)
        collector = Collector(catalogue.policy if policy is None else policy)
        collector.warnings += catalogue.warnings
        for entry, dist, version in _ordered(entry_points):
            collector.add(entry, dist, version)
        order = [*PLUGIN_TYPES]
        return cls(
            plugins=tuple(sorted(collector.plugins, key=lambda p: (order.index(p.type), p.name, p.dist))),
            problems=tuple(collector.problems),
            blocked=tuple(collector.blocked),
            warnings=(*collector.warnings, *_shadowed(collector.plugins), *_outdated(collector.plugins)),
            entry_points=tuple(collector.loaded),
            registry=catalogue,
        )

    def names(self, type: str) -> list[str]:
        """Return the bare names of all plugins of a type, each once."""
        return sorted({plugin.name for plugin in self.plugins if plugin.type == type})

    def find(self, type: str, name: str) -> Plugin:
        """Return the plugin of a bare or ``dist:name`` name; a built-in one wins a bare name.

        Raises:
            PluginError: It is unknown, ambiguous, kept out by the policy, or failed to load.
        """
        dist, _, bare = name.rpartition(":")
        if dist:
            dist = canonicalize_name(dist)
        found = [p for p in self.plugins if p.type == type and p.name == bare and dist in ("", p.dist)]
        builtin = [p for p in found if p.dist == BUILTIN]
        if builtin:
            return builtin[0]
        if len(found) == 1:
            return found[0]
        if found:
            providers = " and ".join(f"{p.dist} {p.version}" for p in found)
            raise PluginError(
                f"{type} {bare!r} is provided by {providers}; "
                f"write {found[0].qualified!r} or block one in registry.toml"
            )
        raise PluginError(self._missing(type, dist, bare))

    def modality(self, name: str) -> ModalityRecord:
        """Find a modality's record; otherwise as `find`."""
        record: ModalityRecord = self.find("modality", name).record
        return record

    def _missing(self, type: str, dist: str, name: str) -> str:
        provider = dist or self.registry.distribution_of(type, name)
        failures = [p for p in (*self.problems, *self.blocked) if p.plugin == name and dist in ("", p.dist)]
        unread = [p for p in self.problems if p.stage in ("metadata", "import", "hook")] + list(self.blocked)
        failures += [p for p in unread if p.dist == provider]
        asked = f"{dist}:{name}" if dist else name
        if failures:
            return f"{type} {asked!r} is not there: {failures[0]}"
        if provider is not None and all(p.dist != provider for p in self.plugins):
            if dist:
                lack = f"needs distribution {dist!r}, which is not installed"
                return f"{type} {asked!r} {lack}; run 'pip install {dist}' if you trust it"
            return f"unknown {type} {asked!r}: provided by {provider}, run 'pip install {provider}'"
        known = self.names(type) if not dist else [p.qualified for p in self.plugins if p.type == type]
        advice = did_you_mean(asked, known)
        if not advice.startswith("did you mean"):
            advice += "".join(f"; not loaded: {p}" for p in unread)
        return f"unknown {type} {asked!r}; {advice}"


def installed() -> Host:
    """Return the plugins of this environment, found once for each working directory and set of registry files.

    Raises:
        PluginError: A registry file is wrong.
    """
    return _installed(os.getcwd(), os.environ.get(ENVIRONMENT, ""))


@functools.lru_cache(maxsize=4)
def _installed(cwd: str, extra: str) -> Host:
    return Host.discover()


def _provider(entry: metadata.EntryPoint) -> tuple[str, str]:
    """Return normalised name and version of an entry point's distribution."""
    try:
        said = entry.dist.metadata  # type: ignore[union-attr]  # read from its file at every access
        name, version = said["Name"], said["Version"]
    except Exception:  # broken metadata raises whatever the reader met
        name, version = None, None
    return canonicalize_name(name or "unknown"), version or "of unknown version"


def _ordered(entry_points: Iterable[metadata.EntryPoint]) -> list[tuple[metadata.EntryPoint, str, str]]:
    """Sort by provider, built-ins first, so that the order of installation does not matter; name the providers."""

    def key(provided: tuple[metadata.EntryPoint, str, str]) -> tuple[bool, str, str, str]:
        entry, dist, _ = provided
        return dist != BUILTIN, dist, entry.name, entry.value

    return sorted(((entry, *_provider(entry)) for entry in entry_points), key=key)


def _shadowed(plugins: Sequence[Plugin]) -> Iterator[str]:
    builtin = {(p.type, p.name) for p in plugins if p.dist == BUILTIN}
    for p in plugins:
        if p.dist != BUILTIN and (p.type, p.name) in builtin:
            yield (
                f"{p.type} {p.name!r} of {p.dist} {p.version} has the name of a built-in one, which wins; "
                f"write {p.qualified!r} to use it"
            )


def _outdated(plugins: Sequence[Plugin]) -> Iterator[str]:
    """Name what records use and should not."""
    for p in plugins:
        for field_ in fields(p.record):
            entry = DEPRECATED.get(f"molchord.api.{type(p.record).__name__}.{field_.name}")
            if entry is not None and getattr(p.record, field_.name) != field_.default:
                yield f"{p.type} {p.name!r} of {p.dist} {p.version} uses {entry}"
