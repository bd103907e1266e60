"""Candidates proposed by Milvus, from a Milvus Lite file or, by the same code, from a server."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from molchord.api import IndexedVectors, Limits, Proposals, Proposer
from molchord_indexes import MilvusConfig

__all__ = ["MilvusIndex"]

_FILE, _ABOUT = "milvus.db", "collection.json"
_MOST = 16384  # candidates that Milvus returns at most


@final
class MilvusIndex:
    """Writes and opens collections of rows with vector, mass and formula.

    Args:
        config: As the record has it.
    """

    def __init__(self, config: MilvusConfig) -> None:
        self._config = config

    def write(self, folder: Path, vectors: IndexedVectors) -> None:
        """Make a collection of its own name, so that a server may hold those of many libraries."""
        collection = f"molchord_{uuid.uuid4().hex}"
        with self._client(folder) as client:
            client.create_collection(collection, schema=_schema(vectors.size))
            for block in vectors:
                columns = zip(block.rows.tolist(), block.vectors, block.exact_mass.tolist(), block.formula, strict=True)
                data = [dict(zip(("row", "vector", "mass", "formula"), column, strict=True)) for column in columns]
                for start in range(0, len(data), self._config.rows):
                    client.insert(collection, data[start : start + self._config.rows])
            client.flush(collection)
            index = client.prepare_index_params()
            index.add_index("vector", index_type=self._config.index, metric_type="IP", params=_params(self._config.index))
            client.create_index(collection, index)
            client.load_collection(collection)
        (folder / _ABOUT).write_text(json.dumps({"collection": collection}), encoding="utf-8")

    def open(self, folder: Path) -> Proposer:
        """Load the collection."""
        collection = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))["collection"]
        with self._client(folder) as client:
            if not client.has_collection(collection):
                raise ConnectionError(f"{self._address(folder)} no longer has collection {collection!r}; make it again")
        return _Proposer(self, folder, collection)

    @contextmanager
    def _client(self, folder: Path) -> Iterator[Any]:
        """Connect for as long as it is needed, so that nothing keeps a folder open that may move."""
        from pymilvus import MilvusClient, MilvusException

        address = self._address(folder)
        try:
            client = MilvusClient(address, timeout=self._config.timeout)
        except (MilvusException, ConnectionError, OSError) as error:
            raise ConnectionError(_away(address, self._config.uri)) from error
        try:
            yield client
        except MilvusException as error:
            raise ConnectionError(f"{address} refuses: {' '.join(str(error).split())}; see to the server") from error
        finally:
            client.close()

    def _address(self, folder: Path) -> str:
        return self._config.uri or str(folder / _FILE)


@final
class _Proposer:
    def __init__(self, index: MilvusIndex, folder: Path, collection: str) -> None:
        self._index, self._folder, self._collection = index, folder, collection

    def propose(self, queries: NDArray[np.float32], count: int, limits: Limits) -> Proposals:
        """Search with the limits as an expression on the scalar fields; Milvus gives no bound."""
        rows = np.full((len(queries), min(count, _MOST)), -1, dtype=np.int64)
        with self._index._client(self._folder) as client:
            found = client.search(
                self._collection,
                data=list(queries),
                limit=rows.shape[1],
                filter=_expression(limits),
                search_params={"metric_type": "IP"},
                output_fields=["row"],
            )
        for query, hits in enumerate(found):
            rows[query, : len(hits)] = [hit["row"] for hit in hits]
        return Proposals(rows=rows)


def _schema(size: int) -> Any:
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("row", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=size)
    schema.add_field("mass", DataType.DOUBLE)
    schema.add_field("formula", DataType.VARCHAR, max_length=256)
    return schema


def _params(index: str) -> dict[str, int]:
    return {"IVF_FLAT": {"nlist": 1024}, "HNSW": {"M": 32, "efConstruction": 200}}.get(index, {})


def _expression(limits: Limits) -> str:
    """Return limits as Milvus reads them.

    Example:
        >>> _expression(Limits(window=(100.0, 100.5), formula="CH4", removed=np.array([3, 5]), rows=None))
        "mass >= 100.0 and mass <= 100.5 and formula == 'CH4' and row not in [3, 5]"
    """
    parts = []
    if limits.window is not None:
        parts += [f"mass >= {limits.window[0]!r}", f"mass <= {limits.window[1]!r}"]
    if limits.formula is not None:
        parts.append(f"formula == {limits.formula!r}")
    if len(limits.removed):
        parts.append(f"row not in {limits.removed.tolist()}")
    return " and ".join(parts)


def _away(address: str, uri: str | None) -> str:
    if uri is None:
        return f"Milvus Lite cannot open {address!r}; make the index again, or install 'molchord[milvus]'"
    return (
        f"no Milvus server answers at {address!r}; start one (`docker compose up -d` with Milvus's compose file), or "
        "make the index with another `uri`, or none for a file"
    )
