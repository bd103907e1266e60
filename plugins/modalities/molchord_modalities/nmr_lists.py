"""One peak list as files state it, and its check: nuclei, multiplicities and frequencies as people write them."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from molchord.api import Measurement, Reading, SampleError
from molchord_modalities.nmr_settings import MULTIPLICITIES, NUCLEI

__all__ = ["PeakList", "frequency_of", "multiplicity_code", "nucleus_of", "without_nucleus"]

_NAMES = {"quin": "quint", "p": "quint", "pent": "quint", "sex": "sext", "sep": "sept", "hept": "sept", "h": "sept"}
_DEPT = {"c": "s", "ch": "d", "ch2": "t", "ch3": "q"}
"""What DEPT reveals about a carbon: how many hydrogens it has, which is what splits it."""
_WORDS = {"singlet": "s", "doublet": "d", "triplet": "t", "quartet": "q", "quintet": "quint", "septet": "sept"}
_WORDS |= {"pentet": "quint", "multiplet": "m", "quadruplet": "q", "sextet": "sext", "heptet": "sept"}


@dataclass(frozen=True, kw_only=True)
class PeakList:
    """A list of one nucleus as a file states it.

    Attributes:
        shifts: In ppm.
        patterns: How each peak is split, as people write it; None or "" where it is not known.
        counts: How many nuclei each peak represents, NaN where it is not known.
        nucleus: Such as "13C", as the file writes it; None where it does not name one.
        where: Names the entry in errors.
        frequency: Of this nucleus, in MHz.
        solvent: As the source names it.
        smiles: Of the molecule.
        source: What predicted the shifts; None of measured ones.
    """

    shifts: Sequence[float]
    patterns: Sequence[str | None]
    counts: Sequence[float]
    nucleus: str | None
    where: str
    frequency: float | None = None
    solvent: str | None = None
    smiles: str | None = None
    source: str | None = None

    def reading(self) -> Reading:
        """Check the list, and put peaks of one shift and pattern together.

        Raises:
            SampleError: There is no peak, or one has an impossible value.

        Example:
            >>> ethanol = dict(shifts=[1.25, 1.25, 3.75], patterns=["t", "T", "q"], counts=[1, 1, 2], nucleus="1H")
            >>> arrays = PeakList(**ethanol, where="x").reading().measurement.arrays
            >>> arrays["shift"].tolist(), arrays["nuclei"].tolist()
            ([1.25, 3.75], [2.0, 2.0])
        """
        nucleus = nucleus_of(self.nucleus or "")
        if nucleus is None:
            known = ", ".join(NUCLEI)
            raise SampleError(self.where, f"the nucleus is {self.nucleus!r}, not one of {known}; name it in the file")
        if not len(self.shifts) == len(self.patterns) == len(self.counts):
            given = f"{len(self.shifts)} shifts, {len(self.patterns)} patterns and {len(self.counts)} counts"
            raise SampleError(self.where, f"the list has {given}; each peak needs one of each")
        if len(self.shifts) == 0:
            raise SampleError(self.where, "the list has no peak")
        peaks: dict[tuple[float, int], float] = defaultdict(float)
        for shift, pattern, count in zip(self.shifts, self.patterns, self.counts, strict=True):
            if not math.isfinite(shift):
                raise SampleError(self.where, f"the list has the shift {shift!r}, which is not a number of ppm")
            if count < 0 or math.isinf(count):
                raise SampleError(
                    self.where, f"the peak at {shift!r} ppm has {count!r} nuclei; leave out what is unknown"
                )
            peaks[float(shift), multiplicity_code(pattern, self.where)] += count
        order = sorted(peaks)
        measurement = Measurement(
            arrays={
                "shift": np.array([shift for shift, _ in order], dtype=np.float32),
                "multiplicity": np.array([code for _, code in order], dtype=np.uint8),
                "nuclei": np.array([peaks[key] for key in order], dtype=np.float32),
            },
            columns={
                "origin": "measured" if self.source is None else "computed",
                "nucleus": nucleus,
                "frequency": self.frequency,
                "solvent": self.solvent,
                "source": self.source,
            },
        )
        return Reading(measurement=measurement, smiles=self.smiles, location=self.where)


def nucleus_of(text: str) -> str | None:
    """Return the nucleus that a text names first, None where it names none of those that are read.

    What is in braces is decoupled, not observed.

    Example:
        >>> [nucleus_of(text) for text in ("13C{1H}", "^1H", "C13 shift", "<19F>", "195Pt", "13CO")]
        ['13C', '1H', '13C', '19F', None, None]
    """
    observed = re.sub(r"\{[^}]*\}", "", re.sub(r"\^\{(\d+)\}", r"\1", text.translate(_SUPERSCRIPTS)))
    found = {match.start(): nucleus for nucleus, one in _NUCLEUS.items() if (match := one.search(observed))}
    return found[min(found)] if found else None


def without_nucleus(text: str) -> str:
    """Return a text without the nuclei that it names.

    Example:
        >>> without_nucleus("13C shift"), without_nucleus("1H")
        ('shift', '')
    """
    text = re.sub(r"\{[^}]*\}", "", text.translate(_SUPERSCRIPTS))
    for pattern in _NUCLEUS.values():
        text = pattern.sub("", text)
    return text.strip()


_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_NUCLEUS = {
    nucleus: re.compile(rf"(?i)(?<![0-9a-z])({number}-?{letter}|{letter}-?{number})(?![0-9a-z])")
    for nucleus in NUCLEI
    for number, letter in [(nucleus[:-1], nucleus[-1])]
}


def frequency_of(text: object) -> float | None:
    """Return a frequency in MHz; None for words such as "Unreported".

    Example:
        >>> frequency_of("125.8"), frequency_of("Unreported"), frequency_of(None)
        (125.8, None, None)
    """
    try:
        value = float(re.sub(r"^(\d+),(\d+)$", r"\1.\2", str(text).strip()))
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def multiplicity_code(pattern: str | None, where: str) -> int:
    """Return the code of a splitting pattern, 0 where none is given.

    Capitals, broadness, "apparent" and the names of DEPT make no difference; a pattern of its own kind, such as "ddt",
    is "m". Couplings and remarks in brackets are not read.

    Raises:
        SampleError: It is not a pattern.

    Example:
        >>> texts = ("Q", "CH3", "br s", "sep", "ddt", "triplet")
        >>> [MULTIPLICITIES[multiplicity_code(text, "x") - 1] for text in texts]
        ['q', 'q', 's', 'sept', 'm', 't']
    """
    said = re.split(r"\(|,\s*j\b", (pattern or "").lower())[0]
    said = re.sub(r"\b(doublet|triplet|quartet)s?(?: of |$)", lambda found: found[1][0], said)
    word = re.sub(r"^(apparent|app|pseudo|virtual)|[\s.,]|^[-?]+$", "", said.strip())
    word = re.sub(r"^(broad|br|b)(?=[sdtqm]|$)|br$", "", word)
    word = _WORDS.get(word, _DEPT.get(word, _NAMES.get(word, word)))
    if word == "":
        return 0
    if not re.fullmatch(r"[a-z']{1,12}", word):
        raise SampleError(where, f"the multiplicity {pattern!r} is not a pattern such as 's', 'dd' or 'm'")
    return MULTIPLICITIES.index(word if word in MULTIPLICITIES else "m") + 1
