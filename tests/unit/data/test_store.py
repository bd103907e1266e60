"""A data set on disk: what is written is read back, and every damage is one sentence."""

import gc
import json
import pickle
import random
import subprocess
import sys
import tracemalloc
from functools import partial

import numpy as np
import pytest

from molchord.api import Array, Category, Measurement, Molecule, Real, SampleError, Stores
from molchord.data import writer as writing
from molchord.data.info import data_info, resplit
from molchord.data.manifest import ArrayStorage
from molchord.data.splits import hash_split
from molchord.data.store import DataSet
from molchord.data.writer import DataSetWriter, new_folder
from molchord.errors import DataError, OutputExistsError
from molchord.vocabulary import SPLITS

NMR = Stores(
    arrays={
        "shift": Array(unit="ppm", axis="peak"),
        "count": Array(unit="1", axis="peak", dtype="int64"),
        "curve": Array(unit="1", axis="point", shape=(2,), dtype="float64"),
        "field": Array(unit="T", shape=(3,)),
    },
    columns={"nucleus": Category(("1H", "13C")), "temperature": Real("K")},
)
UV = Stores(arrays={"y": Array(unit="1", axis="x")})


def nmr(rng, peaks, points, **columns):
    arrays = {
        "shift": rng.normal(size=peaks).astype(np.float32),
        "count": rng.integers(0, 9, size=peaks),
        "field": rng.normal(size=3).astype(np.float32),
    }
    if points is not None:
        arrays["curve"] = rng.normal(size=(points, 2))
    return Measurement(arrays=arrays, columns=columns)


def uv(*values):
    return Measurement(arrays={"y": np.array(values, dtype=np.float32)}, columns={"origin": "computed"})


def alkanes(n):
    return ["C" * (i + 1) for i in range(n)]


def same(a, b):
    assert a.arrays.keys() == b.arrays.keys()
    for name in a.arrays:
        assert a.arrays[name].dtype == b.arrays[name].dtype
        np.testing.assert_array_equal(a.arrays[name], b.arrays[name])
    assert dict(a.columns) == dict(b.columns)


@pytest.fixture
def made(tmp_path):
    """Three molecules: two measurements, one, none; a second table for the last one."""
    rng = np.random.default_rng(0)
    measurements = [
        nmr(rng, 3, 2, nucleus="13C", temperature=300.0),
        nmr(rng, 0, 5, nucleus="1H", origin="computed"),
        nmr(rng, 1, 0, temperature=float("nan")),
    ]
    entries = {"nmr": [measurements[:2], measurements[2], None], "uv": [None, None, uv(1, 2)]}
    data = DataSet.from_measurements(
        ["CCO", "c1ccccc1", "C"],
        entries,
        tmp_path / "d",
        stores={"nmr": NMR, "uv": UV},
        splits=["train", "val", "test"],
    )
    return data, measurements


def test_what_is_written_is_read_back(made):
    data, measurements = made
    table = data.table("nmr", NMR)
    assert (len(data), data.stored, len(table)) == (3, ("nmr", "uv"), 3)
    assert [table.of(row).tolist() for row in range(3)] == [[0, 1], [2], []]
    assert table.molecule.tolist() == [0, 0, 1]
    for index, written in enumerate(measurements):
        read = table.read(index)
        for name, array in written.arrays.items():
            np.testing.assert_array_equal(read.arrays[name], array)
            assert read.arrays[name].dtype == NMR.arrays[name].dtype
    assert table.read(2).arrays["curve"].shape == (0, 2)
    assert table.read(0).columns == {"origin": "measured", "nucleus": "13C", "temperature": 300.0}
    assert table.read(2).columns == {"origin": "measured", "nucleus": None, "temperature": None}
    assert table.location(2) == "entry 1"
    with pytest.raises(IndexError):
        table.read(3)
    with pytest.raises(IndexError):
        table.read(-1)


