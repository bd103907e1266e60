"""DimeNet++: directional message passing over interatomic distances and angles.

References: Gasteiger, Groß, Günnemann, "Directional Message Passing for Molecular Graphs", ICLR 2020 ("DimeNet");
Gasteiger, Giri, Margraf, Günnemann, "Fast and Uncertainty-Aware Directional Message Passing for Non-Equilibrium
Molecules", 2020 ("DimeNet++"), arXiv:2011.14115.

Parameters, their names and the state dict are those of torch-geometric's `DimeNetPlusPlus`; values agree to rounding.
The evaluation differs: exact rewritings that never lay out one wide row per triplet k -> j -> i of atoms.
Shapes: `n` atoms, `e` directed edges (messages), `h` hidden channels, `k`/`i` slots of edges arriving at and leaving an
atom (see `Neighbors`), `b` molecules.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import silu

from molchord.api import GraphBatch, SampleError
from molchord_encoders.dimenetpp_basis import BesselBasisLayer, SphericalBasisLayer
from molchord_encoders.dimenetpp_blocks import (
    Activation,
    EmbeddingBlock,
    InteractionPPBlock,
    OutputPPBlock,
    sum_rows,
)
from molchord_encoders.dimenetpp_neighbors import Neighbors, atoms_each, find_neighbors

__all__ = ["DimeNetPlusPlus", "GraphEncoder"]


class GraphEncoder(nn.Module):
    """Runs `DimeNetPlusPlus` on graph batches and averages its output over a molecule's conformers.

    Bonds and columns of the graph are not used: they follow from elements and positions, all that DimeNet++ sees.

    Args:
        net: The network.
    """

    def __init__(self, net: DimeNetPlusPlus) -> None:
        super().__init__()
        self.net = net
        self.width = net.out_channels

    def forward(self, batch: GraphBatch) -> Float[Tensor, "b {self.width}"]:
        """Encode a batch.

        Raises:
            ValueError: The batch has no positions.
            SampleError: Two atoms of a molecule coincide, a position is not finite, or an atomic number is above 94.
        """
        if batch.positions is None:
            raise ValueError("encoder 'dimenetpp' got a graph batch without `positions`")
        conformers = batch.positions.shape[1]
        pos = batch.positions.transpose(0, 1).flatten(0, 1).to(self.net.rbf.freq.dtype)
        copies = torch.arange(conformers, device=pos.device)[:, None] * batch.size
        graph = (copies + batch.graph).flatten()
        out: Tensor = self.net(batch.elements.repeat(conformers), pos, graph, size=conformers * batch.size)
        return out.view(conformers, batch.size, self.width).mean(dim=0)


class DimeNetPlusPlus(nn.Module):
    """DimeNet++ with the parameters and the state dict of torch-geometric's class of this name.

    Messages m_ji live on directed edges j -> i between atoms nearer than `cutoff`. They start from both elements and
    the distance (`EmbeddingBlock`), are updated from the messages m_kj, k != i, by distance d_kj and angle between
    kj and ji (`InteractionPPBlock`), and after each block are summed to atoms and these to molecules (`OutputPPBlock`).

    Args:
        hidden_channels: Size of a message.
        out_channels: Size of the output.
        num_blocks: Interaction blocks.
        int_emb_size: Size to which messages are brought down for the sum over k.
        basis_emb_size: Size between the two linear layers of each basis.
        out_emb_channels: Size of an atom in the output blocks.
        num_spherical: Angular functions, at least 2.
        num_radial: Radial functions.
        cutoff: Distance in angstrom below which two atoms exchange messages.
        max_num_neighbors: None (unlike torch-geometric's 32) sends messages from all atoms within the cutoff; a number
            keeps those from the nearest so many of each atom, ties by the order of atoms. Small molecules have up to
            about 60 within 5 angstrom. The output jumps where two atoms change places at the limit.
        envelope_exponent: Shape of the smooth cutoff.
        num_before_skip: Residual layers of an interaction block before its skip connection.
        num_after_skip: Residual layers after it.
        num_output_layers: Hidden layers of an output block.
        act: Activation: a function, or a name that torch-geometric resolves.
        output_initializer: ``"zeros"`` or ``"glorot_orthogonal"``, for the last layer of each output block.

    Raises:
        ValueError: `num_spherical` below 2, or an unknown `output_initializer`.

    Example:
        >>> net = DimeNetPlusPlus(16, 4, 1, 8, 4, 16, num_spherical=3, num_radial=3)
        >>> water = torch.tensor([[0.0, 0.0, 0.12], [0.0, 0.76, -0.48], [0.0, -0.76, -0.48]])
        >>> net(torch.tensor([8, 1, 1]), water).shape
        torch.Size([4])
    """

    def __init__(
        self,
        hidden_channels: int,
        out_channels: int,
        num_blocks: int,
        int_emb_size: int,
        basis_emb_size: int,
        out_emb_channels: int,
        num_spherical: int,
        num_radial: int,
        cutoff: float = 5.0,
        max_num_neighbors: int | None = None,
        envelope_exponent: int = 5,
        num_before_skip: int = 1,
        num_after_skip: int = 2,
        num_output_layers: int = 3,
        act: str | Activation = "swish",
        output_initializer: str = "zeros",
    ) -> None:
        super().__init__()
        if num_spherical < 2:
            raise ValueError(f"`num_spherical` must be 2 or more, got {num_spherical!r}")
        act = _activation(act)
        self.out_channels = out_channels
        self.cutoff = cutoff
        self.max_num_neighbors = max_num_neighbors
        self.rbf = BesselBasisLayer(num_radial, cutoff, envelope_exponent)
        self.sbf = SphericalBasisLayer(num_spherical, num_radial, cutoff, envelope_exponent)
        self.emb = EmbeddingBlock(num_radial, hidden_channels, act)
        self.output_blocks = nn.ModuleList(
            OutputPPBlock(
                num_radial, hidden_channels, out_emb_channels, out_channels, num_output_layers, act, output_initializer
            )
            for _ in range(num_blocks + 1)
        )
        self.interaction_blocks = nn.ModuleList(
            InteractionPPBlock(
                hidden_channels,
                int_emb_size,
                basis_emb_size,
                num_spherical,
                num_radial,
                num_before_skip,
                num_after_skip,
                act,
            )
            for _ in range(num_blocks)
        )

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        for part in (self.rbf, self.emb, *self.output_blocks, *self.interaction_blocks):
            part.reset_parameters()

    def forward(
        self,
        z: Int[Tensor, " n"],
        pos: Float[Tensor, "n 3"],
        batch: Int[Tensor, " n"] | None = None,
        *,
        size: int | None = None,
    ) -> Float[Tensor, "*b {self.out_channels}"]:
        """Compute one output per molecule.

        Args:
            z: Atomic numbers, at most 94.
            pos: Positions in angstrom, in the dtype of the parameters.
            batch: Molecule of each atom, in any order; None: one molecule, whose output has no leading axis.
            size: Number of molecules, where the last ones may have no atoms or to save a wait for the device.

        Raises:
            SampleError: Two atoms of a molecule coincide, a position is not finite, or an atomic number is above 94.
        """
        if batch is None:
            return self._encode(z, pos, torch.zeros_like(z), 1).squeeze(0)
        if size is None:
            size = int(batch.max()) + 1 if len(batch) else 0
        batch, order = batch.sort(stable=True)
        return self._encode(z[order], pos[order], batch, size)

    def _encode(
        self, z: Int[Tensor, " n"], pos: Float[Tensor, "n 3"], batch: Int[Tensor, " n"], size: int
    ) -> Float[Tensor, "b {self.out_channels}"]:
        widest = self._widest(z, batch, size)
        edges = find_neighbors(pos, batch, size, self.cutoff, self.max_num_neighbors, widest)
        # Autocast would round distances and Chebyshev polynomials to bf16.
        with torch.autocast(pos.device.type, enabled=False):
            rbf, radial, angular = self._bases(pos, edges)
        x = self.emb(z, rbf, edges)
        atoms = self.output_blocks[0](x, rbf, edges)
        for interaction, output in zip(self.interaction_blocks, self.output_blocks[1:], strict=True):
            x = interaction(x, rbf, radial, angular, edges)
            atoms = atoms + output(x, rbf, edges)
        return sum_rows(atoms, batch, size)

    def _widest(self, z: Int[Tensor, " n"], batch: Int[Tensor, " n"], size: int) -> int:
        """Return the atoms of the largest molecule; refuse an element without a vector, in one wait for the device.

        Looked up, such an element would end the process on a device.
        """
        if len(z) == 0:
            return 0
        last = self.emb.emb.num_embeddings - 1
        widest, highest = torch.stack([atoms_each(batch, size).max(), z.max()]).tolist()
        if highest > last:
            graph = int(batch[z > last][0])
            reason = f"atomic number {highest} is above {last}, the last that DimeNet++ knows; leave it out"
            raise SampleError(f"graph {graph} of the batch", reason)
        return int(widest)

    def _bases(
        self, pos: Float[Tensor, "n 3"], edges: Neighbors
    ) -> tuple[Float[Tensor, "e r"], Float[Tensor, "e lr"], Float[Tensor, "n k l i"]]:
        """Evaluate the radial basis, and the two factors of the spherical one with k == i left out."""
        arrow = pos.index_select(0, edges.target) - pos.index_select(0, edges.source)
        dist = arrow.square().sum(-1).sqrt()
        unit = arrow / dist[:, None]
        cosine = edges.at_target(unit) @ edges.at_source(unit).transpose(1, 2)
        angular = self.sbf.angular(cosine) * edges.turns().unsqueeze(2)
        return self.rbf(dist), self.sbf.radial(dist), angular


def _activation(act: str | Activation) -> Activation:
    if act == "swish":
        return silu
    from torch_geometric.nn.resolver import activation_resolver

    resolved: Activation = activation_resolver(act)
    return resolved
