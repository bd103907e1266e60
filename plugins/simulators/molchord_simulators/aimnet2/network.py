"""AIMNet2 in plain torch: energies and charges of many molecules at once, as means of several networks (members).

Shapes: `e` members, `b` molecules, `n` atoms, `m` neighbours of an atom (all atoms), `g` radial functions (16), `c` the
function itself and its products with the unit vector (4), `a` channels of features: 16 of an atom's own and, from the
second pass on, its charge as one more. Features come before atoms, so that derivatives by many coordinates can be
appended as a last axis. Positions are in angstrom, energies in eV.

Source: Anstine, Zubatyuk and Isayev, Chem. Sci. 16, 10228 (2025). Dispersion: D3 of Grimme, Antony, Ehrlich and Krieg,
J. Chem. Phys. 132, 154104 (2010), damped as by Grimme, Ehrlich and Goerigk, J. Comput. Chem. 32, 1456 (2011).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import gelu, pad

__all__ = ["ELEMENTS", "Geometry", "Network", "Pass", "Trace"]

ELEMENTS = frozenset({1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 33, 34, 35, 53})
PASSES, CHANNELS, RADIAL, COMBINED = 3, 16, 16, 12
BOHR = 1.8897261258369282  # of an angstrom

_FILL = 5.0  # angstrom; distance of what is not a pair, where the network's functions vanish
_COULOMB = 7.1998226  # eV angstrom, half of it, since each pair is met twice
NORM = 1e-6  # keeps the share of the charge finite
_DISPERSION = -13.605693012183622  # eV, half a Hartree, likewise
_S6, _S8, _A1, _A2, _K1, _K3 = 1.0, 0.3908, 0.566, 3.128, -16.0, -4.0  # wB97M-D3(BJ)
_COMMON = ("rc_s", "eta_s", "shifts_s", "rc_coulomb", "c6ab", "r4r2", "rcov")


@dataclass(frozen=True)
class Geometry:
    """What of the positions the networks see.

    Attributes:
        z: (b, n), atomic numbers; 0 where a molecule has fewer atoms.
        pairs: (b, n, m), 1 where there are two different atoms, else 0.
        distance: (b, n, m) in angstrom.
        unit: (b, n, m, 3), from m to n.
        functions: (b, g, c n, m), the radial functions and their products with the unit vector.
    """

    z: Tensor
    pairs: Tensor
    distance: Tensor
    unit: Tensor
    functions: Tensor


@dataclass
class Pass:
    """What one pass computed, kept for derivatives.

    Attributes:
        features: (e, a, g, b, n), of the atoms before it.
        sums: (e, a, g, b, c, n), over neighbours.
        vectors: (e, a, h, b, 3, n), combined of the sums.
        norms: (e, a, h, b, n), their squares.
        layers: Of each layer what it gives before and after its nonlinearity, (e, width, b, n).
        raw: (e, 2, b, n), charges before they add up to that of the molecule, and the roots of their weights.
        charges: (e, b, n) after it.
    """

    features: Tensor
    sums: Tensor
    vectors: Tensor
    norms: Tensor
    layers: list[tuple[Tensor, Tensor]]
    raw: Tensor | None = None
    charges: Tensor | None = None


@dataclass(frozen=True)
class Trace:
    """Energies (b,) without the atoms' own, charges (e, b, n), and how they came about."""

    energy: Tensor
    charges: Tensor
    geometry: Geometry
    passes: tuple[Pass, ...]


