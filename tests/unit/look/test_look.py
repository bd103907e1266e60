"""What pages and reports are made of: drawings, words and template parts, with damaged and hostile content."""

import re
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import numpy as np
import pytest

from molchord.api import Trace
from molchord.graph import ModelGraph
from molchord.look.canvas import standalone
from molchord.look.charts import LIGHT_INK, chart_svg
from molchord.look.spectra import Shade, spectra_file, spectrum_svg
from molchord.look.structures import structure_svgs
from molchord.look.templates import breakable, environment, sentence
from molchord.look.words import titles

HOSTILE = "</svg></style><script>alert(1)</script>\"'<img src=x onerror=alert(1)>&amp;"


def curve(**changes):
    x = np.linspace(500.0, 4000.0, 1751)
    y = np.exp(-(((x - 1716.0) / 15) ** 2)) + 0.5 * np.exp(-(((x - 2950.0) / 30) ** 2))
    given = {"position": x, "height": y, "axis": "wavenumber, cm^-1", "scale": "absorbance", "descending": True}
    return Trace(**given | changes)


def sticks(place, height):
    return Trace(position=np.array(place), height=np.array(height), axis="m/z", scale="intensity", sticks=True)


def x_of(svg, text):
    return float(re.search(rf'x="([\d.]+)"[^>]*>{text}<', svg)[1])


# --- spectra


def test_infrared_runs_from_high_to_low_and_its_highest_peaks_have_their_places():
    svg = spectrum_svg(curve(), title="IR")
    assert x_of(svg, "4000") < x_of(svg, "2950") < x_of(svg, "1716") < x_of(svg, "500")
    assert 'aria-label="IR, wavenumber, cm⁻¹ 4000 to 500; highest peaks at' in svg


def test_a_reference_is_mirrored_and_a_part_that_decides_is_shaded():
    svg = spectrum_svg(curve(), below=curve(), shaded=[Shade(1650.0, 1750.0, 0.2, "C=O")], legend=("mine", "theirs"))
    heights = [float(y) for y in re.findall(r'y="([\d.]+)"[^>]*>1716<', svg)]
    middle = float(re.search(r'viewBox="0 0 \d+ (\d+)"', svg)[1]) / 2
    assert min(heights) < middle < max(heights)
    left, width = (float(re.search(r'<rect x="([\d.]+)".*?width="([\d.]+)"', svg)[group]) for group in (1, 2))
    assert left < x_of(svg, "1716") < left + width
    assert "<title>C=O</title>" in svg
    assert ">theirs<" in svg


@pytest.mark.parametrize(
    "trace",
    [
        sticks([105.03], [1.0]),
        sticks([0.0], [0.0]),
        curve(height=np.full(1751, np.nan)),
        curve(height=np.zeros(1751)),
        curve(height=np.where(np.arange(1751) % 500 < 20, np.nan, 1.0)),
        Trace(position=np.array([1000.0]), height=np.array([1.0]), axis="", scale=""),
    ],
    ids=["one peak", "a peak of nothing", "nothing measured", "flat", "gaps", "one point"],
)
def test_every_spectrum_gives_a_drawing_of_finite_numbers(trace):
    svg = spectrum_svg(trace, below=trace, raw=trace, shaded=[Shade(100.0, 100.0), Shade(1000.0, 1100.0)])
    ElementTree.fromstring(svg)
    assert not re.search(r"nan|inf", svg)


def test_a_lone_peak_is_labelled_in_the_middle_of_its_axis():
    assert 250 < x_of(spectrum_svg(sticks([105.03], [1.0])), "105.03") < 390


def test_many_points_take_no_more_room_than_a_screen_shows():
    many = np.random.default_rng(0).random(100_000)
    svg = spectrum_svg(curve(position=np.linspace(500, 4000, len(many)), height=many))
    assert len(svg) < 12_000


def test_hostile_words_stay_words():
    trace = curve(axis=HOSTILE, scale=HOSTILE)
    svg = spectrum_svg(
        trace, below=trace, title=HOSTILE, legend=(HOSTILE, HOSTILE), shaded=[Shade(1e3, 2e3, 1.0, HOSTILE)]
    )
    file = spectra_file([(HOSTILE, trace, None)]).decode()
    for text in (svg, file):
        assert {one.tag.rpartition("}")[2] for one in ElementTree.fromstring(text.encode()).iter()} <= {
            "svg", "path", "rect", "title", "text", "style",
        }  # fmt: skip


