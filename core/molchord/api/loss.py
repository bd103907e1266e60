"""Losses: the record, what `build` returns, and what a loss sees and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from molchord.api.batches import Molecule
from molchord.api.record import ConfigT, Record

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["Featurizes", "Loss", "LossBatch", "LossOutput", "LossRecord", "Tempered"]


@dataclass(frozen=True, kw_only=True)
class LossBatch:
    """What a loss sees; append-only.

    Attributes:
        embeddings: Unit rows per modality, each (b, d); zero rows where absent.
        raw: The heads' outputs before normalisation, each (b, d); zero rows where absent.
        present: Presence per modality, each (b,) bool.
        molecule: (b,) int64 index of the molecule in the data set; equal numbers are one molecule.
        features: Per-molecule features that the loss asked for, each (b, ...).
        rows: The rows that this process owns; None means all.
    """

    embeddings: Mapping[str, Tensor]
    raw: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    molecule: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)
    rows: slice | None = None


@dataclass(frozen=True, kw_only=True)
class LossOutput:
    """A loss's value.

    Attributes:
        total: Scalar to minimise: the mean over the pairs that have two distinct molecules or more. With `rows` set
            it is this process's share, and the shares of all processes add up to the single-process value.
        per_pair: Scalar per pair of modality names.
    """

    total: Tensor
    per_pair: Mapping[tuple[str, str], Tensor]


class Loss(Protocol):
    """A torch module from a `LossBatch` to a `LossOutput`."""

    def __call__(self, batch: LossBatch) -> LossOutput:
        """Compute the loss."""
        ...


@runtime_checkable
class Featurizes(Protocol):
    """A loss that asks for per-molecule features, computed once and cached in the data set."""

    def features(self, molecule: Molecule) -> Mapping[str, NDArray[Any]]:
        """Return fixed-shape arrays by name."""
        ...


@runtime_checkable
class Tempered(Protocol):
    """A loss that has a temperature per pair, used by the geometric mean of retrieval."""

    def temperatures(self) -> Mapping[tuple[str, str], float]:
        """Return the temperature tau of each pair of modality names that it trains (names in graph order)."""
        ...


@dataclass(frozen=True, kw_only=True)
class LossRecord(Record[ConfigT]):
    """A contrastive loss over all modalities of a graph; ``build(config, modalities, candidate)`` returns a `Loss`.

    Fields of the configuration that are of type `ModalityName` are checked against the graph.
    """

    build: Callable[[ConfigT, tuple[str, ...], str | None], Any]
