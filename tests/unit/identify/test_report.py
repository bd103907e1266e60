"""The page of answers: what a chemist reads, hostile and extreme content, and its size."""

import re
import time
from html.parser import HTMLParser

import numpy as np
import pytest

from molchord.api import Trace
from molchord.cli.main import main
from molchord.identify.answers import Answer, Identified
from molchord.identify.measured import measured_for
from molchord.identify.pictures import Pictured
from molchord.identify.reading import Failure
from molchord.identify.report import write_page
from molchord.library.hits import Hit
from molchord.look.spectra import spectrum_svg
from molchord.run_place import SHIPPED
from molchord.testing import examples_of, tiny_run

HOSTILE = "</style><script>alert(1)</script>\"'<img src=x onerror=alert(1)>"
LONG = "CC(C)" * 60 + "[N+](=O)[O-]"


@pytest.fixture(scope="module")
def run():
    return tiny_run()


def hit(rank=1, **changes):
    given = {
        "rank": rank, "key14": "A", "smiles": "CC(=O)Nc1ccc(O)cc1", "formula": "C8H9NO2", "exact_mass": 151.0633,
        "score": 0.5, "cosines": {"ir": 0.5}, "probability": 0.25,
    }  # fmt: skip
    return Hit(**given | changes)


def answer(sample="one", **changes):
    given = {
        "sample": sample, "files": ("a.csv",), "read": ("ir: a.csv (875 points, wavenumber 500 to 3996)",),
        "asked": {"mass": 151.06, "ppm": 10.0}, "hits": (hit(), hit(2, smiles="CCO", probability=0.05)),
        "none_of_these": 0.2, "candidates": 2538, "uncalibrated": (), "warnings": (),
        "summary": ("none of these: 20.0 %",),
    }  # fmt: skip
    return Answer(**given | changes)


def page_of(run, path, answers, failures=(), pictures=None, notes=("2,538 candidates",)):
    found = Identified(answers=tuple(answers), failures=tuple(failures), notes=notes)
    write_page(found, path, title="batch", embedder=run.embedder, manifest=run.manifest, pictures=pictures)
    return path.read_text(encoding="utf-8")


