"""One process at a time changes a folder; what a killed one leaves is no hindrance."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from molchord.errors import FolderInUseError
from molchord.lock import only_writer, unfinished

HOLDER = """
import sys, time
from pathlib import Path
from molchord.lock import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder `run`."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path / "run"], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_and_told_of_the_first(tmp_path, holder):
    said = f"run' is being changed by process {holder.pid} .*, since .*; try again when it has ended"
    with pytest.raises(FolderInUseError, match=said), only_writer(tmp_path / "run"):
        pass


def test_a_killed_process_holds_nothing_and_what_it_left_unfinished_goes(tmp_path, holder):
    (tmp_path / ".run.0123abcd.partial").mkdir()
    others = (".other.0123abcd.partial", ".run.b.0123abcd.partial")  # `run.b` may be being written
    for name in others:
        (tmp_path / name).mkdir()
    assert [path.name for path in unfinished(tmp_path / "run")] == [".run.0123abcd.partial"]
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert (tmp_path / ".run.lock").is_file()
    with only_writer(tmp_path / "run"):
        assert unfinished(tmp_path / "run") == []
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


def test_a_folder_is_free_again_whatever_ended_the_block(tmp_path):
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), only_writer(tmp_path / "run"):
            raise error
    with only_writer(tmp_path / "run"), only_writer(tmp_path / "other"):
        assert not (tmp_path / "run").exists()


def test_a_link_is_the_folder_that_it_leads_to(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with only_writer(tmp_path / "run"), pytest.raises(FolderInUseError), only_writer(tmp_path / "link"):
        pass


def test_a_lock_of_another_user_counts():
    with TemporaryDirectory() as home:
        Path(home).chmod(0o777)
        with only_writer(Path(home) / "run"):
            (Path(home) / ".run.lock").chmod(0o444)
            user = os.geteuid()
            os.seteuid(user or 65534)  # whoever may do anything is somebody else for once
            try:
                with pytest.raises(FolderInUseError), only_writer(Path(home) / "run"):
                    pass
            finally:
                os.seteuid(user)


def test_what_another_process_writes_stays_where_no_lock_can_be_had(tmp_path, monkeypatch):
    (tmp_path / ".run.0123abcd.partial").mkdir()

    def unknown(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unknown)
    with only_writer(tmp_path / "run"):
        assert len(unfinished(tmp_path / "run")) == 1


def test_a_child_that_leaves_the_block_frees_nothing(tmp_path):
    parent, block = os.getpid(), only_writer(tmp_path / "run")
    block.__enter__()
    try:
        child = os.fork()
        if child == 0:
            block.__exit__(None, None, None)
            os._exit(0)
        os.waitpid(child, 0)
        with pytest.raises(FolderInUseError), only_writer(tmp_path / "run"):
            pass
    finally:
        if os.getpid() == parent:
            block.__exit__(None, None, None)
