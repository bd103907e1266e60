"""The model of a graph: one tower per modality, any subset of modalities in a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from molchord.api import Featurizes, LossBatch, LossOutput, Modality, Tempered
from molchord.chem import molecule
from molchord.data.loader import Batch
from molchord.graph.resolve import ModelGraph
from molchord.graph.settings import HeadConfig
from molchord.seeding import random_state


class Head(nn.Module):
    """Projection head from an encoder's width (plus scalar features) to the embedding.

    Two layers (VibraCLIP, Rocabert-Oriols et al. 2025, "Projection heads"): ``p = W1 x``,
    ``LayerNorm(dropout(W2 gelu(p)) + p)``. One layer: ``LayerNorm(W x)``.

    Args:
        width: Size of the input.
        embedding_dim: Size of the output.
        config: Layers, bias, dropout, layer norm.
    """

    def __init__(self, width: int, embedding_dim: int, config: HeadConfig) -> None:
        super().__init__()
        two = config.layers == 2
        self.projection = nn.Linear(width, embedding_dim, bias=config.bias) if two else None
        self.out = nn.Linear(embedding_dim if two else width, embedding_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.norm = nn.LayerNorm(embedding_dim) if config.layer_norm else nn.Identity()

    def forward(self, x: Float[Tensor, "b w"]) -> Float[Tensor, "b d"]:
        """Project a batch."""
        if self.projection is None:
            alone: Tensor = self.norm(self.dropout(self.out(x)))
            return alone
        projected = self.projection(x)
        out: Tensor = self.norm(self.dropout(self.out(functional.gelu(projected))) + projected)
        return out


class Tower(nn.Module):
    """Encoder, scalar features and head of one modality.

    Args:
        encoder: Module from the kind's batch to (b, width).
        head: Head from the width, and one or two numbers per scalar feature, to the embedding.
        scalar_features: Columns of the batch's scalar features that join this tower.
        presence: Whether a second number per scalar feature says that it is known.
        sees: Whether the head gets what the encoder made; without, every input gives the same embedding.
    """

    def __init__(
        self,
        encoder: nn.Module,
        head: Head,
        scalar_features: tuple[int, ...] = (),
        *,
        presence: bool = True,
        sees: bool = True,
    ) -> None:
        super().__init__()
        self._sees = sees
        self._presence = presence
        self.encoder = encoder
        self.head = head
        self._scalar_features = scalar_features

    def forward(self, inputs: Any, scalar_features: Float[Tensor, "b a"]) -> Float[Tensor, "b d"]:
        """Embed a prepared batch; `scalar_features` are standardised, NaN where unknown."""
        x = self.encoder(inputs)
        if not self._sees:
            x = x * 0.0
        if self._scalar_features:
            known = scalar_features[:, list(self._scalar_features)]
            there = [(~torch.isnan(known)).to(x.dtype)] if self._presence else []
            x = torch.cat([x, torch.nan_to_num(known).to(x.dtype), *there], dim=1)
        out: Tensor = self.head(x)
        return out


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """Embeddings of a batch: `unit` rows and `raw` head outputs, (b, d) fp32 each, zero where not `present` (b,)."""

    unit: dict[str, Float[Tensor, "b d"]]
    raw: dict[str, Float[Tensor, "b d"]]
    present: dict[str, Bool[Tensor, " b"]]

    @staticmethod
    def of(raw: Mapping[str, Float[Tensor, "b d"]], present: Mapping[str, Bool[Tensor, " b"]]) -> Embeddings:
        """Make unit rows of raw ones, zero where not present."""
        unit = {name: functional.normalize(rows, dim=1) * present[name][:, None] for name, rows in raw.items()}
        return Embeddings(unit=unit, raw=dict(raw), present=dict(present))


class Model(nn.Module):
    """All towers of a model graph, and its loss.

    State-dict keys start with the part's dotted path: ``modalities.ir.head.out.weight``, ``loss.temperature...``.

    Args:
        graph: A resolved model graph.
        modalities: What each modality plugin built.
    """

    def __init__(self, graph: ModelGraph, modalities: Mapping[str, Modality]) -> None:
        super().__init__()
        self.candidate, self.spectra = graph.candidate, graph.spectra
        self._prepare = {name: modality.prepare for name, modality in modalities.items()}
        self.register_buffer("scalar_mean", torch.zeros(len(graph.scalar_features)))
        self.register_buffer("scalar_std", torch.ones(len(graph.scalar_features)))
        self.scalar_mean: Tensor
        self.scalar_std: Tensor
        towers = {}
        for name, node in graph.modalities.items():
            # Each part has its own seed, so that adding a modality leaves the others' weights as they were.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(random_state(graph.seed, "weights", name))
                encoder = node.encoder.build(node.spec)
                sees = name == graph.candidate or not graph.train.candidates_only
                columns = (
                    tuple(graph.scalar_features.index(feature) for feature in node.scalar_features) if sees else ()
                )
                numbers = len(columns) * (2 if graph.scalar_presence else 1)
                head = Head(encoder.width + numbers, graph.embedding_dim, node.head)
            towers[name] = Tower(encoder, head, columns, presence=graph.scalar_presence, sees=sees)
        self.modalities = nn.ModuleDict(towers)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random_state(graph.seed, "weights", "loss"))
            self.loss = graph.loss.build([*graph.modalities], graph.candidate)

    def embed(
        self,
        name: str,
        inputs: Any,
        scalar_features: Float[Tensor, "b a"],
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "b d"]:
        """Return the raw embeddings (head outputs, fp32) of one modality's collated batch, all rows present."""
        prepared = self._prepare[name](inputs, generator)
        standard = (scalar_features - self.scalar_mean) / self.scalar_std
        raw: Tensor = self.modalities[name](prepared, standard)
        return raw.to(torch.promote_types(raw.dtype, torch.float32))

    def forward(self, batch: Batch, generators: Mapping[str, torch.Generator | None] | None = None) -> Embeddings:
        """Embed what is present of every modality in the batch; 0 and 1 rows work, and keep the graph connected."""
        raw = {}
        for name in batch.inputs:
            rows = batch.present[name].nonzero().squeeze(1)
            packed = self.embed(name, batch.inputs[name], batch.scalar_features[rows], (generators or {}).get(name))
            empty = packed.new_zeros(len(batch.molecule), packed.shape[1])
            raw[name] = empty.index_copy(0, rows, packed)
        return Embeddings.of(raw, {name: batch.present[name] for name in batch.inputs})

    def compute_loss(self, embeddings: Embeddings, batch: Batch, rows: slice | None = None) -> LossOutput:
        """Compute the graph's loss of a batch; with `rows`, their share of it."""
        output: LossOutput = self.loss(
            LossBatch(
                embeddings=embeddings.unit,
                raw=embeddings.raw,
                present=embeddings.present,
                molecule=batch.molecule,
                features=batch.features,
                rows=rows,
            )
        )
        return output

    def pair_temperatures(self) -> dict[tuple[str, str], float] | None:
        """Return the loss's temperature of every pair it trains, None where it has none."""
        if not isinstance(self.loss, Tempered):
            return None
        return {pair: float(tau) for pair, tau in self.loss.temperatures().items()}

    def temperatures(self) -> dict[str, float]:
        """Return the loss's temperature of every spectrum against the candidate; 1 for all where it has none."""
        by_pair = {frozenset(pair): tau for pair, tau in (self.pair_temperatures() or {}).items()}
        found = {name: by_pair.get(frozenset((self.candidate, name))) for name in self.spectra}
        known = {name: tau for name, tau in found.items() if tau is not None}
        # A spectrum without a pair of its own (a centre other than the candidate) gets the others' mean.
        fallback = sum(known.values()) / len(known) if known else 1.0
        return {name: known.get(name, fallback) for name in self.spectra}


