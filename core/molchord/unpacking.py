"""Opens files that may be compressed, without ever holding more than a bounded multiple of what is on the disk."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any, final

__all__ = ["open_unpacked", "unpacked_limit"]

RATIO, SPARE = 20, 64 * 2**20


def unpacked_limit(size: int) -> int:
    """Return to how many bytes a compressed file of this size may unpack: 20 times its size and 64 MiB.

    Example:
        >>> unpacked_limit(1000) - 64 * 2**20
        20000
    """
    return RATIO * size + SPARE


def open_unpacked(path: Path) -> io.BufferedReader:
    """Open a file for reading bytes, unpacked where it is gzipped, whatever its name says.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be opened; or on reading, it unpacks to more than `unpacked_limit`, or is damaged.

    Example:
        >>> import gzip, tempfile
        >>> path = Path(tempfile.mkdtemp()) / "spectrum.csv.gz"
        >>> _ = path.write_bytes(gzip.compress(b"500,0.1"))
        >>> with open_unpacked(path) as file:
        ...     file.read()
        b'500,0.1'
    """
    with path.open("rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
    return io.BufferedReader(_Bounded(path)) if gzipped else path.open("rb")


@final
class _Bounded(io.RawIOBase):
    """The content of a gzipped file, as far as it may go."""

    def __init__(self, path: Path) -> None:
        self._file = gzip.GzipFile(path, "rb")
        self._limit = self._left = unpacked_limit(path.stat().st_size)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, as far as there is content.

        Raises:
            OSError: There is more than there may be.
        """
        content = self._file.read(len(buffer))
        self._left -= len(content)
        if self._left < 0:
            raise OSError(f"it unpacks to more than {self._limit} bytes, which is {RATIO} times its size and 64 MiB")
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
