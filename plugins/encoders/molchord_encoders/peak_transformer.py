"""Set attention over peaks: configuration and record."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PositiveInt, model_validator

from molchord.api import Config, EncoderRecord, PeaksSpec
from molchord_encoders.fields import UNIT_WAVELENGTHS, WAVELENGTHS, Dropout, Wavelengths, Width, heads_divide

__all__ = ["PEAK_TRANSFORMER", "PeakTransformerConfig"]


class PeakTransformerConfig(Config):
    """Set attention over peaks; the columns of the whole spectrum are further tokens.

    Example:
        >>> PeakTransformerConfig().unit_wavelengths["1"]
        (0.05, 10.0)
    """

    width: Width = 256
    hidden: PositiveInt = Field(default=128, description="Size of a token.")
    layers: PositiveInt = Field(default=2, description="Attention layers.")
    heads: PositiveInt = Field(default=4, description="Attention heads; divides `hidden`.")
    feedforward: PositiveInt = Field(default=256, description="Hidden size of the feed-forward part of a layer.")
    dropout: Dropout = Field(default=0.1, description="Dropout in the attention layers.")
    frequencies: Annotated[int, Field(ge=2)] = Field(default=64, description="Wavelengths a number is embedded with.")
    wavelengths: Wavelengths = Field(
        default=WAVELENGTHS, description="Shortest and longest wavelength, in the column's unit, geometrically spaced."
    )
    unit_wavelengths: dict[str, Wavelengths] = Field(
        default=UNIT_WAVELENGTHS,
        description="Wavelengths for columns in these units instead; '1' is a number without unit, such as a fraction.",
    )

    @model_validator(mode="after")
    def _heads(self) -> PeakTransformerConfig:
        heads_divide(self.hidden, self.heads)
        return self


def build(config: PeakTransformerConfig, spec: PeaksSpec) -> Any:
    """Return the network; torch is imported here, not before."""
    from molchord_encoders.peak_transformer_network import PeakTransformer

    return PeakTransformer(spec, **dict(config))


PEAK_TRANSFORMER = EncoderRecord(
    name="peak_transformer",
    summary="set attention over peaks with sinusoidal embeddings",
    api=1,
    accepts=("peaks",),
    config=PeakTransformerConfig,
    build=build,
)
