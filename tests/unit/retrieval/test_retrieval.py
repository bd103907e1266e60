"""Ranking values and exact search against plain fp64 loops."""

import math

import numpy as np
import pytest
import torch

from molchord.errors import QueryError
from molchord.retrieval.scores import (
    FUSIONS,
    Block,
    TopK,
    combine,
    geometric_mean,
    library_scores,
    pair_temperatures,
    pooled,
    pooled_by,
    scores,
    self_consistency,
    top_k,
)

NAMES = ("a", "b", "c")
TAU = {"a": 0.05, "b": 0.2, "c": 0.7}


def unit(rows, size, seed, dtype=torch.float64):
    values = torch.randn(rows, size, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(values, dim=1)


def reference_mean(cosines, taus, fusion):
    """The geometric mean of one list of pairs, in plain fp64, and the arithmetic mean that breaks its ties."""
    if fusion == "gm-exp":
        factors = [math.exp((c - 1) / t) for c, t in zip(cosines, taus, strict=True)]
    elif fusion == "gm-half":
        factors = [(1 + c) / 2 for c in cosines]
    else:
        factors = [max(0.0, c) for c in cosines]
    return math.prod(factors) ** (1 / len(factors)), sum(cosines) / len(cosines)


def reference_order(pairs_of, count, fusion):
    """Candidates in the order of (geometric mean, arithmetic mean for gm-clamp), best first."""
    keys = []
    for g in range(count):
        cosines, taus = pairs_of(g)
        mean, tie = reference_mean(cosines, taus, fusion)
        keys.append((mean, tie if fusion == "gm-clamp" else 0.0))
    return sorted(range(count), key=lambda g: keys[g], reverse=True)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("subset", [("a",), ("b",), ("a", "b"), ("b", "c"), NAMES])
def test_blind_ranks_as_plain_loops(fusion, subset):
    queries = {name: unit(6, 4, seed) for seed, name in enumerate(subset)}
    candidates = unit(40, 4, 99)
    values = scores(queries, candidates, fusion=fusion, tau=TAU)
    for row in range(6):

        def pairs_of(g, row=row):
            cosines = [
                sum(float(x) * float(y) for x, y in zip(queries[n][row], candidates[g], strict=True)) for n in subset
            ]
            return cosines, [TAU[n] for n in subset]

        assert values[row].argsort(descending=True).tolist() == reference_order(pairs_of, 40, fusion)
        for g in range(40):
            expected = reference_mean(*pairs_of(g), fusion)[0]
            taus = [TAU[n] for n in subset]
            assert geometric_mean(float(values[row, g]), fusion=fusion, tau=taus) == pytest.approx(
                expected, rel=1e-9, abs=1e-15
            )


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_query_without_a_modality_has_fewer_factors(fusion):
    queries = {name: unit(3, 5, seed) for seed, name in enumerate(NAMES)}
    queries["b"][1] = torch.nan  # never read where it is absent
    queries["a"][2] = queries["b"][2] = torch.nan
    present = {"a": torch.tensor([True, True, False]), "b": torch.tensor([True, False, False])}
    candidates = unit(20, 5, 9)
    values = scores(queries, candidates, fusion=fusion, tau=TAU, present=present)
    for row, subset in enumerate([NAMES, ("a", "c"), ("c",)]):

        def pairs_of(g, row=row, subset=subset):
            return [float(queries[n][row] @ candidates[g]) for n in subset], [TAU[n] for n in subset]

        assert values[row].argsort(descending=True).tolist() == reference_order(pairs_of, 20, fusion)
    alone = {"a": torch.tensor([True, False, True])} | {n: torch.zeros(3, dtype=torch.bool) for n in ("b", "c")}
    queries["a"][2] = queries["a"][0]
    values = scores(queries, candidates, fusion=fusion, tau=TAU, present=alone)
    assert values[1].isnan().all()
    assert values[[0, 2]].isfinite().all()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_two_negative_cosines_never_score_above_a_weakly_positive_candidate(fusion):
    """The cube-root bug: the product of two negative cosines is positive."""
    query = {name: torch.tensor([[1.0, 0.0]]) for name in NAMES}
    opposite = torch.tensor([-0.9, math.sqrt(1 - 0.81)])
    queries = {"a": query["a"], "b": query["b"], "c": opposite[None]}
    bad, good = opposite, torch.tensor([0.1, math.sqrt(0.99)])
    values = scores(queries, torch.stack([bad, good]), fusion=fusion)[0]
    assert [round(float(query["a"][0] @ bad), 2), round(float(opposite @ bad), 2)] == [-0.9, 1.0]
    shown = [geometric_mean(float(v), fusion=fusion, tau=[1.0] * 3) for v in values]
    assert values[0] < values[1]
    if fusion == "gm-clamp":
        assert shown[0] == 0.0


def test_clamp_orders_zero_products_by_the_arithmetic_mean_below_every_positive_one():
    cosines = [torch.tensor([[-0.1, -0.9, 1e-4, 0.9]]), torch.tensor([[0.9, 0.9, 1e-4, 0.0]])]
    values = combine(cosines, [1.0, 1.0], fusion="gm-clamp")[0]
    assert values.argsort(descending=True).tolist() == [2, 3, 0, 1]
    assert values[2] > 0 > values[3]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_combine_agrees_with_the_single_product_and_nan_stays_nan(fusion):
    queries = {name: unit(4, 6, seed) for seed, name in enumerate(NAMES)}
    candidates = unit(9, 6, 5)
    candidates[3] = torch.nan
    cosines = [q @ candidates.T for q in queries.values()]
    fused = scores(queries, candidates, fusion=fusion, tau=TAU)
    assert torch.allclose(fused, combine(cosines, list(TAU.values()), fusion=fusion), atol=1e-12, equal_nan=True)
    assert fused[:, 3].isnan().all()
    assert fused[:, :3].isfinite().all()


def test_equation_6_lets_two_negative_cosines_pass_for_a_good_candidate():
    """What `published` is there to show; blind, where both spectra are compared with the structure alone."""
    cosines = [torch.tensor([[0.5, -0.8, -0.8]]), torch.tensor([[0.5, -0.8, 0.8]])]
    values = combine(cosines, [1.0, 1.0], fusion="published")[0]
    assert values.tolist() == pytest.approx([0.5, 0.8, -0.8])
    query = {"a": unit(2, 5, 0), "b": unit(2, 5, 1)}
    torch.testing.assert_close(
        scores({"a": query["a"]}, unit(7, 5, 2), fusion="published"), query["a"] @ unit(7, 5, 2).T
    )
    spectra = {"a": unit(7, 5, 3), "b": unit(7, 5, 4)}
    three = [query["a"] @ unit(7, 5, 2).T, query["b"] @ unit(7, 5, 2).T, query["b"] @ spectra["a"].T]
    product = three[0] * three[1] * three[2]
    found = library_scores(query, unit(7, 5, 2), spectra, fusion="published")
    torch.testing.assert_close(found**3, product)


def test_equal_temperatures_rank_as_the_mean_cosine():
    queries = {name: unit(2, 5, seed) for seed, name in enumerate(NAMES)}
    candidates = unit(7, 5, 8)
    mean = torch.stack([q @ candidates.T for q in queries.values()]).mean(dim=0)
    assert torch.allclose(scores(queries, candidates, tau=dict.fromkeys(NAMES, 0.03)), mean, atol=1e-12)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("same", [False, True])
def test_library_mode_takes_ordered_pairs_of_what_both_sides_have(fusion, same):
    queries = {"a": unit(3, 4, 0), "b": unit(3, 4, 1)}
    candidates, spectra = unit(15, 4, 2), {"a": unit(15, 4, 3), "b": unit(15, 4, 4)}
    has = {"a": torch.arange(15) % 3 > 0, "b": torch.arange(15) % 4 > 0}
    spectra["a"][~has["a"]] = torch.nan  # never enters
    pair_tau = {("b", "a"): 0.3}
    values = library_scores(
        queries, candidates, spectra, fusion=fusion, tau=TAU, pair_tau=pair_tau, spectra_present=has, same_modality=same
    )

    def pairs_of(row, g):
        cosines, taus = [], []
        for i in queries:
            cosines.append(float(queries[i][row] @ candidates[g]))
            taus.append(TAU[i])
            for j in spectra:
                if (i != j or same) and has[j][g]:
                    cosines.append(float(queries[i][row] @ spectra[j][g]))
                    taus.append(TAU[i] if i == j else 0.3)
        return cosines, taus

    for row in range(3):
        expected = reference_order(lambda g, row=row: pairs_of(row, g), 15, fusion)
        assert values[row].argsort(descending=True).tolist() == expected


def test_a_pair_without_a_temperature_takes_the_geometric_mean_of_both():
    pairs = pair_temperatures(["a"], {"a": 0.1, "b": 0.4}, spectra=["a", "b"], pair_tau={})
    assert pairs == {("a", None): 0.1, ("a", "b"): pytest.approx(0.2)}
    assert pair_temperatures(["a"], None, spectra=["b"]) == {("a", None): 1.0, ("a", "b"): 1.0}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda q, g: scores(q, g, fusion="gm-exq"), "unknown fusion 'gm-exq'; did you mean 'gm-exp'"),
        (lambda q, g: scores({}, g), "no modality"),
        (lambda q, g: scores(q, g, tau={"b": 1.0}), "no temperature for 'a'"),
        (lambda q, g: scores(q, g, tau={"a": 0.0}), "is 0.0, but must be a positive"),
        (lambda q, g: scores(q, g, tau={"a": math.nan}), "is nan, but must be a positive"),
        (lambda q, g: library_scores(q, g, {"b": g}, tau={"a": 1.0}), "no temperature for 'b'"),
        (lambda q, g: library_scores(q, g, {"b": g}, pair_tau={("b", "a"): -1.0}), "'a-b' is -1.0"),
    ],
)
def test_a_wrong_query_is_one_sentence(call, message):
    with pytest.raises(QueryError, match=message):
        call({"a": torch.eye(2)}, torch.eye(2))


