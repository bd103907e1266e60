"""Directed edges between atoms of one molecule within a cutoff, and the pairs of edges that meet at an atom.

Shapes: `n` atoms, `e` directed edges, `k` slots for the edges that arrive at an atom, `i` slots for those that leave
it, `s` narrow and `c` wide channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from molchord.api import SampleError


@dataclass(frozen=True, kw_only=True)
class Neighbors:
    """All edges j -> i of a batch, and where each is among those that meet it.

    The triplets k -> j -> i of DimeNet are all pairs of an edge that arrives at j and one that leaves j. So instead of
    a list of triplets, every atom has `arriving` slots and `leaving` slots, and sums over k are batched matrix
    products over the atoms.

    Attributes:
        atoms: Number of atoms n.
        source: (e,) atom j of each edge.
        target: (e,) atom i of each edge, ascending.
        arriving: Arriving slots per atom, the largest number of edges that end at one atom.
        leaving: Leaving slots per atom, the largest number of edges that start at one atom.
        arrival: (e,) place ``target * arriving + slot`` of each edge among those arriving at its target.
        departure: (e,) place ``source * leaving + slot`` of each edge among those leaving its source.
    """

    atoms: int
    source: Int[Tensor, " e"]
    target: Int[Tensor, " e"]
    arriving: int
    leaving: int
    arrival: Int[Tensor, " e"]
    departure: Int[Tensor, " e"]

    def at_target(self, values: Float[Tensor, " e *c"]) -> Float[Tensor, " n k *c"]:
        """Lay edge values into the arriving slots of their targets; empty slots hold 0."""
        laid = values.new_zeros((self.atoms * self.arriving, *values.shape[1:]))
        laid.index_copy_(0, self.arrival, values)
        return laid.view(self.atoms, self.arriving, *values.shape[1:])

    def at_source(self, values: Float[Tensor, " e *c"]) -> Float[Tensor, " n i *c"]:
        """Lay edge values into the leaving slots of their sources; empty slots hold 0."""
        laid = values.new_zeros((self.atoms * self.leaving, *values.shape[1:]))
        laid.index_copy_(0, self.departure, values)
        return laid.view(self.atoms, self.leaving, *values.shape[1:])

    def from_source(self, slots: Float[Tensor, " n i *c"]) -> Float[Tensor, " e *c"]:
        """Take edge values back from the leaving slots of their sources."""
        return slots.flatten(0, 1).index_select(0, self.departure)

    def turns(self) -> Bool[Tensor, "n k i"]:
        """Return for each pair of an arriving edge k -> j and a leaving edge j -> i whether k and i differ."""
        k = self.source.new_full((self.atoms * self.arriving,), -1).index_copy(0, self.arrival, self.source)
        i = self.source.new_full((self.atoms * self.leaving,), -1).index_copy(0, self.departure, self.target)
        return k.view(self.atoms, self.arriving, 1) != i.view(self.atoms, 1, self.leaving)


def find_neighbors(
    pos: Float[Tensor, "n 3"],
    batch: Int[Tensor, " n"],
    size: int,
    cutoff: float,
    most: int | None = None,
    widest: int | None = None,
) -> Neighbors:
    """Find for every atom the other atoms of its molecule nearer than the cutoff.

    Looks at all pairs of atoms within each molecule in one pass, so memory goes with atoms times the largest molecule.
    The device is waited for once, and once more where `widest` is not given, whatever the number of molecules.

    Args:
        pos: Positions in angstrom.
        batch: Molecule of each atom, ascending.
        size: Number of molecules.
        cutoff: Distance in angstrom that an edge stays below.
        most: Keep at most this many edges that end at one atom: those from the nearest atoms, of equally near ones
            those that come first. None keeps all.
        widest: Atoms of the largest molecule, for a caller that knows it.

    Raises:
        SampleError: Two atoms of a molecule coincide, or a position is not finite.

    Example:
        >>> edges = find_neighbors(torch.tensor([[0.0, 0, 0], [1, 0, 0], [9, 0, 0]]), torch.tensor([0, 0, 0]), 1, 5.0)
        >>> edges.source.tolist(), edges.target.tolist()
        ([1, 0], [0, 1])
    """
    pos = pos.detach()
    count = atoms_each(batch, size)
    if widest is None:
        widest = int(count.max()) if size else 0
    first = (count.cumsum(0) - count)[batch]
    atom = torch.arange(len(pos), device=pos.device)
    local = atom - first
    # Row j, column a: is atom `first[j] + a` there, and how far from atom j.
    column = torch.arange(widest, device=pos.device)
    other = (first[:, None] + column).clamp(max=max(len(pos) - 1, 0))
    pair = (column < count[batch][:, None]) & (other != atom[:, None])
    dist = (pos[:, None] - pos[other]).square().sum(-1).sqrt()
    near = pair & (dist < cutoff)
    if most is not None:
        order = dist.masked_fill(~near, torch.inf).argsort(dim=1, stable=True)
        near &= order.argsort(dim=1) < most
    # An edge leaves atom j for a where one arrives at a from j; the same table unless `most` cut it.
    leave = pair & near[other, local[:, None]]
    wrong = pair & ~((dist > 0) & (dist < torch.inf))
    figures = [near.sum(), wrong.sum(), *(t.sum(1).max() if t.numel() else t.sum() for t in (near, leave))]
    edges, bad, arriving, leaving = torch.stack(figures).tolist()
    if bad:
        graph = int(batch[wrong.any(dim=1)][0])
        raise SampleError(f"graph {graph} of the batch", "two atoms coincide or a position is not finite; leave it out")
    target, a = torch.nonzero_static(near, size=edges).unbind(1)
    source = other[target, a]
    return Neighbors(
        atoms=len(pos),
        source=source,
        target=target,
        arriving=arriving,
        leaving=leaving,
        arrival=target * arriving + near.cumsum(1)[target, a] - 1,
        departure=source * leaving + leave.cumsum(1)[source, local[target]] - 1,
    )


def atoms_each(batch: Int[Tensor, " n"], size: int) -> Int[Tensor, " b"]:
    """Return the number of atoms of each of so many molecules."""
    return torch.zeros(size, dtype=torch.int64, device=batch.device).index_add(0, batch, torch.ones_like(batch))


def filtered_sum(
    filters: Float[Tensor, "n ks i"], x: Float[Tensor, "n k c"], weight: Float[Tensor, "c s"]
) -> Float[Tensor, "n i c"]:
    """Sum x[k] over the arriving slots k with filters of low rank, for each atom and each of its leaving slots i.

    out[n, i, c] = sum_(k, s) filters[n, (k, s), i] weight[c, s] x[n, k, c]: for each atom the product of a matrix
    (i, ks) with a matrix (ks, c), which is formed a few atoms at a time, and again in the backward pass, so that on a
    CPU it stays in the cache. Differentiable once.

    Example:
        >>> filters, x, weight = torch.ones(1, 2, 3), torch.ones(1, 2, 5), torch.full((5, 1), 4.0)
        >>> filtered_sum(filters, x, weight)[0, 0]
        tensor([8., 8., 8., 8., 8.])
    """
    # Under autocast the three may differ in dtype. A transposed view would make every product in `_spread` strided.
    weight = weight.t().to(x.dtype).contiguous()
    out: Tensor = _FilteredSum.apply(filters.to(x.dtype), x, weight)  # type: ignore[no-untyped-call]
    return out


class _FilteredSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, filters: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(filters, x, weight)
        out = x.new_empty(len(x), filters.shape[2], x.shape[2])
        rows = _rows(x, weight)
        for f, part, total in zip(*(torch.split(t, rows) for t in (filters, x, out)), strict=True):
            torch.bmm(f.transpose(1, 2), _spread(part, weight), out=total)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        filters, x, weight = ctx.saved_tensors
        d_filters, d_x, d_weight = torch.empty_like(filters), torch.empty_like(x), torch.zeros_like(weight)
        rows = _rows(x, weight)
        every = (torch.split(t, rows) for t in (filters, x, grad, d_filters, d_x))
        for f, part, g, d_f, d_part in zip(*every, strict=True):
            torch.bmm(_spread(part, weight), g.transpose(1, 2), out=d_f)
            d_spread = torch.bmm(f, g).view(*part.shape[:2], *weight.shape)
            d_weight += (d_spread * part.unsqueeze(2)).sum((0, 1))
            torch.sum(d_spread.mul_(weight), dim=2, out=d_part)
        return d_filters, d_x, d_weight


def _spread(x: Float[Tensor, "n k c"], weight: Float[Tensor, "s c"]) -> Float[Tensor, "n ks c"]:
    return (x.unsqueeze(2) * weight).flatten(1, 2)


def _rows(x: Float[Tensor, "n k c"], weight: Float[Tensor, "s c"]) -> int:
    """Atoms at a time: as many as make 8 MB of fp32 on a CPU, else all; fewer cost more waits among threads."""
    if x.device.type != "cpu":
        return max(len(x), 1)
    return max(2**21 // max(x.shape[1] * weight.numel(), 1), 1)
