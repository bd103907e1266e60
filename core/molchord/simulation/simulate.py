"""Simulation: molecules become jobs, jobs become results, and files of results are imported as a data set.

Jobs and results are in a folder as ``jobs-00000.npz`` and ``results-00000.npz``, so a simulation that was stopped goes
on where it was, one whose list of molecules has grown computes what is new, and other machines can help.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast, final

from numpy.typing import NDArray

from molchord.api import Batched, Measurement, Molecule, Portable, SampleError, Simulator, SimulatorRecord
from molchord.data.importer import ImportReport, import_files
from molchord.data.parallel import alone, surviving
from molchord.data.reading import MoleculeSource, molecules_of
from molchord.errors import DataError, OutputExistsError, PluginError
from molchord.files import replace_file, write_csv
from molchord.host import Built, Host, Plugin, build, guarded
from molchord.simulation.files import Contents, Outcome
from molchord.simulation.folder import DIED, SimulationFolder, settled
from molchord.vocabulary import FAILURES, REJECTED

__all__ = ["SimulationReport", "build_simulator", "simulate", "simulate_molecules", "write_jobs"]

DEFAULT = "gfn2"  # needs nothing but what `pip install 'molchord[simulate]'` brings
_WAITING = "whose job has no result yet (run its program, or delete the file of jobs to compute them here)"


@dataclass(frozen=True, kw_only=True)
class SimulationReport:
    """The outcome of a simulation.

    Attributes:
        path: The data set, or the folder of jobs.
        molecules: Molecules in it.
        measurements: Measurements in the data set by modality; none in a folder of jobs.
        failed: Rows of ``failures.csv``.
        rejected: Rows of ``rejected.csv``: measurements that their modality refused.
        waiting: Molecules left out because their job is in the folder and its result is not.
        files: Files of jobs that were written.
        command: What computes a file of jobs on another machine; empty for a data set.
    """

    path: Path
    molecules: int
    measurements: Mapping[str, int]
    failed: int
    rejected: int = 0
    waiting: int = 0
    files: int = 0
    command: str = ""

    def summary(self) -> str:
        """Return the report as text."""
        parts = [f"{self.molecules} molecules"]
        parts += [f"{count} {name}" for name, count in self.measurements.items()]
        parts += [f"{self.files} new files of jobs"] if self.command else []
        parts += [f"{self.failed} failed (see {FAILURES})"] if self.failed else []
        parts += [f"{self.rejected} rejected (see {REJECTED})"] if self.rejected else []
        parts += [f"{self.waiting} left out {_WAITING}"] if self.waiting else []
        line = f"{self.path}: " + ", ".join(parts)
        return line + (f"\nfor each of them, on any machine: {self.command}" if self.command else "")


def simulate_molecules(
    simulator: Simulator, molecules: Iterable[Molecule], workers: int | None = None
) -> Iterator[Mapping[str, Measurement] | SampleError]:
    """Simulate each molecule of a stream, in order; a failure takes its place.

    Args:
        simulator: What a simulator's record builds.
        molecules: Molecules, read as they are needed.
        workers: Processes; 1: this one; None: as many as there are cores, once it takes longer than a few seconds.

    Raises:
        ImportError: A library that it needs is not installed; `build_simulator` reports that in a sentence.
    """
    simulator.computed_by()
    for entry in _entries(_Job(simulator, computes=True), molecules, workers):
        yield entry.failure if entry.arrays is None else simulator.measurements(entry.arrays)


def build_simulator(
    host: Host, use: str | Mapping[str, Any] | None = None
) -> tuple[Plugin[SimulatorRecord], Simulator]:
    """Find a simulator and build it, and see whether it can compute here.

    Args:
        host: Installed plugins.
        use: Its name, or a `Use` with its configuration; None: `gfn2`, or the only one that is installed.

    Raises:
        PluginError: It is not there or its configuration is wrong, a library that it needs is not installed, or several
            are there to choose from.

    Example:
        >>> from molchord.host import installed
        >>> build_simulator(installed())[0].qualified
        'molchord:gfn2'
    """
    built = _built(host, use)
    with guarded(built.plugin):
        built.it.computed_by()
    return built.plugin, built.it


def simulate(
    source: MoleculeSource,
    out: Path,
    *,
    host: Host,
    use: str | Mapping[str, Any] | None = None,
    jobs: Path | None = None,
    workers: int | None = None,
    limit: int | None = None,
    force: bool = False,
    progress: bool = False,
) -> SimulationReport:
    """Make a data set of simulated measurements, one entry per molecule; a molecule that fails is listed.

    Molecules that are in a file of jobs are not computed here: their results are collected once they exist.

    Args:
        source: The molecules.
        out: Folder of the data set.
        host: Installed plugins.
        use: Name of the simulator, or a `Use` with its configuration; None: `gfn2`, or the only one that is installed.
        jobs: Folder of results that may exist already, and of new ones; None: `out` with ``.jobs`` after its name.
        workers: Processes; None: one a core.
        limit: Take the first molecules only.
        force: Replace a data set at `out`.
        progress: Show a progress bar.

    Raises:
        DataError: No molecule could be simulated, the folder holds results of others or of another configuration, or a
            file of results is damaged.
        OutputExistsError: Something exists at `out` and `force` is not given.
        PluginError: There is no such simulator, its configuration is wrong, or a library that it needs is missing.
    """
    if out.exists() and not force:
        raise OutputExistsError(out)
    built = _built(host, use)
    refused: list[SampleError] = []
    molecules = _distinct(source, limit, refused)
    folder = SimulationFolder(out.with_name(f"{out.name}.jobs") if jobs is None else jobs, built.plugin, built.config)
    known = settled(folder.contents("results").values())
    waiting = (settled(folder.contents("jobs").values()) - known) & molecules.keys()
    missing = [molecule for key14, molecule in molecules.items() if key14 not in known | waiting]
    if missing:
        _, simulator = build_simulator(host, use)
        made_by = {"prepared_by": simulator.prepared_by(), "computed_by": simulator.computed_by()}
        entries = _entries(_Job(simulator, computes=True), missing, _cores(workers))
        folder.fill("results", entries, len(missing), made_by, progress)
    contents = folder.contents("results")
    computed = {id for one in contents.values() for id in one.ids}
    rows = _failures(refused, contents.values())
    _check_results(folder.path, computed, rows, molecules.keys(), len(waiting))
    note = _note(built, contents.values(), len(rows) - len(refused), len(molecules))
    imported = _imported(folder, contents, out, len(computed), host=host, note=note, force=force)
    made, counts, rejected = imported.molecules, imported.measurements, imported.rejected
    return SimulationReport(
        path=out, molecules=made, measurements=counts, failed=len(rows), rejected=rejected, waiting=len(waiting)
    )


def _check_results(
    folder: Path, computed: Set[str], failed: Sequence[tuple[str, str, str]], asked: Set[str], waiting: int
) -> None:
    """List what failed in the folder of results; refuse results that nobody asked for, and none at all."""
    others = sorted((computed | {key14 for _, key14, _ in failed if key14}) - asked)
    if others:
        raise DataError(
            f"folder {str(folder)!r} holds results of {len(others)} molecules that are not asked for, such as "
            f"{others[0]}; name another folder by `--jobs`, or ask for them too"
        )
    write_csv(folder / FAILURES, ("smiles", "key14", "reason"), failed)
    if not computed:
        reasons = [reason for reason, _ in Counter(reason for _, _, reason in failed).most_common(3)]
        reasons += [f"{waiting} {_WAITING}"] if waiting else []
        raise DataError(
            f"none of {len(failed) + waiting} molecules could be simulated ({'; '.join(reasons)}); "
            f"see {str(folder / FAILURES)!r}"
        )


def _imported(
    folder: SimulationFolder,
    contents: Mapping[Path, Contents],
    out: Path,
    molecules: int,
    *,
    host: Host,
    note: str,
    force: bool,
) -> ImportReport:
    """Make the data set of the results, and refuse one that lacks any of these molecules."""
    with TemporaryDirectory() as scratch:
        files = folder.distinct(contents, Path(scratch))
        imported = import_files(files, out, host=host, note=note, force=force)
    replace_file(out / FAILURES, (folder.path / FAILURES).read_bytes())
    if imported.molecules != molecules:
        raise DataError(
            f"data set {str(out)!r} has {imported.molecules} of {molecules} simulated molecules; delete the files "
            f"of results that {str(out / REJECTED)!r} names, and simulate again with `--force`"
        )
    return imported


def write_jobs(
    source: MoleculeSource,
    folder: Path,
    *,
    host: Host,
    use: str | Mapping[str, Any] | None = None,
    workers: int | None = None,
    limit: int | None = None,
    progress: bool = False,
) -> SimulationReport:
    """Write files of jobs for other machines, with the program that computes them; `simulate` collects the results.

    Molecules whose jobs or results are in the folder already are left out. Arguments and errors as for `simulate`.
    """
    built = _built(host, use)
    simulator: Simulator = built.it
    if not isinstance(simulator, Portable):
        raise PluginError(
            f"simulator {built.plugin.name!r} has no program for other machines; simulate here, with `--out`"
        )
    refused: list[SampleError] = []
    molecules = _distinct(source, limit, refused)
    jobs = SimulationFolder(folder, built.plugin, built.config)
    known = settled(jobs.contents("jobs").values()) | settled(jobs.contents("results").values())
    missing = [molecule for molecule in molecules.values() if molecule.key14 not in known]
    made_by = {"prepared_by": simulator.prepared_by()}
    entries = _entries(_Job(simulator, computes=False), missing, _cores(workers))
    files = jobs.fill("jobs", entries, len(missing), made_by, progress)
    program = simulator.program()
    replace_file(folder / program.name, program.read_bytes())
    rows = _failures(refused, jobs.contents("jobs").values())
    write_csv(folder / FAILURES, ("smiles", "key14", "reason"), rows)
    command = f"OMP_NUM_THREADS=1 python {program.name} jobs-00000.npz results-00000.npz"
    return SimulationReport(
        path=folder, molecules=len(molecules), measurements={}, failed=len(rows), files=files, command=command
    )


# --- molecules to entries --------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class _Job:
    """Makes a molecule's job, and its result where asked for; in any process."""

    simulator: Simulator
    computes: bool

    def __call__(self, molecule: Molecule) -> Outcome:
        entry = partial(Outcome, id=molecule.key14, smiles=molecule.smiles)
        try:
            job = self.simulator.prepare(molecule)
            return entry(arrays=self.simulator.compute(job) if self.computes else job)
        except SampleError as error:
            return entry(reason=error.reason)
        except Exception as error:  # whatever happens to one molecule, the others continue
            return entry(reason=f"the simulator failed: {type(error).__name__}: {error}")


