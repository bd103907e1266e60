"""Loggers show a training's metrics elsewhere, too; none of them changes the training, or ends it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from molchord.api import Logger, Training
from molchord.errors import PluginError
from molchord.graph.resolve import ModelGraph
from molchord.host import Use, build, installed

__all__ = ["Log", "build_loggers"]

FOLDER = "logs"
"""Folder of a run in which each logger has one of its own."""


def build_loggers(asked: Sequence[str | Use]) -> dict[str, Logger]:
    """Build loggers by name, or by name and configuration.

    Raises:
        PluginError: There is no such logger, its configuration is wrong, or a library that it needs is missing.

    Example:
        >>> build_loggers([])
        {}
    """
    loggers: dict[str, Logger] = {}
    for use in asked:
        built = build("logger", use, host=installed())
        if built.plugin.name in loggers:
            raise PluginError(f"logger {built.plugin.name!r} is asked for twice; name it once")
        loggers[built.plugin.name] = built.it
    return loggers


@final
class Log:
    """What the loggers of a training receive; one that fails is named once and receives no more.

    Args:
        loggers: As `build_loggers` made them.
        run: The run folder.
        graph: The resolved model graph.
        epochs: How many were trained before.

    Warns:
        UserWarning: A logger failed.
    """

    def __init__(self, loggers: Mapping[str, Logger], run: Path, graph: ModelGraph, epochs: int) -> None:
        self._loggers, run = dict(loggers), run.absolute()
        for name in loggers:
            folder = run / FOLDER / name
            folder.mkdir(parents=True, exist_ok=True)
            settings = json.loads(json.dumps(graph.to_dict()))  # its own copy, to do with as it likes
            self._tell(name, "open", Training(run=run, folder=folder, settings=settings, epochs=epochs))

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Hand a line of ``metrics.jsonl`` to all loggers."""
        for name in [*self._loggers]:
            self._tell(name, "log", record["epoch"], figures(record))

    def close(self, finished: bool) -> None:
        """End all loggers."""
        for name in [*self._loggers]:
            self._tell(name, "close", finished)

    def _tell(self, name: str, method: str, *arguments: Any) -> None:
        try:
            getattr(self._loggers[name], method)(*arguments)
        except Exception as error:  # whatever a logger raises is not a reason to end a training
            del self._loggers[name]
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            warnings.warn(
                f"logger {name!r} failed ({reason}); training goes on without it, and all figures are in metrics.jsonl",
                stacklevel=2,
            )


def figures(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a line of ``metrics.jsonl`` by flat names, the epoch left out.

    Example:
        >>> figures({"epoch": 3, "loss": 0.5, "val": {"loss": 0.7, "blind_mrr": 0.1}})
        {'loss': 0.5, 'val/loss': 0.7, 'val/blind_mrr': 0.1}
    """
    flat: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}/{inner}": number for inner, number in figures(value).items()}
        elif name != "epoch":
            flat[name] = float(value)
    return flat
