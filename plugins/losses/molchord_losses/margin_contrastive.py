"""Contrastive loss with margins: configuration and record. Letters as in `graph_centered`."""

from __future__ import annotations

from itertools import combinations
from typing import Any, Literal

from pydantic import Field, model_validator

from molchord.api import Config, LossRecord
from molchord_losses.pairs import in_graph_order
from molchord_losses.settings import Pairs

__all__ = ["MARGIN_CONTRASTIVE", "MarginContrastiveConfig"]


class MarginContrastiveConfig(Config):
    r"""Contrastive loss of pairs with a positive and a negative margin.

    In words: measurements of one molecule are pulled together until their distance d is the positive margin m+,
    those of two molecules are pushed apart until it is the negative margin m- (Hadsell et al. 2006, equation 4, with
    m+; "Molecular Vision", PNNL 2024, 2.5.2). With N_i the entries of other molecules than that of i::

        L(A, B) = 1/(2n) sum_i [ max(0, d(a_i, b_i) - m+)^2
                                 + 1/(2 |N_i|) sum_{j in N_i} ( max(0, m- - d(a_i, b_j))^2
                                                              + max(0, m- - d(b_i, a_j))^2 ) ]

    where d is the length |a - b| of unit embeddings, between 0 and 2, or 1 minus their cosine. Pairs of one molecule
    and of two count the same, as in `PairBceConfig`.

    Requirements:
        At least two molecules per batch that have both modalities of a pair.
    Inputs:
        Unit embeddings. Entries that lack a modality of a pair do not take part in it.
    Recommendations:
        To repeat molvis. Pairs beyond the negative margin teach nothing, so that a large batch is mostly idle.
    Relations:
        `PairBceConfig` judges the same pairs by a probability.

    Example:
        >>> import torch
        >>> from molchord.api import LossBatch
        >>> names, rows = ("structure", "ir"), torch.eye(3)
        >>> batch = LossBatch(
        ...     embeddings=dict.fromkeys(names, rows),
        ...     raw=dict.fromkeys(names, rows),
        ...     present=dict.fromkeys(names, torch.ones(3, dtype=torch.bool)),
        ...     molecule=torch.arange(3),
        ... )
        >>> config = MarginContrastiveConfig(distance="cosine", negative_margin=1.5)
        >>> loss = MARGIN_CONTRASTIVE.build(config, names, "structure")
        >>> round(float(loss(batch).total), 4)  # others are at 1, half a unit short of the margin
        0.125
    """

    pairs: Pairs = Field(default=(), description="Pairs of modalities; none: every two.")
    distance: Literal["cosine", "l2"] = Field(default="l2", description="1 minus the cosine, or the length between.")
    positive_margin: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="Distance of one molecule below which nothing is pulled."
    )
    negative_margin: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="Distance of two molecules above which nothing is pushed."
    )

    @model_validator(mode="after")
    def _apart(self) -> MarginContrastiveConfig:
        if not self.positive_margin < self.negative_margin <= 2:
            raise ValueError(
                f"`positive_margin` {self.positive_margin!r} must be below `negative_margin` {self.negative_margin!r}, "
                "which is at most 2, the longest distance there is"
            )
        return self


def build(config: MarginContrastiveConfig, modalities: tuple[str, ...], candidate: str | None) -> Any:
    """Return the loss; torch is imported here, not before.

    Raises:
        ValueError: A pair does not name a modality of the graph.
    """
    from molchord_losses.pairwise import MarginContrastive

    pairs = in_graph_order(config.pairs or tuple(combinations(modalities, 2)), modalities)
    return MarginContrastive(pairs, config.distance, config.positive_margin, config.negative_margin)


MARGIN_CONTRASTIVE = LossRecord(
    name="margin_contrastive",
    summary="pulls pairs of one molecule within a margin, pushes those of two beyond another",
    api=1,
    config=MarginContrastiveConfig,
    build=build,
)
