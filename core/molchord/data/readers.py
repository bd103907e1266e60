"""Modalities as readers of an import's files."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from molchord.api import Modality, ModalityRecord, Reading, ReadingOptions, ReadsTables, SampleError
from molchord.errors import DataError, PluginError
from molchord.host import Host, guarded

__all__ = ["Reader", "bare_name", "entries_read", "readers_of"]


@dataclass(frozen=True)
class Reader:
    """A modality that reads files."""

    name: str
    record: ModalityRecord
    plugin: tuple[str, str]
    modality: Modality


def readers_of(host: Host, asked: Sequence[str], options: ReadingOptions | None) -> dict[str, Reader]:
    """Build every modality with its default configuration; a "dist:name" asked for replaces its bare name.

    One that nobody asked for and that fails is left out with a warning.

    Raises:
        PluginError: One that is asked for fails.
        DataError: Two of one name are asked for, or one that takes no options of reading is, and there are some.
    """
    if options is not None and not asked:
        raise DataError("options of reading are for files whose modality is named; name it with `--as MODALITY FILE`")
    chosen: dict[str, str] = {}
    for name in asked:
        if chosen.setdefault(bare_name(name), name) != name:
            raise DataError(f"modalities {chosen[bare_name(name)]!r} and {name!r} share a name; import them apart")
    out: dict[str, Reader] = {}
    for bare in [*chosen, *(name for name in host.names("modality") if name not in chosen)]:
        try:
            found = host.find("modality", chosen.get(bare, bare))
        except PluginError as error:  # several packages offer it
            if bare in chosen:
                raise
            warnings.warn(f"no file is offered to {bare!r}: {error}", stacklevel=3)
            continue
        record: ModalityRecord = found.record
        try:
            with guarded(found):
                modality = record.build(record.config(), record.kinds[0])
        except PluginError as error:
            if bare in chosen:
                raise
            warnings.warn(f"no file is offered to {bare!r}: {error}", stacklevel=3)
            continue
        if options is not None and bare in chosen and not isinstance(modality, ReadsTables):
            raise DataError(f"modality {bare!r} takes no options of reading; import its files in a call of their own")
        out[bare] = Reader(bare, record, (found.qualified, found.version), modality)
    return dict(sorted(out.items()))


def bare_name(name: str) -> str:
    """Return the name of a modality without that of its distribution."""
    return name.rpartition(":")[2]


def entries_read(modality: Modality, path: Path, options: ReadingOptions | None) -> Iterator[Reading | SampleError]:
    """Read a file to its end or to its first failure, which is the last entry then."""
    done = 0
    try:
        if options is not None and isinstance(modality, ReadsTables):
            entries = modality.read_table(path, options)
        else:
            entries = modality.read(path)
        for entry in entries:
            yield entry
            done += 1
    except SampleError as error:
        yield error
    except Exception as error:  # one plugin's fault is not the end of the import
        what = f"the plugin failed after entry {done}; the rest was not read" if done else "the plugin failed"
        yield SampleError(path.name, f"{what}: {type(error).__name__}: {error}")
