"""One process at a time changes a folder: a second one is refused, and told which process the first one is.

The lock is the system's own (`flock`), so it goes with its process, however that ends: what a killed process leaves is
a file that nobody holds, and partial folders, which the next one removes. Where a file system knows no such locks,
there is none, and nothing is removed.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from molchord.errors import FolderInUseError
from molchord.files import discard

__all__ = ["only_writer", "unfinished"]

_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR)
_HELD = (errno.EAGAIN, errno.EACCES)
_TRIES = 100


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Let no other process change a folder, which need not exist yet, while the block runs.

    Raises:
        FolderInUseError: Another process does, or another block of this one.

    Example:
        >>> from tempfile import mkdtemp
        >>> folder = Path(mkdtemp()) / "run"
        >>> with only_writer(folder):
        ...     try:
        ...         with only_writer(folder):
        ...             pass
        ...     except FolderInUseError as error:
        ...         print(str(error)[-27:])
        try again when it has ended
    """
    target = folder.resolve()
    places = (target.with_name(f".{target.name}.lock"), target / ".lock")
    process, (descriptor, place) = os.getpid(), _locked(folder, places)
    try:
        if descriptor is not None:
            for left in unfinished(target):
                discard(left)
        yield
    finally:
        if descriptor is not None and os.getpid() == process:  # a child that was forked meanwhile has no lock to free
            try:
                discard(place)  # while it is held, so that nobody waits for a file that has no name any more
            finally:
                os.close(descriptor)


def unfinished(folder: Path) -> list[Path]:
    """Return what processes that were killed left of a folder under a hidden name, before it was whole."""
    left = re.compile(rf"\.{re.escape(folder.name)}\.[0-9a-f]{{8}}\.partial")  # not of `run.b`, whose lock is another
    with suppress(OSError):
        return [folder.with_name(name) for name in sorted(os.listdir(folder.parent)) if left.fullmatch(name)]
    return []


def _locked(folder: Path, places: tuple[Path, ...]) -> tuple[int | None, Path]:
    """Return the open lock and where it is; none where nothing can be written, which whatever writes then reports."""
    with suppress(OSError):
        places[0].parent.mkdir(parents=True, exist_ok=True)
    for place in places:
        for _ in range(_TRIES):
            descriptor = _opened(place)
            if descriptor is None:
                break
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = _holder(descriptor)
                os.close(descriptor)
                if error.errno in _HELD:
                    raise FolderInUseError(folder, holder) from None
                return None, place  # the file system knows no such locks
            if _is(descriptor, place):
                _sign(descriptor)
                return descriptor, place
            os.close(descriptor)  # whoever held it took its name away
    return None, places[0]


def _opened(place: Path) -> int | None:
    """Open the file of a lock, for reading alone where it is another user's; None: it cannot be made there."""
    for how in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):
        try:
            return os.open(place, how | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
    return None


def _is(descriptor: int, place: Path) -> bool:
    """Return whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(place))
    except OSError:  # it is gone, on another machine of a network file system perhaps
        return False


def _sign(descriptor: int) -> None:
    """Write down who holds a lock."""
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:3]]) if sys.argv else "python"
    who = {"process": os.getpid(), "host": socket.gethostname(), "command": command, "since": time.strftime("%H:%M:%S")}
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(who).encode(), 0)


def _holder(descriptor: int) -> str:
    """Return who holds a lock, in words."""
    try:
        who = json.loads(os.pread(descriptor, 4096, 0))
        place = "" if who["host"] == socket.gethostname() else f" on {who['host']}"
        return f"process {who['process']}{place} ({who['command']!r}, since {who['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
