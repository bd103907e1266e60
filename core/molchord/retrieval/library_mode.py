"""Exact search in library mode, where candidates carry spectra of their own; like `exact`, it scores few in fp64.

A ranking value never falls when a cosine rises. So fp32 cosines, with a bound of all their rounding added and taken
away, bound the value from both sides. A candidate whose upper bound is below the k-th best value so far cannot be a
hit; the others are scored in fp64 from their fp32 rows. So blocks of any size, fewer bits, threads and devices give the
same hits. The value of ``published`` may fall when a cosine rises, so nothing bounds it: every candidate is scored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import reduce
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from molchord.retrieval.exact import Found, scan
from molchord.retrieval.scores import Block, TopK, check_query, combine, mapped
from molchord.vocabulary import PUBLISHED

__all__ = ["LibraryMode"]

_SLACK = 1e-9
"""More than fp64 rounding can change a value or a bound."""

_AT_ONCE = {False: 256, True: 32768}
"""Candidates that are scored in fp64 at once, on a CPU (its cache) and on a GPU."""


@final
class LibraryMode:
    """The k best candidates of one query, exactly, block after block.

    Args:
        query: Unit vector of each modality, on the device where blocks will be.
        k: How many to keep.
        fusion: Form of the geometric mean.
        pairs: Temperature of each pair that enters the ranking value, of `pair_temperatures`.

    Raises:
        QueryError: Unknown fusion, or a query without a modality.

    Example:
        >>> search = LibraryMode({"ir": torch.eye(3)[0]}, 2, fusion="gm-exp", pairs={("ir", None): 1.0})
        >>> search.update(Block(index=torch.arange(3), vectors=torch.eye(3)))
        3
        >>> search.found().rows, search.found().values
        (tensor([[0, 1]]), tensor([[1., 0.]], dtype=torch.float64))
    """

    def __init__(
        self,
        query: Mapping[str, Float[Tensor, " d"]],
        k: int,
        *,
        fusion: str,
        pairs: Mapping[tuple[str, str | None], float],
    ) -> None:
        check_query(fusion, query)
        self._best, self._k, self._fusion = TopK(k), k, fusion
        self._query = {name: vector.double() for name, vector in query.items()}
        self._pairs, self._tau = list(pairs), list(pairs.values())
        self._floor = -math.inf

    def update(self, block: Block) -> int:
        """Search a block and return how many candidates it has."""
        low, high = self._bounds(block)
        if len(block) >= self._k:
            self._floor = max(self._floor, float(low.where(low.isfinite(), -torch.inf).topk(self._k).values[-1]))
        open_ = (high < self._floor - _SLACK).logical_not_()  # of a value that is not a number nothing is known
        columns = open_.nonzero()[:, 0]
        if len(columns) > 0:
            values = self._values(block, columns)
            index = block.index[columns]
            order = index if block.order is None else block.order[columns]
            self._best.merge(values.where(values.isfinite(), -torch.inf)[None], index[None], order[None])
        if self._best.found >= self._k:
            self._floor = max(self._floor, float(self._best.values[0, self._k - 1]))
        return len(block)

    def found(self) -> Found:
        """Return the result."""
        return Found(self._best.index.cpu(), self._best.values.cpu(), torch.ones(1, dtype=torch.bool))

    # --- helpers

    def _bounds(self, block: Block) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """Return what the value of each candidate is at least, and at most."""
        if self._fusion == PUBLISHED:
            unknown = torch.full((len(block),), torch.inf, dtype=torch.float64, device=block.index.device)
            return -unknown, unknown
        near: dict[tuple[str, str | None], tuple[Tensor, Tensor]] = {}
        for other in dict.fromkeys(other for _, other in self._pairs):
            names = [name for name, theirs in self._pairs if theirs == other]
            rows = block if other is None else Block(index=block.index, vectors=block.spectra[other])
            cosines, errors = scan(torch.stack([self._query[name] for name in names]), rows)
            for name, cosine, error in zip(names, cosines.double(), errors, strict=True):
                near[name, other] = cosine, error
        masks = [None if mask is None else mask[None] for mask in self._present(block)]
        low, high = (
            combine(
                [(near[p][0] + sign * near[p][1])[None] for p in self._pairs],
                self._tau,
                fusion=self._fusion,
                present=masks,
            )
            for sign in (-1.0, 1.0)
        )
        return low[0], high[0]

    def _values(self, block: Block, columns: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return ranking values in fp64, equal ones for equal vectors in any position."""
        cosines = [self._cosines(block, name, other, columns) for name, other in self._pairs]
        masks = [None if mask is None else mask[columns] for mask in self._present(block)]
        if self._fusion == "gm-exp":
            given = [None if mask is None else mask[None] for mask in masks]
            return combine([cosine[None] for cosine in cosines], self._tau, present=given)[0]
        every = torch.ones_like(cosines[0], dtype=torch.bool)
        here = [every if mask is None else mask for mask in masks]
        count = reduce(torch.add, [mask.double() for mask in here])
        product = reduce(
            torch.mul, [torch.where(mask, mapped(c, self._fusion), 1.0) for c, mask in zip(cosines, here, strict=True)]
        )
        # A vectorised power may round equal numbers to unequal ones at the end of an array.
        roots = [
            math.copysign(abs(number) ** (1.0 / n), number)
            for number, n in zip(product.tolist(), count.tolist(), strict=True)
        ]
        mean = torch.tensor(roots, dtype=torch.float64, device=product.device)
        if self._fusion in ("gm-half", PUBLISHED):
            return mean
        total = reduce(torch.add, [torch.where(mask, c, 0.0) for c, mask in zip(cosines, here, strict=True)])
        return mean.where(mean > 0, total / count - 1.0)

    def _cosines(self, block: Block, name: str, other: str | None, columns: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
        rows = block.vectors if other is None else block.spectra[other]
        parts = torch.split(columns, _AT_ONCE[columns.is_cuda])
        return torch.cat([(rows[part].double() * self._query[name]).sum(dim=1) for part in parts])

    def _present(self, block: Block) -> list[Tensor | None]:
        """Return which candidates have each pair; None: all."""
        return [None if other is None else block.spectra_present.get(other) for _, other in self._pairs]
