"""Graph isomorphism network with bond features, on the 2-D graph."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.nn import GINEConv, global_add_pool, global_max_pool

from molchord.api import GraphBatch, GraphSpec
from molchord_encoders.columns import EMBEDDING_STD, ColumnEmbedding

__all__ = ["Gine"]

_ELEMENTS = 118
_TYPICAL_ATOMS = 18.0  # brings sums over atoms near 1; a constant, so that they still count


class Gine(nn.Module):
    """Residual rounds of GINE message passing, then the sum and the maximum over a molecule's atoms.

    One round: x_i + MLP((1 + eps) y_i + sum_j ReLU(y_j + e_ij)), with y a linear map of the layer-normalised x and e_ij
    the embedded bond (Hu et al., Strategies for pre-training graph neural networks, ICLR 2020; the linear map is added
    here, so that each round chooses what a bond's threshold acts on). The sum keeps counts (how many carbons), the
    maximum what is there at all. Nothing depends on the other molecules of a batch. Positions are not used.

    Args:
        spec: Columns of atoms and bonds; all are embedded.
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
        self.atom = ColumnEmbedding(spec.atom, hidden)
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
        return encoded


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
