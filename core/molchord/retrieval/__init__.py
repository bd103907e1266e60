"""From a query's embeddings to ranked candidates: maps and modes, libraries, confidence."""

from molchord.retrieval.library import Entry, Hit, Library
from molchord.retrieval.scores import MAPS, MODES, pooled, scores

__all__ = ["MAPS", "MODES", "Entry", "Hit", "Library", "pooled", "scores"]
