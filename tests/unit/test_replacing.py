"""Every place that replaces something: whatever step fails, the API opens the old content or the new, both whole."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.faults import RENAMES, check, failing

import molchord as mc
from molchord.api import Array, Config, IndexRecord, Measurement, Molecule, Real, Stores
from molchord.data.derived import derive, features
from molchord.data.info import resplit
from molchord.data.store import DataSet
from molchord.errors import RunError
from molchord.evaluate import report
from molchord.files import replace_file
from molchord.graph.resolve import ModelGraph
from molchord.host import Plugin, installed
from molchord.host import discovery as host
from molchord.host.scaffold import new_plugin
from molchord.library.build import embed_items
from molchord.library.files import LibraryManifest
from molchord.library.library import Entry, Library
from molchord.rerank.weights import Weights, WeightsFile
from molchord.run import Run
from molchord.run_folder import read_run_manifest, read_trained_on, read_weights, write_weights
from molchord.simulation.files import Outcome, read_contents, read_entries, write_entries
from molchord.simulation.folder import SimulationFolder
from molchord.study import tune
from molchord.testing import tiny_data, tiny_run
from molchord.train.trainer import Trainer


@pytest.fixture(params=["refused", "interrupted after"])
def fault(request):
    return request.param


# --- data sets

STORES = {"toy": Stores(arrays={"y": Array(unit="1", axis="x")}, columns={"mass": Real("Da")})}


def data_set(home, molecules=("C", "CC", "CCC", "CCCC"), value=1.0):
    """Write a data set of alkanes with one measurement each."""
    toys = [Measurement(arrays={"y": np.full(2, value)}, columns={"origin": "computed"}) for _ in molecules]
    DataSet.from_measurements(list(molecules), {"toy": toys}, home / "data", stores=STORES, force=True)


def whole_data_set(home):
    data = DataSet(home / "data")
    data.verify()
    values = [data.table("toy").read(row).arrays["y"].tolist() for row in range(len(data))]
    return data.manifest.model_dump(mode="json"), data.keys(), data.split.tolist(), values


class Letters:
    """Derives a molecule's number of carbons."""

    def derive(self, molecule):
        return Measurement(arrays={"y": np.full(2, molecule.smiles.count("C"))}, columns={"origin": "computed"})

    def features(self, molecule):
        return {"carbons": np.array(molecule.smiles.count("C"))}


class Settings(Config):
    size: int = 1


def derived(home):
    table = derive(DataSet(home / "data"), "toys:letters", Letters(), Settings(), stores=STORES["toy"], workers=1)
    return [table.read(row).arrays["y"].tolist() for row in range(len(table))]


def featured(home):
    return features(DataSet(home / "data"), "toys:letters", Letters(), Settings())["carbons"].tolist()


def test_a_data_set_that_is_made_again(fault, tmp_path):
    check(lambda home: data_set(home, ("CO", "CCO"), 2.0), whole_data_set, data_set, tmp_path, fault, fewest=15)


def test_new_splits(fault, tmp_path):
    check(lambda home: resplit(home / "data", "fold:1"), whole_data_set, data_set, tmp_path, fault, fewest=8)


@pytest.mark.parametrize("make", [derived, featured])
def test_what_is_derived_from_a_data_set(make, fault, tmp_path):
    def act(home):
        assert make(home) == expected

    expected = [[1, 1], [2, 2], [3, 3], [4, 4]] if make is derived else [1, 2, 3, 4]
    check(act, whole_data_set, data_set, tmp_path, fault, fewest=8)


# --- libraries

KEYS = [letter * 14 for letter in "ABCDEFGH"]


def entries(count, first=0):
    for number in range(first, first + count):
        molecule = Molecule(key14=KEYS[number], smiles="C", formula="CH4", exact_mass=10.0 + number)
        yield Entry(molecule, np.eye(8, dtype=np.float32)[number])


