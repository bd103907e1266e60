"""Checks on indexes, whose library must be installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from molchord.api import IndexedRows, IndexRecord, Limits, Proposals, Proposer
from molchord.testing.require import require

COUNT, SIZE, ASKED = 400, 16, 20
"""Candidates that the checks show, the length of their vectors, and how many they ask for."""

FORMULAS = ("CH4", "C2H6O", "H4N+")


@dataclass(frozen=True)
class _Vectors:
    """Candidates of a library with gaps between rows, lightest first."""

    count: int
    size: int = SIZE

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[IndexedRows]:
        every = self.all()
        for part in (slice(0, 150), slice(150, None)):
            if len(every.rows[part]):
                yield IndexedRows(
                    rows=every.rows[part],
                    vectors=every.vectors[part],
                    exact_mass=every.exact_mass[part],
                    formula=every.formula[part],
                )

    def all(self) -> IndexedRows:
        """Return all of them."""
        vectors = np.random.default_rng(0).normal(size=(self.count, self.size))
        return IndexedRows(
            rows=np.arange(self.count, dtype=np.int64) * 2 + 3,
            vectors=(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32),
            exact_mass=100.0 + np.arange(self.count) / 10.0,
            formula=[FORMULAS[i % len(FORMULAS)] for i in range(self.count)],
        )

    def limits(self, window: tuple[float, float] | None = None, formula: str | None = None, removed: int = 0) -> Limits:
        """Return limits, the first `removed` rows being removed."""
        every = self.all()
        inside = np.ones(self.count, dtype=np.bool_)
        inside[:removed] = False
        if window is not None:
            inside &= (every.exact_mass >= window[0]) & (every.exact_mass <= window[1])
        if formula is not None:
            inside &= np.array(every.formula) == formula
        rows = None if inside.all() else every.rows[inside]
        return Limits(window=window, formula=formula, removed=every.rows[:removed], rows=rows)


@contextmanager
def _opened(record: IndexRecord, vectors: _Vectors) -> Iterator[Proposer]:
    """Write an index, move its folder, and open it by an object built anew."""
    with TemporaryDirectory(prefix="molchord-index-") as name:
        written, moved = Path(name, "written"), Path(name, "moved")
        written.mkdir()
        record.build(record.config()).write(written, vectors)
        shutil.move(written, moved)
        yield record.build(record.config()).open(moved)


def _queries(count: int = 3) -> NDArray[np.float32]:
    """Return vectors near candidates, not of length 1."""
    return (_Vectors(COUNT).all().vectors[:count] * 2.5).astype(np.float32)


def _checked(proposals: Proposals, queries: int, count: int, allowed: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the proposed rows, after checking that they are some."""
    rows = proposals.rows
    require(rows.dtype == np.int64, f"rows are {rows.dtype}, not int64")
    require(
        rows.ndim == 2 and len(rows) == queries and rows.shape[1] <= count,
        f"{count} rows asked for each of {queries} queries have shape {rows.shape}",
    )
    for row in rows:
        there = row[row >= 0]
        require(len(np.unique(there)) == len(there), "a row is proposed twice for one query")
        outside = np.setdiff1d(there, allowed)
        require(
            len(outside) == 0, f"rows {outside[:3].tolist()!r} are proposed, which are none of the candidates asked for"
        )
    return rows


def likeliest_are_proposed(record: IndexRecord) -> None:
    """The candidate that is the query itself is among the proposals, for one query and for many, in a moved folder.

    To mend it: rank by inner product, name candidates by their `rows`, and store no absolute path.
    """
    vectors = _Vectors(COUNT)
    with _opened(record, vectors) as proposer:
        for many in (1, 3):
            rows = _checked(proposer.propose(_queries(many), ASKED, vectors.limits()), many, ASKED, vectors.all().rows)
            for query, row in enumerate(rows):
                require(int(vectors.all().rows[query]) in row, f"query {query} is candidate {query}, which is missing")


def limits_are_kept(record: IndexRecord) -> None:
    """Mass, formula and removed rows limit what is proposed, alone and together.

    To mend it: filter by `limits.rows`, or by window, formula and removed rows, before the best are chosen.
    """
    vectors = _Vectors(COUNT)
    with _opened(record, vectors) as proposer:
        for limits in (
            vectors.limits(window=(105.0, 120.0)),
            vectors.limits(formula="C2H6O"),
            vectors.limits(removed=2),
            vectors.limits(window=(105.0, 120.0), formula="H4N+", removed=60),
        ):
            if limits.rows is None:
                raise AssertionError("these limits leave something out")
            rows = _checked(proposer.propose(_queries(), ASKED, limits), 3, ASKED, limits.rows)
            require(bool((rows >= 0).any()), "nothing is proposed, though candidates are within the limits")


def bound_holds(record: IndexRecord) -> None:
    """Where there is a bound, no candidate left out has a larger inner product.

    To mend it: count rounding in the bound, or return none.
    """
    vectors, queries = _Vectors(COUNT), _queries()
    every = vectors.all()
    products = queries.astype(np.float64) @ every.vectors.T.astype(np.float64)
    with _opened(record, vectors) as proposer:
        for limits in (vectors.limits(), vectors.limits(formula="CH4")):
            proposals = proposer.propose(queries, ASKED, limits)
            allowed = every.rows if limits.rows is None else limits.rows
            for query, row in enumerate(proposals.rows if proposals.bound is not None else ()):
                left = np.isin(every.rows, np.setdiff1d(allowed, row))
                bound = float(np.asarray(proposals.bound)[query])
                worst = products[query][left].max(initial=-np.inf)
                require(worst <= bound, f"the bound is {bound:g}, but a candidate left out has {worst:g}")


def few_candidates_are_no_error(record: IndexRecord) -> None:
    """A library may hold a single candidate, and limits may leave fewer than are asked for.

    To mend it: pad with -1.
    """
    for count in (1, ASKED // 2):
        vectors = _Vectors(count)
        with _opened(record, vectors) as proposer:
            rows = _checked(proposer.propose(_queries(1), ASKED, vectors.limits()), 1, ASKED, vectors.all().rows)
            require(bool((rows >= 0).any()), f"nothing is proposed of {count} candidates")


CHECKS = (likeliest_are_proposed, limits_are_kept, bound_holds, few_candidates_are_no_error)
