"""A run: what a trained model can do. The Python face of molchord, and what the command line calls."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from molchord.api import Logger, Measurement, Modality, SampleError
from molchord.data.loader import to_device
from molchord.data.reading import Given, items_of, measurements_of
from molchord.data.store import DataSet
from molchord.errors import DataError, QueryError, RunError, TrainingStopped, did_you_mean
from molchord.evaluate.calibration import calibrate, likeness
from molchord.evaluate.embedding import (
    CHUNK,
    Perturb,
    baselines_of,
    check_pools,
    embed_dataset,
    readers,
    spectral_entries,
)
from molchord.evaluate.evaluation import evaluate
from molchord.evaluate.reranking import fit_reranking
from molchord.evaluate.results import Evaluation, code_version
from molchord.files import discard, remove, replace_file, replace_files, replace_folder, write_csv
from molchord.graph import resolve as graphs
from molchord.graph.resolve import ModelGraph, Use
from molchord.library.build import embed_items
from molchord.library.doubts import doubted, inspected, unfamiliar
from molchord.library.files import Manifest, Storage
from molchord.library.library import Hit, Library
from molchord.library.work_folder import FAILURES
from molchord.model import Model, build_modalities
from molchord.rerank.rerank import Rerank, Reranking, reranked
from molchord.rerank.weights import WEIGHTS
from molchord.retrieval.exact import out_of_memory
from molchord.retrieval.scores import MAPS, MODES, pooled
from molchord.run_folder import (
    SHIPPED,
    PluginStamp,
    RunManifest,
    check_output,
    check_run_output,
    find_run,
    load_into,
    read_manifest,
    read_weights,
    saved_graph,
    trained_smiles,
    training_data,
    write_manifest,
    write_trained_on,
)
from molchord.train.loggers import Log, build_loggers
from molchord.train.processes import Processes, several
from molchord.train.trainer import Trainer, choose_device, pair_temperatures, temperatures

_WHOLE = {"freeze": [], "init": {}, "fraction": 1.0, "missing": {}}
"""Settings of a training that thin or replace something, switched off."""

UNUSABLE = "unusable.csv"
"""Lists the measurements that an evaluation could not use."""


class Run:
    """A trained model with the modalities it was trained on.

    Attributes:
        path: The run folder.
        graph: The resolved model graph.
        model: The model, in evaluation mode.
        modalities: What each modality plugin built.
        manifest: What the folder says of itself.
        device: Where the model lies.
    """

    def __init__(
        self,
        path: Path,
        graph: ModelGraph,
        model: Model,
        modalities: Mapping[str, Modality],
        manifest: RunManifest,
        device: torch.device,
    ) -> None:
        self.path = path
        self.graph = graph
        self.model = model
        self.modalities = dict(modalities)
        self.manifest = manifest
        self.device = device

    # --- making runs

    @classmethod
    def load(cls, path: str | Path, *, device: str | None = None) -> Run:
        """Load a run folder, or the shipped run by the word ``pretrained``.

        Plugins are found by name through the registry; no code comes from the folder.

        Raises:
            RunError: The folder is no run, damaged, or of another format.
            GraphError: A configuration no longer validates.

        Warns:
            UserWarning: A plugin has another version than the run was trained with.

        Example:
            >>> from molchord.testing import tiny_run
            >>> run = Run.load(tiny_run().path, device="cpu")
            >>> run.candidate, run.spectra
            ('structure', ('ir',))
        """
        path = find_run(path)
        manifest = read_manifest(path)
        graph = saved_graph(path, manifest)
        modalities = build_modalities(graph, manifest.fitted)
        model = Model(graph, modalities)
        if not (path / "model.safetensors").is_file():
            raise RunError(f"run {str(path)!r} has no weights yet; finish it with `molchord train --resume {path}`")
        load_into(model, read_weights(path / "model.safetensors")[0], f"run {str(path)!r}")
        # An unfinished training has not written its temperatures yet.
        manifest.tau = manifest.tau or temperatures(model, graph)
        chosen = choose_device(device)
        return cls(path, graph, model.to(chosen).eval(), modalities, manifest, chosen)

    @classmethod
    def train(
        cls,
        graph: ModelGraph | str | Path,
        data: DataSet | str | Path,
        out: str | Path | None = None,
        *,
        device: str | None = None,
        force: bool = False,
        progress: bool = True,
        start: Run | None = None,
        loggers: Sequence[str | Use] = (),
    ) -> Run:
        """Train a model graph on a data set into a new run folder.

        Started by `torchrun`, all its processes train one model together, and each returns the run; all must see the
        same folders, and the first one writes.

        Args:
            graph: A resolved graph, or the path of a YAML file.
            data: A data set, or its folder.
            out: The run folder to make; None: a temporary one that lives as long as the run.
            device: "cpu", "cuda", ...; None: a GPU where there is one.
            force: Replace a run that is there; a folder that is no run is never replaced.
            progress: Show progress bars.
            start: A run whose weights and fitted states to start from; towers whose modality the data set lacks stay
                as they are, with a warning.
            loggers: Where to show the figures of each epoch beside ``metrics.jsonl``: "tensorboard", or
                ``Use("wandb", project="mine")``. One that fails is named in a warning, and the training goes on.

        Raises:
            OutputExistsError: `out` exists and `force` is not set.
            RunError: `out` is no run, or overlaps the data set or a run that weights come from.
            TrainingStopped: Ctrl-C; the state is saved, `resume` goes on.
            MolchordError: Whatever is wrong with graph or data, in one sentence.

        Example:
            >>> import molchord as mc
            >>> from molchord.testing import examples_of, molecules
            >>> smiles = [molecule.smiles for molecule in molecules()]
            >>> data = mc.from_measurements(smiles, {"ir": examples_of("ir", len(smiles))}, splits=["train"] * 16)
            >>> graph = mc.ModelGraph.of(
            ...     embedding_dim=16,
            ...     modalities={
            ...         "structure": mc.Use("structure", encoder=mc.Use("gine", width=16, hidden=16, layers=2)),
            ...         "ir": mc.Use("ir", encoder=mc.Use("mlp", width=16, hidden=[16])),
            ...     },
            ...     loss=mc.Use("all_pairs"),
            ...     train={"epochs": 1, "batch_size": 8},
            ... )
            >>> run = Run.train(graph, data, progress=False)
            >>> [hit.rank for hit in run.search(run.library(smiles), ir=examples_of("ir", 1)[0], k=2)]
            [1, 2]
        """
        with several(device) as (processes, own_device):
            with processes.first_alone():
                built = build_loggers(loggers) if processes.rank == 0 else {}
                trainer, path, temporary = cls._begin(
                    graph, data, out, processes, device=own_device, force=force, progress=progress, start=start
                )
            path = processes.from_first(path)
            try:
                run = cls._finish(trainer, path, built)
            except BaseException as error:
                if temporary is not None and not isinstance(error, TrainingStopped):
                    discard(temporary)
                raise
        if temporary is not None:
            weakref.finalize(run, discard, temporary)
        return run

    @staticmethod
    def _begin(
        graph: ModelGraph | str | Path,
        data: DataSet | str | Path,
        out: str | Path | None,
        processes: Processes,
        *,
        device: str | None,
        force: bool,
        progress: bool,
        start: Run | None,
    ) -> tuple[Trainer, Path, Path | None]:
        """Set a training up and write the folder of its run; return both, and the temporary folder that it is in."""
        graph = graph if isinstance(graph, ModelGraph) else graphs.load(Path(graph))
        dataset = data if isinstance(data, DataSet) else DataSet(Path(data))
        sources = [find_run(source.partition("#")[0]) for source in graph.train.init.values()]
        sources += [] if start is None else [start.path]
        if out is not None and processes.rank == 0:
            kept = [("data set", dataset.path), *(("run that weights come from", source) for source in sources)]
            check_run_output(Path(out), kept, force=force)
        trainer = Trainer(
            graph,
            dataset,
            device=device,
            fitted=None if start is None else start.manifest.fitted,
            missing="refuse" if start is None else "empty",
            progress=progress,
            processes=processes,
        )
        trainer.start_from(None if start is None else start.model.state_dict())
        for feed in trainer.feeds.values():
            if feed.missing is not None:
                warnings.warn(f"{feed.missing}; its tower stays as it is", stacklevel=4)
        if processes.rank > 0:
            return trainer, Path(), None
        rows = trainer.rows["train"]
        trained_on = {key: text for source in sources for key, text in trained_smiles(source).items()}
        trained_on |= dict(zip(dataset.keys(rows), dataset.smiles(rows), strict=True))
        temporary = Path(mkdtemp(prefix="molchord-run-")) if out is None else None
        path = temporary / "run" if temporary is not None else Path(str(out))
        try:
            with replace_folder(path) as folder:
                replace_file(folder / "graph.yaml", graph.to_yaml())
                write_manifest(folder, _manifest(trainer))
                write_trained_on(folder, trained_on)
                trainer.save(folder)
        except BaseException:
            if temporary is not None:
                discard(temporary)
            raise
        return trainer, path, temporary

    @classmethod
    def resume(
        cls,
        path: str | Path,
        *,
        device: str | None = None,
        progress: bool = True,
        loggers: Sequence[str | Use] = (),
    ) -> Run:
        """Go on with a training exactly where it stopped; a finished one is loaded.

        Args:
            path: The run folder.
            device: "cpu", "cuda", ...; None: a GPU where there is one.
            progress: Show progress bars.
            loggers: As `train` takes them; those of before are not remembered, and go on where they stopped.

        Raises:
            RunError: There is no checkpoint, or the data set has changed since.

        Example:
            >>> from molchord.testing import tiny_run
            >>> run = Run.resume(tiny_run().path, progress=False)
            >>> run.id == tiny_run().id
            True
        """
        path = Path(path)
        with several(device) as (processes, own_device):
            with processes.first_alone():
                built = build_loggers(loggers) if processes.rank == 0 else {}
                manifest = read_manifest(path)
                trainer = Trainer(
                    saved_graph(path, manifest),
                    training_data(path, manifest),
                    device=own_device,
                    fitted=manifest.fitted,
                    missing="empty",  # what the data set lacked was accepted when the training began
                    progress=progress,
                    processes=processes,
                )
                trainer.restore(path)
            return cls._finish(trainer, path, built)

    @classmethod
    def _finish(cls, trainer: Trainer, path: Path, loggers: Mapping[str, Logger]) -> Run:
        log, finished = Log(loggers, path, trainer.graph, trainer.state.epoch), False
        try:
            finished = trainer.run(path, log.epoch)
        finally:
            log.close(finished)
        if not finished:
            stopped = TrainingStopped(path, trainer.state.epoch, trainer.state.step)
            if trainer.processes.rank > 0:
                raise SystemExit(stopped.status)  # process 0 says it
            raise stopped
        if trainer.processes.rank == 0:
            run = cls._complete(trainer, path)
        trainer.processes.wait()
        if trainer.processes.rank > 0:
            run = cls.load(path, device=str(trainer.device))
        trainer.processes.wait()  # a temporary run goes with the first process
        return run

    @classmethod
    def _complete(cls, trainer: Trainer, path: Path) -> Run:
        """Write what is known of a run once it is trained."""
        manifest = read_manifest(path)
        state = trainer.state
        if state.best is not None:
            figure = -state.best if trainer.config.stopping.metric == "loss" else state.best
            manifest.best = {"epoch": state.best_epoch, trainer.config.stopping.metric: figure}
        if state.absent:
            write_csv(path / "absent.csv", ("modality", "id", "reason"), state.absent)
        trainer.model.load_state_dict(read_weights(path / "model.safetensors")[0])
        manifest.tau = temperatures(trainer.model, trainer.graph)
        run = cls(path, trainer.graph, trainer.model.eval(), trainer.modalities, manifest, trainer.device)
        write_manifest(path, manifest)
        if len(trainer.rows["val"]):
            run.calibrate(trainer.dataset)
        return run

    def calibrate(self, data: DataSet | str | Path | None = None) -> None:
        """Fit temperatures, confidence and what counts as unfamiliar, and save them with the run.

        They are fitted on validation queries of every subset of spectra, and training does so at its end. Do it again
        for other queries, or for weights that have changed.

        Args:
            data: The data set whose validation queries to take; None: the one the run was trained on.

        Warns:
            UserWarning: There are too few queries, so hits will carry no probability.

        Example:
            >>> from molchord.testing import tiny_run
            >>> run = tiny_run()
            >>> run.calibrate()
            >>> sorted(run.manifest.tau)
            ['ir']
        """
        dataset = self.data() if data is None else data if isinstance(data, DataSet) else DataSet(Path(data))
        manifest = self.manifest
        manifest.tau = temperatures(self.model, self.graph)  # where the fit starts, whatever was fitted before
        found = embed_dataset(self, dataset, mass_seed=self.graph.seed)
        try:
            manifest.tau, manifest.beta = calibrate(found.embedded, refit_tau=True)
        except DataError as error:
            warnings.warn(f"hits will carry no probability: {error}", stacklevel=3)
        manifest.likeness = likeness(dataclasses.replace(found.embedded, tau=manifest.tau))
        write_manifest(self.path, manifest)

    def realign(
        self,
        data: DataSet | str | Path,
        out: str | Path | None = None,
        *,
        free: Sequence[str] | None = None,
        epochs: int = 15,
        where: Mapping[str, Mapping[str, Any]] | None = None,
        force: bool = False,
        progress: bool = True,
        loggers: Sequence[str | Use] = (),
    ) -> Run:
        """Adapt the run to other data by training a few parts only (Rocabert-Oriols et al. 2025, "Realignment").

        Args:
            data: The new data, such as experimental spectra of the same modalities.
            out: The new run folder.
            free: Dotted parts to train; None: the last layer of every projection head.
            epochs: Passes over the data.
            where: Which measurements to use, by modality, in place of the graph's ``where``: ``{"ir": {}}`` takes all
                IR spectra.
            force: Replace a run that is there.
            progress: Show progress bars.
            loggers: As `train` takes them.

        Raises:
            GraphError: An unknown part, column or value, or no epoch.
            MolchordError: As `train` raises.

        Warns:
            UserWarning: The data lacks a modality of the run; its tower stays as it is.

        Example:
            >>> from molchord.testing import tiny_data, tiny_run
            >>> moved = tiny_run().realign(tiny_data(), epochs=1, progress=False)
            >>> moved.graph.train.free
            ('modalities.structure.head.out', 'modalities.ir.head.out')
        """
        parts = list(free) if free is not None else [f"modalities.{m}.head.out" for m in self.graph.modalities]
        graph = _changed(self.graph, where, {**_WHOLE, "free": parts, "epochs": epochs})
        device = str(self.device)
        return Run.train(graph, data, out, device=device, force=force, progress=progress, start=self, loggers=loggers)

    # --- what it knows

    @property
    def candidate(self) -> str:
        """Name of the modality that is retrieved."""
        return self.graph.candidate

    @property
    def spectra(self) -> tuple[str, ...]:
        """Names of the modalities that can be a query."""
        return tuple(name for name in self.graph.modalities if name != self.graph.candidate)

    @property
    def id(self) -> str:
        """Digest of graph and weights; a library knows by it which run embedded it."""
        digest = hashlib.sha256()
        for name in ("graph.yaml", "model.safetensors"):
            digest.update((self.path / name).read_bytes())
        return digest.hexdigest()

    def data(self) -> DataSet:
        """Open the data set that the run was trained on.

        Raises:
            RunError: It is no longer there, or it has changed.
        """
        return training_data(self.path, self.manifest)

    # --- embedding

    def embed(
        self, modality: str, given: Given, *, anchors: Mapping[str, float] | None = None
    ) -> Float[NDArray[np.float32], "n d"]:
        """Embed measurements as unit vectors.

        Args:
            modality: Name in the graph.
            given: A file, a `Measurement`, or several; SMILES for a modality made from the molecule.
            anchors: Known numbers, such as ``{"exact_mass": 180.042}``; ignored by towers without anchors.

        Raises:
            QueryError: The run lacks the modality, a file cannot be read, or a measurement cannot be used.

        Example:
            >>> from molchord.testing import examples_of, tiny_run
            >>> tiny_run().embed("ir", examples_of("ir", 2)).shape
            (2, 16)
            >>> tiny_run().embed("structure", ["CCO", "CC#N", "CSC"]).shape
            (3, 16)
        """
        measurements = self.measurements(modality, given)
        rows = []
        for start in range(0, len(measurements), CHUNK):
            chunk = measurements[start : start + CHUNK]
            table = np.full((len(chunk), len(self.graph.anchors)), np.nan, dtype=np.float32)
            for column, name in enumerate(self.graph.anchors):
                known = [(anchors or {}).get(name, m.columns.get(name)) for m in chunk]
                table[:, column] = [np.nan if value is None else float(value) for value in known]
            rows.append(self.embed_measurements(modality, chunk, table))
        return torch.cat(rows).cpu().numpy()

    def measurements(self, modality: str, given: Given, *, of_one: bool = False) -> list[Measurement]:
        """Read what `embed` and `search` accept as measurements of one modality.

        Raises:
            QueryError: The run lacks the modality, a file cannot be read, or with `of_one` it is of several molecules.
        """
        if modality not in self.graph.modalities:
            raise QueryError(
                f"run {str(self.path)!r} has no modality {modality!r}; {did_you_mean(modality, self.graph.modalities)}"
            )
        stores = self.graph.modalities[modality].record.stores
        return measurements_of(self.modalities[modality], given, modality, stores, of_one=of_one)

    def _usable(self, modality: str, measurements: list[Measurement]) -> list[Measurement]:
        """Leave out, with a warning, measurements that cannot be used, so long as one can."""
        usable, reasons = [], []
        for measurement in measurements:
            try:
                self.modalities[modality].transform(measurement, None)
            except SampleError as error:
                reasons.append(error.reason)
                continue
            usable.append(measurement)
        if reasons and usable:
            left = f"{len(reasons)} of {len(measurements)} measurements of {modality!r} cannot be used"
            warnings.warn(f"{left} ({reasons[0]}); the others are searched with", stacklevel=3)
        return usable or measurements

    @torch.no_grad()
    def embed_measurements(
        self, modality: str, measurements: Sequence[Measurement], anchors: NDArray[np.float32]
    ) -> Float[Tensor, "n d"]:
        """Embed measurements of one modality, on the run's device; `anchors` (n, a), NaN where unknown.

        Raises:
            QueryError: A measurement cannot be used.
        """
        plugin = self.modalities[modality]
        try:
            samples = [plugin.transform(measurement, None) for measurement in measurements]
        except SampleError as error:
            raise QueryError(f"a measurement of {modality!r} cannot be used ({error}); give another one") from error
        return self.embed_samples(modality, samples, anchors)

    @torch.no_grad()
    def embed_samples(
        self, modality: str, samples: Sequence[Any], anchors: NDArray[np.float32]
    ) -> Float[Tensor, "n d"]:
        """Embed transformed measurements of one modality; otherwise as `embed_measurements`.

        Where memory is too small for all of them at once, they are embedded in halves.

        Raises:
            RunError: Memory is too small for one.
        """
        try:
            batch = to_device(self.modalities[modality].collate(samples), self.device)
            raw = self.model.embed(modality, batch, torch.from_numpy(anchors).to(self.device))
            return functional.normalize(raw, dim=1)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            if len(samples) == 1:
                raise RunError(
                    f"there is no memory on {str(self.device)!r} to embed one measurement of {modality!r}; close other "
                    "programs, or embed on another device"
                ) from error
        middle = len(samples) // 2  # after the failed attempt has let its memory go
        halves = (slice(middle), slice(middle, None))
        return torch.cat([self.embed_samples(modality, samples[half], anchors[half]) for half in halves])

    # --- finding molecules

    def library(
        self,
        source: str | Path | DataSet | Iterable[str],
        out: str | Path | None = None,
        *,
        spectra: bool = False,
        storage: Storage = "fp32",
        engine: str = "local",
        address: str | None = None,
        workers: int | None = None,
        force: bool = False,
        progress: bool = False,
    ) -> Library:
        """Embed candidate structures as a library.

        Stopped, it goes on where it was when it is called again: finished shards lie in ``<out>.parts``.

        Args:
            source: SMILES, a text, CSV or Parquet file of them (column ``smiles``), read as it is needed, or a data set
                whose molecules to take.
            out: Folder to make; None: a temporary one.
            spectra: Embed the data set's own spectra too, which permits library mode.
            storage: What a search scans: "fp32", or "bf16" or "int8" beside it, as `Library.create` has it.
            engine: "local", or "ray" for Ray Data (extra ``ray``); the library is the same.
            address: Of a Ray cluster whose machines see the same folders; None: Ray runs on this machine alone.
            workers: Processes that make conformers and graphs; Ray's cores, where it runs on this machine alone.
            force: Replace an existing folder.
            progress: Show a progress bar.

        Returns:
            The library; its folder lists molecules that could not be embedded in ``failures.csv``.

        Raises:
            DataError: The file cannot be read, no molecule could be embedded, or molecules or run are not those of the
                finished shards.
            OutputExistsError: `out` exists and `force` is not set.

        Example:
            >>> from molchord.testing import tiny_run
            >>> library = tiny_run().library(["CCO", "CC#N", "no molecule"])
            >>> len(library), (library.path / "failures.csv").is_file()
            (2, True)
        """
        if spectra:
            return self._spectral_library(source, out, storage=storage, engine=engine, force=force)
        temporary = Path(mkdtemp(prefix="molchord-library-")) if out is None else None
        target = Path(out) if out is not None else Path(str(temporary)) / "library"
        manifest = Manifest(
            run=self.id, candidate=self.candidate, embedding_dim=self.graph.embedding_dim, storage=storage
        )
        try:
            embed_items(
                self,
                items_of(source),
                target,
                manifest,
                engine=engine,
                address=address,
                workers=workers,
                force=force,
                progress=progress,
            )
        except BaseException:
            if temporary is not None:
                discard(temporary)
            raise
        library = Library(target)
        if temporary is not None:
            weakref.finalize(library, discard, temporary)
        return library

    def _spectral_library(
        self,
        source: str | Path | DataSet | Iterable[str],
        out: str | Path | None,
        *,
        storage: Storage,
        engine: str,
        force: bool,
    ) -> Library:
        """Embed a data set's molecules with their own spectra."""
        if not isinstance(source, DataSet) and not (isinstance(source, (str, Path)) and Path(source).is_dir()):
            raise DataError("`spectra` needs a data set as the source; SMILES alone carry no spectra")
        if engine != "local":
            raise DataError(f"`spectra` is embedded by engine 'local' alone, got {engine!r}; leave the engine out")
        failures: list[SampleError] = []
        dataset = source if isinstance(source, DataSet) else DataSet(Path(source))
        library = Library.create(
            out,
            spectral_entries(self, dataset, failures=failures),
            run=self.id,
            candidate=self.candidate,
            embedding_dim=self.graph.embedding_dim,
            spectra=self.spectra,
            storage=storage,
            force=force,
        )
        if failures:
            write_csv(library.path / FAILURES, ("molecule", "reason"), ((f.id, f.reason) for f in failures))
        return library

    def search(
        self,
        library: Library | str | Path,
        *,
        k: int = 25,
        map: str = "gm-exp",
        mode: str = "blind",
        mass: float | None = None,
        ppm: float | None = None,
        da: float | None = None,
        formula: str | None = None,
        rerank: Rerank | str | None = None,
        index: str | None = None,
        **spectra: Given,
    ) -> list[Hit]:
        """Rank a library's candidates by the geometric mean of their similarities to the given spectra.

        Args:
            library: Candidates embedded by this run, or their folder.
            k: How many hits.
            map: ``gm-exp``, ``gm-half`` or ``gm-clamp``.
            mode: ``blind``, or ``library`` where the library holds spectra.
            mass: Exact mass in Da; a filter with `ppm` or `da`, and what towers with a mass anchor take.
            ppm: Half width of the mass window in ppm.
            da: Half width of the mass window in Da.
            formula: Sum formula that candidates must have.
            rerank: Re-ranker for the first hits, with the weights that `evaluate` left in the run's folder.
            index: Name of an index of the library that proposes the candidates to score; None: all are searched. Its
                hits carry no probability, and say whether a better candidate may be missing.
            spectra: Files or measurements by modality; several of one modality count as one factor.

        Raises:
            QueryError: No spectrum was given, one cannot be used, or no candidate passes the filters.

        Warns:
            UserWarning: A measurement is doubtful, such as one in the wrong unit, upside down or of a part of the range
                only; the hits carry the sentence and a lower probability.

        Example:
            >>> from molchord.testing import examples_of, tiny_run
            >>> run = tiny_run()
            >>> hits = run.search(run.library(["CCO", "CC#N", "CSC"]), ir=examples_of("ir", 1), k=2)
            >>> [hit.rank for hit in hits], list(hits[0].cosines)
            ([1, 2], ['ir'])
        """
        if not spectra:
            raise QueryError(f"no spectrum was given; give one or more of {', '.join(_quoted(self.spectra))}")
        library = library if isinstance(library, Library) else Library(Path(library))
        library.expect_run(self.id)
        second = None if rerank is None else Reranking.for_search(self, rerank, map=map, mode=mode)
        anchors = {} if mass is None else {"exact_mass": mass}
        query: dict[str, Tensor] = {}
        used: dict[str, list[Measurement]] = {}
        doubts = []
        # What was fitted for several modalities is named in the order of the graph.
        in_order = [name for name in self.graph.modalities if name in spectra]
        for name, given in {**{name: spectra[name] for name in in_order}, **spectra}.items():
            if name == self.candidate:
                raise QueryError(
                    f"modality {name!r} is what is retrieved; give one or more of {', '.join(_quoted(self.spectra))}"
                )
            used[name] = self._usable(name, self.measurements(name, given, of_one=True))
            query[name] = pooled(torch.from_numpy(self.embed(name, used[name], anchors=anchors)))
            doubts += inspected(self.modalities[name], name, used[name])
        # A mass that a tower takes in need not be a filter; else it is one, and needs its window.
        taken = any("exact_mass" in self.graph.modalities[name].anchors for name in query)
        window = mass if ppm is not None or da is not None or not taken else None
        hits = library.search(
            query,
            k=max(k, second.k) if second is not None and k > 0 else k,
            map=map,
            mode=mode,
            tau=self.manifest.tau,
            pair_tau=pair_temperatures(self.model),
            mass=window,
            ppm=ppm,
            da=da,
            formula=formula,
            calibration=self.manifest.beta or None,
            device=str(self.device),
            index=index,
        )
        if mode == "blind" and hits:
            doubts += unfamiliar(hits[0], self.manifest.tau, self.manifest.likeness)
        hits = hits if second is None else reranked(hits, second, used, self)
        return doubted(hits[:k], doubts, stacklevel=2)

    def evaluate(
        self,
        data: DataSet | str | Path | None = None,
        *,
        pools: Sequence[str] = ("test", "all"),
        modes: Sequence[str] = MODES,
        maps: Sequence[str] = MAPS,
        split: str = "test",
        candidates_only: Run | None = None,
        where: Mapping[str, Mapping[str, Any]] | None = None,
        perturb: Perturb | None = None,
        combine: bool = False,
        rerank: Rerank | str | None = None,
        baselines: bool = True,
        audit: bool = True,
        seed: int = 0,
        out: Path | None = None,
        force: bool = False,
        progress: bool = False,
    ) -> Evaluation:
        """Measure the run on held-out molecules, beside the baselines that need no further training.

        Args:
            data: A data set; None: the one it was trained on.
            pools: ``test``, ``all``, ``all:N``, ``isomers``, ``unseen:N``, ``mass:Xppm``.
            modes: ``blind`` and ``library``, never mixed.
            maps: Maps of the geometric mean.
            split: The split whose molecules are queries.
            candidates_only: A run of the same graph trained with ``train.candidates_only``.
            where: Which measurements to use, by modality, in place of the graph's ``where``.
            perturb: ``perturb(modality, measurement, key14)`` gives the measurement that a query is searched with in
                place of the stored one, to measure robustness; blind mode only, as candidates' spectra stay as stored.
            combine: Search with all measurements of a modality that a molecule has as one factor, not one by one.
            rerank: Re-ranker that gets rows of its own, measured queries only; its weights are fitted on the queries of
                split ``val`` and, where `out` is given, written as ``rerank.json`` into the run's own folder, where
                `search` finds them.
            baselines: Whether to measure the baselines that read spectra, or see none (`candidates_only`), or rank by
                a re-ranker's features alone.
            audit: Whether to audit the split.
            seed: Of the bootstrap and of the drawn mass errors.
            out: Folder for ``evaluation.json``, ``evaluation.csv`` and ``report.html``, and for ``unusable.csv`` where
                a measurement cannot be used; None: nothing is written.
            force: Replace these files.
            progress: Show progress bars.

        Raises:
            OutputExistsError: One of the files is there and `force` is not set.
            DataError: The data set has a measurement of none of the run's modalities, or no query.
            RunError: A re-ranker's weights would go into the run that is shipped.

        Example:
            >>> from molchord.testing import tiny_run
            >>> found = tiny_run().evaluate(pools=["test"], modes=["blind"], maps=["gm-exp"])
            >>> found.find("ir", system="model").molecules
            4
        """
        if out is not None:
            written = [out / name for name in ("evaluation.json", "evaluation.csv", "report.html", UNUSABLE)]
            if rerank is not None and self.path == SHIPPED:
                raise RunError("the shipped run keeps no weights of a re-ranker; copy its folder, or realign it, first")
            for path in written if rerank is None else [*written, self.path / WEIGHTS]:
                check_output(path, force=force)
        dataset = self.data() if data is None else data if isinstance(data, DataSet) else DataSet(Path(data))
        run = self if where is None else self._reading(_changed(self.graph, where))
        if perturb is not None and "library" in modes:
            raise DataError("evaluation failed: `perturb` changes queries of blind mode only; set `modes=['blind']`")
        check_pools(run, dataset, pools, split=split, seed=seed)
        found = embed_dataset(run, dataset, mass_seed=seed, split=split, perturb=perturb, progress=progress)
        found = found.combined() if combine else found
        embedded, indices = found.embedded, found.indices
        beside = (
            baselines_of(run, dataset, embedded, indices, split=split, perturb=perturb, candidates_only=candidates_only)
            if baselines
            else None
        )
        second = None
        if rerank is not None:
            if "blind" not in modes or "gm-exp" not in maps:
                raise DataError("evaluation failed: `rerank` needs mode 'blind' and map 'gm-exp' among those measured")
            read = readers(run, dataset, found, split=split, perturb=perturb)
            by, beta = Reranking.of(run, rerank), self.manifest.beta
            second = fit_reranking(embedded, by, read, pools=pools, calibration=beta, seed=seed, alone=baselines)
        node = run.graph.modalities[self.candidate]
        settings = {
            "run": self.id[:12],
            "graph": hashlib.sha256(run.graph.to_yaml().encode()).hexdigest()[:12],
            "data": dataset.sha256[:12],
            "split_rule": dataset.rule or dataset.manifest.split,
            "candidates": self.candidate,
            **{key: value for key, value in node.config.model_dump().items() if isinstance(value, (str, int))},
            **({"perturb": repr(perturb)} if perturb is not None else {}),
            **({"combine": True} if combine else {}),
        }
        evaluation = evaluate(
            embedded,
            pools=pools,
            modes=modes,
            maps=maps,
            split=split,
            seed=seed,
            baselines=beside,
            audit=audit,
            calibration=self.manifest.beta or None,
            reranked=second,
            settings=settings,
        )
        notes = () if second is None else second.notes()
        evaluation = dataclasses.replace(evaluation, notes=(*evaluation.notes, *found.notes(), *notes))
        if out is not None:
            from molchord.evaluate.report import write_report  # matplotlib is imported only where a report is written

            with replace_files(out) as folder:
                evaluation.save(folder)
                if found.unusable:
                    write_csv(folder / UNUSABLE, ("modality", "key14", "reason"), found.unusable)
                write_report(run, dataset, embedded, indices, evaluation, folder / "report.html", split=split)
            if not found.unusable:
                remove(out / UNUSABLE)
            if second is not None:
                second.reranking.file(second.weights).write(self.path / WEIGHTS)
        return evaluation

    def _reading(self, graph: ModelGraph) -> Run:
        """Return this run with a graph that takes other measurements."""
        return Run(self.path, graph, self.model, self.modalities, self.manifest, self.device)


