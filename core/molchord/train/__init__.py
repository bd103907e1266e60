"""Training a model graph: the loop, the optimisation, the dry run."""

from molchord.train.trainer import Trainer

__all__ = ["Trainer"]
