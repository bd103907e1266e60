"""Temperatures of pairs of modalities, fixed or learned within bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from molchord_losses.pairs import Pair
from molchord_losses.settings import Learnable

__all__ = ["Temperatures", "pair_key"]


class Temperatures(nn.Module):
    """One temperature for each pair of modalities.

    A learned one is the parameter ``log_scale.<name>-<name>``, names sorted, so that a saved state fits whatever the
    order of the modalities.

    Args:
        settings: A fixed temperature, or the start and bounds of a learned one, by pair.

    Example:
        >>> settings = {("structure", "ir"): Learnable(initial=1.0), ("structure", "raman"): 0.5}
        >>> Temperatures(settings).values()
        {('structure', 'ir'): 1.0, ('structure', 'raman'): 0.5}
    """

    def __init__(self, settings: Mapping[Pair, Learnable | float]) -> None:
        super().__init__()
        self._settings = dict(settings)
        learned = {pair_key(pair): value for pair, value in settings.items() if isinstance(value, Learnable)}
        self.log_scale = nn.ParameterDict(
            {key: nn.Parameter(torch.tensor(-math.log(value.initial))) for key, value in learned.items()}
        )

    def scale(self, pair: Pair, like: Tensor) -> Float[Tensor, ""]:
        """Return 1 / temperature of a pair, within its bounds, of the type and on the device of a tensor."""
        setting = self._settings[pair]
        if not isinstance(setting, Learnable):
            return like.new_full((), 1 / setting)
        parameter: Tensor = self.log_scale[pair_key(pair)]
        # The parameter itself is put back, as CLIP does after each step: a clamp in the graph would have no gradient
        # beyond its bounds, and a temperature that once left them could not come back.
        with torch.no_grad():
            parameter.clamp_(-math.log(setting.highest), -math.log(setting.lowest))
        return parameter.to(like).exp()

    def values(self) -> dict[Pair, float]:
        """Return the temperature of every pair."""
        with torch.no_grad():
            like = torch.empty(0, dtype=torch.float64)
            return {pair: float(1 / self.scale(pair, like)) for pair in self._settings}


def pair_key(pair: Pair) -> str:
    """Return the name of a pair's own parameter, the same for either order of its modalities.

    Example:
        >>> pair_key(("structure", "ir"))
        'ir-structure'
    """
    return "-".join(sorted(pair))
