"""The pools that metrics are measured against: test, all, unseen, isomers, mass."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from molchord.errors import DataError, did_you_mean
from molchord.vocabulary import POOLS

__all__ = ["MASS_ERROR_PPM", "CandidatePool", "make_pool", "measured_masses"]

MASS_ERROR_PPM = 5.0


@final
@dataclass(frozen=True, kw_only=True)
class CandidatePool:
    """A pool: fixed members, narrowed for each query where it is one of isomers or of a mass window.

    Attributes:
        name: As in the metrics, such as ``unseen:20000``.
        members: (n,) bool.
        molecule: (q,) int64 the query's molecule, whose formula or measured mass narrows the members.
        formula: (n,) int64 code of each molecule's formula; None: not narrowed by it.
        mass: (n,) exact masses in Da; None: not narrowed by it.
        measured: (n,) measured masses in Da, read at the query's molecule.
        ppm: Half width of the mass window, in ppm of the measured mass.
    """

    name: str
    members: Tensor
    molecule: Tensor
    formula: Tensor | None = None
    mass: Tensor | None = None
    measured: Tensor | None = None
    ppm: float = 0.0

    @property
    def with_mass(self) -> bool:
        """Return whether this pool uses the query's mass."""
        return self.mass is not None

    @property
    def isomers(self) -> bool:
        """Return whether this pool holds the query's isomers only."""
        return self.formula is not None

    def mask(self, queries: slice, candidates: slice | Tensor) -> Tensor:
        """Return membership, (queries or 1, candidates)."""
        mask = self.members[candidates][None, :]
        if self.formula is not None:
            mask = mask & (self.formula[candidates][None, :] == self.formula[self.molecule[queries]][:, None])
        if self.mass is not None and self.measured is not None:
            measured = self.measured[self.molecule[queries]][:, None]
            mask = mask & ((self.mass[candidates][None, :] - measured).abs() <= self.ppm * 1e-6 * measured)
        return mask


def make_pool(
    text: str,
    *,
    molecule: NDArray[np.int64],
    present: NDArray[np.bool_],
    queried: NDArray[np.bool_],
    held_out: NDArray[np.bool_],
    trained: NDArray[np.bool_],
    formula: Sequence[str],
    mass: NDArray[np.float64],
    measured: NDArray[np.float64],
    seed: int,
) -> CandidatePool:
    """Make a pool from its name.

    Args:
        text: ``test`` (the structures of the split that is queried), ``all``, ``all:20000`` (exactly so many: test
            and validation, the rest drawn with `seed`), ``isomers`` (same formula, within all), ``unseen:20000`` (test
            plus so many structures never trained on, drawn with `seed`) or ``mass:10ppm`` (within the window of the
            measured mass, within all).
        molecule: (q,) each query's molecule.
        present: (n,) whether each molecule has a candidate vector; only these are members.
        queried: (n,) whether each molecule is of the queried split.
        held_out: (n,) whether each molecule is of test or validation.
        trained: (n,) whether each molecule was trained on.
        formula: n formulas.
        mass: (n,) exact masses in Da.
        measured: (n,) measured masses in Da.
        seed: Of the draws for ``all:N`` and ``unseen:N``.

    Raises:
        DataError: Unknown pool, one with too few structures, or an empty one.
    """
    kind, _, size = text.partition(":")
    members, narrowing = present, {}
    if text == "test":
        members = present & queried
    elif text == "isomers":
        narrowing["formula"] = torch.from_numpy(np.unique(np.asarray(formula), return_inverse=True)[1].astype(np.int64))
    elif kind == "unseen" and re.fullmatch(r"\d+", size):
        first, free = present & queried, present & ~queried & ~trained
        members = _with_drawn(text, first, free, int(size), seed)
    elif kind == "all" and re.fullmatch(r"\d+", size):
        first = present & held_out
        members = _with_drawn(text, first, present & ~held_out, int(size) - int(first.sum()), seed)
    elif kind == "mass" and re.fullmatch(r"\d+(\.\d+)?ppm", size):
        narrowing = {"mass": torch.from_numpy(mass), "measured": torch.from_numpy(measured)}
    elif text != "all":
        raise DataError(f"evaluation failed: unknown pool {text!r}; {did_you_mean(text, POOLS)}")
    if not members.any():
        raise DataError(f"evaluation failed: the pool {text!r} is empty; check that candidates could be embedded")
    return CandidatePool(
        name=text,
        members=torch.from_numpy(members),
        molecule=torch.from_numpy(molecule),
        ppm=float(size.removesuffix("ppm")) if "mass" in narrowing else 0.0,
        **narrowing,
    )


def _with_drawn(
    text: str, first: NDArray[np.bool_], others: NDArray[np.bool_], count: int, seed: int
) -> NDArray[np.bool_]:
    """Return `first` and `count` of `others`, drawn."""
    free = np.flatnonzero(others)
    if not 0 <= count <= len(free):
        raise DataError(
            f"evaluation failed: pool {text!r} needs {count} structures beside the {int(first.sum())} it begins "
            f"with, but {len(free)} can be drawn; choose another number, or add structures to the data set"
        )
    members = first.copy()
    members[np.random.default_rng(seed).choice(free, size=count, replace=False)] = True
    return members


def measured_masses(exact_mass: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Return the mass that an instrument would give for each molecule: exact, with a Gaussian error of 5 ppm.

    Example:
        >>> bool(abs(measured_masses(np.array([100.0]), 0)[0] - 100.0) < 0.01)
        True
    """
    error = np.random.default_rng(seed).normal(scale=MASS_ERROR_PPM * 1e-6, size=len(exact_mass))
    return np.asarray(exact_mass * (1.0 + error), dtype=np.float64)
