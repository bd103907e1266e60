"""From a SMILES or an InChI to RDKit's molecule; whatever RDKit raises becomes one error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

from rdkit import Chem, rdBase

from molchord.api import SampleError

__all__ = ["MOST_ATOMS", "Mol", "canonical", "from_inchi", "from_molblock", "one_error", "parse"]

Mol: TypeAlias = Chem.Mol
"""RDKit's molecule."""

MOST_ATOMS = 1000
"""Atoms that a SMILES may have without implicit hydrogens: InChI takes 1022, and the time to canonicalise grows with
the square of the number."""

_SHOWN = 80  # characters of a SMILES in a sentence


@contextmanager
def one_error(id: str, failed: str) -> Iterator[None]:
    """Turn whatever RDKit raises into a `SampleError`, and keep its messages off the terminal."""
    with rdBase.BlockLogs():
        try:
            yield
        except (SampleError, MemoryError):
            raise
        except Exception as error:  # RDKit has a dozen classes of them, some of them bare `RuntimeError`
            raise SampleError(id, f"{failed}: {' '.join(str(error).split())}") from error


def parse(smiles: str, id: str | None = None) -> Mol:
    """Parse a SMILES by RDKit's usual rules: sanitised, hydrogens implicit, stereo kept.

    Args:
        smiles: Of one molecule or salt.
        id: What an error names, such as the key14; None: the SMILES itself.

    Raises:
        SampleError: RDKit refuses the SMILES, or it has no atom or more than `MOST_ATOMS`.

    Example:
        >>> parse("CCO").GetNumAtoms()
        3
    """
    name = str(smiles) if id is None else id
    shown = repr(smiles if len(smiles) <= _SHOWN else smiles[: _SHOWN - 3] + "...")
    with one_error(name, f"RDKit refuses the SMILES {shown}"):
        if len(smiles) > MOST_ATOMS:  # no SMILES has more atoms than characters
            large = Chem.MolFromSmiles(smiles, sanitize=False)
            if large is not None and large.GetNumAtoms() > MOST_ATOMS:
                atoms = f"the SMILES {shown} has {large.GetNumAtoms()} atoms"
                raise SampleError(name, f"{atoms}, and {MOST_ATOMS} are the most; leave it out")
        parsed = Chem.MolFromSmiles(smiles)
        if parsed is None:  # the same in two steps, since only the second reports why it refuses
            parsed = Chem.MolFromSmiles(smiles, sanitize=False)
            if parsed is None:
                raise SampleError(name, f"RDKit cannot parse the SMILES {shown}")
            Chem.SanitizeMol(parsed)
        if parsed.GetNumAtoms() == 0:
            raise SampleError(name, f"the SMILES {shown} holds no atom")
    return parsed


def canonical(smiles: str, id: str | None = None) -> Mol:
    """Parse a SMILES by way of its stereo-free canonical form, so that neither stereo nor order of atoms is seen.

    Raises:
        SampleError: As `parse`.

    Example:
        >>> [atom.GetSymbol() for atom in canonical("OC(=O)[C@H](C)N").GetAtoms()]
        ['C', 'C', 'N', 'C', 'O', 'O']
    """
    with one_error(smiles if id is None else id, "RDKit makes no canonical SMILES"):
        return parse(Chem.MolToSmiles(parse(smiles, id), isomericSmiles=False), id)


def from_inchi(inchi: str) -> str:
    """Return a SMILES of an InChI.

    Raises:
        SampleError: RDKit refuses the InChI.

    Example:
        >>> from_inchi("InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3")
        'CCO'
    """
    with one_error(inchi, f"RDKit refuses the InChI {inchi!r}"):
        parsed = Chem.MolFromInchi(inchi)  # type: ignore[no-untyped-call]
        if parsed is None:
            raise SampleError(inchi, f"RDKit cannot parse the InChI {inchi!r}")
        return str(Chem.MolToSmiles(parsed))


def from_molblock(block: str, id: str) -> str:
    r"""Return a SMILES of a block of atoms and bonds, as MOL and SD files have.

    Args:
        block: From the title line to ``M  END``.
        id: What an error names.

    Raises:
        SampleError: RDKit refuses the block, or it has no atom.

    Example:
        >>> atoms = "    0.0000    0.0000    0.0000 C   0  0\n    1.5000    0.0000    0.0000 O   0  0\n"
        >>> from_molblock(f"\n\n\n  2  1  0  0  0  0  0  0  0  0999 V2000\n{atoms}  1  2  1  0\nM  END\n", "methanol")
        'CO'
    """
    with one_error(id, "RDKit refuses the block of atoms and bonds"):
        parsed = Chem.MolFromMolBlock(block)
        if parsed is None or parsed.GetNumAtoms() == 0:
            raise SampleError(id, "RDKit cannot read the block of atoms and bonds, or it has no atom")
        return str(Chem.MolToSmiles(parsed))
