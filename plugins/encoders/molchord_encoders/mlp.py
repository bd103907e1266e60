"""Multilayer perceptron on a whole spectrum or vector."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from molchord.api import SpectrumBatch, SpectrumSpec, VectorBatch, VectorSpec
from molchord_encoders import MlpConfig
from molchord_encoders.batch_norm import BatchNorm
from molchord_encoders.columns import ColumnEmbedding

__all__ = ["ACTIVATIONS", "Mlp", "build"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}

_WHOLE_WIDTH = 16  # numbers a column of the whole spectrum (adduct, collision energy, ...)


class Mlp(nn.Module):
    """Linear layers with batch normalisation, nonlinearity and dropout between; channels are flattened.

    With ``hidden=(1262,)``, width 497, ELU and batch normalisation it is the spectrum encoder of VibraCLIP, whose
    bias before the normalisation (which subtracts it again) is left out.

    Args:
        config: Layers.
        spec: What the batches hold.

    Example:
        >>> encoder = Mlp(MlpConfig(hidden=(8,), width=4), VectorSpec(size=10, unit="1"))
        >>> encoder(VectorBatch(values=torch.rand(3, 10))).shape
        torch.Size([3, 4])
    """

    def __init__(self, config: MlpConfig, spec: SpectrumSpec | VectorSpec) -> None:
        super().__init__()
        self.width = config.width
        self.mask = config.mask
        if isinstance(spec, SpectrumSpec):
            self.whole = ColumnEmbedding(spec.whole, _WHOLE_WIDTH)
            points, numbers = spec.points, spec.points * spec.channels + _WHOLE_WIDTH * len(spec.whole)
        else:
            points, numbers = spec.size, spec.size
        layers: list[nn.Module] = []
        size = numbers + (points if config.mask else 0)
        for hidden in config.hidden:
            layers.append(nn.Linear(size, hidden, bias=not config.batch_norm))
            layers += [BatchNorm(hidden)] if config.batch_norm else []
            layers += [ACTIVATIONS[config.activation](), nn.Dropout(config.dropout)]
            size = hidden
        self.layers = nn.Sequential(*layers, nn.Linear(size, config.width))

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


def build(config: MlpConfig, spec: SpectrumSpec | VectorSpec) -> Mlp:
    """Make the encoder."""
    return Mlp(config, spec)
