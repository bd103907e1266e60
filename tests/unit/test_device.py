"""Where tensors are: a device that is there, everything moved, memory that ran out recognised."""

import dataclasses
from typing import Any

import pytest
import torch

from molchord.device import choose_device, out_of_memory, to_device
from molchord.errors import RunError


@dataclasses.dataclass(frozen=True)
class Inner:
    values: torch.Tensor
    name: str = "x"


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner
    table: dict[str, Any]
    count: int = 3
    nothing: None = None


def test_every_tensor_moves_and_nothing_else_changes():
    meta = torch.device("meta")  # without memory, on every machine
    made = Outer(inner=Inner(torch.ones(2)), table={"a": torch.zeros(3), "b": {"c": torch.ones(1)}, "d": "text"})
    moved = to_device(made, meta)
    assert isinstance(moved, Outer)
    assert [t.device.type for t in (moved.inner.values, moved.table["a"], moved.table["b"]["c"])] == ["meta"] * 3
    assert (moved.inner.name, moved.table["d"], moved.count, moved.nothing) == ("x", "text", 3, None)
    assert made.inner.values.device.type == "cpu"
    assert to_device(Inner, meta) is Inner  # a class is no instance


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cpu:x", ""])
def test_a_device_that_is_not_there_is_one_sentence(name):
    with pytest.raises(RunError) as caught:
        choose_device(name)
    assert str(caught.value).startswith(f"device {name!r} cannot be used here (")
    assert str(caught.value).endswith("); try 'cpu'")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("there", "chosen"), [(True, "cuda"), (False, "cpu")])
def test_a_gpu_is_taken_where_there_is_one(there, chosen, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert choose_device(None).type == chosen
    assert choose_device("cpu").type == "cpu"


@pytest.mark.parametrize(
    ("error", "ran_out"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: you tried"),
            True,
        ),
        (RuntimeError("size mismatch, m1: [2 x 3]"), False),
        (ValueError("memory"), False),
    ],
)
def test_memory_that_ran_out_is_told_from_other_faults(error, ran_out):
    assert out_of_memory(error) == ran_out
