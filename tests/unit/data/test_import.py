"""Files of two toy modalities become a data set; what cannot be used is reported and the rest is imported."""

import csv
import dataclasses
import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from molchord.api import (
    Array,
    Category,
    Config,
    Measurement,
    ModalityRecord,
    Reading,
    ReadingOptions,
    Real,
    SampleError,
    Stores,
)
from molchord.data.importer import import_files
from molchord.data.info import data_info
from molchord.data.store import DataSet
from molchord.errors import DataError, OutputExistsError, PluginError
from molchord.host import Host, Plugin

STORES = Stores(arrays={"y": Array(unit="1", axis="x")}, columns={"licence": Category(), "energy": Real("eV")})


class Toy:
    """Reads lines `SMILES value value... [licence=..] [energy=..]` after a first line with its name."""

    def __init__(self, name):
        self.name = name

    def can_read(self, path):
        with path.open("rb") as file:
            return file.readline().strip() == self.name.encode()

    def read(self, path):
        if path.suffix == ".broken":
            raise SampleError(str(path), "the whole file is broken")
        for number, line in enumerate(path.read_text().splitlines()[1:], 2):
            location = f"{path}:{number}"
            smiles, *words = line.split()
            if smiles == "bad":
                yield SampleError(location, "this entry is bad")
                continue
            if smiles == "crash":
                raise ZeroDivisionError("a plugin's bug")
            columns = dict(w.split("=") for w in words if "=" in w)
            if "energy" in columns:
                columns["energy"] = float(columns["energy"])
            values = np.array([float(w) for w in words if "=" not in w], dtype=np.float32)
            measurement = Measurement(arrays={"y": values}, columns=columns)
            yield Reading(measurement=measurement, smiles=None if smiles == "-" else smiles, location=location)


def plugin(name, dist="toys"):
    record = ModalityRecord(
        name=name,
        summary="toy",
        api=1,
        kinds=("vector",),
        stores=STORES,
        config=Config,
        spec=lambda config, kind: None,
        build=lambda config, kind: Toy(name),
    )
    return Plugin("modality", record, dist, "1.0")


HOST = Host(plugins=(plugin("red"), plugin("blue")))


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def rejected(path):
    with (path / "rejected.csv").open(newline="") as file:
        return [(row["file"], row["location"], row["modality"], row["reason"]) for row in csv.DictReader(file)]


def values(data, name, row):
    table = data.table(name, STORES)
    return [table.read(int(i)).arrays["y"].tolist() for i in table.of(row)]


def test_sources_merge_by_molecule(tmp_path):
    a = write(tmp_path / "a.txt", "red\nCCO 1 2\nC 3\n")
    b = write(tmp_path / "b.txt", "blue\nOCC 4 licence=CC0\nCC 5 energy=7\nC(O)C 6\n")
    report = import_files([a, b], tmp_path / "d", host=HOST)
    data = DataSet(tmp_path / "d")
    assert data.smiles() == ["CCO", "C", "CC"]
    assert [values(data, "red", row) for row in range(3)] == [[[1, 2]], [[3]], []]
    assert [values(data, "blue", row) for row in range(3)] == [[[4], [6]], [], [[5]]]
    assert data.table("blue").column("licence").tolist() == ["CC0", None, None]
    np.testing.assert_array_equal(data.table("blue").column("energy"), [np.nan, 7, np.nan])
    assert report.measurements == {"blue": 3, "red": 2}
    assert report.summary() == f"{tmp_path / 'd'}: 3 molecules, 3 blue, 2 red"
    assert data_info(data)["pairs"] == {"blue + red": 1}
    data.verify()


@pytest.mark.parametrize("stated", ["", " origin=measured", " origin=computed"])
def test_an_origin_that_is_given_goes_before_what_files_state(tmp_path, stated):
    file = write(tmp_path / "a.txt", f"red\nCCO 1 2{stated}\n")
    import_files([file], tmp_path / "d", host=HOST, origin="computed", where={"red": {"origin": "computed"}})
    data = DataSet(tmp_path / "d")
    assert data.table("red").column("origin").tolist() == ["computed"]
    assert data.manifest.options["origin"] == "computed"
    with pytest.raises(DataError, match="origin 'computet' is not known; did you mean 'computed'?"):
        import_files([file], tmp_path / "e", host=HOST, origin="computet")


