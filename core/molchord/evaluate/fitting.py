"""What a trained run is fitted with: temperatures, confidence, and what counts as out of distribution."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Collection, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from molchord.absence import Background
from molchord.agreement import Agreement
from molchord.data.store import DataSet
from molchord.embedder import Embedder
from molchord.errors import DataError
from molchord.evaluate.absence import background_of, fit_absence
from molchord.evaluate.agreement import fit_agreement
from molchord.evaluate.calibration import calibrate, likeness
from molchord.evaluate.channels import fit_channels
from molchord.evaluate.embedded import Embedded
from molchord.evaluate.embedding import Perturb, embed_dataset
from molchord.evaluate.properties import fit_properties
from molchord.evaluate.references import fit_references
from molchord.graph.changes import changed
from molchord.properties import read_properties, write_properties
from molchord.prospects import Channels
from molchord.run_folder import RunManifest, write_run_manifest
from molchord.vocabulary import SPLITS

__all__ = ["all_unseen", "calibrate_references", "fit_calibration", "fit_likeness_of_spectra", "untouched"]


def fit_calibration(
    embedder: Embedder,
    manifest: RunManifest,
    dataset: DataSet,
    perturb: Perturb | None = None,
    where: Mapping[str, Mapping[str, Any]] | None = None,
) -> Embedder:
    """Fit on validation queries, save what was found with the run, and return the embedder with these temperatures.

    Of another data set than that of the training, all molecules are queries that are not of its test split and that the
    run has not seen; what it says nothing about stays as it was fitted before.

    Args:
        embedder: The run as it is.
        manifest: Its manifest, which gets what is fitted.
        dataset: Whose validation queries to take.
        perturb: Makes each of them what an instrument would give; None: as they are stored.
        where: Which measurements to take, by modality; None: as the graph says.

    Warns:
        UserWarning: There are too few queries, so hits will carry no probability.
    """
    graph = embedder.graph if where is None else changed(embedder.graph, where)
    other = manifest.data.get("sha256") != dataset.sha256
    # The fit starts where the loss is, whatever was fitted before, but for spectra that another data set lacks.
    start = {**embedder.model.temperatures(), **(manifest.tau if other else {})}
    fitted = dataclasses.replace(embedder, graph=graph, tau=start)
    embedded = embed_dataset(fitted, dataset, mass_seed=graph.seed, split="val", perturb=perturb).embedded
    embedded = all_unseen(embedded) if other else embedded
    origins = dict(_origins(fitted, dataset, embedded))
    before = untouched(manifest, origins) if other else manifest.model_copy(update={name: {} for name in _FITTED})
    manifest.tau = start
    try:
        manifest.tau, beta = calibrate(embedded, refit_tau=True)
        manifest.beta = {**before.beta, **beta}
    except DataError as error:
        warnings.warn(f"hits will carry no probability: {error}", stacklevel=4)
    manifest.likeness = {**before.likeness, **likeness(dataclasses.replace(embedded, tau=manifest.tau))}
    manifest.calibrated_on = {**before.calibrated_on, **origins}
    background = (Background.read(embedder.path) if other else None) or background_of(embedded)
    absence = fit_absence(embedded, background, manifest.tau, manifest.beta)
    manifest.absence = {**before.absence, **absence}
    manifest.references = before.references  # temperatures that they were fitted with have changed
    if absence:
        background.write(embedder.path)
    fits = fit_properties(embedded, manifest.tau, manifest.beta, read_properties(embedder.path) if other else None)
    write_properties(embedder.path, fits)
    fit_likeness_of_spectra(embedder.path, manifest, embedded, replace=not other)
    write_run_manifest(embedder.path, manifest)
    return dataclasses.replace(embedder, tau=manifest.tau)


def fit_likeness_of_spectra(run: Path, manifest: RunManifest, embedded: Embedded, *, replace: bool = True) -> None:
    """Fit when spectra of one query disagree, and what a measurement not yet made would tell.

    Args:
        run: Folder of the run, which gets the channels.
        manifest: Gets the agreement.
        embedded: The validation queries.
        replace: Whether what was fitted before goes where these queries say nothing.
    """
    before, found = Agreement() if replace else manifest.agreement, fit_agreement(embedded)
    if replace or found.pairs:
        # Sets of spectra whose pairs were counted anew are judged by these.
        kept = {names: lower for names, lower in before.lower.items() if not _pairs(names) & {*found.pairs}}
        manifest.agreement = Agreement(pairs={**before.pairs, **found.pairs}, lower={**kept, **found.lower})
    channels = fit_channels(embedded)
    # Directions differ from data set to data set, so channels of several do not go together.
    if channels is not None and (replace or _known(run) <= {*channels.gain}):
        channels.write(run)


def _pairs(names: str) -> set[str]:
    return {" + ".join(pair) for pair in combinations(names.split(" + "), 2)}


def _known(run: Path) -> set[str]:
    before = Channels.read(run)
    return set() if before is None else {*before.gain}


def calibrate_references(
    embedder: Embedder,
    manifest: RunManifest,
    dataset: DataSet,
    perturb: Perturb | None = None,
    where: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Fit how references count, on a data set with several measurements of a molecule, and save it with the run.

    Of another data set than that of the training, all molecules are queries that are not of its test split and that the
    run has not seen. References that it says nothing about count as they did.

    Args:
        embedder: The run as it is.
        manifest: Its manifest, which gets what is fitted.
        dataset: Whose measurements are queries and references.
        perturb: Makes each query what an instrument would give; None: as it is stored.
        where: Which measurements to take as queries and references, by modality; None: all of the kind that the graph
            asks for, of any origin.

    Raises:
        DataError: Too few molecules have several measurements.
    """
    any_origin = {
        name: {key: value for key, value in embedder.graph.modalities[name].where.items() if key != "origin"}
        for name in embedder.spectra
    }
    graph = changed(embedder.graph, {**any_origin, **(where or {})})
    asked = dataclasses.replace(embedder, graph=graph)
    found = embed_dataset(asked, dataset, mass_seed=graph.seed, split="val", perturb=perturb)
    if manifest.data.get("sha256") != dataset.sha256:
        found = dataclasses.replace(found, embedded=all_unseen(found.embedded))
    background = Background.read(embedder.path)
    fitted = fit_references(asked, dataset, found, background, manifest.tau, manifest.beta, perturb=perturb)
    origins = sorted({*fitted, *manifest.references}, reverse=True)
    manifest.references = {
        origin: {**manifest.references.get(origin, {}), **fitted.get(origin, {})} for origin in origins
    }
    write_run_manifest(embedder.path, manifest)


