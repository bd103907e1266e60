"""Fake distributions on disk, installed nowhere, for tests of the host."""

import sys
import textwrap
from importlib import metadata

import pytest

from molchord.host import Host

HEADER = """
from molchord.api import *
from molchord.api import hookimpl

def modality(name, **changes):
    record = dict(
        name=name, summary="fake", api=1, kinds=("vector",), stores=Stores(arrays={}), config=Config,
        spec=lambda config, kind: VectorSpec(size=1, unit="1"), build=lambda config, kind: None,
    )
    return ModalityRecord(**{**record, **changes})

def encoder(name, **changes):
    record = dict(name=name, summary="fake", api=1, accepts=("vector",), config=Config, build=lambda config, spec: None)
    return EncoderRecord(**{**record, **changes})
"""


class Site:
    """A folder of installed distributions."""

    def __init__(self, tmp_path, monkeypatch):
        self.folders = [tmp_path / "site"]
        self.monkeypatch = monkeypatch

    def add(self, dist, source, *, version="1.0", entry="nmr", folder=None, module=None, value=None):
        folder = folder or self.folders[0]
        folder.mkdir(exist_ok=True)
        if folder not in self.folders:
            self.folders.append(folder)
        self.monkeypatch.syspath_prepend(str(folder))
        module = module or dist.lower().replace("-", "_")
        (folder / f"{module}.py").write_text(HEADER + textwrap.dedent(source))
        info = folder / f"{dist.replace('-', '_')}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\n")
        points = info / "entry_points.txt"
        old = points.read_text() if points.exists() else "[molchord]\n"
        points.write_text(f"{old}{entry} = {value or module}\n")
        return self

    def entry_points(self):
        found = metadata.distributions(path=[str(folder) for folder in self.folders])
        return [entry for d in found for entry in d.entry_points if entry.group == "molchord"]

    def discover(self, policy=None):
        return Host.discover(policy, self.entry_points())


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield Site(tmp_path, monkeypatch)
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]
