"""Multilayer perceptron on a whole spectrum or vector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from molchord.api import SpectrumBatch, SpectrumSpec, VectorBatch, VectorSpec
from molchord_encoders.batch_norm import BatchNorm
from molchord_encoders.columns import ColumnEmbedding

__all__ = ["ACTIVATIONS", "Mlp"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}

_WHOLE_WIDTH = 16  # numbers per column of the whole spectrum (adduct, collision energy, ...)


class Mlp(nn.Module):
    """Linear layers with batch normalisation, nonlinearity and dropout between; channels are flattened.

    With ``hidden=(1262,)``, width 497, ELU and batch normalisation it is the spectrum encoder of VibraCLIP, whose
    bias before the normalisation (which subtracts it again) is left out.

    Args:
        spec: What the batches hold.
        width: Size of the output.
        hidden: Sizes of the hidden layers.
        activation: A key of `ACTIVATIONS`.
        batch_norm: Whether the hidden layers are normalised.
        dropout: Dropout after each hidden layer.
        mask: Whether the mask of observed points is a further input.

    Example:
        >>> encoder = Mlp(VectorSpec(size=10, unit="1"), width=4, hidden=(8,))
        >>> encoder(VectorBatch(values=torch.rand(3, 10))).shape
        torch.Size([3, 4])
    """

    def __init__(
        self,
        spec: SpectrumSpec | VectorSpec,
        *,
        width: int,
        hidden: Sequence[int],
        activation: str = "elu",
        batch_norm: bool = True,
        dropout: float = 0.0,
        mask: bool = False,
    ) -> None:
        super().__init__()
        self.width = width
        self.mask = mask
        if isinstance(spec, SpectrumSpec):
            self.whole = ColumnEmbedding(spec.whole, _WHOLE_WIDTH)
            points, numbers = spec.points, spec.points * spec.channels + _WHOLE_WIDTH * len(spec.whole)
        else:
            points, numbers = spec.size, spec.size
        layers: list[nn.Module] = []
        size = numbers + (points if mask else 0)
        for wide in hidden:
            layers.append(nn.Linear(size, wide, bias=not batch_norm))
            layers += [BatchNorm(wide)] if batch_norm else []
            layers += [ACTIVATIONS[activation](), nn.Dropout(dropout)]
            size = wide
        self.layers = nn.Sequential(*layers, nn.Linear(size, width))

    def forward(self, batch: SpectrumBatch | VectorBatch) -> Float[Tensor, "b width"]:
        """Encode a batch; numbers that were not observed (not finite, in a vector) count as 0."""
        if isinstance(batch, SpectrumBatch):
            values, observed = batch.values, batch.observed
            inputs = [values.masked_fill(~observed[:, None], 0.0).flatten(1)]
            inputs.append(self.whole(batch.whole, like=values[:, 0, 0]).flatten(1))
        else:
            observed = batch.values.isfinite()
            inputs = [batch.values.masked_fill(~observed, 0.0)]
        if self.mask:
            inputs.append(observed.to(inputs[0].dtype))
        encoded: Tensor = self.layers(torch.cat(inputs, dim=1))
        return encoded
