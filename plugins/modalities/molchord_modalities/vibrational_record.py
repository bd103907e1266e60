"""Records and configuration of the vibrational spectra, infrared and Raman."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from molchord.api import Array, Category, Config, ModalityRecord, SpectrumSpec, Stores

if TYPE_CHECKING:
    from molchord_modalities.vibrational import Vibrational

__all__ = ["IR", "RAMAN", "Baseline", "Grid", "Jitter", "Line", "Technique", "VibrationalConfig"]


def _ascending(values: tuple[float, float]) -> tuple[float, float]:
    if values[0] > values[1]:
        raise ValueError(f"the range {list(values)} must be [lowest, highest]; swap the two")
    return values


Number = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Range = Annotated[tuple[Number, Number], AfterValidator(_ascending)]
"""Lowest and highest value of a uniform draw; equal ends fix it."""
Factors = Annotated[tuple[Positive, Positive], AfterValidator(_ascending)]
Levels = Annotated[tuple[NotNegative, NotNegative], AfterValidator(_ascending)]
Part = Annotated[float, Field(gt=0, le=1)]
Parts = Annotated[tuple[Part, Part], AfterValidator(_ascending)]


class Grid(Config):
    """Positions in cm^-1 of the points that an encoder sees, both ends included."""

    start: Positive = 500.0
    stop: Positive = 4000.0
    points: int = Field(default=1750, ge=2)

    @model_validator(mode="after")
    def _ordered(self) -> Grid:
        if self.start >= self.stop:
            raise ValueError(f"`start` {self.start!r} must be below `stop` {self.stop!r}")
        return self

    @property
    def step(self) -> float:
        """Return the distance of two neighbouring points in cm^-1.

        Example:
            >>> Grid(start=500, stop=4000, points=8).step
            500.0
        """
        return (self.stop - self.start) / (self.points - 1)


class Line(Config):
    """Shape of the line that each stick becomes, of unit area.

    Attributes:
        shape: A Voigt line is the convolution of a Lorentzian and a Gaussian one.
        width: Half width at half maximum in cm^-1; of the Lorentzian part for a Voigt line.
        gaussian: Half width at half maximum in cm^-1 of the Gaussian part; for a Voigt line only.
    """

    shape: Literal["lorentzian", "gaussian", "voigt"] = "lorentzian"
    width: Positive = 5.0
    gaussian: Positive | None = None

    @model_validator(mode="after")
    def _widths(self) -> Line:
        if (self.shape == "voigt") != (self.gaussian is not None):
            raise ValueError(
                f"`gaussian` is the second width of shape 'voigt'; got {self.gaussian!r} with shape {self.shape!r}"
            )
        return self


class Jitter(Config):
    """Ranges of the draws that vary each spectrum by itself in training; none happens in plain evaluation.

    Attributes:
        scale: Factor on the wavenumbers.
        shift: Added to the wavenumbers, cm^-1.
        width: Factor on the widths of the line (spectra from sticks only).
        noise: Standard deviation of white noise, as a part of the spectrum's maximum; before the normalisation.
        window: Part of the grid that stays observed, a stretch that lies anywhere.
        intensity: Factor on the finished, normalised spectrum.
        stick_shift: Standard deviation of each stick's own shift, cm^-1.
        stick_intensity: Standard deviation of the logarithm of each stick's own factor.
    """

    scale: Factors = (1.0, 1.0)
    shift: Range = (0.0, 0.0)
    width: Factors = (1.0, 1.0)
    noise: Levels = (0.0, 0.0)
    window: Parts = (1.0, 1.0)
    intensity: Factors = (1.0, 1.0)
    stick_shift: NotNegative = 0.0
    stick_intensity: NotNegative = 0.0


_MOLECULE = {"intensity": (0.8, 1.2), "stick_shift": 3.0, "stick_intensity": 0.2}
JITTER = (
    Jitter(scale=(0.998, 1.002), shift=(-4.0, 4.0), **_MOLECULE),
    Jitter(
        scale=(0.98, 1.02), shift=(-20.0, 20.0), width=(1.0, 1.8), noise=(0.0, 0.05), window=(0.7, 1.0), **_MOLECULE
    ),
)
"""Half of the spectra vary as computed ones of like molecules do, half as instruments and harmonic wavenumbers make
them too. The sticks' own variation makes few molecules count for more."""


class Baseline(Config):
    """What is subtracted from a measured curve.

    Attributes:
        method: ``rubberband``: the lower convex hull; ``rolling``: the smoothed rolling minimum, which also follows
            a broad hump such as fluorescence.
        window: Width of the rolling minimum in cm^-1, wider than any band; for ``rolling`` only.
    """

    method: Literal["none", "rubberband", "rolling"] = "none"
    window: Positive | None = None

    @model_validator(mode="after")
    def _window(self) -> Baseline:
        if (self.method == "rolling") != (self.window is not None):
            raise ValueError(f"`window` belongs to method 'rolling'; got {self.window!r} with method {self.method!r}")
        return self


