"""Collision cross sections: configuration and record."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from molchord.api import Array, Category, Column, Config, Modality, ModalityRecord, PeaksSpec, Real, Stores
from molchord_ccs.ions import INSTRUMENTS, IONS

__all__ = ["CCS", "UNIT", "CcsConfig"]

UNIT = "angstrom^2"


class CcsConfig(Config):
    """How the cross sections of a molecule become a sample."""

    jitter: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0.01,
        description="Training augmentation: standard deviation of each cross section as a part of it; laboratories "
        "differ by 1 to 2 %.",
    )
    drop: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.2, description="Training augmentation: probability that an ion is left out; one always stays."
    )
    tolerance: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default=0.02, description="Difference, as a part of the cross section, that counts as one in the similarity."
    )


def spec(config: CcsConfig, kind: str) -> PeaksSpec:
    """Say what an encoder gets: values, each with ion and instrument, and no m/z."""
    peak: dict[str, Column] = {"ccs": Real(UNIT), "ion": Category(IONS), "instrument": Category(INSTRUMENTS)}
    return PeaksSpec(unit=UNIT, peak=peak)


def build(config: CcsConfig, kind: str) -> Modality:
    """Return the modality; numpy is imported here, not before."""
    from molchord_ccs.ccs_modality import Ccs

    return Ccs(spec(config, kind), **dict(config))


CCS = ModalityRecord(
    name="ccs",
    summary="Collision cross sections of a molecule's ions, as a set of values with ion and instrument; no m/z",
    api=1,
    kinds=("peaks",),
    stores=Stores(
        arrays={
            "ccs": Array(unit=UNIT, axis="value"),
            "ion": Array(unit="1", axis="value", dtype="uint8"),
            "instrument": Array(unit="1", axis="value", dtype="uint8"),
        }
    ),
    config=CcsConfig,
    spec=spec,
    build=build,
)
