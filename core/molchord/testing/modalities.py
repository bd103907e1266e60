"""Checks on modalities."""

from __future__ import annotations

import dataclasses
import math
import pickle
import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from molchord.api import (
    Compares,
    Derives,
    GraphBatch,
    GraphSpec,
    Inspects,
    Locates,
    Measurement,
    Modality,
    ModalityRecord,
    PeaksBatch,
    PeaksSpec,
    Reading,
    Real,
    SampleError,
    SpectrumBatch,
    SpectrumSpec,
    StatesMass,
    VectorBatch,
    VectorSpec,
)
from molchord.data.store import DataSet
from molchord.testing import explaining
from molchord.testing.cleaning import clean_up_is_by_named_steps
from molchord.testing.require import require
from molchord.testing.samples import (
    MOLECULES,
    batch_of,
    built,
    curves,
    default_config,
    examples,
    molecules,
    same,
    same_arrays,
    same_columns,
    tensors,
)
from molchord.vocabulary import ORIGINS


def _kinds(record: ModalityRecord) -> Iterator[tuple[str, Any]]:
    for kind in record.kinds:
        yield kind, built(record, kind)


def example_is_deterministic(record: ModalityRecord) -> None:
    """Tests need synthetic data that is the same for the same seed, and one measurement per molecule.

    To mend it: draw from a generator made of `seed` and the molecule's key14, and return one measurement a
    molecule.
    """
    for _, modality in _kinds(record):
        first, again = examples(modality), examples(modality)
        require(len(first) == 4, f"`example` of 4 molecules returned {len(first)} measurements")
        for a, b in zip(first, again, strict=True):
            equal = same_arrays(a.arrays, b.arrays) and same_columns(a.columns, b.columns)
            require(equal, "`example` differs between two calls with one seed")


def measurements_fit_declaration(record: ModalityRecord) -> None:
    """The core writes a measurement by its declaration alone.

    To mend it: declare every array and column in `stores`, with shape and axis, or leave it out of the measurement.
    """
    needs = record.mass_needs
    require(needs is None or needs in record.stores.columns, f"`mass_needs` {needs!r} is not a column of `stores`")
    for _, modality in _kinds(record):
        for measurement in examples(modality):
            _fits(record, measurement)


def _fits(record: ModalityRecord, measurement: Measurement) -> None:
    lengths: dict[str, int] = {}
    for name, array in measurement.arrays.items():
        declared = record.stores.arrays.get(name)
        require(declared is not None, f"array {name!r} is not declared in `stores`")
        if declared is None:
            continue
        shape = array.shape if declared.axis is None else array.shape[1:]
        require(shape == declared.shape, f"array {name!r} has shape {array.shape}, declared are {declared!r}")
        if declared.axis is not None:
            length = lengths.setdefault(declared.axis, len(array))
            require(length == len(array), f"arrays of axis {declared.axis!r} have lengths {length} and {len(array)}")
    unknown = set(measurement.columns) - set(record.stores.columns) - {"origin"}
    require(not unknown, f"columns {sorted(unknown)} are not declared in `stores`")
    require(measurement.origin in ORIGINS, f"`origin` is {measurement.origin!r}")


def survives_the_data_set(record: ModalityRecord) -> None:
    """A measurement written to a data set and read back gives the same sample.

    To mend it: let `transform` use what `stores` declares alone, in the declared types.
    """
    for kind, modality in _kinds(record):
        before = examples(modality)
        data = DataSet.from_measurements(MOLECULES[:4], {record.name: before}, stores={record.name: record.stores})
        table = data.table(record.name)
        for row, measurement in enumerate(before):
            index = [
                i for i in range(len(table)) if data.smiles([int(table.molecule[i])]) == [molecules(4)[row].smiles]
            ]
            require(len(index) == 1, f"molecule {MOLECULES[row]!r} has {len(index)} measurements after a round trip")
            back = batch_of(modality, [table.read(index[0])])
            require(
                same(back, batch_of(modality, [measurement])), f"kind {kind!r}: a sample differs after a round trip"
            )


def transform_is_deterministic_without_rng(record: ModalityRecord) -> None:
    """Evaluation passes no generator and must give the same embedding twice.

    To mend it: draw nothing where `rng` and `generator` are None.
    """
    for _, modality in _kinds(record):
        measured = examples(modality)
        require(
            same(batch_of(modality, measured), batch_of(modality, measured)),
            "two evaluations of one measurement differ",
        )


