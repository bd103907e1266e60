"""Collating by plain loops: graphs laid end to end, spectra stacked, peaks padded; none, one and many."""

import numpy as np
import pytest
import torch

from molchord.api import (
    Category,
    GraphSample,
    GraphSpec,
    Measurement,
    PeaksSample,
    PeaksSpec,
    Real,
    SpectrumSample,
    SpectrumSpec,
    VectorSample,
    VectorSpec,
    collate_graphs,
    collate_peaks,
    collate_spectra,
    collate_vectors,
)

GRAPH = GraphSpec(
    positions=True, conformers=2, atom={"charge": Real("e"), "ring": Category(("yes", "no"))}, bond={"order": Real("1")}
)
PEAKS = PeaksSpec(
    unit="m/z",
    peak={"mz": Real("m/z"), "charge": Category(("1", "2"))},
    whole={"energy": Real("eV"), "mode": Category(("+", "-"))},
)


def graph(atoms, bonds, seed=0):
    rng = np.random.default_rng(seed + atoms)
    return GraphSample(
        elements=rng.integers(1, 18, atoms).astype(np.uint8),
        bonds=np.array(bonds, np.int32).reshape(-1, 2).T,
        atom={"charge": rng.normal(size=atoms), "ring": rng.integers(0, 3, atoms)},
        bond={"order": rng.random(len(bonds))},
        positions=rng.normal(size=(atoms, 2, 3)),
    )


SINGLE, PAIR, RING = (
    graph(1, []),
    graph(2, [(0, 1), (1, 0)]),
    graph(3, [(0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 0)]),
)


@pytest.mark.parametrize("samples", [[], [SINGLE], [PAIR], [SINGLE, PAIR, RING], [RING, SINGLE, SINGLE, PAIR]])
def test_graphs_are_laid_end_to_end_with_their_bonds_moved_along(samples):
    found = collate_graphs(samples, GRAPH)
    atoms = sum(len(s.elements) for s in samples)
    bonds = sum(s.bonds.shape[1] for s in samples)
    assert found.size == len(samples)
    assert (found.elements.shape, found.graph.shape, found.bonds.shape) == ((atoms,), (atoms,), (2, bonds))
    assert found.positions.shape == (atoms, 2, 3)
    assert [t.dtype for t in (found.elements, found.graph, found.bonds, found.atom["ring"])] == [torch.int64] * 4
    assert [t.dtype for t in (found.positions, found.atom["charge"], found.bond["order"])] == [torch.float32] * 3
    assert found.bonds.is_contiguous()
    first_atom = first_bond = 0
    for number, sample in enumerate(samples):
        own = slice(first_atom, first_atom + len(sample.elements))
        edges = slice(first_bond, first_bond + sample.bonds.shape[1])
        assert found.elements[own].tolist() == sample.elements.tolist()
        assert found.graph[own].tolist() == [number] * len(sample.elements)
        assert (found.bonds[:, edges] - first_atom).tolist() == sample.bonds.tolist()
        np.testing.assert_allclose(found.positions[own], sample.positions, rtol=1e-6)
        np.testing.assert_allclose(found.atom["charge"][own], sample.atom["charge"], rtol=1e-6)
        assert found.atom["ring"][own].tolist() == sample.atom["ring"].tolist()
        np.testing.assert_allclose(found.bond["order"][edges], sample.bond["order"], rtol=1e-6)
        first_atom, first_bond = own.stop, edges.stop


def test_graphs_without_positions_or_columns_have_none():
    found = collate_graphs([SINGLE, RING], GraphSpec())
    assert (found.positions, found.atom, found.bond) == (None, {}, {})


def test_a_torch_geometric_batch_holds_the_same():
    found = collate_graphs([PAIR, SINGLE, RING], GRAPH).to_pyg()
    assert found.num_graphs == 3
    assert found.batch.tolist() == [0, 0, 1, 2, 2, 2]
    assert found.x.shape == (6, 2)
    assert found.x[:, 1].tolist() == [*PAIR.atom["ring"], *SINGLE.atom["ring"], *RING.atom["ring"]]
    np.testing.assert_allclose(found.pos[3:], RING.positions[:, 0], rtol=1e-6)  # the first conformer
    assert found.edge_attr.shape == (8, 1)
    bare = collate_graphs([SINGLE], GraphSpec()).to_pyg()
    assert (bare.x, bare.edge_attr, bare.pos) == (None, None, None)
    assert collate_graphs([], GRAPH).to_pyg().num_graphs == 0  # atoms alone would not say it


