"""The parts of `uvvis` that can be chosen: the grid and the augmentation. Nothing heavy."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from molchord.api import Config

__all__ = ["Grid", "Jitter"]


class Grid(Config):
    """Wavelengths that an encoder sees; both ends included."""

    start: Annotated[float, Field(gt=0)] = Field(default=200.0, description="First wavelength, nm.")
    stop: Annotated[float, Field(gt=0)] = Field(default=700.0, description="Last wavelength, nm.")
    points: Annotated[int, Field(ge=20)] = Field(default=251, description="Number of wavelengths.")

    @model_validator(mode="after")
    def _ascending(self) -> Grid:
        if self.stop <= self.start:
            raise ValueError(f"`stop` must be above `start`, got start {self.start!r} and stop {self.stop!r}")
        return self


class Jitter(Config):
    """Augmentation of a training sample, drawn anew each time; never in evaluation."""

    shift: Annotated[float, Field(ge=0)] = Field(
        default=2.0, description="Standard deviation of a shift of the whole curve in nm, as another solvent makes it."
    )
    noise: Annotated[float, Field(ge=0)] = Field(
        default=0.003, description="Standard deviation of noise, as a part of the highest absorbance."
    )
