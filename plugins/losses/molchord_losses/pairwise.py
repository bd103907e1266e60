"""Losses that judge pairs of measurements one by one: of one molecule, or of two.

Shapes: `n` entries of the batch, `t` entries of a tile, `d` embedding size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias, final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from molchord.api import LossBatch, LossOutput, Molecule
from molchord.chem import FingerprintKind, fingerprint_bits
from molchord_losses.entries import Entries, full_precision, mean_over_pairs
from molchord_losses.pairs import Pair
from molchord_losses.settings import Learnable
from molchord_losses.tanimoto_infonce_loss import tile_similarity
from molchord_losses.temperature import Temperatures, pair_key

__all__ = ["MarginContrastive", "PairBce", "Sigmoid", "TanimotoPairBce"]

Distance: TypeAlias = Literal["cosine", "l2", "learned"]
OwnCosts: TypeAlias = Callable[[Tensor], Tensor]
"""What pairs of one molecule cost, by their cosines (t,)."""

OtherCosts: TypeAlias = Callable[[Tensor, int, int], Tensor]
"""What pairs of two molecules cost, by their cosines (t, n), and the first entry and the one after the last."""

_NEAREST = 1e-6
"""How far a cosine is kept from 1 and -1, where a logarithm ends and a distance has no direction."""


@final
class PairBce(nn.Module):
    """Binary cross-entropy of "one molecule" against "two"; `PairBceConfig` has the equations.

    Args:
        pairs: Pairs of modalities, names in graph order.
        distance: How a pair becomes a probability.
    """

    def __init__(self, pairs: Sequence[Pair], distance: Distance) -> None:
        super().__init__()
        self.pairs = tuple(pairs)
        self.judge = _Judge(pairs, distance)

    def forward(self, batch: LossBatch) -> LossOutput:
        """Compute the loss of a batch's unit embeddings."""
        with full_precision(batch.molecule):
            return mean_over_pairs(batch, {pair: self._share(batch, pair) for pair in self.pairs})

    def _share(self, batch: LossBatch, pair: Pair) -> Float[Tensor, ""]:
        def one(cosines: Tensor) -> Tensor:
            return -self.judge.logs(pair, cosines)[0]

        def two(cosines: Tensor, _start: int, _stop: int) -> Tensor:
            return -self.judge.logs(pair, cosines)[1]

        return _balanced(batch, pair, one, two)


@final
class TanimotoPairBce(nn.Module):
    """`PairBce` whose label of two molecules is their Tanimoto similarity.

    Args:
        pairs: Pairs of modalities, names in graph order.
        distance: How a pair becomes a probability.
        kind: Fingerprint.
    """

    def __init__(self, pairs: Sequence[Pair], distance: Distance, kind: FingerprintKind) -> None:
        super().__init__()
        self.pairs = tuple(pairs)
        self.judge = _Judge(pairs, distance)
        self.kind = kind

    def features(self, molecule: Molecule) -> dict[str, NDArray[np.uint8]]:
        """Return the packed fingerprint of a molecule."""
        return {"fingerprint": fingerprint_bits(molecule.smiles, self.kind, molecule.key14)}

    def forward(self, batch: LossBatch) -> LossOutput:
        """Compute the loss of a batch's unit embeddings and fingerprints."""
        with full_precision(batch.molecule):
            return mean_over_pairs(batch, {pair: self._share(batch, pair) for pair in self.pairs})

    def _share(self, batch: LossBatch, pair: Pair) -> Float[Tensor, ""]:
        packed = batch.features["fingerprint"]

        def one(cosines: Tensor) -> Tensor:
            return -self.judge.logs(pair, cosines)[0]

        def two(cosines: Tensor, start: int, stop: int) -> Tensor:
            same, different = self.judge.logs(pair, cosines)
            label = tile_similarity(packed, start, stop, cosines.dtype)
            return -label * same - (1 - label) * different

        return _balanced(batch, pair, one, two)


