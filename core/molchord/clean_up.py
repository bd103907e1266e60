"""Clean-up of a query before it is searched with: steps read from what a person writes, taken, and recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from molchord.api import CleaningStep, Cleans, Measurement, Modality, SampleError
from molchord.errors import QueryError, did_you_mean

__all__ = ["Cleaning", "cleaned", "cleaning_of", "recorded", "step_text", "steps_by_modality"]

Cleaning = str | Sequence[str | CleaningStep]
"""Steps as text, such as ``"baseline,crop=500:4000"``, or one by one."""


def cleaning_of(given: Cleaning, modality: Modality, name: str) -> list[CleaningStep]:
    """Return the steps of a modality that a person wrote: names with settings in order, ``crop=500:4000``.

    Raises:
        QueryError: The modality cannot be cleaned up or lacks a step, or a setting is not allowed.

    Example:
        >>> from molchord.testing import tiny_run
        >>> [step.text for step in cleaning_of("co2,crop=600:3900", tiny_run().modalities["ir"], "ir")]
        ['co2=2300:2400', 'crop=600:3900']
    """
    if not isinstance(modality, Cleans):
        raise QueryError(f"{name!r} has no steps of clean-up; leave it out of `--clean`")
    words = [word for word in given.split(",") if word.strip()] if isinstance(given, str) else list(given)
    return [word if isinstance(word, CleaningStep) else _step(word.strip(), modality, name) for word in words]


def _step(word: str, modality: Cleans, name: str) -> CleaningStep:
    which, equals, text = word.partition("=")
    known = modality.cleaning_steps
    if which not in known:
        raise QueryError(f"step {which!r} of clean-up is unknown for {name!r}; {did_you_mean(which, known)}")
    fields = [field for field in known[which].model_fields if field != "step"]
    values = text.split(":") if equals else []
    usage = f"write {which}" + (f"[={':'.join(field.upper() for field in fields)}]" if fields else "")
    if len(values) > len(fields):
        raise QueryError(f"step {word!r} of clean-up has {len(values)} settings, {len(fields)} at most; {usage}")
    try:
        return known[which](**{field: value for field, value in zip(fields, values, strict=False) if value})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "settings"
        raise QueryError(f"step {word!r} of clean-up: {place}: {first['msg']}; {usage}") from None


def cleaned(
    modality: Modality, name: str, measurements: Sequence[Measurement], steps: Sequence[CleaningStep]
) -> list[Measurement]:
    """Return measurements after the steps; computed ones need none and stay as they are.

    Raises:
        QueryError: A step does not fit a measurement.
    """
    if not steps or not isinstance(modality, Cleans):
        return list(measurements)
    try:
        return [modality.clean(one, steps) if one.origin == "measured" else one for one in measurements]
    except SampleError as error:
        raise QueryError(f"the clean-up of {name!r} failed: {error.reason}") from error


def recorded(modality: Modality, steps: Sequence[CleaningStep]) -> list[dict[str, Any]]:
    """Return the steps that a measured query goes through, as JSON values: those asked for, then the recipe's."""
    own = modality.default_cleaning if isinstance(modality, Cleans) else ()
    return [step.model_dump() for step in (*steps, *own)]


def steps_by_modality(
    clean: Cleaning | Mapping[str, Cleaning] | None, modalities: Mapping[str, Modality], asked: Sequence[str]
) -> dict[str, list[CleaningStep]]:
    """Return the steps of each modality of a query; text without a modality is for all that can be cleaned up.

    Raises:
        QueryError: As `cleaning_of` raises, or nothing of the query can be cleaned up.
    """
    if clean is None:
        return {}
    if isinstance(clean, Mapping):
        for name in clean:
            if name not in asked:
                raise QueryError(
                    f"clean-up is asked for {name!r}, which is not in the query; {did_you_mean(name, asked)}"
                )
        return {name: cleaning_of(one, modalities[name], name) for name, one in clean.items()}
    able = [name for name in asked if isinstance(modalities.get(name), Cleans)]
    if not able:
        raise QueryError(f"none of {', '.join(map(repr, asked))} has steps of clean-up; leave `--clean` out")
    return {name: cleaning_of(clean, modalities[name], name) for name in able}


def step_text(step: Mapping[str, Any]) -> str:
    """Return a recorded step with its settings.

    Example:
        >>> step_text({"step": "crop", "low": 500.0, "high": 4000.0})
        'crop (low 500, high 4000)'
    """
    settings = [
        f"{name.replace('_', ' ')} {value:g}" if isinstance(value, float) else f"{name.replace('_', ' ')} {value}"
        for name, value in step.items()
        if name != "step"
    ]
    return f"{step['step']} ({', '.join(settings)})" if settings else str(step["step"])
