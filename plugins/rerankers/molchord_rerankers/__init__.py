"""Built-in re-rankers: one module holds each one's configuration and record, the work is beside it."""

from __future__ import annotations

from molchord.api import RerankerRecord, hookimpl
from molchord_rerankers.simulate_and_match import SIMULATE_AND_MATCH

__all__ = ["molchord_rerankers"]


@hookimpl
def molchord_rerankers() -> list[RerankerRecord]:
    """Return the re-rankers of this package.

    Example:
        >>> [record.name for record in molchord_rerankers()]
        ['simulate_and_match']
    """
    return [SIMULATE_AND_MATCH]
