"""All that a plugin author imports: records, declarations, protocols, batches and their collates.

Nothing here imports torch, numpy or rdkit at module level, so a plugin package that holds only records stays light.
Shapes: `b` molecules of a batch, `d` embedding size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

import pluggy
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo

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
from molchord.deprecation import old_names
from molchord.errors import SampleError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor
else:
    __getattr__ = old_names("molchord.api")

__all__ = [
    "API_VERSION",
    "Array",
    "Candidate",
    "Category",
    "Column",
    "Compares",
    "Config",
    "Derives",
    "Doubt",
    "Encoder",
    "EncoderRecord",
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
    "Proposals",
    "Proposer",
    "Reading",
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
    "Stores",
    "Tempered",
    "Training",
    "VectorBatch",
    "VectorSample",
    "VectorSpec",
    "collate_graphs",
    "collate_peaks",
    "collate_spectra",
    "collate_vectors",
    "hookimpl",
]
API_VERSION = 1
"""The plugin API this release speaks; a record carries the literal number it was written for.

While the number stays, a plugin that works goes on working. Promised is all that stands in `__all__` of `molchord.api`
and `molchord.testing`, and the hooks:

- no name goes, and none changes its meaning;
- functions and records only get arguments and fields that have defaults;
- batches and what else the engine hands out only get fields;
- no protocol gets a method or an argument: a new ability is a protocol of its own, which a plugin need not have.

What is to go is served with a `DeprecationWarning` first, which says since when, until when, and what to use instead.
The conformance kit may become stricter in what it checks, never in what this page promises. A plugin written for
another number is named by `molchord plugins check` and left out; all others work.
"""

hookimpl = pluggy.HookimplMarker("molchord")

# --- configuration ---------------------------------------------------------------------------------------------------


class Config(BaseModel):
    """Base of every plugin's configuration: frozen, and an unknown key is an error.

    Every field needs a default, since import reads files with the default configuration.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)  # listing plugins needs no validators


def _in_graph(name: str, info: ValidationInfo) -> str:
    modalities = (info.context or {}).get("modalities")
    if modalities is not None and name not in modalities:
        raise ValueError(f"unknown modality {name!r} in this graph; {did_you_mean(name, modalities)}")
    return name


ModalityName = Annotated[str, AfterValidator(_in_graph)]
"""A config field of this type must name a modality of the model graph it stands in."""


# --- what `build` returns --------------------------------------------------------------------------------------------


class Modality(Protocol):
    """Reads measurements and turns them into batches of one kind."""

    def can_read(self, path: Path) -> bool:
        """Say whether this file names itself as one of this modality (array names, data type, header)."""
        ...

    def read(self, path: Path) -> Iterator[Reading | SampleError]:
        """Yield every entry of a file; one bad entry is yielded as a `SampleError`, and the next ones go on.

        Raises:
            SampleError: The file as a whole cannot be read.
        """
        ...

    def transform(self, measurement: Measurement, rng: np.random.Generator | None) -> Any:
        """Make one sample, in a worker; `rng` None means deterministic.

        Raises:
            SampleError: This measurement cannot be used.
        """
        ...

    def collate(self, samples: Sequence[Any]) -> Any:
        """Make a batch (any dataclass of tensors) from the samples of the molecules that have this modality."""
        ...

    def prepare(self, batch: Any, generator: torch.Generator | None) -> Any:
        """Finish the batch on the device (broadening, augmentation) as the kind's batch; always called."""
        ...

    def example(self, molecules: Sequence[Molecule], seed: int) -> list[Measurement]:
        """Make one synthetic measurement a molecule, alike for like molecules."""
        ...


@runtime_checkable
class Derives(Protocol):
    """A modality that can be made from the molecule alone; only such a one can be the candidate."""

    def derive(self, molecule: Molecule) -> Measurement:
        """Make the measurement; raises `SampleError` where it cannot be made."""
        ...


@runtime_checkable
class Compares(Protocol):
    """A modality with a similarity of its own, printed as its baseline."""

    def similarity(self, query: Measurement, references: Sequence[Measurement]) -> NDArray[np.floating[Any]]:
        """Return one similarity a reference, higher is more alike, shape (references,)."""
        ...


