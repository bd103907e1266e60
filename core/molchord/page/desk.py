"""The one object behind REST and HTML: a case at work."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

from molchord.case.answering import find, ready_of, steps_of
from molchord.case.case import Case
from molchord.case.record import Question, SampleRecord
from molchord.clean_up import cleaning_of
from molchord.data.candidates import LISTS, shipped_list
from molchord.errors import NotInCase, QueryError
from molchord.identify.answers import Answer, Identified
from molchord.identify.pictures import pictured
from molchord.identify.reading import Failure, Unknown
from molchord.identify.report import write_page
from molchord.identify.samples import Asked
from molchord.library.library import Library
from molchord.page.answers import answer_view, hit_view, hits_again
from molchord.page.changes import CandidatesGiven, CaseChange, FileChange, SampleChange
from molchord.page.exports import Export, exported
from molchord.page.jobs import Job, Jobs, Steps
from molchord.page.loaded import Loaded
from molchord.page.models import (
    AnswerView,
    CandidatesView,
    CaseView,
    ChipView,
    CountView,
    HitView,
    JobView,
    RunView,
    SampleView,
    SpectrumView,
)
from molchord.page.said import advice, without_paths
from molchord.page.samples import ENTRIES, Samples, asked_view
from molchord.page.spectra import spectrum_view, why_view
from molchord.run import Run
from molchord.run_place import find_run

__all__ = ["ADDUCTS", "LIMITS", "Desk"]

ADDUCTS = (
    "[M+H]+",
    "[M+Na]+",
    "[M+NH4]+",
    "[M+K]+",
    "[M+H-H2O]+",
    "[M]+",
    "[M+2H]2+",
    "[M-H]-",
    "[M+Cl]-",
    "[M+HCOO]-",
)
"""Ions that can be chosen."""

LIMITS = {
    "bytes_per_file": 2**25,
    "bytes_per_upload": 2**27,
    "files_per_upload": 500,
    "entries_per_file": ENTRIES,
    "samples": 5000,
}
"""What may be uploaded, and how many samples a case may have."""


@final
class Desk:
    """A case, its model and its candidates. Methods may be called from any thread; those that need the model queue.

    Args:
        case: The case; closed with the desk.
        run: A run that is loaded already; None: the case's is loaded in the background.
        library: Candidates that are embedded already.
        cache: Where embedded lists are kept; None: the user's cache folder.
        device: Where the model is.
        waiting: Searches that may wait; more are refused with `Busy`.
    """

    def __init__(
        self,
        case: Case,
        *,
        run: Run | None = None,
        library: Library | None = None,
        cache: Path | None = None,
        device: str | None = None,
        waiting: int = 32,
    ) -> None:
        self.case = case
        self.jobs = Jobs(waiting)
        self._loaded = Loaded(case, cache=cache, device=device)
        self._samples = Samples(case, self._loaded, self.jobs)
        self._differences = tuple(map(without_paths, case.differences()))
        self.loading = self.jobs.submit("load", self._loaded.open(run, library))

    def close(self) -> None:
        """End the worker, and close the case."""
        self.jobs.close()
        self._samples.answers.close()
        self.case.close()

    @property
    def loaded_run(self) -> Run:
        """The model.

        Raises:
            QueryError: It is not loaded, or cannot be.
        """
        return self._loaded.run

    # --- the case

    def view(self, samples: Sequence[SampleView] | None = None) -> CaseView:
        """Return the case as a whole, with its samples counted: these, where the caller has them already."""
        record, samples = self.case.record, self.samples() if samples is None else samples
        return CaseView(
            name=record.name,
            molchord=record.versions.get("molchord", ""),
            samples=len(samples),
            answered=sum(one.state == "answered" for one in samples),
            failed=sum(one.state == "failed" for one in samples),
            decided=sum(one.decision is not None for one in samples),
            run=self.runs()[0],
            candidates=self.candidates(),
            asked=asked_view(record.asked),
            fusion=record.settings.fusion,
            hits=record.settings.k,
            differences=(*self._differences, *map(without_paths, self._loaded.notes)),
            adducts=ADDUCTS,
            limits=LIMITS,
        )

    def change(self, change: CaseChange) -> CaseView:
        """Change the case's name, what is known of all samples, or how they are searched for.

        Raises:
            QueryError: What is known makes no sense.
        """
        settings = self.case.record.settings
        fields: dict[str, Any] = {}
        if change.name is not None:
            fields["name"] = change.name
        if change.asked is not None:
            Asked.of(**change.asked.model_dump())
            fields["asked"] = change.asked
        if change.fusion is not None or change.hits is not None:
            fields["settings"] = settings.model_copy(
                update={"fusion": change.fusion or settings.fusion, "k": change.hits or settings.k}
            )
        self.case.change(**fields)
        return self.view()

    def runs(self) -> list[RunView]:
        """Return the model of the case."""
        record, loaded = self.case.record.run, self._loaded
        error = loaded.run_error
        chips = [ChipView(modality=name, title=title) for name, title in self._samples.spectra().items()]
        card = find_run(record.path) / "README.md"
        return [
            RunView(
                name=Path(record.path).name,
                identity=record.identity or "",
                current=True,
                state="failed" if error else "ready" if loaded.is_ready else "loading",
                spectra=tuple(chips),
                card=card.read_text(encoding="utf-8", errors="replace") if card.is_file() else "",
                error=None if error is None else without_paths(error),
            )
        ]

    # --- candidates

    def candidates(self) -> CandidatesView:
        """Return the candidates of the case, and whether they can be searched."""
        record, references = self.case.record.candidates, self.case.record.references
        try:
            found, error = self._loaded.candidates, None
        except QueryError as problem:
            found, error = None, self._loaded.candidates_error or self._loaded.run_error
            error = without_paths(str(problem)) if error else None
        state: Any = "ready" if found else "failed" if error else "embedding" if self._loaded.is_ready else "loading"
        return CandidatesView(
            name=record.name,
            state=state,
            count=None if found is None else len(found.library),
            unseen=None if found is None else len(found.unseen),
            merged=None if found is None else found.library.manifest.duplicates,
            skipped=None if found is None else found.skipped,
            lists=tuple(sorted(path.name.partition(".")[0] for path in LISTS.glob("*.csv.gz"))),
            references=None if references is None else references.name,
            error=error,
            job=self.jobs.current("candidates", "load"),
        )

    def choose_candidates(self, given: CandidatesGiven, content: bytes | None = None) -> JobView:
        """Take other candidates, which are embedded in the background.

        Args:
            given: A shipped list, or pasted text.
            content: A file of them, in place of text.

        Raises:
            QueryError: Nothing was given, or no such list comes with molchord.
            Busy: Too many jobs wait.
        """
        content = given.text.encode() if given.text is not None else content
        if (given.list is None) == (content is None):
            raise QueryError("no candidates were given; name a list that comes with molchord, or paste or upload one")
        if given.list is not None and shipped_list(given.list) is None:
            known = ", ".join(self.candidates().lists)
            raise QueryError(f"no list {given.list!r} comes with molchord; choose one of {known}")
        name = given.name or given.list or "pasted.smi"
        self.case.choose_candidates(given.list or name, name=name, content=content)
        return self.jobs.submit("candidates", self._loaded.embed()).view()

    def count(self, asked: Question) -> CountView:
        """Count the candidates that a question leaves, as it is typed.

        Raises:
            QueryError: The candidates are not ready.
        """
        candidates = self._loaded.candidates
        total = len(candidates.library)
        try:
            left, unseen = candidates.count(_limits(asked.over(self.case.record.asked)))
        except QueryError as error:
            return CountView(left=0, of=total, unseen=0, error=without_paths(str(error)))
        return CountView(left=left, of=total, unseen=unseen, error=None)

    # --- samples

    def samples(self) -> list[SampleView]:
        """Return all samples."""
        self._samples.settle()
        return [self._samples.view(one) for one in self.case.record.samples]

    def sample(self, id: str) -> SampleView:
        """Return one sample.

        Raises:
            NotInCase: There is none of this id.
        """
        self._samples.settle()
        return self._samples.view(self.case.sample(id))

    def add(self, files: Mapping[str, bytes | Path]) -> list[SampleView]:
        """Add files, grouped into samples by their names; a file of many spectra becomes a sample for each.

        Raises:
            QueryError: There is none, or there are too many.
            OutputError: They cannot be written.
        """
        if not files:
            raise QueryError("no file was given; drop spectra, or a folder of them")
        if len(files) > LIMITS["files_per_upload"]:
            raise QueryError(
                f"{len(files)} files were given at once, {LIMITS['files_per_upload']} are allowed; give them in parts"
            )
        if len(self.case.record.samples) + len(files) > LIMITS["samples"]:
            raise QueryError(f"the case would have more than {LIMITS['samples']:,} samples; make another case")
        before = {one.id for one in self.case.record.samples}
        self.case.add(files, list(self._samples.spectra()))
        self._samples.settle()
        return [self._samples.view(one) for one in self.case.record.samples if one.id not in before]

    def change_sample(self, id: str, change: SampleChange) -> SampleView:
        """Change what is known of a sample, its clean-up, its name, what was decided or noted.

        Raises:
            NotInCase: There is no such sample.
            QueryError: What is known makes no sense, or a step of clean-up does not fit.
        """
        sample = self.case.sample(id)
        fields: dict[str, Any] = {}
        for name in ("name", "comment"):
            if (value := getattr(change, name)) is not None:
                fields[name] = value
        if change.asked is not None:
            Asked.of(**change.asked.over(self.case.record.asked).model_dump())
            fields["asked"] = change.asked.model_dump()
        if change.clean is not None:
            fields["clean"] = self._checked_clean({**sample.clean, **change.clean})
        if change.decision is not None or change.decided_key14 is not None:
            fields |= self._decided(sample, change)
        self.case.change_sample(id, **fields)
        return self.sample(id)

    def change_file(self, id: str, change: FileChange) -> SampleView:
        """Say what a file is or how it is read, or move it to another sample; returns the sample that has it then.

        Raises:
            NotInCase: There is no such file or sample.
            QueryError: The run has no such spectrum.
        """
        fields: dict[str, Any] = {}
        if change.modality is not None:
            known = list(self._samples.spectra())
            if change.modality not in (*known, "unknown"):
                raise QueryError(f"the model takes no {change.modality!r}; choose one of {', '.join(known)}")
            fields["modality"] = None if change.modality == "unknown" else change.modality
        if change.reading is not None:
            fields["reading"] = change.reading.model_dump()
        if fields:
            self.case.change_file(id, **fields, entries=None)
        home = self.case.file(id)[0].id
        if change.sample is not None:
            home = self.case.regroup(id, None if change.sample == "new" else change.sample)
        return self.sample(home)

    def remove(self, ids: Iterable[str]) -> None:
        """Remove samples, or files, by their ids."""
        for id in (wanted := list(ids)):
            (self.case.sample if id.startswith("s") else self.case.file)(id)
        self.case.remove(wanted)

    def spectra(self, id: str) -> list[SpectrumView]:
        """Return the spectra of a sample that can be read, as they were read, before and after clean-up.

        Raises:
            NotInCase: There is no such sample.
            QueryError: The model is not loaded yet.
        """
        run, sample = self._loaded.run, self.case.sample(id)
        found = []
        for file in sample.files:
            entries, _ = self._samples.read(run, file)
            found += [spectrum_view(run, sample, file, entry) for entry in entries]
        return found

    # --- answers

    def search(self, ids: Sequence[str] | None = None, *, again: bool = False) -> JobView:
        """Queue a search for samples; answers are kept one by one as they come.

        Args:
            ids: Samples; None: all that are not answered as they are now.
            again: Search for those too that are.

        Raises:
            NotInCase: There is no such sample.
            QueryError: There is nothing to search for.
            Busy: Too many searches wait.
        """
        self._samples.settle()
        wanted = [one.id for one in self.case.record.samples] if ids is None else list(ids)
        if not again:
            wanted = [id for id in wanted if not self._samples.is_current(self.case.sample(id))]
        if not wanted and ids is None:
            raise QueryError("every sample is answered as it is now; add spectra, or search again")
        return self._submit_search(wanted, again=again).view()

    def _submit_search(self, ids: Sequence[str], *, again: bool = False) -> Job:
        for id in ids:
            self.case.sample(id)
        return self.jobs.submit("search", self._search_steps(ids, again=again), ids, total=max(1, len(ids)))

    def answered(self, id: str) -> Job | None:
        """Queue a search for a sample that is not answered as it is now; None where it is.

        Raises:
            NotInCase: There is no such sample.
            Busy: Too many searches wait.
        """
        return None if self._samples.is_current(self.case.sample(id)) else self._submit_search([id])

    def answer(self, id: str) -> AnswerView:
        """Return the last answer to a sample.

        Raises:
            NotInCase: There is no such sample.
            QueryError: It was not answered; the sentence says why.
        """
        sample = self.case.sample(id)
        key, answer = self._samples.last(sample)
        groups = self._samples.groups_of(sample, key, answer)
        current, k = key == self.case.key(sample), self.case.record.settings.k
        return answer_view(self._loaded.run, sample, answer, groups, k=k, current=current)

    def hit(self, id: str, rank: int) -> HitView:
        """Return one candidate that was found for a sample.

        Raises:
            QueryError: The sample has no answer, or no such candidate.
        """
        sample = self.case.sample(id)
        _, answer = self._samples.last(sample)
        for hit in answer.hits:
            if hit.rank == rank:
                return hit_view(sample, answer, hit)
        raise QueryError(f"sample {sample.name!r} has no candidate {rank}; it has {len(answer.hits)}")

    def why(self, id: str, rank: int = 1) -> Job:
        """Queue an explanation of a candidate; the job's result is a `WhyView`.

        Raises:
            QueryError: The sample has no answer, or no such candidate.
            Busy: Too many searches wait.
        """
        self.hit(id, rank)
        return self.jobs.submit("why", self._why_steps(id, rank), [id])

    def export(self, kind: str) -> Export:
        """Return the answers as a file: ``csv``, ``sdf``, ``json``, ``report``, or the whole ``case`` as an archive.

        Raises:
            QueryError: There is no such form, or nothing was answered yet.
        """
        answers, failures = [], []
        for view in self.samples():
            sample = self.case.sample(view.id)
            last = self._samples.answers.last(view.id)
            if last is not None and view.state == "answered":
                answers.append((sample, last[1]))
            elif view.error is not None:
                names = tuple(file.name for file in view.files)
                failures.append(Failure(sample=view.name, files=names, reason=view.error))
        return exported(kind, self.case, answers, failures, self._write_report)

    # --- the worker's steps

    def _search_steps(self, ids: Sequence[str], *, again: bool) -> Steps:
        for number, id in enumerate(ids, start=1):
            yield f"searching for sample {number} of {len(ids)}"
            try:
                sample = self.case.sample(id)
            except NotInCase:  # it was removed meanwhile
                continue
            if not again and self._samples.is_current(sample):  # another job was faster
                continue
            key = self.case.key(sample)
            run, candidates = self._loaded.run, self._loaded.candidates
            found = find(
                run.embedder, run.manifest, candidates.library, self.case, id,
                references=self._loaded.references, read=self._samples.readings,
            )  # fmt: skip
            if isinstance(found, Answer):
                self._samples.keep(sample, key, found)
            else:
                self._samples.fail(id, key, found.reason)

    def _why_steps(self, id: str, rank: int) -> Steps:
        yield "finding out why"
        run, sample = self._loaded.run, self.case.sample(id)
        _, answer = self._samples.last(sample)
        unknown = ready_of(run.embedder, self.case, id, self._samples.readings)
        if isinstance(unknown, Failure):
            raise QueryError(without_paths(unknown.reason))
        references = self._loaded.references
        spectra: dict[str, Any] = dict(unknown.spectra)
        found = run.explain(
            hits_again(answer), hit=rank, mass=unknown.asked.mass,
            against=None if references is None else references.dataset, **spectra,
        )  # fmt: skip
        said = advice(answer.warnings, list(unknown.spectra), dict(sample.clean))
        return why_view(run, found, self.hit(id, rank), id, said)

    # --- helpers

    def _write_report(self, found: Identified, ids: Mapping[str, str], path: Path) -> None:
        """Write the report of answers, whose samples have these ids, by name."""
        run, references = self._loaded.run, self._loaded.references
        pictures = {}
        for answer in found.answers:
            unknown = ready_of(run.embedder, self.case, ids[answer.sample], self._samples.readings)
            if isinstance(unknown, Unknown):
                pictures[answer.sample] = pictured(
                    run.embedder, run.manifest, unknown.spectra, answer.hits, before=unknown.before,
                    steps=steps_of(run.embedder, self.case, unknown), references=references, mass=unknown.asked.mass,
                )  # fmt: skip
        name = self.case.record.name
        write_page(found, path, title=name, embedder=run.embedder, manifest=run.manifest, pictures=pictures)

    def _checked_clean(self, clean: Mapping[str, str]) -> dict[str, str]:
        """Return steps as they were written, after a look at whether they can be taken."""
        run = self._loaded.run
        out = {}
        for name, text in clean.items():
            if name not in run.spectra:
                raise QueryError(f"the model takes no {name!r}; choose one of {', '.join(run.spectra)}")
            if text.strip(" ,"):
                cleaning_of(text, run.modalities[name], name)
                out[name] = ",".join(word.strip() for word in text.split(",") if word.strip())
        return out

    def _decided(self, sample: SampleRecord, change: SampleChange) -> dict[str, Any]:
        if change.decision == "none":
            return {"decision": None, "decided_key14": None}
        decision, key = change.decision or "accepted", change.decided_key14
        if decision == "accepted":
            _, answer = self._samples.last(sample)
            key = key or answer.hits[0].key14
            if key not in {hit.key14 for hit in answer.hits}:
                raise QueryError(f"candidate {key!r} was not found for sample {sample.name!r}; choose one that was")
        return {"decision": decision, "decided_key14": key}


def _limits(asked: Question) -> dict[str, Any]:
    """Return what a question asks of candidates, as `Library.filter` takes it."""
    plain = Asked.of(**asked.model_dump())
    width = {"ppm": asked.ppm, "da": asked.da} if plain.mass is not None else {}
    limits = {**dataclasses.asdict(plain), **width}
    return {name: value for name, value in limits.items() if value is not None}
