"""The command line: each command a thin shell over the Python API.

Exit status: 0 done, 1 a check found something, 2 an error of the user's, reported in one sentence; 130, 143 and 129
after Ctrl-C, SIGTERM and SIGHUP.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from molchord.cli.data import add_data
from molchord.cli.explain import add_explain
from molchord.cli.graph import add_graph_commands
from molchord.cli.identify import add_identify
from molchord.cli.library import add_embed, add_library
from molchord.cli.mcp import add_mcp
from molchord.cli.open import add_open
from molchord.cli.options import add_group
from molchord.cli.plugins import add_plugins
from molchord.cli.reading import add_read
from molchord.cli.runs import add_runs
from molchord.cli.search import add_search
from molchord.cli.verify import add_verify
from molchord.errors import GraphError, MolchordError

__all__ = ["main", "main_parser"]


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
    arguments = main_parser().parse_args(argv)
    _use_registry_files(arguments.registry)
    try:
        with _short_warnings(), _ended_by_signals():
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
    except KeyboardInterrupt as error:
        print("molchord: stopped", file=sys.stderr)
        return error.status if isinstance(error, _Ended) else 130
    return int(status)


class _Ended(KeyboardInterrupt):
    """A signal other than Ctrl-C ends the program, which tidies up as at Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP (a terminal that is closed) end a command as Ctrl-C does."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        raise _Ended(number)

    previous = {}
    try:
        for one in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(one) is signal.SIG_DFL:  # `nohup` ignores the second
                previous[one] = signal.signal(one, on_signal)
    except ValueError:  # not in the main thread, where no signal arrives
        yield
        return
    try:
        yield
    finally:
        for one, handler in previous.items():
            signal.signal(one, handler)


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
    """Report what the operating system refused."""
    reason = " ".join((error.strerror or str(error) or type(error).__name__).split())
    about = "a file" if error.filename is None else repr(os.fsdecode(error.filename))
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = "make room on the disk" if full else "choose another path, or see to its permissions"
    return f"{about} cannot be read or written ({reason}); {advice}"


# --- the parser ------------------------------------------------------------------------------------------------------


def main_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="molchord", description="Find out what molecule a sample is, from its structure and its spectra."
    )
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    parser.add_argument(
        "--registry", action="append", default=[], metavar="FILE", help="registry.toml whose policy has the last word"
    )
    group = add_group(parser)
    add_plugins(add_group(group.add_parser("plugins", help="what is installed")))
    add_graph_commands(add_group(group.add_parser("graph", help="model graphs")))
    add_read(group)
    add_data(add_group(group.add_parser("data", help="data sets")))
    add_runs(group)
    add_embed(group)
    add_search(group)
    add_explain(group)
    add_identify(group)
    add_open(group)
    add_mcp(group)
    add_library(add_group(group.add_parser("library", help="libraries of candidates")))
    add_verify(group)
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