def test_provenance_names_files_without_their_place_on_the_machine(tmp_path):
    folder = tmp_path / "secret" / "set"
    write(folder / "sub" / "a.txt", "red\nC 1\nbad\n")
    write(folder / ".hidden", "red\nCC 1\n")
    import_files([folder], tmp_path / "d", host=HOST)
    data = DataSet(tmp_path / "d")
    with (data.path / "sources.csv").open(newline="") as file:
        (source,) = csv.DictReader(file)
    content = (folder / "sub" / "a.txt").read_bytes()
    assert source["file"] == "set/sub/a.txt"
    assert source["sha256"] == hashlib.sha256(content).hexdigest()
    assert int(source["bytes"]) == len(content)
    assert data.table("red").location(0) == "set/sub/a.txt:2"
    assert data.manifest.tables["red"].plugin == "toys:red"
    written = b"".join(p.read_bytes() for p in data.path.rglob("*") if p.is_file())
    assert b"secret" not in written


def test_bad_entries_are_reported_and_the_rest_is_imported(tmp_path):
    good = write(
        tmp_path / "a.txt",
        "red\nC 1\nbad\nxx 1\nCC 2\n- 1\nCCC\nCCCC 1 origin=dreamt\nCCCCC 5 colour=red\n[2H]C 1\nxx 1\nCCO 9\n",
    )
    whole = write(tmp_path / "b.broken", "red\n")
    crash = write(tmp_path / "c.txt", "blue\nC 4\ncrash\nCC 9\n")
    other = write(tmp_path / "d.dat", "violet\n")
    report = import_files([good, whole, crash, other], tmp_path / "d", host=HOST)
    data = DataSet(tmp_path / "d")
    assert data.smiles() == ["C", "CC", "CCO"]
    assert report.measurements == {"blue": 1, "red": 3}
    reasons = rejected(data.path)
    assert [r[1] for r in reasons[:-3]] == [f"a.txt:{n}" for n in (3, 4, 6, 7, 8, 9, 10, 11)]
    for (*_, reason), wanted in zip(
        reasons,
        [
            "this entry is bad",
            "RDKit cannot parse the SMILES 'xx'",
            "the entry names no SMILES; add it where the file's format has room",
            "the measurement holds no value",
            "`origin` is 'dreamt'",
            "column `colour` is not declared",
            "isotope labels",
            "RDKit cannot parse the SMILES 'xx'",
            "the whole file is broken",
            "the plugin failed after entry 1; the rest was not read: ZeroDivisionError: a plugin's bug",
            "no modality recognises this file; name one with `--as MODALITY PATH`",
        ],
        strict=True,
    ):
        assert wanted in reason
    assert reasons[-1][0] == "d.dat"
    assert report.undecided == ("d.dat",)
    assert report.rejected == data.manifest.rejected == len(reasons)
    assert report.summary().endswith("11 rejected (see rejected.csv)")


def test_nothing_imported_leaves_no_folder(tmp_path):
    a = write(tmp_path / "a.txt", "red\nbad\n- 1\nxx 1\nxx 2\n")
    with pytest.raises(DataError) as caught:
        import_files([a], tmp_path / "d", host=HOST)
    message = str(caught.value)
    assert message.startswith("nothing was imported: 4 entries rejected and 0 left out by `where`; a.txt a.txt:2: this")
    assert "RDKit cannot parse" in message
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    with pytest.raises(DataError, match="no entry was found"):
        import_files([write(tmp_path / "b.txt", "red\n")], tmp_path / "d", host=HOST)


def test_a_missing_file_and_a_file_given_twice(tmp_path):
    a = write(tmp_path / "a.txt", "red\nC 1\n")
    with pytest.raises(DataError, match=r"file .*nope.txt' does not exist; nothing was imported"):
        import_files([a, tmp_path / "nope.txt"], tmp_path / "d", host=HOST)
    with pytest.raises(DataError, match=r"a.txt' is given 2 times"):
        import_files([a, tmp_path], tmp_path / "d", host=HOST)
    assert not (tmp_path / "d").exists()