def randomness_comes_from_the_generators(record: ModalityRecord) -> None:
    """Exact resume needs every draw to come from the generators handed in, none from global state.

    To mend it: take every draw from `rng` in `transform` and from `generator` in `prepare`.
    """
    for _, modality in _kinds(record):
        measured = examples(modality)

        def once(modality: Any = modality, measured: Any = measured) -> Any:
            samples = [modality.transform(m, np.random.default_rng(i)) for i, m in enumerate(measured)]
            return modality.prepare(modality.collate(samples), torch.Generator().manual_seed(1))

        states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # type: ignore[index]
        first = once()
        untouched = (
            states[0] == random.getstate()
            and np.array_equal(states[1], np.random.get_state()[1])  # type: ignore[index]
            and torch.equal(states[2], torch.get_rng_state())
        )
        require(untouched, "`transform` or `prepare` draws from a global random state")
        require(same(first, once()), "equal generators give different batches")


def batch_matches_spec(record: ModalityRecord) -> None:
    """An encoder is built from the spec alone, so the batch must have what the spec states.

    To mend it: compute the sizes in `spec` from the configuration that `build` gets, and let `collate` keep to
    them.
    """
    for kind, modality in _kinds(record):
        spec = record.spec(default_config(record), kind)
        batch = batch_of(modality, examples(modality, 3))
        if isinstance(spec, SpectrumSpec):
            require(isinstance(batch, SpectrumBatch), f"kind {kind!r} gives a {type(batch).__name__}")
            require(batch.values.shape == (3, spec.channels, spec.points), f"values are {tuple(batch.values.shape)}")
            require(batch.observed.shape == (3, spec.points), f"observed is {tuple(batch.observed.shape)}")
            require(bool(torch.isfinite(batch.values).all()), "values are not finite")
            _columns_match(batch.whole, spec.whole, "whole")
        elif isinstance(spec, PeaksSpec):
            require(isinstance(batch, PeaksBatch), f"kind {kind!r} gives a {type(batch).__name__}")
            require(batch.mask.shape[0] == 3 and batch.mask.dtype == torch.bool, "mask must be (b, n) bool")
            _columns_match(batch.peak, spec.peak, "peak")
            _columns_match(batch.whole, spec.whole, "whole")
        elif isinstance(spec, GraphSpec):
            require(isinstance(batch, GraphBatch), f"kind {kind!r} gives a {type(batch).__name__}")
            require(batch.size == 3, f"size is {batch.size} for 3 molecules")
            require((batch.positions is not None) == spec.positions, "positions differ from the spec")
            _columns_match(batch.atom, spec.atom, "atom")
            _columns_match(batch.bond, spec.bond, "bond")
        elif isinstance(spec, VectorSpec):
            require(isinstance(batch, VectorBatch), f"kind {kind!r} gives a {type(batch).__name__}")
            require(batch.values.shape == (3, spec.size), f"values are {tuple(batch.values.shape)}")


def _columns_match(found: Any, declared: Any, where: str) -> None:
    require(set(found) == set(declared), f"{where} columns are {sorted(found)}, the spec says {sorted(declared)}")
    for name, column in declared.items():
        values = found[name]
        if isinstance(column, Real):
            require(values.is_floating_point(), f"{where} column {name!r} must be float")
            continue
        require(values.dtype == torch.int64, f"{where} column {name!r} must be int64 codes")
        top = len(column.values)
        require(bool(((values >= 0) & (values <= top)).all()), f"{where} column {name!r} has codes outside 0..{top}")


def axis_is_monotonic(record: ModalityRecord) -> None:
    """Encoders and plots lay the grid from `start` to `stop`, so it must go somewhere.

    To mend it: give the grid two different, finite ends.
    """
    for kind in record.kinds:
        spec = record.spec(default_config(record), kind)
        if isinstance(spec, SpectrumSpec):
            ends = f"kind {kind!r} has a grid from {spec.start!r} to {spec.stop!r}"
            require(math.isfinite(spec.start) and math.isfinite(spec.stop), f"{ends}; both must be finite")
            require(spec.start != spec.stop, f"{ends}; the two must differ")


def collate_keeps_order(record: ModalityRecord) -> None:
    """Row i of a batch is sample i, and is what it would be alone: the loader identifies molecules by their row.

    To mend it: stack samples in their order, and compute nothing over the batch as a whole.
    """
    for kind, modality in _kinds(record):
        measured = examples(modality)
        together = batch_of(modality, measured)
        for i, one in enumerate(measured):
            here, alone = _row(together, i), _row(batch_of(modality, [one]), 0)
            for name, values in alone.items():
                equal = values.shape == here[name].shape and torch.allclose(
                    here[name].double(), values.double(), rtol=1e-4, atol=1e-5, equal_nan=True
                )
                require(equal, f"kind {kind!r}: {name} of row {i} is not that of sample {i} alone")


