"""Drawings of model graphs: every tower and every pair is in them, as text and as SVG."""

import dataclasses
import json
from itertools import combinations
from xml.etree import ElementTree

import pytest

from molchord.cli.main import main
from molchord.graph.drawing import as_svg, as_text
from molchord.graph.layers import recipes
from molchord.graph.resolve import ModelGraph, Use
from molchord.host import installed
from molchord.model import pairs_of

SVG = "{http://www.w3.org/2000/svg}"
FOUR = """\
4 towers into an embedding of 512 numbers; * is retrieved

  structure *  graph, 3 x positions             ─▶ dimenetpp         ─▶ 2-layer head ─●─┬─┬─┐
  ir           3 x 1750 points, 500-4000 cm^-1  ─▶ resnet1d          ─▶ 2-layer head ─●─┴─│─│─┬─┐
  raman        3 x 1750 points, 500-4000 cm^-1  ─▶ resnet1d          ─▶ 2-layer head ─●───┴─│─┴─│─┐
  msms         peaks (mz, intensity)            ─▶ peak_transformer  ─▶ 2-layer head ─●─────┴───┴─┘

loss all_pairs aligns 6 pairs: structure-ir, structure-raman, structure-msms, ir-raman, ir-msms, raman-msms
"""


def test_text_of_four_towers(capsys):
    assert main(["graph", "show", "four"]) == 0
    assert capsys.readouterr().out == FOUR


def wires(names, pairs):
    """What is drawn behind the towers of so many modalities, one line each."""
    graph = ModelGraph.load("msms")
    (node, *_) = graph.modalities.values()
    drawn = as_text(dataclasses.replace(graph, modalities=dict.fromkeys(names, node), candidate="a"), pairs)
    return [line.partition("●")[2] for line in drawn.splitlines() if "●" in line]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_every_wire_runs_from_its_one_tower_to_its_other(count):
    names = "abcde"[:count]
    pairs = list(combinations(names, 2))
    lines = wires(names, pairs)
    width = max(map(len, lines))
    for place, pair in enumerate(pairs):
        column = "".join(line.ljust(width)[2 * place + 1] for line in lines)
        top, bottom = sorted(map(names.index, pair))
        assert column[top] in "┐┬"
        assert column[bottom] in "┘┴"
        assert set(column[top + 1 : bottom]) <= {"│"}
        assert set(column[:top] + column[bottom + 1 :]) <= {" ", "─"}
    assert wires(names, [("b", "a")])[:2] == ["─┐", "─┘"]
    assert wires(names, []) == [""] * count


@pytest.mark.parametrize("name", sorted(recipes()))
def test_svg_holds_every_tower_and_pair(name):
    graph = ModelGraph.load(name)
    pairs = pairs_of(graph)
    root = ElementTree.fromstring(as_svg(graph, pairs))
    assert len(root.findall(f"{SVG}circle")) == len(graph.modalities)
    curves = [path for path in root.findall(f"{SVG}path") if "C" in path.get("d")]
    assert len(curves) == len(pairs)
    texts = " ".join(text.text for text in root.iter(f"{SVG}text"))
    for modality, node in graph.modalities.items():
        assert modality in texts
        assert node.encoder.record.name in texts
    # Nothing lies outside of what is shown.
    _, _, width, height = map(float, root.get("viewBox").split())
    for shape in root.findall(f"{SVG}rect"):
        assert float(shape.get("x")) + float(shape.get("width")) <= width
        assert float(shape.get("y")) + float(shape.get("height")) <= height
    furthest = [float(number) for path in curves for number in path.get("d").replace("C", " ").strip("M").split()[2::2]]
    assert max(furthest) * 0.75 < width


def graph(**changes):
    return ModelGraph.of(**{
        "embedding_dim": 8,
        "modalities": {
            "structure": Use("structure", encoder=Use("gine")),
            "a": Use("ir", encoder=Use("mlp"), scalar_features=["exact_mass"]),
            "b": Use("raman", encoder=Use("mlp"), scalar_features=[]),
        },
        "scalar_features": ["exact_mass"],
        "loss": Use("all_pairs"),
        **changes,
    })  # fmt: skip


def test_anchors_and_other_names_are_told():
    text = as_text(graph(), [])
    assert "a            3 x 1750 points, 500-4000 cm^-1 of ir " in text
    assert text.count("2-layer head + exact_mass") == 2  # those of the tower, and the structure's by default
    assert text.endswith("loss all_pairs aligns 0 pairs")


@pytest.mark.parametrize("plugin", [p for p in installed().plugins if p.type == "loss"], ids=lambda p: p.name)
def test_pairs_of_every_loss(plugin):
    found = pairs_of(graph(loss=Use(plugin.name)))
    centred = [("structure", "a"), ("structure", "b")]
    assert list(found) == (centred if plugin.name in ("clip_pairs", "graph_centered") else [*centred, ("a", "b")])
    named = graph(loss=Use("clip_pairs", pairs=[["b", "a"]]))
    assert pairs_of(named) == (("a", "b"),)


def test_a_kind_of_ones_own_is_named_and_text_is_escaped():
    drawn = graph()
    node = dataclasses.replace(drawn.modalities["a"], spec=object(), kind="my-dist:<odd>")
    odd = dataclasses.replace(drawn, modalities={**drawn.modalities, "a": node})
    assert "my-dist:<odd>" in as_text(odd, [])
    texts = [text.text for text in ElementTree.fromstring(as_svg(odd, [])).iter(f"{SVG}text")]
    assert "my-dist:<odd> of ir" in texts


def test_the_command_draws_svg_and_json(capsys):
    assert main(["graph", "show", "msms", "--svg", "--set", "embedding_dim=8"]) == 0
    ElementTree.fromstring(capsys.readouterr().out)
    assert main(["graph", "show", "msms", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["pairs"] == [["fingerprint", "msms"]]
    assert shown["drawing"].startswith("2 towers")
