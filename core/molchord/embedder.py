"""A trained model in use: measurements become unit vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from molchord.api import Measurement, Modality, ReadingOptions, SampleError, Views
from molchord.data.reading import Given, files_of, measurements_of, ruled_out
from molchord.data.spectrum_files import refuse_other
from molchord.device import choose_device, out_of_memory, to_device
from molchord.errors import QueryError, RunError, did_you_mean
from molchord.graph.resolve import ModelGraph
from molchord.model import Model, build_modalities
from molchord.run_folder import RunManifest, load_into, read_run_manifest, read_weights, saved_graph

__all__ = ["EMBEDDED_AT_ONCE", "Embedder"]

EMBEDDED_AT_ONCE = 256
"""Measurements that are embedded at a time, always the same ones together, so that vectors are the same."""


@final
@dataclass(frozen=True, kw_only=True)
class Embedder:
    """A model with the modalities that it was trained on.

    Attributes:
        path: The run folder that it comes from, where other processes can load it.
        graph: The resolved model graph.
        model: The model, in evaluation mode.
        modalities: What each modality plugin built.
        tau: Temperature of each spectrum against the candidate.
        device: Where the model is.
    """

    path: Path
    graph: ModelGraph
    model: Model
    modalities: Mapping[str, Modality]
    tau: Mapping[str, float]
    device: torch.device

    @classmethod
    def load(cls, path: Path, *, device: str | None = None, manifest: RunManifest | None = None) -> Embedder:
        """Load the model of a run folder; plugins are found by name, and no code comes from the folder.

        Args:
            path: The run folder.
            device: "cpu", "cuda", ...; None: a GPU where there is one.
            manifest: The folder's manifest, where it has been read already.

        Raises:
            RunError: The folder is not a run, is damaged, has no weights yet, or is of another format.
            GraphError: A configuration no longer validates.
        """
        manifest = read_run_manifest(path) if manifest is None else manifest
        graph = saved_graph(path, manifest)
        modalities = build_modalities(graph, manifest.fitted)
        model = Model(graph, modalities)
        if not (path / "model.safetensors").is_file():
            raise RunError(f"run {str(path)!r} has no weights yet; finish it with `molchord train --resume {path}`")
        load_into(model, read_weights(path / "model.safetensors")[0], f"run {str(path)!r}")
        chosen = choose_device(device)
        # An unfinished training has not written its temperatures yet.
        tau = manifest.tau or model.temperatures()
        return cls(path=path, graph=graph, model=model.to(chosen).eval(), modalities=modalities, tau=tau, device=chosen)

    @property
    def candidate(self) -> str:
        """Name of the modality that is retrieved."""
        return self.graph.candidate

    @property
    def spectra(self) -> tuple[str, ...]:
        """Names of the modalities that can be a query."""
        return self.graph.spectra

    def measurements(
        self,
        modality: str,
        given: Given,
        *,
        of_one: bool = False,
        same_sample: bool = False,
        options: ReadingOptions | None = None,
    ) -> list[Measurement]:
        """Read what a user gives as measurements of one modality; options are for files that do not say all.

        With `of_one`, where some are such as the graph's ``where`` chooses, the others are left out: a file may hold
        lists of 13C and of 1H.

        Raises:
            QueryError: The graph lacks the modality, a file cannot be read or names itself as another modality, or
                with `of_one` and without `same_sample` what is given states that it is of several molecules.
        """
        if modality not in self.graph.modalities:
            raise QueryError(
                f"run {str(self.path)!r} has no modality {modality!r}; {did_you_mean(modality, self.graph.modalities)}"
            )
        node = self.graph.modalities[modality]
        for file in files_of(given):
            refuse_other(file, modality, self.modalities)
        stores = node.record.stores
        found = measurements_of(
            self.modalities[modality],
            given,
            modality,
            stores,
            of_one=of_one,
            same_sample=same_sample,
            options=options,
        )
        chosen = [one for one in found if ruled_out(one, node.where) is None] if of_one else found
        return chosen or found

    def embed(
        self, modality: str, measurements: Sequence[Measurement], scalar_features: Mapping[str, float] | None = None
    ) -> Float[Tensor, "n d"]:
        """Embed measurements of one modality, `EMBEDDED_AT_ONCE` at a time.

        Args:
            modality: Name in the graph.
            measurements: Any number of them.
            scalar_features: Known numbers by name; a measurement's own metadata are used where one is not given.

        Raises:
            QueryError: A measurement cannot be used.
            RunError: Memory is too small for one measurement.
        """
        rows = [torch.zeros(0, self.graph.embedding_dim)]
        for start in range(0, len(measurements), EMBEDDED_AT_ONCE):
            chunk = measurements[start : start + EMBEDDED_AT_ONCE]
            try:
                samples = [self.modalities[modality].transform(measurement, None) for measurement in chunk]
            except SampleError as error:
                raise QueryError(f"a measurement of {modality!r} cannot be used ({error}); give another one") from error
            rows.append(self.embed_samples(modality, samples, self.scalar_table(chunk, scalar_features)).cpu())
        return torch.cat(rows)

    def scalar_table(
        self, measurements: Sequence[Measurement], scalar_features: Mapping[str, float] | None = None
    ) -> Float[NDArray[np.float32], "n a"]:
        """Return what is known of each of the graph's scalar features, NaN where nothing is; otherwise as `embed`."""
        table = np.full((len(measurements), len(self.graph.scalar_features)), np.nan, dtype=np.float32)
        for column, name in enumerate(self.graph.scalar_features):
            known = [(scalar_features or {}).get(name, m.columns.get(name)) for m in measurements]
            table[:, column] = [np.nan if value is None else float(value) for value in known]
        return table

    @torch.no_grad()
    def embed_samples(
        self, modality: str, samples: Sequence[Any], scalar_features: NDArray[np.float32]
    ) -> Float[Tensor, "n d"]:
        """Embed transformed measurements of one modality as unit rows on the device.

        Where memory is too small for all of them at once, they are embedded in halves.

        Args:
            modality: Name in the graph.
            samples: What its `transform` made, at least one.
            scalar_features: Known numbers (n, a) in the order of the graph's scalar features, NaN where unknown.

        Raises:
            RunError: Memory is too small for one.
        """
        plugin = self.modalities[modality]
        views = [plugin.views(sample) if isinstance(plugin, Views) else [sample] for sample in samples]
        of = np.repeat(np.arange(len(samples)), list(map(len, views)))
        try:
            batch = to_device(plugin.collate([view for several in views for view in several]), self.device)
            raw = self.model.embed(modality, batch, torch.from_numpy(scalar_features[of]).to(self.device))
            rows = functional.normalize(raw, dim=1)
            if len(rows) == len(samples):
                return rows
            sums = rows.new_zeros(len(samples), rows.shape[1])
            return functional.normalize(sums.index_add_(0, torch.from_numpy(of).to(self.device), rows), dim=1)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            if len(samples) == 1:
                raise RunError(
                    f"there is no memory on {str(self.device)!r} to embed one measurement of {modality!r}; close other "
                    "programs, or embed on another device"
                ) from error
        middle = len(samples) // 2  # after the failed attempt has released its memory
        halves = (slice(middle), slice(middle, None))
        return torch.cat([self.embed_samples(modality, samples[half], scalar_features[half]) for half in halves])
