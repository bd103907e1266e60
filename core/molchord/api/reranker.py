"""Re-rankers: the record, what `build` returns, and the candidates it sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from molchord.api.batches import Measurement, Molecule
from molchord.api.record import ConfigT, Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Candidate", "Reranker", "RerankerRecord"]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A molecule that a search has found.

    Attributes:
        molecule: The molecule.
        computed: What could be computed for it, by modality name; empty where a re-ranker asks for nothing computed.
    """

    molecule: Molecule
    computed: Mapping[str, Measurement]


class Reranker(Protocol):
    """Looks at a query and its first candidates once more; how much a feature counts is fitted by the engine."""

    def names(self, modalities: tuple[str, ...]) -> tuple[str, ...]:
        """Name the features for queries of these modalities."""
        ...

    def features(
        self, query: Mapping[str, Sequence[Measurement]], candidates: Sequence[Candidate]
    ) -> NDArray[np.floating[Any]]:
        """Return (candidates, features), in the order of `names`; higher is more alike, NaN where it has no answer.

        A candidate with NaN counts as an average one, so that it neither rises nor falls.

        Args:
            query: One measurement or more per modality, in the order of the model graph.
            candidates: The first candidates, best first; possibly one only.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class RerankerRecord(Record[ConfigT]):
    """A second look at the first candidates of a search; ``build(config)`` returns a `Reranker`.

    Attributes:
        computed: It compares the query with what is computed for the candidates, so the engine gets that, and refuses
            queries that are computed themselves: for them it is the answer.
    """

    build: Callable[[ConfigT], Reranker]
    computed: bool = False