def test_an_existing_folder_needs_force_and_a_failure_keeps_it(tmp_path):
    a = write(tmp_path / "a.txt", "red\nC 1\n")
    bad = write(tmp_path / "bad.txt", "red\nbad\n")
    import_files([a], tmp_path / "d", host=HOST)
    with pytest.raises(OutputExistsError):
        import_files([a], tmp_path / "d", host=HOST)
    with pytest.raises(DataError):
        import_files([bad], tmp_path / "d", host=HOST, force=True)
    assert DataSet(tmp_path / "d").smiles() == ["C"]
    import_files([write(tmp_path / "b.txt", "red\nCC 1\n")], tmp_path / "d", host=HOST, force=True)
    assert DataSet(tmp_path / "d").smiles() == ["CC"]


def test_as_names_the_modality_of_files_that_do_not(tmp_path):
    write(tmp_path / "in" / "x.csv", "?\nC 1\n")
    write(tmp_path / "in" / "y.csv", "blue\nCC 2\n")
    report = import_files([], tmp_path / "d", host=HOST, as_=[("red", tmp_path / "in")])
    assert report.measurements == {"red": 2}
    report = import_files([tmp_path / "in"], tmp_path / "e", host=HOST, as_=[("red", tmp_path / "in" / "x.csv")])
    assert report.measurements == {"blue": 1, "red": 1}
    with pytest.raises(PluginError, match=r"unknown modality 'rad'; did you mean 'red'?"):
        import_files([], tmp_path / "f", host=HOST, as_=[("rad", tmp_path / "in")])


def test_a_qualified_name_chooses_between_two_distributions(tmp_path):
    host = Host(plugins=(plugin("red", "toys"), plugin("red", "other")))
    a = write(tmp_path / "a.txt", "red\nC 1\n")
    offered = pytest.warns(UserWarning, match=r"no file is offered to 'red': .* write 'toys:red'")
    with offered, pytest.raises(DataError, match="no modality recognises"):
        import_files([a], tmp_path / "d", host=host)
    import_files([], tmp_path / "d", host=host, as_=[("other:red", a)])
    assert DataSet(tmp_path / "d").manifest.tables["red"].plugin == "other:red"
    with pytest.raises(DataError, match="'other:red' and 'toys:red' share a name"):
        import_files([], tmp_path / "e", host=host, as_=[("other:red", a), ("toys:red", a)])


def test_limit_stops_molecules_but_not_their_further_measurements(tmp_path):
    a = write(tmp_path / "a.txt", "red\nC 1\nCC 2\nCCC 3\nC 4\n")
    b = write(tmp_path / "b.txt", "blue\nCCC 5\nCC 6\n")
    report = import_files([a, b], tmp_path / "d", host=HOST, limit=2)
    assert DataSet(tmp_path / "d").smiles() == ["C", "CC"]
    assert report.measurements == {"blue": 1, "red": 3}
    assert (report.beyond, report.rejected) == (2, 0)
    assert "2 beyond the limit" in report.summary()
    with pytest.raises(DataError, match="limit is 0; give 1 or more"):
        import_files([a], tmp_path / "e", host=HOST, limit=0)


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ({"licence": "CC0"}, [1]),
        ({"licence": ["CC0", "BY"]}, [1, 2]),
        ({"licence": None}, [3, 4]),
        ({"licence": "CC0", "energy": 7}, []),
        ({"energy": [7, 8]}, [2, 4]),
        ({"origin": "computed"}, [4]),
    ],
)
def test_where_filters_measurements(tmp_path, where, kept):
    a = write(
        tmp_path / "a.txt", "red\nC 1 licence=CC0\nCC 2 licence=BY energy=7\nC 3\nCC 4 energy=8 origin=computed\n"
    )
    b = write(tmp_path / "b.txt", "blue\nCCC 5\n")
    report = import_files([a, b], tmp_path / "d", host=HOST, where={"red": where})
    data = DataSet(tmp_path / "d")
    assert report.filtered == 4 - len(kept)
    found = [] if "red" not in data.stored else [v for row in range(len(data)) for (v,) in values(data, "red", row)]
    assert sorted(found) == kept
    assert data.manifest.options["where"] == {"red": where}


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"rde": {}}, "`where` names no modality: 'rde'; did you mean 'red'?"),
        ({"red": {"license": "CC0"}}, "`where red.license`: no such column; did you mean 'licence'?"),
        ({"red": {"energy": "7"}}, "column `energy` of 'red' holds numbers, but '7' was asked for"),
    ],
)
def test_where_that_cannot_be_meant(tmp_path, where, message):
    a = write(tmp_path / "a.txt", "red\nC 1\n")
    with pytest.raises(DataError) as caught:
        import_files([a], tmp_path / "d", host=HOST, where=where)
    assert str(caught.value) == message
    assert not (tmp_path / "d").exists()


