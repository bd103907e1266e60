"""The command line: each command a thin shell over the Python API.

Exit status: 0 done, 1 a check found something, 2 an error of the user's, said in one sentence.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from molchord.cli import author_commands, commands
from molchord.errors import GraphError, MolchordError, QueryError, did_you_mean

__all__ = ["main"]

_STORAGE = ("fp32", "bf16", "int8")
_ENGINES = ("local", "ray")
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
    arguments = _parser().parse_args(argv)
    _use_registry_files(arguments.registry)
    try:
        with _short_warnings():
            if arguments.run is commands.search:
                arguments = _search_arguments(arguments.words)
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
    except OSError as error:
        print(f"molchord: {_refusal(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("molchord: stopped", file=sys.stderr)
        return 130
    return int(status)


@contextmanager
def _short_warnings() -> Iterator[None]:
    """Print warnings as the command line's own, without the line of source that gave them."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"molchord: warning: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = before


def _refusal(error: OSError) -> str:
    """Say what the operating system refused."""
    reason = " ".join((error.strerror or str(error) or type(error).__name__).split())
    about = "a file" if error.filename is None else repr(os.fsdecode(error.filename))
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = "make room on the disk" if full else "choose another path, or see to its permissions"
    return f"{about} cannot be read or written ({reason}); {advice}"


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
    _library_commands(_group(group.add_parser("library", help="libraries of candidates"), "COMMAND"))
    return parser


def _plugin_commands(group: _Group) -> None:
    _command(group, "list", commands.plugins_list, "list the usable plugins")
    _command(group, "check", commands.plugins_check, "name every plugin that cannot be used; exit 1 if there is one")
    new = _command(group, "new", author_commands.plugins_new, "write the package of a plugin of your own")
    new.add_argument("type", metavar="TYPE", help="modality, encoder or loss")
    new.add_argument("name", metavar="NAME", help="lower-case letters, digits and '_'")
    new.add_argument(
        "--kind", choices=("graph", "spectrum1d", "peaks", "vector"),
        help="form in which a modality reaches an encoder, or that an encoder accepts (default spectrum1d)",
    )  # fmt: skip
    new.add_argument("--out", metavar="FOLDER", help="default: molchord-NAME here; nothing is ever replaced")


def _graph_commands(group: _Group) -> None:
    check = _command(group, "check", commands.graph_check, "show every error of a model graph; exit 2 if there is one")
    _graph(check)
    check.add_argument("--explain", action="store_true", help="print the graph with every default filled in")
    show = _command(group, "show", author_commands.graph_show, "draw the towers, and the pairs that the loss aligns")
    _graph(show)
    show.add_argument("--svg", action="store_true", help="print the drawing as SVG")
    _command(group, "schema", author_commands.graph_schema, "print a JSON Schema of all installed plugins, for editors")


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
    add.add_argument("--split", default="hash", metavar="RULE", help="hash (default), scaffold, fold:I, column:NAME")
    add.add_argument(
        "--where", action="append", default=[], metavar="MODALITY.COLUMN=VALUE[,VALUE]", help="keep these only"
    )
    _force(add)
    simulate = _command(group, "simulate", commands.data_simulate, "make a data set of spectra computed from SMILES")
    simulate.add_argument("source", metavar="SMILES", help="file of SMILES, or table with a column `smiles`")
    simulate.add_argument("--out", metavar="DATASET", help="folder to write; without it, only jobs are written")
    simulate.add_argument("--use", metavar="SIMULATOR", help="default: the one that is installed")
    simulate.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of it; repeatable")
    simulate.add_argument(
        "--jobs", metavar="FOLDER",
        help="folder of jobs and of results that are there already, of other machines too (default: DATASET.jobs)",
    )  # fmt: skip
    simulate.add_argument("--workers", type=int, metavar="N", help="processes (default: one a core)")
    simulate.add_argument("--limit", type=int, metavar="N", help="take the first N molecules only")
    _force(simulate)
    info = _command(group, "info", commands.data_info, "count what a data set holds")
    info.add_argument("data", metavar="DATASET")
    info.add_argument("--verify", action="store_true", help="compare every file with its checksum")
    split = _command(group, "split", commands.data_split, "give the molecules new splits")
    split.add_argument("data", metavar="DATASET")
    split.add_argument("--by", required=True, metavar="RULE", help="hash, scaffold, fold:I or column:NAME")
    split.add_argument("--table", metavar="CSV", help="for a column: the table with columns `smiles` and NAME")


