"""Graph isomorphism network with bond features, on the 2-D graph."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.nn import GINEConv, global_add_pool, global_max_pool

from molchord.api import Category, Column, GraphBatch, GraphSpec
from molchord_encoders.columns import EMBEDDING_STD, ColumnEmbedding

__all__ = ["Gine"]

_ELEMENTS = 118
_MOST_EMBEDDED = 256  # values of a column
_LENGTH = 10.0  # of a row of counts
_TYPICAL_ATOMS = 18.0  # brings sums over atoms near 1; a constant, so that they still count


class Gine(nn.Module):
    """Residual rounds of GINE message passing, then the sum and the maximum over a molecule's atoms.

    One round: x_i + MLP((1 + eps) y_i + sum_j ReLU(y_j + e_ij)), with y a linear map of the layer-normalised x and e_ij
    the embedded bond (Hu et al., Strategies for pre-training graph neural networks, ICLR 2020; the linear map is added
    here, so that each round chooses what a bond's threshold acts on). The sum keeps counts (how many carbons), the
    maximum what is there at all. Nothing depends on the other molecules of a batch. Positions are not used.

    A column with more values than an embedding of atoms learns from a few thousand molecules, such as the environments
    of `structure`, is counted instead: a linear map of how often each value occurs is added to what the rounds make
    (Cheng et al., Wide & deep learning for recommender systems, 2016). The map learns the known pieces soon, the rounds
    generalise to others.

    Args:
        spec: Columns of atoms and bonds; all are embedded, or counted.
        width: Size of the output.
        hidden: Size of an atom's state.
        layers: Rounds of message passing.
        dropout: Dropout on each round's update.

    Example:
        >>> encoder = Gine(GraphSpec(), width=8, hidden=16, layers=2)
        >>> elements, graph = torch.tensor([6, 8, 6]), torch.tensor([0, 0, 1])  # formaldehyde's C=O, and a lone carbon
        >>> encoder(GraphBatch(size=2, elements=elements, graph=graph, bonds=torch.tensor([[0, 1], [1, 0]]))).shape
        torch.Size([2, 8])
    """

    def __init__(self, spec: GraphSpec, *, width: int, hidden: int, layers: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.width = width
        self.element = nn.Embedding(_ELEMENTS + 1, hidden)
        nn.init.normal_(self.element.weight, std=EMBEDDING_STD)
        counted = {name: values for name, column in spec.atom.items() if (values := _values(column)) > _MOST_EMBEDDED}
        self.atom = ColumnEmbedding({n: column for n, column in spec.atom.items() if n not in counted}, hidden)
        self.pieces = _Counted(counted, width) if counted else None
        self.rounds = nn.ModuleList(_Round(spec, hidden, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)
        self.out = nn.Sequential(nn.Linear(2 * hidden, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))

    def forward(self, batch: GraphBatch) -> Float[Tensor, "b width"]:
        """Encode a batch of graphs."""
        atoms = self.element(batch.elements) + self.atom(batch.atom, like=batch.elements).sum(dim=-2)
        for round_ in self.rounds:
            atoms = atoms + round_(atoms, batch)
        atoms = self.norm(atoms)
        total = global_add_pool(atoms, batch.graph, batch.size) / _TYPICAL_ATOMS
        largest = global_max_pool(atoms, batch.graph, batch.size)
        encoded: Tensor = self.out(torch.cat([total, largest], dim=1))
        return encoded if self.pieces is None else encoded + self.pieces(batch)


def _values(column: Column) -> int:
    return len(column.values) if isinstance(column, Category) else 0


class _Counted(nn.Module):
    """Linear map of how often each value of some atom columns occurs in a molecule; unknown ones do not count.

    Args:
        columns: Number of values of each.
        width: Size of the output.
    """

    def __init__(self, columns: Mapping[str, int], width: int) -> None:
        super().__init__()
        self.columns = dict(columns)
        self.linear = nn.Linear(sum(columns.values()), width)

    def forward(self, batch: GraphBatch) -> Float[Tensor, "b width"]:
        """Count and map; logarithms of 1 + count, a row's length 10, so that single numbers are near 1."""
        counts = []
        for name, values in self.columns.items():
            rows = torch.zeros(batch.size * (values + 1), device=batch.elements.device)
            rows.index_add_(
                0, batch.graph * (values + 1) + batch.atom[name], torch.ones_like(batch.graph, dtype=rows.dtype)
            )
            counts.append(rows.view(batch.size, values + 1)[:, 1:])
        logarithms = torch.log1p(torch.cat(counts, dim=1))
        mapped: Tensor = self.linear(_LENGTH * nn.functional.normalize(logarithms, dim=1))
        return mapped


class _Round(nn.Module):
    """The update of one round of message passing."""

    def __init__(self, spec: GraphSpec, hidden: int, dropout: float) -> None:
        super().__init__()
        self.state = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, hidden))
        self.any_bond = nn.Parameter(torch.randn(hidden) * EMBEDDING_STD)
        self.bond = ColumnEmbedding(spec.bond, hidden)
        update = nn.Sequential(nn.Linear(hidden, 2 * hidden), nn.SiLU(), nn.Linear(2 * hidden, hidden))
        self.conv = GINEConv(update, train_eps=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, atoms: Float[Tensor, "n d"], batch: GraphBatch) -> Float[Tensor, "n d"]:
        bonds = self.any_bond + self.bond(batch.bond, like=batch.bonds[0]).sum(dim=-2)
        update: Tensor = self.dropout(self.conv(self.state(atoms), batch.bonds, bonds))
        return update
