"""A library with short rows, held, compacted or indexed gives the hits that an exact search gives, or says otherwise."""

import dataclasses
import json
import os
import shutil
import time

import numpy as np
import pytest
import torch
from tests.unit.library.candidates import DIM, key_of, unit

from molchord.api import Config, IndexRecord, Molecule, Proposals
from molchord.cli.main import main
from molchord.errors import MolchordError, OutputExistsError, PluginError, QueryError
from molchord.host import Plugin, installed
from molchord.host import discovery as host
from molchord.library import library as library_module
from molchord.library.library import Entry, Library
from molchord.testing import check_index, tiny_run
from molchord.vocabulary import FUSIONS

TAU = {"ir": 0.1, "raman": 0.3}
LIMITS = ({}, {"mass": 103.0, "da": 1.0}, {"formula": "C3H8"}, {"mass": 103.0, "ppm": 9000.0, "formula": "CH4O"})


def entry_of(number):
    molecule = Molecule(
        key14=key_of(number * 7919),
        smiles="C" * (number % 50 + 1),
        formula=("C2H6O", "C3H8", "CH4O")[number % 3],
        exact_mass=100 + (number * 37 % 60) / 10,
    )
    # Some candidates have one and the same vector.
    return Entry(molecule, unit(number % 500), {"ir": unit(number + 10**6)} if number % 4 else {})


def make(path, numbers=range(800), **more):
    settings = {"run": "run-1", "candidate": "structure", "embedding_dim": DIM, "spectra": ("ir",), "shard_rows": 300}
    return Library.create(path, map(entry_of, numbers), **(settings | more))


def query_of(*names, seed=3):
    return {name: torch.from_numpy(unit(seed + 7000 * i)) for i, name in enumerate(names)}


def hits(library, names=("ir", "raman"), **more):
    found = library.search(query_of(*names), tau=TAU, **{"k": 20, **more})
    return [(hit.key14, round(hit.score, 9)) for hit in found]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return make(tmp_path_factory.mktemp("plain") / "lib")


# --- storage, memory, compaction


@pytest.mark.parametrize("storage", ["bf16", "int8"])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_short_rows_give_the_hits_of_fp32(plain, tmp_path, storage, fusion):
    short = make(tmp_path / "lib", storage=storage)
    assert short.manifest.storage == storage
    assert all(block.short is not None for block in short.blocks(short.filter()))
    for names in (("ir",), ("raman",), ("ir", "raman")):
        for limits in LIMITS:
            assert hits(short, names, fusion=fusion, **limits) == hits(plain, names, fusion=fusion, **limits)


@pytest.mark.parametrize("storage", ["fp32", "int8"])
def test_a_held_library_finds_the_same_without_its_files(tmp_path, storage):
    library = make(tmp_path / "lib", storage=storage)
    library.remove([key_of(3 * 7919), key_of(700 * 7919)])
    before = [library.find({"ir": torch.from_numpy(unit(3))[None]}, k=9, **limits).rows for limits in LIMITS]
    library.hold("cpu")
    for file in (tmp_path / "lib").glob("*.safetensors"):
        file.write_bytes(b"")
    found = [library.find({"ir": torch.from_numpy(unit(3))[None]}, k=9).rows]
    assert torch.equal(found[0], before[0])


def test_an_old_library_without_storage_opens(plain, tmp_path):
    shutil.copytree(plain.path, tmp_path / "lib")
    file = tmp_path / "lib" / "manifest.json"
    later = ("storage", "checksum")
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k not in later}))
    assert hits(Library(tmp_path / "lib")) == hits(plain)


def test_ten_million_rows_open_at_once(plain, tmp_path):
    """Opening reads the manifest and looks at the sizes of files: every shard here is a link to one of its size."""
    manifest = json.loads((plain.path / "manifest.json").read_text())
    del manifest["checksum"]
    one = manifest["shards"][0]
    for i in range(153):
        for ending in ("safetensors", "parquet"):
            os.link(plain.path / f"{one['name']}.{ending}", tmp_path / f"shard-{i:05d}.{ending}")
    manifest["shards"] = [one | {"name": f"shard-{i:05d}", "rows": 65536} for i in range(153)]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    began = time.process_time()
    library = Library(tmp_path)
    assert time.process_time() - began < 1.0
    assert len(library) == 153 * 65536 > 10**7
    assert sum(len(part) for part in library.filter()) == len(library)


