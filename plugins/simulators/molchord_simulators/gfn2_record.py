"""GFN2-xTB: configuration and record; `gfn2.py` itself also runs where molchord is not installed."""

from __future__ import annotations

from molchord.api import Array, Config, Simulator, SimulatorRecord

__all__ = ["GFN2", "GFN2Config"]


class GFN2Config(Config):
    """Nothing to set: one procedure, so that all spectra made with it can be in one data set."""


def build(config: GFN2Config) -> Simulator:
    """Return the simulator; numpy and RDKit are imported here, tblite where it computes."""
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
        "kind": Array(unit="1", axis="modes", dtype="uint8"),
        "constants": Array(unit="cm^-1", shape=(3,)),
    },
    config=GFN2Config,
    build=build,
    install="molchord[simulate]",
)
