"""Writes files and folders so that nothing is lost: what is new is whole before what is old goes.

New content is written next to its place under a hidden name, flushed to the disk and then put in place. On any failure,
Ctrl-C included, the old content stays and the unfinished one is removed. A killed process or a power failure leaves the
old or the new content in place and at worst a hidden ``.NAME.*.partial`` next to it; only a file system that cannot
exchange two names leaves, between two renames of a folder, the old one under such a name. A symbolic link stays where
it is: what it points to is replaced.
"""

from __future__ import annotations

import csv
import ctypes
import errno
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from molchord.errors import OutputError

__all__ = [
    "append_line",
    "discard",
    "keep_previous",
    "move_folder",
    "new_file",
    "one_line",
    "remove",
    "replace_file",
    "replace_files",
    "replace_folder",
    "sha256_file",
    "write_csv",
    "write_tensors",
]


# --- files -----------------------------------------------------------------------------------------------------------


def replace_file(path: Path, content: str | bytes) -> None:
    """Write a file whole: a reader sees the old content or the new one, never a part.

    Args:
        path: The file; its folder exists.
        content: Text is written as UTF-8.

    Raises:
        OutputError: It cannot be written; the old content is as it was.

    Example:
        >>> from tempfile import mkdtemp
        >>> file = Path(mkdtemp()) / "note.txt"
        >>> replace_file(file, "new")
        >>> file.read_text()
        'new'
    """
    with new_file(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Write a file under the name this yields; it takes the place of `path` when the block ends well.

    Its permissions are those that the umask leaves, whatever writes it.

    Raises:
        OutputError: It cannot be written; the old content is as it was.
    """
    with _sentence(path):
        target = path.resolve()
        partial = _beside(target)
        try:
            partial.touch(exist_ok=False)
            mode = stat.S_IMODE(partial.stat().st_mode)
            yield partial
            partial.chmod(mode)  # safetensors makes a file of its own, for its owner alone
            _flush(partial)
            os.replace(partial, target)
            _flush(target.parent)
        finally:
            partial.unlink(missing_ok=True)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file whole; raises as `replace_file` does."""
    with new_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def append_line(path: Path, line: str, keep: int) -> int:
    """Write a line after the first bytes of a file, flush it to the disk, and return the file's length then.

    A stop on the way leaves the bytes before it as they were, and a part of the line after them.

    Args:
        path: The file; it is made if need be.
        line: Text without a line break.
        keep: Bytes to keep; what was after them goes.

    Raises:
        OutputError: It cannot be written.
    """
    with _sentence(path), path.open("ab") as file:
        file.truncate(keep)
        file.write(f"{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def write_tensors(
    path: Path,
    tensors: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
    *,
    finish: Callable[[Path], None] | None = None,
) -> None:
    """Write a safetensors file whole; raises as `replace_file` does.

    Args:
        path: The file.
        tensors: By name, all of them torch tensors or all of them numpy arrays; contiguous, none sharing memory.
        metadata: Texts for the header.
        finish: What is done to the file before it takes its place.
    """
    import numpy as np
    from safetensors import SafetensorError

    plain = all(isinstance(values, np.ndarray) for values in tensors.values())  # then torch need not be imported
    library = import_module("safetensors.numpy" if plain else "safetensors.torch")
    with new_file(path) as partial:
        try:
            library.save_file(dict(tensors), partial, dict(metadata) if metadata is not None else None)
        except SafetensorError as error:  # what the operating system refuses is reported in words only
            raise OSError(one_line(error)) from error
        if finish is not None:
            finish(partial)


@contextmanager
def replace_files(folder: Path) -> Iterator[Path]:
    """Fill the folder this yields; its files take the place of those of the same names in `folder`, all or none.

    Raises:
        OutputError: One cannot be written; all old ones are as they were.
    """
    with _sentence(folder):
        folder.mkdir(parents=True, exist_ok=True)
        partial = _beside(folder.resolve() / "files")
        try:
            partial.mkdir()
            yield partial
            _flush_below(partial)
        except BaseException:
            discard(partial)
            raise
        names = sorted(os.listdir(partial))
        new = {name: _identity(partial / name) for name in names}
        try:
            for name in names:
                _swap(partial / name, folder / name)
            _flush(folder)
        except BaseException:
            for name in names:
                if _identity(folder / name) == new[name]:
                    _swap(folder / name, partial / name)
            discard(partial)
            raise
        discard(partial)


# --- folders ---------------------------------------------------------------------------------------------------------


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Fill the folder this yields; it takes the place of `path` when the block ends well, and only then the old goes.

    Raises:
        OutputError: It cannot be written; the old folder is as it was.

    Example:
        >>> from tempfile import mkdtemp
        >>> folder = Path(mkdtemp()) / "run"
        >>> with replace_folder(folder) as new:
        ...     replace_file(new / "note.txt", "first")
        >>> with replace_folder(folder) as new:
        ...     replace_file(new / "other.txt", "second")
        >>> [file.name for file in folder.iterdir()]
        ['other.txt']
    """
    with _sentence(path):
        target = path.resolve()
        partial = _beside(target)
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            partial.mkdir()
            yield partial
            _flush_below(partial)
            _swap(partial, target)
            _flush(target.parent)
        finally:
            discard(partial)  # the unfinished one, or after the exchange the old one


def move_folder(source: Path, path: Path) -> None:
    """Put a finished folder in the place of `path`, on the same file system; only then the old one goes.

    Raises:
        OutputError: It cannot be moved; both folders are as they were.
    """
    with _sentence(path):
        target, new = path.resolve(), _identity(source)
        partial = _beside(target)
        _flush_below(source)
        try:
            os.rename(source, partial)  # so that the old one never has the name of the new one
            _swap(partial, target)
            _flush(target.parent)
        except BaseException:
            if _identity(partial) != new:
                discard(partial)
            else:
                with suppress(OSError):
                    os.rename(partial, source)
            raise
        discard(partial)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that it holds; nothing of it is left under its name, at any moment.

    Raises:
        OutputError: It cannot be removed.
    """
    with _sentence(path, "removed"):
        if path.is_dir() and not path.is_symlink():
            hidden = _beside(path)
            try:
                os.rename(path, hidden)
                shutil.rmtree(hidden)
            finally:
                discard(hidden)
        else:
            path.unlink(missing_ok=True)


def discard(path: Path | str) -> None:
    """Remove what nothing needs any more, such as a temporary folder, as far as that is possible; never raises."""
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        os.unlink(path)


def keep_previous(path: Path, name: str) -> None:
    """Give a file that is about to be replaced a second name, under which it stays; does nothing where that fails.

    Args:
        path: The file; it may not exist.
        name: The second name, in the same folder; what had it before goes.
    """
    partial = _beside(path)
    with suppress(OSError):  # a file system without links keeps one file only
        os.link(path, partial)
        os.replace(partial, path.with_name(name))


# --- reading ---------------------------------------------------------------------------------------------------------


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def one_line(error: Exception) -> str:
    """Return a library's message without its line breaks."""
    return " ".join(str(error).split())


# --- helpers ---------------------------------------------------------------------------------------------------------


def _beside(path: Path) -> Path:
    """Return a hidden name in the same folder that no other process takes."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what identifies a file or folder under whatever name; None where it does not exist."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _swap(one: Path, other: Path) -> None:
    """Let two names change places, of which the second may name nothing; on failure all is as it was."""
    if not os.path.lexists(other):
        os.rename(one, other)
    elif not _exchanged(one, other):
        spare = _beside(other)
        try:
            os.rename(other, spare)
            os.rename(one, other)
            os.rename(spare, one)
        except BaseException:
            try:
                if not os.path.lexists(one):
                    os.rename(other, one)
                if not os.path.lexists(other):
                    os.rename(spare, other)
            except OSError as error:
                raise OSError(error.errno, f"{error.strerror}; what was there is {str(spare)!r} now") from error
            raise


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two names in one step, and return whether the system can do that; Linux can on most file systems."""
    exchange = getattr(ctypes.CDLL(None), "renameat2", None)
    here, both = -100, 2  # AT_FDCWD: paths are as for `open`; RENAME_EXCHANGE
    return exchange is not None and exchange(here, os.fsencode(one), here, os.fsencode(other), both) == 0


def _flush(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # of a file system that does not do this for folders
            raise
    finally:
        os.close(descriptor)


def _flush_below(folder: Path) -> None:
    for where, _, names in os.walk(folder):
        for file in (Path(where, name) for name in names):
            if file.is_file() and not file.is_symlink():
                _flush(file)
        _flush(Path(where))


@contextmanager
def _sentence(path: Path, done: str = "written") -> Iterator[None]:
    """Describe in one sentence what the operating system refused."""
    try:
        yield
    except OSError as error:
        named = [os.path.abspath(os.fsdecode(name)) for name in (error.filename, error.filename2) if name is not None]
        target = str(path.resolve())
        if named and not any(target.startswith(name) or ".partial" in name for name in named):
            raise  # it is about something else, such as a file that the block reads
        reason = " ".join((error.strerror or str(error) or type(error).__name__).split())
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "make room on the disk" if full else "choose another place, or see to its permissions"
        raise OutputError(f"{str(path)!r} cannot be {done} ({reason}); {advice}") from error
