"""Embedding of declared columns: numbers by sinusoids, categories by a table, what is missing by a learned vector."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from molchord.api import Column, Real
from molchord_encoders.fields import UNIT_WAVELENGTHS, WAVELENGTHS

__all__ = ["EMBEDDING_STD", "ColumnEmbedding", "RealEmbedding", "angular_frequencies"]

EMBEDDING_STD = 0.3
"""Standard deviation of a category's first embedding: about that of a number's; several are added up."""


def angular_frequencies(shortest: float, longest: float, count: int) -> Float[Tensor, " f"]:
    """Return 2 pi over geometrically spaced wavelengths, from the shortest to the longest.

    The i-th wavelength is shortest * (longest / shortest) ** (i / (count - 1)): Voronov et al., Multi-scale sinusoidal
    embeddings enable learning on high resolution mass spectrometry data (2022), where the number is an m/z.

    Args:
        shortest: Wavelength of the first, in the unit of the numbers to embed.
        longest: Wavelength of the last.
        count: How many, at least 2.

    Example:
        >>> wavelengths = 2 * math.pi / angular_frequencies(0.01, 1.0, 3)
        >>> [round(w, 6) for w in wavelengths.tolist()]
        [0.01, 0.1, 1.0]
    """
    steps = torch.arange(count, dtype=torch.float64) / (count - 1)
    return (2 * math.pi / shortest * (shortest / longest) ** steps).float()


class RealEmbedding(nn.Module):
    """Embed a number as a linear map of [sin(w x), cos(w x)] over many wavelengths; NaN as a vector of its own.

    Args:
        width: Size of the embedding.
        wavelengths: Shortest and longest wavelength, in the number's unit.
        frequencies: How many wavelengths.

    Shape:
        Any to (any, width).

    Example:
        >>> embed = RealEmbedding(8, (0.1, 100.0), 16)
        >>> embed(torch.tensor([[1.5, float("nan")]])).shape
        torch.Size([1, 2, 8])
    """

    angular: Tensor

    def __init__(self, width: int, wavelengths: tuple[float, float], frequencies: int) -> None:
        super().__init__()
        self.register_buffer("angular", angular_frequencies(*wavelengths, frequencies), persistent=False)
        # the last input marks "missing": its weights (with the bias) are the vector of a missing number
        self.linear = nn.Linear(2 * frequencies + 1, width)

    def forward(self, values: Float[Tensor, "*size"]) -> Float[Tensor, "*size d"]:
        """Embed each number."""
        missing = values.isnan()[..., None]
        phase = values[..., None] * self.angular
        waves = torch.cat([phase.sin(), phase.cos()], dim=-1).masked_fill(missing, 0.0)
        embedded: Tensor = self.linear(torch.cat([waves, missing.to(waves.dtype)], dim=-1))
        return embedded


class CategoryEmbedding(nn.Module):
    """Embed a category code; code 0, missing or unknown, has a vector of its own.

    Args:
        width: Size of the embedding.
        values: How many categories.

    Shape:
        Any to (any, width).
    """

    def __init__(self, width: int, values: int) -> None:
        super().__init__()
        self.table = nn.Embedding(values + 1, width)
        nn.init.normal_(self.table.weight, std=EMBEDDING_STD)

    def forward(self, codes: Int[Tensor, "*size"]) -> Float[Tensor, "*size d"]:
        """Embed each code."""
        embedded: Tensor = self.table(codes)
        return embedded


class ColumnEmbedding(nn.Module):
    """Embed each of the declared columns as a vector.

    Args:
        columns: The declared columns.
        width: Size of each column's embedding.
        frequencies: Wavelengths that a number is embedded with.
        wavelengths: Shortest and longest wavelength, in the column's unit.
        unit_wavelengths: The same for columns in these units instead.

    Shape:
        Columns of any one shape by name to (that shape, columns, width), also for no columns.

    Example:
        >>> from molchord.api import Category
        >>> embed = ColumnEmbedding({"energy": Real("eV"), "mode": Category(("positive", "negative"))}, 8)
        >>> columns = {"energy": torch.tensor([20.0, float("nan"), 35.0]), "mode": torch.tensor([1, 2, 0])}
        >>> embed(columns, like=columns["mode"]).shape
        torch.Size([3, 2, 8])
    """

    def __init__(
        self,
        columns: Mapping[str, Column],
        width: int,
        *,
        frequencies: int = 32,
        wavelengths: tuple[float, float] = WAVELENGTHS,
        unit_wavelengths: Mapping[str, tuple[float, float]] = UNIT_WAVELENGTHS,
    ) -> None:
        super().__init__()
        self.names = tuple(columns)
        self.width = width
        # a list, not a dict by name: a column may be called like an attribute of a torch module
        self.parts = nn.ModuleList(
            RealEmbedding(width, unit_wavelengths.get(column.unit, wavelengths), frequencies)
            if isinstance(column, Real)
            else CategoryEmbedding(width, len(column.values))
            for column in columns.values()
        )

    def forward(
        self, columns: Mapping[str, Shaped[Tensor, ...]], like: Shaped[Tensor, ...]
    ) -> Float[Tensor, "... k d"]:
        """Embed every declared column; `like` is any tensor of the shape and on the device that each has."""
        if not self.names:
            return torch.zeros((*like.shape, 0, self.width), device=like.device)
        embedded = [part(columns[name]) for name, part in zip(self.names, self.parts, strict=True)]
        return torch.stack(embedded, dim=-2)
