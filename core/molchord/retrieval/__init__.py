"""The mathematics of retrieval: scores, exact top-k search, ranks and metrics."""

from molchord.retrieval.scores import MAPS, MODES, pooled, scores

__all__ = ["MAPS", "MODES", "pooled", "scores"]
