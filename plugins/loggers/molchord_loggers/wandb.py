"""Weights & Biases: configuration and record."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from molchord.api import Config, Logger, LoggerRecord

__all__ = ["WANDB", "WandbConfig"]


class WandbConfig(Config):
    """Where Weights & Biases shows a run, and whether anything is sent.

    Example:
        >>> WandbConfig(mode="offline").project
        'molchord'
    """

    project: Annotated[str, Field(min_length=1)] = Field(
        default="molchord", description="Project in which the run is shown."
    )
    mode: Literal["offline", "online"] | None = Field(
        default=None,
        description="'offline' writes files that `wandb sync` sends later, 'online' sends at once; none: what the "
        "environment variable WANDB_MODE says, else 'offline', so that nothing leaves the machine unasked.",
    )


def build(config: WandbConfig) -> Logger:
    """Return the logger; an ImportError reports that its library is not installed."""
    from molchord_loggers.wandb_logger import WandbLogger

    return WandbLogger(**dict(config))


WANDB = LoggerRecord(
    name="wandb",
    summary="Weights & Biases, offline unless asked otherwise",
    api=1,
    config=WandbConfig,
    build=build,
    install="molchord[wandb]",
)
