"""A search: the spectra of one unknown become a query, and a library's candidates become ranked hits."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from molchord.absence import Background, Filter, first_hit_features
from molchord.api import Measurement, QualityWarning, SampleError
from molchord.data.reading import Given
from molchord.embedder import Embedder
from molchord.errors import QueryError, check_whole
from molchord.library.hits import Hit, Hits
from molchord.library.library import Library
from molchord.library.quality import beyond_training, inspected, out_of_distribution, unlike_training, warned
from molchord.rerank.rerank import Reranking, reranked
from molchord.retrieval.scores import pooled
from molchord.run_folder import RunManifest

__all__ = ["Query", "embedded_queries", "query_of", "search"]


_SURE = 0.5
"""No higher probability is stated for measured spectra by a calibration on computed ones."""


@final
@dataclass(frozen=True, kw_only=True)
class Query:
    """What is searched with, by modality in the order of the model graph.

    Attributes:
        measurements: Those that can be used.
        vectors: Their pooled unit vectors, (d,) each.
    """

    measurements: Mapping[str, list[Measurement]]
    vectors: Mapping[str, Tensor]


def query_of(embedder: Embedder, spectra: Mapping[str, Given], mass: float | None = None) -> Query:
    """Read and embed the spectra of one unknown; several of one modality count as one factor.

    Args:
        embedder: The model.
        spectra: Files or measurements by modality.
        mass: Exact mass in Da, for towers that take it in.

    Raises:
        QueryError: No spectrum was given, one is of what is retrieved, or one cannot be used.

    Warns:
        UserWarning: Some measurements of a modality cannot be used.
    """
    asked = f"give one or more of {', '.join(map(repr, embedder.spectra))}"
    if not spectra:
        raise QueryError(f"no spectrum was given; {asked}")
    if embedder.candidate in spectra:
        raise QueryError(f"modality {embedder.candidate!r} is what is retrieved; {asked}")
    used = {
        name: _usable(embedder, name, embedder.measurements(name, given, of_one=True))
        for name, given in _in_order(embedder, spectra).items()
    }
    return _embedded(embedder, [used], mass)[0]


def embedded_queries(
    embedder: Embedder,
    unknowns: Sequence[Mapping[str, Sequence[Measurement]]],
    masses: Sequence[float | None] | None = None,
) -> list[Query | QueryError]:
    """Embed the spectra of several unknowns together, which takes a fraction of the time of one by one.

    Args:
        embedder: The model.
        unknowns: Measurements of each by modality, at least one.
        masses: Exact mass of each in Da where it is known, for towers that take it in.

    Returns:
        Their queries; where none of an unknown's measurements of a modality can be used, the error in its place.
    """
    out: list[Query | QueryError | None] = [None] * len(unknowns)
    groups: dict[float | None, dict[int, dict[str, list[Measurement]]]] = {}
    for number, spectra in enumerate(unknowns):
        used = {name: _usable(embedder, name, [*given]) for name, given in _in_order(embedder, spectra).items()}
        reasons = (_unusable(embedder, name, given[0]) for name, given in used.items())
        if (reason := next(filter(None, reasons), None)) is not None:
            out[number] = QueryError(reason)
            continue
        mass = masses[number] if masses is not None and _takes_mass(embedder, used) else None
        groups.setdefault(mass, {})[number] = used
    for mass, group in groups.items():
        for number, query in zip(group, _embedded(embedder, list(group.values()), mass), strict=True):
            out[number] = query
    return [one for one in out if one is not None]


def search(
    embedder: Embedder,
    manifest: RunManifest,
    library: Library,
    query: Query,
    *,
    k: int = 25,
    fusion: str = "gm-exp",
    mode: str = "blind",
    mass: float | None = None,
    ppm: float | None = None,
    da: float | None = None,
    formula: str | None = None,
    elements: str | Iterable[str] | None = None,
    reranking: Reranking | None = None,
    index: str | None = None,
) -> Hits:
    """Rank a library's candidates for a query; what is not said here is as `Run.search` has it.

    The embedder made the vectors of both, and the manifest of its run holds what was calibrated; `reranking` brings its
    weights.

    Raises:
        QueryError: No candidate passes the filters, or what was asked for does not fit the library.

    Warns:
        UserWarning: The query has quality warnings.
    """
    check_whole(k, "k", least=1, failed="search", error=QueryError)
    # A mass that a tower takes in need not be a filter; else it is one, and needs its window.
    taken = _takes_mass(embedder, query.vectors)
    window = mass if ppm is not None or da is not None or not taken else None
    limits: dict[str, Any] = {"mass": window, "ppm": ppm, "da": da, "formula": formula, "elements": elements}
    hits = library.search(
        query.vectors,
        k=k if reranking is None else max(k, reranking.k),
        fusion=fusion,
        mode=mode,
        tau=manifest.tau,
        pair_tau=embedder.model.pair_temperatures(),
        **limits,
        calibration=manifest.beta or None,
        device=str(embedder.device),
        index=index,
    )
    candidates = sum(map(len, library.filter(**limits)))
    found, none = _quality_warnings(embedder, query), None
    if mode == "blind" and hits:
        none = _none_of_these(embedder, manifest, query, hits[0], candidates, limits)
        found += _unlike(hits[0], manifest, none)
        hits = [dataclasses.replace(hit, probability=_left(hit.probability, none)) for hit in hits]
    if reranking is not None:
        hits = reranked(hits, reranking, query.measurements, tau=manifest.tau, beta=manifest.beta)
    # The frames are those of this function, of `Run.search` and of what lets that take old names of its arguments.
    hits = warned(hits[:k], found, stacklevel=4)
    # In library mode a candidate is found by its measured spectra, whatever its structure.
    hits = beyond_training(hits, manifest.domain, stacklevel=4) if mode == "blind" else hits
    return _answer(hits, none, found, candidates, _uncalibrated(manifest, query))


def _in_order(embedder: Embedder, spectra: Mapping[str, Any]) -> dict[str, Any]:
    """Return them in the order of the graph, in which what was fitted for several modalities is named."""
    return {**{name: spectra[name] for name in embedder.graph.modalities if name in spectra}, **spectra}


def _embedded(
    embedder: Embedder, unknowns: Sequence[Mapping[str, list[Measurement]]], mass: float | None
) -> list[Query]:
    """Embed usable measurements of unknowns, all of one modality at once."""
    vectors: list[dict[str, Tensor]] = [{} for _ in unknowns]
    for name in dict.fromkeys(name for spectra in unknowns for name in spectra):
        having = [number for number, spectra in enumerate(unknowns) if name in spectra]
        together = [one for number in having for one in unknowns[number][name]]
        rows = embedder.embed(name, together, {} if mass is None else {"exact_mass": mass})
        start = 0
        for number in having:
            stop = start + len(unknowns[number][name])
            vectors[number][name] = pooled(rows[start:stop])
            start = stop
    return [
        Query(measurements=spectra, vectors={name: own[name] for name in spectra})
        for spectra, own in zip(unknowns, vectors, strict=True)
    ]


def _takes_mass(embedder: Embedder, modalities: Iterable[str]) -> bool:
    return any("exact_mass" in embedder.graph.modalities[name].scalar_features for name in modalities)


def _unusable(embedder: Embedder, modality: str, measurement: Measurement) -> str | None:
    """Return why a measurement cannot be used; `_usable` leaves such a one only where none can."""
    try:
        embedder.modalities[modality].transform(measurement, None)
    except SampleError as error:
        return f"a measurement of {modality!r} cannot be used ({error.reason}); give another one"
    return None


def _answer(
    hits: list[Hit], none: float | None, found: Sequence[QualityWarning], candidates: int, uncalibrated: Sequence[str]
) -> Hits:
    """Return the hits with what there is to say of all: none of these gets what the quality warnings took."""
    left = _left(min((warning.confidence_factor for warning in found), default=1.0), none)
    return Hits(
        _unsure(hits) if uncalibrated else hits,
        none_of_these=None if none is None or left is None else 1 - left,
        candidates=candidates,
        uncalibrated=uncalibrated,
    )


def _uncalibrated(manifest: RunManifest, query: Query) -> list[str]:
    """Name the spectra that are measured where those of the calibration were computed."""
    computed = [name for name in query.measurements if manifest.calibrated_on.get(name) == "computed"]
    return [name for name in computed if any(one.origin == "measured" for one in query.measurements[name])]


def _unsure(hits: Sequence[Hit]) -> list[Hit]:
    """Return the hits without a probability above one half: computed spectra do not tell how sure measured ones are."""
    return [dataclasses.replace(h, probability=None) if (h.probability or 0) > _SURE else h for h in hits]


def _unlike(first: Hit, manifest: RunManifest, none: float | None) -> list[QualityWarning]:
    """Warn of a first hit unlike the query; the probability of none, where there is one, has taken it into account."""
    found = out_of_distribution(first, manifest.tau, manifest.likeness)
    return found if none is None else [QualityWarning(warning.message, 1.0) for warning in found]


def _left(probability: float | None, none: float | None) -> float | None:
    """Return what the probability of none leaves a hit."""
    return probability if probability is None or none is None else (1 - none) * min(probability, 1.0)


def _none_of_these(
    embedder: Embedder, manifest: RunManifest, query: Query, first: Hit, candidates: int, limits: Mapping[str, Any]
) -> float | None:
    """Judge the first hit; None where the run was not fitted for such queries, or the hits have no probability."""
    absence = manifest.absence.get(" + ".join(query.vectors))
    if absence is None or first.probability is None:
        return None
    background = Background.read(embedder.path)
    if background is None:
        return None
    beta = manifest.beta[len(query.vectors)]
    weights = {name: beta / manifest.tau[name] for name in query.vectors}
    whole = sum(weights[name] * vector.cpu() for name, vector in query.vectors.items())
    value = sum(weights[name] * cosine for name, cosine in first.cosines.items())
    row = first_hit_features(
        value,
        value / sum(weights.values()),
        candidates,
        first.probability,
        background.logits(torch.as_tensor(whole), first.key14),
    )
    narrowed: Filter = "formula" if limits["formula"] is not None else "mass" if limits["mass"] is not None else "none"
    return absence.probability(row, narrowed)


def _quality_warnings(embedder: Embedder, query: Query) -> list[QualityWarning]:
    return [
        warning
        for name, measurements in query.measurements.items()
        for warning in (
            *inspected(embedder.modalities[name], name, measurements),
            *unlike_training(embedder.graph.modalities[name].where, name, measurements),
        )
    ]


def _usable(embedder: Embedder, modality: str, measurements: list[Measurement]) -> list[Measurement]:
    """Leave out, with a warning, measurements that cannot be used, so long as one can."""
    usable, reasons = [], []
    for measurement in measurements:
        try:
            embedder.modalities[modality].transform(measurement, None)
        except SampleError as error:
            reasons.append(error.reason)
            continue
        usable.append(measurement)
    if reasons and usable:
        left = f"{len(reasons)} of {len(measurements)} measurements of {modality!r} cannot be used"
        warnings.warn(f"{left} ({reasons[0]}); the others are searched with", stacklevel=5)
    return usable or measurements
