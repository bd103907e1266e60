"""Encoders: the record, and what `build` returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol

from molchord.api.declarations import SpecT
from molchord.api.record import ConfigT, Record

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Encoder", "EncoderRecord"]


class Encoder(Protocol):
    """A torch module from a kind's batch to (b, width); it uses every column that the spec declares."""

    width: int

    def __call__(self, batch: Any) -> Tensor:
        """Encode a batch as (b, width)."""
        ...


@dataclass(frozen=True, kw_only=True)
class EncoderRecord(Record[ConfigT], Generic[ConfigT, SpecT]):
    """A network from a kind's batch to one vector per molecule; ``build(config, spec)`` returns an `Encoder`.

    Attributes:
        accepts: Kinds it takes.
        needs: What it needs of a kind beyond the plain batch, such as ``("positions",)``.
    """

    accepts: tuple[str, ...]
    build: Callable[[ConfigT, SpecT], Any]
    needs: tuple[str, ...] = ()
