"""Modality `structure`: a molecule's graph and, where asked for, its conformers.

Everything is made from the stereo-free canonical SMILES, in `derive`, so that `transform` costs no chemistry. Only
`geometry: source` takes positions from elsewhere: a stored measurement's, its atoms mapped by connectivity.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float64, Integer
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers
from rdkit.rdBase import BlockLogs

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
from molchord_modalities.structure_record import ATOM_COLUMNS, BOND_COLUMNS, STRUCTURE, StructureConfig

__all__ = ["Structure", "conformer_seed"]

_ATTEMPTS = 100  # a bound in attempts, not seconds, so that a slow machine gets the same conformers
_MMFF_STEPS = 500
_FRAGMENT_GAP = 10.0  # angstrom; how the parts of a salt lie is unknown, so they stay out of each other's cutoff
_LONGEST_BOND = 1.5  # times the sum of the covalent radii; the longest of 14,492 molecules relaxed by GFN2-xTB is 1.26
_COINCIDENT = 1e-3  # angstrom; far below any distance of two nuclei
_ORDERS = {
    Chem.BondType.SINGLE: "single",
    Chem.BondType.DOUBLE: "double",
    Chem.BondType.TRIPLE: "triple",
    Chem.BondType.AROMATIC: "aromatic",
}
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
        bare = _canonical(molecule)
        full = Chem.AddHs(bare)
        match geometry:
            case "etkdg":
                conformers = [self._conformer(full, molecule.key14, i) for i in range(self._config.conformers)]
                positions = np.stack(conformers)
            case "source":
                positions = _mapped(molecule, full)[None]
            case _:
                positions = np.zeros((0, full.GetNumAtoms(), 3))
        _check_positions(positions, molecule.key14)
        graph = full if self._config.hydrogens == "explicit" else bare
        kept = graph.GetNumAtoms()  # hydrogens stand behind all other atoms
        arrays = _described(graph) | {"positions": positions[:, :kept].reshape(-1, 3).astype(np.float32)}
        return Measurement(arrays=arrays, columns={"origin": "computed"})

    def _conformer(self, molecule: Chem.Mol, key14: str, index: int) -> Float64[np.ndarray, "n 3"]:
        """Embed one conformer by ETKDGv3 (Wang et al., J. Chem. Inf. Model. 60, 2044, 2020); (n, 3) in angstrom."""
        parameters: Any = rdDistGeom.ETKDGv3()
        parameters.randomSeed = conformer_seed(key14, index)
        parameters.maxIterations = _ATTEMPTS
        with BlockLogs():
            failed = rdDistGeom.EmbedMolecule(molecule, parameters) != 0
            if failed:
                parameters.useRandomCoords = True
                failed = rdDistGeom.EmbedMolecule(molecule, parameters) != 0
        if failed:
            raise SampleError(key14, f"ETKDGv3 finds no conformer {index} in {_ATTEMPTS} attempts")
        _part_fragments(molecule)
        if self._config.optimise:
            _relax(molecule, key14)
        positions: Float64[np.ndarray, "n 3"] = molecule.GetConformer().GetPositions()
        return positions

    def _positions(self, stored: NDArray[Any] | None, atoms: int) -> NDArray[np.float32]:
        conformers = self._config.conformers
        found = 0 if stored is None else len(stored)
        if stored is None or found != atoms * conformers:
            raise SampleError("structure", f"holds {found} positions, needs {conformers} for each of {atoms} atoms")
        positions = stored.reshape(conformers, atoms, 3)
        _check_positions(positions, "structure")
        return positions.transpose(1, 0, 2).astype(np.float32)


def conformer_seed(key14: str, index: int) -> int:
    """Return the random seed of a molecule's conformer, the same on every machine.

    Example:
        >>> conformer_seed("VNWKTOKETHGBQD", 0)
        615689087
    """
    return int(hashlib.sha256(f"conf:{key14}:{index}".encode()).hexdigest()[:8], 16) >> 1


# --- graphs ----------------------------------------------------------------------------------------------------------


def _parsed(smiles: str, id: str) -> Chem.Mol:
    with BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or molecule.GetNumAtoms() == 0:
        raise SampleError(id, f"RDKit refuses the SMILES {smiles!r}")
    if any(atom.GetAtomicNum() == 0 for atom in molecule.GetAtoms()):
        raise SampleError(id, f"the SMILES {smiles!r} has an atom that is no element")
    return molecule


def _canonical(molecule: Molecule) -> Chem.Mol:
    """Parse the canonical SMILES, so that neither stereo nor the order of atoms can tell anything."""
    once = _parsed(molecule.smiles, molecule.key14)
    return _parsed(Chem.MolToSmiles(once, isomericSmiles=False), molecule.key14)


def _described(molecule: Chem.Mol) -> dict[str, NDArray[Any]]:
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


def _atom_values(atom: Chem.Atom) -> dict[str, str]:
    return {
        "degree": str(atom.GetDegree()),
        "hydrogens": str(atom.GetTotalNumHs(includeNeighbors=True)),
        "charge": str(atom.GetFormalCharge()),
        "radicals": str(atom.GetNumRadicalElectrons()),
        "aromatic": _no_yes(atom.GetIsAromatic()),
        "ring": _no_yes(atom.IsInRing()),
    } | {f"ring{size}": _no_yes(atom.IsInRingSize(size)) for size in (3, 4, 5, 6)}


def _bond_values(bond: Chem.Bond) -> dict[str, str]:
    return {
        "order": _ORDERS.get(bond.GetBondType(), ""),
        "ring": _no_yes(bond.IsInRing()),
        "conjugated": _no_yes(bond.GetIsConjugated()),
    }


# --- conformers ------------------------------------------------------------------------------------------------------


def _part_fragments(molecule: Chem.Mol) -> None:
    """Set the fragments side by side along x: RDKit embeds each at the origin, so that they overlap."""
    fragments = Chem.GetMolFrags(molecule)
    if len(fragments) == 1:
        return
    conformer = molecule.GetConformer()
    positions = conformer.GetPositions()
    edge = 0.0
    for fragment in map(list, fragments):
        positions[fragment, 0] += edge - positions[fragment, 0].min()
        edge = positions[fragment, 0].max() + _FRAGMENT_GAP
    conformer.SetPositions(positions)


def _relax(molecule: Chem.Mol, key14: str) -> None:
    with BlockLogs():
        state = rdForceFieldHelpers.MMFFOptimizeMolecule(molecule, maxIters=_MMFF_STEPS)
    if state == -1:
        raise SampleError(key14, "MMFF94 has no parameters for this molecule; `optimise: false` takes it")


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
    molecule = Chem.AddHs(_parsed(smiles, location))
    graph = _described(molecule)
    if not np.array_equal(graph["elements"], elements):
        raise SampleError(location, f"atoms are not those of the SMILES {smiles!r} with its hydrogens behind")
    _check_positions(positions[None], location)
    table = Chem.GetPeriodicTable()
    radii = np.array([table.GetRcovalent(int(z)) for z in graph["elements"]])
    first, second = graph["bonds"].T
    lengths = np.linalg.norm(positions[first] - positions[second], axis=-1)
    if (lengths > _LONGEST_BOND * (radii[first] + radii[second])).any():
        raise SampleError(location, f"a bond of the SMILES {smiles!r} is {lengths.max():.2f} angstrom long")
    arrays = graph | {"positions": positions.astype(np.float32)}
    return Measurement(arrays=arrays, columns={"origin": "computed"})


def _connectivity(elements: Integer[np.ndarray, " n"], bonds: Integer[np.ndarray, "e 2"]) -> Chem.Mol:
    """Return the bare graph: no orders, no charges, which a tautomer or another Kekulé form may draw otherwise."""
    graph = Chem.RWMol()
    for element in elements.tolist():
        atom = Chem.Atom(element)
        atom.SetNoImplicit(True)
        graph.AddAtom(atom)
    for first, second in bonds.tolist():
        graph.AddBond(first, second, Chem.BondType.SINGLE)
    return graph.GetMol()


def _mapped(molecule: Molecule, full: Chem.Mol) -> Float64[np.ndarray, "n 3"]:
    """Return the stored positions in the atom order of the canonical SMILES."""
    if molecule.stored is None or not len(molecule.stored.arrays.get("positions", ())):
        raise SampleError(molecule.key14, "the data set holds no geometry of a source for this molecule")
    arrays = molecule.stored.arrays
    wanted = _described(full)
    match = _connectivity(arrays["elements"], arrays["bonds"]).GetSubstructMatch(
        _connectivity(wanted["elements"], wanted["bonds"])
    )
    if not len(match) == len(arrays["elements"]) == full.GetNumAtoms():
        raise SampleError(molecule.key14, "the stored geometry is of another tautomer than the SMILES")
    positions: Float64[np.ndarray, "n 3"] = arrays["positions"].astype(np.float64)[list(match)]
    return positions
