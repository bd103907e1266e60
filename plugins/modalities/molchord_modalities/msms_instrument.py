"""What an instrument type, as MassBank writes it, states: how molecules are ionised, and what tells ions apart."""

from __future__ import annotations

import re

__all__ = ["ANALYSERS", "IONISATIONS", "analyser", "ionisation"]

IONISATIONS = ("ESI", "APCI", "APPI", "MALDI", "EI", "CI", "FAB")
"""Ionisations that an encoder distinguishes; any other has code 0."""

ANALYSERS = ("QFT", "QTOF", "ITFT", "QQ", "FT", "Q", "QITTOF", "TOF", "ITTOF", "IT", "TOFTOF")
"""Analysers that an encoder distinguishes, the commonest of MassBank first; any other has code 0."""

_INLETS = {"LC", "GC", "CE", "DI", "HPLC", "UPLC", "NANO"}
_ALSO = {"ORBITRAP": "QFT", "HCD": "QFT", "QQQ": "QQ", "IONTRAP": "IT", "QEXACTIVE": "QFT"}


def ionisation(instrument_type: str | None) -> str | None:
    """Return the ionisation that an instrument type states; None where it states none of `IONISATIONS`.

    Example:
        >>> ionisation("LC-ESI-QFT"), ionisation("Orbitrap"), ionisation(None)
        ('ESI', None, None)
    """
    return next((part for part in _parts(instrument_type) if part in IONISATIONS), None)


def analyser(instrument_type: str | None) -> str | None:
    """Return the analyser that an instrument type states; None where it states none of `ANALYSERS`.

    Example:
        >>> analyser("LC-ESI-QFT"), analyser("Q-TOF"), analyser("Orbitrap"), analyser("GC-EI-EBEB")
        ('QFT', 'QTOF', 'QFT', None)
    """
    named = "".join(part for part in _parts(instrument_type) if part not in _INLETS and part not in IONISATIONS)
    named = _ALSO.get(named, named)
    return named if named in ANALYSERS else None


def _parts(instrument_type: str | None) -> list[str]:
    return [part for part in re.split("[^A-Z]+", (instrument_type or "").upper()) if part]
