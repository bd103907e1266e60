"""Libraries whose candidates have reference spectra of their own, which permit library mode."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from molchord.api import SampleError
from molchord.data.reading import MoleculeSource
from molchord.data.store import DataSet
from molchord.embedder import Embedder
from molchord.errors import DataError
from molchord.evaluate.embedding import embed_dataset
from molchord.files import write_csv
from molchord.library.files import Entry
from molchord.library.library import Library
from molchord.retrieval.scores import pooled_by
from molchord.vocabulary import FAILURES, Storage

__all__ = ["spectral_entries", "spectral_library"]


def spectral_library(
    embedder: Embedder,
    source: MoleculeSource,
    out: str | Path | None,
    *,
    run: str,
    storage: Storage,
    engine: str,
    force: bool,
) -> Library:
    """Embed a data set's molecules with their own spectra; molecules that cannot be embedded are listed.

    Args:
        embedder: The model that embeds.
        source: The data set of the molecules and their spectra.
        out: Folder to make; None: a temporary one.
        run: Identity of the run, which the library keeps.
        storage: What a search scans, as `Library.create` has it.
        engine: "local", the only one that embeds spectra.
        force: Replace an existing folder.

    Raises:
        DataError: The source is not a data set, or has a measurement of none of the model's modalities; another engine.
        OutputExistsError: `out` exists and `force` is not set.
    """
    if not isinstance(source, DataSet) and not (isinstance(source, (str, Path)) and Path(source).is_dir()):
        raise DataError("`spectra` needs a data set as the source; SMILES alone carry no spectra")
    if engine != "local":
        raise DataError(f"`spectra` is embedded by engine 'local' alone, got {engine!r}; leave the engine out")
    failures: list[SampleError] = []
    library = Library.create(
        out,
        spectral_entries(embedder, DataSet.opened(source), failures=failures),
        run=run,
        candidate=embedder.candidate,
        embedding_dim=embedder.graph.embedding_dim,
        spectra=embedder.spectra,
        storage=storage,
        force=force,
    )
    if failures:
        write_csv(library.path / FAILURES, ("molecule", "reason"), ((f.id, f.reason) for f in failures))
    return library


def spectral_entries(embedder: Embedder, dataset: DataSet, *, failures: list[SampleError]) -> Iterator[Entry]:
    """Embed a data set's molecules with their own spectra, several of a modality pooled.

    Molecules without a candidate vector go to `failures`; spectra that cannot be used are warned of.
    """
    found = embed_dataset(embedder, dataset)
    embedded = found.embedded
    reasons = {key: reason for name, key, reason in found.unusable if name == embedder.candidate}
    for sentence in dataclasses.replace(
        found, unusable=tuple(entry for entry in found.unusable if entry[0] != embedder.candidate)
    ).notes():
        warnings.warn(sentence, stacklevel=2)
    pooled = {
        name: pooled_by(part.vectors, torch.from_numpy(part.molecule), len(dataset))
        for name, part in embedded.spectra.items()
    }
    for row, item in enumerate(dataset.molecules()):
        if embedded.present[row]:
            spectra = {name: vectors[row].numpy() for name, (vectors, has) in pooled.items() if has[row]}
            yield Entry(molecule=item, vector=embedded.candidates[row].numpy(), spectra=spectra)
        else:
            none = f"it has no measurement of {embedder.candidate!r}"
            failures.append(SampleError(item.key14, reasons.get(item.key14, none)))
