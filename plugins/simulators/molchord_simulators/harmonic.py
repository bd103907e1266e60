"""The simulator `gfn2`: makes conformers by RDKit and computes by the module `gfn2`, which needs no RDKit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from molchord.api import Measurement, Molecule, SampleError
from molchord.chem import FORCE_FIELD_STEPS, RDKIT_VERSION, conformer_seed, conformers, parse, pieces, with_hydrogens
from molchord_simulators import gfn2
from molchord_simulators.threads import one_thread

__all__ = ["Harmonic"]


class Harmonic:
    """Harmonic infrared and Raman spectra by GFN2-xTB; also a `molchord.api.Portable`.

    Example:
        >>> water = Molecule(key14="XLYOFNOQVPJJNP", smiles="O", formula="H2O", exact_mass=18.0106)
        >>> spectra = Harmonic().measurements(Harmonic().compute(Harmonic().prepare(water)))
        >>> sorted(spectra), spectra["ir"].arrays["stick_wavenumber"].round(-1).tolist()
        (['ir', 'raman'], [1540.0, 3640.0, 3650.0])
    """

    def prepare(self, molecule: Molecule) -> dict[str, NDArray[Any]]:
        """Embed one conformer by ETKDGv3 and relax it by MMFF94, or UFF where MMFF94 lacks parameters.

        Shape:
            ``z`` (n,), ``pos`` (n, 3) in angstrom, ``bonds`` (k, 2), ``charge`` ().

        Raises:
            SampleError: It consists of several fragments, or no conformer is found.
        """
        mol = parse(molecule.smiles, molecule.key14)
        fragments = len(pieces(mol))
        if fragments > 1:
            raise SampleError(molecule.key14, f"it consists of {fragments} fragments; simulate them one by one")
        full = with_hydrogens(mol)
        bonds = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in full.GetBonds()]
        seed = conformer_seed("simulate", molecule.key14)
        return {
            "z": np.array([atom.GetAtomicNum() for atom in full.GetAtoms()], dtype=np.uint8),
            "pos": conformers(full, [seed], molecule.key14, relax="mmff_or_uff", attempts=0)[0],
            "bonds": np.array(bonds, dtype=np.int32).reshape(-1, 2),
            "charge": np.array(sum(atom.GetFormalCharge() for atom in full.GetAtoms()), dtype=np.int32),
        }

    def compute(self, job: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Relax the conformer and compute its spectra; see `gfn2.compute`.

        Raises:
            SampleError: It cannot be simulated.
            ImportError: tblite is not installed.
        """
        try:
            with one_thread():
                return gfn2.compute(job)
        except gfn2.Failed as error:
            raise SampleError("gfn2", str(error)) from None

    def measurements(self, result: Mapping[str, NDArray[Any]]) -> dict[str, Measurement]:
        """Return the sticks of both spectra, with the kinds of their modes and the rotational constant B."""
        sticks = {"stick_wavenumber": result["freq"]}
        columns: dict[str, str | float | None] = {"origin": "computed"}
        if "kind" in result:  # which results of earlier versions lack, as they do the constants
            sticks["stick_kind"] = result["kind"]
        if "constants" in result:
            columns["rotational_constant"] = float(result["constants"][1])
        return {
            name: Measurement(arrays={**sticks, "stick_intensity": result[name]}, columns=columns)
            for name in ("ir", "raman")
        }

    def prepared_by(self) -> str:
        """Describe how conformers are made."""
        return (
            f"one conformer by ETKDGv3 of RDKit {RDKIT_VERSION}, seed from sha256('simulate:' + key14), relaxed by "
            f"MMFF94 (UFF where that lacks parameters) in at most {FORCE_FIELD_STEPS} steps"
        )

    def computed_by(self) -> str:
        """Describe what is computed, and by which tblite.

        Raises:
            ImportError: tblite is not installed.
        """
        return gfn2.description()

    def program(self) -> Path:
        """Return the file that computes by itself."""
        return Path(gfn2.__file__)
