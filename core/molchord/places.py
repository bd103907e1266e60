"""Where files are: those that can be made again, and those that a manifest names."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from molchord.errors import MolchordError

__all__ = ["cache_folder", "inside"]


def cache_folder() -> Path:
    """Return where what can be made again is kept: ``MOLCHORD_CACHE``, else ``molchord`` in the user's cache folder."""
    if chosen := os.environ.get("MOLCHORD_CACHE"):
        return Path(chosen)
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user without a home
        base = Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"
    return base / "molchord"


def inside(folder: Path, name: str, error: type[MolchordError]) -> Path:
    """Return the file of a folder that its manifest names, which must be in it: no ``..``, no link that leads out.

    Raises:
        MolchordError: As `error`; the name leads elsewhere.

    Example:
        >>> from molchord.errors import QueryError
        >>> inside(Path("library"), "../a", QueryError)
        Traceback (most recent call last):
            ...
        molchord.errors.QueryError: folder 'library': its manifest names '../a', which is not in it; get a whole copy
    """
    path = folder / name
    plain = "/" not in name and name not in ("", ".", "..") and "\0" not in name
    if plain and not path.is_symlink():
        return path  # most are, and a library may have thousands
    if name in ("", ".") or "\0" in name or not path.resolve().is_relative_to(folder.resolve()):
        raise error(f"folder {str(folder)!r}: its manifest names {name!r}, which is not in it; get a whole copy")
    return path
