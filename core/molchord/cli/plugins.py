"""`molchord plugins`: what is installed, what is wrong with it, and a package of one's own."""

from __future__ import annotations

import argparse

from molchord.cli.options import Group, add_command
from molchord.cli.output import print_warnings, say
from molchord.vocabulary import KINDS

__all__ = ["add_plugins"]


def add_plugins(group: Group) -> None:
    """Declare the commands."""
    add_command(group, "list", _list, "list the usable plugins")
    add_command(group, "check", _check, "name every plugin that cannot be used; exit 1 if there is one")
    command = add_command(group, "new", _new, "write the package of a plugin of your own")
    command.add_argument("type", metavar="TYPE", help="type of a template: modality, encoder, loss, property")
    command.add_argument("name", metavar="NAME", help="lower-case letters, digits and '_'")
    command.add_argument(
        "--kind", choices=KINDS,
        help="form in which a modality reaches an encoder, or that an encoder accepts (default spectrum1d)",
    )  # fmt: skip
    command.add_argument("--out", metavar="FOLDER", help="default: molchord-NAME here; nothing is ever replaced")


def _list(arguments: argparse.Namespace) -> int:
    """List the usable plugins."""
    from molchord.host import installed
    from molchord.host.report import plugin_row, plugin_table

    host = installed()
    print_warnings(host.warnings)
    say(arguments, [plugin_row(plugin) for plugin in host.plugins], plugin_table(host))
    if host.problems:
        print_warnings([f"{len(host.problems)} not loaded; run 'molchord plugins check'"])
    return 0


def _check(arguments: argparse.Namespace) -> int:
    """Name every plugin that cannot be used; exit 1 if there is one."""
    from molchord.host import installed
    from molchord.host.report import heavy_imports

    host = installed()
    print_warnings([*host.warnings, *host.blocked])
    problems = [*host.problems, *heavy_imports(host)]
    text = "\n".join(map(str, problems)) or f"{len(host.plugins)} plugins, no problem"
    say(arguments, [{**vars(problem), "text": str(problem)} for problem in problems], text)
    return 1 if problems else 0


def _new(arguments: argparse.Namespace) -> int:
    """Write the package of a new plugin."""
    from molchord.host.scaffold import new_plugin

    files = new_plugin(arguments.type, arguments.name, arguments.kind, arguments.out)
    folder = files[0].parent
    lines = [f"{folder}: {arguments.type} {arguments.name!r} in {len(files)} files", *(f"  {path}" for path in files)]
    lines += ["it works as it stands:", f"  cd {folder}", "  pip install -e '.[dev]'", "  pytest"]
    say(arguments, {"folder": str(folder), "files": [str(path) for path in files]}, "\n".join(lines))
    return 0
