"""Settings that several losses share: form, pairs, temperature. Nothing heavy."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from molchord.api import Config, ModalityName

__all__ = ["Contrast", "Form", "Learnable", "Pairs", "Positive", "Temperature", "number_where_published"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Learnable(Config):
    """A learned temperature, one for each pair of modalities, kept within bounds.

    What is learned is the logarithm of 1 / temperature, as in CLIP (Radford et al. 2021, section 2.5), whose initial
    value and upper bound of the scale, 100, are the defaults.

    Example:
        >>> Learnable(initial=0.05).lowest
        0.01
    """

    initial: Positive = Field(default=0.07, description="Temperature before training.")
    lowest: Positive = Field(default=0.01, description="Lower bound of the temperature.")
    highest: Positive = Field(default=1.0, description="Upper bound of the temperature.")

    @model_validator(mode="after")
    def _ordered(self) -> Learnable:
        if not self.lowest <= self.initial <= self.highest:
            raise ValueError(
                f"`initial` {self.initial!r} must lie between `lowest` {self.lowest!r} and `highest` {self.highest!r}"
            )
        return self


def _spelled_out(value: Any) -> Any:
    if isinstance(value, str) and value != "learnable":
        raise ValueError(f"got {value!r}; allowed: 'learnable', a number, a mapping of `initial`, `lowest`, `highest`")
    return Learnable() if value == "learnable" else value


Temperature: TypeAlias = Annotated[
    Learnable | Positive,
    BeforeValidator(_spelled_out, json_schema_input_type=Learnable | Positive | Literal["learnable"]),
]
"""A number, ``learnable``, or learnable within bounds of one's own: ``{initial: 0.05, lowest: 0.02, highest: 0.5}``."""

Form = Annotated[
    Literal["infonce", "vibraclip"],
    Field(description="`infonce`: cosines, one right answer per row; `vibraclip`: the loss of VibraCLIP's code."),
]


def number_where_published(form: str, temperature: object) -> None:
    """Refuse a temperature that the published form has not.

    Raises:
        ValueError: The form is 'vibraclip' and the temperature is not one number.

    Example:
        >>> number_where_published("vibraclip", 141.0)
    """
    if form == "vibraclip" and not isinstance(temperature, float):
        raise ValueError(
            f"form 'vibraclip' needs a number as `temperature`, got {temperature!r}; the published one is 141"
        )


class Contrast(Config):
    """Form and temperature of a contrast that has one of each for all its pairs; which pairs, the losses say."""

    form: Form = "infonce"
    temperature: Temperature = Field(
        default=Learnable(), description="One number, or learnable for each pair; `vibraclip` was published with 141."
    )

    @model_validator(mode="after")
    def _published(self) -> Self:
        number_where_published(self.form, self.temperature)
        return self


def _distinct(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    for position, pair in enumerate(pairs):
        if pair[0] == pair[1]:
            raise ValueError(f"pair {list(pair)} names one modality twice; name two")
        if set(pair) in [set(earlier) for earlier in pairs[:position]]:
            raise ValueError(f"pair {list(pair)} is listed twice; leave one out")
    return pairs


Pairs = Annotated[tuple[tuple[ModalityName, ModalityName], ...], AfterValidator(_distinct)]
