"""Modality `structure`: a molecule's graph and, where asked for, its conformers.

Everything is made from the stereo-free canonical SMILES, in `derive`, so that `transform` costs no chemistry. Only
`geometry: source` takes positions from elsewhere: a stored measurement's, its atoms mapped by connectivity.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray

from molchord.api import (
    GraphBatch,
    GraphSample,
    GraphSpec,
    Measurement,
    Molecule,
    Reading,
    SampleError,
    collate_graphs,
)
from molchord.chem import Mol, bare_match, canonical, conformer_seed, conformers, covalent_radius, parse, with_hydrogens
from molchord_modalities.structure_record import ATOM_COLUMNS, BOND_COLUMNS, STRUCTURE, StructureConfig

__all__ = ["Structure"]

_LONGEST_BOND = 1.5  # times the sum of the covalent radii; the longest of 14,492 molecules relaxed by GFN2-xTB is 1.26
_COINCIDENT = 1e-3  # angstrom; far below any distance of two nuclei
# what numpy, zipfile and zlib raise at a damaged archive; AttributeError: a bare .npy file
_DAMAGES = (OSError, ValueError, KeyError, EOFError, RuntimeError, AttributeError, zipfile.BadZipFile, zlib.error)
_SOURCE_ARRAYS = frozenset({"smiles", "z", "pos", "atoms"})


@final
class Structure:
    """Makes graphs; keeps nothing but its configuration, so it goes to workers cheaply.

    Args:
        config: What the graph holds.

    Example:
        >>> methane = Molecule(key14="VNWKTOKETHGBQD", smiles="C", formula="CH4", exact_mass=16.0313)
        >>> structure = Structure(StructureConfig(geometry="etkdg"))
        >>> batch = structure.collate([structure.transform(structure.derive(methane), None)])
        >>> batch.elements.tolist(), tuple(batch.positions.shape)
        ([6, 1, 1, 1, 1], (5, 1, 3))
    """

    def __init__(self, config: StructureConfig) -> None:
        self._config = config
        self._spec: GraphSpec = STRUCTURE.spec(config, "graph")

    def derive(self, molecule: Molecule) -> Measurement:
        """Make the graph of a molecule, with positions as the configuration says.

        Raises:
            SampleError: RDKit refuses the SMILES, cannot embed it, or there is no stored geometry to take, or none
                whose positions are finite and apart.
        """
        return self._derive(molecule, self._config.geometry)

    def transform(self, measurement: Measurement, rng: np.random.Generator | None) -> GraphSample:
        """Make one sample; nothing is drawn at random.

        Raises:
            SampleError: The measurement is no graph, or lacks the positions that the configuration asks for, or two
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
        twice = np.tile(arrays["bond"].reshape(-1, len(BOND_COLUMNS)), (2, 1))
        return GraphSample(
            elements=elements.astype(np.int64),
            bonds=np.concatenate([bonds, bonds[:, ::-1]]).T,
            atom={name: arrays["atom"][:, i].astype(np.int64) for i, name in enumerate(ATOM_COLUMNS)},
            bond={name: twice[:, i].astype(np.int64) for i, name in enumerate(BOND_COLUMNS)},
            positions=self._positions(arrays.get("positions"), atoms) if self._spec.positions else None,
        )

    def collate(self, samples: Sequence[GraphSample]) -> GraphBatch:
        """Lay graphs end to end."""
        return collate_graphs(samples, self._spec)

    def prepare(self, batch: GraphBatch, generator: torch.Generator | None) -> GraphBatch:
        """Return the batch as it is; nothing is drawn at random."""
        return batch

    def example(self, molecules: Sequence[Molecule], seed: int) -> list[Measurement]:
        """Make the graph of each molecule; with `geometry: source` an ETKDG conformer plays the source's geometry."""
        geometry = "etkdg" if self._config.geometry == "source" else self._config.geometry
        return [self._derive(molecule, geometry) for molecule in molecules]

    def can_read(self, path: Path) -> bool:
        """Say whether this is a numpy archive of molecules with geometry."""
        try:
            with zipfile.ZipFile(path) as archive:
                return {name.removesuffix(".npy") for name in archive.namelist()} >= _SOURCE_ARRAYS
        except _DAMAGES:
            return False

    def read(self, path: Path) -> Iterator[Reading | SampleError]:
        """Yield the source geometry of each molecule of a numpy archive, with its own atom order and connectivity.

        Raises:
            SampleError: The archive cannot be read or lacks arrays.
        """
        smiles, elements, positions, offsets = _source_arrays(path)
        for i, text in enumerate(smiles):
            location = f"{path.name}: entry {i + 1}"
            part = slice(offsets[i], offsets[i + 1])
            try:
                measurement = _source_geometry(text, elements[part], positions[part], location)
            except SampleError as error:
                yield error
            else:
                yield Reading(measurement=measurement, smiles=text, location=location)

    def _derive(self, molecule: Molecule, geometry: str | None) -> Measurement:
        bare = _elements_only(canonical(molecule.smiles, molecule.key14), molecule.key14)
        full = with_hydrogens(bare)
        match geometry:
            case "etkdg":
                seeds = [conformer_seed("conf", molecule.key14, i) for i in range(self._config.conformers)]
                optimise = self._config.optimise
                positions = conformers(full, seeds, molecule.key14, relax="mmff" if optimise else None)
            case "source":
                positions = _mapped(molecule, full)[None]
            case _:
                positions = np.zeros((0, full.GetNumAtoms(), 3))
        _check_positions(positions, molecule.key14)
        graph = full if self._config.hydrogens == "explicit" else bare
        kept = graph.GetNumAtoms()  # hydrogens stand behind all other atoms
        arrays = _described(graph) | {"positions": positions[:, :kept].reshape(-1, 3).astype(np.float32)}
        return Measurement(arrays=arrays, columns={"origin": "computed"})

    def _positions(self, stored: NDArray[Any] | None, atoms: int) -> NDArray[np.float32]:
        conformers = self._config.conformers
        found = 0 if stored is None else len(stored)
        if stored is None or found != atoms * conformers:
            raise SampleError("structure", f"holds {found} positions, needs {conformers} for each of {atoms} atoms")
        positions = stored.reshape(conformers, atoms, 3)
        _check_positions(positions, "structure")
        return positions.transpose(1, 0, 2).astype(np.float32)


