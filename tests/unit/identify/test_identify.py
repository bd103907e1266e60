"""One answer per sample: what is read, what fails, what is kept, and what is written."""

import csv
import json

import numpy as np
import pytest

from molchord.api import StatedMass
from molchord.cli.main import main
from molchord.errors import QueryError
from molchord.identify import batch
from molchord.identify.journal import ANSWERS
from molchord.library.cache import cached_library
from molchord.testing import tiny_data, tiny_run

LIST = (
    "name,smiles,price\n"
    "<script>alert(1)</script>,CCO,=1+1\n"
    "acetonitrile,CC#N,-12.5\n"
    "+cmd,CSC,$$$$\n"
    "benzene,c1ccccc1,\n"
    "acetone,CC(C)=O,3\n"
)


@pytest.fixture(scope="module")
def run():
    return tiny_run()


@pytest.fixture(scope="module")
def place(run, tmp_path_factory):
    """A folder with a list of candidates, embedded already."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "list.csv").write_text(LIST)
    cached_library(run.embedder, folder / "list.csv", run=run.id, cache=folder / "cache")
    return folder


def curve(center, title="wavenumber (cm-1),absorbance"):
    x = np.arange(500.0, 4000.0, 4.0)
    return f"{title}\n" + "".join(
        f"{a:.1f},{b:.6f}\n" for a, b in zip(x, 1 / (1 + ((x - center) / 30) ** 2), strict=True)
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    for name, center in (("a.ir.csv", 1700), ("b.csv", 1100), ("c.ir.txt", 2200)):
        (tmp_path / "in" / name).write_text(curve(center))
    return tmp_path / "in"


def identify(run, place, files, out=None, **more):
    return run.identify(files, place / "list.csv", out=out, cache=place / "cache", k=3, **more)


# --- answers


def test_each_sample_has_its_own_answer_the_one_that_a_search_gives(run, place, folder):
    found = identify(run, place, folder)
    assert [answer.sample for answer in found.answers] == ["a", "b", "c"]
    assert found.failures == ()
    library = cached_library(run.embedder, place / "list.csv", run=run.id, cache=place / "cache")
    for answer, name in zip(found.answers, ("a.ir.csv", "b.csv", "c.ir.txt"), strict=True):
        hits = run.search(library, ir=folder / name, k=3)
        assert [hit.smiles for hit in answer.hits] == [hit.smiles for hit in hits]
        assert [hit.score for hit in answer.hits] == pytest.approx([hit.score for hit in hits], rel=1e-4)
        assert answer.hits[0].quality_warnings == hits[0].quality_warnings
        assert answer.candidates == 5
        assert answer.read == (f"ir: {name} (875 points, wavenumber 500 to 3996)",)


def test_limits_are_of_all_samples_or_of_one_by_the_table(run, place, folder):
    (folder / "t.csv").write_text("sample,file,formula,mass\nA,a.ir.csv,C2H6O,\nB,b.csv,,41.0265\nC,c.ir.txt,,\n")
    found = identify(run, place, (), samples=folder / "t.csv", elements="C,H,N,O")
    assert [[hit.smiles for hit in answer.hits] for answer in found.answers[:2]] == [["CCO"], ["CC#N"]]
    assert {hit.smiles for hit in found.answers[2].hits} <= {"CCO", "CC#N", "c1ccccc1", "CC(C)=O"}
    assert found.answers[0].asked == {"formula": "C2H6O", "elements": "C,H,N,O"}


def test_bad_input_fails_its_sample_in_one_sentence_and_the_batch_goes_on(run, place, folder):
    (folder / "photo.jdx").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00")
    (folder / "empty.ir.csv").write_text("")
    (folder / "plain.csv").write_text("1 2 3\nwords\n")
    (folder / "a.ir.gz").write_bytes(b"not gzip")  # a second file of sample a
    found = identify(run, place, folder)
    assert [answer.sample for answer in found.answers] == ["b", "c"]
    reasons = {failure.sample: failure.reason for failure in found.failures}
    assert reasons.keys() == {"a", "empty", "photo", "plain"}
    for sample, file in (("a", "a.ir.gz"), ("empty", "empty.ir.csv"), ("photo", "photo.jdx"), ("plain", "plain.csv")):
        assert file in reasons[sample]
        assert "\n" not in reasons[sample]
    assert "NAME.ir.csv, or in a column `modality` of a samples table" in reasons["photo"]


def test_a_sample_without_a_candidate_left_fails_alone(run, place, folder):
    (folder / "t.csv").write_text("sample,file,formula\nA,a.ir.csv,C60\nB,b.csv,\n")
    found = identify(run, place, (), samples=folder / "t.csv")
    assert [answer.sample for answer in found.answers] == ["B"]
    [failure] = found.failures
    assert failure.sample == "A"
    assert failure.reason.startswith("'a.ir.csv': no candidate of the list (5 in all) passes the filters; widen")


def test_entries_of_a_file_alone_are_samples_but_with_a_table_one(run, place, tmp_path):
    entry = "##TITLE={0}\n##JCAMP-DX=4.24\n##DATA TYPE=INFRARED SPECTRUM\n##XUNITS=1/CM\n##YUNITS=ABSORBANCE\n"
    entry += "##FIRSTX=500\n##LASTX=4000\n##DELTAX=20\n##NPOINTS=176\n##XFACTOR=1\n##YFACTOR=0.001\n"
    entry += "##FIRSTY={2}\n##XYDATA=(X++(Y..Y))\n{1}\n##END=\n"
    points = [{x: abs(x - c) for x in range(500, 4001, 20)} for c in (900, 2500)]
    link = "##TITLE=both\n##JCAMP-DX=4.24\n##DATA TYPE=LINK\n##BLOCKS=2\n"
    lines = ["\n".join(f"{x} {y}" for x, y in one.items()) for one in points]
    blocks = [entry.format(name, *one) for name, *one in zip("xy", lines, (0.4, 2.0), strict=True)]
    text = link + "".join(blocks) + "##END=\n"
    (tmp_path / "two.jdx").write_text(text)
    assert [answer.sample for answer in identify(run, place, tmp_path / "two.jdx").answers] == ["two#1", "two#2"]
    (tmp_path / "t.csv").write_text("sample,file\nboth,two.jdx\n")
    [answer] = identify(run, place, (), samples=tmp_path / "t.csv").answers
    assert (answer.sample, len(answer.read)) == ("both", 2)


def test_spectra_are_cleaned_up_and_compared_with_references_as_a_search_does(run, place, folder):
    more = {"clean": "crop=600:3900", "references": tiny_data()}
    found = identify(run, place, folder / "b.csv", **more)
    library = cached_library(run.embedder, place / "list.csv", run=run.id, cache=place / "cache")
    hits = run.search(library, ir=folder / "b.csv", k=3, **more)
    [answer] = found.answers
    assert [hit.smiles for hit in answer.hits] == [hit.smiles for hit in hits]
    assert {hit.reference for hit in answer.hits} <= {"measured reference", "computed reference", "structure only"}
    assert answer.hits[0].reference is not None
    plain = identify(run, place, folder / "b.csv").answers[0]
    assert plain.hits[0].reference is None


def test_a_precursor_gives_the_mass_of_samples_that_state_one(run, place, tmp_path, monkeypatch):
    (tmp_path / "a.ir.csv").write_text(curve(1700))
    (tmp_path / "b.ir.csv").write_text(curve(1100))
    ethanol = StatedMass(mz=47.0491, adduct="[M+H]+", masses={"[M+H]+": 46.0419}, tolerance=0.01)
    monkeypatch.setattr(
        type(run.modalities["ir"]),
        "stated_mass",
        lambda _, one: ethanol if one.arrays["absorbance"][300] > 0.5 else None,
        raising=False,
    )
    found = {answer.sample: answer for answer in identify(run, place, tmp_path, use_precursor=True).answers}
    assert found["a"].candidates == 1
    assert found["a"].hits[0].smiles == "CCO"
    assert found["b"].candidates == 5


# --- what is kept


@pytest.fixture
def counted(monkeypatch):
    """The samples that were searched for, which are not those that were done before."""
    searched = []
    original = batch.search
    monkeypatch.setattr(batch, "search", lambda *given, **more: searched.append(1) or original(*given, **more))
    return searched


def test_a_batch_goes_on_where_it_stopped(run, place, folder, tmp_path, counted, monkeypatch):
    out = tmp_path / "result"
    original = batch.search

    def killed(*given, **more):
        if len(counted) == 2:
            raise KeyboardInterrupt
        return original(*given, **more)

    monkeypatch.setattr(batch, "search", killed)
    with pytest.raises(KeyboardInterrupt):
        identify(run, place, folder, out)
    monkeypatch.setattr(batch, "search", original)
    with (out / ANSWERS).open("ab") as file:
        file.write(b'{"digest": "cut sh')  # a kill in the middle of a line
    counted.clear()
    found = identify(run, place, folder, out)
    assert len(counted) == 1
    for answer, other in zip(found.answers, identify(run, place, folder, tmp_path / "whole").answers, strict=True):
        assert [hit.smiles for hit in answer.hits] == [hit.smiles for hit in other.hits]
        # What is embedded together with others differs in the last bits.
        assert [hit.score for hit in answer.hits] == pytest.approx([hit.score for hit in other.hits], rel=1e-4)
    counted.clear()
    (folder / "d.ir.csv").write_text(curve(3000))
    assert len(identify(run, place, folder, out).answers) == 4
    assert len(counted) == 1  # a file more is a sample more


def test_changed_input_and_options_are_refused_unless_forced(run, place, folder, tmp_path, counted):
    out = tmp_path / "result"
    identify(run, place, folder, out)
    (folder / "a.ir.csv").write_text(curve(1500))
    with pytest.raises(
        QueryError, match="sample 'a' was answered .* before its files, or its row of the table, changed"
    ):
        identify(run, place, folder, out)
    counted.clear()
    identify(run, place, folder, out, force=True)
    assert len(counted) == 1
    assert len(identify(run, place, folder, out).answers) == 3
    with pytest.raises(QueryError, match=r"was made with fusion 'gm-exp', and this is fusion 'gm-half'"):
        identify(run, place, folder, out, fusion="gm-half")
    with pytest.raises(QueryError, match="changed"):
        identify(run, place, folder, out, elements="C,H,O,N,S")
    (out / ANSWERS).write_text("no journal\nat all\n")
    with pytest.raises(QueryError, match="is damaged"):
        identify(run, place, folder, out)
    assert len(identify(run, place, folder, out, force=True).answers) == 3


def test_a_folder_of_something_else_is_not_written_into(run, place, folder, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("words")
    with pytest.raises(QueryError, match="holds files of something else"):
        identify(run, place, folder, tmp_path / "thesis")
    with pytest.raises(QueryError, match="is a file"):
        identify(run, place, folder, tmp_path / "thesis" / "chapter.txt")


# --- what is written


@pytest.fixture(scope="module")
def written(run, place, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    (folder / "=evil.ir.csv").write_text(curve(1700))
    (folder / "broken.ir.csv").write_text("")
    found = run.identify(folder, place / "list.csv", out=folder / "out", cache=place / "cache")
    return found, folder / "out"


def test_the_table_has_a_row_per_hit_with_the_columns_of_the_list_and_nothing_a_spreadsheet_would_run(written):
    found, out = written
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "sample", "rank", "name", "SMILES", "formula", "probability", "none", "warnings", "files", "price",
    ]  # fmt: skip
    assert [row["SMILES"] for row in rows] == [hit.smiles for hit in found.answers[0].hits]
    by_smiles = {row["SMILES"]: row for row in rows}
    assert by_smiles["CCO"]["price"] == "'=1+1"
    assert by_smiles["CC#N"]["price"] == "-12.5"  # a number is a number
    assert by_smiles["CSC"]["name"] == "'+cmd"
    assert {row["sample"] for row in rows} == {"'=evil"}
    with (out / "failures.csv").open(newline="", encoding="utf-8") as file:
        assert [(row["sample"], row["files"]) for row in csv.DictReader(file)] == [("broken", "broken.ir.csv")]


def test_json_has_everything_as_it_was(written):
    found, out = written
    content = json.loads((out / "results.json").read_text(encoding="utf-8"))
    [answer] = content["answers"]
    assert answer["sample"] == "=evil"
    assert {hit["name"] for hit in answer["hits"]} >= {"<script>alert(1)</script>", "+cmd"}
    assert [hit["smiles"] for hit in answer["hits"]] == [hit.smiles for hit in found.answers[0].hits]
    assert content["failures"][0]["sample"] == "broken"


def test_the_sd_file_is_read_back_with_its_properties(written):
    from molchord.data.candidates import candidates_of

    found, out = written
    entries = list(candidates_of(out / "hits.sdf"))
    assert [entry.notation for entry in entries] == [hit.smiles for hit in found.answers[0].hits]
    sulfide = next(entry for entry in entries if entry.notation == "CSC")
    assert sulfide.name == "+cmd"
    assert sulfide.columns["sample"] == "=evil"
    assert sulfide.columns["price"] == "$$$$"  # which ends no entry


def test_the_page_shows_every_sample_and_escapes_what_it_shows(written):
    _, out = written
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    assert "src=" not in page  # nothing is fetched
    assert page.count("<figure>") == 1
    assert page.count('class="structure"') == 5
    assert "broken.ir.csv" in page


# --- the command line


def test_the_command_says_how_files_were_grouped_and_that_some_failed(run, place, folder, tmp_path, capsys):
    given = ["identify", str(folder), "--candidates", str(place / "list.csv"), "--run", str(run.path)]
    given += ["--cache", str(place / "cache"), "--out"]
    assert main([*given, str(tmp_path / "good")]) == 0
    said = capsys.readouterr().out
    assert "a: a.ir.csv (ir)" in said
    assert "3 answered" in said
    (folder / "empty.ir.csv").write_text("")
    assert main([*given, str(tmp_path / "bad"), "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert (len(content["answers"]), content["failures"][0]["sample"]) == (3, "empty")
    assert main([*given, str(tmp_path / "other"), "--k", "0"]) == 2
    assert "must be a whole number of at least 1" in capsys.readouterr().err


def test_embedding_a_list_says_what_was_merged(run, tmp_path, capsys):
    (tmp_path / "list.csv").write_text("name,smiles\nacetate,CC(=O)[O-]\nacetic acid,CC(=O)O\n")
    assert main(["embed", str(run.path), str(tmp_path / "list.csv"), "--out", str(tmp_path / "library")]) == 0
    assert "1 merged with another row of the same molecule (named in merged.csv)" in capsys.readouterr().out
