"""All that a plugin author imports; each type of plugin has a module with its record and what `build` returns.

`record` holds what all records share, `declarations` what a modality declares, `batches` what encoders get, `config`
the base of configurations. Nothing here imports torch, numpy or rdkit at module level, so a plugin package that holds
only records stays light. Shapes: `b` molecules of a batch, `d` embedding size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

from molchord.api.batches import (
    GraphBatch,
    GraphSample,
    Measurement,
    Molecule,
    PeaksBatch,
    PeaksSample,
    Reading,
    SpectrumBatch,
    SpectrumSample,
    VectorBatch,
    VectorSample,
    collate_graphs,
    collate_peaks,
    collate_spectra,
    collate_vectors,
)
from molchord.api.cleaning import CleaningStep, Cleans
from molchord.api.config import Config, ModalityName
from molchord.api.declarations import (
    Array,
    Category,
    Column,
    GraphSpec,
    PeaksSpec,
    Real,
    Spec,
    SpectrumSpec,
    Stores,
    VectorSpec,
)
from molchord.api.encoder import Encoder, EncoderRecord
from molchord.api.explaining import Annotates, Explains, Trace, Traces, Window
from molchord.api.index import Index, IndexedRows, IndexedVectors, IndexRecord, Limits, Proposals, Proposer
from molchord.api.logger import Logger, LoggerRecord, Training
from molchord.api.loss import Featurizes, Loss, LossBatch, LossOutput, LossRecord, Tempered
from molchord.api.modality import (
    Compares,
    Derives,
    Fits,
    Inspects,
    Locates,
    Migrates,
    Modality,
    ModalityRecord,
    QualityWarning,
    StatedMass,
    StatesMass,
    Views,
)
from molchord.api.property import Property, PropertyRecord
from molchord.api.reading import ReadingOptions, ReadsTables
from molchord.api.reranker import Candidate, Reranker, RerankerRecord
from molchord.api.simulator import Batched, Portable, Simulator, SimulatorRecord
from molchord.deprecation import old_names
from molchord.errors import SampleError
from molchord.unpacking import open_unpacked, unpacked_limit

if not TYPE_CHECKING:
    __getattr__ = old_names("molchord.api")

__all__ = [
    "API_VERSION",
    "Annotates",
    "Array",
    "Batched",
    "Candidate",
    "Category",
    "CleaningStep",
    "Cleans",
    "Column",
    "Compares",
    "Config",
    "Derives",
    "Encoder",
    "EncoderRecord",
    "Explains",
    "Featurizes",
    "Fits",
    "GraphBatch",
    "GraphSample",
    "GraphSpec",
    "Index",
    "IndexRecord",
    "IndexedRows",
    "IndexedVectors",
    "Inspects",
    "Limits",
    "Locates",
    "Logger",
    "LoggerRecord",
    "Loss",
    "LossBatch",
    "LossOutput",
    "LossRecord",
    "Measurement",
    "Migrates",
    "Modality",
    "ModalityName",
    "ModalityRecord",
    "Molecule",
    "PeaksBatch",
    "PeaksSample",
    "PeaksSpec",
    "Portable",
    "Property",
    "PropertyRecord",
    "Proposals",
    "Proposer",
    "QualityWarning",
    "Reading",
    "ReadingOptions",
    "ReadsTables",
    "Real",
    "Reranker",
    "RerankerRecord",
    "SampleError",
    "Simulator",
    "SimulatorRecord",
    "Spec",
    "SpectrumBatch",
    "SpectrumSample",
    "SpectrumSpec",
    "StatedMass",
    "StatesMass",
    "Stores",
    "Tempered",
    "Trace",
    "Traces",
    "Training",
    "VectorBatch",
    "VectorSample",
    "VectorSpec",
    "Views",
    "Window",
    "collate_graphs",
    "collate_peaks",
    "collate_spectra",
    "collate_vectors",
    "hookimpl",
    "open_unpacked",
    "unpacked_limit",
]
API_VERSION = 1
"""The plugin API this release speaks; a record carries the literal number it was written for.

While the number stays, a plugin that works keeps working. Promised is all that `__all__` of `molchord.api` and
`molchord.testing` lists, and the hooks:

- no name goes, and none changes its meaning;
- functions and records only get arguments and fields that have defaults;
- batches and what else the engine hands out only get fields;
- no protocol gets a method or an argument: a new ability is a protocol of its own, which a plugin need not have.

What is to be removed first emits a `DeprecationWarning`, which states since when, until when, and what to use instead.
The conformance kit may become stricter in what it checks, never in what this page promises. A plugin written for
another number is named by `molchord plugins check` and left out; all others work.
"""

hookimpl = pluggy.HookimplMarker("molchord")
"""Marks the hooks of a plugin package."""