def test_spectra_are_stacked_and_observed_everywhere_unless_said():
    spec = SpectrumSpec(unit="cm^-1", points=3, channels=2, whole={"t": Real("K"), "mode": Category(("a", "b"))})
    first = SpectrumSample(values=np.arange(6.0).reshape(2, 3), whole={"t": 300.0, "mode": 2})
    second = SpectrumSample(
        values=-np.arange(6.0).reshape(2, 3),
        observed=np.array([True, False, True]),
        whole={"t": float("nan"), "mode": 0},
    )
    found = collate_spectra([first, second], spec)
    assert found.values.dtype == torch.float32
    assert found.values.tolist() == [first.values.tolist(), second.values.tolist()]
    assert found.observed.tolist() == [[True, True, True], [True, False, True]]
    assert found.whole["mode"].tolist() == [2, 0]
    assert found.whole["mode"].dtype == torch.int64
    assert found.whole["t"][0] == 300
    assert found.whole["t"][1].isnan()
    none = collate_spectra([], spec)
    assert (none.values.shape, none.observed.shape, none.whole["t"].shape) == ((0, 2, 3), (0, 3), (0,))


def peaks(count, mode=1):
    rng = np.random.default_rng(count)
    return PeaksSample(
        peak={"mz": rng.random(count), "charge": rng.integers(0, 3, count)},
        whole={"energy": 20.0 + count, "mode": mode},
    )


@pytest.mark.parametrize("counts", [[], [0], [1], [0, 0], [3, 0, 5, 1]])
def test_peaks_are_padded_to_the_longest_list(counts):
    samples = [peaks(count, mode=i % 3) for i, count in enumerate(counts)]
    found = collate_peaks(samples, PEAKS)
    longest = max(counts, default=0)
    assert found.mask.tolist() == [[place < count for place in range(longest)] for count in counts]
    for name, dtype in (("mz", torch.float32), ("charge", torch.int64)):
        assert found.peak[name].shape == (len(counts), longest)
        assert found.peak[name].dtype == dtype
        for row, sample in enumerate(samples):
            expected = np.zeros(longest)
            expected[: counts[row]] = sample.peak[name]
            np.testing.assert_allclose(found.peak[name][row], expected, rtol=1e-6)
    assert found.whole["energy"].tolist() == [20.0 + count for count in counts]
    assert found.whole["mode"].tolist() == [i % 3 for i in range(len(counts))]


def test_vectors_are_of_the_size_that_was_said():
    spec = VectorSpec(size=3, unit="1")
    found = collate_vectors(
        [VectorSample(values=np.array([1, 2, 3])), VectorSample(values=np.array([4.5, 5, 6]))], spec
    )
    assert found.values.dtype == torch.float32
    assert found.values.tolist() == [[1, 2, 3], [4.5, 5, 6]]
    assert collate_vectors([], spec).values.shape == (0, 3)
    for wrong in (np.zeros(2), np.zeros(4), np.zeros(1)):  # one number would be spread over all
        with pytest.raises(ValueError, match="3"):
            collate_vectors([VectorSample(values=wrong)], spec)


@pytest.mark.parametrize(
    ("columns", "origin"),
    [
        ({}, "measured"),
        ({"origin": None}, "measured"),
        ({"origin": ""}, "measured"),
        ({"origin": "computed"}, "computed"),
    ],
)
def test_a_measurement_is_measured_unless_it_says_otherwise(columns, origin):
    assert Measurement(arrays={}, columns=columns).origin == origin


@pytest.mark.parametrize(
    ("value", "code"), [("positive", 1), ("negative", 2), ("Positive", 0), ("", 0), (None, 0), (1, 0), ("pos", 0)]
)
def test_a_category_has_codes_from_one_and_nought_for_the_unknown(value, code):
    assert Category(("positive", "negative")).code(value) == code
    assert Category().code(value) == 0
