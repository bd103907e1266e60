"""Measurements, and the samples, batches and collates of the core kinds.

Imports no torch or numpy at module level. Shapes: `b` molecules of a batch that have the modality, `n` atoms or peaks,
`e` directed bonds, `c` channels or conformers, `p` points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from molchord.api.declarations import Column, GraphSpec, PeaksSpec, Real, SpectrumSpec, VectorSpec

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor
    from torch_geometric.data import Batch as PygBatch


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One spectrum (or other representation) of one molecule, in the units its modality declares.

    Attributes:
        arrays: numpy arrays by name, as in `Stores.arrays`; a missing name means length 0.
        columns: Metadata by name (float, text or None), as in `Stores.columns`; ``origin`` is "measured" or "computed".
        location: The file that it was read from, with the place in it, where that is known; warnings name it.
    """

    arrays: Mapping[str, NDArray[Any]]
    columns: Mapping[str, float | str | None] = field(default_factory=dict)
    location: str | None = None

    @property
    def origin(self) -> str:
        """Return "measured" or "computed"; "measured" where nothing is stated."""
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
    """One entry of a file.

    Attributes:
        measurement: What it holds.
        smiles: The molecule's, if the file has it.
        location: Where it was.
        understood: How the file was read, in words by subject, for a person to check: ``{"abscissa": "um, turned into
            cm^-1", "direction": "descending in the file"}``.
        name: The molecule's, if the file has it.
    """

    measurement: Measurement
    smiles: str | None
    location: str
    understood: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None


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

    bonds = joined(
        [s.bonds.reshape(2, -1).T + start for s, start in zip(samples, starts, strict=True)], (2,), torch.int64
    )
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
    """Stack vectors; works for no samples too.

    Raises:
        ValueError: A sample has another length than the spec states.
    """
    import numpy as np
    import torch

    values = np.zeros((len(samples), spec.size), dtype=np.float32)
    for i, sample in enumerate(samples):
        if np.shape(sample.values) != (spec.size,):
            raise ValueError(f"a sample's values have shape {np.shape(sample.values)}, the spec says ({spec.size},)")
        values[i] = sample.values
    return VectorBatch(values=torch.from_numpy(values))