def library(home, count=5, **more):
    settings = {"run": "r", "candidate": "structure", "embedding_dim": 8, "shard_rows": 4, "force": True}
    return Library.create(home / "library", entries(count), **settings | more)


def with_removed_rows(home):
    library(home).append(entries(1, 5))
    Library(home / "library").remove(KEYS[:2])
    Library(home / "library").write_index("rows")


def fits(found):
    """Whether the index is of the library's shards; it is refused once there are more of them."""
    return len(found.manifest.shards) == 3


def whole_library(home):
    found = Library(home / "library")
    rows = [row for part in found.filter() for row in part]
    hits = [(hit.key14, hit.score) for hit in found.search({"ir": torch.eye(8)[3]})]
    indexes = [found.search({"ir": torch.eye(8)[3]}, index=name)[0].key14 for name in found.indexes if fits(found)]
    masses = [(molecule.key14, molecule.exact_mass) for molecule in found.molecules(rows)]
    manifest = found.manifest.model_dump(mode="json", exclude={"duplicates"})  # which grow when entries are added twice
    return manifest, masses, found.vectors(rows).tolist(), hits, found.indexes, indexes


@dataclasses.dataclass
class Rows:
    """An index that proposes all rows."""

    config: Config

    def write(self, folder, vectors):
        np.save(folder / "rows.npy", np.concatenate([block.rows for block in vectors]))

    def open(self, folder):
        self.rows = np.load(folder / "rows.npy")
        return self

    def propose(self, queries, count, limits):
        rows = self.rows if limits.rows is None else limits.rows
        return mc.api.Proposals(rows=np.tile(rows, (len(queries), 1)), bound=None)


@pytest.fixture
def index(monkeypatch):
    record = IndexRecord(name="rows", summary="all rows", api=1, config=Settings, build=Rows)
    mine = dataclasses.replace(installed(), plugins=(*installed().plugins, Plugin("index", record, "mine", "1.0")))
    monkeypatch.setattr(host, "_installed", lambda cwd, extra: mine)


@pytest.mark.parametrize(
    "act",
    [
        lambda home: library(home, 3, storage="int8"),
        lambda home: Library(home / "library").append(entries(2, 6)),
        lambda home: Library(home / "library").remove(KEYS[2:4]),
        lambda home: Library(home / "library").compact(storage="bf16", shard_rows=3),
        lambda home: Library(home / "library").write_index("rows", {"size": 2}, force=True),
    ],
    ids=["create", "append", "remove", "compact", "index"],
)
def test_a_library_that_is_changed(act, index, fault, tmp_path):
    check(act, whole_library, with_removed_rows, tmp_path, fault)


def test_a_library_that_is_embedded_again(fault, tmp_path):
    run = tiny_run()
    manifest = LibraryManifest(run=run.id, candidate=run.candidate, embedding_dim=run.graph.embedding_dim)

    def embed(*smiles):
        def act(home):
            embed_items(run.embedder, smiles, home / "library", manifest, block=2, workers=1, force=True)

        return act

    def read(home):
        found = Library(home / "library")
        molecules = found.molecules([row for part in found.filter() for row in part])
        return found.manifest.model_dump(mode="json"), [molecule.smiles for molecule in molecules]

    check(embed("C", "no", "C", "CO"), read, embed("CCC"), tmp_path, fault, only=RENAMES, fewest=10)


