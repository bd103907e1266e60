"""Files of jobs and of results: molecules laid end to end in ``.npz``; see `molchord.api.Portable`."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from molchord.api import Array, SampleError
from molchord.errors import DataError, PluginError
from molchord.files import new_file, one_line

_DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, AttributeError, zipfile.BadZipFile, zlib.error)
_FAILED = ("failed_id", "failed_smiles", "failed_reason")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of one molecule: the arrays of its job or result, or None and the reason."""

    id: str
    smiles: str
    arrays: Mapping[str, NDArray[Any]] | None = None
    reason: str = ""

    @property
    def failure(self) -> SampleError:
        """Return the reason as an error."""
        return SampleError(self.id, self.reason)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a file holds besides its arrays: key14 of the molecules in it, those that failed, and how it was made."""

    ids: tuple[str, ...]
    failed: tuple[Outcome, ...]
    prepared_by: str
    computed_by: str = ""


def write_entries(path: Path, declared: Mapping[str, Array], entries: Sequence[Outcome], **made_by: str) -> None:
    """Write a file of jobs or results, whole or not at all.

    Args:
        path: The file.
        declared: Its arrays.
        entries: One per molecule.
        made_by: ``prepared_by``, and ``computed_by`` for results.

    Raises:
        PluginError: The arrays of an entry are not as declared.
    """
    done = [entry for entry in entries if entry.arrays is not None]
    failed = [entry for entry in entries if entry.arrays is None]
    out: dict[str, Any] = {"id": _texts([e.id for e in done]), "smiles": _texts([e.smiles for e in done])}
    rows = [_checked(entry, declared) for entry in done]
    for name, array in declared.items():
        parts = [row[name] for row in rows]
        if array.axis is None:
            out[name] = np.reshape(parts, (len(parts), *array.shape)).astype(array.dtype)
            continue
        out[name] = np.concatenate([np.zeros((0, *array.shape), dtype=array.dtype), *parts])
        out[array.axis] = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    lists = ([e.id for e in failed], [e.smiles for e in failed], [e.reason for e in failed])
    out |= {name: _texts(values) for name, values in zip(_FAILED, lists, strict=True)}
    out |= {name: np.array(text) for name, text in made_by.items()}
    with new_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **out)


def read_contents(path: Path) -> Contents:
    """Read what a file of jobs or results holds besides its arrays, which are read too, to find damage.

    Raises:
        DataError: It is damaged.
    """
    try:
        stored = _arrays(path)
        ids = tuple(stored["id"].tolist())
        if len(stored["smiles"]) != len(ids):
            raise ValueError(f"it has {len(ids)} `id` and {len(stored['smiles'])} `smiles`")
        failed = zip(*(stored[name].tolist() for name in _FAILED), strict=True)
        made = {name: str(stored[name]) for name in ("prepared_by", "computed_by") if name in stored}
        return Contents(ids=ids, failed=tuple(Outcome(id=i, smiles=s, reason=r) for i, s, r in failed), **made)
    except (*_DAMAGED, TypeError) as error:
        raise DataError(
            f"file {str(path)!r} cannot be read ({one_line(error)}); delete it and simulate again"
        ) from None


def read_entries(path: Path, declared: Mapping[str, Array]) -> Iterator[Outcome]:
    """Yield the molecules of a sound file of jobs or results, with their arrays but those that it lacks.

    A simulator's earlier versions may have made fewer.
    """
    stored = _arrays(path)
    for i, (id, smiles) in enumerate(zip(stored["id"].tolist(), stored["smiles"].tolist(), strict=True)):
        arrays = {
            name: stored[name][i if array.axis is None else slice(*stored[array.axis][i : i + 2])]
            for name, array in declared.items()
            if name in stored
        }
        yield Outcome(id=id, smiles=smiles, arrays=arrays)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _texts(values: Sequence[str]) -> NDArray[np.str_]:
    return np.array(values, dtype=np.str_)


def _checked(entry: Outcome, declared: Mapping[str, Array]) -> dict[str, NDArray[Any]]:
    """Return the arrays of an entry in their declared types."""
    given = entry.arrays or {}
    if given.keys() != declared.keys():
        raise PluginError(f"the simulator gave {sorted(given)} for {entry.smiles!r}; declared are {sorted(declared)}")
    out: dict[str, NDArray[Any]] = {}
    lengths: dict[str, int] = {}
    for name, array in declared.items():
        values = np.asarray(given[name])
        shape = values.shape if array.axis is None else values.shape[1:]
        fits = shape == array.shape and (array.axis is None or values.ndim > 0)
        if not fits or (array.axis is not None and lengths.setdefault(array.axis, len(values)) != len(values)):
            raise PluginError(
                f"the simulator gave `{name}` of shape {values.shape} for {entry.smiles!r}; see `{array}`"
            )
        out[name] = values.astype(array.dtype)
    return out