@dataclass(frozen=True)
class Doubt:
    """What makes the answer to a measurement doubtful.

    Attributes:
        message: What is wrong, as the rest of a sentence whose subject is the measurement: ``"it covers 10 %"``.
        trust: Part of the answer's probability that is left, between 0 and 1.
    """

    message: str
    trust: float


@runtime_checkable
class Inspects(Protocol):
    """A modality that says what is doubtful about a measurement that it can use, such as a wrong unit."""

    def inspect(self, measurement: Measurement) -> Sequence[Doubt]:
        """Return the doubts about a measurement that `transform` takes; empty where there are none."""
        ...


@runtime_checkable
class Locates(Protocol):
    """A modality that locates peaks; those of modalities of one unit are matched with each other, as a baseline."""

    def peaks(self, measurement: Measurement) -> NDArray[np.floating[Any]]:
        """Return the positions of the peaks in the unit of the spec, shape (peaks,).

        Raises:
            SampleError: This measurement cannot be used.
        """
        ...


@runtime_checkable
class Fits(Protocol):
    """A modality whose scaling is fitted on the training set and saved with the run."""

    def fit(self, train: Iterable[Measurement]) -> Mapping[str, Any]:
        """Return the state (JSON values) fitted on the training measurements."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take a fitted state back."""
        ...


@runtime_checkable
class Migrates(Protocol):
    """A modality that reads measurements stored under an older declaration."""

    def migrate(self, measurement: Measurement, declared: Stores) -> Measurement:
        """Turn a measurement stored as `declared` into one of today's declaration."""
        ...


class Encoder(Protocol):
    """A torch module from a kind's batch to (b, width); it uses every column that the spec declares."""

    width: int

    def __call__(self, batch: Any) -> Tensor:
        """Encode a batch as (b, width)."""
        ...


@dataclass(frozen=True, kw_only=True)
class LossBatch:
    """What a loss sees; append-only.

    Attributes:
        embeddings: Unit rows a modality, each (b, d); zero rows where absent.
        raw: The heads' outputs before normalisation, each (b, d); zero rows where absent.
        present: Presence a modality, each (b,) bool.
        molecule: (b,) int64 index of the molecule in the data set; equal numbers are one molecule.
        features: Per-molecule features that the loss asked for, each (b, ...).
        rows: The rows that this process owns; None means all.
    """

    embeddings: Mapping[str, Tensor]
    raw: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    molecule: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)
    rows: slice | None = None


@dataclass(frozen=True, kw_only=True)
class LossOutput:
    """A loss's value.

    Attributes:
        total: Scalar to minimise: the mean over the pairs that have two distinct molecules or more. With `rows` set
            it is this process's share, and the shares of all processes add up to the single-process value.
        per_pair: Scalar a pair of modality names.
    """

    total: Tensor
    per_pair: Mapping[tuple[str, str], Tensor]


class Loss(Protocol):
    """A torch module from a `LossBatch` to a `LossOutput`."""

    def __call__(self, batch: LossBatch) -> LossOutput:
        """Compute the loss."""
        ...


@runtime_checkable
class Featurizes(Protocol):
    """A loss that asks for per-molecule features, computed once and cached in the data set."""

    def features(self, molecule: Molecule) -> Mapping[str, NDArray[Any]]:
        """Return fixed-shape arrays by name."""
        ...


@runtime_checkable
class Tempered(Protocol):
    """A loss that has a temperature a pair, used by the geometric mean of retrieval."""

    def temperatures(self) -> Mapping[tuple[str, str], float]:
        """Return the temperature tau of each pair of modality names that it trains (names in graph order)."""
        ...