def test_storage_narrows_and_refuses_what_does_not_fit(tmp_path):
    a = write(tmp_path / "a.txt", "red\nC 1.04 2.26\nCC 9000\n")
    storage = {"red.y": {"dtype": "uint16", "scale": 0.1}}
    report = import_files([a], tmp_path / "d", host=HOST, storage=storage)
    data = DataSet(tmp_path / "d")
    np.testing.assert_allclose(values(data, "red", 0), [[1.0, 2.3]], rtol=1e-6)
    assert report.rejected == 1
    assert "value 9000.0 of array `y` does not fit" in rejected(data.path)[0][3]
    for wrong, message in [
        ({"rad.y": {"dtype": "uint8"}}, "names no modality; did you mean 'red'?"),
        ({"red.x": {"dtype": "uint8"}}, "no such array; allowed: 'y'"),
        ({"red.y": {"dtype": "uint13"}}, "unknown storage dtype 'uint13'"),
        ({"red.y": {"dtype": "uint8", "scale": 0}}, "must be a positive number"),
    ]:
        with pytest.raises(DataError, match=message.replace("?", r"\?")):
            import_files([a], tmp_path / "e", host=HOST, storage=wrong)


# --- tables ----------------------------------------------------------------------------------------------------------


def spectra(tmp_path):
    write(tmp_path / "s" / "one.txt", "?\n- 1\n")
    write(tmp_path / "s" / "two.txt", "?\n- 2\n- 3\n")
    write(tmp_path / "s" / "named.txt", "?\nCO 4\n")
    write(tmp_path / "s" / "bad.txt", "?\nbad\n")


def test_a_table_of_smiles_and_spectrum_files(tmp_path):
    spectra(tmp_path)
    table = write(
        tmp_path / "t.csv",
        "Smiles,file,other,mp,side\n"
        "CCO,s/one.txt,s/two.txt,5.5,train\n"  # 2
        "CO,s/named.txt,,,test\n"  # 3
        "CC,s/named.txt,,1,test\n"  # 4: the file says another molecule
        "CCC,s/nope.txt,,,test\n"  # 5
        "CCCC,s/bad.txt,s/one.txt,,\n"  # 6: one of two is good
        "OCC,,,9,\n"  # 7: known already
        "C,,,nan,val\n"  # 8: a molecule without spectra
        "xx,,,,\n"  # 9
        "CCCCC,s/one.txt,,cold,test\n"  # 10
        "CN,s/one.txt\n"  # 11: cells are missing
        "\n"
        "CF,s/one.txt,,3,train\n",  # 13
    )
    report = import_files(
        [],
        tmp_path / "d",
        host=HOST,
        table=table,
        columns=[("red", "file"), ("blue", "other")],
        numeric=["mp"],
        split="column:side",
    )
    data = DataSet(tmp_path / "d")
    assert data.smiles() == ["CCO", "CO", "CCCC", "C", "CF"]
    assert [values(data, "red", row) for row in range(5)] == [[[1]], [[4]], [], [], [[1]]]
    assert [values(data, "blue", row) for row in range(5)] == [[[2], [3]], [], [[1]], [], []]
    np.testing.assert_array_equal(data.numeric("mp"), [5.5, np.nan, np.nan, np.nan, 3])
    assert data.split.tolist() == [0, 2, 255, 1, 0]
    assert data.manifest.split == "column:side"
    assert report.measurements == {"blue": 3, "red": 3}
    found = {(location, modality): reason for _, location, modality, reason in rejected(data.path)}
    assert "the table says 'CC', but the file says 'CO'" in found["s/named.txt:2", "red"]
    assert "spectrum file 's/nope.txt' does not exist" in found["line 5", "red"]
    assert "this entry is bad" in found["s/bad.txt:2", "red"]
    assert "cannot parse the SMILES 'xx'" in found["line 9", ""]
    assert "column `mp` holds 'cold', which is not a number" in found["line 10", ""]
    assert "more or fewer cells" in found["line 11", ""]
    assert len(found) == report.rejected == 6


