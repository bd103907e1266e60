"""Xception on a spectrum: configuration and record."""

from __future__ import annotations

from typing import Any

from pydantic import Field, PositiveInt

from molchord.api import Config, EncoderRecord, SpectrumSpec
from molchord_encoders.fields import Count, Width

__all__ = ["XCEPTION1D", "Xception1dConfig"]


class Xception1dConfig(Config):
    """Depthwise separable convolutions (Chollet 2017) in one dimension.

    The defaults are about a fifth of the published channels. Published, with every 2-D convolution made 1-D:
    ``{stem: [32, 64], entry: [128, 256, 728], middle: 8, exit: [1024, 1536, 2048]}``.

    Example:
        >>> Xception1dConfig(middle=8).entry
        (32, 64, 128)
    """

    width: Width = 256
    stem: tuple[PositiveInt, PositiveInt] = Field(
        default=(16, 32), description="Channels of the two plain convolutions; the first halves the points."
    )
    entry: tuple[PositiveInt, ...] = Field(
        default=(32, 64, 128),
        min_length=1,
        description="Channels of the entry blocks, each of which halves the points.",
    )
    middle: Count = Field(default=2, description="Blocks of three separable convolutions that change no size.")
    exit: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        default=(192, 256, 384), description="Channels of the last block, and of the two convolutions after it."
    )


def build(config: Xception1dConfig, spec: SpectrumSpec) -> Any:
    """Return the network; torch is imported here, not before."""
    from molchord_encoders.xception1d_network import Xception1d

    return Xception1d(spec, **dict(config))


XCEPTION1D = EncoderRecord(
    name="xception1d",
    summary="depthwise separable convolutions, averaged over positions (Xception)",
    api=1,
    accepts=("spectrum1d",),
    config=Xception1dConfig,
    build=build,
)
