"""How much of an epoch is not the model: reading, drawing, broadening, collating, logging."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

import molchord as mc
from benchmarks.accuracy.sources import ROOT
from molchord.train.trainer import Trainer

__all__ = ["TEXT", "TITLE", "measure"]

TITLE = "Everything around the model"
TEXT = (
    "One training epoch on the molecules of `datasets/demo` with IR and Raman, no loader processes, as it is and with "
    "every tower replaced by one learned row: what is left is reading, drawing, broadening, jitter, collation, the "
    "loss and logging. `share` is the second over the first, median over rounds."
)


class Nothing(nn.Module):
    """Takes a tower's place: the same row for every input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.row = nn.Parameter(torch.randn(width))

    def forward(self, inputs: object, scalar_features: Tensor) -> Tensor:
        """Return (b, width)."""
        return self.row.expand(len(scalar_features), -1)


def measure(device: str, *, small: bool = False) -> list[dict[str, Any]]:
    """Compare an epoch with and without the model, for the recipe and the published model."""
    rounds = 1 if small else 5
    rows: list[dict[str, Any]] = []
    for recipe in ("vibrational", "vibraclip"):
        graph = mc.ModelGraph.load(
            recipe, overrides={"train.epochs": 2, "train.workers": 0, "train.fraction": 0.1 if small else 0.5}
        )
        data = mc.DataSet(ROOT / "datasets" / "demo")
        pairs = [[_epoch(graph, data, device, empty=empty) for empty in (False, True)] for _ in range(rounds)]
        shares = [around / whole for whole, around in pairs]
        whole, around = (statistics.median(times) for times in zip(*pairs, strict=True))
        rows.append(
            {
                "case": recipe,
                "epoch (s)": round(whole, 3),
                "around the model (s)": round(around, 3),
                "share": round(statistics.median(shares), 3),
                "lowest": round(min(shares), 3),
                "highest": round(max(shares), 3),
                "rounds": rounds,
            }
        )
    return rows


def _epoch(graph: mc.ModelGraph, data: mc.DataSet, device: str, *, empty: bool) -> float:
    """Return the seconds of a second epoch."""
    trainer = Trainer(graph, data, device=device, progress=False)
    if empty:
        for name in graph.modalities:
            trainer.model.modalities[name] = Nothing(graph.embedding_dim).to(device)
        trainer.ema = None
    with TemporaryDirectory() as folder:
        trainer.run(Path(folder))
        *_, last = (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return float(json.loads(last)["seconds"])
