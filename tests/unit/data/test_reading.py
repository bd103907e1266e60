"""What a user hands to a run: files, measurements, SMILES and lists of them, read or refused in one sentence."""

import gzip
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from molchord.api import Array, Measurement, Molecule, Reading, Real, SampleError, Stores
from molchord.chem import molecule
from molchord.data.reading import items_of, measurements_of, molecules_of, parsed, ruled_out
from molchord.data.store import DataSet
from molchord.errors import DataError, QueryError

STORES = Stores(
    arrays={"shift": Array(unit="ppm", axis="x"), "height": Array(unit="1", axis="x")}, columns={"t": Real("K")}
)


class Lines:
    """Reads a number a line, ``NUMBER SMILES``; a line ``bad`` is an entry that cannot be used."""

    def read(self, path):
        lines = path.read_text().splitlines()
        if lines[:1] == ["broken"]:
            raise SampleError(str(path), "its header is broken")
        if lines[:1] == ["torn"]:
            raise SampleError(f"{path}:7", "it ends in the middle")
        for number, line in enumerate(lines, 1):
            value, _, smiles = line.partition(" ")
            if value == "bad":
                yield SampleError(f"{path}:{number}", "it is bad")
            else:
                yield Reading(measurement=measured(float(value)), smiles=smiles or None, location=f"{path}:{number}")


class Composition:
    """Is made from the molecule."""

    def read(self, path):
        yield Reading(measurement=measured(-1.0), smiles=None, location="1")

    def derive(self, molecule):
        if molecule.formula == "CH4":
            raise SampleError(molecule.key14, "it is too small")
        return measured(molecule.exact_mass)


def measured(value, **columns):
    return Measurement(arrays={"shift": np.array([value])}, columns=columns)


def numbers(found):
    return [float(one.arrays["shift"][0]) for one in found]


def written(path, text):
    path.write_text(text)
    return path


def read(given, plugin=None, **options):
    return measurements_of(plugin or Lines(), given, "nmr", STORES, **options)


# --- measurements


def test_files_and_measurements_are_taken_in_the_order_given(tmp_path):
    a, b = written(tmp_path / "a", "1\n2\n"), written(tmp_path / "b", "3")
    own = measured(9.0)
    assert numbers(read(a)) == numbers(read(str(a))) == [1, 2]
    assert read(own) == [own]
    assert numbers(read([b, own, str(a)])) == [3, 9, 1, 2]
    assert numbers(read(path for path in (b, a))) == [3, 1, 2]


@pytest.mark.parametrize("given", [[], (), iter([])])
def test_nothing_is_not_a_query(given):
    with pytest.raises(QueryError) as caught:
        read(given)
    assert str(caught.value) == "no measurement of 'nmr' was given; give a file, a `Measurement` or a list of them"


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (7, "int"),
        ({"shift": [1.0]}, "dict"),
        ([measured(1.0), 2.5], "float"),
        (np.zeros(3), "ndarray"),
        ([None], "NoneType"),
    ],
)
def test_numbers_alone_do_not_say_what_they_are(given, kind):
    with pytest.raises(QueryError) as caught:
        read(given)
    assert str(caught.value) == (
        f"'nmr' was given as '{kind}', which does not say what its numbers are; give a file, or wrap it as "
        "`mc.Measurement(arrays={NAME: ...})` with names of 'shift' in ppm, 'height'"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "does not exist; give the path of a spectrum file"),
        ("folder", "is a folder or a pipe; give the path of a spectrum file"),
        ("", "holds no usable 'nmr' measurement (it is empty); give another file"),
        (
            "bad\nbad\nbad\nbad\n",
            "holds no usable 'nmr' measurement (it is bad; it is bad; it is bad); give another file",
        ),
        ("broken", "cannot be read as 'nmr' (its header is broken); correct it, or give another"),
    ],
)
def test_a_file_that_gives_nothing_says_why(tmp_path, text, said):
    path = tmp_path / "é spectrum.txt"
    if text == "folder":
        path.mkdir()
    elif text is not None:
        path.write_text(text)
    with pytest.raises(QueryError) as caught:
        read(path)
    assert str(caught.value).replace(" for 'nmr'", "") == f"file {str(path)!r} {said}"


