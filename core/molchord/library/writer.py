"""Makes and extends libraries: entries become shards, each whole or not there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file as load_tensors

from molchord.checksums import checksum_of, expect_file
from molchord.errors import OutputExistsError, QueryError
from molchord.files import discard, replace_files, replace_folder, write_tensors
from molchord.library.files import (
    GROUP,
    MANIFEST,
    Entry,
    LibraryManifest,
    LibraryShard,
    ShardEntry,
    Storage,
    read_library_manifest,
    write_library_manifest,
)

__all__ = [
    "SeenKeys",
    "Writer",
    "check_entry",
    "check_replaceable",
    "library_shard_name",
    "shortened",
    "thin_shard",
    "write_library_shard",
    "write_removed",
]

_ENDINGS = ("safetensors", "parquet")
_LETTERS = 26 ** np.arange(12, -1, -1, dtype=np.int64)


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
    """Writes entries shard by shard; a failure on the way leaves the library that was there as it was."""

    def __init__(self, folder: Path, target: Path, manifest: LibraryManifest, shard_rows: int) -> None:
        self._folder, self._target, self._manifest, self._shard_rows = folder, target, manifest, shard_rows
        self._seen = SeenKeys()

    @classmethod
    @contextmanager
    def new(cls, target: Path, manifest: LibraryManifest, shard_rows: int, *, force: bool) -> Iterator[Writer]:
        """Write a new library next to its place, which it takes when the block ends well.

        Raises:
            OutputExistsError: The place is taken and `force` is false.
            QueryError: `force` would replace something that is not a library.
            OutputError: The folder cannot be written.
        """
        check_replaceable(target, force=force)
        with replace_folder(target) as folder:
            writer = cls(folder, target, manifest, shard_rows)
            yield writer
            write_library_manifest(folder, writer._manifest)

    @classmethod
    @contextmanager
    def more(
        cls, target: Path, manifest: LibraryManifest, removed: NDArray[np.int64], shard_rows: int
    ) -> Iterator[Writer]:
        """Add shards to a library, which has them when the block ends well; keys of removed rows count as absent."""
        writer = cls(target, target, manifest, shard_rows)
        start = 0
        for shard in manifest.shards:
            gone = removed[(removed >= start) & (removed < start + shard.rows)] - start
            writer._seen.add(np.delete(LibraryShard(target, shard).keys(), gone))
            start += shard.rows
        try:
            yield writer
            write_library_manifest(target, writer._manifest)
        except BaseException:
            if read_library_manifest(target) == manifest:
                for shard in writer._manifest.shards[len(manifest.shards) :]:
                    for ending in _ENDINGS:
                        discard(target / f"{shard.name}.{ending}")
            raise

    def keep(self, files: Iterable[Path]) -> None:
        """Take files over from the library that a new one replaces."""
        for file in files:
            shutil.copy2(file, self._folder)
            known = self._manifest.files.get(file.name)
            expect_file(self._folder / file.name, known, QueryError, "make the library again with `molchord embed`")
            kept = {**self._manifest.files, file.name: checksum_of(self._folder / file.name)}
            self._manifest = self._manifest.model_copy(update={"files": kept})

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
            name = library_shard_name(1 + int(shards[-1].name.rpartition("-")[2]) if shards else 0)
            shard = write_library_shard(self._folder, name, fresh, self._manifest)
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
        """Return which of some keys are remembered."""
        out = np.zeros(len(keys), dtype=np.bool_)
        for part in self._sorted:
            if len(part):
                out |= part[np.searchsorted(part, keys).clip(max=len(part) - 1)] == keys
        return out


def library_shard_name(number: int) -> str:
    """Return the stem of a shard's two files."""
    return f"shard-{number:05d}"


def check_replaceable(target: Path, *, force: bool) -> None:
    """Refuse a place for a library that is taken.

    Raises:
        OutputExistsError: The place is taken and `force` is false.
        QueryError: `force` would replace something that is not a library.
    """
    if not target.exists():
        return
    if not force:
        raise OutputExistsError(target)
    if not target.is_dir() or (any(target.iterdir()) and not (target / MANIFEST).is_file()):
        raise QueryError(f"output {str(target)!r} exists and is not a library; choose another folder")
    if (target / MANIFEST).is_file():
        read_library_manifest(target)


def write_removed(folder: Path, manifest: LibraryManifest, rows: NDArray[np.int64]) -> None:
    """Mark rows of a library as removed, all those there are; readers see the old ones until the manifest is there."""
    number = 1 + int(manifest.removed.rpartition("-")[2].partition(".")[0] or 0)
    name = f"removed-{number:05d}.safetensors"
    write_tensors(folder / name, {"rows": rows})
    files = {file: entry for file, entry in manifest.files.items() if file != manifest.removed}
    update = {"removed": name, "files": {**files, name: checksum_of(folder / name)}}
    write_library_manifest(folder, manifest.model_copy(update=update))
    discard(folder / (manifest.removed or "removed.safetensors"))


def check_entry(entry: Entry, manifest: LibraryManifest) -> None:
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


def write_library_shard(folder: Path, name: str, entries: Iterable[Entry], manifest: LibraryManifest) -> ShardEntry:
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
    facts = ("key14", "smiles", "formula", "exact_mass")
    columns: dict[str, list[Any]] = {fact: [getattr(e.molecule, fact) for e in ordered] for fact in facts}
    if any(e.name or e.columns for e in ordered):
        columns["name"] = [e.name for e in ordered]
        columns["columns"] = [json.dumps(dict(e.columns), ensure_ascii=False) if e.columns else "" for e in ordered]
    table = pa.table(columns)
    return _save_shard(folder, name, tensors, table)


def thin_shard(folder: Path, name: str, keep: NDArray[np.bool_]) -> ShardEntry:
    """Replace a shard by those of its rows that are to be kept, at least one."""
    rows = torch.from_numpy(np.flatnonzero(keep))
    tensors = load_tensors(folder / f"{name}.safetensors")
    kept = {part: tensor[rows] if tensor.ndim else tensor for part, tensor in tensors.items()}
    return _save_shard(folder, name, kept, pq.read_table(folder / f"{name}.parquet").filter(pa.array(keep)))


def _save_shard(folder: Path, name: str, tensors: Mapping[str, torch.Tensor], table: pa.Table) -> ShardEntry:
    files = [f"{name}.{ending}" for ending in _ENDINGS]
    with replace_files(folder) as new:  # several processes may write one shard, all of them the same
        write_tensors(new / files[0], tensors)
        pq.write_table(table, new / files[1], row_group_size=GROUP)
        arrays, rows = (checksum_of(new / file) for file in files)
    mass = tensors["mass"]
    return ShardEntry(
        name=name, rows=len(mass), lightest=float(mass[0]), heaviest=float(mass[-1]), arrays=arrays, table=rows
    )