def views_are_forms_of_the_sample(record: ModalityRecord) -> None:
    """A trained model embeds all views of a sample in one batch, of which it keeps the mean.

    To mend it: return at least one view, in the form that `transform` makes, the same ones every time; and leave the
    sample as it is.
    """
    for kind, modality in _kinds(record):
        measured, views = examples(modality), getattr(modality, "views", None)
        if views is None:
            continue
        for measurement in measured:
            sample = modality.transform(measurement, None)
            before = modality.collate([sample])
            first, again = ([modality.collate([view]) for view in views(sample)] for _ in range(2))
            as_before = len(first) == len(again) > 0 and all(map(same, first, again))
            require(as_before, f"kind {kind!r}: there is no view, or views are not the same ones every time")
            require(same(before, modality.collate([sample])), f"kind {kind!r}: views change the sample")
            forms = all(tensors(view).keys() == tensors(before).keys() for view in first)
            require(forms, f"kind {kind!r}: a view has not the form of the sample")


def _row(batch: Any, index: int) -> dict[str, torch.Tensor]:
    """Return what a batch of a core kind holds of one molecule; nothing for a third party's own kind."""
    if isinstance(batch, VectorBatch):
        return {"values": batch.values[index]}
    if isinstance(batch, SpectrumBatch):
        whole = {name: column[index] for name, column in batch.whole.items()}
        return {"values": batch.values[index], "observed": batch.observed[index], **whole}
    if isinstance(batch, PeaksBatch):
        peak = {name: column[index][batch.mask[index]] for name, column in batch.peak.items()}
        return peak | {name: column[index] for name, column in batch.whole.items()}
    if isinstance(batch, GraphBatch):
        atoms = batch.graph == index
        bonds = atoms[batch.bonds[0]]
        first = int((batch.graph < index).sum())
        columns = {name: column[atoms] for name, column in batch.atom.items()}
        columns |= {f"bond {name}": column[bonds] for name, column in batch.bond.items()}
        columns |= {} if batch.positions is None else {"positions": batch.positions[atoms]}
        return {"elements": batch.elements[atoms], "bonds": batch.bonds[:, bonds] - first, **columns}
    return {}


def collate_takes_none_and_one(record: ModalityRecord) -> None:
    """A batch may have no molecule with this modality, or one.

    To mend it: start from arrays of zero rows, as `collate_vectors` and its neighbours do.
    """
    for _, modality in _kinds(record):
        modality.prepare(modality.collate([]), None)
        batch_of(modality, examples(modality, 1))


def bad_sample_raises(record: ModalityRecord) -> None:
    """A measurement without content raises `SampleError` (id, reason), so that it counts as absent and is listed.

    To mend it: raise `SampleError` where nothing usable is left, instead of returning zeros.
    """
    nothing = {
        name: np.zeros((0, *a.shape) if a.axis is not None else a.shape, dtype=a.dtype)
        for name, a in record.stores.arrays.items()
    }
    if all(array.axis is None for array in record.stores.arrays.values()):
        nothing = {name: np.full_like(array, np.nan, dtype=np.float32) for name, array in nothing.items()}
    for _, modality in _kinds(record):
        try:
            sample = modality.transform(Measurement(arrays=nothing, columns={"origin": "measured"}), None)
        except SampleError as error:
            require(bool(error.reason), "`SampleError` has no reason")
            continue
        raise AssertionError(
            f"`transform` of an empty measurement returned {type(sample).__name__}; raise `SampleError`"
        )


def pickles_for_workers(record: ModalityRecord) -> None:
    """Loader workers get the modality by pickle.

    To mend it: keep open files, lambdas and generators out of the object, or leave them out in `__getstate__`.
    """
    for _, modality in _kinds(record):
        measured = examples(modality)
        copy = pickle.loads(pickle.dumps(modality))
        require(same(batch_of(modality, measured), batch_of(copy, measured)), "a pickled copy gives other samples")


