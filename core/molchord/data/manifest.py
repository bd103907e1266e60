"""What `manifest.json` records about a data set, and the declarations of its measurement tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from molchord.api import Array, Category, Column, Real, Stores
from molchord.checksums import FileEntry, checksums_of, unsealed
from molchord.errors import DataError, did_you_mean, newer_version
from molchord.files import one_line
from molchord.places import inside

SCHEMA_VERSION = 1
DATA_FORMAT = "molchord-data"
MOLECULES_FILE = "molecules.parquet"
ROW_GROUP = 2048  # rows of each row group of the molecules but the last
MANIFEST = "manifest.json"
DTYPES = (
    *("float16", "float32", "float64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ArrayStorage(_Entry):
    """How an array is stored on disk: ``value = stored * scale + offset``.

    A narrower type loses precision: an integer type rounds to the nearest `scale`, ``float16`` keeps 11 significant
    bits (a relative error of at most 4.9e-4) and turns magnitudes under 6e-8 into 0. A value that does not fit is an
    error of its measurement, never clipped.
    """

    dtype: str
    scale: float = 1.0
    offset: float = 0.0

    @field_validator("dtype")
    @classmethod
    def _known(cls, dtype: str) -> str:
        if dtype not in DTYPES:
            raise ValueError(f"unknown storage dtype {dtype!r}; {did_you_mean(dtype, DTYPES)}")
        return dtype

    @field_validator("scale")
    @classmethod
    def _nonzero(cls, scale: float) -> float:
        if not np.isfinite(scale) or scale <= 0:
            raise ValueError(f"storage scale {scale!r} must be a positive number")
        return scale


class ArrayEntry(_Entry):
    """An array's declaration (`molchord.api.Array`) and how it is stored here."""

    unit: str
    axis: str | None
    shape: tuple[int, ...]
    dtype: str
    storage: ArrayStorage


class ColumnEntry(_Entry):
    """A metadata column's declaration: a `unit` for numbers, `values` for text."""

    unit: str | None = None
    values: tuple[str, ...] | None = None


class TableEntry(_Entry):
    """One measurement table: who declared it, what it holds, and the number of measurements in each shard."""

    plugin: str
    version: str
    measurements: int
    molecules: int
    shards: tuple[int, ...]
    arrays: dict[str, ArrayEntry]
    columns: dict[str, ColumnEntry]

    def stores(self) -> Stores:
        """Return the declaration that this table was written under."""
        columns: dict[str, Column] = {
            name: Category(c.values or ()) if c.unit is None else Real(c.unit) for name, c in self.columns.items()
        }
        arrays = {
            name: Array(unit=a.unit, axis=a.axis, shape=a.shape, dtype=a.dtype) for name, a in self.arrays.items()
        }
        return Stores(arrays=arrays, columns=columns)


class DataManifest(_Entry):
    """The content of `manifest.json`.

    Attributes:
        format: Always "molchord-data".
        schema_version: Layout of the folder.
        written_by: Version of molchord that wrote it.
        molecules: Number of molecules.
        further_smiles: Molecules that were also imported under another stereo-free canonical SMILES.
        rejected: Rows of ``rejected.csv``.
        split: Rule that made the splits.
        numeric: Unit of each numeric column of ``molecules.parquet``, "" where unknown.
        tables: Measurement tables by name.
        options: Options of the import.
        files: Every other file with its size and checksum (source files are listed in ``sources.csv``).
    """

    format: Literal["molchord-data"]
    schema_version: int
    written_by: str
    molecules: int
    further_smiles: int
    rejected: int
    split: str
    numeric: dict[str, str]
    tables: dict[str, TableEntry]
    options: dict[str, Any]
    files: dict[str, FileEntry]