@final
@dataclass(frozen=True)
class _Batch:
    """Makes the results of many molecules together, in any process; where that fails, one by one."""

    simulator: Simulator

    def __call__(self, molecules: Sequence[Molecule]) -> list[Outcome]:
        prepared = [*map(_Job(self.simulator, computes=False), molecules)]
        jobs = [entry.arrays for entry in prepared if entry.arrays is not None]
        try:
            found = iter(cast(Batched, self.simulator).compute_batch(jobs) if jobs else ())
            return [entry if entry.arrays is None else _computed(entry, next(found)) for entry in prepared]
        except Exception:  # whatever happens to one molecule, the others continue
            return [*map(_Job(self.simulator, computes=True), molecules)]


def _computed(entry: Outcome, found: Mapping[str, NDArray[Any]] | SampleError) -> Outcome:
    if isinstance(found, SampleError):
        return replace(entry, arrays=None, reason=found.reason)
    return replace(entry, arrays=found)


def _entries(job: _Job, molecules: Iterable[Molecule], workers: int | None) -> Iterator[Outcome]:
    """Yield the outcome of each molecule, in order; one that kills its process is tried again alone, then listed."""
    simulator = job.simulator
    if not job.computes or not isinstance(simulator, Batched):
        yield from surviving(job, molecules, workers, _died)
        return
    batch, size = _Batch(simulator), simulator.batch
    stream = iter(molecules)
    batches = iter(lambda: [*islice(stream, size)], [])
    for entries in surviving(batch, batches, workers, lambda lost: [alone(job, one) or _died(one) for one in lost]):
        yield from entries


