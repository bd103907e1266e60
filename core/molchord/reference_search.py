"""A search among candidates and references at once: structures by the model, spectra by their likeness, one list."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from molchord.absence import Background, Filter
from molchord.api import Measurement, Molecule
from molchord.embedder import Embedder
from molchord.library.filters import allowed_elements, made_of, mass_window, sought_formula
from molchord.library.hits import Hit
from molchord.library.library import Library
from molchord.reference_weights import ReferenceWeights, merged_features, odds, weights_for
from molchord.references import Matches, References, structure_vectors
from molchord.run_folder import RunManifest
from molchord.vocabulary import ORIGINS, Origin

__all__ = ["Merged", "merged_search"]

EMBEDDED = 64
"""References that the library does not hold, the most similar ones, whose structure is looked at too."""

SAME = 0.99
"""Probability of a molecule of which the query itself is a reference: names of references are as often wrong."""

_MOST_MORE = 1000


@final
@dataclass(frozen=True, kw_only=True)
class Merged:
    """What was found among candidates and references.

    Attributes:
        hits: The k best, with probabilities where the run knows how sure it is.
        none: Probability that no candidate is the molecule; None where that was not fitted.
        candidates: How many candidates of the library and molecules of the references passed the filters.
        calibrated: Whether the weights were fitted on queries and references of this kind.
    """

    hits: list[Hit]
    none: float | None
    candidates: int
    calibrated: bool


@final
@dataclass(frozen=True, kw_only=True)
class _Referenced:
    """Molecules with a reference; n of them."""

    molecules: Sequence[Molecule]
    vectors: Float[Tensor, "n d"]
    worth: Float[NDArray[np.float64], " n"]
    matches: Mapping[str, Matches]
    listed: NDArray[np.bool_]
    passed: int

    @property
    def same(self) -> NDArray[np.bool_]:
        """Of which the query itself is a reference, (n,)."""
        return np.asarray(np.any([part.same for part in self.matches.values()], axis=0), dtype=np.bool_)


def merged_search(
    embedder: Embedder,
    manifest: RunManifest,
    library: Library,
    vectors: Mapping[str, Float[Tensor, " d"]],
    measurements: Mapping[str, Sequence[Measurement]],
    references: References,
    *,
    k: int,
    limits: Mapping[str, Any],
) -> Merged | None:
    """Rank candidates by structure, and those with a reference by its likeness to the query too.

    Args:
        embedder: The model.
        manifest: Of its run, which holds the weights.
        library: Candidates; all of them are searched.
        vectors: The query's unit vectors.
        measurements: The query's measurements.
        references: What they are compared with.
        k: How many hits.
        limits: Mass window, formula and elements, as `Library.filter` takes them.

    Returns:
        None where no molecule with a reference passes the filters, and the library alone is to be searched.

    Raises:
        QueryError: No reference is of the query's kind, or no candidate of the library passes the filters.
    """
    among = _passing(references.molecules, limits)
    matches = references.matches(measurements, among)
    if not any(np.isfinite(part.similarity[among]).any() for part in matches.values()):
        return None
    weights, calibrated = _weights(manifest, measurements, matches)
    main = weights["measured"] if any(_measured(part).any() for part in matches.values()) else weights["computed"]
    scale = {name: manifest.beta.get(len(vectors), 1.0) / manifest.tau[name] for name in vectors}
    query = torch.stack([scale[name] * vector.cpu().float() for name, vector in vectors.items()]).sum(dim=0)
    known = _referenced(embedder, library, references, matches, weights, among)
    passed = sum(map(len, library.filter(**limits)))
    hits, total = [], -math.inf
    if passed or not known.molecules:  # of a library where none passes there may be references that do
        more = min(int(known.listed.sum()), _MOST_MORE)
        factor = main.logit * manifest.beta.get(len(vectors), 1.0)
        hits = library.search(
            vectors, k=k + more, tau=manifest.tau, device=str(embedder.device), calibration={len(vectors): factor},
            **limits,
        )  # fmt: skip
        total = main.logit * _logit(hits[0], scale) - math.log(hits[0].probability or 1.0)
    candidates = passed + known.passed - int(known.listed.sum())
    merged, whole = _together(known, hits, total, main, query, vectors, manifest.tau, scale, candidates)
    shared = len(vectors) in manifest.beta
    best = [
        dataclasses.replace(hit, rank=rank, probability=math.exp(score - whole) if shared else None)
        for rank, (score, hit) in enumerate(merged[:k], start=1)
    ]
    none = _none(embedder, main, known, best[0], merged[0][0] - whole, candidates, query, scale, limits)
    if none is not None and known.same.any():
        none = min(none, 1 - SAME)
    calibrated |= bool(known.same.any())
    return Merged(hits=best, none=none, candidates=candidates, calibrated=calibrated)


# --- helpers


def _together(
    known: _Referenced,
    hits: Sequence[Hit],
    total: float,
    weights: ReferenceWeights,
    query: Float[Tensor, " d"],
    vectors: Mapping[str, Float[Tensor, " d"]],
    tau: Mapping[str, float],
    scale: Mapping[str, float],
    candidates: int,
) -> tuple[list[tuple[float, Hit]], float]:
    """Return the hits of the library and of the references by their scores, and the logarithm of what all add up to."""
    keys = {molecule.key14 for molecule in known.molecules}
    others = [hit for hit in hits if hit.key14 not in keys]
    rest = np.array([weights.logit * _logit(hit, scale) for hit in others])
    own = weights.logit * (known.vectors @ query).double().numpy()
    beyond = _without(total, own[known.listed], rest)
    scores = _sure(own + known.worth + weights.balance * odds(known.passed, candidates), known.same, beyond)
    merged = [
        *zip(rest.tolist(), (dataclasses.replace(hit, reference="structure only") for hit in others), strict=True),
        *((score, _of_reference(known, i, vectors, tau)) for i, score in enumerate(scores.tolist())),
    ]
    merged.sort(key=lambda entry: (-entry[0], entry[1].key14))
    return merged, float(np.logaddexp.reduce(np.append(scores, beyond)))


def _measured(matches: Matches) -> NDArray[np.bool_]:
    return np.asarray(matches.measured & np.isfinite(matches.similarity))


def _weights(
    manifest: RunManifest, measurements: Mapping[str, Sequence[Measurement]], matches: Mapping[str, Matches]
) -> tuple[dict[Origin, ReferenceWeights], bool]:
    """Return the weights for references of either origin, and whether those needed were fitted for such a query."""
    asked = {one.origin for several in measurements.values() for one in several}
    found: dict[Origin, ReferenceWeights] = {}
    calibrated = True
    origins: tuple[Origin, ...] = ORIGINS
    for origin in origins:
        found[origin], fitted = weights_for(manifest.references.get(origin, {}), tuple(measurements))
        there = any(
            (np.isfinite(part.similarity) & (part.measured == (origin == "measured"))).any()
            for part in matches.values()
        )
        calibrated &= not there or (fitted and (found[origin].queries == "measured" or "measured" not in asked))
    return found, calibrated


def _referenced(
    embedder: Embedder,
    library: Library,
    references: References,
    matches: Mapping[str, Matches],
    weights: Mapping[Origin, ReferenceWeights],
    among: NDArray[np.bool_],
) -> _Referenced:
    """Return the molecules with a reference that pass the filters: all that the library holds, and the most similar."""
    molecules = references.molecules
    worth = np.zeros(len(molecules))
    for name, part in matches.items():
        measured, computed = (weights[origin].worth(name, part.similarity) for origin in ORIGINS)
        worth += np.where(part.measured, measured, computed)
    there = np.any([np.isfinite(part.similarity) for part in matches.values()], axis=0)
    passing = np.flatnonzero(there & among).tolist()
    held = library.vectors_of(molecules[i].key14 for i in passing)
    outside = sorted((i for i in passing if molecules[i].key14 not in held), key=lambda i: -worth[i])
    chosen = [i for i in passing if molecules[i].key14 in held] + outside[:EMBEDDED]
    vectors = structure_vectors(embedder, [molecules[i] for i in chosen], {**references.structures, **held})
    references.structures.update({key: vector for key, vector in vectors.items() if key not in held})
    chosen = [i for i in chosen if molecules[i].key14 in vectors]
    size = embedder.graph.embedding_dim
    return _Referenced(
        molecules=[molecules[i] for i in chosen],
        vectors=torch.stack([torch.zeros(size), *(vectors[molecules[i].key14].float() for i in chosen)])[1:],
        worth=worth[chosen],
        matches={
            name: Matches(similarity=part.similarity[chosen], measured=part.measured[chosen], same=part.same[chosen])
            for name, part in matches.items()
        },
        listed=np.array([molecules[i].key14 in held for i in chosen], dtype=bool),
        passed=len(passing),
    )


def _passing(molecules: Sequence[Molecule], limits: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Return which molecules pass the filters, (n,)."""
    kept = np.ones(len(molecules), dtype=bool)
    window = mass_window(limits["mass"], limits["ppm"], limits["da"])
    if window is not None:
        mass = np.array([molecule.exact_mass for molecule in molecules])
        kept &= (mass >= window[0]) & (mass <= window[1])
    if limits["formula"] is not None:
        formula = sought_formula(limits["formula"])
        kept &= np.array([molecule.formula == formula for molecule in molecules], dtype=bool)
    if limits["elements"] is not None:
        kept &= made_of([molecule.formula for molecule in molecules], allowed_elements(limits["elements"]))
    return kept