def declare(
    name: str, stores: Stores, storage: Mapping[str, ArrayStorage]
) -> tuple[dict[str, ArrayEntry], dict[str, ColumnEntry]]:
    """Write a declaration and its storage options down for the manifest.

    Args:
        name: Name of the modality, for messages.
        stores: The declaration.
        storage: Narrower types by array name; others are stored in the declared type.

    Raises:
        DataError: An unknown array, dtype or a reserved column name.
    """
    for array in storage:
        if array not in stores.arrays:
            raise DataError(f"storage option `{name}.{array}`: no such array; {did_you_mean(array, stores.arrays)}")
    for column in stores.columns:
        if column == "origin" or column.startswith("_"):  # the names of the data set's own columns
            raise DataError(f"modality {name!r} declares the column `{column}`, which the data set keeps for itself")
    arrays = {}
    for key, a in stores.arrays.items():
        if a.dtype not in DTYPES:
            raise DataError(f"modality {name!r}: array `{key}` has dtype {a.dtype!r}; {did_you_mean(a.dtype, DTYPES)}")
        kept = storage.get(key, ArrayStorage(dtype=a.dtype))
        arrays[key] = ArrayEntry(unit=a.unit, axis=a.axis, shape=tuple(a.shape), dtype=a.dtype, storage=kept)
    columns = {
        key: ColumnEntry(unit=c.unit) if isinstance(c, Real) else ColumnEntry(values=tuple(c.values))
        for key, c in stores.columns.items()
    }
    return arrays, columns


def differences(stored: Stores, wanted: Stores) -> list[str]:
    """Describe in what two declarations differ, one phrase per difference.

    Example:
        >>> differences(Stores(arrays={"x": Array(unit="m")}), Stores(arrays={"x": Array(unit="nm")}))
        ["`x` is stored as Array(unit='m', axis=None, shape=(), dtype='float32') but declared as \
Array(unit='nm', axis=None, shape=(), dtype='float32')"]
    """
    old: dict[str, object] = {**stored.arrays, **stored.columns}
    new: dict[str, object] = {**wanted.arrays, **wanted.columns}
    return [
        f"`{name}` is {_said('stored', old.get(name))} but {_said('declared', new.get(name))}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _said(verb: str, declaration: object) -> str:
    return f"not {verb}" if declaration is None else f"{verb} as {declaration!r}"


def read_data_manifest(folder: Path) -> DataManifest:
    """Read a data set's manifest and check that every file exists in its full size.

    Raises:
        DataError: No data set, another version, or a damaged one.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise DataError(f"data set {str(folder)!r} does not exist; make one with `molchord data import`")
    if not path.is_file():
        raise DataError(f"folder {str(folder)!r} is not a data set: it holds no `{MANIFEST}`")
    content = path.read_bytes()
    check_version(folder, content.decode(errors="replace"))
    try:
        manifest = DataManifest.model_validate_json(unsealed(content))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"data set {str(folder)!r}: `{MANIFEST}` is damaged: {where}: {first['msg']}") from error
    except ValueError as error:
        raise DataError(f"data set {str(folder)!r}: `{MANIFEST}` is damaged: {one_line(error)}") from error
    for name, entry in manifest.files.items():
        file = inside(folder, name, DataError)
        if not file.is_file():
            raise DataError(f"data set {str(folder)!r}: file {name!r} is missing; import it again")
        if file.stat().st_size != entry.bytes:
            got = file.stat().st_size
            raise DataError(
                f"data set {str(folder)!r}: file {name!r} has {got} bytes instead of {entry.bytes}; import it again"
            )
    return manifest


def check_version(folder: Path, text: str) -> None:
    """Refuse a manifest that is not ours or of another schema version, before its fields are read.

    Raises:
        DataError: Not a manifest of a data set, or another version.
    """
    try:
        head = _Head.model_validate_json(text)
    except ValidationError as error:
        raise DataError(
            f"data set {str(folder)!r}: `{MANIFEST}` is not a data set's manifest: {error.errors()[0]['msg']}"
        ) from error
    newer_version("data set", folder, text, "schema_version", SCHEMA_VERSION, DataError)
    if head.schema_version != SCHEMA_VERSION:
        raise DataError(
            f"data set {str(folder)!r} has schema version {head.schema_version}, this molchord reads "
            f"{SCHEMA_VERSION}; import it again or use the molchord that wrote it"
        )


class _Head(BaseModel):
    format: Literal["molchord-data"]
    schema_version: int


def file_entries(folder: Path) -> dict[str, FileEntry]:
    """List every file below a folder but the manifest, with size and checksum."""
    found = sorted(p for p in folder.rglob("*") if p != folder / MANIFEST)
    return checksums_of(folder, (p.relative_to(folder).as_posix() for p in found))