def test_a_missing_ragged_array_reads_as_length_zero(tmp_path):
    rng = np.random.default_rng(0)
    data = DataSet.from_measurements(["C"], {"nmr": [nmr(rng, 2, None)]}, stores={"nmr": NMR})
    read = data.table("nmr").read(0)
    assert read.arrays["curve"].shape == (0, 2)
    assert read.arrays["curve"].dtype == np.float64


def test_molecules_rows_and_numbers(made):
    data, _ = made
    assert [m.smiles for m in data.molecules()] == ["CCO", "c1ccccc1", "C"] == data.smiles()
    assert data.molecule(1).formula == "C6H6" == data.formulas([1])[0]
    assert data.keys([2, 0, 2]) == [data.molecule(row).key14 for row in (2, 0, 2)]
    assert data.numeric("exact_mass").tolist() == [m.exact_mass for m in data.molecules()]
    assert [data.rows(name).tolist() for name in SPLITS] == [[0], [1], [2]]
    assert data.rows(None).tolist() == data.rows().tolist() == [0, 1, 2]
    assert data.keys([]) == []
    for wrong in (3, -1):
        with pytest.raises(IndexError):
            data.molecule(wrong)
        with pytest.raises(IndexError):
            data.keys([wrong])


def test_rows_across_row_groups_and_record_batches(monkeypatch, tmp_path):
    monkeypatch.setattr("molchord.data.writer.ROW_GROUP", 4)
    monkeypatch.setattr("molchord.data.store.ROW_GROUP", 4)
    monkeypatch.setattr("molchord.data.writer.BATCH", 3)
    monkeypatch.setattr("molchord.data.table.BATCH", 3)
    monkeypatch.setattr("molchord.data.writer.SHARD_BYTES", 64)
    n = 11
    entries = [[uv(*range(i + 1)), uv(-i)] if i % 2 else None for i in range(n)]
    data = DataSet.from_measurements(alkanes(n), {"uv": entries}, tmp_path / "d", stores={"uv": UV})
    order = [10, 0, 7, 3, 4]
    assert data.smiles(order) == [alkanes(n)[i] for i in order]
    assert [m.smiles for m in data.molecules(order)] == data.smiles(order)
    assert data.split.tolist() == [SPLITS.index(hash_split(key)) for key in data.keys(None)]
    table = data.table("uv")
    for row in range(n):
        values = [table.read(int(i)).arrays["y"].tolist() for i in table.of(row)]
        assert values == ([list(range(row + 1)), [-row]] if row % 2 else [])
    assert table.column("origin").tolist() == ["computed"] * 10
    assert table.present().tolist() == [bool(i % 2) for i in range(n)]


def test_shards_are_cut_and_found(monkeypatch, tmp_path):
    folder = tmp_path / "d"
    with new_folder(folder) as temporary:
        writer = DataSetWriter(temporary)
        table = writer.table("uv", UV)
        monkeypatch.setattr(writing, "SHARD_BYTES", 40)
        for i, smiles in enumerate(alkanes(9)):
            table.add(writer.row(smiles), table.encode(uv(*range(i + 1))), 0, "")
        writer.finish("hash", {})
    data = DataSet(folder)
    assert len(data.manifest.tables["uv"].shards) > 2
    assert sum(data.manifest.tables["uv"].shards) == 9
    assert [len(data.table("uv").read(i).arrays["y"]) for i in range(9)] == list(range(1, 10))


def test_columns_and_select(made):
    table = made[0].table("nmr")
    assert table.column("nucleus").tolist() == ["13C", "1H", None]
    assert table.column("origin").tolist() == ["measured", "computed", "measured"]
    np.testing.assert_array_equal(table.column("temperature"), [300.0, np.nan, np.nan])
    assert table.select({}).tolist() == [True, True, True]
    assert table.select({"nucleus": "13C"}).tolist() == [True, False, False]
    assert table.select({"nucleus": ["13C", None]}).tolist() == [True, False, True]
    assert table.select({"origin": "measured", "temperature": None}).tolist() == [False, False, True]
    assert table.select({"temperature": 300}).tolist() == [True, False, False]
    assert table.select({"nucleus": []}).tolist() == [False, False, False]


