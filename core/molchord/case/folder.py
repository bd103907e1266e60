"""Files and names of a case: copied, locked and digested. Imports no torch."""

from __future__ import annotations

import fcntl
import hashlib
from importlib import metadata
from pathlib import Path
from typing import IO

from molchord.data.candidates import shipped_list
from molchord.errors import DataError, OutputError
from molchord.files import replace_file, sha256_file

__all__ = ["absolute", "copied", "digest_of_source", "locked", "plain_label", "versions"]

_VERSIONED = ("molchord", "torch", "rdkit", "numpy")


def versions() -> dict[str, str]:
    """Return the versions of what makes answers."""
    return {name: metadata.version(name) for name in _VERSIONED}


def digest_of_source(source: str | Path) -> str | None:
    """Return the digest of a list of candidates, or of the manifest of a library or data set; None: there is none."""
    path = shipped_list(source) or Path(source)
    path = path / "manifest.json" if path.is_dir() else path
    return sha256_file(path) if path.is_file() else None


def plain_label(name: str) -> str:
    r"""Return what a file was called, without what no name has: control characters, empty parts, parts of dots.

    Example:
        >>> plain_label("../../etc/passwd"), plain_label("C:\\data\\a.csv"), plain_label("a\r\nX-Y: 1")
        ('etc/passwd', 'C:/data/a.csv', 'aX-Y: 1')
    """
    printable = "".join(c for c in name.replace("\\", "/") if c.isprintable())
    return "/".join(part for part in printable.split("/") if part.strip(" ."))[-300:].lstrip("/")


def absolute(path: str) -> str:
    """Return a path that holds wherever the program is started; words of what is shipped stay words."""
    return str(Path(path).resolve()) if Path(path).exists() else path


def copied(content: bytes | Path, target: Path) -> tuple[int, str]:
    """Write content, or a copy of a file; returns its size and digest."""
    data = content if isinstance(content, bytes) else content.read_bytes()
    replace_file(target, data)
    return len(data), hashlib.sha256(data).hexdigest()


def locked(folder: Path) -> IO[str]:
    """Make a folder where there is none, and keep other programs out until what this returns is closed.

    Raises:
        OutputError: It cannot be written.
        DataError: Another program has it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise OutputError(
            f"case {str(folder)!r} cannot be written ({error.strerror}); choose another folder"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise DataError(f"case {str(folder)!r} is open in another molchord; close that one first") from error
    return lock
