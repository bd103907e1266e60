"""Settings of heads and training: where each one ends, and what does not fit together."""

import math

import pytest
from pydantic import ValidationError

from molchord.graph.settings import (
    HeadConfig,
    OptimizerConfig,
    RangeConfig,
    ScheduleConfig,
    StoppingConfig,
    TrainConfig,
    TuneConfig,
)

INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("model", "field", "good", "bad"),
    [
        (HeadConfig, "layers", [1, 2], [0, 3]),
        (HeadConfig, "dropout", [0.0, 0.99], [-0.1, 1.0, NAN]),
        (OptimizerConfig, "lr", [0.0, 1e-9, 3.0, {"default": 0.0}], [-1e-9, NAN, INF, {}, {"loss": 0.1}, {"default": INF}]),
        (OptimizerConfig, "weight_decay", [0.0, 0.5, {"default": 0.1, "loss": 0.0}], [-0.1, NAN, INF, {"loss": 1.0}]),
        (OptimizerConfig, "betas", [(0.0, 0.0), (0.9, 0.999)], [(0.9, 1.0), (-0.1, 0.5), (0.9,), (0.9, 0.9, 0.9)]),
        (ScheduleConfig, "use", ["constant", "cosine", "plateau"], ["linear"]),
        (ScheduleConfig, "warmup", [0.0, 0.5, 100], [-0.1, INF, NAN]),
        (ScheduleConfig, "factor", [0.001, 0.999], [0.0, 1.0, -0.5]),
        (ScheduleConfig, "patience", [0, 9], [-1]),
        (ScheduleConfig, "minimum", [0.0, 1.0], [-1e-9]),
        (StoppingConfig, "metric", ["blind_mrr", "loss"], ["mrr"]),
        (StoppingConfig, "pool", ["val", "all"], ["test"]),
        (StoppingConfig, "every", [1, 5], [0]),
        (StoppingConfig, "patience", [None, 1], [0, -1]),
        (TrainConfig, "batch_size", [1, 4096], [0, -1, 2.5]),
        (TrainConfig, "epochs", [1], [0]),
        (TrainConfig, "clip_norm", [None, 0.1], [0.0, -1.0]),
        (TrainConfig, "accumulate_grad_batches", [1, 3], [0]),
        (TrainConfig, "mini_batch_size", [None, 1], [0]),
        (TrainConfig, "precision", ["auto", "fp32", "bf16"], ["fp16"]),
        (TrainConfig, "ema", [None, 0.5], [0.0, 1.0, NAN]),
        (TrainConfig, "modality_dropout", [0.0, 0.9], [1.0, -0.1, NAN]),
        (TrainConfig, "scalar_feature_dropout", [0.0, 1.0], [1.1, -0.1, NAN]),
        (TrainConfig, "fraction", [0.001, 1.0], [0.0, 1.1, NAN]),
        (TrainConfig, "missing", [{}, {"ir": 0.0}, {"ir": 1.0}], [{"ir": 1.1}, {"ir": -0.1}]),
        (TrainConfig, "sampling", [{"ir": {"origin": {"measured": 0.0}}}], [{"ir": {"origin": {"measured": -1.0}}},
                                                                           {"ir": {"origin": {"measured": INF}}}]),
        (TrainConfig, "workers", [None, 0, 4], [-1]),
        (TrainConfig, "hard_negatives", [0, 2], [-1]),
    ],
)  # fmt: skip
def test_each_setting_has_its_range(model, field, good, bad):
    for value in good:
        kept = getattr(model(**{field: value}), field)
        assert kept == value
    for value in bad:
        with pytest.raises(ValidationError) as caught:
            model(**{field: value})
        assert caught.value.errors()[0]["loc"][:1] in ((field,), ())  # of the field, or of all together


@pytest.mark.parametrize(
    ("batch", "group", "fits"),
    [(8, 4, True), (8, 5, False), (9, 4, True), (9, 5, False), (2, 1, True), (1, 1, False), (1, 0, True)],
)
def test_a_group_of_neighbours_fits_into_half_a_batch(batch, group, fits):
    if fits:
        assert TrainConfig(batch_size=batch, hard_negatives=group).hard_negatives == group
        return
    with pytest.raises(ValidationError) as caught:
        TrainConfig(batch_size=batch, hard_negatives=group)
    assert (
        f"`hard_negatives` of {group} does not fit into half a batch of {batch}; make `hard_negatives` smaller or "
        "`batch_size` larger"
    ) in str(caught.value)


@pytest.mark.parametrize(
    ("low", "high", "log", "good"),
    [
        (1, 2, False, True),
        (-1.5, 0, False, True),
        (1e-5, 1e-1, True, True),
        (2, 2, False, False),
        (3, 2, False, False),
        (0, 1, True, False),
        (-1, 1, True, False),
        (0.0, INF, False, False),
        (NAN, 1.0, False, False),
        (-INF, 1.0, False, False),
    ],
)
def test_a_range_goes_up_between_finite_ends(low, high, log, good):
    if good:
        found = RangeConfig(low=low, high=high, log=log)
        assert (found.low, found.high, type(found.low)) == (low, high, type(low))  # whole numbers stay whole
    else:
        with pytest.raises(ValidationError):
            RangeConfig(low=low, high=high, log=log)


def test_a_choice_is_of_two_or_more():
    assert TuneConfig(space={"seed": [1, 2]}).objectives == ("blind_mrr",)
    for wrong in ({"space": {"seed": [1]}}, {"space": {"seed": []}}, {}, {"space": {}, "objectives": []}):
        with pytest.raises(ValidationError):
            TuneConfig(**wrong)


def test_defaults_are_the_documented_ones():
    """A run of 0.1.0 leaves out nothing, but a graph of today does: another default is another training."""
    assert TrainConfig().model_dump() == TrainConfig.model_validate({}).model_dump()
    assert (HeadConfig().layers, HeadConfig().bias, HeadConfig().dropout, HeadConfig().layer_norm) == (
        2,
        True,
        0.0,
        True,
    )
    assert (OptimizerConfig().lr, OptimizerConfig().weight_decay, OptimizerConfig().betas) == (4e-4, 0.01, (0.9, 0.999))
    schedule = ScheduleConfig()
    assert (schedule.use, schedule.warmup, schedule.factor, schedule.patience, schedule.minimum) == (
        "cosine", 1.0, 0.1, 5, 1e-6,
    )  # fmt: skip
    train = TrainConfig()
    assert (train.clip_norm, train.accumulate_grad_batches, train.mini_batch_size, train.precision, train.ema) == (
        1.0, 1, None, "auto", None,
    )  # fmt: skip
    assert (train.modality_dropout, train.scalar_feature_dropout, train.hard_negatives, train.fraction) == (
        0.0,
        0.5,
        0,
        1.0,
    )
