"""Fine histograms of peaks and of their differences: configuration and record."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PositiveFloat, PositiveInt

from molchord.api import Config, EncoderRecord, PeaksSpec
from molchord_encoders.fields import Count, Dropout, Width

__all__ = ["PEAK_BAG", "PeakBagConfig"]


class PeakBagConfig(Config):
    """Fine histograms of peaks and of the differences between them, through a perceptron; fast, for few molecules.

    Example:
        >>> PeakBagConfig().step
        0.02
    """

    width: Width = 256
    hidden: PositiveInt = Field(default=256, description="Size of the hidden layers.")
    layers: Count = Field(default=1, description="Hidden layers behind the one that reads the histograms.")
    dropout: Dropout = Field(default=0.1, description="Dropout behind each hidden layer.")
    step: PositiveFloat = Field(default=0.02, description="Step of the histograms, in the spectrum's unit.")
    rows: Annotated[int, Field(ge=64)] = Field(
        default=8192, description="Numbers that a histogram's grid is wound up on: positions `rows` steps apart share."
    )
    strongest: Count = Field(
        default=20, description="Peaks, the strongest ones, whose differences are counted; 0: no differences."
    )


def build(config: PeakBagConfig, spec: PeaksSpec) -> Any:
    """Return the network; torch is imported here, not before."""
    from molchord_encoders.peak_bag_network import PeakBag

    return PeakBag(spec, **dict(config))


PEAK_BAG = EncoderRecord(
    name="peak_bag",
    summary="fine histograms of peaks and of their differences; fast, for few molecules",
    api=1,
    accepts=("peaks",),
    config=PeakBagConfig,
    build=build,
)
