"""Built-in indexes: one module holds each one's configuration and record, the work is beside it."""

from __future__ import annotations

from molchord.api import IndexRecord, hookimpl
from molchord_indexes.faiss import FAISS
from molchord_indexes.milvus import MILVUS

__all__ = ["molchord_indexes"]


@hookimpl
def molchord_indexes() -> list[IndexRecord]:
    """Return the indexes of this package.

    Example:
        >>> [record.name for record in molchord_indexes()]
        ['faiss', 'milvus']
    """
    return [FAISS, MILVUS]