# --- runs


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a run of one epoch."""
    home = tmp_path_factory.mktemp("finished")
    shutil.copytree(tiny_run().path, home / "run")
    return home


def graph(**train):
    found = ModelGraph.load(tiny_run().path / "graph.yaml").to_dict()
    return mc.ModelGraph.from_dict({**found, "seed": 5, "train": {**found["train"], **train}})


def whole_run(home):
    run = home / "run"
    tensors, progress = read_weights(run / "checkpoints" / "last.safetensors")
    total = sum(float(tensor.double().sum()) for tensor in tensors.values())
    manifest = read_run_manifest(run).model_dump(mode="json")
    return ModelGraph.load(run / "graph.yaml").to_yaml(), manifest, sorted(read_trained_on(run)), total, progress


def test_a_run_that_is_trained_again(finished, fault, tmp_path, monkeypatch):
    """The new run takes the old one's place when it is set up; what training writes is looked at below."""

    class SetUp(Exception):
        pass

    def stop(*_):
        raise SetUp

    def act(home):
        with pytest.raises(SetUp):
            Run.train(graph(), tiny_data(), home / "run", force=True, progress=False)

    monkeypatch.setattr(Trainer, "run", stop)
    check(act, whole_run, lambda home: shutil.copytree(finished, home), tmp_path, fault, only=RENAMES, fewest=6)


@pytest.mark.parametrize("fault", ["refused", "interrupted after"])
def test_what_a_training_writes(finished, fault, tmp_path):
    """Wherever a file's replacement fails, the run opens, and goes on to where it would have come."""

    def longer(home):
        shutil.copytree(finished, home)
        return home / "run"

    def resume(run):
        progress = json.loads(read_weights(run / "checkpoints" / "last.safetensors")[1]["progress"])
        Run.resume(run, device="cpu", epochs=2 if progress["epoch"] < 2 else None, progress=False)

    def done(run):
        lines = [line for line in (run / "metrics.jsonl").read_text().splitlines() if line]
        weights = Run.load(run, device="cpu").model.state_dict()
        return len(lines), {name: tensor.tolist() for name, tensor in weights.items()}

    resume(longer(tmp_path / "whole"))
    for number in range(1, 100):
        run = longer(tmp_path / str(number))
        with failing(number, fault, exchange=True, only=("replace", "exchange")) as steps:
            try:
                resume(run)
            except (mc.MolchordError, KeyboardInterrupt):
                assert steps.failed
        Run.load(run, device="cpu")
        resume(run)
        assert done(run) == done(tmp_path / "whole" / "run"), f"{number} of {steps.names}"
        if not steps.failed:
            assert number > 2
            return


def test_weights_and_a_calibration_that_are_written_again(finished, fault, tmp_path):
    changed = {name: tensor + 1 for name, tensor in tiny_run().model.state_dict().items()}

    def act(home):
        write_weights(home / "run" / "checkpoints" / "last.safetensors", changed)

    def again(home):
        Run.load(home / "run", device="cpu").calibrate(tiny_data())

    def prepare(home):
        shutil.copytree(finished, home)
        manifest = read_run_manifest(home / "run")
        mc.run_folder.write_run_manifest(home / "run", manifest.model_copy(update={"beta": {}, "likeness": {}}))

    check(act, whole_run, prepare, tmp_path / "weights", fault)
    check(again, whole_run, prepare, tmp_path / "calibration", fault, only=("replace",), fewest=1)


