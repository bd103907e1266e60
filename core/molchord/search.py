"""A search: a library's candidates become ranked hits of a query."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from molchord.absence import Background, Filter, first_hit_features
from molchord.agreement import disagreements
from molchord.api import Molecule, QualityWarning
from molchord.embedder import Embedder
from molchord.errors import QueryError, check_whole
from molchord.library.contradictions import contradictions
from molchord.library.hits import SURE, Hit, Hits
from molchord.library.library import Library
from molchord.library.quality import beyond_training, inspected, out_of_distribution, unlike_training, warned
from molchord.prospects import Channels, Prospect, prospects
from molchord.query import Query, takes_mass
from molchord.reference_search import merged_search
from molchord.references import References, structure_vectors
from molchord.rerank.rerank import Reranking, reranked
from molchord.run_folder import RunManifest
from molchord.vocabulary import PUBLISHED

__all__ = ["search"]


PROSPECTIVE = 25
"""Hits among which a further measurement is asked to decide."""


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
    references: References | None = None,
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
    taken = takes_mass(embedder, query.vectors)
    window = mass if ppm is not None or da is not None or not taken else None
    limits: dict[str, Any] = {"mass": window, "ppm": ppm, "da": da, "formula": formula, "elements": elements}
    contradicted = contradictions(embedder.modalities, query.measurements, mass=mass, ppm=ppm, da=da, formula=formula)
    if contradicted and not any(map(len, library.filter(**limits))):
        raise QueryError(f"search failed: no candidate passes the filters, and {contradicted[0].message}")
    warnings_found = [*contradicted, *_quality_warnings(embedder, manifest, query)]
    channels = Channels.read(embedder.path)
    more = k if channels is None else max(k, PROSPECTIVE)
    found = None
    if references is not None:
        _check_alone(mode=mode, fusion=fusion, index=index, reranking=reranking)
        found = _with_references(embedder, manifest, library, query, references, more, limits)
    if found is None:
        hits = library.search(
            query.vectors, k=more if reranking is None else max(more, reranking.k), fusion=fusion, mode=mode,
            tau=manifest.tau, pair_tau=embedder.model.pair_temperatures(), **limits, calibration=manifest.beta or None,
            device=str(embedder.device), index=index,
        )  # fmt: skip
        judged = mode == "blind" and fusion != PUBLISHED
        found = _blind(embedder, manifest, library, query, hits, limits, blind=judged)
        if reranking is not None:
            found.hits = reranked(found.hits, reranking, query.measurements, tau=manifest.tau, beta=manifest.beta)
    warnings_found += found.warnings
    # The frames are those of this function, of `Run.search` and of what lets that take old names of its arguments.
    hits = warned(found.hits[:k], warnings_found, stacklevel=4)
    # In library mode a candidate is found by its measured spectra, whatever its structure.
    hits = beyond_training(hits, manifest.domain, stacklevel=4) if mode == "blind" else hits
    answer = _answer(manifest, query, hits, found, warnings_found)
    if channels is not None and hits:
        known = {} if references is None else references.structures
        answer.prospects = _prospects(embedder, manifest, library, query, found.hits, answer, channels, known)
    return answer


@dataclass(kw_only=True)
class _Found:
    """What a search found before quality warnings."""

    hits: list[Hit]
    none: float | None
    candidates: int
    warnings: Sequence[QualityWarning] = ()
    calibrated: bool = True


def _blind(
    embedder: Embedder,
    manifest: RunManifest,
    library: Library,
    query: Query,
    hits: list[Hit],
    limits: Mapping[str, Any],
    *,
    blind: bool,
) -> _Found:
    """Judge the hits of a search of a library; in library mode there is nothing to judge them by."""
    candidates = sum(map(len, library.filter(**limits)))
    if not blind or not hits:
        return _Found(hits=hits, none=None, candidates=candidates)
    none = _none_of_these(embedder, manifest, query, hits[0], candidates, limits)
    return _Found(
        hits=[dataclasses.replace(hit, probability=_left(hit.probability, none)) for hit in hits],
        none=none,
        candidates=candidates,
        warnings=_unlike(hits[0], manifest) if none is None else [],
    )


def _unlike(first: Hit, manifest: RunManifest) -> list[QualityWarning]:
    """Warn of a first hit unlike the query where there is no probability of none, which says it better.

    Beside one, the warning stood on a third of the right answers to measured spectra.
    """
    return out_of_distribution(first, manifest.tau, manifest.likeness)


def _with_references(
    embedder: Embedder,
    manifest: RunManifest,
    library: Library,
    query: Query,
    references: References,
    k: int,
    limits: Mapping[str, Any],
) -> _Found | None:
    """Search references too, if any pass the filters; a first hit that one speaks for may have an unlike structure."""
    found = merged_search(
        embedder, manifest, library, query.vectors, query.measurements, references, k=k, limits=limits
    )
    if found is None:
        return None
    hits = [dataclasses.replace(hit, probability=_left(hit.probability, found.none)) for hit in found.hits]
    return _Found(
        hits=hits,
        none=found.none,
        candidates=found.candidates,
        warnings=_unlike(hits[0], manifest) if found.none is None and not hits[0].similarities else [],
        calibrated=found.calibrated,
    )


def _check_alone(*, mode: str, fusion: str, index: str | None, reranking: Reranking | None) -> None:
    """Refuse what does not go together with references."""
    other = next(
        (
            said
            for said, wrong in (
                (f"mode {mode!r}", mode != "blind"),
                (f"fusion {fusion!r}", fusion != "gm-exp"),
                (f"index {index!r}", index is not None),
                ("re-ranking", reranking is not None),
            )
            if wrong
        ),
        None,
    )
    if other is not None:
        raise QueryError(
            f"search failed: references are searched beside all candidates in mode 'blind' with fusion 'gm-exp', got "
            f"{other} too; leave one of the two out"
        )


def _answer(
    manifest: RunManifest, query: Query, hits: list[Hit], found: _Found, warnings_found: Sequence[QualityWarning]
) -> Hits:
    """Return the hits with what there is to say of all: none of these gets what the quality warnings took."""
    left = _left(min((warning.confidence_factor for warning in warnings_found), default=1.0), found.none)
    # References that were fitted for such queries are calibrated for them, whatever the structures are.
    uncalibrated = [] if hits and hits[0].reference else _uncalibrated(manifest, query)
    return Hits(
        _unsure(hits) if uncalibrated or not found.calibrated else hits,
        none_of_these=None if found.none is None or left is None else 1 - left,
        candidates=found.candidates,
        uncalibrated=uncalibrated,
        references_uncalibrated=not found.calibrated,
    )


def _prospects(
    embedder: Embedder,
    manifest: RunManifest,
    library: Library,
    query: Query,
    hits: Sequence[Hit],
    answer: Hits,
    channels: Channels,
    known: Mapping[str, Tensor],
) -> tuple[Prospect, ...]:
    """Say what measurements not yet made would tell of the first hits; nothing where they have no probabilities.

    `hits` are those found, more than were asked for, before quality warnings; `answer` is what is stated; `known` has
    vectors of structures that the library does not hold.
    """
    hits, beta = hits[:PROSPECTIVE], manifest.beta.get(len(query.vectors) + 1)
    shares = [hit.probability or 0.0 for hit in hits]
    if beta is None or not sum(shares) > 0 or len(hits) < 2:
        return ()
    if answer.none_of_these is not None:  # which has what quality warnings took
        shares = [share * (1 - answer.none_of_these) / max(sum(shares), 1 - answer.none_of_these) for share in shares]
    molecules = [Molecule(key14=h.key14, smiles=h.smiles, formula=h.formula, exact_mass=h.exact_mass) for h in hits]
    held = library.vectors_of(hit.key14 for hit in hits)
    vectors = structure_vectors(embedder, molecules, {**known, **held})
    found = prospects(
        torch.stack([vectors[hit.key14] for hit in hits]),
        shares,
        channels,
        {name: beta / manifest.tau[name] for name in embedder.spectra if name not in query.vectors},
        query.vectors,
    )
    return tuple(found)


def _uncalibrated(manifest: RunManifest, query: Query) -> list[str]:
    """Name the spectra that are measured where those of the calibration were computed."""
    computed = [name for name in query.measurements if manifest.calibrated_on.get(name) == "computed"]
    return [name for name in computed if any(one.origin == "measured" for one in query.measurements[name])]


def _unsure(hits: Sequence[Hit]) -> list[Hit]:
    """Return the hits without a probability above one half: computed spectra do not tell how sure measured ones are."""
    return [dataclasses.replace(h, probability=None) if (h.probability or 0) > SURE else h for h in hits]


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


def _quality_warnings(embedder: Embedder, manifest: RunManifest, query: Query) -> list[QualityWarning]:
    """Return what is doubtful of each spectrum, and of all together."""
    # Measured spectra agree less than the computed ones of a calibration, so nothing is said of them.
    judged = {name: query.vectors[name] for name in query.vectors if name not in _uncalibrated(manifest, query)}
    alone = [
        warning
        for name, measurements in query.measurements.items()
        for warning in (
            *inspected(embedder.modalities[name], name, measurements),
            *unlike_training(embedder.graph.modalities[name].where, name, measurements),
        )
    ]
    return [*alone, *disagreements(judged, manifest.agreement)]
