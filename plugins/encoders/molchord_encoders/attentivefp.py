"""AttentiveFP: graph attention with recurrent updates: configuration and record."""

from __future__ import annotations

from typing import Any

from pydantic import Field, PositiveInt

from molchord.api import Config, EncoderRecord, GraphSpec
from molchord_encoders.fields import Dropout, Width

__all__ = ["ATTENTIVEFP", "AttentiveFpConfig"]


class AttentiveFpConfig(Config):
    """AttentiveFP (Xiong et al. 2019), torch-geometric's, on the 2-D graph; positions are ignored.

    Example:
        >>> AttentiveFpConfig(timesteps=3).layers
        2
    """

    width: Width = 256
    hidden: PositiveInt = Field(default=128, description="Size of an atom's state.")
    layers: PositiveInt = Field(default=2, description="Rounds of attention over an atom's neighbours.")
    timesteps: PositiveInt = Field(default=2, description="Rounds of attention over all atoms, for the molecule.")
    dropout: Dropout = Field(default=0.0, description="Dropout of attention and of each round.")


def build(config: AttentiveFpConfig, spec: GraphSpec) -> Any:
    """Return the network; torch is imported here, not before."""
    from molchord_encoders.attentivefp_network import AttentiveFp

    return AttentiveFp(spec, **dict(config))


ATTENTIVEFP = EncoderRecord(
    name="attentivefp",
    summary="graph attention with recurrent updates on the 2-D graph (AttentiveFP)",
    api=1,
    accepts=("graph",),
    config=AttentiveFpConfig,
    build=build,
)
