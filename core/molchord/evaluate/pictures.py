"""What a report shows of a model as pictures, as numbers that can be drawn elsewhere too."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from molchord.retrieval.metrics import Interval

__all__ = ["Bin", "Confusion", "Curve", "Neighbour", "Neighbourhood", "Pictures", "Reliability", "SpaceMap"]


@final
@dataclass(frozen=True, kw_only=True)
class SpaceMap:
    """Molecules of a split in two dimensions: n structures, and one spectrum of each modality that they have.

    Attributes:
        projection: One of `vocabulary.PROJECTIONS`; all vectors were laid out together.
        explained: Share of the variance along each axis, where the projection has such shares.
        key14: n keys.
        smiles: n SMILES.
        molecules: (n, 2) places of their own vectors, as candidates.
        spectra: Per modality (n, 2), NaN where a molecule has none.
        numbers: Per name (n,) numbers to colour by, in the unit of the name; NaN where unknown.
        groups: Per name (n,) 1 where the molecule has it, 0 where not; NaN where it cannot be said.
    """

    projection: str
    explained: tuple[float, ...]
    key14: Sequence[str]
    smiles: Sequence[str]
    molecules: NDArray[np.float64]
    spectra: Mapping[str, NDArray[np.float64]]
    numbers: Mapping[str, NDArray[np.float64]]
    groups: Mapping[str, NDArray[np.float64]]


@final
@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A molecule near another one in the space; `tanimoto` is the similarity of the two structures' fingerprints."""

    key14: str
    smiles: str
    cosine: float
    tanimoto: float
    own: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class Neighbourhood:
    """What is near the structure of one molecule.

    Attributes:
        key14: Its key.
        smiles: Its SMILES.
        structures: The other molecules whose structures are nearest, nearest first.
        spectra: Per modality, the molecules whose spectra are nearest, itself (`own`) among them where it is.
        own_rank: Per modality that it has a spectrum of, its own place among all molecules with such spectra.
    """

    key14: str
    smiles: str
    structures: tuple[Neighbour, ...]
    spectra: Mapping[str, tuple[Neighbour, ...]]
    own_rank: Mapping[str, int]


@final
@dataclass(frozen=True, kw_only=True)
class Bin:
    """Searches whose stated probability is within `low` and `high`.

    Attributes:
        low: Lower end.
        high: Upper end.
        searches: How many.
        queries: How many different queries they are of.
        stated: Mean stated probability.
        found: Share that was true, with the 95 % interval of Wilson (1927) for so many queries.
    """

    low: float
    high: float
    searches: int
    queries: int
    stated: float
    found: Interval


@final
@dataclass(frozen=True, kw_only=True)
class Reliability:
    """How often what was stated with some probability is true, before any quality warning lowers it.

    Attributes:
        subset: The query's modalities.
        event: ``"first hit"``: the first hit is the molecule; ``"none of these"``: it is not among the candidates.
        absent: Share of the searches whose molecule was taken out of the candidates.
        bins: Those that are not empty, ascending.
    """

    subset: tuple[str, ...]
    event: str
    absent: float
    bins: tuple[Bin, ...]

    @property
    def error(self) -> float:
        """Return the mean distance of what was stated from what was found, over searches."""
        gaps = [(one.searches, abs(one.stated - one.found.value)) for one in self.bins]
        return sum(n * gap for n, gap in gaps) / sum(n for n, _ in gaps)


@final
@dataclass(frozen=True, kw_only=True)
class Confusion:
    """What wrong first hits have in place of what the molecule has; one query of a molecule.

    Attributes:
        property: The property that was asked, ``dist:name``.
        subset: The query's modalities.
        names: What it asks of a molecule, m names.
        queries: Queries of whose molecule, and of whose first hit, it says something.
        wrong: Those whose first hit is wrong.
        has: (m,) queries whose molecule has it.
        wrong_has: (m,) those of them whose first hit is wrong.
        lost: (m,) those of them whose first hit lacks it.
        instead: (m, m) those of `lost` (rows) whose first hit has what the molecule lacks (columns).
    """

    property: str
    subset: tuple[str, ...]
    names: tuple[str, ...]
    queries: int
    wrong: int
    has: NDArray[np.int64]
    wrong_has: NDArray[np.int64]
    lost: NDArray[np.int64]
    instead: NDArray[np.int64]


@final
@dataclass(frozen=True, kw_only=True)
class Curve:
    """How often molecules are found as something grows.

    Attributes:
        subset: The query's modalities.
        over: ``"pool size"`` or ``"noise"`` (its standard deviation, as a share of a spectrum's largest value).
        at: Ascending values of it.
        metrics: Per metric, its interval over molecules at each of them.
        molecules: How many molecules.
    """

    subset: tuple[str, ...]
    over: str
    at: tuple[float, ...]
    metrics: Mapping[str, tuple[Interval, ...]]
    molecules: int


@final
@dataclass(frozen=True, kw_only=True)
class Pictures:
    """All pictures of one evaluation; what could not be made is missing, and `notes` say why.

    Attributes:
        space: Where tested molecules are; None: none of them has a vector.
        neighbourhoods: Of a few of them.
        reliability: Stated against true, by the query's modalities.
        confusions: By property and the query's modalities.
        curves: Top-k against the size of the pool and against noise, by the query's modalities.
        notes: What is missing, and why.
    """

    space: SpaceMap | None
    neighbourhoods: tuple[Neighbourhood, ...] = ()
    reliability: tuple[Reliability, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    curves: tuple[Curve, ...] = ()
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON values; a number that is not defined is None."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return round(value, 6) if np.isfinite(value) else None
    return value
