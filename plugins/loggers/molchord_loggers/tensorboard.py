"""TensorBoard: configuration and record."""

from __future__ import annotations

from molchord.api import Config, Logger, LoggerRecord

__all__ = ["TENSORBOARD", "TensorboardConfig"]


class TensorboardConfig(Config):
    """Nothing to choose, as event files are always in the run's folder."""


def build(config: TensorboardConfig) -> Logger:
    """Return the logger; an ImportError reports that its library is not installed."""
    from molchord_loggers.tensorboard_logger import TensorboardLogger

    return TensorboardLogger()


TENSORBOARD = LoggerRecord(
    name="tensorboard",
    summary="event files for TensorBoard, in the run's folder",
    api=1,
    config=TensorboardConfig,
    build=build,
    install="molchord[tensorboard]",
)
