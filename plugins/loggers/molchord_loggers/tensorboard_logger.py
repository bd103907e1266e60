"""Event files for TensorBoard: ``tensorboard --logdir RUNS`` shows those of all runs below a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import final

from torch.utils.tensorboard import SummaryWriter

from molchord.api import Training

__all__ = ["TensorboardLogger"]


@final
class TensorboardLogger:
    """Writes event files; one more each time the training continues."""

    def open(self, training: Training) -> None:
        """Begin a file; what an earlier one holds of epochs that are trained again is purged."""
        again = training.epochs + 1 if training.epochs else None
        self._writer = SummaryWriter(str(training.folder), purge_step=again)
        if not training.epochs:
            self._writer.add_text("graph", f"```json\n{json.dumps(training.settings, indent=2)}\n```")
        self._writer.flush()

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Write the metrics, in the fp32 that event files hold."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self, finished: bool) -> None:
        """Close the file."""
        self._writer.close()
