"""The blocks of DimeNet++: first messages, their updates, and what atoms make of them; letters as in the network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear

from molchord_encoders.dimenetpp_neighbors import Neighbors, filtered_sum

__all__ = ["Activation", "EmbeddingBlock", "InteractionPPBlock", "OutputPPBlock", "ResidualLayer", "sum_rows"]

Activation: TypeAlias = Callable[[Tensor], Tensor]


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
        """Compute the messages; both parts that belong to one atom alone once per atom, not once per edge."""
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
        the first bracket, `filters`, holds one number per triplet and s, and `filtered_sum` does the rest.
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
        atoms = self.lin_up(sum_rows(self.lin_rbf(rbf) * x, edges.target, edges.atoms))
        for lin in self.lins:
            atoms = self.act(lin(atoms))
        out: Tensor = self.lin(atoms)
        return out


def sum_rows(values: Float[Tensor, "rows c"], index: Int[Tensor, " rows"], size: int) -> Float[Tensor, "size c"]:
    """Sum rows of equal index, in fp32 at least.

    Example:
        >>> sum_rows(torch.ones(3, 1), torch.tensor([0, 0, 1]), 2).flatten().tolist()
        [2.0, 1.0]
    """
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