def test_an_error_in_a_line_keeps_the_line(tmp_path):
    path = written(tmp_path / "a", "torn")
    with pytest.raises(QueryError, match=r"\(.*a:7: it ends in the middle\)"):
        read(path)


def test_entries_that_cannot_be_read_are_left_out_with_one_warning(tmp_path):
    path = written(tmp_path / "a", "1\nbad\n2\nbad\n")
    with pytest.warns(UserWarning, match="cannot be read") as caught:
        assert numbers(read(path)) == [1, 2]
    (warning,) = caught
    assert str(warning.message) == (
        f"2 of 4 entries of {str(path)!r} cannot be read as 'nmr' ({path}:2: it is bad); the others are taken"
    )


@pytest.mark.parametrize(
    ("text", "molecules"),
    [
        ("1 CCO\n2 CCO\n", 1),
        ("1 CCO\n2 OCC\n3 C(O)C\n", 1),  # spellings of one molecule
        ("1 C[C@H](N)O\n2 C[C@@H](N)O\n", 1),  # stereo is no part of what one molecule is here
        ("1 CCO\n2\n", 1),  # what is not said rules nothing out
        ("1 CCO\n2 CCC\n", 2),
        ("1 CCO\n2 xx\n3 yy\n", 3),  # what is no SMILES is a molecule by its text
        ("1 xx\n2 xx\n", 1),
    ],
)
def test_a_query_is_of_one_molecule(tmp_path, text, molecules):
    path = written(tmp_path / "a", text)
    count = len(text.splitlines())
    assert len(read(path)) == count
    if molecules == 1:
        assert len(read(path, of_one=True)) == count
        return
    with pytest.raises(QueryError) as caught:
        read(path, of_one=True)
    assert str(caught.value) == (
        f"file {str(path)!r} holds 'nmr' of {molecules} molecules; a query is of one: give a file of its measurements alone"
    )


def test_what_is_made_from_the_molecule_takes_smiles_and_files(tmp_path):
    path = written(tmp_path / "CCC", "?")
    assert numbers(read(["CCO", path], Composition())) == [pytest.approx(46.0419), -1.0]
    for smiles, reason in (("C", "it is too small"), ("xx", "RDKit cannot parse the SMILES 'xx'")):
        with pytest.raises(QueryError) as caught:
            read(smiles, Composition())
        assert str(caught.value) == f"molecule {smiles!r} cannot be embedded ({reason}); check the SMILES"


@pytest.mark.parametrize(
    ("columns", "where", "by"),
    [
        ({}, {"nucleus": "13C"}, None),
        ({"nucleus": None}, {"nucleus": "13C"}, None),
        ({"nucleus": "13C"}, {}, None),
        ({"nucleus": "13C"}, {"nucleus": "13C"}, None),
        ({"nucleus": "1H"}, {"nucleus": "13C"}, "nucleus"),
        ({"nucleus": "1H"}, {"nucleus": ("13C", "1H")}, None),
        ({"nucleus": "1"}, {"nucleus": "13C1"}, "nucleus"),  # not a part of the text
        ({"origin": "measured"}, {"origin": "computed"}, None),
        ({"field": 0.0}, {"field": [7.0]}, "field"),  # nought is a value
        ({"nucleus": "13C", "solvent": "D2O"}, {"nucleus": "13C", "solvent": "CDCl3"}, "solvent"),
    ],
)
def test_a_where_rules_out_by_what_is_stated(columns, where, by):
    assert ruled_out(Measurement(arrays={}, columns=columns), where) == by


# --- molecules


def smiles_of(source):
    failures = []
    found = [m.smiles for m in molecules_of(source, failures)]
    return found, [(failure.id, failure.reason) for failure in failures]


def test_lists_give_molecules_and_refusals_in_their_places():
    known = molecule("CCO")
    given = ["OCC", "xx", known, SampleError("t.csv:9", "no cell"), "C"]
    found = list(parsed(given))
    assert [type(one) for one in found] == [Molecule, SampleError, Molecule, SampleError, Molecule]
    assert found[0] == known == found[2]
    assert smiles_of(given) == (
        ["CCO", "CCO", "C"],
        [("xx", "RDKit cannot parse the SMILES 'xx'"), ("t.csv:9", "no cell")],
    )


