"""Encoder and decoder over peaks and the conditions of measurement: configuration and record."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PositiveInt, model_validator

from molchord.api import Config, EncoderRecord, PeaksSpec
from molchord_encoders.fields import WAVELENGTHS, Dropout, Wavelengths, Width, heads_divide

__all__ = ["CLERMS", "ClermsConfig"]


class ClermsConfig(Config):
    """Transformer encoder over peaks, decoder over the conditions of measurement, as molvis has CLERMS.

    For MS/MS, `msms: {instrument: true, precursor: true, max_peaks: 100}` hands over what is published: instrument and
    ionisation, and the ion's m/z.

    Example:
        >>> ClermsConfig(layers=6).pooled
        512
    """

    width: Width = 256
    hidden: PositiveInt = Field(default=128, description="Size of a token.")
    layers: PositiveInt = Field(
        default=2, description="Layers of the encoder, and as many of the decoder; molvis has 6."
    )
    heads: PositiveInt = Field(default=4, description="Attention heads; divides `hidden`.")
    feedforward: PositiveInt = Field(default=256, description="Hidden size of the feed-forward part of a layer.")
    pooled: PositiveInt = Field(default=512, description="Size over which the decoder's tokens are pooled.")
    dropout: Dropout = Field(default=0.1, description="Dropout in the attention layers.")
    frequencies: Annotated[int, Field(ge=2)] = Field(default=64, description="Wavelengths a number is embedded with.")
    wavelengths: Wavelengths = Field(
        default=WAVELENGTHS, description="Shortest and longest wavelength, in the column's unit, geometrically spaced."
    )

    @model_validator(mode="after")
    def _heads(self) -> ClermsConfig:
        heads_divide(self.hidden, self.heads)
        return self


def build(config: ClermsConfig, spec: PeaksSpec) -> Any:
    """Return the network; torch is imported here, not before."""
    from molchord_encoders.clerms_network import Clerms

    return Clerms(spec, **dict(config))


CLERMS = EncoderRecord(
    name="clerms",
    summary="transformer encoder over peaks, decoder over the conditions of measurement (CLERMS)",
    api=1,
    accepts=("peaks",),
    config=ClermsConfig,
    build=build,
)
