"""Commands about libraries of candidates: `embed` makes one, `library` looks after it."""

from __future__ import annotations

import argparse

from molchord.cli.options import Group, add_command, add_force, add_run, add_settings, settings_of
from molchord.cli.output import say
from molchord.vocabulary import ENGINES, FAILURES, STORAGES

__all__ = ["add_embed", "add_library"]


def add_embed(group: Group) -> None:
    """Declare `embed`."""
    command = add_command(group, "embed", _embed, "embed candidate structures as a library")
    add_run(command)
    tables = "SMILES or InChI in a text, a table (CSV, Parquet) or an SD file; a shipped list (ordinary); a data set"
    command.add_argument("source", metavar="LIST", help=tables)
    command.add_argument("--out", required=True, metavar="LIBRARY", help="folder to write")
    command.add_argument("--spectra", action="store_true", help="embed a data set's spectra too, for library mode")
    command.add_argument(
        "--storage", choices=STORAGES, default=STORAGES[0], help="what a search scans (default %(default)s)"
    )
    command.add_argument("--workers", type=int, metavar="N", help="processes that prepare structures (default: cores)")
    command.add_argument(
        "--engine", choices=ENGINES, default=ENGINES[0], help="%(default)s (default), or ray for many machines"
    )
    command.add_argument(
        "--address", metavar="HOST:PORT", help="Ray cluster to use (default: Ray on this machine alone)"
    )
    add_force(command)


def add_library(group: Group) -> None:
    """Declare the commands of `library`."""
    command = add_command(group, "info", _info, "say what a library holds")
    command.add_argument("library", metavar="LIBRARY")
    command = add_command(group, "compact", _compact, "merge its shards, without what was removed")
    command.add_argument("library", metavar="LIBRARY")
    command.add_argument("--storage", choices=STORAGES, help="what a search shall scan (default: as it is)")
    command = add_command(group, "index", _index, "make an index for `molchord search --index NAME`")
    command.add_argument("library", metavar="LIBRARY")
    command.add_argument("index", metavar="NAME", help="an index plugin, such as faiss or milvus")
    add_settings(command)
    add_force(command)


def _embed(arguments: argparse.Namespace) -> int:
    """Embed candidate structures as a library."""
    from molchord.library.files import MERGED
    from molchord.library.quality import beyond_domain
    from molchord.run import Run

    run = Run.load(arguments.run_folder, device=arguments.device)
    library = run.library(
        arguments.source, arguments.out, spectra=arguments.spectra, storage=arguments.storage,
        engine=arguments.engine, address=arguments.address, workers=arguments.workers, force=arguments.force,
        progress=not arguments.json,
    )  # fmt: skip
    failed = library.path / FAILURES
    lost = max(0, len(failed.read_text(encoding="utf-8").splitlines()) - 1) if failed.exists() else 0
    merged, beyond = library.manifest.duplicates, beyond_domain(library, run.manifest.domain, run.spectra)
    text = f"{library.path}: {len(library)} candidates" + (f", {lost} left out (see {FAILURES})" if lost else "")
    if merged:
        named = f" (named in {MERGED})" if (library.path / MERGED).exists() else ""
        text += f", {merged} merged with another row of the same molecule{named}"
    text += f"\n{beyond}" if beyond is not None else ""
    data = {"library": str(library.path), "candidates": len(library), "failures": lost, "merged": merged}
    say(arguments, {**data, "beyond": beyond}, text)
    return 0


def _info(arguments: argparse.Namespace) -> int:
    """Say what a library holds."""
    from molchord.library.library import Library

    facts = Library(arguments.library).info()
    lines = [f"{facts['path']}: {facts['candidates']} candidates"]
    lines += [f"  {key}: {value}" for key, value in facts.items() if key not in ("path", "candidates")]
    say(arguments, facts, "\n".join(lines))
    return 0


def _compact(arguments: argparse.Namespace) -> int:
    """Merge the shards of a library, without what was removed."""
    from molchord.library.library import Library

    library = Library(arguments.library)
    indexes, before = library.indexes, len(library.manifest.shards)
    dropped = library.compact(storage=arguments.storage)
    done = {"library": str(library.path), "candidates": len(library), "dropped": dropped, "indexes": indexes}
    text = f"{library.path}: {len(library)} candidates in {len(library.manifest.shards)} shards, before {before}"
    text += f"; {dropped} removed rows dropped" if dropped else ""
    text += f"; make its indexes again: {', '.join(indexes)}" if indexes else ""
    say(arguments, done, text)
    return 0


def _index(arguments: argparse.Namespace) -> int:
    """Make an index of a library."""
    from molchord.library.library import Library

    library = Library(arguments.library)
    folder = library.write_index(arguments.index, settings_of(arguments), force=arguments.force)
    say(arguments, {"index": str(folder), "candidates": len(library)}, f"{folder}: {len(library)} candidates")
    return 0
