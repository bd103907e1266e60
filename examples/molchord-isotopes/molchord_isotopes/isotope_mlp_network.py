"""The encoder of isotope patterns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from molchord_isotopes.isotopes_modality import LadderBatch
from molchord_isotopes.ladder import LadderSpec

__all__ = ["IsotopeMlp"]

_SPREAD = 0.005  # Da that separate elements: a step of 13C is 1.00335, one of 37Cl 1.99705


class IsotopeMlp(nn.Module):
    """Square roots of the abundances, distances of the offsets from whole numbers, and what was seen, in a perceptron.

    Args:
        spec: How many steps a ladder has.
        width: Size of the output.
        hidden: Size of the hidden layers.

    Shape:
        A `LadderBatch` of b molecules to (b, width).

    Example:
        >>> encoder = IsotopeMlp(LadderSpec(steps=2), width=4, hidden=8)
        >>> zeros = torch.zeros(5, 3)
        >>> encoder(LadderBatch(abundance=zeros, offset=zeros, seen=zeros > 0)).shape
        torch.Size([5, 4])
    """

    def __init__(self, spec: LadderSpec, width: int, hidden: int) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(
            nn.Linear(3 * (spec.steps + 1), hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, width),
        )

    def forward(self, batch: LadderBatch) -> Tensor:
        """Encode a batch."""
        distance = (batch.offset - batch.offset.round()).where(batch.seen, 0.0) / _SPREAD
        encoded: Tensor = self.layers(
            torch.cat([batch.abundance.sqrt(), distance.clamp(-4, 4), batch.seen.to(distance.dtype)], dim=1)
        )
        return encoded
