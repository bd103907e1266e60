"""The command line: each command a thin shell over the Python API.

Exit status: 0 done, 1 a check found something, 2 an error of the user's, said in one sentence.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from molchord import commands
from molchord.errors import GraphError, MolchordError

__all__ = ["main"]

_MAPS = ("gm-exp", "gm-half", "gm-clamp")

Command: TypeAlias = Callable[[argparse.Namespace], int]
"""What a command does with its arguments; returns the exit status."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status.

    Example:
        >>> main(["graph", "check", "missing.yaml"])
        2
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        # OpenMP threads that wait by spinning starve each other where other programs run too: ten times slower training
        # on two cores with one of them busy. Read when torch is imported, which no command has done yet.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    warnings.formatwarning = lambda message, *_: f"molchord: warning: {message}\n"
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    _use_registry_files(arguments.registry)
    try:
        if arguments.run is commands.search:
            # Which spectra there are hangs on the run, so `--NAME FILE` is read once the run is known.
            spectra = argparse.ArgumentParser(prog="molchord search", add_help=False, allow_abbrev=False)
            commands.add_spectra(spectra, arguments.run_folder)
            spectra.parse_args(rest, arguments)
        elif rest:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        status = arguments.run(arguments)
        sys.stdout.flush()
    except MolchordError as error:
        # A graph's complaints begin with file and line, as a compiler's do.
        print(error if isinstance(error, GraphError) else f"molchord: {error}", file=sys.stderr)
        return error.status
    except BrokenPipeError:
        # The reader has gone (`molchord ... | head`); without this Python complains again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("molchord: stopped", file=sys.stderr)
        return 130
    return int(status)


# --- the parser ------------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="molchord", description="Find out what molecule a sample is, from its structure and its spectra."
    )
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    parser.add_argument(
        "--registry", action="append", default=[], metavar="FILE", help="registry.toml whose policy has the last word"
    )
    group = _group(parser, "COMMAND")
    _plugin_commands(_group(group.add_parser("plugins", help="what is installed"), "COMMAND"))
    _graph_commands(_group(group.add_parser("graph", help="model graphs"), "COMMAND"))
    _data_commands(_group(group.add_parser("data", help="data sets"), "COMMAND"))
    _run_commands(group)
    return parser


def _plugin_commands(group: _Group) -> None:
    _command(group, "list", commands.plugins_list, "list the usable plugins")
    _command(group, "check", commands.plugins_check, "name every plugin that cannot be used; exit 1 if there is one")


def _graph_commands(group: _Group) -> None:
    check = _command(group, "check", commands.graph_check, "show every error of a model graph; exit 2 if there is one")
    check.add_argument("graph", metavar="GRAPH", help="YAML file")
    check.add_argument("--explain", action="store_true", help="print the graph with every default filled in")


def _data_commands(group: _Group) -> None:
    add = _command(group, "import", commands.data_import, "make a data set of files, merged by molecule")
    add.add_argument("files", nargs="*", metavar="FILE", help="files and folders, each offered to every modality")
    add.add_argument("--out", required=True, metavar="DATASET", help="folder to write")
    add.add_argument(
        "--as", dest="as_", nargs=2, action="append", default=[], metavar=("MODALITY", "FILE"),
        help="a file or folder that does not name its own kind",
    )  # fmt: skip
    add.add_argument("--table", metavar="CSV", help="table with a column `smiles`")
    add.add_argument(
        "--column", action="append", default=[], metavar="MODALITY=COLUMN", help="column of the table that names files"
    )
    add.add_argument("--numeric", action="append", default=[], metavar="COLUMN", help="numeric column to keep")
    add.add_argument("--limit", type=int, metavar="N", help="take the first N molecules only")
    add.add_argument("--split", default="hash", metavar="RULE", help="hash (default), scaffold or column:NAME")
    add.add_argument(
        "--where", action="append", default=[], metavar="MODALITY.COLUMN=VALUE[,VALUE]", help="keep these only"
    )
    _force(add)
    info = _command(group, "info", commands.data_info, "count what a data set holds")
    info.add_argument("data", metavar="DATASET")
    info.add_argument("--verify", action="store_true", help="compare every file with its checksum")
    split = _command(group, "split", commands.data_split, "give the molecules new splits")
    split.add_argument("data", metavar="DATASET")
    split.add_argument("--by", required=True, metavar="RULE", help="hash, scaffold or column:NAME")
    split.add_argument("--table", metavar="CSV", help="for a column: the table with columns `smiles` and NAME")


