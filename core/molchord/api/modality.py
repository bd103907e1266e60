"""Modalities: the record, what `build` returns, and abilities that a modality may have in addition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, runtime_checkable

from molchord.api.batches import Measurement, Molecule, Reading
from molchord.api.declarations import SpecT, Stores
from molchord.api.record import ConfigT, Record
from molchord.errors import SampleError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

__all__ = [
    "Compares",
    "Derives",
    "Fits",
    "Inspects",
    "Locates",
    "Migrates",
    "Modality",
    "ModalityRecord",
    "QualityWarning",
    "StatedMass",
    "StatesMass",
]


class Modality(Protocol):
    """Reads measurements and turns them into batches of one kind."""

    def can_read(self, path: Path) -> bool:
        """Return whether this file names itself as one of this modality (array names, data type, header)."""
        ...

    def read(self, path: Path) -> Iterator[Reading | SampleError]:
        """Yield every entry of a file; one bad entry is yielded as a `SampleError`, and the next ones follow.

        Raises:
            SampleError: The file as a whole cannot be read.
        """
        ...

    def transform(self, measurement: Measurement, rng: np.random.Generator | None) -> Any:
        """Make one sample, in a worker; `rng` None means deterministic.

        Raises:
            SampleError: This measurement cannot be used.
        """
        ...

    def collate(self, samples: Sequence[Any]) -> Any:
        """Make a batch (any dataclass of tensors) from the samples of the molecules that have this modality."""
        ...

    def prepare(self, batch: Any, generator: torch.Generator | None) -> Any:
        """Finish the batch on the device (broadening, augmentation) as the kind's batch; always called."""
        ...

    def example(self, molecules: Sequence[Molecule], seed: int) -> list[Measurement]:
        """Make one synthetic measurement per molecule, similar for similar molecules."""
        ...


@runtime_checkable
class Derives(Protocol):
    """A modality that can be made from the molecule alone; only such a one can be the candidate."""

    def derive(self, molecule: Molecule) -> Measurement:
        """Make the measurement; raises `SampleError` where it cannot be made."""
        ...


@runtime_checkable
class Compares(Protocol):
    """A modality with a similarity of its own, printed as its baseline."""

    def similarity(self, query: Measurement, references: Sequence[Measurement]) -> NDArray[np.floating[Any]]:
        """Return one similarity per reference, higher is more alike, shape (references,)."""
        ...


@dataclass(frozen=True)
class QualityWarning:
    """What makes the answer to a measurement uncertain.

    Attributes:
        message: What is wrong, as the rest of a sentence whose subject is the measurement: ``"it covers 10 %"``.
        confidence_factor: Part of the answer's probability that is left, between 0 and 1.
    """

    message: str
    confidence_factor: float


@runtime_checkable
class Inspects(Protocol):
    """A modality that warns of the quality of a measurement that it can use, such as a wrong unit."""

    def inspect(self, measurement: Measurement) -> Sequence[QualityWarning]:
        """Return the quality warnings of a measurement that `transform` takes; empty where there are none."""
        ...


@runtime_checkable
class Locates(Protocol):
    """A modality that locates peaks; those of modalities of one unit are matched with each other, as a baseline."""

    def peaks(self, measurement: Measurement) -> NDArray[np.floating[Any]]:
        """Return the positions of the peaks in the unit of the spec, shape (peaks,).

        Raises:
            SampleError: This measurement cannot be used.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class StatedMass:
    """What a measurement states of the mass of its molecule.

    Attributes:
        mz: m/z of the ion that was measured.
        adduct: Which ion it is, such as ``[M+H]+``; None where this is not stated.
        masses: Monoisotopic mass in Da of the molecule by ion: by `adduct`, where its mass is known, and by other ions
            that the measurement may be of, the commonest first.
        tolerance: Da by which they may be wrong: an answer farther away contradicts the measurement.

    Example:
        >>> stated = StatedMass(mz=195.088, adduct=None, masses={"[M+H]+": 194.080, "[M+Na]+": 172.098}, tolerance=0.01)
        >>> stated.mass is None, stated.ions(172.1), stated.ions(195.088)
        (True, ['[M+Na]+'], [])
    """

    mz: float
    adduct: str | None
    masses: Mapping[str, float]
    tolerance: float

    @property
    def mass(self) -> float | None:
        """Return the mass of the molecule; None where the ion is not stated, or its mass not known."""
        return None if self.adduct is None else self.masses.get(self.adduct)

    def ions(self, mass: float, half_width: float = 0.0) -> list[str]:
        """Name the ions as which the measurement may be of a molecule of this mass."""
        return [ion for ion, found in self.masses.items() if abs(found - mass) <= half_width + self.tolerance]


@runtime_checkable
class StatesMass(Protocol):
    """A modality whose measurements state the mass of their molecule, such as by the m/z of an ion.

    What was asked for is compared with it, and spectra of one query with each other; candidates are never ranked by it.
    """

    def stated_mass(self, measurement: Measurement) -> StatedMass | None:
        """Return what the measurement states; None where it states nothing."""
        ...


@runtime_checkable
class Fits(Protocol):
    """A modality whose scaling is fitted on the training set and saved with the run."""

    def fit(self, train: Iterable[Measurement]) -> Mapping[str, Any]:
        """Return the state (JSON values) fitted on the training measurements."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take a fitted state back."""
        ...


@runtime_checkable
class Migrates(Protocol):
    """A modality that reads measurements stored under an older declaration."""

    def migrate(self, measurement: Measurement, declared: Stores) -> Measurement:
        """Turn a measurement stored as `declared` into one of today's declaration."""
        ...


@dataclass(frozen=True, kw_only=True)
class ModalityRecord(Record[ConfigT], Generic[ConfigT, SpecT]):
    """A kind of measurement or representation; ``build(config, kind)`` returns a `Modality`.

    Attributes:
        kinds: Kinds it can reach an encoder in, the preferred one first.
        stores: What a measurement holds on disk.
        spec: ``spec(config, kind)``, torch-free.
        derives: What `build` returns is a `Derives` too, so that this modality can be the candidate.
        adapt: ``adapt(config, needs)`` fills defaults that depend on what the encoder needs; None: nothing to fill.
        mass_needs: The stored column that must be known for the molecule's mass to follow from a measurement, such as
            the adduct; metrics "with mass" leave measurements out where it is missing. None: the mass is not from here.
        title: What people call the technique, such as ``"MS/MS"``; empty: its name. A stored column in braces stands
            for what a graph's `where` asks of it, as in ``"{nucleus} NMR"``.
    """

    kinds: tuple[str, ...]
    stores: Stores
    spec: Callable[[ConfigT, str], SpecT]
    build: Callable[[ConfigT, str], Modality]
    derives: bool = False
    adapt: Callable[[ConfigT, tuple[str, ...]], ConfigT] | None = None
    mass_needs: str | None = None
    title: str = ""
