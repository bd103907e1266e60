"""Several processes that train one model together, as `torchrun` starts them; alone, nothing of it is used.

Every process holds the whole model and a share of each batch's rows. What they exchange at a step are the embeddings,
their gradients and the parameters' gradients; all else each derives from the seed.
"""

from __future__ import annotations

import atexit
import math
import os
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any, ClassVar, TypeVar, final

import torch
import torch.distributed as dist
from torch import Tensor, nn

from molchord.errors import RunError

__all__ = ["Processes", "distributed", "gathered", "launched"]

_T = TypeVar("_T")

STEP = timedelta(seconds=50)
"""How long a process waits for the others in a step; one that takes longer counts as dead."""

_PATIENT = timedelta(days=7)  # starting, set-up, validation and saving, when one process may wait long for another
_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def launched() -> tuple[int, int]:
    """Return rank and number of the processes that `torchrun` started, (0, 1) where it did not.

    Example:
        >>> launched()
        (0, 1)
    """
    if any(name not in os.environ for name in _VARIABLES):
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


@final
class Processes:
    """The processes of a training: this one alone, or several.

    Args:
        rank: Which of them this is; 0 validates and writes.
        size: How many there are.

    Example:
        >>> alone = Processes()
        >>> alone.gather(torch.ones(2, 3), [2]).shape, alone.any(True), alone.broadcast("here")
        (torch.Size([2, 3]), True, 'here')
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    # --- at every step

    def gather(self, own: Tensor, sizes: Sequence[int]) -> Tensor:
        """Return the rows of all processes, in order of rank; without gradient.

        Args:
            own: Rows of this process, (b, ...) of any type.
            sizes: How many rows each process has.

        Shape:
            (sum of sizes, ...)
        """
        if self.size == 1:
            return own.detach()
        # as bytes, since not every type can be sent; padded, since all must send as much
        rows = own.detach().reshape(len(own), math.prod(own.shape[1:]))
        packed = rows.contiguous().view(torch.uint8)
        sent = packed.new_zeros(max(sizes), packed.shape[1])
        sent[: len(own)] = packed
        received = [torch.empty_like(sent) for _ in sizes]
        with _lost_is_said():
            dist.all_gather(received, sent, group=_Groups.step)
        whole = torch.cat([rows[:size] for rows, size in zip(received, sizes, strict=True)])
        return whole.view(own.dtype).reshape(sum(sizes), *own.shape[1:])

    def sum(self, own: Tensor) -> Tensor:
        """Return the sum over all processes; without gradient."""
        return own.detach() if self.size == 1 else _all_reduced(own.detach())

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace every gradient by its sum over all processes."""
        if self.size == 1:
            return
        for dtype in {p.dtype for p in parameters}:
            those = [p for p in parameters if p.dtype == dtype]
            own = [torch.zeros_like(p) if p.grad is None else p.grad for p in those]
            total = _all_reduce(torch.cat([gradient.flatten() for gradient in own]))
            for p, gradient in zip(those, torch.split(total, [p.numel() for p in those]), strict=True):
                p.grad = gradient.view_as(p)

    def any(self, own: bool) -> bool:
        """Return whether one of the processes answers yes."""
        return own if self.size == 1 else bool(self.sum(torch.tensor(int(own))))

    def all_gather(self, own: Sequence[_T]) -> list[_T]:
        """Return the items of all processes, in order of rank."""
        if self.size == 1:
            return list(own)
        lists: list[Any] = [None] * self.size
        with _lost_is_said():
            dist.all_gather_object(lists, list(own), group=_Groups.patient)
        return [item for items in lists for item in items]

    # --- while one of them is busy

    def broadcast(self, own: _T) -> _T:
        """Return what process 0 passes, however long it takes until it does."""
        if self.size == 1:
            return own
        box = [own]
        with _lost_is_said():
            dist.broadcast_object_list(box, src=0, group=_Groups.patient)
        return box[0]

    def barrier(self) -> None:
        """Wait until all processes are here, however long it takes."""
        self.all_gather([])

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        """Let process 0 go through the block before the others, which find there what it has written.

        Raises:
            SystemExit: Process 0 failed, and reports itself why.
        """
        if self.rank > 0 and not self.broadcast(False):
            raise SystemExit(2)
        done = False
        try:
            yield
            done = True
        finally:
            if self.rank == 0:
                self.broadcast(done)
        self.barrier()


