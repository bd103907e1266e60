"""A multilayer perceptron on a whole spectrum or vector: configuration and record."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveInt

from molchord.api import Config, EncoderRecord, SpectrumSpec, VectorSpec
from molchord_encoders.fields import Dropout, Width

__all__ = ["MLP", "MlpConfig"]


Activation = Literal["elu", "gelu", "relu", "silu", "tanh"]


class MlpConfig(Config):
    """Multilayer perceptron on the flattened channels of a spectrum, or on a vector.

    VibraCLIP's spectrum encoder is ``hidden: [1262], width: 497, activation: elu, batch_norm: true``.

    Example:
        >>> MlpConfig(hidden=(1262,), width=497).activation
        'elu'
    """

    width: Width = 256
    hidden: tuple[PositiveInt, ...] = Field(
        default=(1024,), description="Sizes of the hidden layers; none: one linear map."
    )
    activation: Activation = Field(default="elu", description="Nonlinearity of the hidden layers.")
    batch_norm: bool = Field(default=True, description="Batch normalisation in the hidden layers.")
    dropout: Dropout = Field(default=0.0, description="Dropout behind each hidden layer.")
    mask: bool = Field(
        default=False,
        description="Take the mask of observed points as further inputs; for spectra that cover part of the grid.",
    )


def build(config: MlpConfig, spec: SpectrumSpec | VectorSpec) -> Any:
    """Return the network; torch is imported here, not before."""
    from molchord_encoders.mlp_network import Mlp

    return Mlp(spec, **dict(config))


MLP = EncoderRecord(
    name="mlp",
    summary="multilayer perceptron on a whole spectrum or vector",
    api=1,
    accepts=("spectrum1d", "vector"),
    config=MlpConfig,
    build=build,
)