def _logit(hit: Hit, scale: Mapping[str, float]) -> float:
    return sum(scale[name] * cosine for name, cosine in hit.cosines.items())


def _without(total: float, some: Float[NDArray[np.float64], " n"], seen: Float[NDArray[np.float64], " m"]) -> float:
    """Return the logarithm of what is left of a total without some of its terms; at least that of the others seen."""
    least = float(np.logaddexp.reduce(seen)) if len(seen) else -math.inf
    if not len(some):
        return max(total, least)
    part = float(np.logaddexp.reduce(some)) - total
    left = total + math.log1p(-math.exp(part)) if part < 0 else -math.inf
    return max(left, least)


def _sure(
    scores: Float[NDArray[np.float64], " n"], same: NDArray[np.bool_], beyond: float
) -> Float[NDArray[np.float64], " n"]:
    """Return the scores; molecules of which the query itself is a reference have `SAME` of all together."""
    if not same.any():
        return scores
    others = np.logaddexp.reduce(np.append(scores[~same], beyond))
    return np.where(same, max(others, -1e6) + math.log(SAME / (1 - SAME) / same.sum()), scores)


def _of_reference(
    known: _Referenced,
    place: int,
    vectors: Mapping[str, Tensor],
    tau: Mapping[str, float],
) -> Hit:
    molecule, own = known.molecules[place], known.vectors[place].double()
    cosines = {name: float(vector.cpu().double() @ own) for name, vector in vectors.items()}
    similar = {
        name: float(part.similarity[place])
        for name, part in known.matches.items()
        if np.isfinite(part.similarity[place])
    }
    measured = any(part.measured[place] for name, part in known.matches.items() if name in similar)
    return Hit(
        rank=0,
        key14=molecule.key14,
        smiles=molecule.smiles,
        formula=molecule.formula,
        exact_mass=molecule.exact_mass,
        score=math.exp(min(0.0, sum((cosine - 1) / tau[name] for name, cosine in cosines.items()) / len(cosines))),
        cosines=cosines,
        probability=None,
        reference="measured reference" if measured else "computed reference",
        similarities=similar,
    )


def _none(
    embedder: Embedder,
    weights: ReferenceWeights,
    known: _Referenced,
    first: Hit,
    share: float,
    candidates: int,
    query: Float[Tensor, " d"],
    scale: Mapping[str, float],
    limits: Mapping[str, Any],
) -> float | None:
    """Judge the first hit of the merged list; None where that was not fitted."""
    background = Background.read(embedder.path)
    behind = torch.zeros(0) if background is None else background.logits(query, first.key14)
    worth = {molecule.key14: value for molecule, value in zip(known.molecules, known.worth.tolist(), strict=True)}
    value = _logit(first, scale)
    row = merged_features(
        value, value / sum(scale.values()), candidates, math.exp(share), behind,
        first=worth.get(first.key14, math.nan), best=max(worth.values(), default=math.nan),
    )  # fmt: skip
    narrowed: Filter = "formula" if limits["formula"] is not None else "mass" if limits["mass"] is not None else "none"
    return weights.probability_of_none(row, narrowed)
