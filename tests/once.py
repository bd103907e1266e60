"""What takes long to make is made by one of the test processes, for all."""

import fcntl
import os
from pathlib import Path


def made_once(factory, name, make):
    """Return a folder that the first process to ask fills by ``make(folder)``; others wait until it is there.

    Args:
        factory: pytest's `tmp_path_factory`.
        name: Of the folder; the same in all processes, and no other's.
        make: Fills it; where it raises, the next process tries again.
    """
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = base / name, base / f"{name}.done"
    with Path(base, f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            done.touch()
    return folder
