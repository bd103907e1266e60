"""Which epoch's weights are kept, when the rate is cut and when training ends, from given validation figures."""

import json
import math

import numpy as np
import pytest
import torch

import molchord as mc
from molchord.errors import DataError
from molchord.graph.resolve import ModelGraph, Use
from molchord.run_folder import read_weights
from molchord.testing import MOLECULES, examples_of, tiny_data
from molchord.train.trainer import Trainer


def graph_of(scalar_features=(), **train):
    return ModelGraph.of(
        embedding_dim=4,
        seed=5,
        scalar_features=scalar_features,
        modalities={
            "structure": Use("structure", encoder=Use("gine", width=4, hidden=4, layers=1)),
            "ir": Use("ir", grid={"points": 50}, encoder=Use("mlp", width=4, hidden=[])),
        },
        loss=Use("all_pairs"),
        train={"batch_size": 10, "epochs": 8, "workers": 0, **train},
    )


def trained(folder, figures, data=None, **train):
    """Train with these validation figures, one a call, and return the trainer, its lines and the weights of each."""
    trainer = Trainer(graph_of(**train), data or tiny_data(), device="cpu", progress=False)
    asked, at = iter(figures), []

    def validate():
        at.append({name: t.clone() for name, t in trainer.model.state_dict().items()})
        value = next(asked)
        return {"loss": value, "blind_mrr": value}

    trainer.validate = validate
    folder.mkdir()
    lines = []
    assert trainer.run(folder, lambda record: lines.append(dict(record))) is True
    return trainer, lines, at


def kept(folder, at):
    """The number of the validation whose weights are in the folder."""
    found = read_weights(folder / "model.safetensors")[0]
    return [all(torch.equal(found[name], tensors[name]) for name in found) for tensors in at].index(True) + 1


@pytest.mark.parametrize(
    ("metric", "figures", "best"),
    [
        ("blind_mrr", [0.1, 0.3, 0.2, 0.25], 2),
        ("blind_mrr", [0.1, 0.3, 0.3, 0.3], 2),  # the first of equals
        ("blind_mrr", [0.0, 0.0, 0.0, 0.0], 1),
        ("blind_mrr", [0.1, 0.2, 0.3, 0.4], 4),
        ("loss", [3.0, 1.0, 2.0, 1.0], 2),  # lower is better
        ("loss", [0.0, 1.0, 2.0, 3.0], 1),
    ],
)
def test_the_weights_of_the_best_epoch_are_kept(tmp_path, metric, figures, best):
    trainer, lines, at = trained(tmp_path / "r", figures, epochs=4, stopping={"metric": metric})
    assert trainer.state.best_epoch == best
    assert trainer.state.best == (-figures[best - 1] if metric == "loss" else figures[best - 1])
    assert kept(tmp_path / "r", at) == best
    assert [line["val"][metric] for line in lines] == figures


@pytest.mark.parametrize(
    ("patience", "figures", "epochs"),
    [
        (None, [0.5, 0.4, 0.3, 0.2], 4),
        (1, [0.5, 0.4], 2),
        (2, [0.5, 0.6, 0.5, 0.6], 4),  # as good is not better
        (1, [0.1, 0.2, 0.3, 0.4], 4),
    ],
)
def test_training_ends_after_so_many_validations_without_a_better_one(tmp_path, patience, figures, epochs):
    trainer, lines, _ = trained(
        tmp_path / "r", figures, epochs=4 if epochs == 4 and patience != 2 else 8, stopping={"patience": patience}
    )
    assert (len(lines), trainer.state.epoch, trainer.state.done) == (epochs, epochs, True)


@pytest.mark.parametrize(("every", "epochs", "at"), [(1, 3, [1, 2, 3]), (2, 5, [2, 4, 5]), (3, 6, [3, 6]), (9, 4, [4])])
def test_the_last_epoch_is_always_validated(tmp_path, every, epochs, at):
    _, lines, _ = trained(tmp_path / "r", [0.1] * len(at), epochs=epochs, stopping={"every": every})
    assert [line["epoch"] for line in lines if "val" in line] == at
    written = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    assert written == lines


