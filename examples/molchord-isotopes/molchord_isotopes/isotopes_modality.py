"""The modality `isotopes`: patterns computed from a formula or read from a table, to samples of the kind `ladder`."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from rdkit import Chem
from torch import Tensor

from molchord.api import Measurement, Molecule, Reading, SampleError
from molchord_isotopes.isotopes_settings import Jitter
from molchord_isotopes.ladder import LadderSpec

__all__ = ["Isotopes", "LadderBatch", "LadderSample", "Pattern", "pattern"]

Numbers = NDArray[np.float64]

_LONGEST = 24  # nominal steps that a computed pattern is followed for
_HEAVIEST = 12  # nucleons between the lightest and the heaviest isotope of an element (tin)
_FAINTEST = 1e-5  # part of the highest peak below which nothing is stored


@dataclass(frozen=True, kw_only=True)
class LadderSample:
    """One pattern: abundances (highest 1), offsets in Da, and which steps were seen, each (steps + 1,)."""

    abundance: NDArray[np.float32]
    offset: NDArray[np.float32]
    seen: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class LadderBatch:
    """Patterns of b molecules, each (b, steps + 1); the batch of a kind of one's own is any dataclass of tensors."""

    abundance: Tensor
    offset: Tensor
    seen: Tensor


@final
class Isotopes:
    """Computes and reads isotope patterns; keeps its settings alone.

    Args:
        spec: How many steps a ladder has.
        floor: Abundance, as a part of the highest one, below which a peak is not seen.
        jitter: Augmentation of a training sample; None: none.

    Example:
        >>> dibromomethane = Molecule(key14="FJBFPHVGVWTDIP", smiles="BrCBr", formula="CH2Br2", exact_mass=171.852)
        >>> isotopes = Isotopes(LadderSpec(steps=6))
        >>> sample = isotopes.transform(isotopes.derive(dibromomethane), None)
        >>> sample.abundance[[0, 2, 4]].round(2).tolist()
        [0.5099999904632568, 1.0, 0.49000000953674316]
    """

    def __init__(self, spec: LadderSpec, floor: float = 0.002, jitter: Jitter | None = None) -> None:
        self._spec = spec
        self._floor, self._jitter = floor, jitter

    def derive(self, molecule: Molecule) -> Measurement:
        """Compute the pattern of a molecule's formula.

        Raises:
            SampleError: The formula holds an element whose isotopes are not known.
        """
        found = pattern(molecule.formula, molecule.key14)
        seen = found.abundance >= _FAINTEST * found.abundance.max()
        offset = found.offset[seen] - found.offset[seen][0]
        return _measurement(offset, found.abundance[seen] / found.abundance.max(), None, "computed")

    def can_read(self, path: Path) -> bool:
        """Say whether the file is a table with the columns `offset` (or `mz`) and `abundance`."""
        try:
            return {"offset", "abundance"} <= set(_table(path)[0]) or {"mz", "abundance"} <= set(_table(path)[0])
        except SampleError:
            return False

    def read(self, path: Path) -> Iterator[Reading | SampleError]:
        """Yield the one pattern of a table; with the column `mz`, ``# charge: 2`` above it counts.

        Raises:
            SampleError: It holds none.
        """
        titles, rows, said = _table(path)
        place = next((title for title in ("offset", "mz") if title in titles), None)
        if place is None or "abundance" not in titles or not rows:
            raise SampleError(path.name, "the table has no row, or not the columns `mz` or `offset`, and `abundance`")
        try:
            numbers = np.array([[float(row[place]), float(row["abundance"])] for row in rows])
            charge = float(said.get("charge", "1"))
        except ValueError as error:
            raise SampleError(path.name, f"a number cannot be read ({error}); was the file cut off?") from None
        numbers = numbers[np.argsort(numbers[:, 0])]
        if not np.isfinite(numbers).all() or numbers[:, 1].min() < 0 or numbers[:, 1].max() <= 0 or charge < 1:
            raise SampleError(path.name, "numbers must be finite, abundances not below 0 and some above, charge >= 1")
        offset = (numbers[:, 0] - numbers[0, 0]) * (charge if place == "mz" else 1.0)
        found = _measurement(offset, numbers[:, 1] / numbers[:, 1].max(), charge, "measured")
        yield Reading(measurement=found, smiles=said.get("smiles"), location=path.name)

    def transform(self, measurement: Measurement, rng: np.random.Generator | None) -> LadderSample:
        """Lay a pattern on the ladder, peaks of one nominal step put together; jittered where `rng` is given.

        Raises:
            SampleError: There is no peak, or one that is not finite.
        """
        offset = np.asarray(measurement.arrays.get("offset", ()), dtype=np.float64)
        abundance = np.asarray(measurement.arrays.get("abundance", ()), dtype=np.float64)
        if len(offset) == 0 or len(offset) != len(abundance) or not np.isfinite([offset, abundance]).all():
            raise SampleError("isotopes", f"{len(offset)} offsets and {len(abundance)} abundances make no pattern")
        step = np.rint(offset).astype(np.int64)
        inside = (step >= 0) & (step <= self._spec.steps) & (abundance > 0)
        if not inside.any():
            raise SampleError("isotopes", f"no peak lies between M and M+{self._spec.steps}")
        size = self._spec.steps + 1
        total = np.bincount(step[inside], weights=abundance[inside], minlength=size)
        moment = np.bincount(step[inside], weights=(abundance * offset)[inside], minlength=size)
        seen = (total > 0) & (total >= self._floor * total.max())
        centre = moment / np.where(seen, total, 1.0)
        jitter = self._jitter
        if rng is not None and jitter is not None:
            total = total * np.exp(jitter.abundance * rng.standard_normal(size))
            centre = centre + jitter.offset * rng.standard_normal(size)
        return LadderSample(
            abundance=np.where(seen, total / total[seen].max(), 0.0).astype(np.float32),
            offset=np.where(seen, centre, 0.0).astype(np.float32),
            seen=seen,
        )

    def collate(self, samples: Sequence[LadderSample]) -> LadderBatch:
        """Stack patterns; works for none too."""
        size = self._spec.steps + 1

        def stacked(name: str, dtype: torch.dtype) -> Tensor:
            rows = np.array([getattr(sample, name) for sample in samples]).reshape(-1, size)
            return torch.from_numpy(rows).to(dtype)

        return LadderBatch(
            abundance=stacked("abundance", torch.float32),
            offset=stacked("offset", torch.float32),
            seen=stacked("seen", torch.bool),
        )

    def prepare(self, batch: LadderBatch, generator: torch.Generator | None) -> LadderBatch:
        """Return the batch as it is."""
        return batch

    def example(self, molecules: Sequence[Molecule], seed: int) -> list[Measurement]:
        """Compute the pattern of each molecule."""
        return [self.derive(molecule) for molecule in molecules]


