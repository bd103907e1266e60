"""Folders of jobs and results, which a stopped or a second simulation and other machines add to."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias, final

from pydantic import BaseModel
from tqdm import tqdm

from molchord.api import SimulatorRecord
from molchord.errors import DataError, PluginError
from molchord.files import replace_file
from molchord.host import Plugin
from molchord.host.build import configured
from molchord.simulation.files import Contents, Outcome, read_contents, read_entries, write_entries

Kind: TypeAlias = Literal["jobs", "results"]

ENTRIES_PER_FILE = 100  # molecules between two files: what is lost when the machine stops
DIED = "its process died"  # a failure that a later call tries again: memory may have been short
MARK = "simulator.txt"  # whose folder it is


def settled(contents: Iterable[Contents]) -> set[str]:
    """Return the key14 of molecules that need no other try: all but those whose process died."""
    out: set[str] = set()
    for one in contents:
        out.update(one.ids, (entry.id for entry in one.failed if entry.reason != DIED))
    return out


@final
class SimulationFolder:
    """A folder of jobs and results, which belongs to one simulator with one configuration.

    Raises:
        DataError: It belongs to another one, or is something else.
    """

    def __init__(self, path: Path, plugin: Plugin[SimulatorRecord], config: BaseModel) -> None:
        self.path, self._record = path, plugin.record
        mark = path / MARK
        if mark.is_file():
            self._check(mark.read_text(encoding="utf-8", errors="replace"), plugin, config)
        if path.exists() and not mark.is_file() and (not path.is_dir() or any(path.iterdir())):
            raise DataError(f"{str(path)!r} is there and is not a folder of jobs; name another one by `--jobs`")
        path.mkdir(parents=True, exist_ok=True)
        replace_file(mark, f"{plugin.qualified}\n{config.model_dump_json()}\n{self._record.config_version}\n")

    def _check(self, mark: str, plugin: Plugin[SimulatorRecord], config: BaseModel) -> None:
        """Refuse a folder of another simulator or configuration; a mark without a configuration means the defaults."""
        name, settings, version = [*mark.split("\n"), "", ""][:3]
        if name != plugin.qualified:
            raise DataError(
                f"folder {str(self.path)!r} belongs to simulator {name!r}, not to {plugin.qualified!r}; "
                "name another one by `--jobs`"
            )
        try:
            saved = configured(plugin, json.loads(settings or "{}"), int(version or 1))
        except (PluginError, ValueError):
            saved = None
        if saved != config:
            raise DataError(
                f"folder {str(self.path)!r} holds jobs of simulator {name!r} with {settings or 'its defaults'}, and "
                f"{config.model_dump_json()} is asked for; name another one by `--jobs`"
            )

    def contents(self, kind: Kind) -> dict[Path, Contents]:
        """Read what the files of one kind hold, in their order."""
        return {path: read_contents(path) for path in sorted(self.path.glob(f"{kind}-*.npz"))}

    def fill(
        self, kind: Kind, entries: Iterable[Outcome], number: int, made_by: Mapping[str, str], progress: bool
    ) -> int:
        """Write a file after each chunk of a number of entries; returns the number of files."""
        files = 0
        chunk: list[Outcome] = []
        with tqdm(total=number, desc=self._record.name, unit=" molecules", disable=None if progress else True) as bar:
            try:
                for entry in entries:
                    chunk.append(entry)
                    bar.update()
                    if len(chunk) == ENTRIES_PER_FILE:
                        self._add(kind, chunk, made_by)
                        files, chunk = files + 1, []
            finally:  # Ctrl-C loses nothing that was finished
                if chunk:
                    self._add(kind, chunk, made_by)
                    files += 1
        return files

    def distinct(self, contents: Mapping[Path, Contents], scratch: Path) -> list[Path]:
        """Return files of results that hold each molecule once: of those that repeat one, copies without it."""
        out: list[Path] = []
        seen: set[str] = set()
        for path, content in contents.items():
            repeated = seen.intersection(content.ids)
            if repeated:
                entries = [entry for entry in read_entries(path, self._record.results) if entry.id not in repeated]
                path = scratch / path.name
                write_entries(path, self._record.results, entries)
            out.append(path)
            seen.update(content.ids)
        return out

    def _add(self, kind: Kind, entries: Sequence[Outcome], made_by: Mapping[str, str]) -> None:
        """Write a file under the next number that is free."""
        declared = self._record.results if kind == "results" else self._record.jobs
        with TemporaryDirectory(dir=self.path, prefix=".") as scratch:
            file = Path(scratch, "file.npz")
            write_entries(file, declared, entries, **made_by)
            while True:
                names = [re.search(r"-(\d+)\.npz$", path.name) for path in self.path.iterdir()]
                number = max([int(name[1]) for name in names if name], default=-1) + 1
                try:
                    os.link(file, self.path / f"{kind}-{number:05d}.npz")
                    return
                except FileExistsError:  # another simulation in this folder took it
                    continue
