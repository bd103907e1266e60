"""AttentiveFP of torch-geometric, on a graph's columns."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.nn.models import AttentiveFP

from molchord.api import GraphBatch, GraphSpec
from molchord_encoders.columns import EMBEDDING_STD, ColumnEmbedding

__all__ = ["AttentiveFp"]

_ELEMENTS = 118


class AttentiveFp(nn.Module):
    """Attention over neighbours, then over a molecule's atoms, each followed by a recurrent update (Xiong et al. 2019).

    An atom's input is the sum of an embedding of its element and of each declared column, a bond's the sum over its
    columns: what one-hot features and a linear layer are. The rest is `torch_geometric.nn.models.AttentiveFP`.

    Args:
        spec: Columns of atoms and bonds; all are embedded.
        width: Size of the output.
        hidden: Size of an atom's state.
        layers: Rounds of attention over neighbours.
        timesteps: Rounds of attention over all atoms.
        dropout: Dropout of attention and of each round.

    Example:
        >>> encoder = AttentiveFp(GraphSpec(), width=8, hidden=16, layers=2, timesteps=2)
        >>> elements, graph = torch.tensor([6, 8, 6]), torch.tensor([0, 0, 1])  # formaldehyde's C=O, and a lone carbon
        >>> encoder(GraphBatch(size=2, elements=elements, graph=graph, bonds=torch.tensor([[0, 1], [1, 0]]))).shape
        torch.Size([2, 8])
    """

    def __init__(
        self, spec: GraphSpec, *, width: int, hidden: int, layers: int, timesteps: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.width = width
        self.element = nn.Embedding(_ELEMENTS + 1, hidden)
        nn.init.normal_(self.element.weight, std=EMBEDDING_STD)
        self.atom = ColumnEmbedding(spec.atom, hidden)
        self.any_bond = nn.Parameter(torch.randn(hidden) * EMBEDDING_STD)
        self.bond = ColumnEmbedding(spec.bond, hidden)
        self.network = AttentiveFP(
            in_channels=hidden,
            hidden_channels=hidden,
            out_channels=width,
            edge_dim=hidden,
            num_layers=layers,
            num_timesteps=timesteps,
            dropout=dropout,
        )

    def forward(self, batch: GraphBatch) -> Float[Tensor, "b width"]:
        """Encode a batch of graphs."""
        atoms = self.element(batch.elements) + self.atom(batch.atom, like=batch.elements).sum(dim=-2)
        bonds = self.any_bond + self.bond(batch.bond, like=batch.bonds[0]).sum(dim=-2)
        encoded: Tensor = self.network(atoms, batch.bonds, bonds, batch.graph)
        return encoded
