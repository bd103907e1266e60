"""One batch through a training, described: shapes, parameters, memory, and how many molecules have what."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from molchord.train.optimization import training_mode
from molchord.train.trainer import Trainer


def dry_run(trainer: Trainer) -> dict[str, Any]:
    """Run one batch and describe it: shapes, parameters, memory, and how many molecules each modality and pair has."""
    training_mode(trainer.model, trainer.config)
    share = next(trainer.batches(trainer.rows["train"], shuffle=True).shares())
    batch = share.chunks[0]
    if trainer.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(trainer.device)
    output = trainer.learn(share, 0)
    parts = {f"modalities.{name}": tower for name, tower in trainer.model.modalities.items()}
    return {
        "device": str(trainer.device),
        "molecules": trainer.counts(),
        "batch": {name: int(mask.sum()) for name, mask in batch.present.items()},
        "shapes": {name: _shapes(inputs) for name, inputs in batch.inputs.items()},
        "parameters": {
            **{part: sum(p.numel() for p in module.parameters()) for part, module in parts.items()},
            "all": sum(p.numel() for p in trainer.model.parameters()),
            "trained": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        },
        "loss": float(output.total),
        "memory_mb": _peak_memory(trainer.device),
    }


def _shapes(inputs: Any) -> dict[str, list[int]]:
    out: dict[str, list[int]] = {}
    for name, value in vars(inputs).items():
        if isinstance(value, Tensor):
            out[name] = list(value.shape)
        elif isinstance(value, Mapping):
            out |= {f"{name}.{key}": list(v.shape) for key, v in value.items() if isinstance(v, Tensor)}
    return out


def _peak_memory(device: torch.device) -> float:
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, 1)