@contextmanager
def distributed(device: str | None) -> Iterator[tuple[Processes, str | None]]:
    """Join the processes that `torchrun` started; where it did not, this process is alone.

    Args:
        device: As for a training in one process.

    Returns:
        The processes, and this one's device: of several GPUs, each process has one.

    Raises:
        RunError: There are more processes than GPUs, or the others have ended.

    Example:
        >>> with distributed("cpu") as (processes, device):
        ...     processes.rank, processes.size, device
        (0, 1, 'cpu')
    """
    rank, size = launched()
    if size == 1:
        yield Processes(), device
        return
    device = _own_gpu(device)
    gpu = device is not None and device.startswith("cuda")
    if gpu:
        torch.cuda.set_device(device)
    with _lost_is_said():
        _Groups.make("cpu:gloo,cuda:nccl" if gpu else "gloo")
    with warnings.catch_warnings(), _told_to_end():
        if rank > 0:  # process 0 reports the same
            warnings.simplefilter("ignore")
        yield Processes(rank, size), device


def gathered(own: Tensor) -> Tensor:
    """Return what all processes pass, with gradient: the sum of theirs.

    Shape:
        (...) to (processes, ...)
    """
    rank, size = launched()
    table = torch.stack([own if i == rank else torch.zeros_like(own) for i in range(size)])
    total: Tensor = _Sum.apply(table)  # type: ignore[no-untyped-call]
    return total


class _Groups:
    """The same processes twice, as a group waits equally long for all that it does."""

    step: ClassVar[dist.ProcessGroup | None] = None
    patient: ClassVar[dist.ProcessGroup | None] = None

    @classmethod
    def make(cls, backend: str) -> None:
        if cls.step is not None:  # made once per process: a second time it would meet what the first one left
            return
        if not dist.is_initialized():
            dist.init_process_group(backend, timeout=_PATIENT)
            atexit.register(dist.destroy_process_group)
        cls.patient = dist.new_group(backend="gloo", timeout=_PATIENT)
        cls.step = dist.new_group(backend=backend, timeout=STEP)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        return _all_reduced(own)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _all_reduced(gradients[0])


def _all_reduced(own: Tensor) -> Tensor:
    return _all_reduce(own.clone(memory_format=torch.contiguous_format))


def _all_reduce(total: Tensor) -> Tensor:
    """Put the sum over all processes in place of a contiguous tensor, and return it."""
    with _lost_is_said():
        dist.all_reduce(total, group=_Groups.step)
    return total


def _own_gpu(device: str | None) -> str | None:
    if device not in (None, "cuda") or not torch.cuda.is_available():
        return device
    local, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local >= there:
        raise RunError(f"process {local} has no GPU of its own, as there are {there}; start as many processes as GPUs")
    return f"cuda:{local}"


@contextmanager
def _lost_is_said() -> Iterator[None]:
    """Report in a sentence that another process has ended."""
    try:
        yield
    except RuntimeError as error:
        # "[file of the library] Connection reset by peer. Advice on libraries"
        cause = str(error).splitlines()[0].partition(". ")[0].rpartition("] ")[2]
        raise RunError(
            f"process {launched()[0]} ends, as another process of this training has ended or did not answer within "
            f"{STEP.seconds} s ({cause}); see what that one said, then go on with "
            "`molchord train --resume RUN`, started as before"
        ) from error


@contextmanager
def _told_to_end() -> Iterator[None]:
    """Report why, where `torchrun` ends this process because another one has ended."""

    def on_end(number: int, frame: FrameType | None) -> None:
        raise RunError(
            f"process {launched()[0]} was told to end, most likely as another process of this training has ended; see "
            "what that one said, then go on with `molchord train --resume RUN`, started as before"
        )

    try:
        previous = signal.signal(signal.SIGTERM, on_end)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