def test_half_precision_embeddings_are_scored_in_full_precision():
    query, candidates = unit(2, 64, 0, torch.float32).bfloat16(), unit(5, 64, 1, torch.float32).bfloat16()
    values = scores({"a": query}, candidates)
    assert values.dtype == torch.float32
    assert torch.allclose(values.double(), query.double() @ candidates.double().T, atol=1e-6)


def test_matmul_precision_is_full_inside_and_restored():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        q, g = unit(8, 256, 0, torch.float32), unit(8, 256, 1, torch.float32)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            values = scores({"a": q}, g)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert float((values.double() - q.double() @ g.double().T).abs().max()) < 1e-6


# --- top k


def brute_top(values, order, k):
    clean = np.where(np.isfinite(values), values, -np.inf)
    return [sorted(range(values.shape[1]), key=lambda g: (-row[g], order[g], g))[:k] for row in clean]


@pytest.mark.parametrize("k", [1, 3, 10, 50])
@pytest.mark.parametrize("size", [1, 4, 7, 40])
def test_top_k_is_exact_with_many_ties_in_any_blocks(k, size):
    rng = np.random.default_rng(k * 100 + size)
    values = rng.integers(0, 4, size=(5, 37)).astype(np.float64)
    values[rng.random(values.shape) < 0.1] = np.nan
    values[0, 3], values[1] = np.inf, np.nan
    order = rng.integers(0, 9, size=37)
    blocks = [
        Block(
            index=torch.arange(s, min(s + size, 37)),
            vectors=torch.zeros(1),
            order=torch.from_numpy(order[s : s + size]),
        )
        for s in range(0, 37, size)
    ]
    table = torch.from_numpy(values)
    found, index = top_k(lambda block: table[:, block.index], blocks, k)
    assert index.tolist() == brute_top(values, order, k)
    assert found.shape == (5, min(k, 37))
    assert not found.isnan().any()


