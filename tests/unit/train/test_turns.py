"""Batches that train one pair of modalities in turn, and optimisers that can be chosen."""

import pytest
import torch

from molchord.graph.resolve import ModelGraph, Use
from molchord.testing import tiny_data
from molchord.train.trainer import Trainer

SMALL = {"encoder": Use("mlp", width=4, hidden=[4], batch_norm=False), "grid": {"points": 50}}
PAIRS = [("structure", "ir"), ("structure", "again"), ("ir", "again")]


def trainer_of(**train):
    graph = ModelGraph.of(
        embedding_dim=4,
        modalities={
            "structure": Use("structure", encoder=Use("gine", width=4, hidden=4, layers=1)),
            "ir": Use("ir", **SMALL),
            "again": Use("ir", **SMALL),
        },
        loss=Use("all_pairs"),
        train={"batch_size": 10, "epochs": 1, "workers": 0, "optimizer": {"lr": 0.01, "weight_decay": 0.5}, **train},
    )
    return Trainer(graph, tiny_data(), device="cpu", progress=False)


def weights(trainer):
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters() if name.startswith("modalities")}


def moved(before, after):
    return {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}


def step(trainer):
    """What follows the batches of a step in the loop."""
    trainer.turns.rest(trainer.model)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad(set_to_none=True)


def test_each_batch_trains_one_pair_and_the_other_tower_rests():
    """At rest it keeps its weights, in spite of weight decay and of the momentum of earlier steps."""
    trainer = trainer_of(alternate_pairs=True)
    (share,) = trainer.batches(trainer.rows["train"], shuffle=False).shares()
    for number in (0, 1, 2, 3):
        before = weights(trainer)
        output = trainer.learn(share, number)
        step(trainer)
        pair = PAIRS[number % 3]
        assert moved(before, weights(trainer)) == set(pair)
        assert {p for p, value in output.per_pair.items() if float(value) != 0} == {pair}


def test_a_step_of_several_batches_moves_what_any_of_them_trained():
    trainer = trainer_of(alternate_pairs=True)
    (share,) = trainer.batches(trainer.rows["train"], shuffle=False).shares()
    before = weights(trainer)
    trainer.learn(share, 0)
    trainer.learn(share, 1)
    step(trainer)
    assert moved(before, weights(trainer)) == {"structure", "ir", "again"}


@pytest.mark.parametrize(("use", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam)])
def test_the_optimiser_is_the_one_asked_for(use, kind):
    assert type(trainer_of(optimizer={"use": use}).optimizer) is kind
