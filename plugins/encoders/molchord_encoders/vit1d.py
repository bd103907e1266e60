"""Vision transformer on a spectrum: configuration and record."""

from __future__ import annotations

from typing import Any

from pydantic import Field, PositiveInt, model_validator

from molchord.api import Config, EncoderRecord, SpectrumSpec
from molchord_encoders.fields import Dropout, Width, heads_divide

__all__ = ["VIT1D", "Vit1dConfig"]


class Vit1dConfig(Config):
    """Vision transformer (Dosovitskiy et al. 2021) whose patches are stretches of a spectrum.

    Example:
        >>> Vit1dConfig(layers=6).patch
        25
    """

    width: Width = 256
    patch: PositiveInt = Field(default=25, description="Points of a patch, which a convolution embeds.")
    hidden: PositiveInt = Field(default=128, description="Size of a token.")
    layers: PositiveInt = Field(default=2, description="Attention layers.")
    heads: PositiveInt = Field(default=4, description="Attention heads; divides `hidden`.")
    feedforward: PositiveInt = Field(default=256, description="Hidden size of the feed-forward part of a layer.")
    dropout: Dropout = Field(default=0.1, description="Dropout in the attention layers.")

    @model_validator(mode="after")
    def _heads(self) -> Vit1dConfig:
        heads_divide(self.hidden, self.heads)
        return self


def build(config: Vit1dConfig, spec: SpectrumSpec) -> Any:
    """Return the network; torch is imported here, not before."""
    from molchord_encoders.vit1d_network import Vit1d

    return Vit1d(spec, **dict(config))


VIT1D = EncoderRecord(
    name="vit1d",
    summary="attention over patches of a spectrum with learned positions (vision transformer)",
    api=1,
    accepts=("spectrum1d",),
    config=Vit1dConfig,
    build=build,
)
