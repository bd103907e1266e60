"""Answers of a case as files: what `molchord identify` writes, with decisions and comments, and the case itself."""

from __future__ import annotations

import dataclasses
import io
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import final

from molchord.case.case import CASE_FILE, Case
from molchord.case.record import CandidatesRecord, SampleRecord
from molchord.errors import QueryError, did_you_mean
from molchord.identify.answers import Answer, Identified
from molchord.identify.journal import ANSWERS
from molchord.identify.outputs import write_results
from molchord.identify.reading import Failure
from molchord.page.said import without_paths

__all__ = ["FORMS", "Export", "exported"]

FORMS = {
    "csv": ("results.csv", "text/csv; charset=utf-8"),
    "sdf": ("hits.sdf", "chemical/x-mdl-sdfile; charset=utf-8"),
    "json": ("results.json", "application/json"),
    "report": ("report.html", "text/html; charset=utf-8"),
    "case": ("case.zip", "application/zip"),
}
"""File that is written and its media type, by form."""


@final
@dataclass(frozen=True)
class Export:
    """A file to send: its name, of plain letters, its media type and its content."""

    name: str
    media: str
    content: bytes


def exported(
    form: str,
    case: Case,
    answers: Sequence[tuple[SampleRecord, Answer]],
    failures: Sequence[Failure],
    report: Callable[[Identified, Mapping[str, str], Path], None],
) -> Export:
    """Return the answers of a case as a file.

    Args:
        form: One of `FORMS`.
        case: The case.
        answers: Samples with their answers.
        failures: Samples without one.
        report: Writes the report of answers, given the ids of their samples by name.

    Raises:
        QueryError: There is no such form, or no answer to write.
    """
    if form not in FORMS:
        raise QueryError(f"there is no export {form!r}; {did_you_mean(form, FORMS)}")
    file, media = FORMS[form]
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", case.record.name).strip("-")[:60] or "case"
    name = f"{stem}.zip" if form == "case" else f"{stem}-{file}"
    if form == "case":
        return Export(name, media, _archive(case))
    if not answers:
        raise QueryError("no sample is answered yet, so there is nothing to export; search first")
    times = Counter(sample.name for sample, _ in answers)
    names = {one.id: one.name if times[one.name] == 1 else f"{one.name} ({one.id})" for one, _ in answers}
    found = Identified(
        answers=tuple(_named(sample, names[sample.id], answer, case.record.settings.k) for sample, answer in answers),
        failures=tuple(failures),
        notes=(f"candidates: {case.record.candidates.name}", f"model: {Path(case.record.run.path).name}"),
    )
    with TemporaryDirectory(prefix="molchord-export-") as made:
        folder = Path(made)
        if form == "report":
            report(found, {name: id for id, name in names.items()}, folder / file)
        else:
            write_results(found, folder)
        return Export(name, media, (folder / file).read_bytes())


def _named(sample: SampleRecord, name: str, answer: Answer, k: int) -> Answer:
    """Return an answer under its sample's name, with what was decided and noted as columns of its hits."""
    hits = []
    for hit in answer.hits[:k]:
        chosen = sample.decided_key14 in (None, hit.key14)
        decided = (sample.decision or "") if chosen else ""
        columns = {**hit.columns, "decision": decided, "comment": sample.comment}
        warnings = tuple(map(without_paths, hit.quality_warnings))
        hits.append(dataclasses.replace(hit, columns=columns, quality_warnings=warnings))
    return dataclasses.replace(
        answer, sample=name, hits=tuple(hits), warnings=tuple(map(without_paths, answer.warnings)),
        read=tuple(map(without_paths, answer.read)),
    )  # fmt: skip


def _archive(case: Case) -> bytes:
    """Return the case as an archive; where this machine has its run and lists stays here."""
    record = case.record
    candidates: CandidatesRecord = record.candidates
    if candidates.source is not None:
        candidates = candidates.model_copy(update={"source": Path(candidates.source).name})
    references = record.references
    if references is not None:
        references = references.model_copy(update={"source": Path(references.source).name})
    run = record.run.model_copy(update={"path": Path(record.run.path).name})
    moved = record.model_copy(update={"candidates": candidates, "references": references, "run": run})
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(CASE_FILE, moved.model_dump_json(indent=1) + "\n")
        files = {file.stored for sample in record.samples for file in sample.files}
        paths = [case.folder / "files" / stored for stored in sorted(files)]
        paths += [case.folder / "lists" / candidates.stored] if candidates.stored else []
        for path in (*paths, case.folder / ANSWERS):
            if path.is_file():
                archive.write(path, path.relative_to(case.folder).as_posix())
    return out.getvalue()
