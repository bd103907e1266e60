"""Contrast of every modality with one centre: configuration and record.

Letters in the equation: a_i and b_i are the unit embeddings of entry i in two modalities A and B, tau is the pair's
temperature. Every sum over j runs over the entries that have both modalities and belong to another molecule than entry
i, and over j = i.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from molchord.api import LossRecord, ModalityName
from molchord_losses.pairs import with_centre
from molchord_losses.settings import Contrast

__all__ = ["GRAPH_CENTERED", "GraphCenteredConfig"]


class GraphCenteredConfig(Contrast):
    r"""Contrast of every modality with one centre, as in VibraCLIP's graph-centered training.

    In words: of all molecules of the batch, each spectrum must pick its own structure and each structure its own
    spectrum. With the centre G, the other modalities S_1 to S_M and n entries that have both modalities of a pair
    (Rocabert-Oriols et al. 2025, equations 1 to 4; a mean over the entries, as in their code, not the printed sum)::

        l(A, B) = -1/n sum_i log( exp(a_i . b_i / tau) / sum_j exp(a_i . b_j / tau) )
        L(A, B) = (l(A, B) + l(B, A)) / 2
        L = 1/M sum_m L(G, S_m)

    ``form: vibraclip`` is the loss of VibraCLIP's published code instead. With raw (unnormalised) embeddings x^m,
    the fixed temperature T and the set M_i of the loss's modalities that entry i has::

        K_ij = 1/|M_i| sum_{m in M_i} x^m_i . x^m_j                       (0 where entry j lacks m)
        t_ij = exp(T K_ij) / sum_k exp(T K_ik)
        spectrum to centre:  -1/n sum_ij t_ij log( exp(s_i . g_j / T) / sum_k exp(s_i . g_k / T) )
        centre to spectrum:  -1/n sum_ij t_ij log( exp(s_i . g_j / T) / sum_k exp(s_k . g_j / T) )

    The second direction weights its rows with columns of t, which need not add up to one; that is how the code reads.
    The total is the mean of all directions. Gradients flow through the targets.

    Requirements:
        A centre: `centre`, or else the graph's candidate. At least two molecules per batch that have both modalities.
    Inputs:
        Unit embeddings; ``vibraclip``: raw embeddings. Entries that lack a modality of a pair do not take part in it.
    Recommendations:
        The default form with its learnable temperature. ``vibraclip`` with ``temperature: 141`` reproduces the
        published recipe; it has no temperature of cosines, so a geometric mean weights all spectra equally.
    Relations:
        `AllPairsConfig` adds the pairs of spectra; `ClipPairsConfig` takes any list of pairs.

    Example:
        >>> import torch
        >>> from molchord.api import LossBatch
        >>> names, rows = ("structure", "ir", "raman"), torch.eye(3)
        >>> batch = LossBatch(
        ...     embeddings=dict.fromkeys(names, rows),
        ...     raw=dict.fromkeys(names, rows),
        ...     present=dict.fromkeys(names, torch.ones(3, dtype=torch.bool)),
        ...     molecule=torch.arange(3),
        ... )
        >>> loss = GRAPH_CENTERED.build(GraphCenteredConfig(temperature=1.0), names, "structure")
        >>> output = loss(batch)
        >>> list(output.per_pair), round(float(output.total), 4)
        ([('structure', 'ir'), ('structure', 'raman')], 0.5514)
    """

    centre: ModalityName | None = Field(
        default=None, description="Modality paired with all others; none: the candidate."
    )


def build(config: GraphCenteredConfig, modalities: tuple[str, ...], candidate: str | None) -> Any:
    """Return the loss; torch is imported here, not before.

    Raises:
        ValueError: There is neither a centre nor a candidate, or the centre is not a modality of the graph.
    """
    centre = candidate if config.centre is None else config.centre
    if centre is None:
        raise ValueError("loss 'graph_centered' got neither `centre` nor a candidate; name one of the two in the graph")
    from molchord_losses.clip_loss import contrast

    return contrast(config.form, with_centre(centre, modalities), config.temperature, centre)


GRAPH_CENTERED = LossRecord(
    name="graph_centered",
    summary="contrast of every modality with one centre, by default the candidate",
    api=1,
    config=GraphCenteredConfig,
    build=build,
)