def test_a_study(finished, fault, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise RunError("it does not train")

    def trials(count):
        space = {"train.optimizer.lr": {"low": 1e-4, "high": 1e-1}}
        tuned = {**graph().to_dict(), "tune": {"objectives": ["loss"], "space": space}}
        return lambda home: tune(tuned, tiny_data(), home / "study", trials=count, device="cpu", progress=False)

    def read(home):
        with (home / "study" / "trials.csv").open() as file:
            table = [row["failure"] for row in csv.DictReader(file)]
        return len(table), set(table)

    pytest.importorskip("optuna")
    monkeypatch.setattr(Run, "train", refuse)
    # The journal has its own locks, whose renames are optuna's matter.
    check(trials(2), read, trials(1), tmp_path, fault, only=("replace",), fewest=0)


# --- evaluations


@pytest.fixture(scope="module")
def evaluation():
    return tiny_run().evaluate(pools=["test"], modes=["blind"], fusions=["gm-exp"], baselines=False, audit=False)


def test_an_evaluation_that_is_saved_again(evaluation, fault, tmp_path):
    def saved(name):
        changed = dataclasses.replace(evaluation, settings={"name": name}, notes=(name,))
        changed = dataclasses.replace(changed, rows=[dataclasses.replace(row, system=name) for row in changed.rows])
        return lambda home: changed.save(home / "out", force=True)

    def read(home):
        return [(home / "out" / name).read_text() for name in ("evaluation.json", "evaluation.csv")]

    check(saved("new"), read, saved("old"), tmp_path, fault)


def test_all_files_of_an_evaluation_are_of_one(evaluation, fault, tmp_path, monkeypatch):
    def act(home, seed=1):
        settings = {"pools": ["test"], "modes": ["blind"], "fusions": ["gm-exp"], "baselines": False, "audit": False}
        tiny_run().evaluate(**settings, seed=seed, out=home / "out", force=True)

    def read(home):
        return [(home / "out" / name).read_text() for name in ("evaluation.json", "evaluation.csv", "report.html")]

    def write(*given, **_):
        replace_file(next(one for one in given if isinstance(one, Path)), repr(given[-2].settings))

    monkeypatch.setattr(report, "write_report", write)  # drawing takes seconds
    check(act, read, lambda home: act(home, seed=0), tmp_path, fault, only=RENAMES, fewest=6)


def test_weights_of_a_reranker(fault, tmp_path):
    def written(first):
        weights = {"all": {"ir": Weights(first=first, features={"match": 1.0}, queries=3)}}
        return lambda home: WeightsFile(reranker="mine:match", config={}, k=5, weights=weights).write(home / "w.json")

    def prepare(home):
        home.mkdir()
        written(1.0)(home)

    check(written(2.0), lambda home: WeightsFile.read(home / "w.json"), prepare, tmp_path, fault)


# --- simulations and templates

DECLARED = {"x": Array(unit="1", axis="n")}


def results(*smiles):
    return [Outcome(id=text, smiles=text, arrays={"x": np.arange(len(text))}) for text in smiles]


def test_files_of_a_simulation(fault, tmp_path):
    def read(home):
        return [entry.smiles for entry in read_entries(home / "a.npz", DECLARED)], read_contents(home / "a.npz")

    def prepare(home):
        home.mkdir()
        write_entries(home / "a.npz", DECLARED, results("C", "CC"), prepared_by="old")

    def act(home):
        write_entries(home / "a.npz", DECLARED, results("CO"), prepared_by="new")

    check(act, read, prepare, tmp_path, fault)


def test_a_folder_of_results_that_is_added_to(fault, tmp_path):
    record = dataclasses.replace(
        installed().find("simulator", "gfn2").record, name="mine", config=Settings, results=DECLARED
    )

    def add(*smiles):
        def act(home):
            folder = SimulationFolder(home / "jobs", Plugin("simulator", record, "own", "1"), Settings())
            known = {id for contents in folder.contents("results").values() for id in contents.ids}
            new = [result for result in results(*smiles) if result.id not in known]
            folder.fill("results", new, len(new), {"prepared_by": "a"}, progress=False)

        return act

    def read(home):
        folder = SimulationFolder(home / "jobs", Plugin("simulator", record, "own", "1"), Settings())
        return {id for contents in folder.contents("results").values() for id in contents.ids}

    check(add("CO", "CN"), read, add("C", "CC"), tmp_path, fault)


def test_a_new_plugin_is_there_whole_or_not_at_all(fault, tmp_path):
    def read(home):
        return {
            str(p.relative_to(home)): p.read_text() for p in home.rglob("*") if p.is_file() and ".partial" not in str(p)
        }

    def act(home):
        if not (home / "mine").exists():
            new_plugin("loss", "my_loss", folder=home / "mine")

    check(act, read, lambda home: home.mkdir(), tmp_path, fault, only=RENAMES, fewest=8)
