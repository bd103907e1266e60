"""Masses of molecules from ions, against published values, RDKit and the precursors that MassBank records state."""

import gzip
from collections import Counter
from pathlib import Path

import pytest
from rdkit import Chem
from rdkit.Chem.Descriptors import ExactMolWt

from molchord.api import SampleError
from molchord.chem import neutral_mass

MASSBANK = Path(__file__).parents[3] / "datasets" / "massbank" / "ms2.mgf.gz"


@pytest.mark.parametrize(
    ("mz", "adduct", "mass"),
    [
        # Glucose, C6H12O6, 180.06339: m/z of its ions from the Fiehn laboratory's adduct calculator.
        (181.070665, "[M+H]+", 180.06339),
        (203.052610, "[M+Na]+", 180.06339),
        (219.026547, "[M+K]+", 180.06339),
        (198.097214, "[M+NH4]+", 180.06339),
        (163.060100, "[M+H-H2O]+", 180.06339),
        (91.038971, "[M+2H]2+", 180.06339),
        (91.038971, "[M+2H]++", 180.06339),
        (361.134055, "[2M+H]+", 180.06339),
        (179.056113, "[M-H]-", 180.06339),
        (225.061592, "[M+FA-H]-", 180.06339),
        (225.061592, "[M+HCOO]-", 180.06339),
        (239.077242, "[M+HAc-H]-", 180.06339),
        (215.032791, "[M+Cl]-", 180.06339),
        (180.062841, "[M]+.", 180.06339),
        (180.063939, "M-", 180.06339),
        (222.097214, "[M+ACN+H]+", 180.06339),
        (222.097214, "[M+H+CH3CN]1+", 180.06339),
        (181.070665, "M+H", 180.06339),
        (181.070665, "(M+H)⁺", 180.06339),
    ],
)
def test_masses_are_those_published(mz, adduct, mass):
    assert neutral_mass(mz, adduct) == pytest.approx(mass, abs=2e-4)


@pytest.mark.parametrize(
    ("mz", "adduct", "says"),
    [
        (100.0, "[M]", "cannot be read; write it such as '[M+H]+'"),
        (100.0, "", "cannot be read"),
        (100.0, "[M+Xy]+", "'Xy', which is not an element"),
        (100.0, "[M+H]0+", "has no charge"),
        (10.0, "[M+Na]+", "leaves no mass"),
    ],
)
def test_an_ion_that_cannot_be_is_one_sentence(mz, adduct, says):
    with pytest.raises(SampleError) as caught:
        neutral_mass(mz, adduct)
    assert says in caught.value.reason


def test_precursors_of_massbank_give_the_mass_of_its_structures():
    """Of the adducts with charge, nearly all: records have rounded precursors, and errors of their own."""
    found: Counter[bool] = Counter()
    with gzip.open(MASSBANK, "rt", encoding="utf-8") as file:
        entries = file.read().split("END IONS")[::29]
    for text in entries:
        entry = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        if {"PEPMASS", "ADDUCT", "SMILES"} <= entry.keys():
            mol = Chem.MolFromSmiles(entry["SMILES"])
            if Chem.GetFormalCharge(mol) or not entry["ADDUCT"]:
                continue
            mass = neutral_mass(float(entry["PEPMASS"]), entry["ADDUCT"])
            found[abs(mass - ExactMolWt(mol)) < 20e-6 * mass + 1e-3] += 1
    assert found.total() > 500
    assert found[True] > 0.97 * found.total()