def _quoted(names: Iterable[str]) -> list[str]:
    return [repr(name) for name in names]


def _changed(
    graph: ModelGraph,
    where: Mapping[str, Mapping[str, Any]] | None,
    train: Mapping[str, Any] | None = None,
) -> ModelGraph:
    """Return a graph with another choice of measurements and other settings of the training, checked as any graph."""
    mapping = graph.to_dict()
    mapping["train"] |= dict(train or {})
    for name, chosen in (where or {}).items():
        if name not in graph.modalities:
            raise RunError(
                f"`where` names modality {name!r}, which the run lacks; {did_you_mean(name, graph.modalities)}"
            )
        mapping["modalities"][name]["where"] = dict(chosen)
    return graphs.from_dict(mapping)


def _manifest(trainer: Trainer) -> RunManifest:
    graph, code = trainer.graph, code_version()
    versions = graph.config_versions()
    return RunManifest(
        molchord=code["version"] or "",
        commit=code["commit"],
        device=str(trainer.device),
        plugins=[
            PluginStamp(type=p.type, name=p.qualified, version=p.version, config_version=versions[p.type][p.qualified])
            for p in graph.plugins()
        ],
        specs={name: {"kind": n.kind, "spec": dataclasses.asdict(n.spec)} for name, n in graph.modalities.items()},
        candidate=graph.candidate,
        data={
            "path": str(trainer.dataset.path.resolve()),
            "sha256": trainer.dataset.sha256,
            **({} if trainer.dataset.rule is None else {"split": trainer.dataset.rule}),
        },
        fitted=trainer.fitted,
        molecules=trainer.counts(),
    )