def test_compaction_merges_what_is_left(plain, tmp_path):
    library = make(tmp_path / "lib", range(500))
    library.append(map(entry_of, range(500, 900)))
    gone = [key_of(number * 7919) for number in range(800, 900)]
    assert library.remove(gone) == 100
    (tmp_path / "lib" / "failures.csv").write_text("molecule,reason\n")
    before = hits(library, mode="library")
    assert library.compact(storage="int8", shard_rows=350) == 100
    assert [shard.rows for shard in library.manifest.shards] == [350, 350, 100]
    ends = [(shard.lightest, shard.heaviest) for shard in library.manifest.shards]
    assert ends == sorted(ends)
    assert (len(library), library.manifest.storage) == (800, "int8")
    assert (tmp_path / "lib" / "failures.csv").is_file()
    for opened in (library, Library(tmp_path / "lib")):
        assert hits(opened) == hits(plain)
        assert hits(opened, mode="library") == before
        assert opened.remove(gone) == 0
    library.remove([key_of(number * 7919) for number in range(800)])
    with pytest.raises(QueryError, match="would be empty"):
        library.compact()
    assert len(Library(tmp_path / "lib").manifest.shards) == 3


# --- many queries


@pytest.mark.parametrize("fusion", FUSIONS)
def test_many_queries_find_what_each_finds(plain, fusion, monkeypatch):
    monkeypatch.setattr(library_module, "QUERIES_AT_ONCE", (7, 7))
    monkeypatch.setattr(library_module, "VALUES_AT_ONCE", (7 * 250, 7 * 250))
    queries = {name: torch.from_numpy(np.stack([unit(s + i) for s in range(16)])) for i, name in enumerate(TAU)}
    present = {"raman": torch.arange(16) % 3 > 0}
    queries["raman"][::3] = torch.nan
    for limits in LIMITS:
        found = plain.find(queries, k=5, fusion=fusion, tau=TAU, present=present, **limits)
        assert found.proven.all()
        for row in range(16):
            query = {name: q[row] for name, q in queries.items() if name == "ir" or row % 3}
            alone = [hit.key14 for hit in plain.search(query, k=5, fusion=fusion, tau=TAU, **limits)]
            assert [molecule.key14 for molecule in plain.molecules(found.rows[row].tolist())] == alone


def test_totals_of_many_queries_hang_on_their_number_of_spectra(plain):
    queries = {name: torch.from_numpy(np.stack([unit(s + i) for s in range(4)])) for i, name in enumerate(TAU)}
    present = {"raman": torch.tensor([True, False, True, False])}
    found = plain.find(queries, tau=TAU, present=present, calibration={2: 0.5})
    assert found.totals.isfinite().tolist() == [True, False, True, False]
    hit = plain.search({n: q[0] for n, q in queries.items()}, k=800, tau=TAU, calibration={2: 0.5})
    assert sum(h.probability for h in hit) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ({"ir": torch.zeros(2, 5)}, r"vector of 'ir' has shape \(5,\), but library .* holds \(12,\)"),
        ({"ir": torch.full((1, 12), torch.nan)}, "embedding of 'ir' is not finite"),
        ({"ir": torch.ones(2, 12), "raman": torch.ones(3, 12)}, "'raman' has 3 queries"),
        ({"ir": torch.ones(0, 12)}, "'ir' has 0 queries"),
        ({}, "the query has no modality"),
    ],
)
def test_wrong_queries_are_one_sentence(plain, queries, message):
    with pytest.raises(QueryError, match=message):
        plain.find(queries)


# --- indexes of the tests' own, so that what the engine does with them is seen without any library


