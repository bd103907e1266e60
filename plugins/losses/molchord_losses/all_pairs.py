"""Contrast of every two modalities: configuration and record. Letters as in `graph_centered`."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from molchord.api import LossRecord
from molchord_losses.settings import Contrast

__all__ = ["ALL_PAIRS", "AllPairsConfig"]


class AllPairsConfig(Contrast):
    r"""Contrast of every two modalities, as in VibraCLIP's all-pairs training.

    In words: of all molecules of the batch, each measurement must pick the measurements of its own molecule in every
    other modality. With L(A, B) of `GraphCenteredConfig` and P pairs of modalities (Rocabert-Oriols et al. 2025,
    equation 5)::

        L = 1/P sum_{A, B} L(A, B)

    ``form: vibraclip`` is the loss of VibraCLIP's published code: as in `GraphCenteredConfig`, with the candidate as
    the centre. Two modalities A and B of which neither is the candidate, A the one whose name sorts first, count in
    the direction from A to B alone, and their products x^A_i . x^B_j enter the mean K_ij as a further term where entry
    i has both. With a structure, IR and Raman this makes five directions and four terms of K, as published.

    Requirements:
        At least two molecules per batch that have two modalities in common.
    Inputs:
        Unit embeddings; ``vibraclip``: raw embeddings. Entries that lack a modality of a pair do not take part in it.
    Recommendations:
        The default where molecules often lack a measurement: every two that a molecule has are used.
    Relations:
        `GraphCenteredConfig` leaves the pairs of spectra out; `TanimotoInfonceConfig` has softer targets.

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
        >>> loss = ALL_PAIRS.build(AllPairsConfig(), names, "structure")
        >>> len(loss(batch).per_pair), round(loss.temperatures()["ir", "raman"], 4)
        (3, 0.07)
    """


def build(config: AllPairsConfig, modalities: tuple[str, ...], candidate: str | None) -> Any:
    """Return the loss; torch is imported here, not before."""
    from molchord_losses.clip_loss import contrast

    return contrast(config.form, tuple(combinations(modalities, 2)), config.temperature, candidate)


ALL_PAIRS = LossRecord(
    name="all_pairs",
    summary="contrast of every two modalities",
    api=1,
    config=AllPairsConfig,
    build=build,
)
