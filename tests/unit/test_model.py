"""Towers and heads by their formulas, absent rows, scalar features, and where a temperature comes from."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

from molchord.api import LossOutput
from molchord.data.loader import Batch
from molchord.graph.resolve import ModelGraph, Use
from molchord.graph.settings import HeadConfig
from molchord.model import Embeddings, Head, Model, Tower, build_modalities, pairs_of, parameters_of
from molchord.seeding import random_state
from molchord.testing import examples_of, molecules


def graph_of(*names, scalar_features=(), train=None, seed=3, loss="all_pairs", **towers):
    encoders = {
        "structure": Use("gine", width=8, hidden=8, layers=1),
        "msms": Use("peak_transformer", width=8, hidden=8, layers=1, heads=1),
    }
    return ModelGraph.of(
        embedding_dim=6,
        seed=seed,
        scalar_features=scalar_features,
        modalities={
            name: Use(name, **{"encoder": encoders.get(name, Use("mlp", width=8, hidden=[8])), **towers.get(name, {})})
            for name in names
        },
        loss=loss if isinstance(loss, Use) else Use(loss),
        train=train or {},
    )


def model_of(graph):
    return Model(graph, build_modalities(graph)).eval()


def batch_of(graph, modalities, present, features=0):
    """A batch of the kit's molecules in which each modality has the rows given."""
    size = len(next(iter(present.values())))
    inputs = {}
    for name, there in present.items():
        modality = modalities[name]
        given = (
            [modality.derive(m) for m in molecules(size)]
            if name == "structure"
            else examples_of(graph.modalities[name].use.split(":")[1], size)
        )
        inputs[name] = modality.collate(
            [modality.transform(m, None) for m, yes in zip(given, there, strict=True) if yes]
        )
    return Batch(
        molecule=torch.arange(size),
        present={name: torch.tensor(there, dtype=torch.bool) for name, there in present.items()},
        inputs=inputs,
        scalar_features=torch.arange(size * features, dtype=torch.float32).reshape(size, features),
    )


# --- heads and towers


def test_a_head_of_two_layers_is_the_published_formula():
    torch.manual_seed(0)
    head = Head(5, 4, HeadConfig()).double()
    x = torch.randn(7, 5, dtype=torch.float64)
    p = x @ head.projection.weight.T + head.projection.bias
    inner = 0.5 * p * (1 + torch.erf(p / 2**0.5)) @ head.out.weight.T + head.out.bias + p
    mean, variance = inner.mean(1, keepdim=True), inner.var(1, unbiased=False, keepdim=True)
    expected = (inner - mean) / (variance + 1e-5).sqrt() * head.norm.weight + head.norm.bias
    torch.testing.assert_close(head(x), expected)


def test_a_head_of_one_layer_is_linear():
    head = Head(5, 4, HeadConfig(layers=1, layer_norm=False))
    x = torch.randn(3, 5)
    torch.testing.assert_close(head(x), x @ head.out.weight.T + head.out.bias)
    assert [name for name, _ in head.named_parameters()] == ["out.weight", "out.bias"]
    normed = Head(5, 4, HeadConfig(layers=1))(x)
    torch.testing.assert_close(normed.mean(1), torch.zeros(3), atol=1e-5, rtol=0)


def test_settings_of_a_head_are_heard():
    assert Head(5, 4, HeadConfig(bias=False)).projection.bias is None
    assert isinstance(Head(5, 4, HeadConfig(layer_norm=False)).norm, nn.Identity)
    torch.manual_seed(0)
    dropping = Head(5, 400, HeadConfig(layers=1, layer_norm=False, dropout=0.5)).train()
    zeros = (dropping(torch.randn(5, 5)) == 0).float().mean()
    assert 0.4 < zeros < 0.6
    assert not (dropping.eval()(torch.randn(5, 5)) == 0).any()


class Doubles(nn.Module):
    width = 2

    def forward(self, inputs):
        return 2 * inputs


class Keeps(nn.Module):
    def forward(self, x):
        return x


def test_scalar_features_join_with_a_bit_for_each_that_says_whether_it_is_known():
    tower = Tower(Doubles(), Keeps(), (2, 0))
    numbers = torch.tensor([[1.0, 5.0, float("nan")], [float("nan"), 6.0, -3.0]])
    found = tower(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), numbers)
    assert found.tolist() == [[2, 4, 0, 1, 0, 1], [6, 8, -3, 0, 1, 0]]
    assert Tower(Doubles(), Keeps())(torch.ones(1, 2), numbers[:1]).tolist() == [[2, 2]]


