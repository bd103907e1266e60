"""Start-up: commands that need no model, the import, and opening a large library."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from string import ascii_uppercase
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.speed.timing import compare
from molchord.api import Molecule
from molchord.library.files import Entry, write_library_manifest
from molchord.library.library import Library

__all__ = ["TEXT", "TITLE", "measure"]

TITLE = "Start-up"
TEXT = (
    "Whole processes after a first one has compiled the modules, beside one of Python that does nothing and one that "
    "imports torch. The library has shards of 65,536 rows of 512 numbers that are links to one and the same file; "
    "it is opened and asked for the rows of a mass, which fusions each shard and looks its masses up."
)
ROWS, WIDTH, MASS = 65_536, 512, 282.3287


def measure(device: str, *, small: bool = False) -> list[dict[str, Any]]:
    """Time processes, and opening; `device` has no part in it."""
    rounds = 5 if small else 11
    with TemporaryDirectory(prefix="molchord-speed-") as compiled:
        rows = _processes(Path(compiled), rounds)
    shards = 4 if small else 153
    with TemporaryDirectory(prefix="molchord-speed-") as folder:
        library = _library(Path(folder) / "library", 64 if small else ROWS, shards)
        row = compare({"molchord": lambda: Library(library.path).filter(mass=MASS, ppm=1.0)}, rounds=rounds)
        return [*rows, {"case": f"open a library of {len(library):,}", **row}]


def _processes(compiled: Path, rounds: int) -> list[dict[str, Any]]:
    keep = {"PYTHONPYCACHEPREFIX": str(compiled), "PYTHONDONTWRITEBYTECODE": ""}

    def process(*arguments: str) -> Callable[[], object]:
        command, environment = [sys.executable, *arguments], {**os.environ, **keep}
        return partial(subprocess.run, command, check=True, stdout=subprocess.DEVNULL, env=environment)

    cases = {
        "import molchord": process("-c", "import molchord"),
        "molchord --help": process("-m", "molchord", "--help"),
        "molchord plugins list": process("-m", "molchord", "plugins", "list"),
    }
    others = {"python alone": process("-c", "pass"), "import torch": process("-c", "import torch")}
    return [{"case": case, **compare({"molchord": run, **others}, rounds=rounds)} for case, run in cases.items()]


def _library(path: Path, rows: int, shards: int) -> Library:
    """Write a library of one shard, and list links to it as more shards."""
    vectors = np.random.default_rng(7).standard_normal((rows, WIDTH), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    entries = (
        Entry(
            Molecule(
                key14="".join(ascii_uppercase[i // 26**place % 26] for place in range(14)),
                smiles="C" * 20,
                formula="C20H42",
                exact_mass=MASS,
            ),
            vector,
        )
        for i, vector in enumerate(vectors)
    )
    written = Library.create(path, entries, run="speed", candidate="structure", embedding_dim=WIDTH, shard_rows=rows)
    (first,) = written.manifest.shards
    listed = [first]
    for number in range(1, shards):
        listed.append(first.model_copy(update={"name": f"shard-{number:05d}"}))
        for ending in ("safetensors", "parquet"):
            os.link(path / f"{first.name}.{ending}", path / f"{listed[-1].name}.{ending}")
    write_library_manifest(path, written.manifest.model_copy(update={"shards": tuple(listed)}))
    return Library(path)
