"""faiss in memory: configuration and record."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from molchord.api import Config, Index, IndexRecord

__all__ = ["FAISS", "FaissConfig"]


def _filtered(factory: str) -> str:
    if not factory.startswith(("Flat", "IVF", "HNSW")):
        raise ValueError(f"faiss index {factory!r} cannot be filtered; take 'Flat', 'IVF...' or 'HNSW...'")
    return factory


class FaissConfig(Config):
    """What faiss builds, and how it searches.

    Example:
        >>> FaissConfig(factory="IVF1024,Flat", parameters="nprobe=16").factory
        'IVF1024,Flat'
    """

    factory: Annotated[str, AfterValidator(_filtered)] = Field(
        default="Flat",
        description="What faiss's `index_factory` makes: 'Flat' searches all, so that its hits are proven; 'HNSW32' or "
        "'IVF1024,Flat' search a part.",
    )
    parameters: Annotated[str, Field(pattern=r"^(\w+=\w+(,\w+=\w+)*)?$")] = Field(
        default="", description="Settings of a search as faiss writes them, such as 'efSearch=64' or 'nprobe=16'."
    )


def build(config: FaissConfig) -> Index:
    """Return the index; numpy is imported here, and faiss where an index is written or opened."""
    from molchord_indexes.faiss_index import FaissIndex

    return FaissIndex(**dict(config))


FAISS = IndexRecord(
    name="faiss",
    summary="faiss in memory, by any factory that can be filtered",
    api=1,
    config=FaissConfig,
    build=build,
    install="molchord[faiss]",
)
