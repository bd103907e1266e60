"""The modality `composition`: formulas to counts of atoms."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np

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
from molchord_formula.elements import ELEMENTS

if TYPE_CHECKING:
    import torch

__all__ = ["Composition", "atoms", "measurement"]

_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_TOKEN = re.compile(r"([A-Z][a-z]?)(\d*)|([(\[])|[)\]](\d*)|([+-]\d*$)")
_MOST = 1_000_000  # atoms of one element; more can only be a slip


@final
class Composition:
    """Counts atoms; keeps its spec alone.

    Args:
        spec: How many elements are counted.

    Example:
        >>> sample = Composition(VectorSpec(size=len(ELEMENTS), unit="1")).transform(measurement("C9H6O2"), None)
        >>> {element: round(float(value), 2) for element, value in zip(ELEMENTS, sample.values) if value}
        {'H': 1.95, 'C': 2.3, 'O': 1.1}
    """

    def __init__(self, spec: VectorSpec) -> None:
        self._spec = spec

    def derive(self, molecule: Molecule) -> Measurement:
        """Count the atoms of a molecule.

        Raises:
            SampleError: It holds an element that is not counted.
        """
        return measurement(molecule.formula, molecule.key14, origin="computed")

    def can_read(self, path: Path) -> bool:
        """Say whether the file is a table with a column `formula`."""
        try:
            with path.open(encoding="utf-8-sig") as lines:
                return "formula" in _cells(lines.readline().lower())
        except (OSError, UnicodeDecodeError):
            return False

    def read(self, path: Path) -> Iterator[Reading | SampleError]:
        """Yield a formula a line: of the column `formula` of a table (`smiles` names the molecule), or all of the line.

        Raises:
            SampleError: The file is no text, or holds no formula.
        """
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SampleError(path.name, f"the file cannot be read as text ({error}); write a formula a line") from None
        rows = [(number, _cells(line)) for number, line in enumerate(lines, 1) if line.strip()]
        titles = [title.lower() for title in rows[0][1]] if rows else []
        if "formula" in titles:
            rows = rows[1:]
        else:
            titles = ["formula"]
        if not rows:
            raise SampleError(path.name, "the file holds no formula; write one a line")
        for number, cells in rows:
            where = f"{path.name}:{number}"
            row = dict(zip(titles, cells, strict=False))
            try:
                if len(cells) != len(titles):
                    raise SampleError(where, f"the row has {len(cells)} cells, {len(titles)} were expected")
                found = measurement(row["formula"], where)
                yield Reading(measurement=found, smiles=row.get("smiles") or None, location=where)
            except SampleError as error:
                yield error

    def transform(self, measurement: Measurement, rng: np.random.Generator | None) -> VectorSample:
        """Make one sample: logarithms of 1 + count.

        Raises:
            SampleError: The counts are none, or there is no atom.
        """
        count = np.asarray(measurement.arrays["count"], dtype=np.float64)
        if count.shape != (len(ELEMENTS),) or not np.isfinite(count).all() or count.min() < 0 or count.sum() == 0:
            raise SampleError("composition", f"holds no counts of {len(ELEMENTS)} elements, at least one above 0")
        return VectorSample(values=np.log1p(count).astype(np.float32))

    def collate(self, samples: Sequence[VectorSample]) -> VectorBatch:
        """Stack rows."""
        return collate_vectors(samples, self._spec)

    def prepare(self, batch: VectorBatch, generator: torch.Generator | None) -> VectorBatch:
        """Return the batch as it is."""
        return batch

    def example(self, molecules: Sequence[Molecule], seed: int) -> list[Measurement]:
        """Count the atoms of each molecule."""
        return [self.derive(molecule) for molecule in molecules]


def measurement(formula: str, where: str = "formula", *, origin: str = "measured") -> Measurement:
    """Make the measurement of a formula, which a search takes as a query.

    Args:
        formula: Such as "C9H6O2".
        where: Names it in errors.
        origin: "computed" where the formula follows from a known molecule.

    Raises:
        SampleError: It is no formula, or holds an element that is not counted.

    Example:
        >>> measurement("CHCl3").arrays["count"][:3].tolist()
        [1.0, 0.0, 1.0]
    """
    counted = atoms(formula, where)
    strange = sorted(set(counted) - set(ELEMENTS))
    if strange:
        raise SampleError(where, f"{formula!r} holds {strange[0]!r}, which is not counted; {', '.join(ELEMENTS)} are")
    count = np.array([counted.get(element, 0) for element in ELEMENTS], dtype=np.float32)
    return Measurement(arrays={"count": count}, columns={"origin": origin})


def atoms(formula: str, where: str = "formula") -> dict[str, int]:
    """Count the atoms in a formula, with brackets, subscripts and a charge at the end where there are.

    Args:
        formula: Such as "CH3(CH2)4CH3", "C₉H₆O₂" or "C5H14NO+".
        where: Names it in errors.

    Raises:
        SampleError: It is no formula.

    Example:
        >>> atoms("CH3(CH2)4CH3"), atoms("C₅H₁₄NO+")
        ({'C': 6, 'H': 14}, {'C': 5, 'H': 14, 'N': 1, 'O': 1})
    """
    text = formula.strip().translate(_SUBSCRIPTS)
    open_: list[dict[str, int]] = [{}]
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or (text[at] in ")]" and len(open_) == 1):
            raise SampleError(where, f"{formula!r} is no formula: {text[at]!r} is not expected; write it as 'C9H6O2'")
        at = match.end()
        element, number, bracket, times, charge = match.groups()
        if bracket:
            open_.append({})
        elif element:
            _add(open_[-1], {element: 1}, number, where)
        elif charge is None:
            inner = open_.pop()
            _add(open_[-1], inner, times, where)
    if len(open_) > 1 or not open_[0]:
        raise SampleError(where, f"{formula!r} is no formula: a bracket stays open, or it is empty; write 'C9H6O2'")
    return open_[0]


def _add(total: dict[str, int], more: dict[str, int], number: str, where: str) -> None:
    times = int(number or 1)
    if not 0 < times <= _MOST:
        raise SampleError(where, f"the number {number!r} in the formula is not between 1 and {_MOST}")
    for element, count in more.items():
        total[element] = total.get(element, 0) + count * times


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line]), [])]
