"""`molchord search`, whose options are the spectra of the run at hand."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from molchord.clean_up import step_text
from molchord.cli.cleaning import add_clean, clean_of
from molchord.cli.options import Group, add_renamed, add_rerank, add_run, rerank_of
from molchord.cli.output import estimates_text, hit_row, hit_table, say
from molchord.cli.reading import add_reading, reading_of_each
from molchord.errors import OutputExistsError, QueryError, did_you_mean
from molchord.vocabulary import ALL_FUSIONS, DEFAULT_PROPERTY, FUSIONS, MODES

if TYPE_CHECKING:
    from molchord.api import Measurement
    from molchord.library.hits import Hits
    from molchord.run import Run

__all__ = ["add_search", "parsed_words", "search_parser", "searched"]

SPECTRUM = "spectrum "
"""Start of the place of a spectrum's files among the arguments; no other argument has a blank in it."""


def add_search(group: Group) -> None:
    """Declare the command.

    Which spectra there are depends on the run, so the words are parsed once it is known: none is an option until
    then.
    """
    summary = "rank a library's candidates by spectra"
    command = group.add_parser("search", help=summary, add_help=False, prefix_chars="\0")
    command.add_argument("words", nargs="*")
    command.set_defaults(run=lambda arguments: _search(parsed_words(arguments.words, search_parser())))


def _search(arguments: argparse.Namespace) -> int:
    """Rank the candidates of a library by their similarity to spectra."""
    if arguments.report is not None:
        _check_report(arguments.report, force=arguments.force)
    from molchord.library.hits import sureness
    from molchord.properties import DEPTH
    from molchord.run import Run

    run = Run.load(arguments.run_folder, device=arguments.device)
    hits, spectra = searched(run, arguments, arguments.k if arguments.groups is None else max(arguments.k, DEPTH))
    found = None if arguments.groups is None else run.groups(hits, arguments.groups)
    hits = hits.first(arguments.k)
    text = "\n".join([hit_table(hits), *sureness(hits)])
    for name, measurements in spectra.items():
        if len(measurements) > 1:
            text += f"\n{name}: {len(measurements)} measurements, together one factor of the score"
    if arguments.index is not None and not hits[0].proven:
        text += f"\nnot proven: index {arguments.index!r} may have missed a better candidate; without it none is missed"
    whole: dict[str, Any] = {
        "none_of_these": hits.none_of_these,
        "uncalibrated": hits.uncalibrated,
        "references_uncalibrated": hits.references_uncalibrated,
        "next": [vars(prospect) for prospect in hits.prospects],
    }
    if found is not None:
        text += f"\n{estimates_text(found)}"
        whole["groups"] = {one.name: one.probability for one in found.estimates}
    for name, steps in hits.cleaned.items():
        text += f"\n{name}: cleaned up by {', '.join(map(step_text, steps))}"
    whole |= {"cleaned": dict(hits.cleaned)} if hits.cleaned else {}
    if arguments.report is not None:
        asked = {name: value for name in ("formula", "elements", "ppm", "da") if (value := getattr(arguments, name))}
        given: dict[str, Any] = dict(spectra)
        run.write_report(
            hits, arguments.report, mass=arguments.mass, clean=clean_of(arguments, [*spectra]), asked=asked,
            references=arguments.references, force=arguments.force, **given,
        )  # fmt: skip
        text += f"\n{arguments.report}: the report"
    say(arguments, [{**hit_row(hit), **whole} for hit in hits], text)
    return 0


