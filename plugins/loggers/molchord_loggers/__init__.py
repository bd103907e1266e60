"""Built-in loggers: records and configurations here, what they do in the modules beside."""

from __future__ import annotations

from typing import Literal

from molchord.api import Config, Logger, LoggerRecord, hookimpl

__all__ = ["MLFLOW", "TENSORBOARD", "WANDB", "MlflowConfig", "TensorboardConfig", "WandbConfig", "molchord_loggers"]


class TensorboardConfig(Config):
    """Configuration of `tensorboard`: nothing to choose, as event files always lie in the run's folder."""


class WandbConfig(Config):
    """Configuration of `wandb`.

    Attributes:
        project: Where the run is shown.
        mode: "offline" writes files that `wandb sync` sends later, "online" sends at once; None: what the environment
            variable WANDB_MODE says, else "offline", so that nothing leaves the machine unasked.
    """

    project: str = "molchord"
    mode: Literal["offline", "online"] | None = None


class MlflowConfig(Config):
    """Configuration of `mlflow`.

    Attributes:
        uri: Tracking server or database, such as "http://localhost:5000"; None: what the environment variable
            MLFLOW_TRACKING_URI says, else a SQLite file in the run's folder.
        experiment: Where the run is shown; made where it is not there.
    """

    uri: str | None = None
    experiment: str = "molchord"


def _build_tensorboard(config: TensorboardConfig) -> Logger:
    from molchord_loggers.tensorboard_logger import TensorboardLogger

    return TensorboardLogger()


def _build_wandb(config: WandbConfig) -> Logger:
    from molchord_loggers.wandb_logger import WandbLogger

    return WandbLogger(config)


def _build_mlflow(config: MlflowConfig) -> Logger:
    from molchord_loggers.mlflow_logger import MlflowLogger

    return MlflowLogger(config)


TENSORBOARD = LoggerRecord(
    name="tensorboard",
    summary="event files for TensorBoard, in the run's folder",
    api=1,
    config=TensorboardConfig,
    build=_build_tensorboard,
    install="molchord[tensorboard]",
)

WANDB = LoggerRecord(
    name="wandb",
    summary="Weights & Biases, offline unless asked otherwise",
    api=1,
    config=WandbConfig,
    build=_build_wandb,
    install="molchord[wandb]",
)

MLFLOW = LoggerRecord(
    name="mlflow",
    summary="MLflow, on a server or as a SQLite file in the run's folder",
    api=1,
    config=MlflowConfig,
    build=_build_mlflow,
    install="molchord[mlflow]",
)


@hookimpl
def molchord_loggers() -> list[LoggerRecord]:
    """Return the loggers of this package.

    Example:
        >>> [record.name for record in molchord_loggers()]
        ['tensorboard', 'wandb', 'mlflow']
    """
    return [TENSORBOARD, WANDB, MLFLOW]