def _run_commands(group: _Group) -> None:
    train = _command(group, "train", commands.train, "train a model graph on a data set")
    train.add_argument("graph", nargs="?", metavar="GRAPH", help="YAML file")
    train.add_argument("--data", metavar="DATASET")
    train.add_argument("--out", metavar="RUN", help="folder to write")
    train.add_argument("--resume", metavar="RUN", help="go on with a training where it stopped")
    train.add_argument("--dry-run", action="store_true", help="run one batch and describe it; nothing is written")
    _device(train)
    _force(train)
    evaluate = _command(group, "evaluate", commands.evaluate, "measure a run on held-out molecules, and report")
    _run(evaluate)
    evaluate.add_argument("--data", metavar="DATASET", help="default: what the run was trained on")
    pools = "test (default), all (default), isomers, unseen:N, mass:Xppm; repeatable"
    evaluate.add_argument("--pool", action="append", metavar="POOL", help=pools)
    evaluate.add_argument("--mode", action="append", choices=("blind", "library"), help="default: both, apart")
    evaluate.add_argument("--map", action="append", choices=_MAPS, help="default: all three")
    evaluate.add_argument("--split", default="test", metavar="NAME", help="whose molecules are queries (default test)")
    evaluate.add_argument("--candidates-only", metavar="RUN", help="a run trained with train.candidates_only")
    evaluate.add_argument("--seed", type=int, default=0, help="of the bootstrap and the drawn mass errors")
    evaluate.add_argument("--full", action="store_true", help="print every map, metric and baseline")
    evaluate.add_argument("--out", metavar="FOLDER", help="for figures and report.html (default: the run)")
    _force(evaluate)
    realign = _command(group, "realign", commands.realign, "adapt a run to other data by its last layers")
    _run(realign)
    realign.add_argument("--data", required=True, metavar="DATASET")
    realign.add_argument("--out", required=True, metavar="RUN2", help="folder to write")
    realign.add_argument("--free", action="append", metavar="PART", help="part to train instead; repeatable")
    realign.add_argument("--epochs", type=int, default=15)
    _force(realign)
    embed = _command(group, "embed", commands.embed, "embed candidate structures as a library")
    _run(embed)
    embed.add_argument("source", metavar="SMILES", help="file of SMILES, table with a column `smiles`, or a data set")
    embed.add_argument("--out", required=True, metavar="LIBRARY", help="folder to write")
    embed.add_argument("--spectra", action="store_true", help="embed a data set's spectra too, for library mode")
    embed.add_argument("--workers", type=int, metavar="N", help="processes that prepare structures")
    _force(embed)
    _search_command(group)


def _search_command(group: _Group) -> None:
    search = _command(group, "search", commands.search, "rank a library's candidates by spectra")
    search.usage = "molchord search RUN LIBRARY --MODALITY FILE [FILE ...] [--MODALITY FILE ...] [options]"
    search.epilog = "MODALITY is any of the run's own spectra; several files of one count as one."
    _run(search)
    search.add_argument("library", metavar="LIBRARY")
    search.add_argument("--k", type=int, default=25, help="hits to print (default 25)")
    search.add_argument("--map", choices=_MAPS, default="gm-exp", help="map of the geometric mean")
    search.add_argument("--mode", choices=("blind", "library"), default="blind")
    search.add_argument("--mass", type=float, metavar="DA", help="exact mass")
    search.add_argument("--ppm", type=float, help="half width of the mass window in ppm")
    search.add_argument("--da", type=float, help="half width of the mass window in Da")
    search.add_argument("--formula", help="sum formula, such as C8H9NO2")


def _run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN")
    _device(parser)


def _device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="cpu, cuda, ...; default: a GPU where there is one")


def _force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="replace what is there")


_Group: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _group(parser: argparse.ArgumentParser, metavar: str) -> _Group:
    return parser.add_subparsers(required=True, metavar=metavar)


def _command(group: _Group, name: str, run: Command, summary: str) -> argparse.ArgumentParser:
    """Add a command; every command can print JSON."""
    parser = group.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.add_argument("--json", action="store_true", help="print machine-readable output")
    parser.set_defaults(run=run)
    return parser


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        import molchord

        print(f"molchord {molchord.__version__}")
        parser.exit()


def _use_registry_files(files: Sequence[str]) -> None:
    """Hand registry files to this process and its workers, which find plugins for themselves."""
    if files:
        from molchord.registry import ENVIRONMENT

        os.environ[ENVIRONMENT] = os.pathsep.join(os.path.abspath(name) for name in files)