class EveryOther:
    """Proposes rows 0, 2, 4, ... of what the limits leave, and claims what it is told to."""

    bound: float | None = None
    failure: Exception | None = None
    wrong: tuple[int, ...] = ()

    def __init__(self, config):
        self.config = config

    def write(self, folder, vectors):
        if self.failure is not None:
            raise self.failure
        assert len(vectors) == sum(len(block.rows) for block in vectors) == sum(len(b.formula) for b in vectors)
        np.save(folder / "rows.npy", np.concatenate([block.rows for block in vectors]))

    def open(self, folder):
        self.rows = np.load(folder / "rows.npy")
        return self

    def propose(self, queries, count, limits):
        if self.failure is not None:
            raise self.failure
        rows = self.rows if limits.rows is None else limits.rows
        rows = np.concatenate([rows[::2], rows[:2:2], [-1], np.array(self.wrong, dtype=np.int64)])
        bound = None if self.bound is None else np.full(len(queries), self.bound)
        return Proposals(rows=np.tile(rows, (len(queries), 1)), bound=bound)


class EveryOtherConfig(Config):
    number: int = 1


@pytest.fixture
def every_other(monkeypatch):
    made = type("Made", (EveryOther,), {})
    record = IndexRecord(name="other", summary="every other row", api=1, config=EveryOtherConfig, build=made)
    found = installed()
    mine = dataclasses.replace(found, plugins=(*found.plugins, Plugin("index", record, "mine", "1.0")))
    monkeypatch.setattr(host, "_installed", lambda cwd, extra: mine)
    return made


def test_what_is_proposed_is_scored_exactly_and_not_proven(tmp_path, every_other):
    library = make(tmp_path / "lib")
    library.write_index("other")
    assert library.indexes == ["other"]
    library.remove([key_of(number * 7919) for number in range(100)])
    every_other.wrong = tuple(range(1, 40, 2))  # some of them removed, some outside the mass window
    for opened in (library, Library(tmp_path / "lib")):
        for limits in LIMITS:
            rows = np.concatenate([np.asarray(part) for part in opened.filter(**limits)])
            allowed = {*rows[::2].tolist(), *np.intersect1d(rows, every_other.wrong).tolist()}
            exact = opened.search(query_of("ir", "raman"), k=800, tau=TAU, **limits)
            keep = {m.key14 for m in opened.molecules(sorted(allowed))}
            found = opened.search(query_of("ir", "raman"), k=6, tau=TAU, index="other", calibration={2: 1.0}, **limits)
            assert [h.key14 for h in found] == [h.key14 for h in exact if h.key14 in keep][:6]
            assert not any(hit.proven for hit in found)
            assert all(hit.probability is None for hit in found)
            assert {h.key14: h.cosines for h in found}.items() <= {h.key14: h.cosines for h in exact}.items()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_bound_proves_hits_that_lie_above_it(tmp_path, every_other, fusion):
    library = make(tmp_path / "lib")
    library.write_index("other")
    last = library.search(query_of("ir", "raman"), k=5, fusion=fusion, tau=TAU, index="other")[-1]
    if fusion == "gm-exp":
        reached = sum(c / TAU[n] for n, c in last.cosines.items()) / sum(1 / t for t in TAU.values())
    else:
        # An inner product with the mean of the query's vectors, halved: the value is at most it plus 1 / 2, or it.
        reached = last.score - 0.5 if fusion == "gm-half" else last.score
    for bound, proven in ((reached - 1e-4, True), (reached + 1e-4, False), (-np.inf, True), (np.nan, False)):
        every_other.bound = bound
        found = library.search(query_of("ir", "raman"), k=5, fusion=fusion, tau=TAU, index="other")
        assert [hit.proven for hit in found] == [proven] * 5


def test_exact_is_the_search_without_an_index(plain):
    assert hits(plain, index="exact") == hits(plain)
    assert hits(plain, index="exact", mode="library") == hits(plain, mode="library")


