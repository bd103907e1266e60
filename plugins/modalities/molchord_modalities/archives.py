"""Looks at a numpy archive before any of its arrays is read: what it declares must fit what is on the disk."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np

from molchord.api import unpacked_limit

__all__ = ["check_archive"]


def check_archive(path: Path) -> None:
    """Refuse an archive that would unpack to far more than its size, or whose arrays are longer than their entries.

    Args:
        path: The file.

    Raises:
        ValueError: It would.
        OSError: It cannot be read.
        zipfile.BadZipFile: It is damaged, or no archive.
    """
    with zipfile.ZipFile(path) as archive:
        entries, limit = archive.infolist(), unpacked_limit(path.stat().st_size)
        whole = sum(entry.file_size for entry in entries)
        if whole > limit:
            raise ValueError(f"it unpacks to {whole} bytes, but {limit} are allowed: 20 times its size and 64 MiB")
        for entry in entries:
            if not entry.filename.endswith(".npy"):
                continue
            with archive.open(entry) as file:
                read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                header = read.get(np.lib.format.read_magic(file))
                if header is None:
                    continue  # of a later format, which numpy refuses or bounds itself
                shape, _, dtype = header(file)
                if not dtype.hasobject and math.prod(shape) * dtype.itemsize > entry.file_size:
                    raise ValueError(f"its array {entry.filename!r} declares {shape} values, but is shorter")
