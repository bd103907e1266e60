"""What a data set holds, and new splits for an existing one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from molchord.checksums import checksum_of, sealed
from molchord.chem import molecule
from molchord.data.manifest import MANIFEST, MOLECULES_FILE, ROW_GROUP
from molchord.data.splits import NO_SPLIT, assign, check_rule, named_split
from molchord.data.spreadsheet import SMILES_COLUMN, read_rows
from molchord.data.store import DataSet
from molchord.data.table import MeasurementTable
from molchord.errors import DataError, SampleError
from molchord.files import replace_file, replace_files
from molchord.lock import only_writer
from molchord.vocabulary import SPLITS

UNSAID = "unsaid"  # what computed a spectrum


def data_info(dataset: DataSet) -> dict[str, Any]:
    """Count what a data set holds, as JSON values: molecules by split, by modality and by pair, units, provenance.

    Example:
        >>> data_info(DataSet.from_measurements(["CCO"], {}, stores={}))["molecules"]
        1
    """
    manifest = dataset.manifest
    tables = {name: dataset.table(name) for name in dataset.stored}
    present = {name: table.present() for name, table in tables.items()}
    names = {**dict(enumerate(SPLITS)), NO_SPLIT: "none"}
    return {
        "path": str(dataset.path),
        "molecules": len(dataset),
        "splits": {names[int(code)]: count for code, count in sorted(Counter(dataset.split.tolist()).items())},
        "split_rule": dataset.rule or manifest.split,
        "modalities": {
            name: {
                "plugin": table.entry.plugin,
                "version": table.entry.version,
                "measurements": len(table),
                "molecules": table.entry.molecules,
                "origin": dict(sorted(Counter(table.column("origin").tolist()).items())),
                "computed_by": _computed_by(table),
                "by_split": {s: int(present[name][dataset.rows(s)].sum()) for s in SPLITS},
                "arrays": {key: array.model_dump() for key, array in table.entry.arrays.items()},
                "columns": {key: c.unit if c.unit is not None else "text" for key, c in table.entry.columns.items()},
            }
            for name, table in tables.items()
        },
        "pairs": {f"{a} + {b}": int((present[a] & present[b]).sum()) for a, b in combinations(tables, 2)},
        "numeric": manifest.numeric,
        "further_smiles": manifest.further_smiles,
        "rejected": manifest.rejected,
        "bytes": sum(entry.bytes for entry in manifest.files.values()),
        "written_by": manifest.written_by,
        "options": manifest.options,
        "sha256": dataset.sha256,
    }


def _computed_by(table: MeasurementTable) -> dict[str, int]:
    """Count the computed measurements by what computed them, from the column `source` where there is one."""
    if "source" not in table.entry.columns:
        return {}
    both = zip(table.column("origin").tolist(), table.column("source").tolist(), strict=True)
    found = Counter(source or UNSAID for origin, source in both if origin == "computed")
    return dict(sorted(found.items()))


def resplit(path: Path, rule: str, table: Path | None = None) -> DataSet:
    """Give the molecules of a data set new splits, and return it opened anew.

    Args:
        path: The data set.
        rule: "hash", "scaffold", "fold:I" or "column:NAME".
        table: For a column: the table with a column `smiles`; molecules that it lacks, or where its cell is blank,
            are in no split.

    Raises:
        DataError: Unknown rule, or a table that does not fit.
    """
    dataset = DataSet(path)
    column = check_rule(rule)
    if (column is None) != (table is None):
        raise DataError(
            f"split rule {rule!r} {'needs a' if table is None else 'takes no'} table; see `data split --help`"
        )
    named = {} if column is None or table is None else _named(table, column)
    if column is not None and named.keys().isdisjoint(dataset.keys()):
        raise DataError(f"table {str(table)!r} names a split for no molecule of data set {str(path)!r}")
    with only_writer(dataset.path), replace_files(dataset.path) as folder:
        molecules = folder / MOLECULES_FILE
        _rewrite(dataset, rule, named, molecules)
        files = {**dataset.manifest.files, MOLECULES_FILE: checksum_of(molecules)}
        manifest = dataset.manifest.model_copy(update={"split": rule, "files": files})
        replace_file(folder / MANIFEST, sealed(manifest.model_dump_json(indent=1)))
    return DataSet(path)


def _named(table: Path, column: str) -> dict[str, str]:
    out: dict[str, str] = {}
    for line, cells in read_rows(table, [column]):
        try:
            split = None if cells is None else named_split(cells[column])
            if cells is None or split is None:
                continue
            key = molecule(cells[SMILES_COLUMN]).key14
        except (DataError, SampleError) as error:
            raise DataError(f"table {str(table)!r}, line {line}: {error}") from error
        if out.setdefault(key, split) != split:
            raise DataError(f"table {str(table)!r}, line {line}: molecule {key} is in split {out[key]!r} already")
    return out


def _rewrite(dataset: DataSet, rule: str, named: Mapping[str, str], target: Path) -> None:
    source = pq.ParquetFile(dataset.path / MOLECULES_FILE, memory_map=True)
    with pq.ParquetWriter(target, source.schema_arrow, compression="zstd") as writer:
        for number in range(source.num_row_groups):
            group = source.read_row_group(number, use_threads=False)
            keys, smiles = group.column("key14").to_pylist(), group.column("smiles").to_pylist()
            splits = [assign(rule, key, text, named.get(key)) for key, text in zip(keys, smiles, strict=True)]
            place = group.schema.get_field_index("split")
            group = group.set_column(place, group.schema.field(place), pa.array(splits, type=pa.utf8()))
            writer.write_table(group, row_group_size=ROW_GROUP)
