"""One process at a time changes a folder; what a killed one leaves is no hindrance."""

import os
import signal
import subprocess
import sys

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
    (tmp_path / ".other.0123abcd.partial").mkdir()
    assert [path.name for path in unfinished(tmp_path / "run")] == [".run.0123abcd.partial"]
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert (tmp_path / ".run.lock").is_file()
    with only_writer(tmp_path / "run"):
        assert unfinished(tmp_path / "run") == []
    assert [path.name for path in tmp_path.iterdir()] == [".other.0123abcd.partial"]


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
