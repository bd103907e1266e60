"""Which patterns of atoms a molecule has."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from rdkit import Chem

from molchord.api import SampleError
from molchord.chem.parsing import Mol, one_error, parse

__all__ = ["substructures"]


def substructures(smiles: str, patterns: Sequence[str], id: str | None = None) -> tuple[bool, ...]:
    """Return for each SMARTS pattern whether a molecule has it.

    Args:
        smiles: Of the molecule.
        patterns: Any number.
        id: What an error names, such as the key14; None: the SMILES itself.

    Raises:
        SampleError: As `parse`, or a pattern is no SMARTS.

    Example:
        >>> substructures("CC(=O)O", ["[CX3]=O", "C#N"])
        (True, False)
    """
    queries = [_query(pattern) for pattern in patterns]
    mol = parse(smiles, id)
    with one_error(smiles if id is None else id, "RDKit cannot look for patterns in it"):
        return tuple(bool(mol.HasSubstructMatch(query)) for query in queries)


@lru_cache(maxsize=1024)
def _query(pattern: str) -> Mol:
    with one_error(pattern, f"RDKit refuses the SMARTS {pattern!r}"):
        query = Chem.MolFromSmarts(pattern)
    if query is None or query.GetNumAtoms() == 0:
        raise SampleError(pattern, f"RDKit cannot parse the SMARTS {pattern!r}; write it such as '[CX3]=[OX1]'")
    return query
