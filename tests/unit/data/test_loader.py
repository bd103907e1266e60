"""Batches: which molecules, which of their measurements, in which order, and the same whoever makes them."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch

from molchord.api import Array, Category, Measurement, SampleError, Stores
from molchord.chem import average_mass
from molchord.data.importer import import_files
from molchord.data.loader import (
    Batches,
    BatchShard,
    Collate,
    DrawnRows,
    NoMeasurements,
    Source,
    divided,
    sources,
)
from molchord.data.scalars import scalar_table
from molchord.data.store import DataSet
from molchord.errors import DataError
from molchord.graph.resolve import ModelGraph, Use
from molchord.host import Host, installed
from molchord.model import build_modalities
from molchord.seeding import random_state
from molchord.testing import MOLECULES, examples_of

STORES = Stores(arrays={"y": Array(unit="1", axis="x")}, columns={"solvent": Category()})
COUNTS = [2, 0, 3, 1, 1, 0, 4]
"""How many measurements each molecule has; those of value 100 or more cannot be used."""
VALUES = [[0, 1], [], [2, 3, 4], [5], [100], [], [6, 7, 8, 9]]


class Toy:
    """A sample is the stored number, plus a draw in training."""

    def transform(self, measurement, rng):
        value = float(measurement.arrays["y"][0])
        if value >= 100:
            raise SampleError(f"number {value:g}", "it is too large")
        return value + (0.0 if rng is None else rng.random() / 2)

    def collate(self, samples):
        return torch.tensor(samples, dtype=torch.float64)


def measured(value, solvent=None):
    return Measurement(arrays={"y": np.array([value], np.float32)}, columns={"solvent": solvent})


def alkanes(n):
    return ["C" * (i + 1) for i in range(n)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    entries = [[measured(v, f"s{v % 2}") for v in values] or None for values in VALUES]
    path = tmp_path_factory.mktemp("loader") / "data"
    return DataSet.from_measurements(alkanes(len(VALUES)), {"toy": entries}, path, stores={"toy": STORES})


@pytest.fixture(scope="module")
def source(data):
    return Source("toy", Toy(), data.table("toy"))


def collate(columns=0):
    return Collate({"toy": Toy()}, np.zeros((len(VALUES), columns), np.float32))


def batches(source, rows=None, **options):
    options = {"batch_size": 3, "seed": 7, **options}
    return Batches(
        {"toy": source}, collate(), np.array(range(len(VALUES)) if rows is None else rows, np.int64), **options
    )


def molecules_in(made):
    return [batch.molecule.tolist() for batch in made]


# --- one modality


def test_a_measurement_is_chosen_only_among_those_admitted_with_weight(data):
    table = data.table("toy")
    selected = table.select({"solvent": "s1"})
    weights = np.where(np.arange(len(table)) == 1, 0.0, 1.0)  # the only odd one of molecule 0
    of = {
        "all": Source("toy", Toy(), table),
        "selected": Source("toy", Toy(), table, selected),
        "weighted": Source("toy", Toy(), table, None, weights),
        "both": Source("toy", Toy(), table, selected, weights),
    }
    admitted = {name: [one.choices(row).tolist() for row in range(len(VALUES))] for name, one in of.items()}
    assert admitted == {
        "all": [[0, 1], [], [2, 3, 4], [5], [6], [], [7, 8, 9, 10]],
        "selected": [[1], [], [3], [5], [], [], [8, 10]],
        "weighted": [[0], [], [2, 3, 4], [5], [6], [], [7, 8, 9, 10]],
        "both": [[], [], [3], [5], [], [], [8, 10]],
    }
    for name, one in of.items():
        flat = [index for indices in admitted[name] for index in indices]
        assert one.measurements().tolist() == flat
        assert one.present(len(VALUES)).tolist() == [bool(indices) for indices in admitted[name]]


def test_without_randomness_the_first_measurement_is_taken(source):
    assert [source.draw(row, None) for row in range(len(VALUES))] == [0, None, 2, 5, 6, None, 7]


def test_draws_are_uniform_or_by_weight(data):
    rng = np.random.default_rng(0)
    table = data.table("toy")
    weights = np.ones(len(table))
    weights[7:11] = [1.0, 0.0, 2.0, 5.0]
    for given, expected in ((None, [0.25] * 4), (weights, [1 / 8, 0, 2 / 8, 5 / 8])):
        one = Source("toy", Toy(), table, None, given)
        drawn = Counter(one.draw(6, rng) for _ in range(1500))
        assert [drawn[index] / 1500 for index in range(7, 11)] == pytest.approx(expected, abs=0.05)
        assert one.draw(1, rng) is None


def test_molecules_are_left_out_one_call_after_another(data):
    one = Source("toy", Toy(), data.table("toy"), data.table("toy").select({"solvent": "s0"}))
    one.leave_out(np.array([2]))
    assert one.measurements().tolist() == [0, 6, 7, 9]
    one.leave_out(np.array([0, 4]))
    assert one.measurements().tolist() == [7, 9]
    one.leave_out(np.array([], np.int64))
    assert one.present(len(VALUES)).tolist() == [False] * 6 + [True]


def test_what_is_changed_after_reading_is_what_is_transformed(data):
    one = Source("toy", Toy(), data.table("toy"))
    seen = []

    def change(index, measurement):
        seen.append(index)
        return measured(float(measurement.arrays["y"][0]) + 50)

    one.change = change
    assert one.sample(3, None) == 53.0
    assert one.read(5).arrays["y"].tolist() == [55.0]
    assert seen == [3, 5]


def test_a_modality_without_measurements_is_absent_everywhere():
    one = Source("toy", Toy(), NoMeasurements(), missing="there is none")
    assert len(one.table) == 0
    assert [one.draw(row, np.random.default_rng(0)) for row in (0, 5)] == [None, None]
    assert one.present(3).tolist() == [False, False, False]
    assert one.measurements().size == 0
    with pytest.raises(IndexError, match="measurement 0 of none"):
        one.read(0)


# --- items and batches


def test_an_item_holds_what_is_present_and_why_the_rest_is_not(source):
    rows = DrawnRows({"toy": source}, seed=7)
    assert rows[-1, 0] == {"row": 0, "samples": {"toy": 0.0}, "failures": []}
    assert rows[-1, 1] == {"row": 1, "samples": {}, "failures": []}
    assert rows[-1, 4] == {"row": 4, "samples": {}, "failures": [("toy", "number 100", "it is too large")]}


def test_every_draw_follows_from_seed_epoch_row_and_name(source):
    """The promise that makes a resume exact: the formula is fixed, and no global state takes part."""
    for seed, epoch, row in ((7, 0, 6), (7, 3, 6), (8, 0, 2)):
        rng = np.random.default_rng(random_state(seed, epoch, row, "toy"))
        index = int(rng.choice(source.choices(row)))
        expected = float(source.read(index).arrays["y"][0]) + rng.random() / 2
        np.random.seed(epoch)
        torch.manual_seed(row)
        assert DrawnRows({"toy": source}, seed)[epoch, row]["samples"]["toy"] == expected


def test_another_modality_changes_no_draw(source, data):
    alone = DrawnRows({"toy": source}, 7)[2, 6]["samples"]["toy"]
    first = DrawnRows({"other": Source("other", Toy(), data.table("toy")), "toy": source}, 7)[2, 6]["samples"]
    assert first["toy"] == alone
    assert first["other"] != alone


def test_a_batch_holds_present_rows_packed_in_order(source):
    numbers = np.arange(14, dtype=np.float32).reshape(7, 2)
    features = {"bits": np.arange(7, dtype=np.uint8)[:, None] * np.ones(3, np.uint8)}
    made = Collate({"toy": Toy(), "gone": Toy()}, numbers, features)(
        [DrawnRows({"toy": source}, 7)[-1, r] for r in (6, 4, 1, 0)]
    )
    assert made.molecule.tolist() == [6, 4, 1, 0]
    assert made.present["toy"].tolist() == [True, False, False, True]
    assert made.inputs["toy"].tolist() == [6.0, 0.0]
    assert made.present["gone"].tolist() == [False] * 4
    assert made.inputs["gone"].shape == (0,)
    assert made.scalar_features.tolist() == [[12.0, 13.0], [8.0, 9.0], [2.0, 3.0], [0.0, 1.0]]
    assert made.features["bits"].tolist() == [[6] * 3, [4] * 3, [1] * 3, [0] * 3]
    assert made.failures == (("toy", "number 100", "it is too large"),)
    made.features["bits"][0] = 9  # a batch may be written to, what it was made of stays
    made.scalar_features[0] = 9
    assert features["bits"][6].tolist() == [6, 6, 6]
    assert numbers[6].tolist() == [12.0, 13.0]


@pytest.mark.parametrize(
    ("count", "size", "sizes"), [(7, 3, [3, 3, 1]), (6, 3, [3, 3]), (2, 3, [2]), (3, 1, [1, 1, 1]), (0, 3, [])]
)
def test_batches_are_full_but_the_last(source, count, size, sizes):
    made = batches(source, range(count), batch_size=size, shuffle=False)
    assert len(made) == len(sizes)
    assert [len(batch.molecule) for batch in made.epoch()] == sizes
    assert [row for batch in molecules_in(made.epoch()) for row in batch] == list(range(count))


def test_an_epoch_is_a_permutation_of_its_own_and_comes_again(source):
    made = batches(source, [6, 5, 3, 2, 0])
    epochs = [[row for batch in molecules_in(made.epoch(e)) for row in batch] for e in range(6)]
    assert all(sorted(order) == [0, 2, 3, 5, 6] for order in epochs)
    assert len({tuple(order) for order in epochs}) > 1
    assert [row for batch in molecules_in(made.epoch(2)) for row in batch] == epochs[2]
    expected = np.random.default_rng(random_state(7, 4, "order")).permutation(np.array([6, 5, 3, 2, 0]))
    assert epochs[4] == expected.tolist()


def test_epochs_in_order_take_first_measurements_and_no_chance(source):
    made = batches(source, shuffle=False)
    first, again = ([batch.inputs["toy"].tolist() for batch in made.epoch(e)] for e in (0, 5))
    assert first == again == [[0.0, 2.0], [5.0], [6.0]]


def test_shuffled_epochs_draw_anew(source):
    made = batches(source, [6], batch_size=1)
    assert len({next(iter(made.epoch(epoch))).inputs["toy"].item() for epoch in range(8)}) == 8


@pytest.mark.parametrize("start", [0, 1, 2, 3])
def test_an_epoch_continues_from_any_batch(source, start):
    made = batches(source)
    whole = list(made.epoch(1))
    rest = list(made.epoch(1, start))
    assert molecules_in(rest) == molecules_in(whole)[start:]
    for a, b in zip(rest, whole[start:], strict=True):
        assert torch.equal(a.inputs["toy"], b.inputs["toy"])


def test_an_order_chosen_elsewhere_is_kept_and_still_drawn_from(source):
    made = batches(source, batch_size=2)
    order = np.array([6, 0, 6, 2])
    found = list(made.epoch(3, order=order))
    assert molecules_in(found) == [[6, 0], [6, 2]]
    assert any(value % 1 for batch in found for value in batch.inputs["toy"].tolist())


def test_making_batches_leaves_the_global_generators_alone(source):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    list(batches(source).epoch(0))
    assert torch.equal(torch.random.get_rng_state(), before)


# --- several processes and mini-batches


@pytest.mark.parametrize("processes", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("chunk", [None, 1, 2, 5])
def test_shares_of_all_processes_make_the_batches_of_one(source, processes, chunk):
    alone = molecules_in(batches(source, batch_size=4).epoch(2))
    made = [
        list(batches(source, batch_size=4, rank=rank, processes=processes, chunk=chunk).shares(2))
        for rank in range(processes)
    ]
    for number, batch in enumerate(alone):
        shares = [of_rank[number] for of_rank in made]
        assert {share.sizes for share in shares} == {divided(len(batch), processes)}
        for rank, share in enumerate(shares):
            own = [row for piece in share.chunks for row in piece.molecule.tolist()]
            assert (share.rank, own) == (rank, batch[share.rows])
            assert len(share.chunks) >= 1
            sizes = [len(piece.molecule) for piece in share.chunks]
            assert all(size == chunk for size in sizes[:-1]) if chunk else len(sizes) == 1
            assert max(sizes) <= (chunk or 4)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 64, 1001])
@pytest.mark.parametrize("parts", [1, 2, 3, 7, 100])
def test_rows_are_divided_evenly(count, parts):
    sizes = divided(count, parts)
    assert len(sizes) == parts
    assert sum(sizes) == count
    assert max(sizes) - min(sizes) <= 1


def test_a_share_knows_its_place_in_the_batch():
    sizes = (3, 0, 4)
    places = [BatchShard(chunks=(), rank=rank, sizes=sizes).rows for rank in range(3)]
    assert [list(range(7))[place] for place in places] == [[0, 1, 2], [], [3, 4, 5, 6]]


class Broken(Toy):
    """Fails by an error of its own."""

    def __init__(self, words):
        self.words = words

    def transform(self, measurement, rng):
        raise RuntimeError(self.words)


def test_a_worker_that_dies_is_one_sentence(data):
    """As torch words it; a process to kill would take seconds to start."""
    words = "DataLoader worker (pid(s) 4711) exited unexpectedly"
    made = batches(Source("toy", Broken(words), data.table("toy")), [0])
    with pytest.raises(DataError, match=r"^a loader process died; set `train.workers: 0`, or guard the script with"):
        list(made.epoch(0))


def test_what_a_plugin_raises_is_not_taken_for_a_dead_worker(data):
    made = batches(Source("toy", Broken("the plugin's own trouble"), data.table("toy")), [0], shuffle=False)
    with pytest.raises(RuntimeError, match="^the plugin's own trouble$"):
        list(made.epoch())


# --- the sources of a graph


def graph_of(*names, train=None, **towers):
    encoders = {"structure": Use("gine", width=8, hidden=8, layers=1)}
    return ModelGraph.of(
        embedding_dim=8,
        modalities={
            name: Use(name, **{"encoder": encoders.get(name, Use("mlp", width=8, hidden=[8])), **towers.get(name, {})})
            for name in names
        },
        loss=Use("all_pairs"),
        train=train or {},
    )


@pytest.fixture(scope="module")
def spectra(tmp_path_factory):
    """Three molecules: computed and measured IR spectra, a measured one, none; no Raman spectrum."""
    first, second, third = examples_of("ir", 3)

    def origin(m, text):
        return dataclasses.replace(m, columns={**m.columns, "origin": text})

    entries = [[origin(first, "computed"), origin(second, "measured")], origin(third, "measured"), None]
    path = tmp_path_factory.mktemp("spectra") / "data"
    record = installed().modality("ir")
    return DataSet.from_measurements(MOLECULES[:3], {"ir": entries}, path, stores={"ir": record.stores})


def opened(graph, data, **options):
    return sources(graph, build_modalities(graph), data, **options)


def test_stored_and_derived_modalities_are_opened_alike(spectra):
    made = opened(graph_of("structure", "ir"), spectra)
    assert list(made) == ["structure", "ir"]
    assert made["structure"].present(3).tolist() == [True, True, True]
    assert made["ir"].present(3).tolist() == [True, True, False]
    assert [one.missing for one in made.values()] == [None, None]


@pytest.mark.parametrize(
    ("where", "indices"), [({"origin": "measured"}, [1, 2]), ({"origin": "computed"}, [0]), ({}, [0, 1, 2])]
)
def test_where_admits_some_measurements(spectra, where, indices):
    graph = graph_of("structure", "ir", ir={"where": where})
    assert opened(graph, spectra)["ir"].measurements().tolist() == indices


def test_sampling_weights_are_by_value_and_one_for_the_others(spectra):
    graph = graph_of("structure", "ir", train={"sampling": {"ir": {"origin": {"computed": 3.0}}}})
    one = opened(graph, spectra)["ir"]
    rng = np.random.default_rng(1)
    drawn = Counter(one.draw(0, rng) for _ in range(1500))
    assert drawn[0] / 1500 == pytest.approx(0.75, abs=0.05)
    never = graph_of("structure", "ir", train={"sampling": {"ir": {"origin": {"measured": 0.0}}}})
    assert opened(never, spectra)["ir"].present(3).tolist() == [True, False, False]


def test_a_modality_that_the_data_set_lacks_is_refused_or_empty(spectra):
    graph = graph_of("structure", "ir", "raman")
    lacks = f"data set {str(spectra.path)!r} has no measurements 'raman' for modality 'raman'; allowed: 'ir'"
    with pytest.raises(DataError) as caught:
        opened(graph, spectra)
    assert str(caught.value) == lacks
    made = opened(graph, spectra, missing="empty")
    assert made["raman"].missing == lacks
    assert not made["raman"].present(3).any()
    assert made["ir"].missing is None


def test_a_where_without_a_measurement_is_named_with_what_to_change(tmp_path):
    first = examples_of("ir", 1)[0]
    stores = {"ir": installed().modality("ir").stores}
    only = DataSet.from_measurements(["CCO"], {"ir": [first]}, tmp_path / "d", stores=stores)
    graph = graph_of("structure", "ir", ir={"where": {"origin": "measured"}})
    with pytest.raises(DataError) as caught:
        opened(graph, only)
    assert str(caught.value) == (
        f"modality 'ir' finds no measurement in {str(only.path)!r} where {{'origin': 'measured'}}; change `where`, or "
        "import such measurements"
    )


def test_without_any_stored_modality_even_an_empty_source_is_refused(spectra):
    with pytest.raises(DataError, match="no measurements 'raman' for modality 'raman'"):
        opened(graph_of("structure", "raman"), spectra, missing="empty")


def test_scalar_features_are_columns_in_the_order_asked_for(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("smiles,mp,bp\nC,1.5,\nCC,,4\n")
    import_files([], tmp_path / "d", host=Host(plugins=()), table=table, numeric=["mp", "bp"])
    data = DataSet(tmp_path / "d")
    found = scalar_table(data, ["bp", "exact_mass", "mp"])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[np.nan, 16.0313, 1.5], [4.0, 30.04695, np.nan]], rtol=1e-6)
    assert scalar_table(data, []).shape == (2, 0)
    assert scalar_table(data, ["molecular_weight"])[:, 0].tolist() == pytest.approx(
        [average_mass(formula) for formula in data.formulas()]
    )
    with pytest.raises(DataError, match="no numeric column `pb`; allowed: 'bp', 'mp'"):
        scalar_table(data, ["pb"])
