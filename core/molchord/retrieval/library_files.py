"""The files of a library: manifest, shards, removed rows, and the writer that makes them."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeAlias, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file as save_tensors

from molchord.api import Molecule
from molchord.errors import OutputExistsError, QueryError
from molchord.retrieval.scores import Block

__all__ = [
    "Entry",
    "Manifest",
    "SeenKeys",
    "Shard",
    "ShardEntry",
    "Storage",
    "Writer",
    "check_entry",
    "check_replaceable",
    "read_manifest",
    "read_removed",
    "shard_name",
    "shortened",
    "thin_shard",
    "write_manifest",
    "write_removed",
    "write_shard",
]

_GROUP = 1024  # molecules of a parquet row group: what is read for one hit
_MANIFEST, _REMOVED = "manifest.json", "removed.safetensors"
_SHORT = ("short", "scale")
Storage: TypeAlias = Literal["fp32", "bf16", "int8"]
"""What a search scans; beside bf16 and int8, a half and a quarter of the size, the fp32 rows stay for scoring."""

_LETTERS = 26 ** np.arange(12, -1, -1, dtype=np.int64)


@final
@dataclass(frozen=True)
class Entry:
    """One candidate of a library: the molecule, its unit vector, and unit vectors of its own spectra a modality."""

    molecule: Molecule
    vector: NDArray[np.floating]
    spectra: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)


class ShardEntry(BaseModel):
    """A shard in the manifest: the stem of its two files, its rows, and the range of its masses in Da."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    rows: int
    lightest: float
    heaviest: float


