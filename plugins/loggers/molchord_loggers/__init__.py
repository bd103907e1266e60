"""Built-in loggers: one module holds each one's configuration and record, the work is beside it."""

from __future__ import annotations

from molchord.api import LoggerRecord, hookimpl
from molchord_loggers.mlflow import MLFLOW
from molchord_loggers.tensorboard import TENSORBOARD
from molchord_loggers.wandb import WANDB

__all__ = ["molchord_loggers"]


@hookimpl
def molchord_loggers() -> list[LoggerRecord]:
    """Return the loggers of this package.

    Example:
        >>> [record.name for record in molchord_loggers()]
        ['tensorboard', 'wandb', 'mlflow']
    """
    return [TENSORBOARD, WANDB, MLFLOW]
