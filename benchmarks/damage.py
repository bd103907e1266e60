"""Flips bits, zeroes pages and cuts pieces off files of a run, a data set and a library, and counts what is noticed.

    python -m benchmarks.damage --trials 1000

Each trial damages one file, uses the folder as a search or a training does, then verifies it, and puts the file back.
It counts as noticed where one of the two names the file; anything else, a traceback included, is printed and kept in
``benchmarks/results/damage.json``.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from molchord.absence import Background
from molchord.api import Molecule
from molchord.checksums import fault_of_file
from molchord.data.store import DataSet
from molchord.errors import MolchordError
from molchord.library.library import Entry, Library
from molchord.properties import read_properties
from molchord.prospects import Channels
from molchord.run_folder import read_run_manifest, read_weights, saved_graph, trained_smiles
from molchord.testing import tiny_data, tiny_run
from molchord.verify import verify

__all__ = ["damaged", "make_folders", "trial"]

RESULTS = Path(__file__).parent / "results" / "damage.json"
PAGE = 4096
WIDTH = 12


def make_folders(home: Path) -> dict[str, Path]:
    """Make a small run, data set and library, by kind; the library has several shards and removed rows."""
    shutil.copytree(tiny_run().path, home / "run")
    shutil.copytree(tiny_data().path, home / "data")
    made = {"run": "r", "candidate": "structure", "embedding_dim": WIDTH, "spectra": ("ir",)}
    library = Library.create(home / "library", map(_entry, range(40)), shard_rows=16, storage="int8", **made)
    library.remove([_entry(3).molecule.key14])
    return {kind: home / kind for kind in ("run", "data", "library")}


def damaged(content: bytes, generator: random.Random) -> tuple[str, bytes]:
    """Return what was done to a file's content, and the content then, which is another one."""
    while True:
        how, out = generator.choice(("bits", "page", "cut")), bytearray(content)
        if how == "bits":
            for _ in range(generator.choice((1, 1, 8))):
                out[generator.randrange(len(out))] ^= 1 << generator.randrange(8)
        elif how == "page":
            start = generator.randrange(len(out)) // PAGE * PAGE
            out[start : start + PAGE] = bytes(min(PAGE, len(out) - start))
        else:
            del out[generator.randrange(len(out)) :]
        if out != content:
            return how, bytes(out)


def trial(kind: str, folder: Path, file: Path, generator: random.Random) -> tuple[str, str]:
    """Damage a file, use its folder, and put the file back; return how it was damaged and what was found.

    What was found is "noticed", or else what happened in its place.
    """
    content = file.read_bytes()
    how, broken = damaged(content, generator)
    file.write_bytes(broken)
    try:
        found = list(_complaints(kind, folder))
    except Exception as error:
        return how, f"{type(error).__name__}: {error}"
    finally:
        file.write_bytes(content)
    if not found:
        return how, "nothing was noticed"
    return how, "noticed" if any(file.name in one for one in found) else f"not named: {found[0]}"


def _complaints(kind: str, folder: Path) -> Iterator[str]:
    """Yield what using a folder, and verifying it, complain about."""
    for act in ({"run": _use_run, "data": _use_data, "library": _use_library}[kind], verify):
        try:
            yield from act(folder) or ()
        except MolchordError as error:
            yield str(error)


def _use_run(folder: Path) -> None:
    manifest = read_run_manifest(folder)
    if fault_of_file(folder / "graph.yaml", manifest.files["graph.yaml"]) is not None:
        saved_graph(folder, manifest)  # refuses it; to resolve a good one takes longer than all the rest
    trained_smiles(folder)
    read_weights(folder / "model.safetensors")
    read_weights(folder / "checkpoints" / "last.safetensors")
    Background.read(folder)
    Channels.read(folder)
    read_properties(folder)


def _use_data(folder: Path) -> None:
    data = DataSet(folder)
    list(data.molecules())
    data.split.tolist()
    for name in data.stored:
        table = data.table(name)
        table.column("origin")
        for index in range(len(table)):
            table.read(index)


def _use_library(folder: Path) -> None:
    library = Library(folder)
    query = {"ir": torch.nn.functional.one_hot(torch.tensor(0), WIDTH).float()}
    library.search(query, k=40)
    library.search(query, k=40, mode="library")


def _entry(number: int) -> Entry:
    vector = np.random.default_rng(number).normal(size=(2, WIDTH))
    vector /= np.linalg.norm(vector, axis=1, keepdims=True)
    key = (
        "".join(chr(ord("A") + (number * 7 + i * i) % 26) for i in range(12))
        + f"{chr(65 + number // 26)}{chr(65 + number % 26)}"
    )
    molecule = Molecule(key14=key, smiles="C" * (number + 1), formula=f"C{number + 1}", exact_mass=12.0 * (number + 1))
    return Entry(molecule, vector[0], {"ir": vector[1]}, name=f"candidate {number}")


def main() -> None:
    """Run the trials and write their count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    generator, count, missed = random.Random(arguments.seed), Counter[str](), []
    with TemporaryDirectory() as home:
        folders = make_folders(Path(home))
        files = [
            (k, d, f) for k, d in folders.items() for f in sorted(d.rglob("*")) if f.is_file() and f.stat().st_size
        ]
        for _ in range(arguments.trials):
            kind, folder, file = generator.choice(files)
            how, found = trial(kind, folder, file, generator)
            count[f"{kind}: {how}"] += 1
            if found != "noticed":
                missed.append(f"{kind}/{file.relative_to(folder)} ({how}): {found}")
                print(missed[-1])
    noticed = arguments.trials - len(missed)
    result = {"trials": arguments.trials, "noticed": noticed, "seed": arguments.seed, "by": dict(sorted(count.items()))}
    RESULTS.write_text(json.dumps({**result, "missed": missed}, indent=1) + "\n")
    print(f"{noticed} of {arguments.trials} damages noticed, with the file named")


if __name__ == "__main__":
    main()
