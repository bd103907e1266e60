"""The sigmoid loss: configuration and record. Letters as in `graph_centered`."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from pydantic import Field

from molchord.api import Config, LossRecord
from molchord_losses.pairs import in_graph_order
from molchord_losses.settings import Learnable, Pairs, Temperature

__all__ = ["SIGMOID", "SigmoidConfig"]


class SigmoidConfig(Config):
    r"""The sigmoid loss of SigLIP: every pair of the batch is one yes-or-no question.

    In words: each of the n^2 pairs of a batch is judged by itself, with one temperature tau and one bias w for each
    pair of modalities (Zhai et al., Sigmoid Loss for Language Image Pre-Training, 2023, section 3.2)::

        L(A, B) = -1/n sum_i [ log s(a_i . b_i / tau + w) + sum_j log s(-(a_i . b_j / tau + w)) ]

    where s(x) = 1 / (1 + e^-x) and j runs over the entries of other molecules than that of i. Unlike a softmax, it
    needs no sum over the batch.

    Requirements:
        At least two molecules per batch that have both modalities of a pair.
    Inputs:
        Unit embeddings. Entries that lack a modality of a pair do not take part in it.
    Recommendations:
        The defaults are the paper's: tau 0.1 and w -10 before training, for at the start nearly all pairs are of two
        molecules. It was found to help small batches most.
    Relations:
        `AllPairsConfig` has a softmax over the batch in its place; `PairBceConfig` gives all pairs of two molecules
        together the weight of the one pair of one.

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
        >>> loss = SIGMOID.build(SigmoidConfig(), names, "structure")
        >>> total = loss(batch).total.detach()
        >>> round(float(total), 4), round(loss.temperatures()["structure", "ir"], 4)  # log 2, and a little
        (0.6932, 0.1)
    """

    pairs: Pairs = Field(default=(), description="Pairs of modalities; none: every two.")
    temperature: Temperature = Field(
        default=Learnable(initial=0.1), description="One number, or learnable for each pair of modalities."
    )
    bias: float = Field(default=-10.0, allow_inf_nan=False, description="Bias before training, learned for each pair.")


def build(config: SigmoidConfig, modalities: tuple[str, ...], candidate: str | None) -> Any:
    """Return the loss; torch is imported here, not before.

    Raises:
        ValueError: A pair does not name a modality of the graph.
    """
    from molchord_losses.pairwise import Sigmoid

    pairs = in_graph_order(config.pairs or tuple(combinations(modalities, 2)), modalities)
    return Sigmoid(dict.fromkeys(pairs, config.temperature), config.bias)


SIGMOID = LossRecord(
    name="sigmoid",
    summary="every pair of the batch is judged by itself (SigLIP)",
    api=1,
    config=SigmoidConfig,
    build=build,
)
