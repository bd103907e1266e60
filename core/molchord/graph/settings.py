"""The parts of a model graph that belong to the engine itself: projection heads and training. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import Field, FiniteFloat, model_validator

from molchord.api import Config

PositiveFloat = Annotated[FiniteFloat, Gt(0)]
Weight = Annotated[FiniteFloat, Ge(0)]
Rate = Annotated[float, Ge(0), Le(10)]
Rates = Rate | Mapping[str, Rate]

Beta = Annotated[float, Ge(0), Lt(1)]


class HeadConfig(Config):
    """Projection head of a tower, from the encoder's width to `embedding_dim`.

    Two layers are VibraCLIP's head (Rocabert-Oriols et al. 2025, "Projection heads"): linear, GELU, linear, residual
    from the first linear layer, layer norm. One layer is a plain linear map.
    """

    layers: Literal[1, 2] = Field(2, description="1: linear; 2: linear, GELU, linear with a residual")
    bias: bool = Field(True, description="bias of the first linear layer")
    dropout: Annotated[float, Ge(0), Lt(1)] = Field(0.0, description="dropout before the residual")
    layer_norm: bool = Field(True, description="layer norm of the output")


class OptimizerConfig(Config):
    """AdamW (Loshchilov and Hutter 2019) or Adam; rates per part by dotted path, the longest matching path wins."""

    use: Literal["adamw", "adam"] = Field(
        "adamw", description="adam: weight decay is a part of the gradient (Kingma and Ba 2015)"
    )
    lr: Rates = Field(4e-4, description="learning rate, or {default: ..., PART: ...}")
    weight_decay: Rates = Field(0.01, description="weight decay, or {default: ..., PART: ...}")
    betas: tuple[Beta, Beta] = Field((0.9, 0.999), description="betas, each below 1")

    @model_validator(mode="after")
    def _defaults(self) -> Self:
        for name in ("lr", "weight_decay"):
            value = getattr(self, name)
            if isinstance(value, Mapping) and "default" not in value:
                raise ValueError(f"`{name}` by part needs a `default`")
        return self


class ScheduleConfig(Config):
    """Learning-rate schedule over the whole training, after a linear warm-up."""

    use: Literal["constant", "cosine", "plateau", "exponential"] = Field(
        "cosine", description="shape after the warm-up"
    )
    warmup: Annotated[float, Ge(0), Le(1_000_000)] = Field(1.0, description="linear warm-up in epochs")
    factor: Annotated[float, Gt(0), Lt(1)] = Field(0.1, description="plateau: what the rate is multiplied by")
    gamma: Annotated[float, Gt(0), Lt(1)] = Field(
        0.999, description="exponential: what the rate is multiplied by in an epoch"
    )
    patience: Annotated[int, Ge(0)] = Field(5, description="plateau: epochs without improvement before a cut")
    minimum: Rate = Field(1e-6, description="lowest learning rate")


class StoppingConfig(Config):
    """Which validation metric chooses the best weights, and when to stop."""

    metric: Literal["blind_mrr", "loss"] = Field("blind_mrr", description="validation figure")
    patience: Annotated[int, Ge(1)] | None = Field(None, description="evaluations without a better figure; none: never")
    every: Annotated[int, Ge(1)] = Field(1, description="epochs between validations")
    pool: Literal["val", "all"] = Field("val", description="candidates of blind_mrr: validation structures, or all")


class TrainConfig(Config):
    """How a model graph is trained."""

    batch_size: Annotated[int, Ge(1), Le(1_048_576)] = Field(
        128, description="molecules a batch, of all processes together"
    )
    epochs: Annotated[int, Ge(1), Le(1_000_000)] = Field(100, description="passes over the training molecules")
    optimizer: OptimizerConfig = Field(OptimizerConfig(), description="optimiser and its rates")
    schedule: ScheduleConfig = Field(ScheduleConfig(), description="learning-rate schedule")
    clip_norm: PositiveFloat | None = Field(1.0, description="gradient norm limit; none: no clipping")
    accumulate_grad_batches: Annotated[int, Ge(1)] = Field(1, description="batches a step")
    mini_batch_size: Annotated[int, Ge(1)] | None = Field(
        None,
        description="molecules that go through the encoders at a time, twice each, so that a batch larger than memory "
        "has the same gradient; none: all of a batch at once",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 autocast on a GPU, else fp32")
    ema: Annotated[float, Gt(0), Lt(1)] | None = Field(None, description="decay of the weights' moving average")
    stopping: StoppingConfig = Field(StoppingConfig(), description="validation figure and early stopping")
    modality_dropout: Annotated[float, Ge(0), Lt(1)] = Field(
        0.0, description="chance that a present measurement is hidden in a step (never the last one, nor the candidate)"
    )
    alternate_pairs: bool = Field(
        False, description="each batch trains one of the loss's pairs of modalities, in turn; other towers rest"
    )
    hard_negatives: Annotated[int, Ge(0)] = Field(
        0,
        description="molecules a group of near neighbours; half of each batch is such groups; 0: batches are random",
    )
    scalar_feature_dropout: Annotated[float, Ge(0), Le(1)] = Field(
        0.5, description="chance that the scalar features are hidden"
    )
    fraction: Annotated[float, Gt(0), Le(1)] = Field(
        1.0, description="share of the training molecules to train on; a larger share holds a smaller one"
    )
    missing: Mapping[str, Annotated[float, Ge(0), Le(1)]] = Field(
        {}, description="share of training molecules whose measurements of a modality are left out, {MODALITY: 0.5}"
    )
    sampling: Mapping[str, Mapping[str, Mapping[str, Weight]]] = Field(
        {}, description="weights a modality, column and value, such as {MODALITY: {origin: {measured: 3.0}}}"
    )
    trainable: Mapping[str, bool] = Field(
        {}, description="whether parts are trained, {default: true, PART: false}; the longest matching path wins"
    )
    init: Mapping[str, str] = Field({}, description="parts taken from another run, {PART: RUN#PART}")
    candidates_only: bool = Field(
        False, description="train the candidates-only baseline: every encoder but the candidate's sees nothing"
    )
    workers: Annotated[int, Ge(0), Le(256)] | None = Field(
        None, description="loader processes; none: chosen by the machine"
    )
    deterministic: bool = Field(False, description="ask torch for deterministic algorithms")

    @model_validator(mode="after")
    def _groups_fit(self) -> TrainConfig:
        if self.hard_negatives > self.batch_size // 2:
            raise ValueError(
                f"`hard_negatives` of {self.hard_negatives} does not fit into half a batch of {self.batch_size}; "
                "make `hard_negatives` smaller or `batch_size` larger"
            )
        return self


class RangeConfig(Config):
    """Numbers from `low` to `high`; whole ones where both ends are whole."""

    low: int | FiniteFloat = Field(description="lowest value")
    high: int | FiniteFloat = Field(description="highest value")
    log: bool = Field(False, description="tried evenly in the logarithm, for rates and sizes")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(
                f"the range from {self.low!r} to {self.high!r} is none"
                + (" in the logarithm" if self.log else "")
                + "; give `low` below `high`"
                + (", above 0" if self.log else "")
            )
        return self


class TuneConfig(Config):
    """What `molchord tune` tries, and what it optimises."""

    space: Mapping[str, RangeConfig | Annotated[tuple[Any, ...], MinLen(2)]] = Field(
        description="what is tried, by dotted path: {low: ..., high: ..., log: true}, or a list of choices"
    )
    objectives: Annotated[tuple[Literal["blind_mrr", "loss", "parameters", "seconds"], ...], MinLen(1)] = Field(
        ("blind_mrr",), description="figures of the best epoch: blind_mrr is raised, the others are lowered"
    )
