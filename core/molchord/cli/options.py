"""Options that several commands have: how each is declared, and how its words are read."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from molchord.deprecation import warn_deprecated
from molchord.errors import DataError, MolchordError, did_you_mean

if TYPE_CHECKING:
    from molchord.api import ModalityRecord
    from molchord.graph.resolve import ModelGraph
    from molchord.host import Use
    from molchord.rerank.rerank import Rerank
    from molchord.run import Run

__all__ = [
    "Group",
    "add_command",
    "add_device",
    "add_force",
    "add_graph",
    "add_group",
    "add_log",
    "add_renamed",
    "add_rerank",
    "add_run",
    "add_settings",
    "add_where",
    "graph_of",
    "loggers_of",
    "pair",
    "rerank_of",
    "settings_of",
    "where_of",
    "where_of_run",
]

Command: TypeAlias = Callable[[argparse.Namespace], int]
"""What a command does with its arguments; returns the exit status."""

Group: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""Commands beside each other."""

WHERE = "MODALITY.COLUMN=VALUE[,VALUE]"


def add_renamed(parser: argparse.ArgumentParser, name: str, old: str, **options: Any) -> None:
    """Declare an option that is also taken under its old name, which help does not show, with a warning."""

    class Old(argparse.Action):
        def __call__(self, parser: object, namespace: object, values: object, option: str | None = None) -> None:
            warn_deprecated(old, stacklevel=1)
            given = [*(getattr(namespace, self.dest) or []), values] if options.get("action") == "append" else values
            setattr(namespace, self.dest, given)

    parser.add_argument(name, **options)
    rest = {key: value for key, value in options.items() if key not in ("action", "help", "default")}
    parser.add_argument(
        old,
        dest=name.lstrip("-").replace("-", "_"),
        action=Old,
        help=argparse.SUPPRESS,
        default=argparse.SUPPRESS,
        **rest,
    )


def add_group(parser: argparse.ArgumentParser) -> Group:
    """Give a command further commands."""
    return parser.add_subparsers(required=True, metavar="COMMAND")


def add_command(group: Group, name: str, run: Command, summary: str) -> argparse.ArgumentParser:
    """Add a command; every command can print JSON."""
    parser = group.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.add_argument("--json", action="store_true", help="print machine-readable output")
    parser.set_defaults(run=run)
    return parser


def pair(text: str, option: str, form: str) -> tuple[str, str]:
    """Split ``name=value``.

    Raises:
        DataError: There is no ``=``.
    """
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise DataError(f"`{option}` got {text!r}; write {form}")
    return name, value


# --- one option each -------------------------------------------------------------------------------------------------


def add_run(parser: argparse.ArgumentParser) -> None:
    """Declare the run folder and the device."""
    parser.add_argument("run_folder", metavar="RUN")
    add_device(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Declare `--device`."""
    parser.add_argument("--device", help="cpu, cuda, ...; default: a GPU where there is one")


def add_force(parser: argparse.ArgumentParser) -> None:
    """Declare `--force`."""
    parser.add_argument("--force", action="store_true", help="replace what is there")


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Declare `--set` of a plugin's settings."""
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of it; repeatable")


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Read what `--set` sets of a plugin; a value is YAML."""
    from molchord.graph.layers import settings

    return settings(arguments.set, "KEY=VALUE")


def add_graph(parser: argparse.ArgumentParser, **options: Any) -> None:
    """Declare the model graph and `--set` of its values."""
    parser.add_argument("graph", metavar="GRAPH", help="YAML file, or the name of a built-in recipe", **options)
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE",
        help="set one value of the graph, such as modalities.ir.encoder.width=96; repeatable",
    )  # fmt: skip


def graph_of(arguments: argparse.Namespace) -> ModelGraph:
    """Read the model graph that the arguments name, with what `--set` sets."""
    from molchord.graph.layers import settings
    from molchord.graph.resolve import ModelGraph

    return ModelGraph.load(arguments.graph, overrides=settings(arguments.set))


def add_log(parser: argparse.ArgumentParser) -> None:
    """Declare `--log`."""
    parser.add_argument(
        "--log", action="append", default=[], metavar="NAME",
        help="show the figures there too: a logger such as tensorboard, or '{use: wandb, project: mine}'; repeatable",
    )  # fmt: skip


def loggers_of(texts: Sequence[str]) -> list[str | Use]:
    """Read what `--log` names: a logger, or a logger with its configuration as YAML."""
    from molchord.graph.strict_yaml import parse_yaml

    given: list[Any] = [parse_yaml(f"- {text}", "--log").data[0] for text in texts]
    for text, use in zip(texts, given, strict=True):
        name = use.get("use") if isinstance(use, dict) else use
        if not isinstance(name, str):
            raise MolchordError(f"`--log` got {text!r}; write NAME or '{{use: NAME, KEY: VALUE}}'")
    return given


def add_rerank(parser: argparse.ArgumentParser) -> None:
    """Declare `--rerank` and where computed measurements come from."""
    parser.add_argument("--rerank", metavar="NAME", help="re-ranker for the first hits; measured queries only")
    parser.add_argument(
        "--computed", action="append", default=[], metavar="DATASET", help="where it finds computed measurements"
    )
    parser.add_argument("--simulator", metavar="NAME", help="computes those that no data set holds, on the spot")


def rerank_of(arguments: argparse.Namespace, k: int | None = None) -> Rerank | None:
    """Read what to re-rank by; None where it was not asked for."""
    from molchord.rerank.rerank import Rerank

    if arguments.rerank is not None:
        return Rerank(arguments.rerank, k=k, computed=arguments.computed, simulator=arguments.simulator)
    if arguments.computed or arguments.simulator is not None or k is not None:
        raise MolchordError("`--computed`, `--simulator` and `--rerank-k` belong to `--rerank NAME`; name a re-ranker")
    return None


def add_where(parser: argparse.ArgumentParser) -> None:
    """Declare `--where`."""
    parser.add_argument(
        "--where", action="append", default=[], metavar=WHERE,
        help="use these measurements only, such as those with origin=measured; replaces the modality's `where`",
    )  # fmt: skip


def where_of(texts: Sequence[str], record: Callable[[str], ModalityRecord]) -> dict[str, dict[str, Any]]:
    """Read what measurements must have, by modality and column; `record` finds the declaration of a modality."""
    from molchord.api import Real

    out: dict[str, dict[str, Any]] = {}
    for text in texts:
        left, value = pair(text, "--where", WHERE)
        name, _, column = left.partition(".")
        if not column:
            raise DataError(f"`--where` got {text!r}; write {WHERE}")
        declared = record(name).stores.columns.get(column)
        values = value.split(",")
        out.setdefault(name, {})[column] = [_number(v) for v in values] if isinstance(declared, Real) else values
    return out


def where_of_run(run: Run, texts: Sequence[str]) -> dict[str, dict[str, Any]] | None:
    """Read `--where` for the modalities of a run; None where it was not given."""

    def record(name: str) -> ModalityRecord:
        if name not in run.graph.modalities:
            known = did_you_mean(name, run.graph.modalities)
            raise DataError(f"`--where` got modality {name!r}, which run {str(run.path)!r} lacks; {known}")
        return run.graph.modalities[name].record

    return where_of(texts, record) or None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError(f"`--where` got {text!r} for a column of numbers; write a number") from None
