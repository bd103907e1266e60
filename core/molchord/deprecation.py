"""What plugin authors should no longer use: one table, served with a warning until it is due to go.

`molchord.api` and `molchord.testing` look names that they lack up here. A test fails as soon as one is overdue.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from packaging.version import Version

__all__ = ["DEPRECATED", "Deprecation", "old_names", "overdue"]


@dataclass(frozen=True, kw_only=True)
class Deprecation:
    """One name, or one field of a record, that will go.

    Attributes:
        name: What is deprecated, such as ``molchord.api.Old`` or ``molchord.api.ModalityRecord.old``.
        since: Release that deprecated it.
        remove_in: Release that no longer has it; one minor release lies between at least.
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


DEPRECATED: dict[str, Deprecation] = {}
"""All that is deprecated today, by name."""


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
