"""DimeNet++: directional message passing on positions: configuration and record."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from molchord.api import Config, EncoderRecord, GraphSpec
from molchord_encoders.fields import Count

__all__ = ["DIMENETPP", "DimeNetPlusPlusConfig"]


class DimeNetPlusPlusConfig(Config):
    """Directional message passing on positions, with the parameter names of torch-geometric's class.

    Example:
        >>> DimeNetPlusPlusConfig(cutoff=4.0).out_channels
        256
    """

    hidden_channels: PositiveInt = Field(default=128, description="Size of a directed edge's state.")
    out_channels: PositiveInt = Field(
        default=256, description="Size of the output, in numbers per molecule (the width)."
    )
    num_blocks: PositiveInt = Field(default=4, description="Interaction blocks.")
    int_emb_size: PositiveInt = Field(default=64, description="Size in which triplets are worked on.")
    basis_emb_size: PositiveInt = Field(default=8, description="Size that the bases are projected to.")
    out_emb_channels: PositiveInt = Field(default=256, description="Size of an atom's state in the output blocks.")
    num_spherical: Annotated[int, Field(ge=2)] = Field(
        default=7, description="Spherical harmonics, orders 0 to this less one."
    )
    num_radial: PositiveInt = Field(default=6, description="Radial basis functions.")
    cutoff: PositiveFloat = Field(default=5.0, description="Distance up to which two atoms are neighbours, angstrom.")
    max_num_neighbors: PositiveInt | None = Field(
        default=None,
        description="Neighbours an atom may have, the nearest kept; null: no limit, so that none is cut off.",
    )
    envelope_exponent: PositiveInt = Field(
        default=5, description="Exponent of the smooth cutoff; a higher one falls later and more steeply."
    )
    num_before_skip: Count = Field(default=1, description="Residual layers before the skip connection.")
    num_after_skip: Count = Field(default=2, description="Residual layers behind the skip connection.")
    num_output_layers: Count = Field(default=3, description="Linear layers of an output block.")
    output_initializer: Literal["glorot_orthogonal", "zeros"] = Field(
        default="glorot_orthogonal",
        description="First weights of the last output layer; 'zeros', torch-geometric's default for a scalar target, "
        "gives every molecule the zero vector at first, which has no direction to compare.",
    )


def build(config: DimeNetPlusPlusConfig, spec: GraphSpec) -> Any:
    """Return the network; torch is imported here, not before.

    Raises:
        ValueError: The modality's graphs have no positions.
    """
    if not spec.positions:
        raise ValueError("encoder 'dimenetpp' needs positions, but the graphs come without; choose another `geometry`")
    from molchord_encoders.dimenetpp_network import DimeNetPlusPlus, GraphEncoder

    return GraphEncoder(DimeNetPlusPlus(**dict(config)))


DIMENETPP = EncoderRecord(
    name="dimenetpp",
    summary="DimeNet++: directional message passing on positions (distances and angles)",
    api=1,
    accepts=("graph",),
    needs=("positions",),
    config=DimeNetPlusPlusConfig,
    build=build,
)
