"""Weights in eight bits a number: each row of a matrix as whole numbers from -127 to 127, and its scale.

A quarter of single precision. The rounding of a number is at most half a 127th of its row's largest, about a percent of
a typical one, and rounding errors of a row are independent, so that a layer's output hardly changes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["packed", "unpacked"]

_SCALE = "#scale"
_LARGE = 2**14
"""Numbers of a matrix; what is smaller is stored in half precision."""


def packed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict with large matrices in eight bits and other fp32 tensors in half precision.

    Example:
        >>> weight = torch.linspace(-1, 1, 2**15).reshape(128, 256)
        >>> small = packed({"weight": weight})
        >>> small["weight"].dtype, float((unpacked(small)["weight"] - weight).abs().max()) < 0.5 / 127
        (torch.int8, True)
    """
    out = {}
    for name, tensor in tensors.items():
        if tensor.dtype == torch.float32 and tensor.ndim > 1 and tensor.numel() >= _LARGE:
            rows = tensor.flatten(1)
            scale = rows.abs().amax(dim=1).clamp_min(1e-30) / 127
            out[name] = (rows / scale[:, None]).round().to(torch.int8).reshape(tensor.shape)
            out[name + _SCALE] = scale
        else:
            out[name] = tensor.half() if tensor.dtype == torch.float32 else tensor
    return out


def unpacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict that `packed` was given, rounded; one without such matrices stays as it is."""
    out = {}
    for name, tensor in tensors.items():
        scale = tensors.get(name + _SCALE)
        if scale is not None:
            out[name] = tensor.float() * scale.reshape(-1, *[1] * (tensor.ndim - 1))
        elif not name.endswith(_SCALE):
            out[name] = tensor
    return out
