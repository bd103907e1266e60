"""Built-in re-rankers: records and configurations here, what they do in the modules beside."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Self

from annotated_types import Gt, Le, MinLen
from pydantic import model_validator

from molchord.api import Config, Reranker, RerankerRecord, hookimpl

__all__ = ["SIMULATE_AND_MATCH", "SimulateAndMatchConfig", "molchord_rerankers"]

Positive = Annotated[float, Gt(0)]


class SimulateAndMatchConfig(Config):
    """Configuration of `simulate_and_match`.

    Attributes:
        scale: What computed wavenumbers are multiplied by: pairs of a computed wavenumber in cm^-1, ascending, and the
            factor there, linear between them and constant beyond. The defaults turn harmonic GFN2-xTB wavenumbers into
            those of gases; one pair of 0.98 is the usual single factor.
        width: Half width of the Lorentzian line that each computed stick becomes, cm^-1.
        power: Exponent of the intensities before they are compared; small ones weigh weak bands up, which helps where
            computed intensities are rough.
        start: First wavenumber compared, cm^-1.
        fingerprint: Upper end of the range that is compared by itself as well, cm^-1.
        stop: Last wavenumber compared, cm^-1.
    """

    scale: Annotated[tuple[tuple[Positive, Positive], ...], MinLen(1)] = (
        (750.0, 0.970),
        (1100.0, 0.995),
        (1450.0, 0.987),
        (1750.0, 0.978),
        (2950.0, 0.987),
    )
    width: Positive = 20.0
    power: Annotated[float, Gt(0), Le(1)] = 0.25
    start: Positive = 600.0
    fingerprint: Positive = 1500.0
    stop: Positive = 3800.0

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        places = [place for place, _ in self.scale]
        if any(b <= a for a, b in pairwise(places)):
            raise ValueError(f"the wavenumbers of `scale` are {places}; put them in ascending order, each once")
        if not self.start < self.fingerprint < self.stop:
            ends = f"{self.start:g}, {self.fingerprint:g}, {self.stop:g}"
            raise ValueError(f"`start`, `fingerprint` and `stop` are {ends}; put them in ascending order")
        return self


def _build(config: SimulateAndMatchConfig) -> Reranker:
    from molchord_rerankers.simulate_and_match import SimulateAndMatch

    return SimulateAndMatch(config)


SIMULATE_AND_MATCH = RerankerRecord(
    name="simulate_and_match",
    summary="compares measured curves with the candidates' computed sticks",
    api=1,
    config=SimulateAndMatchConfig,
    build=_build,
    computed=True,
)


@hookimpl
def molchord_rerankers() -> list[RerankerRecord]:
    """Return the re-rankers of this package.

    Example:
        >>> [record.name for record in molchord_rerankers()]
        ['simulate_and_match']
    """
    return [SIMULATE_AND_MATCH]