def _run_commands(group: _Group) -> None:
    train = _command(group, "train", commands.train, "train a model graph on a data set")
    _graph(train, nargs="?")
    train.add_argument("--data", metavar="DATASET")
    train.add_argument("--out", metavar="RUN", help="folder to write")
    train.add_argument("--resume", metavar="RUN", help="go on with a training where it stopped")
    train.add_argument(
        "--dry-run", action="store_true",
        help="run one batch and describe it; no run is written, but derived structures are cached in the data set",
    )  # fmt: skip
    _log(train)
    _device(train)
    _force(train)
    tune = _command(group, "tune", author_commands.tune, "try settings of a model graph, as its section `tune` says")
    _graph(tune)
    tune.add_argument("--data", required=True, metavar="DATASET")
    tune.add_argument("--out", required=True, metavar="STUDY", help="folder to write; a study that is there goes on")
    tune.add_argument("--trials", required=True, type=int, metavar="N", help="trainings in all, those there included")
    _device(tune)
    evaluate = _command(group, "evaluate", commands.evaluate, "measure a run on held-out molecules, and report")
    _run(evaluate)
    evaluate.add_argument("--data", metavar="DATASET", help="default: what the run was trained on")
    pools = "test (default), all (default), all:N, isomers, unseen:N, mass:Xppm; repeatable"
    evaluate.add_argument("--pool", action="append", metavar="POOL", help=pools)
    evaluate.add_argument("--mode", action="append", choices=("blind", "library"), help="default: both, apart")
    evaluate.add_argument("--map", action="append", choices=_MAPS, help="default: all three")
    evaluate.add_argument("--split", default="test", metavar="NAME", help="whose molecules are queries (default test)")
    evaluate.add_argument(
        "--combine", action="store_true", help="search with all of a molecule's measurements of a modality at once"
    )
    evaluate.add_argument("--candidates-only", metavar="RUN", help="a run trained with train.candidates_only")
    _rerank(evaluate)
    evaluate.add_argument("--rerank-k", type=int, metavar="N", help="how many of the first candidates (default 25)")
    evaluate.add_argument("--seed", type=int, default=0, help="of the bootstrap and the drawn mass errors")
    evaluate.add_argument("--full", action="store_true", help="print every map, metric and baseline")
    evaluate.add_argument("--out", metavar="FOLDER", help="for figures and report.html (default: the run)")
    _where(evaluate)
    _force(evaluate)
    realign = _command(group, "realign", commands.realign, "adapt a run to other data by its last layers")
    _run(realign)
    realign.add_argument("--data", required=True, metavar="DATASET")
    realign.add_argument("--out", required=True, metavar="RUN2", help="folder to write")
    realign.add_argument("--free", action="append", metavar="PART", help="part to train instead; repeatable")
    _where(realign)
    realign.add_argument("--epochs", type=int, default=15)
    _log(realign)
    _force(realign)
    embed = _command(group, "embed", commands.embed, "embed candidate structures as a library")
    _run(embed)
    tables = "file of SMILES, table (CSV, Parquet) with a column `smiles`, or a data set"
    embed.add_argument("source", metavar="SMILES", help=tables)
    embed.add_argument("--out", required=True, metavar="LIBRARY", help="folder to write")
    embed.add_argument("--spectra", action="store_true", help="embed a data set's spectra too, for library mode")
    embed.add_argument("--storage", choices=_STORAGE, default="fp32", help="what a search scans (default fp32)")
    embed.add_argument("--workers", type=int, metavar="N", help="processes that prepare structures (default: cores)")
    embed.add_argument("--engine", choices=_ENGINES, default="local", help="local (default), or ray for many machines")
    embed.add_argument("--address", metavar="HOST:PORT", help="Ray cluster to use (default: Ray on this machine alone)")
    _force(embed)
    # Which spectra there are hangs on the run, so the words are parsed once it is known: none is an option until then.
    summary = "rank a library's candidates by spectra"
    search = group.add_parser("search", help=summary, add_help=False, prefix_chars="\0")
    search.add_argument("words", nargs="*")
    search.set_defaults(run=commands.search)


