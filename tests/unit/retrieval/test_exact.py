"""Search by bounds: whatever is skipped, the hits are those of a search that scores every candidate."""

import itertools
import math

import numpy as np
import pytest
import torch

from molchord.errors import QueryError
from molchord.library.filters import adjoined, runs
from molchord.library.writer import shortened
from molchord.retrieval import exact
from molchord.retrieval.exact import Exact, feed, scan
from molchord.retrieval.scores import Block, pair_temperatures, scores
from molchord.vocabulary import FUSIONS

NAMES = ("a", "b", "c")
SUBSETS = [names for size in (1, 2, 3) for names in itertools.combinations(NAMES, size)]
TAU = {"a": 0.05, "b": 0.1, "c": 0.4}
STORAGES = ("fp32", "bf16", "int8")


@pytest.fixture(params=[100, exact._SAMPLE], ids=["planes", "cosines"])
def _both_ways(request, monkeypatch):
    """Most candidates bounded by one inner product each, or by all of their cosines."""
    monkeypatch.setattr(exact, "_SAMPLE", request.param)


def unit(rows, size, seed, towards=None):
    """Unit rows, of which some lie near `towards`."""
    vectors = torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))
    if towards is not None:
        vectors = vectors * 0.4 + towards[: len(vectors)]
    return torch.nn.functional.normalize(vectors, dim=1)


def candidates(count=900, size=24, seed=7):
    """Unit rows with runs of equal ones, opposite ones, and some that are not numbers."""
    vectors = unit(count, size, seed)
    vectors[100:140] = vectors[3]
    vectors[200:400] = -vectors[:200]
    vectors[[5, 640]] = torch.nan
    return vectors


def blocks_of(vectors, order, size, storage="fp32"):
    clean = vectors.where(vectors.isfinite(), 0.0)
    short = shortened(clean, storage)
    if short:  # what is not a number stays so, as far as the type can say it
        bad = ~vectors.isfinite().all(dim=1)
        if storage == "bf16":
            short["short"][bad] = torch.nan
        else:
            short["scale"][bad] = torch.nan
    for start in range(0, len(vectors), size):
        part = slice(start, start + size)
        yield Block(
            index=torch.arange(len(vectors))[part],
            vectors=vectors[part],
            order=order[part],
            short=short["short"][part] if short else None,
            scale=short["scale"][part] if "scale" in short else None,
            error=float(short["error"]) if short else 0.0,
        )


def brute(queries, vectors, order, k, fusion, present=None):
    """Every candidate scored in fp64 and sorted by plain Python; equal vectors get equal values."""
    wide, found = vectors.double(), []
    for row in range(len(next(iter(queries.values())))):
        mine = {n: q[row].double() for n, q in queries.items() if present is None or bool(present[n][row])}
        taus = list(pair_temperatures(mine, TAU).values())
        cosines = zip(*[(wide * q).sum(dim=1).tolist() for q in mine.values()], strict=True)
        values = [
            plain(several, taus, fusion) if all(math.isfinite(c) for c in several) else -math.inf for several in cosines
        ]
        found.append(sorted(range(len(values)), key=lambda i: (-round(values[i], 12), int(order[i]), i))[:k])
    return found


