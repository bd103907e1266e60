"""Which parameters are trained, at which rate, and their moving average."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel

from molchord.errors import RunError
from molchord.graph.settings import OptimizerConfig, Rates, TrainConfig


def rate_of(rates: Rates, name: str) -> float:
    """Return the rate of a parameter: that of the longest dotted path that it is under.

    Example:
        >>> rate_of({"default": 1.0, "modalities.ir": 2.0, "modalities.ir.head": 3.0}, "modalities.ir.head.out.bias")
        3.0
        >>> rate_of({"default": 1.0, "modalities.ir": 2.0}, "modalities.ir2.head.out.bias")
        1.0
    """
    if not isinstance(rates, Mapping):
        return rates
    return rates[_longest(rates, name)]


def parameter_groups(model: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    """Group the trained parameters by learning rate and weight decay.

    The loss's own parameters (temperatures) get no weight decay unless the graph names ``loss``.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decay = rate_of(config.weight_decay, name)
        named = isinstance(config.weight_decay, Mapping) and "loss" in config.weight_decay
        if name.startswith("loss.") and not named:
            decay = 0.0
        groups.setdefault((rate_of(config.lr, name), decay), []).append(parameter)
    return [{"params": ps, "lr": lr, "base_lr": lr, "weight_decay": wd} for (lr, wd), ps in groups.items()]


def schedule_factor(config: TrainConfig, progress: float) -> float:
    """Return what the learning rate is multiplied by at `progress` epochs into the training (plateau cuts apart)."""
    warmup = config.schedule.warmup
    if progress < warmup:
        return progress / warmup
    if config.schedule.use == "exponential":
        return float(config.schedule.gamma ** (progress - warmup))
    if config.schedule.use != "cosine":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warmup) / max(config.epochs - warmup, 1e-9))))


def set_trained(model: nn.Module, config: TrainConfig) -> None:
    """Mark the parameters to train, as `trainable` specifies.

    Raises:
        RunError: Nothing is left to train.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_trained(name, config))
    if not any(p.requires_grad for p in model.parameters()):
        raise RunError(
            f"`train.trainable` {dict(config.trainable)} leaves no parameter to train; name parts that have some"
        )


def training_mode(model: nn.Module, config: TrainConfig) -> None:
    """Put the model into training mode, but parts not trained, with batch statistics and dropout, into evaluation."""
    model.train()
    for name, module in model.named_modules():
        holds_trained = any(under(path, name) for path, trained in config.trainable.items() if trained)
        if name and not is_trained(name, config) and not holds_trained:
            module.eval()


def is_trained(name: str, config: TrainConfig) -> bool:
    """Return whether a part is trained: by the longest dotted path that it is under, or the default.

    Example:
        >>> config = TrainConfig(trainable={"default": False, "modalities.ir": True, "modalities.ir.head": False})
        >>> is_trained("modalities.ir.encoder", config), is_trained("modalities.ir.head.out", config)
        (True, False)
    """
    return config.trainable.get(_longest(config.trainable, name), True)


def under(name: str, path: str) -> bool:
    """Return whether a dotted path names a part, or one of its parts."""
    return name == path or name.startswith(path + ".")


def _longest(paths: Iterable[str], name: str) -> str:
    """Return the longest dotted path that a part is under, or ``default``."""
    return max((path for path in paths if under(name, path)), key=len, default="default")


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """Return an exponential moving average of a model's weights and buffers; the first steps weigh less."""

    def update(averages: Any, values: Any, count: Any) -> None:
        # The first steps weigh less, so that the average does not remember the random start.
        keep = min(decay, (1 + float(count)) / (10 + float(count)))
        for average, value in zip(averages, values, strict=True):
            if average.dtype.is_floating_point:
                average.lerp_(value, 1 - keep)
            else:
                average.copy_(value)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)
