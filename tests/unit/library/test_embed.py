"""From SMILES to a library in stages: the same library however it was stopped, with failures as rows."""

import csv
import gzip
import signal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tests.unit.library.same import assert_same_library

from molchord.api import SampleError
from molchord.chem import molecule
from molchord.cli.main import main
from molchord.data.reading import items_of
from molchord.errors import DataError, MolchordError, OutputExistsError, RunError
from molchord.library import build as engines
from molchord.library import work_folder as folder
from molchord.library.build import embed_items
from molchord.library.files import LibraryManifest, read_library_manifest
from molchord.library.library import Entry, Library
from molchord.library.stages import Prepare, blocks_of, chunks
from molchord.library.work_folder import WorkFolder
from molchord.library.writer import SeenKeys
from molchord.testing import tiny_run

SMILES = [f"{'C' * n}{end}" for n in range(1, 8) for end in ("O", "N", "C#N", "F")]
"""28 different molecules."""

GIVEN = [*SMILES[:10], "C(C", *SMILES[:3], *SMILES[10:], "OC", "[2H]C", "NCC"]
"""With two that are refused, and five that are there already, three of them in another block."""


@pytest.fixture(scope="module")
def run():
    return tiny_run()


def manifest_of(run, **more):
    return LibraryManifest(run=run.id, candidate=run.candidate, embedding_dim=run.graph.embedding_dim, **more)


def embed(run, items, target, block=8, manifest=None, **more):
    embed_items(run.embedder, items, target, manifest or manifest_of(run), block=block, **({"workers": 1} | more))
    return Library(target)


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    """The library of a call that nothing stopped."""
    return embed(run, GIVEN, tmp_path_factory.mktemp("whole") / "library")


# --- what a library holds


def test_every_molecule_is_in_the_library_once_with_its_own_vector(run, whole):
    expected = {molecule(text).key14: run.embed("structure", text)[0] for text in SMILES}
    rows = [row for part in whole.filter() for row in part]
    found = whole.molecules(rows)
    assert len(found) == len(expected) == len(whole) == 28
    assert {m.key14 for m in found} == set(expected)
    np.testing.assert_allclose(whole.vectors(rows), [expected[m.key14] for m in found], atol=1e-5)
    assert (whole.manifest.duplicates, whole.manifest.unusable) == (5, 0)
    assert sum(shard.rows for shard in whole.manifest.shards) == 28
    for shard in whole.manifest.shards:
        masses = pq.read_table(whole.path / f"{shard.name}.parquet")["exact_mass"].to_pylist()
        assert masses == sorted(masses)
        assert (shard.rows, shard.lightest, shard.heaviest) == (len(masses), masses[0], masses[-1])


