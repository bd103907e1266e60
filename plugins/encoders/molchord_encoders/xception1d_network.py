"""Xception in one dimension."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from molchord.api import SpectrumBatch, SpectrumSpec
from molchord_encoders.batch_norm import BatchNorm
from molchord_encoders.columns import ColumnEmbedding

__all__ = ["Xception1d"]

_WHOLE_WIDTH = 16  # numbers per column of the whole spectrum (adduct, collision energy, ...)


class Xception1d(nn.Module):
    """Xception (Chollet 2017, figure 5) with 1-D convolutions: entry, middle and exit flow, then the mean of positions.

    The mean over positions keeps no wavenumber but what the convolutions' reach tells; `resnet1d` keeps it.

    Args:
        spec: What the batches hold.
        width: Size of the output.
        stem: Channels of the two plain convolutions.
        entry: Channels of the entry blocks.
        middle: Number of middle blocks.
        exit: Channels of the last block and of the two separable convolutions after it.

    Example:
        >>> encoder = Xception1d(
        ...     SpectrumSpec(unit="cm^-1", points=100), width=8, stem=(4, 8), entry=(8,), middle=1, exit=(8, 8, 8)
        ... )
        >>> batch = SpectrumBatch(values=torch.rand(3, 1, 100), observed=torch.ones(3, 100, dtype=torch.bool))
        >>> encoder(batch).shape
        torch.Size([3, 8])
    """

    def __init__(
        self,
        spec: SpectrumSpec,
        *,
        width: int,
        stem: tuple[int, int],
        entry: Sequence[int],
        middle: int,
        exit: tuple[int, int, int],
    ) -> None:
        super().__init__()
        self.width = width
        first, second = stem
        self.stem = nn.Sequential(
            nn.Conv1d(spec.channels + 1, first, 3, stride=2, padding=1, bias=False),  # one channel more: the mask
            BatchNorm(first),
            nn.ReLU(),
            nn.Conv1d(first, second, 3, padding=1, bias=False),
            BatchNorm(second),
            nn.ReLU(),
        )
        sizes = [second, *entry]
        self.entry = nn.Sequential(
            *(_Halving(a, b, b, activated=number > 0) for number, (a, b) in enumerate(zip(sizes, entry, strict=False)))
        )
        self.middle = nn.Sequential(*(_Middle(sizes[-1]) for _ in range(middle)))
        last, third, fourth = exit
        self.exit = nn.Sequential(
            _Halving(sizes[-1], sizes[-1], last, activated=True),
            _Separable(last, third),
            nn.ReLU(),
            _Separable(third, fourth),
            nn.ReLU(),
        )
        self.whole = ColumnEmbedding(spec.whole, _WHOLE_WIDTH)
        self.out = nn.Linear(fourth + _WHOLE_WIDTH * len(spec.whole), width)

    def forward(self, batch: SpectrumBatch) -> Float[Tensor, "b width"]:
        """Encode a batch; points that were not observed count as 0 and are marked in the mask channel."""
        observed = batch.observed[:, None]
        curves = torch.cat([batch.values.masked_fill(~observed, 0.0), observed.to(batch.values.dtype)], dim=1)
        features = self.exit(self.middle(self.entry(self.stem(curves)))).mean(dim=2)
        whole = self.whole(batch.whole, like=batch.values[:, 0, 0]).flatten(1)
        encoded: Tensor = self.out(torch.cat([features, whole], dim=1))
        return encoded


class _Separable(nn.Module):
    """A convolution of each channel by itself, then one across channels at each position; normalised."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv1d(channels, out, 1, bias=False)
        self.norm = BatchNorm(out)

    def forward(self, curves: Float[Tensor, "b c p"]) -> Float[Tensor, "b o p"]:
        made: Tensor = self.norm(self.pointwise(self.depthwise(curves)))
        return made


class _Halving(nn.Module):
    """Two separable convolutions and a maximum over every second position, around which a strided one is carried."""

    def __init__(self, channels: int, between: int, out: int, *, activated: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *([nn.ReLU()] if activated else []),
            _Separable(channels, between),
            nn.ReLU(),
            _Separable(between, out),
            nn.MaxPool1d(3, stride=2, padding=1),
        )
        self.skip = nn.Sequential(nn.Conv1d(channels, out, 1, stride=2, bias=False), BatchNorm(out))

    def forward(self, curves: Float[Tensor, "b c p"]) -> Float[Tensor, "b o q"]:
        summed: Tensor = self.body(curves) + self.skip(curves)
        return summed


class _Middle(nn.Module):
    """Three separable convolutions around which the input is carried."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*(part for _ in range(3) for part in (nn.ReLU(), _Separable(channels, channels))))

    def forward(self, curves: Float[Tensor, "b c p"]) -> Float[Tensor, "b c p"]:
        summed: Tensor = curves + self.body(curves)
        return summed
