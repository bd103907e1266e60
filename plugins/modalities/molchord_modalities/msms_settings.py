"""The parts of `msms` that can be chosen: the grid of the binned form and the augmentation. Nothing heavy."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from molchord.api import Config

__all__ = ["Bins", "Jitter"]


class Bins(Config):
    """Grid of the binned form; both ends included, a peak goes to the nearest position."""

    start: Annotated[float, Field(ge=0)] = Field(default=10.0, description="First position, m/z.")
    stop: Annotated[float, Field(gt=0)] = Field(default=1000.0, description="Last position, m/z.")
    points: Annotated[int, Field(ge=2)] = Field(default=1981, description="Positions.")

    @model_validator(mode="after")
    def _ascending(self) -> Bins:
        if self.stop <= self.start:
            raise ValueError(f"`stop` must be above `start`, got start {self.start!r} and stop {self.stop!r}")
        return self


class Jitter(Config):
    """Augmentation of a training sample, drawn anew each time; never in evaluation."""

    drop: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.1, description="Probability that a peak is left out; the base peak always stays."
    )
    intensity: Annotated[float, Field(ge=0)] = Field(
        default=0.1, description="Standard deviation of the logarithm of each intensity."
    )
    ppm: Annotated[float, Field(ge=0)] = Field(
        default=3.0, description="Standard deviation of each m/z in parts per million."
    )