def test_an_index_is_of_one_library_run_and_version(tmp_path, every_other):
    library = make(tmp_path / "lib")
    folder = library.write_index("other", {"number": 3})
    assert json.loads((folder / "index.json").read_text())["config"] == {"number": 3}
    with pytest.raises(OutputExistsError, match="other"):
        library.write_index("other")
    library.write_index("other", force=True)

    def told(opened):
        with pytest.raises(QueryError) as error:
            opened.search(query_of("ir"), index="other")
        assert "make it again with `molchord library index" in str(error.value)
        return str(error.value)

    file = folder / "index.json"
    good = {key: value for key, value in json.loads(file.read_text()).items() if key != "checksum"}
    for change, words in (
        ({"run": "run-2"}, "is of run 'run-2', but the search is of 'run-1'"),
        ({"embedding_dim": 5}, "is of dimension 5, but the search is of 12"),
        ({"version": 9}, "is of version 9, but the search is of 1"),
        ({"kind": "?"}, "cannot be read"),
        ({"config": {"numbr": 1}}, "numbr"),
    ):
        file.write_text(json.dumps(good | change))
        assert words in told(Library(tmp_path / "lib"))
    file.write_text(json.dumps(good))
    library.append([entry_of(5000)])
    words = "is of candidates '800 rows in 3 shards', but the search is of '801 rows in 4 shards'"
    assert words in told(library)
    library.compact()
    assert library.indexes == []


def test_an_index_that_is_not_there_is_one_sentence(plain, tmp_path, every_other):
    with pytest.raises(QueryError, match="has no index 'other'; make it with `molchord library index .* other`"):
        plain.search(query_of("ir"), index="other")
    with pytest.raises(QueryError, match="serves mode 'blind' only, got 'library'"):
        plain.search(query_of("ir"), index="other", mode="library")
    library = make(tmp_path / "lib")
    with pytest.raises(PluginError, match="unknown index 'othr'; did you mean 'other'"):
        library.write_index("othr")
    with pytest.raises(PluginError, match="`number`"):
        library.write_index("other", {"number": "many"})
    library.write_index("other")
    with pytest.raises(QueryError, match="has no index 'othr' .did you mean 'other'"):
        library.search(query_of("ir"), index="othr")
    every_other.failure = ConnectionError("no server answers at 'http://x'; start one")
    with pytest.raises(QueryError, match="index 'other' cannot be reached: no server answers at 'http://x'; start one"):
        library.search(query_of("ir"), index="other")
    every_other.failure = ImportError("No module named 'trees'", name="trees")
    with pytest.raises(PluginError, match="No module named 'trees'.; run pip install 'trees'"):
        library.write_index("other", force=True)
    assert library.indexes == ["other"]  # the old one is still there, and nothing else
    assert len([*(tmp_path / "lib" / "indexes").iterdir()]) == 1


# --- the kit; its other wrong indexes are with those of all plugin types


class Repeats(EveryOther):
    def propose(self, queries, count, limits):
        return Proposals(rows=np.full((len(queries), 2), self.rows[0]))


def test_kit_finds_an_index_that_proposes_one_row_again():
    record = IndexRecord(name="other", summary="o", api=1, config=EveryOtherConfig, build=Repeats)
    assert "likeliest_are_proposed" in {result.check for result in check_index(record).results if result.failure}


# --- faiss and Milvus, where they are installed


def test_hook_indexes():
    from molchord_indexes import molchord_indexes

    assert [record.name for record in molchord_indexes()] == ["faiss", "milvus"]
    assert [record.install for record in molchord_indexes()] == ["molchord[faiss]", "molchord[milvus]"]


def test_without_faiss_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    library = make(tmp_path / "lib", range(5))
    with pytest.raises(PluginError, match=r"index 'faiss' cannot be used .*; run pip install 'molchord\[faiss\]'"):
        library.write_index("faiss")
    assert library.indexes == []


@pytest.mark.parametrize("fusion", FUSIONS)
def test_faiss_flat_proves_its_hits(tmp_path, fusion):
    pytest.importorskip("faiss")
    library = make(tmp_path / "lib")
    library.write_index("faiss")
    for names in (("ir",), ("ir", "raman")):
        for limits in LIMITS:
            found = library.search(query_of(*names), k=5, fusion=fusion, tau=TAU, index="faiss", **limits)
            exact = library.search(query_of(*names), k=5, fusion=fusion, tau=TAU, **limits)
            assert [hit.key14 for hit in found] == [hit.key14 for hit in exact]
            assert found[0].proven


