"""Predicted peak lists in ``.npz`` files: molecules laid end to end, the peaks of each nucleus by offsets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from molchord.api import Measurement, Reading, SampleError
from molchord_modalities import xtb
from molchord_modalities.archives import check_archive
from molchord_modalities.nmr_settings import MULTIPLICITIES, NUCLEI

__all__ = ["names_itself", "read"]

_CODES = np.array([MULTIPLICITIES.index(pattern) + 1 for pattern in ("s", "d", "t", "q", "m")], dtype=np.uint8)
"""Multiplicity of a carbon with 0, 1, 2, 3 or more hydrogens."""


def names_itself(path: Path) -> bool:
    """Return whether an archive holds shifts of a nucleus, such as ``shift_13C``."""
    return any(f"shift_{nucleus}" in xtb.names(path) for nucleus in NUCLEI)


def read(path: Path) -> Iterator[Reading | SampleError]:
    """Yield a list for each molecule and nucleus.

    The file holds ``smiles`` (n) and for each of its nuclei, here 13C, offsets ``peaks_13C`` (n + 1), ``shift_13C`` in
    ppm and, where they are known, ``nuclei_13C`` and ``hydrogens_13C`` (peaks_13C[-1]); ``computed_by`` names what
    predicted them, as text. ``datasets/make_nmr_shifts.py`` writes such files.

    Raises:
        SampleError: An array is missing, damaged, of objects, or does not fit the others.
    """
    present = [nucleus for nucleus in NUCLEI if f"shift_{nucleus}" in xtb.names(path)]
    try:
        check_archive(path)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            stored = {name: archive[name] for name in archive.files}
        smiles = stored["smiles"].tolist()
        source = str(stored.get("computed_by", "unknown"))
        columns = {nucleus: _Columns(stored, nucleus, len(smiles)) for nucleus in present}
    except KeyError as error:
        raise SampleError(str(path), f"the archive lacks the array {error}; it has {sorted(stored)}") from None
    except xtb.DAMAGED as error:
        raise SampleError(str(path), f"the archive cannot be read ({error}); fetch or write it again") from None
    for i, text in enumerate(smiles):
        for nucleus in present:
            arrays = columns[nucleus].of(i)
            if len(arrays["shift"]):
                said = {"origin": "computed", "nucleus": nucleus, "source": source}
                yield Reading(
                    measurement=Measurement(arrays=arrays, columns=said), smiles=text, location=f"{path}[{i}]"
                )


class _Columns:
    """The peaks of one nucleus."""

    def __init__(self, stored: dict[str, NDArray[Any]], nucleus: str, molecules: int) -> None:
        ends = stored[f"peaks_{nucleus}"].astype(np.int64)
        if ends.shape != (molecules + 1,) or ends[0] != 0 or (np.diff(ends) < 0).any():
            raise ValueError(f"`peaks_{nucleus}` must be {molecules + 1} offsets that start at 0 and never fall")
        self._ends = ends
        shift = stored[f"shift_{nucleus}"].astype(np.float32)
        if shift.shape != (ends[-1],) or not np.isfinite(shift).all():
            raise ValueError(f"`shift_{nucleus}` must be {ends[-1]} finite numbers, as `peaks_{nucleus}` says")
        self._arrays = {"shift": shift}
        for name in ("nuclei", "hydrogens"):
            if f"{name}_{nucleus}" in stored:
                values = stored[f"{name}_{nucleus}"]
                if values.shape != shift.shape or values.dtype.kind not in "iu":
                    raise ValueError(f"`{name}_{nucleus}` must be {ends[-1]} whole numbers")
                self._arrays[name] = values

    def of(self, molecule: int) -> dict[str, NDArray[Any]]:
        """Return what is known of a molecule's peaks; what is not is missing for each of them."""
        part = slice(*self._ends[molecule : molecule + 2])
        shift = self._arrays["shift"][part]
        found: dict[str, NDArray[Any]] = {
            "shift": shift,
            "nuclei": np.full(len(shift), np.nan, dtype=np.float32),
            "multiplicity": np.zeros(len(shift), dtype=np.uint8),
        }
        if "nuclei" in self._arrays:
            found["nuclei"] = self._arrays["nuclei"][part].astype(np.float32)
        if "hydrogens" in self._arrays:
            found["multiplicity"] = _CODES[np.minimum(self._arrays["hydrogens"][part], len(_CODES) - 1)]
        return found