# --- graphs ----------------------------------------------------------------------------------------------------------


def _elements_only(mol: Mol, id: str) -> Mol:
    """Refuse a molecule with an atom that is no element, such as ``*``."""
    if any(atom.GetAtomicNum() == 0 for atom in mol.GetAtoms()):
        raise SampleError(id, "the SMILES has an atom that is no element")
    return mol


def _described(molecule: Mol) -> dict[str, NDArray[Any]]:
    """Return elements, bonds and the codes of the columns."""
    atoms = [_codes(ATOM_COLUMNS, _atom_values(atom)) for atom in molecule.GetAtoms()]
    bonds = [_codes(BOND_COLUMNS, _bond_values(bond)) for bond in molecule.GetBonds()]
    ends = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in molecule.GetBonds()]
    return {
        "elements": np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()], dtype=np.uint8),
        "atom": np.array(atoms, dtype=np.uint8).reshape(-1, len(ATOM_COLUMNS)),
        "bonds": np.array(ends, dtype=np.int32).reshape(-1, 2),
        "bond": np.array(bonds, dtype=np.uint8).reshape(-1, len(BOND_COLUMNS)),
    }


def _codes(columns: dict[str, Any], values: dict[str, str]) -> list[int]:
    return [column.code(values[name]) for name, column in columns.items()]


def _no_yes(truth: bool) -> str:
    return "yes" if truth else "no"


def _atom_values(atom: Any) -> dict[str, str]:
    return {
        "degree": str(atom.GetDegree()),
        "hydrogens": str(atom.GetTotalNumHs(includeNeighbors=True)),
        "charge": str(atom.GetFormalCharge()),
        "radicals": str(atom.GetNumRadicalElectrons()),
        "aromatic": _no_yes(atom.GetIsAromatic()),
        "ring": _no_yes(atom.IsInRing()),
    } | {f"ring{size}": _no_yes(atom.IsInRingSize(size)) for size in (3, 4, 5, 6)}


