"""A case is a folder that reproduces it: each change is on the disk, and what is no longer the same is said."""

import json
import shutil
import subprocess
import sys

import pytest

from molchord.case.case import CASE_FILE, Case
from molchord.case.opening import opened, spectra_in
from molchord.case.record import Question
from molchord.errors import DataError, NotInCase, OutputError

FILES = {"a.ir.csv": b"500,1\n600,2\n", "a.mgf": b"BEGIN IONS\n", "b.jdx": b"##TITLE=b\n"}


@pytest.fixture
def smiles(tmp_path):
    path = tmp_path / "mine.smi"
    path.write_text("CCO ethanol\nCC#N acetonitrile\n")
    return path


@pytest.fixture
def case(tmp_path, smiles):
    with Case.create(tmp_path / "case", run="pretrained", candidates=str(smiles)) as made:
        yield made


def reopened(case):
    case.close()
    return Case.open(case.folder)


def test_files_are_grouped_into_samples_and_copied(case):
    case.add(FILES, ["ir"])
    assert [(s.id, s.name, [f.modality for f in s.files]) for s in case.record.samples] == [
        ("s1", "a", ["ir", None]),
        ("s2", "b", [None]),
    ]
    assert case.path_of(case.file("f1")[1]).read_bytes() == FILES["a.ir.csv"]


def test_everything_said_of_a_sample_is_there_again(case):
    case.add(FILES, ["ir"])
    case.change_sample(
        "s1", name="unknown 7", comment="smells of almonds", clean={"ir": "baseline"}, decision="rejected"
    )
    case.change_sample("s2", asked={"mz": 195.0877, "adduct": "[M+H]+", "ppm": 5.0})
    case.change_file("f3", reading={"x_unit": "um", "skip": 3})
    case.change(asked=Question(elements="C,H,O"))
    with reopened(case) as again:
        assert again.record == case.record
        assert again.searched("s2").asked.mass == pytest.approx(194.0804, abs=1e-3)
        assert again.searched("s2").asked.elements == "C,H,O"
        assert again.searched("s2").files[0].options.given == {"x_unit": "um", "skip": 3}


def test_a_name_of_a_file_is_never_a_path(case):
    case.add({"../../../etc/passwd": b"1", "C:\\x\\..\\b.csv": b"2", "a/\0b\n.csv.gz": b"3"}, [])
    stored = [file.stored for sample in case.record.samples for file in sample.files]
    assert stored == ["f1", "f2.csv", "f3.csv.gz"]
    assert sorted(path.name for path in (case.folder / "files").iterdir()) == stored
    assert [file.name for sample in case.record.samples for file in sample.files] == [
        "etc/passwd",
        "C:/x/b.csv",
        "a/b.csv.gz",
    ]


def test_a_file_moves_to_another_sample_and_to_one_of_its_own(case):
    case.add(FILES, ["ir"])
    assert case.regroup("f3", "s1") == "s1"
    assert [s.id for s in case.record.samples] == ["s1"]
    assert case.regroup("f1", None) == "s3"
    assert [f.id for f in case.sample("s1").files] == ["f2", "f3"]


def test_entries_of_a_file_become_samples_that_share_it(case):
    case.add({"batch.mgf": b"entries"}, [])
    assert case.split("s1", 3, 500) == ["s1", "s2", "s3"]
    assert [(s.name, s.files[0].entry, s.files[0].stored) for s in case.record.samples] == [
        ("batch#1", 1, "f1.mgf"),
        ("batch#2", 2, "f1.mgf"),
        ("batch#3", 3, "f1.mgf"),
    ]
    case.remove(["s1", "s2"])
    assert (case.folder / "files" / "f1.mgf").exists()
    case.remove(["s3"])
    assert not (case.folder / "files" / "f1.mgf").exists()


def test_ids_are_never_given_again(case):
    case.add({"a.csv": b"1"}, [])
    case.remove(["s1"])
    assert case.add({"a.csv": b"1"}, []) == ["s2"]
    with pytest.raises(NotInCase, match="sample 's1' is not in this case"):
        case.sample("s1")


def test_an_answers_key_depends_on_what_the_answer_does(case):
    case.add(FILES, ["ir"])
    keys = {case.key(case.sample("s1"))}
    for change in ({"clean": {"ir": "baseline"}}, {"asked": {"formula": "C2H6O"}}):
        case.change_sample("s1", **change)
        keys.add(case.key(case.sample("s1")))
    case.change(asked=Question(elements="C,H"))
    keys.add(case.key(case.sample("s1")))
    case.choose_candidates("ordinary")
    keys.add(case.key(case.sample("s1")))
    case.choose_run("pretrained", "0" * 64)
    keys.add(case.key(case.sample("s1")))
    assert len(keys) == 6
    case.change_sample("s1", comment="seen", name="other", decision="rejected")
    assert case.key(case.sample("s1")) in keys


