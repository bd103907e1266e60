"""The steps by which an infrared or Raman curve is cleaned up, with their settings; nothing heavy."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from molchord.api import CleaningStep

__all__ = [
    "ALL_STEPS", "AbsorbanceStep", "AtrStep", "BaselineStep", "BroadenStep", "Co2Step", "CosmicStep", "CropStep",
    "FluorescenceStep", "MaskStep", "SmoothStep", "Step", "WaterStep",
]  # fmt: skip

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class BaselineStep(CleaningStep):
    """Subtract a baseline by adaptive smoothness penalised least squares (asPLS).

    Zhang et al., Spectrosc. Lett. 53, 222 (2020), in `pybaselines`; unlike arPLS it also works where there is no noise.
    The curve is put on an even axis of 2 cm^-1 for the fit, so
    that the stiffness means the same whatever the resolution: 1e6 follows what is wider than some 300 cm^-1.
    """

    step: Literal["baseline"] = Field(default="baseline", description="Its name.")
    stiffness: Positive = Field(
        default=1e6, le=1e12, description="Penalty on the curvature of the baseline, per 2 cm^-1."
    )


class FluorescenceStep(CleaningStep):
    """Subtract the fluorescence below a Raman spectrum: as `baseline`, but softer."""

    step: Literal["fluorescence"] = Field(default="fluorescence", description="Its name.")
    stiffness: Positive = Field(default=1e5, le=1e12, description="Penalty on the curvature, per 2 cm^-1.")


class SmoothStep(CleaningStep):
    """Smooth by local polynomials (Savitzky and Golay, Anal. Chem. 36, 1627 (1964))."""

    step: Literal["smooth"] = Field(default="smooth", description="Its name.")
    window: int = Field(default=9, ge=3, le=999, description="Points of the window, an odd number.")
    order: int = Field(default=3, ge=0, le=9, description="Order of the polynomial, below the window.")

    @model_validator(mode="after")
    def _fits(self) -> SmoothStep:
        if self.window % 2 == 0 or self.order >= self.window:
            raise ValueError(f"`window` {self.window} must be odd and above `order` {self.order}")
        return self


class BroadenStep(CleaningStep):
    """Convolve with a Gaussian, so that a band's place and area count and its fine structure does not.

    What a computed line says no more of: rotational branches, Fermi pairs and a place that is right within some ten
    cm^-1. Matching computed with measured spectra of gases does best at half widths of 30-40 cm^-1.
    """

    step: Literal["broaden"] = Field(default="broaden", description="Its name.")
    width: Positive = Field(default=25.0, le=500, description="Standard deviation of the Gaussian, cm^-1.")


class CosmicStep(CleaningStep):
    """Replace the spikes of cosmic rays by the mean of the sound points around them.

    Whitaker and Hayes, Chemometr. Intell. Lab. Syst. 179, 82 (2018): a point is a spike where the modified z-score of
    the differences of neighbouring points passes a threshold.
    """

    step: Literal["cosmic"] = Field(default="cosmic", description="Its name.")
    threshold: Positive = Field(default=8.0, ge=3, description="Modified z-score above which a point is a spike.")
    reach: int = Field(default=5, ge=1, le=100, description="Points on either side whose sound ones make the mean.")


class MaskStep(CleaningStep):
    """Count a range as not measured."""

    step: Literal["mask"] = Field(default="mask", description="Its name.")
    low: Positive = Field(description="Its lower end, cm^-1.")
    high: Positive = Field(description="Its upper end, cm^-1.")

    @model_validator(mode="after")
    def _ordered(self) -> MaskStep:
        if self.low >= self.high:
            raise ValueError(f"`low` {self.low:g} must be below `high` {self.high:g}")
        return self


class CropStep(MaskStep):
    """Leave out what is beyond two ends."""

    step: Literal["crop"] = Field(default="crop", description="Its name.")  # type: ignore[assignment]


class Co2Step(MaskStep):
    """Count the band of carbon dioxide in the air as not measured."""

    step: Literal["co2"] = Field(default="co2", description="Its name.")  # type: ignore[assignment]
    low: Positive = Field(default=2300.0, description="Its lower end, cm^-1.")
    high: Positive = Field(default=2400.0, description="Its upper end, cm^-1.")


class WaterStep(CleaningStep):
    """Count both bands of water vapour as not measured; C=O lies in the lower one."""

    step: Literal["water"] = Field(default="water", description="Its name.")
    low: Positive = Field(default=1400.0, description="Lower end of the bending band, cm^-1.")
    high: Positive = Field(default=1850.0, description="Upper end of the bending band, cm^-1.")
    stretch_low: Positive = Field(default=3550.0, description="Lower end of the stretching band, cm^-1.")
    stretch_high: Positive = Field(default=3950.0, description="Upper end of the stretching band, cm^-1.")

    @model_validator(mode="after")
    def _ordered(self) -> WaterStep:
        if not self.low < self.high <= self.stretch_low < self.stretch_high:
            raise ValueError("the ends of the two bands must ascend")
        return self


class AbsorbanceStep(CleaningStep):
    """Turn transmittance that was read as absorbance into absorbance, -log10 of it, clipped from below.

    Files that state transmittance are turned on reading.
    """

    step: Literal["absorbance"] = Field(default="absorbance", description="Its name.")
    lowest: float = Field(default=1e-3, gt=0, lt=1, description="Least transmittance; 0.001 is an absorbance of 3.")
    whole: Positive = Field(default=100.0, description="What the file has for full transmittance: 100 or 1.")


class AtrStep(CleaningStep):
    """Undo that light reaches the deeper into a sample on an ATR crystal the longer its wave is.

    The depth is d = 1 / (2 pi v n1 sqrt(sin(angle)^2 - (n2 / n1)^2)) at wavenumber v (Harrick, Internal Reflection
    Spectroscopy, 1967). The absorbance is divided by d over its value at 1000 cm^-1, so it is multiplied by v / 1000
    whatever the crystal; the indices decide whether there is total reflection at all, and the path d itself, by which
    `per_micrometre` divides too.
    """

    step: Literal["atr"] = Field(default="atr", description="Its name.")
    crystal: float = Field(default=2.4, gt=1, le=6, description="Refractive index n1: diamond, ZnSe 2.4; Ge 4.0.")
    sample: float = Field(default=1.5, ge=1, le=4, description="Refractive index n2 of the sample.")
    angle: float = Field(default=45.0, gt=0, lt=90, description="Angle of incidence, degrees.")
    per_micrometre: bool = Field(default=False, description="Divide by the depth in um, not by its ratio.")


Step = Annotated[
    BaselineStep | BroadenStep | FluorescenceStep | SmoothStep | CosmicStep | MaskStep | CropStep | Co2Step
    | WaterStep | AbsorbanceStep | AtrStep,
    Field(discriminator="step"),
]  # fmt: skip

ALL_STEPS: dict[str, type[CleaningStep]] = {
    "baseline": BaselineStep, "broaden": BroadenStep, "fluorescence": FluorescenceStep, "smooth": SmoothStep,
    "cosmic": CosmicStep, "mask": MaskStep, "crop": CropStep, "co2": Co2Step, "water": WaterStep,
    "absorbance": AbsorbanceStep, "atr": AtrStep,
}  # fmt: skip
