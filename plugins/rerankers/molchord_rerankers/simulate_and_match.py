"""Re-ranking by what is computed for the first candidates: configuration and record."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Self

from pydantic import Field, model_validator

from molchord.api import Config, Reranker, RerankerRecord

__all__ = ["SIMULATE_AND_MATCH", "SimulateAndMatchConfig"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SimulateAndMatchConfig(Config):
    """How a measured curve is compared with computed sticks.

    Example:
        >>> SimulateAndMatchConfig(scale=((1000.0, 0.98),)).width
        20.0
    """

    scale: Annotated[tuple[tuple[Positive, Positive], ...], Field(min_length=1)] | None = Field(
        default=None,
        description="What computed wavenumbers are multiplied by: pairs of a computed wavenumber, cm^-1, ascending, "
        "and the factor there, linear between them and constant beyond; one pair of 0.98 is the usual single factor. "
        "None: what turns harmonic wavenumbers of the simulator that computed them into those of gases, and its "
        "infrared intensities too.",
    )
    width: Positive = Field(
        default=20.0, description="Half width of the Lorentzian line that each computed stick becomes, cm^-1."
    )
    power: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.25,
        description="Exponent of the intensities before they are compared, at most 1; small ones weigh weak bands up, "
        "which helps where computed intensities are rough.",
    )
    start: Positive = Field(default=600.0, description="First wavenumber compared, cm^-1; below `fingerprint`.")
    fingerprint: Positive = Field(
        default=1500.0,
        description="Upper end of the range that is compared by itself as well, cm^-1; below `stop`.",
    )
    stop: Positive = Field(default=3800.0, description="Last wavenumber compared, cm^-1.")

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        places = [place for place, _ in self.scale or ()]
        if any(b <= a for a, b in pairwise(places)):
            raise ValueError(f"the wavenumbers of `scale` are {places}; put them in ascending order, each once")
        if not self.start < self.fingerprint < self.stop:
            ends = f"{self.start:g}, {self.fingerprint:g}, {self.stop:g}"
            raise ValueError(f"`start`, `fingerprint` and `stop` are {ends}; put them in ascending order")
        return self


def build(config: SimulateAndMatchConfig) -> Reranker:
    """Return the re-ranker; numpy is imported here, not before."""
    from molchord_rerankers.simulate_and_match_reranker import SimulateAndMatch

    return SimulateAndMatch(**dict(config))


SIMULATE_AND_MATCH = RerankerRecord(
    name="simulate_and_match",
    summary="compares measured curves with the candidates' computed sticks",
    api=1,
    config=SimulateAndMatchConfig,
    build=build,
    computed=True,
)