def test_top_k_does_not_depend_on_the_order_of_blocks():
    values = torch.tensor([[0.5, 0.5, 0.5, 0.1]])
    blocks = [Block(index=torch.tensor([i]), vectors=torch.zeros(1), order=torch.tensor([9 - i])) for i in range(4)]
    for turn in (blocks, blocks[::-1]):
        assert top_k(lambda b: values[:, b.index], turn, 2)[1].tolist() == [[2, 1]]


def test_an_empty_search_and_a_wrong_k_are_errors():
    with pytest.raises(QueryError, match="no candidate is left"):
        top_k(lambda b: torch.zeros(1, 0), [], 5)
    with pytest.raises(QueryError, match="`k` is 0"):
        TopK(0)


# --- pooling


def test_pooling_is_the_renormalised_mean_of_unit_vectors():
    vectors = unit(4, 3, 0)
    mean = vectors.mean(dim=0)
    assert torch.allclose(pooled(vectors), mean / mean.norm(), atol=1e-12)
    assert torch.allclose(pooled(vectors[:1]), vectors[0], atol=1e-12)
    rows, present = pooled_by(vectors, torch.tensor([2, 0, 2, 2]), 4)
    assert present.tolist() == [True, False, True, False]
    assert torch.allclose(rows[2], pooled(vectors[[0, 2, 3]]), atol=1e-12)
    assert not rows[[1, 3]].any()
    empty, none = pooled_by(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), 2)
    assert (empty.shape, none.any().item()) == ((2, 3), False)
    assert pooled(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).isnan().all()


def test_self_consistency_is_the_mean_over_pairs_and_nan_for_one_spectrum():
    vectors = {name: unit(3, 4, seed) for seed, name in enumerate(NAMES)}
    expected = [
        np.mean([float(vectors[i][r] @ vectors[j][r]) for i, j in (("a", "b"), ("a", "c"), ("b", "c"))])
        for r in range(3)
    ]
    assert self_consistency(vectors).tolist() == pytest.approx(expected)
    assert self_consistency({"a": vectors["a"]}).isnan().all()


@pytest.mark.gpu
def test_cuda_gives_the_same_hits():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    queries, candidates = (
        {n: unit(3, 32, s, torch.float32) for s, n in enumerate(NAMES)},
        unit(500, 32, 7, torch.float32),
    )
    index = torch.arange(500)
    for fusion in FUSIONS:
        cpu = top_k(
            lambda b, m=fusion: scores(queries, b.vectors, fusion=m, tau=TAU),
            [Block(index=index, vectors=candidates)],
            9,
        )
        moved = {n: q.cuda() for n, q in queries.items()}
        block = Block(index=index, vectors=candidates).to("cuda")
        gpu = top_k(lambda b, m=fusion, q=moved: scores(q, b.vectors, fusion=m, tau=TAU), [block], 9)
        assert torch.equal(cpu[1], gpu[1].cpu())
        assert torch.allclose(cpu[0], gpu[0].cpu(), atol=1e-6)
