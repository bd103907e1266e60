"""Computed sticks in ``.npz`` files: molecules laid end to end, their modes by offsets."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from molchord.api import SampleError
from molchord_modalities.archives import check_archive

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DAMAGED", "names", "read"]

DAMAGED = (
    OSError,
    ValueError,
    TypeError,
    EOFError,
    KeyError,
    RuntimeError,
    MemoryError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy and zipfile raise on files that are damaged, encrypted by a flipped bit, or not an archive at all."""


def names(path: Path) -> frozenset[str]:
    """Return the names of a file's arrays; none where it is not a readable archive."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return frozenset(archive.files)
    except DAMAGED:
        return frozenset()


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One molecule's sticks.

    Attributes:
        location: File and index.
        smiles: The molecule.
        position: (k,) harmonic wavenumbers in cm^-1.
        intensity: (k,).
        kind: (k,) what each mode stretches; None where the file does not hold it.
        rotational_constant: B in cm^-1, or None.
        simulator: What computed it, or None.
    """

    location: str
    smiles: str
    position: NDArray[np.float32]
    intensity: NDArray[np.float32]
    kind: NDArray[np.uint8] | None
    rotational_constant: float | None
    simulator: str | None


def read(path: Path, intensity: str) -> Iterator[Entry]:
    """Yield what a file holds of every molecule.

    The file holds ``smiles`` (n), offsets ``modes`` (n + 1), ``freq`` and an intensity array, both (modes[-1]), and
    possibly ``kind`` (modes[-1]), ``constants`` (n, 3) and ``simulator`` (n).

    Args:
        path: The file.
        intensity: Name of the intensity array.

    Raises:
        SampleError: An array is missing, damaged, of objects, or does not fit the others.
    """
    wanted = ("smiles", "modes", "freq", intensity)
    try:
        check_archive(path)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [name for name in wanted if name not in archive.files]
            if missing:
                got = ", ".join(repr(name) for name in archive.files)
                raise SampleError(str(path), f"the archive lacks the array {missing[0]!r}; it has {got or 'none'}")
            smiles, modes, freq, strength = (archive[name] for name in wanted)
            further = ("kind", "constants", "simulator")
            kind, constants, simulator = (archive[name] if name in archive.files else None for name in further)
    except DAMAGED as error:
        raise SampleError(str(path), f"the archive cannot be read ({error}); fetch or write it again") from None
    _check(path, smiles, modes, freq, strength)
    if simulator is not None and (simulator.shape != smiles.shape or simulator.dtype.kind != "U"):
        raise SampleError(str(path), f"`simulator` of shape {simulator.shape} must be one text per molecule")
    if kind is not None and (kind.shape != freq.shape or kind.dtype.kind not in "iu"):
        raise SampleError(str(path), f"`kind` of shape {kind.shape} must be one integer per mode")
    if constants is not None and (constants.shape != (len(smiles), 3) or constants.dtype.kind != "f"):
        raise SampleError(str(path), f"`constants` of shape {constants.shape} must be three numbers per molecule")
    for i, text in enumerate(smiles.tolist()):
        part = slice(int(modes[i]), int(modes[i + 1]))
        yield Entry(
            location=f"{path}[{i}]",
            smiles=str(text),
            position=freq[part].astype(np.float32),
            intensity=strength[part].astype(np.float32),
            kind=None if kind is None else kind[part].astype(np.uint8),
            rotational_constant=None if constants is None else float(constants[i, 1]),
            simulator=None if simulator is None else str(simulator[i]) or None,
        )


def _check(path: Path, smiles: NDArray, modes: NDArray, freq: NDArray, strength: NDArray) -> None:  # type: ignore[type-arg]
    if modes.shape != (len(smiles) + 1,) or modes.dtype.kind not in "iu":
        raise SampleError(
            str(path), f"`modes` has shape {modes.shape}, {len(smiles)} molecules need {len(smiles) + 1} offsets"
        )
    if np.any(np.diff(modes.astype(np.int64)) < 0) or modes[0] != 0:
        raise SampleError(str(path), "`modes` must be offsets that start at 0 and never fall")
    if freq.shape != (int(modes[-1]),) or freq.shape != strength.shape:
        raise SampleError(
            str(path),
            f"`freq` has shape {freq.shape} and the intensities {strength.shape}; `modes` ends at {modes[-1]}",
        )
    if freq.dtype.kind not in "fiu" or strength.dtype.kind not in "fiu":
        raise SampleError(
            str(path), f"`freq` of type {freq.dtype} and intensities of type {strength.dtype} must be numbers"
        )
