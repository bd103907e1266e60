"""A known molecular formula: configuration and record."""

from __future__ import annotations

from molchord.api import Array, Config, Modality, ModalityRecord, Stores, VectorSpec
from molchord_formula.elements import ELEMENTS

__all__ = ["COMPOSITION", "CompositionConfig"]


class CompositionConfig(Config):
    """There is nothing to configure."""


def spec(config: CompositionConfig, kind: str) -> VectorSpec:
    """Say what an encoder gets: a count for each element."""
    return VectorSpec(size=len(ELEMENTS), unit="1", reveals_mass=True)


def build(config: CompositionConfig, kind: str) -> Modality:
    """Return the modality; numpy is imported here, not before."""
    from molchord_formula.composition_modality import Composition

    return Composition(spec(config, kind))


COMPOSITION = ModalityRecord(
    name="composition",
    summary="Molecular formula: how many atoms of each element; made from the molecule, or read as a query",
    api=1,
    kinds=("vector",),
    stores=Stores(arrays={"count": Array(unit="1", shape=(len(ELEMENTS),))}),
    config=CompositionConfig,
    spec=spec,
    build=build,
    derives=True,
)
