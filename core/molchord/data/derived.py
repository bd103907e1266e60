"""What is computed from the molecules alone: derived measurements and a loss's features, in parallel and cached.

The cache is in ``<data set>/derived/<plugin>-<hash>/``; the hash covers the plugin, its version, its configuration
and its declaration. Finished chunks are files of their own, so an interrupted computation continues where it stopped.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from tqdm import tqdm

from molchord.api import Derives, Featurizes, Measurement, Molecule, SampleError, Stores
from molchord.checksums import FileEntry, check_sizes, checksums_of, expect_file, sealed, unsealed, verify_files
from molchord.data.manifest import MANIFEST, SCHEMA_VERSION, ArrayEntry, TableEntry, declare
from molchord.data.parallel import ordered
from molchord.data.shards import encode, shard_name, write_shard
from molchord.data.store import DataSet
from molchord.data.table import MeasurementTable
from molchord.errors import DataError, PluginError
from molchord.files import one_line, replace_file, replace_files, write_csv
from molchord.vocabulary import FAILURES

MOLECULES_PER_FILE = 256  # molecules computed between two files
_AGAIN = "delete that folder and try again"


def derive(
    dataset: DataSet,
    plugin: str,
    modality: Derives,
    config: BaseModel,
    *,
    stores: Stores,
    version: str = "",
    workers: int | None = None,
    progress: bool = False,
) -> MeasurementTable:
    """Derive a measurement of every molecule of a data set, or open those derived before.

    A molecule that cannot be derived has no measurement in the table and is listed by `failures`. Where the data set
    stores measurements under the plugin's own name, the first one of each molecule is handed to it.

    Args:
        dataset: Data set.
        plugin: Qualified name, "dist:name".
        modality: What the plugin's `build` returned.
        config: Its configuration.
        stores: Its declaration.
        version: Version of the plugin's distribution; another one derives anew.
        workers: Processes; None: as many as there are cores, once it proves to take longer than a few seconds.
        progress: Show a progress bar.

    Raises:
        PluginError: The plugin fails with something else than a `SampleError`.
        DataError: The cache cannot be written or is damaged.
    """
    folder = _cache(dataset, plugin, "measurements", config, {"version": version, "stores": repr(stores)})
    bare = plugin.rpartition(":")[2]
    if not (folder / MANIFEST).is_file():
        arrays, columns = declare(bare, stores, {})
        if bare in dataset.stored:
            dataset.table(bare, stores, modality)  # refused here rather than in a worker
        job = _Chunk(dataset, MOLECULES_PER_FILE, modality, bare, stores, arrays, folder)
        chunks = -(-len(dataset) // MOLECULES_PER_FILE)
        missing = [number for number in range(chunks) if _header(folder / shard_name(number)) is None]
        for _ in tqdm(
            ordered(job, missing, workers),
            total=len(missing),
            desc=bare,
            unit="chunk",
            disable=None if progress else True,
        ):
            pass
        entry = TableEntry(
            plugin=plugin, version=version, measurements=0, molecules=0, shards=(), arrays=arrays, columns=columns
        )
        _finish(folder, entry, chunks, len(dataset), config)
    found = _read(folder)
    check_sizes(folder, found.files, DataError, _AGAIN)
    return MeasurementTable(folder, bare, found.table, files=found.files, owner=dataset)


def failures(table: MeasurementTable) -> list[tuple[str, str]]:
    """List the molecules that could not be derived as (key14, reason)."""
    with (table.path / FAILURES).open(newline="", encoding="utf-8") as file:
        return [(row["key14"], row["reason"]) for row in csv.DictReader(file)]


def features(
    dataset: DataSet, plugin: str, loss: Featurizes, config: BaseModel, *, version: str = "", workers: int | None = 1
) -> dict[str, NDArray[Any]]:
    """Compute a loss's features of every molecule, or open those computed before; memory-mapped, read-only.

    Args:
        dataset: Data set.
        plugin: Qualified name of the loss.
        loss: What its `build` returned.
        config: Its configuration.
        version: Version of the plugin's distribution; another one computes anew.
        workers: Processes (the loss is sent to them); None: as many as there are cores, where it takes long.

    Shape:
        (molecules, ...) each.

    Raises:
        PluginError: The loss fails on a molecule, or its features change in shape.
        DataError: The cache cannot be written.
    """
    folder = _cache(dataset, plugin, "features", config, {"version": version})
    if not (folder / MANIFEST).is_file():
        with replace_files(folder) as new:
            _write_features(new, dataset, plugin, loss, workers)
        files = checksums_of(folder, sorted(path.name for path in folder.glob("*.npy")))
        made = _Made(plugin=plugin, config=config.model_dump(mode="json"), files=files)
        replace_file(folder / MANIFEST, sealed(made.model_dump_json()))
    _check_features(folder)
    return {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in sorted(folder.glob("*.npy"))}


# --- derived measurements --------------------------------------------------------------------------------------------


class _Derived(BaseModel):
    """DataManifest of a finished cache folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    config: dict[str, Any]
    failures: int
    table: TableEntry
    files: dict[str, FileEntry] = {}


