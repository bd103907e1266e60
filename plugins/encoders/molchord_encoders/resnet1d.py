"""Strided and residual convolutions on a spectrum: configuration and record."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from molchord.api import Config, EncoderRecord, SpectrumSpec
from molchord_encoders.fields import Width
from molchord_encoders.resnet1d_settings import Flatten, Patches, Stage

__all__ = ["RESNET1D", "Resnet1dConfig"]


class Resnet1dConfig(Config):
    """Strided and residual convolutions whose readout keeps absolute position.

    Example:
        >>> Resnet1dConfig(readout=Patches(size=4)).readout.use
        'patches'
    """

    width: Width = 256
    stages: tuple[Stage, ...] = Field(
        default=(Stage(channels=32, kernel=15, stride=5), Stage(channels=32, kernel=7, stride=2)),
        description="Convolution stages, first to last.",
        min_length=1,
    )
    readout: Annotated[Flatten | Patches, Field(discriminator="use")] = Field(
        default=Flatten(), description="How the features of all positions become one vector."
    )


def build(config: Resnet1dConfig, spec: SpectrumSpec) -> Any:
    """Return the network; torch is imported here, not before."""
    from molchord_encoders.resnet1d_network import Resnet1d

    return Resnet1d(spec, **dict(config))


RESNET1D = EncoderRecord(
    name="resnet1d",
    summary="strided and residual convolutions that keep absolute position",
    api=1,
    accepts=("spectrum1d",),
    config=Resnet1dConfig,
    build=build,
)
