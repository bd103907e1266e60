"""Every query's score of every candidate, written as one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from molchord.errors import DataError
from molchord.evaluate.embedded import Embedded, candidate_pool, model_scorer, queries_of, subsets
from molchord.files import new_file

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
        DataError: There are too many scores for one file.
        OutputError: The file cannot be written.
    """
    keys = pa.array(embedded.key14, pa.utf8())
    with new_file(path) as partial, pq.ParquetWriter(partial, SCORES, compression="zstd") as writer:
        for subset in subsets(list(embedded.spectra)):
            queries = queries_of(embedded, subset, split, most=most_spectra)
            if len(queries) > np.iinfo(np.int32).max:
                raise DataError(f"scores of {len(queries)} queries do not fit one table; evaluate fewer molecules")
            members = candidate_pool(embedded, queries, pool, split=split, seed=seed)
            names = " + ".join(subset)
            for mode in modes:
                if mode == "library" and len(embedded.spectra) < 2:
                    continue
                for fusion in fusions:
                    scorer = model_scorer(embedded, queries, fusion=fusion, mode=mode)
                    step = max(1, _AT_ONCE // max(1, len(embedded)))
                    for start in range(0, len(queries), step):
                        rows = slice(start, min(start + step, len(queries)))
                        everyone = slice(0, len(embedded))
                        values = scorer(rows, everyone)
                        mask = members.mask(rows, everyone).expand(values.shape)
                        query, candidate = mask.nonzero().T.cpu().numpy()
                        score = values[torch.from_numpy(query), torch.from_numpy(candidate)].float().cpu().numpy()
                        writer.write_table(
                            pa.table(
                                {
                                    "spectra": _same(names, len(query)),
                                    "mode": _same(mode, len(query)),
                                    "fusion": _same(fusion, len(query)),
                                    "query": pa.array(query + start, pa.int32()),
                                    "molecule": _keyed(queries.molecule[query + start], keys),
                                    "candidate": _keyed(candidate, keys),
                                    "score": pa.array(score),
                                },
                                schema=SCORES,
                            )
                        )


def _same(text: str, count: int) -> pa.DictionaryArray:
    return _keyed(np.zeros(count, dtype=np.int32), pa.array([text], pa.utf8()))


def _keyed(codes: np.ndarray[tuple[int], np.dtype[np.integer]], words: pa.Array) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), words)
