"""What the hits of a search have in common, as probabilities: functional groups, or what any property asks for.

Two ways lead there. If the molecule is among the candidates, it has a group as probably as a hit that has it is right.
If it is none of them, like spectra are of like molecules: the first hits vote, each weighted by its likeness to the
query at a temperature of its own, and the vote is drawn a little towards how frequent the group is at all. The
probability of none of these weighs the two. Temperature and draw are fitted on validation queries whose own molecule is
taken out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from molchord.api import Molecule, SampleError
from molchord.checksums import sealed, unsealed
from molchord.errors import QueryError, RunError
from molchord.files import one_line, replace_file
from molchord.host.build import build, guarded
from molchord.library.hits import SURE, Hit, Hits
from molchord.run_folder import RunManifest

__all__ = [
    "DEPTH",
    "AskedProperty",
    "Estimate",
    "Estimates",
    "PropertyFit",
    "Vote",
    "estimated",
    "read_properties",
    "vote",
    "write_properties",
]

DEPTH = 100
"""Hits that vote."""

_FILE = "properties.json"


class Vote(BaseModel):
    """How the first hits vote on what a molecule has that is none of them.

    Attributes:
        temperature: Factor on the logarithms of the hits' odds.
        draw: Part of the vote that the frequency takes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    draw: float = Field(default=0.0, ge=0, le=1)


class PropertyFit(BaseModel):
    """What was fitted of a property.

    Attributes:
        names: What it asked of a molecule.
        base: How frequent each is among the molecules of the calibration's data set.
        votes: By the query's modalities joined by " + ".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    names: tuple[str, ...]
    base: tuple[float, ...]
    votes: dict[str, Vote]


@final
@dataclass(frozen=True, kw_only=True)
class Estimate:
    """How probably the unknown has one thing.

    Attributes:
        name: What.
        probability: Calibrated; None where it was not calibrated for such a query, or would be above 0.5 for measured
            spectra that it was not calibrated on.
        share: The same number whether calibrated or not.
        base: How frequent it is among the molecules of the calibration's data set; None: not known.
    """

    name: str
    probability: float | None
    share: float
    base: float | None


@final
@dataclass(frozen=True, kw_only=True)
class Estimates:
    """What the unknown may have.

    Attributes:
        property: The property that was asked, ``dist:name``.
        estimates: One for each of its names, the most probable first.
        calibrated: Whether the property was fitted for such queries.
        uncalibrated: Spectra of the query that are measured where those of the calibration were computed.

    Example:
        >>> one = Estimate(name="nitrile", probability=0.9, share=0.9, base=0.04)
        >>> Estimates(property="molchord:functional_groups", estimates=(one,), calibrated=True)["nitrile"].probability
        0.9
    """

    property: str
    estimates: tuple[Estimate, ...]
    calibrated: bool
    uncalibrated: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Estimate:
        """Return the estimate of a name; raises `KeyError` where the property does not ask for it."""
        for one in self.estimates:
            if one.name == name:
                return one
        raise KeyError(name)


@final
class AskedProperty:
    """A property, and what it said of the molecules that it was asked about.

    Args:
        use: Name of a property, bare or ``dist:name``, or a `Use` with its configuration.

    Raises:
        PluginError: There is no such property, its configuration is wrong, or it fails.

    Example:
        >>> asked = AskedProperty("functional_groups")
        >>> asked.name, len(asked.names)
        ('molchord:functional_groups', 37)
    """

    def __init__(self, use: str | Mapping[str, Any]) -> None:
        self._built = build("property", use)
        with guarded(self._built.plugin):
            self.names = tuple(self._built.it.names)
        self._said: dict[str, NDArray[np.float64]] = {}

    @property
    def name(self) -> str:
        """Return the property's name as ``dist:name``."""
        return self._built.plugin.qualified

    def values(self, molecules: Iterable[Molecule]) -> Float[NDArray[np.float64], "n names"]:
        """Return what each molecule has, 1 or 0, rows of NaN where it cannot be said; each molecule is asked once.

        Raises:
            PluginError: The property fails.
        """
        return np.array([self._of(molecule) for molecule in molecules]).reshape(-1, len(self.names))

    def _of(self, molecule: Molecule) -> NDArray[np.float64]:
        if molecule.key14 not in self._said:
            with guarded(self._built.plugin):
                try:
                    found = np.array(self._built.it.of(molecule), dtype=np.float64)
                    if found.shape != (len(self.names),):
                        raise ValueError(f"{found.shape} values for {len(self.names)} names")
                except SampleError:
                    found = np.full(len(self.names), np.nan)
            self._said[molecule.key14] = found
        return self._said[molecule.key14]


