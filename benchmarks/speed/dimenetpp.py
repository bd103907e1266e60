"""DimeNet++: a training step against torch-geometric's class and against its own dense matrix products run alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch_geometric.nn.models import dimenet as pyg

from benchmarks.accuracy.sources import qm9_smiles
from benchmarks.speed.timing import compare
from molchord.api import GraphBatch, SampleError
from molchord.chem import molecule
from molchord.host import installed
from molchord_encoders.dimenetpp import DimeNetPlusPlusConfig
from molchord_encoders.dimenetpp_neighbors import find_neighbors
from molchord_encoders.dimenetpp_network import DimeNetPlusPlus

__all__ = ["TEXT", "TITLE", "measure"]

TITLE = "DimeNet++: a training step"
TEXT = (
    "QM9 molecules with ETKDG positions, default sizes, forward and backward and the neighbour lists, the same weights "
    "on both sides. `matrix products`: all dense matrix products of molchord's own step, recorded and run alone on "
    "tensors of the same shapes, which no rewriting of the rest can undercut. torch-geometric gets its edges and "
    "triplets ready-made and untimed, as it needs pyg-lib and torch-sparse to build them; molchord builds its own. "
    "`deviation`: relative distance of the output from torch-geometric's in fp32."
)
_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")


def measure(device: str, *, small: bool = False) -> list[dict[str, Any]]:
    """Compare at several batch sizes and precisions."""
    sizes, rounds = ((8,), 5) if small else ((128, 2048) if device != "cpu" else (128,), 7)
    options = DimeNetPlusPlusConfig(output_initializer="glorot_orthogonal").model_dump()
    ours = DimeNetPlusPlus(**options).to(device)
    theirs = pyg.DimeNetPlusPlus(**options).to(device)
    theirs.load_state_dict(ours.state_dict())
    rows = []
    for size in sizes:
        batch = molecules(size, device)
        _give_edges(batch, ours.cutoff)
        exact = theirs(*batch[:3]).detach()
        for precision, (setting, tolerance) in precisions(device).items():
            with setting():
                out = ours(*batch[:3]).detach()
                deviation = float((out - exact).norm() / exact.norm())
                assert deviation < tolerance, f"{precision}: {deviation} from torch-geometric's fp32"
                step = partial(train, ours, batch)
                sides: dict[str, Callable[[], object]] = {
                    "molchord": step,
                    "torch-geometric": partial(train, theirs, batch),
                    "matrix products": products(step),
                }
                row = {"case": f"batch of {size}, {precision}", **compare(sides, device=device, rounds=rounds)}
            row["molecules_per_second"] = round(size / row["seconds"]["molchord"])
            row["deviation"] = float(f"{deviation:.1g}")
            rows.append(row)
    return rows


def molecules(count: int, device: str) -> tuple[Tensor, Tensor, Tensor, int]:
    """Return elements, positions in angstrom, molecule of each atom and their number, of random QM9 molecules."""
    plugin: Any = installed().find("modality", "structure")
    modality = plugin.record.build(plugin.record.config(geometry="etkdg"), "graph")
    samples: list[Any] = []
    smiles = qm9_smiles()
    random.Random(7).shuffle(smiles)
    while len(samples) < count:
        with suppress(SampleError):  # a few have no conformer
            samples.append(modality.transform(modality.derive(molecule(smiles.pop())), None))
    graph: GraphBatch = modality.prepare(modality.collate(samples), None)
    assert graph.positions is not None
    return graph.elements.to(device), graph.positions[:, 0].to(device), graph.graph.to(device), graph.size


def _give_edges(batch: tuple[Tensor, Tensor, Tensor, int], cutoff: float) -> None:
    """Replace the functions by which torch-geometric finds edges and triplets with their results for this batch."""
    _, positions, graph, size = batch
    edges = find_neighbors(positions, graph, size, cutoff)
    k, i = edges.source, edges.target
    number = torch.arange(len(i), device=i.device)
    arriving = edges.at_target((number + 1)[:, None].double())[..., 0].long()[k]  # each edge j -> i: what arrives at j
    ji, slot = ((arriving > 0) & (k[arriving - 1] != i[:, None])).nonzero().unbind(1)
    kj = arriving[ji, slot] - 1
    found = (i, k, i[ji], k[ji], k[kj], kj, ji)
    pyg.radius_graph = lambda *_, **__: torch.stack([k, i])
    pyg.triplets = lambda *_, **__: found


def train(net: nn.Module, batch: tuple[Tensor, Tensor, Tensor, int]) -> None:
    """Make one training step but for the optimiser's."""
    elements, positions, graph, _ = batch
    net.zero_grad(set_to_none=True)
    net(elements, positions, graph).square().mean().backward()


def products(step: Callable[[], None]) -> Callable[[], None]:
    """Return a function that runs the dense matrix products of a step, and nothing else."""
    with _Recorder() as recorder:
        step()
    calls = []
    for name, given in recorder.calls:
        tensors = [torch.randn(held, device=d, dtype=t).as_strided(size, stride) for size, stride, held, d, t in given]
        calls.append(partial(getattr(torch, name), *tensors))

    def run() -> None:
        for call in calls:
            call()

    return run


def precisions(device: str) -> Mapping[str, tuple[Callable[[], Any], float]]:
    """Return the precisions a device has: the context that sets each, and how far from fp32 its output may be."""
    kind = torch.device(device).type
    fp32 = partial(torch.autocast, kind, enabled=False), 1e-5
    bf16 = partial(torch.autocast, kind, dtype=torch.bfloat16), 5e-2
    if kind == "cuda":
        return {"fp32": fp32, "TF32": (_tf32, 1e-2), "bf16": bf16}
    return {"fp32": fp32, "bf16": bf16} if torch.backends.cpu.get_cpu_capability() == "AVX512" else {"fp32": fp32}


@contextmanager
def _tf32() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes shapes and strides of every dense matrix product, in the backward pass too."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[tuple[str, list[Any]]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        if name in _PRODUCTS:
            held = [t.untyped_storage().nbytes() // t.element_size() for t in args]
            self.calls.append(
                (name, [(t.shape, t.stride(), h, t.device, t.dtype) for t, h in zip(args, held, strict=True)])
            )
        return function(*args, **(kwargs or {}))
