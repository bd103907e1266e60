"""Vibrational spectra on the device: line shapes, augmentation and channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from molchord.api import SpectrumBatch
from molchord_modalities.vibrational_samples import Curve, Sticks
from molchord_modalities.vibrational_settings import Jitter, Line, VibrationalConfig

__all__ = ["VibrationalBatch", "broaden", "channel", "collate", "normalise", "prepare", "warp"]

_TILE = {"cpu": 1 << 19}
"""Numbers of a line-shape table formed at once, to bound memory; on a processor it also stays near the cache."""
_LARGE_TILE = 1 << 24

_FLOOR = 0.25
"""Part of a spectrum's range, from below, whose points make its floor; more than noise spans, less than bands do."""

_LINEAR = 0.01
"""Part of the maximum below which the channel `asinh` is linear."""

_SMOOTH = 6.0
"""Standard deviation in cm^-1 of the Gaussian that makes the channel `smooth`, about a line's half width."""


@dataclass(frozen=True, kw_only=True)
class VibrationalBatch:
    """Spectra of b molecules, s of them sticks padded to the longest, the others curves.

    Attributes:
        position: (s, k) cm^-1.
        intensity: (s, k), 0 at the padding.
        stick_row: (s,) row in the batch.
        curve: (c, p) on the grid, 0 where not observed.
        observed: (c, p).
        curve_row: (c,) row in the batch.
    """

    position: Float[Tensor, "s k"]
    intensity: Float[Tensor, "s k"]
    stick_row: Int[Tensor, " s"]
    curve: Float[Tensor, "c p"]
    observed: Bool[Tensor, "c p"]
    curve_row: Int[Tensor, " c"]


def collate(samples: Sequence[Sticks | Curve], points: int) -> VibrationalBatch:
    """Make a batch; works for no samples too.

    Args:
        samples: What `transform` made, in order.
        points: Points of the grid.
    """
    sticks = [(row, s) for row, s in enumerate(samples) if isinstance(s, Sticks)]
    curves = [(row, s) for row, s in enumerate(samples) if isinstance(s, Curve)]
    longest = max((len(s.position) for _, s in sticks), default=0)
    position, intensity = torch.zeros(len(sticks), longest), torch.zeros(len(sticks), longest)
    for i, (_, sample) in enumerate(sticks):
        position[i, : len(sample.position)] = torch.from_numpy(sample.position)
        intensity[i, : len(sample.position)] = torch.from_numpy(sample.intensity)
    curve, observed = torch.zeros(len(curves), points), torch.zeros(len(curves), points, dtype=torch.bool)
    for i, (_, measured) in enumerate(curves):
        curve[i], observed[i] = torch.from_numpy(measured.values), torch.from_numpy(measured.observed)
    return VibrationalBatch(
        position=position,
        intensity=intensity,
        stick_row=torch.tensor([row for row, _ in sticks], dtype=torch.int64),
        curve=curve,
        observed=observed,
        curve_row=torch.tensor([row for row, _ in curves], dtype=torch.int64),
    )


def prepare(batch: VibrationalBatch, config: VibrationalConfig, generator: torch.Generator | None) -> SpectrumBatch:
    """Broaden sticks, jitter, normalise and make the channels.

    Args:
        batch: On the device of the result.
        config: The modality's configuration.
        generator: Source of the jitter, each spectrum drawn for itself; None: no jitter.
    """
    size = len(batch.stick_row) + len(batch.curve_row)
    device = batch.position.device
    # Sums over lines lose digits in bf16, so mixed precision starts after this function.
    with torch.autocast(device.type, enabled=False):
        draws = None if generator is None else _Draws.make(size, config.jitters, generator, device)
        values = torch.zeros(size, config.grid.points, device=device)
        observed = torch.ones(size, config.grid.points, dtype=torch.bool, device=device)
        if len(batch.stick_row):
            values[batch.stick_row] = _spectra(batch, config, draws, generator)
        if len(batch.curve_row):
            curve, seen = batch.curve, batch.observed
            if draws is not None:
                scale, shift = draws.scale[batch.curve_row], draws.shift[batch.curve_row]
                curve, seen = warp(curve, seen, _grid(config, device), scale, shift)
            values[batch.curve_row], observed[batch.curve_row] = curve, seen
        if draws is not None and generator is not None:
            # Before the normalisation, as in a measured spectrum, whose noise decides where its minimum is.
            level = draws.noise[:, None] * values.amax(dim=1, keepdim=True)
            values = values + level * _normal(values.shape, generator, device)
            observed = observed & draws.seen(config.grid.points)
        values = normalise(values, observed, config.normalise)
        if draws is not None:
            values = values * draws.intensity[:, None]
        stacked = torch.stack([channel(values, name, config.grid.step) for name in config.channels], dim=1)
        stacked = stacked.masked_fill(~observed[:, None], 0.0)  # smoothing reaches into what was not observed
    return SpectrumBatch(values=stacked, observed=observed)


