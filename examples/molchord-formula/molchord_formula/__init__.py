"""A known molecular formula as a molchord modality: what it declares; the modality is in the module beside."""

from __future__ import annotations

from typing import Any

from molchord.api import Array, Config, ModalityRecord, Stores, VectorSpec, hookimpl

__all__ = ["COMPOSITION", "ELEMENTS", "CompositionConfig", "molchord_modalities"]

ELEMENTS = (
    *("H", "B", "C", "N", "O", "F", "Na", "Mg", "Al", "Si", "P", "S"),
    *("Cl", "K", "Fe", "Co", "Cu", "Zn", "As", "Se", "Br", "Sn", "I", "Hg"),
)
"""Elements whose atoms are counted, in the order of the vector; a molecule with another one has no composition."""


class CompositionConfig(Config):
    """There is nothing to configure."""


def _spec(config: CompositionConfig, kind: str) -> VectorSpec:
    return VectorSpec(size=len(ELEMENTS), unit="1", reveals_mass=True)


def _build(config: CompositionConfig, kind: str) -> Any:
    from molchord_formula.composition import Composition

    return Composition(config)


COMPOSITION = ModalityRecord(
    name="composition",
    summary="Molecular formula: how many atoms of each element; made from the molecule, or read as a query",
    api=1,
    kinds=("vector",),
    stores=Stores(arrays={"count": Array(unit="1", shape=(len(ELEMENTS),))}),
    config=CompositionConfig,
    spec=_spec,
    build=_build,
    derives=True,
)


@hookimpl
def molchord_modalities() -> list[ModalityRecord]:
    """Return the modality `composition`."""
    return [COMPOSITION]
