"""Contrast of pairs of modalities with targets from the Tanimoto similarity of fingerprints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from molchord.api import LossBatch, LossOutput, Molecule
from molchord.chem import FingerprintKind, fingerprint_bits
from molchord_losses.entries import Entries, add_gradient, full_precision, mean_over_pairs, products
from molchord_losses.pairs import Pair
from molchord_losses.settings import Learnable
from molchord_losses.temperature import Temperatures

__all__ = ["PrintedInfoNce", "SoftInfoNce", "bit_similarity", "tile_similarity"]

COLUMNS = 4096
"""Fingerprints unpacked at a time: 32 MiB of float32."""


@final
class SoftInfoNce(nn.Module):
    """Cross-entropy with targets softened by Tanimoto similarity; `TanimotoInfonceConfig` has the equation.

    Args:
        temperatures: Temperature of each pair, names in graph order.
        target_temperature: tau_S of the equation.
        kind: Fingerprint.
    """

    def __init__(
        self, temperatures: Mapping[Pair, Learnable | float], target_temperature: float, kind: FingerprintKind
    ) -> None:
        super().__init__()
        self.pairs = tuple(temperatures)
        self.temperature = Temperatures(temperatures)
        self.target_temperature = target_temperature
        self.kind = kind

    def features(self, molecule: Molecule) -> dict[str, NDArray[np.uint8]]:
        """Return the packed fingerprint of a molecule."""
        return {"fingerprint": fingerprint_bits(molecule.smiles, self.kind, molecule.key14)}

    def temperatures(self) -> dict[Pair, float]:
        """Return the temperature of each pair."""
        return self.temperature.values()

    def forward(self, batch: LossBatch) -> LossOutput:
        """Compute the loss of a batch's unit embeddings and fingerprints."""
        with full_precision(batch.molecule):
            names = tuple(dict.fromkeys(name for pair in self.pairs for name in pair))
            embeddings = [batch.embeddings[name] for name in names]
            layout = _Layout(
                packed=batch.features["fingerprint"],
                target_temperature=self.target_temperature,
                pairs=tuple((names.index(first), names.index(second)) for first, second in self.pairs),
                entries=tuple(Entries.of(batch, pair) for pair in self.pairs),
            )
            scales = torch.stack([self.temperature.scale(pair, embeddings[0]) for pair in self.pairs])
            values: Tensor = _SoftCrossEntropy.apply(layout, scales, *embeddings)  # type: ignore[no-untyped-call]
            shares = [entries.mean(value) for entries, value in zip(layout.entries, values, strict=True)]
            return mean_over_pairs(batch, dict(zip(self.pairs, shares, strict=True)))


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """What the cross-entropies of a batch are computed over; `pairs` are positions in the list of embeddings."""

    packed: UInt8[Tensor, "n w"]
    target_temperature: float
    pairs: tuple[tuple[int, int], ...]
    entries: tuple[Entries, ...]

    @property
    def owned(self) -> range:
        return self.entries[0].owned

    @property
    def owns_all(self) -> bool:
        return self.entries[0].owns_all

    def matrices(self) -> list[tuple[int, int, int]]:
        """Return pair, rows' and columns' embedding of each matrix of products.

        A pair has one where its columns serve as the other direction's rows, which takes all entries, else two.
        """
        there = [(pair, i, j) for pair, (i, j) in enumerate(self.pairs)]
        return there if self.owns_all else there + [(pair, j, i) for pair, i, j in there]

    def tiles(self) -> list[tuple[int, int, slice]]:
        """Return first and last entry of each tile, and its place among the owned ones."""
        first = self.owned.start
        return [(start, stop, slice(start - first, stop - first)) for start, stop in self.entries[0].tiles(self.owned)]

    def targets(self, start: int, stop: int, dtype: torch.dtype) -> Float[Tensor, "t n"]:
        """Return unnormalised targets of entries `start` to `stop`, 1 for an entry itself."""
        return tile_similarity(self.packed, start, stop, dtype).sub_(1).div_(self.target_temperature).exp_()