def _check_report(path: Path, *, force: bool) -> None:
    """Refuse before a model is loaded what cannot be written.

    Raises:
        QueryError: It is no page.
        OutputExistsError: It exists and `force` is not set.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise QueryError(f"`--report` got {str(path)!r}; give a file that ends in .html")
    if path.exists() and not force:
        raise OutputExistsError(path)


def searched(run: Run, arguments: argparse.Namespace, k: int) -> tuple[Hits, dict[str, list[Measurement]]]:
    """Return the first k hits of a search that the arguments ask for, and the spectra searched with."""
    from molchord.library.library import Library

    files = {name: given for name in run.spectra if (given := getattr(arguments, SPECTRUM + name, None))}
    options, same = reading_of_each(arguments, [*files]), arguments.same_sample
    spectra = {
        name: run.measurements(name, given, of_one=True, same_sample=same, options=options[name])
        for name, given in files.items()
    }
    hits = run.search(
        Library(arguments.library), k=k, fusion=arguments.fusion, mode=arguments.mode, mass=arguments.mass,
        ppm=arguments.ppm, da=arguments.da, formula=arguments.formula, elements=arguments.elements,
        rerank=rerank_of(arguments), index=arguments.index, use_precursor=arguments.use_precursor, same_sample=same,
        references=arguments.references, clean=clean_of(arguments, [*spectra]), **spectra,
    )  # fmt: skip
    return hits, spectra


def search_parser(command: str = "search", does: str = "Rank a library's candidates by spectra.") -> ArgumentParser:
    """Return the parser of what follows `search`, or a command like it, still without the spectra of a run."""
    parser = argparse.ArgumentParser(
        prog=f"molchord {command}",
        usage=f"molchord {command} RUN LIBRARY --MODALITY FILE [FILE ...] [--MODALITY FILE ...] [options]",
        description=does,
        epilog=f"MODALITY is any of the run's own spectra, which `molchord {command} RUN --help` lists; several files "
        "of one count as one.",
        allow_abbrev=False,
    )
    add_run(parser)
    parser.add_argument("library", metavar="LIBRARY")
    parser.add_argument("--k", type=int, default=25, help="hits to print (default 25)")
    add_renamed(
        parser, "--fusion", "--map", choices=ALL_FUSIONS, default=FUSIONS[0], help="how similarities are joined"
    )
    parser.add_argument("--mode", choices=MODES, default=MODES[0])
    parser.add_argument("--mass", type=float, metavar="DA", help="exact mass; alone: within 10 ppm")
    parser.add_argument("--mz", type=float, metavar="MZ", help="m/z of an ion in place of its mass; needs --adduct")
    parser.add_argument("--adduct", metavar="ION", help="which ion, such as '[M+H]+' or '[M-H]-'")
    parser.add_argument(
        "--use-precursor", action="store_true", help="take the mass from the m/z and adduct that the spectra state"
    )
    parser.add_argument("--ppm", type=float, help="half width of the mass window in ppm")
    parser.add_argument("--da", type=float, help="half width of the mass window in Da")
    parser.add_argument(
        "--same-sample", action="store_true", help="several files of one kind are of one sample, though they disagree"
    )
    parser.add_argument("--formula", help="sum formula, such as C8H9NO2")
    parser.add_argument("--elements", metavar="LIST", help="elements that candidates may hold, such as C,H,N,O")
    parser.add_argument(
        "--references", metavar="DATASET", help="measurements of known molecules, compared with the spectra given"
    )
    parser.add_argument("--index", metavar="NAME", help="index that proposes candidates (default: all are searched)")
    add_rerank(parser)
    parser.add_argument(
        "--groups", nargs="?", const=DEFAULT_PROPERTY, metavar="PROPERTY",
        help=f"say which functional groups the molecule has, listed or not (default property {DEFAULT_PROPERTY})",
    )  # fmt: skip
    if command == "search":
        parser.add_argument(
            "--report", type=Path, metavar="FILE", help="write a page to read, print and send on (.html)"
        )
        parser.add_argument("--force", action="store_true", help="replace the report where it exists")
    add_reading(parser)
    add_clean(parser)
    parser.add_argument("--json", action="store_true", help="print machine-readable output")
    return parser


def parsed_words(words: Sequence[str], parser: ArgumentParser) -> argparse.Namespace:
    """Parse what follows `search`, or a command like it; the run's own spectra are options.

    Raises:
        QueryError: Run and library are not to be found among the words, or the run has no such spectrum.
    """
    words = _folders_first(words)
    if not words or words[0].startswith("-"):
        if not words or {"-h", "--help"} & {*words}:
            return parser.parse_args(words)
        raise QueryError(
            f"`{parser.prog}` finds no run and library among {' '.join(words)!r}; "
            f"write {parser.prog} RUN LIBRARY --MODALITY FILE"
        )
    spectra = _add_spectra(parser, words[0])
    arguments, rest = parser.parse_known_args(words)
    for word in rest:
        name = word.lstrip("-").partition("=")[0]
        if word.startswith("-"):
            raise QueryError(f"run {words[0]!r} has no spectrum {name!r}; {did_you_mean(name, spectra)}")
        raise QueryError(f"`{parser.prog}` got {word!r} without a modality; write --MODALITY {word}")
    _check(arguments, spectra)
    return arguments


def _check(arguments: argparse.Namespace, spectra: Sequence[str]) -> None:
    """Refuse what can be refused before a model is loaded, which takes seconds, and work the mass out.

    Raises:
        QueryError: A number, formula, element or adduct makes no sense, or a file or the library is not there.
    """
    from molchord.errors import check_whole
    from molchord.identify.samples import Asked

    check_whole(arguments.k, "k", least=1, failed="search", error=QueryError)
    if arguments.use_precursor and not arguments.mass is arguments.mz is None:
        raise QueryError("`--use-precursor` takes the mass from the spectra; leave `--mass` or `--mz` out, or it")
    facts = {name: getattr(arguments, name) for name in ("mass", "formula", "elements", "mz", "adduct", "ppm", "da")}
    asked = Asked.of(**facts)
    arguments.mass, arguments.formula, arguments.elements = asked.mass, asked.formula, asked.elements
    if not Path(arguments.library, "manifest.json").is_file():
        lack = "has no manifest.json" if Path(arguments.library).exists() else "does not exist"
        raise QueryError(
            f"library {arguments.library!r} {lack}; make one with `molchord embed {arguments.run_folder} LIST --out "
            f"{arguments.library}`, or let `molchord identify` take the list as it is"
        )
    for name in spectra:
        for file in getattr(arguments, SPECTRUM + name, None) or ():
            if not Path(file).is_file():
                what = "is a folder or a pipe" if Path(file).exists() else "does not exist"
                raise QueryError(f"file {file!r} for {name!r} {what}; give the path of a spectrum file")


def _add_spectra(parser: argparse.ArgumentParser, run: str) -> tuple[str, ...]:
    """Give `search` one option for each spectrum of the run at hand, and return their names."""
    from molchord.run_place import spectra_of_run

    kinds = spectra_of_run(run)
    group = parser.add_argument_group(f"spectra of {run}")
    for name, kind in kinds.items():
        files = SPECTRUM + name
        group.add_argument(
            f"--{name}", dest=files, nargs="+", action="extend", metavar="FILE", help=f"measurement ({kind})"
        )
    return tuple(kinds)


def _folders_first(words: Sequence[str]) -> list[str]:
    """Move run and library to the front, where options come first and would take them for their own values."""
    if not any(word.startswith("-") for word in words[:2]):
        return [*words]
    folders = [word for word in words if Path(word, "manifest.json").is_file()]
    if len(folders) != 2:
        return [*words]
    return [*folders, *(word for word in words if word not in folders)]
