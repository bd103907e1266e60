"""One process at a time changes a folder: a second one is refused, and told which process the first one is.

The lock is the system's own (`flock`), so it goes with its process, however that ends: what a killed process leaves is
a file that nobody holds, and partial folders, which the next one removes. Where a file system knows no such locks,
there is none.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
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
_UNKNOWN = (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


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
        ...         print(str(error)[-26:])
        try again when it has ended
    """
    target = folder.resolve()
    places = (target.with_name(f".{target.name}.lock"), target / ".lock")
    descriptor, place = _locked(folder, places)
    try:
        for left in unfinished(target):
            discard(left)
        yield
    finally:
        if descriptor is not None:
            with suppress(OSError):
                place.unlink()  # while it is held, so that nobody waits for a file that has no name any more
            os.close(descriptor)


def unfinished(folder: Path) -> list[Path]:
    """Return what processes that were killed left of a folder under a hidden name, before it was whole."""
    with suppress(OSError):
        names = sorted(os.listdir(folder.parent))
        return [folder.with_name(n) for n in names if n.startswith(f".{folder.name}.") and n.endswith(".partial")]
    return []


def _locked(folder: Path, places: tuple[Path, ...]) -> tuple[int | None, Path]:
    """Return the open lock and where it is; none where nothing can be written, which whatever writes then reports."""
    with suppress(OSError):
        places[0].parent.mkdir(parents=True, exist_ok=True)
    for place in places:
        while True:
            try:
                descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except OSError as error:
                if error.errno in _REFUSED:
                    break
                raise
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = _holder(descriptor)
                os.close(descriptor)
                if error.errno in _UNKNOWN:
                    return None, place
                raise FolderInUseError(folder, holder) from None
            if _is(descriptor, place):
                _sign(descriptor)
                return descriptor, place
            os.close(descriptor)  # whoever held it took its name away
    return None, places[0]


def _is(descriptor: int, place: Path) -> bool:
    """Return whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(place))
    except FileNotFoundError:
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
