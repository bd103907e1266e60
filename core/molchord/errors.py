"""Every error a user can cause, each one sentence: what failed, where, got vs allowed, what to do.

The command line prints the message of any `MolchordError` and exits with status 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from numbers import Integral


class MolchordError(Exception):
    """Base of all errors that a user's input can cause; `status` is the exit status of the command line."""

    status = 2


class GraphError(MolchordError):
    """A model graph is wrong; holds every complaint found, one per line.

    Args:
        complaints: Sentences such as ``ir.yaml:14: modalities.ir.use: unknown modality 'iir'``.
    """

    def __init__(self, complaints: Sequence[str]) -> None:
        self.complaints = tuple(complaints)
        super().__init__("\n".join(self.complaints))


class PluginError(MolchordError):
    """A plugin is unknown, ambiguous, blocked or failed to load."""


class DataError(MolchordError):
    """A data set, or a file to import into one, cannot be used."""


class RunError(MolchordError):
    """A run folder cannot be loaded, resumed or extended."""


class TrainingStopped(MolchordError):
    """Ctrl-C ended a training; its state is saved."""

    status = 130

    def __init__(self, run: object, epoch: int, step: int) -> None:
        super().__init__(
            f"training stopped in epoch {epoch + 1} after step {step}; all is saved, "
            f"go on with: molchord train --resume {run}"
        )


class NotInCase(DataError):
    """A case has no such sample or file, or its server no such job."""


class QueryError(MolchordError):
    """A search query does not fit the run or the library."""


class OutputExistsError(MolchordError):
    """An output folder is already there and ``--force`` was not given."""

    def __init__(self, path: object) -> None:
        super().__init__(f"output {str(path)!r} already exists; choose another folder or pass `--force` to replace it")


class OutputError(MolchordError):
    """A file or folder cannot be written; what existed is unchanged."""


class SampleError(MolchordError):
    """One measurement cannot be used; it counts as absent and is listed.

    Args:
        id: What names the measurement (file and entry, or key14).
        reason: Why it cannot be used.
    """

    def __init__(self, id: str, reason: str) -> None:
        self.id = id
        self.reason = reason
        super().__init__(f"{id}: {reason}")

    def __reduce__(self) -> tuple[type[SampleError], tuple[str, str]]:
        """Cross process borders whole (the default would lose one argument)."""
        return type(self), (self.id, self.reason)


def nearest(got: str, allowed: Iterable[str]) -> list[str]:
    """Sort allowed names, nearest to `got` first.

    Example:
        >>> nearest("widht", ["depth", "width"])
        ['width', 'depth']
    """
    return sorted(allowed, key=lambda name: (-difflib.SequenceMatcher(None, got, name).ratio(), name))


def check_whole(value: object, name: str, *, least: int, failed: str, error: type[MolchordError]) -> None:
    """Refuse a setting that is not a whole number, or too small.

    Args:
        value: What was given; integers of numpy will do.
        name: Name of the setting.
        least: Smallest number allowed.
        failed: What could not be done, such as "search".
        error: What is raised.

    Example:
        >>> check_whole(2.5, "k", least=1, failed="search", error=QueryError)
        Traceback (most recent call last):
            ...
        molchord.errors.QueryError: search failed: `k` is 2.5, but must be a whole number of at least 1
    """
    if not isinstance(value, Integral) or value < least:
        raise error(f"{failed} failed: `{name}` is {value!r}, but must be a whole number of at least {least}")


def did_you_mean(got: str, allowed: Iterable[str]) -> str:
    """Return the tail of a sentence that names the nearest allowed value, or all of them.

    Example:
        >>> did_you_mean("widht", ["depth", "width"])
        "did you mean 'width'?"
        >>> did_you_mean("zzz", ["depth", "width"])
        "allowed: 'depth', 'width'"
        >>> did_you_mean("zzz", [])
        'there are none'
    """
    names = list(allowed)
    if not names:
        return "there are none"
    close = difflib.get_close_matches(got, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return "allowed: " + ", ".join(repr(name) for name in nearest(got, names))
