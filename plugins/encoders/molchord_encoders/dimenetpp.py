"""DimeNet++: directional message passing over interatomic distances and angles.

References: Gasteiger, Groß, Günnemann, "Directional Message Passing for Molecular Graphs", ICLR 2020 ("DimeNet");
Gasteiger, Giri, Margraf, Günnemann, "Fast and Uncertainty-Aware Directional Message Passing for Non-Equilibrium
Molecules", 2020 ("DimeNet++"), arXiv:2011.14115.

Parameters, their names and the state dict are those of torch-geometric's `DimeNetPlusPlus`; values agree to rounding.
The evaluation differs: exact rewritings that never lay out one wide row a triplet k -> j -> i of atoms.
Shapes: `n` atoms, `e` directed edges (messages), `h` hidden channels, `k`/`i` slots of edges arriving at and leaving an
atom (see `Neighbors`), `b` molecules.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear, silu

from molchord.api import GraphBatch, GraphSpec, SampleError
from molchord_encoders.dimenetpp_basis import BesselBasisLayer, SphericalBasisLayer
from molchord_encoders.dimenetpp_neighbors import Neighbors, atoms_each, filtered_sum, find_neighbors

if TYPE_CHECKING:
    from molchord_encoders import DimeNetPlusPlusConfig

__all__ = ["DimeNetPlusPlus", "GraphEncoder", "build"]

Activation = Callable[[Tensor], Tensor]


def build(config: DimeNetPlusPlusConfig, spec: GraphSpec) -> GraphEncoder:
    """Build the encoder of a modality's graphs.

    Raises:
        ValueError: The modality's graphs have no positions.
    """
    if not spec.positions:
        raise ValueError("encoder 'dimenetpp' needs positions, but the graphs come without; choose another `geometry`")
    return GraphEncoder(DimeNetPlusPlus(**config.model_dump()))


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
        """Compute one output a molecule.

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
        return _sum_rows(atoms, batch, size)

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


