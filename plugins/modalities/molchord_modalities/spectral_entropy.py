"""The spectral entropy similarity of peak lists, one to many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

__all__ = ["NOISE", "Peaks", "Weighted", "entropy_similarity", "matched", "weighted"]

Peaks: TypeAlias = tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]
"""m/z and intensities, each (n,), ascending m/z."""

NOISE = 0.01
"""Share of the base peak below which a peak is left out, as in the similarity's paper."""


def entropy_similarity(
    query: Peaks, references: Sequence[Peaks], tolerance: float = 0.02, noise: float = NOISE
) -> Float[np.ndarray, " references"]:
    r"""Return the weighted spectral entropy similarity of one spectrum to each of many.

    Li et al., Nat. Methods 18, 1524 (2021). Peaks below `noise` of the base peak are left out and peaks nearer than
    twice the tolerance merged, so that one matches at most one. With $S = -\sum_i I_i \ln I_i$ for intensities that
    add up to 1, those of a spectrum with $S < 3$ are raised to the power $0.25 + 0.25 S$ and scaled to 1 again. Then

    $$1 - \frac{2 S_{AB} - S_A - S_B}{\ln 4} =
      \frac{1}{2} \sum_{\text{matched}} f(a + b) - f(a) - f(b), \qquad f(x) = x \log_2 x,$$

    where $S_{AB}$ is the entropy of the spectra's mean; the right-hand side, over matched peaks only, is what is
    computed (Li and Fiehn, Nat. Methods 20, 1475, 2023).

    Args:
        query: m/z and intensities, ascending.
        references: The same of each reference; one without peaks has similarity 0.
        tolerance: Largest distance of matching peaks in Da.
        noise: Share of the base peak below which a peak is left out.

    Example:
        >>> spectrum = (np.array([41.0, 43.0]), np.array([1.0, 3.0]))
        >>> entropy_similarity(spectrum, [spectrum, (np.array([41.0, 57.0]), np.array([1.0, 3.0]))]).round(3).tolist()
        [1.0, 0.394]
    """
    return matched(weighted([query], tolerance, noise), weighted(references, tolerance, noise), tolerance)


@dataclass(frozen=True)
class Weighted:
    """Peaks of many cleaned spectra together, by ascending m/z.

    Attributes:
        mz: (n,) in Da.
        intensity: (n,) adding up to 1 per spectrum.
        owner: (n,) which spectrum each peak belongs to.
        spectra: How many spectra there are, those without a peak included.
    """

    mz: Float[np.ndarray, " n"]
    intensity: Float[np.ndarray, " n"]
    owner: Int[np.ndarray, " n"]
    spectra: int


def matched(query: Weighted, references: Weighted, tolerance: float) -> Float[np.ndarray, " references"]:
    """Add up the similarity's terms over the peaks of one spectrum and those within the tolerance in each other.

    Args:
        query: One spectrum.
        references: The others.
        tolerance: Largest distance of matching peaks in Da.
    """
    first = np.searchsorted(references.mz, query.mz - tolerance)
    count = np.searchsorted(references.mz, query.mz + tolerance, side="right") - first
    own = np.repeat(np.arange(len(query.mz)), count)
    theirs = np.arange(len(own)) + np.repeat(first - np.cumsum(count) + count, count)
    a, b = query.intensity[own], references.intensity[theirs]
    terms = (a + b) * np.log2(a + b) - a * np.log2(a) - b * np.log2(b)
    similarity: Float[np.ndarray, " references"] = np.bincount(
        references.owner[theirs], terms / 2, minlength=references.spectra
    )
    return similarity.clip(0.0, 1.0)


def weighted(spectra: Sequence[Peaks], tolerance: float, noise: float) -> Weighted:
    """Clean, merge and weight many spectra.

    Args:
        spectra: m/z and intensities of each, ascending.
        tolerance: Half of the distance in Da below which peaks are merged.
        noise: Share of the base peak below which a peak is left out.
    """
    sizes = [len(mz) for mz, _ in spectra]
    owner = np.repeat(np.arange(len(spectra)), sizes)
    if len(owner) == 0:
        return Weighted(np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64), len(spectra))
    mz = np.concatenate([mz for mz, _ in spectra]).astype(np.float64)
    intensity = np.concatenate([intensity for _, intensity in spectra]).astype(np.float64)
    base = np.zeros(len(spectra))
    np.maximum.at(base, owner, intensity)
    loud = intensity >= noise * base[owner]
    mz, intensity, owner = mz[loud], intensity[loud], owner[loud]
    starts = _starts((np.diff(mz) > 2 * tolerance) | (np.diff(owner) > 0))
    total = np.add.reduceat(intensity, starts)
    mz, intensity, owner = np.add.reduceat(mz * intensity, starts) / total, total, owner[starts]
    intensity = _normalised(intensity, owner, len(spectra))
    entropy = -np.bincount(owner, intensity * np.log(intensity), minlength=len(spectra))
    power = np.where(entropy < 3, 0.25 + 0.25 * entropy, 1.0)
    intensity = _normalised(intensity ** power[owner], owner, len(spectra))
    order = np.argsort(mz, kind="stable")
    return Weighted(mz[order], intensity[order], owner[order], len(spectra))


def _starts(breaks: Bool[np.ndarray, " m"]) -> Int[np.ndarray, " s"]:
    return np.concatenate([[0], np.flatnonzero(breaks) + 1])


def _normalised(
    intensity: Float[np.ndarray, " n"], owner: Int[np.ndarray, " n"], spectra: int
) -> Float[np.ndarray, " n"]:
    scaled: Float[np.ndarray, " n"] = intensity / np.bincount(owner, intensity, minlength=spectra)[owner]
    return scaled
