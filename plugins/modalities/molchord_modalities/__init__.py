"""Built-in modalities: records and configurations here, readers and transforms in the modules beside."""

from __future__ import annotations

from molchord.api import ModalityRecord, hookimpl
from molchord_modalities.fingerprint_record import FINGERPRINT
from molchord_modalities.msms_record import MSMS
from molchord_modalities.nmr import NMR
from molchord_modalities.structure_record import STRUCTURE
from molchord_modalities.vibrational_record import IR, RAMAN

__all__ = ["FINGERPRINT", "IR", "MSMS", "NMR", "RAMAN", "STRUCTURE", "molchord_modalities"]


@hookimpl
def molchord_modalities() -> list[ModalityRecord]:
    """Return the modalities of this package, the structure first.

    Example:
        >>> [record.name for record in molchord_modalities()]
        ['structure', 'fingerprint', 'ir', 'raman', 'msms', 'nmr']
    """
    return [STRUCTURE, FINGERPRINT, IR, RAMAN, MSMS, NMR]
