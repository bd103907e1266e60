"""The folder of a library under way: finished shards, each with a note of what it was made of.

``LIBRARY.parts`` holds ``job.json`` (the empty library's manifest and the size of a block), ``shards/`` (what will be
the library), ``done/`` (a note per shard, written last) and ``input/`` (blocks that other machines are to read).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from molchord.api import SampleError
from molchord.checksums import checksums_of, fault_of_file, sealed, unsealed
from molchord.errors import DataError
from molchord.files import discard, move_folder, remove, replace_file, write_csv
from molchord.library.files import (
    MERGED,
    CandidateRow,
    Entry,
    LibraryManifest,
    LibraryShard,
    MergedRow,
    ShardEntry,
    write_library_manifest,
)
from molchord.library.stages import ItemBlock
from molchord.library.writer import (
    SeenKeys,
    check_entry,
    check_replaceable,
    library_shard_name,
    thin_shard,
    write_library_shard,
)
from molchord.vocabulary import FAILURES

__all__ = ["Part", "WorkFolder", "stays"]

_JOB, _SHARDS, _DONE, _INPUT = "job.json", "shards", "done", "input"


class Job(BaseModel):
    """What all shards have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    library: LibraryManifest
    block: int


class Part(BaseModel):
    """The note of a finished block.

    Attributes:
        input: Digest of its items.
        items: Their number.
        shard: What it became; None where no molecule was left.
        duplicates: Molecules left out since another one has their key14.
        merged: Those among them that had a name, columns or another formula: key14, SMILES, name, formula, exact mass.
        failures: Molecule and reason of those that failed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    input: str
    items: int
    shard: ShardEntry | None
    duplicates: int
    merged: tuple[tuple[str, str, str, str, float], ...] = ()
    failures: tuple[tuple[str, str], ...]


@final
@dataclass(frozen=True)
class WorkFolder:
    """The shards of a library under way; any process may write one.

    Args:
        path: The folder; it is made when something is written.
        manifest: Of the library, without shards.
        block: Items of a block.
    """

    path: Path
    manifest: LibraryManifest
    block: int

    def check(self, *, force: bool) -> None:
        """Refuse to continue with shards of something else; with `force`, delete them.

        Raises:
            DataError: The folder was left by another run or with other settings, or is not such a folder.
        """
        if not self.path.exists():
            return
        names = {entry.name for entry in self.path.iterdir() if not entry.name.startswith(f".{_JOB}.")}
        try:
            found = Job.model_validate_json((self.path / _JOB).read_bytes())
        except (OSError, ValidationError) as error:
            if names <= {_SHARDS, _DONE, _INPUT} or (force and names <= {_JOB, _SHARDS, _DONE, _INPUT}):
                remove(self.path)  # it was left before the first shard, or is to go
                return
            raise DataError(
                f"folder {str(self.path)!r} is needed for shards, but is not one that `molchord embed` left; "
                "move it, or choose another output"
            ) from error
        if found == self._job:
            return
        if not force:
            wanted, other = (job.library.model_dump() | {"block": job.block} for job in (self._job, found))
            name = next(name for name in wanted if wanted[name] != other[name])
            raise DataError(
                f"folder {str(self.path)!r} holds shards of an unfinished library of {name} {other[name]!r}, but this "
                f"is {name} {wanted[name]!r}; finish that one, choose another output, or pass `--force` to drop it"
            )
        remove(self.path)

    def finished(self, block: ItemBlock) -> bool:
        """Return whether a block is done.

        Raises:
            DataError: It is done, but its items were others.
        """
        part = self.part(block.number)
        if part is None:
            return False
        if part.input != block.digest:
            first = block.number * self.block + 1
            raise DataError(
                f"the molecules have changed since they were embedded in part: those from number {first} to "
                f"{first + len(block) - 1} are not what {str(self.path)!r} has a shard of; delete that folder, or "
                "choose another output"
            )
        return True

    def part(self, number: int) -> Part | None:
        """Return the note of a block, None where it is not done."""
        note = self._note(number)
        if not note.is_file():
            return None
        try:
            part = Part.model_validate_json(unsealed(note.read_bytes()))
        except ValueError as error:
            raise DataError(f"note {str(note)!r} is damaged; delete it, and its shard is made again") from error
        files = {} if part.shard is None else part.shard.files()
        whole = all(fault_of_file(self.path / _SHARDS / name, entry) is None for name, entry in files.items())
        return part if whole and (part.shard is None or len(files) == 2) else None

    def give(self, block: ItemBlock) -> None:
        """Leave the items of a block for another process."""
        self._make()
        replace_file(self._input(block.number), block.text)

    def take(self, number: int) -> ItemBlock:
        """Return a block that was left."""
        return ItemBlock(number, self._input(number).read_text(encoding="utf-8"))

    def write(self, block: ItemBlock, entries: Iterable[Entry | SampleError]) -> None:
        """Write the results of a block, one entry of each key14 (`stays`); the note comes last."""
        self._make()
        kept: dict[str, Entry] = {}
        failures: list[tuple[str, str]] = []
        merged: list[MergedRow | None] = []
        for entry in entries:
            if isinstance(entry, SampleError):
                failures.append((entry.id, entry.reason))
                continue
            check_entry(entry, self.manifest)
            other = kept.setdefault(entry.molecule.key14, entry)
            if other is not entry:
                kept[entry.molecule.key14], left = (other, entry) if stays(other, entry) else (entry, other)
                merged.append(_merged(left, other.molecule.formula != entry.molecule.formula))
        name, folder = library_shard_name(block.number), self.path / _SHARDS
        shard = write_library_shard(folder, name, kept.values(), self.manifest) if kept else None
        note = Part(
            input=block.digest,
            items=len(block),
            shard=shard,
            duplicates=len(merged),
            merged=_noted(merged),
            failures=tuple(failures),
        )
        replace_file(self._note(block.number), sealed(note.model_dump_json()))
        remove(self._input(block.number))

    def finish(self, blocks: int, target: Path, *, force: bool) -> None:
        """Make the library of so many blocks, without what an earlier block holds, and put it in its place.

        Raises:
            DataError: It would be empty.
            OutputExistsError: The place is taken and `force` is false.
        """
        check_replaceable(target, force=force)
        self._drop_duplicates(blocks)
        parts = [part for number in range(blocks) if (part := self.part(number)) is not None]
        shards = tuple(part.shard for part in parts if part.shard is not None)
        failed = [failure for part in parts for failure in part.failures]
        if not shards:
            first = (": ".join(one) for one in failed)
            refused = f"the first of {len(failed)} refused: {next(first)}" if failed else "there is none"
            discard(self.path)
            raise DataError(f"library has no molecule to hold ({refused}); give SMILES, a file of them or a data set")
        folder, duplicates = self.path / _SHARDS, sum(part.duplicates for part in parts)
        for left in (entry for entry in folder.iterdir() if entry.name.startswith(".")):
            discard(left)  # of a process that was killed while it wrote
        if failed:
            write_csv(folder / FAILURES, ("molecule", "reason"), failed)
        if merged := [row for part in parts for row in part.merged]:
            write_csv(folder / MERGED, ("key14", "smiles", "name", "formula", "exact_mass"), merged)
        files = checksums_of(folder, (FAILURES, MERGED))
        update = {"shards": shards, "duplicates": duplicates, "files": files}
        write_library_manifest(folder, self.manifest.model_copy(update=update))
        move_folder(folder, target)
        discard(self.path)

    def discard_if_nothing_is_done(self) -> None:
        """Remove the folder where a failure left nothing of use in it."""
        if self.path.is_dir() and not any((self.path / _DONE).glob("*.json")):
            discard(self.path)

    @property
    def _job(self) -> Job:
        return Job(library=self.manifest, block=self.block)

    def _drop_duplicates(self, blocks: int) -> None:
        """Take out of every shard the molecules that an earlier one holds, and what no block is left for."""
        if self._note(blocks).exists():
            raise DataError(
                f"the molecules are fewer than when they were embedded in part: {str(self.path)!r} has more shards; "
                "delete that folder, or choose another output"
            )
        left, folder = self._left_out(blocks), self.path / _SHARDS
        for number, merged in left.items():
            part = self.part(number)
            if part is None or part.shard is None:
                continue
            name, keep = part.shard.name, np.ones(part.shard.rows, dtype=np.bool_)
            keep[list(merged)] = False
            # Without its note, a shard that a kill leaves half replaced is made again.
            remove(self._note(number))
            shard = thin_shard(folder, name, keep) if keep.any() else None
            if shard is None:
                for end in ("safetensors", "parquet"):
                    remove(folder / f"{name}.{end}")
            note = part.model_copy(
                update={
                    "shard": shard,
                    "duplicates": part.duplicates + len(merged),
                    "merged": (*part.merged, *_noted(merged.values())),
                }
            )
            replace_file(self._note(number), sealed(note.model_dump_json()))

    def _left_out(self, blocks: int) -> dict[int, dict[int, MergedRow | None]]:
        """Return the rows of each block that go since another block has their key14, with what is noted of them."""
        seen, repeated = SeenKeys(), set[bytes]()
        shards: dict[int, LibraryShard] = {}
        for number in range(blocks):
            part = self.part(number)
            if part is None or part.shard is None:
                continue
            shards[number] = LibraryShard(self.path / _SHARDS, part.shard)
            keys = shards[number].keys()
            held = seen.held(keys)
            seen.add(keys[~held])
            repeated.update(keys[held].tolist())
        wanted = np.array(sorted(repeated), dtype="S14")
        best: dict[str, tuple[int, int, CandidateRow]] = {}
        left: dict[int, dict[int, MergedRow | None]] = {}
        for number, shard in shards.items() if repeated else ():
            rows = np.flatnonzero(np.isin(shard.keys(), wanted)).tolist()
            for row, candidate in shard.candidates(rows).items():
                new, key = (number, row, candidate), candidate.molecule.key14
                other = best.setdefault(key, new)
                if other is not new:
                    best[key], gone = (other, new) if stays(other[2], candidate) else (new, other)
                    differ = other[2].molecule.formula != candidate.molecule.formula
                    left.setdefault(gone[0], {})[gone[1]] = _merged(gone[2], differ)
        return left

    def _make(self) -> None:
        for name in (_SHARDS, _DONE, _INPUT):
            (self.path / name).mkdir(parents=True, exist_ok=True)
        if not (self.path / _JOB).exists():
            replace_file(self.path / _JOB, self._job.model_dump_json(indent=1) + "\n")

    def _note(self, number: int) -> Path:
        return self.path / _DONE / f"{library_shard_name(number)}.json"

    def _input(self, number: int) -> Path:
        return self.path / _INPUT / f"{library_shard_name(number)}.jsonl"


def stays(first: Entry | CandidateRow, second: Entry | CandidateRow) -> bool:
    """Return whether the first of two rows with one key14 stays: it does unless only the second is neutral.

    The key leaves protons aside, so that an acid and its anion have the same.
    """
    return not _charged(first) or _charged(second)


def _charged(row: Entry | CandidateRow) -> bool:
    return any(sign in row.molecule.formula for sign in "+-")


def _merged(left: Entry | CandidateRow, differ: bool) -> MergedRow | None:
    """Return what is noted of a row that goes; nothing, where only its SMILES would be."""
    if not (left.name or left.columns or differ):
        return None
    m = left.molecule
    return MergedRow(m.key14, m.smiles, left.name, m.formula, m.exact_mass)


def _noted(merged: Iterable[MergedRow | None]) -> tuple[tuple[str, str, str, str, float], ...]:
    return tuple((m.key14, m.smiles, m.name, m.formula, m.exact_mass) for m in merged if m is not None)