def test_a_drawing_of_its_own_has_its_colours_with_it():
    file = standalone(spectrum_svg(curve()))
    assert "prefers-color-scheme:dark" in file
    assert "style=" not in file  # attributes alone, which any policy allows


# --- structures


def test_structures_of_a_list_have_one_bond_length():
    svgs = structure_svgs(["CC", "CC(=O)Nc1ccc(O)cc1", "c1ccc2cc3ccccc3cc2c1CCCCCC"])
    scales = []
    for svg in svgs:
        box, width = (float(re.search(rf'{name}="(?:0 0 )?([\d.]+)', svg)[1]) for name in ("viewBox", "width"))
        scales.append(width / box)
    assert max(scales) - min(scales) < 0.03  # widths are whole pixels
    assert all("currentColor" in svg and "style=" not in svg for svg in svgs)


def test_a_giant_shrinks_alone_and_what_is_no_molecule_has_no_drawing():
    small, giant, none = structure_svgs(["CCO", "C" * 80, "no molecule"])
    width = {svg: float(re.search(r' width="(\d+)"', svg)[1]) for svg in (small, giant)}
    assert width[giant] <= 200
    assert width[small] > 30
    assert none == ""


# --- words and templates


def test_techniques_have_proper_names_and_equal_ones_are_told_apart():
    five = titles(ModelGraph.load("five"))
    assert {five[name] for name in ("ir", "raman", "msms", "carbon", "proton")} == {
        "IR", "Raman", "MS/MS", "¹³C NMR", "¹H NMR",
    }  # fmt: skip
    tower = {"use": "ir", "encoder": {"use": "mlp"}}
    graph = ModelGraph.load(
        {
            "schema": 1,
            "embedding_dim": 8,
            "modalities": {"structure": {"use": "structure", "encoder": {"use": "gine"}}, "ir": tower, "gas_ir": tower},
            "loss": {"use": "all_pairs"},
        }
    )
    assert [titles(graph)[name] for name in ("ir", "gas_ir")] == ["IR (ir)", "IR (gas ir)"]


@pytest.mark.parametrize("smiles", ["C[N+](C)(C)Cc1ccc(Br)cc1", "[13CH3][C@@H](Cl)/C=C/C%12CCC%12", HOSTILE])
def test_a_smiles_breaks_between_atoms_alone(smiles):
    markup = breakable(smiles)
    assert markup.replace("<wbr>", "") == str(environment().from_string("{{ s }}").render(s=smiles))
    if smiles is not HOSTILE:
        assert not {part for part in markup.split("<wbr>") if re.fullmatch(r"l|r|\d|\]|[+-]", part)}


def test_code_in_a_sentence_is_code_and_the_rest_is_text():
    assert sentence("give `<b>` <i>") == "give <code>&lt;b&gt;</code> &lt;i&gt;"
    assert sentence("a ` <b>") == "a ` &lt;b&gt;"


def test_no_field_of_a_card_becomes_markup():
    hit = SimpleNamespace(
        rank=1, name=HOSTILE, smiles=HOSTILE, formula=HOSTILE, mass=1.0, deviation_ppm=1.0, probability=0.5,
        warnings=[HOSTILE], columns={HOSTILE: HOSTILE}, merged=[HOSTILE], reference=HOSTILE, svg=HOSTILE,
    )  # fmt: skip
    page = environment().from_string(
        '{% import "parts.html.j2" as parts %}{{ parts.hit_card(hit, mark=w) }}{{ parts.none_card(0.7) }}'
        "{{ parts.advice(w) }}{{ parts.spectrum_figure(w, w, w) }}"
    )
    html = page.render(hit=hit, w=HOSTILE)
    assert "<script" not in html
    assert html.count("<img") == 1  # that of the card, whose address is quoted
    assert "70.0 %" in html


def test_a_chart_takes_the_colours_of_its_page_and_leaves_no_rule_in_it():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 1))
    figure.add_subplot().plot([0, 1], [0, 1], color=LIGHT_INK)
    svg = chart_svg(figure, label=HOSTILE)
    assert "<style" not in svg
    assert "style=" not in svg
    assert LIGHT_INK not in svg
    assert "currentColor" in svg
    assert "<script" not in svg
