"""Pictures of what a model learned: their numbers against plain loops, and what a report shows of them."""

import dataclasses
import json
import math
import re
import sys
from html.parser import HTMLParser
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from molchord.chem import substructures
from molchord.errors import DataError
from molchord.evaluate.confusion import confusion
from molchord.evaluate.embedded import Embedded, Spectra, queries_of
from molchord.evaluate.embedding import embed_dataset
from molchord.evaluate.pictures import Pictures
from molchord.evaluate.pictures_page import pictures_page
from molchord.evaluate.picturing import chosen_subsets, make_pictures
from molchord.evaluate.reliability import FEWEST, binned, reliabilities, wilson
from molchord.evaluate.robustness import against_noise, against_pool_size, expected_top, pool_sizes, values_of
from molchord.evaluate.space import first_measurements, neighbourhoods, principal_axes, space_map
from molchord.host import installed
from molchord.properties import AskedProperty
from molchord.retrieval.metrics import Counts, Members, tally
from molchord.testing import MOLECULES, examples_of, tiny_data, tiny_run
from molchord_properties.functional_groups import GROUPS

COUNT, DIM = 12, 4


def unit_rows(rng, count):
    return torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(count, DIM))), dim=1)


def made_up(count=COUNT, seed=0):
    """Molecules of which all have an `a` spectrum, the first two of them, and every second one a `b` spectrum."""
    rng = np.random.default_rng(seed)
    candidates = unit_rows(rng, count)
    owners = {"a": np.array([*range(count), *range(min(2, count))]), "b": np.arange(0, count, 2)}
    spectra = {
        name: Spectra(
            molecule=owner,
            vectors=torch.nn.functional.normalize(
                candidates[torch.from_numpy(owner)] + unit_rows(rng, len(owner)), dim=1
            ),
        )
        for name, owner in owners.items()
    }
    return Embedded(
        key14=[f"K{i}" for i in range(count)],
        smiles=MOLECULES[:count],
        formula=["C"] * count,
        exact_mass=100.0 + np.arange(count),
        split=np.full(count, 2),
        trained=np.zeros(count, bool),
        candidates=candidates,
        present=np.ones(count, bool),
        spectra=spectra,
    )


@pytest.fixture(scope="module")
def tiny():
    """The kit's run, with its data embedded."""
    run = tiny_run()
    return run, embed_dataset(run.embedder, tiny_data(), mass_seed=0)


def pictured(run, found, **changes):
    embedded = dataclasses.replace(found.embedded, **changes)
    return make_pictures(run.embedder, run.manifest, tiny_data(), dataclasses.replace(found, embedded=embedded))


# --- pool size and noise


@pytest.mark.parametrize("size", [1, 2, 4, 7])
@pytest.mark.parametrize("k", [1, 3])
def test_top_k_over_pools_is_the_mean_over_all_that_can_be_drawn(size, k):
    before, others = 2, 6
    counts = Counts(**one_query(above=1, level=1, size=others + 1))
    pools = list(combinations(range(others), size - 1))  # of the others, 0 and 1 rank before the molecule
    expected = np.mean([1 + sum(other < before for other in pool) <= k for pool in pools])
    assert expected_top(counts, size, k)[0] == pytest.approx(expected)


def one_query(*, above, level, size, found=True):
    numbers = {"above": above, "level": level, "size": size, "rival": 0}
    return {name: np.array([n]) for name, n in numbers.items()} | {"found": np.array([found])}


def test_a_molecule_that_is_not_among_the_candidates_is_never_found():
    assert expected_top(Counts(**one_query(above=0, level=0, size=5, found=False)), 2, 1).tolist() == [0.0]


def test_the_curve_ends_where_the_whole_pool_was_measured():
    embedded = made_up()
    queries = queries_of(embedded, ("a",), "test", most=1)
    scores = embedded.spectra["a"].vectors[:COUNT] @ embedded.candidates.T
    pool = Members(torch.ones(COUNT, dtype=torch.bool))
    counts = tally(lambda rows, columns: scores[rows][:, columns], queries.truth(embedded), [pool], COUNT)[0]
    curve = against_pool_size(queries, counts)
    assert curve.at == (2.0, 5.0, 10.0, 12.0) == tuple(map(float, pool_sizes(COUNT)))
    assert curve.metrics["top1"][-1].value == pytest.approx(np.mean(counts.rank == 1))
    values = [one.value for one in curve.metrics["top1"]]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1]


