"""Second derivatives of AIMNet2's energy and first ones of its dipole moment, with one forward sweep of derivatives.

The energy is a chain of linear maps and of few kinds of simple nonlinear ones, whose second derivatives are known. So

    d2E/dx_k dx_l = sum over the nonlinear maps y(v) of dE/dy * y''(v) * dv/dx_k * dv/dx_l

where dE/dy comes from one backward pass and dv/dx is carried forward for all coordinates at once: the second sweep of
matrix products, which derivatives of the gradient would need, is replaced by one product of narrow matrices per layer
(Gower and Mello, Optim. Methods Softw. 27, 251, 2012, "edge pushing").

Shapes: as in `network`; `k` the coordinates by which derivatives are carried, for example of 3n - 6; `x` all 3n.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from molchord_simulators.aimnet2.network import CHANNELS, COMBINED, NORM, PASSES, RADIAL, Geometry, Network, Pass, Trace

__all__ = ["Derivatives", "derivatives"]

_WIDTH = 192  # columns of a matrix product, so that what one layer hands to the next stays in a core's cache
_CACHED = 100_000  # numbers, of sums over neighbours, likewise


@dataclass(frozen=True)
class Derivatives:
    """What `derivatives` gives.

    Attributes:
        energy: (b,) in eV, without the atoms' own.
        gradient: (b, x) in eV/angstrom.
        hessian: (b, k, k) in eV/angstrom^2.
        charges: (b, n) in e, the mean of the members.
        dipole: (b, 3, k), derivatives in e of their dipole moment.
    """

    energy: Tensor
    gradient: Tensor
    hessian: Tensor
    charges: Tensor
    dipole: Tensor


def derivatives(network: Network, z: Tensor, positions: Tensor, charge: Tensor, columns: Tensor) -> Derivatives:
    """Compute them for molecules of the same number of atoms.

    Args:
        network: The networks.
        z: (b, n), atomic numbers.
        positions: (b, n, 3) in angstrom.
        charge: (b,) in e.
        columns: (b, k), the coordinates (3 * atom + axis) of the derivatives.
    """
    leaf = positions.detach().requires_grad_()
    trace = network(z, leaf, charge)
    nodes = [trace.geometry.functions]
    for one in trace.passes:
        nodes += [one.sums, one.norms, *([] if one.charges is None else [one.charges])]
        nodes += [after for before, after in one.layers if before is not after]
    gradient, *found = torch.autograd.grad(trace.energy.sum(), [leaf, *nodes])
    adjoints = dict(zip(map(id, nodes), found, strict=True))
    with torch.no_grad():
        pairs = _Pairs(network, trace, adjoints[id(trace.geometry.functions)])
        hessian = _chosen(_chosen(pairs.hessian(), columns).mT, columns)
        dipole = torch.zeros(len(z), 3, columns.shape[1], dtype=leaf.dtype, device=leaf.device)
        for member in range(network.members):
            carried = _Forward(network, trace, pairs, adjoints, member, columns)
            charges = carried.run()
            hessian = hessian + carried.hessian
            dipole = dipole + (leaf.mT @ charges) / network.members
        mean = trace.charges.detach().mean(0)
        atoms, axes = columns // 3, columns % 3
        dipole.scatter_add_(1, axes.unsqueeze(1), mean.gather(1, atoms).unsqueeze(1))
        return Derivatives(trace.energy.detach(), gradient.flatten(1), hessian, mean, dipole)


def _chosen(values: Tensor, columns: Tensor) -> Tensor:
    """Return the columns (b, ..., k) of (b, ..., x)."""
    index = columns.view(len(columns), *[1] * (values.ndim - 2), -1)
    return values.gather(-1, index.expand(*values.shape[:-1], -1))


class _Pairs:
    """What depends on pairs of atoms alone, and is the same for all members."""

    def __init__(self, network: Network, trace: Trace, functions: Tensor) -> None:
        self.network, self.trace, self.geometry = network, trace, trace.geometry
        g: Geometry = trace.geometry
        self.unit, self.distance = g.unit.detach(), g.distance.detach()
        self.mask = g.pairs
        b, n, _ = self.distance.shape
        spread = self.distance.unsqueeze(1).expand(b, RADIAL, n, n)
        mask = self.mask.unsqueeze(1)
        self.radial = [values * mask for values in _thrice(network.radial, spread)]
        self.adjoint = functions.view(b, RADIAL, 4, n, n)
        self.coulomb = [values * self.mask for values in _thrice(network.coulomb, self.distance)]
        every = g.functions.detach().unsqueeze(1).expand(-1, CHANNELS + 1, -1, -1, -1)
        self.functions = every.contiguous()  # (b, a, g, c n, m), for products by channel
        u = self.unit.movedim(-1, 1)  # (b, 3, n, m)
        across = torch.eye(3, dtype=u.dtype, device=u.device)[:, :, None, None] - u.unsqueeze(1) * u.unsqueeze(2)
        self.across = across / self.distance[:, None, None]  # (b, 3, 3, n, m)
        value, slope = self.radial[0][:, :, None], self.radial[1][:, :, None]
        # by the arrow from m to n: (b, g, c, n, m, 3)
        scalar = (slope * u.unsqueeze(1)).movedim(2, -1).unsqueeze(2)
        outer = u.unsqueeze(1) * u.unsqueeze(2)
        vector = slope.unsqueeze(2) * outer.unsqueeze(1) + value.unsqueeze(2) * self.across.unsqueeze(1)
        self.slopes = torch.cat([scalar, vector.movedim(3, -1)], 2).contiguous()

    def hessian(self) -> Tensor:
        """Return all of the Hessian (b, x, x) that no derivative of a network's value enters."""
        first, second = self._frozen()
        coulomb = self.coulomb
        charges = self.trace.charges.detach()
        products = (charges.unsqueeze(-1) * charges.unsqueeze(-2)).mean(0) * self.mask
        first, second = first + products * coulomb[1], second + products * coulomb[2]
        many, more_first, more_second = self._dispersion()
        first, second = first + more_first, second + more_second
        u = self.unit
        outer = u.unsqueeze(-1) * u.unsqueeze(-2)
        blocks = second[..., None, None] * outer + first[..., None, None] * self.across.movedim((1, 2), (-2, -1))
        return many + self._assembled(blocks + self._directed())

    def gradient(self, slopes: Tensor) -> Tensor:
        """Return the gradient (b, n, x) of sums over m of functions of the distance, of these slopes (b, n, m)."""
        arrows = slopes.unsqueeze(-1) * self.unit
        out = -arrows
        out.diagonal(dim1=1, dim2=2).add_(arrows.sum(2).mT)
        return out.flatten(2)

    def _frozen(self) -> tuple[Tensor, Tensor]:
        """Return first and second derivatives, by the distance, of the radial functions weighted by their adjoints."""
        weight = self.adjoint[:, :, 0]
        return (weight * self.radial[1]).sum(1), (weight * self.radial[2]).sum(1)

    def _directed(self) -> Tensor:
        """Return the second derivatives (b, n, m, 3, 3) of B(d) . u, of the functions with directions."""
        values = [(self.adjoint[:, :, 1:] * one.unsqueeze(2)).sum(1).movedim(1, -1) for one in self.radial]
        b0, b1 = values[:2]  # (b, n, m, 3)
        u, d = self.unit, self.distance[..., None, None]
        along = [(value * u).sum(-1)[..., None, None] for value in values]
        outer = u.unsqueeze(-1) * u.unsqueeze(-2)
        across = torch.eye(3, dtype=u.dtype, device=u.device) - outer
        side0, side1 = b0 - along[0][..., 0] * u, b1 - along[1][..., 0] * u
        mixed0 = u.unsqueeze(-1) * side0.unsqueeze(-2)
        mixed1 = u.unsqueeze(-1) * side1.unsqueeze(-2)
        return (
            along[2] * outer
            + (along[1] * across + mixed1 + mixed1.mT) / d
            - (along[0] * across + mixed0 + mixed0.mT) / d**2
        )

    def _assembled(self, blocks: Tensor) -> Tensor:
        """Return (b, x, x) of the second derivatives of pairs (b, n, m, 3, 3) by their arrows."""
        b, n = blocks.shape[:2]
        both = blocks + blocks.transpose(1, 2)
        out = -both
        out.diagonal(dim1=1, dim2=2).add_(both.sum(2).movedim(1, -1))
        return out.transpose(2, 3).reshape(b, 3 * n, 3 * n)

    def _dispersion(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return what coordination numbers add to the Hessian, and the derivatives of pairs by their distance."""
        net, geometry, mask = self.network, self.geometry, self.mask
        count = _thrice(lambda d: net.coordination(geometry, d), self.distance)
        damped = _thrice(lambda d: net.damped(geometry, d), self.distance)
        count, damped = [one * mask for one in count], [one * mask for one in damped]
        number = count[0].sum(-1)
        i = number.unsqueeze(-1).expand_as(self.distance)
        j = number.unsqueeze(-2).expand_as(self.distance)
        c6, by_i, by_j, by_ii, by_ij, by_jj = _both_twice(lambda a, b: net.c6(geometry.z, a, b), i, j)
        weight = by_i + by_j.mT  # of damped, in the energy's derivative by a coordination number
        adjoint = (weight * damped[0]).sum(-1)
        numbers = self.gradient(count[1])  # (b, n, x)
        curvature = (by_ij * damped[0]) + (by_ij * damped[0]).mT
        curvature.diagonal(dim1=1, dim2=2).add_((by_ii * damped[0]).sum(-1) + (by_jj * damped[0]).sum(-2))
        cross = numbers.mT @ self.gradient(weight * damped[1])
        many = numbers.mT @ curvature @ numbers + cross + cross.mT
        held = adjoint.unsqueeze(-1)
        return many, c6 * damped[1] + held * count[1], c6 * damped[2] + held * count[2]


class _Forward:
    """Carries derivatives through one member, and gathers the Hessian's terms on the way."""

    def __init__(
        self, network: Network, trace: Trace, pairs: _Pairs, adjoints: dict[int, Tensor], member: int, columns: Tensor
    ) -> None:
        self.network, self.pairs, self.member, self.columns = network, pairs, member, columns
        self.passes, self.adjoints = trace.passes, adjoints
        self.atoms = columns // 3
        b, k = columns.shape
        self.n = trace.charges.shape[-1]
        self.hessian = torch.zeros(b, k, k, dtype=network.dtype, device=network.device)
        slopes = pairs.slopes  # (b, g, c, n, m, 3)
        self.by_column = _chosen(slopes.flatten(-2), columns).flatten(2, 3)  # (b, g, c n, k)
        cached = network.device.type == "cpu"
        self.chunk = max(1, round(_WIDTH / k)) if cached else self.n
        self.block = max(1, round(_CACHED / self.by_column[0].numel())) if cached else CHANNELS + 1

    def run(self) -> Tensor:
        """Return the derivatives of the charges (b, n, k)."""
        charges = torch.zeros((), dtype=self.network.dtype, device=self.network.device)
        features: Tensor | None = None  # (b, a g, n, k), where they depend on positions
        for i, one in enumerate(self.passes):
            inputs = self._inputs(one, i, features)
            layers = [(weight[self.member], *one.layers[j]) for j, (weight, _) in enumerate(self.network.layers[i])]
            layers[0] = (layers[0][0][:, -inputs.shape[1] :], *layers[0][1:])  # constant features add nothing
            if i == PASSES - 1:
                rest = one.layers[len(layers) :]
                layers += [(w[self.member], *found) for (w, _), found in zip(self.network.readout, rest, strict=True)]
                self._layers(inputs, layers[:-1])  # the last one is linear, and adds nothing
                break
            out = self._layers(inputs, layers)
            charges = self._neutralised(one, out[:, 0] + charges, out[:, 1])
            own = out[:, 2:] if features is None else out[:, 2:] + features[:, : CHANNELS * RADIAL]
            features = torch.cat([own, charges.unsqueeze(1).expand(-1, RADIAL, -1, -1)], 1)
        self._coulomb(charges)
        return charges

    def _inputs(self, one: Pass, i: int, features: Tensor | None) -> Tensor:
        """Return the derivatives of what a pass feeds to its layers (b, width, n, k).

        That is the features themselves, unless they are constant, their sums over neighbours and the norms.
        """
        b, k = self.columns.shape
        a = one.features.shape[1]
        first = 0 if features is None else a * RADIAL
        out = self.by_column.new_empty(b, first + a * (RADIAL + COMBINED), self.n, k)
        if features is not None:
            out[:, :first] = features
            self._crossed(one, torch.unflatten(features, 1, (a, RADIAL)))
        sums = torch.unflatten(out[:, first : first + a * RADIAL], 1, (a, RADIAL))
        norms = torch.unflatten(out[:, first + a * RADIAL :], 1, (a, COMBINED))
        self_moved = self._self_moved(one)
        for start in range(0, a, self.block):
            part = slice(start, start + self.block)
            own = None if features is None else torch.unflatten(features, 1, (a, RADIAL))[:, part]
            sums[:, part], norms[:, part] = self._sums(one, i, part, own, self_moved[:, part])
        return out

    def _self_moved(self, one: Pass) -> Tensor:
        """Return how the sums of the atom that a coordinate moves change by its own arrows (b, a, g, c, 1, k)."""
        b = len(self.columns)
        n = self.n
        own = one.features[self.member].detach()  # (a, g, b, n)
        slopes = self.pairs.slopes.transpose(-1, -2).reshape(b * RADIAL, 4 * n * 3, n)
        moved = torch.bmm(slopes, own.permute(2, 1, 3, 0).reshape(b * RADIAL, n, -1))
        return _chosen(moved.view(b, RADIAL, 4, n * 3, -1).permute(0, 4, 1, 2, 3), self.columns).unsqueeze(4)

    def _sums(
        self, one: Pass, i: int, part: slice, features: Tensor | None, self_moved: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the derivatives of some channels' sums over neighbours (b, a, g, n, k) and norms (b, a, h, n, k)."""
        b, k = self.columns.shape
        n = self.n
        own = one.features[self.member, part].detach().permute(2, 0, 1, 3)  # (b, a, g, n)
        a = own.shape[1]
        moved = self.atoms.view(b, 1, 1, k).expand(-1, a, RADIAL, -1)
        # A neighbour moves, or the atom itself, or the neighbour's features change:
        sums = self.by_column.unsqueeze(1) * own.gather(-1, moved).neg().unsqueeze(-2)
        sums = sums.view(b, a, RADIAL, 4, n, k)
        sums.scatter_add_(4, self.atoms.view(b, 1, 1, 1, 1, k).expand_as(self_moved), self_moved)
        if features is not None:
            functions = self.pairs.functions[:, :a].reshape(-1, 4 * n, n)
            sums.view(-1, 4 * n, k).baddbmm_(functions, features.reshape(-1, n, k))
        directed = sums.view(b, a, RADIAL, 4 * n * k)[..., n * k :]
        vectors = torch.matmul(self.network.combine[i][self.member, part], directed).view(b, a, COMBINED, 3, n, k)
        before = one.vectors[self.member, part].detach().permute(2, 0, 1, 3, 4).unsqueeze(-1)
        norms = (vectors * (2 * before)).sum(3)
        adjoint = self._adjoint(one.norms)[part].permute(2, 0, 1, 3)[:, :, :, None, :, None]
        self._gather(vectors.flatten(1, -2), (vectors * (2 * adjoint)).flatten(1, -2))
        return sums[:, :, :, 0], norms

    def _crossed(self, one: Pass, features: Tensor) -> None:
        """Gather what functions of the distance and features of the neighbour, both varying, give together."""
        b, n, a = len(self.columns), self.n, features.shape[1]
        adjoint = self._adjoint(one.sums).permute(2, 1, 0, 3, 4)  # (b, g, a, c, n)
        slopes = self.pairs.slopes
        atom = torch.matmul(adjoint.permute(0, 1, 4, 2, 3), slopes.transpose(2, 3).flatten(-2))  # (b, g, j, a, m 3)
        weight = atom.view(b, RADIAL, n, a, n, 3).permute(0, 3, 1, 4, 2, 5)  # (b, a, g, m, j, 3)
        neighbour = torch.matmul(adjoint.flatten(-2), slopes.view(b, RADIAL, 4 * n, n * 3))  # (b, g, a, j 3)
        weight = weight.contiguous()
        neighbour = neighbour.view(b, RADIAL, a, n, 3).permute(0, 2, 1, 4, 3)
        weight.diagonal(dim1=3, dim2=4).sub_(neighbour)
        chosen = _chosen(weight.flatten(-2), self.columns)
        cross = torch.bmm(chosen.flatten(1, -2).mT, features.flatten(1, -2))
        self.hessian += cross + cross.mT

    def _layers(self, inputs: Tensor, layers: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
        """Return the derivatives of what layers give (b, width, n, k), of some atoms at a time.

        A layer is its weights, and what it gave before and after its nonlinearity.
        """
        b, k = self.columns.shape
        slopes = [self._slopes(before, after) for _, before, after in layers]
        out = inputs.new_empty(b, len(layers[-1][0]), self.n, k)
        for start in range(0, self.n, self.chunk):
            part = slice(start, start + self.chunk)
            values = inputs[:, :, part]
            for (weight, _, _), found in zip(layers, slopes, strict=True):
                values = _product(weight, values)
                if found is not None:
                    slope, curvature = found
                    self._gather(values.flatten(1, 2), (values * curvature[:, :, part]).flatten(1, 2))
                    values.mul_(slope[:, :, part])
            out[:, :, part] = values
        return out

    def _slopes(self, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return GELU's first derivative, and its second one times the adjoint, each (b, width, n, 1)."""
        if before is after:
            return None
        x = before[self.member].detach().transpose(0, 1).unsqueeze(-1)
        density = torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        slope = 0.5 * (1 + torch.erf(x / math.sqrt(2))) + x * density
        return slope, density * (2 - x * x) * self._adjoint(after).transpose(0, 1).unsqueeze(-1)

    def _neutralised(self, one: Pass, charges: Tensor, roots: Tensor) -> Tensor:
        """Return the derivatives of the charges (b, n, k) once they add up: q = raw + f w, w = rest / sum of f."""
        assert one.raw is not None
        assert one.charges is not None
        raw, adjoint = one.raw[self.member].detach(), self._adjoint(one.charges)  # (2, b, n), (b, n)
        root = raw[1]
        weights = root.pow(2)
        total = weights.sum(-1, keepdim=True)
        norm = total + NORM
        share = (one.charges[self.member].detach() - raw[0]).sum(-1, keepdim=True) / total
        by_weight = 2 * root.unsqueeze(-1) * roots  # (b, n, k)
        by_norm = by_weight.sum(1, keepdim=True)
        by_share = -(charges.sum(1, keepdim=True) + share.unsqueeze(-1) * by_norm) / norm.unsqueeze(-1)
        held = (adjoint * weights).sum(-1, keepdim=True) / norm  # (b, 1)
        left = (adjoint.unsqueeze(-1) * by_weight).sum(1, keepdim=True) - held.unsqueeze(-1) * by_norm
        cross = left.mT @ by_share
        self.hessian += cross + cross.mT
        self._gather(roots, roots * (2 * share * (adjoint - held)).unsqueeze(-1))
        return charges + by_weight * share.unsqueeze(-1) + weights.unsqueeze(-1) * by_share

    def _coulomb(self, charges: Tensor) -> None:
        """Gather the terms of the charges' energy where charges vary."""
        value, slope = (2 / self.network.members * one for one in self.pairs.coulomb[:2])
        before = self.pairs.trace.charges[self.member].detach()
        by_place = _chosen(self.pairs.gradient(slope * before.unsqueeze(1)), self.columns)
        cross = charges.mT @ by_place
        self.hessian += charges.mT @ value @ charges + cross + cross.mT

    def _gather(self, left: Tensor, right: Tensor) -> None:
        self.hessian.baddbmm_(left.mT, right)

    def _adjoint(self, node: Tensor | None) -> Tensor:
        return self.adjoints[id(node)][self.member]


def _product(weight: Tensor, values: Tensor) -> Tensor:
    """Return weight (o, i) times values (b, i, n, k)."""
    b, _, n, k = values.shape
    return torch.bmm(weight.expand(b, -1, -1), values.reshape(b, -1, n * k)).view(b, -1, n, k)


def _thrice(function: Callable[[Tensor], Tensor], at: Tensor) -> list[Tensor]:
    """Return an elementwise function and its first two derivatives."""
    with torch.enable_grad():
        leaf = at.detach().clone().requires_grad_()
        value = function(leaf)
        (first,) = torch.autograd.grad(value.sum(), leaf, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), leaf)
    return [value.detach(), first.detach(), second]


def _both_twice(function: Callable[[Tensor, Tensor], Tensor], first: Tensor, second: Tensor) -> list[Tensor]:
    """Return an elementwise function of two and its derivatives: by each, then by both of each two."""
    with torch.enable_grad():
        i, j = (one.detach().clone().requires_grad_() for one in (first, second))
        value = function(i, j)
        by_i, by_j = torch.autograd.grad(value.sum(), (i, j), create_graph=True)
        by_ii, by_ij = torch.autograd.grad(by_i.sum(), (i, j), retain_graph=True)
        (by_jj,) = torch.autograd.grad(by_j.sum(), (j,))
    return [one.detach() for one in (value, by_i, by_j, by_ii, by_ij, by_jj)]
