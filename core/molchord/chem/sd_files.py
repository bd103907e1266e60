"""Entries of an SD file."""

from __future__ import annotations

from collections.abc import Mapping

from rdkit import Chem
from rdkit.Chem import rdDepictor

from molchord.chem.parsing import one_error, parse

__all__ = ["sd_entry"]


def sd_entry(smiles: str, title: str, properties: Mapping[str, str]) -> str:
    """Return an entry of an SD file: a drawing's coordinates, a title and properties; blank ones are left out.

    Texts become one line each, so that none of them ends the entry.

    Raises:
        SampleError: As `parse`, or RDKit cannot lay the molecule out.

    Example:
        >>> sd_entry("CCO", "ethanol", {"rank": "1"}).splitlines()[-4:]
        ['>  <rank>', '1', '', '$$$$']
    """
    mol = parse(smiles)
    with one_error(smiles, "RDKit cannot lay it out"):
        rdDepictor.Compute2DCoords(mol)
        mol.SetProp("_Name", _line(title))
        lines = [Chem.MolToMolBlock(mol).rstrip("\n")]
    for name, value in properties.items():
        if value.strip():
            lines += [f">  <{_line(name).translate(_NO_BRACKETS)}>", _line(value), ""]
    return "\n".join([*lines, "$$$$", ""])


_NO_BRACKETS = str.maketrans("<>", "()")


def _line(text: str) -> str:
    line = " ".join(text.split())
    return f" {line}" if line.startswith(("$$$$", "M  END", ">")) else line
