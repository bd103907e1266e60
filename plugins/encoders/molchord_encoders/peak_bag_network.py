"""Peaks, and the differences between them, counted on a fine grid folded into a vector."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn
from torch.nn import functional

from molchord.api import Category, PeaksBatch, PeaksSpec, Real
from molchord_encoders.columns import ColumnEmbedding

__all__ = ["PeakBag", "folded"]

_CATEGORY_SHIFT = 104_729  # a prime, so that categories land on other rows whatever their number is
_NEAREST = 1.5  # steps; what is nearer is one peak recorded twice


class PeakBag(nn.Module):
    """Two fine histograms, of positions and of differences between the strongest peaks, through a perceptron.

    Accurate positions name pieces of a molecule (m/z 91.054 is a benzyl cation) and differences name what was lost
    between two of them, whatever the molecule's mass; a fine enough histogram distinguishes both at once, where
    attention over sinusoids has to learn it. The grid is wound up on `rows` numbers, the simplest form of feature
    hashing (Weinberger et al., Feature hashing for large scale multitask learning, ICML 2009), since most of it stays
    empty: with the defaults, positions 163.84 m/z apart share a number, which few fragments do. A peak counts with its
    columns of unit 1 (intensity), a pair with the product of both; each histogram has length 1.

    Args:
        spec: What the batches hold. Real columns in the spectrum's own unit are positions, each with a histogram;
            those of unit 1 are weights; a category chooses other rows of the histograms.
        width: Size of the output.
        hidden: Size of the hidden layers.
        layers: Hidden layers after the one that reads the histograms.
        dropout: Dropout after each hidden layer.
        step: Step of the histograms, in the spectrum's unit.
        rows: Numbers that a histogram's grid is wound up on.
        strongest: Peaks, the strongest ones, whose differences are counted.

    Raises:
        ValueError: No column is a position, or a number is neither position nor weight.

    Example:
        >>> spec = PeaksSpec(unit="m/z", peak={"mz": Real("m/z"), "intensity": Real("1")})
        >>> encoder = PeakBag(spec, width=8, hidden=16, layers=1, step=0.02, rows=512, strongest=20)
        >>> peak = {"mz": torch.tensor([[77.039, 105.034]]), "intensity": torch.tensor([[0.5, 1.0]])}
        >>> encoder(PeaksBatch(peak=peak, mask=torch.tensor([[True, True]]))).shape
        torch.Size([1, 8])
    """

    def __init__(
        self,
        spec: PeaksSpec,
        *,
        width: int,
        hidden: int,
        layers: int,
        step: float,
        rows: int,
        strongest: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        units = {name: column.unit for name, column in spec.peak.items() if isinstance(column, Real)}
        strange = {name: unit for name, unit in units.items() if unit not in (spec.unit, "1")}
        self._positions = [name for name, unit in units.items() if unit == spec.unit]
        if strange or not self._positions:
            raise ValueError(
                f"encoder 'peak_bag' needs peaks with a position in {spec.unit!r} and weights of unit '1', "
                f"got {units!r}; take `peak_transformer`"
            )
        self._weights = [name for name, unit in units.items() if unit == "1" and name not in self._positions]
        self._categories = [name for name, column in spec.peak.items() if isinstance(column, Category)]
        self._step, self._size, self._strongest = step, rows, strongest
        self.width = width
        histograms = len(self._positions) + (strongest > 1)
        self.histograms = nn.ModuleList(_reader(rows, hidden, histograms**-0.5) for _ in range(histograms))
        self.whole = ColumnEmbedding(spec.whole, hidden)
        parts: list[nn.Module] = [nn.LayerNorm(hidden), nn.GELU(), nn.Dropout(dropout)]
        for _ in range(layers):
            parts += [nn.Linear(hidden, hidden), nn.GELU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*parts, nn.Linear(hidden, width))

    def forward(self, batch: PeaksBatch) -> Float[Tensor, "b width"]:
        """Encode a batch of peak lists; an empty list is encoded from its whole columns."""
        weight = batch.mask.to(torch.float32)
        for name in self._weights:
            weight = weight * batch.peak[name].nan_to_num(nan=1.0).where(batch.mask, 0.0)
        state: Tensor = self.whole(batch.whole, like=batch.mask.any(dim=1)).sum(dim=1)
        for histogram, rows in zip(self.histograms, self._rows(batch, weight), strict=True):
            state = state + histogram(rows)
        encoded: Tensor = self.layers(state)
        return encoded

    def _rows(self, batch: PeaksBatch, weight: Float[Tensor, "b n"]) -> list[Float[Tensor, "b rows"]]:
        """Return the histogram of each position, then that of the differences of the first."""
        rows, step = self._size, self._step
        shift = torch.zeros_like(batch.mask, dtype=torch.int64)
        for name in self._categories:
            shift = (shift + batch.peak[name].where(batch.mask, 0)) * _CATEGORY_SHIFT
        out = []
        for name in self._positions:
            position = batch.peak[name].double()
            known = batch.mask & position.isfinite()
            out.append(folded(position.where(known, 0.0) / step, weight * known, rows, shift))
        if self._strongest > 1:
            position = batch.peak[self._positions[0]].double()
            known = batch.mask & position.isfinite()
            out.append(self._differences(position.where(known, 0.0) / step, weight * known))
        return out

    def _differences(self, steps: Float64[Tensor, "b n"], weight: Float[Tensor, "b n"]) -> Float[Tensor, "b rows"]:
        """Return the histogram of distances between the strongest peaks; equally strong ones: lowest position first."""
        by_position = steps.argsort(dim=1, stable=True)
        steps, weight = steps.gather(1, by_position), weight.gather(1, by_position)
        strongest = weight.argsort(dim=1, descending=True, stable=True)[:, : self._strongest]
        steps, weight = steps.gather(1, strongest), weight.gather(1, strongest)
        count = strongest.shape[1]
        first, second = torch.triu_indices(count, count, offset=1, device=steps.device)
        apart = (steps[:, first] - steps[:, second]).abs()
        both = weight[:, first] * weight[:, second] * (apart > _NEAREST)
        return folded(apart, both, self._size, torch.zeros_like(apart, dtype=torch.int64))


def folded(
    steps: Float64[Tensor, "b n"], weight: Float[Tensor, "b n"], rows: int, shift: Int[Tensor, "b n"]
) -> Float[Tensor, "b rows"]:
    """Return histograms of length 1, or of zeros; a position is shared out between the two grid points next to it.

    Args:
        steps: Positions, counted in steps of the grid.
        weight: What each counts, at least 0.
        rows: Numbers that the grid is folded into.
        shift: Moves a position to other rows, 0 leaves it.

    Example:
        >>> one = torch.ones(1, 1)
        >>> folded(torch.tensor([[0.5]]).double(), one, 8, torch.zeros(1, 1, dtype=torch.int64)).round(decimals=3)
        tensor([[0.7070, 0.7070, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000]])
    """
    below = steps.floor()
    share = (steps - below).float()
    place = below.long() + shift
    index = torch.cat([place, place + 1], dim=1).remainder(rows)
    counts = torch.cat([weight * (1 - share), weight * share], dim=1)
    summed = torch.zeros((len(steps), rows), device=steps.device).scatter_add_(1, index, counts)
    return functional.normalize(summed, dim=1)


def _reader(rows: int, hidden: int, std: float) -> nn.Linear:
    """Make a linear map that makes numbers of about `std` of a row of length 1, however many rows there are."""
    layer = nn.Linear(rows, hidden, bias=False)
    nn.init.normal_(layer.weight, std=std)
    return layer
