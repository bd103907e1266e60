"""The command line: each command a thin shell over the Python API.

Exit status: 0 done, 1 a check found something, 2 an error of the user's, said in one sentence.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from molchord.errors import GraphError, MolchordError

__all__ = ["main"]

Command: TypeAlias = Callable[[argparse.Namespace], int]
"""What a command does with its arguments; returns the exit status."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status.

    Example:
        >>> main(["graph", "check", "missing.yaml"])
        2
    """
    arguments = _parser().parse_args(argv)
    _use_registry_files(arguments.registry)
    try:
        status = arguments.run(arguments)
        sys.stdout.flush()
    except MolchordError as error:
        # A graph's complaints begin with file and line, as a compiler's do.
        print(error if isinstance(error, GraphError) else f"molchord: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader has gone (`molchord ... | head`); without this Python complains again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("molchord: stopped", file=sys.stderr)
        return 130
    return int(status)


# --- commands --------------------------------------------------------------------------------------------------------


def _plugins_list(arguments: argparse.Namespace) -> int:
    from molchord.host import installed
    from molchord.plugin_report import plugin_row, plugin_table

    host = installed()
    _warn(host.warnings)
    _say(arguments, [plugin_row(plugin) for plugin in host.plugins], plugin_table(host))
    if host.problems:
        _warn([f"{len(host.problems)} not loaded; run 'molchord plugins check'"])
    return 0


def _plugins_check(arguments: argparse.Namespace) -> int:
    from molchord.host import installed
    from molchord.plugin_report import heavy_imports

    host = installed()
    _warn([*host.warnings, *map(str, host.blocked)])
    problems = [*host.problems, *heavy_imports(host)]
    text = "\n".join(map(str, problems)) or f"{len(host.plugins)} plugins, no problem"
    _say(arguments, [{**vars(problem), "text": str(problem)} for problem in problems], text)
    return 1 if problems else 0


def _graph_check(arguments: argparse.Namespace) -> int:
    from molchord.graph import load

    graph = load(arguments.graph)
    names = ", ".join(graph.modalities)
    text = graph.to_yaml().rstrip() if arguments.explain else f"{arguments.graph}: good ({names}; {graph.loss.use})"
    _say(arguments, graph.to_dict(), text)
    return 0


# --- the parser ------------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="molchord", description="Find out what molecule a sample is, from its structure and its spectra."
    )
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    parser.add_argument(
        "--registry", action="append", default=[], metavar="FILE", help="registry.toml whose policy has the last word"
    )
    commands = _group(parser, "COMMAND")
    plugins = _group(commands.add_parser("plugins", help="what is installed"), "COMMAND")
    _command(plugins, "list", _plugins_list, "list the usable plugins")
    _command(plugins, "check", _plugins_check, "name every plugin that cannot be used; exit 1 if there is one")
    graphs = _group(commands.add_parser("graph", help="model graphs"), "COMMAND")
    check = _command(graphs, "check", _graph_check, "show every error of a model graph; exit 2 if there is one")
    check.add_argument("graph", metavar="GRAPH", help="YAML file")
    check.add_argument("--explain", action="store_true", help="print the graph with every default filled in")
    return parser


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


def _say(arguments: argparse.Namespace, data: Any, text: str) -> None:
    """Print JSON where it was asked for, else text."""
    print(json.dumps(data, indent=2) if arguments.json else text)


def _warn(sentences: Sequence[str]) -> None:
    for sentence in sentences:
        print(f"molchord: warning: {sentence}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
