"""MLflow: configuration and record."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from molchord.api import Config, Logger, LoggerRecord

__all__ = ["MLFLOW", "MlflowConfig"]


class MlflowConfig(Config):
    """Where MLflow keeps a run.

    Example:
        >>> MlflowConfig(uri="http://localhost:5000").experiment
        'molchord'
    """

    uri: str | None = Field(
        default=None,
        description="Tracking server or database, such as 'http://localhost:5000'; none: what the environment variable "
        "MLFLOW_TRACKING_URI says, else a SQLite file in the run's folder.",
    )
    experiment: Annotated[str, Field(min_length=1)] = Field(
        default="molchord", description="Experiment in which the run is shown; made where there is none of this name."
    )


def build(config: MlflowConfig) -> Logger:
    """Return the logger; an ImportError reports that its library is not installed."""
    from molchord_loggers.mlflow_logger import MlflowLogger

    return MlflowLogger(**dict(config))


MLFLOW = LoggerRecord(
    name="mlflow",
    summary="MLflow, on a server or as a SQLite file in the run's folder",
    api=1,
    config=MlflowConfig,
    build=build,
    install="molchord[mlflow]",
)
