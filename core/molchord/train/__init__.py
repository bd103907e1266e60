"""Training a model graph: the loop, the optimisation, the dry run."""

from molchord.train.trainer import Trainer, choose_device

__all__ = ["Trainer", "choose_device"]
