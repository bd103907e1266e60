"""Geometry that came with a source: numpy archives of molecules, mapped to the canonical SMILES by connectivity."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from molchord.api import Measurement, Molecule, Reading, SampleError
from molchord.chem import Mol, bare_match, covalent_radius, parse, with_hydrogens
from molchord_modalities.archives import check_archive
from molchord_modalities.structure_graphs import check_positions, described, elements_only

__all__ = ["holds_geometry", "mapped", "read"]

_LONGEST_BOND = 1.5  # times the sum of the covalent radii; the longest of 14,492 molecules relaxed by GFN2-xTB is 1.26
# what numpy, zipfile and zlib raise at a damaged archive; AttributeError: a bare .npy file
_DAMAGES = (OSError, ValueError, KeyError, EOFError, RuntimeError, AttributeError, zipfile.BadZipFile, zlib.error)
_SOURCE_ARRAYS = frozenset({"smiles", "z", "pos", "atoms"})


def holds_geometry(path: Path) -> bool:
    """Return whether a file is a numpy archive of molecules with geometry."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()} >= _SOURCE_ARRAYS
    except _DAMAGES:
        return False


def read(path: Path) -> Iterator[Reading | SampleError]:
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


def _source_arrays(path: Path) -> tuple[list[str], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Read the arrays of an archive, unpickling nothing, and check that they fit together."""
    name = path.name
    try:
        check_archive(path)
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
    molecule = with_hydrogens(elements_only(parse(smiles, location), location))
    graph = described(molecule)
    if not np.array_equal(graph["elements"], elements):
        raise SampleError(location, f"atoms are not those of the SMILES {smiles!r} with its hydrogens behind")
    check_positions(positions[None], location)
    radii = np.array([covalent_radius(int(z)) for z in graph["elements"]])
    first, second = graph["bonds"].T
    lengths = np.linalg.norm(positions[first] - positions[second], axis=-1)
    if (lengths > _LONGEST_BOND * (radii[first] + radii[second])).any():
        raise SampleError(location, f"a bond of the SMILES {smiles!r} is {lengths.max():.2f} angstrom long")
    arrays = graph | {"positions": positions.astype(np.float32)}
    return Measurement(arrays=arrays, columns={"origin": "computed"})


def mapped(molecule: Molecule, full: Mol) -> Float64[np.ndarray, "n 3"]:
    """Return the stored positions in the atom order of the canonical SMILES."""
    if molecule.stored is None or not len(molecule.stored.arrays.get("positions", ())):
        raise SampleError(molecule.key14, "the data set holds no geometry of a source for this molecule")
    arrays = molecule.stored.arrays
    wanted = described(full)
    match = bare_match(arrays["elements"], arrays["bonds"], wanted["elements"], wanted["bonds"])
    if match is None:
        raise SampleError(molecule.key14, "the stored geometry is of another tautomer than the SMILES")
    positions: Float64[np.ndarray, "n 3"] = arrays["positions"].astype(np.float64)[match]
    return positions
