"""Molecules and batches that the checks run on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from molchord.api import Measurement, Modality, ModalityRecord, Molecule, SpectrumSpec
from molchord.chem import molecule
from molchord.host import installed

if TYPE_CHECKING:
    from molchord.data.store import DataSet
    from molchord.run import Run

MOLECULES = (
    "CCO", "CC(C)=O", "c1ccccc1", "CC#N", "OC(=O)c1ccccc1", "CCN(CC)CC", "C1CCCCC1", "NCC(=O)O",
    "O=C(O)CCC(=O)O", "c1ccncc1", "CC(=O)Nc1ccc(O)cc1", "CSC", "FC(F)F", "C=CC=C", "OCC(O)CO", "Clc1ccccc1",
)  # fmt: skip
"""SMILES of the molecules that the kit makes examples of: rings, chains, heteroatoms, 3 to 11 heavy atoms."""


def molecules(count: int = len(MOLECULES)) -> list[Molecule]:
    """Return the first molecules of the kit.

    Example:
        >>> [m.formula for m in molecules(2)]
        ['C2H6O', 'C3H6O']
    """
    return [molecule(smiles) for smiles in MOLECULES[:count]]


def default_config(record: Any, needs: tuple[str, ...] = ()) -> Any:
    """Return a record's default configuration, adapted to what an encoder needs."""
    config = record.config()
    adapt = getattr(record, "adapt", None)
    return config if adapt is None else adapt(config, needs)


def built(record: ModalityRecord, kind: str, needs: tuple[str, ...] = ()) -> Modality:
    """Build a modality with its default configuration."""
    return record.build(default_config(record, needs), kind)


def examples(modality: Modality, count: int = 4, seed: int = 0) -> list[Measurement]:
    """Return example measurements of the kit's first molecules."""
    return list(modality.example(molecules(count), seed))


def curves(record: ModalityRecord, modality: Modality, measurements: Sequence[Measurement]) -> list[Measurement]:
    """Return measurements of a spectrum as curves on its grid, where it stores curves in another form than theirs.

    A curve is two arrays along one axis, one of them in the unit of the grid.
    """
    spec = record.spec(default_config(record), record.kinds[0])
    if not isinstance(spec, SpectrumSpec):
        return []
    axes: dict[str | None, list[str]] = {}
    for name, array in record.stores.arrays.items():
        axes.setdefault(array.axis if array.shape == () else None, []).append(name)
    grid = np.linspace(spec.start, spec.stop, spec.points, dtype=np.float32)
    found = []
    for axis, names in axes.items():
        places = [name for name in names if record.stores.arrays[name].unit == spec.unit]
        if axis is None or len(names) != 2 or len(places) != 1:
            continue
        heights = next(name for name in names if name not in places)
        for measurement in measurements:
            if measurement.arrays.keys().isdisjoint(names):
                values = batch_of(modality, [measurement]).values[0, 0].numpy()
                found.append(Measurement(arrays={places[0]: grid, heights: values}, columns={"origin": "measured"}))
    return found


def batch_of(modality: Modality, measurements: Sequence[Measurement]) -> Any:
    """Transform, collate and prepare measurements, without randomness."""
    return modality.prepare(modality.collate([modality.transform(m, None) for m in measurements]), None)


def examples_of(name: str, count: int = 4, seed: int = 0) -> list[Measurement]:
    """Return example measurements of an installed modality for the kit's first molecules.

    Example:
        >>> examples_of("ir", 1)[0].origin
        'computed'
    """
    record = installed().modality(name)
    return examples(built(record, record.kinds[0]), count, seed)


@cache
def tiny_data() -> DataSet:
    """Return a data set of the kit's sixteen molecules with an IR spectrum each: 10 to train, 2 to validate, 4 to test.

    Example:
        >>> len(tiny_data()), tiny_data().stored
        (16, ('ir',))
    """
    from molchord import from_measurements

    name = _built_in("spectrum1d")
    splits = ["train"] * 10 + ["val"] * 2 + ["test"] * 4
    return from_measurements(MOLECULES, {name: examples_of(name, len(MOLECULES))}, splits=splits)


@cache
def tiny_run() -> Run:
    """Return a run of a small model, trained for one epoch on `tiny_data`: to try what a run can do.

    Example:
        >>> tiny_run().candidate, tiny_run().spectra
        ('structure', ('ir',))
    """
    from molchord.graph.resolve import ModelGraph, Use
    from molchord.run import Run

    encoders = {"graph": Use("gine", width=16, hidden=16, layers=2), "spectrum1d": Use("mlp", width=16, hidden=[16])}
    towers = {_built_in(kind): encoder for kind, encoder in encoders.items()}
    graph = ModelGraph.of(
        embedding_dim=16,
        modalities={name: Use(name, encoder=encoder) for name, encoder in towers.items()},
        loss=Use("all_pairs"),
        train={"epochs": 1, "batch_size": 8},
    )
    return Run.train(graph, tiny_data(), device="cpu", progress=False)


def _built_in(kind: str) -> str:
    """Name the first of molchord's own modalities whose first kind is this."""
    own = [plugin.name for plugin in installed().plugins if plugin.type == "modality" and plugin.dist == "molchord"]
    return min(name for name in own if installed().modality(name).kinds[0] == kind)


def tensors(value: Any, path: str = "") -> dict[str, Tensor]:
    """Return every tensor of a batch by its dotted path."""
    if isinstance(value, Tensor):
        return {path: value}
    if isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    elif dataclasses.is_dataclass(value):
        items = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
    else:
        return {}
    out: dict[str, Tensor] = {}
    for name, item in items:
        out |= tensors(item, f"{path}.{name}" if path else name)
    return out


def same(a: Any, b: Any) -> bool:
    """Return whether two batches hold equal tensors (NaN equals NaN)."""
    left, right = tensors(a), tensors(b)
    return left.keys() == right.keys() and all(
        left[k].shape == right[k].shape and equal(left[k], right[k]) for k in left
    )


def equal(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors of one shape are equal (NaN equals NaN and nothing else)."""
    return bool(((a == b) | ((a != a) & (b != b))).all())


def same_arrays(a: Mapping[str, NDArray[Any]], b: Mapping[str, NDArray[Any]]) -> bool:
    """Return whether arrays of the same names are equal, their types included (NaN equals NaN)."""
    return a.keys() == b.keys() and all(
        a[name].dtype == b[name].dtype and np.array_equal(a[name], b[name], equal_nan=a[name].dtype.kind == "f")
        for name in a
    )


def same_columns(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Return whether the columns of two measurements are equal (a missing number is NaN, and NaN equals NaN)."""
    missing = {name for name in a if a[name] != a[name]}
    return a.keys() == b.keys() and all(b[name] != b[name] if name in missing else a[name] == b[name] for name in a)
