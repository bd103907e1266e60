"""A model at work: chunks, scalar features, what cannot be used, and a memory that is too small."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch

from molchord.api import Measurement, SampleError
from molchord.embedder import EMBEDDED_AT_ONCE, Embedder
from molchord.errors import QueryError, RunError
from molchord.run_folder import read_run_manifest, write_run_manifest
from molchord.testing import examples_of, tiny_run


@pytest.fixture(scope="module")
def embedder():
    return tiny_run().embedder


class Plain:
    """Turns a measurement's one number into a vector; refuses what is negative."""

    def __init__(self):
        self.sizes = []

    def transform(self, measurement, rng):
        assert rng is None
        if measurement.arrays["x"][0] < 0:
            raise SampleError("sample 3", "it is negative")
        return float(measurement.arrays["x"][0])

    def collate(self, samples):
        self.sizes.append(len(samples))
        return torch.tensor(samples)


class Towers:
    """Embeds a number as (number, its scalar features)."""

    def __init__(self, most=None, error=None):
        self.most, self.error, self.tables = most, error, []

    def embed(self, name, batch, scalar_features):
        if self.most is not None and len(batch) > self.most:
            raise self.error
        self.tables.append(scalar_features)
        return torch.stack([batch, torch.ones(len(batch)), *scalar_features.nan_to_num(0.0).T], dim=1)


def numbers(*values, **columns):
    return [Measurement(arrays={"x": np.array([value])}, columns=columns) for value in values]


def made(embedder, features=(), **towers):
    graph = dataclasses.replace(embedder.graph, embedding_dim=2 + len(features), scalar_features=tuple(features))
    plain = Plain()
    one = dataclasses.replace(embedder, graph=graph, model=Towers(**towers), modalities={"ir": plain})
    return one, plain


def test_vectors_are_unit_rows_in_the_order_given(embedder):
    one, _ = made(embedder)
    found = one.embed("ir", numbers(3.0, 0.0, 0.75))
    torch.testing.assert_close(
        found, torch.tensor([[3, 1], [0, 1], [0.75, 1]]) / torch.tensor([[10.0], [1], [1.5625]]).sqrt()
    )


@pytest.mark.parametrize(
    "count", [0, 1, EMBEDDED_AT_ONCE - 1, EMBEDDED_AT_ONCE, EMBEDDED_AT_ONCE + 1, 2 * EMBEDDED_AT_ONCE + 3]
)
def test_measurements_are_embedded_in_chunks_that_are_always_the_same(embedder, count):
    one, plain = made(embedder)
    found = one.embed("ir", numbers(*range(count)))
    assert found.shape == (count, 2)
    assert plain.sizes == [EMBEDDED_AT_ONCE] * (count // EMBEDDED_AT_ONCE) + (
        [count % EMBEDDED_AT_ONCE] if count % EMBEDDED_AT_ONCE else []
    )
    torch.testing.assert_close(found[:, 0] / found[:, 1], torch.arange(count, dtype=torch.float32))


def test_scalar_features_are_those_given_then_a_measurements_own(embedder):
    one, _ = made(embedder, ["exact_mass", "mp"])
    first, second = numbers(1.0, exact_mass=50.0)[0], numbers(1.0, mp=7.0, exact_mass=None)[0]
    one.embed("ir", [first, second])
    one.embed("ir", [first, second], {"exact_mass": 46.0})
    one.embed("ir", [first, second], {"exact_mass": 0.0, "other": 9.0})
    expected = [[[50, np.nan], [np.nan, 7]], [[46, np.nan], [46, 7]], [[0, np.nan], [0, 7]]]
    for table, rows in zip(one.model.tables, expected, strict=True):
        np.testing.assert_array_equal(table.numpy(), np.array(rows, np.float32))


def test_a_measurement_that_cannot_be_used_is_named(embedder):
    one, _ = made(embedder)
    with pytest.raises(QueryError) as caught:
        one.embed("ir", numbers(1.0, -1.0))
    assert str(caught.value) == "a measurement of 'ir' cannot be used (sample 3: it is negative); give another one"


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory: you tried")],
)
@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_halves_of_a_chunk_go_through_a_small_memory(embedder, most, error):
    one, plain = made(embedder, ["exact_mass"], most=most, error=error)
    given = [number for value in range(11) for number in numbers(value, exact_mass=100.0 + value)]
    found = one.embed("ir", given)
    whole, _ = made(embedder, ["exact_mass"])
    torch.testing.assert_close(found, whole.embed("ir", given))
    assert max(plain.sizes[1:]) <= 6


