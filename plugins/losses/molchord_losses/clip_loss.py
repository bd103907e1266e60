"""Contrast of pairs of modalities: InfoNCE on cosines, and the loss of VibraCLIP's published code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from molchord.api import LossBatch, LossOutput
from molchord_losses.entries import (
    Entries,
    full_precision,
    log_partition,
    log_partitions,
    mean_over_pairs,
    products,
)
from molchord_losses.pairs import Pair
from molchord_losses.settings import Learnable
from molchord_losses.temperature import Temperatures

__all__ = ["InfoNce", "VibraClip", "contrast"]


def contrast(
    form: str,
    pairs: Sequence[Pair],
    temperature: Learnable | float | tuple[Learnable | float, ...],
    centre: str | None,
) -> InfoNce | VibraClip:
    """Return the contrast of pairs of modalities in one of its forms.

    Args:
        form: ``infonce`` or ``vibraclip``.
        pairs: Pairs of modalities, names in graph order.
        temperature: Of all pairs, or of each in turn; one number where the form is ``vibraclip``.
        centre: Modality whose pairs count in both directions in ``vibraclip``; None: no modality.

    Raises:
        ValueError: `temperature` does not fit the form.
    """
    if form == "vibraclip":
        return VibraClip(pairs, centre, _number(temperature))
    each = temperature if isinstance(temperature, tuple) else (temperature,) * len(pairs)
    return InfoNce(dict(zip(pairs, each, strict=True)))


@final
class InfoNce(nn.Module):
    """The symmetric CLIP loss, averaged over pairs of modalities; `GraphCenteredConfig` has the equations.

    Args:
        temperatures: Temperature of each pair, names in graph order.
    """

    def __init__(self, temperatures: Mapping[Pair, Learnable | float]) -> None:
        super().__init__()
        self.pairs = tuple(temperatures)
        self.temperature = Temperatures(temperatures)

    def forward(self, batch: LossBatch) -> LossOutput:
        """Compute the loss of a batch's unit embeddings."""
        with full_precision(batch.molecule):
            return mean_over_pairs(batch, {pair: self._share(batch, pair) for pair in self.pairs})

    def temperatures(self) -> dict[Pair, float]:
        """Return the temperature of each pair."""
        return self.temperature.values()

    def _share(self, batch: LossBatch, pair: Pair) -> Float[Tensor, ""]:
        a, b = (batch.embeddings[name] for name in pair)
        entries = Entries.of(batch, pair)
        scale = self.temperature.scale(pair, a)
        own = (a[entries.rows] * b[entries.rows]).sum(dim=1) * scale
        there, back = log_partitions(a, b, scale, entries)
        return entries.mean((there + back) / 2 - own)


@final
class VibraClip(nn.Module):
    """The loss of VibraCLIP's published code for any number of modalities; the configurations have the equations.

    It differs from `InfoNce` in all but the idea: products of raw embeddings divided by a large temperature, soft
    targets from the embeddings themselves, multiplied by that temperature, and pairs without the centre in one
    direction. Its temperature is not one of cosines, so it offers none to the geometric mean of retrieval. An entry's
    share, where several processes share a batch, is its row of targets in both directions.

    Args:
        pairs: Pairs of modalities, names in graph order.
        centre: Modality whose pairs count in both directions; None: every pair counts in one.
        temperature: T of the equations.
    """

    def __init__(self, pairs: Sequence[Pair], centre: str | None, temperature: float) -> None:
        super().__init__()
        self.pairs = tuple(pairs)
        self.centre = centre
        self.temperature = temperature

    def forward(self, batch: LossBatch) -> LossOutput:
        """Compute the loss of a batch's raw embeddings."""
        with full_precision(batch.molecule):
            # Absent rows are zero already; this keeps them from getting a gradient by way of the targets.
            raw = {name: torch.where(batch.present[name][:, None], r, 0.0) for name, r in batch.raw.items()}
            shares = {pair: self._share(batch, raw, pair) for pair in self.pairs}
            return mean_over_pairs(batch, shares, {pair: self._directions(pair) for pair in self.pairs})

    def _directions(self, pair: Pair) -> int:
        return 2 if self.centre in pair else 1

    def _share(self, batch: LossBatch, raw: Mapping[str, Tensor], pair: Pair) -> Float[Tensor, ""]:
        # Rows of targets belong to the spectrum; of two spectra to the one whose name sorts first.
        anchor, other = sorted(pair, key=lambda name: (name == self.centre, name))
        anchors, others = raw[anchor], raw[other]
        scale = anchors.new_full((), 1 / self.temperature)
        entries = Entries.of(batch, pair)
        both_ways = self.centre in pair
        back = log_partition(others, anchors, scale, entries, range(len(others))) if both_ways else None

        def tile(start: int, stop: int) -> Float[Tensor, " t"]:
            apart = entries.told_apart(start, stop)
            kernel = self._kernel(raw, batch.present, start, stop) * self.temperature
            target = kernel.masked_fill(~apart, -torch.inf).softmax(dim=1)
            logits = products(anchors, others, scale, start, stop)
            value = logits.masked_fill(~apart, -torch.inf).logsumexp(dim=1) - (target * logits).sum(dim=1)
            return value if back is None else value + (target * (back - logits)).sum(dim=1)

        return entries.mean(entries.tiled(tile, entries.owned)) / self._directions(pair)

    def _kernel(
        self, raw: Mapping[str, Tensor], present: Mapping[str, Tensor], start: int, stop: int
    ) -> Float[Tensor, "t n"]:
        """Average, over what each of the entries `start` to `stop` has, its products with all entries."""
        spectra = [tuple(sorted(pair)) for pair in self.pairs if self.centre not in pair]
        terms = [(name, name) for name in dict.fromkeys(name for pair in self.pairs for name in pair)] + spectra
        products, counts = [], []
        for left, right in terms:
            both = (present[left] & present[right])[start:stop, None]
            products.append((raw[left][start:stop] * both) @ raw[right].T)
            counts.append(both)
        return sum(products[1:], products[0]) / torch.cat(counts, dim=1).sum(dim=1, keepdim=True).clamp(min=1)


def _number(temperature: object) -> float:
    if not isinstance(temperature, float):
        raise ValueError(f"form 'vibraclip' takes one number as `temperature`, got {temperature!r}")
    return temperature
