"""Collision cross sections as a molchord modality: configuration and record; readers and samples lie beside."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from molchord.api import Array, Category, Column, Config, ModalityRecord, PeaksSpec, Real, Stores, hookimpl

__all__ = ["CCS", "INSTRUMENTS", "IONS", "UNIT", "CcsConfig", "molchord_modalities"]

IONS = (
    "[M+H]+",
    "[M+Na]+",
    "[M-H]-",
    "[M+NH4]+",
    "[M+K]+",
    "[M+HCOO]-",
    "[M+H-H2O]+",
    "[M+CH3COO]-",
    "[M+Na-2H]-",
    "[M-CH3]-",
    "[M]+",
    "[M+2Na-H]+",
    "[M+Cl]-",
    "[M+2H]2+",
)
"""Ions that are told apart, the commonest of C3SDB first; code i + 1 is stored."""

INSTRUMENTS = ("DT", "TW", "TIMS")
"""Drift tube, travelling wave, trapped ion mobility; code i + 1 is stored, 0 where the instrument is not known."""

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


def _spec(config: CcsConfig, kind: str) -> PeaksSpec:
    peak: dict[str, Column] = {"ccs": Real(UNIT), "ion": Category(IONS), "instrument": Category(INSTRUMENTS)}
    return PeaksSpec(unit=UNIT, peak=peak)


def _build(config: CcsConfig, kind: str) -> Any:
    from molchord_ccs.ccs import Ccs

    return Ccs(config)


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
    spec=_spec,
    build=_build,
)


@hookimpl
def molchord_modalities() -> list[ModalityRecord]:
    """Return the modality `ccs`."""
    return [CCS]
