"""What a sample is: the hits of its search, how probable none of them is, and what there is to say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, final

from molchord.identify.reading import Failure, Unknown
from molchord.library.hits import Hit, Hits, sureness

__all__ = ["Answer", "Identified", "answer_of"]


@final
@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer to one sample.

    Attributes:
        sample: What it is called.
        files: What its files are called.
        read: What was read of them, a sentence per measurement.
        asked: What was known of it besides: mass, formula, elements.
        hits: The first candidates, best first.
        none_of_these: Probability that the molecule is not among the candidates; None where the run cannot tell.
        candidates: How many candidates passed the filters.
        uncalibrated: Measured spectra for which the run was calibrated on computed ones only.
        summary: The sentences about the answer as a whole, such as how probable none of them is.
        warnings: What makes the answer uncertain, a sentence each.
    """

    sample: str
    files: tuple[str, ...]
    read: tuple[str, ...]
    asked: Mapping[str, Any]
    hits: tuple[Hit, ...]
    none_of_these: float | None
    candidates: int
    uncalibrated: tuple[str, ...]
    summary: tuple[str, ...]
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Answer:
        """Make an answer of its JSON values.

        Raises:
            TypeError: They are not those of an answer.
        """
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        hits = tuple(Hit(**{name: _tupled(value) for name, value in hit.items()}) for hit in values["hits"])
        if {one.name for one in fields(cls)} != values.keys():
            raise TypeError("it has other fields")
        return cls(**{**values, **lists, "hits": hits})


@final
@dataclass(frozen=True, kw_only=True)
class Identified:
    """What `Run.identify` returns.

    Attributes:
        answers: One per sample, in the order of the samples.
        failures: Samples, or entries of their files, without one.
        notes: What there is to say of the candidates: how many there are, which the run never saw the like of.
    """

    answers: tuple[Answer, ...]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]


def answer_of(unknown: Unknown, hits: Hits, warnings: tuple[str, ...] = ()) -> Answer:
    """Return the answer that a search gave; what is said of all hits is said once."""
    common = [message for message in hits[0].quality_warnings if all(message in h.quality_warnings for h in hits)]
    asked = {name: value for name, value in vars(unknown.asked).items() if value is not None}
    return Answer(
        sample=unknown.id,
        files=unknown.files,
        read=unknown.read,
        asked=asked,
        hits=tuple(hits),
        none_of_these=hits.none_of_these,
        candidates=hits.candidates,
        uncalibrated=tuple(hits.uncalibrated),
        summary=tuple(sureness(hits)),
        warnings=tuple(dict.fromkeys((*unknown.left, *warnings, *common))),
    )


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
