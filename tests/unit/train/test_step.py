"""What a step hides, and the gradients that it leaves, against autograd from end to end."""

import math

import numpy as np
import pytest
import torch

from molchord.data.loader import Batch
from molchord.errors import RunError
from molchord.graph.resolve import ModelGraph, Use
from molchord.graph.settings import TrainConfig
from molchord.model import Embeddings
from molchord.seeding import random_state
from molchord.testing import tiny_data
from molchord.train.step import autocast, hide, masked
from molchord.train.trainer import Trainer


def presence(rng, count, **shares):
    return {name: torch.from_numpy(rng.random(count) < share) for name, share in shares.items()}


def batch_of(present):
    count = len(next(iter(present.values())))
    return Batch(molecule=torch.arange(count), present=present, inputs={}, scalar_features=torch.zeros(count, 0))


# --- modality dropout


@pytest.mark.parametrize("dropout", [0.0, 0.3, 0.9, 0.999])
def test_neither_the_candidate_nor_a_last_modality_is_hidden(dropout):
    rng = np.random.default_rng(0)
    present = presence(rng, 500, structure=0.8, ir=0.9, raman=0.5, msms=0.2)
    kept = hide(batch_of(present), TrainConfig(modality_dropout=dropout), "structure", rng)
    assert list(kept) == list(present)
    assert kept["structure"] is present["structure"]
    spectra = ("ir", "raman", "msms")
    before, after = (torch.stack([where[name] for name in spectra]) for where in (present, kept))
    assert not (after & ~before).any()  # nothing appears
    assert torch.equal(after.any(dim=0), before.any(dim=0))  # nobody loses all
    if dropout == 0.0:
        assert torch.equal(after, before)


def test_measurements_are_hidden_at_the_rate_asked_for_independently():
    rng = np.random.default_rng(1)
    present = presence(rng, 6000, structure=1.0, ir=1.0, raman=1.0)
    kept = hide(batch_of(present), TrainConfig(modality_dropout=0.3), "structure", rng)
    ir, raman = kept["ir"].double(), kept["raman"].double()
    # both hidden, 0.09 of all, stay both
    assert float(ir.mean()) == pytest.approx(0.7 + 0.09, abs=0.02)
    assert float((ir * raman).mean()) == pytest.approx(0.49 + 0.09, abs=0.02)
    again = hide(batch_of(present), TrainConfig(modality_dropout=0.3), "structure", np.random.default_rng(2))
    same = hide(batch_of(present), TrainConfig(modality_dropout=0.3), "structure", np.random.default_rng(2))
    assert torch.equal(again["ir"], same["ir"])
    assert not torch.equal(again["ir"], kept["ir"])


def test_hidden_embeddings_are_zero_and_carry_no_gradient():
    raw = {name: torch.randn(3, 2, requires_grad=True) for name in ("ir", "raman")}
    made = Embeddings.of(raw, {name: torch.ones(3, dtype=torch.bool) for name in raw})
    kept = {"ir": torch.tensor([True, False, True]), "raman": torch.tensor([False, False, False])}
    found = masked(made, kept)
    assert found.present == kept
    assert not found.unit["ir"][1].any()
    assert not found.raw["raman"].any()
    torch.testing.assert_close(found.unit["ir"][0], made.unit["ir"][0])
    sum(rows.sum() for rows in [*found.unit.values(), *found.raw.values()]).backward()
    assert not raw["ir"].grad[1].any()
    assert raw["ir"].grad[0].any()
    assert not raw["raman"].grad.any()


