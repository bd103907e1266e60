"""A molecule's graph from its SMILES: configuration and record."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from molchord.api import Array, Config, GraphSpec, Modality, ModalityRecord, Stores
from molchord_modalities.structure_columns import ATOM_COLUMNS, BOND_COLUMNS, environment_columns

__all__ = ["STRUCTURE", "StructureConfig"]


class StructureConfig(Config):
    """How a molecule becomes a graph; everything in it follows from the stereo-free canonical SMILES alone.

    The one exception has it in its name: `geometry: source` takes the positions that came with a source.
    """

    geometry: Literal["none", "etkdg", "source"] | None = Field(
        default=None,
        description="Positions: none, made by ETKDGv3, or the source's own (part of a figure's name); "
        "left out: etkdg where the encoder needs positions, else none.",
    )
    conformers: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1, description="ETKDG conformers per molecule, each from a seed of its own."
    )
    optimise: bool = Field(default=False, description="Relax every ETKDG conformer with MMFF94.")
    hydrogens: Literal["explicit", "implicit"] = Field(
        default="explicit", description="Hydrogens as atoms of the graph, or only counted on their neighbour."
    )

    environments: Annotated[int, Field(ge=0, le=4)] = Field(
        default=0,
        description="Radius up to which each atom has its Morgan environments as columns, for an encoder that counts "
        "them, such as gine; 0: none.",
    )
    drop: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.15,
        description="Training augmentation: probability that an environment is left out of a molecule; never in "
        "evaluation.",
    )
    hide: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5,
        description="Training augmentation: probability that a molecule has no environment at all, so that the encoder "
        "learns to do without.",
    )

    @model_validator(mode="after")
    def _conformers_are_made(self) -> StructureConfig:
        if self.geometry in ("none", "source") and (self.conformers != 1 or self.optimise):
            raise ValueError(
                f"`conformers` and `optimise` belong to geometry 'etkdg', got geometry {self.geometry!r} with "
                f"conformers {self.conformers!r} and optimise {self.optimise!r}; "
                "set geometry 'etkdg' or leave them out"
            )
        return self


def adapt(config: StructureConfig, needs: tuple[str, ...]) -> StructureConfig:
    """Fill in the geometry where it was left out: conformers for an encoder that needs positions."""
    if config.geometry is not None:
        return config
    geometry = "etkdg" if "positions" in needs else "none"
    return StructureConfig.model_validate({**config.model_dump(), "geometry": geometry})


def spec(config: StructureConfig, kind: str) -> GraphSpec:
    """Describe what an encoder gets."""
    return GraphSpec(
        positions=config.geometry in ("etkdg", "source"),
        conformers=config.conformers,
        atom=ATOM_COLUMNS | environment_columns(config.environments),
        bond=BOND_COLUMNS,
    )


def build(config: StructureConfig, kind: str) -> Modality:
    """Return the modality; numpy and torch are imported here, not before."""
    from molchord_modalities.structure_modality import Structure

    return Structure(spec(config, kind), **dict(config))


STRUCTURE = ModalityRecord(
    name="structure",
    title="Structure",
    summary="Molecular graph from SMILES, with ETKDG positions where the encoder needs them",
    api=1,
    kinds=("graph",),
    stores=Stores(
        arrays={
            "elements": Array(unit="1", axis="atom", dtype="uint8"),
            "atom": Array(unit="1", axis="atom", shape=(len(ATOM_COLUMNS),), dtype="uint8"),
            "bonds": Array(unit="1", axis="bond", shape=(2,), dtype="int32"),
            "bond": Array(unit="1", axis="bond", shape=(len(BOND_COLUMNS),), dtype="uint8"),
            "environments": Array(unit="1", axis="environment", dtype="uint16"),
            "positions": Array(unit="angstrom", axis="position", shape=(3,)),
        }
    ),
    config=StructureConfig,
    spec=spec,
    build=build,
    derives=True,
    adapt=adapt,
)
