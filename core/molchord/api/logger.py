"""Loggers: the record, what `build` returns, and the training it follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from molchord.api.record import ConfigT, Record

__all__ = ["Logger", "LoggerRecord", "Training"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training that a logger follows.

    Attributes:
        run: The run folder, whose name the user chose.
        folder: The logger's own folder in it, which exists; what it holds is still there when the training continues.
        settings: The resolved model graph, as JSON values.
        epochs: How many were trained before: 0, or more where a stopped training continues.
    """

    run: Path
    folder: Path
    settings: Mapping[str, Any]
    epochs: int


class Logger(Protocol):
    """Shows the metrics of a training elsewhere; they are in the run's ``metrics.jsonl`` anyway.

    In several processes only the first has one. Whatever a method raises is reported once, and the training continues
    without the logger.
    """

    def open(self, training: Training) -> None:
        """Begin, or continue where `training` was stopped."""
        ...

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Take the metrics of an epoch, counted from 1.

        Args:
            epoch: The one that has just ended.
            figures: The metrics by name, such as ``loss`` or ``val/blind_mrr``; those of validation not in every epoch.
        """
        ...

    def close(self, finished: bool) -> None:
        """End; `finished` is False where the training stopped or failed before its last epoch."""
        ...


@dataclass(frozen=True, kw_only=True)
class LoggerRecord(Record[ConfigT]):
    """A place where the metrics of a training are shown; ``build(config)`` returns a `Logger`.

    `build` raises ImportError where a library is missing, which is then reported before training begins.
    """

    build: Callable[[ConfigT], Logger]