class _SoftCrossEntropy(torch.autograd.Function):
    """Cross-entropy of each pair (p) and owned entry (r), mean of both directions; the backward pass forms tiles again.

    A tile's fingerprints are compared once for all pairs. As similarity is symmetric, the column sums of a tile are
    the other direction's row sums; where several processes share a batch, each needs that direction's own rows.
    """

    @staticmethod
    def forward(ctx: Any, layout: _Layout, scales: Tensor, *embeddings: Tensor) -> Float[Tensor, "p r"]:
        pairs, rows = len(layout.pairs), len(layout.owned)
        target_sum = scales.new_empty(pairs, rows)
        expected_logit = scales.new_zeros(pairs, rows)  # under the targets, before they are divided by their sum
        by_row = scales.new_empty(len(layout.matrices()), rows)  # log partitions
        by_column = scales.new_full((pairs, rows if layout.owns_all else 0), -torch.inf)
        for start, stop, own in layout.tiles():
            targets = layout.targets(start, stop, scales.dtype)
            for number, (pair, i, j) in enumerate(layout.matrices()):
                apart = layout.entries[pair].told_apart(start, stop)
                logits = products(embeddings[i], embeddings[j], scales[pair], start, stop)
                weight = targets.masked_fill(~apart, 0)
                target_sum[pair, own] = weight.sum(dim=1)
                weight.mul_(logits)
                expected_logit[pair, own] += weight.sum(dim=1)
                logits.masked_fill_(~apart, -torch.inf)
                by_row[number, own] = logits.logsumexp(dim=1)
                if layout.owns_all:
                    expected_logit[pair] += weight.sum(dim=0)
                    by_column[pair] = torch.logaddexp(by_column[pair], logits.logsumexp(dim=0))
                del apart, logits, weight  # or the next pair's would be formed alongside them
            del targets
        ctx.save_for_backward(target_sum, by_row, by_column, scales, *embeddings)
        ctx.layout = layout
        back = by_column if layout.owns_all else by_row[pairs:]
        return (by_row[:pairs] + back - expected_logit / target_sum) / 2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_value: Tensor) -> tuple[Tensor | None, ...]:
        target_sum, by_row, by_column, scales, *embeddings = ctx.saved_tensors
        layout: _Layout = ctx.layout
        d_row = d_value / 2
        d_target = d_row / target_sum
        d_scales, d_embeddings = torch.zeros_like(scales), [torch.zeros_like(e) for e in embeddings]
        with full_precision(scales):
            for start, stop, own in layout.tiles():
                targets = layout.targets(start, stop, scales.dtype)
                for number, (pair, i, j) in enumerate(layout.matrices()):
                    a, b, scale = embeddings[i], embeddings[j], scales[pair]
                    apart = layout.entries[pair].told_apart(start, stop)
                    logits = products(a, b, scale, start, stop).masked_fill_(~apart, -torch.inf)
                    share = (logits - by_row[number, own, None]).exp_().mul_(d_row[pair, own, None])
                    factor = d_target[pair, own, None]
                    if layout.owns_all:
                        share += logits.sub_(by_column[pair]).exp_().mul_(d_row[pair])
                        factor = factor + d_target[pair]
                    share -= targets.masked_fill(~apart, 0).mul_(factor)
                    d_scales[pair] += add_gradient(share, a, b, scale, start, d_embeddings[i], d_embeddings[j])
                    del apart, logits, share, factor
                del targets
        return None, d_scales, *d_embeddings


@final
class PrintedInfoNce(nn.Module):
    """Equation 3 of the paper of molvis; `TanimotoInfonceConfig` has it, and what is wrong with it.

    Args:
        pairs: Pairs of modalities, names in graph order.
        kind: Fingerprint.
    """

    def __init__(self, pairs: Sequence[Pair], kind: FingerprintKind) -> None:
        super().__init__()
        self.pairs = tuple(pairs)
        self.kind = kind

    def features(self, molecule: Molecule) -> dict[str, NDArray[np.uint8]]:
        """Return the packed fingerprint of a molecule."""
        return {"fingerprint": fingerprint_bits(molecule.smiles, self.kind, molecule.key14)}

    def forward(self, batch: LossBatch) -> LossOutput:
        """Compute the loss of a batch's unit embeddings and fingerprints."""
        with full_precision(batch.molecule):
            return mean_over_pairs(batch, {pair: self._share(batch, pair) for pair in self.pairs})

    def _share(self, batch: LossBatch, pair: Pair) -> Float[Tensor, ""]:
        a, b = (batch.embeddings[name] for name in pair)
        packed = batch.features["fingerprint"]
        entries = Entries.of(batch, pair)

        def tile(start: int, stop: int) -> Float[Tensor, " t"]:
            similarity = tile_similarity(packed, start, stop, a.dtype)
            itself = torch.arange(start, stop, device=a.device)[:, None] == torch.arange(len(a), device=a.device)
            counted = entries.told_apart(start, stop) & ((similarity != 1) | itself)
            values = [
                (cosines - similarity).abs().masked_fill(~counted, -torch.inf).logsumexp(dim=1)
                for cosines in (a[start:stop] @ b.T, b[start:stop] @ a.T)
            ]
            return (values[0] + values[1]) / 2

        own = (a[entries.rows] * b[entries.rows]).sum(dim=1)
        return entries.mean(entries.tiled(tile, entries.owned) - own)


def bit_similarity(
    a: UInt8[Tensor, "t w"], b: UInt8[Tensor, "n w"], dtype: torch.dtype = torch.float32
) -> Float[Tensor, "t n"]:
    """Compute the Tanimoto similarity of packed fingerprints on their device: `molchord.chem.tanimoto` in torch.

    Example:
        >>> bit_similarity(torch.tensor([[3]], dtype=torch.uint8), torch.tensor([[1], [3]], dtype=torch.uint8))
        tensor([[0.5000, 1.0000]])
    """
    left = _unpacked(a)
    tiles = []
    for start in range(0, max(1, len(b)), COLUMNS):
        right = _unpacked(b[start : start + COLUMNS])
        # Counts of bits are whole numbers below 2^24, so float32 holds them exactly.
        shared = (left @ right.T).to(dtype)
        either = (left.sum(dim=1)[:, None] + right.sum(dim=1)).to(dtype) - shared
        tiles.append(shared / either.clamp(min=1))
    return torch.cat(tiles, dim=1)


def tile_similarity(packed: UInt8[Tensor, "n w"], start: int, stop: int, dtype: torch.dtype) -> Float[Tensor, "t n"]:
    """Compute rows `start` to `stop` of the similarity matrix, 1 on the diagonal even for an empty fingerprint."""
    similarity = bit_similarity(packed[start:stop], packed, dtype)
    if stop > start:
        similarity.diagonal(offset=start).fill_(1)
    return similarity


def _unpacked(packed: UInt8[Tensor, "n w"]) -> Float[Tensor, "n bits"]:
    shifts = torch.arange(7, -1, -1, device=packed.device, dtype=torch.uint8)
    return ((packed[:, :, None] >> shifts) & 1).flatten(1).float()
