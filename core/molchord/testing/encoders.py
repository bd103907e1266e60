"""Checks on encoders, each run with every installed modality of a kind that the encoder accepts."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from molchord.api import EncoderRecord, GraphSpec, ModalityRecord, Real
from molchord.host import installed
from molchord.testing.require import require
from molchord.testing.samples import batch_of, built, default_config, equal, examples, tensors


def _pairs(record: EncoderRecord) -> Iterator[tuple[str, Any, Any]]:
    """Yield (label, modality, spec) for every installed modality that the encoder takes."""
    found = 0
    for plugin in installed().plugins:
        modality = plugin.record
        if not isinstance(modality, ModalityRecord):
            continue
        for kind in modality.kinds:
            if kind not in record.accepts:
                continue
            spec = modality.spec(default_config(modality, record.needs), kind)
            if all(getattr(spec, need, False) for need in record.needs):
                found += 1
                yield f"{plugin.qualified} as {kind!r}", built(modality, kind, record.needs), spec
    require(found > 0, f"no installed modality offers a kind among {record.accepts}")


def _encoder(record: EncoderRecord, spec: Any, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: nn.Module = record.build(default_config(record), spec)
    return module


@torch.no_grad()
def output_has_width(record: EncoderRecord) -> None:
    """The head is built from `.width`, so the output must be (b, width), and finite.

    To mend it: return (b, width) for a batch of b, and guard divisions and logarithms.
    """
    for label, modality, spec in _pairs(record):
        encoder = _encoder(record, spec).eval()
        out = encoder(batch_of(modality, examples(modality)))
        require(tuple(out.shape) == (4, encoder.width), f"{label}: output is {tuple(out.shape)}, width {encoder.width}")
        require(bool(torch.isfinite(out).all()), f"{label}: output is not finite")


def gradient_reaches_every_parameter(record: EncoderRecord) -> None:
    """A parameter without gradient is dead weight, or a bug.

    To mend it: use the parameter, or take it out; a register buffer needs no gradient.
    """
    for label, modality, spec in _pairs(record):
        encoder = _encoder(record, spec).train()
        batch = batch_of(modality, examples(modality, 16))
        out = encoder(batch)
        weights = torch.randn(tuple(out.shape), generator=torch.Generator().manual_seed(0))
        (out * weights).sum().backward()
        dead = [name for name, p in encoder.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
        broken = [
            name
            for name, p in encoder.named_parameters()
            if p.grad is not None and not bool(torch.isfinite(p.grad).all())
        ]
        require(not dead, f"{label}: no gradient reaches {dead}")
        require(not broken, f"{label}: the gradient of {broken} is not finite")


@torch.no_grad()
def independent_of_neighbours(record: EncoderRecord) -> None:
    """In evaluation a molecule's embedding must not depend on what else is in the batch, nor on padding.

    To mend it: mask padding before every sum and attention, and normalise over features, not over the batch, in
    evaluation.
    """
    for label, modality, spec in _pairs(record):
        encoder = _encoder(record, spec).eval()
        measured = examples(modality, 6)
        together = encoder(batch_of(modality, measured))
        for i, one in enumerate(measured):
            alone = encoder(batch_of(modality, [one]))
            worst = float((alone[0] - together[i]).abs().max() / together[i].abs().max().clamp(min=1e-6))
            require(worst < 1e-4, f"{label}: row {i} differs by {worst:.1e} when it stands alone")


def zero_and_one_rows_train(record: EncoderRecord) -> None:
    """A batch may hold no or one molecule with the modality, and the autograd graph must stay connected.

    To mend it: let every layer pass zero rows on (no `squeeze`, no statistics of one row), and multiply instead of
    branching.
    """
    for label, modality, spec in _pairs(record):
        for count in (0, 1):
            encoder = _encoder(record, spec).train()
            out = encoder(batch_of(modality, examples(modality, count) if count else []))
            require(tuple(out.shape) == (count, encoder.width), f"{label}: {count} rows give {tuple(out.shape)}")
            require(out.requires_grad, f"{label}: with {count} rows the output has no gradient")
            require(bool(torch.isfinite(out).all()), f"{label}: with {count} rows the output is not finite")
            out.sum().backward()


def seed_fixes_weights(record: EncoderRecord) -> None:
    """One seed, one set of weights.

    To mend it: draw initial weights from torch's global generator in `__init__`, nowhere else.
    """
    for label, _, spec in _pairs(record):
        first, again = _encoder(record, spec, 3).state_dict(), _encoder(record, spec, 3).state_dict()
        require(all(torch.equal(first[k], again[k]) for k in first), f"{label}: one seed gives different weights")


@torch.no_grad()
def saves_bit_exact(record: EncoderRecord) -> None:
    """Weights go through safetensors, and must come back bit for bit.

    To mend it: register what is learned as parameters and buffers, not as plain attributes.
    """
    for label, modality, spec in _pairs(record):
        encoder, other = _encoder(record, spec, 1).eval(), _encoder(record, spec, 2).eval()
        batch = batch_of(modality, examples(modality))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.safetensors"
            save_file({k: v.clone().contiguous() for k, v in encoder.state_dict().items()}, path)
            other.load_state_dict(load_file(path))
        require(torch.equal(encoder(batch), other(batch)), f"{label}: reloaded weights give other embeddings")


def runs_in_bf16(record: EncoderRecord) -> None:
    """Training may run under bf16 autocast: on the CPU, and on a GPU where there is one.

    To mend it: cast where a step needs fp32, and back to the input's type afterwards.
    """
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        for label, modality, spec in _pairs(record):
            encoder = _encoder(record, spec).to(device).train()
            batch = _moved(batch_of(modality, examples(modality)), torch.device(device))
            with torch.autocast(device, dtype=torch.bfloat16):
                out = encoder(batch)
            out.float().sum().backward()
            require(bool(torch.isfinite(out).all()), f"{label}: output is not finite under bf16 autocast on {device}")


@torch.no_grad()
def uses_every_column(record: EncoderRecord) -> None:
    """An encoder takes in every column that the spec declares.

    To mend it: embed or join each column that the spec lists.
    """
    for label, modality, spec in _pairs(record):
        encoder = _encoder(record, spec).eval()
        batch = batch_of(modality, examples(modality))
        before = encoder(batch)
        for group in ("atom", "bond") if isinstance(spec, GraphSpec) else ("peak", "whole"):
            for name, column in (getattr(spec, group, None) or {}).items():
                columns = dict(getattr(batch, group))
                old = columns[name]
                if old.numel() == 0 or (not isinstance(column, Real) and not column.values):
                    continue
                columns[name] = (
                    torch.nan_to_num(old) + 1.5 if isinstance(column, Real) else (old + 1) % (len(column.values) + 1)
                )
                after = encoder(dataclasses.replace(batch, **{group: columns}))
                require(not torch.equal(before, after), f"{label}: {group} column {name!r} changes nothing")


def _moved(batch: Any, device: torch.device) -> Any:
    from molchord.device import to_device

    return to_device(batch, device)


@torch.no_grad()
def batch_is_left_alone(record: EncoderRecord) -> None:
    """A batch may be encoded twice (gradient caching, several towers), so an encoder must not write into it.

    To mend it: replace in-place operations on inputs (`x += ...`, `x[mask] = ...`) by new tensors.
    """
    for label, modality, spec in _pairs(record):
        batch = batch_of(modality, examples(modality))
        before: dict[str, Tensor] = {k: v.clone() for k, v in tensors(batch).items()}
        _encoder(record, spec).eval()(batch)
        changed = [k for k, v in tensors(batch).items() if not equal(v, before[k])]
        require(not changed, f"{label}: the encoder writes into {changed}")


CHECKS = (
    output_has_width,
    gradient_reaches_every_parameter,
    independent_of_neighbours,
    zero_and_one_rows_train,
    seed_fixes_weights,
    saves_bit_exact,
    runs_in_bf16,
    uses_every_column,
    batch_is_left_alone,
)
