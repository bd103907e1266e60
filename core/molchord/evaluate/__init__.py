"""How well a run finds molecules: queries, pools, metrics with intervals, baselines, split audit, report."""

from molchord.evaluate.embedded import Embedded, Spectra
from molchord.evaluate.evaluation import Baselines, OwnSimilarity, evaluate
from molchord.evaluate.results import Evaluation, Row, SplitAudit

__all__ = ["Baselines", "Embedded", "Evaluation", "OwnSimilarity", "Row", "Spectra", "SplitAudit", "evaluate"]
