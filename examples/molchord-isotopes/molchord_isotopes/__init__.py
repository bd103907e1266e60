"""Isotope patterns as a molchord modality, with a kind of their own and an encoder for it."""

from __future__ import annotations

from molchord.api import EncoderRecord, ModalityRecord, hookimpl
from molchord_isotopes.isotope_mlp import ISOTOPE_MLP
from molchord_isotopes.isotopes import ISOTOPES

__all__ = ["molchord_encoders", "molchord_modalities"]


@hookimpl
def molchord_modalities() -> list[ModalityRecord]:
    """Return the modality `isotopes`."""
    return [ISOTOPES]


@hookimpl
def molchord_encoders() -> list[EncoderRecord]:
    """Return the encoder `isotope_mlp`."""
    return [ISOTOPE_MLP]
