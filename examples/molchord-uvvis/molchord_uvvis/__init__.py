"""UV/Vis absorption curves as a molchord modality: what it declares; readers and samples are in the modules beside."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from molchord.api import Array, Category, Config, ModalityRecord, SpectrumSpec, Stores, hookimpl

__all__ = ["UVVIS", "Grid", "Jitter", "UvVisConfig", "molchord_modalities"]

CHANNELS = 2
"""The curve as it is, and its logarithm, in which a weak band beside a strong one is seen too."""


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


class UvVisConfig(Config):
    """What of a curve an encoder sees."""

    grid: Grid = Field(default_factory=Grid, description="Wavelengths of the samples.")
    decades: Annotated[float, Field(gt=0)] = Field(
        default=3.0, description="Powers of ten below the highest absorbance that the logarithmic channel shows."
    )
    jitter: Jitter | None = Field(default_factory=Jitter, description="Training augmentation; null switches it off.")


def _spec(config: UvVisConfig, kind: str) -> SpectrumSpec:
    grid = config.grid
    return SpectrumSpec(unit="nm", points=grid.points, channels=CHANNELS, start=grid.start, stop=grid.stop)


def _build(config: UvVisConfig, kind: str) -> Any:
    from molchord_uvvis.uvvis import UvVis

    return UvVis(config)


UVVIS = ModalityRecord(
    name="uvvis",
    summary="UV/Vis absorption curve over wavelength; its shape alone, not how strongly it absorbs",
    api=1,
    kinds=("spectrum1d",),
    stores=Stores(
        arrays={"wavelength": Array(unit="nm", axis="point"), "absorbance": Array(unit="1", axis="point")},
        columns={"solvent": Category(), "title": Category()},
    ),
    config=UvVisConfig,
    spec=_spec,
    build=_build,
)


@hookimpl
def molchord_modalities() -> list[ModalityRecord]:
    """Return the modality `uvvis`."""
    return [UVVIS]
