"""Compares every file of a run, data set, library or study with its checksum, whatever was compared before."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from molchord.checksums import check_seal, unsealed, verify_files
from molchord.data.derived import verify_derived
from molchord.data.manifest import read_data_manifest
from molchord.errors import MolchordError
from molchord.files import one_line
from molchord.library.files import read_library_manifest
from molchord.library.indexes import verify_indexes
from molchord.run_folder import read_run_manifest
from molchord.run_place import find_run
from molchord.study import JOURNAL

__all__ = ["verify"]

_SEALED = ("*.safetensors", "checkpoints/*.safetensors")


def verify(path: str | Path) -> list[str]:
    """Return a sentence for each file of a folder that is not as it was written, and nothing for those that are.

    Files that an earlier version wrote without a checksum are left out.

    Args:
        path: A run (or the word ``pretrained``), a data set, a library with its indexes, or a study with its runs.

    Raises:
        MolchordError: The folder is none of these, or its manifest is damaged.

    Example:
        >>> from molchord.testing import tiny_run
        >>> verify(tiny_run().path)
        []
    """
    folder = find_run(path)
    return list(_kind(folder)(folder))


def _kind(folder: Path) -> Callable[[Path], Iterator[str]]:
    """Return how to verify a folder of this kind."""
    if (folder / JOURNAL).is_file():
        return _study
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        lack = "has no manifest.json" if folder.exists() else "does not exist"
        raise MolchordError(f"folder {str(folder)!r} {lack}; give a run, a data set, a library or a study")
    try:
        stated = json.loads(manifest.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise MolchordError(f"file {str(manifest)!r} is damaged ({one_line(error)}); restore it") from error
    if not isinstance(stated, dict):
        raise MolchordError(
            f"file {str(manifest)!r} is not a manifest of molchord; give a run, a data set or a library"
        )
    if stated.get("kind") == "molchord library":
        return _library
    return _data if stated.get("format") == "molchord-data" else _run


def _library(folder: Path) -> Iterator[str]:
    yield from verify_files(folder, read_library_manifest(folder).checksums())
    yield from verify_indexes(folder)


def _data(folder: Path) -> Iterator[str]:
    yield from verify_files(folder, read_data_manifest(folder).files)
    yield from verify_derived(folder)


def _run(folder: Path) -> Iterator[str]:
    yield from verify_files(folder, read_run_manifest(folder).files)
    for file in sorted(file for pattern in _SEALED for file in folder.glob(pattern)):
        fault = check_seal(file)
        if fault is not None:
            yield f"file {file.relative_to(folder).as_posix()!r} {fault}"
    if (folder / "properties.json").is_file():
        try:
            unsealed((folder / "properties.json").read_bytes())
        except ValueError as error:
            yield f"file 'properties.json' is damaged ({one_line(error)})"


def _study(folder: Path) -> Iterator[str]:
    for run in sorted(folder.glob("trial-*")):
        if (run / "manifest.json").is_file():
            yield from (f"{run.name}: {sentence}" for sentence in _run(run))