def plain(cosines, taus, fusion):
    if fusion == "gm-exp":
        return sum(c / t for c, t in zip(cosines, taus, strict=True)) / sum(1 / t for t in taus)
    factors = [max(0.0, c) if fusion == "gm-clamp" else (1 + c) / 2 for c in cosines]
    mean = math.prod(factors) ** (1 / len(factors))
    return mean if mean > 0 or fusion == "gm-half" else sum(cosines) / len(cosines) - 1


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("names", SUBSETS)
def test_hits_are_those_of_brute_force(names, fusion, storage):
    vectors = candidates()
    order = torch.randint(0, 50, (len(vectors),), generator=torch.Generator().manual_seed(1))
    towards = vectors[[100, 0, 300]]
    queries = {name: unit(3, 24, seed, towards) for seed, name in enumerate(names)}
    expected = brute(queries, vectors, order, 12, fusion)
    for size in (1000, 170):
        search = Exact(queries, 12, fusion=fusion, tau=TAU)
        feed(search, blocks_of(vectors, order, size, storage), "cpu")
        assert search.found().rows.tolist() == expected
        assert search.found().proven.all()


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize(("count", "k"), [(1, 5), (40, 40), (40, 60), (41, 40)])
def test_as_many_hits_as_candidates_and_values_of_scores(fusion, count, k):
    vectors, order = unit(count, 8, 3), torch.arange(count)
    queries = {name: unit(4, 8, seed) for seed, name in enumerate(NAMES)}
    search = Exact(queries, k, fusion=fusion, tau=TAU)
    feed(search, blocks_of(vectors, order, 16), "cpu")
    found = search.found()
    assert found.rows.tolist() == brute(queries, vectors, order, k, fusion)
    wide = scores({n: q.double() for n, q in queries.items()}, vectors.double(), fusion=fusion, tau=TAU)
    assert torch.allclose(found.values, wide.gather(1, found.rows), atol=1e-12)


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize("fusion", FUSIONS)
def test_queries_may_lack_modalities(fusion):
    vectors, order = unit(300, 16, 9), torch.arange(300)
    queries = {name: unit(8, 16, seed) for seed, name in enumerate(NAMES)}
    masks = [[bool(row & bit) for row in (1, 2, 3, 4, 5, 6, 7, 7)] for bit in (1, 2, 4)]
    present = {name: torch.tensor(mask) for name, mask in zip(NAMES, masks, strict=True)}
    queries = {name: q.where(present[name][:, None], torch.nan) for name, q in queries.items()}  # never read
    search = Exact(queries, 9, fusion=fusion, tau=TAU, present=present)
    feed(search, blocks_of(vectors, order, 64), "cpu")
    assert search.found().rows.tolist() == brute(queries, vectors, order, 9, fusion, present)


def test_candidates_that_are_all_equal_come_in_tie_order():
    vectors = unit(1, 8, 0).expand(20000, 8).contiguous()
    order = torch.randperm(20000, generator=torch.Generator().manual_seed(0))
    for fusion in FUSIONS:
        search = Exact({"a": unit(2, 8, 5, vectors), "b": unit(2, 8, 6, vectors)}, 3, fusion=fusion)
        with pytest.raises(MemoryError):  # too many to score at once ...
            search.update(next(blocks_of(vectors, order, 20000))[:16000])
        feed(search, blocks_of(vectors, order, 20000), "cpu")  # ... so blocks are halved
        assert search.found().rows.tolist() == [order.argsort()[:3].tolist()] * 2


@pytest.mark.parametrize("storage", STORAGES)
def test_scan_is_no_further_off_than_it_says(storage):
    for size in (3, 64, 512):
        vectors = unit(400, size, size)
        block = next(blocks_of(vectors, torch.arange(400), 400, storage))
        direction = unit(50, size, 1).double() * torch.logspace(-6, 6, 50, dtype=torch.float64)[:, None] + 1e-9
        values, error = scan(direction, block)
        missed = (values.double() - direction @ vectors.double().T).abs().amax(dim=1)
        assert bool((missed <= error).all())
        most = {"fp32": 1e-3, "bf16": 5e-3, "int8": 3e-2}[storage]
        assert bool((error <= most * direction.norm(dim=1)).all())


def test_an_error_that_is_not_told_is_seen_in_the_hits():
    """So the tests above would see a bound that is too low."""
    vectors = unit(900, 24, 0)
    crude = Block(index=torch.arange(900), vectors=vectors, short=(vectors * 2).round().to(torch.int8), error=0.0)
    scaled = Block(index=crude.index, vectors=vectors, short=crude.short, scale=torch.full((900,), 0.5), error=0.0)
    told = float((vectors - crude.short * 0.5).norm(dim=1).max())
    honest = Block(index=crude.index, vectors=vectors, short=crude.short, scale=scaled.scale, error=told)
    queries = {name: unit(60, 24, seed, vectors) for seed, name in enumerate(NAMES)}
    for fusion in FUSIONS:
        expected = brute(queries, vectors, torch.arange(900), 30, fusion)
        for block, good in ((scaled, False), (honest, True)):
            search = Exact(queries, 30, fusion=fusion, tau=TAU)
            search.update(block)
            assert (search.found().rows.tolist() == expected) == good


