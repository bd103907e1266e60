"""A known molecular formula as a molchord modality: the record is in `composition`, the work in a module beside it."""

from __future__ import annotations

from molchord.api import ModalityRecord, hookimpl
from molchord_formula.composition import COMPOSITION

__all__ = ["molchord_modalities"]


@hookimpl
def molchord_modalities() -> list[ModalityRecord]:
    """Return the modality `composition`."""
    return [COMPOSITION]
