"""What a user may say about a file that does not say it itself, and the ability of a modality to listen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol, runtime_checkable

from molchord.api.batches import Reading
from molchord.errors import SampleError

__all__ = ["ReadingOptions", "ReadsTables"]


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """How to read a table whose header does not say all; what is not given is as the file has it.

    Attributes:
        x_unit: Unit of the abscissa, such as ``"um"``; goes before what the file states.
        y_unit: Unit of the ordinate, such as ``"%T"``; goes before what the file states.
        column: Title or number (the first is 1) of the column that holds the ordinate; ``"all"``: every column but the
            abscissa is a spectrum of its own.
        skip: Lines at the beginning of the file that are left out.

    Raises:
        ValueError: `skip` is negative.

    Example:
        >>> ReadingOptions(x_unit="um", y_unit="%T").given
        {'x_unit': 'um', 'y_unit': '%T'}
    """

    x_unit: str | None = None
    y_unit: str | None = None
    column: str | None = None
    skip: int = 0

    def __post_init__(self) -> None:
        if self.skip < 0:
            raise ValueError(f"`skip` is {self.skip}; give 0 or more lines to leave out")

    @property
    def given(self) -> dict[str, str | int]:
        """Return what was given, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value not in (None, 0)}


@runtime_checkable
class ReadsTables(Protocol):
    """A modality whose files a user may describe; one without this ability is never given options."""

    def read_table(self, path: Path, options: ReadingOptions) -> Iterator[Reading | SampleError]:
        """Yield every entry of a file as `Modality.read` does, read as the options say.

        Raises:
            SampleError: The file as a whole cannot be read, or an option does not fit it.
        """
        ...