def _bond_values(bond: Any) -> dict[str, str]:
    return {
        "order": bond.GetBondType().name.lower(),
        "ring": _no_yes(bond.IsInRing()),
        "conjugated": _no_yes(bond.GetIsConjugated()),
    }


# --- positions ------------------------------------------------------------------------------------------------------


def _check_positions(conformers: NDArray[np.floating[Any]], id: str) -> None:
    """Refuse positions that no distance or angle can be computed of; (c, n, 3) in angstrom.

    Raises:
        SampleError: A position is not finite, or two atoms of a conformer coincide.
    """
    if not np.isfinite(conformers).all():
        raise SampleError(id, "positions are not all finite")
    for positions in conformers.astype(np.float64):
        arrows = positions[:, None] - positions[None]
        near = np.einsum("ijk,ijk->ij", arrows, arrows) < _COINCIDENT**2
        near[np.diag_indices(len(near))] = False
        if near.any():
            first, second = np.argwhere(near)[0].tolist()
            raise SampleError(id, f"atoms {first + 1} and {second + 1} coincide")


# --- geometry of a source --------------------------------------------------------------------------------------------


def _source_arrays(path: Path) -> tuple[list[str], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Read the arrays of an archive, unpickling nothing, and check that they fit together."""
    name = path.name
    try:
        with path.open("rb") as file:  # numpy leaves a file that it opened itself open where the archive is damaged
            archive = np.load(file, allow_pickle=False)
            missing = sorted(_SOURCE_ARRAYS - set(archive.files))
            if missing:
                raise SampleError(name, f"lacks the arrays {', '.join(map(repr, missing))}")
            smiles, elements, positions, offsets = (archive[key] for key in ("smiles", "z", "pos", "atoms"))
    except _DAMAGES as error:
        raise SampleError(name, f"cannot be read as a numpy archive: {error}") from error
    texts = [str(text) for text in smiles]
    whole = (
        offsets.shape == (len(texts) + 1,)
        and elements.shape == (len(positions),)
        and positions.shape[1:] == (3,)
        and offsets[0] == 0
        and offsets[-1] == len(elements)
        and bool((np.diff(offsets.astype(np.int64)) >= 0).all())
    )
    if not whole:
        raise SampleError(
            name,
            f"arrays do not fit together: {len(texts)} smiles, z {elements.shape}, pos {positions.shape}, "
            f"atoms {offsets.shape}",
        )
    return texts, elements, positions, offsets


def _source_geometry(smiles: str, elements: NDArray[Any], positions: NDArray[Any], location: str) -> Measurement:
    """Check that the file's atoms are those of its SMILES, hydrogens last, and keep both."""
    molecule = with_hydrogens(_elements_only(parse(smiles, location), location))
    graph = _described(molecule)
    if not np.array_equal(graph["elements"], elements):
        raise SampleError(location, f"atoms are not those of the SMILES {smiles!r} with its hydrogens behind")
    _check_positions(positions[None], location)
    radii = np.array([covalent_radius(int(z)) for z in graph["elements"]])
    first, second = graph["bonds"].T
    lengths = np.linalg.norm(positions[first] - positions[second], axis=-1)
    if (lengths > _LONGEST_BOND * (radii[first] + radii[second])).any():
        raise SampleError(location, f"a bond of the SMILES {smiles!r} is {lengths.max():.2f} angstrom long")
    arrays = graph | {"positions": positions.astype(np.float32)}
    return Measurement(arrays=arrays, columns={"origin": "computed"})


def _mapped(molecule: Molecule, full: Mol) -> Float64[np.ndarray, "n 3"]:
    """Return the stored positions in the atom order of the canonical SMILES."""
    if molecule.stored is None or not len(molecule.stored.arrays.get("positions", ())):
        raise SampleError(molecule.key14, "the data set holds no geometry of a source for this molecule")
    arrays = molecule.stored.arrays
    wanted = _described(full)
    match = bare_match(arrays["elements"], arrays["bonds"], wanted["elements"], wanted["bonds"])
    if match is None:
        raise SampleError(molecule.key14, "the stored geometry is of another tautomer than the SMILES")
    positions: Float64[np.ndarray, "n 3"] = arrays["positions"].astype(np.float64)[match]
    return positions
