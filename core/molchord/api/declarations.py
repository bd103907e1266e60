"""What a modality declares, torch-free: columns, what is on disk, and the specs of the core kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, InitVar, dataclass, field
from typing import Any, ClassVar, Protocol, TypeAlias

from typing_extensions import TypeVar

from molchord.deprecation import warn_deprecated


@dataclass(frozen=True)
class Real:
    """A number in `unit`; missing is NaN."""

    unit: str


@dataclass(frozen=True)
class Category:
    """One of `values`; code 0 is missing or unknown, code i is ``values[i - 1]``. Stored as text.

    In a modality's `Stores`, an empty tuple admits any text.
    """

    values: tuple[str, ...] = ()

    def code(self, value: object) -> int:
        """Return the code of a value; 0 where it is missing or not among `values`.

        Example:
            >>> Category(("positive", "negative")).code("negative"), Category(("positive",)).code(None)
            (2, 0)
        """
        return self.values.index(value) + 1 if value in self.values else 0


Column: TypeAlias = Real | Category


@dataclass(frozen=True, kw_only=True)
class Array:
    """One stored array of a measurement.

    Attributes:
        unit: Physical unit, ``"1"`` where there is none.
        axis: Name of the ragged leading axis; arrays of one axis have the same length in one measurement. None: the
            array has exactly `shape` in every measurement.
        shape: Trailing shape after the ragged axis.
        dtype: Type that `transform` is handed (what is on disk may be narrower and is converted on reading).
    """

    unit: str
    axis: str | None = None
    shape: tuple[int, ...] = ()
    dtype: str = "float32"


@dataclass(frozen=True, kw_only=True)
class Stores:
    """What a measurement of a modality holds on disk.

    Attributes:
        arrays: Arrays by name; one that a measurement lacks is stored with length 0 on its ragged axis.
        columns: Metadata by name; the column ``origin`` ("measured" or "computed") is always there and not listed.
    """

    arrays: Mapping[str, Array]
    columns: Mapping[str, Column] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SpectrumSpec:
    """Kind ``spectrum1d``: `channels` curves on one grid of `points` positions from `start` to `stop` in `unit`.

    `whole` are columns of the whole spectrum; `reveals_mass` means that the molecule's mass can be read off the sample,
    so that every metric measured with it is one "with mass".
    """

    unit: str
    points: int
    channels: int = 1
    whole: Mapping[str, Column] = field(default_factory=dict)
    start: float = 0.0
    stop: float = 1.0
    reveals_mass: bool = False
    tells_mass: InitVar[bool] = False

    def __post_init__(self, tells_mass: bool) -> None:
        _reveals_mass(self, tells_mass)


@dataclass(frozen=True, kw_only=True)
class PeaksSpec:
    """Kind ``peaks``: a set of peaks at positions in `unit`, with columns per peak and columns of the whole spectrum.

    `reveals_mass` as in `SpectrumSpec`.
    """

    unit: str
    peak: Mapping[str, Column]
    whole: Mapping[str, Column] = field(default_factory=dict)
    reveals_mass: bool = False
    tells_mass: InitVar[bool] = False

    def __post_init__(self, tells_mass: bool) -> None:
        _reveals_mass(self, tells_mass)


@dataclass(frozen=True, kw_only=True)
class GraphSpec:
    """Kind ``graph``: atoms and bonds; `conformers` positions per atom in angstrom where `positions` is true."""

    positions: bool = False
    conformers: int = 1
    atom: Mapping[str, Column] = field(default_factory=dict)
    bond: Mapping[str, Column] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class VectorSpec:
    """Kind ``vector``: `size` numbers in `unit`; `reveals_mass` as in `SpectrumSpec`."""

    size: int
    unit: str
    reveals_mass: bool = False
    tells_mass: InitVar[bool] = False

    def __post_init__(self, tells_mass: bool) -> None:
        _reveals_mass(self, tells_mass)


class _OwnSpec(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


Spec: TypeAlias = SpectrumSpec | PeaksSpec | GraphSpec | VectorSpec | _OwnSpec
"""One of the four specs above, or a third party's own frozen dataclass for its own kind ``dist:kind``."""

SpecT = TypeVar("SpecT", default=Any)
"""The spec that a modality gives, or those of the kinds that an encoder accepts; a record written without it: any."""


def _reveals_mass(spec: SpectrumSpec | PeaksSpec | VectorSpec, tells_mass: bool) -> None:
    """Take the old name of `reveals_mass`, with a warning."""
    if tells_mass:
        warn_deprecated(f"molchord.api.{type(spec).__name__}(tells_mass=)", stacklevel=4)
        object.__setattr__(spec, "reveals_mass", True)