@pytest.mark.parametrize("fusion", ["gm-half", "gm-clamp"])
def test_a_modality_that_says_nothing_hardly_loosens_the_bound(fusion, monkeypatch):
    """One modality finds every candidate about as similar: the plane at the k-th hit weighs it down."""
    common = unit(1, 64, 77)
    vectors = torch.nn.functional.normalize(unit(5000, 64, 0) + common, dim=1)
    dull = torch.nn.functional.normalize(common + 0.5 * unit(20, 64, 2), dim=1)
    queries = {"a": unit(20, 64, 1, vectors), "b": dull}
    scored, cosines = [], Exact._cosines

    def counted(self, block, rows, columns):
        scored.append(len(rows))
        return cosines(self, block, rows, columns)

    monkeypatch.setattr(Exact, "_cosines", counted)
    monkeypatch.setattr(exact, "_SAMPLE", 1000)
    expected = brute(queries, vectors, torch.arange(5000), 10, fusion)
    totals = []
    for tilts in (exact._TILTS, 1):  # one alone is the plain mean
        monkeypatch.setattr(exact, "_TILTS", tilts)
        search = Exact(queries, 10, fusion=fusion)
        feed(search, blocks_of(vectors, torch.arange(5000), 5000), "cpu")
        totals.append(scored[-1] / 20)
        assert search.found().rows.tolist() == expected
    weighted, plain_mean = totals  # scored of the last 4,000; ten in each 1,000 are better than the first
    assert 0 < weighted < plain_mean / 2


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("storage", STORAGES)
def test_totals_are_those_of_the_whole_pool(fusion, storage):
    vectors = unit(700, 32, 4)
    queries = {name: unit(6, 32, seed, vectors) for seed, name in enumerate(NAMES)}
    beta = torch.tensor([0.3, 0.5, 1.0, 0.7, 0.2, torch.nan])
    search = Exact(queries, 5, fusion=fusion, tau=TAU, beta=beta)
    feed(search, blocks_of(vectors, torch.arange(700), 256, storage), "cpu")
    logits = beta[:, None].double() * sum(q.double() @ vectors.double().T / TAU[n] for n, q in queries.items())
    expected = logits.logsumexp(dim=1)
    within = {"fp32": 1e-5, "bf16": 0.01, "int8": 0.03}[storage]
    assert torch.allclose(search.found().totals[:5], expected[:5], atol=within)
    assert not search.found().totals[5].isfinite()


def scarce(monkeypatch, most, error):
    """Let searches of more than so many candidates fail as they do where memory is short."""
    update = Exact.update
    sizes = []

    def updated(self, block):
        if len(block) > most:
            raise error
        sizes.append(len(block))
        return update(self, block)

    monkeypatch.setattr(Exact, "update", updated)
    return sizes


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_too_little_memory_makes_blocks_smaller(error, monkeypatch):
    vectors, order = unit(1000, 8, 3), torch.arange(1000)
    queries = {"a": unit(4, 8, 0), "b": unit(4, 8, 1)}
    expected = brute(queries, vectors, order, 7, "gm-half")
    sizes = scarce(monkeypatch, 100, error)
    search = Exact(queries, 7, fusion="gm-half", tau=TAU)
    feed(search, blocks_of(vectors, order, 600), "cpu")
    assert search.found().rows.tolist() == expected
    assert sum(sizes) == 1000
    assert max(sizes) <= 100