@final
class MarginContrastive(nn.Module):
    """Contrastive loss with a margin on either side; `MarginContrastiveConfig` has the equation.

    Args:
        pairs: Pairs of modalities, names in graph order.
        distance: ``l2`` or ``cosine``, 1 minus the cosine.
        positive: Distance below which a pair of one molecule costs nothing.
        negative: Distance above which a pair of two molecules costs nothing.
    """

    def __init__(
        self, pairs: Sequence[Pair], distance: Literal["cosine", "l2"], positive: float, negative: float
    ) -> None:
        super().__init__()
        self.pairs = tuple(pairs)
        self.distance = distance
        self.positive = positive
        self.negative = negative

    def forward(self, batch: LossBatch) -> LossOutput:
        """Compute the loss of a batch's unit embeddings."""
        with full_precision(batch.molecule):
            return mean_over_pairs(batch, {pair: _balanced(batch, pair, self._one, self._two) for pair in self.pairs})

    def _one(self, cosines: Tensor) -> Tensor:
        return (self._apart(cosines) - self.positive).clamp(min=0).square()

    def _two(self, cosines: Tensor, _start: int, _stop: int) -> Tensor:
        return (self.negative - self._apart(cosines)).clamp(min=0).square()

    def _apart(self, cosines: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return _length(cosines) if self.distance == "l2" else 1 - cosines


@final
class Sigmoid(nn.Module):
    """The sigmoid loss of SigLIP; `SigmoidConfig` has the equation.

    Args:
        temperatures: Temperature of each pair, names in graph order.
        bias: Bias of every pair before training; it is learned.
    """

    def __init__(self, temperatures: Mapping[Pair, Learnable | float], bias: float) -> None:
        super().__init__()
        self.pairs = tuple(temperatures)
        self.temperature = Temperatures(temperatures)
        self.bias = nn.ParameterDict({pair_key(pair): nn.Parameter(torch.tensor(bias)) for pair in self.pairs})

    def temperatures(self) -> dict[Pair, float]:
        """Return the temperature of each pair."""
        return self.temperature.values()

    def forward(self, batch: LossBatch) -> LossOutput:
        """Compute the loss of a batch's unit embeddings."""
        with full_precision(batch.molecule):
            return mean_over_pairs(batch, {pair: self._share(batch, pair) for pair in self.pairs})

    def _share(self, batch: LossBatch, pair: Pair) -> Float[Tensor, ""]:
        a, b = (batch.embeddings[name] for name in pair)
        entries, scale = Entries.of(batch, pair), self.temperature.scale(pair, a)
        bias = self.bias[pair_key(pair)].to(a)

        def tile(start: int, stop: int) -> Float[Tensor, " t"]:
            own = functional.softplus(-_own(a, b, start, stop) * scale - bias)
            costs = functional.softplus(a[start:stop] @ b.T * scale + bias)
            return own + torch.where(_negatives(entries, start, stop), costs, 0.0).sum(dim=1)

        return entries.mean(entries.tiled(tile, entries.owned))


# --- what they share -------------------------------------------------------------------------------------------------


class _Judge(nn.Module):
    """Logarithms of the probabilities that a pair is of one molecule and of two, by its cosine.

    Args:
        pairs: Pairs of modalities.
        distance: ``learned`` has three parameters a pair: weights of cosine and distance, and a bias.
    """

    def __init__(self, pairs: Sequence[Pair], distance: Distance) -> None:
        super().__init__()
        self.distance = distance
        start = torch.tensor([5.0, 1.0, 0.0])
        self.layer = nn.ParameterDict(
            {pair_key(pair): nn.Parameter(start.clone()) for pair in pairs} if distance == "learned" else {}
        )

    def logs(self, pair: Pair, cosines: Float[Tensor, "*n"]) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
        if self.distance == "cosine":
            kept = cosines.clamp(_NEAREST - 1, 1 - _NEAREST)
            return kept.log1p() - math.log(2), (-kept).log1p() - math.log(2)
        length = _length(cosines)
        if self.distance == "l2":
            return -length, torch.log(-torch.expm1(-length))
        nearness, farness, bias = self.layer[pair_key(pair)].to(cosines)
        logit = nearness * cosines - farness * length + bias
        return functional.logsigmoid(logit), functional.logsigmoid(-logit)


def _length(cosines: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Return the Euclidean distance of unit vectors by their cosine."""
    return (2 - 2 * cosines).clamp(min=2 * _NEAREST).sqrt()


def _negatives(entries: Entries, start: int, stop: int) -> Tensor:
    """Return for entries `start` to `stop` which entries of other molecules they meet, (t, n)."""
    index = torch.arange(len(entries.molecule), device=entries.molecule.device)
    return entries.told_apart(start, stop) & (index[start:stop, None] != index)


def _own(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], start: int, stop: int) -> Float[Tensor, " t"]:
    """Return the cosine of each of the entries `start` to `stop` with itself in the other modality."""
    return (a[start:stop] * b[start:stop]).sum(dim=1)


def _balanced(batch: LossBatch, pair: Pair, one: OwnCosts, two: OtherCosts) -> Float[Tensor, ""]:
    """Return the share of a pair in which pairs of one molecule and of two count the same.

    An entry costs half of what its own pair costs, and half the mean of what its pairs with the other molecules cost,
    in both directions: the mean of drawing one of them at random, without the noise.
    """
    a, b = (batch.embeddings[name] for name in pair)
    entries = Entries.of(batch, pair)

    def tile(start: int, stop: int) -> Float[Tensor, " t"]:
        negative = _negatives(entries, start, stop)
        costs = [two(left[start:stop] @ right.T, start, stop) for left, right in ((a, b), (b, a))]
        sums = torch.where(negative, costs[0] + costs[1], 0.0).sum(dim=1)
        return (one(_own(a, b, start, stop)) + sums / (2 * negative.sum(dim=1).clamp(min=1))) / 2

    return entries.mean(entries.tiled(tile, entries.owned))