def test_the_rate_is_cut_on_a_plateau_and_patience_begins_anew(tmp_path):
    figures = [0.5, 0.4, 0.4, 0.4, 0.4, 0.6, 0.5, 0.5]
    _, lines, _ = trained(
        tmp_path / "r", figures,
        schedule={"use": "plateau", "warmup": 0, "patience": 1, "factor": 0.1, "minimum": 1e-9}, optimizer={"lr": 1.0},
    )  # fmt: skip
    # not better: epochs 2 and 3, cut after the second; 4 and 5, cut; 6 is better; 7 and 8
    assert [line["lr"] for line in lines] == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.01])


def test_the_rate_has_a_floor_that_never_raises_it(tmp_path):
    _, lines, _ = trained(
        tmp_path / "r", [0.1] * 4, epochs=4, optimizer={"lr": {"default": 1e-2, "modalities.ir": 1e-7}},
        schedule={"use": "cosine", "warmup": 0, "minimum": 1e-3},
    )  # fmt: skip
    expected = [max(1e-3, 0.5e-2 * (1 + math.cos(math.pi * epoch / 4))) for epoch in range(1, 5)]
    assert [line["lr"] for line in lines] == pytest.approx(expected)


def test_without_validation_molecules_the_last_weights_are_kept(tmp_path):
    data = mc.from_measurements(MOLECULES, {"ir": examples_of("ir", 16)}, splits=["train"] * 12 + ["test"] * 4)
    trainer, lines, _ = trained(tmp_path / "r", [], data, epochs=2)
    assert all("val" not in line for line in lines)
    found = read_weights(tmp_path / "r" / "model.safetensors")[0]
    assert all(torch.equal(found[name], tensor) for name, tensor in trainer.model.state_dict().items())
    assert (trainer.state.best, trainer.state.best_epoch) == (None, 0)
    for watched in ({"stopping": {"patience": 1}}, {"schedule": {"use": "plateau"}}):
        with pytest.raises(DataError, match="no validation molecule with two of the modalities, which `schedule.use"):
            Trainer(graph_of(**watched), data, device="cpu", progress=False)


def test_batches_are_accumulated_to_steps_and_the_rest_is_a_step_too(tmp_path):
    """Ten molecules in batches of two, three batches a step: two steps an epoch."""
    trainer, lines, _ = trained(tmp_path / "r", [0.1, 0.2], epochs=2, batch_size=2, accumulate_grad_batches=3)
    assert [line["step"] for line in lines] == [2, 4]
    assert trainer.state.step == 4
    single, _, _ = trained(tmp_path / "s", [0.1], epochs=1, batch_size=2)
    assert single.state.step == 5


def test_a_line_holds_the_mean_of_its_batches(tmp_path):
    _, (line,), _ = trained(tmp_path / "r", [0.1], epochs=1, batch_size=5)
    assert line["loss"] == pytest.approx(line["pairs"]["structure-ir"], rel=1e-5)  # the one pair there is
    assert line["grad_norm"] > 0
    assert (line["epoch"], line["absent"]) == (1, 0)
    assert line["molecules_per_second"] > 0


@pytest.mark.parametrize("limit", [1e-3, None])
def test_gradients_are_clipped_to_the_norm_asked_for(tmp_path, limit):
    trainer = Trainer(graph_of(epochs=1, clip_norm=limit), tiny_data(), device="cpu", progress=False)
    norms, original = [], trainer.optimizer.step

    def step():
        norms.append(
            torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]).norm().item()
        )
        original()

    trainer.optimizer.step = step
    lines = []
    trainer.run(tmp_path, lines.append)
    assert norms == pytest.approx([lines[0]["grad_norm"] if limit is None else limit], rel=1e-3)
    assert lines[0]["grad_norm"] > 1e-2  # the line has what it was before


# --- who is trained on


def test_counts_are_of_the_training_molecules_with_two_modalities(tmp_path):
    spectra = [m if i not in (0, 11, 15) else None for i, m in enumerate(examples_of("ir", 16))]
    data = mc.from_measurements(MOLECULES, {"ir": spectra}, splits=["train"] * 10 + ["val"] * 2 + ["test"] * 4)
    trainer = Trainer(graph_of(), data, device="cpu", progress=False)
    assert trainer.rows["train"].tolist() == list(range(1, 10))
    assert trainer.rows["val"].tolist() == [10]
    assert trainer.counts() == {"molecules": 9, "structure": 9, "ir": 9, "structure+ir": 9}


