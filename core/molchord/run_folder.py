"""The run folder: graph, weights, manifest, and the training state for an exact resume. Nothing is pickled.

Layout: ``graph.yaml`` (resolved), ``model.safetensors`` (best weights), ``manifest.json``, ``metrics.jsonl``,
``background.safetensors``, ``channels.safetensors``, ``properties.json``, ``checkpoints/last.safetensors``,
``trained_on.txt`` (key14 and SMILES it was trained on).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import warnings
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, model_validator
from safetensors import SafetensorError, safe_open
from torch import Tensor

from molchord.absence import Absence
from molchord.agreement import Agreement
from molchord.checksums import (
    FileEntry,
    check_header,
    check_seal,
    expect_file,
    fault_of_file,
    sealed,
    unsealed,
    write_sealed_tensors,
)
from molchord.data.store import DataSet
from molchord.domain import Domain
from molchord.eight_bits import unpacked
from molchord.errors import MolchordError, OutputExistsError, RunError
from molchord.files import replace_file
from molchord.graph.resolve import ModelGraph
from molchord.host import installed
from molchord.reference_weights import ReferenceWeights
from molchord.run_place import RUN_FORMAT, find_run, refuse_format
from molchord.vocabulary import Origin


class PluginStamp(BaseModel):
    """Which plugin, of which distribution and version, a run was trained with."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    type: str
    name: str
    version: str
    config_version: int


class RunManifest(BaseModel):
    """What a run folder states about itself.

    Attributes:
        format: Version of the folder's format.
        molchord: Version that trained it.
        commit: Commit of the working tree that trained it, where there was one.
        plugins: Stamp of every plugin, named ``dist:name``.
        specs: Kind and spec of every modality, as the encoder got them.
        candidate: The modality that is retrieved.
        data: Folder of the training data, the sha256 of its manifest, and the split rule it was opened with, if any.
        fitted: State of the modalities that were fitted on the training set.
        molecules: Training molecules, and how many have each modality and pair.
        best: Epoch and metric of the saved weights.
        tau: Temperature of each spectrum against the candidate: fitted on validation queries, or else the loss's own.
        beta: Confidence factor for each number of spectra, fitted on validation queries.
        likeness: By subset of spectra, the lowest mean cosines of validation queries with their molecule, with shares.
        calibrated_on: "measured" or "computed" by spectrum: what most of the validation queries were.
        absence: What the probability of "none of these" is judged by, by the query's modalities joined by " + ".
        agreement: How near the spectra of one molecule are to each other.
        references: By their origin and the query's modalities, how much references count beside the structure.
        domain: By spectrum, what the molecules are made of that it was learned from, in this run and its sources.
        files: Size and checksum of the files that do not hold their own.
    """

    model_config = ConfigDict(extra="forbid")
    format: int = RUN_FORMAT
    molchord: str
    commit: str | None = None
    device: str
    plugins: list[PluginStamp]
    specs: dict[str, dict[str, Any]]
    candidate: str
    data: dict[str, str]
    fitted: dict[str, dict[str, Any]] = {}
    molecules: dict[str, int] = {}
    best: dict[str, float] = {}
    tau: dict[str, float] = {}
    beta: dict[int, float] = {}
    likeness: dict[str, list[tuple[float, float]]] = {}
    calibrated_on: dict[str, str] = {}
    absence: dict[str, Absence] = {}
    agreement: Agreement = Agreement()
    references: dict[Origin, dict[str, ReferenceWeights]] = {}
    domain: dict[str, Domain] = {}
    files: dict[str, FileEntry] = {}

    @model_validator(mode="before")
    @classmethod
    def _without_what_was(cls, said: Any) -> Any:
        """Leave out fields of earlier versions, which `Run.calibrate` replaces."""
        if not isinstance(said, dict):
            return said
        return {key: value for key, value in said.items() if key not in ("pool", "familiar", "trust")}


