"""Candidates proposed by Milvus, from a Milvus Lite file or, by the same code, from a server."""

from __future__ import annotations

import json
import logging
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from molchord.api import IndexedVectors, Limits, Proposals, Proposer

__all__ = ["MilvusIndex"]

_FILE, _ABOUT = "milvus.db", "collection.json"
_MOST = 16384  # candidates that Milvus returns at most
_FIELDS = ("row", "vector", "mass", "formula")
_PARAMETERS = {"IVF_FLAT": {"nlist": 1024}, "HNSW": {"M": 32, "efConstruction": 200}}


@final
class MilvusIndex:
    """Writes and opens collections of rows with vector, mass and formula.

    Args:
        uri: Address of a server; None: a file in the index's folder.
        index: Type of index that Milvus builds.
        rows: Candidates sent per request.
        timeout: Longest wait for the server, seconds.
    """

    def __init__(
        self, uri: str | None = None, index: str = "AUTOINDEX", rows: int = 1000, timeout: float = 10.0
    ) -> None:
        self._uri, self._index, self._rows, self._timeout = uri, index, rows, timeout

    def write(self, folder: Path, vectors: IndexedVectors) -> None:
        """Make a collection of its own name, so that a server may hold those of many libraries."""
        collection = f"molchord_{uuid.uuid4().hex}"
        client, close = self._connect(folder)
        try:
            with _refusals(self._address(folder)):
                self._fill(client, collection, vectors)
        finally:
            close()
        (folder / _ABOUT).write_text(json.dumps({"collection": collection}), encoding="utf-8")

    def open(self, folder: Path) -> Proposer:
        """Load the collection, for as long as the proposer lives; a file is locked meanwhile."""
        collection = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))["collection"]
        client, close = self._connect(folder)
        try:
            with _refusals(self._address(folder)):
                client.load_collection(collection)
        except BaseException:
            close()
            raise
        proposer = _Proposer(client, collection, self._address(folder))
        weakref.finalize(proposer, close)
        return proposer

    def _fill(self, client: Any, collection: str, vectors: IndexedVectors) -> None:
        client.create_collection(collection, schema=_schema(vectors.size))
        for block in vectors:
            columns = zip(block.rows.tolist(), block.vectors, block.exact_mass.tolist(), block.formula, strict=True)
            data = [dict(zip(_FIELDS, column, strict=True)) for column in columns]
            for start in range(0, len(data), self._rows):
                client.insert(collection, data[start : start + self._rows])
        client.flush(collection)
        kind = self._index
        index = client.prepare_index_params()
        index.add_index("vector", index_type=kind, metric_type="IP", params=_PARAMETERS.get(kind, {}))
        client.create_index(collection, index)

    def _connect(self, folder: Path) -> tuple[Any, Callable[[], None]]:
        """Return a client, and what closes it.

        Raises:
            ConnectionError: There is no connection.
        """
        import pymilvus

        uri, address = self._uri, self._address(folder)
        for name in ("milvus_lite", "pymilvus"):  # what they log is reported once, in the error
            logging.getLogger(name).addHandler(logging.NullHandler())
        if uri is None:
            from milvus_lite.server_manager import server_manager_instance as local
        try:
            client = pymilvus.MilvusClient(address, timeout=self._timeout)
        except (pymilvus.MilvusException, OSError) as error:
            raise ConnectionError(_away(address, uri)) from error

        def close() -> None:
            client.close()
            if uri is None:
                local.release_server(address)

        return client, close

    def _address(self, folder: Path) -> str:
        return self._uri or str(folder / _FILE)


@final
class _Proposer:
    def __init__(self, client: Any, collection: str, address: str) -> None:
        self._client, self._collection, self._address = client, collection, address

    def propose(self, queries: NDArray[np.float32], count: int, limits: Limits) -> Proposals:
        """Search with the limits as an expression on the scalar fields; Milvus gives no bound."""
        rows = np.full((len(queries), min(count, _MOST)), -1, dtype=np.int64)
        with _refusals(self._address):
            found = self._client.search(
                self._collection,
                data=list(queries),
                limit=rows.shape[1],
                filter=_expression(limits),
                search_params={"metric_type": "IP"},
            )
        for query, hits in enumerate(found):
            rows[query, : len(hits)] = [hit["row"] for hit in hits]
        return Proposals(rows=rows)


@contextmanager
def _refusals(address: str) -> Iterator[None]:
    """Turn what a server refuses into a sentence."""
    from pymilvus import MilvusException

    try:
        yield
    except MilvusException as error:
        reason = " ".join(error.message.split())
        raise ConnectionError(f"{address!r} refuses ({reason}); see to the server, or make the index again") from error


def _schema(size: int) -> Any:
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("row", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=size)
    schema.add_field("mass", DataType.DOUBLE)
    schema.add_field("formula", DataType.VARCHAR, max_length=256)
    return schema


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
        return f"Milvus Lite cannot open {address!r}, maybe since another process searches it; wait, or use a server"
    return (
        f"no Milvus server answers at {address!r}; start one (`docker compose up -d` with Milvus's compose file), or "
        "make the index with another `uri`, or none for a file"
    )
