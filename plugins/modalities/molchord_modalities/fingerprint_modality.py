"""Modality `fingerprint`: how often each piece occurs in a molecule, made from the stereo-free canonical SMILES alone.

A network on counts of known pieces learns from a few thousand molecules what one on the graph needs many more for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np
from jaxtyping import Float32

from molchord.api import (
    Measurement,
    Molecule,
    Reading,
    SampleError,
    VectorBatch,
    VectorSample,
    VectorSpec,
    collate_vectors,
)
from molchord.chem import canonical, maccs_keys, morgan_counts, torsion_counts, with_hydrogens

if TYPE_CHECKING:
    import torch

__all__ = ["Fingerprint"]

_LENGTH = 10.0  # a row's; single numbers are then near 1, as a network's input should be


@final
class Fingerprint:
    """Counts pieces; keeps nothing but its settings.

    Morgan environments (Rogers and Hahn, J. Chem. Inf. Model. 50, 742, 2010), topological torsions (Nilakantan et al.,
    J. Chem. Inf. Comput. Sci. 27, 82, 1987), MACCS keys and atoms of each element, in this order.

    Args:
        spec: How many numbers there are.
        elements: Symbols of the elements whose atoms are counted.
        radius: Of the Morgan environments.
        morgan: Numbers that their counts are folded into.
        torsions: Numbers that the counts of torsions are folded into.
        drop: Probability that a number is set to 0 in training.

    Example:
        >>> ethanol = Molecule(key14="LFQSCWFLJHTTHZ", smiles="CCO", formula="C2H6O", exact_mass=46.0419)
        >>> spec = VectorSpec(size=64 + 64 + 167 + 2, unit="1")
        >>> fingerprint = Fingerprint(spec, ("C", "O"), radius=2, morgan=64, torsions=64, drop=0.0)
        >>> sample = fingerprint.transform(fingerprint.derive(ethanol), None)
        >>> sample.values.shape, round(float(np.linalg.norm(sample.values)), 3)
        ((297,), 10.0)
    """

    def __init__(
        self, spec: VectorSpec, elements: Sequence[str], *, radius: int, morgan: int, torsions: int, drop: float
    ) -> None:
        self._spec = spec
        self._elements = tuple(elements)
        self._radius, self._morgan, self._torsions = radius, morgan, torsions
        self._drop = drop

    def derive(self, molecule: Molecule) -> Measurement:
        """Count the pieces of a molecule.

        Raises:
            SampleError: RDKit refuses the SMILES.
        """
        mol = canonical(molecule.smiles, molecule.key14)
        symbols = [atom.GetSymbol() for atom in with_hydrogens(mol).GetAtoms()]
        counts = np.concatenate(
            [
                morgan_counts(mol, self._radius, self._morgan),
                torsion_counts(mol, self._torsions),
                maccs_keys(mol),
                np.array([symbols.count(element) for element in self._elements]),
            ]
        ).astype(np.int32)
        index = np.flatnonzero(counts).astype(np.int32)
        return Measurement(arrays={"index": index, "count": counts[index]}, columns={"origin": "computed"})

    def transform(self, measurement: Measurement, rng: np.random.Generator | None) -> VectorSample:
        """Make one sample: logarithms of 1 + count, scaled to a row of length 10; some set to 0 where `rng` is given.

        Raises:
            SampleError: The measurement holds no piece, or one that the configuration has not.
        """
        index, count = measurement.arrays["index"], measurement.arrays["count"]
        if not 0 < len(index) == len(count):
            raise SampleError("fingerprint", f"holds {len(index)} pieces and {len(count)} counts")
        if not 0 <= index.min() <= index.max() < self._spec.size or count.min() < 1:
            raise SampleError("fingerprint", f"has a piece outside of {self._spec.size}, or one that occurs never")
        logarithm = np.log1p(count.astype(np.float32))
        values: Float32[np.ndarray, " p"] = np.zeros(self._spec.size, dtype=np.float32)
        values[index] = _LENGTH / np.linalg.norm(logarithm) * logarithm
        if rng is not None and self._drop > 0:
            values[index[rng.random(len(index)) < self._drop]] = 0.0
        return VectorSample(values=values)

    def collate(self, samples: Sequence[VectorSample]) -> VectorBatch:
        """Stack rows."""
        return collate_vectors(samples, self._spec)

    def prepare(self, batch: VectorBatch, generator: torch.Generator | None) -> VectorBatch:
        """Return the batch as it is."""
        return batch

    def example(self, molecules: Sequence[Molecule], seed: int) -> list[Measurement]:
        """Count the pieces of each molecule."""
        return [self.derive(molecule) for molecule in molecules]

    def can_read(self, path: Path) -> bool:
        """Return False: a fingerprint is made from the molecule, never read."""
        return False

    def read(self, path: Path) -> Iterator[Reading | SampleError]:
        """Refuse: a fingerprint is made from the molecule.

        Raises:
            SampleError: Always.
        """
        raise SampleError(path.name, "holds no fingerprint to read: it is made from the molecule's SMILES")
