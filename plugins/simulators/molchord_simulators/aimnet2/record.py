"""AIMNet2: configuration and record."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from molchord.api import Array, Config, Simulator, SimulatorRecord
from molchord_simulators.gfn2_record import GFN2

__all__ = ["AIMNET2", "AIMNet2Config"]


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


def build(config: AIMNet2Config) -> Simulator:
    """Return the simulator; torch is imported here, not before."""
    from molchord_simulators.aimnet2.simulator import AIMNet2

    return AIMNet2(**dict(config))


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
    build=build,
    install="molchord[simulate]",
)
