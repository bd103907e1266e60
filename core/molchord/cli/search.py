"""`molchord search`, whose options are the spectra of the run at hand."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from molchord.cli.cleaning import add_clean, clean_of, step_text
from molchord.cli.options import Group, add_renamed, add_rerank, add_run, rerank_of
from molchord.cli.output import hit_row, hit_table, say, sureness
from molchord.cli.reading import add_reading, reading_of_each
from molchord.errors import QueryError, SampleError, did_you_mean
from molchord.vocabulary import FUSIONS, MODES

__all__ = ["add_search", "search_parser"]

SPECTRUM = "spectrum "
"""Start of the place of a spectrum's files among the arguments; no other argument has a blank in it."""


def add_search(group: Group) -> None:
    """Declare the command.

    Which spectra there are depends on the run, so the words are parsed once it is known: none is an option until then.
    """
    summary = "rank a library's candidates by spectra"
    command = group.add_parser("search", help=summary, add_help=False, prefix_chars="\0")
    command.add_argument("words", nargs="*")
    command.set_defaults(run=lambda arguments: _search(_parse(arguments.words)))


def _search(arguments: argparse.Namespace) -> int:
    """Rank the candidates of a library by their similarity to spectra."""
    from molchord.library.library import Library
    from molchord.run import Run

    run = Run.load(arguments.run_folder, device=arguments.device)
    files = {name: given for name in run.spectra if (given := getattr(arguments, SPECTRUM + name, None))}
    options = reading_of_each(arguments, [*files])
    spectra = {name: run.measurements(name, given, options=options[name]) for name, given in files.items()}
    hits = run.search(
        Library(arguments.library), k=arguments.k, fusion=arguments.fusion, mode=arguments.mode, mass=arguments.mass,
        ppm=arguments.ppm, da=arguments.da, formula=arguments.formula, rerank=rerank_of(arguments),
        index=arguments.index, clean=clean_of(arguments, [*spectra]), **spectra,
    )  # fmt: skip
    text = "\n".join([hit_table(hits), *sureness(hits)])
    for name, measurements in spectra.items():
        if len(measurements) > 1:
            text += f"\n{name}: {len(measurements)} measurements, together one factor of the score"
    if arguments.index is not None and not hits[0].proven:
        text += f"\nnot proven: index {arguments.index!r} may have missed a better candidate; without it none is missed"
    for name, steps in hits.cleaned.items():
        text += f"\n{name}: cleaned up by {', '.join(map(step_text, steps))}"
    whole: dict[str, Any] = {"none_of_these": hits.none_of_these, "uncalibrated": hits.uncalibrated}
    whole |= {"cleaned": dict(hits.cleaned)} if hits.cleaned else {}
    say(arguments, [{**hit_row(hit), **whole} for hit in hits], text)
    return 0


def search_parser() -> argparse.ArgumentParser:
    """Return the parser of what follows `search`, still without the spectra of a run."""
    parser = argparse.ArgumentParser(
        prog="molchord search",
        usage="molchord search RUN LIBRARY --MODALITY FILE [FILE ...] [--MODALITY FILE ...] [options]",
        description="Rank a library's candidates by spectra.",
        epilog="MODALITY is any of the run's own spectra, which `molchord search RUN --help` lists; several files of "
        "one count as one.",
        allow_abbrev=False,
    )
    add_run(parser)
    parser.add_argument("library", metavar="LIBRARY")
    parser.add_argument("--k", type=int, default=25, help="hits to print (default 25)")
    add_renamed(parser, "--fusion", "--map", choices=FUSIONS, default=FUSIONS[0], help="how similarities are joined")
    parser.add_argument("--mode", choices=MODES, default=MODES[0])
    parser.add_argument("--mass", type=float, metavar="DA", help="exact mass; alone: within 10 ppm")
    parser.add_argument("--mz", type=float, metavar="MZ", help="m/z of an ion in place of its mass; needs --adduct")
    parser.add_argument("--adduct", metavar="ION", help="which ion, such as '[M+H]+' or '[M-H]-'")
    parser.add_argument("--ppm", type=float, help="half width of the mass window in ppm")
    parser.add_argument("--da", type=float, help="half width of the mass window in Da")
    parser.add_argument("--formula", help="sum formula, such as C8H9NO2")
    parser.add_argument("--index", metavar="NAME", help="index that proposes candidates (default: all are searched)")
    add_rerank(parser)
    add_reading(parser)
    add_clean(parser)
    parser.add_argument("--json", action="store_true", help="print machine-readable output")
    return parser


def _parse(words: Sequence[str]) -> argparse.Namespace:
    """Parse what follows `search`; the run's own spectra are options.

    Raises:
        QueryError: Run and library are not to be found among the words, or the run has no such spectrum.
    """
    parser = search_parser()
    words = _folders_first(words)
    if not words or words[0].startswith("-"):
        if not words or {"-h", "--help"} & {*words}:
            return parser.parse_args(words)
        raise QueryError(
            f"`molchord search` finds no run and library among {' '.join(words)!r}; "
            "write molchord search RUN LIBRARY --MODALITY FILE"
        )
    spectra = _add_spectra(parser, words[0])
    arguments, rest = parser.parse_known_args(words)
    arguments.mass = _mass(arguments)
    for word in rest:
        name = word.lstrip("-").partition("=")[0]
        if word.startswith("-"):
            raise QueryError(f"run {words[0]!r} has no spectrum {name!r}; {did_you_mean(name, spectra)}")
        raise QueryError(f"`molchord search` got {word!r} without a modality; write --MODALITY {word}")
    return arguments


def _mass(arguments: argparse.Namespace) -> float | None:
    """Return the mass that was given, or that of the molecule whose ion was."""
    mz, adduct = arguments.mz, arguments.adduct
    if (mz is None) != (adduct is None):
        lacking = "--adduct" if adduct is None else "--mz"
        raise QueryError(
            f"`--mz` and `--adduct` belong together; add {lacking}, such as --mz 195.0877 --adduct '[M+H]+'"
        )
    if mz is None:
        return float(arguments.mass) if arguments.mass is not None else None
    if arguments.mass is not None:
        raise QueryError("`--mass` is the molecule's own, and `--mz` with `--adduct` gives it too; leave one out")
    if not (math.isfinite(mz) and mz > 0):
        raise QueryError(f"`--mz` is {mz!r}, but must be a positive number")
    from molchord.chem import neutral_mass  # RDKit, which is needed for an adduct only

    try:
        return neutral_mass(mz, adduct)
    except SampleError as error:
        raise QueryError(f"search failed: {error.reason}") from None


def _add_spectra(parser: argparse.ArgumentParser, run: str) -> tuple[str, ...]:
    """Give `search` one option for each spectrum of the run at hand, and return their names."""
    from molchord.run_folder import find_run, read_run_manifest

    manifest = read_run_manifest(find_run(run))
    names = tuple(name for name in manifest.specs if name != manifest.candidate)
    group = parser.add_argument_group(f"spectra of {run}")
    for name in names:
        kind, files = manifest.specs[name]["kind"], SPECTRUM + name
        group.add_argument(
            f"--{name}", dest=files, nargs="+", action="extend", metavar="FILE", help=f"measurement ({kind})"
        )
    return names


def _folders_first(words: Sequence[str]) -> list[str]:
    """Move run and library to the front, where options come first and would take them for their own values."""
    if not any(word.startswith("-") for word in words[:2]):
        return [*words]
    folders = [word for word in words if Path(word, "manifest.json").is_file()]
    if len(folders) != 2:
        return [*words]
    return [*folders, *(word for word in words if word not in folders)]
