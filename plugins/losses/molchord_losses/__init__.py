"""Built-in losses: one module holds each one's configuration and record, the mathematics is beside it."""

from __future__ import annotations

from molchord.api import LossRecord, hookimpl
from molchord_losses.all_pairs import ALL_PAIRS
from molchord_losses.clip_pairs import CLIP_PAIRS
from molchord_losses.graph_centered import GRAPH_CENTERED
from molchord_losses.margin_contrastive import MARGIN_CONTRASTIVE
from molchord_losses.pair_bce import PAIR_BCE
from molchord_losses.sigmoid import SIGMOID
from molchord_losses.tanimoto_infonce import TANIMOTO_INFONCE

__all__ = ["molchord_losses"]


@hookimpl
def molchord_losses() -> list[LossRecord]:
    """Return the losses of this package.

    Example:
        >>> [record.name for record in molchord_losses()]
        ['clip_pairs', 'graph_centered', 'all_pairs', 'tanimoto_infonce', 'pair_bce', 'margin_contrastive', 'sigmoid']
    """
    return [CLIP_PAIRS, GRAPH_CENTERED, ALL_PAIRS, TANIMOTO_INFONCE, PAIR_BCE, MARGIN_CONTRASTIVE, SIGMOID]
