"""Makes the calls fail, one after the other, by which files and folders are written, replaced and removed."""

import builtins
import ctypes
import errno
import hashlib
import io
import itertools
import os
import shutil
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from molchord import files

FAULTS = {
    "refused": (OSError(errno.ENOSPC, "No space left on device"), False),
    "interrupted before": (KeyboardInterrupt(), False),
    "interrupted after": (KeyboardInterrupt(), True),
}
"""What a call raises, and whether it has done its work by then."""

RENAMES = ("rename", "replace", "exchange", "mkdir")
"""Calls by which something takes its place."""

CALLS = [(os, name) for name in ("rename", "replace", "link", "mkdir", "unlink", "fsync", "chmod")]
CALLS += [(shutil, "rmtree"), (io, "open"), (builtins, "open")]


class Steps:
    """The calls that are counted; the one numbered `at` fails."""

    def __init__(self, at, fault):
        self.at, (self.error, self.late), self.names = at, fault, []

    def __call__(self, name, call, *args, **more):
        self.names.append(name)
        if len(self.names) == self.at and not self.late:
            raise self.error
        found = call(*args, **more)
        if len(self.names) == self.at:
            raise self.error
        return found

    @property
    def failed(self):
        """Whether the call that was to fail came at all."""
        return len(self.names) >= self.at


@contextmanager
def failing(at, fault, *, exchange, only=None):
    """Make call number `at` fail within the block; without `exchange`, the system cannot exchange two names.

    Only calls that change something count, and of those the ones named in `only` where that is given.
    """
    steps = Steps(at, FAULTS[fault])

    def counted(name, call):
        def one(*args, **more):
            mode = more.get("mode", args[1] if len(args) > 1 else "r") if name == "open" else "w"
            changes = not isinstance(mode, str) or any(letter in mode for letter in "wax+")
            if not changes or (only is not None and name not in only):
                return call(*args, **more)
            return steps(name, call, *args, **more)

        return one

    libc = ctypes.CDLL(None)
    renameat2 = counted("exchange", libc.renameat2) if exchange and hasattr(libc, "renameat2") else None
    with pytest.MonkeyPatch.context() as patch:
        for module, name in CALLS:
            patch.setattr(module, name, counted(name, getattr(module, name)))
        patch.setattr(files, "ctypes", SimpleNamespace(CDLL=lambda _: SimpleNamespace(renameat2=renameat2)))
        yield steps


def contents(folder):
    """Every path below a folder with what it is and holds, as one digest."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(f"{path.relative_to(folder)} {path.lstat().st_mode}\0".encode())
        if path.is_file():
            content = path.read_bytes()
            digest.update(f"{len(content)}\0".encode() + content)
    return digest.digest()


def check(act, read, prepare, tmp_path, fault, *, exchange=True, only=None, fewest=3):
    """Let every step of `act` fail in turn: what `read` finds then is the old content or the new one, both whole.

    Args:
        act: ``act(folder)``, the operation.
        read: ``read(folder)``, what is there, by the public API.
        prepare: ``prepare(folder)``, makes the old content.
        tmp_path: For the folders.
        fault: One of `FAULTS`.
        exchange: Whether the system can exchange two names.
        only: Names of the calls that fail; None: all.
        fewest: Steps that there are at least.
    """
    if FAULTS[fault][1] and only is None:
        # After a call that changes no name there is the same on the disk as before the next one, which is refused too.
        only, fewest = RENAMES, 1
    found_in = {}

    def found_by_reading(folder):
        """What is read depends on the bytes alone, and most steps leave those of before."""
        there = contents(folder)
        if there not in found_in:
            found_in[there] = read(folder)
        return found_in[there]

    prepare(tmp_path / "old")
    old = found_by_reading(tmp_path / "old")
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    act(tmp_path / "new")
    new = found_by_reading(tmp_path / "new")
    for number in itertools.count(1):
        here = tmp_path / f"step-{number}"
        shutil.copytree(tmp_path / "old", here)
        with failing(number, fault, exchange=exchange, only=only) as steps:
            try:
                act(here)
                raised = None
            except BaseException as error:
                raised = error
        where = f"{fault}, step {number} of {steps.names}"
        if not steps.failed:
            assert raised is None, where
            assert number > fewest, where
            return
        found = found_by_reading(here)
        assert found in (old, new), f"{where}: neither the old content nor the new one"
        assert raised is not None or found == new, f"{where}: said to be done, but it is the old content"
        left = [path for path in here.rglob("*.partial") if steps.names[number - 1] not in ("rmtree", "unlink")]
        assert left == [], where
        act(here)
        assert found_by_reading(here) == new, f"{where}: it is no longer possible"
        shutil.rmtree(here)
