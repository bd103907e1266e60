"""A saved graph with other measurements or another training is checked like any graph; nothing else of it changes."""

import pytest

from molchord.errors import GraphError, RunError
from molchord.graph.changes import HEADS, changed, realigned
from molchord.graph.resolve import ModelGraph, Use


@pytest.fixture(scope="module")
def graph():
    return ModelGraph.of(
        embedding_dim=8,
        modalities={
            "structure": Use("structure", encoder=Use("gine", width=8, hidden=8, layers=1)),
            "ir": Use("ir", encoder=Use("mlp", width=8, hidden=[8]), where={"origin": "computed"}),
        },
        loss=Use("all_pairs"),
        train={
            "epochs": 9, "fraction": 0.5, "missing": {"ir": 0.25}, "init": {"modalities.ir": "runs/a#modalities.ir"},
            "optimizer": {"lr": 0.5, "weight_decay": 0.125}, "trainable": {"loss": False},
        },
    )  # fmt: skip


def without(data, *keys):
    return {key: value for key, value in data.items() if key not in keys}


def test_nothing_asked_for_is_the_same_graph(graph):
    assert changed(graph) == changed(graph, {}, {}) == graph


@pytest.mark.parametrize("where", [{}, {"origin": "measured"}, {"origin": ["measured", "computed"]}])
def test_a_choice_of_measurements_takes_the_place_of_the_graphs_own(graph, where):
    found = changed(graph, {"ir": where}).to_dict()
    expected = {key: tuple(value) if isinstance(value, list) else value for key, value in where.items()}
    chosen = {k: tuple(v) if isinstance(v, list) else v for k, v in found["modalities"]["ir"].get("where", {}).items()}
    assert chosen == expected
    assert without(found, "modalities") == without(graph.to_dict(), "modalities")
    assert found["modalities"]["structure"] == graph.to_dict()["modalities"]["structure"]


def test_a_modality_that_is_not_there_is_named(graph):
    with pytest.raises(RunError) as caught:
        changed(graph, {"irr": {}})
    assert str(caught.value) == "`where` names modality 'irr', which the run lacks; did you mean 'ir'?"


@pytest.mark.parametrize(
    ("where", "train", "said"),
    [
        ({"ir": {"orign": "measured"}}, {}, "modalities.ir.where.orign"),
        ({"ir": {"origin": "dreamt"}}, {}, "modalities.ir.where.origin"),
        (None, {"epochs": 0}, "train.epochs: got 0"),
        (None, {"epoch": 3}, "train.epoch: unknown key"),
        (None, {"trainable": {"modalities.nmr": True}}, "unknown part 'modalities.nmr'"),
    ],
)
def test_a_wrong_change_is_a_complaint(graph, where, train, said):
    with pytest.raises(GraphError) as caught:
        changed(graph, where, train)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "parts"),
    [
        (None, ["modalities.structure", "modalities.ir"]),
        ([HEADS], ["modalities.structure.head.out", "modalities.ir.head.out"]),
        (["modalities.ir.encoder", "loss"], ["modalities.ir.encoder", "loss"]),
        ([HEADS, "loss"], ["modalities.structure.head.out", "modalities.ir.head.out", "loss"]),
        ([], []),
    ],
)
def test_realigning_trains_the_parts_asked_for_and_no_others(graph, asked, parts):
    assert realigned(graph, asked, 3, None, None).train.trainable == {"default": False, **dict.fromkeys(parts, True)}


def test_realigning_takes_all_of_the_data_from_given_weights(graph):
    found = realigned(graph, None, 3, None, {"ir": {}})
    assert (found.train.epochs, found.train.fraction, found.train.missing, found.train.init) == (3, 1.0, {}, {})
    assert found.modalities["ir"].where == {}
    assert found.train.optimizer == graph.train.optimizer
    faster = realigned(graph, None, 3, 0.25, None).train.optimizer
    assert (faster.lr, faster.weight_decay, faster.betas) == (0.25, 0.125, graph.train.optimizer.betas)
    published = realigned(graph, [HEADS], 15, 1e-5, None, 0.01).train.optimizer
    assert (published.lr, published.weight_decay, published.betas) == (1e-5, 0.01, graph.train.optimizer.betas)
    with pytest.raises(GraphError, match="unknown part 'head'"):
        realigned(graph, ["head"], 3, None, None)
