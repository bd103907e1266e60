"""All that a plugin author imports: records, declarations, protocols, batches and their collates.

Nothing here imports torch, numpy or rdkit at module level, so a plugin package that holds only records stays light.
Shapes: `b` molecules of a batch that have the modality, `n` atoms or peaks, `e` directed bonds, `c` channels or
conformers, `p` points, `d` embedding size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeAlias, runtime_checkable

import pluggy
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo

from molchord.errors import SampleError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor
    from torch_geometric.data import Batch as PygBatch

__all__ = [
    "API_VERSION",
    "Array",
    "Category",
    "Column",
    "Compares",
    "Config",
    "Derives",
    "Encoder",
    "EncoderRecord",
    "Featurizes",
    "Fits",
    "GraphBatch",
    "GraphSample",
    "GraphSpec",
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
    "Reading",
    "Real",
    "SampleError",
    "Spec",
    "SpectrumBatch",
    "SpectrumSample",
    "SpectrumSpec",
    "Stores",
    "Tempered",
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
"""The plugin API this release speaks; a record carries the literal number it was written for."""

hookimpl = pluggy.HookimplMarker("molchord")


# --- configuration ---------------------------------------------------------------------------------------------------


class Config(BaseModel):
    """Base of every plugin's configuration: frozen, and an unknown key is an error.

    Every field needs a default, since import reads files with the default configuration.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


def _in_graph(name: str, info: ValidationInfo) -> str:
    modalities = (info.context or {}).get("modalities")
    if modalities is not None and name not in modalities:
        raise ValueError(f"unknown modality {name!r} in this graph; {did_you_mean(name, modalities)}")
    return name


ModalityName = Annotated[str, AfterValidator(_in_graph)]
"""A config field of this type must name a modality of the model graph it stands in."""


# --- declarations ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Real:
    """A number in `unit`; missing is NaN."""

    unit: str


@dataclass(frozen=True)
class Category:
    """One of `values`; code 0 is missing or unknown, code i is ``values[i - 1]``. Stored as text.

    In a modality's `Stores`, an empty tuple admits any text.
    """

    values: tuple[str, ...] = ()

    def code(self, value: object) -> int:
        """Return the code of a value; 0 where it is missing or not among `values`.

        Example:
            >>> Category(("positive", "negative")).code("negative"), Category(("positive",)).code(None)
            (2, 0)
        """
        return self.values.index(value) + 1 if value in self.values else 0


Column: TypeAlias = Real | Category


@dataclass(frozen=True, kw_only=True)
class Array:
    """One stored array of a measurement.

    Attributes:
        unit: Physical unit, ``"1"`` where there is none.
        axis: Name of the ragged leading axis; arrays of one axis have the same length in one measurement. None: the
            array has exactly `shape` in every measurement.
        shape: Trailing shape behind the ragged axis.
        dtype: Type that `transform` is handed (what lies on disk may be narrower and is converted on reading).
    """

    unit: str
    axis: str | None = None
    shape: tuple[int, ...] = ()
    dtype: str = "float32"


@dataclass(frozen=True, kw_only=True)
class Stores:
    """What a measurement of a modality holds on disk.

    Attributes:
        arrays: Arrays by name; one that a measurement lacks is stored with length 0 on its ragged axis.
        columns: Metadata by name; the column ``origin`` ("measured" or "computed") is always there and not listed.
    """

    arrays: Mapping[str, Array]
    columns: Mapping[str, Column] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SpectrumSpec:
    """Kind ``spectrum1d``: `channels` curves on one grid of `points` positions in `unit`."""

    unit: str
    points: int
    channels: int = 1
    whole: Mapping[str, Column] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PeaksSpec:
    """Kind ``peaks``: a set of peaks at positions in `unit`, with columns a peak and columns of the whole spectrum."""

    unit: str
    peak: Mapping[str, Column]
    whole: Mapping[str, Column] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class GraphSpec:
    """Kind ``graph``: atoms and bonds; `conformers` positions an atom in angstrom where `positions` is true."""

    positions: bool = False
    conformers: int = 1
    atom: Mapping[str, Column] = field(default_factory=dict)
    bond: Mapping[str, Column] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class VectorSpec:
    """Kind ``vector``: `size` numbers in `unit`."""

    size: int
    unit: str


