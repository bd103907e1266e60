"""A query of one unknown: what is read, what is left out, and what reaches the library."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch

from molchord.api import Measurement, SampleError
from molchord.domain import domain_of
from molchord.errors import QueryError
from molchord.query import Query, query_of
from molchord.search import search
from molchord.testing import examples_of, tiny_run


@pytest.fixture(scope="module")
def run():
    return tiny_run()


@pytest.fixture(scope="module")
def library(run):
    return run.library(["CCO", "CC#N", "CSC", "c1ccccc1", "CC(C)=O"])


class Sees:
    """A library that notes what it is asked, and finds nothing."""

    def __init__(self):
        self.asked = {}

    def search(self, vectors, **asked):
        self.asked = {"vectors": vectors, **asked}
        return []

    def filter(self, **limits):
        return []


def asked_of(run, *, features=(), **given):
    graph = run.graph
    if features:
        node = dataclasses.replace(graph.modalities["ir"], scalar_features=tuple(features))
        graph = dataclasses.replace(graph, modalities={**graph.modalities, "ir": node})
    embedder = dataclasses.replace(run.embedder, graph=graph)
    sees = Sees()
    query = Query(measurements={"ir": examples_of("ir", 1)}, vectors={"ir": torch.zeros(16)})
    assert search(embedder, run.manifest, sees, query, **given) == []
    return sees.asked


def test_several_spectra_of_one_modality_are_one_factor(run):
    given = examples_of("ir", 3)
    query = query_of(run.embedder, {"ir": given})
    assert list(query.measurements["ir"]) == given
    rows = run.embedder.embed("ir", given)
    mean = rows.mean(dim=0)
    torch.testing.assert_close(query.vectors["ir"], mean / mean.norm())


def test_nothing_and_what_is_retrieved_are_no_query(run):
    for spectra, said in (
        ({}, "no spectrum was given; give one or more of 'ir'"),
        ({"structure": "CCO"}, "modality 'structure' is what is retrieved; give one or more of 'ir'"),
        (
            {"ir": examples_of("ir", 1), "structure": "C"},
            "modality 'structure' is what is retrieved; give one or more of 'ir'",
        ),
    ):
        with pytest.raises(QueryError) as caught:
            query_of(run.embedder, spectra)
        assert str(caught.value) == said
    with pytest.raises(QueryError, match="has no modality 'raman'"):
        query_of(run.embedder, {"raman": examples_of("ir", 1)})


class Fussy:
    """Refuses the measurements numbered."""

    def __init__(self, built, given, refused):
        self._built, self._given, self._refused = built, given, refused

    def __getattr__(self, name):
        return getattr(self._built, name)

    def transform(self, measurement, rng):
        for number in self._refused:
            if measurement is self._given[number]:
                raise SampleError("x", f"number {number} is bad")
        return self._built.transform(measurement, rng)


@pytest.mark.parametrize("refused", [[1], [0, 2]])
def test_measurements_that_cannot_be_used_are_left_out_with_a_warning(run, refused):
    given = examples_of("ir", 4)
    fussy = Fussy(run.modalities["ir"], given, refused)
    embedder = dataclasses.replace(run.embedder, modalities={**run.modalities, "ir": fussy})
    with pytest.warns(UserWarning, match="cannot be used") as caught:
        query = query_of(embedder, {"ir": given})
    assert [str(w.message) for w in caught] == [
        f"{len(refused)} of 4 measurements of 'ir' cannot be used (number {refused[0]} is bad); the others are searched with"
    ]
    kept = [m for i, m in enumerate(given) if i not in refused]
    assert query.measurements["ir"] == kept
    torch.testing.assert_close(query.vectors["ir"], query_of(run.embedder, {"ir": kept}).vectors["ir"])


def test_where_none_can_be_used_the_reason_is_the_error(run):
    given = examples_of("ir", 2)
    fussy = Fussy(run.modalities["ir"], given, [0, 1])
    embedder = dataclasses.replace(run.embedder, modalities={**run.modalities, "ir": fussy})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(QueryError, match=r"a measurement of 'ir' cannot be used \(x: number 0 is bad\)"):
            query_of(embedder, {"ir": given})


def test_the_mass_reaches_the_towers(run):
    seen = []

    embedder = run.embedder
    original = type(embedder).embed

    def noting(self, modality, measurements, scalar_features=None):
        seen.append(scalar_features)
        return original(self, modality, measurements, scalar_features)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(embedder), "embed", noting)
        query_of(embedder, {"ir": examples_of("ir", 1)}, 46.04)
        query_of(embedder, {"ir": examples_of("ir", 1)})
    assert seen == [{"exact_mass": 46.04, "molecular_weight": pytest.approx(46.07, abs=0.01)}, {}]


@pytest.mark.parametrize(
    ("features", "given", "window"),
    [
        ((), {"mass": 46.0}, 46.0),  # a filter, which needs its window
        ((), {"mass": 46.0, "ppm": 5.0}, 46.0),
        (("exact_mass",), {"mass": 46.0}, None),  # the tower takes it in
        (("exact_mass",), {"mass": 46.0, "ppm": 5.0}, 46.0),
        (("exact_mass",), {"mass": 46.0, "da": 0.0}, 46.0),  # a width of nought is given
        (("mp",), {"mass": 46.0}, 46.0),
        ((), {}, None),
    ],
)
def test_a_mass_is_a_filter_unless_a_tower_takes_it(run, features, given, window):
    asked = asked_of(run, features=features, **given)
    assert asked["mass"] == window
    assert (asked["ppm"], asked["da"]) == (given.get("ppm"), given.get("da"))


def test_what_a_run_has_learned_is_searched_with(run):
    asked = asked_of(run, k=7, fusion="gm-half", mode="library", formula="C2H6O", index="fast")
    assert [asked[name] for name in ("k", "fusion", "mode", "formula", "index")] == [
        7,
        "gm-half",
        "library",
        "C2H6O",
        "fast",
    ]
    assert asked["tau"] == run.manifest.tau
    assert asked["pair_tau"] == run.model.pair_temperatures()
    assert asked["calibration"] == (run.manifest.beta or None)
    assert asked["device"] == "cpu"
    default = asked_of(run)
    assert [default[name] for name in ("k", "fusion", "mode", "formula", "index")] == [
        25,
        "gm-exp",
        "blind",
        None,
        None,
    ]


@pytest.mark.parametrize("k", [1, 3, 5, 50])
def test_as_many_hits_as_asked_for_by_descending_score(run, library, k):
    hits = run.search(library, ir=examples_of("ir", 1), k=k)
    assert [hit.rank for hit in hits] == list(range(1, min(k, 5) + 1))
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    more = run.search(library, ir=examples_of("ir", 1), k=50)
    assert [hit.smiles for hit in hits] == [hit.smiles for hit in more][:k]


@pytest.mark.parametrize("k", [0, -1, 2.5, "3", None])
def test_a_number_of_hits_that_is_none_is_refused(run, library, k):
    with pytest.raises(QueryError, match=rf"`k` is {k!r}, but must be a whole number of at least 1"):
        run.search(library, k=k, ir=examples_of("ir", 1))


def test_hits_beyond_the_training_set_are_marked_in_blind_mode(run, library, monkeypatch):
    monkeypatch.setattr(run.manifest, "domain", {"ir": domain_of(["C2H6O"] * 100)})
    with pytest.warns(UserWarning, match="beyond what 'ir' was trained on") as caught:
        hits = run.search(library, ir=examples_of("ir", 1))
    assert [warning.filename for warning in caught] == [__file__]
    marked = {hit.smiles for hit in hits if hit.quality_warnings}
    assert marked == {"CC#N", "CSC", "c1ccccc1", "CC(C)=O"}


def test_hits_are_those_of_plain_cosines(run, library):
    spectrum = run.embed("ir", examples_of("ir", 1))[0].astype(np.float64)
    smiles = ["CCO", "CC#N", "CSC", "c1ccccc1", "CC(C)=O"]
    cosines = dict(zip(smiles, run.embed("structure", smiles).astype(np.float64) @ spectrum, strict=True))
    hits = run.search(library, ir=examples_of("ir", 1), k=5)
    assert [hit.smiles for hit in hits] == sorted(cosines, key=cosines.get, reverse=True)
    tau = run.manifest.tau["ir"]
    for hit in hits:
        assert hit.cosines["ir"] == pytest.approx(cosines[hit.smiles], abs=1e-6)
        assert hit.score == pytest.approx(np.exp((cosines[hit.smiles] - 1) / tau), rel=1e-4)


def test_a_spectrum_of_no_reading_is_refused(run, library):
    empty = Measurement(arrays={}, columns={"origin": "measured"})
    with pytest.raises(QueryError, match="a measurement of 'ir' cannot be used"):
        run.search(library, ir=empty)


def test_what_is_left_out_of_a_query_is_warned_of_at_the_callers_line():
    run = tiny_run()
    good = examples_of("ir", 1)
    bad = Measurement(arrays={"wavenumber": np.array([500.0]), "absorbance": np.array([1.0])})
    with pytest.warns(UserWarning, match="1 of 2 measurements of 'ir' cannot be used") as said:
        run.search(run.library(["CCO", "CC#N"]), ir=[*good, bad])
    assert said[0].filename == __file__
