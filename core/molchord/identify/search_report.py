"""The report of one search: the page of a batch, of one sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from molchord.api import CleaningStep, Measurement
from molchord.clean_up import cleaned
from molchord.embedder import Embedder
from molchord.identify.answers import Answer, Identified
from molchord.identify.pictures import pictured
from molchord.identify.report import write_page
from molchord.library.hits import Hits, sureness
from molchord.references import References
from molchord.run_folder import RunManifest, check_output

__all__ = ["write_search_page"]


def write_search_page(
    embedder: Embedder,
    manifest: RunManifest,
    hits: Hits,
    spectra: Mapping[str, Sequence[Measurement]],
    out: Path,
    *,
    title: str,
    mass: float | None,
    steps: Mapping[str, Sequence[CleaningStep]],
    references: References | None,
    why: bool,
    asked: Mapping[str, Any],
    force: bool,
) -> None:
    """Write the page; arguments as `Run.write_report` has them.

    Raises:
        OutputExistsError: It exists and `force` is not set.
        OutputError: It cannot be written.
    """
    check_output(out, force=force)
    after = {
        name: cleaned(embedder.modalities[name], name, given, steps.get(name, ())) for name, given in spectra.items()
    }
    common = [message for message in hits[0].quality_warnings if all(message in hit.quality_warnings for hit in hits)]
    answer = Answer(
        sample=title,
        files=(),
        read=tuple(_read(name, one) for name, given in spectra.items() for one in given),
        asked={**({} if mass is None else {"mass": mass}), **asked},
        hits=tuple(hits),
        none_of_these=hits.none_of_these,
        candidates=hits.candidates,
        uncalibrated=tuple(hits.uncalibrated),
        summary=tuple(sureness(hits)),
        warnings=tuple(common),
    )
    shown = pictured(
        embedder, manifest, after, hits, before={name: own for name, own in spectra.items() if steps.get(name)},
        steps=steps, references=references, mass=mass, why=why,
    )  # fmt: skip
    found = Identified(answers=(answer,), failures=(), notes=())
    write_page(found, out, title=title, embedder=embedder, manifest=manifest, pictures={title: shown})


def _read(name: str, measurement: Measurement) -> str:
    """Say what was read, by the largest array and where it came from."""
    arrays = [np.asarray(array) for array in measurement.arrays.values()]
    points = max((len(array) for array in arrays if array.ndim), default=0)
    place = "" if measurement.location is None else Path(str(measurement.location)).name + ", "
    return f"{name}: {place}{points} points"