def test_failures_are_rows_in_the_order_of_the_input(whole):
    with (whole.path / "failures.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["molecule"] for row in rows] == ["C(C", "[2H]C"]
    assert "isotope" in rows[1]["reason"]


def test_the_first_of_two_molecules_stays_in_its_shard(run, tmp_path):
    library = embed(run, ["CCO", "CN", "OCC", "CF", "CO", "NC"], tmp_path / "a", block=2)
    rows = [pq.read_table(library.path / f"{s.name}.parquet")["smiles"].to_pylist() for s in library.manifest.shards]
    assert rows == [["CN", "CCO"], ["CF"], ["CO"]]
    assert library.manifest.duplicates == 2
    assert [hit.smiles for hit in library.search({"ir": library.vectors([2])[0]}, k=1)] == ["CF"]


def test_a_block_of_nothing_new_leaves_no_shard_and_later_shards_other_names(run, tmp_path):
    library = embed(run, ["C", "CC", "C", "CC", "CCC"], tmp_path / "a", block=2)
    assert [s.name for s in library.manifest.shards] == ["shard-00000", "shard-00002"]
    vector = np.zeros(run.graph.embedding_dim, dtype=np.float32)
    vector[0] = 1.0
    assert library.append([Entry(molecule("CCCC"), vector)]) == 1
    assert library.manifest.shards[-1].name == "shard-00003"
    assert len(Library(library.path)) == 4


@pytest.mark.parametrize("storage", ["bf16", "int8"])
def test_shards_of_fewer_bits_lose_duplicates_alike(run, tmp_path, storage):
    manifest = manifest_of(run, storage=storage)
    library = embed(run, ["CCO", "CN", "OCC", "CF", "CO"], tmp_path / "a", block=3, manifest=manifest)
    other = embed(run, ["CCO", "CN", "CF", "CO"], tmp_path / "b", block=9, manifest=manifest)
    query = {"ir": torch.from_numpy(run.embed("structure", "CO")[0])}
    found, same = ([(hit.smiles, hit.score) for hit in x.search(query, k=4)] for x in (library, other))
    assert [smiles for smiles, _ in found] == [smiles for smiles, _ in same]
    assert [score for _, score in found] == pytest.approx([score for _, score in same], abs=1e-5)


def test_keys_that_were_seen():
    rng = np.random.default_rng(3)
    seen, known = SeenKeys(), set()
    for size in (5, 1, 0, 40, 3, 3, 3):
        keys = np.array([bytes(rng.integers(65, 68, 14, dtype=np.uint8)) for _ in range(size)], dtype="S14")
        assert seen.held(keys).tolist() == [key in known for key in keys]
        seen.add(keys)
        known |= set(keys)
    assert seen.held(np.array(sorted(known), dtype="S14")).all()
    assert seen.held(np.array([b"A", b"ZZ"], dtype="S14")).tolist() == [False, False]


# --- files


def test_all_files_of_one_list_make_one_library(run, tmp_path):
    lines = [*SMILES[:5], "C(C"]
    (tmp_path / "a.smi").write_text("".join(f"{text} name\n" for text in lines))
    (tmp_path / "a.smi.gz").write_bytes(gzip.compress((tmp_path / "a.smi").read_bytes()))
    (tmp_path / "a.csv").write_text("Name,Smiles\n" + "".join(f"name,{text}\n" for text in lines))
    pq.write_table(pa.table({"title": ["name"] * 6, "SMILES": lines}), tmp_path / "a.parquet", row_group_size=4)
    made = []
    for name in ("a.smi", "a.smi.gz", "a.csv", "a.parquet"):
        made.append(run.library(tmp_path / name, tmp_path / f"of {name}", workers=1).path)
    for other in made[1:]:
        assert_same_library(other, made[0])
    assert not list(tmp_path.glob("*.parts"))


def test_a_parquet_table_without_its_column_or_with_empty_cells(run, tmp_path):
    pq.write_table(pa.table({"molecule": ["C"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a.parquet' needs one column `smiles`; its columns are \['molecule'\]"):
        run.library(tmp_path / "a.parquet", tmp_path / "out")
    pq.write_table(pa.table({"smiles": ["C", None]}), tmp_path / "a.parquet")
    first, second = items_of(tmp_path / "a.parquet")
    assert (first.notation, str(second)) == ("C", "a.parquet:2: the row has no SMILES")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(DataError, match="cannot be read as SMILES"):
        run.library(tmp_path / "a.parquet", tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["a.parquet"]


def test_the_input_is_read_as_it_is_needed(run, tmp_path, monkeypatch):
    taken, ahead = [], []
    original = WorkFolder.write

    def noted(self, block, entries):
        original(self, block, entries)
        ahead.append(len(taken) - 2 * (block.number + 1))

    monkeypatch.setattr(WorkFolder, "write", noted)
    embed(run, (taken.append(text) or text for text in SMILES), tmp_path / "a", block=2)
    assert len(ahead) == 14
    assert max(ahead) <= 2


# --- stopped and started again


@pytest.mark.slow
def test_a_killed_process_loses_one_shard_at_most(run, whole, tmp_path):
    script = tmp_path / "embed.py"
    script.write_text(
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from molchord.library import work_folder\n"
        "from molchord.library.build import embed_items\n"
        "from molchord.library.files import LibraryManifest\n"
        "from molchord.run import Run\n"
        "def killed(path, text, old=work_folder.replace_file):\n"
        "    if path.name == 'shard-00002.json':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    old(path, text)\n"
        "work_folder.replace_file = killed\n"
        "run = Run.load(sys.argv[1], device='cpu')\n"
        "manifest = LibraryManifest(run=run.id, candidate=run.candidate, embedding_dim=run.graph.embedding_dim)\n"
        f"embed_items(run.embedder, {GIVEN!r}, Path(sys.argv[2]), manifest, block=8, workers=1)\n"
    )
    done = subprocess.run([sys.executable, script, run.path, tmp_path / "library"], check=False)
    assert done.returncode == -signal.SIGKILL
    parts = tmp_path / "library.parts"
    assert sorted(file.stem for file in (parts / "done").iterdir()) == ["shard-00000", "shard-00001"]
    assert not (tmp_path / "library").exists()
    kept = {file: file.stat().st_mtime_ns for file in (parts / "shards").glob("shard-0000[01].*")}
    assert len(kept) == 4
    library = embed(run, GIVEN, tmp_path / "library")
    assert_same_library(library.path, whole.path)
    # The first shard has no duplicate to lose, so it is the file that was there.
    first = library.path / "shard-00000.safetensors"
    assert first.stat().st_mtime_ns == kept[parts / "shards" / first.name]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["embed.py", "library"]


@pytest.mark.parametrize(("stop", "kept"), [(0, 0), (1, 0), (3, 2)])  # a block is written once the next one begins
def test_finished_shards_are_not_made_again(run, whole, tmp_path, monkeypatch, stop, kept):
    asked, original = [], Prepare.__call__

    def noting(self, given):
        if len(asked) == stop:
            raise KeyboardInterrupt
        asked.append(given[0])
        return original(self, given)

    monkeypatch.setattr(Prepare, "__call__", noting)
    with pytest.raises(KeyboardInterrupt):
        embed(run, GIVEN, tmp_path / "library")
    assert (tmp_path / "library.parts").exists() == (kept > 0)
    asked, stop = [], None
    library = embed(run, GIVEN, tmp_path / "library")
    assert asked == list(range(kept, 5))
    assert_same_library(library.path, whole.path)


def test_a_stop_while_duplicates_are_dropped(run, whole, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(folder, "thin_shard", killed)
        with pytest.raises(KeyboardInterrupt):
            embed(run, GIVEN, tmp_path / "library")
    assert_same_library(embed(run, GIVEN, tmp_path / "library").path, whole.path)


def stopped(run, items, target, monkeypatch, **more):
    """Embed the first two blocks only."""
    original = WorkFolder.write

    def stopping(self, block, entries):
        if block.number == 2:
            raise KeyboardInterrupt
        original(self, block, entries)

    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "write", stopping)
        with pytest.raises(KeyboardInterrupt):
            embed(run, items, target, **more)


def test_other_molecules_are_refused(run, tmp_path, monkeypatch):
    stopped(run, GIVEN, tmp_path / "a", monkeypatch)
    with pytest.raises(DataError, match="molecules have changed .* those from number 9 to 16 are not what .*a.parts'"):
        embed(run, [*GIVEN[:10], "CCCCCCCCC", *GIVEN[11:]], tmp_path / "a")
    with pytest.raises(DataError, match="molecules are fewer than when .*a.parts' has more shards"):
        embed(run, GIVEN[:8], tmp_path / "a")
    assert not (tmp_path / "a").exists()
    assert len(embed(run, [*GIVEN[:16], "CCCCCCCCC"], tmp_path / "a")) == 13  # what follows may be other


def test_shards_of_another_library_are_refused_with_both_named(run, tmp_path, monkeypatch):
    stopped(run, GIVEN, tmp_path / "a", monkeypatch)
    other = manifest_of(run).model_copy(update={"run": "another"})
    with pytest.raises(DataError, match=f"unfinished library of run '{run.id}', but this is run 'another'"):
        embed(run, GIVEN, tmp_path / "a", manifest=other)
    with pytest.raises(DataError, match="of storage 'fp32', but this is storage 'int8'"):
        embed(run, GIVEN, tmp_path / "a", manifest=manifest_of(run, storage="int8"))
    with pytest.raises(DataError, match="of block 8, but this is block 4"):
        embed(run, GIVEN, tmp_path / "a", block=4)
    assert len(embed(run, GIVEN, tmp_path / "a", manifest=other, force=True)) == 28
    assert read_library_manifest(tmp_path / "a").run == "another"
    with pytest.raises(OutputExistsError):
        embed(run, GIVEN, tmp_path / "a")
    (tmp_path / "b.parts").mkdir()
    (tmp_path / "b.parts" / "thesis.tex").write_text("x")
    for force in (False, True):
        with pytest.raises(DataError, match="b.parts' is needed for shards, but is not one that"):
            embed(run, GIVEN, tmp_path / "b", force=force)
    assert (tmp_path / "b.parts" / "thesis.tex").exists()


# --- one bad molecule is not the end


def test_a_plugin_that_fails_on_a_molecule_is_a_row(run, tmp_path, monkeypatch):
    plugin = type(run.modalities["structure"])
    original = plugin.derive

    def failing(self, given):
        if given.smiles == SMILES[4]:
            raise ZeroDivisionError("no bond")
        return original(self, given)

    monkeypatch.setattr(plugin, "derive", failing)
    library = embed(run, SMILES, tmp_path / "a")
    rows = (library.path / "failures.csv").read_text().splitlines()
    assert rows == ["molecule,reason", f"{SMILES[4]},its plugin failed: ZeroDivisionError: no bond"]
    assert len(library) == 27


@pytest.mark.parametrize("kind", ["raises", "nan"])
def test_a_model_that_fails_on_a_molecule_is_a_row(run, tmp_path, monkeypatch, kind):
    largest = 25  # atoms of heptylamine, with its hydrogens
    original = type(run.embedder).embed_samples

    def failing(self, modality, samples, scalar_features):
        large = torch.tensor([len(sample.elements) == largest for sample in samples])
        if kind == "raises" and large.any():
            raise ValueError("too  large")
        return original(self, modality, samples, scalar_features).masked_fill(large[:, None], torch.nan)

    monkeypatch.setattr(type(run.embedder), "embed_samples", failing)
    library = embed(run, SMILES, tmp_path / "a")
    reason = "it cannot be embedded: ValueError: too large" if kind == "raises" else "its vector is not finite"
    assert (library.path / "failures.csv").read_text().splitlines() == ["molecule,reason", f"CCCCCCCN,{reason}"]
    assert len(library) == 27


def test_a_molecule_that_kills_its_process_is_found_by_halves(run, tmp_path, monkeypatch):
    calls = []

    def dying(job, given):
        calls.append(len(given[1]))
        return None if "CCN" in given[1] else job(given)

    monkeypatch.setattr(engines, "alone", dying)
    monkeypatch.setattr(engines, "surviving", lambda job, items, workers, lost: map(lost, items))  # every chunk died
    library = embed(run, ["C", "CC", "CCN", SampleError("a:1", "x"), "CO"], tmp_path / "library")
    assert {found.smiles for found in library.molecules(range(len(library)))} == {"C", "CC", "CO"}
    failures = (library.path / "failures.csv").read_text().splitlines()
    assert failures == ["molecule,reason", "CCN,its process died", "a:1,x"]
    assert calls == [2, 3, 1, 2]


def test_a_block_that_memory_is_too_small_for_is_halved(run, monkeypatch):
    whole = run.embed("structure", SMILES)
    original, sizes = run.model.embed, []

    def small(modality, batch, scalar_features):
        sizes.append(batch.size)
        if batch.size > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(modality, batch, scalar_features)

    monkeypatch.setattr(run.model, "embed", small)
    np.testing.assert_allclose(run.embed("structure", SMILES), whole, atol=1e-6)
    assert sizes == [28, 14, 7, 3, 4, 7, 3, 4, 14, 7, 3, 4, 7, 3, 4]
    monkeypatch.setattr(run.model, "embed", lambda *_: torch.empty(2**50))
    with pytest.raises(RunError, match="no memory on 'cpu' to embed one measurement of 'structure'"):
        run.embed("structure", SMILES[:3])


def test_other_errors_of_a_model_are_not_taken_for_memory(run, monkeypatch):
    def broken(*_):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(run.model, "embed", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        run.embed("structure", SMILES[:3])


# --- engines


def test_engines_that_cannot_be_used_are_a_sentence(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "a.smi").write_text("C\n")
    command = ["embed", str(run.path), str(tmp_path / "a.smi"), "--out", str(tmp_path / "a")]
    assert main([*command, "--engine", "ray"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "run pip install 'molchord[ray]', or use engine 'local'" in said
    assert main([*command, "--address", "head:6379"]) == 2
    assert "pass `--engine ray` with it" in capsys.readouterr().err
    with pytest.raises(MolchordError, match="engine 'rey' is unknown; did you mean 'ray'"):
        run.library(["C"], engine="rey")
    assert [file.name for file in tmp_path.iterdir()] == ["a.smi"]


def test_blocks_hold_what_items_say():
    blocks = list(blocks_of(["C", molecule("CO"), SampleError("a\u2028b", "c\nd")], 2))
    assert [(block.number, len(block)) for block in blocks] == [(0, 2), (1, 1)]
    again = next(iter(blocks_of(["C", molecule("CO")], 2)))
    assert again.digest == blocks[0].digest != blocks[1].digest
    [[error]] = chunks(blocks[1])
    assert (error.id, error.reason) == ("a\u2028b", "c\nd")
    assert list(blocks_of([], 2)) == []
