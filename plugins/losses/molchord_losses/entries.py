"""Which entries of a batch count for a pair of modalities, and how their values become one number.

Shapes: `n` entries of the batch, `r` entries that this process owns, `t` entries of a tile, `d` embedding size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from molchord.api import LossBatch, LossOutput
from molchord_losses.pairs import Pair

__all__ = [
    "Entries",
    "add_gradient",
    "full_precision",
    "log_partition",
    "log_partitions",
    "mean_over_pairs",
    "products",
]

TILE_ELEMENTS = 10 * 2**20
"""Largest number of similarities in a matrix: 40 MiB of float32, of which three to ten are held at a time.

Below 32 MiB glibc may keep freed blocks on its heap, which then grows to gigabytes (seen with 16 MiB).
"""


@dataclass(frozen=True, kw_only=True)
class Entries:
    """The entries of a batch, as one pair of modalities sees them.

    Attributes:
        paired: (n,) entries that have both modalities.
        molecule: (n,) which molecule an entry belongs to.
        owned: Entries whose share of the loss is requested.

    Example:
        >>> there = torch.tensor([True, True, True, False])
        >>> entries = Entries(paired=there, molecule=torch.tensor([4, 4, 7, 8]), owned=range(4))
        >>> entries.told_apart(0, 2).int().tolist()
        [[1, 0, 1, 0], [0, 1, 1, 0]]
    """

    paired: Bool[Tensor, " n"]
    molecule: Int64[Tensor, " n"]
    owned: range

    @staticmethod
    def of(batch: LossBatch, pair: Pair) -> Entries:
        """Return the entries of a batch for a pair.

        Raises:
            ValueError: `rows` of the batch is not a contiguous slice.
        """
        owned = range(len(batch.molecule)) if batch.rows is None else range(*batch.rows.indices(len(batch.molecule)))
        if owned.step != 1:
            raise ValueError(f"`rows` of a loss batch must be contiguous, got {batch.rows!r}; give a slice of step 1")
        first, second = pair
        return Entries(paired=batch.present[first] & batch.present[second], molecule=batch.molecule, owned=owned)

    @property
    def rows(self) -> slice:
        """The owned entries as a slice of all."""
        return slice(self.owned.start, self.owned.stop)

    @property
    def owns_all(self) -> bool:
        """Whether one process has all entries, so that columns of a matrix serve as the other direction's rows."""
        return len(self.owned) == len(self.molecule)

    def told_apart(self, start: int, stop: int) -> Bool[Tensor, "t n"]:
        """Return for entries `start` to `stop` which entries they are contrasted with, and which they are themselves.

        The diagonal is always there, so that no row is empty; an absent entry has nothing else, and `mean` leaves it
        out. If i is contrasted with j, so is j with i: `_LogPartition` sums columns as the rows of the other direction.
        """
        index = torch.arange(len(self.molecule), device=self.molecule.device)
        others = self.paired & self.paired[start:stop, None] & (self.molecule[start:stop, None] != self.molecule)
        return others | (index[start:stop, None] == index)

    def tiled(self, function: Callable[[int, int], Float[Tensor, " t"]], rows: range) -> Float[Tensor, " r"]:
        """Join what `function` returns for tiles of `rows`, each computed again in the backward pass.

        Never more than one tile's n x t matrices are in memory, and the gradient is exact.
        """
        tiles = self.tiles(rows)
        if len(tiles) <= 1:
            return function(rows.start, rows.stop)
        return torch.cat([checkpoint(function, *tile, use_reentrant=False, preserve_rng_state=False) for tile in tiles])

    def tiles(self, rows: range) -> list[tuple[int, int]]:
        """Cut rows so that a matrix of one tile's rows and all entries has at most `TILE_ELEMENTS` numbers."""
        step = max(1, TILE_ELEMENTS // max(1, len(self.molecule)))
        return [(start, min(start + step, rows.stop)) for start in range(rows.start, rows.stop, step)]

    def mean(self, values: Float[Tensor, " r"]) -> Float[Tensor, ""]:
        """Return the owned entries' share of the mean over all paired entries; 0 for one molecule or none."""
        kept = torch.where(self.paired[self.rows], values, 0.0)
        return kept.sum() / self.paired.sum().clamp(min=1) * self.contrasted()

    def contrasted(self) -> Bool[Tensor, ""]:
        """Return whether the paired entries belong to two molecules or more."""
        if len(self.molecule) == 0:
            return torch.zeros((), dtype=torch.bool, device=self.molecule.device)
        bounds = torch.iinfo(self.molecule.dtype)
        lowest = torch.where(self.paired, self.molecule, bounds.max).min()
        highest = torch.where(self.paired, self.molecule, bounds.min).max()
        return lowest < highest


def log_partition(
    a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], scale: Float[Tensor, ""], entries: Entries, rows: range
) -> Float[Tensor, " r"]:
    """Compute log sum_j exp(scale * a_i . b_j) for entries i in `rows`, over what they are contrasted with.

    Example:
        >>> entries = Entries(paired=torch.tensor([True, True]), molecule=torch.tensor([0, 1]), owned=range(2))
        >>> log_partition(torch.zeros(2, 3), torch.zeros(2, 3), torch.tensor(1.0), entries, range(2))  # log 2
        tensor([0.6931, 0.6931])
    """
    values: Tensor = _LogPartition.apply(a, b, scale, entries, rows, False)[0]  # type: ignore[no-untyped-call]
    return values


