"""`molchord identify`: one answer per sample of a folder of spectra."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from molchord.cli.cleaning import add_clean, clean_of
from molchord.cli.options import Group, add_command, add_device, add_force
from molchord.cli.output import say
from molchord.errors import DataError, QueryError, check_whole
from molchord.vocabulary import FAILURES, FUSIONS

if TYPE_CHECKING:
    from molchord.identify.answers import Answer, Identified
    from molchord.identify.samples import Sample

__all__ = ["add_identify"]

_SHOWN = 30
"""Samples whose files are printed."""


def add_identify(group: Group) -> None:
    """Declare the command."""
    command = add_command(group, "identify", _identify, "find out what each sample of a folder of spectra is")
    command.add_argument("files", metavar="FOLDER_OR_FILES", nargs="*", help="spectra, grouped into samples by name")
    command.add_argument(
        "--candidates", required=True, metavar="LIST",
        help="SMILES or InChI in a text, a table or an SD file; a library; a data set; or a shipped list (ordinary)",
    )  # fmt: skip
    command.add_argument("--out", required=True, metavar="RESULT", help="folder to write; what is done there is kept")
    command.add_argument("--run", dest="run_folder", default="pretrained", metavar="RUN", help="default: %(default)s")
    command.add_argument(
        "--samples", metavar="TABLE",
        help="columns sample, file and, as known, modality, mass, formula, elements, mz, adduct",
    )  # fmt: skip
    command.add_argument("--k", type=int, default=5, help="candidates per sample (default %(default)s)")
    command.add_argument("--fusion", choices=FUSIONS, default=FUSIONS[0], help="how similarities are joined")
    command.add_argument("--mass", type=float, metavar="DA", help="exact mass of every sample; alone: within 10 ppm")
    command.add_argument("--mz", type=float, metavar="MZ", help="m/z of an ion in place of its mass; needs --adduct")
    command.add_argument("--adduct", metavar="ION", help="which ion, such as '[M+H]+' or '[M-H]-'")
    command.add_argument("--ppm", type=float, help="half width of the mass window in ppm, of the table's masses too")
    command.add_argument("--da", type=float, help="half width of the mass window in Da, of the table's masses too")
    command.add_argument("--formula", help="sum formula of every sample, such as C8H9NO2")
    command.add_argument("--elements", metavar="LIST", help="elements that candidates may hold, such as C,H,N,O")
    command.add_argument(
        "--use-precursor", action="store_true", help="take the mass from the m/z and adduct that the spectra state"
    )
    add_clean(command)
    command.add_argument(
        "--references", metavar="DATASET", help="measurements of known molecules, compared with the spectra given"
    )
    command.add_argument(
        "--why", action="store_true",
        help="shade in the report what speaks for each first candidate (some 2 s a sample, 50 samples at most)",
    )  # fmt: skip
    command.add_argument("--cache", metavar="DIR", help="where embedded lists are kept (default: the user's cache)")
    add_device(command)
    add_force(command)


def _identify(arguments: argparse.Namespace) -> int:
    """Find out what each sample is."""
    samples = _checked(arguments)
    if not arguments.json:
        print(grouping(samples, [] if arguments.samples else arguments.files))
    from molchord.run import Run

    run = Run.load(arguments.run_folder, device=arguments.device)
    found = run.identify(
        (), arguments.candidates, samples=samples, out=arguments.out, k=arguments.k, fusion=arguments.fusion,
        ppm=arguments.ppm, da=arguments.da, use_precursor=arguments.use_precursor,
        clean=clean_of(arguments, run.spectra), references=arguments.references, cache=arguments.cache,
        force=arguments.force, progress=not arguments.json, why=arguments.why,
    )  # fmt: skip
    from molchord.identify.outputs import as_json

    say(arguments, as_json(found), answers_table(found, Path(arguments.out)))
    return 1 if found.failures else 0


def _checked(arguments: argparse.Namespace) -> list[Sample]:
    """Return the samples, and refuse before a model is loaded, which takes seconds, what can be refused by then.

    Raises:
        QueryError: A number, formula, element or adduct makes no sense, or there is no spectrum.
        DataError: There is no such list of candidates.
        RunError: There is no such run.
    """
    from molchord.data.candidates import missing_list
    from molchord.identify.samples import Asked, samples_of
    from molchord.run_place import spectra_of_run

    check_whole(arguments.k, "k", least=1, failed="identify", error=QueryError)
    facts = {name: getattr(arguments, name) for name in ("mass", "formula", "elements", "mz", "adduct", "ppm", "da")}
    per_sample = arguments.samples is not None and arguments.mass is None and arguments.mz is None
    if per_sample:  # the masses are those of the table
        Asked.of(mass=1.0, ppm=arguments.ppm, da=arguments.da)
        facts |= {"ppm": None, "da": None}
    asked = Asked.of(**facts)
    if not Path(arguments.candidates).exists() and (missing := missing_list(arguments.candidates)):
        raise DataError(missing)
    if Path(arguments.out).is_file():
        raise QueryError(f"output {arguments.out!r} is a file; give a folder")
    return samples_of(arguments.files, list(spectra_of_run(arguments.run_folder)), arguments.samples, asked)


def grouping(samples: Sequence[Sample], given: Sequence[str]) -> str:
    """Return how files were grouped, as text."""
    from molchord.identify.samples import GROUPING, left_aside

    files, groups = sum(len(sample.files) for sample in samples), len(samples)
    lines = [
        f"{files} {'file' if files == 1 else 'files'} in {groups} {'group' if groups == 1 else 'groups'}; {GROUPING}"
    ]
    for sample in samples[:_SHOWN]:
        told = [file.label + (f" ({file.modality})" if file.modality else "") for file in sample.files]
        lines.append(f"  {sample.id}: {', '.join(told)}")
    if len(samples) > _SHOWN:
        lines.append(f"  and {len(samples) - _SHOWN} more")
    if aside := left_aside(given):
        lines.append(f"  left aside, by their suffix no spectra: {', '.join(aside)}")
    return "\n".join(lines)


def answers_table(found: Identified, out: Path) -> str:
    """Return answers and failures as text."""
    from molchord.text_table import aligned

    lines = list(found.notes)
    if found.answers:
        header = ["sample", "first candidate", "formula", "probability", "none of these", "warnings"]
        lines += aligned([header, *map(_line, found.answers)])
    lines += [f"failed: {one.sample}: {one.reason}" for one in found.failures]
    if any(answer.uncalibrated for answer in found.answers):
        names = " and ".join(sorted({repr(name) for answer in found.answers for name in answer.uncalibrated}))
        lines.append(f"not calibrated for measured spectra ({names}): no probability above 50 % is stated")
    failed = f", {len(found.failures)} failed (see {FAILURES})" if found.failures else ""
    lines.append(f"{out}: {len(found.answers)} answered{failed}; open report.html, or results.csv")
    return "\n".join(lines)


def _line(answer: Answer) -> list[str]:
    first = answer.hits[0]
    chance = "not calibrated" if first.probability is None else f"{100 * first.probability:.1f} %"
    none = "-" if answer.none_of_these is None else f"{100 * answer.none_of_these:.1f} %"
    name = f"{first.name} {first.smiles}" if first.name else first.smiles
    warnings = len({*answer.warnings, *first.quality_warnings})
    return [answer.sample, name, first.formula, chance, none, str(warnings or "")]
