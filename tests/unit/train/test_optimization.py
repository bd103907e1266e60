"""Rates, schedules and what is trained, at every boundary."""

import itertools
import math

import pytest
import torch
from torch import nn

from molchord.errors import RunError
from molchord.graph.settings import OptimizerConfig, ScheduleConfig, TrainConfig
from molchord.train.optimization import (
    is_trained,
    moving_average,
    parameter_groups,
    rate_of,
    schedule_factor,
    set_trained,
    training_mode,
    under,
)


@pytest.mark.parametrize(
    ("name", "path", "is_under"),
    [
        ("modalities.ir", "modalities.ir", True),
        ("modalities.ir.head", "modalities.ir", True),
        ("modalities.ir2", "modalities.ir", False),
        ("modalities", "modalities.ir", False),
        ("", "modalities", False),
        ("loss", "los", False),
    ],
)
def test_a_part_is_under_a_path_that_ends_at_a_dot(name, path, is_under):
    assert under(name, path) is is_under


@pytest.mark.parametrize("order", list(itertools.permutations(["default", "a", "a.b", "a.b.c"])))
def test_the_longest_path_wins_in_whatever_order_it_is_written(order):
    rates = {name: float(len(name)) for name in order}
    assert [rate_of(rates, name) for name in ("a.b.c.d", "a.b.c", "a.b.x", "a.x", "x", "a.bc")] == [5, 5, 3, 1, 7, 1]


def test_one_rate_is_for_all():
    assert rate_of(0.25, "anything.at.all") == 0.25


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.modalities = nn.ModuleDict(
            {"ir": nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), "ir2": nn.Linear(2, 2)}
        )
        self.loss = nn.ParameterDict({"temperature": nn.Parameter(torch.zeros(1))})


def groups_of(model, **config):
    return {(g["lr"], g["weight_decay"]): len(g["params"]) for g in parameter_groups(model, OptimizerConfig(**config))}


def test_groups_are_of_one_rate_and_one_decay():
    assert groups_of(Parts(), lr=0.1, weight_decay=0.5) == {(0.1, 0.5): 6, (0.1, 0.0): 1}
    assert groups_of(Parts(), lr=0.1, weight_decay=0.0) == {(0.1, 0.0): 7}
    by_part = {"default": 0.1, "modalities.ir": 0.2, "loss": 0.3}
    assert groups_of(Parts(), lr=by_part, weight_decay=0.5) == {(0.2, 0.5): 4, (0.1, 0.5): 2, (0.3, 0.0): 1}
    named = {"default": 0.5, "loss": 0.25}
    assert groups_of(Parts(), lr=0.1, weight_decay=named) == {(0.1, 0.5): 6, (0.1, 0.25): 1}
    unnamed = {"default": 0.5, "modalities.ir": 0.1}
    assert groups_of(Parts(), lr=0.1, weight_decay=unnamed) == {(0.1, 0.1): 4, (0.1, 0.5): 2, (0.1, 0.0): 1}
    model = Parts()
    model.modalities["ir"].requires_grad_(False)
    (group,) = parameter_groups(model, OptimizerConfig(lr=0.1, weight_decay=0.0))
    assert len(group["params"]) == 3
    assert group["base_lr"] == group["lr"] == 0.1


@pytest.mark.parametrize("use", ["constant", "cosine", "plateau", "exponential"])
@pytest.mark.parametrize("warmup", [0.0, 0.5, 3.0, 20.0])
def test_a_schedule_rises_to_one_and_a_cosine_falls_to_nought(use, warmup):
    config = TrainConfig(epochs=10, schedule=ScheduleConfig(use=use, warmup=warmup, gamma=0.9))
    for tenth in range(101):
        done = tenth / 10
        if done < warmup:
            expected = done / warmup
        elif use == "cosine":
            expected = (1 + math.cos(math.pi * min(1.0, (done - warmup) / (10 - warmup)))) / 2
        else:
            expected = 0.9 ** (done - warmup) if use == "exponential" else 1.0
        assert schedule_factor(config, done) == pytest.approx(expected, abs=1e-9)


def test_a_warm_up_of_the_whole_training_is_followed_by_nothing():
    config = TrainConfig(epochs=4, schedule=ScheduleConfig(warmup=4.0))
    assert schedule_factor(config, 3.999) == pytest.approx(1, abs=1e-3)
    assert schedule_factor(config, 4.0) == 1.0  # the last step of all


@pytest.mark.parametrize(
    ("trainable", "trained"),
    [
        ({}, {"ir.0", "ir.1", "ir2", "loss"}),
        ({"modalities.ir": False}, {"ir2", "loss"}),
        ({"default": False, "modalities.ir": True}, {"ir.0", "ir.1"}),
        ({"default": False, "modalities.ir": True, "modalities.ir.1": False}, {"ir.0"}),
        ({"modalities": False, "modalities.ir.1": True}, {"ir.1", "loss"}),
    ],
)
def test_parts_are_trained_and_in_training_mode_as_the_longest_path_says(trainable, trained):
    model, config = Parts(), TrainConfig(trainable=trainable)
    set_trained(model, config)
    training_mode(model, config)
    modules = {"ir.0": model.modalities["ir"][0], "ir.1": model.modalities["ir"][1], "ir2": model.modalities["ir2"]}
    assert {name for name, part in modules.items() if all(p.requires_grad for p in part.parameters())} == trained - {
        "loss"
    }
    assert {name for name, part in modules.items() if part.training} == trained - {"loss"}
    assert model.loss["temperature"].requires_grad == ("loss" in trained)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == is_trained(name, config)
    set_trained(model, TrainConfig())  # and back
    assert all(p.requires_grad for p in model.parameters())


def test_nothing_left_to_train_is_refused_with_what_was_asked():
    with pytest.raises(RunError) as caught:
        set_trained(Parts(), TrainConfig(trainable={"default": False}))
    assert str(caught.value) == (
        "`train.trainable` {'default': False} leaves no parameter to train; name parts that have some"
    )


def test_an_average_holds_buffers_and_copies_what_has_no_average():
    model = nn.BatchNorm1d(1)
    average = moving_average(model, 0.5)
    average.update_parameters(model)
    for value in (1.0, 3.0):
        model.running_mean.fill_(value)
        model.num_batches_tracked.fill_(int(value))
        average.update_parameters(model)
    # weights of the second and third step: (1 + 1) / 11 and (1 + 2) / 12 are kept, as both are below 0.5
    first = 0.0 * (2 / 11) + 1.0 * (9 / 11)
    assert float(average.module.running_mean) == pytest.approx(first * 3 / 12 + 3.0 * 9 / 12)
    assert int(average.module.num_batches_tracked) == 3
