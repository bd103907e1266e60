"""A sample of a case, searched for: the functions of `molchord.identify` with what the case says of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import final

from molchord.api import CleaningStep
from molchord.case.case import Case
from molchord.clean_up import steps_by_modality
from molchord.embedder import Embedder
from molchord.errors import MolchordError
from molchord.identify.answers import Answer
from molchord.identify.batch import Options, made_ready, searched_for
from molchord.identify.journal import Journal
from molchord.identify.reading import Failure, Read, Unknown, unknowns_of
from molchord.identify.samples import SpectrumFile
from molchord.library.library import Library
from molchord.properties import DEPTH
from molchord.query import embedded_queries
from molchord.references import References
from molchord.run_folder import RunManifest

__all__ = ["FileReader", "KeptAnswers", "find", "ready_of", "steps_of"]

FileReader = Callable[[Embedder, SpectrumFile], Read]
"""Reads a file."""


@final
class KeptAnswers:
    """The answers of a case, in the journal of `molchord identify`: the last one of each sample, with its key.

    Args:
        folder: The case's folder.

    Raises:
        OutputError: The journal cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._journal = Journal(folder, {"case": 1}, force=True).__enter__()

    def last(self, sample: str) -> tuple[str, Answer] | None:
        """Return the key and the answer of a sample; None where it was never answered."""
        return self._journal.done.get(sample)

    def keep(self, key: str, answer: Answer) -> None:
        """Keep an answer: it is on the disk when this returns."""
        self._journal.add(key, answer)

    def close(self) -> None:
        """Close the journal."""
        self._journal.__exit__(None, None, None)


def ready_of(embedder: Embedder, case: Case, id: str, read: FileReader | None = None) -> Unknown | Failure:
    """Return the spectra of a sample, cleaned up as the case says, or why they cannot be searched with."""
    sample = case.sample(id)
    try:
        [found] = unknowns_of(embedder, case.searched(id), read)
        if isinstance(found, Failure):
            return found
        return made_ready(embedder, found, steps_of(embedder, case, found), use_precursor=False)
    except MolchordError as error:  # what is known of it makes no sense, or a step of clean-up
        return Failure(sample=id, files=tuple(file.name for file in sample.files), reason=str(error))


def steps_of(embedder: Embedder, case: Case, unknown: Unknown) -> dict[str, list[CleaningStep]]:
    """Return the steps of clean-up that a sample's spectra go through, by modality.

    Raises:
        QueryError: A step is unknown.
    """
    asked = {name: text for name, text in case.sample(unknown.id).clean.items() if text and name in unknown.spectra}
    return steps_by_modality(asked, embedder.modalities, list(unknown.spectra))


def find(
    embedder: Embedder,
    manifest: RunManifest,
    library: Library,
    case: Case,
    id: str,
    *,
    references: References | None = None,
    read: FileReader | None = None,
) -> Answer | Failure:
    """Answer a sample, with as many hits as functional groups are estimated from.

    Args:
        embedder: The model.
        manifest: Of its run.
        library: The candidates.
        case: The case.
        id: The sample.
        references: Measurements of known molecules.
        read: Reads a file; None: as `molchord identify` does.
    """
    ready = ready_of(embedder, case, id, read)
    if isinstance(ready, Failure):
        return ready
    try:
        [query] = embedded_queries(embedder, [ready.spectra], [ready.asked.mass])
    except MolchordError as error:
        return Failure(sample=id, files=ready.files, reason=str(error))
    question = case.question(case.sample(id))
    options = Options(k=DEPTH, fusion=case.record.settings.fusion, ppm=question.ppm, da=question.da)
    found = searched_for(embedder, manifest, library, ready, query, options, references)
    return found if isinstance(found, Failure) else dataclasses.replace(found, sample=id)
