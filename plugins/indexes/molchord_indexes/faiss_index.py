"""Candidates proposed by faiss (Johnson, Douze, Jegou 2021, "Billion-scale similarity search with GPUs")."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from molchord.api import IndexedVectors, Limits, Proposals, Proposer

__all__ = ["FaissIndex"]

_VECTORS, _ROWS = "vectors.faiss", "rows.npy"
_LONGEST = 1.002  # candidates are unit vectors, up to 0.001
_TRAINED_ON = 100_000


@final
class FaissIndex:
    """Writes and opens faiss indexes.

    Args:
        factory: What faiss's `index_factory` makes.
        parameters: Settings of a search, as faiss writes them.
    """

    def __init__(self, factory: str = "Flat", parameters: str = "") -> None:
        self._factory, self._parameters = factory, parameters

    def write(self, folder: Path, vectors: IndexedVectors) -> None:
        """Train an index on every so many candidates, and add all of them."""
        import faiss

        index = faiss.index_factory(vectors.size, self._factory, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            step = max(1, len(vectors) // _TRAINED_ON)
            index.train(np.concatenate([block.vectors[::step] for block in vectors]))
        rows = []
        for block in vectors:
            index.add(np.ascontiguousarray(block.vectors))
            rows.append(block.rows)
        faiss.write_index(index, str(folder / _VECTORS))
        np.save(folder / _ROWS, np.concatenate(rows), allow_pickle=False)

    def open(self, folder: Path) -> Proposer:
        """Read an index into memory."""
        import faiss

        index = faiss.read_index(str(folder / _VECTORS))
        if self._parameters:
            faiss.ParameterSpace().set_index_parameters(index, self._parameters)
        return _Proposer(index, np.load(folder / _ROWS, allow_pickle=False))


@final
class _Proposer:
    def __init__(self, index: Any, rows: NDArray[np.int64]) -> None:
        self._index, self._rows = index, rows

    def propose(self, queries: NDArray[np.float32], count: int, limits: Limits) -> Proposals:
        """Search within the limits; a flat index bounds what it leaves out by the last inner product found."""
        import faiss

        some = None
        if limits.rows is not None:
            # One bit per candidate; a selector of numbers would be a hash table of them.
            inside = np.packbits(np.isin(self._rows, limits.rows), bitorder="little")
            some = faiss.IDSelectorBitmap(inside)
        parameters = _parameters(self._index, some)
        values, places = self._index.search(np.ascontiguousarray(queries), count, params=parameters)
        rows = np.where(places >= 0, self._rows[places], -1)
        if not isinstance(self._index, faiss.IndexFlat):
            return Proposals(rows=rows)
        # Inner products of the last one found and of those left out are fp32 sums, rounded in any order.
        size = queries.shape[1]
        error = 2 * (size + 4) * 2.0**-23 * np.linalg.norm(queries.astype(np.float64), axis=1) * _LONGEST
        bound = np.where(places[:, -1] >= 0, values[:, -1].astype(np.float64) + error, -np.inf)
        return Proposals(rows=rows, bound=bound)


def _parameters(index: Any, some: Any) -> Any:
    """Return what faiss takes to search some candidates only, with the index's own settings."""
    import faiss

    if some is None:
        return None
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(sel=some, nprobe=index.nprobe)
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(sel=some, efSearch=index.hnsw.efSearch)
    return faiss.SearchParameters(sel=some)
