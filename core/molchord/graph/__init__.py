"""The model graph: from YAML or Python objects to a validated, resolved graph. Torch-free."""

from molchord.graph.nodes import EncoderNode, LossNode, ModalityNode
from molchord.graph.resolve import ModelGraph, Use

__all__ = ["EncoderNode", "LossNode", "ModalityNode", "ModelGraph", "Use"]