def test_a_table_and_the_folder_of_its_files(tmp_path):
    write(tmp_path / "spectra" / "a.txt", "?\n- 1\n")
    write(tmp_path / "spectra" / "alone.txt", "red\nCCC 3\n")
    for place in (tmp_path, tmp_path / "spectra"):
        table = write(place / "t.csv", "smiles,file\nCC,a.txt\n")
        report = import_files(
            [tmp_path / "spectra"], tmp_path / "d", host=HOST, table=str(table), columns=[("red", "file")], force=True
        )
        assert (report.measurements, report.rejected, report.molecules) == ({"red": 2}, 0, 2)
        table.unlink()


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz"])
def test_tables_with_other_separators_byte_order_marks_and_gzip(tmp_path, name):
    text = '\ufeffid;SMILES;note\r\n1;CCO;"a;b\r\nc"\r\n2;C;x\r\n'
    content = (text.replace(";", "\t") if name.endswith("tsv") else text).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    import_files([], tmp_path / "d", host=HOST, table=tmp_path / name)
    assert DataSet(tmp_path / "d").smiles() == ["CCO", "C"]


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (None, {}, "t.csv' does not exist"),
        (b"", {}, r"needs one column `smiles`; its columns are \[\]"),
        (b"name,file\n", {}, r"needs one column `smiles`; its columns are \['name', 'file'\]"),
        (b"smiles,SMILES\n", {}, "needs one column `smiles`"),
        (b"smiles,file\nC,x\n", {"columns": [("red", "fiel")]}, "needs one column `fiel`; did you mean 'file'"),
        (b"smiles\nC\n", {"numeric": ["exact_mass"]}, "numeric column `exact_mass` would hide the data set's own"),
        (b"smiles,s\nC,tets\n", {"split": "column:s"}, "line 2: split 'tets' is not known; did you mean 'test'"),
        (b"smiles\nC\n", {"split": "hsah"}, "split rule 'hsah' is not known"),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path, content, arguments, message):
    table = tmp_path / "t.csv"
    if content is not None:
        table.write_bytes(content)
    with pytest.raises(DataError, match=message):
        import_files([], tmp_path / "d", host=HOST, table=table, **arguments)
    assert not (tmp_path / "d").exists()


def test_a_truncated_gzip_table(tmp_path):
    table = tmp_path / "t.csv.gz"
    table.write_bytes(gzip.compress(b"smiles\n" + b"C\n" * 1000)[:-10])
    with pytest.raises(DataError, match=r"t.csv.gz' cannot be read"):
        import_files([], tmp_path / "d", host=HOST, table=table)


def test_columns_without_a_table(tmp_path):
    a = write(tmp_path / "a.txt", "red\nC 1\n")
    for arguments in ({"columns": [("red", "f")]}, {"numeric": ["x"]}, {"split": "column:x"}):
        with pytest.raises(DataError, match="asked for without a table"):
            import_files([a], tmp_path / "d", host=HOST, **arguments)


def test_the_same_import_gives_the_same_data_set(tmp_path):
    a = write(tmp_path / "a.txt", "red\nC 1\nCC 2\nbad\n")
    for name in "de":
        import_files([a], tmp_path / name, host=HOST)
    assert DataSet(tmp_path / "d").sha256 == DataSet(tmp_path / "e").sha256


