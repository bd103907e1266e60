"""Batch normalisation that also works for batches of one molecule and of none."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BatchNorm"]


class BatchNorm(nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` that falls back to the running statistics below two rows.

    One row has no spread to normalise with, and none has no mean; the running statistics then stay as they are.

    Shape:
        (b, c) or (b, c, p) to the same.

    Example:
        >>> import torch
        >>> norm = BatchNorm(3).train()
        >>> norm(torch.ones(1, 3)).shape, norm(torch.ones(0, 3)).shape
        (torch.Size([1, 3]), torch.Size([0, 3]))
    """

    def forward(self, input: Float[Tensor, "b c *p"]) -> Float[Tensor, "b c *p"]:
        """Normalise each channel."""
        if self.training and input.shape[0] < 2:
            return functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        return super().forward(input)