def test_noise_replaces_the_vectors_of_the_queries_alone():
    embedded = made_up()
    queries = queries_of(embedded, ("a",), "test", most=1)
    opposite = -embedded.candidates[torch.from_numpy(embedded.spectra["a"].molecule)]
    lost = torch.full_like(opposite, torch.nan)
    curve = against_noise(
        embedded, queries, {0.1: {"a": -opposite}, 0.2: {"a": opposite}, 0.3: {"a": lost}}, split="test"
    )
    clean = (embedded.spectra["a"].vectors[:COUNT] @ embedded.candidates.T).argmax(dim=1) == torch.arange(COUNT)
    assert [one.value for one in curve.metrics["top1"]] == [pytest.approx(clean.double().mean()), 1.0, 0.0, 0.0]
    assert (curve.over, curve.at, curve.molecules) == ("noise", (0.0, 0.1, 0.2, 0.3), COUNT)


@pytest.mark.parametrize("name", ["ir", "raman"])
def test_noise_is_put_on_the_curve_that_sticks_become(name):
    record = installed().modality(name)
    config = record.config()
    modality, spec = record.build(config, record.kinds[0]), record.spec(config, record.kinds[0])
    [measurement] = examples_of(name, 1)
    values = values_of(measurement, record, spec, modality)
    before = modality.trace(measurement).height
    without = modality.trace(values.noisy(0.0, np.random.default_rng(0))).height
    assert np.abs(without - before).max() < 0.05  # a reader takes the mean over each cell
    noisy = values.noisy(0.1, np.random.default_rng(0)).arrays[values.value_name]
    assert np.std(noisy - before) == pytest.approx(0.1, rel=0.1)


def test_noise_moves_the_heights_of_peaks_and_no_place():
    record = installed().modality("msms")
    config = record.config()
    modality, spec = record.build(config, record.kinds[0]), record.spec(config, record.kinds[0])
    [measurement] = examples_of("msms", 1)
    noisy = values_of(measurement, record, spec, modality).noisy(0.2, np.random.default_rng(0))
    assert set(noisy.arrays["mz"]) <= set(measurement.arrays["mz"])
    assert (noisy.arrays["intensity"] > 0).all()
    assert len(noisy.arrays["mz"]) == len(noisy.arrays["intensity"]) > 0
    assert noisy.columns == measurement.columns


def test_what_stores_no_heights_gets_no_noise():
    record = installed().modality("nmr")
    config = record.config()
    modality, spec = record.build(config, record.kinds[0]), record.spec(config, record.kinds[0])
    assert values_of(examples_of("nmr", 1)[0], record, spec, modality) is None


# --- stated against found


@pytest.mark.parametrize(("share", "count"), [(0.0, 7), (0.3, 10), (1.0, 3)])
def test_the_ends_of_a_score_interval_are_as_far_off_as_chance_allows(share, count):
    found = wilson(share, count)
    for end in (found.low, found.high):
        if end not in (0.0, 1.0):
            assert abs(end - share) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / count))
    assert found.low <= share <= found.high


def test_bins_count_searches_and_queries():
    rng = np.random.default_rng(0)
    stated, query = np.append(rng.random(200), 1.0), rng.integers(0, 50, 201)
    true = rng.random(201) < stated
    bins = binned(stated, true, query)
    assert sum(one.searches for one in bins) == 201
    for one in bins:
        here = [i for i in range(201) if one.low <= stated[i] < one.high or (one.high == 1.0 and stated[i] == 1.0)]
        assert one.searches == len(here)
        assert one.queries == len({query[i] for i in here})
        assert one.stated == pytest.approx(sum(stated[i] for i in here) / len(here))
        assert one.found.value == pytest.approx(sum(map(float, true[here])) / len(here))


