"""Checksums: the size and SHA-256 of every file are in the manifest of its folder, and those of a manifest in itself.

A file is compared with its checksum when it is first used. What was compared is remembered by device, inode, size and
times, so that one content is read once in a process, and a large file once on a machine; `verify` reads all again.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict

from molchord.errors import MolchordError
from molchord.files import discard, sha256_file, write_tensors
from molchord.places import cache_folder, inside

__all__ = [
    "UNSEALED",
    "FileEntry",
    "check_header",
    "check_seal",
    "check_sizes",
    "checksum_of",
    "checksums_of",
    "expect_file",
    "fault_of_file",
    "refuse_damaged",
    "seal",
    "sealed",
    "unsealed",
    "verify_files",
    "write_sealed_tensors",
]

UNSEALED = "sha256:" + "0" * 64
"""What stands in a file for its own checksum until `seal` fills it in; the checksum is that of the file with this."""

_Signature: TypeAlias = tuple[int, int, int, int, int]

_SEAL = re.compile(rb"sha256:([0-9a-f]{64})")
_SEAL_OF_JSON = re.compile(rb',\s*"checksum": "sha256:[0-9a-f]{64}"(\s*\})\s*$')
_HEAD, _BLOCK = 16 * 2**20, 2**20
_LARGE = 64 * 2**20
"""Bytes from which on a checksum is worth remembering on the disk."""
_JUST_NOW = 0.05
"""Seconds within which a file may change twice without a change of its times."""
_NOTED = "checksums.txt"
_LONGEST_NOTE = 8 * 2**20


class FileEntry(BaseModel):
    """Size and checksum of a file, as its folder's manifest has them."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    bytes: int
    sha256: str


# --- files that a manifest lists -------------------------------------------------------------------------------------


def checksum_of(path: Path) -> FileEntry:
    """Return size and checksum of a file.

    Example:
        >>> from tempfile import mkdtemp
        >>> file = Path(mkdtemp()) / "a.txt"
        >>> _ = file.write_text("abc")
        >>> checksum_of(file).bytes, checksum_of(file).sha256[:8]
        (3, 'ba7816bf')
    """
    return FileEntry(bytes=path.stat().st_size, sha256=_digest(path))


def checksums_of(folder: Path, names: Iterable[str]) -> dict[str, FileEntry]:
    """Return size and checksum of those of some files that are there, by name."""
    return {name: checksum_of(folder / name) for name in names if (folder / name).is_file()}


def fault_of_file(path: Path, entry: FileEntry) -> str | None:
    """Return what is wrong with a file, as the end of a sentence; None: it is as it was written."""
    fault = _fault_of_size(path, entry)
    if fault is not None:
        return fault
    try:
        return None if _digest(path) == entry.sha256 else "differs from its checksum"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _fault_of_size(path: Path, entry: FileEntry) -> str | None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if size == entry.bytes else f"has {size} bytes instead of {entry.bytes}"


def expect_file(path: Path, entry: FileEntry | None, error: type[MolchordError], remedy: str) -> None:
    """Refuse a file that is not as it was written; one without an entry, of an earlier version, passes.

    Args:
        path: The file.
        entry: Its size and checksum.
        error: What is raised.
        remedy: What to do, as the end of the sentence.
    """
    fault = None if entry is None else fault_of_file(path, entry)
    if fault is not None:
        raise error(f"file {str(path)!r} is damaged (it {fault}); {remedy}")


def check_sizes(folder: Path, files: Mapping[str, FileEntry], error: type[MolchordError], remedy: str) -> None:
    """Refuse a folder in which a file is missing or has another size, or whose manifest names one outside of it."""
    for name, entry in files.items():
        path = inside(folder, name, error)
        fault = _fault_of_size(path, entry)
        if fault is not None:
            raise error(f"file {str(path)!r} is damaged (it {fault}); {remedy}")


def verify_files(folder: Path, files: Mapping[str, FileEntry]) -> Iterator[str]:
    """Read files again, several at a time, and yield a sentence for each that is not as it was written."""

    def fault(name: str) -> str | None:
        _forget(folder / name)
        found = fault_of_file(folder / name, files[name])
        return None if found is None else f"file {name!r} {found}"

    with ThreadPoolExecutor() as pool:
        yield from (found for found in pool.map(fault, files) if found is not None)


# --- files that hold their own checksum ------------------------------------------------------------------------------


