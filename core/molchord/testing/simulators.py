"""Checks on simulators, with the first molecules of the kit; one whose library is not installed cannot be checked."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from molchord.api import (
    Batched,
    Measurement,
    ModalityRecord,
    Molecule,
    Portable,
    Reading,
    SampleError,
    Simulator,
    SimulatorRecord,
)
from molchord.chem import molecule
from molchord.data.manifest import declare
from molchord.data.shards import encode
from molchord.host import installed
from molchord.simulation.files import Outcome, read_contents, write_entries
from molchord.testing.require import require
from molchord.testing.samples import built, default_config, same_arrays, same_columns

_SMILES = ("O", "CC#N", "CO")
"""Small molecules, so that a slow simulator can be checked too."""

_ROUNDING = 0.02
"""Part of the largest value by which a result in a batch may differ: geometries are relaxed to a tolerance."""


def _simulator(record: SimulatorRecord) -> Simulator:
    return record.build(default_config(record))


def _entries(record: SimulatorRecord, *, results: bool) -> list[Outcome]:
    simulator = _simulator(record)
    out = []
    for one in map(molecule, _SMILES):
        job = simulator.prepare(one)
        out.append(Outcome(id=one.key14, smiles=one.smiles, arrays=simulator.compute(job) if results else job))
    return out


def arrays_are_as_declared(record: SimulatorRecord) -> None:
    """Jobs and results are in files by their declaration alone.

    To mend it: return the arrays that `arrays` declares, in those shapes and types.
    """
    with tempfile.TemporaryDirectory() as folder:
        for results in (False, True):
            declared = record.results if results else record.jobs
            write_entries(Path(folder, "a.npz"), declared, _entries(record, results=results), prepared_by="")
            contents = read_contents(Path(folder, "a.npz"))
            require(len(contents.ids) == len(_SMILES), f"a file of {len(_SMILES)} molecules holds {len(contents.ids)}")


def simulation_is_deterministic(record: SimulatorRecord) -> None:
    """A simulation that was stopped and continued gives what an unbroken one gives, in this process or in another.

    To mend it: seed every draw with the molecule, and set the threads of libraries that sum in any order.
    """
    for results in (False, True):
        for first, again in zip(_entries(record, results=results), _entries(record, results=results), strict=True):
            require(same_arrays(first.arrays or {}, again.arrays or {}), f"{first.smiles!r} differs between two runs")


def modalities_read_the_results(record: SimulatorRecord) -> None:
    """A file of results is imported by the modalities in `makes`, which read what `measurements` gives.

    To mend it: name in `makes` the modalities whose arrays `measurements` gives.
    """
    require(len(record.makes) > 0, "`makes` names no modality")
    simulator, entries = _simulator(record), _entries(record, results=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "results.npz")
        write_entries(path, record.results, entries, prepared_by="", computed_by="")
        for name in record.makes:
            modality = installed().modality(name)
            reader = built(modality, modality.kinds[0])
            require(reader.can_read(path), f"modality {name!r} does not recognise a file of results")
            read = list(reader.read(path))
            require(len(read) == len(entries), f"modality {name!r} reads {len(read)} of {len(entries)} results")
            for entry, reading in zip(entries, read, strict=True):
                made = simulator.measurements(entry.arrays or {})
                require(sorted(made) == sorted(record.makes), f"`measurements` gives {sorted(made)}")
                _require_alike(modality, reading, entry.smiles, made[name])


def _require_alike(modality: ModalityRecord, reading: Reading | SampleError, smiles: str, made: Measurement) -> None:
    if isinstance(reading, SampleError):
        raise AssertionError(f"modality {modality.name!r} refuses a result: {reading.reason}")
    require(reading.smiles == smiles, f"modality {modality.name!r} reads SMILES {reading.smiles!r}, not {smiles!r}")
    arrays, _ = declare(modality.name, modality.stores, {})
    read, direct = (encode(one, arrays, modality.stores) for one in (reading.measurement, made))
    told = f"of {modality.name!r} differ from those of `measurements`"
    require(same_columns(read.columns, direct.columns), f"columns {told}")
    require(same_arrays(read.arrays, direct.arrays), f"arrays {told}")


def failures_say_why(record: SimulatorRecord) -> None:
    """What cannot be simulated is listed with its reason, and nothing is made up for it.

    To mend it: raise `SampleError` with a reason, and return no measurement.
    """
    simulator = _simulator(record)
    try:
        simulator.compute(simulator.prepare(Molecule(key14="NONE", smiles="no molecule", formula="", exact_mass=0.0)))
    except SampleError as error:
        require(bool(error.reason.strip()), "a `SampleError` gives no reason")
        return
    raise AssertionError("a SMILES that is none was simulated; raise a `SampleError`")


def goes_to_workers(record: SimulatorRecord) -> None:
    """Molecules are simulated in other processes, to which the simulator is sent.

    To mend it: keep open files and library handles out of the object.
    """
    pickle.loads(pickle.dumps(_simulator(record)))


def says_how_it_was_made(record: SimulatorRecord) -> None:
    """The data set's manifest records how its measurements were made.

    To mend it: return level of theory, versions and settings as text.
    """
    simulator = _simulator(record)
    for name, text in (("prepared_by", simulator.prepared_by()), ("computed_by", simulator.computed_by())):
        require(bool(text.strip()) and "\n" not in text, f"`{name}` must be one line, got {text!r}")


def program_gives_the_same(record: SimulatorRecord) -> None:
    """The program for other machines gives what `compute` gives; a simulator without one passes.

    To mend it: let program and `compute` share one function.
    """
    simulator = _simulator(record)
    if not isinstance(simulator, Portable):
        return
    failed = Outcome(id="FAILED", smiles="C", reason="why")
    with tempfile.TemporaryDirectory() as folder:
        jobs, theirs, ours = (Path(folder, f"{name}.npz") for name in ("jobs", "theirs", "ours"))
        write_entries(jobs, record.jobs, [*_entries(record, results=False), failed], prepared_by="here")
        command = [sys.executable, str(simulator.program()), str(jobs), str(theirs)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        require(done.returncode == 0, f"the program failed: {done.stderr.strip()}")
        made_by = {"prepared_by": "here", "computed_by": simulator.computed_by()}
        write_entries(ours, record.results, [*_entries(record, results=True), failed], **made_by)
        require(read_contents(theirs) == read_contents(ours), "the program's file lists other molecules or texts")
        require(same_arrays(_arrays(theirs), _arrays(ours)), "the program's arrays differ from those of `compute`")


def batch_gives_the_same(record: SimulatorRecord) -> None:
    """Many molecules at once are each computed as alone, to within rounding; a simulator of single ones passes.

    To mend it: return one outcome per job, in the order of the jobs, and let no job change another's.
    """
    simulator = _simulator(record)
    if not isinstance(simulator, Batched):
        return
    jobs = [simulator.prepare(molecule(smiles)) for smiles in _SMILES]
    require(len(simulator.compute_batch([])) == 0, "a batch of no job has an outcome")
    found = simulator.compute_batch(list(reversed(jobs)))
    require(len(found) == len(jobs), f"a batch of {len(jobs)} jobs has {len(found)} outcomes")
    for smiles, job, together in zip(_SMILES, jobs, reversed(list(found)), strict=True):
        alone = simulator.compute(job)
        require(not isinstance(together, SampleError), f"{smiles!r} fails in a batch and not alone")
        for name in record.results:
            same = _alike(np.asarray(alone[name]), np.asarray(dict(together)[name]))
            require(same, f"`{name}` of {smiles!r} in a batch is not that of {smiles!r} alone")


def _alike(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Return whether two arrays are equal, those of numbers with decimals to within `_ROUNDING`."""
    if one.shape != other.shape or one.dtype.kind not in "fc":
        return np.array_equal(one, other)
    return bool(np.abs(one - other).max(initial=0.0) <= _ROUNDING * np.abs(one).max(initial=0.0))


def _arrays(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


CHECKS = (
    arrays_are_as_declared,
    simulation_is_deterministic,
    modalities_read_the_results,
    failures_say_why,
    goes_to_workers,
    says_how_it_was_made,
    program_gives_the_same,
    batch_gives_the_same,
)
