"""Indexes: the record, what `build` returns, and the vectors, limits and proposals it works with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from molchord.api.record import ConfigT, Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Index", "IndexRecord", "IndexedRows", "IndexedVectors", "Limits", "Proposals", "Proposer"]


@dataclass(frozen=True, kw_only=True)
class IndexedRows:
    """Some candidates of a library.

    Attributes:
        rows: (n,) int64, ascending; what a proposal names them by.
        vectors: (n, d) fp32 unit rows.
        exact_mass: (n,) in Da.
        formula: Hill formula of each.
    """

    rows: NDArray[np.int64]
    vectors: NDArray[np.float32]
    exact_mass: NDArray[np.float64]
    formula: Sequence[str]


class IndexedVectors(Protocol):
    """The candidates of a library, to be read block by block, as often as an index needs."""

    @property
    def size(self) -> int:
        """Return the length of a vector."""
        ...

    def __len__(self) -> int:
        """Return the number of candidates."""
        ...

    def __iter__(self) -> Iterator[IndexedRows]:
        """Yield the candidates, rows ascending."""
        ...


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Which candidates may be proposed, given in two forms: an index uses what suits it.

    Attributes:
        window: Ends of the exact mass in Da, both included; None: any mass.
        formula: Hill formula; None: any.
        removed: (r,) int64, ascending: rows removed from the library, possibly since the index was made.
        rows: (n,) int64, ascending: the rows that `window`, `formula` and `removed` leave; None: all of the library.
    """

    window: tuple[float, float] | None
    formula: str | None
    removed: NDArray[np.int64]
    rows: NDArray[np.int64] | None


@dataclass(frozen=True, kw_only=True)
class Proposals:
    """Candidates that an index takes for the best ones.

    Attributes:
        rows: (q, n) int64 in any order, each row of the library once; -1 where there are fewer.
        bound: (q,) an upper bound of the inner product of every candidate within the limits that is not among them,
            rounding counted, -inf where there is none left; None: the index has no bound, so the hits are not proven.
    """

    rows: NDArray[np.int64]
    bound: NDArray[np.float64] | None = None


class Proposer(Protocol):
    """An index that was opened."""

    def propose(self, queries: NDArray[np.float32], count: int, limits: Limits) -> Proposals:
        """Propose the candidates with the largest inner products; the engine scores and ranks them.

        Args:
            queries: (q, d) vectors of any length.
            count: How many for each query; fewer where fewer are within the limits.
            limits: What may be proposed.

        Raises:
            ConnectionError: A server does not answer; the message is a sentence that states which, and what to start.
        """
        ...


class Index(Protocol):
    """Finds vectors with large inner products without looking at all of them."""

    def write(self, folder: Path, vectors: IndexedVectors) -> None:
        """Make the index of these candidates; what is kept on disk goes into this empty folder.

        Raises:
            ImportError: A library that it needs is not installed.
            ConnectionError: As for `Proposer.propose`.
        """
        ...

    def open(self, folder: Path) -> Proposer:
        """Open what `write` made; the folder may have been moved since.

        Raises:
            ImportError: A library that it needs is not installed.
            ConnectionError: As for `Proposer.propose`.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class IndexRecord(Record[ConfigT]):
    """A way to find the likeliest candidates of a large library fast; ``build(config)`` returns an `Index`.

    Attributes:
        version: Raised when it can no longer open what older versions wrote.
    """

    build: Callable[[ConfigT], Index]
    version: int = 1
