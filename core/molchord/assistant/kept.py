"""What is loaded or found once and used again: runs, embedded candidates, references, and answers to ask more about."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, final

from molchord.assistant.roots import Roots
from molchord.errors import DataError, QueryError, did_you_mean
from molchord.run_place import find_run, spectra_of_run

if TYPE_CHECKING:
    from molchord.library.hits import Hits
    from molchord.library.library import Library
    from molchord.references import References
    from molchord.run import Run

__all__ = ["FoundAnswer", "Kept", "NextStep", "noted"]

NextStep: TypeAlias = Callable[[str], None]
"""Is told what is done next, and may raise to stop it."""

MOST_CANDIDATES = 1000
"""SMILES at most that are given one by one."""

_LISTS, _ANSWERS = 4, 200

_T = TypeVar("_T")


@final
@dataclass(frozen=True, kw_only=True)
class FoundAnswer:
    """An answer that more can be asked about.

    Attributes:
        run: The model that found it.
        spectra: Measurements that were searched with, cleaned up, by modality.
        hits: All that were found, more than were told.
        mass: Exact mass in Da that was asked for.
    """

    run: Run
    spectra: Mapping[str, Any]
    hits: Hits
    mass: float | None


@final
class Kept:
    """Runs and candidates by the names under which they are offered; each is loaded when it is first asked for.

    Args:
        runs: Run folders, or ``pretrained``; the first is the default.
        candidates: Lists of candidates; the first is the default.
        roots: Where other lists, and references, may be.
        device: Where models are; None: a GPU where there is one.

    Raises:
        RunError: A run is not there.
    """

    def __init__(
        self, runs: Sequence[str], candidates: Sequence[str], roots: Roots, *, device: str | None = None
    ) -> None:
        self.spectra = {run: spectra_of_run(run) for run in runs}
        self.candidates = tuple(candidates)
        self._roots, self._device = roots, device
        self._runs: dict[str, tuple[Run, tuple[str, ...]]] = {}
        self._libraries: OrderedDict[Hashable, Library] = OrderedDict()
        self._references: OrderedDict[Hashable, References] = OrderedDict()
        self._answers: OrderedDict[str, FoundAnswer] = OrderedDict()
        self._counted = 0

    def card(self, run: str) -> Path | None:
        """Return where a run's card is; None where it has none."""
        path = find_run(run) / "README.md"
        return path if path.is_file() else None

    def named_run(self, name: str | None) -> str:
        """Return the name of a run that is offered.

        Raises:
            QueryError: It is not.
        """
        chosen = next(iter(self.spectra)) if name is None else name
        if chosen not in self.spectra:
            raise QueryError(f"run {chosen!r} is not offered; {did_you_mean(chosen, self.spectra)}")
        return chosen

    def run(self, name: str | None, step: NextStep) -> tuple[Run, tuple[str, ...]]:
        """Return a run, and what loading it warned of.

        Raises:
            QueryError: It is not offered.
            RunError: It cannot be loaded.
        """
        chosen = self.named_run(name)
        if chosen not in self._runs:
            step(f"loading the model {chosen!r}")
            from molchord.run import Run

            with noted() as said:
                run = Run.load(chosen, device=self._device)
            self._runs[chosen] = run, tuple(said)
        return self._runs[chosen]

    def library(self, run: Run, given: str | Sequence[str] | None, step: NextStep) -> tuple[Library, str]:
        """Return candidates, embedded where no earlier call has done so, and what they are called.

        Args:
            run: The model.
            given: A name that is offered, a shipped list, a file below the roots, or SMILES one by one.
            step: Is told that they are embedded.

        Raises:
            QueryError: There is no such list.
            DataError: It cannot be read.
        """
        from molchord.library.cache import cached_library

        source, name = self._source(given)
        key = (run.id, *_state(source)) if isinstance(source, Path) else (run.id, name, *source)

        def made() -> Library:
            step(f"preparing the candidates {name!r}, which takes a minute or two for a long list the first time")
            library = cached_library(run.embedder, source, run=run.id)
            library.hold_few(str(run.device))
            return library

        return _remembered(self._libraries, key, made), name

    def references(self, run: Run, given: str | None, step: NextStep) -> References | None:
        """Return a data set below the roots as references; None where none is asked for.

        Raises:
            QueryError: There is no such folder.
            DataError: It is not a data set with spectra that the run takes.
        """
        if given is None:
            return None
        path = self._roots.real(self._roots.find(given))

        def made() -> References:
            step(f"opening the references {given!r}")
            found = run.open_references(path)
            if found is None:
                raise DataError(f"references {given!r} cannot be opened; give a data set")
            return found

        return _remembered(self._references, (run.id, str(path)), made)

    def keep(self, answer: FoundAnswer) -> str:
        """Keep an answer, and return the handle by which it is found again."""
        self._counted += 1
        handle = f"A{self._counted}"
        self._answers[handle] = answer
        if len(self._answers) > _ANSWERS:
            self._answers.popitem(last=False)
        return handle

    def answer(self, handle: str) -> FoundAnswer:
        """Return an answer that was found before.

        Raises:
            QueryError: It is not kept.
        """
        if handle not in self._answers:
            there = f"; the last one is {next(reversed(self._answers))!r}" if self._answers else ""
            raise QueryError(f"answer {handle!r} is not kept{there}; call `identify` again, and take its `answer`")
        return self._answers[handle]

    def _source(self, given: str | Sequence[str] | None) -> tuple[Path | Sequence[str], str]:
        """Return where candidates are, or they themselves, and what they are called."""
        from molchord.data.candidates import shipped_list

        if not isinstance(given, str) and given is not None:
            if not 0 < len(given) <= MOST_CANDIDATES:
                raise QueryError(
                    f"{len(given)} SMILES were given as candidates; give 1 to {MOST_CANDIDATES}, or a file of them"
                )
            return tuple(given), f"{len(given)} structures given"
        name = self.candidates[0] if given is None else given
        own = shipped_list(name) or (Path(name) if name in self.candidates else None)
        return own or self._roots.real(self._roots.find(name)), name


@contextmanager
def noted() -> Iterator[list[str]]:
    """Collect what is warned of within a block, each sentence once, in place of printing it."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield said
    ours = [str(one.message) for one in caught if issubclass(one.category, UserWarning)]
    said.extend(dict.fromkeys(ours))


def _state(path: Path) -> tuple[Hashable, ...]:
    """Return what tells a file from a later one of its name."""
    about = path.stat() if path.exists() else None
    return str(path.resolve()), None if about is None else (about.st_mtime_ns, about.st_size)


def _remembered(kept: OrderedDict[Hashable, _T], key: Hashable, make: Callable[[], _T]) -> _T:
    """Return what is kept under a key, made where it is not; the one that was not asked for longest goes."""
    if key not in kept:
        kept[key] = make()
    kept.move_to_end(key)
    if len(kept) > _LISTS:
        kept.popitem(last=False)
    return kept[key]
