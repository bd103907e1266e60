"""What the built-in simulators let one choose."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from molchord.api import Config

__all__ = ["AIMNet2Config", "GFN2Config"]


class GFN2Config(Config):
    """Nothing to set: one procedure, so that all spectra made with it can stand in one data set."""


class AIMNet2Config(Config):
    """What `aimnet2` computes, and where."""

    members: Literal[1, 4] = Field(
        default=4,
        description="networks whose mean is taken; 1 is three times as fast and matches measured spectra less",
    )
    conformers: int = Field(
        default=1, ge=1, le=64, description="conformers to start from, averaged by Boltzmann's weights at 298.15 K"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="where the networks are computed; auto: on a GPU where there is one"
    )
