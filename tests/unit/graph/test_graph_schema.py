"""The JSON Schema of model graphs against a real validator: what `graph check` accepts it accepts, errors it places."""

import copy
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from molchord.api import Config, LossRecord
from molchord.cli.main import main
from molchord.errors import GraphError
from molchord.graph.layers import recipes
from molchord.graph.resolve import ModelGraph
from molchord.graph.schema import graph_schema
from molchord.graph.strict_yaml import parse_yaml, read
from molchord.host import Host, Plugin, installed

ROOT = Path(__file__).parents[3]
Validator = pytest.importorskip("jsonschema").Draft202012Validator
SCHEMA = graph_schema()

GOOD = parse_yaml("""
schema: 1
embedding_dim: 32
candidate: structure
modalities:
  structure: {use: structure, encoder: {use: gine}}
  ir: {use: ir, grid: {points: 100}, encoder: {use: resnet1d, readout: {use: patches, size: 4}}, where: {origin: [measured]}}
  spectrum: {use: msms, encoder: {use: mlp, kind: spectrum1d, hidden: [8]}, head: {layers: 1}}
loss: {use: all_pairs, temperature: {initial: 0.1}}
train: {epochs: 3, optimizer: {lr: {default: 1.0e-3, modalities.ir: 1.0e-4}}}
""").data


def signature(function):
    return inspect.signature(function).parameters


def places(data):
    """Paths that the validator complains about, the deepest of each complaint."""
    return {".".join(map(str, error.absolute_path)) for error in Validator(SCHEMA).iter_errors(data)}


def test_it_is_a_schema():
    Validator.check_schema(SCHEMA)
    assert len(json.dumps(SCHEMA)) < 100_000


@pytest.mark.parametrize("name", sorted(recipes()))
def test_recipes_pass_as_written_and_resolved(name):
    assert places(read(recipes()[name]).data) == set()
    assert places(ModelGraph.load(name).to_dict()) == set()


def test_graphs_of_the_readme_pass():
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert any("tune:" in block for block in blocks)
    assert [places(parse_yaml(block).data) for block in blocks] == [set()] * len(blocks)


def test_a_good_graph_passes():
    ModelGraph.from_dict(GOOD)
    assert places(GOOD) == set()
    assert (
        places({"extends": "demo", "modalities": {"ir": {"encoder": {"width": 8}}, "raman": None}, "loss": {}}) == set()
    )
    qualified = json.loads(json.dumps(GOOD).replace('"use": "ir"', '"use": "molchord:ir"'))
    assert places(qualified) == set()


# Each function spoils the good graph in one place, which it returns; the docstring is the place that the schema names.
def unknown_key_of_the_graph(graph):
    """"""
    graph["sed"] = 1


def wrong_type(graph):
    """embedding_dim"""
    graph["embedding_dim"] = "32"


def unknown_modality_plugin(graph):
    """modalities.ir.use"""
    graph["modalities"]["ir"]["use"] = "irr"


def unknown_key_of_a_modality(graph):
    """modalities.ir"""
    graph["modalities"]["ir"]["gird"] = {"points": 3}


def wrong_value_of_a_modality(graph):
    """modalities.ir.grid.points"""
    graph["modalities"]["ir"]["grid"]["points"] = 1


def unknown_key_of_an_encoder(graph):
    """modalities.ir.encoder"""
    graph["modalities"]["ir"]["encoder"]["widht"] = 3


def another_encoders_key(graph):
    """modalities.structure.encoder"""
    graph["modalities"]["structure"]["encoder"]["readout"] = {}


def wrong_choice(graph):
    """modalities.ir.encoder.readout"""
    graph["modalities"]["ir"]["encoder"]["readout"]["use"] = "patch"


def encoder_of_another_kind(graph):
    """modalities.ir.encoder.use"""
    graph["modalities"]["ir"]["encoder"] = {"use": "gine"}


def no_encoder(graph):
    """modalities.ir"""
    del graph["modalities"]["ir"]["encoder"]


def wrong_head(graph):
    """modalities.spectrum.head.layers"""
    graph["modalities"]["spectrum"]["head"]["layers"] = 3


def name_in_capitals(graph):
    """modalities"""
    graph["modalities"]["IR"] = graph["modalities"].pop("ir")


def one_modality(graph):
    """modalities"""
    graph["modalities"] = {"structure": graph["modalities"]["structure"]}


def unknown_loss(graph):
    """loss.use"""
    graph["loss"] = {"use": "al_pairs"}


def wrong_setting_of_a_loss(graph):
    """loss.temperature"""
    graph["loss"]["temperature"] = "learn"


def unknown_key_of_training(graph):
    """train"""
    graph["train"]["batchsize"] = 3


def wrong_value_of_training(graph):
    """train.schedule.use"""
    graph["train"]["schedule"] = {"use": "cosinus"}


def unknown_objective(graph):
    """tune.objectives.0"""
    graph["tune"] = {"space": {"seed": [1, 2]}, "objectives": ["mrr"]}


def nothing_to_choose_from(graph):
    """tune.space.seed"""
    graph["tune"] = {"space": {"seed": [1]}}


def empty_choice_of_measurements(graph):
    """modalities.ir.where.origin"""
    graph["modalities"]["ir"]["where"]["origin"] = []


SPOILERS = [found for found in list(globals().values()) if inspect.isfunction(found) and "graph" in signature(found)]


@pytest.mark.parametrize("spoil", SPOILERS, ids=lambda f: f.__name__)
def test_a_fault_is_placed_where_graph_check_places_it(spoil):
    graph = copy.deepcopy(GOOD)
    spoil(graph)
    assert spoil.__doc__ in places(graph)
    with pytest.raises(GraphError) as error:
        ModelGraph.from_dict(graph)
    assert any(complaint.startswith(spoil.__doc__) for complaint in error.value.complaints)


def test_every_setting_of_every_plugin_is_there_with_its_words():
    text = json.dumps(SCHEMA)
    for plugin in installed().plugins:
        if plugin.type not in ("modality", "encoder", "loss"):
            continue
        assert f'"{plugin.qualified}"' in text
        assert json.dumps(plugin.record.summary) in text
        for name in plugin.record.config.model_fields:
            assert f'"{name}"' in text


def test_outside_plugins_are_there_and_odd_ones_do_no_harm():
    class Odd(Config):
        """Has a field that JSON Schema has no word for."""

        function: Callable[[int], int] = abs

    def plugin(name, dist, config=Config):
        record = LossRecord(name=name, summary=f"{name} of {dist}", api=1, config=config, build=lambda *_: None)
        return Plugin("loss", record, dist, "1")

    twins = [plugin("ours", "foo-nets"), plugin("ours", "bar-nets"), plugin("odd", "foo-nets", Odd)]
    schema = graph_schema(Host(plugins=(*installed().plugins, *twins)))
    names = schema["properties"]["loss"]["properties"]["use"]["enum"]
    assert {"foo-nets:ours", "bar-nets:ours", "odd", "foo-nets:odd", "all_pairs", "molchord:all_pairs"} <= set(names)
    assert "ours" not in names  # two provide it, so that the bare name is no choice
    Validator.check_schema(schema)
    assert list(Validator(schema).iter_errors({**GOOD, "loss": {"use": "odd", "function": 3}})) == []


def test_the_command_prints_it(capsys):
    assert main(["graph", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA
