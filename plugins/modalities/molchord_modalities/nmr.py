"""NMR peak lists: configuration and record."""

from __future__ import annotations

from typing import Annotated, Literal

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
from molchord_modalities.nmr_settings import MULTIPLICITIES, NUCLEI, Jitter, PpmGrid

__all__ = ["NMR", "NmrConfig"]

_SMEARED = 5
"""Multiplicities that the smeared spectrum distinguishes: s, d, t, q, and all others together."""


class NmrConfig(Config):
    """What of a peak list an encoder sees; which lists is set by the graph's `where: {nucleus: 13C}`."""

    multiplicity: bool = Field(
        default=True,
        description="Hand over multiplicities where they are known; false for a model of shifts alone.",
    )
    counted: tuple[Literal["1H", "13C", "15N", "17O", "19F", "31P"], ...] = Field(
        default=("1H", "19F"),
        description="Nuclei of which an encoder sees how many a peak stands for, the integral; the usual 13C spectrum "
        "does not tell it. None: [].",
    )
    merge: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0.05,
        description="Peaks of one multiplicity that are not further apart than this become one, ppm of 13C (a tenth "
        "of it for 1H), so that equivalent atoms count alike in lists of atoms and in lists of lines.",
    )
    grid: PpmGrid = Field(
        default_factory=PpmGrid, description="Positions and line width of kind `spectrum1d`; the defaults suit 13C."
    )
    jitter: Jitter | None = Field(default_factory=Jitter, description="Training augmentation; null switches it off.")
    tolerance: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default=5.0,
        description="Distance at which two peaks have nothing to do with each other in the similarity of two lists, "
        "ppm of 13C.",
    )


def spec(config: NmrConfig, kind: str) -> PeaksSpec | SpectrumSpec:
    """Say what an encoder gets."""
    whole: dict[str, Column] = {"nucleus": Category(tuple(NUCLEI))}
    if kind == "peaks":
        peak: dict[str, Column] = {"shift": Real("ppm")}
        if config.multiplicity:
            peak["multiplicity"] = Category(MULTIPLICITIES)
        if config.counted:
            peak["nuclei"] = Real("1")
        return PeaksSpec(unit="ppm", peak=peak, whole=whole)
    channels = 1 + _SMEARED * config.multiplicity
    grid = config.grid
    return SpectrumSpec(
        unit="ppm", points=grid.points, channels=channels, whole=whole, start=grid.start, stop=grid.stop
    )


def build(config: NmrConfig, kind: str) -> Modality:
    """Return the modality; numpy and torch are imported here, not before."""
    from molchord_modalities.nmr_modality import Nmr

    return Nmr(spec(config, kind), **dict(config))


NMR = ModalityRecord(
    name="nmr",
    title="{nucleus} NMR",
    summary="NMR peak list of one nucleus (shift, multiplicity, nuclei); which one says `where: {nucleus: 13C}`",
    api=1,
    kinds=("peaks", "spectrum1d"),
    stores=Stores(
        arrays={
            "shift": Array(unit="ppm", axis="peak"),
            "multiplicity": Array(unit="1", axis="peak", dtype="uint8"),
            "nuclei": Array(unit="1", axis="peak"),
        },
        columns={
            "nucleus": Category(tuple(NUCLEI)),
            "frequency": Real("MHz"),
            "solvent": Category(),
            "source": Category(),
        },
    ),
    config=NmrConfig,
    spec=spec,
    build=build,
)
