"""What of the modality `isotopes` is nested: its augmentation. Nothing heavy."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from molchord.api import Config

__all__ = ["Jitter"]


class Jitter(Config):
    """Augmentation of a training sample, drawn anew each time; never in evaluation."""

    abundance: Annotated[float, Field(ge=0)] = Field(
        default=0.03, description="Standard deviation of the logarithm of each abundance."
    )
    offset: Annotated[float, Field(ge=0)] = Field(
        default=0.001, description="Standard deviation of each mass offset in Da."
    )
