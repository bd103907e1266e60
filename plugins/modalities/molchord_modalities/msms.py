"""Tandem mass spectra: configuration and record."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from molchord.api import (
    Array,
    Category,
    Column,
    Config,
    Modality,
    ModalityRecord,
    PeaksSpec,
    Real,
    SpectrumSpec,
    Stores,
)
from molchord_modalities.msms_settings import Bins, Jitter

__all__ = ["ADDUCTS", "MSMS", "MsmsConfig"]

ADDUCTS = (
    "[M+H]+",
    "[M-H]-",
    "[M]+",
    "[M+Na]+",
    "[M+CH3COO]-",
    "[M+NH4]+",
    "[M+HCOO]-",
    "[M+H-H2O]+",
    "[M+H-NH3]+",
    "[M-2H]2-",
    "[M+Cl]-",
    "[M]-",
    "[M-CH3]-",
    "[M+K]+",
    "[M+2H]2+",
)
"""Adducts that an encoder distinguishes, the commonest of MassBank first; any other is stored and has code 0."""

PEAK_COLUMNS: dict[str, Column] = {"mz": Real("m/z"), "intensity": Real("1")}
WHOLE_COLUMNS: dict[str, Column] = {
    "adduct": Category(ADDUCTS),
    "ion_mode": Category(("positive", "negative")),
    "collision_energy": Real("eV"),
    "normalised_energy": Real("%"),
}
PRECURSOR_COLUMN: dict[str, Column] = {"precursor_mz": Real("m/z")}


class MsmsConfig(Config):
    """What of a tandem mass spectrum an encoder sees."""

    precursor: bool = Field(
        default=False,
        description="Hand the precursor m/z to the encoder as a column; makes every figure 'with mass'.",
    )
    remove_precursor: bool = Field(
        default=True,
        description="Leave out peaks from 0.5 below the precursor m/z upwards, so that peaks do not tell the mass; "
        "false makes every figure 'with mass'.",
    )
    min_intensity: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.001, description="Peaks below this share of the base peak are left out."
    )
    max_peaks: Annotated[int, Field(ge=1)] = Field(default=64, description="Most intense peaks kept.")
    bins: Bins = Field(default_factory=Bins, description="Grid of kind `spectrum1d`.")
    jitter: Jitter | None = Field(default_factory=Jitter, description="Training augmentation; null switches it off.")
    tolerance: Annotated[float, Field(gt=0)] = Field(
        default=0.02, description="Da within which two peaks match in the spectral entropy similarity."
    )


def spec(config: MsmsConfig, kind: str) -> PeaksSpec | SpectrumSpec:
    """Describe what an encoder gets: peaks, or a spectrum of bins."""
    whole = WHOLE_COLUMNS | (PRECURSOR_COLUMN if config.precursor else {})
    reveals_mass = config.precursor or not config.remove_precursor
    if kind == "peaks":
        return PeaksSpec(unit="m/z", peak=PEAK_COLUMNS, whole=whole, reveals_mass=reveals_mass)
    bins = config.bins
    return SpectrumSpec(
        unit="m/z", points=bins.points, whole=whole, start=bins.start, stop=bins.stop, reveals_mass=reveals_mass
    )


def build(config: MsmsConfig, kind: str) -> Modality:
    """Return the modality; numpy and torch are imported here, not before."""
    from molchord_modalities.msms_modality import Msms

    return Msms(
        spec(config, kind),
        remove_precursor=config.remove_precursor,
        min_intensity=config.min_intensity,
        max_peaks=config.max_peaks,
        jitter=config.jitter,
        tolerance=config.tolerance,
    )


MSMS = ModalityRecord(
    name="msms",
    title="MS/MS",
    summary="Tandem mass spectrum as a peak list or binned, with adduct, ion mode and collision energy",
    api=1,
    kinds=("peaks", "spectrum1d"),
    stores=Stores(
        arrays={
            "mz": Array(unit="m/z", axis="peak"),
            "intensity": Array(unit="1", axis="peak"),
        },
        columns={
            "adduct": Category(),
            "ion_mode": Category(("positive", "negative")),
            "collision_energy": Real("eV"),
            "normalised_energy": Real("%"),
            "energy_text": Category(),
            "precursor_mz": Real("m/z"),
            "instrument_type": Category(),
            "license": Category(),
            "title": Category(),
        },
    ),
    config=MsmsConfig,
    spec=spec,
    build=build,
    mass_needs="adduct",
)
