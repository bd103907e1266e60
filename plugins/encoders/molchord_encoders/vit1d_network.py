"""Vision transformer in one dimension."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from molchord.api import SpectrumBatch, SpectrumSpec
from molchord_encoders.attention import SetAttention
from molchord_encoders.columns import ColumnEmbedding

__all__ = ["Vit1d"]

_POSITION_STD = 0.02  # as published


class Vit1d(nn.Module):
    """Patches embedded by a convolution, with learned positions and a class token, through a transformer.

    As the vision transformer (Dosovitskiy et al. 2021, equations 1 to 4) with 1-D convolutions ("Molecular Vision",
    PNNL 2024, 2.2.3). The columns of the whole spectrum are further tokens.

    Args:
        spec: What the batches hold.
        width: Size of the output.
        patch: Points of a patch; the last one is filled up with points that were not observed.
        hidden: Size of a token.
        layers: Attention layers.
        heads: Attention heads; divides `hidden`.
        feedforward: Hidden size of the feed-forward part of a layer.
        dropout: Dropout in the attention layers.

    Example:
        >>> spec = SpectrumSpec(unit="cm^-1", points=100)
        >>> encoder = Vit1d(spec, width=8, patch=16, hidden=16, layers=1, heads=2, feedforward=32)
        >>> batch = SpectrumBatch(values=torch.rand(3, 1, 100), observed=torch.ones(3, 100, dtype=torch.bool))
        >>> encoder(batch).shape
        torch.Size([3, 8])
    """

    def __init__(
        self,
        spec: SpectrumSpec,
        *,
        width: int,
        patch: int,
        hidden: int,
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width = width
        patches = -(-spec.points // patch)
        self.missing = patches * patch - spec.points
        self.patch = nn.Conv1d(spec.channels + 1, hidden, patch, stride=patch)  # one channel more: the mask
        self.position = nn.Parameter(torch.randn(patches, hidden) * _POSITION_STD)
        self.whole = ColumnEmbedding(spec.whole, hidden)
        self.attention = SetAttention(hidden, layers=layers, heads=heads, feedforward=feedforward, dropout=dropout)
        self.out = nn.Linear(hidden, width)

    def forward(self, batch: SpectrumBatch) -> Float[Tensor, "b width"]:
        """Encode a batch; points that were not observed count as 0 and are marked in the mask channel."""
        states, _ = self.tokens(batch)
        encoded: Tensor = self.out(states[:, 0])
        return encoded

    def tokens(self, batch: SpectrumBatch) -> tuple[Float[Tensor, "b t d"], Bool[Tensor, "b t"]]:
        """Return the states of the class token, the whole columns and the patches; all of them are real."""
        observed = batch.observed[:, None]
        curves = torch.cat([batch.values.masked_fill(~observed, 0.0), observed.to(batch.values.dtype)], dim=1)
        patches = self.patch(functional.pad(curves, (0, self.missing))).transpose(1, 2) + self.position
        whole = self.whole(batch.whole, like=batch.values[:, 0, 0])
        tokens = torch.cat([whole, patches], dim=1)
        mask = tokens.new_ones(tokens.shape[:2], dtype=torch.bool)
        return self.attention(tokens, mask), self.attention.with_readout(mask)
