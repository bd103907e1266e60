"""Infrared absorption: record; the configuration is that of all vibrational spectra."""

from __future__ import annotations

from molchord.api import Modality, ModalityRecord
from molchord_modalities.vibrational_settings import Technique, VibrationalConfig, spec

__all__ = ["IR"]

TECHNIQUE = Technique(name="ir", curve="absorbance", data_type="INFRARED", stick_unit="km/mol")


def build(config: VibrationalConfig, kind: str) -> Modality:
    """Return the modality; numpy and torch are imported here, not before."""
    from molchord_modalities.vibrational_modality import Vibrational

    return Vibrational(TECHNIQUE, config)


IR = ModalityRecord(
    name=TECHNIQUE.name,
    title="IR",
    summary="infrared absorption: computed sticks or measured curves",
    api=1,
    kinds=("spectrum1d",),
    stores=TECHNIQUE.stores,
    config=VibrationalConfig,
    spec=spec,
    build=build,
)
