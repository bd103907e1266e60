"""Radial and angular bases of DimeNet: Bessel functions of the distance, Legendre polynomials of the angle.

Reference: Gasteiger, Groß, Günnemann, "Directional Message Passing for Molecular Graphs", ICLR 2020 ("DimeNet").
Shapes: `e` directed edges, `l` spherical orders, `r` radial functions an order.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from numpy.polynomial import chebyshev, legendre
from numpy.typing import NDArray
from torch import Tensor, nn


class Envelope(nn.Module):
    """Smooth cutoff u(x) / x, which reaches 0 at x = 1 with two derivatives (DimeNet, eq. 8).

    u(x) = 1 - (p + 1)(p + 2)/2 x^p + p (p + 2) x^(p + 1) - p (p + 1)/2 x^(p + 2), here with p = exponent + 1 and
    divided by x, as both bases carry that factor.

    Args:
        exponent: Power p - 1.

    Shape:
        Any shape to the same shape.

    Example:
        >>> Envelope(5)(torch.tensor([0.5, 1.0, 1.5])).tolist()
        [1.7109375, 0.0, -0.0]
    """

    def __init__(self, exponent: int) -> None:
        super().__init__()
        self.p = exponent + 1

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return u(x) / x for distances x in units of the cutoff."""
        p = self.p
        tail = -(p + 1) * (p + 2) / 2 + x * (p * (p + 2) - x * (p * (p + 1) / 2))
        return (1 / x + x.pow(p - 1) * tail) * (x < 1)


