"""Line shapes: computed sticks become a curve on the grid."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from molchord_modalities.vibrational_settings import Grid, Line

__all__ = ["branches_of", "broaden"]

_RESOLVED = (2.5, 1.5)
"""Steps of the grid in a half width of Lorentzian and of Gaussian lines; on a coarser one lines lose their tops."""

_TILE = 16
"""Spectra that a processor sums at once: what they need fits its cache, and memory is not asked for anew."""

_REACH = 60.0
"""Half widths on either side of the grid before its ends meet."""

_BOLTZMANN = 0.6950348
"""k / h c, cm^-1 per kelvin."""


def broaden(
    position: Float[Tensor, "b k"],
    intensity: Float[Tensor, "b k"],
    grid: Grid,
    line: Line,
    factor: Float[Tensor, " b"],
    *,
    narrowest: float = 1.0,
    branches: Float[Tensor, " b"] | None = None,
) -> Float[Tensor, "b p"]:
    """Sum a line of unit area at each stick, sum_k a_k L(x - f_k).

    The sum is within 1e-3 of its highest point where no half width exceeds a thirtieth of the grid.

    In Fourier space a line shape is a product: of exp(-2 pi w |q|) for a Lorentzian line of half width w, of
    exp(-(pi w q)^2 / ln 2) for a Gaussian one, and of both for a Voigt line. Sticks are put on the grid by cubic
    B-splines, whose transform sinc^4 is divided out (as in the particle-mesh sums of Essmann et al., J. Chem. Phys.
    103, 8577 (1995), section II), so the cost per stick is that of four points.

    Args:
        position: Wavenumbers in cm^-1. A stick that is further outside the grid than sixty half widths is left out.
        intensity: Areas of the lines, 0 at padding.
        grid: Points.
        line: Shape and widths.
        factor: Factor on the widths of each spectrum.
        narrowest: The smallest factor that any batch may have, so that no spectrum depends on its neighbours.
        branches: Distance in cm^-1 of the P and the R branch of each spectrum's bands from their Q branch, each branch
            with a third of the area; None: bands of one branch.

    Example:
        >>> one, grid = torch.ones(1, 1), Grid(start=500, stop=1500, points=501)
        >>> round(float(broaden(one * 1000, one, grid, Line(width=5), one[0])[0, 250] * math.pi * 5), 2)
        1.0
    """
    lorentzian, gaussian = line.half_widths
    finer = math.ceil(grid.step / (narrowest * max(lorentzian / _RESOLVED[0], gaussian / _RESOLVED[1])))
    step = grid.step / finer
    widest = float(max(lorentzian, gaussian))
    size = 1 << math.ceil(math.log2(finer * grid.points + 2 * _REACH * widest / step))
    before = (size - finer * grid.points) // 2
    q = torch.fft.rfftfreq(size, device=position.device)
    splines = torch.sinc(q) ** -4 / step
    out = position.new_empty(len(position), grid.points)
    rows = _TILE if position.device.type == "cpu" else max(1, len(position))
    for start in range(0, len(position), rows):
        part = slice(start, start + rows)
        width = (factor[part] / step)[:, None]
        shape = torch.exp(-2 * math.pi * lorentzian * width * q - (math.pi * gaussian * width * q) ** 2 / math.log(2))
        if branches is not None:
            shape *= (1 + 2 * torch.cos(2 * math.pi * q * (branches[part] / step)[:, None])) / 3
        points = _deposited((position[part] - grid.start) / step + before, intensity[part], size)
        found = torch.fft.irfft(torch.fft.rfft(points) * shape.mul_(splines), n=size)
        out[part] = found[:, before : before + finer * grid.points : finer]
    return out


def _deposited(place: Float[Tensor, "b k"], weight: Float[Tensor, "b k"], size: int) -> Float[Tensor, "b n"]:
    """Put weights onto points by cubic B-splines; what is outside is left out."""
    weight = weight.masked_fill((place < 1) | (place >= size - 3), 0.0)
    place = place.clamp(1, size - 3)
    left = place.floor()
    part = place - left
    left = left.long()
    rest, square, cube = 1 - part, part**2, part**3
    splines = (rest**3, 3 * cube - 6 * square + 4, -3 * cube + 3 * square + 3 * part + 1, cube)
    shares = torch.stack([weight * spline / 6 for spline in splines], dim=2).flatten(1)
    places = torch.stack([left - 1, left, left + 1, left + 2], dim=2).flatten(1)
    out = weight.new_zeros(len(weight), size)
    if out.device.type == "cpu":
        return out.scatter_add_(1, places, shares)
    rows = torch.arange(len(out), device=out.device)[:, None].expand_as(places)
    return out.index_put_((rows, places), shares, accumulate=True)  # sums in one order, as `scatter_add_` does not


def branches_of(constant: Float[Tensor, " s"], temperature: float | None) -> Float[Tensor, " s"] | None:
    """Return how far the most populated lines of the P and R branches are from the Q branch, cm^-1.

    Half of sqrt(8 B k T / h c) (Herzberg, Molecular Spectra and Molecular Structure I, 1950, eq. III,164), of a linear
    molecule; the middle constant serves other ones.
    """
    return None if temperature is None else (2 * _BOLTZMANN * temperature * constant).sqrt()
