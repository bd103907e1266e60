"""Which files are one sample: by the stems of their names, or as a table says; what is known of each."""

from pathlib import Path

import pytest

from molchord.errors import QueryError
from molchord.identify.samples import Asked, left_aside, samples_of

SPECTRA = ("ir", "raman", "msms")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "day").mkdir()
    return tmp_path / "day"


def laid(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("1,2\n")


def groups(given, **more):
    return {s.id: [(f.label, f.modality) for f in s.files] for s in samples_of(given, SPECTRA, **more)}


def test_files_of_one_stem_are_one_sample_and_a_name_says_what_a_file_is(folder):
    laid(folder, "a.ir.csv", "a_RAMAN.csv", "a.mgf", "a-msms.txt.gz", "b.jdx", "sapphir.csv", "c.ir")
    assert groups([folder]) == {
        "a": [("a-msms.txt.gz", "msms"), ("a.ir.csv", "ir"), ("a.mgf", None), ("a_RAMAN.csv", "raman")],
        "b": [("b.jdx", None)],
        "c": [("c.ir", "ir")],
        "sapphir": [("sapphir.csv", None)],  # which ends in letters of a spectrum, not in its word
    }


def test_files_called_by_their_spectrum_alone_are_of_what_their_folder_is(folder):
    laid(folder, "aspirin/ir.csv", "aspirin/msms.mgf", "urea/ir.csv", "raman.csv")
    assert groups([folder]) == {
        "aspirin": [("aspirin/ir.csv", "ir"), ("aspirin/msms.mgf", "msms")],
        "day": [("raman.csv", "raman")],
        "urea": [("urea/ir.csv", "ir")],
    }


def test_equal_stems_of_two_folders_are_two_samples(folder):
    laid(folder, "x/a.csv", "y/a.csv")
    assert list(groups([folder])) == ["x/a", "y/a"]
    assert list(groups([folder / "x", folder / "y"])) == ["a", "a (2)"]
    assert groups([folder / "x" / "a.csv", folder / "x"]) == {"a": [("a.csv", None)]}  # a file named twice is one


def test_documents_and_hidden_files_are_left_aside_in_folders_but_read_where_they_are_named(folder):
    laid(folder, "a.jdx", "README.md", ".hidden.jdx", ".git/a.jdx", "photo.PNG")
    assert list(groups([folder])) == ["a"]
    assert left_aside([folder]) == ["README.md", "photo.PNG"]
    assert list(groups([folder / "photo.PNG"])) == ["photo"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "no spectrum was given"),
        (["nowhere"], "'nowhere' does not exist; give a folder of spectra or their files"),
        (["day"], "folder 'day' holds no spectrum"),
    ],
)
def test_what_holds_no_spectrum_is_one_sentence(folder, given, said):
    with pytest.raises(QueryError, match=said):
        samples_of(given, SPECTRA)


# --- a table


def table(folder, text, name="t.csv"):
    (folder / name).write_text(text)
    return folder / name


def test_a_table_names_samples_files_and_what_is_known(folder):
    laid(folder, "1.csv", "2.csv", "3.mgf")
    path = table(
        folder,
        "Sample;File;Modality;Formula;m/z;Adduct;comment\nA;1.csv;ir;c2h6o;;;x\nA;2.csv;raman;;;;\nB;3.mgf;;;195.0877;[M+H]+;\n",
    )
    first, second = samples_of([], SPECTRA, path, Asked(elements="C,H,O", formula="CH4"))
    assert (first.id, second.id) == ("A", "B")
    assert [(f.path, f.modality) for f in first.files] == [(folder / "1.csv", "ir"), (folder / "2.csv", "raman")]
    assert first.asked == Asked(formula="C2H6O", elements="C,H,O")  # the table has the last word
    assert second.asked.mass == pytest.approx(194.0804, abs=1e-4)
    assert second.asked.formula == "CH4"
    assert second.together


def test_files_of_a_table_may_lie_in_the_folder_that_is_given(folder):
    laid(folder, "spectra/1.csv")
    path = table(folder.parent, "sample,file\nA,1.csv\n")
    [sample] = samples_of([folder / "spectra"], SPECTRA, path)
    assert sample.files[0].path == folder / "spectra" / "1.csv"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sample,path\nA,1.csv\n", "needs one column `file`"),
        ("sample,file\n", "has no row"),
        ("sample,file\nA\n", "line 2: the row has 1 cells and the header 2"),
        ("sample,file\nA,\n", "line 2: the cell of `file` is blank"),
        ("sample,file\n\nA,9.csv\n", "line 3: file '9.csv' does not exist beside the table"),
        ("sample,file,modality\nA,1.csv,rama\n", "line 2: the run has no spectrum 'rama'; did you mean 'raman'?"),
        ("sample,file\nA,1.csv\nA,1.csv\n", "line 3: file '1.csv' is given twice for sample 'A'"),
        ("sample,file,mass\nA,1.csv,heavy\n", "line 2: `mass` is 'heavy', which is not a number"),
        ("sample,file,mass\nA,1.csv,-1\n", "line 2: search failed: `mass` is -1.0, but must be a positive number"),
        ("sample,file,formula\nA,1.csv,Xy2\n", "line 2: .*'Xy', which is not an element"),
        ("sample,file,mz\nA,1.csv,100\n", "line 2: `--mz` and `--adduct` belong together"),
        ("sample,file,mass\nA,1.csv,5\nA,2.csv,6\n", "line 3: sample 'A' has mass 6.0 here and 5.0 before"),
    ],
)
def test_a_wrong_row_is_named_by_its_line(folder, text, said):
    laid(folder, "1.csv", "2.csv")
    with pytest.raises(QueryError, match=said):
        samples_of([], SPECTRA, table(folder, text))


def test_what_is_known_of_all_is_checked():
    assert Asked.of(mz=195.0877, adduct="[M+H]+").mass == pytest.approx(194.0804, abs=1e-4)
    for wrong, said in (
        ({"mz": 100.0}, "add --adduct"),
        ({"adduct": "[M+H]+"}, "add --mz"),
        ({"mz": 100.0, "adduct": "[M+H]+", "mass": 99.0}, "leave one out"),
        ({"mz": -1.0, "adduct": "[M+H]+"}, "must be a positive number"),
        ({"mz": 100.0, "adduct": "M plus"}, "cannot be read"),
        ({"ppm": 5.0}, "needs `mass`"),
        ({"mass": 5.0, "ppm": 1.0, "da": 1.0}, "at most one"),
        ({"elements": "C,Xx"}, "'Xx' among the elements allowed is not an element"),
        ({"elements": ","}, "no element is allowed"),
        ({"formula": "co2"}, "write its capitals"),
    ):
        with pytest.raises(QueryError, match=said):
            Asked.of(**wrong)


def test_paths_may_be_text(folder):
    laid(folder, "a.csv")
    assert samples_of(["day"], SPECTRA)[0].files[0].path == Path("day/a.csv")
