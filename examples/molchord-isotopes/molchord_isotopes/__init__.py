"""Isotope patterns as a molchord modality, with a kind of their own and an encoder for it: what they declare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, PositiveInt

from molchord.api import Array, Config, EncoderRecord, ModalityRecord, Real, Stores, hookimpl

__all__ = [
    "ISOTOPES",
    "ISOTOPE_MLP",
    "KIND",
    "IsotopeMlpConfig",
    "IsotopesConfig",
    "Jitter",
    "LadderSpec",
    "molchord_encoders",
    "molchord_modalities",
]

KIND = "molchord-isotopes:ladder"
"""A kind of one's own is named DISTRIBUTION:KIND."""


@dataclass(frozen=True, kw_only=True)
class LadderSpec:
    """Kind `ladder`: abundances and mass offsets at the nominal steps M, M+1, ..., M+`steps`."""

    steps: int


class Jitter(Config):
    """Augmentation of a training sample, drawn anew each time; never in evaluation."""

    abundance: Annotated[float, Field(ge=0)] = Field(
        default=0.03, description="Standard deviation of the logarithm of each abundance."
    )
    offset: Annotated[float, Field(ge=0)] = Field(
        default=0.001, description="Standard deviation of each mass offset in Da."
    )


class IsotopesConfig(Config):
    """What of a pattern an encoder sees."""

    steps: PositiveInt = Field(default=6, description="Nominal steps above the lightest peak.")
    floor: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.002, description="Abundance, as a part of the highest one, below which a peak is not seen."
    )
    jitter: Jitter | None = Field(default_factory=Jitter, description="Training augmentation; null switches it off.")


class IsotopeMlpConfig(Config):
    """A perceptron on the whole ladder."""

    width: PositiveInt = Field(default=128, description="Size of the output, numbers a molecule.")
    hidden: PositiveInt = Field(default=256, description="Size of the two hidden layers.")


def _spec(config: IsotopesConfig, kind: str) -> LadderSpec:
    return LadderSpec(steps=config.steps)


def _build(config: IsotopesConfig, kind: str) -> Any:
    from molchord_isotopes.isotopes import Isotopes

    return Isotopes(config)


def _build_mlp(config: IsotopeMlpConfig, spec: LadderSpec) -> Any:
    from molchord_isotopes.encoder import IsotopeMlp

    return IsotopeMlp(config, spec)


ISOTOPES = ModalityRecord(
    name="isotopes",
    summary="Isotope pattern of a molecule's mass peak; made from the molecule, or read as a query",
    api=1,
    kinds=(KIND,),
    stores=Stores(
        arrays={"offset": Array(unit="Da", axis="peak", dtype="float64"), "abundance": Array(unit="1", axis="peak")},
        columns={"charge": Real("1")},
    ),
    config=IsotopesConfig,
    spec=_spec,
    build=_build,
    derives=True,
)

ISOTOPE_MLP = EncoderRecord(
    name="isotope_mlp",
    summary="perceptron on the abundances and mass offsets of an isotope pattern",
    api=1,
    accepts=(KIND,),
    config=IsotopeMlpConfig,
    build=_build_mlp,
)


@hookimpl
def molchord_modalities() -> list[ModalityRecord]:
    """Return the modality `isotopes`."""
    return [ISOTOPES]


@hookimpl
def molchord_encoders() -> list[EncoderRecord]:
    """Return the encoder `isotope_mlp`."""
    return [ISOTOPE_MLP]
