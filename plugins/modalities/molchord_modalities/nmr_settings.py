"""What peak lists are made of, and the settings that configuration and transforms share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, model_validator

from molchord.api import Config

__all__ = ["MULTIPLICITIES", "NUCLEI", "Jitter", "Nucleus", "PpmGrid"]

MULTIPLICITIES = ("s", "d", "t", "q", "quint", "sext", "sept", "dd", "dt", "td", "m")
"""Splitting patterns that an encoder distinguishes; any other is "m". Code i + 1 is stored, 0 where none is known."""


@dataclass(frozen=True)
class Nucleus:
    """What is known of a nucleus.

    Attributes:
        low: Lowest shift that raises no quality warning, ppm.
        high: Highest one.
        scale: Ratio of its shifts' spread and errors to those of 13C, by which settings in ppm of 13C are scaled.
    """

    low: float
    high: float
    scale: float


NUCLEI = {
    "1H": Nucleus(-5.0, 20.0, 0.1),
    "13C": Nucleus(-20.0, 260.0, 1.0),
    "15N": Nucleus(-400.0, 900.0, 4.0),
    "17O": Nucleus(-100.0, 1200.0, 5.0),
    "19F": Nucleus(-450.0, 450.0, 2.0),
    "31P": Nucleus(-500.0, 600.0, 2.0),
}
"""Nuclei whose lists are read."""

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class PpmGrid(Config):
    """Positions of the smeared spectrum, both ends included; the defaults suit 13C."""

    start: float = Field(default=-10.0, allow_inf_nan=False, description="First position, ppm.")
    stop: float = Field(default=230.0, allow_inf_nan=False, description="Last position, ppm.")
    points: int = Field(default=481, ge=2, description="Positions.")
    width: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="Standard deviation of the Gaussian at each peak, ppm."
    )

    @model_validator(mode="after")
    def _ascending(self) -> PpmGrid:
        if self.stop <= self.start:
            raise ValueError(f"`stop` must be above `start`, got start {self.start!r} and stop {self.stop!r}")
        return self


class Jitter(Config):
    """Augmentation of a training sample, drawn anew each time; never in evaluation.

    What is in ppm is in ppm of 13C and scaled for other nuclei: to a tenth for 1H.
    """

    shift: NotNegative = Field(
        default=1.0,
        description="Standard deviation of each peak's own error, ppm of 13C (a tenth of it for 1H): predicted shifts "
        "differ from measured ones by 1 to 2 ppm.",
    )
    offset: NotNegative = Field(
        default=0.3,
        description="Standard deviation of an error that all peaks of a list share, as from solvent and reference, ppm "
        "of 13C.",
    )
    drop: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.05, description="Probability that a peak is left out; one always stays."
    )
    merge: NotNegative = Field(
        default=0.3,
        description="Largest distance within which peaks run into one, drawn evenly between 0 and this for each list, "
        "ppm of 13C.",
    )
    multiplicity: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5,
        description="Probability that all multiplicities of a list are hidden, as in a spectrum taken without DEPT.",
    )
