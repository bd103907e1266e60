"""Collision cross sections as a molchord modality; every molchord command imports this file, so it is light."""

from __future__ import annotations

from molchord.api import ModalityRecord, hookimpl
from molchord_ccs.ccs import CCS

__all__ = ["molchord_modalities"]


@hookimpl
def molchord_modalities() -> list[ModalityRecord]:
    """Return the modality `ccs`."""
    return [CCS]
