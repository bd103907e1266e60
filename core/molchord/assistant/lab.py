"""What the tools do, over the Python API: methods for one call at a time, which need no protocol."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from molchord.assistant.answers import (
    Available,
    Comparison,
    ExplainedHit,
    FileContent,
    Identification,
    OfferedFile,
    OfferedRun,
    SampleAnswer,
    Unanswered,
)
from molchord.assistant.kept import FoundAnswer, Kept, NextStep, noted
from molchord.assistant.roots import Roots
from molchord.assistant.telling import (
    conclusion_of,
    file_told,
    further_told,
    groups_told,
    molecule_told,
    rest_of,
    rounded,
    spectra_told,
)
from molchord.errors import MolchordError, QueryError, SampleError, check_whole, did_you_mean

if TYPE_CHECKING:
    from molchord.api import Measurement, ReadingOptions
    from molchord.identify.reading import Unknown
    from molchord.identify.samples import Asked, Sample
    from molchord.library.library import Library
    from molchord.references import References
    from molchord.run import Run

__all__ = ["Lab", "Wanted"]

MOST_HITS, MOST_SAMPLES, MOST_FILES, MOST_SPECTRA = 50, 50, 200, 10
"""What one call returns at most: an assistant reads all of it."""


@final
@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is known of samples and asked about them; as the tool `identify` describes it."""

    candidates: str | Sequence[str] | None = None
    mass: float | None = None
    mz: float | None = None
    adduct: str | None = None
    ppm: float | None = None
    da: float | None = None
    formula: str | None = None
    elements: str | None = None
    use_precursor: bool = False
    references: str | None = None
    clean: str | None = None
    k: int = 5
    run: str | None = None
    one_sample: bool = False
    modalities: Mapping[str, str] | None = None


