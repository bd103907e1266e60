"""Encoder and decoder over peaks and the conditions of measurement."""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from molchord.api import PeaksBatch, PeaksSpec, Real
from molchord_encoders.attention import SetAttention, feed_forward
from molchord_encoders.batch_norm import BatchNorm
from molchord_encoders.columns import EMBEDDING_STD, ColumnEmbedding
from molchord_encoders.fields import WAVELENGTHS

__all__ = ["Clerms"]


class Clerms(nn.Module):
    """CLERMS (Guo et al. 2023) as molvis has it ("Molecular Vision", PNNL 2024, figure 1).

    Each peak's numbers are embedded by sinusoids (its equation 1), joined and sent through dense layers; a column of
    the whole spectrum in the unit of the peaks, such as the ion's m/z, is a token beside them. The encoder's output is
    what the decoder's cross-attention looks at; its own tokens are the other columns: ion mode, ionisation, instrument
    and collision energy, each through a small network, and one learned token, so that a spectrum without them works
    too. The decoder's tokens are widened, pooled by their maximum, batch-normalised and mapped to the output, through
    a SELU.

    Args:
        spec: What the batches hold.
        width: Size of the output.
        hidden: Size of a token.
        layers: Layers of the encoder, and as many of the decoder.
        heads: Attention heads; divides `hidden`.
        feedforward: Hidden size of the feed-forward part of a layer.
        pooled: Size over which tokens are pooled.
        dropout: Dropout in the attention layers.
        frequencies: Wavelengths that a number is embedded with.
        wavelengths: Shortest and longest of them, in the column's unit.

    Example:
        >>> spec = PeaksSpec(unit="m/z", peak={"mz": Real("m/z")}, whole={"energy": Real("eV")})
        >>> encoder = Clerms(spec, width=8, hidden=16, layers=1, heads=2, feedforward=32, pooled=16).eval()
        >>> peaks = {"mz": torch.tensor([[77.04, 105.03]])}
        >>> mask, whole = torch.ones(1, 2, dtype=torch.bool), {"energy": torch.tensor([20.0])}
        >>> encoder(PeaksBatch(peak=peaks, mask=mask, whole=whole)).shape
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
        pooled: int,
        dropout: float = 0.0,
        frequencies: int = 64,
        wavelengths: tuple[float, float] = WAVELENGTHS,
    ) -> None:
        super().__init__()
        self.width = width
        ions = {name for name, c in spec.whole.items() if isinstance(c, Real) and c.unit == spec.unit}
        embedding = partial(ColumnEmbedding, width=hidden, frequencies=frequencies, wavelengths=wavelengths)
        self.peak = embedding(spec.peak)
        self.dense = nn.Sequential(
            nn.Linear(hidden * len(spec.peak), hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU()
        )
        self.ion = embedding({name: column for name, column in spec.whole.items() if name in ions})
        self.conditions = embedding({name: column for name, column in spec.whole.items() if name not in ions})
        self.networks = nn.ModuleList(
            nn.Sequential(nn.GELU(), nn.Linear(hidden, hidden)) for _ in range(len(spec.whole) - len(ions))
        )
        self.question = nn.Parameter(torch.randn(hidden) * EMBEDDING_STD)
        self.encoder = SetAttention(hidden, layers=layers, heads=heads, feedforward=feedforward, dropout=dropout)
        self.decoder = nn.ModuleList(_DecoderLayer(hidden, heads, feedforward, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)
        self.widen = nn.Linear(hidden, pooled)
        self.out = nn.Sequential(BatchNorm(pooled), nn.Linear(pooled, width), nn.SELU())

    def forward(self, batch: PeaksBatch) -> Float[Tensor, "b width"]:
        """Encode a batch of peak lists; an empty list is encoded from its whole columns."""
        like = batch.mask.any(dim=1)
        peaks = self.dense(self.peak(batch.peak, like=batch.mask).flatten(-2))
        ions = self.ion(batch.whole, like=like)
        mask = torch.cat([batch.mask.new_ones(ions.shape[:2]), batch.mask], dim=1)
        seen = self.encoder(torch.cat([ions, peaks], dim=1), mask)
        memory = self.encoder.with_readout(mask)
        columns = self.conditions(batch.whole, like=like)
        made = [network(columns[:, i]) for i, network in enumerate(self.networks)]
        states = torch.stack([self.question.expand(len(columns), -1).to(columns.dtype), *made], dim=1)
        for layer in self.decoder:
            states = layer(states, seen, memory)
        encoded: Tensor = self.out(self.widen(self.norm(states)).amax(dim=1))
        return encoded


class _DecoderLayer(nn.Module):
    """Self-attention, attention to the encoder's output, a feed-forward part, each added to what came in.

    As `torch.nn.TransformerDecoderLayer` with ``norm_first=True``, which does not take a batch of no rows; dropout is
    on what is added only.
    """

    def __init__(self, hidden: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.own_norm, self.cross_norm = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.own = nn.Linear(hidden, 3 * hidden)
        self.own_out = nn.Linear(hidden, hidden)
        self.query = nn.Linear(hidden, hidden)
        self.key_value = nn.Linear(hidden, 2 * hidden)
        self.cross_out = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(dropout)
        self.feedforward = feed_forward(hidden, feedforward, dropout)

    def forward(
        self, states: Float[Tensor, "b k d"], memory: Float[Tensor, "b t d"], seen: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b k d"]:
        query, key, value = self._heads(self.own(self.own_norm(states)), 3)
        states = states + self.dropout(self.own_out(self._mixed(query, key, value, None)))
        (query,) = self._heads(self.query(self.cross_norm(states)), 1)
        key, value = self._heads(self.key_value(memory), 2)
        states = states + self.dropout(self.cross_out(self._mixed(query, key, value, seen[:, None, None])))
        added: Tensor = states + self.feedforward(states)
        return added

    def _heads(self, packed: Float[Tensor, "b t m"], parts: int) -> tuple[Tensor, ...]:
        """Return parts of packed rows, each (b, heads, t, d / heads)."""
        split = packed.reshape(*packed.shape[:2], parts, self.heads, packed.shape[2] // (parts * self.heads))
        return torch.unbind(split.permute(2, 0, 3, 1, 4))

    def _mixed(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Float[Tensor, "b t d"]:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)
