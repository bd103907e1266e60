"""A batch of samples, searched: files are read, queries embedded together, answers kept as they come."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, final

from tqdm import tqdm

from molchord.api import CleaningStep
from molchord.clean_up import Cleaning, cleaned, steps_by_modality
from molchord.data.stated import stated_of
from molchord.embedder import Embedder
from molchord.errors import MolchordError, QueryError, check_whole
from molchord.files import sha256_file
from molchord.identify.answers import Answer, Identified, answer_of
from molchord.identify.journal import Journal, digest_of
from molchord.identify.outputs import write_results
from molchord.identify.pictures import Pictured, pictured
from molchord.identify.reading import Failure, Unknown, unknowns_of
from molchord.identify.report import PICTURED, write_page
from molchord.identify.samples import Sample, SpectrumFile
from molchord.library.contradictions import precursor_mass
from molchord.library.library import Library
from molchord.library.quality import beyond_domain
from molchord.query import Query, embedded_queries
from molchord.references import References
from molchord.run_folder import RunManifest
from molchord.search import search

__all__ = ["Options", "identify", "identity_of", "made_ready", "searched_for"]

AT_ONCE = 64
"""Samples whose spectra are embedded together."""


@final
@dataclass(frozen=True, kw_only=True)
class Options:
    """How each sample is searched for.

    Attributes:
        k: Hits per sample.
        fusion: How similarities are joined.
        ppm: Half width of the mass window in ppm.
        da: Half width of the mass window in Da.
        use_precursor: Take the mass of samples that it is not known of from the ions that their spectra state.
        clean: Steps of clean-up of measured spectra, as `Run.search` takes them.
    """

    k: int = 5
    fusion: str = "gm-exp"
    ppm: float | None = None
    da: float | None = None
    use_precursor: bool = False
    clean: Cleaning | Mapping[str, Cleaning] | None = None


WHY = 50
"""Samples at most whose report says why the first hit was found."""


def identify(
    embedder: Embedder,
    manifest: RunManifest,
    library: Library,
    samples: Sequence[Sample],
    options: Options,
    *,
    run: str,
    references: References | None = None,
    out: Path | None = None,
    force: bool = False,
    progress: bool = False,
    why: bool = False,
) -> Identified:
    """Answer each sample, and write the answers; arguments as `Run.identify` has them.

    Args:
        embedder: The model.
        manifest: Of its run.
        library: The candidates, embedded by it.
        samples: Files grouped into samples.
        options: How each is searched for.
        run: Identity of the run.
        references: Measurements of known molecules, compared with each sample's.
        out: Folder of the results; None: nothing is written, and nothing can be resumed.
        force: Start again where answers of something else are there.
        progress: Show a progress bar.
        why: Shade in the report what speaks for each first hit, of the first samples.

    Raises:
        QueryError: An argument is wrong, or the folder holds answers of other samples, candidates or options.
        OutputError: A file cannot be written.
    """
    check_whole(options.k, "k", least=1, failed="identify", error=QueryError)
    library.hold_few(str(embedder.device))
    settings = {"run": run, "candidates": identity_of(library), **vars(options), **_compared(references)}
    steps = steps_by_modality(options.clean, embedder.modalities, embedder.spectra)
    answers: list[Answer] = []
    failures: list[Failure] = []
    pictures: dict[str, Pictured] = {}
    with ExitStack() as stack:
        journal = None if out is None else stack.enter_context(Journal(out, settings, force=force))
        bar = stack.enter_context(_bar(len(samples), progress=progress))
        stream = _unknowns(embedder, samples, bar, steps, options, digested=journal is not None)
        while part := list(islice(stream, AT_ONCE)):
            outcomes = _answered(embedder, manifest, library, part, options, references, journal)
            for (_, unknown), outcome in zip(part, outcomes, strict=True):
                (answers if isinstance(outcome, Answer) else failures).append(outcome)  # type: ignore[arg-type]
                if isinstance(unknown, Unknown) and isinstance(outcome, Answer) and out and len(pictures) < PICTURED:
                    told = why and len(pictures) < WHY
                    pictures[outcome.sample] = _picture(embedder, manifest, unknown, outcome, steps, references, told)
    found = Identified(
        answers=tuple(answers), failures=tuple(failures), notes=_notes(library, manifest, embedder.spectra)
    )
    if out is not None:
        write_results(found, out)
        title = out.resolve().name
        write_page(found, out / "report.html", title=title, embedder=embedder, manifest=manifest, pictures=pictures)
    return found


def _bar(total: int, *, progress: bool) -> tqdm[Any]:
    return tqdm(total=total, desc="identify", unit="sample", disable=not progress or None)


def _compared(references: References | None) -> dict[str, str]:
    return {} if references is None else {"references": references.dataset.sha256}


def _picture(
    embedder: Embedder,
    manifest: RunManifest,
    unknown: Unknown,
    answer: Answer,
    steps: Mapping[str, Sequence[CleaningStep]],
    references: References | None,
    why: bool,
) -> Pictured:
    return pictured(
        embedder, manifest, unknown.spectra, answer.hits, before=unknown.before, steps=steps, references=references,
        mass=unknown.asked.mass, why=why,
    )  # fmt: skip


def _unknowns(
    embedder: Embedder,
    samples: Iterable[Sample],
    bar: Any,
    steps: Mapping[str, Sequence[CleaningStep]],
    options: Options,
    *,
    digested: bool,
) -> Iterator[tuple[str, Unknown | Failure]]:
    """Yield what each sample's files hold, with a digest of the files where one is asked for."""
    taken: set[str] = set()
    for sample in samples:
        files = ""
        for unknown in unknowns_of(embedder, sample):
            # An entry `a#1` and a file of that name would be one in the journal.
            if isinstance(unknown, Unknown) and unknown.id in taken:
                unknown = replace(unknown, id=f"{unknown.id} of {unknown.files[0]}")
            if isinstance(unknown, Unknown):
                taken.add(unknown.id)
                # Once for all entries of a file, of which there may be many thousand.
                files = files or (_digest(sample.files) if digested else "")
                unknown = made_ready(embedder, unknown, steps, use_precursor=options.use_precursor)
            yield files, unknown
        bar.update(1)


