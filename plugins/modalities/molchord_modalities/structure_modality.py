"""Modality `structure`: a molecule's graph and, where asked for, its conformers.

Everything is made from the stereo-free canonical SMILES, in `derive`, so that `transform` costs no chemistry. Only
`geometry: source` takes positions from elsewhere: a stored measurement's, its atoms mapped by connectivity.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from molchord.api import (
    GraphBatch,
    GraphSample,
    GraphSpec,
    Measurement,
    Molecule,
    Reading,
    SampleError,
    Stores,
    collate_graphs,
)
from molchord.chem import canonical, conformer_seed, conformers, morgan_environments, with_hydrogens
from molchord_modalities import structure_source
from molchord_modalities.structure_columns import ATOM_COLUMNS, ENVIRONMENTS, environment_columns
from molchord_modalities.structure_graphs import check_positions, described, elements_only

if TYPE_CHECKING:
    import torch

__all__ = ["Structure"]


@final
class Structure:
    """Makes graphs; keeps nothing but its settings, so it goes to workers cheaply.

    Args:
        spec: What an encoder gets.
        geometry: ``etkdg``, ``source``, or no positions.
        conformers: How many of a molecule.
        optimise: Whether each conformer is relaxed by MMFF94.
        hydrogens: ``explicit`` or ``implicit``.
        environments: Radius up to which each atom has its Morgan environments; 0: none.
        drop: Probability that an environment is left out of a molecule in training.
        hide: Probability that all are.
        views: Whether a trained model sees a molecule without its environments too.

    Example:
        >>> from molchord_modalities.structure_columns import ATOM_COLUMNS, BOND_COLUMNS
        >>> methane = Molecule(key14="VNWKTOKETHGBQD", smiles="C", formula="CH4", exact_mass=16.0313)
        >>> spec = GraphSpec(positions=True, atom=ATOM_COLUMNS, bond=BOND_COLUMNS)
        >>> structure = Structure(spec, geometry="etkdg")
        >>> batch = structure.collate([structure.transform(structure.derive(methane), None)])
        >>> batch.elements.tolist(), tuple(batch.positions.shape)
        ([6, 1, 1, 1, 1], (5, 1, 3))
    """

    def __init__(
        self,
        spec: GraphSpec,
        *,
        geometry: str | None = None,
        conformers: int = 1,
        optimise: bool = False,
        hydrogens: str = "explicit",
        environments: int = 0,
        drop: float = 0.0,
        hide: float = 0.0,
        views: bool = False,
    ) -> None:
        self._spec = spec
        self._geometry = geometry
        self._conformers = conformers
        self._optimise = optimise
        self._hydrogens = hydrogens
        self._environments, self._drop, self._hide, self._views = environments, drop, hide, views

    def derive(self, molecule: Molecule) -> Measurement:
        """Make the graph of a molecule, with positions as the configuration specifies.

        Raises:
            SampleError: RDKit refuses the SMILES, cannot embed it, or there is no stored geometry to take, or none
                whose positions are finite and apart.
        """
        return self._derive(molecule, self._geometry)

    def transform(self, measurement: Measurement, rng: np.random.Generator | None) -> GraphSample:
        """Make one sample; some environments are left out where `rng` is given.

        Raises:
            SampleError: The measurement is not a graph, or lacks the positions that the configuration asks for, or two
                of them coincide or are not finite.
        """
        arrays = measurement.arrays
        elements = arrays["elements"]
        atoms = len(elements)
        if not 0 < atoms == len(arrays["atom"]):
            raise SampleError("structure", f"holds {atoms} elements and {len(arrays['atom'])} rows of atom columns")
        bonds = arrays["bonds"].reshape(-1, 2).astype(np.int64)
        if bonds.size and not 0 <= bonds.min() <= bonds.max() < atoms:
            raise SampleError("structure", f"has a bond to an atom that is not among its {atoms} atoms")
        twice = np.tile(arrays["bond"].reshape(-1, len(self._spec.bond)), (2, 1))
        return GraphSample(
            elements=elements.astype(np.int64),
            bonds=np.concatenate([bonds, bonds[:, ::-1]]).T,
            atom={name: arrays["atom"][:, i].astype(np.int64) for i, name in enumerate(ATOM_COLUMNS)}
            | self._environment_codes(arrays.get("environments"), atoms, rng),
            bond={name: twice[:, i].astype(np.int64) for i, name in enumerate(self._spec.bond)},
            positions=self._positions(arrays.get("positions"), atoms) if self._spec.positions else None,
        )

    def views(self, sample: GraphSample) -> list[GraphSample]:
        """Return the sample, and where the configuration says so the same without its environments."""
        if not self._views:
            return [sample]
        hidden = {name: np.zeros_like(sample.atom[name]) for name in environment_columns(self._environments)}
        return [sample, replace(sample, atom={**sample.atom, **hidden})]

    def collate(self, samples: Sequence[GraphSample]) -> GraphBatch:
        """Lay graphs end to end."""
        return collate_graphs(samples, self._spec)

    def prepare(self, batch: GraphBatch, generator: torch.Generator | None) -> GraphBatch:
        """Return the batch as it is; nothing is drawn at random."""
        return batch

    def migrate(self, measurement: Measurement, declared: Stores) -> Measurement:
        """Return a measurement of an older data set as it is: of that, only the source's geometry is ever taken.

        Raises:
            SampleError: It was stored under a declaration that has no geometry.
        """
        lacking = {"elements", "bonds", "positions"} - declared.arrays.keys()
        if lacking:
            raise SampleError("structure", f"the data set lacks the array `{min(lacking)}`; import the files again")
        return measurement

    def example(self, molecules: Sequence[Molecule], seed: int) -> list[Measurement]:
        """Make the graph of each molecule; with `geometry: source` an ETKDG conformer plays the source's geometry."""
        geometry = "etkdg" if self._geometry == "source" else self._geometry
        return [self._derive(molecule, geometry) for molecule in molecules]

    def can_read(self, path: Path) -> bool:
        """Return whether this is a numpy archive of molecules with geometry."""
        return structure_source.holds_geometry(path)

    def read(self, path: Path) -> Iterator[Reading | SampleError]:
        """Yield the source geometry of each molecule of a numpy archive, with its own atom order and connectivity.

        Raises:
            SampleError: The archive cannot be read or lacks arrays.
        """
        return structure_source.read(path)

    def _derive(self, molecule: Molecule, geometry: str | None) -> Measurement:
        bare = elements_only(canonical(molecule.smiles, molecule.key14), molecule.key14)
        full = with_hydrogens(bare)
        match geometry:
            case "etkdg":
                seeds = [conformer_seed("conf", molecule.key14, i) for i in range(self._conformers)]
                positions = conformers(full, seeds, molecule.key14, relax="mmff" if self._optimise else None)
            case "source":
                positions = structure_source.mapped(molecule, full)[None]
            case _:
                positions = np.zeros((0, full.GetNumAtoms(), 3))
        check_positions(positions, molecule.key14)
        graph = full if self._hydrogens == "explicit" else bare
        kept = graph.GetNumAtoms()  # hydrogens come after all other atoms
        arrays = described(graph) | {"positions": positions[:, :kept].reshape(-1, 3).astype(np.float32)}
        codes = np.zeros((kept, self._environments), dtype=np.uint16)
        if self._environments:
            codes[: bare.GetNumAtoms()] = morgan_environments(bare, self._environments, ENVIRONMENTS) + 1
        arrays["environments"] = codes.ravel()
        return Measurement(arrays=arrays, columns={"origin": "computed"})

    def _environment_codes(
        self, stored: NDArray[Any] | None, atoms: int, rng: np.random.Generator | None
    ) -> dict[str, NDArray[np.int64]]:
        found = 0 if stored is None else len(stored)
        if found != atoms * self._environments:
            raise SampleError(
                "structure", f"holds {found} environments, needs {self._environments} for each of {atoms} atoms"
            )
        if stored is None or not found:
            return {}
        codes = stored.reshape(atoms, self._environments).astype(np.int64)
        if codes.max() > ENVIRONMENTS:
            raise SampleError("structure", f"has an environment outside of {ENVIRONMENTS}")
        if rng is not None:
            drop = 1.0 if rng.random() < self._hide else self._drop
            for column in codes.T:
                pieces, which = np.unique(column, return_inverse=True)
                column[(rng.random(len(pieces)) < drop)[which]] = 0
        return {f"environment{r}": codes[:, r - 1] for r in range(1, self._environments + 1)}

    def _positions(self, stored: NDArray[Any] | None, atoms: int) -> NDArray[np.float32]:
        conformers = self._conformers
        found = 0 if stored is None else len(stored)
        if stored is None or found != atoms * conformers:
            raise SampleError("structure", f"holds {found} positions, needs {conformers} for each of {atoms} atoms")
        positions = stored.reshape(conformers, atoms, 3)
        check_positions(positions, "structure")
        return positions.transpose(1, 0, 2).astype(np.float32)