class BesselBasisLayer(nn.Module):
    """Radial basis u(x)/x sin(freq_n x) with learnable frequencies, n pi at the start (DimeNet, eq. 7).

    Args:
        num_radial: Number of functions.
        cutoff: Distance at which they end, in angstrom.
        envelope_exponent: Shape of the smooth cutoff.

    Shape:
        (e,) distances in angstrom to (e, num_radial).
    """

    def __init__(self, num_radial: int, cutoff: float = 5.0, envelope_exponent: int = 5) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.envelope = Envelope(envelope_exponent)
        self.freq = nn.Parameter(torch.empty(num_radial))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the frequencies to n pi."""
        with torch.no_grad():
            self.freq.copy_(torch.arange(1, self.freq.numel() + 1) * math.pi)

    def forward(self, dist: Float[Tensor, " e"]) -> Float[Tensor, "e r"]:
        """Evaluate the basis at distances in angstrom."""
        x = dist.unsqueeze(-1) / self.cutoff
        basis: Tensor = self.envelope(x) * (self.freq * x).sin()
        return basis


class SphericalBasisLayer(nn.Module):
    """The joint basis of distance and angle, kept as its two factors (DimeNet, eq. 6).

    a_ln(d, angle) = N_ln u(x)/x j_l(z_ln x) Y_l0(angle), x = d / cutoff: `radial` gives everything in front of Y_l0 an
    edge, `angular` Y_l0 per pair of edges; neither has parameters. The radial factor is smooth on [0, 1] and is
    evaluated from its Chebyshev series, to rounding, as one matrix product. The closed forms of j_l, and its recurrence
    upwards, cancel at short distances: in fp32, at 1 angstrom of 5 and l = 6, they are off by 4 %.

    Args:
        num_spherical: Number of orders l = 0, 1, ...
        num_radial: Number of zeros z_ln of each j_l.
        cutoff: Distance at which the functions end, in angstrom.
        envelope_exponent: Shape of the smooth cutoff.
    """

    series: Tensor

    def __init__(self, num_spherical: int, num_radial: int, cutoff: float = 5.0, envelope_exponent: int = 5) -> None:
        super().__init__()
        self.num_spherical = num_spherical
        self.num_radial = num_radial
        self.cutoff = cutoff
        self.envelope = Envelope(envelope_exponent)
        # As the bits of fp64, so that a cast of the whole model to fp32 and back rounds nothing; not in the state
        # dict, which is torch-geometric's.
        bits = torch.tensor(radial_series(num_spherical, num_radial)).view(torch.int64)
        self.register_buffer("series", bits, persistent=False)

    def radial(self, dist: Float[Tensor, " e"]) -> Float[Tensor, "e lr"]:
        """Evaluate N_ln u(x)/x j_l(z_ln x) at distances in angstrom, as (e, l * r) with r running fastest."""
        x = dist.unsqueeze(-1) / self.cutoff
        series = self.series.view(torch.float64).to(dist.dtype)
        # Beyond the cutoff the envelope is 0, but the polynomials would overflow.
        basis: Tensor = self.envelope(x) * (chebyshev_polynomials(2 * x.clamp(max=1) - 1, len(series)) @ series)
        return basis

    def angular(self, cosine: Float[Tensor, "n k i"]) -> Float[Tensor, "n k l i"]:
        """Evaluate Y_l0 = sqrt((2 l + 1) / 4 pi) P_l(cosine), with the orders l on the third axis.

        Polynomials of the cosine have a derivative where three atoms are on a line; the angle itself has none.
        """
        orders = [torch.ones_like(cosine), cosine]
        for n in range(2, self.num_spherical):
            orders.append(((2 * n - 1) * cosine * orders[-1] - (n - 1) * orders[-2]) / n)
        return torch.stack([math.sqrt((2 * n + 1) / (4 * math.pi)) * p for n, p in enumerate(orders)], dim=2)


def chebyshev_polynomials(t: Float[Tensor, "e 1"], count: int) -> Float[Tensor, "e count"]:
    """Evaluate T_0 to T_(count - 1) by T_(m + k) = 2 T_m T_k - T_(m - k), doubling the number at each step.

    Example:
        >>> chebyshev_polynomials(torch.tensor([[0.5]]), 4).tolist()
        [[1.0, 0.5, -0.5, -1.0]]
    """
    values = torch.cat([torch.ones_like(t), t], dim=-1)
    while values.shape[-1] < count:
        more = 2 * values[..., -1:] * values[..., 1:] - values[..., :-1].flip(-1)
        values = torch.cat([values, more], dim=-1)
    return values[..., :count]


@cache
def radial_series(num_spherical: int, num_radial: int) -> NDArray[np.float64]:
    """Return the Chebyshev series on [0, 1] of N_ln j_l(z_ln x), shape (degree + 1, num_spherical * num_radial).

    Zeros and normalisers are the exact ones rounded to fp32, as the authors' and torch-geometric's code has them:
    weights trained there belong to those numbers, and the difference shows at 1e-7.

    Example:
        >>> radial_series(7, 6).shape
        (53, 42)
    """
    rounded = bessel_zeros(num_spherical, num_radial).astype(np.float32)
    zeros = rounded.astype(np.float64)
    orders = range(num_spherical)
    # 1 / sqrt(j_(l + 1)(z_ln)^2 / 2), each operation rounded to fp32 in the order of the original code, which starts
    # from the cylindrical J of order l + 3/2.
    following = np.stack([spherical_bessel(zeros[order], order + 2)[:, -1] for order in orders])
    cylindrical = (following * np.sqrt(2 * zeros / np.pi)).astype(np.float32)
    scale = 1 / np.sqrt(np.float32(0.5) * (np.sqrt(np.float32(np.pi) / (2 * rounded)) * cylindrical) ** 2)

    # The coefficients of a wave of wavenumber w on an interval of length 1 fall faster than exponentially beyond w/2.
    degree = math.ceil(zeros.max()) + 24
    nodes = chebyshev.chebpts1(degree + 1)
    argument = np.multiply.outer((nodes + 1) / 2, zeros)  # (node, l, r)
    bessel = np.stack([spherical_bessel(argument[:, order], order + 1)[..., -1] for order in orders], axis=1)
    values = (scale.astype(np.float64) * bessel).reshape(degree + 1, -1)
    # Discrete orthogonality of the polynomials at their nodes; T_0 counts half.
    series: NDArray[np.float64] = chebyshev.chebvander(nodes, degree).T @ values * (2 / (degree + 1))
    series[0] /= 2
    return series


def bessel_zeros(num_spherical: int, num_radial: int) -> NDArray[np.float64]:
    """Return the first positive zeros z_ln of the spherical Bessel functions j_l, shape (num_spherical, num_radial).

    Those of j_l are between those of j_(l - 1), which bracket them for a bisection; those of j_0 are n pi.

    Example:
        >>> bessel_zeros(2, 2).round(6).tolist()
        [[3.141593, 6.283185], [4.493409, 7.725252]]
    """
    zeros = np.pi * np.arange(1, num_radial + num_spherical, dtype=np.float64)
    rows = [zeros[:num_radial]]
    for order in range(1, num_spherical):
        low, high = zeros[:-1], zeros[1:]
        rising = spherical_bessel(high, order + 1)[:, order] > 0
        for _ in range(60):
            middle = (low + high) / 2
            above = (spherical_bessel(middle, order + 1)[:, order] > 0) == rising
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        zeros = (low + high) / 2
        rows.append(zeros[:num_radial])
    return np.stack(rows)


def spherical_bessel(x: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return j_0(x) to j_(count - 1)(x), shape (*x, count), by quadrature of Poisson's integral.

    j_l(x) = (-i)^l / 2 times the integral of exp(i x t) P_l(t) over t from -1 to 1 (DLMF 10.54.2), accurate to 1e-15
    absolutely at every x, small ones included.

    Example:
        >>> spherical_bessel(np.array([1.0]), 2).round(6).tolist()
        [[0.841471, 0.301169]]
    """
    nodes, weights = _quadrature(math.ceil(np.abs(x).max(initial=0)) + count + 32)
    waves = np.exp(1j * np.multiply.outer(x, nodes)) @ (weights[:, None] * legendre.legvander(nodes, count - 1))
    return np.asarray(waves * (-1j) ** np.arange(count)).real / 2


_quadrature = cache(legendre.leggauss)
"""Nodes and weights of Gauss and Legendre; a bisection asks for the same ones again and again."""
