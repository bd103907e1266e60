"""Fixtures that several tests share."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def _own_configuration(tmp_path_factory):
    """Keep the user's own registry.toml out of the tests."""
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="session", autouse=True)
def _threads():
    """Compute with `MOLCHORD_TEST_THREADS` threads: one, since tests run in parallel processes, or what torch takes."""
    import torch

    threads = int(os.environ.get("MOLCHORD_TEST_THREADS", "1"))
    if threads > 0:  # 0: as `OMP_NUM_THREADS` or the cores say
        torch.set_num_threads(threads)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk():
    """A test need not survive a power failure, and waiting for the disk after each file would take a third of it."""
    before, os.fsync = os.fsync, lambda descriptor: None
    yield
    os.fsync = before


def pytest_collection_modifyitems(items):
    """Put what takes longest first, so that no process works at it alone in the end; skip what needs a GPU that is not there."""
    import torch

    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no GPU"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real spectra beside the project; the test is skipped where it is not there."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no data folder beside the project")
    return folder