def _library_commands(group: _Group) -> None:
    info = _command(group, "info", commands.library_info, "say what a library holds")
    info.add_argument("library", metavar="LIBRARY")
    compact = _command(group, "compact", commands.library_compact, "merge its shards, without what was removed")
    compact.add_argument("library", metavar="LIBRARY")
    compact.add_argument("--storage", choices=_STORAGE, help="what a search shall scan (default: as it is)")
    index = _command(group, "index", commands.library_index, "make an index for `molchord search --index NAME`")
    index.add_argument("library", metavar="LIBRARY")
    index.add_argument("index", metavar="NAME", help="an index plugin, such as faiss or milvus")
    index.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of it; repeatable")
    _force(index)


def _search_parser() -> argparse.ArgumentParser:
    search = argparse.ArgumentParser(
        prog="molchord search",
        usage="molchord search RUN LIBRARY --MODALITY FILE [FILE ...] [--MODALITY FILE ...] [options]",
        description="Rank a library's candidates by spectra.",
        epilog="MODALITY is any of the run's own spectra, which `molchord search RUN --help` lists; several files of "
        "one count as one.",
        allow_abbrev=False,
    )
    search.set_defaults(run=commands.search)
    _run(search)
    search.add_argument("library", metavar="LIBRARY")
    search.add_argument("--k", type=int, default=25, help="hits to print (default 25)")
    search.add_argument("--map", choices=_MAPS, default="gm-exp", help="map of the geometric mean")
    search.add_argument("--mode", choices=("blind", "library"), default="blind")
    search.add_argument("--mass", type=float, metavar="DA", help="exact mass")
    search.add_argument("--ppm", type=float, help="half width of the mass window in ppm")
    search.add_argument("--da", type=float, help="half width of the mass window in Da")
    search.add_argument("--formula", help="sum formula, such as C8H9NO2")
    search.add_argument("--index", metavar="NAME", help="index that proposes candidates (default: all are searched)")
    _rerank(search)
    search.add_argument("--json", action="store_true", help="print machine-readable output")
    return search


def _search_arguments(words: Sequence[str]) -> argparse.Namespace:
    """Parse what follows `search`; the run's own spectra are options.

    Raises:
        QueryError: Run and library are not to be found among the words, or the run has no such spectrum.
    """
    parser = _search_parser()
    words = _folders_first(words)
    if not words or words[0].startswith("-"):
        if not words or {"-h", "--help"} & {*words}:
            return parser.parse_args(words)
        raise QueryError(
            f"`molchord search` finds no run and library among {' '.join(words)!r}; "
            "write molchord search RUN LIBRARY --MODALITY FILE"
        )
    spectra = commands.add_spectra(parser, words[0])
    arguments, rest = parser.parse_known_args(words)
    for word in rest:
        name = word.lstrip("-").partition("=")[0]
        if word.startswith("-"):
            raise QueryError(f"run {words[0]!r} has no spectrum {name!r}; {did_you_mean(name, spectra)}")
        raise QueryError(f"`molchord search` got {word!r} without a modality; write --MODALITY {word}")
    return arguments


def _folders_first(words: Sequence[str]) -> list[str]:
    """Move run and library to the front, where options come first and would take them for their own values."""
    if not any(word.startswith("-") for word in words[:2]):
        return [*words]
    folders = [word for word in words if Path(word, "manifest.json").is_file()]
    if len(folders) != 2:
        return [*words]
    return [*folders, *(word for word in words if word not in folders)]


def _graph(parser: argparse.ArgumentParser, **options: Any) -> None:
    parser.add_argument("graph", metavar="GRAPH", help="YAML file, or the name of a built-in recipe", **options)
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE",
        help="set one value of the graph, such as modalities.ir.encoder.width=96; repeatable",
    )  # fmt: skip


def _run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN")
    _device(parser)


def _where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--where", action="append", default=[], metavar="MODALITY.COLUMN=VALUE[,VALUE]",
        help="use these measurements only, such as those with origin=measured; replaces the modality's `where`",
    )  # fmt: skip


def _rerank(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rerank", metavar="NAME", help="re-ranker for the first hits; measured queries only")
    parser.add_argument(
        "--computed", action="append", default=[], metavar="DATASET", help="where it finds computed measurements"
    )
    parser.add_argument("--simulator", metavar="NAME", help="computes those that no data set holds, on the spot")


def _log(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--log", action="append", default=[], metavar="NAME",
        help="show the figures there too: a logger such as tensorboard, or '{use: wandb, project: mine}'; repeatable",
    )  # fmt: skip


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
        from molchord.host.registry import ENVIRONMENT

        os.environ[ENVIRONMENT] = os.pathsep.join(os.path.abspath(name) for name in files)