def test_select_by_an_unknown_column(made):
    """measurements 'nmr' have no column `nucleos`; did you mean 'nucleus'?"""
    with pytest.raises(DataError) as caught:
        made[0].table("nmr").select({"nucleos": "1H"})
    assert str(caught.value) == test_select_by_an_unknown_column.__doc__
    with pytest.raises(DataError, match="no column `_molecule`"):
        made[0].table("nmr").column("_molecule")


@pytest.mark.parametrize(("column", "value", "kind"), [("temperature", "300", "numbers"), ("nucleus", 13, "text")])
def test_select_by_a_value_of_the_wrong_type(made, column, value, kind):
    with pytest.raises(DataError, match=f"column `{column}` of 'nmr' holds {kind}, but {value!r} was asked for"):
        made[0].table("nmr").select({column: [value]})


def test_entries_merge_by_molecule_and_further_smiles_are_counted(tmp_path):
    rng = np.random.default_rng(0)
    keto, enol = "O=c1cccc[nH]1", "Oc1ccccn1"  # one InChIKey block, two canonical SMILES
    entries = [nmr(rng, 1, 0), None, nmr(rng, 2, 0), nmr(rng, 3, 0), None]
    smiles = [keto, "C[C@H](N)C(=O)O", enol, "OC(=O)[C@H](C)N", "C[C@@H](N)C(=O)O"]
    data = DataSet.from_measurements(smiles, {"nmr": entries}, tmp_path / "d", stores={"nmr": NMR})
    assert data.smiles() == ["O=c1cccc[nH]1", "CC(N)C(=O)O"]
    assert [len(data.table("nmr").of(row)) for row in (0, 1)] == [2, 1]
    assert data.manifest.further_smiles == 1


@pytest.mark.parametrize(
    ("storage", "precision"),
    [
        (ArrayStorage(dtype="uint16", scale=0.1, offset=-100.0), 0.05001),
        (ArrayStorage(dtype="int32", scale=1e-4), 8.1e-5),  # with the rounding of float32
        (ArrayStorage(dtype="float16"), 0.126),  # half a unit in the last of 11 bits at 256 ... 512
        (ArrayStorage(dtype="float32"), 0.0),
    ],
)
def test_narrow_storage_is_undone_within_its_precision(tmp_path, storage, precision):
    rng = np.random.default_rng(0)
    values = rng.uniform(-90, 500, size=1000).astype(np.float32)
    with new_folder(tmp_path / "d") as folder:
        writer = DataSetWriter(folder)
        table = writer.table("uv", UV, {"y": storage})
        table.add(writer.row("C"), table.encode(uv(*values)), 0, "")
        writer.finish("hash", {})
    data = DataSet(tmp_path / "d")
    read = data.table("uv", UV).read(0).arrays["y"]
    assert read.dtype == np.float32
    assert np.abs(read - values).max() <= precision
    assert data.manifest.tables["uv"].arrays["y"].storage == storage


@pytest.mark.parametrize(
    ("dtype", "values"), [("uint16", [-1.0]), ("uint16", [70000.0]), ("uint8", [np.nan]), ("float16", [1e6])]
)
def test_a_value_that_does_not_fit_its_storage_is_refused_not_clipped(tmp_path, dtype, values):
    writer = DataSetWriter(tmp_path)
    table = writer.table("uv", UV, {"y": ArrayStorage(dtype=dtype)})
    with pytest.raises(SampleError, match="of array `y` does not fit its storage"):
        table.encode(uv(*values))
    writer.close()