def reading_survives_damage(record: ModalityRecord) -> None:
    """A damaged file is a sentence, never a crash: `can_read` answers, `read` raises or yields `SampleError`.

    To mend it: catch what your parser raises and raise `SampleError` with the reason, and check that there are
    values at all.
    """
    damaged = {
        "empty.txt": b"",
        "noise.bin": np.random.default_rng(0).bytes(512),
        "text.csv": b"a,b\nx,y\n\x00",
        "cut.gz": b"\x1f\x8b\x08\x00",
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, content in damaged.items():
            path = Path(folder) / name
            path.write_bytes(content)
            modality = built(record, record.kinds[0])
            require(modality.can_read(path) in (True, False), "`can_read` must answer True or False")
            try:
                readings = list(modality.read(path))
            except SampleError:
                continue
            good = [r for r in readings if isinstance(r, Reading)]
            require(not good, f"`read` made {len(good)} measurements of a damaged file ({name})")


def derives_as_declared(record: ModalityRecord) -> None:
    """The record states whether the modality is made from the molecule; the built object must agree.

    To mend it: set `derives` in the record where there is a method `derive`, and let it depend on the molecule
    alone.
    """
    for _, modality in _kinds(record):
        can = isinstance(modality, Derives)
        require(
            can == record.derives,
            f"record says derives={record.derives}, the built object {'has' if can else 'lacks'} `derive`",
        )
        if isinstance(modality, Derives):
            target = molecules(1)[0]
            first, again = modality.derive(target), modality.derive(target)
            _fits(record, first)
            require(
                same(
                    batch_of(built(record, record.kinds[0]), [first]), batch_of(built(record, record.kinds[0]), [again])
                ),
                "`derive` differs between two calls",
            )


def similarity_prefers_itself(record: ModalityRecord) -> None:
    """A modality's own `similarity` gives one number per reference, and none above a measurement with itself.

    To mend it: return one number per reference, largest for equal measurements (a cosine, say).
    """
    for _, modality in _kinds(record):
        measured = examples(modality)
        if not isinstance(modality, Compares):
            continue
        for i, query in enumerate(measured):
            values = np.asarray(modality.similarity(query, measured))
            require(
                values.shape == (len(measured),), f"similarity has shape {values.shape} for {len(measured)} references"
            )
            require(
                bool(values[i] >= values.max() - 1e-6), "a measurement is more similar to another one than to itself"
            )


def quality_warnings_and_peaks_fit(record: ModalityRecord) -> None:
    """A search multiplies by the confidence factors of quality warnings; peaks are matched as numbers.

    To mend it: keep a warning's confidence factor within 0-1, give it a message, and return peaks as a vector of finite
    positions.
    """
    for _, modality in _kinds(record):
        sound = examples(modality)
        measured = curves(record, modality, sound)
        for measurement in [*sound, *_taken(modality, [*measured, *map(_upside_down, measured)])]:
            if isinstance(modality, Inspects):
                found = list(modality.inspect(measurement))
                require(
                    all(0 <= w.confidence_factor <= 1 for w in found), f"a confidence factor is not in 0-1: {found}"
                )
                require(all(w.message for w in found), "a quality warning has no message")
            if isinstance(modality, Locates):
                peaks = np.asarray(modality.peaks(measurement))
                require(peaks.ndim == 1 and bool(np.isfinite(peaks).all()), f"peaks are {peaks!r}, not finite numbers")


def stated_mass_is_that_of_the_molecule(record: ModalityRecord) -> None:
    """A search compares the mass asked for with what its spectra state, and warns where they contradict each other.

    To mend it: return None where a measurement states nothing, and masses in Da of the neutral molecule by ion, that of
    the stated ion among them, with the tolerance within which they are right.
    """
    for _, modality in _kinds(record):
        measured = examples(modality)
        if not isinstance(modality, StatesMass):
            continue
        nothing = modality.stated_mass(Measurement(arrays={}, columns={}))
        require(nothing is None, f"`stated_mass` of a measurement without columns is {nothing!r}; return None")
        for measurement, target in zip(measured, molecules(4), strict=True):
            stated = modality.stated_mass(measurement)
            if stated is None:
                continue
            numbers = [stated.mz, stated.tolerance, *stated.masses.values()]
            require(all(math.isfinite(n) and n > 0 for n in numbers), f"{stated!r} has a number that is not positive")
            said = stated.mass
            right = said is None or abs(said - target.exact_mass) <= stated.tolerance
            require(right, f"a measurement of {target.smiles!r}, {target.exact_mass:.4f} Da, states {stated!r}")


def _taken(modality: Modality, measurements: Sequence[Measurement]) -> Iterator[Measurement]:
    """Yield the measurements that `transform` takes, which alone are asked about."""
    for measurement in measurements:
        try:
            modality.transform(measurement, None)
        except SampleError:
            continue
        yield measurement


def _upside_down(curve: Measurement) -> Measurement:
    """Return a curve with its heights, the second array, turned over, which warrants a quality warning."""
    places, heights = curve.arrays
    return dataclasses.replace(curve, arrays={places: curve.arrays[places], heights: -curve.arrays[heights]})


CHECKS = (
    example_is_deterministic,
    measurements_fit_declaration,
    survives_the_data_set,
    transform_is_deterministic_without_rng,
    randomness_comes_from_the_generators,
    batch_matches_spec,
    axis_is_monotonic,
    collate_keeps_order,
    views_are_forms_of_the_sample,
    collate_takes_none_and_one,
    bad_sample_raises,
    pickles_for_workers,
    reading_survives_damage,
    derives_as_declared,
    similarity_prefers_itself,
    quality_warnings_and_peaks_fit,
    *explaining.CHECKS,
    stated_mass_is_that_of_the_molecule,
    clean_up_is_by_named_steps,
)
