"""The samples of a case at work: what their files hold, how far they are, and their last answers."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from typing import final

from molchord.api import SampleError
from molchord.case.answering import KeptAnswers
from molchord.case.case import Case
from molchord.case.record import FileRecord, Question, SampleRecord
from molchord.chem import canonical_adduct
from molchord.errors import MolchordError, QueryError
from molchord.identify.answers import Answer
from molchord.identify.reading import SpectrumEntry, sentence_of
from molchord.identify.samples import Asked
from molchord.look.words import modality_title, titles
from molchord.page.answers import hit_view, hits_again, light_of
from molchord.page.jobs import Jobs
from molchord.page.loaded import Loaded, Readings
from molchord.page.models import AskedView, ChipView, FileView, ReadingView, SampleView, State
from molchord.page.said import without_paths
from molchord.properties import Estimates
from molchord.run import Run
from molchord.run_place import spectra_of_run

__all__ = ["ENTRIES", "Samples", "asked_view"]

ENTRIES = 500
"""Entries of a file that become samples at most."""


@final
class Samples:
    """What is known of the samples of a case beside its record.

    Args:
        case: The case.
        loaded: Its model.
        jobs: What is searched for.

    Attributes:
        answers: The answers that are kept.
        readings: Files that were read.
    """

    def __init__(self, case: Case, loaded: Loaded, jobs: Jobs) -> None:
        self._case, self._loaded, self._jobs = case, loaded, jobs
        self.answers = KeptAnswers(case.folder)
        self.readings = Readings()
        self._failures: dict[str, tuple[str, str]] = {}
        self._groups: dict[str, tuple[str, Estimates]] = {}
        self._settling = threading.Lock()

    def spectra(self) -> dict[str, str]:
        """Return the techniques that the model takes, by name, with their titles; the model need not be loaded."""
        if self._loaded.is_ready:
            named = titles(self._loaded.run.graph)
            return {name: named[name] for name in self._loaded.run.spectra}
        try:
            return {name: modality_title(name) for name in spectra_of_run(self._case.record.run.path)}
        except MolchordError:  # which loading says
            return {}

    def fail(self, id: str, key: str, reason: str) -> None:
        """Note why a sample has no answer."""
        self._failures[id] = key, without_paths(reason)

    def keep(self, sample: SampleRecord, key: str, answer: Answer) -> None:
        """Keep an answer, and what its hits have in common."""
        self.answers.keep(key, answer)
        self._failures.pop(sample.id, None)
        self.groups_of(sample, key, answer)

    def settle(self) -> None:
        """Read files that were not read yet, and make a sample of each entry of a file of many."""
        if not self._loaded.is_ready:
            return
        run = self._loaded.run
        with self._settling:
            for sample in self._case.record.samples:
                unread = [file for file in sample.files if file.entries is None and file.entry is None]
                for file in unread:
                    entries, error = self.read(run, file)
                    several = error is None and len({one.modality for one in entries}) < len(entries)
                    if several and len(sample.files) == 1:
                        self._case.split(sample.id, len(entries), ENTRIES)
                    elif error is None:
                        self._case.change_file(file.id, entries=len(entries))

    def read(self, run: Run, file: FileRecord) -> tuple[list[SpectrumEntry], str | None]:
        """Return what a file holds, and why nothing can be read of it."""
        try:
            return self.readings(run.embedder, self._case.spectrum_file(file))[0], None
        except SampleError as error:
            return [], without_paths(sentence_of(error))
        except OSError as error:
            return [], f"file {file.name!r} cannot be read ({error.strerror}); add it again"

    def view(self, sample: SampleRecord) -> SampleView:
        """Return a sample as a row of the list."""
        run = self._loaded.run if self._loaded.is_ready else None
        files, chips, error = [], {}, None
        choices = self.spectra()
        for file in sample.files:
            entries, problem = self.read(run, file) if run is not None else ([], None)
            error = error or problem
            found = entries[0].modality if entries else file.modality
            for name in dict.fromkeys([*(one.modality for one in entries), *([found] if found else [])]):
                chips[name] = ChipView(modality=name, title=choices.get(name, name))
            files.append(_file_view(file, found, choices, len(entries) or None, problem))
        key, last = self._case.key(sample), self.answers.last(sample.id)
        answer = last[1] if last is not None else None
        failed = self._failures.get(sample.id)
        if error is None and failed is not None and failed[0] == key:
            error = failed[1]
        job = self._jobs.of_sample(sample.id)
        current = last is not None and last[0] == key
        state = _state(searched=job is not None, failed=error is not None, current=current, loaded=run is not None)
        best = hit_view(sample, answer, answer.hits[0]) if answer is not None and answer.hits else None
        return SampleView(
            id=sample.id, name=sample.name, files=tuple(files), chips=tuple(chips.values()),
            asked=asked_view(sample.asked), clean=sample.clean, state=state,
            light=light_of(answer if current else None, error is not None), best=best,
            probability=None if best is None else best.probability,
            none_of_these=None if answer is None else answer.none_of_these, decision=sample.decision,
            decided_key14=sample.decided_key14, comment=sample.comment, error=error, job=job,
        )  # fmt: skip

    def is_current(self, sample: SampleRecord) -> bool:
        """Return whether a sample is answered as it is now."""
        last = self.answers.last(sample.id)
        return last is not None and last[0] == self._case.key(sample)

    def last(self, sample: SampleRecord) -> tuple[str, Answer]:
        """Return the key and the last answer of a sample.

        Raises:
            QueryError: There is none, or it failed as it is now.
        """
        last = self.answers.last(sample.id)
        failed = self._failures.get(sample.id)
        if failed is not None and failed[0] == self._case.key(sample):
            raise QueryError(failed[1])
        if last is None:
            raise QueryError(f"sample {sample.name!r} was not searched for yet; search for it first")
        return last

    def groups_of(self, sample: SampleRecord, key: str, answer: Answer) -> Estimates | None:
        """Return which functional groups the molecule of an answer has; None where there is nothing to say."""
        kept = self._groups.get(sample.id)
        if kept is None or kept[0] != key:
            try:
                kept = key, self._loaded.run.groups(hits_again(answer))
            except MolchordError:  # there is nothing to say
                return None
            self._groups[sample.id] = kept
        return kept[1]


def _state(*, searched: bool, failed: bool, current: bool, loaded: bool) -> State:
    if searched:
        return "searching"
    if failed:
        return "failed"
    if current:
        return "answered"
    return "waiting" if loaded else "new"


def asked_view(asked: Question) -> AskedView:
    """Return what is known, with the mass of the ion and formula and adduct in one spelling."""
    values = asked.model_dump()
    try:
        plain = Asked.of(**values)
    except QueryError:
        return AskedView(**values)
    adduct = canonical_adduct(asked.adduct) if asked.adduct else None
    return AskedView(**{**values, **dataclasses.asdict(plain), "adduct": adduct})


def _file_view(
    file: FileRecord, modality: str | None, named: Mapping[str, str], entries: int | None, error: str | None
) -> FileView:
    return FileView(
        id=file.id, name=file.name, bytes=file.bytes, modality=modality,
        title=named.get(modality, modality) if modality else "", entry=file.entry,
        entries=file.entries if file.entries is not None else entries,
        reading=ReadingView(**file.reading.model_dump()),
        choices=tuple(named), error=error,
    )  # fmt: skip
