"""Every setting says what it means, in the schema that editors read and in `graph check --explain`."""

import re
import typing

import pytest
from pydantic import BaseModel, ValidationError

from molchord.graph import settings
from molchord.graph.explain import explained
from molchord.graph.resolve import ModelGraph, Use
from molchord.graph.schema import graph_schema
from molchord.graph.settings import OptimizerConfig
from molchord.host import installed

PLUGINS = [plugin for plugin in installed().plugins if plugin.dist == "molchord"]
ENGINE = [model for model in vars(settings).values() if isinstance(model, type) and issubclass(model, BaseModel)]


def models(model):
    """A configuration and all that are nested in it, in unions and lists too."""
    yield model
    for field in model.model_fields.values():
        for inner in inside(field.annotation):
            yield from models(inner)


def inside(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in typing.get_args(annotation):
        yield from inside(part)


def undescribed(model):
    return [
        f"{one.__name__}.{name}"
        for one in models(model)
        for name, field in one.model_fields.items()
        if not (field.description or "").strip()
    ]


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: f"{plugin.type} {plugin.name}")
def test_every_setting_of_a_built_in_plugin_is_described(plugin):
    assert undescribed(plugin.record.config) == []


@pytest.mark.parametrize("model", [m for m in ENGINE if m.__module__ == settings.__name__], ids=lambda m: m.__name__)
def test_every_setting_of_the_engine_is_described(model):
    assert undescribed(model) == []


def test_a_setting_without_a_description_is_found():
    class Inner(BaseModel):
        deep: int = 0

    class Outer(BaseModel):
        parts: tuple[Inner, ...] | None = None

    assert undescribed(Outer) == ["Outer.parts", "Inner.deep"]


def test_the_schema_speaks_for_every_setting_of_every_modality():
    schema = graph_schema()
    for case in schema["properties"]["modalities"]["additionalProperties"]["allOf"]:
        names = case["if"]["properties"]["use"]["enum"]
        described = {key for key, value in case["then"]["properties"].items() if "description" in value}
        fields = set(installed().modality(names[-1]).config.model_fields)
        assert fields <= described, f"{names}: {fields - described}"


TOWERS = {
    "structure": Use("structure", encoder=Use("gine")),
    "ir": Use("ir", encoder=Use("resnet1d")),
    "raman": Use("raman", encoder=Use("mlp")),
    "msms": Use("msms", encoder=Use("peak_transformer")),
}


@pytest.fixture(scope="module")
def graph():
    return ModelGraph.of(embedding_dim=8, modalities=TOWERS, loss=Use("all_pairs"))


def test_what_is_explained_is_the_same_graph(graph):
    text = explained(graph)
    assert re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE) == graph.to_yaml()


def test_each_key_stands_below_its_meaning(graph):
    text = explained(graph)
    flat = re.sub(r"\n *# *", " ", text)
    for name in ("ir", "raman", "msms"):
        part = flat[flat.index(f"\n  {name}:") :]
        for field in type(graph.modalities[name].config).model_fields.values():
            assert " ".join(field.description.split()) in part, f"{name}: {field.description}"
    assert re.search(
        r"# Points that the encoder sees\.\n *#   start: First point, cm\^-1\.(\n *#.*)+\n    grid: \{", text
    )
    assert "# passes over the training molecules\n  epochs: 100\n" in text
    assert max(map(len, (line for line in text.splitlines() if line.lstrip().startswith("#")))) <= 110


@pytest.mark.parametrize(
    "wrong", [{"lr": -1.0}, {"lr": {"default": -1e-3}}, {"weight_decay": -0.1}, {"betas": (0.9, 1.0)}]
)
def test_nonsense_of_the_optimizer_is_refused(wrong):
    with pytest.raises(ValidationError):
        OptimizerConfig(**wrong)