Spec: TypeAlias = Any
"""One of the four specs above, or a third party's own frozen dataclass for its own kind ``dist:kind``."""


# --- measurements ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One spectrum (or other representation) of one molecule, in the units its modality declares.

    Attributes:
        arrays: numpy arrays by name, as in `Stores.arrays`; a missing name means length 0.
        columns: Metadata by name (float, text or None), as in `Stores.columns`; ``origin`` is "measured" or "computed".
    """

    arrays: Mapping[str, NDArray[Any]]
    columns: Mapping[str, float | str | None] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """Return "measured" or "computed"; "measured" where nothing is said."""
        return str(self.columns.get("origin") or "measured")


@dataclass(frozen=True, kw_only=True)
class Molecule:
    """What `derive`, `features` and `example` get.

    Attributes:
        key14: First block of the InChIKey.
        smiles: Canonical SMILES without stereo.
        formula: Hill formula.
        exact_mass: Monoisotopic mass in Da.
        stored: A stored measurement of the deriving modality for this molecule, if the data set holds one.
    """

    key14: str
    smiles: str
    formula: str
    exact_mass: float
    stored: Measurement | None = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One entry of a file: the measurement, the molecule's SMILES if the file says, and where it stood."""

    measurement: Measurement
    smiles: str | None
    location: str


# --- batches of the core kinds ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class GraphSample:
    """One molecular graph, as numpy arrays.

    Attributes:
        elements: (n,) atomic numbers.
        bonds: (2, e) atom indices, every bond in both directions.
        atom: Columns of the spec, each (n,): float, or integer codes.
        bond: Columns of the spec, each (e,).
        positions: (n, c, 3) in angstrom for c conformers, or None.
    """

    elements: NDArray[np.integer[Any]]
    bonds: NDArray[np.integer[Any]]
    atom: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    bond: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    positions: NDArray[np.floating[Any]] | None = None


@dataclass(frozen=True, kw_only=True)
class GraphBatch:
    """Graphs of b molecules laid end to end.

    Attributes:
        size: Number of molecules b (a Python int, so that it costs no device synchronisation).
        elements: (n,) int64 atomic numbers.
        graph: (n,) int64 row in the batch of each atom, ascending.
        bonds: (2, e) int64, both directions.
        atom: Columns a (n,): float32 (Real) or int64 codes (Category).
        bond: Columns a (e,).
        positions: (n, c, 3) float32 angstrom, or None.
    """

    size: int
    elements: Tensor
    graph: Tensor
    bonds: Tensor
    atom: Mapping[str, Tensor] = field(default_factory=dict)
    bond: Mapping[str, Tensor] = field(default_factory=dict)
    positions: Tensor | None = None

    def to_pyg(self) -> PygBatch:
        """Return a torch-geometric Batch: z, x (columns stacked), edge_index, edge_attr, pos (first conformer)."""
        import torch
        from torch_geometric.data import Batch

        def stacked(columns: Mapping[str, Tensor]) -> Tensor | None:
            return torch.stack([c.float() for c in columns.values()], dim=1) if columns else None

        out = Batch(
            z=self.elements,
            x=stacked(self.atom),
            edge_index=self.bonds,
            edge_attr=stacked(self.bond),
            pos=None if self.positions is None else self.positions[:, 0],
            batch=self.graph,
        )
        out._num_graphs = self.size
        return out