class Network:
    """A mean of members.

    Args:
        members: Parameters of each, as `weights.read` gives them.
        dtype: Of all computing; 32 bits give wavenumbers to 0.1 cm^-1.
        device: Where to compute.
    """

    def __init__(
        self, members: Sequence[Mapping[str, NDArray[np.float32]]], dtype: torch.dtype, device: torch.device
    ) -> None:
        self.dtype, self.device, self.members = dtype, device, len(members)

        def stacked(name: str) -> Tensor:
            return torch.stack([torch.from_numpy(member[name]) for member in members]).to(device, dtype)

        first = members[0]
        if not all(np.array_equal(first[name], member[name]) for name in _COMMON for member in members):
            raise ValueError("the members differ in what all must have in common")
        common = {name: torch.from_numpy(first[name]).to(device, dtype) for name in _COMMON}
        self.cutoff, self.coulomb_cutoff = float(first["rc_s"]), float(first["rc_coulomb"])
        self.eta, self.shifts = common["eta_s"], common["shifts_s"]
        self.c6ab, self.r4r2, self.rcov = common["c6ab"], common["r4r2"], common["rcov"]
        self.embedding = stacked("afv")  # (e, 64, a g)
        own = stacked("agh_a")
        both = torch.cat([own, stacked("agh_q")], 1)
        self.combine = [combine.mT.contiguous() for combine in (own, both, both)]  # (e, a, h, g)
        self.layers = [
            [(stacked(f"mlp{i}.{j}.weight"), stacked(f"mlp{i}.{j}.bias")) for j in range(count)]
            for i, count in enumerate((3, 3, 4))
        ]
        for layers in self.layers[1:]:
            layers[0] = (_with_charge(layers[0][0]), layers[0][1])
        self.readout = [(stacked(f"energy.{j}.weight"), stacked(f"energy.{j}.bias")) for j in range(3)]

    def only(self, member: int) -> Network:
        """Return one member alone; nothing is copied."""
        one = object.__new__(Network)
        one.__dict__.update(self.__dict__)
        part = slice(member, member + 1)
        one.members, one.embedding = 1, self.embedding[part]
        one.combine = [combine[part] for combine in self.combine]
        one.layers = [[(weight[part], bias[part]) for weight, bias in layers] for layers in self.layers]
        one.readout = [(weight[part], bias[part]) for weight, bias in self.readout]
        return one

    def __call__(self, z: Tensor, positions: Tensor, charge: Tensor) -> Trace:
        """Compute energies and charges.

        Args:
            z: (b, n), atomic numbers; 0 where a molecule has fewer atoms.
            positions: (b, n, 3) in angstrom.
            charge: (b,) of the molecules.
        """
        geometry = self.geometry(z, positions)
        atoms = (z > 0).to(self.dtype)
        own = self.embedding[:, z].permute(0, 3, 1, 2)  # (e, a g, b, n)
        features = torch.unflatten(own, 1, (CHANNELS, RADIAL))
        charges = torch.zeros((), dtype=self.dtype, device=self.device)
        passes: list[Pass] = []
        for i, layers in enumerate(self.layers):
            one, inputs = self._gathered(features, geometry, i)
            passes.append(one)
            out = _mlp(inputs, layers, one.layers, activated=i > 0)
            if i == PASSES - 1:
                break
            one.raw = torch.stack([charges + out[:, 0], out[:, 1]], 1)
            one.charges = charges = _neutralised(one.raw, atoms, charge)
            own = own + out[:, 2:]
            as_channel = charges[:, None, None].expand(-1, 1, RADIAL, -1, -1)
            features = torch.cat([torch.unflatten(own, 1, (CHANNELS, RADIAL)), as_channel], 1)
        energies = _mlp(out, self.readout, passes[-1].layers, activated=False)
        energy = (energies.squeeze(1) * atoms).sum(-1).mean(0)
        products = (charges.unsqueeze(-1) * charges.unsqueeze(-2)).mean(0)
        energy = energy + (self.coulomb(geometry.distance) * geometry.pairs * products).sum((-1, -2))
        return Trace(energy + self.dispersion(geometry), charges, geometry, tuple(passes))

    def geometry(self, z: Tensor, positions: Tensor) -> Geometry:
        """Compute distances and radial functions; arguments as for a call."""
        atoms = z > 0
        pairs = atoms.unsqueeze(-1) & atoms.unsqueeze(-2) & ~torch.eye(z.shape[1], dtype=torch.bool, device=z.device)
        arrows = positions.unsqueeze(-2) - positions.unsqueeze(-3)
        distance = arrows.pow(2).sum(-1).masked_fill(~pairs, _FILL**2).sqrt()
        unit = arrows / distance.unsqueeze(-1)
        scalar = self.radial(distance.unsqueeze(1)) * pairs.unsqueeze(1)  # (b, g, n, m)
        parts = torch.cat([scalar.unsqueeze(2), scalar.unsqueeze(2) * unit.movedim(-1, 1).unsqueeze(1)], 2)
        return Geometry(z, pairs.to(self.dtype), distance, unit, parts.flatten(2, 3))

    def radial(self, distance: Tensor) -> Tensor:
        """Return the radial functions (b, g, n, m) of distances (b, 1, n, m) in angstrom."""
        cut = 0.5 * torch.cos((distance / self.cutoff).clamp(0, 1) * math.pi) + 0.5
        return torch.exp(-self.eta * (distance - self.shifts[:, None, None]).pow(2)) * cut

    def coulomb(self, distance: Tensor) -> Tensor:
        """Return half the energy in eV of two unit charges, where the networks do not see them (b, n, m)."""
        share = (distance / self.coulomb_cutoff).clamp(0, 0.999999)
        near = torch.exp(1 - 1 / (1 - share.pow(2)))
        return _COULOMB * (1 - near) / distance

    def dispersion(self, geometry: Geometry) -> Tensor:
        """Return the energy of dispersion (b,)."""
        coordination = (self.coordination(geometry) * geometry.pairs).sum(-1)
        c6 = self.c6(geometry.z, coordination.unsqueeze(-1), coordination.unsqueeze(-2))
        return (c6 * self.damped(geometry) * geometry.pairs).sum((-1, -2))

    def coordination(self, geometry: Geometry, distance: Tensor | None = None) -> Tensor:
        """Return what each neighbour adds to an atom's coordination number (b, n, m); Grimme 2010, eq. 15."""
        radii = self.rcov[geometry.z]
        bohr = (geometry.distance if distance is None else distance) * BOHR
        return torch.sigmoid(-_K1 * ((radii.unsqueeze(-1) + radii.unsqueeze(-2)) / bohr - 1))

    def c6(self, z: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Return the C6 coefficients (b, n, m) of atoms z (b, n) of these coordination numbers; Grimme 2010, eq. 16."""
        reference, of_first, of_second = self.c6ab[z.unsqueeze(-1), z.unsqueeze(-2)].flatten(-3, -2).unbind(-1)
        near = torch.exp(_K3 * ((first.unsqueeze(-1) - of_first).pow(2) + (second.unsqueeze(-1) - of_second).pow(2)))
        total = near.sum(-1)
        return torch.where(total < 1e-5, 0.0, (reference * near).sum(-1)) / total.clamp(1e-5)

    def damped(self, geometry: Geometry, distance: Tensor | None = None) -> Tensor:
        """Return half the energy in eV by unit of C6 (b, n, m); Grimme 2011, eq. 6."""
        bohr = (geometry.distance if distance is None else distance) * BOHR
        root = self.r4r2[geometry.z]
        ratio = 3 * root.unsqueeze(-1) * root.unsqueeze(-2)  # C8 / C6
        radius = _A1 * ratio.sqrt() + _A2
        return _DISPERSION * (_S6 / (bohr.pow(6) + radius.pow(6)) + _S8 * ratio / (bohr.pow(8) + radius.pow(8)))

    def _gathered(self, features: Tensor, geometry: Geometry, i: int) -> tuple[Pass, Tensor]:
        """Sum features of neighbours, and lay out the inputs of the layers (e, width, b, n)."""
        e, a, _, b, n = features.shape
        columns = features.permute(3, 2, 4, 0, 1).reshape(b * RADIAL, n, e * a)
        sums = torch.bmm(geometry.functions.flatten(0, 1), columns)  # (b g, c n, e a)
        sums = sums.view(b, RADIAL, 4, n, e, a).permute(4, 5, 1, 0, 2, 3)  # (e, a, g, b, c, n)
        directed = sums[..., 1:, :].reshape(e * a, RADIAL, b * 3 * n)
        vectors = torch.bmm(self.combine[i].flatten(0, 1), directed).view(e, a, COMBINED, b, 3, n)
        norms = vectors.pow(2).sum(-2)
        inputs = [features.flatten(1, 2), sums[..., 0, :].flatten(1, 2), norms.flatten(1, 2)]
        return Pass(features, sums, vectors, norms, []), torch.cat(inputs, 1)


def _mlp(
    inputs: Tensor, layers: Sequence[tuple[Tensor, Tensor]], kept: list[tuple[Tensor, Tensor]], *, activated: bool
) -> Tensor:
    """Apply layers to (e, width, b, n); activated: the last one has a nonlinearity too."""
    shape = inputs.shape[2:]
    values = inputs
    for weight, bias in layers:
        before = torch.unflatten(torch.baddbmm(bias.unsqueeze(-1), weight, values.flatten(2)), 2, shape)
        values = gelu(before) if activated or weight is not layers[-1][0] else before
        kept.append((before, values))
    return values


def _neutralised(raw: Tensor, atoms: Tensor, charge: Tensor) -> Tensor:
    """Return charges (e, b, n) that add up to those of the molecules, the rest shared out by weight."""
    charges, weights = raw[:, 0] * atoms, raw[:, 1].pow(2) * atoms
    rest = charge - charges.sum(-1)
    return charges + weights * (rest / (weights.sum(-1) + NORM)).unsqueeze(-1)


def _with_charge(weight: Tensor) -> Tensor:
    """Reorder the columns of a layer for features with the charge as one more channel.

    That channel holds the same charge under each radial function, and counts once.
    """
    sizes = [CHANNELS * RADIAL, CHANNELS * RADIAL, CHANNELS * COMBINED, 1, RADIAL, COMBINED]
    own, sums, norms, charge, charge_sums, charge_norms = torch.split(weight, sizes, -1)
    return torch.cat([own, pad(charge, (0, RADIAL - 1)), sums, charge_sums, norms, charge_norms], -1).contiguous()
