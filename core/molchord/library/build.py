"""Run the stages of embedding: in this process with others that prepare molecules, or on many machines by Ray."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from tempfile import mkdtemp
from typing import TypeAlias

from tqdm import tqdm

from molchord.api import SampleError
from molchord.data.candidates import Listed
from molchord.data.parallel import alone, surviving
from molchord.data.reading import Item, MoleculeSource, items_of
from molchord.embedder import Embedder
from molchord.errors import MolchordError, did_you_mean
from molchord.files import discard
from molchord.library.files import LibraryManifest
from molchord.library.library import Library
from molchord.library.stages import ItemBlock, Numbered, Prepare, Prepared, blocks_of, chunks, encoded
from molchord.library.work_folder import WorkFolder
from molchord.library.writer import check_replaceable
from molchord.lock import only_writer
from molchord.vocabulary import ENGINES, Storage

__all__ = ["BLOCK", "embed_items", "embed_library"]

_Engine: TypeAlias = Callable[[Embedder, Iterable[ItemBlock], WorkFolder, int | None], Iterator[int]]
"""Embeds blocks into a folder with so many processes or cores, and yields how many items each block had."""

BLOCK = 16384
"""Items of a block: what is lost when the machine stops, and the rows of a shard at most."""


def embed_library(
    embedder: Embedder,
    source: MoleculeSource,
    out: str | Path | None,
    *,
    run: str,
    storage: Storage = "fp32",
    engine: str = "local",
    address: str | None = None,
    workers: int | None = None,
    force: bool = False,
    progress: bool = False,
) -> Library:
    """Embed candidate structures as a library; `run` is the identity that the library keeps, the rest as `Run.library`.

    Raises:
        DataError: As `embed_items` raises, or `source` cannot be read.
        OutputExistsError: `out` exists and `force` is not set.
    """
    temporary = Path(mkdtemp(prefix="molchord-library-")) if out is None else None
    target = Path(out) if out is not None else Path(str(temporary)) / "library"
    manifest = LibraryManifest(
        run=run, candidate=embedder.candidate, embedding_dim=embedder.graph.embedding_dim, storage=storage
    )
    try:
        embed_items(
            embedder,
            items_of(source),
            target,
            manifest,
            engine=engine,
            address=address,
            workers=workers,
            force=force,
            progress=progress,
        )
    except BaseException:
        if temporary is not None:
            discard(temporary)
        raise
    library = Library(target)
    if temporary is not None:
        weakref.finalize(library, discard, temporary)
    return library


def embed_items(
    embedder: Embedder,
    items: Iterable[Item],
    target: Path,
    manifest: LibraryManifest,
    *,
    engine: str = "local",
    address: str | None = None,
    workers: int | None = None,
    block: int = BLOCK,
    force: bool = False,
    progress: bool = False,
) -> None:
    """Write a library of what items become, going on where an earlier call was stopped.

    Args:
        embedder: The model that embeds.
        items: Read once, a block at a time; after a stop they must be the same again.
        target: The library's folder; shards are collected next to it, under the same name with ``.parts`` appended.
        manifest: Of the library, without shards.
        engine: "local" or "ray"; the library is the same, its vectors up to rounding (1e-5).
        address: Of a Ray cluster that shares this machine's folders; None: Ray runs on this machine alone.
        workers: Processes that prepare molecules; Ray's cores, where it runs on this machine alone.
        block: Items of a block.
        force: Replace an existing library, and drop shards of another one.
        progress: Show a progress bar.

    Raises:
        DataError: No molecule could be embedded, the items have changed, or the shards are of another library.
        OutputExistsError: The library exists and `force` is not set.
        MolchordError: An unknown engine, Ray is not installed, or its cluster does not answer.
    """
    embed = _engine(engine, address)
    target = target.resolve()  # where a link leads, so that the shards are on the file system of the library
    with only_writer(target):
        _embed_alone(embed, embedder, items, target, manifest, workers, block, force, progress)


def _embed_alone(
    embed: _Engine,
    embedder: Embedder,
    items: Iterable[Item],
    target: Path,
    manifest: LibraryManifest,
    workers: int | None,
    block: int,
    force: bool,
    progress: bool,
) -> None:
    """Write a library that no other process writes meanwhile."""
    check_replaceable(target, force=force)
    folder = WorkFolder(target.with_name(f"{target.name}.parts"), manifest, block)
    folder.check(force=force)
    number = 0
    bar = tqdm(desc="embed", unit="molecule", disable=None if progress else True)

    def missing() -> Iterator[ItemBlock]:
        nonlocal number
        for one in blocks_of(items, block):
            number += 1
            if not folder.finished(one):
                yield one
            else:
                bar.update(len(one))

    try:
        for count in embed(embedder, missing(), folder, workers):
            bar.update(count)
    except BaseException:
        folder.discard_if_nothing_is_done()
        raise
    finally:
        bar.close()
    folder.finish(number, target, force=force)


def _engine(name: str, address: str | None) -> _Engine:
    if name not in ENGINES:
        raise MolchordError(f"engine {name!r} is unknown; {did_you_mean(name, ENGINES)}")
    if name == "local":
        if address is not None:
            raise MolchordError("`--address` is that of a Ray cluster; pass `--engine ray` with it, or leave it out")
        return _here
    from molchord.library.ray_engine import on_ray

    return partial(on_ray, address=address)


def _here(embedder: Embedder, blocks: Iterable[ItemBlock], folder: WorkFolder, workers: int | None) -> Iterator[int]:
    """Embed blocks in this process, molecules being prepared in others, and yield how many items each had."""
    job = Prepare(embedder.modalities[embedder.candidate])
    under_way: deque[ItemBlock] = deque()

    def numbered() -> Iterator[Numbered]:
        for block in blocks:
            under_way.append(block)
            yield from ((block.number, items) for items in chunks(block))

    results = surviving(job, numbered(), workers, partial(_survivors, job))
    for _, group in groupby(results, key=itemgetter(0)):
        entries = [entry for _, items in group for entry in encoded(embedder, items)]
        block = under_way.popleft()
        folder.write(block, entries)
        yield len(block)


def _survivors(job: Prepare, given: Numbered) -> tuple[int, list[Prepared]]:
    """Prepare a chunk whose process died, in halves, down to the molecule that is to blame."""
    number, items = given
    if len(items) == 1:
        [item] = items
        told = item.notation if isinstance(item, Listed) else getattr(item, "smiles", item)
        name = str(told)
        return number, [SampleError(name, "its process died")]
    out: list[Prepared] = []
    for half in (items[: len(items) // 2], items[len(items) // 2 :]):
        out += (alone(job, (number, half)) or _survivors(job, (number, half)))[1]
    return number, out
