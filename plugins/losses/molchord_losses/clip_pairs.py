"""Contrast of named pairs of modalities: configuration and record. Letters as in `graph_centered`."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from molchord.api import Config, LossRecord
from molchord_losses.pairs import in_graph_order, with_centre
from molchord_losses.settings import Form, Learnable, Pairs, Temperature, number_where_published

__all__ = ["CLIP_PAIRS", "ClipPairsConfig"]


class ClipPairsConfig(Config):
    r"""Contrast of named pairs of modalities.

    In words: of all molecules of the batch, each measurement must pick that of its own molecule in the other modality
    of the pair. With L(A, B) of `GraphCenteredConfig` (Radford et al. 2021; Rocabert-Oriols et al. 2025, equations 1
    to 3) and P named pairs::

        L = 1/P sum_{(A, B)} L(A, B)

    ``form: vibraclip`` is the loss of VibraCLIP's published code, as in `AllPairsConfig`, over the named pairs and
    the modalities in them.

    Requirements:
        Pairs of two different modalities, or a candidate. At least two molecules per batch that have both.
    Inputs:
        Unit embeddings; ``vibraclip``: raw embeddings. Entries that lack a modality of a pair do not take part in it.
    Recommendations:
        For a chosen set of pairs, or a temperature of its own for each: ``temperature: [0.05, learnable]``.
    Relations:
        With no pair named it is `GraphCenteredConfig`; with all of them named it is `AllPairsConfig`.

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
        >>> config = ClipPairsConfig(pairs=(("ir", "structure"), ("ir", "raman")), temperature=(0.5, Learnable()))
        >>> loss = CLIP_PAIRS.build(config, names, "structure")
        >>> list(loss(batch).per_pair), round(loss.temperatures()["structure", "ir"], 4)
        ([('structure', 'ir'), ('ir', 'raman')], 0.5)
    """

    pairs: Pairs = Field(default=(), description="Pairs of modalities; none: every other modality with the candidate.")
    form: Form = "infonce"
    temperature: Temperature | tuple[Temperature, ...] = Field(
        default=Learnable(),
        description="One number, or learnable for each pair; a list: one for each of `pairs`, in their order.",
    )

    @model_validator(mode="after")
    def _published(self) -> ClipPairsConfig:
        number_where_published(self.form, self.temperature)
        if isinstance(self.temperature, tuple) and len(self.temperature) != len(self.pairs):
            raise ValueError(
                f"a list of `temperature` needs one for each of `pairs`, got {len(self.temperature)} for "
                f"{len(self.pairs)}; give one for all, or as many"
            )
        return self


def build(config: ClipPairsConfig, modalities: tuple[str, ...], candidate: str | None) -> Any:
    """Return the loss; torch is imported here, not before.

    Raises:
        ValueError: There is neither a pair nor a candidate, or a pair does not name a modality of the graph.
    """
    if config.pairs:
        pairs = in_graph_order(config.pairs, modalities)
    elif candidate is not None:
        pairs = with_centre(candidate, modalities)
    else:
        raise ValueError("loss 'clip_pairs' got neither `pairs` nor a candidate; name one of the two in the graph")
    from molchord_losses.clip_loss import contrast

    return contrast(config.form, pairs, config.temperature, candidate)


CLIP_PAIRS = LossRecord(
    name="clip_pairs",
    summary="contrast of named pairs of modalities",
    api=1,
    config=ClipPairsConfig,
    build=build,
)
