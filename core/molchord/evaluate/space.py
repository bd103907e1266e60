"""The embedding space looked at: where molecules are in two dimensions, and what is near them."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from molchord.api import SampleError
from molchord.chem import morgan, parse, tanimoto
from molchord.errors import DataError, did_you_mean
from molchord.evaluate.embedded import Embedded
from molchord.evaluate.pictures import Neighbour, Neighbourhood, SpaceMap
from molchord.retrieval.scores import pooled_by
from molchord.vocabulary import PROJECTIONS

__all__ = ["check_projection", "first_measurements", "neighbourhoods", "principal_axes", "space_map"]

_FEWEST_FOR_UMAP = 10


def check_projection(projection: str) -> None:
    """Refuse a projection that there is not, or whose package is missing.

    Raises:
        DataError: Unknown, or not installed.
    """
    if projection not in PROJECTIONS:
        raise DataError(
            f"evaluation failed: unknown projection {projection!r}; {did_you_mean(projection, PROJECTIONS)}"
        )
    if projection == "umap" and importlib.util.find_spec("umap") is None:
        raise DataError(
            "evaluation failed: projection 'umap' needs umap-learn, which is not installed; run pip install "
            "'molchord[umap]', or take projection 'pca'"
        )


def space_map(
    embedded: Embedded,
    rows: NDArray[np.int64],
    *,
    groups: Mapping[str, NDArray[np.float64]] | None = None,
    projection: str = "pca",
    seed: int = 0,
) -> SpaceMap:
    """Lay out structures of molecules together with the first spectrum of each modality that they have.

    Args:
        embedded: The embedded data set.
        rows: (n,) molecules with a candidate vector.
        groups: Per name (n,) what to colour by beside mass and rings.
        projection: ``pca``, or ``umap`` by cosine, which takes a few molecules by ``pca``.
        seed: Of UMAP.
    """
    parts = [embedded.candidates[torch.from_numpy(rows)].double()]
    places = [np.arange(len(rows))]
    for name in embedded.spectra:
        first = first_measurements(embedded, name)[rows]
        there = np.flatnonzero(first >= 0)
        parts.append(embedded.spectra[name].vectors[torch.from_numpy(first[there])].double())
        places.append(there)
    vectors = torch.cat(parts)
    projection = "pca" if len(vectors) < _FEWEST_FOR_UMAP else projection
    explained: tuple[float, ...] = ()
    if projection == "umap":
        laid_out = _umap(vectors.numpy(), seed)
    else:
        laid_out, explained = principal_axes(vectors)
    ends = np.cumsum([len(part) for part in places])[:-1]
    whole = []
    for there, part in zip(places, np.split(laid_out, ends), strict=True):
        whole.append(np.full((len(rows), 2), np.nan))
        whole[-1][there] = part
    return SpaceMap(
        projection=projection,
        explained=explained,
        key14=[embedded.key14[row] for row in rows.tolist()],
        smiles=[embedded.smiles[row] for row in rows.tolist()],
        molecules=whole[0],
        spectra={name: part for name, part in zip(embedded.spectra, whole[1:], strict=True) if np.isfinite(part).any()},
        numbers={
            "exact mass / Da": embedded.exact_mass[rows],
            "number of rings": np.array([_rings(embedded.smiles[row]) for row in rows.tolist()]),
        },
        groups=groups or {},
    )


def principal_axes(vectors: Float[Tensor, "n d"]) -> tuple[Float[NDArray[np.float64], "n 2"], tuple[float, float]]:
    """Return rows in their two directions of largest variance, and the share of the variance along each.

    Each axis points to where its largest coordinate of the vectors' own space is positive.

    Example:
        >>> places, shares = principal_axes(torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
        >>> places.round(6).tolist()[0], [round(share, 2) for share in shares]
        ([3.0, 0.0], [0.9, 0.1])
    """
    centred = vectors.double() - vectors.double().mean(dim=0)
    _, spread, axes = torch.linalg.svd(centred, full_matrices=False)
    axes, spread = axes[:2], spread.square()
    axes = axes * axes.gather(1, axes.abs().argmax(dim=1, keepdim=True)).sign()
    places = torch.zeros(len(vectors), 2, dtype=torch.float64)
    places[:, : len(axes)] = centred @ axes.T
    total = float(spread.sum())
    shares = [float(one) / total if total > 0 else 0.0 for one in spread[:2]] + [0.0, 0.0]
    return places.numpy(), (shares[0], shares[1])


def first_measurements(embedded: Embedded, modality: str) -> NDArray[np.int64]:
    """Return for each molecule the row of its first measurement in ``embedded.spectra``, -1 where it has none, (n,)."""
    first = np.full(len(embedded), -1, dtype=np.int64)
    molecule = embedded.spectra[modality].molecule
    first[molecule[::-1]] = np.arange(len(molecule) - 1, -1, -1)
    return first


def neighbourhoods(embedded: Embedded, rows: Sequence[int], *, count: int = 4) -> tuple[Neighbourhood, ...]:
    """Return what is nearest to the structures of some molecules, by cosine.

    A molecule's spectra of one modality count as one, the mean of their unit vectors.

    Args:
        embedded: The embedded data set.
        rows: Molecules with a candidate vector.
        count: How many neighbours of each kind.
    """
    spectra = {}
    for name, part in embedded.spectra.items():
        pooled, held = pooled_by(part.vectors, torch.from_numpy(part.molecule), len(embedded))
        if bool(held.any()):
            spectra[name] = pooled.float(), held.cpu().numpy()
    found = []
    for row in rows:
        own = embedded.candidates[row].float()
        like = (embedded.candidates.float() @ own).numpy()
        others = embedded.present & (np.arange(len(embedded)) != row)
        near, ranks = {}, {}
        for name, (vectors, has) in spectra.items():
            cosines = (vectors @ own).numpy()
            near[name] = _nearest(embedded, row, cosines, has, count)
            if has[row]:
                ranks[name] = 1 + int((cosines[has] > cosines[row]).sum())
        found.append(
            Neighbourhood(
                key14=embedded.key14[row],
                smiles=embedded.smiles[row],
                structures=_nearest(embedded, row, like, others, count),
                spectra=near,
                own_rank=ranks,
            )
        )
    return tuple(found)


def _nearest(
    embedded: Embedded, row: int, cosines: NDArray[np.float32], among: NDArray[np.bool_], count: int
) -> tuple[Neighbour, ...]:
    members = np.flatnonzero(among)
    best = members[np.argsort(-cosines[members], kind="stable")[:count]].tolist()
    if not best:
        return ()
    prints = morgan([embedded.smiles[one] for one in [row, *best]])
    alike = tanimoto(prints[:1], prints[1:])[0]
    return tuple(
        Neighbour(
            key14=embedded.key14[one],
            smiles=embedded.smiles[one],
            cosine=float(cosines[one]),
            tanimoto=float(similarity),
            own=one == row,
        )
        for one, similarity in zip(best, alike, strict=True)
    )


def _rings(smiles: str) -> float:
    try:
        mol = parse(smiles)  # which must outlive its ring information
        return float(mol.GetRingInfo().NumRings())
    except SampleError:
        return float("nan")


def _umap(vectors: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    umap: Any = importlib.import_module("umap")  # an extra
    made = umap.UMAP(n_neighbors=min(15, len(vectors) - 1), metric="cosine", random_state=seed, n_jobs=1)
    return np.asarray(made.fit_transform(vectors), dtype=np.float64)
