"""The stages of embedding, each a function of a batch, whichever engine runs them.

Items (`reading`) are cut into blocks, of which each becomes one shard, and blocks into chunks, which are embedded at
once: the same chunks in every engine, so that the vectors are the same up to rounding.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias, cast, final

import numpy as np
from numpy.typing import NDArray

from molchord.api import Derives, Measurement, Modality, Molecule, SampleError
from molchord.data.candidates import Listed
from molchord.data.reading import Item, parsed
from molchord.data.scalars import scalars_of_molecule
from molchord.embedder import EMBEDDED_AT_ONCE, Embedder
from molchord.library.files import Entry

__all__ = ["ItemBlock", "Numbered", "Prepare", "Prepared", "blocks_of", "chunks", "encoded", "prepared"]

Numbered: TypeAlias = tuple[int, list[Item]]
"""A chunk with the number of its block."""

Prepared: TypeAlias = "tuple[Molecule, Any, Listed | None] | SampleError"
"""A molecule with the sample that a tower takes and the row of its list, or why there is none."""


@final
@dataclass(frozen=True)
class ItemBlock:
    """Some items that follow each other.

    Attributes:
        number: Which block it is, from 0.
        text: The items, one line of JSON each.
    """

    number: int
    text: str

    @property
    def digest(self) -> str:
        """SHA-256 of the items."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def __len__(self) -> int:
        return self.text.count("\n")


def blocks_of(items: Iterable[Item], size: int) -> Iterator[ItemBlock]:
    """Cut a stream of items into blocks, holding one at a time.

    Example:
        >>> [len(block) for block in blocks_of(["C", "CC", "CCC"], 2)]
        [2, 1]
    """
    stream = iter(items)
    for number, part in enumerate(iter(lambda: list(islice(stream, size)), [])):
        yield ItemBlock(number, "".join(f"{json.dumps(_as_json(item))}\n" for item in part))


def chunks(block: ItemBlock) -> list[list[Item]]:
    """Return a block's items in chunks.

    Example:
        >>> [block] = blocks_of(["C", SampleError("a.csv:3", "no cell")], 9)
        >>> chunks(block)
        [['C', SampleError('a.csv:3: no cell')]]
    """
    items = [_from_json(json.loads(line)) for line in block.text.splitlines()]
    return [items[start : start + EMBEDDED_AT_ONCE] for start in range(0, len(items), EMBEDDED_AT_ONCE)]


def prepared(modality: Modality, items: Sequence[Item]) -> list[Prepared]:
    """Make the candidate tower's samples of molecules, such as conformers; if one fails, the others continue."""
    out: list[Prepared] = []
    for item, molecule in zip(items, parsed(items), strict=True):
        if isinstance(molecule, SampleError):
            out.append(molecule)
            continue
        try:
            measurement: Measurement = cast(Derives, modality).derive(molecule)
            sample = modality.transform(measurement, None)
            out.append((molecule, sample, item if isinstance(item, Listed) else None))
        except SampleError as error:
            out.append(error)
        except Exception as error:
            out.append(SampleError(molecule.smiles, _told("its plugin failed", error)))
    return out


def encoded(embedder: Embedder, items: Iterable[Prepared]) -> list[Entry | SampleError]:
    """Embed a chunk of prepared molecules; one that fails is an error in its place."""
    given = list(items)
    good = [item for item in given if not isinstance(item, SampleError)]
    vectors = iter(_vectors(embedder, good))
    return [item if isinstance(item, SampleError) else _entry(item[0], item[2], next(vectors)) for item in given]


@final
@dataclass(frozen=True)
class Prepare:
    """The stages before the model for a chunk of a block, as a job for processes."""

    modality: Modality

    def __call__(self, given: Numbered) -> tuple[int, list[Prepared]]:
        """Return the results of the chunk, with the number of its block."""
        number, items = given
        return number, prepared(self.modality, items)


def _vectors(
    embedder: Embedder, good: Sequence[tuple[Molecule, Any, Listed | None]]
) -> list[NDArray[np.float32] | SampleError]:
    if not good:
        return []
    names = embedder.graph.scalar_features
    scalar_features = [scalars_of_molecule(molecule, names) for molecule, _, _ in good]
    table = np.array(scalar_features, dtype=np.float32).reshape(len(good), len(names))
    try:
        found = embedder.embed_samples(embedder.candidate, [sample for _, sample, _ in good], table)
        return [*found.cpu().numpy()]
    except Exception as error:
        if len(good) == 1:
            return [SampleError(good[0][0].smiles, _told("it cannot be embedded", error))]
        return [vector for item in good for vector in _vectors(embedder, [item])]


def _entry(molecule: Molecule, row: Listed | None, vector: NDArray[np.float32] | SampleError) -> Entry | SampleError:
    if isinstance(vector, SampleError):
        return vector
    if not np.isfinite(vector).all():
        return SampleError(molecule.smiles, "its vector is not finite")
    return Entry(molecule, vector) if row is None else Entry(molecule, vector, {}, row.name, row.columns)


def _told(what: str, error: Exception) -> str:
    return f"{what}: {type(error).__name__}: {' '.join(str(error).split())}"


def _as_json(item: Item) -> Any:
    if isinstance(item, Molecule):
        return [item.key14, item.smiles, item.formula, item.exact_mass]
    if isinstance(item, Listed):
        return {"notation": item.notation, "name": item.name, "columns": dict(item.columns)}
    return item if isinstance(item, str) else {"id": item.id, "reason": item.reason}


def _from_json(value: Any) -> Item:
    if isinstance(value, list):
        return Molecule(**dict(zip(("key14", "smiles", "formula", "exact_mass"), value, strict=True)))
    if isinstance(value, str):
        return value
    return Listed(**value) if "notation" in value else SampleError(value["id"], value["reason"])