def log_partitions(
    a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], scale: Float[Tensor, ""], entries: Entries
) -> tuple[Float[Tensor, " r"], Float[Tensor, " r"]]:
    """Compute `log_partition` of the owned entries in both directions, from one matrix where all are owned."""
    if not entries.owns_all:
        return log_partition(a, b, scale, entries, entries.owned), log_partition(b, a, scale, entries, entries.owned)
    both: tuple[Tensor, Tensor] = _LogPartition.apply(  # type: ignore[no-untyped-call]
        a, b, scale, entries, entries.owned, True
    )
    return both


class _LogPartition(torch.autograd.Function):
    """Row and, where asked for, column sums of exp(scale a b^T) in tiles that the backward pass forms again.

    Left to autograd, a tile would hold several matrices at once, and the other direction would cost its own.
    """

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, b: Tensor, scale: Tensor, entries: Entries, rows: range, both: bool
    ) -> tuple[Tensor, Tensor | None]:
        by_row, by_column = a.new_empty(len(rows)), b.new_full((len(b),), -torch.inf) if both else None
        for start, stop in entries.tiles(rows):
            logits = products(a, b, scale, start, stop).masked_fill_(~entries.told_apart(start, stop), -torch.inf)
            by_row[start - rows.start : stop - rows.start] = logits.logsumexp(dim=1)
            if by_column is not None:
                by_column = torch.logaddexp(by_column, logits.logsumexp(dim=0))
            del logits  # or the next tile's would be formed alongside it
        ctx.save_for_backward(a, b, scale, by_row, by_column)
        ctx.entries, ctx.rows = entries, rows
        return by_row, by_column

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_row: Tensor, d_column: Tensor | None) -> tuple[Tensor | None, ...]:
        a, b, scale, by_row, by_column = ctx.saved_tensors
        d_a, d_b, d_scale = torch.zeros_like(a), torch.zeros_like(b), torch.zeros_like(scale)
        with full_precision(a):
            for start, stop in ctx.entries.tiles(ctx.rows):
                own = slice(start - ctx.rows.start, stop - ctx.rows.start)
                apart = ctx.entries.told_apart(start, stop)
                logits = products(a, b, scale, start, stop).masked_fill_(~apart, -torch.inf)
                share = (logits - by_row[own, None]).exp_().mul_(d_row[own, None])
                if d_column is not None:
                    share += logits.sub_(by_column).exp_().mul_(d_column)
                d_scale += add_gradient(share, a, b, scale, start, d_a, d_b)
                del logits, share
        return d_a, d_b, d_scale, None, None, None


def products(a: Tensor, b: Tensor, scale: Tensor, start: int, stop: int) -> Float[Tensor, "t n"]:
    """Return scale * a_i . b_j for entries i from `start` to `stop` and all j.

    The rows are scaled tile by tile, as a scaled copy of all would be kept for each pair.
    """
    return (a[start:stop] * scale) @ b.T


def add_gradient(
    share: Float[Tensor, "t n"], a: Tensor, b: Tensor, scale: Tensor, start: int, d_a: Tensor, d_b: Tensor
) -> Float[Tensor, ""]:
    """Add a tile's gradient of `a` and `b` to `d_a` and `d_b`, and return that of `scale`.

    Args:
        share: Gradient of the tile of `products`.
        a: Rows.
        b: Columns.
        scale: Factor of all products.
        start: First row of the tile.
        d_a: Gradient of `a`, added to in place.
        d_b: Gradient of `b`, likewise.
    """
    rows = slice(start, start + len(share))
    by_row = share @ b
    d_scale = (by_row * a[rows]).sum()
    d_a[rows] += by_row.mul_(scale)
    d_b.addmm_(share.T, a[rows] * scale)
    return d_scale


def mean_over_pairs(
    batch: LossBatch, shares: Mapping[Pair, Float[Tensor, ""]], weights: Mapping[Pair, int] | None = None
) -> LossOutput:
    """Return the weighted mean over the pairs that have two molecules or more; 0 where none has.

    Args:
        batch: What the shares were computed of.
        shares: Value of each pair.
        weights: Weight of each pair; None weights all equally.
    """
    total = torch.stack(list(shares.values())).new_zeros(())
    weight = total
    for pair, share in shares.items():
        counts = Entries.of(batch, pair).contrasted() * (1 if weights is None else weights[pair])
        total = total + counts * share
        weight = weight + counts
    return LossOutput(total=total / weight.clamp(min=1), per_pair=dict(shares))


def full_precision(tensor: Tensor) -> torch.autocast:
    """Return the context in which a loss and its gradient are computed: in the tensor's type, whatever autocast sets.

    Cosines divided by a small temperature need more digits than bf16 has.
    """
    return torch.autocast(device_type=tensor.device.type, enabled=False)
