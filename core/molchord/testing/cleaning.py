"""Checks on the clean-up of measurements."""

from __future__ import annotations

import numpy as np

from molchord.api import CleaningStep, Cleans, ModalityRecord, SampleError
from molchord.testing.require import require
from molchord.testing.samples import built, curves, examples, same_arrays

__all__ = ["clean_up_is_by_named_steps"]


def clean_up_is_by_named_steps(record: ModalityRecord) -> None:
    """A search records the steps that a query went through, so what is recorded must be all that was done.

    To mend it: let `clean` return a new measurement, an equal one for no steps and the same each time; name each step
    by the `step` that its class fixes, and take only steps that are offered as the configuration's own.
    """
    for kind in record.kinds:
        modality = built(record, kind)
        if not isinstance(modality, Cleans):
            return
        for name, offered in modality.cleaning_steps.items():
            fixed = offered.model_fields["step"].default
            require(fixed == name, f"step {name!r} of clean-up says that it is {fixed!r}")
        for own in modality.default_cleaning:
            require(
                own.step in modality.cleaning_steps, f"the configuration takes step {own.step!r}, which is not offered"
            )
        steps = [step.model_validate({}) for step in modality.cleaning_steps.values() if _needs_no_setting(step)]
        for measurement in curves(record, modality, examples(modality, 2)):
            before = {name: np.array(array) for name, array in measurement.arrays.items()}
            unchanged = modality.clean(measurement, ())
            require(same_arrays(unchanged.arrays, before), "`clean` without steps changes a measurement")
            for step in steps:
                try:
                    first, again = (modality.clean(measurement, (step,)) for _ in range(2))
                except SampleError:
                    continue
                require(same_arrays(measurement.arrays, before), f"step {step.text!r} changes what was handed in")
                require(same_arrays(first.arrays, again.arrays), f"step {step.text!r} differs between two calls")


def _needs_no_setting(step: type[CleaningStep]) -> bool:
    return not any(field.is_required() for field in step.model_fields.values())