def build_modalities(graph: ModelGraph, states: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Modality]:
    """Build every modality of a graph; `states` are what `Fits.fit` returned when the run was trained."""
    out: dict[str, Modality] = {}
    for name, node in graph.modalities.items():
        out[name] = node.build()
        if states is not None and name in states:
            out[name].restore(states[name])  # type: ignore[attr-defined]
    return out


@torch.no_grad()
def pairs_of(graph: ModelGraph) -> tuple[tuple[str, str], ...]:
    """Return the pairs of modalities that a graph's loss aligns, as the loss of an empty batch names them.

    Example:
        >>> from molchord.graph.resolve import ModelGraph
        >>> pairs_of(ModelGraph.load("vibrational"))
        (('structure', 'ir'), ('structure', 'raman'))
    """
    with torch.random.fork_rng(devices=[]):
        loss = graph.loss.build([*graph.modalities], graph.candidate)
    asked = loss.features(molecule("C")) if isinstance(loss, Featurizes) else {}
    rows = dict.fromkeys(graph.modalities, torch.zeros(0, graph.embedding_dim))
    output: LossOutput = loss(
        LossBatch(
            embeddings=rows,
            raw=rows,
            present=dict.fromkeys(graph.modalities, torch.zeros(0, dtype=torch.bool)),
            molecule=torch.zeros(0, dtype=torch.int64),
            features={name: torch.as_tensor(value)[None][:0] for name, value in asked.items()},
        )
    )
    return tuple(output.per_pair)


def parameters_of(model: nn.Module, part: str) -> dict[str, nn.Parameter]:
    """Return the parameters below a dotted path, by full name."""
    return {name: p for name, p in model.named_parameters() if name == part or name.startswith(part + ".")}
