"""Where files may be: below the folders that were named on the command line, whatever an assistant asks for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final

from molchord.errors import QueryError

__all__ = ["Roots"]


@final
class Roots:
    """Folders below which files may be read; no name and no symbolic link leads out of them.

    Args:
        folders: At least one.

    Raises:
        QueryError: One of them is not a folder.
    """

    def __init__(self, folders: Sequence[str | Path]) -> None:
        for folder in folders:
            if not Path(folder).is_dir():
                raise QueryError(
                    f"folder {str(folder)!r} of `--files` does not exist; give a folder that holds spectra"
                )
        self.folders = tuple(Path(folder).resolve() for folder in folders)

    def find(self, name: str) -> Path:
        """Return the file or folder of a name, relative to one of the folders or absolute, the first that exists.

        Raises:
            QueryError: There is none, it is hidden, or it is not below one of the folders.
        """
        for folder in self.folders:
            if self._real(folder / name) is not None and os.path.exists(folder / name):
                return folder / name
        folders = " or ".join(repr(str(folder)) for folder in self.folders)
        raise QueryError(
            f"{name!r} is not a file or folder below {folders}; give a name that `available` lists, or start "
            "`molchord mcp` with `--files DIR`"
        )

    def real(self, path: Path) -> Path:
        """Return where a file of one of the folders really is.

        Raises:
            QueryError: It is a link that leads out of the folders.
        """
        found = self._real(path)
        if found is None:
            raise QueryError(f"{path.name!r} leads out of the folders that may be read; put a copy of the file there")
        return found

    def names(self, name: str | None = None) -> Iterator[tuple[str, int]]:
        """Yield the files of all folders, or of one below them, each with its size in bytes; hidden ones are left out.

        Raises:
            QueryError: There is no such folder.
        """
        for base in self.folders if name is None else (self.real(self.find(name)),):
            for where, folders, files in os.walk(base):
                folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
                for file in sorted(files):
                    path = Path(where, file)
                    if not file.startswith(".") and self._real(path) is not None and path.is_file():
                        yield self._name(path), path.stat().st_size

    def _name(self, path: Path) -> str:
        """Return the name by which a file is found: relative to its folder, unless a folder before it has it too."""
        folder = next(folder for folder in self.folders if path.is_relative_to(folder))
        name = path.relative_to(folder).as_posix()
        return name if self.find(name).resolve() == path.resolve() else str(path)

    def _real(self, path: Path) -> Path | None:
        """Return where a path leads; None where that is hidden, or not below one of the folders."""
        try:
            found = path.resolve()
        except (OSError, ValueError, RuntimeError):  # a name too long, one with a NUL, links that lead to each other
            return None
        for folder in self.folders:
            if found.is_relative_to(folder) and not any(p.startswith(".") for p in found.relative_to(folder).parts):
                return found
        return None