def test_what_is_not_as_it_was_is_said(case):
    case.add(FILES, [])
    assert case.differences() == []
    case.path_of(case.file("f1")[1]).write_bytes(b"other")
    case.path_of(case.file("f3")[1]).unlink()
    (case.folder / "lists" / case.record.candidates.stored).write_text("CCC")
    said = case.differences()
    assert [line.partition(";")[0] for line in said] == [
        "file 'a.ir.csv' was changed since it was added",
        "file 'b.jdx' is missing in the case",
        "candidates 'mine.smi' are not the same any more",
    ]


def test_versions_that_made_its_answers_are_compared(case):
    values = json.loads((case.folder / CASE_FILE).read_text())
    values["versions"]["rdkit"] = "2001.1"
    (case.folder / CASE_FILE).write_text(json.dumps(values))
    with reopened(case) as again:
        assert again.differences()[0].startswith("rdkit is ")


def test_a_case_moves_with_its_list(case, tmp_path, smiles):
    case.add(FILES, [])
    case.close()
    moved = shutil.move(case.folder, tmp_path / "elsewhere")
    smiles.unlink()
    with Case.open(tmp_path / "elsewhere") as again:
        assert again.differences() == []
        assert again.candidates_source().read_text().startswith("CCO")
    assert moved == tmp_path / "elsewhere"


def test_a_case_is_open_once(case):
    with pytest.raises(DataError, match="is open in another molchord"):
        Case.open(case.folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is damaged"),
        ('{"kind": "molchord case", "format": 99}', "has format 99"),
        ('{"kind": "molchord case"}', "is damaged (`versions`: Field required)"),
        ("[]", "is damaged"),
    ],
)
def test_a_damaged_case_is_refused_and_left_as_it_is(case, content, said):
    (case.folder / CASE_FILE).write_text(content)
    case.close()
    with pytest.raises(DataError) as caught:
        Case.open(case.folder)
    assert said in str(caught.value)
    assert (case.folder / CASE_FILE).read_text() == content


def test_a_stored_name_that_leaves_the_folder_is_refused(case):
    case.add({"a.csv": b"1"}, [])
    values = json.loads((case.folder / CASE_FILE).read_text())
    values["samples"][0]["files"][0]["stored"] = "../case.json"
    (case.folder / CASE_FILE).write_text(json.dumps(values))
    case.close()
    with pytest.raises(DataError, match=r"samples\.0\.files\.0\.stored"):
        Case.open(case.folder)


def test_a_change_that_cannot_be_written_changes_nothing(case, monkeypatch):
    case.add(FILES, [])
    before = case.record
    monkeypatch.setattr("os.replace", _full)
    with pytest.raises(OutputError):
        case.change_sample("s1", comment="new")
    assert case.record == before
    assert "new" not in (case.folder / CASE_FILE).read_text()


def _full(*_):
    raise OSError(28, "No space left on device")


def test_something_else_is_never_made_a_case(tmp_path):
    (tmp_path / "thesis.docx").write_text("years of work")
    with pytest.raises(OutputError, match="something else is there"):
        Case.create(tmp_path, run="pretrained", candidates="ordinary")
    with pytest.raises(DataError, match="do not exist"):
        Case.create(tmp_path / "new", run="pretrained", candidates="no such list")


# --- what a user names -----------------------------------------------------------------------------------------------


def test_spectra_have_their_case_beside_them(tmp_path, smiles):
    folder = tmp_path / "spectra"
    folder.mkdir()
    (folder / "a.jdx").write_text("##TITLE=a")
    (folder / "notes.docx").write_text("notes")
    with opened(folder, candidates=str(smiles)) as case:
        assert case.folder == tmp_path / "spectra.case"
        new, said = spectra_in(folder, case)
        assert [*new] == ["a.jdx"]
        assert "notes.docx" in said
        case.add(new, [])
        assert spectra_in(folder, case)[0] == {}
    with opened(tmp_path / "spectra.case") as again:
        assert again.record.candidates.name == "mine.smi"
    with opened(folder, candidates="ordinary") as again:
        assert (again.record.candidates.source, len(again.record.samples)) == ("ordinary", 1)


def test_a_case_is_read_without_torch(tmp_path):
    code = (
        "import sys, molchord.case.opening as o\n"
        f"case = o.opened({str(tmp_path / 'new')!r}); case.add({{'a.csv': b'1'}}, ['ir']); case.differences()\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
