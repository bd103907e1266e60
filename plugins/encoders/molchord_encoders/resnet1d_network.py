"""Strided and residual convolutions on a spectrum; the readout keeps absolute position."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from molchord.api import SpectrumBatch, SpectrumSpec
from molchord_encoders.attention import SetAttention
from molchord_encoders.batch_norm import BatchNorm
from molchord_encoders.columns import ColumnEmbedding
from molchord_encoders.resnet1d_settings import Flatten, Patches, Stage

__all__ = ["Resnet1d"]

_WHOLE_WIDTH = 16  # numbers per column of the whole spectrum (adduct, collision energy, ...)
_PATCH_WIDTH = 16  # numbers that the readout keeps of each patch


class Resnet1d(nn.Module):
    """Convolution stages over the channels and the mask of observed points, then a readout that knows positions.

    A band's wavenumber is what identifies a group, so positions are never averaged away: they are flattened, or
    patches of them carry learned positions. The default, two strided convolutions and `Flatten`, was the best and
    fastest tower on computed IR and Raman spectra.

    Args:
        spec: What the batches hold.
        width: Size of the output.
        stages: Convolution stages, first to last.
        readout: How the features of all positions become one vector.

    Example:
        >>> encoder = Resnet1d(SpectrumSpec(unit="cm^-1", points=100), width=8, stages=[Stage()], readout=Flatten())
        >>> batch = SpectrumBatch(values=torch.rand(3, 1, 100), observed=torch.ones(3, 100, dtype=torch.bool))
        >>> encoder(batch).shape
        torch.Size([3, 8])
    """

    def __init__(self, spec: SpectrumSpec, *, width: int, stages: Sequence[Stage], readout: Flatten | Patches) -> None:
        super().__init__()
        self.width = width
        channels, points = spec.channels + 1, spec.points  # one more: the mask
        layers = []
        for stage in stages:
            layers.append(_stage(channels, stage))
            channels, points = stage.channels, -(-points // stage.stride)
        self.stages = nn.Sequential(*layers)
        self.whole = ColumnEmbedding(spec.whole, _WHOLE_WIDTH)
        extra = _WHOLE_WIDTH * len(spec.whole)
        self.readout = (
            _FlattenReadout(readout, channels * points, extra, width)
            if isinstance(readout, Flatten)
            else _PatchReadout(readout, channels, points, extra, width)
        )

    def forward(self, batch: SpectrumBatch) -> Float[Tensor, "b width"]:
        """Encode a batch; points that were not observed count as 0 and are marked in the mask channel."""
        observed = batch.observed[:, None]
        # outside the grid the convolutions pad with 0, which in the mask channel reads "not observed"
        curves = torch.cat([batch.values.masked_fill(~observed, 0.0), observed.to(batch.values.dtype)], dim=1)
        whole = self.whole(batch.whole, like=batch.values[:, 0, 0]).flatten(1)
        encoded: Tensor = self.readout(self.stages(curves), whole)
        return encoded


def _stage(channels: int, stage: Stage) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(channels, stage.channels, stage.kernel, stage.stride, stage.kernel // 2, bias=False),
        BatchNorm(stage.channels),
        nn.SiLU(),
        *(_Block(stage.channels, stage.kernel) for _ in range(stage.blocks)),
    )


class _Block(nn.Module):
    """Two convolutions around which the input is carried (He et al. 2016)."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(channels, channels, kernel, padding=kernel // 2, bias=False),
            BatchNorm(channels),
            nn.SiLU(),
            nn.Conv1d(channels, channels, kernel, padding=kernel // 2, bias=False),
            BatchNorm(channels),
        )

    def forward(self, curves: Float[Tensor, "b c p"]) -> Float[Tensor, "b c p"]:
        return functional.silu(curves + self.body(curves))


class _FlattenReadout(nn.Module):
    """Every channel at every position into a hidden layer, together with the whole columns."""

    def __init__(self, config: Flatten, features: int, extra: int, width: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.Sequential(
            nn.Linear(features + extra, config.hidden, bias=False),
            BatchNorm(config.hidden),
            nn.SiLU(),
            nn.Linear(config.hidden, width),
        )

    def forward(self, curves: Float[Tensor, "b c p"], whole: Float[Tensor, "b k"]) -> Float[Tensor, "b width"]:
        encoded: Tensor = self.layers(torch.cat([self.dropout(curves.flatten(1)), whole], dim=1))
        return encoded


class _PatchReadout(nn.Module):
    """Patches as tokens with learned positions that see each other, then a few numbers of each, in their order."""

    def __init__(self, config: Patches, channels: int, points: int, extra: int, width: int) -> None:
        super().__init__()
        self.size = config.size
        patches = -(-points // config.size)
        self.missing = patches * config.size - points  # the last patch is filled up with zeros
        self.patch = nn.Linear(channels * config.size, config.hidden)
        self.position = nn.Parameter(torch.randn(patches, config.hidden) * 0.5)
        self.attention = SetAttention(
            config.hidden,
            layers=config.layers,
            heads=config.heads,
            feedforward=2 * config.hidden,
            dropout=config.dropout,
        )
        self.narrow = nn.Linear(config.hidden, _PATCH_WIDTH)
        self.out = nn.Linear(config.hidden + patches * _PATCH_WIDTH + extra, width)

    def forward(self, curves: Float[Tensor, "b c p"], whole: Float[Tensor, "b k"]) -> Float[Tensor, "b width"]:
        patches = functional.pad(curves, (0, self.missing)).unfold(2, self.size, self.size)  # (b, c, t, size)
        tokens = self.patch(patches.transpose(1, 2).flatten(2)) + self.position
        states = self.attention(tokens, tokens.new_ones(tokens.shape[:2], dtype=torch.bool))
        encoded: Tensor = self.out(torch.cat([states[:, 0], self.narrow(states[:, 1:]).flatten(1), whole], dim=1))
        return encoded