def test_missing_and_infinite_values_survive_float_storage(tmp_path):
    writer = DataSetWriter(tmp_path)
    table = writer.table("uv", UV, {"y": ArrayStorage(dtype="float16")})
    np.testing.assert_array_equal(table.encode(uv(np.nan, np.inf, 1.0)).arrays["y"], [np.nan, np.inf, 1.0])
    writer.close()


@pytest.mark.parametrize(
    ("arrays", "columns", "reason"),
    [
        ({"shfit": np.zeros(1)}, {}, "array `shfit` is not declared; did you mean 'shift'?"),
        ({"shift": np.zeros(2)}, {}, "array `count` has 1 along `peak`, others 2"),
        ({"count": None}, {}, "array `count` is missing beside others along `peak`"),
        ({"field": np.zeros(4)}, {}, r"array `field` has shape \(4,\), declared is \(3,\)"),
        ({"field": None}, {}, r"array `field` of shape \(3,\) is missing"),
        ({"curve": np.zeros((4, 3))}, {}, r"array `curve` has shape \(4, 3\), declared is \('point', 2\)"),
        ({"shift": np.float32(1)}, {}, r"array `shift` has shape \(\)"),
        ({"shift": np.array(["a"])}, {}, "array `shift` holds <U1, not numbers"),
        ({}, {"colour": "red"}, "column `colour` is not declared"),
        ({}, {"temperature": "hot"}, "column `temperature` holds numbers, got 'hot'"),
        ({}, {"temperature": True}, "column `temperature` holds numbers, got True"),
        ({}, {"nucleus": 13}, "column `nucleus` holds text, got 13"),
        ({}, {"origin": "guessed"}, "`origin` is 'guessed'; allowed: 'computed', 'measured'"),
    ],
)
def test_a_measurement_that_does_not_fit_its_declaration(tmp_path, arrays, columns, reason):
    good = {"shift": np.zeros(1), "count": np.zeros(1, int), "field": np.zeros(3)}
    merged = {k: v for k, v in {**good, **arrays}.items() if v is not None}
    writer = DataSetWriter(tmp_path)
    table = writer.table("nmr", NMR)
    table.encode(Measurement(arrays=good))
    with pytest.raises(SampleError, match=reason):
        table.encode(Measurement(arrays=merged, columns=columns))
    writer.close()


def test_an_empty_measurement_is_refused(tmp_path):
    writer = DataSetWriter(tmp_path)
    with pytest.raises(SampleError, match="holds no value"):
        writer.table("uv", UV).encode(uv())
    writer.close()


# --- declarations ----------------------------------------------------------------------------------------------------

OLD = Stores(arrays={"y": Array(unit="percent", axis="x")})


class Migrating:
    def migrate(self, measurement, declared):
        assert declared == UV
        return Measurement(arrays={"y": measurement.arrays["y"] * 100}, columns=measurement.columns)


def test_another_declaration_is_refused_with_both_named(made):
    with pytest.raises(DataError) as caught:
        made[0].table("uv", OLD)
    message = str(caught.value)
    assert "measurements 'uv'" in message
    assert "stored as Array(unit='1'" in message
    assert "declared as Array(unit='percent'" in message
    assert "\n" not in message


def test_another_declaration_is_handed_to_migrate(made):
    table = made[0].table("uv", OLD, Migrating())
    assert table.read(0).arrays["y"].tolist() == [100.0, 200.0]
    assert table.stores == OLD
    assert made[0].table("uv", UV, Migrating()).read(0).arrays["y"].tolist() == [1.0, 2.0]
    assert pickle.loads(pickle.dumps(table)).read(0).arrays["y"].tolist() == [100.0, 200.0]


def test_unknown_measurements(made):
    """has no measurements 'nmrr'; did you mean 'nmr'?"""
    with pytest.raises(DataError, match=r"has no measurements 'nmrr'; did you mean 'nmr'?"):
        made[0].table("nmrr")


