"""Built-in simulators: records here; the conformer step (RDKit) and the computing step in the modules next to them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from molchord.api import Array, Config, Simulator, SimulatorRecord, hookimpl

__all__ = ["AIMNET2", "GFN2", "AIMNet2Config", "GFN2Config", "molchord_simulators"]


class GFN2Config(Config):
    """Nothing to set: one procedure, so that all spectra made with it can be in one data set."""


def _gfn2(config: GFN2Config) -> Simulator:
    from molchord_simulators.harmonic import Harmonic

    return Harmonic()


GFN2 = SimulatorRecord(
    name="gfn2",
    summary="harmonic IR and Raman by GFN2-xTB (tblite), one conformer",
    api=1,
    makes=("ir", "raman"),
    jobs={
        "z": Array(unit="1", axis="atoms", dtype="uint8"),
        "pos": Array(unit="angstrom", axis="atoms", shape=(3,), dtype="float64"),
        "bonds": Array(unit="1", axis="pairs", shape=(2,), dtype="int32"),
        "charge": Array(unit="e", dtype="int32"),
    },
    results={
        "z": Array(unit="1", axis="atoms", dtype="uint8"),
        "pos": Array(unit="angstrom", axis="atoms", shape=(3,)),
        "freq": Array(unit="cm^-1", axis="modes"),
        "ir": Array(unit="km/mol", axis="modes"),
        "raman": Array(unit="angstrom^4/dalton", axis="modes"),
    },
    config=GFN2Config,
    build=_gfn2,
    install="molchord[simulate]",
)


class AIMNet2Config(Config):
    """What `aimnet2` computes, and where."""

    members: Literal[1, 4] = Field(
        default=4,
        description="networks whose mean is taken; 1 is three times as fast and matches measured spectra less",
    )
    conformers: int = Field(
        default=1, ge=1, le=64, description="conformers to start from, averaged by Boltzmann's weights at 298.15 K"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="where the networks are computed; auto: on a GPU where there is one"
    )


def _aimnet2(config: AIMNet2Config) -> Simulator:
    from molchord_simulators.aimnet2.simulator import AIMNet2

    return AIMNet2(config)


AIMNET2 = SimulatorRecord(
    name="aimnet2",
    summary="harmonic IR by AIMNet2 (wB97M-D3, learned), Raman by GFN2-xTB's fields on its modes",
    api=1,
    makes=("ir", "raman"),
    jobs={
        "z": Array(unit="1", axis="atoms", dtype="uint8"),
        "pos": Array(unit="angstrom", axis="places", shape=(3,), dtype="float64"),
        "bonds": Array(unit="1", axis="pairs", shape=(2,), dtype="int32"),
        "charge": Array(unit="e", dtype="int32"),
    },
    results={**GFN2.results, "simulator": Array(unit="1", dtype="str")},
    config=AIMNet2Config,
    build=_aimnet2,
    install="molchord[simulate]",
)


@hookimpl
def molchord_simulators() -> list[SimulatorRecord]:
    """Return the simulators of this package.

    Example:
        >>> [record.name for record in molchord_simulators()]
        ['gfn2', 'aimnet2']
    """
    return [GFN2, AIMNET2]
