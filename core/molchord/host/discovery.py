"""Finds the installed plugins: discover, apply the policy, import, register, collect.

pluggy calls hooks but leaves this to its host: an entry point that does not import, a misspelt hook (never called), a
hook that is a generator, one raising plugin (aborts the whole call) and duplicate names. Here each failure is a
`Problem` and the rest go on.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from importlib import metadata
from typing import Any, Literal, NamedTuple, TypeAlias, cast, get_args

import pluggy
from packaging.utils import canonicalize_name
from pydantic import BaseModel, ValidationError

from molchord.api import (
    API_VERSION,
    EncoderRecord,
    IndexRecord,
    LoggerRecord,
    LossRecord,
    ModalityRecord,
    RerankerRecord,
    SimulatorRecord,
    Stores,
)
from molchord.deprecation import DEPRECATED
from molchord.errors import PluginError, did_you_mean
from molchord.host import hookspecs, registry
from molchord.host.registry import BUILTIN, Policy, Registry

__all__ = [
    "ENTRY_POINT_GROUP",
    "PLUGIN_TYPES",
    "RESERVED_KEYS",
    "RESERVED_NAMES",
    "Host",
    "Plugin",
    "PluginType",
    "Problem",
    "Record",
    "installed",
]

GraphRecord: TypeAlias = ModalityRecord | EncoderRecord | LossRecord
"""What a model graph names, so that its configuration is saved with a run."""
Record: TypeAlias = GraphRecord | RerankerRecord | SimulatorRecord | IndexRecord | LoggerRecord
Stage: TypeAlias = Literal["metadata", "policy", "import", "hook", "record", "name"]

ENTRY_POINT_GROUP = "molchord"


class PluginType(NamedTuple):
    """What a plugin can be: the hook that hands in its records, their class, and keys its configuration cannot use."""

    hook: str
    record: type[Any]
    reserved: frozenset[str]


RESERVED_KEYS = frozenset({"use", "encoder", "head", "anchors", "data", "where"})
"""Keys of a modality in a model graph that are the engine's; all others are its plugin's configuration."""

PLUGIN_TYPES: dict[str, PluginType] = {
    "modality": PluginType("molchord_modalities", ModalityRecord, RESERVED_KEYS),
    "encoder": PluginType("molchord_encoders", EncoderRecord, frozenset({"use", "kind"})),
    "loss": PluginType("molchord_losses", LossRecord, frozenset({"use"})),
    "reranker": PluginType("molchord_rerankers", RerankerRecord, frozenset({"use"})),
    "simulator": PluginType("molchord_simulators", SimulatorRecord, frozenset({"use"})),
    "index": PluginType("molchord_indexes", IndexRecord, frozenset({"use"})),
    "logger": PluginType("molchord_loggers", LoggerRecord, frozenset({"use"})),
}
"""The plugin types; a later type is one more line here and one more hook."""

NAME = re.compile(r"[a-z][a-z0-9_]*")
RESERVED_NAMES = frozenset(
    "k mass ppm da formula library run map mode rerank computed simulator index seed device out json force help".split()  # noqa: SIM905
)
"""Names that a modality cannot have, since the command line uses them for other things."""

CORE_KINDS = ("graph", "spectrum1d", "peaks", "vector")


@dataclass(frozen=True)
class Plugin:
    """A record with where it comes from: its type, normalised distribution name and version."""

    type: str
    record: Record
    dist: str
    version: str

    @property
    def name(self) -> str:
        """Return the bare name."""
        return self.record.name

    @property
    def qualified(self) -> str:
        """Return ``dist:name``."""
        return f"{self.dist}:{self.record.name}"


@dataclass(frozen=True)
class Problem:
    """Why a plugin, or a whole entry point, is not there.

    Attributes:
        plugin: Name of the record, or of the entry point where no record was reached.
        dist: Normalised distribution name.
        version: Version of the distribution.
        stage: How far it came.
        message: What failed.
        hint: What to do.
    """

    plugin: str
    dist: str
    version: str
    stage: Stage
    message: str
    hint: str

    def __str__(self) -> str:
        return f"plugin {self.plugin!r} ({self.dist} {self.version}) {self.message}; {self.hint}"


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
            policy: What may be loaded; None: what the registry files say.
            entry_points: Where to look; None: everything installed.

        Example:
            >>> Host.discover(entry_points=[]).plugins
            ()
        """
        catalogue = registry.load()
        if entry_points is None:
            entry_points = metadata.entry_points(group=ENTRY_POINT_GROUP)
        collector = _Collector(catalogue.policy if policy is None else policy)
        collector.warnings += catalogue.warnings
        for entry, dist, version in _ordered(entry_points):
            collector.add(entry, dist, version)
        return cls(
            plugins=tuple(sorted(collector.plugins, key=lambda p: (_TYPE_ORDER[p.type], p.name, p.dist))),
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
        return cast(ModalityRecord, self.find("modality", name).record)

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
    return _installed(os.getcwd(), os.environ.get(registry.ENVIRONMENT, ""))


@functools.lru_cache(maxsize=4)
def _installed(cwd: str, extra: str) -> Host:
    return Host.discover()


_TYPE_ORDER = {type: i for i, type in enumerate(PLUGIN_TYPES)}


# --- discovery -------------------------------------------------------------------------------------------------------


def _provider(entry: metadata.EntryPoint) -> tuple[str, str]:
    """Return normalised name and version of an entry point's distribution."""
    try:
        said = entry.dist.metadata  # type: ignore[union-attr]  # read from its file at every access
        name, version = said["Name"], said["Version"]
    except Exception:  # broken metadata raises whatever the reader met
        name, version = None, None
    return canonicalize_name(name or "unknown"), version or "of unknown version"


def _ordered(entry_points: Iterable[metadata.EntryPoint]) -> list[tuple[metadata.EntryPoint, str, str]]:
    """Sort by provider, the built-ins first, so that nothing hangs on the order of installation; name the providers."""

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


class _Collector:
    """Goes through entry points and keeps what became of each."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.plugins: list[Plugin] = []
        self.problems: list[Problem] = []
        self.blocked: list[Problem] = []
        self.warnings: list[str] = []
        self.loaded: list[metadata.EntryPoint] = []
        self._seen: dict[tuple[str, str], str] = {}
        self._warned: set[str] = set()
        self._pluggy = pluggy.PluginManager("molchord")
        self._pluggy.add_hookspecs(hookspecs)

    def add(self, entry: metadata.EntryPoint, dist: str, version: str) -> None:
        fail = _Failing(self.problems, entry.name, dist, version)
        verdict = self.policy.verdict(dist)
        if verdict == "deny":
            _Failing(self.blocked, entry.name, dist, version)(
                "policy", "is kept out by the policy", f"add {dist!r} to `allow` in {str(registry.user_file())!r}"
            )
            return
        if (dist, entry.name) in self._seen:
            # The same distribution is often found twice (an editable install and its leftover): once is enough.
            if self._seen[dist, entry.name] != entry.value:
                fail(
                    "metadata",
                    f"is declared twice, as {self._seen[dist, entry.name]!r} and {entry.value!r}",
                    f"reinstall {dist}",
                )
            return
        self._seen[dist, entry.name] = entry.value
        if verdict == "warn" and dist not in self._warned:
            self._warned.add(dist)
            self.warnings.append(
                f"distribution {dist!r} {version} is third-party code; "
                f"add it to `allow` in {str(registry.user_file())!r} if you trust it"
            )
        self.loaded.append(entry)
        plugin = self._import(entry, fail)
        if plugin is None:
            return
        try:
            hooks = self._hooks(plugin, fail)
        except Exception as error:  # looking at a module's attributes can run its `__getattr__`
            fail("hook", f"cannot be searched for hooks: {_text(error)}", f"repair {dist}")
            return
        for hook, implementation in self._registered(hooks, f"{dist}:{entry.name}", fail):
            self._collect(hook, implementation, fail)

    def _import(self, entry: metadata.EntryPoint, fail: _Failing) -> Any:
        try:
            return entry.load()
        except (Exception, SystemExit) as error:  # a plugin may raise anything, and the others go on
            missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
            hint = f"repair or uninstall {fail.dist}"
            if missing is not None and missing.split(".")[0] == entry.value.partition(":")[0].split(".")[0]:
                hint = f"reinstall {fail.dist}"
            elif missing is not None:
                hint = f"run 'pip install {missing.split('.')[0]}'"
            fail("import", f"failed to import: {_text(error)}", hint)
            return None

    def _hooks(self, plugin: Any, fail: _Failing) -> dict[str, Callable[[], Any]]:
        """Return the hook implementations by name, and note what pluggy would pass over in silence."""
        allowed = {plugin_type.hook for plugin_type in PLUGIN_TYPES.values()}
        good: dict[str, Any] = {}
        found = False
        for name in dir(plugin):
            function = getattr(plugin, name, None)
            if self._pluggy.parse_hookimpl_opts(plugin, name) is None:
                own = inspect.isfunction(function) and function.__module__ == getattr(plugin, "__name__", None)
                if own and name in allowed:
                    found = True
                    fail("hook", f"defines {name!r} without marking it", "put '@hookimpl' above it")
                continue
            found = True
            if name not in allowed:
                fail("hook", f"implements unknown hook {name!r}", did_you_mean(name, sorted(allowed)))
            elif inspect.isgeneratorfunction(function):
                fail("hook", f"has a generator as hook {name!r}", "return a list instead of using 'yield'")
            else:
                good[name] = function
        if not found:
            fail("hook", "implements no hook", f"define one of {', '.join(sorted(allowed))}, marked '@hookimpl'")
        return good

    def _registered(
        self, hooks: dict[str, Callable[[], Any]], label: str, fail: _Failing
    ) -> Iterator[tuple[str, Callable[[], Any]]]:
        """Register hook implementations one by one, and yield those that pluggy accepts."""
        for name, function in hooks.items():
            try:
                self._pluggy.register(types.SimpleNamespace(**{name: function}), name=f"{label}:{name}")
            except Exception as error:  # pluggy's own checks, such as arguments that the hook does not have
                got = ", ".join(repr(argument) for argument in inspect.signature(function).parameters)
                why = f"takes {got}" if isinstance(error, pluggy.PluginValidationError) else _text(error)
                fail("hook", f"has hook {name!r} with a bad signature: {why}", "hooks take no arguments")
                continue
            yield name, function

    def _collect(self, hook: str, implementation: Callable[[], Any], fail: _Failing) -> None:
        type = next(name for name, plugin_type in PLUGIN_TYPES.items() if plugin_type.hook == hook)
        wanted = PLUGIN_TYPES[type].record
        try:
            records = implementation()
        except (Exception, SystemExit) as error:
            fail("hook", f"failed in hook {hook!r}: {_text(error)}", _hint_of_field(error) or f"repair {fail.dist}")
            return
        if not isinstance(records, (list, tuple)):
            got = records.__class__.__name__
            fail("hook", f"returned {got!r} from hook {hook!r}", f"return a list of {wanted.__name__}")
            return
        for record in records:
            if not isinstance(record, wanted):
                got = record.__class__.__name__
                fail("record", f"put {got!r} into the list of hook {hook!r}", f"put {wanted.__name__} there")
                continue
            named = fail.named(record.name)
            fault = _fault(type, record)
            if fault is not None:
                named("record", *fault)
            elif any((p.type, p.name, p.dist) == (type, record.name, fail.dist) for p in self.plugins):
                named("name", f"provides {type} {record.name!r} twice", f"rename one in {fail.dist}")
            else:
                self.plugins.append(Plugin(type, record, fail.dist, fail.version))


@dataclass(frozen=True)
class _Failing:
    """Notes problems of one entry point, or of one record in it."""

    problems: list[Problem]
    plugin: str
    dist: str
    version: str

    def __call__(self, stage: Stage, message: str, hint: str) -> None:
        self.problems.append(Problem(self.plugin, self.dist, self.version, stage, message, hint))

    def named(self, name: object) -> _Failing:
        return _Failing(self.problems, name if isinstance(name, str) else self.plugin, self.dist, self.version)


def _text(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, ImportError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _hint_of_field(error: BaseException) -> str | None:
    """Say which record field was meant by an unknown one."""
    unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if not isinstance(error, TypeError) or unknown is None:
        return None
    for record in get_args(Record):
        if record.__name__ in str(error):
            allowed = [f.name for f in fields(record)]
            return f"{did_you_mean(unknown[1], allowed)} (molchord here speaks plugin API {API_VERSION})"
    return None


# --- records ---------------------------------------------------------------------------------------------------------


def _fault(type: str, record: Record) -> tuple[str, str] | None:
    """Return what is wrong with a record and what to do, or None."""
    if not isinstance(record.name, str) or NAME.fullmatch(record.name) is None:
        return f"has the name {record.name!r}", "take lower-case letters, digits and '_', a letter first"
    if record.api != API_VERSION:
        newer = isinstance(record.api, int) and record.api > API_VERSION
        return (
            f"was written for plugin API {record.api!r}, and this molchord speaks {API_VERSION}",
            "upgrade molchord" if newer else "upgrade the plugin",
        )
    if not isinstance(record.summary, str) or not record.summary.strip():
        return "has an empty `summary`", "say in one line what it is"
    for field_ in fields(record):
        if field_.name in ("spec", "build") and not callable(getattr(record, field_.name)):
            return f"has a `{field_.name}` that cannot be called", "give a function"
    return _fault_of_config(type, record) or _fault_of_kinds(type, record)


def _fault_of_config(type: str, record: Record) -> tuple[str, str] | None:
    config = record.config
    if not (inspect.isclass(config) and issubclass(config, BaseModel)):
        return f"has `config` {config!r}, which is no pydantic model", "derive it from 'molchord.api.Config'"
    if not config.model_config.get("frozen") or config.model_config.get("extra") != "forbid":
        return f"has a `config` {config.__name__} that is not frozen with extra='forbid'", "derive it from 'Config'"
    keys = {key for name, f in config.model_fields.items() for key in (name, f.alias) if key is not None}
    taken = sorted(keys & PLUGIN_TYPES[type].reserved)
    if taken:
        return f"has configuration key {taken[0]!r}, which is the engine's in a model graph", "rename the field"
    if type == "modality":
        try:
            config()
        except ValidationError as error:
            return f"has a `config` without a default for {error.errors()[0]['loc'][0]!r}", "give every field a default"
    return None


def _fault_of_kinds(type: str, record: Record) -> tuple[str, str] | None:
    if isinstance(record, ModalityRecord):
        if record.name in RESERVED_NAMES:
            return f"has the reserved name {record.name!r}", "take another name"
        if not isinstance(record.stores, Stores):
            return f"has `stores` {record.stores!r}", "give a 'molchord.api.Stores'"
    for key, kinds in (("kinds", getattr(record, "kinds", None)), ("accepts", getattr(record, "accepts", None))):
        if kinds is None and key not in {f.name for f in fields(record)}:
            continue
        if not isinstance(kinds, tuple) or not kinds:
            return f"has `{key}` {kinds!r}", "give a tuple of one kind or more"
        for kind in kinds:
            if kind not in CORE_KINDS and (not isinstance(kind, str) or not re.fullmatch(r"[\w.-]+:[\w.-]+", kind)):
                return (
                    f"has kind {kind!r} in `{key}`",
                    f"{did_you_mean(str(kind), CORE_KINDS)}; your own is 'dist:kind'",
                )
    return None
