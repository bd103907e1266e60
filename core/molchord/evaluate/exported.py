"""Every query's score of every candidate, written as one table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from molchord.evaluate.embedded import Embedded, candidate_pool, model_scorer, queries_of, subsets
from molchord.evaluate.pools import CandidatePool
from molchord.files import new_file
from molchord.retrieval.metrics import Scorer

__all__ = ["SCORES", "write_scores"]

SCORES = pa.schema(
    [
        ("spectra", pa.dictionary(pa.int32(), pa.utf8())),
        ("mode", pa.dictionary(pa.int32(), pa.utf8())),
        ("fusion", pa.dictionary(pa.int32(), pa.utf8())),
        ("query", pa.int32()),
        ("molecule", pa.dictionary(pa.int32(), pa.utf8())),
        ("candidate", pa.dictionary(pa.int32(), pa.utf8())),
        ("score", pa.float32()),
    ]
)
"""One row a query and candidate: names of the query's spectra, mode, fusion, number of the query among those of its
spectra, its molecule and the candidate by key14, and the ranking value, higher is better."""

_AT_ONCE = 2**20  # scores


def write_scores(
    path: Path,
    embedded: Embedded,
    *,
    modes: Sequence[str],
    fusions: Sequence[str],
    pool: str,
    split: str,
    seed: int,
    most_spectra: int = 32,
) -> None:
    """Write the scores of the members of a pool for every query of an evaluation, as Parquet.

    Args:
        path: File to write.
        embedded: The embedded data set.
        modes: ``blind`` and ``library``.
        fusions: How similarities are joined.
        pool: Name of the pool.
        split: Whose molecules are queries.
        seed: Of the pool's draws.
        most_spectra: As for `evaluate`.

    Raises:
        OutputError: The file cannot be written.
    """
    keys = pa.array(embedded.key14, pa.utf8())
    with new_file(path) as partial, pq.ParquetWriter(partial, SCORES, compression="zstd") as writer:
        for subset in subsets(list(embedded.spectra)):
            queries = queries_of(embedded, subset, split, most=most_spectra)
            members = candidate_pool(embedded, queries, pool, split=split, seed=seed)
            for mode, fusion in product(modes, fusions):
                if mode == "blind" or len(embedded.spectra) > 1:
                    scorer = model_scorer(embedded, queries, fusion=fusion, mode=mode)
                    for query, candidate, score in _scored(scorer, members, len(queries), len(embedded)):
                        words = {"spectra": " + ".join(subset), "mode": mode, "fusion": fusion}
                        columns: dict[str, pa.Array] = {name: _same(word, len(query)) for name, word in words.items()}
                        columns["query"] = pa.array(query, pa.int32())
                        columns["molecule"] = _keyed(queries.molecule[query], keys)
                        columns["candidate"] = _keyed(candidate, keys)
                        columns["score"] = pa.array(score, pa.float32())
                        writer.write_table(pa.table(columns, schema=SCORES))


def _scored(
    scorer: Scorer, members: CandidatePool, queries: int, candidates: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
    """Yield queries, candidates and scores of the members of a pool, some queries at a time."""
    everyone = slice(0, candidates)
    step = max(1, _AT_ONCE // max(1, candidates))
    for start in range(0, queries, step):
        rows = slice(start, min(start + step, queries))
        values = scorer(rows, everyone).float().cpu()
        here = members.mask(rows, everyone).cpu().expand(values.shape)
        query, candidate = here.nonzero().numpy().T
        yield query + start, candidate, values[here].numpy()


def _same(text: str, count: int) -> pa.DictionaryArray:
    return _keyed(np.zeros(count, dtype=np.int32), pa.array([text], pa.utf8()))


def _keyed(codes: NDArray[np.integer], words: pa.Array) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), words)