def test_without_a_fit_of_none_of_these_the_molecule_is_always_a_candidate():
    embedded = made_up(count=16)
    wide = dataclasses.replace(
        embedded, spectra={"a": Spectra(molecule=np.arange(16), vectors=embedded.spectra["a"].vectors[:16])}
    )
    assert reliabilities(wide, ("a",), beta={1: 1.0}, absence={}, background=None) == ()  # too few queries
    many = repeated(wide, 1 + FEWEST // 16)
    assert reliabilities(many, ("a",), beta={}, absence={}, background=None) == ()  # nothing calibrated
    [one] = reliabilities(many, ("a",), beta={1: 2.0}, absence={}, background=None)
    cosines = many.spectra["a"].vectors @ many.candidates.T
    stated = (2.0 * cosines.double()).softmax(dim=1).max(dim=1).values
    right = cosines.argmax(dim=1) == torch.arange(len(many))
    assert (one.event, one.absent, sum(part.searches for part in one.bins)) == ("first hit", 0.0, len(many))
    weighted = sum(part.searches * part.stated for part in one.bins) / len(many)
    assert weighted == pytest.approx(float(stated.mean()), rel=1e-5)
    found = sum(part.searches * part.found.value for part in one.bins)
    assert found == pytest.approx(float(right.sum()))


def repeated(embedded, times):
    """The same molecules several times, each with vectors turned in a direction of its own."""
    rng = np.random.default_rng(5)
    parts = [embedded, *(made_up(len(embedded), seed=int(rng.integers(1000))) for _ in range(times - 1))]
    count = len(embedded) * times
    vectors = torch.cat([part.spectra["a"].vectors[: len(embedded)] for part in parts])
    return Embedded(
        key14=[f"K{i}" for i in range(count)],
        smiles=[smiles for part in parts for smiles in part.smiles],
        formula=["C"] * count,
        exact_mass=np.arange(count) + 100.0,
        split=np.full(count, 2),
        trained=np.zeros(count, bool),
        candidates=torch.cat([part.candidates for part in parts]),
        present=np.ones(count, bool),
        spectra={"a": Spectra(molecule=np.arange(count), vectors=vectors)},
    )


# --- groups


def test_confusions_count_what_wrong_first_hits_have_instead():
    embedded = made_up(count=16)
    molecule = np.arange(16)
    first = np.roll(molecule, 5)
    first[[0, 3]] = molecule[[0, 3]]  # right
    first[7] = -1  # nothing found
    found = confusion(embedded, AskedProperty("functional_groups"), ("a",), molecule, first)
    groups = {s: dict(zip(GROUPS, substructures(s, list(GROUPS.values())), strict=True)) for s in embedded.smiles}
    answered = [(embedded.smiles[m], embedded.smiles[f]) for m, f in zip(molecule, first, strict=True) if f >= 0]
    wrong = [(own, hit) for own, hit in answered if own != hit]
    assert (found.queries, found.wrong) == (15, 13)
    assert found.has.tolist() == [sum(groups[own][g] for own, _ in answered) for g in GROUPS]
    assert found.wrong_has.tolist() == [sum(groups[own][g] for own, _ in wrong) for g in GROUPS]
    assert found.lost.tolist() == [sum(groups[own][g] and not groups[hit][g] for own, hit in wrong) for g in GROUPS]
    expected = [
        [sum(groups[o][a] and not groups[h][a] and groups[h][b] and not groups[o][b] for o, h in wrong) for b in GROUPS]
        for a in GROUPS
    ]
    assert found.instead.tolist() == expected
    assert found.instead.sum() > 0


# --- the space


def test_principal_axes_are_those_of_the_covariance():
    vectors = torch.from_numpy(np.random.default_rng(0).normal(size=(30, DIM)) * [5, 3, 1, 0.5])
    places, shares = principal_axes(vectors)
    variances = np.linalg.eigvalsh(np.cov(vectors.numpy().T))[::-1]
    assert places.var(axis=0, ddof=1) == pytest.approx(variances[:2])
    assert shares == pytest.approx(tuple(variances[:2] / variances.sum()))
    assert np.corrcoef(places.T)[0, 1] == pytest.approx(0, abs=1e-9)


def test_a_map_has_the_first_spectrum_of_each_kind_where_there_is_one():
    embedded = made_up()
    assert first_measurements(embedded, "a").tolist() == list(range(COUNT))
    rows = np.array([1, 2, 5])
    space = space_map(embedded, rows)
    assert (space.projection, space.key14) == ("pca", ["K1", "K2", "K5"])
    assert np.isfinite(space.spectra["a"]).all()
    assert np.isfinite(space.spectra["b"]).all(axis=1).tolist() == [False, True, False]
    assert space.numbers["exact mass / Da"].tolist() == [101.0, 102.0, 105.0]
    assert space.numbers["number of rings"].tolist() == [0.0, 1.0, 0.0]  # acetone, benzene, triethylamine


def test_a_map_of_one_molecule_is_a_point():
    embedded = made_up(count=1)
    space = space_map(embedded, np.array([0]))
    assert np.isfinite(space.molecules).all()
    alone = dataclasses.replace(embedded, spectra={})
    assert space_map(alone, np.array([0])).explained == (0.0, 0.0)


def test_neighbours_are_the_nearest_by_cosine():
    embedded = made_up()
    [near] = neighbourhoods(embedded, [2], count=3)
    like = {i: float(embedded.candidates[i] @ embedded.candidates[2]) for i in range(COUNT) if i != 2}
    assert [one.key14 for one in near.structures] == [f"K{i}" for i in sorted(like, key=lambda i: -like[i])[:3]]
    of_b = embedded.spectra["b"]
    like = {int(o): float(v @ embedded.candidates[2]) for o, v in zip(of_b.molecule, of_b.vectors, strict=True)}
    best = sorted(like, key=lambda i: -like[i])
    assert [one.key14 for one in near.spectra["b"]] == [f"K{i}" for i in best[:3]]
    assert near.own_rank["b"] == 1 + best.index(2)
    assert all(one.own == (one.key14 == "K2") for one in near.spectra["b"])


def test_umap_lays_out_all_vectors_by_cosine(tmp_path, monkeypatch):
    (tmp_path / "umap.py").write_text(
        "class UMAP:\n"
        "    def __init__(self, **given):\n        self.given = given\n"
        "    def fit_transform(self, vectors):\n"
        "        return vectors[:, :2] + (self.given['metric'] == 'cosine') * self.given['random_state']\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "umap", raising=False)
    embedded = made_up()
    space = space_map(embedded, np.arange(COUNT), projection="umap", seed=3)
    assert (space.projection, space.explained) == ("umap", ())
    assert np.allclose(space.molecules, embedded.candidates[:, :2].numpy() + 3)
    monkeypatch.delitem(sys.modules, "umap", raising=False)


def test_a_projection_that_cannot_be_made_is_refused_before_anything_is_measured(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(DataError, match=r"needs umap-learn, .*pip install 'molchord\[umap\]'"):
        tiny_run().evaluate(pictures=True, projection="umap")
    with pytest.raises(DataError, match="unknown projection 'tsne'; allowed: 'pca', 'umap'"):
        tiny_run().evaluate(pictures=True, projection="tsne")


# --- all together


def test_pictures_are_of_each_spectrum_alone_and_of_the_most_together():
    embedded = made_up()
    assert chosen_subsets(embedded, "test") == [("a",), ("b",), ("a", "b")]
    odd = dataclasses.replace(embedded, split=np.where(np.arange(COUNT) % 2 == 1, 2, 0))
    assert chosen_subsets(odd, "test") == [("a",)]
    assert chosen_subsets(odd, "val") == []


def test_a_run_that_was_not_calibrated_says_so(tiny):
    run, found = tiny
    pictures = make_pictures(run.embedder, run.manifest.model_copy(update={"beta": {}}), tiny_data(), found)
    assert pictures.reliability == ()
    assert any("were not calibrated for such queries" in note for note in pictures.notes)
    assert [curve.over for curve in pictures.curves] == ["pool size", "noise"]
    assert json.loads(json.dumps(pictures.as_dict(), allow_nan=False))["space"]["projection"] == "pca"


def test_one_molecule_is_enough(tiny):
    run, found = tiny
    split = np.zeros(len(found.embedded), dtype=np.int64)
    split[3] = 2
    pictures = pictured(run, found, split=split)
    assert pictures.space.key14 == [found.embedded.key14[3]]
    assert [near.key14 for near in pictures.neighbourhoods] == pictures.space.key14
    assert all(curve.molecules == 1 for curve in pictures.curves)
    assert "<svg" in pictures_page(pictures)


def test_molecules_without_a_vector_are_not_found_and_not_drawn(tiny):
    run, found = tiny
    pictures = pictured(run, found, present=found.embedded.present & ~found.embedded.in_split("test"))
    assert pictures.space is None
    assert all(one.value == 0 for curve in pictures.curves for one in curve.metrics["top25"])
    assert "map: no molecule of the split could be embedded" in pictures.notes
    assert "Not shown: map" in pictures_page(pictures)


def test_without_a_property_there_are_no_groups(tiny, monkeypatch):
    monkeypatch.setattr("molchord.evaluate.picturing.installed", lambda: SimpleNamespace(plugins=()))
    pictures = pictured(*tiny)
    assert pictures.confusions == ()
    assert pictures.space.groups == {}
    assert "groups: no property is installed that says what a molecule has" in pictures.notes


class Drawings(HTMLParser):
    """The attributes of every drawing, tables, and elements that are left open."""

    def __init__(self, text):
        super().__init__()
        self.drawings, self.tables, self.open = [], 0, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.open += [tag] if tag not in ("br", "wbr", "meta", "link", "img") else []
        self.drawings += [dict(attributes)] if tag == "svg" else []
        self.tables += tag == "table"

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        pass


def test_a_report_shows_each_picture_with_words_and_its_numbers(tmp_path):
    found = tiny_run().evaluate(pools=["test"], fusions=["gm-exp"], out=tmp_path, audit=False, baselines=False)
    assert isinstance(found.pictures, Pictures)
    saved = json.loads((tmp_path / "evaluation.json").read_text())["pictures"]
    assert saved == json.loads(json.dumps(found.pictures.as_dict()))
    report = (tmp_path / "report.html").read_text()
    page = str(pictures_page(found.pictures))
    assert page in report
    parsed = Drawings(page)
    assert parsed.open == []
    assert parsed.tables >= 3
    figures = [one for one in parsed.drawings if one.get("role") == "img"]
    assert len(figures) >= 6
    assert all(len(one["aria-label"]) > 20 for one in figures)
    assert not re.search(r"(?:href|src)\s*=|url\(|@import|<script", page)


def test_a_report_without_pictures(tmp_path):
    settings = {"pools": ["test"], "modes": ["blind"], "fusions": ["gm-exp"], "audit": False, "baselines": False}
    kept = tiny_run().evaluate(**settings, out=tmp_path, pictures=False)
    assert kept.pictures is None
    assert "pictures" not in json.loads((tmp_path / "evaluation.json").read_text())
    assert 'class="pictures"' not in (tmp_path / "report.html").read_text()


def test_hostile_names_stay_text(tiny):
    hostile = '<script>alert(1)</script>"&'
    run, found = tiny
    pictures = pictured(run, found)
    space = dataclasses.replace(
        pictures.space,
        smiles=[hostile] * len(pictures.space.smiles),
        spectra={hostile: next(iter(pictures.space.spectra.values()))},
        groups={hostile: np.arange(len(pictures.space.smiles)) % 2.0},
    )
    curves = tuple(dataclasses.replace(curve, subset=(hostile,)) for curve in pictures.curves)
    confusions = tuple(
        dataclasses.replace(one, subset=(hostile,), names=(hostile,) * len(one.names)) for one in pictures.confusions
    )
    changed = dataclasses.replace(pictures, space=space, curves=curves, confusions=confusions, notes=(hostile,))
    page = str(pictures_page(changed))
    assert "<script" not in page
    assert Drawings(page).open == []
