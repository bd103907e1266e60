"""Attention over a padded set of tokens, read out at a token of its own."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["SetAttention", "feed_forward"]


class SetAttention(nn.Module):
    """Transformer layers (normalised first, Xiong et al. 2020) over a set, with a learned readout token put in front.

    The tokens carry no order: they differ by their content only. Padding takes no part.

    Args:
        hidden: Size of a token.
        layers: Number of layers.
        heads: Attention heads.
        feedforward: Hidden size of the feed-forward part.
        dropout: Dropout on what each half of a layer adds.

    Shape:
        Tokens (b, t, d) and their mask (b, t), true at real ones, to (b, 1 + t, d), the readout token first.

    Example:
        >>> attention = SetAttention(8, layers=1, heads=2, feedforward=16, dropout=0.0)
        >>> attention(torch.rand(3, 5, 8), torch.ones(3, 5, dtype=torch.bool)).shape
        torch.Size([3, 6, 8])
    """

    def __init__(self, hidden: int, *, layers: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.readout = nn.Parameter(torch.randn(hidden) * 0.02)
        self.layers = nn.ModuleList(_Layer(hidden, heads, feedforward, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)

    def forward(self, tokens: Float[Tensor, "b t d"], mask: Bool[Tensor, "b t"]) -> Float[Tensor, "b t1 d"]:
        """Let all tokens see each other."""
        states = torch.cat([self.readout.expand(len(tokens), 1, -1), tokens], dim=1)
        seen = self.with_readout(mask)
        for layer in self.layers:
            states = layer(states, seen)
        normed: Tensor = self.norm(states)
        return normed

    def with_readout(self, mask: Bool[Tensor, "b t"]) -> Bool[Tensor, "b t1"]:
        """Return the mask of tokens with the readout token in front."""
        return torch.cat([mask.new_ones(len(mask), 1), mask], dim=1)


def feed_forward(hidden: int, inner: int, dropout: float) -> nn.Sequential:
    """Return the part of a layer that each token goes through alone, normalised first."""
    return nn.Sequential(
        nn.LayerNorm(hidden), nn.Linear(hidden, inner), nn.GELU(), nn.Linear(inner, hidden), nn.Dropout(dropout)
    )


class _Layer(nn.Module):
    """Self-attention, then a feed-forward part, each added to what came in.

    As `torch.nn.TransformerEncoderLayer` with ``norm_first=True``, which does not take a batch of no rows; dropout
    is on what is added only, since drawing it for every attention weight costs a CPU more than the attention.
    """

    def __init__(self, hidden: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(hidden)
        self.query_key_value = nn.Linear(hidden, 3 * hidden)
        self.attention_out = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(dropout)
        self.feedforward = feed_forward(hidden, feedforward, dropout)

    def forward(self, states: Float[Tensor, "b t d"], seen: Bool[Tensor, "b t"]) -> Float[Tensor, "b t d"]:
        packed = self.query_key_value(self.attention_norm(states))
        query, key, value = packed.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (b, heads, t, d / heads)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen[:, None, None])
        states = states + self.dropout(self.attention_out(mixed.transpose(1, 2).flatten(2)))
        added: Tensor = states + self.feedforward(states)
        return added
