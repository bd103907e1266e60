"""What the engine knows of chemistry: identity, mass, fingerprints, tautomers, scaffolds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdFingerprintGenerator, rdMolDescriptors
from rdkit.Chem.MolStandardize import rdMolStandardize
from rdkit.Chem.Scaffolds import MurckoScaffold

from molchord.api import Molecule, SampleError

FINGERPRINT_BITS = 2048
_TILE = 1024  # rows of `a` unpacked at a time in `tanimoto`: 8 MiB of float32


def molecule(smiles: str) -> Molecule:
    """Make a molecule from a SMILES: canonical without stereo, with InChIKey block, formula and monoisotopic mass.

    An isotope-labelled molecule is refused: the InChIKey block does not tell it from the unlabelled one, whose
    spectra and mass differ.

    Raises:
        SampleError: RDKit cannot make a molecule or an InChIKey of it, or it carries isotope labels.

    Example:
        >>> alanine = molecule("C[C@H](N)C(=O)O")
        >>> alanine.smiles, alanine.key14, alanine.formula, round(alanine.exact_mass, 4)
        ('CC(N)C(=O)O', 'QNAYBMKLOCPYGJ', 'C3H7NO2', 89.0477)
    """
    parsed = _parse(smiles)
    with rdBase.BlockLogs():
        Chem.RemoveStereochemistry(parsed)
        # RDKit's canonical SMILES is not always a fixed point: one further round makes it one in practice.
        plain = _parse(Chem.MolToSmiles(parsed))
        canonical = Chem.MolToSmiles(plain)
    key = _key14(plain)
    if not key:
        raise SampleError(smiles, "no InChIKey can be made of this SMILES, so it cannot be told from other molecules")
    return Molecule(
        key14=key,
        smiles=canonical,
        formula=rdMolDescriptors.CalcMolFormula(plain),
        exact_mass=rdMolDescriptors.CalcExactMolWt(plain),
    )


def morgan(smiles: Sequence[str]) -> NDArray[np.uint8]:
    """Compute Morgan fingerprints of radius 2 and 2048 bits (Rogers and Hahn 2010), packed eight bits a byte.

    Shape:
        (n, 256) for n SMILES.

    Raises:
        SampleError: RDKit refuses one of the SMILES.

    Example:
        >>> morgan(["CCO", "c1ccccc1"]).shape
        (2, 256)
    """
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=FINGERPRINT_BITS)
    packed = np.zeros((len(smiles), FINGERPRINT_BITS // 8), dtype=np.uint8)
    for row, text in enumerate(smiles):
        packed[row] = np.packbits(generator.GetFingerprintAsNumPy(_parse(text)))
    return packed


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


def tautomer_key(smiles: str) -> str:
    """Return the InChIKey block of the canonical tautomer, equal for keto and enol forms.

    Raises:
        SampleError: RDKit refuses the SMILES.

    Example:
        >>> tautomer_key("CC(O)=CC(C)=O") == tautomer_key("CC(=O)CC(C)=O")
        True
    """
    parsed = _parse(smiles)
    with rdBase.BlockLogs():
        Chem.RemoveStereochemistry(parsed)
        canonical = _tautomers().Canonicalize(parsed)
    return _key14(canonical)


def scaffold(smiles: str) -> str:
    """Return the SMILES of the Murcko scaffold (Bemis and Murcko 1996), empty for a molecule without rings.

    Raises:
        SampleError: RDKit refuses the SMILES.

    Example:
        >>> scaffold("CCc1ccccc1"), scaffold("CCO")
        ('c1ccccc1', '')
    """
    found = MurckoScaffold.MurckoScaffoldSmiles(mol=_parse(smiles), includeChirality=False)  # type: ignore[no-untyped-call]
    return str(found)


@lru_cache(maxsize=1)
def _tautomers() -> rdMolStandardize.TautomerEnumerator:
    return rdMolStandardize.TautomerEnumerator()


def _key14(parsed: Chem.Mol) -> str:
    """Return the first block of the InChIKey, empty where InChI refuses the molecule."""
    with rdBase.BlockLogs():
        return str(Chem.MolToInchiKey(parsed)[:14])  # type: ignore[no-untyped-call]


def _parse(smiles: str) -> Chem.Mol:
    """Parse a SMILES, with RDKit's own reason where it refuses."""
    with rdBase.BlockLogs():
        parsed = Chem.MolFromSmiles(smiles, sanitize=False)
        if parsed is None:
            raise SampleError(smiles, f"RDKit cannot parse the SMILES {smiles!r}")
        if parsed.GetNumAtoms() == 0:
            raise SampleError(smiles, f"the SMILES {smiles!r} holds no atom")
        try:
            Chem.SanitizeMol(parsed)
        except Chem.MolSanitizeException as error:
            raise SampleError(smiles, f"RDKit refuses the SMILES {smiles!r}: {error}") from error
        # Parsed again, since hydrogens and stereo marks are only tidied up by the full reader.
        parsed = Chem.MolFromSmiles(smiles)
    if any(atom.GetIsotope() for atom in parsed.GetAtoms()):
        raise SampleError(smiles, f"the SMILES {smiles!r} carries isotope labels; give the unlabelled molecule")
    return parsed


def drawing(smiles: str, width: int = 220, height: int = 160) -> str:
    """Draw a molecule as SVG text on a transparent ground.

    Example:
        >>> drawing("CCO").startswith("<svg")
        True
    """
    from rdkit.Chem.Draw import rdMolDraw2D

    canvas = rdMolDraw2D.MolDraw2DSVG(width, height)
    canvas.drawOptions().clearBackground = False  # type: ignore[assignment]  # RDKit's stub is wrong
    rdMolDraw2D.PrepareAndDrawMolecule(canvas, _parse(smiles))
    canvas.FinishDrawing()
    text: str = canvas.GetDrawingText()
    return text[text.index("<svg") :]
