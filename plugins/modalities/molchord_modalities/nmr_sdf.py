r"""Peak lists in SD files: NMReDATA, and the tags of nmrshiftdb2.

Sources: Pupier et al., NMReDATA, a standard to report the NMR assignment and parameters of organic compounds, Magnetic
Resonance in Chemistry 56 (2018) 703; nmrshiftdb2's export, whose tags read ``17.6;0.0Q;9|18.3;0.0Q;8|``: shift,
intensity with multiplicity, atom.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

from molchord.api import SampleError
from molchord.chem import from_molblock
from molchord_modalities.nmr_lists import PeakList, frequency_of

__all__ = ["is_sdf", "names_itself", "parse"]

_TAG = re.compile(r"^>[^<\n]*<([^>\n]+)>[^\n]*\n(.*?)(?=^>|\Z)", re.MULTILINE | re.DOTALL)
_NMREDATA = re.compile(r"NMREDATA_1D_(\w+?)(?:#\d+)?$", re.IGNORECASE)
_SHIFTDB = re.compile(r"Spectrum (\S+) (\d+)$")
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_END = "M  END"


def is_sdf(text: str) -> bool:
    """Return whether a text is an SD file: a molecule's block of atoms and bonds, then tags."""
    return _END in text and re.search(r"V[23]000\s*$", text.partition(_END)[0], re.MULTILINE) is not None


def names_itself(head: str) -> bool:
    """Return whether a file's beginning is an SD file that holds peak lists.

    The tags come after the molecule's block, which large molecules make longer than a beginning.
    """
    return is_sdf(head) and any(_is_list(tag) for tag, _ in _TAG.findall(head.partition("$$$$")[0]))


def parse(text: str, name: str) -> Iterator[PeakList | SampleError]:
    """Yield every list of every molecule of an SD file.

    Args:
        text: The whole file.
        name: Names the file in errors.
    """
    for number, entry in enumerate(re.split(r"^\$\$\$\$.*\n?", text, flags=re.MULTILINE), 1):
        if not entry.strip():
            continue
        where = f"{name}: molecule {number}"
        tags = {tag.strip(): value.strip() for tag, value in _TAG.findall(entry)}
        lists = [tag for tag in tags if _is_list(tag)]
        if not lists:
            yield SampleError(where, "the molecule has no tag `NMREDATA_1D_...` or `Spectrum ...`, so no peak list")
        for tag in lists:
            try:
                read = _nmredata if _NMREDATA.match(tag) else _shiftdb
                yield read(tag, tags, _smiles(entry, tags, where), f"{where}, {tag}")
            except SampleError as error:
                yield error


def _is_list(tag: str) -> bool:
    return bool(_NMREDATA.match(tag.strip()) or _SHIFTDB.match(tag.strip()))


def _smiles(entry: str, tags: Mapping[str, str], where: str) -> str:
    """Return the SMILES that a tag states, or that of the atoms and bonds."""
    stated = re.split(r"[\\\s]", tags.get("NMREDATA_SMILES", ""))[0]
    if stated:
        return stated
    try:
        return from_molblock(entry.partition(_END)[0] + _END + "\n", where)
    except SampleError as error:
        raise SampleError(where, f"{error.reason}; state the tag `NMREDATA_SMILES`") from None


def _nmredata(tag: str, tags: Mapping[str, str], smiles: str, where: str) -> PeakList:
    r"""Read lines such as ``3.69, S=q, N=2, L=a\``; a range of shifts counts by its middle."""
    shifts, patterns, counts, frequency = [], [], [], None
    for line in re.split(r"\\?\s*\n|\\\s*", tags[tag]):
        text = line.partition(";")[0].strip()  # comments follow
        key, equals, value = text.partition("=")
        if equals and "," not in key:
            frequency = frequency_of(value.strip()) if key.strip().lower() == "larmor" else frequency
            continue
        cells = [cell.strip() for cell in text.split(",")]
        if not cells[0]:
            continue
        match = re.fullmatch(rf"({_NUMBER})(?:\s*-\s*({_NUMBER}))?", cells[0])
        if match is None:
            raise SampleError(where, f"the line {text[:60]!r} does not start with a shift")
        shifts.append((float(match[1]) + float(match[2] or match[1])) / 2)
        said = {key.strip().upper(): value.strip() for key, _, value in (cell.partition("=") for cell in cells[1:])}
        patterns.append(said.get("S"))
        counts.append(_count(said.get("N") or said.get("E"), where))
    solvent = tags.get("NMREDATA_SOLVENT", "").rstrip("\\").strip() or None
    return PeakList(
        shifts=shifts, patterns=patterns, counts=counts, nucleus=_NMREDATA.match(tag)[1],  # type: ignore[index]
        frequency=frequency, solvent=solvent, smiles=smiles, where=where,
    )  # fmt: skip


def _count(text: str | None, where: str) -> float:
    if text is None:
        return math.nan
    match = re.fullmatch(rf"({_NUMBER})\s*H?", text, re.IGNORECASE)
    if match is None:
        raise SampleError(where, f"the number of nuclei is {text!r}, not a number")
    return float(match[1])


def _shiftdb(tag: str, tags: Mapping[str, str], smiles: str, where: str) -> PeakList:
    """Read ``17.6;0.0Q;9|18.3;0.0Q;8|``, one entry for each atom."""
    shifts, patterns = [], []
    for entry in filter(None, (part.strip() for part in tags[tag].split("|"))):
        match = re.fullmatch(rf"({_NUMBER})\s*;\s*(?:{_NUMBER})?\s*([A-Za-z]*)\s*;?\s*(?:\d+)?", entry)
        if match is None:
            raise SampleError(where, f"the peak {entry[:40]!r} is not written as shift;intensity and multiplicity;atom")
        shifts.append(float(match[1]))
        patterns.append(match[2] or None)
    nucleus, number = _SHIFTDB.match(tag).groups()  # type: ignore[union-attr]  # `parse` asked
    return PeakList(
        shifts=shifts, patterns=patterns, counts=[1.0] * len(shifts), nucleus=nucleus,
        frequency=frequency_of(_numbered(tags, "Field Strength [MHz]", number)),
        solvent=_numbered(tags, "Solvent", number), smiles=smiles, where=where,
    )  # fmt: skip


def _numbered(tags: Mapping[str, str], tag: str, number: str) -> str | None:
    """Return what ``0:Chloroform-D1 (CDCl3)`` holds for spectrum 0; several are distinguished by their numbers."""
    said = dict(re.findall(r"(\d+):\s*(.*?)\s*(?=\d+:|$)", tags.get(tag, "").replace("\n", " ")))
    return said.get(number) or None
