"""A run: what a trained model can do. The Python face of molchord, and what the command line calls."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from molchord import graph as graphs
from molchord.api import Derives, Measurement, Modality, Molecule, Reading, SampleError
from molchord.checkpoint import (
    PluginStamp,
    RunManifest,
    check_output,
    load_into,
    read_manifest,
    read_weights,
    write_manifest,
)
from molchord.data.loader import to_device
from molchord.data.store import DataSet
from molchord.errors import MolchordError, QueryError, RunError, TrainingStopped, did_you_mean
from molchord.graph import ModelGraph
from molchord.host import installed
from molchord.model import Model, build_modalities
from molchord.train import Trainer, choose_device, temperatures

Given: TypeAlias = "str | Path | Measurement | Sequence[str | Path | Measurement]"
"""What can be embedded: a file, a measurement, several of them; SMILES for a modality made from the molecule."""

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
        versions = {name: stamp.config_version for name, stamp in manifest.plugins.items()}
        _check_plugins(path, manifest)
        graph = graphs.load(path / "graph.yaml", versions=versions)
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
        out: str | Path,
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
            out: The run folder to make.
            device: "cpu", "cuda", ...; None: a GPU where there is one.
            force: Replace an existing folder.
            progress: Show progress bars.
            start: A run whose weights and fitted states to start from.

        Raises:
            OutputExistsError: `out` exists and `force` is not set.
            TrainingStopped: Ctrl-C; the state is saved, `resume` goes on.
            MolchordError: Whatever is wrong with graph or data, in one sentence.
        """
        graph = graph if isinstance(graph, ModelGraph) else graphs.load(Path(graph))
        dataset = data if isinstance(data, DataSet) else DataSet(Path(data))
        path = Path(out)
        check_output(path, force=force)
        fitted = None if start is None else start.manifest.fitted
        trainer = Trainer(graph, dataset, device=device, fitted=fitted, progress=progress)
        trainer.start_from(None if start is None else start.model.state_dict())
        if path.exists():
            shutil.rmtree(path)
        path.mkdir(parents=True)
        (path / "graph.yaml").write_text(graph.to_yaml())
        write_manifest(path, _manifest(trainer))
        return cls._finish(trainer, path)

    @classmethod
    def resume(cls, path: str | Path, *, device: str | None = None, progress: bool = True) -> Run:
        """Go on with a training exactly where it stopped; a finished one is loaded.

        Raises:
            RunError: There is no checkpoint, or the data set has changed since.
        """
        path = Path(path)
        manifest = read_manifest(path)
        _check_plugins(path, manifest)
        graph = graphs.load(path / "graph.yaml")
        dataset = _training_data(path, manifest)
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
            lines = ["modality,id,reason", *(",".join(f'"{cell}"' for cell in row) for row in state.absent)]
            (path / "absent.csv").write_text("\n".join(lines) + "\n")
        trainer.model.load_state_dict(read_weights(path / "model.safetensors")[0])
        manifest.tau = temperatures(trainer.model, trainer.graph)
        write_manifest(path, manifest)
        return cls(path, trainer.graph, trainer.model.eval(), trainer.modalities, manifest, trainer.device)

    def realign(
        self,
        data: DataSet | str | Path,
        out: str | Path,
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
        graph = self.graph.with_train(train)
        return Run.train(graph, data, out, device=str(self.device), force=force, progress=progress, start=self)

    # --- what it knows

    @property
    def candidate(self) -> str:
        """Name of the modality that is retrieved."""
        if self.graph.candidate is None:
            raise RunError(f"run {str(self.path)!r} has no candidate modality, so nothing can be retrieved with it")
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
        return _training_data(self.path, self.manifest)

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
        plugin = self.modalities[modality]
        items = [given] if isinstance(given, (str, Path, Measurement)) else list(given)
        out: list[Measurement] = []
        for item in items:
            if isinstance(item, Measurement):
                out.append(item)
            elif isinstance(plugin, Derives) and not Path(item).is_file():
                out.append(_derived(plugin, str(item)))
            else:
                out += _read(plugin, Path(item), modality)
        if not out:
            raise QueryError(f"no measurement of {modality!r} was given; give a file, a `Measurement` or a list of them")
        return out

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
        batch = to_device(plugin.collate(samples), self.device)
        raw = self.model.embed(modality, batch, torch.from_numpy(anchors).to(self.device))
        return functional.normalize(raw, dim=1)


def _derived(plugin: Derives, smiles: str) -> Measurement:
    from molchord.chemistry import molecule

    try:
        return plugin.derive(molecule(smiles))
    except SampleError as error:
        raise QueryError(f"molecule {smiles!r} cannot be embedded ({error.reason}); check the SMILES") from error


def _read(plugin: Modality, path: Path, modality: str) -> list[Measurement]:
    if not path.is_file():
        raise QueryError(f"file {str(path)!r} for {modality!r} does not exist; give the path of a spectrum file")
    try:
        entries = list(plugin.read(path))
    except SampleError as error:
        raise QueryError(f"file {str(path)!r} cannot be read as {modality!r} ({error.reason}); see `molchord plugins list`") from error
    good = [entry.measurement for entry in entries if isinstance(entry, Reading)]
    if not good:
        reasons = "; ".join(entry.reason for entry in islice((e for e in entries if isinstance(e, SampleError)), 3))
        raise QueryError(f"file {str(path)!r} holds no usable {modality!r} measurement ({reasons or 'it is empty'}); give another file")
    return good


def _check_plugins(path: Path, manifest: RunManifest) -> None:
    """Say which package a run lacks before anything is loaded."""
    host = installed()
    for name, stamp in manifest.plugins.items():
        distribution = name.partition(":")[0]
        if any(plugin.qualified == name and plugin.type == stamp.type for plugin in host.plugins):
            continue
        failed = [str(problem) for problem in host.problems if problem.dist == distribution]
        if failed:
            raise RunError(f"run {str(path)!r} needs {stamp.type} {name!r}, but {failed[0]}")
        raise RunError(
            f"run {str(path)!r} needs {stamp.type} {name.partition(':')[2]!r} of {distribution} {stamp.version}, which is "
            f"not installed; run 'pip install {distribution}'"
        )


def _manifest(trainer: Trainer) -> RunManifest:
    graph = trainer.graph
    used: dict[str, PluginStamp] = {}
    host = installed()

    def stamp(kind: str, name: str) -> None:
        plugin = host.find(kind, name)
        used[plugin.qualified] = PluginStamp(
            type=kind, version=plugin.version, config_version=plugin.record.config_version
        )

    for node in graph.modalities.values():
        stamp("modality", node.use)
        stamp("encoder", node.encoder.use)
    stamp("loss", graph.loss.use)
    return RunManifest(
        molchord=version("molchord"),
        commit=commit(),
        device=str(trainer.device),
        plugins=used,
        specs={name: {"kind": n.kind, "spec": dataclasses.asdict(n.spec)} for name, n in graph.modalities.items()},
        data={"path": str(trainer.dataset.path.resolve()), "sha256": _digest(trainer.dataset.path)},
        fitted=trainer.fitted,
        molecules=trainer.counts(),
    )


def _training_data(path: Path, manifest: RunManifest) -> DataSet:
    folder = Path(manifest.data["path"])
    try:
        dataset = DataSet(folder)
    except MolchordError as error:
        raise RunError(f"run {str(path)!r} was trained on a data set that cannot be opened: {error}") from error
    if _digest(folder) != manifest.data["sha256"]:
        raise RunError(f"data set {str(folder)!r} has changed since run {str(path)!r} was trained; pass the data set explicitly")
    return dataset


def _digest(dataset: Path) -> str:
    return hashlib.sha256((dataset / "manifest.json").read_bytes()).hexdigest()


def commit() -> str | None:
    """Return the commit of the working tree this package lies in, with ``+`` where it has changes; None outside one."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            capture_output=True, text=True, check=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
