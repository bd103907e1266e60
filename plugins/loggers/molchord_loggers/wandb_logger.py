"""Weights & Biases, by default as files that ``wandb sync`` sends later."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, final

import wandb

from molchord.api import Training

__all__ = ["WandbLogger"]

_ID = "id.txt"


@final
class WandbLogger:
    """Logs to one run of Weights & Biases, the same one when the training continues.

    Args:
        project: Project in which the run is shown.
        mode: ``offline`` or ``online``; None: as the environment specifies, else offline.
    """

    def __init__(self, project: str, mode: str | None = None) -> None:
        self._project, self._mode = project, mode

    def open(self, training: Training) -> None:
        """Begin a run, or continue the one whose id is in the folder."""
        id = training.folder / _ID
        known = id.read_text(encoding="utf-8") if id.exists() else None
        mode: Any = self._mode or os.environ.get("WANDB_MODE", "offline")
        hooks = sys.excepthook, sys.exit
        self._run = wandb.init(
            project=self._project,
            name=training.run.name,
            id=known,
            resume="allow" if mode == "online" else None,  # offline, files of one id are joined by `wandb sync`
            config=dict(training.settings),
            dir=str(training.folder),
            mode=mode,
            reinit="create_new",  # a notebook may have a run of its own
            settings=wandb.Settings(silent=True, console="off"),
        )
        # It would learn from them how the process ends, which `close` reports.
        sys.excepthook, sys.exit = hooks
        self._run.define_metric("*", step_metric="epoch")
        id.write_text(self._run.id, encoding="utf-8")

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Log the metrics with the epoch as their axis."""
        self._run.log({"epoch": epoch, **figures}, step=epoch)

    def close(self, finished: bool) -> None:
        """Record how the training ended, and wait until all is written or sent."""
        self._run.finish(exit_code=0 if finished else 1)
