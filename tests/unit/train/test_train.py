"""Training: rates, freezing, exact resume, dropout of modalities, missing measurements."""

import json
import math
import os
import signal
import threading

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from molchord.api import Measurement
from molchord.data.store import DataSet
from molchord.device import choose_device
from molchord.domain import domain_of
from molchord.errors import DataError, GraphError, OutputExistsError, RunError, TrainingStopped
from molchord.graph.resolve import ModelGraph, Use
from molchord.graph.settings import OptimizerConfig, ScheduleConfig, TrainConfig
from molchord.host import installed
from molchord.run import Run
from molchord.run_folder import RunManifest, write_run_manifest
from molchord.testing import molecules
from molchord.train.dry_run import dry_run
from molchord.train.hard_negatives import HardNegatives
from molchord.train.optimization import (
    moving_average,
    parameter_groups,
    rate_of,
    schedule_factor,
    set_trained,
    training_mode,
)
from molchord.train.trainer import Trainer

SPECTRA = ("ir", "raman", "msms")


def modality(name):
    record = installed().find("modality", name).record
    return record, record.build(record.config(), record.kinds[0])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Sixteen molecules: all have IR, two of three Raman, one of two MS/MS (two spectra each)."""
    mols = molecules()
    given, stores = {}, {}
    for name in SPECTRA:
        record, built = modality(name)
        stores[name] = record.stores
        first, second = built.example(mols, 0), built.example(mols, 1)
        given[name] = [
            {"ir": a, "raman": None if i % 3 == 2 else a, "msms": [a, b] if i % 2 else None}[name]
            for i, (a, b) in enumerate(zip(first, second, strict=True))
        ]
    splits = ["val" if i in (3, 7) else "test" if i in (5, 9) else "train" for i in range(len(mols))]
    path = tmp_path_factory.mktemp("data") / "set"
    return DataSet.from_measurements([m.smiles for m in mols], given, path, stores=stores, splits=splits)


def make_graph(*, train=None, seed=3, **options):
    stages = [{"channels": 8, "kernel": 5, "stride": 4}]
    small = Use("resnet1d", width=16, stages=stages, readout={"use": "flatten", "hidden": 16})
    return ModelGraph.of(
        embedding_dim=16,
        seed=seed,
        modalities={
            "structure": Use("structure", encoder=Use("gine", width=16, hidden=16, layers=2)),
            "ir": Use("ir", grid={"points": 200}, encoder=small),
            "raman": Use("raman", grid={"points": 200}, encoder=small),
            "msms": Use("msms", encoder=Use("peak_transformer", width=16, hidden=16, layers=1, dropout=0.2)),
        },
        loss=Use("all_pairs"),
        train={"batch_size": 4, "epochs": 3, "workers": 0, "optimizer": {"lr": 3e-3}, **(train or {})},
        **options,
    )


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    """A run of the graph as it is, which tests only read."""
    return Run.train(make_graph(), dataset, tmp_path_factory.mktemp("trained") / "run", progress=False)


def weights(run):
    return {name: tensor.clone() for name, tensor in run.model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# --- rates and freezing


def test_the_longest_part_decides_the_rate():
    model = nn.ModuleDict({"modalities": nn.ModuleDict({"ir": nn.Linear(2, 2)}), "loss": nn.Linear(1, 1)})
    config = OptimizerConfig(lr={"default": 1e-3, "modalities.ir": 1e-4}, weight_decay=0.1)
    groups = {(g["base_lr"], g["weight_decay"]): len(g["params"]) for g in parameter_groups(model, config)}
    assert groups == {(1e-4, 0.1): 2, (1e-3, 0.0): 2}
    assert rate_of(0.5, "anything") == 0.5


def test_weight_decay_of_the_loss_is_taken_where_it_is_named():
    model = nn.ModuleDict({"loss": nn.Linear(1, 1)})
    named = OptimizerConfig(weight_decay={"default": 0.1, "loss": 0.2})
    assert parameter_groups(model, named)[0]["weight_decay"] == 0.2


@pytest.mark.parametrize(
    ("use", "progress", "expected"),
    [
        ("cosine", 0.5, 0.25),
        ("cosine", 2.0, 1.0),
        ("cosine", 6.0, 0.5),
        ("cosine", 10.0, 0.0),
        ("constant", 9.0, 1.0),
        ("plateau", 9.0, 1.0),
    ],
)
def test_schedule(use, progress, expected):
    config = TrainConfig(epochs=10, schedule=ScheduleConfig(use=use, warmup=2))
    assert schedule_factor(config, progress) == pytest.approx(expected)


def test_freeze_and_free():
    model = nn.ModuleDict({"a": nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), "ab": nn.Linear(2, 2)})
    set_trained(model, TrainConfig(trainable={"a": False}))
    assert [n for n, p in model.named_parameters() if p.requires_grad] == ["ab.weight", "ab.bias"]
    training_mode(model, TrainConfig(trainable={"a": False}))
    assert not model["a"][1].training
    assert model["ab"].training
    set_trained(model, TrainConfig(trainable={"default": False, "a.0": True}))
    assert [n for n, p in model.named_parameters() if p.requires_grad] == ["a.0.weight", "a.0.bias"]
    with pytest.raises(RunError, match="`train.trainable` .* leaves no parameter to train"):
        set_trained(model, TrainConfig(trainable={"default": False, "nothing": True}))
    with pytest.raises(RunError, match="`train.trainable` .* leaves no parameter to train"):
        set_trained(model, TrainConfig(trainable={"a": False, "ab": False}))
    with pytest.raises(RunError, match="`train.trainable` .* leaves no parameter to train"):
        set_trained(model, TrainConfig(trainable={"default": False, "a": False}))


def test_moving_average_follows_the_formula():
    model = nn.Linear(1, 1, bias=False)
    average, expected = moving_average(model, 0.9), None
    for count, value in enumerate((1.0, 2.0, 4.0)):
        model.weight.data.fill_(value)
        average.update_parameters(model)
        keep = min(0.9, (1 + count) / (10 + count))
        expected = value if expected is None else keep * expected + (1 - keep) * value
    assert float(average.module.weight.detach()) == pytest.approx(expected)


def test_unknown_device_is_one_sentence():
    with pytest.raises(RunError, match="device 'cuda:99' cannot be used here"):
        choose_device("cuda:99")


# --- training


def test_training_lowers_the_loss_and_writes_the_run(dataset, tmp_path):
    run = Run.train(make_graph(train={"epochs": 8}), dataset, tmp_path / "run", progress=False)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 9))
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert lines[-1]["val"].keys() == {"loss", "blind_mrr"}
    best = max(lines, key=lambda line: line["val"]["blind_mrr"])
    assert run.manifest.best["epoch"] == best["epoch"]
    assert run.manifest.molecules["molecules"] == 12
    assert {p.name for p in (tmp_path / "run").iterdir()} >= {
        "graph.yaml",
        "model.safetensors",
        "manifest.json",
        "checkpoints",
    }


def test_a_loaded_run_embeds_bit_for_bit_alike(trained):
    again = Run.load(trained.path)
    assert same(weights(trained), weights(again))
    assert again.graph == trained.graph
    np.testing.assert_array_equal(
        trained.embed("structure", ["CCO", "c1ccccc1"]), again.embed("structure", ["CCO", "c1ccccc1"])
    )


def test_one_seed_one_result(trained, dataset, tmp_path):
    again = Run.train(make_graph(), dataset, tmp_path / "b", progress=False)
    other = Run.train(make_graph(seed=4), dataset, tmp_path / "c", progress=False)
    assert same(weights(trained), weights(again))
    assert not same(weights(trained), weights(other))


def test_loader_processes_change_nothing(trained, dataset, tmp_path):
    helped = Run.train(make_graph(train={"workers": 1}), dataset, tmp_path / "b", progress=False)
    assert same(weights(trained), weights(helped))


@pytest.mark.parametrize(
    "extra", [{}, {"ema": 0.9, "accumulate_grad_batches": 2, "modality_dropout": 0.3, "hard_negatives": 2}]
)
def test_resume_is_exact(dataset, tmp_path, monkeypatch, extra):
    """A training stopped in the middle of an epoch ends with the very weights of one that was not."""
    graph = make_graph(train={"epochs": 3, **extra})
    whole = Run.train(graph, dataset, tmp_path / "whole", progress=False)

    learn, calls = Trainer.learn, []

    def interrupted(*batch):
        calls.append(batch)
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return learn(*batch)

    monkeypatch.setattr(Trainer, "learn", interrupted)
    with pytest.raises(TrainingStopped, match="go on with: molchord train --resume"):
        Run.train(graph, dataset, tmp_path / "parts", progress=False)
    monkeypatch.setattr(Trainer, "learn", learn)
    resumed = Run.resume(tmp_path / "parts", progress=False)
    assert same(weights(whole), weights(resumed))

    def without_time(folder):
        records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return [{k: v for k, v in r.items() if "second" not in k} for r in records]

    for one, other in zip(without_time(tmp_path / "whole"), without_time(tmp_path / "parts"), strict=True):
        assert one.keys() == other.keys()
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-6)


@pytest.mark.parametrize("batch_size", [8, 11, 64])
def test_hard_negatives_bring_neighbours_into_one_batch(batch_size):
    """Every molecule once an epoch, and many more of its three likes in its batch than a random order puts there."""
    generator = torch.Generator().manual_seed(1)
    rows = np.arange(1200)[::3]  # the data set holds others too
    likes = nn.functional.normalize(torch.randn(100, 64, generator=generator)).repeat_interleave(4, dim=0)
    hard = HardNegatives(rows, width=64, group=4, batch_size=batch_size, device=torch.device("cpu"))

    def met(seed):
        hard.begin(np.random.default_rng(seed))
        assert sorted(hard.order) == rows.tolist()
        batch = np.empty(1200, dtype=int)
        batch[hard.order] = np.arange(400) // batch_size
        own = batch[rows].reshape(100, 4)
        return sum((own[:, [i]] == own[:, [j]]).sum() for i in range(4) for j in range(i))

    unseen = sum(map(met, range(10)))
    shuffled = torch.randperm(400, generator=generator)
    hard.see(torch.from_numpy(rows)[shuffled], likes[shuffled], torch.ones(400, dtype=torch.bool))
    # of six pairs among four likes those whose both are in the part of the batch that is grouped
    grouped = (batch_size // 2 // 4 * 4 / batch_size) ** 2 * 6 * 100 * 10
    assert sum(map(met, range(10))) > unseen + 0.5 * grouped


def test_hard_negatives_need_half_a_batch():
    with pytest.raises(ValidationError, match="`hard_negatives` of 5 does not fit into half a batch of 8"):
        TrainConfig(batch_size=8, hard_negatives=5)


def test_resuming_a_finished_run_loads_it(trained):
    assert same(weights(trained), weights(Run.resume(trained.path, progress=False)))


def test_training_works_outside_the_main_thread(dataset, tmp_path):
    done = []
    thread = threading.Thread(
        target=lambda: done.append(
            Run.train(make_graph(train={"epochs": 1}), dataset, tmp_path / "run", progress=False)
        )
    )
    thread.start()
    thread.join()
    assert len(done) == 1


def test_frozen_parts_stay_as_they_were(dataset, tmp_path):
    graph = make_graph(train={"epochs": 1, "trainable": {"modalities.ir": False}})
    before = Trainer(graph, dataset, progress=False).model.state_dict()
    run = Run.train(graph, dataset, tmp_path / "run", progress=False)
    after = run.model.state_dict()
    unchanged = {name for name in before if torch.equal(before[name], after[name])}
    frozen = {name for name in before if name.startswith("modalities.ir.")}
    assert frozen <= unchanged
    assert "modalities.raman.head.out.weight" not in unchanged


def test_parts_come_from_another_run(trained, dataset, tmp_path):
    source = f"{trained.path}#modalities.ir"
    train = {"epochs": 1, "init": {"modalities.ir": source}, "trainable": {"modalities.ir": False}}
    second = Run.train(make_graph(seed=9, train=train), dataset, tmp_path / "second", progress=False)
    a, b = weights(trained), weights(second)
    assert all(torch.equal(a[k], b[k]) for k in a if k.startswith("modalities.ir."))
    wrong = make_graph(train={"init": {"modalities.ir": f"{trained.path}#modalities.msms"}})
    with pytest.raises(RunError, match="differs in 'modalities.ir"):
        Run.train(wrong, dataset, tmp_path / "third", progress=False)
    assert not (tmp_path / "third").exists()


def test_a_run_knows_elements_and_sizes_by_spectrum_and_those_of_its_sources(dataset, tmp_path):
    first = Run.train(make_graph(train={"epochs": 1}), dataset, tmp_path / "first", progress=False)
    assert set(first.manifest.domain) == set(SPECTRA)
    having = {"ir": lambda row: True, "raman": lambda row: row % 3 < 2, "msms": lambda row: row % 2}
    for name, domain in first.manifest.domain.items():
        rows = [row for row in dataset.rows("train").tolist() if having[name](row)]
        assert domain == domain_of(dataset.formulas(rows))
    other = first.realign(dataset, tmp_path / "to", epochs=1, progress=False)
    assert other.manifest.domain == first.manifest.domain  # the same molecules again
    # What a tower saw elsewhere comes with it, and with no other tower.
    bromine = {name: domain_of(["CH3Br"] * 20) for name in SPECTRA}
    write_run_manifest(first.path, first.manifest.model_copy(update={"domain": bromine}))
    init = {
        "modalities.ir": f"{first.path}#modalities.ir",
        "modalities.structure": f"{first.path}#modalities.structure",
    }
    second = Run.train(make_graph(train={"epochs": 1, "init": init}), dataset, tmp_path / "second", progress=False)
    assert {name: domain.elements.get("Br") for name, domain in second.manifest.domain.items()} == {
        "ir": 20, "raman": None, "msms": None
    }  # fmt: skip
    # Of a source that an earlier version wrote nothing is known, so that of the new run nothing is claimed.
    old = {key: value for key, value in first.manifest.model_dump().items() if key != "domain"}
    write_run_manifest(first.path, RunManifest.model_validate(old))
    assert Run.load(first.path).realign(dataset, tmp_path / "old", epochs=1, progress=False).manifest.domain == {}


def test_a_head_from_another_run_keeps_that_runs_scalar_features(dataset, tmp_path):
    short = make_graph(scalar_features=["exact_mass"], train={"epochs": 1})
    first = Run.train(short, dataset, tmp_path / "first", progress=False)
    again = DataSet(dataset.path, split="hash")
    taken = {"modalities.ir": f"{first.path}#modalities.ir"}
    fresh, second = (
        Trainer(make_graph(scalar_features=["exact_mass"], train={"init": init}), again, progress=False)
        for init in ({}, taken)
    )
    for trainer in (fresh, second):
        trainer.start_from(None)
    assert float(fresh.model.scalar_mean) != float(first.model.scalar_mean)
    assert torch.equal(second.model.scalar_mean, first.model.scalar_mean)
    assert torch.equal(second.model.scalar_std, first.model.scalar_std)
    Run.train(short, again, tmp_path / "other", progress=False)
    both = taken | {"modalities.raman": f"{tmp_path / 'other'}#modalities.raman"}
    mixed = Trainer(make_graph(scalar_features=["exact_mass"], train={"init": both}), again, progress=False)
    with pytest.raises(RunError, match="take parts with this feature from one run"):
        mixed.start_from(None)


def test_an_encoder_from_another_run_keeps_that_runs_fitted_state(dataset, tmp_path, monkeypatch):
    restored = []
    kind = type(modality("ir")[1])
    monkeypatch.setattr(kind, "fit", lambda self, train: {"count": len(list(train))}, raising=False)
    monkeypatch.setattr(kind, "restore", lambda self, state: restored.append((self.name, state)), raising=False)
    first = Run.train(make_graph(train={"epochs": 1}), dataset, tmp_path / "first", progress=False)
    assert first.manifest.fitted == {"ir": {"count": 12}, "raman": {"count": 8}}
    again = DataSet(dataset.path, split="hash")
    restored.clear()
    own = int(np.isin(again.table("ir").molecule, again.rows("train")).sum())
    init = {"modalities.raman.encoder": f"{first.path}#modalities.ir.encoder"}
    second = Trainer(make_graph(train={"init": init}), again, progress=False)
    assert second.fitted == {"raman": {"count": 12}, "ir": {"count": own}}
    assert restored == [("raman", {"count": 12}), ("ir", {"count": own})]
    heads = {"modalities.raman.head": f"{first.path}#modalities.ir.head"}
    third = Trainer(make_graph(train={"init": heads}), again, progress=False)
    assert third.fitted["raman"] == {"count": 8}


def test_realignment_moves_every_tower_or_the_parts_named(trained, dataset, tmp_path):
    towers = [f"modalities.{m}" for m in ("structure", *SPECTRA)]
    for trainable, parts in (
        (None, towers),
        (["heads"], [f"{tower}.head.out" for tower in towers]),
        (["modalities.ir.encoder", "heads"], ["modalities.ir.encoder", *(f"{tower}.head.out" for tower in towers)]),
    ):
        other = trained.realign(dataset, tmp_path / "to", trainable=trainable, epochs=1, progress=False, force=True)
        a, b = weights(trained), weights(other)
        moved = {name for name in a if not torch.equal(a[name], b[name])}
        assert all(name.startswith(tuple(f"{part}." for part in parts)) for name in moved)
        assert all(any(name.startswith(f"{part}.") for name in moved) for part in parts)


def test_realignment_takes_another_learning_rate(trained, dataset, tmp_path):
    before = trained.graph.train.optimizer
    assert trained.realign(dataset, tmp_path / "same", epochs=1, progress=False).graph.train.optimizer == before
    still = trained.realign(dataset, tmp_path / "slow", epochs=1, lr=1e-12, progress=False)
    assert still.graph.train.optimizer.lr == 1e-12
    assert still.graph.train.optimizer.weight_decay == before.weight_decay
    a, b = weights(trained), weights(still)
    assert all(torch.allclose(a[name], b[name], atol=1e-6) for name, _ in trained.model.named_parameters())


def test_anchors_are_standardised_with_the_training_set(dataset, tmp_path):
    graph = make_graph(scalar_features=["exact_mass"], train={"epochs": 1})
    run = Run.train(graph, dataset, tmp_path / "run", progress=False)
    masses = dataset.numeric("exact_mass")[dataset.rows("train")]
    assert float(run.model.scalar_mean) == pytest.approx(masses.mean(), rel=1e-5)
    assert float(run.model.scalar_std) == pytest.approx(masses.std(), rel=1e-5)
    spectrum = dataset.table("ir").read(0)
    with_mass = run.embed("ir", spectrum, scalar_features={"exact_mass": 46.04})
    assert not np.allclose(with_mass, run.embed("ir", spectrum))


def test_early_stopping_ends_the_training(dataset, tmp_path):
    graph = make_graph(train={"epochs": 50, "optimizer": {"lr": 0.0}, "stopping": {"patience": 2}})
    Run.train(graph, dataset, tmp_path / "run", progress=False)
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 3


def test_plateau_cuts_the_rate(dataset, tmp_path):
    schedule = {"use": "plateau", "warmup": 0, "patience": 0, "factor": 0.5}
    graph = make_graph(train={"epochs": 4, "optimizer": {"lr": 1e-12}, "schedule": {**schedule, "minimum": 0.0}})
    Run.train(graph, dataset, tmp_path / "run", progress=False)
    rates = [json.loads(line)["lr"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rates == pytest.approx([1e-12, 1e-12, 5e-13, 2.5e-13])


def test_a_loss_that_is_not_finite_ends_in_a_sentence(dataset, tmp_path, monkeypatch):
    original = Trainer.learn

    def broken(self, share, number, weight):
        output = original(self, share, number, weight)
        return type(output)(total=output.total * math.nan, per_pair=output.per_pair)

    monkeypatch.setattr(Trainer, "learn", broken)
    said = "no step of epoch 1 was finite; loss 'molchord:all_pairs': it is not finite"
    with pytest.warns(UserWarning, match="a step is skipped"), pytest.raises(RunError, match=said):
        Run.train(make_graph(), dataset, tmp_path / "run", progress=False)


def test_dry_run_describes_one_batch(dataset):
    described = dry_run(Trainer(make_graph(), dataset, progress=False))
    assert described["molecules"]["molecules"] == 12
    assert described["molecules"]["structure+ir"] == 12
    assert described["shapes"]["raman"]
    assert described["parameters"]["all"] == described["parameters"]["trained"]
    assert math.isfinite(described["loss"])


# --- what is refused


def test_an_existing_folder_is_not_overwritten(dataset, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("keep")
    with pytest.raises(OutputExistsError, match="already exists"):
        Run.train(make_graph(), dataset, tmp_path / "run", progress=False)
    assert (tmp_path / "run" / "mine.txt").read_text() == "keep"


def test_a_set_without_pairs_is_refused(tmp_path):
    record, built = modality("msms")
    mols = molecules(3)
    lonely = DataSet.from_measurements(
        [m.smiles for m in mols], {"msms": built.example(mols, 0)}, stores={"msms": record.stores}, splits=["train"] * 3
    )
    with pytest.raises(DataError, match="ir"):
        Run.train(make_graph(), lonely, tmp_path / "run", progress=False)


def test_unusable_measurements_are_absent_and_listed(tmp_path):
    mols = molecules(8)
    given, stores = {}, {}
    for name in SPECTRA:
        record, built = modality(name)
        stores[name], given[name] = record.stores, list(built.example(mols, 0))
    given["ir"][0] = Measurement(
        arrays={"wavenumber": np.array([1.0, 2.0], np.float32), "absorbance": np.array([1.0, 1.0], np.float32)},
        columns={"origin": "measured"},
    )
    data = DataSet.from_measurements([m.smiles for m in mols], given, stores=stores, splits=["train"] * 6 + ["val"] * 2)
    Run.train(make_graph(), data, tmp_path / "run", progress=False)
    text = (tmp_path / "run" / "absent.csv").read_text()
    assert text.count("\n") == 2
    assert "ir," in text


@pytest.mark.gpu
def test_training_on_a_gpu(dataset, tmp_path):
    run = Run.train(make_graph(), dataset, tmp_path / "run", device="cuda", progress=False)
    assert run.embed("ir", dataset.table("ir").read(0)).shape == (1, 16)


# --- less to train on


def trained_on(dataset, **train):
    return Trainer(make_graph(train=train), dataset, progress=False)


def test_a_share_of_the_molecules_holds_the_smaller_shares(dataset):
    rows = {part: set(trained_on(dataset, fraction=part).rows["train"].tolist()) for part in (0.25, 0.5, 1.0)}
    assert [len(rows[part]) for part in (0.25, 0.5, 1.0)] == [3, 6, 12]
    assert rows[0.25] < rows[0.5] < rows[1.0]
    assert trained_on(dataset, fraction=0.5).rows["val"].tolist() == trained_on(dataset).rows["val"].tolist()
    other = Trainer(make_graph(train={"fraction": 0.5}, seed=4), dataset, progress=False)
    assert set(other.rows["train"].tolist()) != rows[0.5]


def test_a_share_of_one_modality_is_missing_in_training_alone(dataset):
    whole = trained_on(dataset)
    train = whole.rows["train"]
    left_out = {}
    for part in (0.25, 0.5):
        thinned = trained_on(dataset, missing={"raman": part})
        gone = whole.present["raman"] & ~thinned.present["raman"]
        assert gone.sum() == round(part * whole.present["raman"][train].sum())
        assert gone[train].sum() == gone.sum()
        assert thinned.rows["train"].tolist() == train.tolist()
        assert (thinned.present["ir"] == whole.present["ir"]).all()
        batch = next(iter(thinned.batches(np.flatnonzero(gone), shuffle=True).epoch()))
        assert not batch.present["raman"].any()
        left_out[part] = set(np.flatnonzero(gone).tolist())
    assert left_out[0.25] < left_out[0.5]


@pytest.mark.parametrize(
    ("train", "complaint"),
    [
        ({"missing": {"ramen": 0.5}}, "train.missing.ramen: modality 'ramen' is unknown in this graph; did you mean"),
        ({"missing": {"structure": 0.5}}, "train.missing.structure: modality 'structure' is what is retrieved"),
        ({"missing": {"ir": 1.5}}, "train.missing.ir"),
        ({"fraction": 0.0}, "train.fraction"),
    ],
)
def test_wrong_shares_are_complained_of(train, complaint):
    with pytest.raises(GraphError, match=complaint):
        make_graph(train=train)


def test_molecules_that_share_no_pair_of_modalities_are_refused(tmp_path):
    """One has IR, the other Raman and MS/MS: each has two modalities, and there is nothing to contrast."""
    has = {"ir": 0, "raman": 1, "msms": 1}
    given = {name: [None, None] for name in has}
    for name, row in has.items():
        given[name][row] = modality(name)[1].example(molecules()[:2], 0)[row]
    stores = {name: modality(name)[0].stores for name in has}
    smiles = [m.smiles for m in molecules()[:2]]
    lone = DataSet.from_measurements(smiles, given, tmp_path / "set", stores=stores, splits=["train", "train"])
    with pytest.raises(DataError, match="has 1 training molecules with the same two of the modalities"):
        Trainer(make_graph(), lone, progress=False)
