"""What is loaded once and serves all: the run, its candidates and references, and files that were read."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from molchord.api import SampleError
from molchord.case.case import Case
from molchord.embedder import Embedder
from molchord.errors import MolchordError, QueryError
from molchord.identify.batch import identity_of
from molchord.identify.reading import Read, entries_of_file, entry_meant
from molchord.identify.samples import SpectrumFile
from molchord.library.cache import cached_library
from molchord.library.library import Library
from molchord.library.quality import formulas_beyond
from molchord.page.jobs import Steps
from molchord.references import References
from molchord.run import Run
from molchord.vocabulary import FAILURES

__all__ = ["Candidates", "Loaded", "Readings"]

_READ = 400
"""Files whose entries are kept in memory."""


@final
class Candidates:
    """Embedded candidates, ready to be searched and counted.

    Attributes:
        library: The candidates.
        unseen: Rows of elements or sizes that the run hardly met, ascending.
        skipped: Rows of the list that could not be read.
    """

    def __init__(self, run: Run, library: Library) -> None:
        self.library = library
        library.hold_few(str(run.device))
        beyond = formulas_beyond(library, run.manifest.domain, run.spectra)
        self.unseen: NDArray[np.int64] = library.rows_of_formulas(beyond)
        self.skipped = _lines(library.path / FAILURES)
        self._lock = threading.Lock()
        self._counted: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def count(self, limits: Mapping[str, Any]) -> tuple[int, int]:
        """Return how many candidates pass filters, and how many of those the run never saw the like of.

        Raises:
            QueryError: A filter makes no sense.
        """
        key = repr(sorted(limits.items()))
        with self._lock:
            if key not in self._counted:
                rows = self.library.filter(**limits)
                unseen = sum(
                    int(np.searchsorted(self.unseen, part.stop) - np.searchsorted(self.unseen, part.start))
                    if isinstance(part, range)
                    else int(np.isin(part, self.unseen).sum())
                    for part in rows
                )
                self._counted[key] = sum(map(len, rows)), unseen
                if len(self._counted) > 1000:
                    self._counted.popitem(last=False)
            return self._counted[key]


@final
class Loaded:
    """The run of a case, its candidates and its references, loaded by the worker; what fails says so in a sentence.

    Args:
        case: The case.
        cache: Where embedded lists are kept; None: the user's cache folder.
        device: Where the model is; None: a GPU where there is one.
    """

    def __init__(self, case: Case, *, cache: Path | None = None, device: str | None = None) -> None:
        self._case, self._cache, self._device = case, cache, device
        self._run: Run | None = None
        self._candidates: Candidates | None = None
        self._of: str | None = None
        self.references: References | None = None
        self.run_error: str | None = None
        self.candidates_error: str | None = None
        self.notes: list[str] = []

    @property
    def is_ready(self) -> bool:
        """Whether the run is loaded."""
        return self._run is not None

    @property
    def run(self) -> Run:
        """The run.

        Raises:
            QueryError: It is not loaded, or cannot be.
        """
        if self._run is None:
            raise QueryError(self.run_error or "the model is still being loaded; ask again in some seconds")
        return self._run

    @property
    def candidates(self) -> Candidates:
        """The candidates of the case as it is now.

        Raises:
            QueryError: They are not embedded yet, or cannot be.
        """
        if self.candidates_error is not None:
            raise QueryError(self.candidates_error)
        if self._candidates is None or self._of != self._case.record.candidates.sha256:
            raise QueryError("the candidates are still being prepared; ask again in some seconds")
        return self._candidates

    def open(self, run: Run | None = None, library: Library | None = None) -> Steps:
        """Load the run, where it is not given, then the candidates."""
        record = self._case.record
        yield f"loading the model {Path(record.run.path).name!r}"
        if self._run is None:
            try:
                self._run = run or Run.load(record.run.path, device=self._device)
            except MolchordError as error:
                self.run_error = str(error)
                raise
            if record.run.identity not in (None, self._run.id):
                self.notes.append(
                    f"model {Path(record.run.path).name!r} is not the one that the case was answered with; its answers "
                    "will be found again"
                )
            self._case.choose_run(record.run.path, self._run.id)
            self._open_references()
        yield from self.embed(library)

    def embed(self, library: Library | None = None) -> Steps:
        """Embed the candidates of the case, where no earlier case has done so."""
        record = self._case.record.candidates
        yield f"preparing the candidates {record.name!r}, which takes a while the first time"
        self.candidates_error = None
        try:
            run = self.run
            if library is None:
                library = cached_library(run.embedder, self._case.candidates_source(), run=run.id, cache=self._cache)
            found = Candidates(run, library)
        except MolchordError as error:
            self.candidates_error = str(error)
            raise
        self._candidates, self._of = found, record.sha256
        if record.identity != (identity := identity_of(library)):
            self._case.change(candidates=record.model_copy(update={"identity": identity}))

    def _open_references(self) -> None:
        references = self._case.record.references
        if references is not None:
            try:
                self.references = self.run.open_references(references.source)
            except MolchordError as error:
                self.notes.append(str(error))


@final
class Readings:
    """Files that were read, by their content and how they were read: each is read once, from any thread."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Any, ...], Read | SampleError] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, embedder: Embedder, file: SpectrumFile) -> Read:
        """Return the entries of a file as `entries_of_file` does.

        Raises:
            SampleError: It cannot be read.
        """
        key = (str(file.path), file.label, file.modality, file.options)
        with self._lock:
            if key not in self._kept:
                try:
                    self._kept[key] = entries_of_file(embedder, _whole(file))
                except SampleError as error:
                    self._kept[key] = error
                if len(self._kept) > _READ:
                    self._kept.popitem(last=False)
            found = self._kept[key]
        if isinstance(found, SampleError):
            raise found
        return entry_meant(file, found)

    def forget(self) -> None:
        """Read files again, as after one was replaced."""
        with self._lock:
            self._kept.clear()


def _whole(file: SpectrumFile) -> SpectrumFile:
    return SpectrumFile(path=file.path, label=file.label, modality=file.modality, options=file.options)


def _lines(path: Path) -> int:
    """Return how many rows a table has, 0 where there is none."""
    if not path.is_file():
        return 0
    with path.open(encoding="utf-8", errors="replace") as file:
        return max(0, sum(1 for _ in file) - 1)
