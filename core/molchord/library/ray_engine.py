"""The stages of embedding as a Ray Data pipeline, on this machine's cores or on a cluster.

A row is a block; what travels between stages is left to Ray. The run and its plugins are loaded by path where a stage
needs them. All machines must see the same folders, and have the same packages.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeAlias, final

from molchord.api import Modality, SampleError
from molchord.embedder import Embedder
from molchord.errors import MolchordError
from molchord.host.registry import ENVIRONMENT
from molchord.library.files import Entry
from molchord.library.stages import ItemBlock, Prepare, Prepared, chunks, encoded
from molchord.library.work_folder import WorkFolder
from molchord.model import build_modalities
from molchord.run_folder import read_run_manifest, saved_graph

__all__ = ["on_ray"]

_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_raylet_start_wait_time_s": "120"}
"""No statistics are sent, what fails is reported once (by an exception), and a busy machine has time to start Ray."""

_Row: TypeAlias = dict[str, Any]


@final
@dataclass(frozen=True)
class _Carried:
    """What a stage hands to the next one, whole: Ray would take a list apart into columns of numbers."""

    items: list[list[Prepared]] | list[Entry | SampleError]


def on_ray(
    embedder: Embedder, blocks: Iterable[ItemBlock], folder: WorkFolder, cores: int | None, *, address: str | None
) -> Iterator[int]:
    """Embed blocks with Ray Data and yield how many items each had, in any order; arguments as for `embed_items`.

    Raises:
        MolchordError: Ray is not installed, its cluster does not answer, or a stage failed for good.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)  # read when Ray is imported
    try:
        import ray
    except ImportError as error:
        raise MolchordError(
            f"engine 'ray' cannot be used ({error}); run pip install 'molchord[ray]', or use engine 'local'"
        ) from None
    numbers = []
    for block in blocks:
        folder.give(block)
        numbers.append(block.number)
    if not numbers:
        return
    with _cluster(ray, address, cores):
        rows = _pipeline(ray, numbers, embedder.path.resolve(), embedder.device.type, folder)
        try:
            for row in rows.iter_rows():
                yield int(row["items"])
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, MolchordError):
                raise cause from None
            reason = str(error).strip().splitlines()[-1]
            raise MolchordError(
                f"Ray failed to embed ({reason}); finished shards are kept in {str(folder.path)!r}: run the same "
                "command again, or use engine 'local'"
            ) from error


def _pipeline(ray: Any, numbers: list[int], run: Path, device: str, folder: WorkFolder) -> Any:
    """Return the rows of the pipeline, in which parsing and preparing are one step and a model is held by actors."""
    from ray.data import ActorPoolStrategy

    there = ray.cluster_resources()
    on_gpu = device == "cuda"
    actors = max(1, int(there.get("GPU" if on_gpu else "CPU", 1)))
    encode = {"num_gpus": 1} if on_gpu else {"num_cpus": 1}
    rows = ray.data.from_items([{"number": number} for number in numbers], override_num_blocks=len(numbers))
    return (
        rows.map(partial(_prepare, folder=folder, run=run))
        .map(
            _Encode,
            fn_constructor_args=(run, device),
            compute=ActorPoolStrategy(min_size=1, max_size=actors),
            **encode,
        )
        # Writing waits for the disk; a core of its own might never be free next to the actors.
        .map(partial(_write, folder=folder), num_cpus=0, concurrency=actors)
    )


def _prepare(row: _Row, *, folder: WorkFolder, run: Path) -> _Row:
    number, job = row["number"], Prepare(_modality(run))
    return row | {"carried": _Carried([job((number, items))[1] for items in chunks(folder.take(number))])}


@final
class _Encode:
    """Holds the model in an actor."""

    def __init__(self, run: Path, device: str) -> None:
        self._embedder = Embedder.load(run, device=device)

    def __call__(self, row: _Row) -> _Row:
        return row | {
            "carried": _Carried([entry for part in row["carried"].items for entry in encoded(self._embedder, part)])
        }


def _write(row: _Row, *, folder: WorkFolder) -> _Row:
    block = folder.take(row["number"])
    folder.write(block, row["carried"].items)
    return {"items": len(block)}


@cache
def _modality(run: Path) -> Modality:
    manifest = read_run_manifest(run)
    graph = saved_graph(run, manifest)
    return build_modalities(graph, manifest.fitted)[graph.candidate]


@contextmanager
def _cluster(ray: Any, address: str | None, cores: int | None) -> Iterator[None]:
    """Start Ray on this machine, or connect to a cluster; one that runs in this process already is used as it is."""
    if ray.is_initialized():
        yield
        return
    quiet: Mapping[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    registry = {name: os.environ[name] for name in (ENVIRONMENT,) if name in os.environ}
    where = {"num_cpus": cores, "include_dashboard": False} if address is None else {"address": address}
    try:
        ray.init(**where, **quiet, runtime_env={"env_vars": registry} if registry else None)
    except Exception as error:  # which Ray raises of no closer kind where its processes do not start in time
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if address is None:
            raise MolchordError(f"Ray does not start here ({reason}); try again, or use engine 'local'") from error
        raise MolchordError(
            f"no Ray cluster answers at {address!r} ({reason}); start one with `ray start --head`, see `ray status`"
        ) from error
    from ray.data import DataContext

    DataContext.get_current().enable_progress_bars = False
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()
