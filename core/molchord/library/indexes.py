"""Indexes of a library: plugins propose candidates, exact scores decide.

An index is in the library's folder under ``indexes/NAME``: the plugin's files and an ``index.json`` that records
what it was made of; it is refused for another library, run or version, and where shards were added or merged since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from molchord.api import IndexedVectors, IndexRecord, Limits, Proposer
from molchord.checksums import FileEntry, check_sizes, checksums_of, expect_file, sealed, unsealed, verify_files
from molchord.errors import OutputExistsError, PluginError, QueryError, did_you_mean
from molchord.files import one_line, replace_file, replace_folder
from molchord.host import Plugin, build, guarded, installed
from molchord.library.files import LibraryManifest
from molchord.retrieval.exact import LONGEST, Exact, Found
from molchord.retrieval.scores import Block

__all__ = ["EXACT", "OpenIndex", "index_names", "open_index", "verify_indexes", "write_index"]

EXACT = "exact"
"""Name of the search without an index."""

_FOLDER, _MANIFEST = "indexes", "index.json"
_PROPOSED = 500


class IndexManifest(BaseModel):
    """What an index states about itself.

    Attributes:
        kind: Distinguishes an index from other folders.
        use: ``dist:name`` of its plugin.
        version: Version of what the plugin writes.
        config: The plugin's configuration.
        config_version: Its version.
        run: What names the run that embedded the candidates.
        embedding_dim: Size of the vectors.
        shards: The library's shards, with their rows, when it was made.
        files: Size and checksum of the plugin's files, as far as they are in the index's folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["molchord index"] = "molchord index"
    use: str
    version: int
    config: dict[str, Any]
    config_version: int = 1
    run: str
    embedding_dim: int
    shards: dict[str, int]
    files: dict[str, FileEntry] = {}


@final
@dataclass(frozen=True)
class OpenIndex:
    """An index that proposes candidates."""

    name: str
    plugin: Plugin[IndexRecord]
    proposer: Proposer

    def search(self, search: Exact, k: int, limits: Limits, read: Callable[[NDArray[np.int64]], Block]) -> Found:
        """Score what the index proposes.

        Args:
            search: The queries.
            k: How many are wanted; at least 500 are proposed.
            limits: What may be proposed; what else is, is dropped.
            read: Reads ascending rows of the library.

        Raises:
            QueryError: Nothing is proposed, or a server does not answer.
        """
        direction, offset = search.plane()
        near = direction.float()
        with guarded(self.plugin), _reaching(self.name):
            proposals = self.proposer.propose(near.cpu().numpy(), max(_PROPOSED, 4 * k), limits)
        rows = _once(proposals.rows)
        if limits.rows is not None:
            rows = np.where(np.isin(rows, limits.rows), rows, -1)
        several = np.unique(rows[rows >= 0])
        if len(several) == 0:
            raise QueryError(f"search failed: index {self.name!r} proposes no candidate; search without it")
        columns = np.where(rows >= 0, np.searchsorted(several, rows), -1)
        search.score(read(several).to(direction.device), torch.from_numpy(columns).to(direction.device))
        if proposals.bound is None:
            return search.found(torch.zeros_like(offset, dtype=torch.bool))
        bound = torch.from_numpy(np.asarray(proposals.bound, dtype=np.float64)).to(direction.device)
        rounding = (direction - near).norm(dim=1) * LONGEST
        return search.found(search.excludes(offset + bound + rounding) | (bound == -torch.inf))


def index_names(library: Path) -> list[str]:
    """Return the names of a library's indexes."""
    return sorted(file.parent.name for file in (library / _FOLDER).glob(f"[!.]*/{_MANIFEST}"))


