"""Which files belong to one sample: by the stem of their names, or as a table says. Imports no torch."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from molchord.api import ReadingOptions
from molchord.data.spreadsheet import delimiter_of, opened_text, plain_title
from molchord.errors import QueryError, SampleError, did_you_mean
from molchord.library.filters import allowed_elements, mass_window, sought_formula

__all__ = ["GROUPING", "Asked", "Sample", "SpectrumFile", "grouped", "left_aside", "samples_of", "tabled"]

GROUPING = (
    "files of one folder whose names are equal up to suffix and spectrum (a.ir.csv, a_raman.csv, a.mgf) are one "
    "sample; a file of many entries alone is a sample per entry; `--samples TABLE` says it otherwise"
)
"""The rule, as it is printed."""

_COLUMNS = ("sample", "file", "modality", "mass", "formula", "elements", "mz", "adduct")
_BETWEEN = "._- "

_ASIDE = {
    ".bmp", ".doc", ".docx", ".gif", ".html", ".ini", ".jpeg", ".jpg", ".log", ".md", ".odt", ".pdf", ".png", ".ppt",
    ".pptx", ".py", ".rst", ".rtf", ".svg", ".tif", ".tiff", ".webp", ".yaml", ".yml", ".zip",
}  # fmt: skip
"""What lies beside spectra in a folder: no spectrum has such a suffix. A file that is named itself is read anyway."""


@final
@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is known of a sample besides its spectra: exact mass in Da, sum formula, elements allowed."""

    mass: float | None = None
    formula: str | None = None
    elements: str | None = None

    @classmethod
    def of(
        cls,
        *,
        mass: float | None = None,
        formula: str | None = None,
        elements: str | None = None,
        mz: float | None = None,
        adduct: str | None = None,
        ppm: float | None = None,
        da: float | None = None,
    ) -> Asked:
        """Check what a user says, and turn the m/z of an ion into the mass of its molecule.

        Raises:
            QueryError: A number makes no sense, a formula, element or adduct cannot be read, or two contradict.

        Example:
            >>> Asked.of(formula="c9h8o4", elements="C, H, O")
            Asked(mass=None, formula='C9H8O4', elements='C,H,O')
        """
        if (mz is None) != (adduct is None):
            lacking = "--adduct" if adduct is None else "--mz"
            raise QueryError(
                f"`--mz` and `--adduct` belong together; add {lacking}, such as --mz 195.0877 --adduct '[M+H]+'"
            )
        if mz is not None and mass is not None:
            raise QueryError("`--mass` is the molecule's own, and `--mz` with `--adduct` gives it too; leave one out")
        if mz is not None and not (math.isfinite(mz) and mz > 0):
            raise QueryError(f"`--mz` is {mz!r}, but must be a positive number")
        if mz is not None and adduct is not None:
            from molchord.chem import neutral_mass  # RDKit, which is needed for an adduct only

            try:
                mass = neutral_mass(mz, adduct)
            except SampleError as error:
                raise QueryError(f"search failed: {error.reason}") from None
        mass_window(mass, ppm, da)
        return cls(
            mass=mass,
            formula=None if formula is None else sought_formula(formula),
            elements=None if elements is None else ",".join(sorted(allowed_elements(elements))),
        )

    def over(self, other: Asked) -> Asked:
        """Return this, with what it does not say as the other has it."""
        mine = {name: value for name, value in asdict(self).items() if value is not None}
        return Asked(**{**asdict(other), **mine})


@final
@dataclass(frozen=True, kw_only=True)
class SpectrumFile:
    """A file of a sample.

    Attributes:
        path: Where it is.
        label: What it is called in answers.
        modality: What it is a spectrum of, where its name or the table says; None: the file is asked.
        entry: Which of its entries is meant, from 1; None: all.
        options: How a table is read that does not say all itself.
    """

    path: Path
    label: str
    modality: str | None = None
    entry: int | None = None
    options: ReadingOptions | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Sample:
    """Files of one sample.

    Attributes:
        id: What it is called.
        files: At least one.
        asked: What is known of it.
        together: Whether all entries of its files are of it, as a table says; else entries of its only file are samples
            each.
    """

    id: str
    files: tuple[SpectrumFile, ...]
    asked: Asked = Asked()
    together: bool = False


