"""Model graphs, arguments and options of 0.1 are read as what they are called today, with a warning that says so."""

import warnings
from pathlib import Path

import pytest

import molchord as mc
from molchord.cli.main import main
from molchord.deprecation import DEPRECATED
from molchord.graph.renames import KEYS
from molchord.testing import examples_of, tiny_data, tiny_run

OLD = """schema: 1
embedding_dim: 16
anchors: [exact_mass]
modalities:
  structure: {use: structure, encoder: {use: gine, width: 16, hidden: 16, layers: 2}, anchors: []}
  ir: {use: ir, encoder: {use: mlp, width: 16, hidden: [16]}, anchors: [exact_mass]}
loss: {use: all_pairs}
train: {epochs: 1, batch_size: 8, accumulate: 2, anchor_dropout: 0.25, chunk: 4, freeze: [modalities.ir], free: [loss]}
"""
NEW = """schema: 1
embedding_dim: 16
scalar_features: [exact_mass]
modalities:
  structure: {use: structure, encoder: {use: gine, width: 16, hidden: 16, layers: 2}, scalar_features: []}
  ir: {use: ir, encoder: {use: mlp, width: 16, hidden: [16]}, scalar_features: [exact_mass]}
loss: {use: all_pairs}
train:
  {epochs: 1, batch_size: 8, accumulate_grad_batches: 2, scalar_feature_dropout: 0.25, mini_batch_size: 4,
   trainable: {modalities.ir: false, default: false, loss: true}}
"""


def graph_of(folder: Path, text: str) -> mc.ModelGraph:
    (folder / "g.yaml").write_text(text)
    return mc.ModelGraph.load(folder / "g.yaml")


def test_every_old_key_is_read_with_its_line(tmp_path):
    with pytest.warns(DeprecationWarning, match="deprecated") as caught:
        old = graph_of(tmp_path, OLD)
    assert old == graph_of(tmp_path, NEW)
    said = "\n".join(str(one.message) for one in caught)
    assert f"{tmp_path}/g.yaml:3: 'anchors' is deprecated" in said
    assert f"{tmp_path}/g.yaml:8: 'train.chunk' is deprecated" in said
    assert all(f"'{'.'.join(map(str, key))}' is deprecated" in said for key in KEYS)


def test_a_complaint_about_an_old_key_names_its_line(tmp_path):
    with (
        pytest.warns(DeprecationWarning, match="deprecated"),
        pytest.raises(mc.MolchordError, match=r"g\.yaml:8: train\.mini_batch_size"),
    ):
        graph_of(tmp_path, OLD.replace("chunk: 4", "chunk: none at all"))


def test_the_old_key_beside_the_new_one_is_refused(tmp_path):
    both = OLD.replace("chunk: 4", "chunk: 4, mini_batch_size: 8")
    with pytest.warns(DeprecationWarning, match="deprecated"), pytest.raises(mc.MolchordError, match="leave one out"):
        graph_of(tmp_path, both)


def test_single_settings_have_old_names_too(tmp_path):
    (tmp_path / "g.yaml").write_text(NEW)
    with pytest.warns(DeprecationWarning, match=r"train\.chunk"):
        graph = mc.ModelGraph.load(tmp_path / "g.yaml", overrides={"train.chunk": 2})
    assert graph.train.mini_batch_size == 2


def test_arguments_and_attributes_of_the_python_api(tmp_path):
    run, query = tiny_run(), examples_of("ir", 1)[0]
    library = run.library(["CCO", "CC#N", "CSC"])
    with pytest.warns(DeprecationWarning, match="write `fusion`"):
        hits = run.search(library, ir=query, k=1, map="gm-half")
    assert hits == run.search(library, ir=query, k=1, fusion="gm-half")
    with pytest.warns(DeprecationWarning, match="quality_warnings"):
        assert hits[0].doubts == hits[0].quality_warnings
    with pytest.warns(DeprecationWarning, match="write `fusions`"):
        found = run.evaluate(pools=["test"], modes=["blind"], maps=["gm-exp"], baselines=False, audit=False)
    with pytest.warns(DeprecationWarning, match="Row"):
        assert (found.rows[0].map, found.rows[0].figures) == (found.rows[0].fusion, found.rows[0].metrics)
    with pytest.warns(DeprecationWarning, match="write `trainable`"):
        moved = run.realign(tiny_data(), epochs=1, progress=False, free=["loss"])
    assert moved.graph.train.trainable == {"default": False, "loss": True}
    with pytest.warns(DeprecationWarning, match="write `scalar_features`"):
        assert run.embed("ir", [query], anchors={"exact_mass": 46.04}).shape == (1, 16)


def test_options_of_the_command_line(tmp_path, capsys):
    run = tiny_run()
    library = run.library(["CCO", "CC#N", "CSC"], tmp_path / "library")
    table = "\n".join(f"{x},{1 / (1 + (x - 1700) ** 2 / 900)}" for x in range(500, 4001, 50))
    (tmp_path / "ir.csv").write_text(f"wavenumber,absorbance\n{table}\n")
    words = ["search", str(run.path), str(library.path), "--ir", str(tmp_path / "ir.csv"), "--json", "--k", "1"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert main([*words, "--fusion", "gm-half"]) == 0
        new = capsys.readouterr().out
        with pytest.warns(DeprecationWarning, match="write `--fusion`"):
            assert main([*words, "--map", "gm-half"]) == 0
        assert capsys.readouterr().out == new
        data, out = str(tiny_data().path), str(tmp_path / "moved")
        with pytest.warns(DeprecationWarning, match="write `--trainable`"):
            assert (
                main(["realign", str(run.path), "--data", data, "--out", out, "--epochs", "1", "--free", "loss"]) == 0
            )
    assert mc.load(out).graph.train.trainable == {"default": False, "loss": True}


def test_a_plugin_may_use_the_old_names():
    from molchord import api

    with pytest.warns(DeprecationWarning, match="QualityWarning"):
        old = api.Doubt
    assert isinstance(old("it is short", trust=0.5), api.QualityWarning)
    assert old("it is short", trust=0.5).confidence_factor == 0.5
    with pytest.warns(DeprecationWarning, match="reveals_mass"):
        spec = api.VectorSpec(size=3, unit="1", tells_mass=True)
    assert spec.reveals_mass


def test_all_that_is_deprecated_is_tried_here():
    text = Path(__file__).read_text()
    for name in DEPRECATED:
        word = name.rpartition("(")[2].rstrip("=)").rpartition(".")[2]
        assert word in text, name