def write_index(
    library: Path,
    manifest: LibraryManifest,
    vectors: IndexedVectors,
    name: str,
    given: Mapping[str, Any],
    *,
    force: bool,
) -> Path:
    """Make an index in a library's folder, and return its own.

    Raises:
        OutputExistsError: There is one of this name, and `force` is not set.
        PluginError: There is no such plugin, its configuration is wrong, or a library that it needs is missing.
        QueryError: A server does not answer.
    """
    built = build("index", {**given, "use": name})
    plugin = built.plugin
    target = library / _FOLDER / name
    if target.exists() and not force:
        raise OutputExistsError(target)
    about = IndexManifest(
        use=plugin.qualified,
        version=plugin.record.version,
        config=built.config.model_dump(mode="json"),
        config_version=plugin.record.config_version,
        run=manifest.run,
        embedding_dim=manifest.embedding_dim,
        shards=_shards(manifest),
    )
    with replace_folder(target) as folder:
        with guarded(plugin), _reaching(name):
            built.it.write(folder, vectors)
        below = (file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*")))
        about = about.model_copy(update={"files": checksums_of(folder, below)})
        replace_file(folder / _MANIFEST, sealed(about.model_dump_json(indent=1)))
    return target


def verify_indexes(library: Path) -> Iterator[str]:
    """Read every file of a library's indexes again, and yield a sentence for each that is not as it was written."""
    for name in index_names(library):
        file = library / _FOLDER / name / _MANIFEST
        try:
            about = IndexManifest.model_validate_json(unsealed(file.read_bytes()))
        except ValueError as error:
            yield f"file {str(file.relative_to(library))!r} is damaged ({one_line(error)})"
            continue
        names = {f"{_FOLDER}/{name}/{part}": entry for part, entry in about.files.items()}
        yield from verify_files(library, names)


def open_index(library: Path, manifest: LibraryManifest, name: str) -> OpenIndex:
    """Open an index of a library.

    Raises:
        PluginError: Its plugin is not there, or a library that it needs is missing.
        QueryError: There is no such index, it does not fit the library, or a server does not answer.
    """
    there, file = index_names(library), library / _FOLDER / name / _MANIFEST
    if name not in there:
        others = f" ({did_you_mean(name, there)})" if there else ""
        raise QueryError(
            f"library {str(library)!r} has no index {name!r}{others}; make it with `molchord library index {library} "
            f"{name}`"
        )
    again = f"make it again with `molchord library index {library} {name} --force`"
    try:
        about = IndexManifest.model_validate_json(unsealed(file.read_bytes()))
    except ValidationError as error:
        raise QueryError(f"index {str(file.parent)!r} cannot be read ({error.errors()[0]['msg']}); {again}") from error
    except (OSError, ValueError) as error:
        raise QueryError(f"index {str(file.parent)!r} cannot be read ({one_line(error)}); {again}") from error
    check_sizes(file.parent, about.files, QueryError, again)
    for part, entry in about.files.items():
        expect_file(file.parent / part, entry, QueryError, again)
    plugin = installed().find("index", about.use)
    for what, made, now in (
        ("run", about.run, manifest.run),
        ("dimension", about.embedding_dim, manifest.embedding_dim),
        ("version", about.version, plugin.record.version),
        ("candidates", _told(about.shards), _told(_shards(manifest))),
    ):
        if made != now:
            raise QueryError(
                f"index {name!r} of library {str(library)!r} is of {what} {made!r}, but the search is of {now!r}; "
                f"{again}"
            )
    try:
        built = build("index", {**about.config, "use": about.use}, saved=about.config_version)
    except PluginError as error:
        raise QueryError(f"index {name!r} of library {str(library)!r} cannot be opened: {error}; {again}") from error
    with guarded(plugin), _reaching(name):
        return OpenIndex(name, plugin, built.it.open(file.parent))


def _once(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return proposed rows, a second mention of one as -1."""
    rows = np.sort(np.asarray(rows, dtype=np.int64), axis=1)
    again = np.zeros(rows.shape, dtype=np.bool_)
    again[:, 1:] = rows[:, 1:] == rows[:, :-1]
    return np.where(again, -1, rows)


def _shards(manifest: LibraryManifest) -> dict[str, int]:
    return {shard.name: shard.rows for shard in manifest.shards}


def _told(shards: Mapping[str, int]) -> str:
    return f"{sum(shards.values())} rows in {len(shards)} shards"


@contextmanager
def _reaching(name: str) -> Iterator[None]:
    """Report which index's server does not answer."""
    try:
        yield
    except ConnectionError as error:
        raise QueryError(f"index {name!r} cannot be reached: {error}") from error
