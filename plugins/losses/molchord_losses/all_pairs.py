"""Contrast of every two modalities: configuration and record.

Letters in the equation: a_i and b_i are the unit embeddings of entry i in two modalities A and B, tau is the pair's
temperature. Every sum over j runs over the entries that have both modalities and belong to another molecule than entry
i, and over j = i.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

from pydantic import Field, model_validator

from molchord.api import Config, LossRecord
from molchord_losses.settings import Form, Learnable, Temperature, number_where_published

__all__ = ["ALL_PAIRS", "AllPairsConfig"]


class AllPairsConfig(Config):
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

    form: Form = "infonce"
    temperature: Temperature = Field(
        default=Learnable(), description="One number, or learnable for each pair; `vibraclip` was published with 141."
    )

    @model_validator(mode="after")
    def _published(self) -> AllPairsConfig:
        number_where_published(self.form, self.temperature)
        return self


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
