"""Derived measurements and features: the same from one process or several, cached, resumed, failures listed."""

import json
import os
import sys
import threading

import numpy as np
import pytest

from molchord.api import Array, Config, Measurement, Real, Stores
from molchord.data import derived
from molchord.data.derived import derive, failures, features
from molchord.data.parallel import ordered
from molchord.data.store import DataSet
from molchord.errors import DataError, PluginError

SOURCE = '''
import os
from pathlib import Path

import numpy as np

from molchord.api import Measurement, SampleError


class Letters:
    """Counts a molecule's carbons; adds the stored value; fails on four carbons; notes each call in a folder."""

    def __init__(self, calls=None, crash_at=None, die_at=None):
        self.calls, self.crash_at, self.die_at = calls, crash_at, die_at

    def derive(self, molecule):
        n = molecule.smiles.count("C")
        if n == self.crash_at:
            raise ZeroDivisionError("a bug")
        if n == self.die_at:
            os._exit(1)
        if self.calls is not None:
            with open(Path(self.calls) / str(os.getpid()), "a") as file:
                file.write(molecule.smiles + "\\n")
        if n == 4:
            raise SampleError(molecule.key14, "four is unlucky")
        base = 0.0 if molecule.stored is None else float(molecule.stored.arrays["y"][0])
        columns = {"origin": "computed", "mass": molecule.exact_mass}
        return Measurement(arrays={"y": np.full(n, n + base)}, columns=columns)

    @staticmethod
    def process(item):
        return os.getpid()

    def features(self, molecule):
        n = molecule.smiles.count("C")
        if n == self.crash_at:
            raise ZeroDivisionError("a bug")
        return {"bits": np.arange(n, n + 3, dtype=np.uint8), "one": np.array(molecule.exact_mass)}
'''
STORES = Stores(arrays={"y": Array(unit="1", axis="x")}, columns={"mass": Real("Da")})
N = 23


class Settings(Config):
    size: int = 1


