"""What should no longer be used: one table, served with a warning until it is due to go.

`molchord.api` and `molchord.testing` look names that they lack up here. A test fails as soon as one is overdue.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ParamSpec, TypeVar

from packaging.version import Version

__all__ = ["DEPRECATED", "Deprecation", "old_names", "overdue", "renamed", "renamed_attribute", "warn_deprecated"]

P = ParamSpec("P")
_R = TypeVar("_R")


@dataclass(frozen=True, kw_only=True)
class Deprecation:
    """One name, or one field of a record, that will go.

    Attributes:
        name: What is deprecated, such as ``molchord.api.Old`` or ``molchord.api.ModalityRecord.old``.
        since: Release that deprecated it.
        remove_in: Release that no longer has it, with at least one minor release in between.
        instead: What to do, as the rest of a sentence: ``"use molchord.api.New"``.
        at: Where a name is to be found until then, ``module:name``; empty for the field of a record.

    Example:
        >>> old = Deprecation(name="molchord.api.Old", since="0.2", remove_in="0.4", instead="use molchord.api.New")
        >>> str(old)
        "'molchord.api.Old' is deprecated since molchord 0.2 and goes in 0.4; use molchord.api.New"
    """

    name: str
    since: str
    remove_in: str
    instead: str
    at: str = ""

    def __str__(self) -> str:
        return f"{self.name!r} is deprecated since molchord {self.since} and goes in {self.remove_in}; {self.instead}"


def _entries(*rows: tuple[str, str, str]) -> dict[str, Deprecation]:
    """Return entries of one release: names, what to do instead, and where a name is to be found."""
    return {
        name: Deprecation(name=name, since="0.2", remove_in="0.4", instead=instead, at=at) for name, instead, at in rows
    }


DEPRECATED: dict[str, Deprecation] = _entries(
    ("molchord.api.Doubt", "use molchord.api.QualityWarning", "molchord.api.deprecated:Doubt"),
    *(
        (f"molchord.api.{spec}(tells_mass=)", "write `reveals_mass`", "")
        for spec in ("SpectrumSpec", "PeaksSpec", "VectorSpec")
    ),
    # keys of a model graph
    ("anchors", "write `scalar_features`", ""),
    ("modalities.*.anchors", "write `scalar_features`", ""),
    ("train.accumulate", "write `train.accumulate_grad_batches`", ""),
    ("train.anchor_dropout", "write `train.scalar_feature_dropout`", ""),
    ("train.chunk", "write `train.mini_batch_size`", ""),
    ("train.free", "write `train.trainable: {default: false, PART: true}`", ""),
    ("train.freeze", "write `train.trainable: {PART: false}`", ""),
    # arguments and attributes of the Python API, and options of the command line
    ("ModelGraph.of(anchors=)", "write `scalar_features`", ""),
    ("Run.embed(anchors=)", "write `scalar_features`", ""),
    ("Run.realign(free=)", "write `trainable`", ""),
    ("Run.search(map=)", "write `fusion`", ""),
    ("Run.evaluate(maps=)", "write `fusions`", ""),
    ("Library.search(map=)", "write `fusion`", ""),
    ("Library.find(map=)", "write `fusion`", ""),
    ("Evaluation.find(map=)", "write `fusion`", ""),
    ("Hit.doubts", "use `quality_warnings`", ""),
    ("Row.map", "use `fusion`", ""),
    ("Row.figures", "use `metrics`", ""),
    ("--map", "write `--fusion`", ""),
    ("--free", "write `--trainable`", ""),
)
"""All that is deprecated today, by name."""


def warn_deprecated(name: str, *, stacklevel: int = 2) -> None:
    """Warn that a name in `DEPRECATED` is used; `stacklevel` as in `warnings.warn`, counted from the caller."""
    warnings.warn(str(DEPRECATED[name]), DeprecationWarning, stacklevel=stacklevel + 1)


def renamed(owner: str, **names: str) -> Callable[[Callable[P, _R]], Callable[P, _R]]:
    """Let a function take old names of its arguments, with a warning.

    Args:
        owner: The function, as `DEPRECATED` names it.
        names: Today's name by the old one.

    Raises:
        TypeError: At a call, where an argument is given under both names.

    Example:
        >>> @renamed("Run.search", map="fusion")
        ... def search(fusion): return fusion
        >>> with warnings.catch_warnings(action="ignore"):
        ...     search(map="gm-half")
        'gm-half'
    """

    def decorate(function: Callable[P, _R]) -> Callable[P, _R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> _R:
            for old, new in names.items():
                if old in kwargs:
                    warn_deprecated(f"{owner}({old}=)")
                    if new in kwargs:
                        raise TypeError(f"{owner}() got `{old}` and `{new}`, its name today; leave `{old}` out")
                    kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call

    return decorate


def renamed_attribute(owner: str, old: str, new: str) -> property:
    """Return a property that serves an attribute under its old name, with a warning.

    Example:
        >>> class Hit:
        ...     quality_warnings = ("short",)
        ...     doubts = renamed_attribute("Hit", "doubts", "quality_warnings")
        >>> with warnings.catch_warnings(action="ignore"):
        ...     Hit().doubts
        ('short',)
    """

    def serve(self: Any) -> Any:
        warn_deprecated(f"{owner}.{old}")
        return getattr(self, new)

    return property(serve)


def old_names(module: str) -> Callable[[str], Any]:
    """Return a module's ``__getattr__``, which serves deprecated names with a warning.

    Example:
        >>> old_names("molchord.api")("Nothing")
        Traceback (most recent call last):
        ...
        AttributeError: module 'molchord.api' has no attribute 'Nothing'
    """

    def serve(name: str) -> Any:
        entry = DEPRECATED.get(f"{module}.{name}")
        if entry is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warnings.warn(str(entry), DeprecationWarning, stacklevel=2)
        where, _, what = entry.at.partition(":")
        return getattr(import_module(where), what)

    return serve


def overdue(version: str, entries: Iterable[Deprecation]) -> list[Deprecation]:
    """Return what should be gone in a release.

    Example:
        >>> old = Deprecation(name="molchord.api.Old", since="0.2", remove_in="0.4", instead="use molchord.api.New")
        >>> overdue("0.3.9", [old]), len(overdue("0.4.0", [old]))
        ([], 1)
    """
    return [entry for entry in entries if Version(entry.remove_in).release <= Version(version).release]
