"""What one molecule is, and which families it belongs to: identity, tautomers, scaffolds, skeletons; its drawing."""

from __future__ import annotations

from functools import lru_cache

from rdkit import Chem
from rdkit.Chem import rdMolDescriptors
from rdkit.Chem.Draw import rdMolDraw2D
from rdkit.Chem.MolStandardize import rdMolStandardize
from rdkit.Chem.Scaffolds import MurckoScaffold

from molchord.api import Molecule, SampleError
from molchord.chem.depictions import in_page_colours
from molchord.chem.parsing import Mol, from_inchi, one_error, parse

__all__ = ["drawing", "molecule", "scaffold", "skeleton", "tautomer_key"]


def molecule(smiles: str) -> Molecule:
    """Make a molecule from a SMILES or InChI: canonical without stereo and atom maps, with key14, formula, exact mass.

    An isotope-labelled molecule is refused: the InChIKey block does not distinguish it from the unlabelled one, whose
    spectra and mass differ.

    Raises:
        SampleError: RDKit cannot make a molecule or an InChIKey of it, or it carries isotope labels.

    Example:
        >>> alanine = molecule("C[C@H](N)C(=O)O")
        >>> alanine.smiles, alanine.key14, alanine.formula, round(alanine.exact_mass, 4)
        ('CC(N)C(=O)O', 'QNAYBMKLOCPYGJ', 'C3H7NO2', 89.0477)
    """
    parsed = parse(from_inchi(smiles) if smiles.startswith("InChI=") else smiles, smiles)
    if any(atom.GetIsotope() for atom in parsed.GetAtoms()):
        raise SampleError(smiles, f"the SMILES {smiles!r} carries isotope labels; give the unlabelled molecule")
    with one_error(smiles, "RDKit makes no InChIKey, so it cannot be told from other molecules"):
        for atom in parsed.GetAtoms():
            atom.SetAtomMapNum(0)
        Chem.RemoveStereochemistry(parsed)
        # RDKit's canonical SMILES is not always a fixed point: one further round makes it one in practice.
        plain = parse(Chem.MolToSmiles(parsed), smiles)
        key = _key14(plain)
        if not key:
            reason = "no InChIKey can be made of this SMILES, so it cannot be told from other molecules"
            raise SampleError(smiles, reason)
        return Molecule(
            key14=key,
            smiles=Chem.MolToSmiles(plain),
            formula=rdMolDescriptors.CalcMolFormula(plain),
            exact_mass=rdMolDescriptors.CalcExactMolWt(plain),
        )


def _key14(parsed: Mol) -> str:
    """Return the first block of the InChIKey, empty where InChI refuses the molecule."""
    return str(Chem.MolToInchiKey(parsed)[:14])  # type: ignore[no-untyped-call]


def tautomer_key(smiles: str) -> str:
    """Return the InChIKey block of the canonical tautomer, equal for keto and enol forms.

    Raises:
        SampleError: As `parse`, or RDKit finds no canonical tautomer.

    Example:
        >>> tautomer_key("CC(O)=CC(C)=O") == tautomer_key("CC(=O)CC(C)=O")
        True
    """
    mol = parse(smiles)
    with one_error(smiles, "RDKit finds no canonical tautomer"):
        Chem.RemoveStereochemistry(mol)
        return _key14(_tautomers().Canonicalize(mol))


@lru_cache(maxsize=1)
def _tautomers() -> rdMolStandardize.TautomerEnumerator:
    return rdMolStandardize.TautomerEnumerator()


def scaffold(smiles: str) -> str:
    """Return the SMILES of the Murcko scaffold (Bemis and Murcko 1996), empty for a molecule without rings.

    Raises:
        SampleError: As `parse`.

    Example:
        >>> scaffold("CCc1ccccc1"), scaffold("CCO")
        ('c1ccccc1', '')
    """
    mol = parse(smiles)
    with one_error(smiles, "RDKit makes no scaffold of it"):
        return str(MurckoScaffold.MurckoScaffoldSmiles(mol=mol, includeChirality=False))  # type: ignore[no-untyped-call]


def skeleton(smiles: str) -> tuple[str, str]:
    """Return the formula, and the canonical SMILES of the heavy atoms joined by single bonds.

    Two tautomers agree in both, since one differs from the other in hydrogens and bond orders only.

    Raises:
        SampleError: As `parse`.

    Example:
        >>> skeleton("CC(=O)C") == skeleton("CC(O)=C")
        True
    """
    mol = parse(smiles)
    with one_error(smiles, "RDKit makes no skeleton of it"):
        formula = rdMolDescriptors.CalcMolFormula(mol)
        for atom in mol.GetAtoms():
            atom.SetIsAromatic(False)
            atom.SetFormalCharge(0)
            atom.SetNumExplicitHs(0)
            atom.SetNoImplicit(True)
            atom.SetNumRadicalElectrons(0)
        for bond in mol.GetBonds():
            bond.SetIsAromatic(False)
            bond.SetBondType(Chem.BondType.SINGLE)
        return formula, str(Chem.MolToSmiles(mol))


def drawing(smiles: str, width: int = 220, height: int = 160) -> str:
    """Draw a molecule as SVG text on a transparent ground, `width` by `height` pixels, in the colours of its page.

    Raises:
        SampleError: As `parse`.

    Example:
        >>> drawing("CCO").startswith("<svg")
        True
    """
    mol = parse(smiles)
    with one_error(smiles, "RDKit cannot draw it"):
        canvas = rdMolDraw2D.MolDraw2DSVG(width, height)
        canvas.drawOptions().clearBackground = False  # type: ignore[assignment]  # RDKit's stub is wrong
        rdMolDraw2D.PrepareAndDrawMolecule(canvas, mol)
        canvas.FinishDrawing()
        text: str = canvas.GetDrawingText()
        return in_page_colours(text[text.index("<svg") :])