def test_what_is_no_text_is_an_error_in_its_place():
    """A column of a data frame has NaN where a cell is blank."""
    assert smiles_of(["CCO", float("nan"), None, 7, np.str_("C")]) == (
        ["CCO", "C"],
        [
            ("entry 1", "it is nan, which is no SMILES"),
            ("entry 2", "it is None, which is no SMILES"),
            ("entry 3", "it is 7, which is no SMILES"),
        ],
    )


def test_molecules_are_made_as_they_are_asked_for():
    asked = []

    def endless():
        while True:
            asked.append("C")
            yield "C" * len(asked)

    stream = parsed(items_of(endless()))
    assert [next(stream).formula for _ in range(3)] == ["CH4", "C2H6", "C3H8"]
    assert len(asked) == 3


LINES = "\ufeffCCO ethanol\n\n  C\tmethane\n   \nCC"


@pytest.mark.parametrize("name", ["a.smi", "a.txt", "a", "a.smi.gz", "ü.SMI"])
def test_a_text_file_has_a_smiles_first_in_each_line(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(LINES.encode()) if name.endswith(".gz") else LINES.encode())
    assert smiles_of(path) == smiles_of(str(path)) == (["CCO", "C", "CC"], [])


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz"])
def test_a_table_gives_its_column_and_ragged_rows_as_errors(tmp_path, name):
    tab = "\t" if ".tsv" in name else ","
    text = f"id{tab}Smiles\n1{tab}CCO\n2\n3{tab}\n4{tab}C\n".encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    found, failed = smiles_of(tmp_path / name)
    assert found == ["CCO", "C"]
    assert failed == [
        (f"{name}:3", "the row has too many or too few cells"),
        (f"{name}:4", "the row has no SMILES"),
    ]


def test_a_parquet_file_gives_its_column_and_empty_cells_as_errors(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"name": ["a", "b", "c"], "SMILES": ["CCO", None, "C"]}), path)
    assert smiles_of(path) == (["CCO", "C"], [("t.parquet:2", "the row has no SMILES")])
    for columns in ({"name": ["a"]}, {"smiles": ["C"], "SMILES": ["C"]}):
        pq.write_table(pa.table(columns), path)
        with pytest.raises(DataError) as caught:
            smiles_of(path)
        assert str(caught.value) == (
            f"table {str(path)!r} needs one column `smiles`; its columns are {list(columns)!r}"
        )


def test_numbers_in_the_place_of_smiles_are_errors_of_their_rows(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"smiles": [1, 2]}), path)
    assert smiles_of(path) == ([], [("t.parquet:1", "the row has no SMILES"), ("t.parquet:2", "the row has no SMILES")])


@pytest.mark.parametrize("as_folder", [str, Path, DataSet])
def test_a_data_set_gives_its_molecules_without_parsing_them_again(tmp_path, as_folder, monkeypatch):
    DataSet.from_measurements(["OCC", "C"], {}, tmp_path / "d", stores={})
    monkeypatch.setattr("molchord.data.reading.molecule", None)
    assert smiles_of(as_folder(tmp_path / "d")) == (["CCO", "C"], [])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gone.smi", None, "does not exist; give a file of SMILES or a data set"),
        ("a.smi", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "cannot be read as SMILES"),
        ("a.smi.gz", gzip.compress(b"CCO\n" * 99, mtime=0)[:-9], "cannot be read as SMILES"),
        ("a.parquet", b"PAR1 and no more", "cannot be read as SMILES"),
        ("a.csv", b"name\nC\n", "needs one column `smiles`"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_one_sentence(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with warnings.catch_warnings(), pytest.raises(DataError, match=f"{name}'.*{said}"):
        smiles_of(tmp_path / name)


def test_a_folder_that_is_no_data_set_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"manifest\.json|data set"):
        smiles_of(tmp_path)