def made_ready(
    embedder: Embedder, unknown: Unknown, steps: Mapping[str, Sequence[CleaningStep]], *, use_precursor: bool
) -> Unknown | Failure:
    """Clean its spectra up, and take its mass from them where they state one and nothing else does."""
    try:
        spectra = {
            name: cleaned(embedder.modalities[name], name, given, steps.get(name, ()))
            for name, given in unknown.spectra.items()
        }
        states = any(stated_of(embedder.modalities[name], one) for name, given in spectra.items() for one in given)
        asked = unknown.asked
        if use_precursor and states and asked.mass is None:
            asked = replace(asked, mass=precursor_mass(embedder.modalities, spectra))
    except QueryError as error:
        files = " and ".join(map(repr, unknown.files))
        return Failure(sample=unknown.id, files=unknown.files, reason=f"{files}: {error}")
    before = {name: given for name, given in unknown.spectra.items() if steps.get(name)}
    return replace(unknown, spectra=spectra, asked=asked, before=before)


def _answered(
    embedder: Embedder,
    manifest: RunManifest,
    library: Library,
    part: Sequence[tuple[str, Unknown | Failure]],
    options: Options,
    references: References | None,
    journal: Journal | None,
) -> Iterator[Answer | Failure]:
    """Yield an outcome per unknown, in their order: what the journal has, or what a search gives."""
    digests = [
        digest_of([files, vars(one.asked), list(one.read)]) if isinstance(one, Unknown) and journal else ""
        for files, one in part
    ]
    kept: dict[int, Answer] = {}
    if journal is not None:
        for number, (_, one) in enumerate(part):
            if isinstance(one, Unknown) and (answer := journal.answer(one.id, digests[number])) is not None:
                kept[number] = answer
    fresh = {n: one for n, (_, one) in enumerate(part) if isinstance(one, Unknown) and n not in kept}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of measurements that are left out, which the answer says
        queries = embedded_queries(
            embedder, [one.spectra for one in fresh.values()], [one.asked.mass for one in fresh.values()]
        )
    by_number = dict(zip(fresh, queries, strict=True))
    for number, (_, one) in enumerate(part):
        if isinstance(one, Failure):
            yield one
        elif number in kept:
            yield kept[number]
        else:
            outcome = searched_for(embedder, manifest, library, one, by_number[number], options, references)
            if journal is not None and isinstance(outcome, Answer):
                journal.add(digests[number], outcome)
            yield outcome


def searched_for(
    embedder: Embedder,
    manifest: RunManifest,
    library: Library,
    unknown: Unknown,
    query: Query | QueryError,
    options: Options,
    references: References | None,
) -> Answer | Failure:
    """Search for one unknown; what goes wrong is a failure with the sentence."""
    try:
        if isinstance(query, QueryError):
            raise query
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the hits carry them
            hits = search(
                embedder, manifest, library, query, k=options.k, fusion=options.fusion, ppm=options.ppm if
                unknown.asked.mass is not None else None, da=options.da if unknown.asked.mass is not None else None,
                references=references, **vars(unknown.asked),
            )  # fmt: skip
    except MolchordError as error:
        # A kept list is where its user never looks.
        reason = str(error).removeprefix("search failed: ").replace(f"library {str(library.path)!r}", "the list")
        files = " and ".join(map(repr, unknown.files))
        return Failure(sample=unknown.id, files=unknown.files, reason=f"{files}: {reason}")
    left_out = tuple(
        f"{len(given) - len(query.measurements[name])} of {len(given)} measurements of {name!r} cannot be used"
        for name, given in unknown.spectra.items()
        if len(query.measurements[name]) < len(given)
    )
    return answer_of(unknown, hits, left_out)


def _digest(files: Sequence[SpectrumFile]) -> str:
    asked = [(one.label, one.modality, one.entry, one.options and one.options.given) for one in files]
    return digest_of([asked, [sha256_file(file.path) for file in files]])


def identity_of(library: Library) -> str:
    """Return a digest of the candidates: those of a list keep it wherever they are embedded again."""
    removed = library.manifest.model_dump(mode="json")
    return digest_of([removed, len(library)])[:16]


def _notes(library: Library, manifest: RunManifest, spectra: Sequence[str]) -> tuple[str, ...]:
    notes = [f"{len(library):,} candidates"]
    merged = library.manifest.duplicates
    if merged:
        notes.append(f"{merged:,} rows of their list are the same molecule as another row and were merged with it")
    beyond = beyond_domain(library, manifest.domain, spectra)
    if beyond is not None:
        notes.append(beyond)
    return tuple(notes)
