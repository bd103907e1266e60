"""What the commands for authors of plugins and model graphs do: reads arguments, calls the Python API, prints."""

from __future__ import annotations

import argparse
import json

from molchord.cli.commands import graph_of, say


def plugins_new(arguments: argparse.Namespace) -> int:
    """Write the package of a new plugin."""
    from molchord.host.scaffold import new_plugin

    files = new_plugin(arguments.type, arguments.name, arguments.kind, arguments.out)
    folder = files[0].parent
    lines = [f"{folder}: {arguments.type} {arguments.name!r} in {len(files)} files", *(f"  {path}" for path in files)]
    lines += ["it works as it stands:", f"  cd {folder}", "  pip install -e '.[dev]'", "  pytest"]
    say(arguments, {"folder": str(folder), "files": [str(path) for path in files]}, "\n".join(lines))
    return 0


def graph_schema(arguments: argparse.Namespace) -> int:
    """Print the JSON Schema of model graphs, which is JSON anyway."""
    from molchord.graph.schema import graph_schema as schema

    print(json.dumps(schema(), indent=2))
    return 0


def graph_show(arguments: argparse.Namespace) -> int:
    """Draw a model graph as text, or as SVG."""
    from molchord.graph.drawing import as_svg, as_text
    from molchord.model import pairs_of

    graph = graph_of(arguments)
    pairs = pairs_of(graph)
    drawing = as_svg(graph, pairs) if arguments.svg else as_text(graph, pairs)
    say(arguments, {"graph": graph.to_dict(), "pairs": pairs, "drawing": drawing}, drawing)
    return 0


def tune(arguments: argparse.Namespace) -> int:
    """Try settings of a model graph; exit 1 if every trial failed."""
    from molchord.graph.layers import settings
    from molchord.study import tune as run_study

    study = run_study(
        arguments.graph,
        arguments.data,
        arguments.out,
        trials=arguments.trials,
        overrides=settings(arguments.set),
        device=arguments.device,
        progress=not arguments.json,
    )
    trials = [{**vars(trial), "run": str(trial.run)} for trial in study.trials]
    best = ", ".join(str(trial.run) for trial in study.best) or "none: every trial failed"
    say(arguments, {"study": str(study.path), "trials": trials}, f"{study.text()}\nbest: {best}")
    return 0 if study.best else 1