@dataclass(frozen=True, kw_only=True)
class SpectrumSample:
    """One spectrum on the grid: values (c, p), observed (p,) bool (None: all observed), whole columns."""

    values: NDArray[np.floating[Any]]
    observed: NDArray[np.bool_] | None = None
    whole: Mapping[str, float | int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SpectrumBatch:
    """Spectra of b molecules: values (b, c, p) float32, observed (b, p) bool, whole columns (b,)."""

    values: Tensor
    observed: Tensor
    whole: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PeaksSample:
    """One peak list: peak columns (n,), whole columns as scalars (float for Real, int code for Category)."""

    peak: Mapping[str, NDArray[Any]]
    whole: Mapping[str, float | int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PeaksBatch:
    """Peak lists of b molecules, padded: peak columns (b, n), mask (b, n) true at real peaks, whole columns (b,)."""

    peak: Mapping[str, Tensor]
    mask: Tensor
    whole: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class VectorSample:
    """One vector: values (size,)."""

    values: NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class VectorBatch:
    """Vectors of b molecules: values (b, size) float32."""

    values: Tensor


def _column(values: Sequence[Any], like: Column) -> Tensor:
    import torch

    return torch.tensor(list(values), dtype=torch.float32 if isinstance(like, Real) else torch.int64)


def collate_graphs(samples: Sequence[GraphSample], spec: GraphSpec) -> GraphBatch:
    """Lay graphs end to end; works for no samples too."""
    import numpy as np
    import torch

    sizes = np.array([len(s.elements) for s in samples], dtype=np.int64)
    starts = np.cumsum(sizes) - sizes

    def joined(parts: list[Any], trailing: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        if not parts:
            return torch.zeros((0, *trailing), dtype=dtype)
        return torch.from_numpy(np.concatenate(parts)).to(dtype)

    def columns(which: str, declared: Mapping[str, Column]) -> dict[str, Tensor]:
        kinds = {name: torch.float32 if isinstance(c, Real) else torch.int64 for name, c in declared.items()}
        return {name: joined([getattr(s, which)[name] for s in samples], (), dtype) for name, dtype in kinds.items()}

    bonds = joined([s.bonds.reshape(2, -1).T + start for s, start in zip(samples, starts, strict=True)], (2,), torch.int64)
    positions = None
    if spec.positions:
        positions = joined([s.positions for s in samples], (spec.conformers, 3), torch.float32)
    return GraphBatch(
        size=len(samples),
        elements=joined([s.elements for s in samples], (), torch.int64),
        graph=torch.from_numpy(np.repeat(np.arange(len(samples), dtype=np.int64), sizes)),
        bonds=bonds.T.contiguous(),
        atom=columns("atom", spec.atom),
        bond=columns("bond", spec.bond),
        positions=positions,
    )


def collate_spectra(samples: Sequence[SpectrumSample], spec: SpectrumSpec) -> SpectrumBatch:
    """Stack spectra of one grid; works for no samples too."""
    import numpy as np
    import torch

    values = np.zeros((len(samples), spec.channels, spec.points), dtype=np.float32)
    observed = np.ones((len(samples), spec.points), dtype=bool)
    for i, sample in enumerate(samples):
        values[i] = sample.values
        if sample.observed is not None:
            observed[i] = sample.observed
    return SpectrumBatch(
        values=torch.from_numpy(values),
        observed=torch.from_numpy(observed),
        whole={name: _column([s.whole[name] for s in samples], c) for name, c in spec.whole.items()},
    )


def collate_peaks(samples: Sequence[PeaksSample], spec: PeaksSpec) -> PeaksBatch:
    """Pad peak lists to the longest; works for no samples and for empty lists."""
    import torch

    lengths = [len(next(iter(s.peak.values()))) for s in samples]
    longest = max(lengths, default=0)
    mask = torch.arange(longest)[None, :] < torch.tensor(lengths, dtype=torch.int64)[:, None]
    peak = {}
    for name, column in spec.peak.items():
        padded = torch.zeros((len(samples), longest), dtype=torch.float32 if isinstance(column, Real) else torch.int64)
        for i, sample in enumerate(samples):
            padded[i, : lengths[i]] = torch.as_tensor(sample.peak[name])
        peak[name] = padded
    return PeaksBatch(
        peak=peak,
        mask=mask,
        whole={name: _column([s.whole[name] for s in samples], c) for name, c in spec.whole.items()},
    )


def collate_vectors(samples: Sequence[VectorSample], spec: VectorSpec) -> VectorBatch:
    """Stack vectors; works for no samples too."""
    import numpy as np
    import torch

    values = np.zeros((len(samples), spec.size), dtype=np.float32)
    for i, sample in enumerate(samples):
        values[i] = sample.values
    return VectorBatch(values=torch.from_numpy(values))


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
