"""From what a user names to an open case: a case, a folder of spectra, or a folder that is to be made."""

from __future__ import annotations

from pathlib import Path

from molchord.case.case import Case, is_case
from molchord.errors import DataError
from molchord.files import sha256_file
from molchord.identify.samples import GROUPING, left_aside, samples_of

__all__ = ["NEW", "opened", "spectra_in"]

NEW = "molchord-case"
"""Folder of a case where none is named."""


def opened(
    folder: str | Path | None, *, run: str | None = None, candidates: str | None = None, references: str | None = None
) -> Case:
    """Open a case, or make one; what is given goes before what the case says.

    Args:
        folder: A case; a folder of spectra, whose case is beside it and called ``FOLDER.case``; a folder that is not
            there, which becomes a case; None: `NEW` in the working directory.
        run: A run; None: the case's, of a new one the shipped run.
        candidates: Candidates; None: the case's, of a new one the shipped list.
        references: A data set; None: the case's.

    Raises:
        DataError: The folder is a file, a damaged case, or open in another program; or there are no such candidates.
        OutputError: It cannot be written.
    """
    path = Path(NEW if folder is None else folder)
    if path.is_file():
        raise DataError(f"{str(path)!r} is a file; give its folder, and its case will be beside it")
    if not is_case(path) and path.is_dir() and any(one.name != ".lock" for one in path.iterdir()):
        path = path.resolve()
        path = path.with_name(f"{path.name}.case")
    if not is_case(path):
        return Case.create(
            path, run=run or "pretrained", candidates=candidates or "ordinary", references=references,
            name=path.resolve().name.removesuffix(".case"),
        )  # fmt: skip
    case = Case.open(path)
    try:
        if run is not None:
            case.choose_run(run)
        if candidates is not None:
            case.choose_candidates(candidates)
        if references is not None:
            case.choose_references(references)
    except BaseException:
        case.close()
        raise
    return case


def spectra_in(folder: Path, case: Case) -> tuple[dict[str, Path], str]:
    """Return the spectra of a folder that a case does not hold yet, by name, and a sentence about what was left aside.

    Raises:
        QueryError: There is no file.
    """
    known = {file.sha256 for sample in case.record.samples for file in sample.files}
    found = {file.label: file.path for sample in samples_of([folder], []) for file in sample.files}
    new = {label: path for label, path in found.items() if sha256_file(path) not in known}
    aside = left_aside([folder])
    said = f"{len(new)} new {'file' if len(new) == 1 else 'files'}; {GROUPING}"
    return new, f"{said}; left aside: {', '.join(aside)}" if aside else said
