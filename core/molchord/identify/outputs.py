"""Answers as files for other programs: a table, an SD file, JSON, and the list of failures."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from molchord.chem import sd_entry
from molchord.errors import SampleError
from molchord.files import remove, replace_file, write_csv
from molchord.identify.answers import Answer, Identified
from molchord.vocabulary import FAILURES

__all__ = ["HEADER", "plain_cell", "write_results"]

HEADER = ("sample", "rank", "name", "SMILES", "formula", "probability", "none", "warnings", "files")
"""Columns of results.csv, after which those of the candidates' own list follow."""


def write_results(found: Identified, folder: Path) -> None:
    """Write results.csv, hits.sdf, results.json and, where something failed, failures.csv.

    Raises:
        OutputError: One cannot be written.
    """
    own = _own_columns(found.answers)
    titles = [title if title not in HEADER else f"candidate {title}" for title in own]
    write_csv(folder / "results.csv", (*HEADER, *map(plain_cell, titles)), _rows(found.answers, own))
    replace_file(folder / "hits.sdf", "".join(_sd_entries(found.answers)))
    replace_file(folder / "results.json", json.dumps(as_json(found), indent=1, ensure_ascii=False) + "\n")
    if found.failures:
        rows = [map(plain_cell, (one.sample, "; ".join(one.files), one.reason)) for one in found.failures]
        write_csv(folder / FAILURES, ("sample", "files", "reason"), [tuple(row) for row in rows])
    elif (folder / FAILURES).exists():
        remove(folder / FAILURES)


def as_json(found: Identified) -> dict[str, Any]:
    """Return answers and failures as JSON values; texts are as they were given."""
    return {
        "answers": [dataclasses.asdict(answer) for answer in found.answers],
        "failures": [dataclasses.asdict(failure) for failure in found.failures],
        "notes": list(found.notes),
    }


def plain_cell(text: str) -> str:
    """Return text that no spreadsheet takes for a formula: what begins like one has an apostrophe before it.

    Example:
        >>> plain_cell("=1+1"), plain_cell("-12.5"), plain_cell("aspirin")
        ("'=1+1", '-12.5', 'aspirin')
    """
    if not text.startswith(("=", "+", "-", "@", "\t", "\r")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def _own_columns(answers: Sequence[Answer]) -> list[str]:
    return list(dict.fromkeys(title for answer in answers for hit in answer.hits for title in hit.columns))


def _rows(answers: Sequence[Answer], own: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    for answer in answers:
        none = "" if answer.none_of_these is None else f"{answer.none_of_these:.4f}"
        for hit in answer.hits:
            alone = [one for one in hit.quality_warnings if one not in answer.warnings]
            warnings = [*answer.warnings, *(_not_calibrated(answer)), *alone]
            yield (
                plain_cell(answer.sample),
                hit.rank,
                plain_cell(hit.name),
                hit.smiles,
                hit.formula,
                "" if hit.probability is None else f"{hit.probability:.4f}",
                none,
                plain_cell("; ".join(warnings)),
                plain_cell("; ".join(answer.files)),
                *(plain_cell(str(hit.columns.get(title, ""))) for title in own),
            )


def _not_calibrated(answer: Answer) -> list[str]:
    names = " and ".join(map(repr, answer.uncalibrated))
    return [f"not calibrated for measured spectra ({names})"] if names else []


def _sd_entries(answers: Sequence[Answer]) -> Iterator[str]:
    for answer in answers:
        for hit in answer.hits:
            properties = {
                "sample": answer.sample,
                "rank": str(hit.rank),
                "probability": "" if hit.probability is None else f"{hit.probability:.4f}",
                "none of these": "" if answer.none_of_these is None else f"{answer.none_of_these:.4f}",
                "formula": hit.formula,
                **{f"candidate {t}" if t in ("sample", "rank") else t: str(v) for t, v in hit.columns.items()},
            }
            try:
                yield sd_entry(hit.smiles, hit.name or hit.smiles, properties)
            except SampleError:
                continue  # which the table and the JSON hold all the same
