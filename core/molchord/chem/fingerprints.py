"""Fingerprints, counts of pieces, and their similarity."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import rdFingerprintGenerator, rdMolDescriptors

from molchord.chem.parsing import Mol, parse

__all__ = [
    "FINGERPRINT_BITS",
    "FingerprintKind",
    "fingerprint_bits",
    "maccs_keys",
    "morgan",
    "morgan_counts",
    "morgan_environments",
    "tanimoto",
    "torsion_counts",
]

FingerprintKind: TypeAlias = Literal["morgan", "rdkit"]
"""``morgan``: environments of radius 2 (Rogers and Hahn 2010); ``rdkit``: paths of 1 to 7 bonds, two bits each."""

FINGERPRINT_BITS = 2048
"""Length of a fingerprint before it is packed."""

_TILE = 1024  # rows of `a` unpacked at a time in `tanimoto`: 8 MiB of float32


def fingerprint_bits(smiles: str, kind: FingerprintKind = "morgan", id: str | None = None) -> NDArray[np.uint8]:
    """Compute a fingerprint of 2048 bits, packed eight bits per byte.

    Shape:
        (256,)

    Raises:
        SampleError: As `parse`.

    Example:
        >>> int(np.unpackbits(fingerprint_bits("CCO")).sum())
        6
    """
    return _packed(parse(smiles, id), kind)


def morgan(smiles: Sequence[str]) -> NDArray[np.uint8]:
    """Compute the Morgan fingerprints of many molecules.

    Shape:
        (n, 256) for n SMILES.

    Raises:
        SampleError: As `parse`.

    Example:
        >>> morgan(["CCO", "c1ccccc1"]).shape
        (2, 256)
    """
    packed = np.zeros((len(smiles), FINGERPRINT_BITS // 8), dtype=np.uint8)
    for row, text in enumerate(smiles):
        packed[row] = _packed(parse(text), "morgan")
    return packed


def _packed(mol: Mol, kind: FingerprintKind) -> NDArray[np.uint8]:
    return np.packbits(_generator(kind).GetFingerprintAsNumPy(mol).astype(np.uint8))


@lru_cache(maxsize=2)
def _generator(kind: FingerprintKind) -> Any:
    if kind == "morgan":
        return rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=FINGERPRINT_BITS)
    return rdFingerprintGenerator.GetRDKitFPGenerator(
        minPath=1, maxPath=7, fpSize=FINGERPRINT_BITS, numBitsPerFeature=2
    )


def morgan_counts(mol: Mol, radius: int, size: int) -> NDArray[np.uint32]:
    """Count the Morgan environments (Rogers and Hahn 2010) up to a radius, folded into (size,) numbers.

    Example:
        >>> int(morgan_counts(parse("CCO"), 0, 64).sum())
        3
    """
    counts: NDArray[np.uint32] = rdFingerprintGenerator.GetMorganGenerator(
        radius=radius, fpSize=size
    ).GetCountFingerprintAsNumPy(mol)
    return counts


def morgan_environments(mol: Mol, radius: int, size: int) -> NDArray[np.int64]:
    """Return which Morgan environment of each radius from 1 an atom is the centre of: (n, radius) numbers below `size`.

    An atom without neighbours has none: -1.

    Example:
        >>> ethane = morgan_environments(parse("CC"), 2, 64)
        >>> ethane.shape, bool((ethane[0] == ethane[1]).all())
        ((2, 2), True)
    """
    found = rdFingerprintGenerator.AdditionalOutput()
    found.AllocateAtomToBits()
    # Redundant environments too, so that every atom has one of each radius.
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=radius, includeRedundantEnvironments=True)
    generator.GetSparseCountFingerprint(mol, additionalOutput=found)
    environments = np.full((mol.GetNumAtoms(), radius), -1, dtype=np.int64)
    for row, bits in zip(environments, found.GetAtomToBits(), strict=True):
        row[: len(bits) - 1] = [bit % size for bit in bits[1:]]
    return environments


def torsion_counts(mol: Mol, size: int) -> NDArray[np.uint32]:
    """Count the topological torsions (Nilakantan et al. 1987), folded into (size,) numbers.

    Example:
        >>> int(torsion_counts(parse("CCCC"), 64).sum())
        1
    """
    generator = rdFingerprintGenerator.GetTopologicalTorsionGenerator(fpSize=size)
    counts: NDArray[np.uint32] = generator.GetCountFingerprintAsNumPy(mol)
    return counts


def maccs_keys(mol: Mol) -> NDArray[np.uint8]:
    """Return the 167 MACCS keys as 0 and 1; the first one is unused.

    Example:
        >>> maccs_keys(parse("CCO")).shape
        (167,)
    """
    return np.array(list(rdMolDescriptors.GetMACCSKeysFingerprint(mol)), dtype=np.uint8)


def tanimoto(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute the Tanimoto similarity of packed fingerprints; 0 where both have no bit, as RDKit does.

    Shape:
        (n, w) and (m, w) give (n, m).

    Example:
        >>> tanimoto(morgan(["CCO"]), morgan(["CCO", "C"])).tolist()
        [[1.0, 0.0]]
    """
    out = np.empty((len(a), len(b)), dtype=np.float32)
    ones_b = np.bitwise_count(b).sum(axis=1, dtype=np.float32)
    for right in range(0, len(b), _TILE):
        columns = slice(right, right + _TILE)
        bits_b = np.unpackbits(b[columns], axis=1).astype(np.float32).T
        for left in range(0, len(a), _TILE):
            bits_a = np.unpackbits(a[left : left + _TILE], axis=1).astype(np.float32)
            both = bits_a @ bits_b  # whole numbers up to 2048: exact in float32
            either = bits_a.sum(axis=1)[:, None] + ones_b[None, columns] - both
            out[left : left + _TILE, columns] = both / np.maximum(either, 1.0)
    return out
