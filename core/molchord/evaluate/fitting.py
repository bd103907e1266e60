"""What a trained run is fitted with: temperatures, confidence, and what counts as out of distribution."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator

from molchord.data.store import DataSet
from molchord.embedder import Embedder
from molchord.errors import DataError
from molchord.evaluate.absence import background_of, fit_absence
from molchord.evaluate.calibration import calibrate, likeness
from molchord.evaluate.embedding import Perturb, embed_dataset
from molchord.run_folder import RunManifest, write_run_manifest

__all__ = ["fit_calibration"]


def fit_calibration(
    embedder: Embedder, manifest: RunManifest, dataset: DataSet, perturb: Perturb | None = None
) -> Embedder:
    """Fit on validation queries, save what was found with the run, and return the embedder with these temperatures.

    Args:
        embedder: The run as it is.
        manifest: Its manifest, which gets what is fitted.
        dataset: Whose validation queries to take.
        perturb: Makes each of them what an instrument would give; None: as they are stored.

    Warns:
        UserWarning: There are too few queries, so hits will carry no probability.
    """
    # The fit starts where the loss is, whatever was fitted before.
    start = dataclasses.replace(embedder, tau=embedder.model.temperatures())
    embedded = embed_dataset(start, dataset, mass_seed=embedder.graph.seed, split="val", perturb=perturb).embedded
    manifest.tau = dict(start.tau)
    try:
        manifest.tau, manifest.beta = calibrate(embedded, refit_tau=True)
    except DataError as error:
        warnings.warn(f"hits will carry no probability: {error}", stacklevel=4)
    manifest.likeness = likeness(dataclasses.replace(embedded, tau=manifest.tau))
    manifest.calibrated_on = dict(_origins(embedder, dataset))
    background = background_of(embedded)
    manifest.absence = fit_absence(embedded, background, manifest.tau, manifest.beta)
    if manifest.absence:
        background.write(embedder.path)
    write_run_manifest(embedder.path, manifest)
    return dataclasses.replace(embedder, tau=manifest.tau)


def _origins(embedder: Embedder, dataset: DataSet) -> Iterator[tuple[str, str]]:
    """Say of each spectrum whether most of its validation queries were measured or computed."""
    for name in embedder.spectra:
        stored = embedder.graph.modalities[name].data
        if stored not in dataset.stored:
            continue
        table = dataset.table(stored)
        chosen = table.select(embedder.graph.modalities[name].where)
        origins = table.column("origin")[[i for row in dataset.rows("val") for i in table.of(row) if chosen[i]]]
        if len(origins):
            yield name, "computed" if (origins == "computed").mean() > 0.5 else "measured"
