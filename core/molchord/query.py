"""The spectra of an unknown become a query: read, checked, embedded, several of a modality as one vector."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

from molchord.api import Measurement, SampleError
from molchord.data.reading import Given
from molchord.data.scalars import MASS, WEIGHT, scalars_of_mass
from molchord.embedder import Embedder
from molchord.errors import QueryError
from molchord.library.contradictions import precursor_mass
from molchord.retrieval.scores import pooled

__all__ = ["Query", "embedded_queries", "query_of", "takes_mass"]


@final
@dataclass(frozen=True, kw_only=True)
class Query:
    """What is searched with, by modality in the order of the model graph.

    Attributes:
        measurements: Those that can be used.
        vectors: Their pooled unit vectors, (d,) each.
        mass: Exact mass in Da that was given, or that the precursors state.
    """

    measurements: Mapping[str, list[Measurement]]
    vectors: Mapping[str, Tensor]
    mass: float | None = None


def query_of(
    embedder: Embedder,
    spectra: Mapping[str, Given],
    mass: float | None = None,
    *,
    use_precursor: bool = False,
    same_sample: bool = False,
) -> Query:
    """Read and embed the spectra of one unknown; several of one modality count as one factor.

    Args:
        embedder: The model.
        spectra: Files or measurements by modality.
        mass: Exact mass in Da, for towers that take it in.
        use_precursor: Take the mass from the spectra's precursors and adducts.
        same_sample: Take several measurements of one modality for those of one sample, whatever they state.

    Raises:
        QueryError: No spectrum was given, one is of what is retrieved, or one cannot be used; several are of different
            molecules; or the precursors do not state one mass.

    Warns:
        UserWarning: Some measurements of a modality cannot be used.
    """
    asked = f"give one or more of {', '.join(map(repr, embedder.spectra))}"
    if not spectra:
        raise QueryError(f"no spectrum was given; {asked}")
    if embedder.candidate in spectra:
        raise QueryError(f"modality {embedder.candidate!r} is what is retrieved; {asked}")
    used: dict[str, list[Measurement]] = {}
    for name, given in _in_order(embedder, spectra).items():
        read = embedder.measurements(name, given, of_one=True, same_sample=same_sample)
        used[name], _ = _usable(embedder, name, read)
    if use_precursor:
        if mass is not None:
            raise QueryError("`use_precursor` takes the mass from the spectra, and a mass was given too; leave one out")
        mass = precursor_mass(embedder.modalities, used)
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
        used: dict[str, list[Measurement]] = {}
        for name, given in _in_order(embedder, spectra).items():
            used[name], why = _usable(embedder, name, [*given])
            if why is not None and out[number] is None:
                out[number] = QueryError(f"a measurement of {name!r} cannot be used ({why}); give another one")
        if out[number] is not None:
            continue
        mass = masses[number] if masses is not None and takes_mass(embedder, used) else None
        groups.setdefault(mass, {})[number] = used
    for mass, group in groups.items():
        for number, query in zip(group, _embedded(embedder, list(group.values()), mass), strict=True):
            out[number] = query
    return [one for one in out if one is not None]


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
        rows = embedder.embed(name, together, scalars_of_mass(mass))
        start = 0
        for number in having:
            stop = start + len(unknowns[number][name])
            vectors[number][name] = pooled(rows[start:stop])
            start = stop
    return [
        Query(measurements=spectra, vectors={name: own[name] for name in spectra}, mass=mass)
        for spectra, own in zip(unknowns, vectors, strict=True)
    ]


def takes_mass(embedder: Embedder, modalities: Iterable[str]) -> bool:
    """Return whether a tower of one of the modalities takes in a mass."""
    return any({MASS, WEIGHT} & set(embedder.graph.modalities[name].scalar_features) for name in modalities)


def _usable(embedder: Embedder, modality: str, measurements: list[Measurement]) -> tuple[list[Measurement], str | None]:
    """Leave out, with a warning, measurements that cannot be used; where none can, return all and why the first."""
    usable, reasons = [], []
    first = None
    for measurement in measurements:
        try:
            embedder.modalities[modality].transform(measurement, None)
        except SampleError as error:
            where = "" if measurement.location is None else f"{measurement.location!r}: "
            reasons.append(where + error.reason)
            first = first or error.reason
            continue
        usable.append(measurement)
    if reasons and usable:
        left = f"{len(reasons)} of {len(measurements)} measurements of {modality!r} cannot be used"
        warnings.warn(f"{left} ({reasons[0]}); the others are searched with", stacklevel=5)
    return (usable, None) if usable else (measurements, first)