# --- computed patterns -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pattern:
    """Peaks at the nominal steps above the lightest isotopologue: abundance, and mean offset in Da, each (k,)."""

    abundance: Numbers
    offset: Numbers

    def __mul__(self, other: Pattern) -> Pattern:
        """Return the pattern of both together: abundances convolve, and offsets with them as weights."""
        abundance = np.convolve(self.abundance, other.abundance)[: _LONGEST + 1]
        moment = np.convolve(self.abundance * self.offset, other.abundance)
        moment = (moment + np.convolve(self.abundance, other.abundance * other.offset))[: _LONGEST + 1]
        return Pattern(abundance, moment / np.where(abundance > 0, abundance, 1.0))

    def __pow__(self, count: int) -> Pattern:
        """Return the pattern of this many, by squaring."""
        result, square = Pattern(np.ones(1), np.zeros(1)), self
        while count:
            result = result * square if count & 1 else result
            square, count = square * square, count >> 1
        return result


def pattern(formula: str, where: str = "formula") -> Pattern:
    """Compute the isotope pattern of a formula without brackets, from RDKit's abundances and isotope masses.

    Peaks of one nominal mass are merged into their centre, as an instrument of usual resolution does (Rockwood and
    Haimi, J. Am. Soc. Mass Spectrom. 17 (2006) 415).

    Args:
        formula: In Hill's notation, a charge at the end is let pass.
        where: Names it in errors.

    Raises:
        SampleError: An element has no stable isotope, or it is no formula.

    Example:
        >>> chlorine = pattern("CHCl3")
        >>> (chlorine.abundance[[0, 2]] / chlorine.abundance[0]).round(2).tolist()
        [1.0, 0.96]
        >>> chlorine.offset[[1, 2]].round(4).tolist()
        [1.0034, 1.997]
    """
    text = re.sub(r"[+-]\d*$", "", formula)
    found = re.findall(r"([A-Z][a-z]?)(\d*)", text)
    if not found or "".join(element + number for element, number in found) != text:
        raise SampleError(where, f"{formula!r} is no formula in Hill's notation")
    whole = Pattern(np.ones(1), np.zeros(1))
    for element, number in found:
        whole = whole * _element(element) ** int(number or 1)
    return whole


@cache
def _element(symbol: str) -> Pattern:
    table = Chem.GetPeriodicTable()
    try:
        number = table.GetAtomicNumber(symbol)
    except RuntimeError:
        raise SampleError(symbol, f"{symbol!r} is no element") from None
    nucleons = range(number, 3 * number + 1)
    isotopes = {a: table.GetAbundanceForIsotope(number, a) / 100 for a in nucleons}
    stable = {a: share for a, share in isotopes.items() if share > 0}
    if not stable:
        raise SampleError(symbol, f"element {symbol!r} has no stable isotope, so no pattern")
    first = min(stable)
    abundance, offset = np.zeros(_HEAVIEST + 1), np.zeros(_HEAVIEST + 1)
    for a, share in stable.items():
        abundance[a - first] = share
        offset[a - first] = table.GetMassForIsotope(number, a) - table.GetMassForIsotope(number, first)
    return Pattern(abundance, offset)


# --- files -----------------------------------------------------------------------------------------------------------


def _measurement(offset: Numbers, abundance: Numbers, charge: float | None, origin: str) -> Measurement:
    return Measurement(
        arrays={"offset": offset.astype(np.float64), "abundance": abundance.astype(np.float32)},
        columns={"origin": origin, "charge": charge},
    )


def _table(path: Path) -> tuple[list[str], list[dict[str, str]], dict[str, str]]:
    """Return the titles, the rows, and what comments such as ``# charge: 1`` say."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SampleError(path.name, f"the file cannot be read as text ({error}); save the pattern as CSV") from None
    said = {m[1].lower(): m[2] for m in re.finditer(r"^\s*#\s*(\w+)\s*[:=]\s*(\S+)", text, re.MULTILINE)}
    lines = [line for line in text.replace("\0", "").splitlines() if line.strip() and not line.lstrip().startswith("#")]
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines)]
    titles = [title.lower() for title in rows[0]] if rows else []
    for row in rows[1:]:
        if len(row) != len(titles):
            raise SampleError(path.name, f"a row has {len(row)} cells, the header {len(titles)}; was it cut off?")
    return titles, [dict(zip(titles, row, strict=True)) for row in rows[1:]], said