def samples_of(
    given: Sequence[str | Path], modalities: Sequence[str], table: str | Path | None = None, asked: Asked | None = None
) -> list[Sample]:
    """Group files into samples, in the order of their names or of the table.

    Args:
        given: Folders and files; with a table, none is needed.
        modalities: The run's spectra, whose names at the end of a file's name say what it is.
        table: A table with the columns `sample` and `file`, and optionally `modality`, `mass`, `formula`, `elements`,
            `mz` and `adduct`; its files are beside it or in the folder given.
        asked: What is known of every sample for which the table does not say it.

    Raises:
        QueryError: A path does not exist, there is no file, or the table is wrong.
    """
    known = asked or Asked()
    if table is not None:
        return tabled(Path(table), [Path(one) for one in given], modalities, known)
    if not given:
        raise QueryError("no spectrum was given; name a folder or files, or a table of them by `--samples TABLE`")
    found: dict[Path, str] = {}
    for one in map(Path, given):
        for path, label in _below(one):
            found.setdefault(path, label)
    if not found:
        raise QueryError(f"folder {str(given[0])!r} holds no spectrum; put the files there, or give another folder")
    return grouped(found, modalities, known)


def _below(path: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files of a folder, hidden ones left out, or the file, each with what it is called."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            inner = file.relative_to(path)
            hidden = any(part.startswith(".") for part in inner.parts)
            if file.is_file() and not hidden and file.suffix.lower() not in _ASIDE:
                yield file, inner.as_posix()
    elif path.is_file():
        yield path, path.name
    else:
        raise QueryError(f"{str(path)!r} does not exist; give a folder of spectra or their files")


def left_aside(given: Sequence[str | Path]) -> list[str]:
    """Return the files of folders that are documents or pictures by their suffix, and so not taken for spectra."""
    folders = [Path(one) for one in given if Path(one).is_dir()]
    return sorted(
        file.relative_to(folder).as_posix()
        for folder in folders
        for file in folder.rglob("*")
        if file.suffix.lower() in _ASIDE and file.is_file()
    )


# --- by stem ---------------------------------------------------------------------------------------------------------


def grouped(files: Mapping[Path, str], modalities: Sequence[str], asked: Asked | None = None) -> list[Sample]:
    """Group files by the stems of their names.

    Example:
        >>> names = ["a.ir.csv", "a_raman.csv", "a.mgf", "b.mgf"]
        >>> [(s.id, len(s.files)) for s in grouped({Path(n): n for n in names}, ["ir", "raman"])]
        [('a', 3), ('b', 1)]
    """
    groups: dict[tuple[Path, str], list[tuple[str, SpectrumFile]]] = {}
    for path, label in files.items():
        stem, modality = _stem(path, modalities)
        # A file that is called by its spectrum alone belongs to what its folder is of.
        name = stem or path.resolve().parent.name
        folder = Path(label).parent
        called = (folder.parent if not stem and folder.name == name else folder) / name
        groups.setdefault((path.parent, stem), []).append(
            (called.as_posix(), SpectrumFile(path=path, label=label, modality=modality))
        )
    taken: dict[str, int] = {}
    out = []
    for members in groups.values():
        id = members[0][0]
        taken[id] = taken.get(id, 0) + 1
        id = id if taken[id] == 1 else f"{id} ({taken[id]})"
        out.append(Sample(id=id, files=tuple(file for _, file in members), asked=asked or Asked()))
    return out


def _stem(path: Path, modalities: Sequence[str]) -> tuple[str, str | None]:
    """Return the name of a file without suffix and spectrum, and the spectrum, where one is named."""
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    stem, dot, suffix = name.rpartition(".")
    if not dot or not stem:
        stem, suffix = name, ""
    by_length = sorted(modalities, key=len, reverse=True)
    for modality in by_length:
        if suffix.lower() == modality.lower():
            return stem, modality
    for modality in by_length:
        if stem.lower() == modality.lower():
            return "", modality
        if stem.lower().endswith(modality.lower()) and stem[-len(modality) - 1] in _BETWEEN:
            return stem[: -len(modality)].rstrip(_BETWEEN), modality
    return stem, None


# --- by table --------------------------------------------------------------------------------------------------------


def tabled(table: Path, folders: Sequence[Path], modalities: Sequence[str], asked: Asked) -> list[Sample]:
    """Group files as a table says.

    Raises:
        QueryError: The table cannot be read, lacks a column, or a row of it is wrong; the line is named.
    """
    files: dict[str, list[SpectrumFile]] = {}
    known: dict[str, Asked] = {}
    for line, cells in _rows(table):
        place = f"table {str(table)!r}, line {line}"
        sample, name = cells["sample"], cells["file"]
        if not sample or not name:
            raise QueryError(f"{place}: the cell of `{'file' if sample else 'sample'}` is blank; fill it in")
        modality = cells.get("modality") or None
        if modality is not None and modality not in modalities:
            raise QueryError(f"{place}: the run has no spectrum {modality!r}; {did_you_mean(modality, modalities)}")
        one = SpectrumFile(path=_found(name, table, folders, place), label=name, modality=modality)
        if any((other.path, other.modality) == (one.path, one.modality) for other in files.get(sample, ())):
            raise QueryError(f"{place}: file {name!r} is given twice for sample {sample!r}; leave one row out")
        files.setdefault(sample, []).append(one)
        try:
            here = Asked.of(**_facts(cells))
        except QueryError as error:
            raise QueryError(f"{place}: {error}") from None
        before = asdict(known.get(sample, Asked()))
        for fact, value in asdict(here).items():
            if value is not None and before[fact] not in (None, value):
                raise QueryError(
                    f"{place}: sample {sample!r} has {fact} {value!r} here and {before[fact]!r} before; a sample is "
                    "one molecule"
                )
        known[sample] = here.over(known.get(sample, Asked()))
    if not files:
        raise QueryError(f"table {str(table)!r} has no row; name a sample and a file in each")
    return [
        Sample(id=sample, files=tuple(own), asked=known[sample].over(asked), together=True)
        for sample, own in files.items()
    ]


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    if not table.is_file():
        raise QueryError(f"table {str(table)!r} does not exist; give one with the columns `sample` and `file`")
    try:
        with opened_text(table) as file:
            first = file.readline()
            delimiter = delimiter_of(first)
            titles = [plain_title(title) for title in next(csv.reader([first], delimiter=delimiter), [])]
            for name in ("sample", "file"):
                if titles.count(name) != 1:
                    raise QueryError(
                        f"table {str(table)!r} needs one column `{name}`; {did_you_mean(name, titles)} "
                        f"(columns that are read: {', '.join(_COLUMNS)})"
                    )
            reader = csv.reader(file, delimiter=delimiter)
            for cells in reader:
                line = reader.line_num + 1
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(titles):
                    raise QueryError(
                        f"table {str(table)!r}, line {line}: the row has {len(cells)} cells and the header "
                        f"{len(titles)}; correct it"
                    )
                yield line, {name: cell.strip() for name, cell in zip(titles, cells, strict=True) if name in _COLUMNS}
    except (OSError, EOFError, UnicodeError, csv.Error) as error:
        raise QueryError(f"table {str(table)!r} cannot be read ({error}); save it as CSV") from error


def _found(name: str, table: Path, folders: Sequence[Path], place: str) -> Path:
    for folder in (table.parent, *folders):
        if (folder / name).is_file():
            return folder / name
    for file in folders:
        if file.is_file() and file.name == name:
            return file
    raise QueryError(f"{place}: file {name!r} does not exist beside the table{' or in the folder' if folders else ''}")


def _facts(cells: Mapping[str, str]) -> dict[str, Any]:
    """Return the cells of a row that say something of the sample."""
    facts: dict[str, Any] = {name: cells[name] for name in ("formula", "elements", "adduct") if cells.get(name)}
    for name in ("mass", "mz"):
        if cells.get(name):
            try:
                facts[name] = float(cells[name])
            except ValueError:
                raise QueryError(f"`{name}` is {cells[name]!r}, which is not a number") from None
    return facts