@pytest.fixture
def toy(tmp_path_factory, monkeypatch):
    """A module that worker processes can import as well."""
    site = tmp_path_factory.mktemp("site")
    (site / "molchord_toy_letters.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(site)
    import molchord_toy_letters

    yield molchord_toy_letters.Letters
    del sys.modules["molchord_toy_letters"]


@pytest.fixture
def calls(tmp_path):
    folder = tmp_path / "calls"
    folder.mkdir()
    return folder


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setattr(derived, "MOLECULES_PER_FILE", 5)
    return DataSet.from_measurements(["C" * (i + 1) for i in range(N)], {}, tmp_path / "d", stores={})


def called(folder):
    return [line for file in folder.iterdir() for line in file.read_text().splitlines()]


def run(data, modality, config=Settings(), **options):  # noqa: B008
    return derive(data, "toys:letters", modality, config, stores=STORES, **{"workers": 1, **options})


def check(table, base=0.0):
    assert len(table) == N - 1
    for row in range(N):
        values = [table.read(int(i)).arrays["y"].tolist() for i in table.of(row)]
        assert values == ([] if row == 3 else [[row + 1 + base] * (row + 1)])
    assert set(table.column("origin")) == {"computed"}
    assert table.molecule.tolist() == [row for row in range(N) if row != 3]


def test_derives_every_molecule_and_lists_failures(data, toy):
    table = run(data, toy())
    check(table)
    assert failures(table) == [(data.molecule(3).key14, "four is unlucky")]
    assert table.read(0).columns == {"origin": "computed", "mass": data.molecule(0).exact_mass}
    assert table.stores == STORES
    assert table.path.parent == data.path / "derived"
    assert table.path.name.startswith("toys-letters-")


def test_a_second_call_computes_nothing(data, toy, calls):
    run(data, toy(calls))
    first = called(calls)
    assert len(first) == N
    check(run(data, toy(calls)))
    assert called(calls) == first


@pytest.mark.parametrize(
    "change",
    [
        {"config": Settings(size=2)},
        {"version": "2.0"},
        {"stores": Stores(arrays=STORES.arrays, columns={"mass": Real("kg")})},
    ],
)
def test_another_configuration_version_or_declaration_derives_anew(data, toy, calls, change):
    first = run(data, toy(calls))
    options = {"config": Settings(), "stores": STORES, "workers": 1, **change}
    second = derive(data, "toys:letters", toy(calls), **options)
    assert second.path != first.path
    assert len(called(calls)) == 2 * N


def test_processes_give_the_same_files_as_one(data, toy, calls):
    alone = run(data, toy())
    contents = {p.name: p.read_bytes() for p in alone.path.iterdir()}
    for path in alone.path.iterdir():
        path.unlink()
    together = run(data, toy(calls), workers=2)
    check(together)
    assert str(os.getpid()) not in {p.name for p in calls.iterdir()}, "the work was done elsewhere"
    assert contents == {p.name: p.read_bytes() for p in together.path.iterdir()}


def test_goes_on_where_it_was_interrupted(data, toy, calls):
    with pytest.raises(PluginError, match=r"failed to derive molecule \w+ \('C{13}'\): ZeroDivisionError: a bug"):
        run(data, toy(calls, crash_at=13))
    before = len(called(calls))
    assert before == 12
    check(run(data, toy(calls)))
    again = called(calls)[before:]
    assert len(again) == N - 10, "the two finished chunks of five are kept, the third is done again"


def test_a_killed_worker_loses_no_more_than_the_chunks_under_way(data, toy, calls):
    with pytest.raises(DataError, match="a worker process died: out of memory, or a script"):
        run(data, toy(calls, die_at=13), workers=2)
    [folder] = (data.path / "derived").iterdir()
    kept = [file for file in folder.glob("arrays-*.safetensors")]
    assert 0 < len(kept) < 5
    before = len(called(calls))
    assert before - 5 * len(kept) < 2 * 5, "one chunk a worker"
    check(run(data, toy(calls)))
    assert len(called(calls)) - before == N - 5 * len(kept) + 2 * any("00004" in file.name for file in kept)


def test_a_damaged_chunk_is_computed_again_and_nothing_else(data, toy, calls):
    table = run(data, toy(calls))
    (table.path / "manifest.json").unlink()
    shard = table.path / "arrays-00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:20])
    check(run(data, toy(calls)))
    assert len(called(calls)) == N + 5


def test_a_damaged_manifest_of_the_cache(data, toy):
    table = run(data, toy())
    (table.path / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match="are damaged: Field required; delete that folder and try again"):
        run(data, toy())


def test_two_derivations_at_once_do_not_harm_each_other(data, toy):
    results, errors = [], []

    def one():
        try:
            results.append(run(DataSet(data.path), toy()))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for table in results:
        check(table)
    check(run(DataSet(data.path), toy()))
    assert not [p for p in results[0].path.iterdir() if p.name.startswith(".")]


def test_stored_measurements_are_handed_to_the_modality(tmp_path, toy, monkeypatch):
    monkeypatch.setattr(derived, "MOLECULES_PER_FILE", 5)
    stored = Measurement(arrays={"y": np.array([100.0])})
    second = Measurement(arrays={"y": np.array([7.0])})
    entries = {"letters": [[stored, second]] * N}
    data = DataSet.from_measurements(
        ["C" * (i + 1) for i in range(N)], entries, tmp_path / "s", stores={"letters": STORES}
    )
    check(run(data, toy()), base=100.0)
    other = Stores(arrays={"y": Array(unit="kg", axis="x")})
    with pytest.raises(DataError, match="were written under another declaration"):
        derive(data, "toys:letters", toy(), Settings(), stores=other, workers=1)


def test_all_failures_leave_an_empty_table(tmp_path, toy):
    data = DataSet.from_measurements(["CCCC"], {}, tmp_path / "d", stores={})
    table = run(data, toy())
    assert len(table) == 0
    assert table.of(0).tolist() == []
    assert table.column("origin").tolist() == []
    assert table.column("mass").tolist() == []
    assert table.select({"origin": "computed"}).tolist() == []
    assert table.present().tolist() == [False]
    assert len(failures(table)) == 1


def test_a_read_only_data_set(data, toy, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(DataError, match=r"cannot write .*derived.*: Permission denied; copy the data set"):
        run(data, toy())


def test_work_moves_to_processes_once_it_takes_long(toy, monkeypatch):
    where = toy.process
    monkeypatch.setattr("molchord.data.parallel.PATIENCE", 0.0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    assert os.getpid() not in list(ordered(where, range(3), None))
    monkeypatch.setattr("molchord.data.parallel.PATIENCE", 60.0)
    assert set(ordered(where, range(3), None)) == {os.getpid()}


def test_features_are_computed_once_and_mapped(data, toy):
    found = features(data, "toys:letters", toy(), Settings())
    assert sorted(found) == ["bits", "one"]
    assert found["bits"].shape == (N, 3)
    assert found["bits"].dtype == np.uint8
    assert found["bits"].tolist() == [[i, i + 1, i + 2] for i in range(1, N + 1)]
    np.testing.assert_array_equal(found["one"], data.numeric("exact_mass"))
    assert isinstance(found["bits"], np.memmap)
    again = features(data, "toys:letters", toy(crash_at=1), Settings())
    np.testing.assert_array_equal(again["bits"], found["bits"])
    two = features(data, "toys:letters", toy(), Settings(size=2))
    np.testing.assert_array_equal(two["bits"], found["bits"])
    folders = [p for p in (data.path / "derived").iterdir()]
    assert len(folders) == 2
    assert sorted(p.name for p in folders[0].iterdir()) == ["bits.npy", "manifest.json", "one.npy"]


def test_features_that_fail_or_change_shape(data, toy):
    with pytest.raises(PluginError, match=r"failed to make features of molecule \w+ \('C{13}'\): ZeroDivisionError"):
        features(data, "toys:letters", toy(crash_at=13), Settings())
    loss = toy()
    loss.features = lambda molecule: {"bits": np.zeros(len(molecule.smiles))}
    with pytest.raises(PluginError, match="features differ in shape between molecules"):
        features(data, "toys:letters", loss, Settings(size=3))
    loss.features = lambda molecule: {"bits": np.zeros(1 + (len(molecule.smiles) > 5))}
    with pytest.raises(PluginError, match=r"feature `bits` changes its shape to \(2,\)"):
        features(data, "toys:letters", loss, Settings(size=4))
    assert features(data, "toys:letters", toy(), Settings())["bits"].shape == (N, 3)


def test_the_cache_says_what_made_it(data, toy):
    table = run(data, toy(), Settings(size=9), version="1.2")
    manifest = json.loads((table.path / "manifest.json").read_text())
    assert manifest["config"] == {"size": 9}
    assert (manifest["table"]["plugin"], manifest["table"]["version"]) == ("toys:letters", "1.2")
    assert manifest["failures"] == 1
    data.verify()