def vote(
    logits: Float[NDArray[np.float64], "*q n"],
    values: Float[NDArray[np.float64], "*q n names"],
    base: Float[NDArray[np.float64], " names"],
    how: Vote,
) -> Float[NDArray[np.float64], "*q names"]:
    """Return how probably the molecule of each query has what its first hits have.

    Args:
        logits: Logarithms of the hits' odds, up to a constant.
        values: What each hit has, without NaN.
        base: How frequent each is at all.
        how: As fitted.

    Example:
        >>> vote(np.array([0.0, 0.0]), np.array([[1.0], [0.0]]), np.array([0.1]), Vote(draw=0.5)).tolist()
        [0.3]
    """
    weights = _softmax(how.temperature * logits)
    return np.asarray((1 - how.draw) * (weights[..., None] * values).sum(axis=-2) + how.draw * base)


def estimated(asked: AskedProperty, hits: Hits | Sequence[Hit], run: Path, manifest: RunManifest) -> Estimates:
    """Estimate what the molecule of a query has, from the hits of its search.

    Args:
        asked: The property.
        hits: Of one blind search, best first; the first `DEPTH` count.
        run: The run's folder.
        manifest: Its manifest.

    Raises:
        QueryError: There is no hit that the property says something of.
    """
    first = list(hits[:DEPTH])
    molecules = [Molecule(key14=h.key14, smiles=h.smiles, formula=h.formula, exact_mass=h.exact_mass) for h in first]
    values = asked.values(molecules)
    told = [row for row, own in enumerate(values) if not np.isnan(own).any()]
    if not told:
        raise QueryError(f"{asked.name!r} says nothing of the hits, of which there are {len(first)}; search for others")
    first, values = [first[row] for row in told], values[told]
    fit = read_properties(run).get(asked.name)
    how = fit.votes.get(" + ".join(first[0].cosines)) if fit is not None and fit.names == asked.names else None
    base = None if fit is None or how is None else np.array(fit.base)
    logits = _logits(first, manifest)
    none = getattr(hits, "none_of_these", None)
    unlisted = vote(logits, values, np.zeros(len(asked.names)) if base is None else base, how or Vote())
    listed = _shares(first, logits) @ values
    share = unlisted if none is None else (1 - none) * listed + none * unlisted
    uncalibrated = tuple(getattr(hits, "uncalibrated", ()))
    found = [
        Estimate(
            name=name,
            probability=None if how is None or (uncalibrated and value > SURE) else float(value),
            share=float(value),
            base=None if base is None else float(base[column]),
        )
        for column, (name, value) in enumerate(zip(asked.names, np.clip(share, 0, 1).tolist(), strict=True))
    ]
    return Estimates(
        property=asked.name,
        estimates=tuple(sorted(found, key=lambda one: -one.share)),
        calibrated=how is not None,
        uncalibrated=uncalibrated,
    )


def _logits(hits: Sequence[Hit], manifest: RunManifest) -> NDArray[np.float64]:
    """Return the logarithms of the hits' odds, up to a constant, by what the run was calibrated with."""
    beta = manifest.beta.get(len(hits[0].cosines), 1.0)
    return np.array([beta * sum(v / manifest.tau.get(m, 1.0) for m, v in hit.cosines.items()) for hit in hits])


def _shares(hits: Sequence[Hit], logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each hit's part of what none of these leaves, 1 together: what lies behind the first is like them."""
    stated = np.array([np.nan if hit.probability is None else hit.probability for hit in hits])
    total = stated.sum()
    return stated / total if total > 0 else _softmax(logits)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    power = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(power / power.sum(axis=-1, keepdims=True))


# --- what was fitted -------------------------------------------------------------------------------------------------

_FITS: TypeAdapter[dict[str, PropertyFit]] = TypeAdapter(dict[str, PropertyFit])


def read_properties(run: Path) -> dict[str, PropertyFit]:
    """Read what was fitted of properties for a run, by ``dist:name``; empty where nothing was.

    Raises:
        RunError: The file is damaged.
    """
    path = run / _FILE
    if not path.exists():
        return {}
    try:
        return _FITS.validate_python(json.loads(unsealed(path.read_bytes())))
    except (OSError, ValueError, ValidationError) as error:
        raise RunError(f"{str(path)!r} cannot be read ({one_line(error)}); calibrate the run again") from error


def write_properties(run: Path, fits: Mapping[str, PropertyFit]) -> None:
    """Write what was fitted of properties into a run's folder, beside what was there of others."""
    whole = {**read_properties(run), **fits}
    if whole:
        replace_file(run / _FILE, sealed(_FITS.dump_json(whole, indent=1).decode()))
