"""Properties: the record, what `build` returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from molchord.api.batches import Molecule
from molchord.api.record import ConfigT, Record

__all__ = ["Property", "PropertyRecord"]


class Property(Protocol):
    """Says what a molecule has, such as functional groups; a search then says how probable each is of the unknown."""

    @property
    def names(self) -> tuple[str, ...]:
        """What is asked of a molecule, each name once."""
        ...

    def of(self, molecule: Molecule) -> Sequence[float]:
        """Return for each of `names`, in their order, 1 where the molecule has it and 0 where not.

        Raises:
            SampleError: It cannot be said of this molecule.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class PropertyRecord(Record[ConfigT]):
    """What is asked of the molecules that a search finds; ``build(config)`` returns a `Property`."""

    build: Callable[[ConfigT], Property]