@pytest.mark.parametrize(("count", "batch_size", "together"), [(1, 10, 1), (2, 1, 2)])
def test_a_contrastive_loss_needs_two_molecules_a_batch(count, batch_size, together):
    spectra = [m if i < count else None for i, m in enumerate(examples_of("ir", 16))]
    data = mc.from_measurements(
        MOLECULES, {"ir": [*spectra[:-1], examples_of("ir", 1)[0]]}, splits=["train"] * 15 + ["val"]
    )
    with pytest.raises(DataError) as caught:
        Trainer(graph_of(batch_size=batch_size), data, device="cpu", progress=False)
    assert str(caught.value) == (
        f"data set {str(data.path)!r} has {together} training molecules with the same two of the modalities "
        f"['ir', 'structure'], in batches of {batch_size}; a contrastive loss needs two molecules a batch: import more "
        "measurements, or change split or batch size"
    )


def test_scalar_features_are_scaled_by_the_training_molecules_alone():
    trainer = Trainer(graph_of(["exact_mass"]), tiny_data(), device="cpu", progress=False)
    masses = tiny_data().numeric("exact_mass")[:10].astype(np.float32)
    assert float(trainer.model.scalar_mean[0]) == pytest.approx(masses.mean(), rel=1e-5)
    assert float(trainer.model.scalar_std[0]) == pytest.approx(masses.std(), rel=1e-5)


def test_embeddings_of_candidates_are_in_the_order_asked_for():
    trainer = Trainer(graph_of(batch_size=3), tiny_data(), device="cpu", progress=False)
    model = trainer.model.eval()
    rows = np.array([9, 0, 5, 2, 15, 3, 1])
    with torch.no_grad():
        found = trainer.embed_candidates(model, rows)
        alone = torch.cat([trainer.embed_candidates(model, rows[i : i + 1]) for i in range(len(rows))])
    torch.testing.assert_close(found, alone)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(7))
    assert trainer.embed_candidates(model, rows[:0]).shape == (0, 4)


@pytest.mark.parametrize("pool", ["val", "all"])
def test_validation_ranks_among_validation_structures_or_all(pool):
    trainer = Trainer(graph_of(stopping={"pool": pool}), tiny_data(), device="cpu", progress=False)
    found = trainer.validate()["blind_mrr"]
    model = trainer.model.eval()
    with torch.no_grad():
        candidates = trainer.embed_candidates(model, np.arange(16)).double()
        (batch,) = trainer.batches(np.array([10, 11]), shuffle=False).epoch()
        queries = model(batch).unit["ir"].double()
    among = [10, 11] if pool == "val" else list(range(16))
    ranks = []
    for query, own in zip(queries, (10, 11), strict=True):
        scores = candidates[among] @ query
        ranks.append(int((scores >= candidates[own] @ query - 1e-6).sum()))
    assert found == pytest.approx(np.mean([1 / rank for rank in ranks]))


def test_a_scalar_feature_that_nobody_has_is_said_and_left_alone(tmp_path):
    from molchord.data.importer import import_files
    from molchord.data.store import DataSet
    from molchord.host import Host

    table = tmp_path / "t.csv"
    table.write_text("smiles,mp,bp,side\n" + "".join(f"{s},,5,train\n" for s in MOLECULES[:6]))
    import_files([], tmp_path / "d", host=Host(plugins=()), table=table, numeric=["mp", "bp"], split="column:side")
    graph = ModelGraph.of(
        embedding_dim=4,
        scalar_features=["mp", "bp"],
        candidate="structure",
        modalities={
            "structure": Use("structure", encoder=Use("gine", width=4, hidden=4, layers=1)),
            "morgan": Use("fingerprint", encoder=Use("mlp", width=4, hidden=[])),
        },
        loss=Use("all_pairs"),
        train={"batch_size": 4, "epochs": 1, "workers": 0},
    )
    with pytest.warns(
        UserWarning, match="^scalar feature 'mp' is known of no training molecule of data set .*; leave it out"
    ) as caught:
        trainer = Trainer(graph, DataSet(tmp_path / "d"), device="cpu", progress=False)
    assert len(caught) == 1
    assert trainer.model.scalar_mean.tolist() == [0.0, 5.0]
    assert trainer.model.scalar_std.tolist() == [1.0, 1.0]  # all alike
