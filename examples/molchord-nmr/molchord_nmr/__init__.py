"""NMR peak lists as a molchord modality: what it declares; readers and samples are in the modules beside."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from molchord.api import Array, Category, Column, Config, ModalityRecord, PeaksSpec, Real, Stores, hookimpl

__all__ = ["MULTIPLICITIES", "NMR", "NUCLEI", "Jitter", "NmrConfig", "molchord_modalities"]

MULTIPLICITIES = ("s", "d", "t", "q", "quint", "sext", "sept", "dd", "dt", "td", "m")
"""Splitting patterns that an encoder tells apart; any other one is "m". Code i + 1 is stored, 0 where none is known."""

NUCLEI = {
    "1H": (-5.0, 20.0),
    "13C": (-20.0, 260.0),
    "15N": (-400.0, 900.0),
    "17O": (-100.0, 1200.0),
    "19F": (-450.0, 450.0),
    "31P": (-500.0, 600.0),
}
"""Nuclei, each with the range in ppm outside which a shift is doubtful."""


class Jitter(Config):
    """Augmentation of a training sample, drawn anew each time; never in evaluation."""

    shift: Annotated[float, Field(ge=0)] = Field(
        default=0.05, description="Standard deviation of each shift in ppm; 13C bears 0.5 and more."
    )
    drop: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.05, description="Probability that a peak is left out; one always stays."
    )
    multiplicity: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="Probability that all multiplicities are hidden, as in a spectrum taken without DEPT.",
    )


class NmrConfig(Config):
    """What of a peak list an encoder sees."""

    nuclei: bool = Field(
        default=True,
        description="Hand over how many nuclei a peak stands for; false where spectra are not integrated, as in 13C.",
    )
    jitter: Jitter | None = Field(default_factory=Jitter, description="Training augmentation; null switches it off.")


def _spec(config: NmrConfig, kind: str) -> PeaksSpec:
    peak: dict[str, Column] = {"shift": Real("ppm"), "multiplicity": Category(MULTIPLICITIES)}
    return PeaksSpec(unit="ppm", peak=peak | ({"nuclei": Real("1")} if config.nuclei else {}))


def _build(config: NmrConfig, kind: str) -> Any:
    from molchord_nmr.nmr import Nmr

    return Nmr(config)


NMR = ModalityRecord(
    name="nmr",
    summary="NMR peak list of one nucleus (shift, multiplicity, nuclei); which one says `where: {nucleus: 13C}`",
    api=1,
    kinds=("peaks",),
    stores=Stores(
        arrays={
            "shift": Array(unit="ppm", axis="peak"),
            "multiplicity": Array(unit="1", axis="peak", dtype="uint8"),
            "nuclei": Array(unit="1", axis="peak"),
        },
        columns={"nucleus": Category(tuple(NUCLEI)), "field": Real("MHz"), "solvent": Category()},
    ),
    config=NmrConfig,
    spec=_spec,
    build=_build,
)


@hookimpl
def molchord_modalities() -> list[ModalityRecord]:
    """Return the modality `nmr`."""
    return [NMR]
