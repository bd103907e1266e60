"""Set attention over peaks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from molchord.api import PeaksBatch, PeaksSpec
from molchord_encoders.attention import SetAttention
from molchord_encoders.columns import ColumnEmbedding
from molchord_encoders.fields import UNIT_WAVELENGTHS, WAVELENGTHS

__all__ = ["PeakTransformer"]


class PeakTransformer(nn.Module):
    """Attention over a readout token, one token per column of the whole spectrum and one per peak.

    A peak's token is the sum of its columns' embeddings (Voronov et al. 2022 for numbers) through one hidden layer,
    so that intensity can weigh position before peaks meet. Peaks are a set: their order in the file is nothing.

    Args:
        spec: What the batches hold: m/z and intensity, chemical shift and multiplicity, ...
        width: Size of the output.
        hidden: Size of a token.
        layers: Attention layers.
        heads: Attention heads; divides `hidden`.
        feedforward: Hidden size of the feed-forward part of a layer.
        dropout: Dropout in the attention layers.
        frequencies: Wavelengths that a number is embedded with.
        wavelengths: Shortest and longest of them, in the column's unit.
        unit_wavelengths: The same for columns in these units.

    Example:
        >>> from molchord.api import Category, Real
        >>> spec = PeaksSpec(unit="ppm", peak={"shift": Real("ppm"), "multiplicity": Category(("s", "d", "t", "q"))})
        >>> encoder = PeakTransformer(spec, width=8, hidden=16, layers=1, heads=2, feedforward=32)
        >>> peak = {"shift": torch.tensor([[77.2, 20.1]]), "multiplicity": torch.tensor([[1, 4]])}
        >>> encoder(PeaksBatch(peak=peak, mask=torch.tensor([[True, True]]))).shape
        torch.Size([1, 8])
    """

    def __init__(
        self,
        spec: PeaksSpec,
        *,
        width: int,
        hidden: int,
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float = 0.0,
        frequencies: int = 64,
        wavelengths: tuple[float, float] = WAVELENGTHS,
        unit_wavelengths: Mapping[str, tuple[float, float]] = UNIT_WAVELENGTHS,
    ) -> None:
        super().__init__()
        self.width = width
        embedding = partial(
            ColumnEmbedding,
            width=hidden,
            frequencies=frequencies,
            wavelengths=wavelengths,
            unit_wavelengths=unit_wavelengths,
        )
        self.peak = embedding(spec.peak)
        self.whole = embedding(spec.whole)
        self.mix = nn.Sequential(nn.GELU(), nn.Linear(hidden, hidden))
        self.attention = SetAttention(
            hidden,
            layers=layers,
            heads=heads,
            feedforward=feedforward,
            dropout=dropout,
        )
        self.out = nn.Linear(hidden, width)

    def forward(self, batch: PeaksBatch) -> Float[Tensor, "b width"]:
        """Encode a batch of peak lists; an empty list is encoded from its whole columns."""
        states, _ = self.tokens(batch)
        encoded: Tensor = self.out(states[:, 0])
        return encoded

    def tokens(self, batch: PeaksBatch) -> tuple[Float[Tensor, "b t d"], Bool[Tensor, "b t"]]:
        """Return the states of the readout token, the whole columns and the peaks, and which of them are real."""
        peaks = self.mix(self.peak(batch.peak, like=batch.mask).sum(dim=-2))
        whole = self.whole(batch.whole, like=batch.mask.any(dim=1))
        mask = torch.cat([batch.mask.new_ones(whole.shape[:2]), batch.mask], dim=1)
        states = self.attention(torch.cat([whole, peaks], dim=1), mask)
        return states, self.attention.with_readout(mask)
