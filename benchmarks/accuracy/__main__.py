"""Measure tables: ``python -m benchmarks.accuracy [NAME ...]``; results are JSON files, one a table."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.accuracy.runner import Bench, measure
from benchmarks.accuracy.sources import ROOT, MissingData
from benchmarks.accuracy.tables import TABLES
from molchord.errors import MolchordError

RESULTS = ROOT / "benchmarks" / "results"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure tables and return the exit status: 1 where a table failed, 2 for an unknown one."""
    arguments = _parser().parse_args(argv)
    unknown = [name for name in arguments.tables if name not in TABLES]
    if unknown:
        print(f"table {unknown[0]!r} is not known; allowed: {', '.join(TABLES)}", file=sys.stderr)
        return 2
    if arguments.set and arguments.results == RESULTS:
        print("`--set` changes what the tables say; name another folder with `--results`", file=sys.stderr)
        return 2
    bench = Bench(
        work=arguments.work, change=dict(_change(arguments.set)), seeds=arguments.seeds, device=arguments.device
    )
    began, failed = time.monotonic(), 0
    for name in arguments.tables or TABLES:
        left = arguments.within - (time.monotonic() - began) / 60
        target = arguments.results / f"{name}.json"
        if target.exists() and not arguments.again:
            _say(f"{name}: {target.name} is there; give --again to measure it anew")
        elif TABLES[name].minutes > left:
            _say(f"{name}: left out, it takes about {TABLES[name].minutes:g} of {max(0, left):.0f} minutes left")
        else:
            failed += not _measured(name, bench, target)
    return int(failed > 0)


def write(path: Path, result: Mapping[str, Any]) -> None:
    """Write a table as JSON, one line a row, so that changes are easy to see."""
    parts = []
    for key, value in result.items():
        many = isinstance(value, list) and value and isinstance(value[0], dict)
        rows = ",\n  ".join(json.dumps(row, allow_nan=False) for row in value) if many else ""
        parts.append(f" {json.dumps(key)}: " + (f"[\n  {rows}\n ]" if many else json.dumps(value, allow_nan=False)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def _measured(name: str, bench: Bench, target: Path) -> bool:
    """Measure one table and write it; False where it failed. A table whose data is not there is left out."""
    began = time.monotonic()
    try:
        write(target, measure(name, TABLES[name], bench))
    except MissingData as error:
        _say(f"{name}: left out, {error}")
    except MolchordError as error:
        _say(f"{name}: {error}")
        return False
    else:
        _say(f"{name}: {target} after {(time.monotonic() - began) / 60:.1f} minutes")
    return True


def _change(texts: Sequence[str]) -> list[tuple[str, Any]]:
    return [(path, YAML(typ="safe").load(value)) for path, _, value in (text.partition("=") for text in texts)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description="Measure tables of accuracy.")
    parser.add_argument("tables", nargs="*", metavar="NAME", help=f"default: all of {', '.join(TABLES)}")
    parser.add_argument(
        "--within", type=float, default=float("inf"), metavar="MINUTES", help="leave out what is longer"
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="take the first N seeds of each table only")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="change every graph, as in train.epochs=3"
    )
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "benchmarks", help="folder of data sets and runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--again", action="store_true", help="measure what is there already; runs are kept")
    parser.add_argument("--device", help="cpu, cuda, ...; default: a GPU where there is one")
    return parser


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
