"""UV/Vis absorption curves as a molchord modality: the record is in `uvvis`, the work in `uvvis_modality`."""

from __future__ import annotations

from molchord.api import ModalityRecord, hookimpl
from molchord_uvvis.uvvis import UVVIS

__all__ = ["molchord_modalities"]


@hookimpl
def molchord_modalities() -> list[ModalityRecord]:
    """Return the modality `uvvis`."""
    return [UVVIS]