class Simulator(Protocol):
    """Computes measurements of a molecule in two steps, of which only the first one needs RDKit.

    Both steps give numpy arrays by name, as the record declares them: `jobs` and `results`. What is computed reaches a
    data set as a file of results, which the modalities in `makes` read like any other file.
    """

    def prepare(self, molecule: Molecule) -> Mapping[str, NDArray[Any]]:
        """Make the input of the computation, such as a conformer; all randomness follows from the key14.

        Raises:
            SampleError: It cannot be made.
        """
        ...

    def compute(self, job: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Do the computation, on one core; the same job gives the same result in any process.

        Raises:
            SampleError: It fails, such as a geometry that does not converge.
        """
        ...

    def measurements(self, result: Mapping[str, NDArray[Any]]) -> Mapping[str, Measurement]:
        """Return what the modalities in `makes` would read of this result in a file."""
        ...

    def prepared_by(self) -> str:
        """Return one line that says how `prepare` makes jobs, with the versions of what it uses."""
        ...

    def computed_by(self) -> str:
        """Return one line that says what `compute` computes, with the versions of what it uses.

        Raises:
            ImportError: A library that `compute` needs is not installed.
        """
        ...


@runtime_checkable
class Portable(Protocol):
    """A simulator whose second step is one file that runs where molchord is not installed.

    ``python PROGRAM jobs.npz results.npz`` reads a file of jobs and writes one of results. Both hold, for the molecules
    of one file, the texts ``id`` (key14) and ``smiles``; the declared arrays laid end to end, with offsets under the
    name of their ragged axis; of molecules that failed ``failed_id``, ``failed_smiles`` and ``failed_reason`` (the
    program hands those of the jobs on); and one text ``prepared_by``, results also ``computed_by``.
    """

    def program(self) -> Path:
        """Return the file."""
        ...


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A molecule that a search has found.

    Attributes:
        molecule: The molecule.
        computed: What could be computed for it, by modality name; empty where a re-ranker asks for nothing computed.
    """

    molecule: Molecule
    computed: Mapping[str, Measurement]


class Reranker(Protocol):
    """Looks at a query and its first candidates once more; how much a feature counts is fitted by the engine."""

    def names(self, modalities: tuple[str, ...]) -> tuple[str, ...]:
        """Name the features for queries of these modalities."""
        ...

    def features(
        self, query: Mapping[str, Sequence[Measurement]], candidates: Sequence[Candidate]
    ) -> NDArray[np.floating[Any]]:
        """Return (candidates, features), in the order of `names`; higher is more alike, NaN where it cannot say.

        A candidate with NaN counts as an average one, so that it is neither lifted nor sunk.

        Args:
            query: One measurement or more a modality, in the order of the model graph.
            candidates: The first candidates, best first; maybe one only.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class IndexedRows:
    """Some candidates of a library.

    Attributes:
        rows: (n,) int64, ascending; what a proposal names them by.
        vectors: (n, d) fp32 unit rows.
        exact_mass: (n,) in Da.
        formula: Hill formula of each.
    """

    rows: NDArray[np.int64]
    vectors: NDArray[np.float32]
    exact_mass: NDArray[np.float64]
    formula: Sequence[str]


class IndexedVectors(Protocol):
    """The candidates of a library, to be gone through block by block, as often as an index likes."""

    @property
    def size(self) -> int:
        """Return the length of a vector."""
        ...

    def __len__(self) -> int:
        """Return the number of candidates."""
        ...

    def __iter__(self) -> Iterator[IndexedRows]:
        """Yield the candidates, rows ascending."""
        ...


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Which candidates may be proposed, said twice: an index uses what suits it.

    Attributes:
        window: Ends of the exact mass in Da, both included; None: any mass.
        formula: Hill formula; None: any.
        removed: (r,) int64, ascending: rows that were taken out of the library since the index was made, maybe.
        rows: (n,) int64, ascending: the rows that `window`, `formula` and `removed` leave; None: all of the library.
    """

    window: tuple[float, float] | None
    formula: str | None
    removed: NDArray[np.int64]
    rows: NDArray[np.int64] | None


@dataclass(frozen=True, kw_only=True)
class Proposals:
    """Candidates that an index takes for the best ones.

    Attributes:
        rows: (q, n) int64 in any order, each row of the library once; -1 where there are fewer.
        bound: (q,) an upper bound of the inner product of every candidate within the limits that is not among them,
            rounding counted, -inf where there is none left; None: the index cannot say, so the hits are not proven.
    """

    rows: NDArray[np.int64]
    bound: NDArray[np.float64] | None = None


class Proposer(Protocol):
    """An index that was opened."""

    def propose(self, queries: NDArray[np.float32], count: int, limits: Limits) -> Proposals:
        """Propose the candidates with the largest inner products; the engine scores and ranks them.

        Args:
            queries: (q, d) vectors of any length.
            count: How many for each query; fewer where fewer are within the limits.
            limits: What may be proposed.

        Raises:
            ConnectionError: A server does not answer; the message is a sentence that says which, and what to start.
        """
        ...


class Index(Protocol):
    """Finds vectors with large inner products without looking at all of them."""

    def write(self, folder: Path, vectors: IndexedVectors) -> None:
        """Make the index of these candidates; what is kept on disk goes into this empty folder.

        Raises:
            ImportError: A library that it needs is not installed.
            ConnectionError: As for `Proposer.propose`.
        """
        ...

    def open(self, folder: Path) -> Proposer:
        """Open what `write` made; the folder may have been moved since.

        Raises:
            ImportError: A library that it needs is not installed.
            ConnectionError: As for `Proposer.propose`.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training that a logger follows.

    Attributes:
        run: The run folder, whose name the user chose.
        folder: The logger's own folder in it, which is there; what it keeps there is there when the training goes on.
        settings: The resolved model graph, as JSON values.
        epochs: How many were trained before: 0, or more where a training that stopped goes on.
    """

    run: Path
    folder: Path
    settings: Mapping[str, Any]
    epochs: int


class Logger(Protocol):
    """Shows the figures of a training elsewhere; they stand in the run's ``metrics.jsonl`` anyway.

    In several processes there is one, in the first. Whatever a method raises is said once, and the training goes on
    without the logger.
    """

    def open(self, training: Training) -> None:
        """Begin, or go on where `training` was stopped."""
        ...

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Take the figures of an epoch, counted from 1.

        Args:
            epoch: The one that has just ended.
            figures: By name, such as ``loss`` or ``val/blind_mrr``; those of validation are not there in every epoch.
        """
        ...

    def close(self, finished: bool) -> None:
        """End; `finished` is False where the training stopped or failed before its last epoch."""
        ...


# --- records ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ModalityRecord:
    """A kind of measurement or representation.

    Attributes:
        name: ``[a-z][a-z0-9_]*``.
        summary: One line for `molchord plugins list`.
        api: The literal number of the plugin API it was written for.
        kinds: Kinds it can reach an encoder in, the preferred one first.
        stores: What a measurement holds on disk.
        config: Its pydantic model.
        spec: ``spec(config, kind)``, torch-free.
        build: ``build(config, kind)`` returns a `Modality`.
        derives: What `build` returns is a `Derives` too, so that this modality can be the candidate.
        adapt: ``adapt(config, needs)`` fills defaults that hang on what the encoder needs; None: nothing to fill.
        mass_needs: The stored column that must be known for the molecule's mass to follow from a measurement, such as
            the adduct; figures "with mass" leave measurements out where it is missing. None: the mass is not from here.
        config_version: Raised when old saved configs no longer validate.
        migrate_config: ``migrate_config(config, from_version)`` for saved configs of older versions.
    """

    name: str
    summary: str
    api: int
    kinds: tuple[str, ...]
    stores: Stores
    config: type[BaseModel]
    spec: Callable[[Any, str], Spec]
    build: Callable[[Any, str], Modality]
    derives: bool = False
    adapt: Callable[[Any, tuple[str, ...]], Any] | None = None
    mass_needs: str | None = None
    config_version: int = 1
    migrate_config: Callable[[Mapping[str, Any], int], Mapping[str, Any]] | None = None


@dataclass(frozen=True, kw_only=True)
class EncoderRecord:
    """A network from a kind's batch to one vector a molecule.

    Attributes:
        name: ``[a-z][a-z0-9_]*``.
        summary: One line for `molchord plugins list`.
        api: The literal number of the plugin API it was written for.
        accepts: Kinds it takes.
        config: Its pydantic model.
        build: ``build(config, spec)`` returns an `Encoder`, a torch module.
        needs: What it needs of a kind beyond the plain batch, such as ``("positions",)``.
        config_version: Raised when old saved configs no longer validate.
        migrate_config: ``migrate_config(config, from_version)`` for saved configs of older versions.
    """

    name: str
    summary: str
    api: int
    accepts: tuple[str, ...]
    config: type[BaseModel]
    build: Callable[[Any, Spec], Any]
    needs: tuple[str, ...] = ()
    config_version: int = 1
    migrate_config: Callable[[Mapping[str, Any], int], Mapping[str, Any]] | None = None


@dataclass(frozen=True, kw_only=True)
class LossRecord:
    """A contrastive loss over all modalities of a graph.

    Attributes:
        name: ``[a-z][a-z0-9_]*``.
        summary: One line for `molchord plugins list`.
        api: The literal number of the plugin API it was written for.
        config: Its pydantic model; fields of type `ModalityName` are checked against the graph.
        build: ``build(config, modalities, candidate)`` returns a `Loss`, a torch module.
        config_version: Raised when old saved configs no longer validate.
        migrate_config: ``migrate_config(config, from_version)`` for saved configs of older versions.
    """

    name: str
    summary: str
    api: int
    config: type[BaseModel]
    build: Callable[[Any, tuple[str, ...], str | None], Any]
    config_version: int = 1
    migrate_config: Callable[[Mapping[str, Any], int], Mapping[str, Any]] | None = None


@dataclass(frozen=True, kw_only=True)
class RerankerRecord:
    """A second look at the first candidates of a search.

    Attributes:
        name: ``[a-z][a-z0-9_]*``.
        summary: One line for `molchord plugins list`.
        api: The literal number of the plugin API it was written for.
        config: Its pydantic model.
        build: ``build(config)`` returns a `Reranker`.
        computed: It compares the query with what is computed for the candidates, so the engine gets that, and refuses
            queries that are computed themselves: for them it is the answer.
    """

    name: str
    summary: str
    api: int
    config: type[BaseModel]
    build: Callable[[Any], Reranker]
    computed: bool = False


@dataclass(frozen=True, kw_only=True)
class SimulatorRecord:
    """A computation of measurements from a molecule's structure.

    Attributes:
        name: ``[a-z][a-z0-9_]*``.
        summary: One line for `molchord plugins list`.
        api: The literal number of the plugin API it was written for.
        makes: Names of the modalities that read its results, one entry a molecule.
        jobs: Arrays that `prepare` gives.
        results: Arrays that `compute` gives, named as the modalities in `makes` read them.
        config: Its pydantic model.
        build: ``build(config)`` returns a `Simulator`.
        install: What to `pip install` where a library that `compute` needs is missing.
    """

    name: str
    summary: str
    api: int
    makes: tuple[str, ...]
    jobs: Mapping[str, Array]
    results: Mapping[str, Array]
    config: type[BaseModel]
    build: Callable[[Any], Simulator]
    install: str = ""


@dataclass(frozen=True, kw_only=True)
class IndexRecord:
    """A way to find the likeliest candidates of a large library fast.

    Attributes:
        name: ``[a-z][a-z0-9_]*``.
        summary: One line for `molchord plugins list`.
        api: The literal number of the plugin API it was written for.
        config: Its pydantic model.
        build: ``build(config)`` returns an `Index`.
        install: What to `pip install` where a library that it needs is missing.
        version: Raised when it can no longer open what older versions wrote.
    """

    name: str
    summary: str
    api: int
    config: type[BaseModel]
    build: Callable[[Any], Index]
    install: str = ""
    version: int = 1


@dataclass(frozen=True, kw_only=True)
class LoggerRecord:
    """A place where the figures of a training are shown.

    Attributes:
        name: ``[a-z][a-z0-9_]*``.
        summary: One line for `molchord plugins list`.
        api: The literal number of the plugin API it was written for.
        config: Its pydantic model.
        build: ``build(config)`` returns a `Logger`; an `ImportError` says what is not installed before training begins.
        install: What to `pip install` where a library that it needs is missing.
    """

    name: str
    summary: str
    api: int
    config: type[BaseModel]
    build: Callable[[Any], Logger]
    install: str = ""