def test_scaffold_split_is_by_scaffold(tmp_path):
    rings = "".join(f"{smiles} 1\n" for smiles in ("Cc1ccccc1", "CCc1ccccc1", "Oc1ccccc1", "Nc1ccccc1"))
    import_files([write(tmp_path / "a.txt", "red\n" + rings)], tmp_path / "d", host=HOST, split="scaffold")
    assert len(set(DataSet(tmp_path / "d").split.tolist())) == 1


@pytest.mark.shared
def test_real_files_of_every_built_in_modality(shared_data: Path, tmp_path):
    from molchord.host import installed

    report = import_files(
        [shared_data / "nist-xtb.npz"], tmp_path / "d", host=installed(), limit=40, storage=None, split="hash"
    )
    data = DataSet(tmp_path / "d")
    assert report.molecules == 40
    assert report.rejected == 0
    with np.load(shared_data / "nist-xtb.npz", allow_pickle=False) as source:
        keys = [key[:14] for key in source["inchikey"][:40]]
        assert data.keys() == keys
        for name, array in (("ir", "ir"), ("raman", "raman")):
            table = data.table(name)
            for row in range(40):
                modes = slice(*source["modes"][row : row + 2])
                (index,) = table.of(row)
                arrays = table.read(int(index)).arrays
                found = [a for a in arrays.values() if len(a)]
                np.testing.assert_array_equal(found[0], source["freq"][modes])
                np.testing.assert_array_equal(found[1], source[array][modes])


# --- counts and places


def test_each_measurement_names_its_source_by_number(tmp_path):
    """The column `_source` of the measurements is the column `source` of sources.csv."""
    import pyarrow as pa

    files = [
        write(tmp_path / f"{name}.txt", f"red\n{smiles} {i}\n")
        for i, (name, smiles) in enumerate(zip("bca", ["C", "CC", "C"], strict=True))
    ]
    import_files(files, tmp_path / "d", host=HOST)
    with (tmp_path / "d" / "sources.csv").open(newline="") as file:
        names = {int(row["source"]): row["file"] for row in csv.DictReader(file)}
    assert names == {0: "b.txt", 1: "c.txt", 2: "a.txt"}
    with pa.ipc.open_file(tmp_path / "d" / "red" / "measurements.arrow") as reader:
        rows = reader.read_all().to_pylist()
    assert [(row["_source"], row["_molecule"], row["_location"]) for row in rows] == [
        (0, 0, "b.txt:2"), (1, 1, "c.txt:2"), (2, 0, "a.txt:2"),
    ]  # fmt: skip


def test_one_molecule_is_a_limit_too(tmp_path):
    report = import_files([write(tmp_path / "a.txt", "red\nC 1\nCC 2\nC 3\n")], tmp_path / "d", host=HOST, limit=1)
    assert (report.molecules, report.measurements, report.beyond) == (1, {"red": 2}, 1)
    for limit in (0, -1):
        with pytest.raises(DataError, match=f"^limit is {limit}; give 1 or more$"):
            import_files([tmp_path / "a.txt"], tmp_path / "e", host=HOST, limit=limit)


def test_a_summary_has_every_count_that_is_not_nought(tmp_path):
    a = write(tmp_path / "a.txt", "red\nC 1\nCC 2 licence=BY\nCCC 3\nbad\n")
    report = import_files([a], tmp_path / "d", host=HOST, where={"red": {"licence": None}}, limit=1)
    assert report.summary() == (
        f"{tmp_path / 'd'}: 1 molecules, 1 red, 1 left out by `where`, 1 beyond the limit, 1 rejected (see rejected.csv)"
    )


def test_where_nothing_is_imported_three_reasons_are_given(tmp_path):
    a = write(tmp_path / "a.txt", "red\n" + "".join(f"x{i} 1\n" for i in range(5)))
    with pytest.raises(DataError) as caught:
        import_files([a], tmp_path / "d", host=HOST)
    message = str(caught.value)
    assert message.count("RDKit cannot parse the SMILES") == 3
    assert message.startswith(
        "nothing was imported: 5 entries rejected and 0 left out by `where`; a.txt a.txt:2: RDKit"
    )
    other = write(tmp_path / "b.dat", "violet\n")
    with pytest.raises(DataError, match="; b.dat: no modality recognises this file"):  # no place in the file, no blank
        import_files([other], tmp_path / "d", host=HOST)


