"""Search in library mode: whatever the blocks, threads and bits, the hits are those of plain fp64 arithmetic."""

import math
from functools import cache

import pytest
import torch

from molchord.errors import QueryError
from molchord.library.writer import shortened
from molchord.retrieval.exact import feed
from molchord.retrieval.library_mode import LibraryMode
from molchord.retrieval.scores import FUSIONS, Block, pair_temperatures

TAU = {"a": 0.05, "b": 0.2}
COUNT, SIZE = 700, 48


def unit(rows, seed):
    vectors = torch.randn(rows, SIZE, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vectors, dim=1)


@cache
def candidates():
    """Vectors and spectra, with runs of equal candidates, opposite ones and close calls, and a random tie order."""
    vectors, spectra = unit(COUNT, 1), {"a": unit(COUNT, 2), "b": unit(COUNT, 3)}
    has = {"a": torch.arange(COUNT) % 3 > 0, "b": torch.arange(COUNT) % 4 > 0}
    for part in (vectors, *spectra.values()):
        part[100:400] = part[4]
        part[400:500] = -part[:100]
        part[500:600] = torch.nn.functional.normalize(part[4] + 1e-7 * part[500:600], dim=1)
    for name, part in spectra.items():
        has[name][100:400] = has[name][4]
        part[~has[name]] = 0.0
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(9))
    return vectors, spectra, has, order


def blocks_of(size, storage="fp32"):
    vectors, spectra, has, order = candidates()
    short = shortened(vectors, storage)
    for start in range(0, COUNT, size):
        part = slice(start, start + size)
        yield Block(
            index=torch.arange(COUNT)[part],
            vectors=vectors[part],
            order=order[part],
            short=short["short"][part] if short else None,
            scale=short["scale"][part] if "scale" in short else None,
            error=float(short["error"]) if short else 0.0,
            spectra={name: values[part] for name, values in spectra.items()},
            spectra_present={name: mask[part] for name, mask in has.items()},
        )


def value(cosines, taus, fusion):
    """The ranking value in plain fp64."""
    if fusion == "gm-exp":
        rate = sum(1 / t for t in taus[1]) / len(taus[1])
        return 1 + sum((c - 1) / t for c, t in zip(cosines, taus[0], strict=True)) / (len(cosines) * rate)
    factors = [max(0.0, c) if fusion == "gm-clamp" else max(0.0, (1 + c) / 2) for c in cosines]
    mean = math.prod(factors) ** (1 / len(factors))
    return mean if mean > 0 or fusion == "gm-half" else sum(cosines) / len(cosines) - 1


def brute(query, fusion, same):
    vectors, spectra, has, order = candidates()
    pairs = pair_temperatures(query, TAU, spectra=spectra, same_modality=same)
    found = []
    for row in range(COUNT):
        cosines, taus = [], []
        for (name, other), tau in pairs.items():
            if other is None or has[other][row]:
                theirs = vectors[row] if other is None else spectra[other][row]
                cosines.append(math.fsum((query[name].double() * theirs.double()).tolist()))
                taus.append(tau)
        found.append((-round(value(cosines, (taus, list(pairs.values())), fusion), 13), int(order[row]), row))
    return [row for _, _, row in sorted(found)]


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize(("names", "same"), [(("a",), False), (("a", "b"), False), (("a", "b"), True)])
def test_hits_are_those_of_brute_force(names, same, fusion):
    """The first query is a candidate's own, so that 300 equal candidates tie at the top."""
    vectors, spectra, _, _ = candidates()
    smallest = 1 if fusion == FUSIONS[0] and same else 19
    for towards in (vectors[4] + spectra["b"][4], vectors[3]):
        query = {name: torch.nn.functional.normalize(towards + unit(2, 7)[i], dim=0) for i, name in enumerate(names)}
        pairs = pair_temperatures(query, TAU, spectra=TAU, same_modality=same)
        expected, values = brute(query, fusion, same), []
        for size, storage in ((smallest, "fp32"), (37, "int8"), (256, "fp32"), (COUNT, "int8")):
            search = LibraryMode(query, 25, fusion=fusion, pairs=pairs)
            feed(search, blocks_of(size, storage), "cpu")
            found = search.found()
            assert found.rows[0].tolist() == expected[:25], (size, storage)
            values.append(found.values[0].tolist())
        assert all(one == values[0] for one in values)  # to the last bit
        smallest = 19  # single rows once