class Elements(HTMLParser):
    """Names and attributes of the elements of a page."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_the_page_says_what_was_read_found_and_how_far_the_mass_is(run, tmp_path):
    page = page_of(run, tmp_path / "r.html", [answer()])
    for text in ("IR: a.csv", "C₈H₉NO₂", "151.0633 Da", "+21.8 ppm", "25.0 %", "None of these", "20.0 %"):
        assert text in page
    assert "compared with 2,538 candidates with mass 151.06; ppm 10" in page
    assert page.index("C₈H₉NO₂") < page.index("None of these")


def test_none_of_these_comes_first_where_it_is_more_probable_than_every_candidate(run, tmp_path):
    page = page_of(run, tmp_path / "r.html", [answer(none_of_these=0.6)])
    assert page.index("None of these") < page.index("C₈H₉NO₂")
    unstated = answer(none_of_these=0.3, hits=(hit(probability=None),))
    page = page_of(run, tmp_path / "r.html", [unstated])  # above a half, had it been calibrated
    assert page.index("no probability stated") < page.index("None of these")


def test_no_text_from_a_file_becomes_markup(run, tmp_path):
    first = hit(
        name=HOSTILE, smiles=HOSTILE, formula=HOSTILE, columns={HOSTILE: HOSTILE}, merged=(HOSTILE,),
        reference=HOSTILE, quality_warnings=(HOSTILE,), cosines={HOSTILE: 0.5},
    )  # fmt: skip
    bad = answer(
        HOSTILE, files=(HOSTILE,), read=(HOSTILE,), asked={HOSTILE: HOSTILE}, hits=(first,) * 12, summary=(HOSTILE,),
        warnings=(HOSTILE + "2",),
    )  # fmt: skip
    trace = Trace(position=np.array([1.0]), height=np.array([1.0]), axis=HOSTILE, scale=HOSTILE, sticks=True)
    shown = Pictured(
        modalities=("ir",), figures=((HOSTILE, spectrum_svg(trace, title=HOSTILE), HOSTILE),), done=(HOSTILE,),
        reasons=(HOSTILE,),
    )  # fmt: skip
    failed = Failure(sample=HOSTILE, files=(HOSTILE,), reason=HOSTILE)
    page = page_of(run, tmp_path / "r.html", [bad, answer()], [failed], {HOSTILE: shown}, notes=(HOSTILE,))
    elements = Elements(page).found
    assert [tag for tag, _ in elements].count("script") == 1  # that which sorts
    assert "img" not in [tag for tag, _ in elements]
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on")]


def test_the_page_asks_for_nothing_from_anywhere(run, tmp_path):
    elements = Elements(page_of(run, tmp_path / "r.html", [answer(), answer("two")])).found
    assert not [one for tag, one in elements if tag in ("link", "iframe", "object") or "src" in one]
    assert all(one["href"].startswith("#") for _, one in elements if "href" in one)


def test_twelve_techniques_one_peak_and_a_long_smiles_have_their_room(run, tmp_path):
    trace = Trace(position=np.array([105.0]), height=np.array([1.0]), axis="m/z", scale="", sticks=True)
    figures = tuple((f"technique {n}", spectrum_svg(trace), "") for n in range(12))
    shown = {"one": Pictured(modalities=("ir",), figures=figures)}
    page = page_of(run, tmp_path / "r.html", [answer(hits=(hit(smiles=LONG),))], pictures=shown)
    assert page.count("<figure>") == 12
    assert "[N+]<wbr>" in page  # which is never broken inside an atom


def test_advice_of_many_samples_is_given_once(run, tmp_path):
    same = [answer(name, warnings=("the spectrum is inverted", f"alone {name}")) for name in "abcd"]
    page = page_of(run, tmp_path / "r.html", same)
    assert page.count("the spectrum is inverted") == 1
    assert "<b>4 samples:</b> the spectrum is inverted" in page
    assert page.count("alone b") == 1


def test_three_hundred_samples_make_a_page_that_a_browser_takes(run, tmp_path):
    trace = examples_of("ir", 1)
    [drawn] = trace if isinstance(trace, list) else [trace]
    svg = spectrum_svg(run.modalities["ir"].trace(drawn))
    many = [answer(f"s{n}", hits=tuple(hit(rank) for rank in range(1, 6))) for n in range(300)]
    shown = {one.sample: Pictured(modalities=("ir",), figures=(("IR", svg, ""),)) for one in many}
    started = time.process_time()
    page = page_of(run, tmp_path / "r.html", many, pictures=shown)
    assert time.process_time() - started < 8
    assert len(page) < 7_000_000
    assert page.count("<figure>") == 300


def test_figures_of_the_shipped_run_are_those_of_its_card():
    card = (SHIPPED / "README.md").read_text()
    rows = measured_for(SHIPPED, [("carbon", "proton"), ("ir",), ("nothing",)])
    assert [row.spectra for row in rows[:2]] == [("carbon", "proton")] * 2
    for row in rows:
        cells = [f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]" for value, low, high in row.top]
        assert f"| {row.molecules:,} | {row.pool:,.0f} | {' | '.join(cells)} |" in card


def test_a_run_without_figures_or_with_damaged_ones_has_none(tmp_path):
    assert measured_for(tmp_path, [("ir",)]) == []
    (tmp_path / "figures.json").write_text('{"rows": [{}]}')
    assert measured_for(tmp_path, [("ir",)]) == []


@pytest.mark.filterwarnings("ignore:the measurement of", "ignore:the query of")
def test_a_search_writes_its_report(run, tmp_path, capsys):
    library = run.library(["CCO", "CC#N", "CSC"])
    x = np.arange(500.0, 4000.0, 4.0)
    rows = "".join(f"{a},{1 / (1 + ((a - 1700) / 30) ** 2)}\n" for a in x)
    (tmp_path / "mine.csv").write_text(f"wavenumber (cm-1),absorbance\n{rows}")
    given = ["search", str(run.path), str(library.path), "--ir", str(tmp_path / "mine.csv"), "--report"]
    page = tmp_path / "mine.html"
    assert main([*given, str(page)]) == 0
    text = page.read_text()
    assert "IR: mine.csv" in text
    assert len(re.findall(r'class="card hit', text)) == 3
    assert "shaded: what speaks most for candidate 1" in text
    assert main([*given, str(page)]) == 2
    assert "already exists" in capsys.readouterr().err
    assert main([*given, "mine.pdf"]) == 2
    assert "give a file that ends in .html" in capsys.readouterr().err
