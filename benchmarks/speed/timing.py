"""Both sides of a comparison in turns, so that a busy machine slows both."""

from __future__ import annotations

import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

__all__ = ["bytes_of", "compare", "machine"]

OURS = "molchord"


def compare(sides: Mapping[str, Callable[[], object]], *, device: str = "cpu", rounds: int = 7) -> dict[str, Any]:
    """Time each side once a round after one round that does not count; the first side is molchord.

    Args:
        sides: What is timed, by name.
        device: Where the work runs; a GPU is waited for.
        rounds: How many times, at least 5.

    Returns:
        ``seconds``: median of each side; ``ratio``: how many times longer each other side takes than molchord, the
        median over rounds; ``range``: the smallest and largest of these ratios.

    Example:
        >>> row = compare({"molchord": lambda: time.sleep(0.001), "other": lambda: time.sleep(0.01)}, rounds=5)
        >>> row["ratio"]["other"] > 2
        True
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, run in sides.items():
            spent = _timed(run, device)
            if number:
                times[name].append(spent)
    ours, *others = times
    ratios = {name: [b / a for a, b in zip(times[ours], times[name], strict=True)] for name in others}
    return {
        "seconds": {name: _rounded(statistics.median(values)) for name, values in times.items()},
        "ratio": {name: _rounded(statistics.median(values)) for name, values in ratios.items()},
        "range": {name: [_rounded(min(values)), _rounded(max(values))] for name, values in ratios.items()},
        "rounds": rounds,
    }


def machine(device: str = "cpu") -> dict[str, Any]:
    """Describe what the figures were measured on."""
    found = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if torch.device(device).type == "cuda":
        found |= {"gpu": torch.cuda.get_device_name(device)}
    return found


def bytes_of(file: Path, name: str) -> int:
    """Return the bytes that a line ``NAME: ... kB`` of a file below /proc says, 0 where there is none."""
    found = re.search(rf"^{name}:\s+(\d+) kB", file.read_text(encoding="utf-8"), re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


def _timed(run: Callable[[], object], device: str) -> float:
    start = time.perf_counter()
    run()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
