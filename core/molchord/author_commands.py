"""What the commands for authors of plugins and model graphs do: reads arguments, calls the Python API, prints."""

from __future__ import annotations

import argparse

from molchord.commands import say


def plugins_new(arguments: argparse.Namespace) -> int:
    """Write the package of a new plugin."""
    from molchord.new_plugin import new_plugin

    files = new_plugin(arguments.type, arguments.name, arguments.kind, arguments.out)
    folder = files[0].parent
    lines = [f"{folder}: {arguments.type} {arguments.name!r} in {len(files)} files", *(f"  {path}" for path in files)]
    lines += ["it works as it stands:", f"  cd {folder}", "  pip install -e '.[dev]'", "  pytest"]
    say(arguments, {"folder": str(folder), "files": [str(path) for path in files]}, "\n".join(lines))
    return 0
