"""What wrong first hits have in place of what the molecule has, such as functional groups."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from molchord.evaluate.embedded import Embedded
from molchord.evaluate.pictures import Confusion
from molchord.evaluate.properties import embedded_molecules
from molchord.properties import AskedProperty

__all__ = ["confusion"]


def confusion(
    embedded: Embedded,
    asked: AskedProperty,
    subset: tuple[str, ...],
    molecule: NDArray[np.int64],
    first: NDArray[np.int64],
) -> Confusion:
    """Count what the first hits of queries have in place of what their molecules have.

    Args:
        embedded: The embedded data set.
        asked: The property.
        subset: The queries' modalities.
        molecule: (q,) the molecule of each query.
        first: (q,) the first hit of each query, -1 where it found nothing.

    Raises:
        PluginError: The property fails.
    """
    answered = first >= 0
    molecule, first = molecule[answered], first[answered]
    needed, place = np.unique(np.concatenate([molecule, first]), return_inverse=True)
    values = asked.values(embedded_molecules(embedded, needed))
    truth, hit = values[place[: len(molecule)]], values[place[len(molecule) :]]
    told = ~(np.isnan(truth).any(axis=1) | np.isnan(hit).any(axis=1))
    wrong = (molecule != first)[told]
    has, got = truth[told] > 0.5, hit[told] > 0.5
    lost = has & ~got & wrong[:, None]
    gained = got & ~has & wrong[:, None]
    return Confusion(
        property=asked.name,
        subset=subset,
        names=tuple(asked.names),
        queries=int(told.sum()),
        wrong=int(wrong.sum()),
        has=has.sum(axis=0),
        wrong_has=(has & wrong[:, None]).sum(axis=0),
        lost=lost.sum(axis=0),
        instead=lost.T.astype(np.int64) @ gained.astype(np.int64),
    )
