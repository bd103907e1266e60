"""Counts of a molecule's pieces: configuration and record."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from molchord.api import Array, Config, Modality, ModalityRecord, Stores, VectorSpec

__all__ = ["ELEMENTS", "FINGERPRINT", "KEYS", "FingerprintConfig"]

KEYS = 167
"""MACCS keys, the unused first one included."""

ELEMENTS = ("C", "H", "N", "O", "S", "P", "F", "Cl", "Br", "I", "Si", "B")
"""Elements whose atoms are counted."""


class FingerprintConfig(Config):
    """Which pieces of a molecule are counted."""

    radius: Annotated[int, Field(ge=0, le=4)] = Field(default=2, description="Radius of the Morgan environments.")
    morgan: Annotated[int, Field(ge=64, le=32768)] = Field(
        default=4096, description="Numbers that the counts of Morgan environments are folded into."
    )
    torsions: Annotated[int, Field(ge=64, le=32768)] = Field(
        default=2048, description="Numbers that the counts of topological torsions are folded into."
    )
    drop: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.15, description="Training augmentation: probability that a number is set to 0; never in evaluation."
    )


def spec(config: FingerprintConfig, kind: str) -> VectorSpec:
    """Say what an encoder gets: one number per piece that is counted."""
    return VectorSpec(size=config.morgan + config.torsions + KEYS + len(ELEMENTS), unit="1")


def build(config: FingerprintConfig, kind: str) -> Modality:
    """Return the modality; numpy and torch are imported here, not before."""
    from molchord_modalities.fingerprint_modality import Fingerprint

    return Fingerprint(spec(config, kind), ELEMENTS, **dict(config))


FINGERPRINT = ModalityRecord(
    name="fingerprint",
    title="Fingerprint",
    summary="Counts of a molecule's pieces (Morgan, torsions, MACCS keys, elements); the candidate for few molecules",
    api=1,
    kinds=("vector",),
    stores=Stores(
        arrays={
            "index": Array(unit="1", axis="piece", dtype="int32"),
            "count": Array(unit="1", axis="piece", dtype="int32"),
        }
    ),
    config=FingerprintConfig,
    spec=spec,
    build=build,
    derives=True,
)