@pytest.mark.parametrize(
    "config",
    [
        {"factory": "HNSW16", "parameters": "efSearch=800"},
        {"factory": "IVF4,Flat", "parameters": "nprobe=4"},
    ],
)
def test_faiss_of_other_kinds_is_never_proven(tmp_path, config):
    pytest.importorskip("faiss")
    library = make(tmp_path / "lib")
    library.write_index("faiss", config)
    for limits in LIMITS:
        found = library.search(query_of("ir"), k=5, tau=TAU, index="faiss", **limits)
        exact = library.search(query_of("ir"), k=800, tau=TAU, **limits)
        assert {hit.key14 for hit in found} <= {hit.key14 for hit in exact}
        assert not found[0].proven
    assert [hit.key14 for hit in found] == [hit.key14 for hit in exact][:5]


def test_faiss_that_cannot_be_filtered_is_refused(plain):
    with pytest.raises(PluginError, match="'PQ8' cannot be filtered"):
        plain.write_index("faiss", {"factory": "PQ8"})


def milvus():
    pytest.importorskip("pymilvus")
    pytest.importorskip("milvus_lite")


def test_milvus_file_and_server_by_the_same_code(tmp_path):
    milvus()
    from milvus_lite.adapter.grpc.server import start_server_in_thread

    library = make(tmp_path / "lib", range(300))
    gone = library.search(query_of("ir"), k=2, tau=TAU)
    server, database, port = start_server_in_thread(data_dir=str(tmp_path / "server.db"), host="127.0.0.1", port=0)
    try:
        for config in ({}, {"uri": f"http://127.0.0.1:{port}", "index": "FLAT"}):
            library.write_index("milvus", config, force=True)
            library.remove([hit.key14 for hit in gone])
            for limits in LIMITS:
                found = library.search(query_of("ir"), k=5, tau=TAU, index="milvus", **limits)
                exact = library.search(query_of("ir"), k=5, tau=TAU, **limits)
                assert [hit.key14 for hit in found] == [hit.key14 for hit in exact]
                assert not any(hit.proven for hit in found)
    finally:
        server.stop(grace=None)
        database.close()
    with pytest.raises(QueryError, match=rf"'http://127.0.0.1:{port}'.*(start one|see to the server)"):
        Library(tmp_path / "lib").search(query_of("ir"), index="milvus")


# --- the command line


@pytest.mark.filterwarnings("ignore:the (measurement|query) of .* is doubtful")
def test_commands(tmp_path, capsys, every_other):
    run = tiny_run()
    candidates = tmp_path / "c.csv"
    candidates.write_text("smiles\nCCO\nCC#N\nCSC\nCCC\nCCN\n")
    folder, spectrum = str(tmp_path / "lib"), tmp_path / "q.csv"
    spectrum.write_text("\n".join(f"{500 + 2 * i},{(i % 97) / 97:.3f}" for i in range(1700)) + "\n")

    def said(*words):
        assert main([str(word) for word in words]) == 0
        return capsys.readouterr().out

    assert "5 candidates" in said("embed", run.path, candidates, "--out", folder, "--storage", "bf16")
    info = json.loads(said("library", "info", folder, "--json"))
    assert (info["candidates"], info["storage"], info["indexes"], info["removed"]) == (5, "bf16", [], 0)
    assert "5 candidates" in said("library", "index", folder, "other", "--set", "number=4")
    assert "storage: bf16" in said("library", "info", folder)
    words = ["search", run.path, folder, "--ir", spectrum, "--k", "2"]
    assert "not proven: index 'other' may have missed a better candidate" in said(*words, "--index", "other")
    assert "not proven" not in said(*words)
    assert [hit["proven"] for hit in json.loads(said(*words, "--index", "other", "--json"))] == [False, False]
    Library(folder).remove([Library(folder).molecules([0])[0].key14])
    assert "4 candidates in 1 shards, before 1; 1 removed rows dropped; make its indexes again: other" in said(
        "library", "compact", folder
    )
    assert main(["library", "compact", str(tmp_path / "none")]) == 2
    assert main([*map(str, words), "--index", "other"]) == 2
    assert "has no index 'other'" in capsys.readouterr().err
    with pytest.raises(MolchordError):
        run.search(Library(folder), ir=str(spectrum), index="other")
