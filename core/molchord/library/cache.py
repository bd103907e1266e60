"""Lists of candidates embedded once: a library is kept under the digest of its list and of the run that embeds it."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from molchord.data.candidates import shipped_list
from molchord.data.reading import MoleculeSource
from molchord.data.store import DataSet
from molchord.embedder import Embedder
from molchord.errors import OutputError, QueryError
from molchord.files import discard, replace_file, sha256_file
from molchord.library.build import embed_library
from molchord.library.files import MANIFEST
from molchord.library.library import Library
from molchord.places import cache_folder

__all__ = ["cache_folder", "cached_library", "is_library"]

_DIGESTS = "digests.json"
_LAYOUT = "1"
"""Part of the key: what was embedded by other code than this is made again."""


def is_library(path: Path) -> bool:
    """Return whether a folder is a library, damaged or not."""
    try:
        found = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        return isinstance(found, dict) and found.get("kind") == "molchord library"
    except (OSError, ValueError, RecursionError):
        return False


def cached_library(
    embedder: Embedder, source: MoleculeSource, *, run: str, cache: str | Path | None = None, progress: bool = False
) -> Library:
    """Return the library of a list of candidates; it is embedded where no earlier call has done so.

    Args:
        embedder: The model that embeds.
        source: A library, which is opened, or whatever `Run.library` takes.
        run: Identity of the run.
        cache: Folder of kept libraries; None: `cache_folder`.
        progress: Show a progress bar while embedding.

    Raises:
        DataError: The list cannot be read, or none of its molecules can be embedded.
        QueryError: The library is of another run.
        OutputError: The folder cannot be written.
    """
    if isinstance(source, (str, Path)) and is_library(Path(source)):
        library = Library(Path(source))
        library.expect_run(run)
        return library
    source = _settled(source)
    key = hashlib.sha256(f"{_LAYOUT}\n{run}\n{_digest(source)}".encode()).hexdigest()[:32]
    folder = (cache_folder() if cache is None else Path(cache)) / "libraries"
    target = folder / key
    with _alone(folder, key):
        if not _whole(target):
            discard(target)
            embed_library(embedder, source, target, run=run, force=True, progress=progress)
            _seal(target)
    return Library(target)


def _settled(source: MoleculeSource) -> MoleculeSource:
    """Return a source that can be read twice."""
    if isinstance(source, (str, Path)):
        return shipped_list(source) or Path(source)
    return source if isinstance(source, DataSet) else list(source)


def _digest(source: MoleculeSource) -> str:
    if isinstance(source, Path) and source.is_dir():
        source = DataSet(source)
    if isinstance(source, DataSet):
        return "data " + sha256_file(source.path / MANIFEST)
    if isinstance(source, Path):
        # One that is not there is named by what reads it.
        return f"file {sha256_file(source)} {source.name.lower()}" if source.is_file() else ""
    return "list " + hashlib.sha256(repr([*source]).encode()).hexdigest()


@contextmanager
def _alone(folder: Path, key: str) -> Iterator[None]:
    """Let one process at a time look for, or make, a library."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / f"{key}.lock").open("w")
    except OSError as error:
        raise OutputError(
            f"folder {str(folder)!r} for embedded candidates cannot be written ({error.strerror}); choose another one "
            "with `--cache DIR`, or embed them with `molchord embed`"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _seal(target: Path) -> None:
    """Note the digests of a library's files, by which damage is seen."""
    digests = {file.name: sha256_file(file) for file in sorted(target.iterdir()) if file.is_file()}
    replace_file(target / _DIGESTS, json.dumps(digests, indent=1) + "\n")


def _whole(target: Path) -> bool:
    """Return whether a kept library is there and as it was written."""
    try:
        digests = json.loads((target / _DIGESTS).read_text(encoding="utf-8"))
        if any(sha256_file(target / name) != digest for name, digest in digests.items()):
            return False
        Library(target)
    except (OSError, ValueError, AttributeError, RecursionError, QueryError):
        return False
    return True
