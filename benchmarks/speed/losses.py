"""Losses: a forward and backward pass in tiles against the whole matrices of similarities, time and memory."""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.speed.timing import bytes_of, compare
from molchord.api import LossBatch
from molchord.host import installed

__all__ = ["TEXT", "TITLE", "measure"]

TITLE = "Losses: forward and backward"
TEXT = (
    "Five modalities of 512 numbers, everything there, fp32. `whole matrices`: what one writes by hand, two cross "
    "entropies of a matrix of similarities for every pair (with soft targets for `tanimoto_infonce`). `GB`: the most "
    "memory beside the inputs at any moment, in a process of its own, gradients included. The pairs of `clip_pairs` "
    "and `graph_centered` are here the same: the structure with each of four spectra; the others take all ten."
)
NAMES = ("structure", "ir", "raman", "msms", "nmr")
WIDTH = 512
CENTRED = ("clip_pairs", "graph_centered")
LOSSES = (*CENTRED, "all_pairs", "tanimoto_infonce")


def measure(device: str, *, small: bool = False) -> list[dict[str, Any]]:
    """Compare each loss with whole matrices, at a size of which they fit; and on a GPU alone, at one of which not."""
    plain = 256 if small else 4096
    sizes = (plain, 65_536) if torch.device(device).type == "cuda" and not small else (plain,)
    rows = []
    for size in sizes:
        for name in LOSSES:
            sides = {"molchord": _step("molchord", name, size, device)}
            if size == plain:
                sides["whole matrices"] = _step("whole matrices", name, size, device)
                torch.testing.assert_close(*(run() for run in sides.values()), rtol=1e-4, atol=1e-4)
            row = {"case": f"{name}, batch of {size:,}", **compare(sides, device=device, rounds=5)}
            for side in sides:
                row[f"{side}, GB"] = round(_memory(side, name, size, device) / 1e9, 2)
            rows.append(row)
    return rows


def _step(side: str, name: str, size: int, device: str) -> Callable[[], Tensor]:
    """Return a function that computes the loss of one batch and its gradient, and returns the loss."""
    generator = torch.Generator().manual_seed(7)
    unit = {m: functional.normalize(torch.randn(size, WIDTH, generator=generator), dim=1).to(device) for m in NAMES}
    unit = {m: rows.requires_grad_() for m, rows in unit.items()}
    packed = torch.randint(0, 256, (size, 256), dtype=torch.uint8, generator=generator).to(device)
    there = torch.ones(size, dtype=torch.bool, device=device)
    record: Any = installed().find("loss", name).record
    chosen = {"temperature": 0.1} | ({"target_temperature": 0.1} if name == "tanimoto_infonce" else {})
    loss = record.build(record.config(**chosen), NAMES, NAMES[0]).to(device)

    def run() -> Tensor:
        if side == "molchord":
            total = loss(
                LossBatch(
                    embeddings=unit,
                    raw=unit,
                    present=dict.fromkeys(NAMES, there),
                    molecule=torch.arange(size, device=device),
                    features={"fingerprint": packed},
                )
            ).total
        else:
            total = _whole(name, unit, packed)
        torch.autograd.grad(total, list(unit.values()))
        return total.detach()

    return run


def _whole(name: str, unit: dict[str, Tensor], packed: Tensor) -> Tensor:
    """Return the loss by whole matrices: numbers of the true partners, or soft targets, as targets."""
    pairs = [(a, b) for a, b in combinations(NAMES, 2) if a == NAMES[0] or name not in CENTRED]
    target = torch.arange(len(packed), device=packed.device)
    if name == "tanimoto_infonce":
        shifts = torch.arange(8, device=packed.device, dtype=torch.uint8)
        bits = ((packed[:, :, None] >> shifts) & 1).flatten(1).float()
        shared, count = bits @ bits.T, bits.sum(dim=1)
        target = (shared / (count[:, None] + count - shared) / 0.1).softmax(dim=1)
    values = []
    for a, b in pairs:
        logits = unit[a] @ unit[b].T / 0.1
        values.append((functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2)
    return torch.stack(values).mean()


def _memory(side: str, name: str, size: int, device: str) -> int:
    """Return the bytes that one step needs beside what was there before it."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (side, name, size, device))


def _peak(side: str, name: str, size: int, device: str) -> int:
    step = _step(side, name, size, device)
    _step(side, name, 8, device)()  # what libraries load at the first call is no memory of the loss
    gc.collect()
    if torch.device(device).type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    status = Path("/proc/self/status")
    before = bytes_of(status, "VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark starts anew
    step()
    return bytes_of(status, "VmHWM") - before