def check_output(path: Path, *, force: bool) -> None:
    """Refuse an output folder that already exists, unless `force`.

    Raises:
        OutputExistsError: `path` exists and `force` is not set.
    """
    if path.exists() and not force:
        raise OutputExistsError(path)


def check_run_output(path: Path, inputs: Iterable[tuple[str, Path]], *, force: bool) -> None:
    """Refuse an output folder for a run that would replace, hold or be inside what the run is made of.

    Args:
        path: Where the run is to be.
        inputs: What must stay, each with what it is, such as ``("data set", folder)``.
        force: Replace an existing run; nothing else is ever replaced.

    Raises:
        OutputExistsError: `path` exists and `force` is not set.
        RunError: `path` overlaps an input, or holds something else than a run.
    """
    check_output(path, force=force)
    here = path.resolve()
    for what, folder in inputs:
        there = folder.resolve()
        if here == there or here in there.parents or there in here.parents:
            raise RunError(f"output {str(path)!r} overlaps the {what} {str(folder)!r}; choose another folder")
    if not path.exists() or (path.is_dir() and not path.is_symlink() and not any(path.iterdir())):
        return
    if path.is_symlink():
        raise RunError(f"output {str(path)!r} is a symbolic link and is not replaced; choose another folder")
    try:
        read_run_manifest(path)
    except RunError as error:
        raise RunError(f"output {str(path)!r} is not replaced, because it is not a run: {error}") from error


def write_run_manifest(run: Path, manifest: RunManifest) -> None:
    """Write a run's manifest in one step."""
    replace_file(run / "manifest.json", sealed(manifest.model_dump_json(indent=2)))


def read_run_manifest(run: Path) -> RunManifest:
    """Read a run's manifest.

    Raises:
        RunError: It does not exist, is damaged, or of another format version.
    """
    path = run / "manifest.json"
    if not path.is_file():
        lack = "has no manifest.json" if run.exists() else "does not exist"
        raise RunError(f"run {str(run)!r} {lack}; give a folder that `molchord train` wrote, or 'pretrained'")
    try:
        content = path.read_bytes()
        found = json.loads(content)
        if found.get("format") != RUN_FORMAT:
            refuse_format(run, found.get("format"))
        return RunManifest.model_validate(json.loads(unsealed(content)))
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise RunError(
            f"run {str(run)!r} has a damaged manifest.json ({_first_line(error)}); train it again"
        ) from error


def check_run_file(run: Path, name: str) -> None:
    """Refuse a file of a run that differs from its checksum in the manifest, where that has one.

    Raises:
        RunError: It differs, or the manifest cannot be read.
    """
    if (run / "manifest.json").is_file():
        expect_file(run / name, read_run_manifest(run).files.get(name), RunError, "restore it, or train the run again")


def write_trained_on(run: Path, smiles: Mapping[str, str]) -> None:
    """Write the molecules a run is trained on, those of the runs that its weights come from included.

    Args:
        run: Folder of the run.
        smiles: SMILES by key14; empty where it is not known.
    """
    lines = (f"{key} {smiles[key]}".rstrip() for key in sorted(smiles))
    replace_file(run / "trained_on.txt", "".join(f"{line}\n" for line in lines))


def read_trained_on(run: Path) -> set[str]:
    """Read the key14 of every molecule that a run has been trained on; raises as `trained_smiles`."""
    return set(trained_smiles(run))


def trained_smiles(run: Path) -> dict[str, str]:
    """Read the molecules that a run has been trained on: SMILES by key14, empty where the list has the key alone.

    Raises:
        RunError: The list is missing, so no metric of the run would be reliable.
    """
    try:
        check_run_file(run, "trained_on.txt")
        lines = (run / "trained_on.txt").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise RunError(f"run {str(run)!r} has no trained_on.txt; restore it, or train the run again") from error
    except (OSError, UnicodeDecodeError) as error:
        what = f"trained_on.txt of run {str(run)!r} cannot be read ({_first_line(error)})"
        raise RunError(f"{what}; restore it, or train the run again") from error
    parts = (line.partition(" ") for line in lines if line)
    return {key: smiles for key, _, smiles in parts}