_FITTED = ("beta", "likeness", "calibrated_on", "absence", "references")


def untouched(manifest: RunManifest, fitted: Collection[str]) -> RunManifest:
    """Return a manifest with what stays true where the temperatures of some spectra are fitted anew."""

    def others(of: Mapping[str, Any]) -> dict[str, Any]:
        return {names: value for names, value in of.items() if not {*names.split(" + ")} & {*fitted}}

    references = {origin: others(weights) for origin, weights in manifest.references.items()}
    return manifest.model_copy(
        update={
            "likeness": others(manifest.likeness),
            "absence": others(manifest.absence),
            "references": {origin: weights for origin, weights in references.items() if weights},
        }
    )


def all_unseen(embedded: Embedded) -> Embedded:
    """Return the data with all molecules as validation queries that are not of the test split and not trained on."""
    split = np.where(embedded.in_split("train") & ~embedded.trained, SPLITS.index("val"), embedded.split)
    return dataclasses.replace(embedded, split=split)


def _origins(embedder: Embedder, dataset: DataSet, embedded: Embedded) -> Iterator[tuple[str, str]]:
    """Say of each spectrum whether most of its validation queries were measured or computed."""
    asked = np.flatnonzero(embedded.in_split("val"))
    for name in embedder.spectra:
        stored = embedder.graph.modalities[name].data
        if stored not in dataset.stored:
            continue
        table = dataset.table(stored)
        chosen = table.select(embedder.graph.modalities[name].where)
        origins = table.column("origin")[[i for row in asked for i in table.of(int(row)) if chosen[i]]]
        if len(origins):
            yield name, "computed" if (origins == "computed").mean() > 0.5 else "measured"
