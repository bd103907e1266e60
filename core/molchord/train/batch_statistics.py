"""Batch normalisation over the rows of all processes, and what has batch statistics at all."""

from __future__ import annotations

from typing import Self, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from molchord.errors import RunError
from molchord.train.processes import gathered

__all__ = ["Synchronised", "synchronise", "with_batch_statistics"]


def with_batch_statistics(model: nn.Module) -> list[str]:
    """Return the dotted paths of the parts that normalise by what else is in the batch, as they are now.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        >>> with_batch_statistics(model.train()), with_batch_statistics(model.eval())
        (['1'], [])
    """
    return [name for name, part in model.named_modules() if isinstance(part, _BatchNorm) and part.training]


def synchronise(model: nn.Module) -> None:
    """Let every batch normalisation of a model take its statistics from the rows of all processes.

    Raises:
        RunError: One keeps no running statistics.
    """
    for path, parent in list(model.named_modules()):
        for name, child in list(parent.named_children()):
            if not isinstance(child, _BatchNorm) or isinstance(child, Synchronised):
                continue
            if child.running_mean is None:
                raise RunError(
                    f"'{path}.{name}' keeps no running statistics, which several processes need; train in one process, "
                    "or set `track_running_stats=True` there"
                )
            setattr(parent, name, Synchronised.of(child))


@final
class Synchronised(_BatchNorm):
    """Batch normalisation by mean and variance over the rows of all processes, on any device, with exact gradients.

    Below two rows in all it falls back to the running statistics, which then stay as they are.
    (`torch.nn.SyncBatchNorm` needs GPUs.)

    Shape:
        (b, c) or (b, c, ...) to the same; b may differ between processes, and be 0.
    """

    @classmethod
    def of(cls, norm: _BatchNorm) -> Self:
        """Return one that shares parameters and statistics with `norm`."""
        out = cls(norm.num_features, norm.eps, norm.momentum, norm.affine)
        out._parameters, out._buffers = norm._parameters, norm._buffers
        return out.train(norm.training)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any number of dimensions."""

    def forward(self, input: Float[Tensor, "b c *p"]) -> Float[Tensor, "b c *p"]:
        """Normalise each channel."""
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None  # `synchronise` has looked
        assert self.running_var is not None
        x = input.to(torch.promote_types(input.dtype, torch.float32)).transpose(1, -1)  # channels last
        mean, variance, counts = self._statistics(x)
        count, enough = counts.detach()
        enough = enough >= 2
        mean = torch.where(enough, mean, self.running_mean)
        variance = torch.where(enough, variance, self.running_var)
        self._follow(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1), enough)
        out = (x - mean) * torch.rsqrt(variance + self.eps)
        if self.affine:
            out = out * self.weight + self.bias
        return out.transpose(1, -1).to(input.dtype)

    def _statistics(self, x: Float[Tensor, "b *p c"]) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean and variance over all processes, and how many numbers per channel and rows they are of.

        Each process's own are joined as in Chan et al. 1979, Updating Formulae and a Pairwise Algorithm for Computing
        Sample Variances, equation 2.1: one exchange, and no digits lost where the mean is large.
        """
        channels = self.num_features
        flat = x.reshape(-1, channels)
        mean = flat.sum(0) / max(1, len(flat))
        counts = x.new_tensor([len(flat), len(x)])
        each = gathered(torch.cat([mean, (flat - mean).square().sum(0), counts]))
        means, spreads, numbers = each[:, :channels], each[:, channels:-2], each[:, -2:-1]
        count = numbers.sum().clamp(min=1)
        whole = (numbers * means).sum(0) / count
        variance = (spreads + numbers * (means - whole).square()).sum(0) / count
        return whole, variance, each[:, -2:].sum(0)

    @torch.no_grad()
    def _follow(self, mean: Float[Tensor, " c"], variance: Float[Tensor, " c"], enough: Tensor) -> None:
        """Move the running statistics towards those of the batch."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += enough
        step = 1 / self.num_batches_tracked.clamp(min=1) if self.momentum is None else self.momentum
        step = step * enough.to(mean.dtype)
        self.running_mean += (mean - self.running_mean) * step
        self.running_var += (variance - self.running_var) * step
