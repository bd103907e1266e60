"""Chemistry for the engine and for plugins: identity, graphs, conformers, fingerprints, similarity, drawings.

Everything that is made of a SMILES is made here, so that two plugins never disagree about a molecule, and whatever
RDKit raises becomes one error, `SampleError`. A plugin works on what `parse` returns through the methods of RDKit's
`Mol` and needs no RDKit import of its own. Nothing here imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import rdkit

from molchord.chem.adducts import canonical_adduct, neutral_mass
from molchord.chem.fingerprints import (
    FINGERPRINT_BITS,
    FingerprintKind,
    fingerprint_bits,
    maccs_keys,
    morgan,
    morgan_counts,
    morgan_environments,
    tanimoto,
    torsion_counts,
)
from molchord.chem.formulas import average_mass, element_counts, formula_mass, hill
from molchord.chem.fragments import FragmentFormula, fragment_formulas
from molchord.chem.geometry import FORCE_FIELD_STEPS, conformer_seed, conformers
from molchord.chem.graphs import bare_match, covalent_radius, isotope_mass, pieces, with_hydrogens
from molchord.chem.identity import drawing, molecule, scaffold, skeleton, tautomer_key
from molchord.chem.parsing import MOST_ATOMS, Mol, canonical, from_inchi, from_molblock, parse
from molchord.chem.sd_files import sd_entry
from molchord.chem.substructures import substructures
from molchord.deprecation import old_names

if not TYPE_CHECKING:  # a type checker would take any name for one of ours
    __getattr__ = old_names("molchord.chem")

__all__ = [
    "FINGERPRINT_BITS",
    "FORCE_FIELD_STEPS",
    "MOST_ATOMS",
    "RDKIT_VERSION",
    "FingerprintKind",
    "FragmentFormula",
    "Mol",
    "average_mass",
    "bare_match",
    "canonical",
    "canonical_adduct",
    "conformer_seed",
    "conformers",
    "covalent_radius",
    "drawing",
    "element_counts",
    "fingerprint_bits",
    "formula_mass",
    "fragment_formulas",
    "from_inchi",
    "from_molblock",
    "hill",
    "isotope_mass",
    "maccs_keys",
    "molecule",
    "morgan",
    "morgan_counts",
    "morgan_environments",
    "neutral_mass",
    "parse",
    "pieces",
    "scaffold",
    "sd_entry",
    "skeleton",
    "substructures",
    "tanimoto",
    "tautomer_key",
    "torsion_counts",
    "with_hydrogens",
]

RDKIT_VERSION: str = rdkit.__version__
"""Which RDKit made what is made here; part of a simulator's description."""
