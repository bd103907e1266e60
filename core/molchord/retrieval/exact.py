"""Exact search that scores few candidates: the others are excluded by an upper bound of their ranking value.

The bound is one inner product of a candidate with a *direction* made of the query's vectors, whatever the number of
modalities, taken in fp32 or, where a block has short rows, in their fewer bits. A candidate whose bound, with all
rounding counted, is below the k-th best value so far cannot be a hit; the others are scored in fp64 from their fp32
rows. So the hits are those of a search that scores all.

Bounds, for M modalities with cosines c_m, mapped factors f_m and their geometric mean G:

* ``gm-exp``: the ranking value is itself a constant plus one inner product (`scores`).
* ``gm-half``, f_m = (1 + c_m) / 2: for any lambda_m > 0 whose product is 1, G <= mean(lambda_m f_m), since a geometric
  mean is at most the arithmetic one. lambda_m = (G / f_m)^t at the current k-th hit, where t = 1 gives the plane that
  touches G there and t = 0 the plain mean; t is the one that most candidates of a sample are farthest below, so that a
  modality that reveals little about the query loosens the bound little.
* ``gm-clamp``: the same with f_m = c_m, since a candidate with a value above 0 has positive cosines only, and below a
  k-th value above 0 the others need no bound. Until the k-th value is positive lambda_m is 1, which bounds all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Protocol, final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from molchord.device import out_of_memory
from molchord.errors import QueryError
from molchord.retrieval.scores import Block, TopK, check_query, full_precision, pair_temperatures

__all__ = ["LONGEST", "Exact", "Found", "Search", "feed", "scan"]

LONGEST = 1.002
"""No candidate's vector is longer; a library takes unit vectors only, up to 0.001."""

_SLACK = 1e-9
"""More than fp64 rounding can change a value or a bound."""

_ROUNDED = 2e-6
"""More than fp32 rounding can change a product of factors that are known."""

_SAMPLE, _SPREAD, _TILTS = 16384, 1024, 5
"""Candidates whose cosines are all computed, of those the ones whose spread is, and bounds to choose from by it."""

_SPARE = 8
"""Candidates beyond the k-th that are looked at before all are."""

_WIDENED = 512
"""Short rows that a CPU turns into fp32 at once."""

_MANY, _FEWEST = 4096, 64
"""Candidates of a block that may be scored for each query, and how few a block may be cut down to."""


@final
@dataclass(frozen=True)
class Found:
    """The best candidates of some queries.

    Attributes:
        rows: (q, found) the candidates' indices, best first; equal values in tie order.
        values: (q, found) their ranking values; -inf where one is not finite.
        proven: (q,) whether no candidate left out can be better, nor as good and earlier in tie order.
        totals: (q,) logarithm of the sum of exp(logit) over the pool; None where it was not requested.
    """

    rows: Int64[Tensor, "q found"]
    values: Float[Tensor, "q found"]
    proven: Bool[Tensor, " q"]
    totals: Float[Tensor, " q"] | None = None

    @classmethod
    def joined(cls, parts: Sequence[Found]) -> Found:
        """Return what was found for some queries and for others as one."""
        totals = [part.totals for part in parts if part.totals is not None]
        return cls(
            torch.cat([part.rows for part in parts]),
            torch.cat([part.values for part in parts]),
            torch.cat([part.proven for part in parts]),
            torch.cat(totals) if totals else None,
        )


