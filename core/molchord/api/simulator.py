"""Simulators: the record, what `build` returns, and the ability to compute on other machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from molchord.api.batches import Measurement, Molecule
from molchord.api.declarations import Array
from molchord.api.record import ConfigT, Record
from molchord.errors import SampleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Batched", "Portable", "Simulator", "SimulatorRecord"]


class Simulator(Protocol):
    """Computes measurements of a molecule in two steps, of which only the first one needs RDKit.

    Both steps give numpy arrays by name, as the record declares them: `jobs` and `results`. What is computed reaches a
    data set as a file of results, which the modalities in `makes` read like any other file.
    """

    def prepare(self, molecule: Molecule) -> Mapping[str, NDArray[Any]]:
        """Make the input of the computation, such as a conformer; all randomness follows from the key14.

        Raises:
            SampleError: It cannot be made.
        """
        ...

    def compute(self, job: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Do the computation, on one core; the same job gives the same result in any process.

        Raises:
            SampleError: It fails, such as a geometry that does not converge.
        """
        ...

    def measurements(self, result: Mapping[str, NDArray[Any]]) -> Mapping[str, Measurement]:
        """Return what the modalities in `makes` would read of this result in a file."""
        ...

    def prepared_by(self) -> str:
        """Return one line that describes how `prepare` makes jobs, with the versions of what it uses."""
        ...

    def computed_by(self) -> str:
        """Return one line that describes what `compute` computes, with the versions of what it uses.

        Raises:
            ImportError: A library that `compute` needs is not installed.
        """
        ...


@runtime_checkable
class Batched(Protocol):
    """A simulator whose second step is faster for many molecules at once.

    Attributes:
        batch: How many molecules at most it would have at a time.
    """

    batch: int

    def compute_batch(
        self, jobs: Sequence[Mapping[str, NDArray[Any]]]
    ) -> Sequence[Mapping[str, NDArray[Any]] | SampleError]:
        """Do `compute` for each job, to within rounding; the error of one that fails takes its place."""
        ...


@runtime_checkable
class Portable(Protocol):
    """A simulator whose second step is one file that runs where molchord is not installed.

    ``python PROGRAM jobs.npz results.npz`` reads a file of jobs and writes one of results. Both hold, for the molecules
    of one file, the texts ``id`` (key14) and ``smiles``; the declared arrays laid end to end, with offsets under the
    name of their ragged axis; of molecules that failed ``failed_id``, ``failed_smiles`` and ``failed_reason`` (the
    program hands those of the jobs on); and one text ``prepared_by``, results also ``computed_by``.
    """

    def program(self) -> Path:
        """Return the file."""
        ...


@dataclass(frozen=True, kw_only=True)
class SimulatorRecord(Record[ConfigT]):
    """A computation of measurements from a molecule's structure; ``build(config)`` returns a `Simulator`.

    Attributes:
        makes: Names of the modalities that read its results, one entry per molecule.
        jobs: Arrays that `prepare` gives.
        results: Arrays that `compute` gives, named as the modalities in `makes` read them.
    """

    makes: tuple[str, ...]
    jobs: Mapping[str, Array]
    results: Mapping[str, Array]
    build: Callable[[ConfigT], Simulator]
