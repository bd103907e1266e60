"""Isotope patterns: configuration and record."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from molchord.api import Array, Config, Modality, ModalityRecord, Real, Stores
from molchord_isotopes.isotopes_settings import Jitter
from molchord_isotopes.ladder import KIND, LadderSpec

__all__ = ["ISOTOPES", "IsotopesConfig"]


class IsotopesConfig(Config):
    """What of a pattern an encoder sees."""

    steps: PositiveInt = Field(default=6, description="Nominal steps above the lightest peak.")
    floor: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.002, description="Abundance, as a part of the highest one, below which a peak is not seen."
    )
    jitter: Jitter | None = Field(default_factory=Jitter, description="Training augmentation; null switches it off.")


def spec(config: IsotopesConfig, kind: str) -> LadderSpec:
    """Say what an encoder gets."""
    return LadderSpec(steps=config.steps)


def build(config: IsotopesConfig, kind: str) -> Modality:
    """Return the modality; numpy and torch are imported here, not before."""
    from molchord_isotopes.isotopes_modality import Isotopes

    return Isotopes(spec(config, kind), floor=config.floor, jitter=config.jitter)


ISOTOPES = ModalityRecord(
    name="isotopes",
    summary="Isotope pattern of a molecule's mass peak; made from the molecule, or read as a query",
    api=1,
    kinds=(KIND,),
    stores=Stores(
        arrays={"offset": Array(unit="Da", axis="peak", dtype="float64"), "abundance": Array(unit="1", axis="peak")},
        columns={"charge": Real("1")},
    ),
    config=IsotopesConfig,
    spec=spec,
    build=build,
    derives=True,
)
