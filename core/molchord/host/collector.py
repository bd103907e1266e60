"""Imports entry points one by one and collects the records that their hooks return; a failure never ends the search.

pluggy calls hooks but leaves this to its host: an entry point that does not import, a misspelt hook (never called), a
hook that is a generator, one raising plugin (aborts the whole call) and duplicate names. Here each failure is a
`Problem` and the rest continue.
"""

from __future__ import annotations

import inspect
import re
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, fields
from importlib import metadata
from types import FrameType
from typing import Any, Generic, Literal, TypeAlias, final

import pluggy
from typing_extensions import TypeVar

from molchord.api import API_VERSION
from molchord.api.record import Record
from molchord.errors import did_you_mean
from molchord.host.record_check import fault_of
from molchord.host.registry import Policy, user_file
from molchord.host.types import PLUGIN_TYPES, hookspecs

__all__ = ["Collector", "Plugin", "Problem"]

Stage: TypeAlias = Literal["metadata", "policy", "import", "hook", "record", "name"]
RecordT = TypeVar("RecordT", bound=Record, default=Any)


@dataclass(frozen=True)
class Plugin(Generic[RecordT]):
    """A record with where it comes from: its type, normalised distribution name and version."""

    type: str
    record: RecordT
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


@final
class Collector:
    """Processes entry points and keeps what became of each.

    Args:
        policy: What may be loaded.

    Attributes:
        plugins: Usable plugins, in the order in which they were found.
        problems: Failures.
        blocked: What the policy keeps out.
        warnings: Sentences.
        loaded: The entry points that the policy lets in.
    """

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
        self._pluggy.add_hookspecs(hookspecs())  # type: ignore[arg-type]  # any object with attributes will do

    def add(self, entry: metadata.EntryPoint, dist: str, version: str) -> None:
        """Import an entry point of a distribution, if the policy lets it in, and keep the plugins that it provides."""
        fail = _Failing(self.problems, entry.name, dist, version)
        verdict = self.policy.verdict(dist)
        if verdict == "deny":
            _Failing(self.blocked, entry.name, dist, version)(
                "policy", "is kept out by the policy", f"add {dist!r} to `allow` in {str(user_file())!r}"
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
                f"add it to `allow` in {str(user_file())!r} if you trust it"
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
            with _own_output() as asked:
                return entry.load()
        except BaseException as error:  # a plugin may raise anything, and the others continue
            if asked():
                raise
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
        allowed = {row.hook for row in PLUGIN_TYPES.values()}
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
        type, row = next((type, row) for type, row in PLUGIN_TYPES.items() if row.hook == hook)
        try:
            with _own_output() as asked:
                records = implementation()
        except BaseException as error:
            if asked():
                raise
            fail("hook", f"failed in hook {hook!r}: {_text(error)}", _hint_of_field(error) or f"repair {fail.dist}")
            return
        if not isinstance(records, (list, tuple)):
            got = records.__class__.__name__
            fail("hook", f"returned {got!r} from hook {hook!r}", f"return a list of {row.record.__name__}")
            return
        for record in records:
            if not isinstance(record, row.record):
                got = record.__class__.__name__
                fail("record", f"put {got!r} into the list of hook {hook!r}", f"put {row.record.__name__} there")
                continue
            named = fail.named(record.name)
            fault = fault_of(row, record)
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


@contextmanager
def _own_output() -> Iterator[Callable[[], bool]]:
    """Keep what a plugin prints out of a command's output; yield whether the user has asked to end the program.

    A plugin may raise KeyboardInterrupt itself, which ends no more than the plugin.
    """
    asked = False
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    main = threading.current_thread() is threading.main_thread()

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        handler = before[signal.Signals(number)]
        assert callable(handler)  # no other is replaced
        handler(number, frame)

    mine = [one for one, handler in before.items() if main and callable(handler)]
    for one in mine:
        signal.signal(one, on_signal)
    try:
        with redirect_stdout(sys.stderr):
            yield lambda: asked
    finally:
        for one in mine:
            if signal.getsignal(one) is on_signal:
                signal.signal(one, before[one])


def _text(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, ImportError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _hint_of_field(error: BaseException) -> str | None:
    """Return which record field was meant by an unknown one."""
    unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if not isinstance(error, TypeError) or unknown is None:
        return None
    for row in PLUGIN_TYPES.values():
        if row.record.__name__ in str(error):
            allowed = [f.name for f in fields(row.record)]
            return f"{did_you_mean(unknown[1], allowed)} (molchord here speaks plugin API {API_VERSION})"
    return None
