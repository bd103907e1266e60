"""Built-in encoders: one module holds each one's configuration and record, the network is beside it."""

from __future__ import annotations

from molchord.api import EncoderRecord, hookimpl
from molchord_encoders.attentivefp import ATTENTIVEFP
from molchord_encoders.clerms import CLERMS
from molchord_encoders.dimenetpp import DIMENETPP
from molchord_encoders.gine import GINE
from molchord_encoders.mlp import MLP
from molchord_encoders.peak_bag import PEAK_BAG
from molchord_encoders.peak_transformer import PEAK_TRANSFORMER
from molchord_encoders.resnet1d import RESNET1D
from molchord_encoders.vit1d import VIT1D
from molchord_encoders.xception1d import XCEPTION1D

__all__ = ["molchord_encoders"]


@hookimpl
def molchord_encoders() -> list[EncoderRecord]:
    """Return the encoders of this package.

    Example:
        >>> [record.name for record in molchord_encoders()][:6]
        ['dimenetpp', 'gine', 'attentivefp', 'mlp', 'resnet1d', 'xception1d']
    """
    return [
        DIMENETPP, GINE, ATTENTIVEFP, MLP, RESNET1D, XCEPTION1D, VIT1D, PEAK_TRANSFORMER, PEAK_BAG, CLERMS
    ]  # fmt: skip