def _died(molecule: Molecule) -> Outcome:
    return Outcome(id=molecule.key14, smiles=molecule.smiles, reason=DIED)


def _cores(workers: int | None) -> int:
    return len(os.sched_getaffinity(0)) if workers is None else workers


# --- lists of molecules, and their outcomes --------------------------------------------------------------------------


def _distinct(source: MoleculeSource, limit: int | None, refused: list[SampleError]) -> dict[str, Molecule]:
    """Return molecules by key14, in order, each once."""
    if limit is not None and limit < 1:
        raise DataError(f"limit is {limit}; give 1 or more")
    out: dict[str, Molecule] = {}
    for molecule in molecules_of(source, refused):
        out.setdefault(molecule.key14, molecule)
        if len(out) == limit:
            break
    if not out and not refused:
        raise DataError("no molecule to simulate: the list of SMILES is empty")
    return out


def _failures(refused: Iterable[SampleError], contents: Iterable[Contents]) -> list[tuple[str, str, str]]:
    """Return the rows of molecules that failed, the last reason of each, and were not computed by another try."""
    found = [*contents]
    computed = {id for one in found for id in one.ids}
    failed = {entry.id: entry for one in found for entry in one.failed if entry.id not in computed}
    rows = [(error.id, "", error.reason) for error in refused]
    return rows + [(entry.smiles, entry.id, entry.reason) for entry in failed.values()]


def _note(built: Built, contents: Iterable[Contents], failed: int, asked: int) -> str:
    """Describe for the manifest how the measurements were made; several ways where a later call continued."""
    plugin, settings = built.plugin, json.dumps(built.config.model_dump(mode="json"))
    by = f"{plugin.qualified} {plugin.version}" + (f" with {settings}" if settings != "{}" else "")
    ways = {f"Jobs: {one.prepared_by}. Results: {one.computed_by}." for one in contents if one.ids}
    lead = f"Simulated by {by}; {failed} of {asked} molecules failed (see {FAILURES})."
    return " ".join([lead, *sorted(ways)])


def _built(host: Host, use: str | Mapping[str, Any] | None) -> Built:
    given = {} if use is None else {"use": use} if isinstance(use, str) else dict(use)
    if "use" not in given:
        names = host.names("simulator")
        if DEFAULT not in names and len(names) != 1:
            choice = (
                f"choose one of {', '.join(map(repr, names))} by `--use`" if names else "see `molchord plugins check`"
            )
            raise PluginError(f"{len(names)} simulators are installed; {choice}")
        given["use"] = DEFAULT if DEFAULT in names else names[0]
    return build("simulator", given, host=host)
