"""Clean-up of a query: what a person writes, what a search does with it and records, and the command line."""

import json
import re

import numpy as np
import pytest

from molchord.api import Measurement
from molchord.clean_up import cleaning_of
from molchord.cli.main import main
from molchord.errors import QueryError
from molchord.testing import tiny_run

X = np.arange(400.0, 4001.0, 2.0)
BANDS = sum(h / (1 + ((X - c) / w) ** 2) for c, w, h in ((1050, 12, 0.6), (1720, 10, 1.0), (2950, 25, 0.8)))
SLOPED = Measurement(arrays={"wavenumber": X, "absorbance": BANDS + 0.6 - 1.5e-4 * X}, columns={"origin": "measured"})
SMILES = ["CCO", "CC#N", "CSC"]


@pytest.fixture(scope="module")
def run():
    return tiny_run()


@pytest.fixture(scope="module")
def library(run, tmp_path_factory):
    return run.library(SMILES, tmp_path_factory.mktemp("clean") / "library")


def test_a_search_cleans_up_and_records_every_setting(run, library):
    with pytest.warns(UserWarning, match="subtract it, as `--clean baseline` does"):
        plain = run.search(library, ir=SLOPED)
    hits = run.search(library, ir=SLOPED, clean="baseline,crop=500:4000")
    assert plain.cleaned == {}
    assert hits.cleaned == {
        "ir": [{"step": "baseline", "stiffness": 1e6}, {"step": "crop", "low": 500.0, "high": 4000.0}]
    }
    assert hits[0].quality_warnings == ()
    modality = run.modalities["ir"]
    by_hand = modality.clean(SLOPED, cleaning_of("baseline,crop=500:4000", modality, "ir"))
    assert [hit.score for hit in run.search(library, ir=by_hand)] == [hit.score for hit in hits]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("bleach", "step 'bleach' of clean-up is unknown for 'ir'; "),
        ("crop=4000:500", r"step 'crop=4000:500' .*`low` 4000 must be below `high` 500; write crop\[=LOW:HIGH\]"),
        ("crop=1:2:3", "has 3 settings, 2 at most"),
        ("crop=a:2", "step 'crop=a:2' of clean-up: low: Input should be a valid number"),
        ({"raman": "baseline"}, "clean-up is asked for 'raman', which is not in the query"),
        ("crop=10:20", "the clean-up of 'ir' failed: the step `crop=10:20` leaves 0 points"),
    ],
)
def test_wrong_steps_are_refused_in_one_sentence(run, library, steps, message):
    with pytest.raises(QueryError, match=message):
        run.search(library, ir=SLOPED, clean=steps)


def test_read_draws_before_and_after(tmp_path, capsys):
    file, plain, both = (tmp_path / name for name in ("sloped.csv", "plain.svg", "both.svg"))
    rows = zip(X, SLOPED.arrays["absorbance"], strict=True)
    file.write_text("cm-1,absorbance\n" + "".join(f"{x:g},{y:.6f}\n" for x, y in rows))
    assert main(["read", str(file), "--plot", str(plain)]) == 0
    assert main(["read", str(file), "--clean", "baseline", "--plot", str(both)]) == 0
    said = capsys.readouterr().out.partition("cleaned up        baseline (stiffness 1e+06)")
    assert "warning" in said[0]
    assert said[1]
    assert "warning" not in said[2]
    curves = [len(re.findall(r' d="[^"]{500,}"', drawing.read_text())) for drawing in (plain, both)]
    assert curves == [1, 2]


def test_the_command_line_cleans_up_and_says_so(run, library, tmp_path, capsys):
    file = tmp_path / "sloped.csv"
    rows = zip(X, SLOPED.arrays["absorbance"], strict=True)
    file.write_text("cm-1,absorbance\n" + "".join(f"{x:g},{y:.6f}\n" for x, y in rows))
    words = ["search", str(run.path), str(library.path), "--ir", str(file), "--clean", "baseline,co2"]
    assert main(words) == 0
    assert "ir: cleaned up by baseline (stiffness 1e+06), co2 (low 2300, high 2400)" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    assert [step["step"] for step in json.loads(capsys.readouterr().out)[0]["cleaned"]["ir"]] == ["baseline", "co2"]


def test_read_cleans_up_what_has_steps_and_reads_the_rest_as_it_is(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("cm-1,absorbance\n" + "".join(f"{x:g},{x / 4000:.4f}\n" for x in X))
    (tmp_path / "b.mgf").write_text("BEGIN IONS\nPEPMASS=100.1\n79.05 100\n91.05 40\nEND IONS\n")
    files = [str(tmp_path / "b.mgf"), str(tmp_path / "a.csv")]
    assert main(["read", *files, "--clean", "co2"]) == 0
    assert capsys.readouterr().out.count("cleaned up") == 1
    assert main(["read", *files, "--clean", "msms=co2"]) == 1
    assert "'msms' has no steps of clean-up" in capsys.readouterr().err