def test_without_the_bit_an_unknown_scalar_feature_is_the_mean():
    tower = Tower(Doubles(), Keeps(), (1, 0), presence=False)
    found = tower(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.5, 5.0], [float("nan"), 6.0]]))
    assert found.tolist() == [[2, 4, 5, 1.5], [6, 8, 6, 0]]


def test_a_tower_that_does_not_see_keeps_the_autograd_graph():
    inputs = torch.ones(2, 2, requires_grad=True)
    found = Tower(Doubles(), Keeps(), sees=False)(inputs, torch.zeros(2, 0))
    assert found.tolist() == [[0, 0], [0, 0]]
    found.sum().backward()
    assert inputs.grad.tolist() == [[0, 0], [0, 0]]


def test_unit_rows_are_zero_where_absent():
    raw = {"ir": torch.tensor([[3.0, 4.0], [1.0, 0.0]])}
    made = Embeddings.of(raw, {"ir": torch.tensor([True, False])})
    torch.testing.assert_close(made.unit["ir"], torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
    assert made.raw["ir"] is raw["ir"]


# --- whole models


@pytest.mark.parametrize(
    "present",
    [
        {"structure": [1, 1, 1, 1], "ir": [1, 1, 1, 1]},
        {"structure": [1, 1, 1, 1], "ir": [0, 1, 0, 1]},
        {"structure": [0, 0, 1, 0], "ir": [1, 1, 0, 1]},
        {"structure": [1, 1, 1, 1], "ir": [0, 0, 0, 0]},
    ],
)
def test_present_rows_are_embedded_as_if_alone_and_absent_ones_are_zero(present):
    graph = graph_of("structure", "ir")
    modalities = build_modalities(graph)
    model = Model(graph, modalities).eval()
    batch = batch_of(graph, modalities, present)
    found = model(batch)
    for name, there in present.items():
        assert found.raw[name].shape == (4, 6)
        packed = model.embed(name, batch.inputs[name], batch.scalar_features[: sum(there)])
        rows = [i for i, yes in enumerate(there) if yes]
        torch.testing.assert_close(found.raw[name][rows], packed)
        torch.testing.assert_close(found.unit[name][rows], functional.normalize(packed, dim=1))
        absent = [i for i, yes in enumerate(there) if not yes]
        assert not found.raw[name][absent].any()
        assert not found.unit[name][absent].any()
        assert found.present[name].tolist() == [bool(yes) for yes in there]
    found.raw["ir"].sum().backward()  # connected even where no row is there
    assert all(p.grad is not None for p in model.modalities["ir"].parameters())


def test_each_part_has_a_seed_of_its_own_and_the_global_one_is_left_alone():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    two = model_of(graph_of("structure", "ir"))
    assert torch.equal(torch.random.get_rng_state(), before)
    three, other = model_of(graph_of("raman", "ir", "structure")), model_of(graph_of("structure", "ir", seed=4))
    for name in ("structure", "ir"):
        mine, more, less = (m.modalities[name].state_dict() for m in (two, three, other))
        assert all(torch.equal(mine[key], more[key]) for key in mine)
        assert any(not torch.equal(mine[key], less[key]) for key in mine)
    graph = graph_of("structure", "ir")
    torch.manual_seed(random_state(3, "weights", "ir"))
    encoder = graph.modalities["ir"].encoder.build(graph.modalities["ir"].spec)
    assert all(torch.equal(encoder.state_dict()[k], v) for k, v in two.modalities["ir"].encoder.state_dict().items())


def test_scalar_features_are_standardised_and_reach_the_towers_that_list_them():
    graph = graph_of("structure", "ir", scalar_features=["exact_mass"], ir={"scalar_features": []})
    modalities = build_modalities(graph)
    model = Model(graph, modalities).eval()
    batch = batch_of(graph, modalities, {"structure": [1, 1], "ir": [1, 1]}, features=1)
    changed = dataclasses.replace(batch, scalar_features=batch.scalar_features + 5)
    one, two = model(batch), model(changed)
    torch.testing.assert_close(one.raw["ir"], two.raw["ir"])
    assert not torch.allclose(one.raw["structure"], two.raw["structure"])
    model.scalar_mean[0], model.scalar_std[0] = 5.0, 2.0
    scaled = dataclasses.replace(batch, scalar_features=2 * batch.scalar_features + 5)
    torch.testing.assert_close(model(scaled).raw["structure"], one.raw["structure"])
    assert model.modalities["structure"].head.projection.in_features == 8 + 2
    assert model.modalities["ir"].head.projection.in_features == 8


def test_a_model_of_candidates_alone_sees_no_spectrum_and_no_scalar_feature_of_one():
    graph = graph_of("structure", "ir", scalar_features=["exact_mass"], train={"candidates_only": True})
    modalities = build_modalities(graph)
    model = Model(graph, modalities).eval()
    batch = batch_of(graph, modalities, {"structure": [1, 1, 1], "ir": [1, 1, 1]}, features=1)
    found = model(batch).raw
    torch.testing.assert_close(found["ir"], found["ir"][:1].expand(3, -1))
    assert not torch.allclose(found["structure"][0], found["structure"][1])


def test_the_loss_is_of_the_units_and_raws_and_of_the_rows_asked_for():
    graph = graph_of("structure", "ir")
    model = model_of(graph)
    seen = []

    class Notes(nn.Module):
        def forward(self, batch):
            seen.append(batch)
            return LossOutput(total=torch.zeros(()), per_pair={})

    model.loss = Notes()
    raw = {name: torch.randn(3, 6) for name in ("structure", "ir")}
    made = Embeddings.of(raw, {name: torch.tensor([True, True, False]) for name in raw})
    batch = Batch(
        molecule=torch.tensor([5, 6, 7]), present=made.present, inputs={}, scalar_features=torch.zeros(3, 0),
        features={"bits": torch.ones(3)},
    )  # fmt: skip
    model.compute_loss(made, batch, slice(1, 2))
    (given,) = seen
    assert given.embeddings == made.unit
    assert (given.raw, given.present, given.rows) == (made.raw, made.present, slice(1, 2))
    assert (given.molecule, given.features) == (batch.molecule, batch.features)


# --- temperatures and pairs


class Warm(nn.Module):
    def __init__(self, pairs):
        super().__init__()
        self.pairs = pairs

    def temperatures(self):
        return {pair: torch.tensor(tau) for pair, tau in self.pairs.items()}


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ({("structure", "ir"): 0.25, ("raman", "structure"): 0.5, ("ir", "raman"): 9.0}, {"ir": 0.25, "raman": 0.5}),
        ({("structure", "ir"): 0.25, ("ir", "raman"): 9.0}, {"ir": 0.25, "raman": 0.25}),  # the others' mean
        ({("ir", "raman"): 9.0}, {"ir": 1.0, "raman": 1.0}),
        ({}, {"ir": 1.0, "raman": 1.0}),
    ],
)
def test_a_spectrum_has_the_temperature_of_its_pair_with_the_candidate(pairs, expected):
    model = model_of(graph_of("structure", "ir", "raman"))
    model.loss = Warm(pairs)
    assert model.temperatures() == expected
    assert model.pair_temperatures() == pairs


