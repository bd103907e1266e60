"""`molchord graph`: model graphs checked, drawn and described."""

from __future__ import annotations

import argparse
import json

from molchord.cli.options import Group, add_command, add_graph, graph_of
from molchord.cli.output import say

__all__ = ["add_graph_commands"]


def add_graph_commands(group: Group) -> None:
    """Declare the commands."""
    command = add_command(group, "check", _check, "show every error of a model graph; exit 2 if there is one")
    add_graph(command)
    command.add_argument(
        "--explain", action="store_true", help="print the graph with every default filled in, and what it means"
    )
    command = add_command(group, "show", _show, "draw the towers, and the pairs that the loss aligns")
    add_graph(command)
    command.add_argument("--svg", action="store_true", help="print the drawing as SVG")
    add_command(group, "schema", _schema, "print a JSON Schema of all installed plugins, for editors")


def _check(arguments: argparse.Namespace) -> int:
    """Show every error of a model graph; exit 2 if there is one."""
    from molchord.graph.explain import explained

    graph = graph_of(arguments)
    names = ", ".join(graph.modalities)
    text = explained(graph).rstrip() if arguments.explain else f"{arguments.graph}: good ({names}; {graph.loss.use})"
    say(arguments, graph.to_dict(), text)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    """Draw a model graph as text, or as SVG."""
    from molchord.graph.drawing import as_svg, as_text
    from molchord.model import pairs_of

    graph = graph_of(arguments)
    pairs = pairs_of(graph)
    drawing = as_svg(graph, pairs) if arguments.svg else as_text(graph, pairs)
    say(arguments, {"graph": graph.to_dict(), "pairs": pairs, "drawing": drawing}, drawing)
    return 0


def _schema(arguments: argparse.Namespace) -> int:
    """Print the JSON Schema of model graphs, which is JSON anyway."""
    from molchord.graph.schema import graph_schema

    print(json.dumps(graph_schema(), indent=2))
    return 0
