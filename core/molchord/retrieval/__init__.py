"""The mathematics of retrieval: scores, exact top-k search, ranks and metrics."""

from molchord.retrieval.scores import pooled, scores

__all__ = ["pooled", "scores"]
