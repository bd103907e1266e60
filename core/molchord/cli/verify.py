"""The command `verify`: compare every file of a folder with its checksum."""

from __future__ import annotations

import argparse

from molchord.cli.options import Group, add_command
from molchord.cli.output import say

__all__ = ["add_verify"]


def add_verify(group: Group) -> None:
    """Declare the command."""
    command = add_command(group, "verify", _verify, "compare every file of a folder with its checksum")
    command.add_argument("folder", metavar="FOLDER", help="a run, a data set, a library or a study")


def _verify(arguments: argparse.Namespace) -> int:
    """Compare every file of a folder with its checksum; exit 1 if one differs."""
    from molchord.verify import verify

    wrong = verify(arguments.folder)
    text = f"{arguments.folder}: {len(wrong) or 'no'} damaged file{'' if len(wrong) == 1 else 's'}"
    say(arguments, {"folder": arguments.folder, "damaged": wrong}, "\n".join([text, *(f"  {one}" for one in wrong)]))
    return 1 if wrong else 0
