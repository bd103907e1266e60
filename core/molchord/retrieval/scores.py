"""How similarities of a query and its candidates become one ranking value, and the exact search for the best ones.

Ranking values. With cosines cos_p of the pairs p that are present, P of them, and c = mean of 1 / tau_p over all pairs:

* ``gm-exp``: the geometric mean G of exp((cos_p - 1) / tau_p) enters as 1 + log(G) / c, a monotone function of it; with
  every pair present that is the mean cosine weighted by 1 / tau_p, and with equal tau the plain mean cosine.
* ``gm-half``: the geometric mean of (1 + cos_p) / 2.
* ``gm-clamp``: the geometric mean G of max(0, cos_p); where G is 0 it is (mean cosine) - 1, which is below every
  positive G, so that the arithmetic mean breaks the tie.

* ``published``: the P-th root of the product of cos_p, with the product's sign (VibraCLIP, Rocabert-Oriols et al. 2025,
  equation 6, as printed and signed). Two negative cosines make a positive product, so it is the only one that may rise
  where a cosine falls.

All are on the scale of a cosine, so one tie tolerance suits them; `geometric_mean` gives G itself. Modes:
*blind*, where the pairs are the query's modalities with the candidate; *library*, where candidates carry spectra of
their own and ordered pairs (query modality i, candidate's spectrum j), i != j, are added. ``published`` adds of two
modalities of the query one pair alone, as its code does: (the later one in the query, the candidate's spectrum of the
earlier one), hence (Raman, the candidate's IR).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from typing import cast, final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from molchord.errors import QueryError, check_whole, did_you_mean
from molchord.vocabulary import ALL_FUSIONS, FUSIONS, PUBLISHED

__all__ = [
    "Block",
    "TopK",
    "check_query",
    "combine",
    "full_precision",
    "geometric_mean",
    "joined",
    "library_scores",
    "mapped",
    "pair_temperatures",
    "pooled",
    "pooled_by",
    "scores",
    "self_consistency",
    "top_k",
]


# --- ranking values --------------------------------------------------------------------------------------------------


def scores(
    queries: Mapping[str, Float[Tensor, "q d"]],
    candidates: Float[Tensor, "n d"],
    *,
    fusion: str = "gm-exp",
    tau: Mapping[str, float] | None = None,
    present: Mapping[str, Bool[Tensor, " q"]] | None = None,
) -> Float[Tensor, "q n"]:
    """Return the blind ranking value of every candidate for every query; higher is better.

    Args:
        queries: Unit rows per modality; rows that `present` marks as missing are never read.
        candidates: Unit rows.
        fusion: One of `ALL_FUSIONS`.
        tau: Temperature per modality; None means 1 for all, hence the plain mean cosine for ``gm-exp``.
        present: Which queries have each modality; None, or a modality left out, means all. A query without any
            modality gets NaN.

    Shape:
        (q, n). The numbers of one row are comparable; a query of fewer modalities has fewer factors.

    Raises:
        QueryError: Unknown fusion, no modality, or a temperature that is missing or not positive.

    Example:
        >>> q = {"ir": torch.eye(2), "raman": torch.eye(2)}
        >>> scores(q, torch.eye(2))
        tensor([[1., 0.],
                [0., 1.]])
    """
    check_query(fusion, queries)
    taus = _temperatures(queries, tau)
    masks = [(present or {}).get(name) for name in queries]
    if fusion != "gm-exp":
        cosines = [_product(vectors, candidates, mask) for vectors, mask in zip(queries.values(), masks, strict=True)]
        columns = [None if mask is None else mask[:, None] for mask in masks]
        return combine(cosines, taus, fusion=fusion, present=columns)
    # One inner product with sum_m q_m / tau_m: the same value as `combine`, at the cost of one modality.
    rows = len(next(iter(queries.values())))
    fused = torch.zeros_like(_wide(next(iter(queries.values()))))
    weight, count = fused.new_zeros(rows), fused.new_zeros(rows)
    for vectors, mask, temperature in zip(queries.values(), masks, taus, strict=True):
        here = torch.ones(rows, dtype=torch.bool, device=fused.device) if mask is None else mask
        fused = fused + torch.where(here[:, None], _wide(vectors), 0.0) / temperature
        weight = weight + here.to(fused.dtype) / temperature
        count = count + here
    scale = (count * _rate(taus))[:, None]
    return _product(fused / scale, candidates, None) + (1.0 - weight[:, None] / scale)


def library_scores(
    queries: Mapping[str, Float[Tensor, "q d"]],
    candidates: Float[Tensor, "n d"],
    spectra: Mapping[str, Float[Tensor, "n d"]],
    *,
    fusion: str = "gm-exp",
    tau: Mapping[str, float] | None = None,
    pair_tau: Mapping[tuple[str, str], float] | None = None,
    present: Mapping[str, Bool[Tensor, " q"]] | None = None,
    spectra_present: Mapping[str, Bool[Tensor, " n"]] | None = None,
    same_modality: bool = False,
) -> Float[Tensor, "q n"]:
    """Return the ranking value of every candidate that may carry spectra of its own (library mode).

    Pairs are (query modality, candidate) and, in both directions, (query modality i, candidate's spectrum j), i != j; a
    pair that either side lacks is left out of the mean.

    Args:
        queries: Unit rows per modality.
        candidates: Unit rows.
        spectra: Unit rows of the candidates' own spectra, per modality.
        fusion: One of `ALL_FUSIONS`.
        tau: Temperature of each modality with the candidate; None means 1 for all.
        pair_tau: Temperature of each pair of spectra, in either order; for a pair it lacks, the geometric mean of the
            two modalities' `tau`.
        present: Which queries have each modality.
        spectra_present: Which candidates have each spectrum.
        same_modality: Whether i == j counts too: right for measured data, wrong for computed data, where both are the
            identical array.

    Raises:
        QueryError: As for `scores`.
    """
    check_query(fusion, queries)
    pairs = pair_temperatures(
        queries, tau, spectra=spectra, pair_tau=pair_tau, same_modality=same_modality, fusion=fusion
    )
    cosines, masks = [], []
    for name, other in pairs:
        rows = (present or {}).get(name)
        cosines.append(_product(queries[name], candidates if other is None else spectra[other], rows))
        masks.append(_outer(rows, None if other is None else (spectra_present or {}).get(other)))
    return combine(cosines, list(pairs.values()), fusion=fusion, present=masks)


def pair_temperatures(
    query: Iterable[str],
    tau: Mapping[str, float] | None,
    *,
    spectra: Iterable[str] = (),
    pair_tau: Mapping[tuple[str, str], float] | None = None,
    same_modality: bool = False,
    fusion: str = FUSIONS[0],
) -> dict[tuple[str, str | None], float]:
    """Return the pairs that enter a ranking value, each with its temperature; None means the candidate.

    Args:
        query: The query's modalities.
        tau: Temperature of each modality with the candidate; None means 1 for all.
        spectra: The spectra that candidates carry; none in blind mode.
        pair_tau: As for `library_scores`.
        same_modality: As for `library_scores`; nothing to ``published``.
        fusion: ``published`` has one pair of two spectra where the others have both.

    Raises:
        QueryError: A temperature is missing or not positive.

    Example:
        >>> pair_temperatures(["ir"], {"ir": 0.1, "raman": 0.4}, spectra=["ir", "raman"])
        {('ir', None): 0.1, ('ir', 'raman'): 0.2}
        >>> list(pair_temperatures(["ir", "raman"], None, spectra=["ir", "raman"], fusion="published"))
        [('ir', None), ('raman', None), ('raman', 'ir')]
    """
    names, others = list(query), list(spectra)
    pairs: dict[tuple[str, str | None], float] = {}
    for place, (name, temperature) in enumerate(zip(names, _temperatures(names, tau), strict=True)):
        pairs[name, None] = temperature
        for other in others:
            joins = other in names[:place] if fusion == PUBLISHED else same_modality or other != name
            if joins:
                pairs[name, other] = _pair_temperature(name, other, tau, pair_tau)
    return pairs


def combine(
    cosines: Sequence[Float[Tensor, "q n"]],
    tau: Sequence[float],
    *,
    fusion: str = "gm-exp",
    present: Sequence[Bool[Tensor, "#q #n"] | None] | None = None,
) -> Float[Tensor, "q n"]:
    """Fuse the cosines of several pairs into one ranking value (the module's docstring gives the formulas).

    Args:
        cosines: One matrix per pair.
        tau: One temperature per pair.
        fusion: One of `ALL_FUSIONS`.
        present: Where each pair exists; None means everywhere. Where no pair exists the value is NaN.

    Example:
        >>> both = [torch.tensor([[-0.9, 0.1]]), torch.tensor([[-0.9, 0.1]])]
        >>> combine(both, [1.0, 1.0], fusion="gm-clamp")
        tensor([[-1.9000,  0.1000]])
    """
    masks = [_wide_mask(mask, cos) for mask, cos in zip(present or [None] * len(cosines), cosines, strict=True)]
    count = sum((mask.to(cosines[0].dtype) for mask in masks), start=cosines[0].new_zeros((1, 1)))
    total = torch.zeros_like(cosines[0])
    if fusion == "gm-exp":
        for cos, mask, temperature in zip(cosines, masks, tau, strict=True):
            total += torch.where(mask, (cos - 1.0) / temperature, 0.0)
        return 1.0 + total / (count * _rate(tau))
    product = torch.ones_like(cosines[0])
    for cos, mask in zip(cosines, masks, strict=True):
        product *= torch.where(mask, mapped(cos, fusion), 1.0)
        total += torch.where(mask, cos, 0.0)
    if fusion == PUBLISHED:
        return (product.sign() * product.abs().pow(1.0 / count)).where(count > 0, torch.nan)
    mean = product.pow(1.0 / count).where(count > 0, torch.nan)
    return mean if fusion == "gm-half" else mean.where(mean > 0, total / count - 1.0)


def mapped(cosines: Float[Tensor, "*n"], fusion: str) -> Float[Tensor, "*n"]:
    """Return the factors that ``gm-half``, ``gm-clamp`` or ``published`` makes of cosines.

    Example:
        >>> mapped(torch.tensor([-0.5, 0.5]), "gm-half"), mapped(torch.tensor([-0.5, 0.5]), "gm-clamp")
        (tensor([0.2500, 0.7500]), tensor([0.0000, 0.5000]))
    """
    if fusion == PUBLISHED:
        return cosines
    return (cosines if fusion == "gm-clamp" else (1.0 + cosines) / 2.0).clamp(min=0.0)


def geometric_mean(value: float, *, fusion: str, tau: Sequence[float]) -> float:
    """Return the geometric mean of the mapped similarities that a ranking value represents; NaN if it is not finite.

    Args:
        value: A ranking value of `scores`, `library_scores` or `combine`.
        fusion: The fusion it was made with.
        tau: The temperatures of all pairs it was made with.

    Example:
        >>> geometric_mean(-1.9, fusion="gm-clamp", tau=[1.0, 1.0])
        0.0
    """
    if not math.isfinite(value):
        return math.nan
    if fusion == "gm-exp":
        return math.exp(min(0.0, (value - 1.0) * _rate(tau)))
    return max(0.0, value) if fusion == "gm-clamp" else value


def self_consistency(vectors: Mapping[str, Float[Tensor, "q d"]]) -> Float[Tensor, " q"]:
    """Return the mean cosine between a query's own modalities, which is reported and never enters a ranking.

    Shape:
        (q,); NaN where there are fewer than two modalities.

    Example:
        >>> self_consistency({"ir": torch.eye(2), "raman": torch.eye(2).flip(0)})
        tensor([0., 0.])
    """
    pairs = [(_wide(a) * _wide(b)).sum(dim=1) for a, b in combinations(vectors.values(), 2)]
    if not pairs:
        return torch.full((len(next(iter(vectors.values()))),), torch.nan)
    return torch.stack(pairs).mean(dim=0)


# --- several measurements of one modality ----------------------------------------------------------------------------


def pooled(vectors: Float[Tensor, "k d"]) -> Float[Tensor, " d"]:
    """Pool several measurements of one modality: the renormalised mean of their unit vectors, one factor.

    Example:
        >>> pooled(torch.eye(2))
        tensor([0.7071, 0.7071])
    """
    group = torch.zeros(len(vectors), dtype=torch.int64, device=vectors.device)
    return pooled_by(vectors, group, 1)[0][0]


def pooled_by(
    vectors: Float[Tensor, "k d"], molecule: Int64[Tensor, " k"], count: int
) -> tuple[Float[Tensor, "n d"], Bool[Tensor, " n"]]:
    """Pool measurements by molecule; returns the vectors (zero rows where there are none) and who has any.

    Vectors that cancel out leave a row of NaN: no direction is right, and non-finite scores rank last.
    """
    sums = _wide(vectors).new_zeros((count, vectors.shape[1]))
    sums.index_add_(0, molecule, _wide(vectors))
    present = torch.zeros(count, dtype=torch.bool, device=vectors.device)
    present[molecule] = True
    return torch.where(present[:, None], sums / sums.norm(dim=1, keepdim=True), 0.0), present


# --- exact search ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Block:
    """A slice of the candidates, as a search reads them.

    Attributes:
        index: (n,) int64 what the caller knows each candidate by.
        vectors: (n, d) unit rows.
        order: (n,) int64; of two equal values the lower order comes first (then the lower index); None: the index.
        short: (n, d) the same rows in fewer bits, bf16 or int8, which a search may scan in their place; None: there are
            none.
        scale: (n,) what each row of `short` is multiplied by; None: nothing.
        error: Upper bound of the length of what `short`, scaled, misses of a row.
        spectra: Unit rows of the candidates' own spectra per modality, each (n, d).
        spectra_present: Which candidates have each spectrum, each (n,) bool.
    """

    index: Tensor
    vectors: Tensor
    order: Tensor | None = None
    short: Tensor | None = None
    scale: Tensor | None = None
    error: float = 0.0
    spectra: Mapping[str, Tensor] = field(default_factory=dict)
    spectra_present: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: str | torch.device) -> Block:
        """Return the block on a device."""
        return self._each(lambda part: part.to(device))

    def __getitem__(self, rows: slice | Tensor) -> Block:
        return self._each(lambda part: part[rows])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Block:
        return Block(
            index=change(self.index),
            vectors=change(self.vectors),
            order=None if self.order is None else change(self.order),
            short=None if self.short is None else change(self.short),
            scale=None if self.scale is None else change(self.scale),
            error=self.error,
            spectra={name: change(part) for name, part in self.spectra.items()},
            spectra_present={name: change(part) for name, part in self.spectra_present.items()},
        )


def joined(blocks: Sequence[Block]) -> Block:
    """Return blocks as one, without the candidates' spectra.

    Example:
        >>> block = Block(index=torch.arange(2), vectors=torch.eye(2))
        >>> len(joined([block, block]))
        4
    """

    def one(parts: Sequence[Tensor | None]) -> Tensor | None:
        there = [part for part in parts if part is not None]
        return torch.cat(there) if there else None

    return Block(
        index=torch.cat([block.index for block in blocks]),
        vectors=torch.cat([block.vectors for block in blocks]),
        order=one([block.order for block in blocks]),
        short=one([block.short for block in blocks]),
        scale=one([block.scale for block in blocks]),
        error=max(block.error for block in blocks),
    )


def top_k(
    score: Callable[[Block], Float[Tensor, "q n"]], blocks: Iterable[Block], k: int
) -> tuple[Float[Tensor, "q found"], Int64[Tensor, "q found"]]:
    """Return the k best values and their candidates' indices, best first, exactly and in the memory of one block.

    Args:
        score: Ranking value of a block, such as ``lambda block: scores(queries, block.vectors)``.
        blocks: The candidates, at least one block.
        k: How many to keep; fewer come back where there are fewer candidates.

    Shape:
        Two times (q, min(k, candidates)). A value that is not finite is -inf, last.

    Raises:
        QueryError: There is no candidate, or `k` is below 1.

    Example:
        >>> block = Block(index=torch.arange(3), vectors=torch.eye(3))
        >>> top_k(lambda b: scores({"ir": torch.eye(3)[:1]}, b.vectors), [block], 2)
        (tensor([[1., 0.]]), tensor([[0, 1]]))
    """
    best: TopK | None = None
    for block in blocks:
        best = TopK(k) if best is None else best
        best.update(score(block), block.index, block.order)
    if best is None or best.found == 0:
        raise QueryError("search failed: no candidate is left; widen the mass or formula limit, or use another library")
    return best.values, best.index


@final
class TopK:
    """The k best candidates of each query seen so far.

    Attributes:
        values: (q, found) ranking values, best first.
        index: (q, found) the candidates' indices.
        cosines: (q, found, m) what `merge` was given with them.
    """

    values: Tensor
    index: Tensor
    cosines: Tensor | None

    def __init__(self, k: int) -> None:
        check_whole(k, "k", least=1, failed="search", error=QueryError)
        self._k = k
        self._order: Tensor | None = None
        self.cosines = None

    @property
    def found(self) -> int:
        """Return how many candidates a query has."""
        return 0 if self._order is None else self._order.shape[1]

    def update(self, values: Tensor, index: Tensor, order: Tensor | None = None) -> None:
        """Merge a block: values (q, n), index (n,) and tie order (n,)."""
        order = index if order is None else order
        values = values.where(values.isfinite(), -torch.inf)
        first = _lexicographic(order, index)
        chosen = _best_columns(values[:, first], self._k)
        self.merge(values[:, first].gather(1, chosen), index[first][chosen], order[first][chosen])

    def merge(self, values: Tensor, index: Tensor, order: Tensor, cosines: Tensor | None = None) -> None:
        """Merge candidates of each query's own, each (q, n), -inf for values that are not finite.

        Args:
            values: Ranking values.
            index: The candidates' indices.
            order: Their tie order.
            cosines: (q, n, m) numbers to keep with them; every call gives some, or none does.
        """
        if self._order is not None:
            values = torch.cat([self.values, values], dim=1)
            index = torch.cat([self.index, index], dim=1)
            order = torch.cat([self._order, order], dim=1)
            cosines = None if cosines is None else torch.cat([cast(Tensor, self.cosines), cosines], dim=1)
        # Stable sorts from the least to the most significant key.
        place = index.argsort(dim=1, stable=True)
        place = place.gather(1, order.gather(1, place).argsort(dim=1, stable=True))
        place = place.gather(1, values.gather(1, place).argsort(dim=1, descending=True, stable=True))[:, : self._k]
        self.values, self.index, self._order = (part.gather(1, place) for part in (values, index, order))
        if cosines is not None:
            self.cosines = cosines.gather(1, place[:, :, None].expand(-1, -1, cosines.shape[2]))


def _lexicographic(order: Tensor, index: Tensor) -> Tensor:
    """Return the columns sorted by tie order, then by index."""
    by_index = index.argsort(stable=True)
    return by_index[order[by_index].argsort(stable=True)]


def _best_columns(values: Tensor, k: int) -> Tensor:
    """Return the k best columns of each row, in any order; of equal values the leftmost are taken."""
    if values.shape[1] <= k:
        return torch.arange(values.shape[1], device=values.device).expand(values.shape)
    top = values.topk(k, dim=1)
    # topk picks any of the columns that tie with the last value, so rows with too many of them are sorted in full.
    crowded = (values >= top.values[:, -1:]).sum(dim=1) > k
    chosen = top.indices
    if bool(crowded.any()):
        chosen[crowded] = values[crowded].sort(dim=1, descending=True, stable=True).indices[:, :k]
    return chosen


# --- helpers ---------------------------------------------------------------------------------------------------------


def check_query(fusion: str, queries: Mapping[str, Tensor]) -> None:
    """Refuse an unknown fusion and a query without a modality.

    Raises:
        QueryError: Which it is.
    """
    if fusion not in ALL_FUSIONS:
        raise QueryError(f"search failed: unknown fusion {fusion!r}; {did_you_mean(fusion, ALL_FUSIONS)}")
    if not queries:
        raise QueryError("search failed: the query has no modality; give at least one spectrum")


def _temperatures(names: Iterable[str], tau: Mapping[str, float] | None) -> list[float]:
    if tau is None:
        return [1.0 for _ in names]
    for name in names:
        if name not in tau:
            raise QueryError(f"search failed: `tau` has no temperature for {name!r}; it has {sorted(tau)!r}")
        _check_temperature(name, tau[name])
    return [tau[name] for name in names]


def _pair_temperature(
    query: str, other: str, tau: Mapping[str, float] | None, pair_tau: Mapping[tuple[str, str], float] | None
) -> float:
    for pair in ((query, other), (other, query)):
        if pair_tau is not None and pair in pair_tau:
            _check_temperature(f"{query}-{other}", pair_tau[pair])
            return pair_tau[pair]
    left, right = _temperatures((query, other), tau)
    return math.sqrt(left * right)


def _check_temperature(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise QueryError(f"search failed: the temperature of {name!r} is {value!r}, but must be a positive number")


def _rate(tau: Sequence[float]) -> float:
    return sum(1.0 / temperature for temperature in tau) / len(tau)


def _wide(vectors: Tensor) -> Tensor:
    return vectors if vectors.dtype == torch.float64 else vectors.float()


def _outer(rows: Tensor | None, columns: Tensor | None) -> Tensor | None:
    if rows is None:
        return None if columns is None else columns[None, :]
    return rows[:, None] if columns is None else rows[:, None] & columns


def _wide_mask(mask: Tensor | None, like: Tensor) -> Tensor:
    return torch.ones((1, 1), dtype=torch.bool, device=like.device) if mask is None else mask


def _product(queries: Tensor, candidates: Tensor, present: Tensor | None) -> Tensor:
    if present is not None:
        queries = torch.where(present[:, None], queries, 0.0)
    queries, candidates = _wide(queries), _wide(candidates)
    dtype = torch.promote_types(queries.dtype, candidates.dtype)
    with full_precision(queries.device):
        return queries.to(dtype) @ candidates.to(dtype).T


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Multiply and add in full fp32: training may have allowed TF32, whose errors exceed the tie tolerance of 1e-6."""
    before = torch.get_float32_matmul_precision()
    cuda = torch.backends.cuda.matmul
    reduced = cuda.allow_bf16_reduced_precision_reduction
    torch.set_float32_matmul_precision("highest")
    cuda.allow_bf16_reduced_precision_reduction = False
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
        cuda.allow_bf16_reduced_precision_reduction = reduced