class VibrationalConfig(Config):
    """Configuration of `ir` and `raman`; the defaults are the clean computed measurement with its best augmentation.

    Attributes:
        grid: Points that the encoder sees.
        line: Line shape of spectra from sticks.
        scale: Fixed factor on the wavenumbers of sticks (0.96 or so turns harmonic ones into measured ones).
        shift: Fixed shift of the wavenumbers of sticks, cm^-1.
        jitter: Augmentation; of several, each spectrum draws one.
        channels: What the encoder sees of each spectrum: ``plain``, itself; and forms that lift weak bands: ``sqrt``,
            its square root; ``asinh``, asinh(x / 0.01) / asinh(100), which stays linear below one percent, where
            noise lies, so that noise averages out instead of being lifted too; ``smooth``, the same of the spectrum
            smoothed by a Gaussian of 6 cm^-1, which leaves less noise to be lifted.
        normalise: ``floor``: the mean of the points in the lowest quarter of the range to 0 and the largest value to 1;
            noise, which moves the smallest value, averages out of it; ``minmax``: the smallest value to 0, the largest
            to 1; ``max``: largest value to 1; ``area``: mean value to 1; taken over the observed points.
        baseline: Correction of measured curves.
        min_observed: Part of the grid that a measured curve must cover; of a query that covers less than nearly all,
            the search says so and lowers its confidence.
        max_gap: Points of a curve further apart than this, in cm^-1, leave a hole that counts as not measured.
    """

    grid: Grid = Grid()
    line: Line = Line()
    scale: Positive = 1.0
    shift: Number = 0.0
    jitter: Jitter | Annotated[tuple[Jitter, ...], Field(min_length=1)] = JITTER
    channels: tuple[Literal["plain", "sqrt", "asinh", "smooth"], ...] = Field(
        default=("plain", "asinh", "smooth"), min_length=1
    )
    normalise: Literal["floor", "minmax", "max", "area", "none"] = "floor"
    baseline: Baseline = Baseline()
    min_observed: float = Field(default=0.08, gt=0, le=1)
    max_gap: Positive = 50.0

    @property
    def jitters(self) -> tuple[Jitter, ...]:
        """Return what each spectrum draws one of."""
        return self.jitter if isinstance(self.jitter, tuple) else (self.jitter,)

    @model_validator(mode="after")
    def _each_once(self) -> VibrationalConfig:
        if len(set(self.channels)) < len(self.channels):
            raise ValueError(f"`channels` {list(self.channels)} names one twice; name each once")
        return self


@dataclass(frozen=True, kw_only=True)
class Technique:
    """What sets infrared and Raman apart.

    Attributes:
        name: Name of the modality, and of the sticks' intensities in ``*-xtb.npz`` files.
        curve: Name of the array that holds a measured curve's values.
        data_type: The word by which JCAMP-DX names it in ``DATA TYPE``.
        stick_unit: Unit of a stick's intensity.
    """

    name: str
    curve: str
    data_type: str
    stick_unit: str

    @property
    def stores(self) -> Stores:
        """Return what a measurement holds on disk: sticks, or a curve in ascending wavenumber."""
        return Stores(
            arrays={
                "stick_wavenumber": Array(unit="cm^-1", axis="stick"),
                "stick_intensity": Array(unit=self.stick_unit, axis="stick"),
                "wavenumber": Array(unit="cm^-1", axis="point"),
                self.curve: Array(unit="1", axis="point"),
            },
            columns={"state": Category(), "source": Category(), "instrument": Category(), "ordinate": Category()},
        )

    def build(self, config: VibrationalConfig, kind: str) -> Vibrational:
        """Return the modality; there is one kind only."""
        from molchord_modalities.vibrational import Vibrational

        return Vibrational(self, config)


def _spec(config: VibrationalConfig, kind: str) -> SpectrumSpec:
    grid = config.grid
    return SpectrumSpec(
        unit="cm^-1", points=grid.points, channels=len(config.channels), start=grid.start, stop=grid.stop
    )


def _record(technique: Technique, summary: str) -> ModalityRecord:
    return ModalityRecord(
        name=technique.name,
        summary=summary,
        api=1,
        kinds=("spectrum1d",),
        stores=technique.stores,
        config=VibrationalConfig,
        spec=_spec,
        build=technique.build,
    )


IR = _record(
    Technique(name="ir", curve="absorbance", data_type="INFRARED", stick_unit="km/mol"),
    "infrared absorption: computed sticks or measured curves",
)
RAMAN = _record(
    Technique(name="raman", curve="intensity", data_type="RAMAN", stick_unit="angstrom^4/amu"),
    "Raman scattering: computed sticks or measured curves",
)
