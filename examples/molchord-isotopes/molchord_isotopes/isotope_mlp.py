"""A perceptron on isotope patterns: configuration and record."""

from __future__ import annotations

from typing import Any

from pydantic import Field, PositiveInt

from molchord.api import Config, EncoderRecord
from molchord_isotopes.ladder import KIND, LadderSpec

__all__ = ["ISOTOPE_MLP", "IsotopeMlpConfig"]


class IsotopeMlpConfig(Config):
    """A perceptron on the whole ladder."""

    width: PositiveInt = Field(default=128, description="Size of the output, in numbers per molecule.")
    hidden: PositiveInt = Field(default=256, description="Size of the two hidden layers.")


def build(config: IsotopeMlpConfig, spec: LadderSpec) -> Any:
    """Return the network; torch is imported here, not before."""
    from molchord_isotopes.isotope_mlp_network import IsotopeMlp

    return IsotopeMlp(spec, **dict(config))


ISOTOPE_MLP = EncoderRecord(
    name="isotope_mlp",
    summary="perceptron on the abundances and mass offsets of an isotope pattern",
    api=1,
    accepts=(KIND,),
    config=IsotopeMlpConfig,
    build=build,
)