def write_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors of any device and layout as safetensors; see `write_tensors`."""
    # Tensors that share memory (views, tied weights) are refused by safetensors, hence the copies.
    whole = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    write_sealed_tensors(path, whole, metadata)


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and metadata of a safetensors file.

    Raises:
        RunError: The file is missing or damaged.
    """
    try:
        check_header(path)
        if (fault := check_seal(path)) is not None:
            raise OSError(f"it {fault}")
        with safe_open(path, framework="pt") as file:
            tensors = {_today(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = {name: text for name, text in (file.metadata() or {}).items() if name != "checksum"}
            return unpacked(tensors), metadata
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"weights {str(path)!r} cannot be read ({_first_line(error)}); train or copy the run again"
        ) from error


def load_into(model: torch.nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Load a whole state dict, refusing missing, unexpected and misshapen tensors in one sentence.

    Raises:
        RunError: The tensors do not fit the model.
    """
    try:
        model.load_state_dict(dict(tensors), strict=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
        raise RunError(f"{what} does not fit the model graph: {lines[0]}; use the graph it was trained with") from error


def initialise(model: torch.nn.Module, sources: Mapping[str, str]) -> None:
    """Take parts from other runs.

    Args:
        model: The model to fill.
        sources: ``{PART: "RUN#PART"}``, dotted paths of the graph.

    Raises:
        RunError: A run or part is missing, or its shapes differ.
    """
    own = model.state_dict()
    for part, source in sources.items():
        folder, _, other = source.partition("#")
        tensors, _ = read_weights(find_run(folder) / "model.safetensors")
        taken = {part + name[len(other) :]: t for name, t in tensors.items() if name.startswith(other + ".")}
        wanted = {name for name in own if name.startswith(part + ".")}
        if not taken:
            raise RunError(f"`train.init` of {part!r}: run {folder!r} has no part {other!r}; see its graph.yaml")
        wrong = sorted(
            name
            for name in wanted | set(taken)
            if name not in own or name not in taken or own[name].shape != taken[name].shape
        )
        if wrong:
            raise RunError(
                f"`train.init` of {part!r}: {source!r} differs in {wrong[0]!r}; give both parts the same configuration"
            )
        own.update(taken)
    model.load_state_dict(own)


def taken_towers(sources: Mapping[str, str]) -> Iterator[tuple[str, RunManifest, str]]:
    """Yield the own modality, the run and its modality of each tower or encoder taken; `sources` as in `initialise`."""
    for part, source in sources.items():
        folder, _, other = source.partition("#")
        ends = [path.split(".") for path in (part, other)]
        if all(end[0] == "modalities" and len(end) > 1 and end[2:] in ([], ["encoder"]) for end in ends):
            yield ends[0][1], read_run_manifest(find_run(folder)), ends[1][1]


def taken_states(sources: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return, by modality, the fitted state of the run that its encoder is taken from, where that has one."""
    return {own: run.fitted[other] for own, run, other in taken_towers(sources) if other in run.fitted}


def taken_scalar_features(graph: ModelGraph, sources: Mapping[str, str]) -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation of the scalar features of heads that are taken from other runs.

    Raises:
        RunError: Two heads were trained with one scalar feature scaled differently, so that one would misread it.
    """
    out: dict[str, tuple[float, float]] = {}
    for part, source in sources.items():
        names = part.split(".")
        if (
            names[0] != "modalities"
            or names[2:] not in ([], ["head"])
            or not graph.modalities[names[1]].scalar_features
        ):
            continue
        folder = find_run(source.partition("#")[0])
        theirs = saved_graph(folder, read_run_manifest(folder)).scalar_features
        tensors, _ = read_weights(folder / "model.safetensors")
        for feature in (a for a in graph.modalities[names[1]].scalar_features if a in theirs):
            column = theirs.index(feature)
            scaling = float(tensors["scalar_mean"][column]), float(tensors["scalar_std"][column])
            if out.setdefault(feature, scaling) != scaling:
                raise RunError(
                    f"`train.init` of {part!r}: scalar feature {feature!r} has mean and deviation {scaling} there, but "
                    f"another part was trained with {out[feature]}; take parts with this feature from one run"
                )
    return out


def saved_graph(path: Path, manifest: RunManifest) -> ModelGraph:
    """Load a run's graph, saying first which package it lacks; a plugin of another version is warned of.

    Raises:
        RunError: A plugin that the run needs is not installed, or the graph is not the one that was trained.
        GraphError: A configuration no longer validates.
    """
    entry = manifest.files.get("graph.yaml")
    if entry is not None and (fault := fault_of_file(path / "graph.yaml", entry)) is not None:
        raise RunError(
            f"graph.yaml of run {str(path)!r} is not the one that it was trained with (it {fault}); restore it, or "
            f"take it as it is with `molchord train --resume {path} --accept-graph`"
        )
    host = installed()
    found = {(plugin.type, plugin.qualified): plugin.version for plugin in host.plugins}
    for stamp in manifest.plugins:
        version = found.get((stamp.type, stamp.name))
        if version is not None:
            if version != stamp.version:
                warnings.warn(
                    f"run {str(path)!r} was trained with {stamp.type} {stamp.name!r} of version {stamp.version}, "
                    f"installed is {version}; its results may differ",
                    stacklevel=3,
                )
            continue
        distribution, _, name = stamp.name.partition(":")
        failed = [str(problem) for problem in host.problems if problem.dist == distribution]
        if failed:
            raise RunError(f"run {str(path)!r} needs {stamp.type} {name!r}, but {failed[0]}")
        raise RunError(
            f"run {str(path)!r} needs {stamp.type} {name!r} of {distribution} {stamp.version}, which is "
            f"not installed; run 'pip install {distribution}'"
        )
    versions: dict[str, dict[str, int]] = {}
    for stamp in manifest.plugins:
        versions.setdefault(stamp.type, {})[stamp.name] = stamp.config_version
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # what a run was saved with is not the user's to change
        return ModelGraph.load(path / "graph.yaml", versions=versions)


def run_id(path: Path) -> str:
    """Return the digest of a run's graph and weights; a library knows by it which run embedded it."""
    digest = hashlib.sha256()
    for name in ("graph.yaml", "model.safetensors"):
        digest.update((path / name).read_bytes())
    return digest.hexdigest()


def training_data(path: Path, manifest: RunManifest) -> DataSet:
    """Open the data set that a run was trained on.

    Raises:
        RunError: It is no longer there, or it has changed.
    """
    folder = Path(manifest.data["path"])
    try:
        dataset = DataSet(folder, split=manifest.data.get("split"))
    except MolchordError as error:
        raise RunError(f"run {str(path)!r} was trained on a data set that cannot be opened: {error}") from error
    if dataset.sha256 != manifest.data["sha256"]:
        raise RunError(
            f"data set {str(folder)!r} has changed since run {str(path)!r} was trained; pass the data set explicitly"
        )
    return dataset


def code_version() -> dict[str, str | None]:
    """Return the installed version, and the git commit where the package is used from its own checkout."""
    here, git = Path(__file__).resolve(), shutil.which("git")
    commit = None
    if git is not None:
        tracked = [git, "-C", str(here.parent), "ls-files", "--error-unmatch", here.name]
        if subprocess.run(tracked, capture_output=True, check=False).returncode == 0:
            head = [git, "-C", str(here.parent), "rev-parse", "HEAD"]
            commit = subprocess.run(head, capture_output=True, check=False, text=True).stdout.strip() or None
    return {"version": installed_version("molchord"), "commit": commit}


def _today(name: str) -> str:
    """Return the name of a tensor today; molchord 0.1 called the scaling of scalar features that of anchors."""
    return name.replace("anchor_mean", "scalar_mean").replace("anchor_std", "scalar_std")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