class EmbeddingBlock(nn.Module):
    """First messages m_ji = act(W [h_j, h_i, act(W_rbf rbf_ji)] + b) from the elements' vectors h (DimeNet, eq. 9)."""

    def __init__(self, num_radial: int, hidden_channels: int, act: Activation) -> None:
        super().__init__()
        self.act = act
        self.emb = nn.Embedding(95, hidden_channels)
        self.lin_rbf = nn.Linear(num_radial, hidden_channels)
        self.lin = nn.Linear(3 * hidden_channels, hidden_channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        nn.init.uniform_(self.emb.weight, -math.sqrt(3), math.sqrt(3))
        self.lin_rbf.reset_parameters()
        self.lin.reset_parameters()

    def forward(self, z: Int[Tensor, " n"], rbf: Float[Tensor, "e r"], edges: Neighbors) -> Float[Tensor, "e h"]:
        """Compute the messages; both parts that belong to one atom alone once an atom, not once an edge."""
        h = self.emb(z)
        on_target, on_source, on_rbf = self.lin.weight.chunk(3, dim=1)
        from_rbf = linear(self.act(self.lin_rbf(rbf)), on_rbf, self.lin.bias)
        from_target = linear(h, on_target).index_select(0, edges.target)
        from_source = linear(h, on_source).index_select(0, edges.source)
        return self.act(from_rbf + from_target + from_source)


class ResidualLayer(nn.Module):
    """x + act(W2 act(W1 x + b1) + b2)."""

    def __init__(self, hidden_channels: int, act: Activation) -> None:
        super().__init__()
        self.act = act
        self.lin1 = nn.Linear(hidden_channels, hidden_channels)
        self.lin2 = nn.Linear(hidden_channels, hidden_channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        _reset(self.lin1, self.lin2)

    def forward(self, x: Float[Tensor, "e h"]) -> Float[Tensor, "e h"]:
        """Apply the layer."""
        return x + self.act(self.lin2(self.act(self.lin1(x))))


class InteractionPPBlock(nn.Module):
    """Update of the messages from those that arrive at their source (DimeNet++, section 4, fig. 2).

    m'_ji = f(act(W_ji m_ji) + act(W_up sum_k (W_sbf2 W_sbf1 sbf_kji) * x_kj)), where
    x_kj = act(W_down (act(W_kj m_kj) * W_rbf2 W_rbf1 rbf_kj)), sbf_kji = radial(d_kj) x angular(angle), and f is a
    stack of residual layers with one skip connection around the first of them.
    """

    def __init__(
        self,
        hidden_channels: int,
        int_emb_size: int,
        basis_emb_size: int,
        num_spherical: int,
        num_radial: int,
        num_before_skip: int,
        num_after_skip: int,
        act: Activation,
    ) -> None:
        super().__init__()
        self.act = act
        self.lin_rbf1 = nn.Linear(num_radial, basis_emb_size, bias=False)
        self.lin_rbf2 = nn.Linear(basis_emb_size, hidden_channels, bias=False)
        self.lin_sbf1 = nn.Linear(num_spherical * num_radial, basis_emb_size, bias=False)
        self.lin_sbf2 = nn.Linear(basis_emb_size, int_emb_size, bias=False)
        self.lin_kj = nn.Linear(hidden_channels, hidden_channels)
        self.lin_ji = nn.Linear(hidden_channels, hidden_channels)
        self.lin_down = nn.Linear(hidden_channels, int_emb_size, bias=False)
        self.lin_up = nn.Linear(int_emb_size, hidden_channels, bias=False)
        self.layers_before_skip = nn.ModuleList(ResidualLayer(hidden_channels, act) for _ in range(num_before_skip))
        self.lin = nn.Linear(hidden_channels, hidden_channels)
        self.layers_after_skip = nn.ModuleList(ResidualLayer(hidden_channels, act) for _ in range(num_after_skip))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        _reset(self.lin_rbf1, self.lin_rbf2, self.lin_sbf1, self.lin_sbf2, self.lin_kj, self.lin_ji)
        _reset(self.lin_down, self.lin_up, self.lin)
        for layer in (*self.layers_before_skip, *self.layers_after_skip):
            layer.reset_parameters()

    def forward(
        self,
        x: Float[Tensor, "e h"],
        rbf: Float[Tensor, "e r"],
        radial: Float[Tensor, "e lr"],
        angular: Float[Tensor, "n k l i"],
        edges: Neighbors,
    ) -> Float[Tensor, "e h"]:
        """Compute the new messages."""
        x_ji = self.act(self.lin_ji(x))
        x_kj = self.act(self.lin_kj(x)) * linear(rbf, self.lin_rbf2.weight @ self.lin_rbf1.weight)
        x_kj = self.act(self.lin_down(x_kj))
        x_kj = self.act(self.lin_up(self._gather(x_kj, radial, angular, edges)))
        h = x_ji + x_kj
        for layer in self.layers_before_skip:
            h = layer(h)
        h = self.act(self.lin(h)) + x
        for layer in self.layers_after_skip:
            h = layer(h)
        return h

    def _gather(
        self,
        x: Float[Tensor, "e c"],
        radial: Float[Tensor, "e lr"],
        angular: Float[Tensor, "n k l i"],
        edges: Neighbors,
    ) -> Float[Tensor, "e c"]:
        """Sum over k of (W_sbf2 W_sbf1 sbf_kji) * x_kj, for every edge ji.

        With s indexing the narrow space between both matrices, the sum is
        sum_(k, s) [sum_l (sum_r W_sbf1[s, lr] radial_kj[lr]) angular_kji[l]] [W_sbf2[:, s] * x_kj]:
        the first bracket, `filters`, holds one number a triplet and s, and `filtered_sum` does the rest.
        """
        orders = angular.shape[2]
        radials = radial.shape[1] // orders
        weight = self.lin_sbf1.weight.view(-1, orders, radials)
        per_edge = torch.einsum("elr,slr->esl", radial.view(-1, orders, radials), weight)
        filters = (edges.at_target(per_edge) @ angular).flatten(1, 2)
        return edges.from_source(filtered_sum(filters, edges.at_target(x), self.lin_sbf2.weight))


class OutputPPBlock(nn.Module):
    """Atoms' outputs W f(W_up sum_j (W_rbf rbf_ji) * m_ji) with a stack f of dense layers (DimeNet++, fig. 2)."""

    def __init__(
        self,
        num_radial: int,
        hidden_channels: int,
        out_emb_channels: int,
        out_channels: int,
        num_layers: int,
        act: Activation,
        output_initializer: str = "zeros",
    ) -> None:
        super().__init__()
        if output_initializer not in ("zeros", "glorot_orthogonal"):
            raise ValueError(f"`output_initializer` got {output_initializer!r}; allowed: 'zeros', 'glorot_orthogonal'")
        self.act = act
        self.output_initializer = output_initializer
        self.lin_rbf = nn.Linear(num_radial, hidden_channels, bias=False)
        self.lin_up = nn.Linear(hidden_channels, out_emb_channels, bias=False)
        self.lins = nn.ModuleList(nn.Linear(out_emb_channels, out_emb_channels) for _ in range(num_layers))
        self.lin = nn.Linear(out_emb_channels, out_channels, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        _reset(self.lin_rbf, self.lin_up, *self.lins)
        if self.output_initializer == "zeros":
            nn.init.zeros_(self.lin.weight)
        else:
            _reset(self.lin)

    def forward(self, x: Float[Tensor, "e h"], rbf: Float[Tensor, "e r"], edges: Neighbors) -> Float[Tensor, "n out"]:
        """Compute the outputs of all atoms."""
        atoms = self.lin_up(_sum_rows(self.lin_rbf(rbf) * x, edges.target, edges.atoms))
        for lin in self.lins:
            atoms = self.act(lin(atoms))
        out: Tensor = self.lin(atoms)
        return out


def _sum_rows(values: Float[Tensor, "rows c"], index: Int[Tensor, " rows"], size: int) -> Float[Tensor, "size c"]:
    """Sum rows of equal index, in fp32 at least."""
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    return values.new_zeros(size, values.shape[1]).index_add(0, index, values)


def _reset(*layers: nn.Linear) -> None:
    """Draw orthogonal weights of Glorot's variance, as the authors' code does, and set biases to 0."""
    for layer in layers:
        weight = layer.weight
        nn.init.orthogonal_(weight)
        with torch.no_grad():
            weight.mul_((2.0 / (sum(weight.shape) * weight.var())).sqrt())
            if layer.bias is not None:
                layer.bias.zero_()


def _activation(act: str | Activation) -> Activation:
    if act == "swish":
        return silu
    from torch_geometric.nn.resolver import activation_resolver

    resolved: Activation = activation_resolver(act)
    return resolved
