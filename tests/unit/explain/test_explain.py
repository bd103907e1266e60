"""Why a hit was found: figures against embeddings made by hand, drawings, and the command."""

import dataclasses
import itertools
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

import molchord as mc
from molchord.api import Trace
from molchord.cli.main import main
from molchord.errors import QueryError
from molchord.explain.peaks import peaks_of
from molchord.look.spectra import explanation_file
from molchord.testing import examples_of, tiny_data, tiny_run

ROOT = Path(__file__).parents[3]
SMILES = ["CCO", "CC(C)=O", "CC#N", "c1ccccc1", "CSC"]


@pytest.fixture(scope="module")
def run():
    return tiny_run()


@pytest.fixture(scope="module")
def library(run):
    return run.library(SMILES)


@pytest.fixture(scope="module")
def unknown():
    return examples_of("ir", 2)[1]


@pytest.fixture(scope="module")
def hits(run, library, unknown):
    return run.search(library, ir=unknown)


def test_a_reason_is_what_the_similarity_loses_without_the_part(run, hits, unknown):
    why = run.explain(hits, ir=unknown, others=3)
    ir = run.modalities["ir"]
    vectors = run.embed("structure", [why.hit.smiles, *(one.smiles for one in why.others)]).astype(np.float64)
    scale = run.manifest.beta.get(1, 1.0) / run.manifest.tau["ir"]
    whole = run.embed("ir", ir.without(unknown, ()))[0].astype(np.float64)
    assert why.similarity["ir"] == pytest.approx(vectors[0] @ whole, abs=1e-5)
    assert len(why.reasons["ir"]) == 69  # half-overlapping ranges of 100 from 500 to 4000
    for reason in why.reasons["ir"][::20]:
        without = run.embed("ir", ir.without(unknown, [reason.window]))[0].astype(np.float64)
        assert reason.similarity == pytest.approx(vectors[0] @ (whole - without), abs=1e-5)
        before, after = (np.exp(scale * (vectors @ one)) for one in (whole, without))
        fall = math.log(before[0] / before[1:].sum()) - math.log(after[0] / after[1:].sum())
        assert reason.odds == pytest.approx(fall, abs=1e-3)


def test_the_first_reasons_do_not_overlap_and_what_speaks_against_is_apart(run, hits, unknown):
    why = run.explain(hits, ir=unknown)
    first = why.first("ir", 5)
    values = [reason.similarity for reason in first]
    assert values == sorted(values, reverse=True)
    assert min(values) > 0
    ends = sorted((reason.window.start, reason.window.stop) for reason in first)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(ends))
    assert all(reason.similarity < 0 for reason in why.first("ir", 5, against=True))


def test_any_hit_can_be_explained_and_one_that_is_not_there_is_refused(run, hits, unknown):
    third = run.explain(hits, ir=unknown, hit=3)
    assert third.hit == hits[2]
    assert [one.rank for one in third.others] == [1, 2, 4, 5]
    with pytest.raises(
        QueryError, match="hit 9 cannot be explained, as there is no such hit; the ranks found are 1 to 5"
    ):
        run.explain(hits, ir=unknown, hit=9)
    with pytest.raises(QueryError, match="the ranks found are none"):
        run.explain([], ir=unknown)
    with pytest.raises(QueryError, match="`others` is -1"):
        run.explain(hits, ir=unknown, others=-1)


def test_a_hit_alone_has_no_odds(run, hits, unknown):
    assert {reason.odds for reason in run.explain(hits[:1], ir=unknown).reasons["ir"]} == {None}


def test_several_spectra_count_as_one_with_the_part_left_out_of_all(run, hits, unknown):
    one, twice = run.explain(hits, ir=unknown), run.explain(hits, ir=[unknown, dataclasses.replace(unknown)])
    for single, double in zip(one.reasons["ir"], twice.reasons["ir"], strict=True):
        assert double.similarity == pytest.approx(single.similarity, abs=1e-5)


def test_a_spectrum_of_the_candidate_is_found_in_a_data_set(run, library, unknown):
    hits = run.search(library, ir=unknown)
    there = run.explain(hits, ir=unknown, against=tiny_data())
    assert list(there.below) == ["ir"]
    lacking = [dataclasses.replace(hits[0], key14="AAAAAAAAAAAAAA")]
    assert run.explain(lacking, ir=unknown, against=tiny_data()).below == {}
    given = run.explain(hits, ir=unknown, against={"ir": unknown}).below["ir"]
    np.testing.assert_array_equal(given.height, there.traces["ir"].height)


