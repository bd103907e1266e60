"""`--clean`: the option by which a user has measured spectra cleaned up before they are used."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from molchord.data.spectrum_files import ReadSpectrum

__all__ = ["add_clean", "clean_of", "cleaned_up"]


def add_clean(parser: argparse.ArgumentParser) -> None:
    """Declare the option."""
    parser.add_argument(
        "--clean", action="append", default=[], metavar="STEPS",
        help="clean measured spectra up first, as in baseline,crop=500:4000; of one kind: MODALITY=STEPS",
    )  # fmt: skip


def clean_of(arguments: argparse.Namespace, names: Sequence[str]) -> str | dict[str, str] | None:
    """Return the steps that the arguments give: for all spectra, or by modality where one is named.

    Example:
        >>> clean_of(argparse.Namespace(clean=["baseline,co2"]), ["ir"])
        'baseline,co2'
        >>> clean_of(argparse.Namespace(clean=["ir=baseline,crop=500:4000"]), ["ir", "raman"])
        {'ir': 'baseline,crop=500:4000'}
    """
    by_name: dict[str, list[str]] = {}
    for_all: list[str] = []
    for text in arguments.clean:
        name, equals, steps = text.partition("=")
        (by_name.setdefault(name, []) if equals and name in names else for_all).append(
            steps if equals and name in names else text
        )
    if not by_name:
        return ",".join(for_all) or None
    return {name: ",".join([*for_all, *own]) for name, own in by_name.items()}


def cleaned_up(spectrum: ReadSpectrum, arguments: argparse.Namespace) -> ReadSpectrum:
    """Return a spectrum that was read after the steps that the arguments give, with what the file holds as `raw`.

    What has no steps of clean-up stays as it is, unless they are asked for by its name.

    Raises:
        QueryError: A step is unknown, or does not fit the spectrum.
    """
    given = clean_of(arguments, [spectrum.modality])
    steps = given.get(spectrum.modality) if isinstance(given, dict) else given
    if steps is None:
        return spectrum
    from molchord.api import Cleans
    from molchord.clean_up import cleaned, cleaning_of, recorded, step_text
    from molchord.data.spectrum_files import warnings_of
    from molchord.host import installed
    from molchord.host.build import build

    name = spectrum.modality
    kind = installed().find("modality", name).record.kinds[0]
    modality = build("modality", name, kind, host=installed()).it
    if not (isinstance(modality, Cleans) or isinstance(given, dict)):
        return spectrum
    taken = cleaning_of(steps, modality, name)
    [after] = cleaned(modality, name, [spectrum.measurement], taken)
    said = ", ".join(step_text(step) for step in recorded(modality, taken))
    understood = {**spectrum.understood, "cleaned up": said}
    return dataclasses.replace(
        spectrum,
        measurement=after,
        raw=spectrum.measurement,
        understood=understood,
        warnings=tuple(warnings_of(modality, after)),
    )
