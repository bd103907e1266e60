"""`molchord read`, and the options by which a user says what a file does not."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from molchord.cli.cleaning import add_clean, cleaned_up
from molchord.cli.options import Group, add_command
from molchord.cli.output import PICTURES
from molchord.errors import MolchordError, QueryError

if TYPE_CHECKING:
    from molchord.api import ReadingOptions
    from molchord.data.spectrum_files import ReadSpectrum

__all__ = ["add_read", "add_reading", "reading_of", "reading_of_each"]


OPTIONS = ("x_unit", "y_unit", "column", "skip")


def add_reading(parser: argparse.ArgumentParser, *, column: bool = True) -> None:
    """Declare how tables are read that do not say all themselves."""
    group = parser.add_argument_group("how tables are read", "where several kinds are given: MODALITY=VALUE")
    group.add_argument("--x-unit", action="append", default=[], metavar="UNIT", help="of the abscissa: cm-1, um, nm")
    group.add_argument("--y-unit", action="append", default=[], metavar="UNIT", help="of the ordinate: absorbance, %%T")
    if column:
        group.add_argument(
            "--column", action="append", default=[], metavar="COLUMN",
            help="title or number of the ordinate's column; all: each is a spectrum",
        )  # fmt: skip
    group.add_argument("--skip", action="append", default=[], metavar="N", help="leave out the first N lines")


def reading_of(arguments: argparse.Namespace) -> ReadingOptions | None:
    """Return the options of reading that the arguments give, for files of one kind; None where they give none."""
    return reading_of_each(arguments, ["*"])["*"]


def reading_of_each(arguments: argparse.Namespace, names: Sequence[str]) -> dict[str, ReadingOptions | None]:
    """Return the options of reading for files of each modality; what names none holds for all.

    Raises:
        QueryError: `--skip` is no number of lines.
    """
    from molchord.api import ReadingOptions

    said: dict[str, dict[str, Any]] = {name: {} for name in names}
    for option in OPTIONS:
        for text in getattr(arguments, option, None) or []:
            name, equals, value = text.partition("=")
            own = equals and name in said
            for one in [name] if own else names:
                said[one][option] = _lines(value if own else text) if option == "skip" else value if own else text
    return {name: ReadingOptions(**given) if given else None for name, given in said.items()}


def _lines(text: str) -> int:
    if not text.isdigit():
        raise QueryError(f"`--skip` got {text!r}; give the number of lines to leave out")
    return int(text)


# --- read ------------------------------------------------------------------------------------------------------------


def add_read(group: Group) -> None:
    """Declare the command."""
    command = add_command(group, "read", _read, "read spectrum files, and print what was understood")
    command.add_argument("files", nargs="+", metavar="FILE", help="files and folders; every modality is asked")
    command.add_argument("--as", dest="as_", metavar="MODALITY", help="the only modality to ask")
    add_reading(command)
    add_clean(command)
    command.add_argument("--plot", metavar="FILE", help="draw them: a file that ends in .png or .svg")
    command.add_argument("--entries", type=int, default=3, metavar="N", help="entries of a file to print (default 3)")


def _read(arguments: argparse.Namespace) -> int:
    """Read spectrum files one by one; one that cannot be read is named, and the others follow."""
    if arguments.plot is not None and Path(arguments.plot).suffix.lower() not in PICTURES:
        raise QueryError(f"`--plot` got {arguments.plot!r}; give a file that ends in {' or '.join(PICTURES)}")
    options = reading_of(arguments)
    from molchord.api import SampleError
    from molchord.data.spectrum_files import read_spectra
    from molchord.host import installed

    if arguments.as_ is not None:
        installed().find("modality", arguments.as_)
    files: list[dict[str, Any]] = []
    drawn, failed = [], 0
    for path in _files(arguments.files):
        try:
            found = read_spectra(path, arguments.as_, options, host=installed())
        except MolchordError as error:
            failed += 1
            files.append({"file": str(path), "error": str(error)})
            _told(arguments, "", str(error))
            continue
        errors = [str(one) for one in found if isinstance(one, SampleError)]
        spectra = []
        for one in found:
            if not isinstance(one, SampleError):
                try:
                    spectra.append(cleaned_up(one, arguments))
                except QueryError as error:
                    errors.append(f"{path}: {error}")
        failed += bool(errors)
        drawn += spectra
        files.append({"file": str(path), "spectra": [one.facts() for one in spectra], "errors": errors})
        _told(arguments, "\n".join(_lines_of(str(path), spectra, arguments.entries)), *errors[: arguments.entries])
    if arguments.json:
        print(json.dumps(files, indent=2))
    if arguments.plot is not None:
        _plot(arguments, drawn)
    return 1 if failed else 0


def _files(given: Sequence[str]) -> Iterator[Path]:
    """Yield the files given, and those of the folders given."""
    for path in map(Path, given):
        if path.is_dir():
            files = (file for file in sorted(path.rglob("*")) if file.is_file())
            yield from (file for file in files if not any(part[0] == "." for part in file.relative_to(path).parts))
        else:
            yield path


def _told(arguments: argparse.Namespace, text: str, *errors: str) -> None:
    """Print what was understood, and, to the other stream, what was not; JSON comes whole at the end."""
    if text and not arguments.json:
        print(text, flush=True)
    for error in errors:
        print(f"molchord: {error}", file=sys.stderr, flush=True)


def _lines_of(file: str, spectra: Sequence[ReadSpectrum], most: int) -> Iterator[str]:
    """Yield what people read about the spectra of a file: all of the first ones, and how many more there are."""
    counts = {name: sum(one.modality == name for one in spectra) for name in dict.fromkeys(s.modality for s in spectra)}
    if max(counts.values(), default=0) > 1:
        yield f"{file}: {', '.join(f'{count} spectra {name}' for name, count in counts.items())}"
    for name, count in counts.items():
        shown = [one for one in spectra if one.modality == name][:most]
        for one in shown:
            yield from _about(one)
        if count > len(shown):
            yield f"  ... and {count - len(shown)} more of {name}; `--entries` prints them, `--json` has all"


def _about(spectrum: ReadSpectrum) -> Iterator[str]:
    facts = spectrum.facts()
    what = facts["modality"]
    if "points" in facts:
        low, high = facts["range"]
        unit = "" if facts["ordinate_unit"] in (None, "1") else f" in {facts['ordinate_unit']}"
        ordinate = "" if facts["ordinate"] is None else f", {facts['ordinate']}{unit}"
        things = "points" if facts["curve"] else "lines"
        what += f", {facts['points']} {things}, {facts['abscissa']} {low:.6g} to {high:.6g} {facts['unit']}{ordinate}"
    yield f"{facts['location']}: {what}"
    # What was understood of the ordinate says more than its name in the metadata.
    rows = {**facts["understood"], **({"SMILES": facts["smiles"]} if facts["smiles"] else {})}
    rows = {**rows, **{name: value for name, value in facts["metadata"].items() if name not in rows}}
    for name, value in rows.items():
        yield f"  {name.replace('_', ' '):<18}{value}"
    for warning in facts["warnings"]:
        yield f"  {'warning':<18}{warning}"


def _plot(arguments: argparse.Namespace, spectra: Sequence[ReadSpectrum]) -> None:
    from molchord.files import replace_file
    from molchord.look.read import MOST_PANELS, read_file

    able = [one for one in spectra if "points" in one.facts()]
    if not able:
        raise QueryError(f"nothing was read that can be drawn, so {arguments.plot!r} was not written")
    path = Path(arguments.plot)
    replace_file(path, read_file(able, path.suffix.lower()[1:]))
    left = f"; the first {MOST_PANELS} of {len(able)}" if len(able) > MOST_PANELS else ""
    _told(arguments, f"drawn in {path}{left}")
