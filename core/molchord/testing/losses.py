"""Checks on losses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from molchord.api import Featurizes, LossBatch, LossOutput, LossRecord
from molchord.testing.require import require
from molchord.testing.samples import molecules

NAMES = ("first", "second", "third")
"""Modality names that the checks use; the first one is the candidate."""


def _loss(record: LossRecord, names: tuple[str, ...] = NAMES) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module: nn.Module = record.build(record.config(), names, names[0])
    return module


def _features(loss: Any, rows: int) -> dict[str, Tensor]:
    if not isinstance(loss, Featurizes):
        return {}
    per_molecule = [loss.features(molecule) for molecule in molecules(rows)]
    return {name: torch.stack([torch.as_tensor(f[name]) for f in per_molecule]) for name in per_molecule[0]}


def _batch(
    loss: Any, raw: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None, molecule: Tensor | None = None,
    rows: slice | None = None,
) -> LossBatch:  # fmt: skip
    count = len(next(iter(raw.values())))
    there = present or {name: torch.ones(count, dtype=torch.bool) for name in raw}
    kept = {name: r * there[name][:, None] for name, r in raw.items()}
    return LossBatch(
        embeddings={name: functional.normalize(r, dim=1) for name, r in kept.items()},
        raw=kept,
        present=there,
        molecule=torch.arange(count) if molecule is None else molecule,
        features=_features(loss, count),
        rows=rows,
    )


def _raw(rows: int = 8, seed: int = 0, dtype: torch.dtype = torch.float32, aligned: float = 0.0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(rows, 16, generator=generator, dtype=dtype)
    out = {}
    for name in NAMES:
        own = torch.randn(rows, 16, generator=generator, dtype=dtype)
        out[name] = (aligned * shared + (1 - aligned) * own).requires_grad_()
    return out


def total_is_finite_and_differentiable(record: LossRecord) -> None:
    """One scalar, finite, with a finite gradient to every modality.

    To mend it: return one scalar that depends on every modality that is there; use `logsumexp` in place of
    exponentials.
    """
    loss, raw = _loss(record), _raw()
    output: LossOutput = loss(_batch(loss, raw))
    require(output.total.ndim == 0, f"total has shape {tuple(output.total.shape)}")
    require(bool(torch.isfinite(output.total)), "total is not finite")
    output.total.backward()  # type: ignore[no-untyped-call]
    grads = {name: r.grad for name, r in raw.items()}
    require(all(g is None or bool(torch.isfinite(g).all()) for g in grads.values()), "a gradient is not finite")
    require(any(g is not None and bool(g.abs().sum() > 0) for g in grads.values()), "no modality gets a gradient")


def aligned_is_lower_than_shuffled(record: LossRecord) -> None:
    """Embeddings that agree must cost less than the same ones dealt to other molecules.

    To mend it: check the sign, and that row i of one modality meets row i of the other.
    """
    loss, raw = _loss(record), {k: v.detach() for k, v in _raw(aligned=0.9).items()}
    order = torch.roll(torch.arange(8), 3)
    shuffled = {name: (r if name == NAMES[0] else r[order]) for name, r in raw.items()}
    shuffled[NAMES[2]] = raw[NAMES[2]][torch.roll(torch.arange(8), 5)]
    good, bad = _value(loss, loss, raw), _value(loss, loss, shuffled)
    require(good < bad, f"aligned embeddings cost {good:.4f}, shuffled ones {bad:.4f}")


def absent_modality_gets_no_gradient(record: LossRecord) -> None:
    """A modality that no molecule of the batch has must not be trained by it.

    To mend it: multiply by `present`, or select present rows, before anything is summed.
    """
    loss = _loss(record)
    present = {name: torch.full((8,), name != NAMES[2]) for name in NAMES}
    batch = _leaves(_batch(loss, _raw(), present))
    loss(batch).total.backward()
    require(not _touched(batch, NAMES[2], present[NAMES[2]]), "an absent modality gets a gradient")


def empty_pairs_are_zero(record: LossRecord) -> None:
    """A pair with fewer than two distinct molecules is 0, never NaN, and backward works.

    To mend it: return a sum over no rows (`x.sum() * 0`) where fewer than two molecules have the pair.
    """
    for count, molecule in ((0, []), (1, [0]), (3, [5, 5, 5])):
        loss, raw = _loss(record), _raw(count)
        output = (
            loss(_batch(loss, raw, molecule=torch.tensor(molecule, dtype=torch.int64)))
            if count
            else loss(_nothing(loss, raw))
        )
        require(
            float(output.total.detach()) == 0.0, f"{count} rows of one molecule cost {float(output.total.detach())}"
        )
        output.total.backward()


def _leaves(batch: LossBatch) -> LossBatch:
    """Cut a batch off what it was made of, so that gradients show what the loss itself looks at."""

    def cut(rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: r.detach().requires_grad_() for name, r in rows.items()}

    return dataclasses.replace(batch, embeddings=cut(batch.embeddings), raw=cut(batch.raw))


def _touched(batch: LossBatch, name: str, present: Tensor) -> bool:
    grads = [rows[name].grad for rows in (batch.embeddings, batch.raw)]
    return any(bool(grad[~present].abs().sum() > 0) for grad in grads if grad is not None)


def _value(loss: Any, *arguments: Any, **options: Any) -> float:
    output: LossOutput = loss(_batch(*arguments, **options))
    return float(output.total.detach())


def _nothing(loss: Any, raw: Mapping[str, Tensor]) -> LossBatch:
    none = torch.zeros(0, dtype=torch.bool)
    features = {name: values[:0] for name, values in _features(loss, 1).items()}
    return LossBatch(
        embeddings=dict(raw),
        raw=dict(raw),
        present=dict.fromkeys(raw, none),
        molecule=torch.zeros(0, dtype=torch.int64),
        features=features,
    )


def partly_missing_is_finite(record: LossRecord) -> None:
    """Missing measurements are the normal case.

    To mend it: mask absent rows out of denominators with -inf before `logsumexp`.
    """
    loss = _loss(record)
    present = {name: torch.tensor([(i + j) % 3 != 0 for i in range(8)]) for j, name in enumerate(NAMES)}
    batch = _leaves(_batch(loss, _raw(), present))
    output = loss(batch)
    output.total.backward()
    require(bool(torch.isfinite(output.total)), "total is not finite where measurements are missing")
    for name in NAMES:
        require(not _touched(batch, name, present[name]), f"rows without {name!r} get a gradient")


def order_of_modalities_is_irrelevant(record: LossRecord) -> None:
    """A graph is a set of modalities.

    To mend it: go through pairs symmetrically, and weight none by its place.
    """
    raw = {k: v.detach() for k, v in _raw().items()}
    one, other = _loss(record), _loss(record, (NAMES[0], NAMES[2], NAMES[1]))
    other_raw = {name: raw[name] for name in (NAMES[0], NAMES[2], NAMES[1])}
    a, b = _value(one, one, raw), _value(other, other, other_raw)
    require(abs(a - b) <= 1e-5 * max(1.0, abs(a)), f"total is {a} or {b}, by the order of modalities")


def same_molecule_is_no_negative(record: LossRecord) -> None:
    """Two rows of one molecule must not push each other away: neither is in the other's denominator.

    So one row's share of the loss stays the same wherever the other row is, in every modality.

    To mend it: mask entries whose `molecule` is equal, other than the row's own, out of the denominator.
    """
    molecule = torch.tensor([0, 0, 2, 3, 4, 5])
    for row, twin in ((0, 1), (1, 0)):
        loss = _loss(record)
        batch = _leaves(_batch(loss, _raw(6, aligned=0.5), molecule=molecule, rows=slice(row, row + 1)))
        loss(batch).total.backward()
        for name in NAMES:
            moved = _touched(batch, name, torch.arange(6) != twin)
            require(not moved, f"the share of row {row} changes with {name!r} of row {twin}, the same molecule")


def shares_add_up(record: LossRecord) -> None:
    """With several processes each owns some rows; their shares must add up to the single-process loss.

    To mend it: compute the rows in `batch.rows` only, against all columns, and divide by the count of the whole
    batch.
    """
    loss, raw = _loss(record), {k: v.detach() for k, v in _raw(8, dtype=torch.float64).items()}
    present = {name: torch.tensor([(i + 2 * j) % 4 != 0 for i in range(8)]) for j, name in enumerate(NAMES)}
    whole = _value(loss, loss, raw, present)
    parts = sum(_value(loss, loss, raw, present, rows=s) for s in (slice(0, 3), slice(3, 4), slice(4, 8)))
    require(abs(whole - parts) <= 1e-6 * max(1.0, abs(whole)), f"the whole is {whole}, the shares add up to {parts}")


CHECKS = (
    total_is_finite_and_differentiable,
    aligned_is_lower_than_shuffled,
    absent_modality_gets_no_gradient,
    empty_pairs_are_zero,
    partly_missing_is_finite,
    order_of_modalities_is_irrelevant,
    same_molecule_is_no_negative,
    shares_add_up,
)