def test_a_plugin_that_fails_to_recognise_a_file_does_not_end_the_import(tmp_path):
    class Fails(Toy):
        def can_read(self, path):
            raise KeyError("no header")

    failing = plugin("blue")
    failing = Plugin(
        "modality", dataclasses.replace(failing.record, build=lambda config, kind: Fails("blue")), "toys", "1.0"
    )
    a = write(tmp_path / "a.txt", "red\nC 1\n")
    report = import_files([a], tmp_path / "d", host=Host(plugins=(plugin("red"), failing)))
    assert report.measurements == {"red": 1}
    assert rejected(tmp_path / "d") == [("a.txt", "", "blue", "the plugin failed: KeyError: 'no header'")]


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("5", 5.0),
        ("-1e3", -1000.0),
        (" 2.5 ", 2.5),
        ("nan", None),
        ("", None),
        ("inf", "refused"),
        ("-Infinity", "refused"),
        ("1,5", "refused"),
    ],
)
def test_numbers_of_a_table_are_finite_or_not_known(tmp_path, cell, number):
    table = write(tmp_path / "t.csv", f"smiles;mp\nC;{cell}\nCC;7\n")
    import_files([], tmp_path / "d", host=HOST, table=table, numeric=["mp"])
    found = DataSet(tmp_path / "d").numeric("mp")
    if number == "refused":
        assert found.tolist() == [7.0]
        ((_, place, _, reason),) = rejected(tmp_path / "d")
        assert place == "line 2"
        assert reason.startswith(f"column `mp` holds {cell!r}")
    else:
        np.testing.assert_array_equal(found, [np.nan if number is None else number, 7.0])


def test_a_molecule_in_two_splits_is_named(tmp_path):
    table = write(tmp_path / "t.csv", "smiles,side\nCCO,train\nOCC,test\nOCC,train\nCCO,\n")
    import_files([], tmp_path / "d", host=HOST, table=table, split="column:side")
    assert DataSet(tmp_path / "d").split.tolist() == [0]
    ((_, place, _, reason),) = rejected(tmp_path / "d")
    assert (place, reason) == ("line 3", "the molecule is in split 'train' already, not in 'test'")


class Described(Toy):
    """A toy whose files a user may describe; ``skip`` lines are left out of what is read."""

    def read_table(self, path, options):
        return (one for number, one in enumerate(self.read(path)) if number >= options.skip)


def test_options_of_reading_are_for_files_whose_modality_is_named(tmp_path):
    described = dataclasses.replace(plugin("red").record, build=lambda config, kind: Described("red"))
    host = Host([dataclasses.replace(plugin("red"), record=described), plugin("blue")])
    (tmp_path / "a.txt").write_text("x\nCCO 1\nCO 2\n")
    (tmp_path / "b.txt").write_text("red\nCCC 1\nCCCC 2\n")
    (tmp_path / "t.csv").write_text("smiles,file\nCO,a.txt\n")
    options = ReadingOptions(skip=1)
    report = import_files(
        [tmp_path / "b.txt"], tmp_path / "d", host=host, as_=[("red", tmp_path / "a.txt")], options=options,
    )  # fmt: skip
    assert report.measurements == {"red": 3}  # both of the file that names itself, the second of the other
    assert DataSet(tmp_path / "d").manifest.options["reading"] == {"skip": 1}
    report = import_files(
        [], tmp_path / "e", host=host, table=tmp_path / "t.csv", columns=[("red", "file")], options=options
    )
    assert report.measurements == {"red": 1}
    with pytest.raises(DataError, match="options of reading are for files whose modality is named"):
        import_files([tmp_path / "b.txt"], tmp_path / "f", host=host, options=options)
    with pytest.raises(DataError, match="modality 'blue' takes no options of reading"):
        import_files([], tmp_path / "f", host=host, as_=[("blue", tmp_path / "a.txt")], options=options)
