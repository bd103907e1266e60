"""What infrared and Raman share: configuration, storage, what an encoder gets. Nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from molchord.api import Array, Category, Config, Real, SpectrumSpec, Stores
from molchord_modalities.cleaning_steps import Step

__all__ = [
    "KINDS",
    "KIND_BEGINS",
    "Baseline",
    "Correction",
    "Corrections",
    "Grid",
    "HydrogenBonds",
    "Jitter",
    "Line",
    "Technique",
    "VibrationalConfig",
    "spec",
]

KINDS = ("rest", "ch", "xh")
"""Kinds of modes by what they stretch: a bond of hydrogen to nitrogen, oxygen or a halogen (`xh`), one to carbon or
another element (`ch`), anything else."""

KIND_BEGINS = (2300.0, 3340.0)
"""Where stretching of C-H and of O-H and N-H begins in harmonic spectra, cm^-1, for sticks whose kind is not known."""


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

    start: Positive = Field(default=500.0, description="First point, cm^-1.")
    stop: Positive = Field(default=4000.0, description="Last point, cm^-1; above `start`.")
    points: int = Field(default=1750, ge=2, description="Number of points, evenly spaced, both ends included.")

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
    """Shape of the line that each stick becomes, of unit area."""

    shape: Literal["lorentzian", "gaussian", "voigt"] = Field(
        default="lorentzian", description="A Voigt line is the convolution of a Lorentzian and a Gaussian one."
    )
    width: Positive = Field(
        default=5.0, description="Half width at half maximum, cm^-1; of the Lorentzian part of a Voigt line."
    )
    gaussian: Positive | None = Field(
        default=None,
        description="Half width at half maximum of the Gaussian part, cm^-1; given for a Voigt line only.",
    )
    temperature: Positive | None = Field(
        default=None,
        description="Temperature of a gas, kelvin: each line has a P, a Q and an R branch, as far apart as its "
        "molecule's rotational constant makes them, where that is known. None: one branch.",
    )

    @model_validator(mode="after")
    def _widths(self) -> Line:
        if (self.shape == "voigt") != (self.gaussian is not None):
            raise ValueError(
                f"`gaussian` is the second width of shape 'voigt'; got {self.gaussian!r} with shape {self.shape!r}"
            )
        return self

    @property
    def half_widths(self) -> tuple[float, float]:
        """Return the half width of the Lorentzian and that of the Gaussian part, cm^-1; 0 where there is none.

        Example:
            >>> Line(shape="gaussian", width=8.0).half_widths
            (0.0, 8.0)
        """
        if self.shape == "gaussian":
            return 0.0, self.width
        return self.width, self.gaussian or 0.0


class Correction(Config):
    """What turns the computed sticks of one kind of mode into measured ones."""

    scale: Positive = Field(default=1.0, description="Factor on their wavenumbers.")
    intensity: Positive = Field(default=1.0, description="Factor on their intensities.")


class Corrections(Config):
    """A correction for each kind of mode, by the bonds that it stretches."""

    rest: Correction = Field(default=Correction(), description="All other modes.")
    ch: Correction = Field(
        default=Correction(), description="Stretching of hydrogen on carbon, boron, silicon, phosphorus or sulfur."
    )
    xh: Correction = Field(default=Correction(), description="Stretching of hydrogen on nitrogen, oxygen or a halogen.")


class HydrogenBonds(Config):
    """What a condensed phase does to the O-H and N-H lines of computed sticks, which are those of free molecules."""

    share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5, description="Share of the spectra whose lines are those of hydrogen bonds."
    )
    shift: Range = Field(default=(-400.0, -50.0), description="Shift of such a line, cm^-1: lowest and highest.")
    width: Factors = Field(default=(3.0, 15.0), description="Factor on its half width: lowest and highest.")
    intensity: Factors = Field(default=(1.0, 4.0), description="Factor on its intensity: lowest and highest.")


class Jitter(Config):
    """Ranges of the draws that vary each spectrum by itself in training; nothing varies in evaluation."""

    scale: Factors = Field(default=(1.0, 1.0), description="Factor on the wavenumbers: lowest and highest.")
    shift: Range = Field(default=(0.0, 0.0), description="Shift of the wavenumbers, cm^-1: lowest and highest.")
    width: Factors = Field(
        default=(1.0, 1.0), description="Factor on the width of the lines of sticks: lowest and highest."
    )
    noise: Levels = Field(
        default=(0.0, 0.0),
        description="Standard deviation of white noise, as a share of the spectrum's maximum before the normalisation: "
        "lowest and highest.",
    )
    window: Parts = Field(
        default=(1.0, 1.0),
        description="Share of the grid that stays observed, a stretch anywhere on it: smallest and largest, at most 1.",
    )
    intensity: Factors = Field(
        default=(1.0, 1.0), description="Factor on the finished, normalised spectrum: lowest and highest."
    )
    stick_shift: NotNegative = Field(default=0.0, description="Standard deviation of each stick's own shift, cm^-1.")
    stick_intensity: NotNegative = Field(
        default=0.0, description="Standard deviation of the logarithm of each stick's own factor on its intensity."
    )
    kind_scale: NotNegative = Field(
        default=0.0, description="Standard deviation of the factor that each kind of mode has on its wavenumbers."
    )
    hydrogen_bonds: HydrogenBonds | None = Field(
        default=None, description="Lines of O-H and N-H as in a liquid or a solid; None: as in a gas."
    )


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
    """What is subtracted from a measured curve."""

    method: Literal["none", "rubberband", "rolling"] = Field(
        default="none",
        description="`rubberband`: the lower convex hull; `rolling`: the smoothed rolling minimum, which also follows "
        "a broad hump such as fluorescence.",
    )
    window: Positive | None = Field(
        default=None,
        description="Width of the rolling minimum, cm^-1, wider than any band; given for `rolling` only.",
    )

    @model_validator(mode="after")
    def _window(self) -> Baseline:
        if (self.method == "rolling") != (self.window is not None):
            raise ValueError(f"`window` belongs to method 'rolling'; got {self.window!r} with method {self.method!r}")
        return self


class VibrationalConfig(Config):
    """How an infrared or Raman spectrum becomes a sample; the defaults are the best found on computed spectra."""

    grid: Grid = Field(default=Grid(), description="Points that the encoder sees.")
    line: Line = Field(default=Line(), description="Shape of the line that each stick of a computed spectrum becomes.")
    scale: Positive = Field(
        default=1.0,
        description="Fixed factor on the wavenumbers of sticks; about 0.96 turns harmonic ones into measured ones.",
    )
    shift: Number = Field(default=0.0, description="Fixed shift of the wavenumbers of sticks, cm^-1.")
    correction: Corrections = Field(
        default=Corrections(),
        description="Factors on the wavenumbers and intensities of computed sticks by the kind of their mode, on top "
        "of `scale`. Where a data set does not know the kinds, a harmonic wavenumber above 3340 cm^-1 is taken for "
        "`xh` and one of 2300-3340 cm^-1 for `ch`.",
    )
    jitter: Jitter | Annotated[tuple[Jitter, ...], Field(min_length=1)] = Field(
        default=JITTER, description="Training augmentation; of several, each spectrum draws one."
    )
    channels: tuple[Literal["plain", "sqrt", "asinh", "smooth"], ...] = Field(
        default=("plain", "asinh", "smooth"),
        min_length=1,
        description="Forms in which the encoder sees each spectrum, each named once: `plain`, itself; and forms that "
        "lift weak bands: `sqrt`, its square root; `asinh`, asinh(x / 0.01) / asinh(100), linear below one percent, so "
        "that noise averages out instead of being lifted too; `smooth`, the same of the spectrum smoothed by a "
        "Gaussian of 6 cm^-1.",
    )
    normalise: Literal["floor", "steady", "minmax", "max", "area", "l2", "none"] = Field(
        default="floor",
        description="Scaling over the observed points: `floor`, the mean of the points in the lowest quarter of the "
        "range to 0 and the largest value to 1; `steady`, the same two levels of the spectrum smoothed by a Gaussian "
        "of 6 cm^-1, which ten percent of noise moves by one percent where it moves `floor` by thirteen; `minmax`, the "
        "smallest value to 0 and the largest to 1; `max`, the largest value to 1; `area`, the mean to 1; `l2`, the sum "
        "of squares to 1.",
    )
    baseline: Baseline = Field(default=Baseline(), description="Correction of measured curves.")
    clean: tuple[Step, ...] = Field(
        default=(),
        description="Steps of clean-up that each measured curve goes through, in training and in queries alike, such "
        "as `{step: baseline}`; a query's own steps come first.",
    )
    min_observed: float = Field(
        default=0.08,
        gt=0,
        le=1,
        description="Share of the grid that a measured curve must cover; of a query that covers less than nearly all, "
        "a search says so and lowers its confidence.",
    )
    max_gap: Positive = Field(
        default=50.0,
        description="Points of a curve further apart than this, cm^-1, leave a hole that counts as not measured.",
    )

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
        """Return what a measurement holds on disk: sticks, or a curve in ascending wavenumber.

        ``stick_kind`` is an index of `KINDS`, where it is known; ``rotational_constant`` is B, the middle one.
        """
        return Stores(
            arrays={
                "stick_wavenumber": Array(unit="cm^-1", axis="stick"),
                "stick_intensity": Array(unit=self.stick_unit, axis="stick"),
                "stick_kind": Array(unit="1", axis="kind", dtype="uint8"),  # an axis of its own: not always known
                "wavenumber": Array(unit="cm^-1", axis="point"),
                self.curve: Array(unit="1", axis="point"),
            },
            columns={
                **dict.fromkeys(("state", "source", "instrument", "ordinate"), Category()),
                "rotational_constant": Real(unit="cm^-1"),
            },
        )


def spec(config: VibrationalConfig, kind: str) -> SpectrumSpec:
    """Describe what an encoder gets: the channels on the grid."""
    grid = config.grid
    return SpectrumSpec(
        unit="cm^-1", points=grid.points, channels=len(config.channels), start=grid.start, stop=grid.stop
    )
