"""Arrays of measurements: checked, narrowed to their storage types, and laid end to end in safetensors shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from molchord.api import Measurement, Real, SampleError, Stores
from molchord.checksums import FileEntry, check_header, expect_file
from molchord.data.manifest import ArrayEntry, ArrayStorage
from molchord.errors import DataError, did_you_mean
from molchord.files import one_line, write_tensors
from molchord.vocabulary import ORIGINS


@final
class Encoded:
    """A measurement that fits its declaration: arrays as stored, columns as text, float or None."""

    def __init__(self, arrays: dict[str, NDArray[Any]], columns: dict[str, float | str | None]) -> None:
        self.arrays, self.columns = arrays, columns


def encode(measurement: Measurement, arrays: Mapping[str, ArrayEntry], stores: Stores) -> Encoded:
    """Check a measurement against its declaration and narrow it to its storage types.

    Raises:
        SampleError: It does not fit the declaration or the storage type, or it is empty.
    """
    for name in measurement.arrays:
        if name not in arrays:
            raise SampleError(name, f"array `{name}` is not declared; {did_you_mean(name, arrays)}")
    lengths: dict[str, int] = {}
    out = {}
    for name, entry in arrays.items():
        values = measurement.arrays.get(name)
        if values is None and entry.axis is not None:
            values = np.zeros((0, *entry.shape), dtype=entry.dtype)
        out[name] = _encoded(name, entry, values)
    for name, entry in arrays.items():
        if entry.axis is not None and name in measurement.arrays:
            length = lengths.setdefault(entry.axis, len(out[name]))
            if length != len(out[name]):
                raise SampleError(name, f"array `{name}` has {len(out[name])} along `{entry.axis}`, others {length}")
    for name, entry in arrays.items():
        if entry.axis is not None and len(out[name]) != lengths.get(entry.axis, 0):
            raise SampleError(name, f"array `{name}` is missing beside others along `{entry.axis}`")
    if all(values.size == 0 for values in out.values()):
        raise SampleError("arrays", "the measurement holds no value")
    return Encoded(out, _columns(measurement, stores))


def _encoded(name: str, entry: ArrayEntry, values: object) -> NDArray[Any]:
    if values is None:
        raise SampleError(name, f"array `{name}` of shape {entry.shape} is missing")
    got = np.asarray(values)
    if got.dtype.kind not in "fiub":
        raise SampleError(name, f"array `{name}` holds {got.dtype}, not numbers")
    shape = got.shape if entry.axis is None else got.shape[1:]
    if shape != entry.shape or (entry.axis is not None and got.ndim == 0):
        wanted = entry.shape if entry.axis is None else (entry.axis, *entry.shape)
        raise SampleError(name, f"array `{name}` has shape {got.shape}, declared is {wanted}")
    return _narrowed(name, got, entry.storage)


def _narrowed(name: str, values: NDArray[Any], storage: ArrayStorage) -> NDArray[Any]:
    dtype = np.dtype(storage.dtype)
    if values.dtype == dtype and storage.scale == 1.0 and storage.offset == 0.0:
        return np.ascontiguousarray(values)
    stored = values
    if storage.scale != 1.0 or storage.offset != 0.0:
        stored = (values.astype(np.float64) - storage.offset) / storage.scale
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            out = stored.astype(dtype)
        fits = np.isfinite(out) | ~np.isfinite(stored)
    else:
        whole = stored if stored.dtype.kind in "iub" else np.rint(stored)
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        fits = (whole >= low) & (whole <= high)  # false for NaN
        out = np.where(fits, whole, 0).astype(dtype)
    if not fits.all():
        wrong = values[~fits][0]
        raise SampleError(name, f"value {wrong} of array `{name}` does not fit its storage ({storage!r})")
    return out


def _columns(measurement: Measurement, stores: Stores) -> dict[str, float | str | None]:
    for name in measurement.columns:
        if name != "origin" and name not in stores.columns:
            raise SampleError(name, f"column `{name}` is not declared; {did_you_mean(name, stores.columns)}")
    if measurement.origin not in ORIGINS:
        raise SampleError("origin", f"`origin` is {measurement.origin!r}; {did_you_mean(measurement.origin, ORIGINS)}")
    out: dict[str, float | str | None] = {"origin": measurement.origin}
    for name, declared in stores.columns.items():
        value = measurement.columns.get(name)
        if isinstance(declared, Real):
            out[name] = _number(name, value)
        elif value is None or isinstance(value, str):
            out[name] = value or None
        else:
            raise SampleError(name, f"column `{name}` holds text, got {value!r}")
    return out


def _number(name: str, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, (bool, str)) or not isinstance(value, (int, float, np.number)):
        raise SampleError(name, f"column `{name}` holds numbers, got {value!r}")
    number = float(value)  # type: ignore[arg-type, unused-ignore]
    return None if np.isnan(number) else number


def shard_name(number: int) -> str:
    """Return the file name of a shard."""
    return f"arrays-{number:05d}.safetensors"


def write_shard(
    path: Path,
    measurements: Sequence[Mapping[str, NDArray[Any]]],
    arrays: Mapping[str, ArrayEntry],
    metadata: dict[str, str] | None = None,
) -> None:
    """Write encoded measurements end to end, whole or not at all, with one offsets array for each ragged axis."""
    tensors: dict[str, NDArray[Any]] = {}
    for name, entry in arrays.items():
        parts = [m[name] for m in measurements]
        if entry.axis is None:
            tensors[f"array.{name}"] = np.reshape(parts, (len(parts), *entry.shape)).astype(entry.storage.dtype)
            continue
        empty = np.zeros((0, *entry.shape), dtype=entry.storage.dtype)
        tensors[f"array.{name}"] = np.concatenate([empty, *parts])
        tensors[f"offsets.{entry.axis}"] = np.cumsum([0, *(len(p) for p in parts)], dtype=np.int64)
    write_tensors(path, tensors, metadata)


@final
class Shard:
    """One open shard; slices are copied out of the mapped file.

    Args:
        folder: Folder of the table.
        arrays: Its arrays.
        files: Size and checksum of the folder's files, by name.
        number: Number of the shard.
    """

    def __init__(
        self, folder: Path, arrays: Mapping[str, ArrayEntry], files: Mapping[str, FileEntry], number: int
    ) -> None:
        self._path = folder / shard_name(number)
        self._arrays = arrays
        try:
            check_header(self._path)
            self._file = safe_open(self._path, framework="np")
            self._values = {name: self._slice(f"array.{name}") for name in arrays}
            axes = sorted({a.axis for a in arrays.values() if a.axis is not None})
            # Whole, eight bytes per measurement: a read of two numbers takes as long as one of an array.
            self._offsets = {axis: self._slice(f"offsets.{axis}")[:] for axis in axes}
        except (OSError, SafetensorError) as error:
            raise DataError(
                f"shard {str(self._path)!r} is damaged: {one_line(error)}; import the data again"
            ) from error
        expect_file(self._path, files.get(self._path.name), DataError, "import the data again")

    def read(self, index: int) -> dict[str, NDArray[Any]]:
        """Read the arrays of one measurement in their declared types.

        Raises:
            DataError: Offsets and arrays do not fit together.
        """
        try:
            return self._read(index)
        except (SafetensorError, IndexError) as error:
            raise DataError(
                f"shard {str(self._path)!r} is damaged: {one_line(error)}; import the data again"
            ) from error

    def _read(self, index: int) -> dict[str, NDArray[Any]]:
        out = {}
        for name, entry in self._arrays.items():
            offsets = None if entry.axis is None else self._offsets[entry.axis]
            start, end = (index, index + 1) if offsets is None else (int(offsets[index]), int(offsets[index + 1]))
            if start == end:  # safetensors refuses an empty slice at the end
                out[name] = np.zeros((0, *entry.shape), dtype=entry.dtype)
                continue
            stored = self._values[name][start:end]
            out[name] = _widened(stored if entry.axis is not None else stored[0], entry)
        return out

    def _slice(self, tensor: str) -> Any:
        return self._file.get_slice(tensor)  # type: ignore[no-untyped-call]


def _widened(stored: NDArray[Any], entry: ArrayEntry) -> NDArray[Any]:
    storage, dtype = entry.storage, np.dtype(entry.dtype)
    if storage.scale == 1.0 and storage.offset == 0.0:
        return stored.astype(dtype, copy=False)
    values = stored.astype(np.float64) * storage.scale + storage.offset
    return (np.rint(values) if dtype.kind in "iu" else values).astype(dtype)
