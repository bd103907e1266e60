"""`molchord data`: data sets made, computed, counted and split."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from molchord.cli.options import WHERE, Group, add_command, add_force, add_settings, pair, settings_of, where_of
from molchord.cli.output import say
from molchord.cli.reading import add_reading, reading_of
from molchord.errors import DataError
from molchord.vocabulary import ORIGINS

__all__ = ["add_data"]


def add_data(group: Group) -> None:
    """Declare the commands."""
    command = add_command(group, "import", _import, "make a data set of files, merged by molecule")
    command.add_argument("files", nargs="*", metavar="FILE", help="files and folders, each offered to every modality")
    command.add_argument("--out", required=True, metavar="DATASET", help="folder to write")
    command.add_argument(
        "--as", dest="as_", nargs=2, action="append", default=[], metavar=("MODALITY", "FILE"),
        help="a file or folder that does not name its own kind",
    )  # fmt: skip
    command.add_argument("--table", metavar="CSV", help="table with a column `smiles`")
    command.add_argument(
        "--column", action="append", default=[], metavar="[MODALITY=]COLUMN",
        help="MODALITY=COLUMN: column of the table that names files; COLUMN: title or number of the ordinate's column "
        "in the spectrum files that --as or the table names, or all",
    )  # fmt: skip
    command.add_argument("--numeric", action="append", default=[], metavar="COLUMN", help="numeric column to keep")
    command.add_argument("--limit", type=int, metavar="N", help="take the first N molecules only")
    command.add_argument(
        "--split", default="hash", metavar="RULE", help="hash (default), hash:70/15/15, scaffold, fold:I, column:NAME"
    )
    command.add_argument("--where", action="append", default=[], metavar=WHERE, help="keep these only")
    command.add_argument(
        "--origin", choices=ORIGINS, help="of all measurements; curves are taken for measured ones unless they say so"
    )
    add_reading(command, column=False)
    add_force(command)
    command = add_command(group, "simulate", _simulate, "make a data set of spectra computed from SMILES")
    command.add_argument("source", metavar="SMILES", help="file of SMILES, or table with a column `smiles`")
    command.add_argument("--out", metavar="DATASET", help="folder to write; without it, only jobs are written")
    command.add_argument("--use", metavar="SIMULATOR", help="default: gfn2, or the only one that is installed")
    add_settings(command)
    command.add_argument(
        "--jobs", metavar="FOLDER",
        help="folder of jobs and of results that are there already, of other machines too (default: DATASET.jobs)",
    )  # fmt: skip
    command.add_argument("--workers", type=int, metavar="N", help="processes (default: one per core)")
    command.add_argument("--limit", type=int, metavar="N", help="take the first N molecules only")
    add_force(command)
    command = add_command(group, "info", _info, "count what a data set holds")
    command.add_argument("data", metavar="DATASET")
    command.add_argument("--verify", action="store_true", help="compare every file with its checksum")
    command = add_command(group, "split", _split, "give the molecules new splits")
    command.add_argument("data", metavar="DATASET")
    command.add_argument(
        "--by", required=True, metavar="RULE", help="hash, hash:70/15/15, scaffold, fold:I or column:NAME"
    )
    command.add_argument("--table", metavar="CSV", help="for a column: the table with columns `smiles` and NAME")


def _import(arguments: argparse.Namespace) -> int:
    """Make a data set of files, merged by molecule."""
    from molchord.data.importer import import_files
    from molchord.host import installed

    columns = [pair(text, "--column", "MODALITY=COLUMN") for text in arguments.column if "=" in text]
    arguments.column = [text for text in arguments.column if "=" not in text]
    if arguments.column and not (columns or arguments.as_):
        raise DataError(f"`--column` got {arguments.column[0]!r}; write MODALITY=COLUMN, or name files with `--as`")
    report = import_files(
        [Path(file) for file in arguments.files], Path(arguments.out), host=installed(),
        as_=[(name, Path(path)) for name, path in arguments.as_],
        table=None if arguments.table is None else Path(arguments.table),
        columns=columns, options=reading_of(arguments),
        numeric=arguments.numeric, limit=arguments.limit, split=arguments.split, origin=arguments.origin,
        where=where_of(arguments.where, installed().modality), force=arguments.force, progress=not arguments.json,
    )  # fmt: skip
    counts = {**vars(report), "path": str(report.path), "measurements": dict(report.measurements)}
    say(arguments, counts, report.summary())
    return 0


def _simulate(arguments: argparse.Namespace) -> int:
    """Simulate the spectra of molecules, here or, as files of jobs, on other machines."""
    from molchord.host import installed
    from molchord.simulation.simulate import simulate, write_jobs

    options = {"workers": arguments.workers, "limit": arguments.limit, "progress": not arguments.json}
    options |= {"host": installed(), "use": settings_of(arguments)}
    if arguments.use is not None:
        options["use"]["use"] = arguments.use
    jobs = None if arguments.jobs is None else Path(arguments.jobs)
    if arguments.out is not None:
        report = simulate(arguments.source, Path(arguments.out), jobs=jobs, force=arguments.force, **options)
    elif jobs is not None:
        report = write_jobs(arguments.source, jobs, **options)
    else:
        raise DataError("`molchord data simulate` has no folder to write; give `--out DATASET`, or `--jobs FOLDER`")
    say(arguments, {**vars(report), "path": str(report.path)}, report.summary())
    return 0


def _info(arguments: argparse.Namespace) -> int:
    """Count what a data set holds."""
    from molchord.data.info import data_info
    from molchord.data.store import DataSet

    dataset = DataSet(arguments.data)
    if arguments.verify:
        dataset.verify()
    counts = data_info(dataset)
    lines = [*_lines(counts), *(["  all checksums agree"] if arguments.verify else [])]
    say(arguments, counts, "\n".join(lines))
    return 0


def _split(arguments: argparse.Namespace) -> int:
    """Give the molecules of a data set new splits."""
    from molchord.data.info import data_info, resplit

    table = None if arguments.table is None else Path(arguments.table)
    counts = data_info(resplit(Path(arguments.data), arguments.by, table))
    say(arguments, counts, f"{counts['path']}: split by {counts['split_rule']} {counts['splits']}")
    return 0


def _lines(counts: dict[str, Any]) -> list[str]:
    lines = [f"{counts['path']}: {counts['molecules']} molecules, split by {counts['split_rule']} {counts['splits']}"]
    for name, entry in counts["modalities"].items():
        origin = ", ".join(f"{count} {kind}" for kind, count in entry["origin"].items())
        lines.append(f"  {name}: {entry['molecules']} molecules, {origin}; {entry['by_split']}")
        by = [f"{count} by {source}" for source, count in entry["computed_by"].items()]
        lines += [f"    computed: {', '.join(by)}"] if len(by) > 1 else []
    return lines + [f"  {pair}: {count} molecules" for pair, count in counts["pairs"].items()]
