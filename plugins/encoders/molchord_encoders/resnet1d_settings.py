"""The parts of `resnet1d` that can be chosen: convolution stages and the readout. Nothing heavy."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from molchord.api import Config
from molchord_encoders.fields import Count, Dropout, heads_divide

__all__ = ["Flatten", "Patches", "Stage"]


class Stage(Config):
    """One strided convolution and the residual blocks after it.

    Example:
        >>> Stage(channels=64, kernel=7, stride=2, blocks=2).stride
        2
    """

    channels: PositiveInt = Field(default=32, description="Output channels.")
    kernel: PositiveInt = Field(
        default=7, description="Kernel of the strided convolution and of the blocks, in points, an odd number."
    )
    stride: PositiveInt = Field(default=2, description="Stride of the first convolution.")
    blocks: Count = Field(default=0, description="Residual blocks of two convolutions behind it.")

    @model_validator(mode="after")
    def _odd_kernel(self) -> Stage:
        if self.kernel % 2 == 0:
            raise ValueError(f"`kernel` {self.kernel!r} must be odd; take {self.kernel - 1!r} or {self.kernel + 1!r}")
        return self


class Flatten(Config):
    """Every channel at every position is an input of a linear layer: absolute position is kept as it is."""

    use: Literal["flatten"] = Field(default="flatten", description="Flatten channels and positions.")
    hidden: PositiveInt = Field(default=512, description="Size of the hidden layer.")
    dropout: Dropout = Field(default=0.1, description="Dropout on the flattened features.")


class Patches(Config):
    """Patches of neighbouring positions, with learned positions, that see each other: fewer weights on long grids."""

    use: Literal["patches"] = Field(default="patches", description="Attention over patches with learned positions.")
    size: PositiveInt = Field(default=5, description="Positions per patch.")
    hidden: PositiveInt = Field(default=128, description="Size of a patch's state.")
    layers: PositiveInt = Field(default=2, description="Attention layers.")
    heads: PositiveInt = Field(default=4, description="Attention heads; divides `hidden`.")
    dropout: Dropout = Field(default=0.1, description="Dropout in the attention layers.")

    @model_validator(mode="after")
    def _heads(self) -> Patches:
        heads_divide(self.hidden, self.heads)
        return self