def test_no_memory_for_one_measurement_is_one_sentence(embedder):
    one, _ = made(embedder, most=0, error=MemoryError())
    with pytest.raises(RunError) as caught:
        one.embed("ir", numbers(1.0, 2.0))
    assert str(caught.value) == (
        "there is no memory on 'cpu' to embed one measurement of 'ir'; close other programs, or embed on another device"
    )


def test_other_errors_are_not_halved_away(embedder):
    one, plain = made(embedder, most=0, error=RuntimeError("size mismatch"))
    with pytest.raises(RuntimeError, match="^size mismatch$"):
        one.embed("ir", numbers(1.0, 2.0))
    assert plain.sizes == [2]


def test_a_modality_that_the_run_lacks_is_named(embedder):
    with pytest.raises(QueryError) as caught:
        embedder.measurements("irr", "a.jdx")
    assert str(caught.value) == f"run {str(embedder.path)!r} has no modality 'irr'; did you mean 'ir'?"


@pytest.mark.parametrize(
    ("where", "of_one", "kept"),
    [
        ({"source": "a"}, True, [0, 2]),
        ({"source": "a"}, False, [0, 1, 2]),
        ({"source": "zz"}, True, [2]),  # what does not say is kept
        ({}, True, [0, 1, 2]),
        ({"origin": "computed"}, True, [0, 1, 2]),
    ],
)
def test_of_one_molecule_those_are_taken_that_the_graph_is_about(embedder, where, of_one, kept):
    first, second, third = examples_of("ir", 3)
    given = [
        dataclasses.replace(first, columns={"source": "a", "origin": "measured"}),
        dataclasses.replace(second, columns={"source": "b", "origin": "measured"}),
        dataclasses.replace(third, columns={"origin": "measured"}),
    ]
    node = dataclasses.replace(embedder.graph.modalities["ir"], where=where)
    graph = dataclasses.replace(embedder.graph, modalities={**embedder.graph.modalities, "ir": node})
    found = dataclasses.replace(embedder, graph=graph).measurements("ir", given, of_one=of_one)
    assert [id(one) for one in found] == [id(given[i]) for i in kept]


def test_where_all_are_of_something_else_they_are_taken_after_all(embedder):
    """The search then warns of them; no query at all would say less."""
    (one,) = (dataclasses.replace(m, columns={"source": "b", "origin": "measured"}) for m in examples_of("ir", 1))
    node = dataclasses.replace(embedder.graph.modalities["ir"], where={"source": "a"})
    graph = dataclasses.replace(embedder.graph, modalities={**embedder.graph.modalities, "ir": node})
    assert dataclasses.replace(embedder, graph=graph).measurements("ir", one, of_one=True) == [one]


# --- loading


def test_a_loaded_model_is_in_evaluation_and_has_the_manifests_temperatures(tmp_path):
    shutil.copytree(tiny_run().path, tmp_path / "run")
    manifest = read_run_manifest(tmp_path / "run")
    manifest.tau = {"ir": 0.123}
    write_run_manifest(tmp_path / "run", manifest)
    found = Embedder.load(tmp_path / "run", device="cpu")
    assert not found.model.training
    assert (found.tau, found.candidate, found.spectra) == ({"ir": 0.123}, "structure", ("ir",))
    manifest.tau = {}  # of a training that is not finished
    learned = Embedder.load(tmp_path / "run", manifest=manifest)
    assert learned.tau == learned.model.temperatures()
    given = examples_of("ir", 3)
    torch.testing.assert_close(found.embed("ir", given), tiny_run().embedder.embed("ir", given), rtol=0, atol=0)


def test_a_run_without_weights_says_how_to_finish_it(tmp_path):
    shutil.copytree(tiny_run().path, tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    with pytest.raises(RunError) as caught:
        Embedder.load(tmp_path / "run")
    path = tmp_path / "run"
    assert str(caught.value) == f"run {str(path)!r} has no weights yet; finish it with `molchord train --resume {path}`"


class Mirrored(Plain):
    """Shows a number of two and more a second time, turned over."""

    def views(self, sample):
        return [sample] if abs(sample) < 2 else [sample, -sample]


@pytest.mark.parametrize("most", [None, 2])
def test_the_vector_of_several_views_is_their_mean_direction(embedder, most):
    one, _ = made(embedder, ("exact_mass",), most=most, error=MemoryError())
    one = dataclasses.replace(one, modalities={"ir": Mirrored()})
    table = np.array([[1.0], [2.0], [3.0]], dtype=np.float32)
    found = one.embed_samples("ir", [1.0, 3.0, 0.5], table)
    expected = torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 2.0], [0.5, 1.0, 3.0]])
    torch.testing.assert_close(found, torch.nn.functional.normalize(expected, dim=1))
