"""What one entry of a file of mass spectra holds before it is judged, and the lines and numbers of such files."""

from __future__ import annotations

import io
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from molchord.api import SampleError, open_unpacked

__all__ = ["NUMBER", "Entry", "head_of", "lines_of", "opened", "plain", "with_points"]

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
"""Pattern of a number as these files write it."""


@dataclass
class Entry:
    """What one entry holds, before it is judged; `problem` is the first thing wrong with it."""

    line: int
    fields: dict[str, str] = field(default_factory=dict)
    mz: list[float] = field(default_factory=list)
    intensity: list[float] = field(default_factory=list)
    declared: int | None = None
    problem: str | None = None

    def put(self, name: str, value: str) -> None:
        """Keep a field, the first one of its name."""
        self.fields.setdefault(plain(name), value.strip().strip('"'))

    def peak(self, number: int, tokens: list[str]) -> None:
        """Add one peak; further tokens are a charge or an annotation."""
        try:
            mz, intensity = float(tokens[0]), float(tokens[1])
        except (ValueError, IndexError):
            self.spoil(number, f"{' '.join(tokens)!r} is not a pair of m/z and intensity")
            return
        if not (math.isfinite(mz) and math.isfinite(intensity) and mz > 0):
            self.spoil(number, f"m/z {mz!r} with intensity {intensity!r} is not a peak")
            return
        self.mz.append(mz)
        self.intensity.append(intensity)

    def spoil(self, number: int, problem: str) -> None:
        """Note what is wrong, the first thing only."""
        if self.problem is None:
            self.problem = f"line {number}: {problem}"


def opened(path: Path) -> io.BufferedIOBase:
    """Open a file that may be compressed."""
    return open_unpacked(path)


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield numbered lines without their ends; UTF-8, or Latin-1 where a line is not."""
    try:
        with opened(path) as file:
            for number, raw in enumerate(file, start=1):
                if b"\x00" in raw:
                    raise SampleError(path.name, f"is not text (line {number})")
                try:
                    text = raw.decode("utf-8-sig")
                except UnicodeDecodeError:
                    text = raw.decode("latin-1")
                yield number, text.strip()
    except (OSError, EOFError, zlib.error) as error:
        raise SampleError(path.name, f"cannot be read: {error}") from error


def head_of(path: Path, size: int = 65_536) -> str:
    """Return the beginning of a file as text; empty where it cannot be read."""
    try:
        with opened(path) as file:
            return file.read(size).decode("utf-8-sig", errors="replace")
    except (OSError, EOFError, zlib.error):
        return ""


def plain(name: str) -> str:
    """Return the name of a field in small letters without punctuation."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def with_points(line: str) -> str:
    """Turn the decimal commas of a peak into points: "79,0544 100,5"; not what separates "79,100 91,50"."""
    found = re.fullmatch(r"(\d+),(\d+)(\s+\d+)(?:,(\d+))?", line)
    if found is None or (found[4] is not None and len(found[2]) < 4):
        return line
    return line.replace(",", ".")
