"""Where tensors are: choosing a device, moving to it, and detecting when its memory ran out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from molchord.errors import RunError

__all__ = ["choose_device", "out_of_memory", "to_device"]


def choose_device(device: str | None = None) -> torch.device:
    """Return the requested device, or a GPU where there is one.

    Raises:
        RunError: The device is not there.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise RunError(f"device {device!r} cannot be used here ({str(error).splitlines()[0]}); try 'cpu'") from error
    return chosen


def to_device(value: Any, device: torch.device) -> Any:
    """Move every tensor of a tensor, mapping or dataclass to a device.

    Example:
        >>> to_device({"a": torch.ones(2), "b": 3}, torch.device("cpu"))
        {'a': tensor([1., 1.]), 'b': 3}
    """
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {key: to_device(item, device) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        moved = {f.name: to_device(getattr(value, f.name), device) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **moved)
    return value


def out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out; on a CPU, torch reports it in words only."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