@final
class Exact:
    """The k best candidates of some queries, exactly, block after block.

    Args:
        queries: Unit rows per modality, each (q, d), on the device where blocks will be.
        k: How many to keep.
        fusion: Form of the geometric mean.
        tau: Temperature of each modality; None means 1.
        present: Which queries have each modality, each (q,) bool; None, or a modality left out, means all.
        beta: (q,) scale of each query's logit, beta * sum_m cos_m / tau_m, whose softmax over the pool is the
            probability of a hit; None: no totals are kept.

    Attributes:
        totals: (q,) logarithm of the sum of exp(logit), exact for what was scored, else from the inner products that
            excluded the candidate; None without `beta`.

    Raises:
        QueryError: Unknown fusion, a query without a modality, or a temperature that is missing or not positive.

    Example:
        >>> search = Exact({"ir": torch.eye(3)[:1]}, 2)
        >>> search.update(Block(index=torch.arange(3), vectors=torch.eye(3)))
        3
        >>> search.found().rows, search.found().values
        (tensor([[0, 1]]), tensor([[1., 0.]], dtype=torch.float64))
    """

    def __init__(
        self,
        queries: Mapping[str, Float[Tensor, "q d"]],
        k: int,
        *,
        fusion: str = "gm-exp",
        tau: Mapping[str, float] | None = None,
        present: Mapping[str, Bool[Tensor, " q"]] | None = None,
        beta: Float[Tensor, " q"] | None = None,
    ) -> None:
        check_query(fusion, queries)
        self._best, self._k, self._fusion = TopK(k), k, fusion
        self._tau = list(pair_temperatures(queries, tau).values())
        vectors = torch.stack([part.double() for part in queries.values()], dim=1)
        every = torch.ones(len(vectors), dtype=torch.bool, device=vectors.device)
        self._here = torch.stack([(present or {}).get(name, every) for name in queries], dim=1)
        self._count, self._whole = self._here.sum(dim=1).double(), bool(self._here.all())
        if bool((self._count == 0).any()):
            which = int((self._count == 0).nonzero()[0])
            raise QueryError(f"search failed: query {which} has no modality; give each at least one spectrum")
        vectors = torch.where(self._here[:, :, None], vectors, 0.0)
        inverse = self._here / torch.tensor(self._tau, dtype=torch.float64, device=vectors.device)
        self.totals = None if beta is None else torch.full_like(beta.double(), -torch.inf)
        scale = self._count * sum(1.0 / t for t in self._tau) / len(self._tau)
        beta = scale.new_zeros(len(scale)) if beta is None else beta.double()
        self._linear = fusion == "gm-exp"
        if self._linear:  # one axis, whose inner product with a candidate is its value less a constant
            slope = inverse / scale[:, None]
            self._axes = (slope[:, :, None] * vectors).sum(dim=1, keepdim=True)
            self._offset, self._logit = 1.0 - slope.sum(dim=1), (beta * scale)[:, None]
        else:
            self._axes, self._logit = vectors, beta[:, None] * inverse
        self._floor = torch.full_like(self._count, -torch.inf)
        self._at = torch.zeros_like(self._axes[:, :, 0])
        self._mean, self._spread = self._at, torch.eye(self._axes.shape[1], dtype=torch.float64, device=beta.device)
        self._spread = self._spread.expand(len(scale), -1, -1)

    def update(self, block: Block) -> int:
        """Search the first rows of a block, all of them or some, and return how many; nothing of it where it fails.

        Raises:
            MemoryError: Too many candidates could be hits; what the first half finds excludes many of the second.
        """
        if self._linear or bool((self._floor > 0).all()):
            self._by_plane(block)
            return len(block)
        part = block[:_SAMPLE]
        self._by_cosines(part)
        return len(part)

    def score(self, block: Block, columns: Int64[Tensor, "q n"]) -> None:
        """Score columns of a block for each query, -1 meaning none, in place of searching it."""
        rows, place = (columns >= 0).nonzero(as_tuple=True)
        self._score(block, rows, columns[rows, place], None)

    def plane(self) -> tuple[Float[Tensor, "q d"], Float[Tensor, " q"]]:
        """Return a direction and an offset: offset + <g, direction> bounds the value of candidate g from above."""
        if self._linear:
            return self._axes[:, 0], self._offset
        # Any positive lambda_m of product 1 will do, so that tiny factors need no care beyond staying positive.
        known = self._here & (self._floor > 0)[:, None]
        logs = torch.where(known, -self._factors(self._at).clamp(min=1e-4).log(), 0.0)
        logs = torch.where(self._here, logs - (logs.sum(dim=1) / self._count)[:, None], -torch.inf)
        tilts = torch.linspace(1e-9, 1.0, _TILTS, dtype=torch.float64, device=logs.device)
        slope = (tilts[:, None, None] * logs).exp() / self._count[:, None]
        offset = torch.zeros_like(slope[:, :, 0])
        if self._fusion == "gm-half":
            slope, offset = slope / 2.0, slope.sum(dim=2) / 2.0
        # The plane that most of the sample is farthest below, in its own standard deviations.
        above = self._roots(self._floor) - offset - (slope * self._mean).sum(dim=2)
        width = torch.einsum("tqm,qmn,tqn->tq", slope, self._spread, slope).clamp(min=1e-12).sqrt()
        best = (above / width).argmax(dim=0)
        slope, offset = (part[best, torch.arange(len(best), device=best.device)] for part in (slope, offset))
        return (slope[:, :, None] * self._axes).sum(dim=1), offset

    def excludes(self, bound: Float[Tensor, " q"]) -> Bool[Tensor, " q"]:
        """Return where candidates whose value is at most `bound` cannot be a hit."""
        return bound + _SLACK < self._roots(self._floor)

    def found(self, proven: Bool[Tensor, " q"] | None = None) -> Found:
        """Return the result; `proven` None: all was searched.

        Raises:
            QueryError: There was no candidate.
        """
        if self._best.found == 0:
            raise QueryError(
                "search failed: no candidate is left; widen the mass or formula limit, or use another library"
            )
        proven = torch.ones_like(self._count, dtype=torch.bool) if proven is None else proven
        totals = None if self.totals is None else self.totals.cpu()
        return Found(self._best.index.cpu(), self._roots(self._best.values).cpu(), proven.cpu(), totals)

    # --- helpers

    def _by_plane(self, block: Block) -> None:
        """Search a block by one inner product per candidate."""
        direction, offset = self.plane()
        values, error = scan(direction, block)
        near, floor = None, self._roots(self._floor)
        if self._linear and not bool(floor.isfinite().all()):
            near = _likeliest(values, self._k + _SPARE)
            if near[0].shape[1] >= self._k:
                floor = floor.maximum(near[0][:, self._k - 1] + offset - error)
        rows, columns, open_ = self._open(values, floor - offset - error - _SLACK, near)
        excluded = None
        if open_ is not None and self.totals is not None:
            plain = values * self._logit.float() if self._linear else scan(self._logit_direction(), block)[0]
            excluded = plain.masked_fill(open_, -torch.inf).double().logsumexp(dim=1)
        self._score(block, rows, columns, excluded)

    def _by_cosines(self, block: Block) -> None:
        """Search a block by all cosines, and note how they spread; this gives the first k-th value."""
        found = [scan(axis, block) for axis in self._axes.unbind(dim=1)]
        cosines = [values for values, _ in found]
        errors = [(error * 1.000001).float()[:, None] for _, error in found]
        high = self._keys([cosine + error for cosine, error in zip(cosines, errors, strict=True)])
        near = _likeliest(high, self._k + _SPARE)
        if near[0].shape[1] >= self._k:
            places = near[1][:, : self._k]
            at = [cosine.gather(1, places) for cosine in cosines]
            low = self._keys([cosine - error for cosine, error in zip(at, errors, strict=True)])
            last = self._finite(low.double()).min(dim=1)
            each = last.indices[:, None]
            self._raise(last.values - _ROUNDED, torch.cat([cosine.gather(1, each) for cosine in at], dim=1).double())
        rows, columns, open_ = self._open(high, self._floor - _ROUNDED, near)
        excluded = None
        if open_ is not None and self.totals is not None:
            plain = reduce(torch.add, [c * self._logit[:, m, None].float() for m, c in enumerate(cosines)])
            excluded = plain.masked_fill(open_, -torch.inf).double().logsumexp(dim=1)
        self._score(block, rows, columns, excluded)
        some = torch.stack([cosine[:, :_SPREAD] for cosine in cosines], dim=2).double().nan_to_num(0.0)
        self._mean = some.mean(dim=1)
        centred = some - self._mean[:, None]
        self._spread = centred.mT @ centred / some.shape[1]

    def _open(
        self, values: Tensor, least: Tensor, near: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the pairs of a query and a column whose value is not below `least`, and all of them as a mask.

        Where `near`, the largest values, holds all of them and no mask is needed, it is None.
        """
        least = least.float()
        least = least.nextafter(torch.full_like(least, -torch.inf))[:, None]
        if near is not None and self.totals is None and bool((near[0][:, -1:] < least).all()):
            rows, places = (near[0] >= least).nonzero(as_tuple=True)
            return rows, near[1][rows, places], None
        open_ = (values < least).logical_not_()  # of a value that is not a number nothing is known
        rows, columns = open_.nonzero(as_tuple=True)
        if len(rows) > max(_MANY, 64 * self._k) * len(values):
            raise MemoryError(f"{len(rows)} candidates to score")
        return rows, columns, open_

    def _raise(self, floor: Tensor, at: Tensor) -> None:
        """Raise the key that the k-th best reaches, and note the cosines it was reached at."""
        self._at = torch.where((floor >= self._floor)[:, None], at, self._at)
        self._floor = self._floor.maximum(floor)

    def _score(self, block: Block, rows: Tensor, columns: Tensor, excluded: Tensor | None) -> None:
        """Score pairs of a query and a candidate, `rows` ascending, and keep the best."""
        cosines = self._cosines(block, rows, columns)
        keys = self._offset[rows] + cosines[:, 0] if self._linear else self._keys(cosines.unbind(dim=1), rows)
        keys = self._finite(keys)
        index = block.index[columns]
        order = index if block.order is None else block.order[columns]
        counts = rows.bincount(minlength=len(self._count))
        slot = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
        shape = (len(counts), int(counts.max()))

        def spread(part: Tensor, fill: float) -> Tensor:
            out = part.new_full((*shape, *part.shape[1:]), fill)
            out[rows, slot] = part
            return out

        totals = self.totals
        if totals is not None:
            logits = (cosines * self._logit[rows]).sum(dim=1)
            scored = spread(logits.where(logits.isfinite(), -torch.inf), -torch.inf).logsumexp(dim=1)
            totals = totals.logaddexp(scored) if excluded is None else totals.logaddexp(scored).logaddexp(excluded)
        last = torch.iinfo(torch.int64).max
        if shape[1] > 0:
            kept = None if self._linear else spread(cosines, 0.0)
            self._best.merge(spread(keys, -torch.inf), spread(index, last), spread(order, last), kept)
        self.totals = totals
        if self._best.found >= self._k:
            at = self._at if self._best.cosines is None else self._best.cosines[:, self._k - 1]
            self._raise(self._best.values[:, self._k - 1], at)

    def _cosines(self, block: Block, rows: Tensor, columns: Tensor) -> Tensor:
        """Return (pairs, axes) inner products in fp64, the same for equal vectors in any position."""
        at_once = 32768 if columns.is_cuda else 256  # a core's cache holds what is read for these
        found = [self._axes.new_zeros((0, self._axes.shape[1]))]
        for start in range(0, len(rows), at_once):
            part = slice(start, start + at_once)
            vectors = block.vectors[columns[part]].double()
            axes = range(self._axes.shape[1])
            found.append(torch.stack([(vectors * self._axes[rows[part], a]).sum(dim=1) for a in axes], dim=1))
        return torch.cat(found)

    def _factors(self, cosines: Tensor) -> Tensor:
        return cosines.clamp(min=0.0) if self._fusion == "gm-clamp" else (cosines + 1.0).mul_(0.5)

    def _keys(self, cosines: Sequence[Tensor], rows: Tensor | None = None) -> Tensor:
        """Return what ranks as the values do: products, as a root may round equal numbers to unequal ones.

        Args:
            cosines: (q, n) per modality, or (pairs,).
            rows: (pairs,) the queries of pairs.
        """
        here = [self._here[:, m, None] if rows is None else self._here[rows, m] for m in range(len(cosines))]
        factors: Iterable[Tensor] = [self._factors(cosine) for cosine in cosines]
        if not self._whole:
            factors = [torch.where(mask, factor, 1.0) for mask, factor in zip(here, factors, strict=True)]
        product = reduce(torch.mul, factors)
        if self._fusion == "gm-half":
            return product
        total = reduce(torch.add, [torch.where(mask, cosine, 0.0) for mask, cosine in zip(here, cosines, strict=True)])
        count = (self._count[:, None] if rows is None else self._count[rows]).to(total.dtype)
        return product.where(product > 0, total / count - 1.0)

    def _roots(self, keys: Tensor) -> Tensor:
        """Return the values of keys, whose first axis are queries."""
        if self._linear:
            return keys
        count = self._count.view(-1, *(1 for _ in keys.shape[1:]))
        return keys.where(keys <= 0, keys.clamp(min=0.0).pow(1.0 / count))

    def _finite(self, keys: Tensor) -> Tensor:
        return keys.where(keys.isfinite(), -torch.inf)

    def _logit_direction(self) -> Tensor:
        return (self._logit[:, :, None] * self._axes).sum(dim=1)


def scan(direction: Float[Tensor, "q d"], block: Block) -> tuple[Float[Tensor, "q n"], Float[Tensor, " q"]]:
    """Return the inner products of directions with a block's rows, as fast as can be, and how wrong they may be.

    The bound counts the rounding of both sides and, for fp32 sums of d products that are rounded or cut off in any
    order, d * 2^-23 times the product of the lengths (Higham 2002, "Accuracy and Stability of Numerical Algorithms",
    section 3.1, twice over).

    Args:
        direction: fp64 rows of any length.
        block: Candidates; its short rows are read where there are any.

    Shape:
        Values (q, n) in fp32, errors (q,) in fp64.

    Example:
        >>> block = Block(index=torch.arange(2), vectors=torch.eye(2))
        >>> values, error = scan(torch.tensor([[0.5, 0.25]], dtype=torch.float64), block)
        >>> values, bool(error < 1e-6)
        (tensor([[0.5000, 0.2500]]), True)
    """
    rows = block.vectors if block.short is None else block.short
    with full_precision(rows.device):
        if rows.is_cuda and rows.dtype in (torch.bfloat16, torch.int8):
            near = direction.bfloat16()  # integers up to 127 are exact in bf16
            values = torch.mm(near, rows.bfloat16().T, out_dtype=torch.float32)
        else:
            near = direction.float()
            values = near @ rows.T if rows.dtype == torch.float32 else _widened(near, rows)
    if block.scale is not None:
        values *= block.scale
    near = near.double()
    length = near.norm(dim=1)
    summed = (direction.shape[1] + 4) * 2.0**-23 * (LONGEST + block.error)
    return values, (direction - near).norm(dim=1) * LONGEST + length * (block.error + summed)


def _widened(near: Tensor, rows: Tensor) -> Tensor:
    """Return the inner products with rows of fewer bits, widened a few at a time, which a core's cache holds."""
    values = near.new_empty((len(near), len(rows)))
    wide = near.new_empty((_WIDENED, near.shape[1]))
    for start in range(0, len(rows), _WIDENED):
        part = rows[start : start + _WIDENED]
        torch.mm(near, wide[: len(part)].copy_(part).T, out=values[:, start : start + len(part)])
    return values


class Search(Protocol):
    """A search of candidates, block after block."""

    def update(self, block: Block) -> int:
        """Search the first candidates of a block, all of them or some, and return how many."""
        ...


def feed(search: Search, blocks: Iterable[Block], device: str | torch.device) -> None:
    """Search blocks one by one on a device; one that memory is too small for is searched in halves.

    Raises:
        QueryError: Memory is too small for the smallest block.
    """
    for block in blocks:
        parts = [block]
        while parts:
            part = parts.pop()
            try:
                done = search.update(part.to(device))
                parts += [part[done:]] if done < len(part) else []
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                if len(part) <= _FEWEST:
                    raise QueryError(
                        f"search failed: there is no memory on {str(device)!r} for a block of {len(part)} candidates; "
                        "close other programs, or search on another device"
                    ) from error
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]


def _likeliest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the largest values of each row that are numbers, and their columns."""
    count = min(count, values.shape[1])
    near = values.topk(count, dim=1)
    if not bool(near.values.isfinite().all()):
        near = values.where(values.isfinite(), -torch.inf).topk(count, dim=1)
    return near.values, near.indices
