"""A run: what a trained model can do. The Python face of molchord, and what the command line calls."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
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

from molchord.api import Measurement, Modality, SampleError
from molchord.checkpoint import (
    PluginStamp,
    RunManifest,
    check_output,
    load_into,
    read_manifest,
    read_weights,
    saved_graph,
    training_data,
    write_manifest,
    write_trained_on,
)
from molchord.data.loader import to_device
from molchord.data.store import DataSet
from molchord.errors import DataError, QueryError, RunError, TrainingStopped, did_you_mean
from molchord.evaluate.evaluation import evaluate
from molchord.evaluate.results import Evaluation, code_version
from molchord.graph import resolve as graphs
from molchord.graph.resolve import ModelGraph
from molchord.inference import baselines_of, embed_dataset, library_entries, spectral_entries
from molchord.model import Model, build_modalities
from molchord.reading import Given, measurements_of, molecules_of, write_rows
from molchord.retrieval.calibration import calibrate
from molchord.retrieval.library import Hit, Library
from molchord.retrieval.scores import MAPS, MODES, pooled
from molchord.train.trainer import Trainer, choose_device, pair_temperatures, temperatures

CHUNK = 256
"""Measurements that are embedded at a time."""


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
        """Load a run folder; plugins are found by name through the registry, no code comes from the folder.

        Raises:
            RunError: The folder is no run, damaged, or of another format.
            GraphError: A plugin it needs is not installed, or a configuration no longer validates.
        """
        path = Path(path)
        manifest = read_manifest(path)
        graph = saved_graph(path, manifest)
        modalities = build_modalities(graph, manifest.fitted)
        model = Model(graph, modalities)
        if not (path / "model.safetensors").is_file():
            raise RunError(f"run {str(path)!r} has no weights yet; finish it with `molchord train --resume {path}`")
        load_into(model, read_weights(path / "model.safetensors")[0], f"run {str(path)!r}")
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
    ) -> Run:
        """Train a model graph on a data set into a new run folder.

        Args:
            graph: A resolved graph, or the path of a YAML file.
            data: A data set, or its folder.
            out: The run folder to make; None: a temporary one that lives as long as the run.
            device: "cpu", "cuda", ...; None: a GPU where there is one.
            force: Replace an existing folder.
            progress: Show progress bars.
            start: A run whose weights and fitted states to start from.

        Raises:
            OutputExistsError: `out` exists and `force` is not set.
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
        graph = graph if isinstance(graph, ModelGraph) else graphs.load(Path(graph))
        dataset = data if isinstance(data, DataSet) else DataSet(Path(data))
        path = Path(out) if out is not None else Path(mkdtemp(prefix="molchord-run-")) / "run"
        check_output(path, force=force)
        fitted = None if start is None else start.manifest.fitted
        trainer = Trainer(graph, dataset, device=device, fitted=fitted, progress=progress)
        trainer.start_from(None if start is None else start.model.state_dict())
        if path.exists():
            shutil.rmtree(path)
        path.mkdir(parents=True)
        (path / "graph.yaml").write_text(graph.to_yaml())
        write_manifest(path, _manifest(trainer))
        sources = [Path(source.partition("#")[0]) for source in graph.train.init.values()]
        sources += [] if start is None else [start.path]
        write_trained_on(path, dataset.keys(trainer.rows["train"]), sources)
        run = cls._finish(trainer, path)
        if out is None:
            weakref.finalize(run, shutil.rmtree, path.parent, ignore_errors=True)
        return run

    @classmethod
    def resume(cls, path: str | Path, *, device: str | None = None, progress: bool = True) -> Run:
        """Go on with a training exactly where it stopped; a finished one is loaded.

        Raises:
            RunError: There is no checkpoint, or the data set has changed since.
        """
        path = Path(path)
        manifest = read_manifest(path)
        graph = saved_graph(path, manifest)
        dataset = training_data(path, manifest)
        trainer = Trainer(graph, dataset, device=device, fitted=manifest.fitted, progress=progress)
        trainer.restore(path)
        return cls._finish(trainer, path)

    @classmethod
    def _finish(cls, trainer: Trainer, path: Path) -> Run:
        if not trainer.run(path):
            raise TrainingStopped(path, trainer.state.epoch, trainer.state.step)
        manifest = read_manifest(path)
        state = trainer.state
        if state.best is not None:
            figure = -state.best if trainer.config.stopping.metric == "loss" else state.best
            manifest.best = {"epoch": state.best_epoch, trainer.config.stopping.metric: figure}
        if state.absent:
            write_rows(path / "absent.csv", ("modality", "id", "reason"), state.absent)
        trainer.model.load_state_dict(read_weights(path / "model.safetensors")[0])
        manifest.tau = temperatures(trainer.model, trainer.graph)
        run = cls(path, trainer.graph, trainer.model.eval(), trainer.modalities, manifest, trainer.device)
        if len(trainer.rows["val"]):
            manifest.beta = calibrate(embed_dataset(run, trainer.dataset)[0])[1]
        write_manifest(path, manifest)
        return run

    def realign(
        self,
        data: DataSet | str | Path,
        out: str | Path | None = None,
        *,
        free: Sequence[str] | None = None,
        epochs: int = 15,
        force: bool = False,
        progress: bool = True,
    ) -> Run:
        """Adapt the run to other data by training a few parts only (Rocabert-Oriols et al. 2025, "Realignment").

        Args:
            data: The new data, such as experimental spectra of the same modalities.
            out: The new run folder.
            free: Dotted parts to train; None: the last layer of every projection head.
            epochs: Passes over the data.
            force: Replace an existing folder.
            progress: Show progress bars.
        """
        parts = tuple(free) if free is not None else tuple(f"modalities.{m}.head.out" for m in self.graph.modalities)
        train = self.graph.train.model_copy(update={"free": parts, "freeze": (), "init": {}, "epochs": epochs})
        graph = dataclasses.replace(self.graph, train=train)
        return Run.train(graph, data, out, device=str(self.device), force=force, progress=progress, start=self)

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

    def measurements(self, modality: str, given: Given) -> list[Measurement]:
        """Read what `embed` and `search` accept as measurements of one modality.

        Raises:
            QueryError: The run lacks the modality, or a file cannot be read.
        """
        if modality not in self.graph.modalities:
            raise QueryError(
                f"run {str(self.path)!r} has no modality {modality!r}; {did_you_mean(modality, self.graph.modalities)}"
            )
        return measurements_of(self.modalities[modality], given, modality)

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
        """Embed transformed measurements of one modality; otherwise as `embed_measurements`."""
        batch = to_device(self.modalities[modality].collate(samples), self.device)
        raw = self.model.embed(modality, batch, torch.from_numpy(anchors).to(self.device))
        return functional.normalize(raw, dim=1)

    # --- finding molecules

    def library(
        self,
        source: str | Path | DataSet | Iterable[str],
        out: str | Path | None = None,
        *,
        spectra: bool = False,
        workers: int | None = None,
        force: bool = False,
    ) -> Library:
        """Embed candidate structures as a library.

        Args:
            source: SMILES, a text or CSV file of them (column ``smiles``), or a data set whose molecules to take.
            out: Folder to make; None: a temporary one.
            spectra: Embed the data set's own spectra too, which permits library mode.
            workers: Processes that make conformers and graphs.
            force: Replace an existing folder.

        Returns:
            The library; its folder lists molecules that could not be embedded in ``failures.csv``.

        Raises:
            DataError: The file cannot be read, or no molecule could be embedded.
        """
        failures: list[SampleError] = []
        if spectra:
            if not isinstance(source, DataSet) and not (isinstance(source, (str, Path)) and Path(source).is_dir()):
                raise DataError("`spectra` needs a data set as the source; SMILES alone carry no spectra")
            entries = spectral_entries(self, source if isinstance(source, DataSet) else DataSet(Path(source)))
        else:
            molecules = molecules_of(source, failures)
            entries = library_entries(self, molecules, workers=workers, failures=failures)
        library = Library.create(
            out,
            entries,
            run=self.id,
            candidate=self.candidate,
            embedding_dim=self.graph.embedding_dim,
            spectra=self.spectra if spectra else (),
            force=force,
        )
        if failures:
            write_rows(library.path / "failures.csv", ("molecule", "reason"), ((f.id, f.reason) for f in failures))
        return library

    def search(
        self,
        library: Library,
        *,
        k: int = 25,
        map: str = "gm-exp",
        mode: str = "blind",
        mass: float | None = None,
        ppm: float | None = None,
        da: float | None = None,
        formula: str | None = None,
        **spectra: Given,
    ) -> list[Hit]:
        """Rank a library's candidates by the geometric mean of their similarities to the given spectra.

        Args:
            library: Candidates embedded by this run.
            k: How many hits.
            map: ``gm-exp``, ``gm-half`` or ``gm-clamp``.
            mode: ``blind``, or ``library`` where the library holds spectra.
            mass: Exact mass in Da; a filter with `ppm` or `da`, and what towers with a mass anchor take.
            ppm: Half width of the mass window in ppm.
            da: Half width of the mass window in Da.
            formula: Sum formula that candidates must have.
            spectra: Files or measurements by modality; several of one modality count as one factor.

        Raises:
            QueryError: No spectrum was given, one cannot be used, or no candidate passes the filters.

        Example:
            ```python
            run = mc.load("runs/demo")
            hits = run.search(mc.Library("runs/demo-library"), ir="a.jdx", raman="b.csv", k=5)
            ```
        """
        if not spectra:
            raise QueryError(f"no spectrum was given; give one or more of {', '.join(_quoted(self.spectra))}")
        library.expect_run(self.id)
        anchors = {} if mass is None else {"exact_mass": mass}
        query = {}
        for name, given in spectra.items():
            if name == self.candidate:
                raise QueryError(
                    f"modality {name!r} is what is retrieved; give one or more of {', '.join(_quoted(self.spectra))}"
                )
            usable = self._usable(name, self.measurements(name, given))
            query[name] = pooled(torch.from_numpy(self.embed(name, usable, anchors=anchors)))
        window = mass if ppm is not None or da is not None or not self.graph.anchors else None
        return library.search(
            query,
            k=k,
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
        )

    def evaluate(
        self,
        data: DataSet | str | Path | None = None,
        *,
        pools: Sequence[str] = ("test", "all"),
        modes: Sequence[str] = MODES,
        maps: Sequence[str] = MAPS,
        split: str = "test",
        candidates_only: Run | None = None,
        seed: int = 0,
        out: Path | None = None,
        force: bool = False,
        progress: bool = False,
    ) -> Evaluation:
        """Measure the run on held-out molecules, beside the baselines that need no further training.

        Args:
            data: A data set; None: the one it was trained on.
            pools: ``test``, ``all``, ``isomers``, ``unseen:N``, ``mass:Xppm``.
            modes: ``blind`` and ``library``, never mixed.
            maps: Maps of the geometric mean.
            split: The split whose molecules are queries.
            candidates_only: A run of the same graph trained with ``train.candidates_only``.
            seed: Of the bootstrap and of the drawn mass errors.
            out: Folder for ``evaluation.json``, ``evaluation.csv`` and ``report.html``; None: nothing is written.
            force: Replace these files.
            progress: Show progress bars.
        """
        if out is not None:
            for name in ("evaluation.json", "evaluation.csv", "report.html"):
                check_output(out / name, force=force)
        dataset = self.data() if data is None else data if isinstance(data, DataSet) else DataSet(Path(data))
        embedded, indices = embed_dataset(self, dataset, progress=progress)
        baselines = baselines_of(self, dataset, embedded, indices, split=split, candidates_only=candidates_only)
        node = self.graph.modalities[self.candidate]
        settings = {
            "run": self.id[:12],
            "graph": hashlib.sha256(self.graph.to_yaml().encode()).hexdigest()[:12],
            "data": dataset.sha256[:12],
            "candidates": self.candidate,
            **{key: value for key, value in node.config.model_dump().items() if isinstance(value, (str, int))},
        }
        evaluation = evaluate(
            embedded,
            pools=pools,
            modes=modes,
            maps=maps,
            split=split,
            seed=seed,
            baselines=baselines,
            calibration=self.manifest.beta or None,
            settings=settings,
        )
        if out is not None:
            evaluation.save(out, force=force)
            from molchord.evaluate.report import write_report  # matplotlib is imported only where a report is written

            write_report(self, dataset, embedded, indices, evaluation, out / "report.html", split=split)
        return evaluation


def _quoted(names: Iterable[str]) -> list[str]:
    return [repr(name) for name in names]


def _manifest(trainer: Trainer) -> RunManifest:
    graph, code = trainer.graph, code_version()
    return RunManifest(
        molchord=code["version"] or "",
        commit=code["commit"],
        device=str(trainer.device),
        plugins=[
            PluginStamp(type=p.type, name=p.qualified, version=p.version, config_version=p.record.config_version)
            for p in graph.plugins()
        ],
        specs={name: {"kind": n.kind, "spec": dataclasses.asdict(n.spec)} for name, n in graph.modalities.items()},
        candidate=graph.candidate,
        data={"path": str(trainer.dataset.path.resolve()), "sha256": trainer.dataset.sha256},
        fitted=trainer.fitted,
        molecules=trainer.counts(),
    )
