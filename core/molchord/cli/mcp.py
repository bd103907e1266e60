"""`molchord mcp`: a server by which an assistant asks what samples are."""

from __future__ import annotations

import argparse
from pathlib import Path

from molchord.cli.options import Group, add_device
from molchord.errors import DataError, MolchordError

__all__ = ["add_mcp"]


def add_mcp(group: Group) -> None:
    """Declare the command; it prints no JSON but the protocol's."""
    summary = "serve an assistant, such as Claude, by the Model Context Protocol on standard input and output"
    command = group.add_parser("mcp", help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    command.add_argument(
        "--run", dest="runs", action="append", metavar="RUN", help="model; repeatable (default pretrained)"
    )
    command.add_argument(
        "--candidates", action="append", metavar="LIST",
        help="list of candidates, as `molchord identify` takes it; repeatable (default ordinary)",
    )  # fmt: skip
    command.add_argument(
        "--files", action="append", metavar="DIR",
        help="folder below which files may be read, and no others; repeatable (default: the working directory)",
    )  # fmt: skip
    add_device(command)
    command.set_defaults(run=_mcp)


def _mcp(arguments: argparse.Namespace) -> int:
    """Serve until standard input ends."""
    for given in arguments.candidates or ():
        if not Path(given).exists():
            from molchord.data.candidates import missing_list

            if missing := missing_list(given):
                raise DataError(missing)
    import molchord
    from molchord.assistant.lab import Lab

    lab = Lab.of(
        arguments.runs or ["pretrained"], arguments.candidates or ["ordinary"], arguments.files or ["."],
        device=arguments.device,
    )  # fmt: skip
    try:
        from molchord.assistant.server import LabServer
    except ImportError as error:
        raise MolchordError(
            f"`molchord mcp` needs the package 'mcp', which cannot be used ({error}); run pip install 'molchord[mcp]'"
        ) from error
    LabServer(lab, molchord.__version__).run()
    return 0