def sealed(text: str) -> bytes:
    r"""Return a JSON object's text with its own checksum as the last value.

    Example:
        >>> unsealed(sealed('{"a": 1}'))
        b'{"a": 1\n}'
        >>> unsealed(sealed('{"a": 1}').replace(b"1", b"2", 1))
        Traceback (most recent call last):
            ...
        ValueError: it differs from its checksum; if you edited it, remove its entry `checksum`
    """
    open_ended = f'{text.rstrip().removesuffix("}").rstrip()},\n "checksum": "{UNSEALED}"\n}}\n'.encode()
    digest = hashlib.sha256(open_ended).hexdigest().encode()
    start = open_ended.rindex(UNSEALED.encode())
    return open_ended[:start] + b"sha256:" + digest + open_ended[start + len(UNSEALED) :]


def unsealed(content: bytes) -> bytes:
    """Return a JSON object without its own checksum; one that has none, of an earlier version, as it is.

    Raises:
        ValueError: It is not what was written.
    """
    found = _SEAL_OF_JSON.search(content)
    if found is None:
        return content
    at = content.index(b"sha256:", found.start())
    whole = content[:at] + UNSEALED.encode() + content[at + len(UNSEALED) :]
    if hashlib.sha256(whole).hexdigest().encode() != content[at + 7 : at + len(UNSEALED)]:
        raise ValueError("it differs from its checksum; if you edited it, remove its entry `checksum`")
    return content[: found.start()] + b"\n}"


def seal(path: Path) -> None:
    """Fill in a file's own checksum, for which it holds `UNSEALED` in its first 16 MiB."""
    with path.open("r+b") as file:
        at = file.read(_HEAD).index(UNSEALED.encode())
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(at)
        file.write(f"sha256:{digest}".encode())


def check_seal(path: Path) -> str | None:
    """Return what is wrong with a file that holds its own checksum; None: nothing, or it holds none."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        block = file.read(_HEAD)
        found = _SEAL.search(block)
        if found is None:
            return None
        digest.update(block[: found.start()] + UNSEALED.encode() + block[found.end() :])
        while block := file.read(_BLOCK):
            digest.update(block)
    return None if digest.hexdigest().encode() == found[1] else "differs from its checksum"


def write_sealed_tensors(path: Path, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file that holds its own checksum; otherwise as `write_tensors`."""
    write_tensors(path, tensors, {**(metadata or {}), "checksum": UNSEALED}, finish=seal)


def refuse_damaged(path: Path, error: type[MolchordError], remedy: str) -> None:
    """Refuse a file that differs from the checksum that it holds; one of an earlier version, without any, passes."""
    fault = check_seal(path)
    if fault is not None:
        raise error(f"file {str(path)!r} is damaged (it {fault}); {remedy}")


def check_header(path: Path) -> None:
    """Refuse a safetensors file whose header cannot be true, before anything is read by it.

    Raises:
        OSError: Its header would be longer than the file, or than 16 MiB.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        size = os.fstat(file.fileno()).st_size
    if not 2 <= length <= min(_HEAD, size - 8):
        raise OSError(f"it has {size} bytes and declares a header of {length}, of {_HEAD} at most")


# --- what was compared already ---------------------------------------------------------------------------------------

_known: dict[_Signature, str] = {}
_read_notes: set[Path] = set()


def _digest(path: Path) -> str:
    signature, recent = _signature(path)
    if signature not in _known and signature[2] >= _LARGE:
        _read_note()
    if signature in _known:
        return _known[signature]
    digest = sha256_file(path)
    if not recent and _signature(path)[0] == signature:
        _known[signature] = digest
        if signature[2] >= _LARGE:
            _note(signature, digest)
    return digest


def _signature(path: Path) -> tuple[_Signature, bool]:
    """Return what changes whenever a file's content does, and whether the file changed so lately that it may not."""
    found = path.stat()
    newest = max(found.st_mtime, found.st_ctime)
    signature = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return signature, time.time() - newest < _JUST_NOW


def _forget(path: Path) -> None:
    with suppress(OSError):
        _known.pop(_signature(path)[0], None)


def _read_note() -> None:
    """Take up what earlier processes compared; a damaged line counts for nothing."""
    file = cache_folder() / _NOTED
    if file in _read_notes:
        return
    _read_notes.add(file)
    with suppress(OSError):
        for line in file.read_text(encoding="ascii", errors="replace").splitlines():
            *numbers, digest = line.split()
            if len(numbers) == 5 and len(digest) == 64 and all(number.isdecimal() for number in numbers):
                device, inode, size, changed, moved = map(int, numbers)
                _known.setdefault((device, inode, size, changed, moved), digest)


def _note(signature: _Signature, digest: str) -> None:
    """Note that a large file was compared, in one write, so that several processes may."""
    file = cache_folder() / _NOTED
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.exists() and file.stat().st_size > _LONGEST_NOTE:
            discard(file)
        with file.open("ab", buffering=0) as out:
            out.write(f"{' '.join(map(str, signature))} {digest}\n".encode("ascii"))