def test_unknown_numeric_column_and_split(made):
    with pytest.raises(DataError, match="no numeric column `mass`; allowed: 'exact_mass'"):
        made[0].numeric("mass")
    with pytest.raises(DataError, match=r"split 'tset' is not known; did you mean 'test'?"):
        made[0].rows("tset")


@pytest.mark.parametrize("column", ["origin", "_molecule"])
def test_reserved_column_names(tmp_path, column):
    with pytest.raises(DataError, match=f"declares the column `{column}`, which the data set keeps for itself"):
        DataSet.from_measurements(
            ["C"], {"uv": [uv(1)]}, stores={"uv": Stores(arrays=UV.arrays, columns={column: Real("1")})}
        )


# --- damage ----------------------------------------------------------------------------------------------------------


def edit(path, change):
    content = json.loads(path.read_text())
    content.pop("checksum")  # as an earlier version wrote it
    change(content)
    path.write_text(json.dumps(content))


def test_a_missing_folder_and_a_folder_that_is_no_data_set(tmp_path):
    with pytest.raises(DataError, match="nothing-here' does not exist; make one with `molchord data import`"):
        DataSet(tmp_path / "nothing-here")
    with pytest.raises(DataError, match=r"is not a data set: it holds no `manifest.json`"):
        DataSet(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema_version=2), "has schema version 2, this molchord reads 1; .* update molchord"),
        (lambda m: m.update(format="other"), "is not a data set's manifest"),
        (lambda m: m.pop("molecules"), "`manifest.json` is damaged: molecules: Field required"),
        (lambda m: m.update(extra=1), "`manifest.json` is damaged: extra"),
        (
            lambda m: m["tables"]["uv"]["arrays"]["y"]["storage"].update(dtype="object"),
            "unknown storage dtype 'object'",
        ),
    ],
)
def test_a_wrong_manifest(made, change, message):
    path = made[0].path
    edit(path / "manifest.json", change)
    with pytest.raises(DataError, match=message):
        DataSet(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00\xff"])
def test_a_manifest_that_is_not_json(made, text):
    (made[0].path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match="is not a data set's manifest"):
        DataSet(made[0].path)


def test_missing_and_truncated_files(made):
    path = made[0].path
    shard = path / "nmr" / "arrays-00000.safetensors"
    content = shard.read_bytes()
    shard.write_bytes(content[:-5])
    with pytest.raises(DataError, match=f"file 'nmr/arrays-00000.safetensors' has {len(content) - 5} bytes instead of"):
        DataSet(path)
    shard.unlink()
    with pytest.raises(DataError, match=r"file 'nmr/arrays-00000.safetensors' is missing"):
        DataSet(path)


@pytest.mark.parametrize(
    "name",
    [
        "molecules.parquet",
        "nmr/measurements.arrow",
        "nmr/molecule.npy",
        "nmr/start.npy",
        "nmr/arrays-00000.safetensors",
    ],
)
def test_a_file_overwritten_with_garbage_of_its_size(made, name):
    path = made[0].path / name
    path.write_bytes(b"\x93" * path.stat().st_size)
    with pytest.raises(DataError, match="damaged"):
        DataSet(made[0].path).table("nmr").read(0)


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bytes_give_another_value_or_one_sentence(made, seed):
    """Arrow itself crashes the process on wrong offsets, and numpy parses headers as Python."""
    generator = random.Random(seed)
    path = made[0].path
    file = generator.choice(sorted(p for p in path.rglob("*") if p.stat().st_size and p.is_file()))
    content = bytearray(file.read_bytes())
    for _ in range(generator.choice([1, 4, 50])):
        content[generator.randrange(min(len(content), generator.choice([200, 10**9])))] = generator.randrange(256)
    file.write_bytes(content)
    message = ""
    try:
        data = DataSet(path)
        data_info(data)
        list(data.molecules())
        for table in map(data.table, data.stored):
            for index in range(len(table)):
                table.read(index)
    except DataError as error:
        message = str(error)
    assert "\n" not in message


def test_verify_names_the_file_that_differs(made):
    data, _ = made
    data.verify()
    shard = data.path / "nmr" / "arrays-00000.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DataError, match=r"file 'nmr/arrays-00000.safetensors' differs from its checksum"):
        DataSet(data.path).verify()


# --- life of a data set ----------------------------------------------------------------------------------------------


def test_an_existing_folder_is_not_overwritten(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis.tex").write_text("ten years")
    for force, error in ((False, OutputExistsError), (True, DataError)):
        with pytest.raises(error):
            DataSet.from_measurements(["C"], {}, tmp_path / "d", stores={}, force=force)
    assert [p.name for p in tmp_path.rglob("*")] == ["d", "thesis.tex"]


def test_force_replaces_a_data_set_only_when_the_new_one_is_complete(tmp_path):
    folder = tmp_path / "d"
    DataSet.from_measurements(["C"], {}, folder, stores={})
    with pytest.raises(DataError, match="entry 1"):
        DataSet.from_measurements(["CC", "bad smiles"], {}, folder, stores={}, force=True)
    assert DataSet(folder).smiles() == ["C"]
    DataSet.from_measurements(["CC"], {}, folder, stores={}, force=True)
    assert DataSet(folder).smiles() == ["CC"]
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def test_an_interrupted_writing_leaves_nothing_behind(tmp_path):
    def interrupted():
        with new_folder(tmp_path / "d") as folder:
            (folder / "half").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("smiles", "entries", "splits", "message"),
    [
        ([], {}, None, "needs at least one molecule"),
        (["C", "xx"], {}, None, "entry 1 .'xx'.: RDKit cannot parse the SMILES 'xx'"),
        (["C"], {"uv": []}, None, "measurements 'uv' hold 0 entries for 1 SMILES"),
        (["C"], {"vu": [None]}, None, "measurements 'vu' have no declaration in `stores`; allowed: 'uv'"),
        (
            ["C"],
            {"uv": [Measurement(arrays={"z": np.ones(1)})]},
            None,
            "entry 0 .'C'. of 'uv': array `z` is not declared",
        ),
        (["C"], {}, ["trian"], "split 'trian' is not known; did you mean 'train'?"),
        (["C"], {}, ["train", "test"], "splits hold 2 entries for 1 SMILES"),
        (["C", "[CH4]"], {}, ["train", "test"], "the molecule is in split 'train' already, not in 'test'"),
    ],
)
def test_measurements_in_memory_that_cannot_be_used(tmp_path, smiles, entries, splits, message):
    with pytest.raises(DataError, match=message):
        DataSet.from_measurements(smiles, entries, tmp_path / "d", stores={"uv": UV}, splits=splits)
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_data_set_lives_as_long_as_something_uses_it():
    data = DataSet.from_measurements(["C"], {"uv": [uv(1, 2)]}, stores={"uv": UV})
    folder, table = data.path, data.table("uv")
    del data
    gc.collect()
    assert table.read(0).arrays["y"].tolist() == [1.0, 2.0]
    del table
    gc.collect()
    assert not folder.parent.exists()


def test_pickles_as_its_path(made):
    data, _ = made
    assert len(pickle.dumps(data)) < 300
    again = pickle.loads(pickle.dumps(data))
    assert again.smiles() == data.smiles()
    table = pickle.loads(pickle.dumps(data.table("nmr")))
    for i in range(3):
        same(table.read(i), data.table("nmr").read(i))


def test_a_table_without_measurements_is_not_stored():
    data = DataSet.from_measurements(["C"], {"uv": [None]}, stores={"uv": UV})
    assert data.stored == ()


def test_info_counts_what_is_there(made):
    info = data_info(made[0])
    assert info["splits"] == {"train": 1, "val": 1, "test": 1}
    assert info["pairs"] == {"nmr + uv": 0}
    assert info["modalities"]["nmr"]["measurements"] == 3
    assert info["modalities"]["nmr"]["molecules"] == 2
    assert info["modalities"]["nmr"]["origin"] == {"computed": 1, "measured": 2}
    assert info["modalities"]["nmr"]["by_split"] == {"train": 1, "val": 1, "test": 0}
    assert info["modalities"]["nmr"]["arrays"]["shift"]["unit"] == "ppm"
    json.dumps(info)


def test_resplit_by_hash_scaffold_and_column(made, tmp_path):
    path = made[0].path
    before = made[0].sha256
    data = resplit(path, "hash")
    assert [SPLITS[c] for c in data.split] == [hash_split(key) for key in data.keys(None)]
    assert data.sha256 != before
    data.verify()
    assert [SPLITS[c] for c in resplit(path, "scaffold").split][1] == hash_split("c1ccccc1")
    (tmp_path / "s.csv").write_text("smiles,side\nOCC,test\nC,\nCCCC,train\n")
    data = resplit(path, "column:side", tmp_path / "s.csv")
    assert data.split.tolist() == [SPLITS.index("test"), 255, 255]
    assert data_info(data)["splits"] == {"test": 1, "none": 2}
    data.verify()
    assert not [p for p in path.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize(
    ("rule", "text", "message"),
    [
        ("hsah", None, "split rule 'hsah' is not known"),
        ("column:side", None, "needs a table"),
        ("hash", "smiles,side\nC,test\n", "takes no table"),
        ("column:sied", "smiles,side\nC,test\n", "needs one column `sied`; did you mean 'side'?"),
        ("column:side", "smiles,side\nC,tets\n", "line 2: split 'tets' is not known"),
        ("column:side", "smiles,side\nC,test\nC,train\n", "is in split 'test' already"),
        ("column:side", "smiles,side\nCCCC,test\n", "names a split for no molecule"),
    ],
)
def test_resplit_that_fails_leaves_the_splits(made, tmp_path, rule, text, message):
    path = made[0].path
    table = None
    if text is not None:
        table = tmp_path / "s.csv"
        table.write_text(text)
    with pytest.raises(DataError, match=message):
        resplit(path, rule, table)
    assert DataSet(path).split.tolist() == [0, 1, 2]
    DataSet(path).verify()


def test_memory_of_an_open_data_set_is_bounded_by_100_bytes_a_molecule(tmp_path, monkeypatch):
    n = 20_000
    at_once = partial(Molecule, smiles="C", formula="CH4", exact_mass=1.0)  # without RDKit's seconds
    monkeypatch.setattr(writing, "molecule", lambda key: at_once(key14=key))
    with new_folder(tmp_path / "d") as folder:
        writer = DataSetWriter(folder)
        table = writer.table("uv", UV)
        encoded = table.encode(uv(1, 2))
        for i in range(n):
            table.add(writer.row(f"KEY{i:011d}"), encoded, 0, "")
        writer.finish("hash", {})
    DataSet(tmp_path / "d").molecule(0)  # what the first use of the libraries takes is no part of it
    gc.collect()
    tracemalloc.start()
    data = DataSet(tmp_path / "d")
    table = data.table("uv")
    test, chosen = data.rows("test"), table.select({"origin": "computed"})
    for i in range(0, n, 997):
        table.read(int(table.of(i)[0]))
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(test) > n // 20
    assert chosen.all()
    assert used < 100 * n


def test_reading_a_data_set_imports_neither_torch_nor_rdkit():
    code = "import sys; import molchord.data.store; assert not {'torch', 'rdkit'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_one_text_is_no_list_of_smiles(tmp_path):
    """Its characters would be: "CCO" is C twice and O."""
    with pytest.raises(DataError) as caught:
        DataSet.from_measurements("CCO", {}, tmp_path / "d", stores={})
    assert str(caught.value) == "SMILES were given as the text 'CCO'; give a list of them"
    assert not (tmp_path / "d").exists()
