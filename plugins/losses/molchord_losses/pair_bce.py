"""Binary cross-entropy of single pairs: configuration and record. Letters as in `graph_centered`."""

from __future__ import annotations

from itertools import combinations
from typing import Any, Literal

from pydantic import Field

from molchord.api import Config, LossRecord
from molchord_losses.pairs import in_graph_order
from molchord_losses.settings import Pairs

__all__ = ["PAIR_BCE", "PairBceConfig"]


class PairBceConfig(Config):
    r"""Binary cross-entropy of pairs: whether two measurements are of one molecule or of two.

    In words: molvis's first loss ("Molecular Vision", PNNL 2024, 2.5.1). With p(a, b) the probability that two
    embeddings are of one molecule, y_ij the label of a pair and N_i the entries of other molecules than that of i::

        h(y, p) = -y log p - (1 - y) log(1 - p)
        L(A, B) = 1/(2n) sum_i [ h(1, p(a_i, b_i)) + 1/(2 |N_i|) sum_{j in N_i} ( h(y_ij, p(a_i, b_j))
                                                                              + h(y_ij, p(b_i, a_j)) ) ]

    so that pairs of one molecule and of two count the same. molvis draws as many pairs of two molecules as there are of
    one at random; this is the mean of all such draws. With cosine c and length d = |a - b|, `distance` means::

        cosine:   p = (1 + c) / 2
        l2:       p = exp(-d)
        learned:  p = 1 / (1 + exp(-(u c - v d + w))), with u, v and w learned for each pair of modalities

    The report names these three and gives no formula; the formulas are ours. ``labels: hard`` sets y_ij to 0,
    ``labels: tanimoto`` to the Tanimoto similarity of the two molecules' fingerprints.

    Requirements:
        At least two molecules per batch that have both modalities of a pair; for ``tanimoto`` a SMILES for each.
    Inputs:
        Unit embeddings, and for ``tanimoto`` the feature ``fingerprint``. Entries that lack a modality of a pair do
        not take part in it.
    Recommendations:
        To repeat molvis. It learns to tell a molecule from a random other one, which is far from finding it among
        thousands (`pair_accuracy` beside Top-1 in an evaluation); `GraphCenteredConfig` contrasts it with all others.
    Relations:
        `SigmoidConfig` has the same form of ``learned`` and counts every pair of two molecules in full.

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
        >>> loss = PAIR_BCE.build(PairBceConfig(distance="cosine"), names, "structure")
        >>> round(float(loss(batch).total), 4)  # log(2) / 2: own pairs cost nothing, the others are undecided
        0.3466
    """

    pairs: Pairs = Field(default=(), description="Pairs of modalities; none: every two.")
    distance: Literal["cosine", "l2", "learned"] = Field(
        default="learned", description="How a pair becomes the probability of being of one molecule."
    )
    labels: Literal["hard", "tanimoto"] = Field(
        default="hard", description="Label of two molecules: 0, or the similarity of their fingerprints."
    )
    fingerprint: Literal["morgan", "rdkit"] = Field(
        default="rdkit", description="For `tanimoto`; `rdkit` is molvis's, as in `tanimoto_infonce`."
    )


def build(config: PairBceConfig, modalities: tuple[str, ...], candidate: str | None) -> Any:
    """Return the loss; torch is imported here, not before.

    Raises:
        ValueError: A pair does not name a modality of the graph.
    """
    from molchord_losses.pairwise import PairBce, TanimotoPairBce

    pairs = in_graph_order(config.pairs or tuple(combinations(modalities, 2)), modalities)
    if config.labels == "hard":
        return PairBce(pairs, config.distance)
    return TanimotoPairBce(pairs, config.distance, config.fingerprint)


PAIR_BCE = LossRecord(
    name="pair_bce",
    summary="binary cross-entropy of single pairs, of one molecule or of two",
    api=1,
    config=PairBceConfig,
    build=build,
)