def test_a_loss_without_temperatures_has_none():
    model = model_of(graph_of("structure", "ir"))
    model.loss = nn.Identity()
    assert model.pair_temperatures() is None
    assert model.temperatures() == {"ir": 1.0}


def test_the_pairs_of_a_loss_are_those_it_names_for_an_empty_batch():
    state = torch.random.get_rng_state()
    assert pairs_of(graph_of("structure", "ir", "raman")) == (
        ("structure", "ir"), ("structure", "raman"), ("ir", "raman"),
    )  # fmt: skip
    assert pairs_of(graph_of("raman", "structure", loss="tanimoto_infonce")) in (
        (("raman", "structure"),), (("structure", "raman"),),
    )  # fmt: skip
    assert torch.equal(torch.random.get_rng_state(), state)


def test_parameters_of_a_part_end_at_a_dot():
    model = nn.ModuleDict({"ir": nn.Linear(1, 1), "ir2": nn.Linear(1, 1)})
    assert sorted(parameters_of(model, "ir")) == ["ir.bias", "ir.weight"]
    assert sorted(parameters_of(model, "ir.bias")) == ["ir.bias"]
    assert parameters_of(model, "i") == {}


def test_fitted_states_are_restored_by_name():
    graph = graph_of("structure", "ir")
    restored = []

    class Fitted:
        def restore(self, state):
            restored.append(state)

    node = graph.modalities["ir"]
    record = dataclasses.replace(node.record, build=lambda config, kind: Fitted())
    node = dataclasses.replace(node, plugin=dataclasses.replace(node.plugin, record=record))
    graph = dataclasses.replace(graph, modalities={**graph.modalities, "ir": node})
    assert isinstance(build_modalities(graph)["ir"], Fitted)
    assert restored == []
    build_modalities(graph, {"ir": {"mean": 2.0}, "gone": {}})
    assert restored == [{"mean": 2.0}]