class Manifest(BaseModel):
    """What a library says of itself.

    Attributes:
        kind: Tells a library from other folders.
        format: Version of the layout.
        run: What names the run that embedded it.
        candidate: The modality that the vectors are of.
        embedding_dim: Size of the vectors.
        spectra: Modalities whose vectors candidates may carry.
        storage: What a search scans; the fp32 vectors are there in any case.
        shards: In the order they were written.
        duplicates: Entries left out since their key14 was there.
        unusable: Entries left out since a vector was not finite.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["molchord library"] = "molchord library"
    format: Literal[1] = 1
    run: str
    candidate: str
    embedding_dim: int
    spectra: tuple[str, ...] = ()
    storage: Storage = "fp32"
    shards: tuple[ShardEntry, ...] = ()
    duplicates: int = 0
    unusable: int = 0


def read_manifest(path: Path) -> Manifest:
    """Read a library's manifest.

    Raises:
        QueryError: The folder is no library, damaged, or of another format.
    """
    file = path / _MANIFEST
    if not file.is_file():
        raise QueryError(f"library {str(path)!r} does not exist or has no {_MANIFEST}; make one with `molchord embed`")
    try:
        return Manifest.model_validate_json(file.read_bytes())
    except ValidationError as error:
        wrong = error.errors()[0]
        raise QueryError(
            f"library {str(path)!r} cannot be read: `{'.'.join(map(str, wrong['loc']))}` is "
            f"{repr(wrong['input'])[:60]} ({wrong['msg']}); this version reads format 1, so make it again with "
            "`molchord embed`"
        ) from error


def read_removed(path: Path) -> NDArray[np.int64]:
    """Return the removed rows of a library, ascending."""
    file = path / _REMOVED
    return load_file(file)["rows"] if file.is_file() else np.zeros(0, dtype=np.int64)


def write_removed(path: Path, rows: NDArray[np.int64]) -> None:
    """Replace the list of removed rows in one step."""
    save_file({"rows": rows}, path / f"{_REMOVED}.new")
    os.replace(path / f"{_REMOVED}.new", path / _REMOVED)


@final
class Shard:
    """One shard, opened for reading; slices are views of the mapped file.

    Args:
        folder: The library's folder.
        name: Stem of the shard's files.

    Raises:
        QueryError: A file is missing or damaged.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._arrays, self._table = folder / f"{name}.safetensors", folder / f"{name}.parquet"
        try:
            self._file = safe_open(self._arrays, framework="pt")
            self._names = frozenset(self._file.keys())  # type: ignore[no-untyped-call]
        except (OSError, SafetensorError) as error:
            raise QueryError(
                f"shard {str(self._arrays)!r} is damaged: {error}; make the library again with `molchord embed`"
            ) from error

    def keys(self) -> NDArray[Any]:
        """Return the key14 of every row as bytes."""
        return np.ascontiguousarray(self._read("key14").numpy()).view("S14")[:, 0]

    def masses(self) -> NDArray[np.float64]:
        """Return the exact masses in Da, ascending."""
        return self._read("mass").numpy()

    def formulas(self, start: int, stop: int) -> NDArray[Any]:
        """Return the formulas of some rows."""
        with self._parquet() as file:
            first, last = start // _GROUP, (stop - 1) // _GROUP
            column = file.read_row_groups(range(first, last + 1), columns=["formula"])["formula"]
        return np.asarray(column.to_numpy()[start - first * _GROUP : stop - first * _GROUP])

    def molecules(self, rows: Iterable[int]) -> dict[int, Molecule]:
        """Return the molecules of some rows of this shard."""
        found: dict[int, Molecule] = {}
        with self._parquet() as file:
            for group in sorted({row // _GROUP for row in rows}):
                table = file.read_row_group(group)
                here = [row for row in rows if row // _GROUP == group]
                values = table.take([row - group * _GROUP for row in here]).to_pylist()
                found |= {row: Molecule(**value) for row, value in zip(here, values, strict=True)}
        return found

    def gather(self, name: str, rows: NDArray[np.int64]) -> torch.Tensor:
        """Return some rows of one of this shard's arrays."""
        return self._read(name)[torch.from_numpy(rows)]

    def blocks(
        self, rows: NDArray[np.int64] | range, offset: int, spectra: Iterable[str], at_once: int
    ) -> Iterator[Block]:
        """Yield some rows in blocks; `rows` counts from 0, the index of a block from `offset`."""
        for start in range(int(rows[0]), int(rows[-1]) + 1, at_once):
            stop = min(start + at_once, int(rows[-1]) + 1)
            kept = None
            if isinstance(rows, np.ndarray):
                low, high = np.searchsorted(rows, [start, stop])
                if low == high:
                    continue
                kept = torch.from_numpy(rows[low:high] - start)
            index = torch.arange(start, stop)
            short, scale = (self._slice(name, start, stop, kept) if name in self._names else None for name in _SHORT)
            yield Block(
                index=offset + (index if kept is None else index[kept]),
                vectors=self._slice("vectors", start, stop, kept),
                order=self._slice("order", start, stop, kept),
                short=short,
                scale=scale,
                error=float(self._read("error")) if short is not None else 0.0,
                spectra={name: self._slice(f"spectrum.{name}", start, stop, kept) for name in spectra},
                spectra_present={name: self._slice(f"present.{name}", start, stop, kept) for name in spectra},
            )

    def _slice(self, name: str, start: int, stop: int, kept: torch.Tensor | None) -> torch.Tensor:
        part: torch.Tensor = self._file.get_slice(name)[start:stop]  # type: ignore[no-untyped-call]
        return part if kept is None else part[kept]

    def _read(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._file.get_tensor(name)  # type: ignore[no-untyped-call]
        return tensor

    def _parquet(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self._table, memory_map=True)
        except (OSError, pa.ArrowException) as error:
            raise QueryError(
                f"table {str(self._table)!r} is damaged: {error}; make the library again with `molchord embed`"
            ) from error


def shortened(vectors: torch.Tensor, storage: Storage) -> dict[str, torch.Tensor]:
    """Return rows in fewer bits, by the names of a shard's arrays: `short`, `scale` (int8 only) and `error`.

    Args:
        vectors: (n, d) fp32 rows.
        storage: Their type; "fp32" has none.

    Example:
        >>> found = shortened(torch.tensor([[1.0, -0.5]]), "int8")
        >>> found["short"], round(float(found["error"]), 3)
        (tensor([[127, -64]], dtype=torch.int8), 0.004)
    """
    if storage == "fp32":
        return {}
    parts = {}
    if storage == "bf16":
        parts["short"] = vectors.bfloat16()
        back = parts["short"].double()
    else:
        parts["scale"] = vectors.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / 127.0
        parts["short"] = (vectors / parts["scale"][:, None]).round().to(torch.int8)
        back = parts["short"].double() * parts["scale"].double()[:, None]
    missed = (vectors.double() - back).norm(dim=1).max()
    return {**parts, "error": missed * (1.0 + 1e-9)}


@final
class Writer:
    """Writes entries shard by shard; on leaving, a new library takes its place, or more shards join an old one.

    A failure on the way leaves what was there untouched.
    """

    def __init__(self, folder: Path, target: Path, manifest: Manifest, shard_rows: int) -> None:
        self._folder, self._target, self._manifest, self._shard_rows = folder, target, manifest, shard_rows
        self._seen = SeenKeys()

    @classmethod
    def new(cls, target: Path, manifest: Manifest, shard_rows: int, *, force: bool) -> Writer:
        """Start a new library beside its place.

        Raises:
            OutputExistsError: The place is taken and `force` is false.
            QueryError: `force` would replace something that is no library.
        """
        check_replaceable(target, force=force)
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        return cls(folder, target, manifest, shard_rows)

    @classmethod
    def more(cls, target: Path, manifest: Manifest, removed: NDArray[np.int64], shard_rows: int) -> Writer:
        """Start adding shards to a library; keys of removed rows count as absent."""
        writer = cls(target, target, manifest, shard_rows)
        start = 0
        for shard in manifest.shards:
            gone = removed[(removed >= start) & (removed < start + shard.rows)] - start
            writer._seen.add(np.delete(Shard(target, shard.name).keys(), gone))
            start += shard.rows
        return writer

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fresh = self._folder != self._target
        if kind is not None:
            if fresh:
                shutil.rmtree(self._folder)
            return
        write_manifest(self._folder, self._manifest)
        if fresh:
            if self._target.exists():
                shutil.rmtree(self._target)
            os.replace(self._folder, self._target)

    def keep(self, files: Iterable[Path]) -> None:
        """Take files over from the library that a new one replaces."""
        for file in files:
            shutil.copy2(file, self._folder)

    def write(self, entries: Iterable[Entry]) -> None:
        """Write entries, the first one of each key14.

        Raises:
            QueryError: The library would be empty, or an entry has the wrong size or an unknown spectrum.
        """
        buffer: dict[str, Entry] = {}
        duplicates = unusable = 0
        for entry in entries:
            check_entry(entry, self._manifest)
            key = entry.molecule.key14
            if not all(np.isfinite(vector).all() for vector in (entry.vector, *entry.spectra.values())):
                unusable += 1
            elif key in buffer:
                duplicates += 1
            else:
                buffer[key] = entry
            if len(buffer) == self._shard_rows:
                duplicates += self._flush(buffer)
                buffer = {}
        duplicates += self._flush(buffer)
        counts = {
            "duplicates": self._manifest.duplicates + duplicates,
            "unusable": self._manifest.unusable + unusable,
        }
        self._manifest = self._manifest.model_copy(update=counts)
        if not self._manifest.shards:
            raise QueryError(
                f"library {str(self._target)!r} would be empty ({unusable} entries had vectors that are not finite); "
                "check the molecules to embed"
            )

    def _flush(self, buffer: Mapping[str, Entry]) -> int:
        """Write the entries that no shard holds yet as one shard; returns how many were held."""
        keys = np.array([key.encode() for key in buffer], dtype="S14")
        held = self._seen.held(keys)
        fresh = [entry for entry, there in zip(buffer.values(), held, strict=True) if not there]
        if fresh:
            shards = self._manifest.shards
            name = shard_name(1 + int(shards[-1].name.rpartition("-")[2]) if shards else 0)
            shard = write_shard(self._folder, name, fresh, self._manifest)
            self._seen.add(keys[~held])
            self._manifest = self._manifest.model_copy(update={"shards": (*shards, shard)})
        return int(held.sum())


@final
class SeenKeys:
    """The key14 of many molecules: sorted arrays, each less than half as long as the one before.

    Example:
        >>> seen = SeenKeys()
        >>> seen.add(np.array([b"B", b"A"], dtype="S14"))
        >>> seen.held(np.array([b"A", b"C"], dtype="S14")).tolist()
        [True, False]
    """

    def __init__(self) -> None:
        self._sorted: list[NDArray[np.bytes_]] = []

    def add(self, keys: NDArray[np.bytes_]) -> None:
        """Remember keys."""
        self._sorted.append(np.sort(keys))
        while len(self._sorted) > 1 and 2 * len(self._sorted[-1]) >= len(self._sorted[-2]):
            self._sorted.append(np.sort(np.concatenate([self._sorted.pop(), self._sorted.pop()])))

    def held(self, keys: NDArray[np.bytes_]) -> NDArray[np.bool_]:
        """Say which of some keys are remembered."""
        out = np.zeros(len(keys), dtype=np.bool_)
        for part in self._sorted:
            if len(part):
                out |= part[np.searchsorted(part, keys).clip(max=len(part) - 1)] == keys
        return out


def shard_name(number: int) -> str:
    """Return the stem of a shard's two files."""
    return f"shard-{number:05d}"


def check_replaceable(target: Path, *, force: bool) -> None:
    """Refuse a place for a library that is taken.

    Raises:
        OutputExistsError: The place is taken and `force` is false.
        QueryError: `force` would replace something that is no library.
    """
    if not target.exists():
        return
    if not force:
        raise OutputExistsError(target)
    if not target.is_dir() or (any(target.iterdir()) and not (target / _MANIFEST).is_file()):
        raise QueryError(f"output {str(target)!r} exists and is no library; choose another folder")
    if (target / _MANIFEST).is_file():
        read_manifest(target)


def check_entry(entry: Entry, manifest: Manifest) -> None:
    """Refuse an entry that does not fit a library.

    Raises:
        QueryError: It has the wrong size or length, or an unknown spectrum.
    """
    size = (manifest.embedding_dim,)
    for name, vector in (("candidate", entry.vector), *entry.spectra.items()):
        if vector.shape != size:
            raise QueryError(
                f"entry {entry.molecule.key14!r}: vector of {name!r} has shape {vector.shape!r}, but the library "
                f"holds {size!r}; embed all with one run"
            )
        if abs(np.linalg.norm(vector) - 1.0) > 1e-3:
            raise QueryError(
                f"entry {entry.molecule.key14!r}: vector of {name!r} has length {np.linalg.norm(vector):.4g}, but "
                "similarities are cosines; divide it by its length"
            )
    for name in entry.spectra:
        if name not in manifest.spectra:
            raise QueryError(
                f"entry {entry.molecule.key14!r} has a spectrum {name!r}, but the library was made for "
                f"{manifest.spectra!r}; name it when the library is made"
            )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest of a library in one step."""
    new = folder / f"{_MANIFEST}.new"
    new.write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    os.replace(new, folder / _MANIFEST)


def write_shard(folder: Path, name: str, entries: Iterable[Entry], manifest: Manifest) -> ShardEntry:
    """Write one entry or more, each of another key14, as a shard sorted by mass; its two files appear whole."""
    ordered = sorted(entries, key=lambda entry: (entry.molecule.exact_mass, entry.molecule.key14))
    keys = np.array([e.molecule.key14.encode() for e in ordered], dtype="S14")
    letters = keys.view(np.uint8).reshape(-1, 14)
    nothing = np.zeros(manifest.embedding_dim, dtype=np.float32)
    arrays: dict[str, NDArray[Any]] = {
        "vectors": np.stack([e.vector for e in ordered]).astype(np.float32),
        "mass": np.array([e.molecule.exact_mass for e in ordered], dtype=np.float64),
        "key14": letters,
        # 13 letters fill 62 bits; that orders ties by key, up to keys that differ in the last letter only.
        "order": (letters[:, :13].astype(np.int64) - ord("A")) @ _LETTERS,
    }
    for modality in manifest.spectra:
        spectra = [e.spectra.get(modality, nothing) for e in ordered]
        arrays[f"spectrum.{modality}"] = np.stack(spectra).astype(np.float32)
        arrays[f"present.{modality}"] = np.array([modality in e.spectra for e in ordered])
    tensors = {name: torch.from_numpy(part) for name, part in arrays.items()}
    tensors |= shortened(tensors["vectors"], manifest.storage)
    columns = ("key14", "smiles", "formula", "exact_mass")
    table = pa.table({column: [getattr(e.molecule, column) for e in ordered] for column in columns})
    return _save_shard(folder, name, tensors, table)


def thin_shard(folder: Path, name: str, keep: NDArray[np.bool_]) -> ShardEntry:
    """Replace a shard by those of its rows that are to be kept, at least one."""
    rows = torch.from_numpy(np.flatnonzero(keep))
    tensors = load_tensors(folder / f"{name}.safetensors")
    kept = {part: tensor[rows] if tensor.ndim else tensor for part, tensor in tensors.items()}
    return _save_shard(folder, name, kept, pq.read_table(folder / f"{name}.parquet").filter(pa.array(keep)))


def _save_shard(folder: Path, name: str, tensors: Mapping[str, torch.Tensor], table: pa.Table) -> ShardEntry:
    mark = f".{name}.{uuid.uuid4().hex[:8]}"  # several processes may write one shard, all of them the same
    save_tensors(dict(tensors), folder / f"{mark}.safetensors")
    pq.write_table(table, folder / f"{mark}.parquet", row_group_size=_GROUP)
    for ending in ("safetensors", "parquet"):
        os.replace(folder / f"{mark}.{ending}", folder / f"{name}.{ending}")
    mass = tensors["mass"]
    return ShardEntry(name=name, rows=len(mass), lightest=float(mass[0]), heaviest=float(mass[-1]))
