"""What a training batch adds to the gradients, whatever the number of mini-batches and of processes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from molchord.api import LossOutput
from molchord.data.loader import Batch, BatchShard
from molchord.device import to_device
from molchord.graph.resolve import ModelGraph
from molchord.graph.settings import TrainConfig
from molchord.model import Embeddings, Model
from molchord.seeding import random_state
from molchord.train.hard_negatives import HardNegatives
from molchord.train.processes import Processes

__all__ = ["Step", "autocast", "hide", "masked"]

Seed: TypeAlias = tuple[int, ...]
"""Seed of the graph, epoch, batch; and the first row, where that is not 0."""


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the context in which towers run at a `train.precision`."""
    # Older GPUs only emulate bf16, which is slower than fp32.
    native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    enabled = precision == "bf16" or (precision == "auto" and native)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def hide(batch: Batch, config: TrainConfig, candidate: str, rng: np.random.Generator) -> dict[str, Tensor]:
    """Return presence masks with modality dropout: never the candidate, never a molecule's last other modality."""
    names = [name for name in batch.present if name != candidate]
    there = np.stack([batch.present[name].cpu().numpy() for name in names], axis=1)
    kept = there & (rng.random(there.shape) >= config.modality_dropout)
    emptied = there.any(axis=1) & ~kept.any(axis=1)
    kept[emptied] = there[emptied]
    hidden = {name: torch.from_numpy(kept[:, i]).to(batch.molecule.device) for i, name in enumerate(names)}
    return {**batch.present, **hidden}


def masked(embeddings: Embeddings, present: Mapping[str, Tensor]) -> Embeddings:
    """Hide embeddings that are not `present`."""

    def zeroed(rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: r * present[name][:, None] for name, r in rows.items()}

    return Embeddings(unit=zeroed(embeddings.unit), raw=zeroed(embeddings.raw), present=dict(present))


@final
class Step:
    """Learns from batches: embeds them, and carries the loss's gradient back.

    Args:
        graph: Resolved model graph.
        config: Its training, with what was frozen since.
        model: The model.
        device: Where it is.
        processes: Those that train together.
        hard: What keeps the candidates' embeddings, if anything does.
    """

    def __init__(
        self,
        graph: ModelGraph,
        config: TrainConfig,
        model: Model,
        device: torch.device,
        processes: Processes,
        hard: HardNegatives | None,
    ) -> None:
        self.graph = graph
        self.config = config
        self.model = model
        self.device = device
        self.processes = processes
        self.hard = hard

    def learn(self, share: BatchShard, seed: Seed, weight: float = 1.0) -> LossOutput:
        """Add a training batch's gradients, times `weight`, to those of the parameters, and return its loss.

        First come the embeddings, then the gradient of the loss with respect to them, then that of the towers. So the
        processes exchange embeddings only; and a share of several mini-batches goes through the towers twice, the first
        time without keeping anything but the embeddings, the second time with the same random draws (gradient caching,
        Gao et al. 2021, Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, section 3).

        Args:
            share: What this process has of the batch.
            seed: Of all that is drawn.
            weight: What the loss is multiplied by.

        Returns:
            This process's share of the loss, without gradient.
        """
        rng = np.random.default_rng(random_state(*seed, "dropout"))
        hidden = (
            rng.random(sum(share.sizes)) < self.config.scalar_feature_dropout if self.graph.scalar_features else None
        )
        again = len(share.chunks) > 1
        parts, chunks, first = [], [], share.rows.start
        for chunk in share.chunks:
            rows = slice(first, first + len(chunk.molecule))
            first = rows.stop
            with torch.set_grad_enabled(not again):
                parts.append(self.encode(chunk, seed, rows, hidden))
            chunks.append((chunk, rows))
        raw, whole = self._gathered(share, parts)
        embeddings = Embeddings.of(dict(zip(self.graph.modalities, raw.unbind(1), strict=True)), whole.present)
        if self.hard is not None:
            candidate = self.graph.candidate
            self.hard.see(whole.molecule, embeddings.unit[candidate], whole.present[candidate])
        if self.config.modality_dropout > 0:
            embeddings = masked(embeddings, hide(whole, self.config, self.graph.candidate, rng))
        output = self.model.compute_loss(embeddings, whole, share.rows)
        (output.total * weight).backward()  # type: ignore[no-untyped-call]
        assert raw.grad is not None  # `raw` is a leaf that the loss comes from
        gradients = dict(zip(self.graph.modalities, self.processes.sum(raw.grad).unbind(1), strict=True))
        for (chunk, rows), part in zip(chunks, parts, strict=True):
            embedded = self.encode(chunk, seed, rows, hidden) if again else part
            # one tower after another, since batch statistics exchange gradients in this order in every process
            for name, own in embedded.raw.items():
                if own.requires_grad:
                    own.backward(gradients[name][rows])  # type: ignore[no-untyped-call]
        return LossOutput(
            total=output.total.detach(), per_pair={pair: v.detach() for pair, v in output.per_pair.items()}
        )

    def encode(self, chunk: Batch, seed: Seed, rows: slice, hidden: NDArray[np.bool_] | None) -> Embeddings:
        """Embed rows of a batch, with augmentation, dropout and hidden scalar features.

        What is drawn depends on the place.

        A mini-batch draws by its first row, so rows that begin elsewhere (other mini-batches or number of processes)
        see other augmentation on the device and other dropout; measurements and their transforms stay the same.
        """
        seed = (*seed, rows.start) if rows.start else seed
        chunk = to_device(chunk, self.device)
        if hidden is not None:
            unknown = torch.from_numpy(hidden[rows]).to(self.device)
            chunk = replace(chunk, scalar_features=chunk.scalar_features.masked_fill(unknown[:, None], math.nan))
        generators = {}
        for name in self.graph.modalities:
            generators[name] = torch.Generator(self.device)
            generators[name].manual_seed(random_state(*seed, name))
        # Layers such as dropout draw from torch's global generator: seeded each step, so that a resume needs no state.
        torch.manual_seed(random_state(*seed, "layers"))
        with autocast(self.config.precision, self.device):
            embeddings: Embeddings = self.model(chunk, generators)
        return embeddings

    def _gathered(self, share: BatchShard, parts: Sequence[Embeddings]) -> tuple[Tensor, Batch]:
        """Return the raw embeddings of a whole batch, (n, modalities, d), to take gradients of, and what it holds."""
        names = tuple(self.graph.modalities)

        def joined(own: Sequence[Tensor]) -> Tensor:
            return self.processes.gather(torch.cat([t.detach().to(self.device) for t in own]), share.sizes)

        raw = joined([torch.stack([part.raw[name] for name in names], dim=1) for part in parts])
        present = joined([torch.stack([part.present[name] for name in names], dim=1) for part in parts])
        whole = Batch(
            molecule=joined([chunk.molecule for chunk in share.chunks]),
            present=dict(zip(names, present.unbind(1), strict=True)),
            inputs={},
            scalar_features=raw.new_zeros(len(raw), 0),
            features={
                name: joined([chunk.features[name] for chunk in share.chunks]) for name in share.chunks[0].features
            },
        )
        return raw.requires_grad_(), whole
