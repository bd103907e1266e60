"""Vibrational spectra on the device: line shapes, augmentation and channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from molchord.api import SpectrumBatch
from molchord_modalities.line_shapes import branches_of, broaden
from molchord_modalities.vibrational_samples import Curve, Sticks
from molchord_modalities.vibrational_settings import KINDS, HydrogenBonds, Jitter, VibrationalConfig

__all__ = ["VibrationalBatch", "channel", "collate", "normalise", "prepare", "warp"]

_FLOOR = 0.25
"""Part of a spectrum's range, from below, whose points make its floor; more than noise spans, less than bands do."""

_LINEAR = 0.01
"""Part of the maximum below which the channel `asinh` is linear."""

_SMOOTH = 6.0
"""Standard deviation in cm^-1 of the Gaussian by which spectra are smoothed, about a line's half width."""


@dataclass(frozen=True, kw_only=True)
class VibrationalBatch:
    """Spectra of b molecules, s of them sticks padded to the longest, the others curves.

    Attributes:
        position: (s, k) cm^-1.
        intensity: (s, k), 0 at the padding.
        kind: (s, k), indices of `KINDS`.
        rotational_constant: (s,) cm^-1, 0 where it is not known.
        stick_row: (s,) row in the batch.
        curve: (c, p) on the grid, 0 where not observed.
        observed: (c, p).
        curve_row: (c,) row in the batch.
    """

    position: Float[Tensor, "s k"]
    intensity: Float[Tensor, "s k"]
    kind: Int[Tensor, "s k"]
    rotational_constant: Float[Tensor, " s"]
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
    kind = torch.zeros(len(sticks), longest, dtype=torch.int64)
    for i, (_, sample) in enumerate(sticks):
        kind[i, : len(sample.kind)] = torch.from_numpy(sample.kind)
        position[i, : len(sample.position)] = torch.from_numpy(sample.position)
        intensity[i, : len(sample.position)] = torch.from_numpy(sample.intensity)
    curve, observed = torch.zeros(len(curves), points), torch.zeros(len(curves), points, dtype=torch.bool)
    for i, (_, measured) in enumerate(curves):
        curve[i], observed[i] = torch.from_numpy(measured.values), torch.from_numpy(measured.observed)
    return VibrationalBatch(
        position=position,
        intensity=intensity,
        kind=kind,
        rotational_constant=torch.tensor([sample.rotational_constant for _, sample in sticks]).reshape(-1),
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
        values = normalise(values, observed, config.normalise, config.grid.step)
        if draws is not None:
            values = values * draws.intensity[:, None]
        stacked = torch.stack([channel(values, name, config.grid.step) for name in config.channels], dim=1)
        stacked = stacked.masked_fill(~observed[:, None], 0.0)  # smoothing reaches into what was not observed
    return SpectrumBatch(values=stacked, observed=observed)


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


def normalise(
    values: Float[Tensor, "b p"], observed: Bool[Tensor, "b p"], how: str, step: float
) -> Float[Tensor, "b p"]:
    """Scale each spectrum by its observed points, and set the others to 0.

    Args:
        values: Spectra.
        observed: Points that count.
        how: ``floor`` (mean of the points in the lowest quarter of the range to 0, maximum to 1), ``steady`` (the same
            two levels, but those of the smoothed spectrum), ``minmax``, ``max``, ``area`` (mean 1), ``l2`` (length 1)
            or ``none``.
        step: Distance of two points in cm^-1.

    Example:
        >>> normalise(torch.tensor([[1.0, 3.0, 2.0]]), torch.ones(1, 3, dtype=torch.bool), "minmax", 2.0).tolist()
        [[0.0, 1.0, 0.5]]
    """
    smallest = torch.finfo(values.dtype).tiny
    values = values.masked_fill(~observed, 0.0)
    seen = values
    if how == "steady":
        seen = _smoothed(values, step) / _smoothed(observed.to(values.dtype), step).clamp(min=smallest)
    high = seen.masked_fill(~observed, -math.inf).amax(dim=1, keepdim=True)
    low = seen.masked_fill(~observed, math.inf).amin(dim=1, keepdim=True)
    if how in ("floor", "steady"):
        low = _mean(values, observed & (seen <= low + _FLOOR * (high - low)))
    if how in ("floor", "steady", "minmax"):
        values = (values - low) / (high - low).clamp(min=smallest)
    elif how == "max":
        values = values / high.clamp(min=smallest)
    elif how == "area":
        values = values / _mean(values, observed).clamp(min=smallest)
    elif how == "l2":
        values = torch.nn.functional.normalize(values, dim=1, eps=smallest)
    return values.masked_fill(~observed, 0.0)


def _smoothed(values: Float[Tensor, "b p"], step: float) -> Float[Tensor, "b p"]:
    """Convolve with a Gaussian of unit area; beyond the ends are zeros."""
    reach = math.ceil(3 * _SMOOTH / step)
    place = torch.arange(-reach, reach + 1, device=values.device, dtype=values.dtype) * (step / _SMOOTH)
    kernel = torch.softmax(-(place**2) / 2, dim=0)
    return torch.nn.functional.conv1d(values[:, None], kernel[None, None], padding=reach)[:, 0]


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
        values = _smoothed(values, step)
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
    """One number per spectrum, each (b,): which `Jitter`, and what it says."""

    chosen: Tensor
    scale: Tensor
    shift: Tensor
    width: Tensor
    noise: Tensor
    window: Tensor
    start: Tensor
    intensity: Tensor
    stick_shift: Tensor
    stick_intensity: Tensor
    kind_scale: Tensor

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
        still = {name: of(name) for name in ("stick_shift", "stick_intensity", "kind_scale")}
        return cls(chosen=chosen, start=(1 - drawn["window"]) * unit[7], **drawn, **still)

    def seen(self, points: int) -> Bool[Tensor, "b p"]:
        """Return which points are in each spectrum's window."""
        place = torch.linspace(0, 1, points, device=self.start.device)
        return (place >= self.start[:, None]) & (place <= (self.start + self.window)[:, None])


def _spectra(
    batch: VibrationalBatch, config: VibrationalConfig, draws: _Draws | None, generator: torch.Generator | None
) -> Float[Tensor, "s p"]:
    position, intensity, rows = batch.position, batch.intensity, batch.stick_row
    draw = partial(broaden, grid=config.grid, line=config.line)
    branches = branches_of(batch.rotational_constant, config.line.temperature)
    if draws is None or generator is None:
        return draw(position, intensity, factor=torch.ones(len(rows), device=position.device), branches=branches)
    own, spread = (_normal(position.shape, generator, position.device) for _ in range(2))
    position = position * draws.scale[rows, None] + draws.shift[rows, None] + draws.stick_shift[rows, None] * own
    intensity = intensity * (draws.stick_intensity[rows, None] * spread).exp()
    if any(jitter.kind_scale for jitter in config.jitters):
        factors = 1 + draws.kind_scale[rows, None] * _normal((len(rows), len(KINDS)), generator, position.device)
        position = position * factors.gather(1, batch.kind)
    factor, narrowest = draws.width[rows], min(jitter.width[0] for jitter in config.jitters)
    wide: Tensor | float = 0.0
    if any(jitter.hydrogen_bonds for jitter in config.jitters):
        bonds = _Bonds.make(position.shape, [config.jitters[i] for i in draws.chosen[rows].tolist()], generator)
        bonded = (batch.kind == KINDS.index("xh")) & bonds.there.to(position.device)
        apart = (intensity * bonds.intensity.to(position.device)).masked_fill(~bonded, 0.0)
        intensity = intensity.masked_fill(bonded, 0.0)
        lower, wider = position + bonds.shift.to(position.device), factor * bonds.width.to(position.device)
        wide = draw(lower, apart, factor=wider, narrowest=narrowest)
    return draw(position, intensity, factor=factor, narrowest=narrowest, branches=branches) + wide


@dataclass(frozen=True, kw_only=True)
class _Bonds:
    """What `HydrogenBonds` says of s spectra of k sticks: there (s, 1), shift (s, k), width (s,), intensity (s, 1)."""

    there: Tensor
    shift: Tensor
    width: Tensor
    intensity: Tensor

    @classmethod
    def make(cls, shape: torch.Size, jitter: Sequence[Jitter], generator: torch.Generator) -> _Bonds:
        none = HydrogenBonds(share=0.0)
        bonds = [one.hydrogen_bonds or none for one in jitter]
        unit = torch.rand(3 + shape[1], shape[0], generator=generator, device=generator.device).cpu()

        def between(name: str, place: Tensor) -> Tensor:
            low, high = torch.tensor([getattr(bond, name) for bond in bonds]).reshape(-1, 2).unbind(dim=1)
            return low + (high - low) * place

        return cls(
            there=(unit[0] < torch.tensor([bond.share for bond in bonds]))[:, None],
            shift=between("shift", unit[3:]).T,
            width=between("width", unit[1]),
            intensity=between("intensity", unit[2])[:, None],
        )


def _normal(shape: Sequence[int], generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device).to(device)


def _grid(config: VibrationalConfig, device: torch.device) -> Float[Tensor, " p"]:
    grid = config.grid
    return torch.linspace(grid.start, grid.stop, grid.points, dtype=torch.float64, device=device).float()
