"""Collision cross sections as a molchord modality: the record is in `ccs`, readers and samples beside it."""

from __future__ import annotations

from molchord.api import ModalityRecord, hookimpl
from molchord_ccs.ccs import CCS

__all__ = ["molchord_modalities"]


@hookimpl
def molchord_modalities() -> list[ModalityRecord]:
    """Return the modality `ccs`."""
    return [CCS]