def broaden(
    position: Float[Tensor, "b k"],
    intensity: Float[Tensor, "b k"],
    grid: Float[Tensor, " p"],
    line: Line,
    factor: Float[Tensor, " b"],
) -> Float[Tensor, "b p"]:
    """Sum a line of unit area at each stick: sum_k a_k L(x - f_k), evaluated on the grid itself.

    A Voigt line is the pseudo-Voigt of Thompson, Cox and Hastings (J. Appl. Cryst. 20 (1987) 79, eqs. 6 and 7), within
    1.2 % of the maximum of the convolution.

    Args:
        position: Wavenumbers in cm^-1.
        intensity: Areas of the lines, 0 at padding.
        grid: Points in cm^-1.
        line: Shape and widths.
        factor: Factor on the widths of each spectrum.

    Example:
        >>> one, top = torch.ones(1, 1), torch.tensor([1000.0])
        >>> round(float(broaden(one * 1000, one, top, Line(width=5), one[0]) * math.pi * 5), 6)
        1.0
    """
    lorentz, half_width = _mixture(line)
    out = position.new_zeros(len(position), len(grid))
    tile = _TILE.get(position.device.type, _LARGE_TILE)
    rows = max(1, tile // max(1, position.shape[1] * len(grid)))
    for start in range(0, len(position), rows):
        part = slice(start, start + rows)
        width = (half_width * factor[part])[:, None]
        away = grid - position[part, :, None]
        if lorentz > 0:
            table = torch.addcmul(width[..., None] ** 2, away, away).reciprocal_()
            out[part] += torch.bmm((intensity[part] * width * (lorentz / math.pi))[:, None], table)[:, 0]
        if lorentz < 1:
            # Below -80 exp yields subnormal numbers, which processors handle ten times more slowly.
            table = away.square_().mul_(-math.log(2) / width[..., None] ** 2).clamp_(min=-80).exp_()
            height = (1 - lorentz) * math.sqrt(math.log(2) / math.pi) / width
            out[part] += torch.bmm((intensity[part] * height)[:, None], table)[:, 0]
    return out


def warp(
    curve: Float[Tensor, "c p"],
    observed: Bool[Tensor, "c p"],
    grid: Float[Tensor, " p"],
    scale: Float[Tensor, " c"],
    shift: Float[Tensor, " c"],
) -> tuple[Float[Tensor, "c p"], Bool[Tensor, "c p"]]:
    """Move curves so that what was at x moves to scale * x + shift, by linear interpolation on the grid.

    A point is observed where both points it comes from are.

    Example:
        >>> grid = torch.tensor([1.0, 2.0, 3.0])
        >>> values, seen = warp(grid[None], torch.ones(1, 3, dtype=torch.bool), grid, torch.ones(1), torch.ones(1))
        >>> values.tolist(), seen.tolist()
        ([[0.0, 1.0, 2.0]], [[False, True, True]])
    """
    step = (grid[-1] - grid[0]) / (len(grid) - 1)
    place = ((grid - shift[:, None]) / scale[:, None] - grid[0]) / step
    left = place.floor().clamp(0, len(grid) - 2).long()
    part = place - left
    # Rounding may leave a point that did not move a hair outside its cell.
    seen = observed.gather(1, left) & observed.gather(1, left + 1) & (part > -1e-3) & (part < 1 + 1e-3)
    values = torch.lerp(curve.gather(1, left), curve.gather(1, left + 1), part)
    return values.masked_fill(~seen, 0.0), seen


def normalise(values: Float[Tensor, "b p"], observed: Bool[Tensor, "b p"], how: str) -> Float[Tensor, "b p"]:
    """Scale each spectrum by its observed points, and set the others to 0.

    Args:
        values: Spectra.
        observed: Points that count.
        how: ``floor`` (mean of the points in the lowest quarter of the range to 0, maximum to 1), ``minmax``, ``max``,
            ``area`` (mean 1) or ``none``.

    Example:
        >>> normalise(torch.tensor([[1.0, 3.0, 2.0]]), torch.ones(1, 3, dtype=torch.bool), "minmax").tolist()
        [[0.0, 1.0, 0.5]]
    """
    smallest = torch.finfo(values.dtype).tiny
    high = values.masked_fill(~observed, -math.inf).amax(dim=1, keepdim=True)
    low = values.masked_fill(~observed, math.inf).amin(dim=1, keepdim=True)
    if how == "floor":
        low = _mean(values, observed & (values <= low + _FLOOR * (high - low)))
    values = values.masked_fill(~observed, 0.0)
    if how in ("floor", "minmax"):
        values = (values - low) / (high - low).clamp(min=smallest)
    elif how == "max":
        values = values / high.clamp(min=smallest)
    elif how == "area":
        values = values / _mean(values, observed).clamp(min=smallest)
    return values.masked_fill(~observed, 0.0)


def channel(values: Float[Tensor, "b p"], name: str, step: float) -> Float[Tensor, "b p"]:
    """Return one form of normalised spectra; `VibrationalConfig` explains the names.

    Args:
        values: Spectra, 0 where not observed.
        name: ``plain``, ``sqrt``, ``asinh`` or ``smooth``.
        step: Distance of two points in cm^-1.

    Example:
        >>> channel(torch.tensor([[0.0, 0.25, 1.0]]), "sqrt", 2.0).tolist()
        [[0.0, 0.5, 1.0]]
    """
    if name == "sqrt":
        return values.clamp(min=0).sqrt()
    if name == "smooth":
        reach = math.ceil(3 * _SMOOTH / step)
        place = torch.arange(-reach, reach + 1, device=values.device, dtype=values.dtype) * (step / _SMOOTH)
        kernel = torch.softmax(-(place**2) / 2, dim=0)
        values = torch.nn.functional.conv1d(values[:, None], kernel[None, None], padding=reach)[:, 0]
    return values if name == "plain" else _asinh(values / _LINEAR) / math.asinh(1 / _LINEAR)


def _asinh(values: Float[Tensor, "b p"]) -> Float[Tensor, "b p"]:
    """Return asinh as log(|x| + sqrt(x^2 + 1)), which is vectorised where `torch.asinh` is not."""
    size = values.abs()
    return torch.copysign((size + (size * size + 1).sqrt_()).log_(), values)


def _mean(values: Float[Tensor, "b p"], counted: Bool[Tensor, "b p"]) -> Float[Tensor, "b 1"]:
    return values.masked_fill(~counted, 0.0).sum(dim=1, keepdim=True) / counted.sum(dim=1, keepdim=True).clamp(min=1)


# --- parts -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Draws:
    """One number per spectrum, each (b,): what `Jitter` says."""

    scale: Tensor
    shift: Tensor
    width: Tensor
    noise: Tensor
    window: Tensor
    start: Tensor
    intensity: Tensor
    stick_shift: Tensor
    stick_intensity: Tensor

    @classmethod
    def make(cls, size: int, jitter: Sequence[Jitter], generator: torch.Generator, device: torch.device) -> _Draws:
        unit = torch.rand(8, size, generator=generator, device=generator.device).to(device)
        chosen = (unit[0] * len(jitter)).long().clamp(max=len(jitter) - 1)

        def of(name: str) -> Tensor:
            return torch.tensor([getattr(j, name) for j in jitter], device=device)[chosen]

        drawn = {}
        for i, name in enumerate(("scale", "shift", "width", "noise", "window", "intensity"), 1):
            low, high = of(name).unbind(dim=1)
            drawn[name] = low + (high - low) * unit[i]
        still = {name: of(name) for name in ("stick_shift", "stick_intensity")}
        return cls(start=(1 - drawn["window"]) * unit[7], **drawn, **still)

    def seen(self, points: int) -> Bool[Tensor, "b p"]:
        """Return which points are in each spectrum's window."""
        place = torch.linspace(0, 1, points, device=self.start.device)
        return (place >= self.start[:, None]) & (place <= (self.start + self.window)[:, None])


def _spectra(
    batch: VibrationalBatch, config: VibrationalConfig, draws: _Draws | None, generator: torch.Generator | None
) -> Float[Tensor, "s p"]:
    position, intensity, rows = batch.position * config.scale, batch.intensity, batch.stick_row
    factor = torch.ones(len(rows), device=position.device)
    if draws is not None and generator is not None:
        own, spread = (_normal(position.shape, generator, position.device) for _ in range(2))
        position = position * draws.scale[rows, None] + draws.shift[rows, None] + draws.stick_shift[rows, None] * own
        intensity = intensity * (draws.stick_intensity[rows, None] * spread).exp()
        factor = draws.width[rows]
    return broaden(position + config.shift, intensity, _grid(config, position.device), config.line, factor)


def _normal(shape: torch.Size, generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device).to(device)


def _grid(config: VibrationalConfig, device: torch.device) -> Float[Tensor, " p"]:
    grid = config.grid
    return torch.linspace(grid.start, grid.stop, grid.points, dtype=torch.float64, device=device).float()


def _mixture(line: Line) -> tuple[float, float]:
    """Return the Lorentzian part of a line and its half width in cm^-1."""
    if line.gaussian is None:
        return float(line.shape == "lorentzian"), line.width
    g, lo = 2 * line.gaussian, 2 * line.width
    powers = (g**5, 2.69269 * g**4 * lo, 2.42843 * g**3 * lo**2, 4.47163 * g**2 * lo**3, 0.07842 * g * lo**4, lo**5)
    full = sum(powers) ** 0.2
    ratio = lo / full
    return 1.36603 * ratio - 0.47719 * ratio**2 + 0.11116 * ratio**3, full / 2
