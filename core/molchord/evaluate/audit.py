"""The split audit: are tested molecules, or near relatives of them, among the trained ones?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from molchord.errors import SampleError
from molchord.evaluate.results import SplitAudit

__all__ = ["BINS", "audit_split", "nearest_training", "top1_by_nearest"]

BINS = ("< 0.4", "0.4-0.6", "> 0.6")


def audit_split(
    *,
    smiles: Sequence[str],
    tested: NDArray[np.bool_],
    trained: NDArray[np.bool_],
    nearest: NDArray[np.float32],
    top1: Mapping[str, Mapping[str, tuple[int, float]]],
    tautomers: int | None,
    unknown: int = 0,
) -> SplitAudit:
    """Audit a split; one molecule per row, so that a molecule on both sides is a row that is tested and trained.

    Args:
        smiles: n SMILES.
        tested: (n,) bool.
        trained: (n,) bool.
        nearest: (tested,) from `nearest_training`.
        top1: Per subset, from `top1_by_nearest`.
        tautomers: How many canonical tautomers may be computed (about 10 ms each); None skips the search.
        unknown: Molecules that were trained on and whose SMILES is not known.
    """
    histogram = np.histogram(nearest, bins=np.linspace(0.0, 1.0, 11))[0]
    found, unchecked = (None, 0) if tautomers is None else _tautomers(smiles, tested, trained, tautomers)
    return SplitAudit(
        overlap=int((tested & trained).sum()),
        tautomers=found,
        tautomers_unchecked=unchecked,
        histogram=[int(count) for count in histogram],
        top1_by_nearest=top1,
        unknown=unknown,
    )


def nearest_training(
    fingerprints: NDArray[np.uint8], tested: NDArray[np.bool_], trained: NDArray[np.bool_], *, at_once: int = 512
) -> NDArray[np.float32]:
    """Return the highest Tanimoto similarity of each tested molecule to a trained one; 0 where none was trained on.

    Args:
        fingerprints: (n, bytes) packed fingerprints.
        tested: (n,) bool.
        trained: (n,) bool.
        at_once: Molecules of a block, each side.

    Shape:
        (tested,).
    """
    from molchord.chem import tanimoto

    rows, columns = np.flatnonzero(tested), np.flatnonzero(trained)
    best = np.zeros(len(rows), dtype=np.float32)
    for i in range(0, len(rows), at_once):
        part = slice(i, i + at_once)
        for j in range(0, len(columns), 8 * at_once):
            block = tanimoto(fingerprints[rows[part]], fingerprints[columns[j : j + 8 * at_once]])
            best[part] = np.maximum(best[part], block.max(axis=1))
    return best


def top1_by_nearest(
    molecule: NDArray[np.int64], top1: NDArray[np.float64], tested: NDArray[np.bool_], nearest: NDArray[np.float32]
) -> dict[str, tuple[int, float]]:
    """Return, for every bin of nearest training Tanimoto, its number of molecules and their mean Top-1.

    Args:
        molecule: Molecules of a row of metrics.
        top1: Their mean Top-1.
        tested: (n,) bool.
        nearest: (tested,) from `nearest_training`.
    """
    similarity = np.zeros(len(tested), dtype=np.float32)
    similarity[tested] = nearest
    similarity = similarity[molecule]
    which = (similarity >= 0.4).astype(np.int64) + (similarity > 0.6)
    counts = np.bincount(which, minlength=len(BINS))
    sums = np.bincount(which, weights=top1, minlength=len(BINS))
    return {name: (int(n), float(s / n) if n else float("nan")) for name, n, s in zip(BINS, counts, sums, strict=True)}


def _tautomers(
    smiles: Sequence[str], tested: NDArray[np.bool_], trained: NDArray[np.bool_], most: int
) -> tuple[int, int]:
    """Count tested molecules with a trained tautomer, and those that the limit leaves unchecked.

    A tautomer moves hydrogens and bond orders only, so none is computed where formula and skeleton do not meet.
    """
    from molchord.chem import skeleton

    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i in np.flatnonzero(tested | trained).tolist():
        groups[skeleton(smiles[i])].append(i)
    found = unchecked = 0
    for group in groups.values():
        here, there = [i for i in group if tested[i]], [i for i in group if trained[i]]
        if not here or not there:
            continue
        if len(group) > most:
            unchecked += len(here)
            continue
        most -= len(group)
        keys = {i: _tautomer_key(smiles[i]) for i in group}
        counts = Counter(keys[i] for i in there)
        found += sum(counts[keys[i]] > int(trained[i]) for i in here)  # another one than itself
    return found, unchecked


def _tautomer_key(smiles: str) -> str:
    """Return the key of the canonical tautomer; the SMILES itself, which no other molecule has, where there is none."""
    from molchord.chem import tautomer_key

    try:
        return tautomer_key(smiles)
    except SampleError:
        return smiles
