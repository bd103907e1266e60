"""The molecules of tables, which sets leave out so that benchmarks can measure on them."""

from __future__ import annotations

import csv
from pathlib import Path


def keys_of(table: Path) -> set[str]:
    """Return the InChIKey blocks of a CSV table's molecules, from its column `key14` or `inchikey`."""
    with table.open(encoding="utf-8", newline="") as file:
        return {(row.get("key14") or row["inchikey"])[:14] for row in csv.DictReader(file)}
