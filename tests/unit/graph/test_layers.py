"""`extends:` and single settings: what is laid over what, and whose line a complaint names."""

from pathlib import Path

import pytest

from molchord.cli.main import main
from molchord.errors import GraphError
from molchord.graph.layers import read_layers, recipes, settings
from molchord.graph.resolve import ModelGraph
from molchord.graph.strict_yaml import parse_yaml

BASE = """
schema: 1
embedding_dim: 32
modalities:
  structure: {use: structure, encoder: {use: gine, width: 16}}
  ir:
    use: ir
    grid: {start: 600, stop: 3000, points: 100}
    encoder: {use: resnet1d, width: 16, readout: {use: patches, size: 4}}
  raman: {use: raman, encoder: {use: mlp}}
loss: {use: graph_centered, centre: structure}
train: {batch_size: 8, clip_norm: 2.0}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path


def layered(folder, text, **overrides):
    (folder / "mine.yaml").write_text(text)
    return read_layers("mine.yaml", overrides).data


def complaints(folder, text, overrides=None):
    (folder / "mine.yaml").write_text(text)
    with pytest.raises(GraphError) as error:
        ModelGraph.load("mine.yaml", overrides=overrides)
    return list(error.value.complaints)


def test_a_mapping_is_laid_over_key_by_key(folder):
    data = layered(folder, "extends: base.yaml\nmodalities: {ir: {grid: {points: 200}}}\ntrain: {clip_norm: null}\n")
    base = parse_yaml(BASE).data
    base["modalities"]["ir"]["grid"]["points"] = 200
    base["train"]["clip_norm"] = None
    assert data == base
    assert list(data["modalities"]) == ["structure", "ir", "raman"]  # the order stays


def test_another_plugin_replaces_all_of_the_old_ones_settings(folder):
    data = layered(folder, "extends: base.yaml\nmodalities: {ir: {encoder: {use: mlp}}}\nloss: {use: all_pairs}\n")
    assert data["modalities"]["ir"]["encoder"] == {"use": "mlp"}
    assert data["modalities"]["ir"]["grid"]["points"] == 100
    assert data["loss"] == {"use": "all_pairs"}
    ModelGraph.load("mine.yaml")


@pytest.mark.parametrize(
    ("under", "over", "kept"),
    [("mlp", "mlp", True), ("mlp", "molchord:mlp", True), ("molchord:mlp", "mlp", True), ("mlp", "gine", False),
     ("foo:mlp", "molchord:mlp", False)],
)  # fmt: skip
def test_a_plugin_may_be_named_with_its_distribution(folder, under, over, kept):
    (folder / "under.yaml").write_text(f"loss: {{use: '{under}', width: 3}}\n")
    data = layered(folder, f"extends: under.yaml\nloss: {{use: '{over}'}}\n")
    assert data["loss"] == ({"use": over, "width": 3} if kept else {"use": over})


def test_a_modality_that_is_null_is_left_out(folder):
    assert list(layered(folder, "extends: base.yaml\nmodalities: {raman: null}\n")["modalities"]) == ["structure", "ir"]
    assert list(ModelGraph.load("mine.yaml").modalities) == ["structure", "ir"]


def test_layers_upon_layers_and_recipes(folder):
    (folder / "deep").mkdir()
    (folder / "deep" / "middle.yaml").write_text("extends: ../base.yaml\nseed: 3\nembedding_dim: 64\n")
    data = layered(folder, "extends: deep/middle.yaml\nembedding_dim: 128\n")
    assert (data["seed"], data["embedding_dim"], data["train"]["batch_size"]) == (3, 128, 8)
    assert "extends" not in data
    assert layered(folder, "extends: vibrational\nseed: 1\n") == {
        **parse_yaml(recipes()["vibrational"].read_text()).data,
        "seed": 1,
    }


def test_single_settings_have_the_last_word(folder):
    given = settings(
        ["seed=9", "modalities.ir.encoder.use=mlp", "modalities.ir.encoder.hidden=[8, 4]", "train.clip_norm="]
    )
    (folder / "mine.yaml").write_text("extends: base.yaml\nseed: 3\n")
    graph = ModelGraph.load("mine.yaml", overrides=given)
    assert (graph.seed, graph.modalities["ir"].encoder.config.hidden, graph.train.clip_norm) == (9, (8, 4), None)
    # A later one is laid over an earlier one, so that changing the plugin last drops the settings.
    swapped = {key: given[key] for key in reversed(given)}
    assert ModelGraph.load("mine.yaml", overrides=swapped).modalities["ir"].encoder.config.hidden == (1024,)


def test_values_of_settings_are_yaml():
    texts = ["a=1e-4", "b=no", "c='1'", "d=[1, x]", "e={f: null}", "g=x=y", "h="]
    assert settings(texts) == {"a": 1e-4, "b": "no", "c": "1", "d": [1, "x"], "e": {"f": None}, "g": "x=y", "h": None}


def test_wrong_settings_are_named_all_at_once():
    with pytest.raises(GraphError) as error:
        settings(["seed", "a..b=1", "=3", "seed=1", "seed=2", "loss={use", "ok=1"])
    assert list(error.value.complaints) == [
        "--set: got 'seed'; write PATH=VALUE, such as train.epochs=30",
        "--set: got 'a..b=1'; write PATH=VALUE, such as train.epochs=30",
        "--set: got '=3'; write PATH=VALUE, such as train.epochs=30",
        "--set: seed: stands twice; leave one out",
        "--set: loss:1: not valid YAML: expected ',' or '}', but got '<stream end>'",
    ]


def test_each_complaint_names_the_file_that_says_it(folder):
    (folder / "base.yaml").write_text(
        BASE.replace("batch_size: 8", "batch_sise: 8").replace("width: 16, readout", "widht: 16, readout")
    )
    found = complaints(
        folder,
        "extends: base.yaml\nseed: x\nmodalities:\n  ir:\n    encoder:\n      readout: {size: 0}\n",
        {"modalities.raman.encoder.hiden": [3], "embedding_dim": 0},
    )
    assert found == [
        "base.yaml:9: modalities.ir.encoder.widht: unknown key for encoder 'resnet1d'; did you mean 'width'?",
        "base.yaml:12: train.batch_sise: unknown key for the model graph; did you mean 'batch_size'?",
        "mine.yaml:2: seed: got 'x'; expected a whole number",
        "mine.yaml:6: modalities.ir.encoder.readout.size: got 0; expected greater than 0",
        "--set: modalities.raman.encoder.hiden: unknown key for encoder 'mlp'; did you mean 'hidden'?",
        "--set: embedding_dim: got 0; expected greater than or equal to 1",
    ]


def test_a_replaced_value_is_no_longer_where_it_was(folder):
    """A complaint about what replaces a mapping must not point into the mapping that it replaced."""
    (found,) = complaints(folder, "extends: base.yaml\nseed: 1\nmodalities: {ir: {encoder: {use: mlp, width: 0}}}\n")
    assert found.startswith("mine.yaml:3: modalities.ir.encoder.width: got 0;")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 1\nextends: nowhere.yaml\n", "mine.yaml:2: extends: file 'nowhere.yaml' does not exist; give a path relative to this file"),
        ("extends: demmo\n", "mine.yaml:1: extends: unknown recipe 'demmo'; did you mean 'demo'?"),
        ("extends: 3\n", "mine.yaml:1: extends: got 3; give the path of a YAML file or the name of a built-in recipe"),
        ("extends: mine.yaml\n", "mine.yaml:1: extends: 'mine.yaml' extends this file in turn; leave one of the two out"),
        ("extends: back.yaml\n", "back.yaml:2: extends: 'mine.yaml' extends this file in turn; leave one of the two out"),
        ("extends: broken.yaml\n", "broken.yaml:3: not valid YAML: expected ',' or '}', but got '<stream end>'"),
        ("extends: list.yaml\n", "list.yaml:1: a model graph is a mapping"),
        ("extend: base.yaml\nschema: 1\nembedding_dim: 4\nmodalities: {}\nloss: {use: all_pairs}\n",
         "mine.yaml:1: extend: unknown key for the model graph; did you mean 'extends'?"),
    ],
)  # fmt: skip
def test_what_cannot_be_extended_is_said(folder, text, said):
    (folder / "back.yaml").write_text("# goes back\nextends: mine.yaml\n")
    (folder / "broken.yaml").write_text("seed: 1\nloss: {use: a\n")
    (folder / "list.yaml").write_text("- 1\n")
    assert said in complaints(folder, text)


def test_a_setting_of_an_unknown_modality_begins_no_new_one(folder):
    said = "--set: modalities.irr: unknown modality 'irr' in this graph; did you mean 'ir'?"
    assert complaints(folder, BASE, {"modalities.irr.encoder.width": 3}) == [said]
    whole = {"use": "ir", "encoder": {"use": "mlp"}}
    assert "gas" in ModelGraph.load("base.yaml", overrides={"modalities.gas": whole}).modalities


def test_a_file_that_is_no_mapping_is_said_with_settings_too(folder):
    assert complaints(folder, "- 1\n", {"seed": 1})[0].startswith("mine.yaml:1: a model graph is a mapping with")


def test_a_recipe_is_a_graph_by_its_name(folder, capsys):
    assert ModelGraph.load("demo") == ModelGraph.load(recipes()["demo"])
    assert set(recipes()) == {path.stem for path in (Path(__file__).parents[3] / "recipes").glob("*.yaml")}
    assert main(["graph", "check", "dmo"]) == 2
    said = "model graph 'dmo' does not exist; give the path of a YAML file, or a built-in recipe: did you mean 'demo'?"
    assert capsys.readouterr().err.strip() == said
    assert main(["graph", "check", "demo", "--set", "embedding_dim=8", "--explain"]) == 0
    assert "embedding_dim: 8" in capsys.readouterr().out


def test_mappings_extend_too(folder):
    graph = ModelGraph.from_dict({"extends": "base.yaml", "embedding_dim": 8})
    assert graph == ModelGraph.load("base.yaml", overrides={"embedding_dim": 8})
    with pytest.raises(GraphError) as error:
        ModelGraph.from_dict(
            {"extends": "base.yaml", "embedding_dim": 0, "modalities": {"ir": {"grid": {"points": 1}}}}
        )
    assert list(error.value.complaints) == [
        "embedding_dim: got 0; expected greater than or equal to 1",
        "modalities.ir.grid.points: got 1; expected greater than or equal to 2",
    ]
    with pytest.raises(GraphError, match="^extends: unknown recipe 'x'"):
        ModelGraph.from_dict({"extends": "x"})


@pytest.mark.parametrize("name", sorted(recipes()))
def test_a_recipe_round_trips_between_yaml_and_python_exactly(name):
    graph = ModelGraph.load(name)
    again = ModelGraph.from_dict(parse_yaml(graph.to_yaml()).data)
    assert again == graph
    assert again.to_yaml() == graph.to_yaml()
    plain = graph.to_dict()
    built = ModelGraph.of(**{key: value for key, value in plain.items() if key != "schema"})
    assert built == graph
    assert built.to_yaml() == graph.to_yaml()
