"""The model graph: from YAML or Python objects to a validated, resolved graph. Torch-free."""

from molchord.graph.resolve import EncoderNode, LossNode, ModalityNode, ModelGraph, Use, from_dict, load

__all__ = ["EncoderNode", "LossNode", "ModalityNode", "ModelGraph", "Use", "from_dict", "load"]
