"""Steps by which a measurement is cleaned up, and the ability of a modality to take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from molchord.api.config import Config

if TYPE_CHECKING:
    from molchord.api.batches import Measurement

__all__ = ["CleaningStep", "Cleans"]


class CleaningStep(Config):
    """One step with its settings; a step of a plugin is a subclass, whose fields have bounds and defaults.

    Attributes:
        step: Its name; a subclass fixes it, as in ``step: Literal["crop"] = "crop"``.

    Example:
        >>> class Shift(CleaningStep):
        ...     step: str = "shift"
        ...     by: float = 0.0
        >>> Shift(by=2.0).text
        'shift=2'
    """

    step: str

    @property
    def text(self) -> str:
        """The step as a person writes it: its name, and its settings in order."""
        settings = [getattr(self, name) for name in type(self).model_fields if name != "step"]
        said = ":".join(f"{one:g}" if isinstance(one, float) else str(one) for one in settings)
        return f"{self.step}={said}" if settings else self.step


@runtime_checkable
class Cleans(Protocol):
    """A modality whose measurements can be cleaned up before they are used, step by step."""

    @property
    def cleaning_steps(self) -> Mapping[str, type[CleaningStep]]:
        """The steps that there are, by name."""
        ...

    @property
    def default_cleaning(self) -> Sequence[CleaningStep]:
        """The steps that `transform` takes by its configuration, of measured spectra."""
        ...

    def clean(self, measurement: Measurement, steps: Sequence[CleaningStep]) -> Measurement:
        """Return a measurement after the steps, in their order; the one that was handed in stays as it is.

        Raises:
            SampleError: A step does not fit this measurement.
        """
        ...