def test_no_memory_at_all_is_one_sentence_and_other_errors_pass(monkeypatch):
    scarce(monkeypatch, 0, MemoryError())
    search = Exact({"a": unit(1, 8, 0)}, 3)
    with pytest.raises(QueryError, match=r"no memory on 'cpu' for a block of \d+ candidates; close other programs"):
        feed(search, blocks_of(unit(100, 8, 1), torch.arange(100), 100), "cpu")
    monkeypatch.undo()
    scarce(monkeypatch, 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        feed(search, blocks_of(unit(100, 8, 1), torch.arange(100), 100), "cpu")


@pytest.mark.parametrize("storage", STORAGES)
def test_short_rows_alone_are_scanned(storage):
    """The fp32 rows are read for the candidates that are scored, so others may say anything."""
    vectors = unit(500, 16, 0)
    query = unit(1, 16, 1, vectors[:1])
    block = next(blocks_of(vectors, torch.arange(500), 500, storage))
    best = Exact({"a": query}, 5)
    best.update(block)
    keep = best.found().rows[0]
    worst = (query @ vectors.T)[0].argsort()[:50]
    changed = vectors.clone()
    changed[worst] = query
    search = Exact({"a": query}, 5)
    search.update(Block(index=block.index, vectors=changed, short=block.short, scale=block.scale, error=block.error))
    assert (search.found().rows[0].tolist() == keep.tolist()) == (storage != "fp32")


def test_what_is_wrong_with_a_query_is_one_sentence():
    with pytest.raises(QueryError, match="query 1 has no modality"):
        Exact({"a": unit(2, 4, 0)}, 3, present={"a": torch.tensor([True, False])})
    with pytest.raises(QueryError, match="unknown fusion 'gm'"):
        Exact({"a": unit(2, 4, 0)}, 3, fusion="gm")
    with pytest.raises(QueryError, match="no temperature for 'b'"):
        Exact({"b": unit(2, 4, 0)}, 3, tau={"a": 1.0})
    with pytest.raises(QueryError, match="no candidate is left"):
        Exact({"a": unit(2, 4, 0)}, 3).found()


def test_runs_cover_the_rows_and_are_joined():
    rng = np.random.default_rng(0)
    for gaps in (0, 1, 5, 400):
        rows = np.setdiff1d(np.arange(50, 5000), rng.integers(50, 5000, gaps))
        parts = runs(rows)
        assert np.concatenate([np.asarray(part) for part in parts]).tolist() == rows.tolist()
        assert all(isinstance(part, range) for part in parts) == (gaps < 10)
        joined = list(adjoined([range(0, 50), *parts, rows[:0]]))
        assert np.concatenate([np.asarray(part) for part in joined]).tolist() == [*range(50), *rows.tolist()]
        assert len(joined) == len(parts) + (gaps == 400)


@pytest.mark.gpu
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_cuda_finds_the_same(fusion, storage):
    vectors, order = candidates(5000, 64), torch.arange(5000)
    queries = {name: unit(40, 64, seed, vectors) for seed, name in enumerate(NAMES)}
    cpu = Exact(queries, 25, fusion=fusion, tau=TAU)
    feed(cpu, blocks_of(vectors, order, 5000), "cpu")
    cuda = Exact({n: q.cuda() for n, q in queries.items()}, 25, fusion=fusion, tau=TAU)
    feed(cuda, blocks_of(vectors, order, 1700, storage), "cuda")
    assert cuda.found().rows.tolist() == cpu.found().rows.tolist()
    direction = unit(50, 64, 1).double().cuda()
    block = next(blocks_of(vectors[1000:], order[1000:], 4000, storage)).to("cuda")
    values, error = scan(direction, block)
    missed = (values.double() - direction @ block.vectors.double().T).abs().amax(dim=1)
    assert bool((missed <= error).all())


def test_few_are_looked_at_before_all_are():
    """The short cut by the best few of a block, and the long way, find the same."""
    vectors, order = unit(3000, 16, 0), torch.arange(3000)
    queries = {"a": unit(20, 16, 1), "b": unit(20, 16, 2)}
    found = []
    for spare in (exact._SPARE, 10**6):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(exact, "_SPARE", spare)
            search = Exact(queries, 10, tau=TAU)
            search.update(next(blocks_of(vectors[:2000], order[:2000], 2000)))
        found.append(search.found().rows.tolist())
    assert found[0] == found[1] == brute(queries, vectors[:2000], order[:2000], 10, "gm-exp")