# --- the shipped model on spectra that it has not seen -----------------------------------------------------------------


def test_the_parts_named_decide_more_than_others_and_are_those_of_the_molecule():
    """Acetamiprid, whose nitrile and chloropyridylmethyl a chemist would look for."""
    run, folder = mc.load("pretrained", device="cpu"), ROOT / "examples" / "unknown-ordinary"
    spectra = {"ir": folder / "ir.csv", "msms": folder / "msms.mgf"}
    library = run.library(["CC(=NC#N)N(C)Cc1ccc(Cl)nc1", "CC(=O)Nc1ccc(O)cc1", "CCOC(=O)c1ccccc1", "CN1CCCC1c1cccnc1"])
    hits = run.search(library, **spectra)
    why = run.explain(hits, **spectra)
    assert why.hit.smiles == "CC(=NC#N)N(C)Cc1ccc(Cl)nc1"
    assert "C#N stretching" in {note for reason in why.first("ir", 2) for note in reason.notes}
    assert why.first("msms", 1)[0].notes[0].startswith("C6H5ClN+")
    named = [reason.window for reason in why.first("ir", 3)]
    free = [
        r.window for r in why.reasons["ir"] if all(r.window.stop <= n.start or r.window.start >= n.stop for n in named)
    ]
    ir = run.modalities["ir"]
    [whole] = run.measurements("ir", spectra["ir"])
    choices = [named, *(free[start::2][start * 7 : start * 7 + 3] for start in range(4))]
    rows = run.embed("ir", [whole, *(ir.without(whole, choice) for choice in choices)])
    fall = (rows[0] - rows[1:]) @ run.embed("structure", [why.hit.smiles])[0]
    assert fall[0] > 2 * fall[1:].max()


# --- drawings --------------------------------------------------------------------------------------------------------


def test_a_drawing_has_the_spectrum_its_peaks_and_the_candidates_below(run, hits, unknown):
    why = run.explain(hits, ir=unknown, against={"ir": unknown})
    text = explanation_file(why).decode()
    assert text == explanation_file(why).decode()
    assert "below it a spectrum of the candidate" in text
    place = {tick: float(x) for x, tick in re.findall(r' x="([\d.]+)"[^>]*>(4000|500)<', text)}
    assert place["4000"] < place["500"]
    highest = why.traces["ir"].position[peaks_of(why.traces["ir"])[0]]
    assert text.count(f">{highest:.0f}<") == 2
    assert explanation_file(why, "png")[:8] == b"\x89PNG\r\n\x1a\n"


def test_noise_has_no_peaks_and_a_gap_is_none():
    noise = np.random.default_rng(0).normal(0, 0.002, 400)
    band = np.exp(-((np.arange(400.0) - 100) ** 2) / 50)
    height = band + noise
    height[300:350] = np.nan
    trace = Trace(position=np.arange(400.0), height=height, axis="", scale="")
    assert [round(float(trace.position[index]) / 5) for index in peaks_of(trace)] == [20]


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path, library, unknown, run):
    curved = run.modalities["ir"].without(unknown, ()).arrays
    rows = zip(curved["wavenumber"].tolist(), curved["absorbance"].tolist(), strict=True)
    (tmp_path / "a.csv").write_text("cm-1,absorbance\n" + "\n".join(f"{x},{y}" for x, y in rows))
    return [str(run.path), str(library.path), "--ir", str(tmp_path / "a.csv")]


@pytest.mark.filterwarnings("ignore:the measurement of", "ignore:the query of")
def test_the_command_says_why_and_draws(files, tmp_path, capsys):
    picture = tmp_path / "why.svg"
    assert main(["explain", *files, "--hit", "2", "--plot", str(picture), "--against", str(tiny_data().path)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("hit 2: ")
    assert "held against 4 other first hits" in said
    assert "it loses" in said
    assert picture.read_text().startswith("<?xml")
    assert main(["explain", *files, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["hit"]["rank"] == 1
    assert set(found["reasons"]["ir"][0]) == {"modality", "window", "similarity", "odds", "peak", "notes"}


def test_a_drawing_of_another_form_is_refused(files, capsys):
    assert main(["explain", *files, "--plot", "why.pdf"]) == 2
    assert "`--plot` got 'why.pdf'; give a file that ends in .svg or .png" in capsys.readouterr().err