class _Listed(BaseModel):
    """What the two manifests of a cache have in common."""

    files: dict[str, FileEntry] = {}


class _Made(BaseModel):
    """Manifest of the features of a loss."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    plugin: str
    config: dict[str, Any]
    files: dict[str, FileEntry] = {}


@final
@dataclass(frozen=True)
class _Chunk:
    """Derive one chunk of molecules and write it as one shard, its rows and failures in the header."""

    dataset: DataSet
    size: int
    modality: Derives
    name: str
    stores: Stores
    arrays: Mapping[str, ArrayEntry]
    folder: Path

    def __call__(self, number: int) -> None:
        rows, kept, failed = [], [], []
        stored = None
        if self.name in self.dataset.stored:
            stored = self.dataset.table(self.name, self.stores, self.modality)
        numbers = _rows(self.dataset, number, self.size)
        for row, molecule in zip(numbers, self.dataset.molecules(numbers), strict=True):
            try:
                if stored is not None and len(stored.of(row)):
                    molecule = replace(molecule, stored=stored.read(int(stored.of(row)[0])))
                encoded = encode(_derived(self.modality, molecule), self.arrays, self.stores)
            except SampleError as error:
                failed.append([molecule.key14, error.reason])
                continue
            rows.append([row, encoded.columns])
            kept.append(encoded.arrays)
        # One entry, since safetensors writes several in any order and equal chunks are to be equal files.
        chunk = {"chunk": json.dumps({"rows": rows, "failures": failed})}
        write_shard(self.folder / shard_name(number), kept, self.arrays, chunk)


def _derived(modality: Derives, molecule: Molecule) -> Measurement:
    try:
        return modality.derive(molecule)
    except SampleError:
        raise
    except Exception as error:
        raise PluginError(
            f"modality {type(modality).__name__!r} failed to derive molecule {molecule.key14} "
            f"({molecule.smiles!r}): {type(error).__name__}: {error}; report it to the plugin's authors"
        ) from error


def _rows(dataset: DataSet, number: int, size: int) -> range:
    return range(number * size, min((number + 1) * size, len(dataset)))


def _cache(dataset: DataSet, plugin: str, what: str, config: BaseModel, more: Mapping[str, str]) -> Path:
    """Return the folder of a cached computation, made if need be."""
    layout = {"schema": SCHEMA_VERSION, "chunk": MOLECULES_PER_FILE}
    parts = {**layout, "plugin": plugin, "what": what, "config": config.model_dump(mode="json"), **more}
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    folder = dataset.path / "derived" / f"{plugin.replace(':', '-')}-{digest}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot write {str(folder)!r}: {error.strerror}; copy the data set to a place of yours"
        ) from error
    return folder


def _header(path: Path) -> tuple[list[Any], list[Any]] | None:
    """Read the rows and failures of a finished chunk; None where it is missing or damaged."""
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata()
    except (OSError, SafetensorError):
        return None
    try:
        chunk = json.loads(metadata["chunk"])
        return chunk["rows"], chunk["failures"]
    except (ValueError, KeyError, TypeError):
        return None


def _finish(folder: Path, entry: TableEntry, chunks: int, molecules: int, config: BaseModel) -> None:
    """Gather the chunks into a table; the manifest, which marks it as finished, is written last."""
    from molchord.data.writer import RowWriter

    shards: list[int] = []
    failed: list[list[str]] = []
    with replace_files(folder) as new:
        writer = RowWriter(new, entry.stores())
        try:
            for number in range(chunks):
                rows, bad = _header(folder / shard_name(number)) or ([], [])
                for row, columns in rows:
                    writer.add(row, columns, 0, "")
                shards.append(len(rows))
                failed += bad
            present = writer.finish(molecules)
        finally:
            writer.close()
        if sum(shards) + len(failed) != molecules:
            raise DataError(f"derived measurements in {str(folder)!r} are damaged; delete that folder and try again")
        write_csv(new / FAILURES, ("key14", "reason"), failed)
    table = entry.model_copy(update={"measurements": sum(shards), "molecules": present, "shards": tuple(shards)})
    made = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    files = checksums_of(folder, sorted(made - {MANIFEST}))  # which another one at work may have written already
    derived = _Derived(config=config.model_dump(mode="json"), failures=len(failed), table=table, files=files)
    replace_file(folder / MANIFEST, sealed(derived.model_dump_json(indent=1)))


def _read(folder: Path) -> _Derived:
    try:
        return _Derived.model_validate_json(unsealed((folder / MANIFEST).read_bytes()))
    except ValueError as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else one_line(error)
        raise DataError(f"derived measurements in {str(folder)!r} are damaged: {why}; {_AGAIN}") from error


def verify_derived(dataset: Path) -> Iterator[str]:
    """Compare all that was computed for a data set with its checksums; yield a sentence for each file that differs."""
    for manifest in sorted(dataset.glob(f"derived/*/{MANIFEST}")):
        try:
            files = _Listed.model_validate_json(unsealed(manifest.read_bytes())).files
        except ValueError as error:
            yield f"file {str(manifest.relative_to(dataset))!r} is damaged ({one_line(error)})"
            continue
        folder = manifest.parent.relative_to(dataset).as_posix()
        yield from verify_files(dataset, {f"{folder}/{name}": entry for name, entry in files.items()})


def _check_features(folder: Path) -> None:
    """Refuse features that are not as they were computed."""
    try:
        files = _Made.model_validate_json(unsealed((folder / MANIFEST).read_bytes())).files
    except ValueError as error:
        raise DataError(f"features in {str(folder)!r} are damaged: {one_line(error)}; {_AGAIN}") from error
    for name, entry in files.items():
        expect_file(folder / name, entry, DataError, _AGAIN)


# --- features --------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class _Features:
    """Compute the features of one chunk of molecules."""

    dataset: DataSet
    size: int
    plugin: str
    loss: Featurizes

    def __call__(self, number: int) -> dict[str, NDArray[Any]]:
        each = [self._one(molecule) for molecule in self.dataset.molecules(_rows(self.dataset, number, self.size))]
        shapes = {tuple((name, a.shape, a.dtype.str) for name, a in sorted(one.items())) for one in each}
        if len(shapes) != 1:
            raise PluginError(f"loss {self.plugin!r}: features differ in shape between molecules: {sorted(shapes)!r}")
        return {name: np.stack([one[name] for one in each]) for name in each[0]}

    def _one(self, molecule: Molecule) -> dict[str, NDArray[Any]]:
        try:
            return {name: np.asarray(values) for name, values in self.loss.features(molecule).items()}
        except Exception as error:
            raise PluginError(
                f"loss {self.plugin!r} failed to make features of molecule {molecule.key14} ({molecule.smiles!r}): "
                f"{type(error).__name__}: {error}"
            ) from error


def _write_features(folder: Path, dataset: DataSet, plugin: str, loss: Featurizes, workers: int | None) -> None:
    out: dict[str, NDArray[Any]] = {}
    chunks = range(-(-len(dataset) // MOLECULES_PER_FILE))
    for number, part in enumerate(ordered(_Features(dataset, MOLECULES_PER_FILE, plugin, loss), chunks, workers)):
        for name, values in part.items():
            if number == 0:
                shape = (len(dataset), *values.shape[1:])
                out[name] = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", values.dtype, shape)
            elif name not in out or out[name].shape[1:] != values.shape[1:]:
                raise PluginError(f"loss {plugin!r}: feature `{name}` changes its shape to {values.shape[1:]}")
            out[name][number * MOLECULES_PER_FILE : number * MOLECULES_PER_FILE + len(values)] = values
    for values in out.values():
        values.flush()  # type: ignore[attr-defined]
