"""MLflow, on a tracking server or in a SQLite file; mlflow-skinny is enough for both."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import final

from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

from molchord.api import Training

__all__ = ["MlflowLogger"]

_ID, _DATABASE = "id.txt", "mlflow.db"


@final
class MlflowLogger:
    """Logs to one run of MLflow, the same one when the training continues.

    Args:
        uri: Tracking server or database; None: as the environment specifies, else a file in the run's folder.
        experiment: Experiment in which the run is shown.
    """

    def __init__(self, uri: str | None, experiment: str) -> None:
        self._uri, self._experiment = uri, experiment

    def open(self, training: Training) -> None:
        """Begin a run, or continue the one whose id is in the folder."""
        uri = self._uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{training.folder / _DATABASE}"
        self._client = MlflowClient(tracking_uri=uri)
        id = training.folder / _ID
        if id.exists():
            self._id = id.read_text(encoding="utf-8")
            self._client.update_run(self._id, status="RUNNING")
            return
        name = self._experiment
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found is not None else self._client.create_experiment(name)
        self._id = self._client.create_run(experiment, run_name=training.run.name).info.run_id
        self._client.set_tag(self._id, "graph", json.dumps(training.settings))
        id.write_text(self._id, encoding="utf-8")

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Log the metrics in one request, with the epoch as their step."""
        now = round(1000 * time.time())
        self._client.log_batch(self._id, metrics=[Metric(name, value, now, epoch) for name, value in figures.items()])

    def close(self, finished: bool) -> None:
        """Record how the training ended."""
        self._client.set_terminated(self._id, status="FINISHED" if finished else "KILLED")