@final
class Lab:
    """Runs, candidates and files that an assistant may use.

    Args:
        kept: Runs and candidates.
        roots: Where files may be.
    """

    def __init__(self, kept: Kept, roots: Roots) -> None:
        self.kept, self._roots = kept, roots

    @classmethod
    def of(
        cls,
        runs: Sequence[str],
        candidates: Sequence[str],
        files: Sequence[str | Path],
        *,
        device: str | None = None,
    ) -> Lab:
        """Make one of what a command line gives.

        Raises:
            QueryError: A folder is not there.
            RunError: A run is not there.
        """
        roots = Roots(files)
        return cls(Kept(runs, candidates, roots, device=device), roots)

    def available(self, folder: str | None = None) -> Available:
        """Return what can be asked about, and the files of all folders or of one of them.

        Raises:
            QueryError: There is no such folder.
        """
        from molchord.data.candidates import LISTS
        from molchord.host import installed

        shipped = sorted(path.name.partition(".")[0] for path in LISTS.glob("*.csv.gz"))
        files = list(islice(self._roots.names(folder), MOST_FILES + 1))
        host = installed()
        return Available(
            runs=[
                OfferedRun(
                    name=name, spectra=spectra, card=f"molchord://card/{number}" if self.kept.card(name) else None
                )
                for number, (name, spectra) in enumerate(self.kept.spectra.items(), start=1)
            ],
            candidates=list(dict.fromkeys([*self.kept.candidates, *shipped])),
            folders=[str(root) for root in self._roots.folders],
            files=[OfferedFile(name=name, bytes=size) for name, size in files[:MOST_FILES]],
            more_files=len(files) > MOST_FILES,
            modalities=[name for name in host.names("modality") if not host.find("modality", name).record.derives],
        )

    def read(
        self, files: Sequence[str], modality: str | None, options: ReadingOptions | None, step: NextStep
    ) -> list[FileContent]:
        """Return what files hold; one that cannot be read says why, and the others follow.

        Raises:
            QueryError: A name is not that of a file that may be read.
            PluginError: There is no such modality.
        """
        from molchord.data.spectrum_files import read_spectra
        from molchord.host import installed

        if modality is not None:
            installed().find("modality", modality)
        found = []
        for name, path in self._files(files):
            step(f"reading {name!r}")
            try:
                entries = read_spectra(path, modality, options, host=installed())
            except MolchordError as error:
                found.append(file_told(name, [], [_named(str(error), path, name)], MOST_SPECTRA))
                continue
            errors = [_named(str(one), path, name) for one in entries if isinstance(one, SampleError)]
            spectra = [
                replace(one, location=_named(one.location, path, name))
                for one in entries
                if not isinstance(one, SampleError)
            ]
            found.append(file_told(name, spectra, errors, MOST_SPECTRA))
        return found

    def identify(self, files: Sequence[str], wanted: Wanted, step: NextStep) -> Identification:
        """Return an answer per sample.

        Raises:
            QueryError: Something asked for makes no sense, or a name is not that of a file that may be read.
            DataError: The candidates cannot be read.
            RunError: The run cannot be loaded.
        """
        check_whole(wanted.k, "k", least=1, failed="identify", error=QueryError)
        step("grouping files into samples")
        samples = self._samples(files, wanted)
        run, notes = self.kept.run(wanted.run, step)
        from molchord.identify.reading import Failure, unknowns_of  # with torch, which the run has loaded by now

        library, listed = self.kept.library(run, wanted.candidates, step)
        references = self.kept.references(run, wanted.references, step)
        answers: list[SampleAnswer] = []
        failed: list[Unanswered] = []
        unknowns = (unknown for sample in samples for unknown in unknowns_of(run.embedder, sample))
        for unknown in islice(unknowns, MOST_SAMPLES):
            if isinstance(unknown, Failure):
                failed.append(Unanswered(sample=unknown.sample, reason=unknown.reason))
                continue
            step(f"searching for sample {unknown.id!r}")
            try:
                answers.append(self._answered(run, library, references, unknown, wanted))
            except MolchordError as error:
                # A kept list is where its user never looks.
                reason = str(error).replace(f"library {str(library.path)!r}", f"list {listed!r}")
                failed.append(Unanswered(sample=unknown.id, reason=reason.removeprefix("search failed: ")))
        left = next(unknowns, None)
        more = [] if left is None else [f"stopped after {MOST_SAMPLES} samples; give fewer files for the others"]
        return Identification(
            answers=answers,
            unanswered=failed,
            run=self.kept.named_run(wanted.run),
            candidates=listed,
            notes=[f"{len(library):,} candidates in the list", *notes, *more],
        )

    def explain(self, answer: str, hit: int, others: int, step: NextStep) -> ExplainedHit:
        """Return which parts of the spectra speak for a hit of an answer.

        Raises:
            QueryError: There is no such answer, or hit.
        """
        found = self.kept.answer(answer)
        step(f"leaving out one part of the spectra of {answer!r} after the other")
        with noted():
            why = found.run.explain(found.hits, hit=hit, others=others, mass=found.mass, **found.spectra)
        return ExplainedHit(
            answer=answer,
            hit=molecule_told(why.hit, mass=found.mass),
            none_of_these=rounded(found.hits.none_of_these),
            against=[one.smiles for one in why.others],
            spectra=spectra_told(why),
        )

    def compare(
        self, answer: str | None, hits: Sequence[int], molecules: Sequence[str], run: str | None, step: NextStep
    ) -> Comparison:
        """Return what tells hits of an answer, and other molecules, apart.

        Raises:
            QueryError: There is no such answer, hit or run, a SMILES cannot be read, or there are not several.
        """
        from molchord.assistant.comparing import compared, compared_unmeasured

        if answer is None:
            if hits:
                raise QueryError("`hits` are ranks of an answer; give its `answer` too, or SMILES as `molecules`")
            model, _ = self.kept.run(run, step)
            step("comparing structures")
            return compared_unmeasured(model, molecules)
        found = self.kept.answer(answer)
        step(f"comparing what the spectra of {answer!r} say of each molecule")
        with noted():
            return compared(found, hits, molecules, step)

    # --- files and samples

    def _files(self, names: Sequence[str]) -> Iterator[tuple[str, Path]]:
        """Yield the files of names, and those of folders among them, each once."""
        if not names:
            raise QueryError("no file was named; give names that `available` lists")
        found: dict[str, Path] = {}
        for name in names:
            path = self._roots.find(name)
            below = [one for one, _ in self._roots.names(name)] if path.is_dir() else [name]
            found |= {one: self._roots.real(self._roots.find(one)) for one in below}
        if len(found) > MOST_FILES:
            raise QueryError(f"{len(found)} files are named, {MOST_FILES} are read at once; give them in parts")
        yield from found.items()

    def _samples(self, names: Sequence[str], wanted: Wanted) -> list[Sample]:
        """Group files into samples, each file where it really is."""
        from molchord.identify.samples import Asked, Sample, samples_of

        spectra = list(self.kept.spectra[self.kept.named_run(wanted.run)])
        facts = {name: getattr(wanted, name) for name in ("mass", "formula", "elements", "mz", "adduct", "ppm", "da")}
        if wanted.use_precursor and wanted.mass is None and wanted.mz is None:
            Asked.of(mass=1.0, ppm=wanted.ppm, da=wanted.da)  # the window is around masses that the spectra state
            facts |= {"ppm": None, "da": None}
        asked = Asked.of(**facts)
        given = dict(wanted.modalities or {})
        for name in given.values():
            if name not in spectra:
                raise QueryError(f"the run has no spectrum {name!r}; {did_you_mean(name, spectra)}")
        if not names:
            raise QueryError("no file was named; give names that `available` lists")
        samples = samples_of([self._roots.find(name) for name in names], spectra, None, asked)
        by_path = {self._roots.find(name).resolve(): modality for name, modality in given.items()}
        settled = []
        for sample in samples:
            real = [(file, self._roots.real(file.path)) for file in sample.files]
            files = tuple(replace(f, path=path, modality=by_path.get(path, f.modality)) for f, path in real)
            settled.append(replace(sample, files=files))
        if len(settled) > MOST_SAMPLES:
            raise QueryError(
                f"{len(settled)} samples are named, {MOST_SAMPLES} are answered at once; give them in parts, or let "
                "the user run `molchord identify`"
            )
        if wanted.one_sample:
            every = tuple(file for sample in settled for file in sample.files)
            return [Sample(id=settled[0].id, files=every, asked=asked, together=True)]
        return settled

    # --- one sample

    def _answered(
        self, run: Run, library: Library, references: References | None, unknown: Unknown, wanted: Wanted
    ) -> SampleAnswer:
        """Search for one sample."""
        from molchord.clean_up import cleaned, recorded, steps_by_modality
        from molchord.library.hits import sureness
        from molchord.properties import DEPTH

        steps = steps_by_modality(wanted.clean, run.modalities, [*unknown.spectra])
        spectra: dict[str, Any] = {
            name: cleaned(run.modalities[name], name, given, steps.get(name, ()))
            for name, given in unknown.spectra.items()
        }
        asked = self._asked(run, unknown.asked, spectra, wanted)
        window: dict[str, Any] = {} if asked.mass is None else {"ppm": wanted.ppm, "da": wanted.da}
        with noted() as said:
            hits = run.search(library, k=DEPTH, references=references, **vars(asked), **window, **spectra)
        common = [one for one in hits[0].quality_warnings if all(one in hit.quality_warnings for hit in hits)]
        of_hits = {one for hit in hits for one in hit.quality_warnings}
        warned = list(dict.fromkeys([*unknown.left, *common, *(one for one in said if one not in of_hits)]))
        k = min(wanted.k, MOST_HITS)
        handle = self.kept.keep(FoundAnswer(run=run, spectra=spectra, hits=hits, mass=asked.mass))
        record = {name: own for name in spectra if (own := recorded(run.modalities[name], steps.get(name, ())))}
        return SampleAnswer(
            answer=handle,
            sample=unknown.id,
            conclusion=conclusion_of(hits),
            none_of_these=rounded(hits.none_of_these),
            hits=[molecule_told(hit, mass=asked.mass, said=common) for hit in hits[:k]],
            rest=rest_of(hits, k),
            candidates=hits.candidates,
            groups=groups_told(run.groups(hits).estimates),
            next_measurements=further_told(hits.prospects),
            asked={name: value for name, value in {**vars(asked), **window}.items() if value is not None},
            files=list(unknown.files),
            read=list(unknown.read),
            cleaned={
                name: [", ".join(f"{k} {v}" for k, v in one.items()) for one in own] for name, own in record.items()
            },
            notes=sureness(hits),
            warnings=warned,
        )

    @staticmethod
    def _asked(run: Run, asked: Asked, spectra: Mapping[str, Sequence[Measurement]], wanted: Wanted) -> Asked:
        """Return what is known of a sample, with the mass that its spectra state where that is wanted."""
        from molchord.data.stated import stated_of
        from molchord.library.contradictions import precursor_mass

        if not wanted.use_precursor or asked.mass is not None:
            return asked
        states = any(stated_of(run.modalities[name], one) for name, given in spectra.items() for one in given)
        return replace(asked, mass=precursor_mass(run.modalities, spectra)) if states else asked


def _named(sentence: str, path: Path, name: str) -> str:
    """Return a sentence in which a file is called as the assistant called it."""
    return sentence.replace(os.fspath(path), name)
