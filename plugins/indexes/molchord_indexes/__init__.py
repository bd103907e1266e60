"""Built-in indexes: records and configurations here, what they do in the modules beside."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Gt
from pydantic import AfterValidator

from molchord.api import Config, Index, IndexRecord, hookimpl

__all__ = ["FAISS", "MILVUS", "FaissConfig", "MilvusConfig", "molchord_indexes"]


def _filtered(factory: str) -> str:
    if not factory.startswith(("Flat", "IVF", "HNSW")):
        raise ValueError(f"faiss index {factory!r} cannot be filtered; take 'Flat', 'IVF...' or 'HNSW...'")
    return factory


class FaissConfig(Config):
    """Configuration of `faiss`.

    Attributes:
        factory: What faiss's `index_factory` makes: "Flat" searches all, so that its hits are proven; "HNSW32" or
            "IVF1024,Flat" search a part.
        parameters: What to search it with, as faiss writes it: "efSearch=64" or "nprobe=16".
    """

    factory: Annotated[str, AfterValidator(_filtered)] = "Flat"
    parameters: str = ""


class MilvusConfig(Config):
    """Configuration of `milvus`.

    Attributes:
        uri: Address of a Milvus server, such as "http://localhost:19530"; None: a Milvus Lite file, in the
            index's folder.
        index: What Milvus builds.
        rows: Candidates that are sent at once.
        timeout: Seconds to wait for the server.
    """

    uri: str | None = None
    index: Literal["AUTOINDEX", "FLAT", "IVF_FLAT", "HNSW"] = "AUTOINDEX"
    rows: Annotated[int, Gt(0)] = 1000
    timeout: Annotated[float, Gt(0)] = 10.0


def _build_faiss(config: FaissConfig) -> Index:
    from molchord_indexes.faiss_index import FaissIndex

    return FaissIndex(config)


def _build_milvus(config: MilvusConfig) -> Index:
    from molchord_indexes.milvus_index import MilvusIndex

    return MilvusIndex(config)


FAISS = IndexRecord(
    name="faiss",
    summary="faiss in memory, by any factory that can be filtered",
    api=1,
    config=FaissConfig,
    build=_build_faiss,
    install="molchord[faiss]",
)

MILVUS = IndexRecord(
    name="milvus",
    summary="Milvus, as a file or on a server, filtered by mass and formula there",
    api=1,
    config=MilvusConfig,
    build=_build_milvus,
    install="molchord[milvus]",
)


@hookimpl
def molchord_indexes() -> list[IndexRecord]:
    """Return the indexes of this package.

    Example:
        >>> [record.name for record in molchord_indexes()]
        ['faiss', 'milvus']
    """
    return [FAISS, MILVUS]