def test_equation_6_is_scored_as_printed_and_signed():
    """The published cube root: (graph, IR) (graph, Raman) (candidate's IR, query's Raman), negative where it is."""
    vectors, spectra, has, order = candidates()
    query = {"a": vectors[3], "b": torch.nn.functional.normalize(unit(1, 7)[0] - vectors[3], dim=0)}
    pairs = pair_temperatures(query, TAU, spectra=TAU, fusion="published")
    found = []
    for row in range(COUNT):
        terms = [query["a"].double() @ vectors[row].double(), query["b"].double() @ vectors[row].double()]
        terms += [query["b"].double() @ spectra["a"][row].double()] if has["a"][row] else []
        product = math.prod(map(float, terms))
        found.append((-math.copysign(abs(product) ** (1 / len(terms)), product), int(order[row]), row))
    expected = sorted((round(value, 13), tie, row) for value, tie, row in found)
    for size, storage in ((64, "fp32"), (COUNT, "int8")):
        search = LibraryMode(query, COUNT, fusion="published", pairs=pairs)
        feed(search, blocks_of(size, storage), "cpu")
        hits = search.found()
        assert hits.rows[0].tolist() == [row for _, _, row in expected]
        assert (-hits.values[0]).tolist() == pytest.approx([value for value, _, _ in expected], abs=1e-12)
        assert hits.values[0, -1] < 0 < hits.values[0, 0]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_threads_change_nothing(fusion):
    vectors, _, _, _ = candidates()
    query = {"a": vectors[4], "b": vectors[9]}
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            search = LibraryMode(query, 40, fusion=fusion, pairs=pair_temperatures(query, TAU, spectra=TAU))
            feed(search, blocks_of(300), "cpu")
            found.append((search.found().rows.tolist(), search.found().values.tolist()))
    finally:
        torch.set_num_threads(before)
    assert found[1:] == found[:-1]


def test_fewer_candidates_than_hits_and_vectors_that_are_no_numbers():
    block = Block(index=torch.arange(3), vectors=unit(3, 1).index_fill(0, torch.tensor([1]), torch.nan))
    search = LibraryMode({"a": block.vectors[2]}, 9, fusion="gm-exp", pairs={("a", None): 1.0})
    feed(search, [block], "cpu")
    assert search.found().rows[0].tolist() == [2, 0, 1]
    assert search.found().values[0, 2] == -math.inf
    assert search.found().proven.tolist() == [True]


def test_few_candidates_are_scored_in_fp64(monkeypatch):
    scored, original = [], LibraryMode._values  # private, since what it saves is seen nowhere else

    def noted(self, block, columns):
        scored.append(len(columns))
        return original(self, block, columns)

    monkeypatch.setattr(LibraryMode, "_values", noted)
    query = {"a": unit(1, 5)[0]}
    search = LibraryMode(query, 5, fusion="gm-half", pairs=pair_temperatures(query, TAU, spectra=["b"]))
    feed(search, [Block(index=torch.arange(5000), vectors=unit(5000, 6), spectra={"b": unit(5000, 8)})], "cpu")
    assert sum(scored) < 10


def test_a_search_that_makes_no_sense():
    with pytest.raises(QueryError, match="unknown fusion"):
        LibraryMode({"a": unit(1, 1)[0]}, 5, fusion="mean", pairs={("a", None): 1.0})
    with pytest.raises(QueryError, match="`k` is 0"):
        LibraryMode({"a": unit(1, 1)[0]}, 0, fusion="gm-exp", pairs={("a", None): 1.0})
