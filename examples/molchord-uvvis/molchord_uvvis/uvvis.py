"""UV/Vis absorption curves: configuration and record."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from molchord.api import Array, Category, Config, Modality, ModalityRecord, SpectrumSpec, Stores
from molchord_uvvis.uvvis_settings import Grid, Jitter

__all__ = ["UVVIS", "UvVisConfig"]

CHANNELS = 2
"""The curve as it is, and its logarithm, in which a weak band beside a strong one is seen too."""


class UvVisConfig(Config):
    """What of a curve an encoder sees."""

    grid: Grid = Field(default_factory=Grid, description="Wavelengths of the samples.")
    decades: Annotated[float, Field(gt=0)] = Field(
        default=3.0, description="Powers of ten below the highest absorbance that the logarithmic channel shows."
    )
    jitter: Jitter | None = Field(default_factory=Jitter, description="Training augmentation; null switches it off.")


def spec(config: UvVisConfig, kind: str) -> SpectrumSpec:
    """Say what an encoder gets."""
    grid = config.grid
    return SpectrumSpec(unit="nm", points=grid.points, channels=CHANNELS, start=grid.start, stop=grid.stop)


def build(config: UvVisConfig, kind: str) -> Modality:
    """Return the modality; numpy and torch are imported here, not before."""
    from molchord_uvvis.uvvis_modality import UvVis

    return UvVis(spec(config, kind), decades=config.decades, jitter=config.jitter)


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
    spec=spec,
    build=build,
)