@pytest.mark.parametrize(
    ("precision", "dtype"), [("auto", torch.float32), ("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_precision_on_a_cpu_is_full_unless_asked_otherwise(precision, dtype):
    with autocast(precision, torch.device("cpu")):
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype == dtype


# --- gradients


def graph_of(scalar_features=(), **train):
    return ModelGraph.of(
        embedding_dim=8,
        seed=5,
        scalar_features=scalar_features,
        modalities={
            "structure": Use("structure", encoder=Use("gine", width=8, hidden=8, layers=1)),
            "ir": Use("ir", grid={"points": 100}, encoder=Use("mlp", width=8, hidden=[8])),
        },
        loss=Use("all_pairs"),
        train={"batch_size": 10, "epochs": 1, "workers": 0, "scalar_feature_dropout": 0.0, **train},
    )


@pytest.fixture
def trainer():
    return Trainer(graph_of(), tiny_data(), device="cpu", progress=False)


def whole_batch(trainer):
    (share,) = trainer.batches(trainer.rows["train"], shuffle=False).shares()
    return share


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def direct(trainer, share, seed):
    """The gradients that autograd gives from the loss to every parameter at once."""
    model = trainer.model
    model.zero_grad()
    (batch,) = share.chunks
    generators = {name: torch.Generator().manual_seed(random_state(seed, name)) for name in batch.inputs}
    output = model.compute_loss(model(batch, generators), batch)
    output.total.backward()
    return gradients(model), float(output.total.detach())


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_a_step_leaves_the_gradients_of_the_whole(trainer, weight):
    trainer.model.eval()  # without dropout
    share = whole_batch(trainer)
    expected, loss = direct(trainer, share, 0)
    trainer.model.zero_grad()
    output = trainer.step.learn(share, (0,), weight)
    found = gradients(trainer.model)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], weight * gradient, rtol=1e-3, atol=1e-6)
    assert float(output.total) == pytest.approx(loss, rel=1e-4)  # the loss itself has no weight
    assert not output.total.requires_grad
    assert set(output.per_pair) == {("structure", "ir")}


def test_gradients_of_two_steps_add_up(trainer):
    trainer.model.eval()
    share = whole_batch(trainer)
    trainer.step.learn(share, (0,))
    once = gradients(trainer.model)
    trainer.step.learn(share, (0,))
    for name, gradient in gradients(trainer.model).items():
        torch.testing.assert_close(gradient, 2 * once[name], rtol=1e-3, atol=1e-6)


def test_parts_that_are_not_trained_get_no_gradient():
    trainer = Trainer(graph_of(trainable={"modalities.structure": False}), tiny_data(), device="cpu", progress=False)
    trainer.step.learn(whole_batch(trainer), (0,))
    named = {
        name.split(".")[1]
        for name, p in trainer.model.named_parameters()
        if p.grad is not None and "modalities" in name
    }
    assert named == {"ir"}


@pytest.mark.parametrize(("dropout", "hidden"), [(0.0, 0), (1.0, 10)])
def test_scalar_features_are_hidden_for_whole_molecules(dropout, hidden):
    trainer = Trainer(
        graph_of(["exact_mass"], scalar_feature_dropout=dropout), tiny_data(), device="cpu", progress=False
    )
    seen = []
    original = trainer.model.embed

    def noting(name, inputs, scalar_features, generator=None):
        seen.append(scalar_features)
        return original(name, inputs, scalar_features, generator)

    trainer.model.embed = noting
    trainer.step.learn(whole_batch(trainer), (0,))
    assert len(seen) == 2
    assert all(int(table.isnan().sum()) == hidden for table in seen)


def test_what_is_drawn_follows_from_the_seed_of_the_step_alone(trainer):
    share = whole_batch(trainer)
    chunk = share.chunks[0]
    rows = slice(0, len(chunk.molecule))
    trainer.model.train()
    torch.manual_seed(1)
    one = trainer.step.encode(chunk, (5, 0, 3), rows, None).raw["ir"].detach()
    torch.manual_seed(2)
    two = trainer.step.encode(chunk, (5, 0, 3), rows, None).raw["ir"].detach()
    assert torch.equal(one, two)


def test_a_loss_that_is_not_a_number_is_seen_as_such(trainer, tmp_path):
    with torch.no_grad():
        next(trainer.model.parameters()).fill_(math.nan)
    said = "no step of epoch 1 was finite; encoder .* embedding of .* is not finite"
    with pytest.warns(UserWarning, match="a step is skipped in epoch 1"), pytest.raises(RunError, match=said):
        trainer.run(tmp_path)
