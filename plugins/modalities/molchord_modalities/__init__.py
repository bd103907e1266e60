"""Built-in modalities: one module holds each one's configuration and record, readers and transforms are beside it."""

from __future__ import annotations

from molchord.api import ModalityRecord, hookimpl
from molchord_modalities.fingerprint import FINGERPRINT
from molchord_modalities.ir import IR
from molchord_modalities.msms import MSMS
from molchord_modalities.nmr import NMR
from molchord_modalities.raman import RAMAN
from molchord_modalities.structure import STRUCTURE

__all__ = ["molchord_modalities"]


@hookimpl
def molchord_modalities() -> list[ModalityRecord]:
    """Return the modalities of this package, the structure first.

    Example:
        >>> [record.name for record in molchord_modalities()]
        ['structure', 'fingerprint', 'ir', 'raman', 'msms', 'nmr']
    """
    return [STRUCTURE, FINGERPRINT, IR, RAMAN, MSMS, NMR]
