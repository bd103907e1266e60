"""Milvus, as a file or on a server: configuration and record."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from molchord.api import Config, Index, IndexRecord

__all__ = ["MILVUS", "MilvusConfig"]


class MilvusConfig(Config):
    """Where Milvus runs, and what it builds.

    Example:
        >>> MilvusConfig(uri="http://localhost:19530").timeout
        10.0
    """

    uri: str | None = Field(
        default=None,
        description="Address of a Milvus server, such as 'http://localhost:19530'; none: a Milvus Lite file in the "
        "index's folder.",
    )
    index: Literal["AUTOINDEX", "FLAT", "IVF_FLAT", "HNSW"] = Field(
        default="AUTOINDEX", description="Type of index that Milvus builds."
    )
    rows: Annotated[int, Field(gt=0)] = Field(default=1000, description="Candidates sent per request.")
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default=10.0, description="Longest wait for the server, seconds."
    )


def build(config: MilvusConfig) -> Index:
    """Return the index; numpy is imported here, and Milvus where an index is written or opened."""
    from molchord_indexes.milvus_index import MilvusIndex

    return MilvusIndex(**dict(config))


MILVUS = IndexRecord(
    name="milvus",
    summary="Milvus, as a file or on a server, filtered by mass and formula there",
    api=1,
    config=MilvusConfig,
    build=build,
    install="molchord[milvus]",
)
