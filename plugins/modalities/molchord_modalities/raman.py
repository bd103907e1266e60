"""Raman scattering: record; the configuration is that of all vibrational spectra."""

from __future__ import annotations

from molchord.api import Modality, ModalityRecord
from molchord_modalities.vibrational_settings import Technique, VibrationalConfig, spec

__all__ = ["RAMAN"]

TECHNIQUE = Technique(name="raman", curve="intensity", data_type="RAMAN", stick_unit="angstrom^4/amu")


def build(config: VibrationalConfig, kind: str) -> Modality:
    """Return the modality; numpy and torch are imported here, not before."""
    from molchord_modalities.vibrational_modality import Vibrational

    return Vibrational(TECHNIQUE, config)


RAMAN = ModalityRecord(
    name=TECHNIQUE.name,
    title="Raman",
    summary="Raman scattering: computed sticks or measured curves",
    api=1,
    kinds=("spectrum1d",),
    stores=TECHNIQUE.stores,
    config=VibrationalConfig,
    spec=spec,
    build=build,
)
