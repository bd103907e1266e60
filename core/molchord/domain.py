"""What a run's training molecules are made of, and candidates beyond it: an applicability domain of elements and sizes.

The domain is kept per spectrum, since a model may have learned MS/MS of molecules that its IR tower has never met.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict

__all__ = ["Domain", "domain_of"]

FEW = 10
"""An element in fewer training molecules than this was hardly met."""

LEAST = 100
"""Fewer training molecules than this show nothing: what they lack, they lack by chance."""

HYDROGEN = {"H", "D", "T"}


class Domain(BaseModel):
    """Elements and sizes of some training molecules.

    Attributes:
        molecules: How many there are.
        elements: For each element, how many of them hold it; isotopes of hydrogen count as hydrogen.
        heavy_atoms: Fewest and most atoms other than hydrogen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    molecules: int
    elements: dict[str, int]
    heavy_atoms: tuple[int, int]

    def joined(self, other: Domain) -> Domain:
        """Return the domain of both sets of molecules; counts are lower bounds, for a molecule may be in both."""
        lower, upper = zip(self.heavy_atoms, other.heavy_atoms, strict=True)
        return Domain(
            molecules=max(self.molecules, other.molecules),
            elements=dict(sorted((Counter(self.elements) | Counter(other.elements)).items())),
            heavy_atoms=(min(lower), max(upper)),
        )

    def lacks(self, formula: str) -> str | None:
        """Say what of a molecule was hardly met in training, or None.

        Args:
            formula: Its sum formula.

        Raises:
            SampleError: The formula cannot be read.

        Example:
            >>> seen = domain_of(["CH4O"] * 200 + ["C2H5Br"])
            >>> seen.lacks("C2H6O") is None, seen.lacks("CH3Br")
            (True, 'Br, which 1 of 201 training molecules holds')
            >>> seen.lacks("C6H6")
            '6 heavy atoms, and training molecules have 2 to 3'
        """
        counts = _counts(formula)
        if self.molecules < LEAST:
            return None
        rare = [element for element in sorted(set(counts) - HYDROGEN) if self.elements.get(element, 0) < FEW]
        if rare:
            held = self.elements.get(rare[0], 0)
            return f"{rare[0]}, which {held or 'none'} of {self.molecules:,} training molecules hold{'s' * (held < 2)}"
        lower, upper = self.heavy_atoms
        size = _heavy(counts)
        if lower <= size <= upper:
            return None
        return f"{size} heavy atom{'s' * (size != 1)}, and training molecules have {lower} to {upper}"


def domain_of(formulas: Iterable[str]) -> Domain:
    """Return the domain of molecules, of which there is at least one.

    Args:
        formulas: Their sum formulas.

    Raises:
        SampleError: A formula cannot be read.
    """
    counted = [_counts(formula) for formula in formulas]
    elements = Counter(element for counts in counted for element in {"H" if e in HYDROGEN else e for e in counts})
    sizes = [_heavy(counts) for counts in counted]
    return Domain(molecules=len(counted), elements=dict(sorted(elements.items())), heavy_atoms=(min(sizes), max(sizes)))


def _counts(formula: str) -> dict[str, int]:
    from molchord.chem import element_counts  # RDKit, which opening a run does without

    return element_counts(formula)


def _heavy(counts: Mapping[str, int]) -> int:
    return sum(number for element, number in counts.items() if element not in HYDROGEN)
