"""GINE: a graph isomorphism network with bond features: configuration and record."""

from __future__ import annotations

from typing import Any

from pydantic import Field, PositiveInt

from molchord.api import Config, EncoderRecord, GraphSpec
from molchord_encoders.fields import Dropout, Width

__all__ = ["GINE", "GineConfig"]


class GineConfig(Config):
    """Graph isomorphism network with bond features on the 2-D graph; positions are ignored.

    Example:
        >>> GineConfig(layers=3).hidden
        128
    """

    width: Width = 256
    hidden: PositiveInt = Field(default=128, description="Size of an atom's state.")
    layers: PositiveInt = Field(default=4, description="Rounds of message passing.")
    dropout: Dropout = Field(default=0.0, description="Dropout on each round's update.")


def build(config: GineConfig, spec: GraphSpec) -> Any:
    """Return the network; torch is imported here, not before."""
    from molchord_encoders.gine_network import Gine

    return Gine(spec, **dict(config))


GINE = EncoderRecord(
    name="gine",
    summary="graph isomorphism network with bond features on the 2-D graph; fast",
    api=1,
    accepts=("graph",),
    config=GineConfig,
    build=build,
)
