"""Evaluation of small made-up models against plain loops over PROTOCOLS' words."""

import csv
import dataclasses
import json
import math

import numpy as np
import pytest
import torch

import molchord as mc
from molchord.api import Compares, Measurement
from molchord.chem import morgan
from molchord.errors import DataError, OutputExistsError
from molchord.evaluate.audit import audit_split, nearest_training, top1_by_nearest
from molchord.evaluate.baselines import nearest_by_cosine, nearest_by_similarity, peak_coincidence
from molchord.evaluate.calibration import calibrate, logits
from molchord.evaluate.embedded import Embedded, Spectra, queries_of, subsets
from molchord.evaluate.embedding import embed_dataset
from molchord.evaluate.evaluation import Baselines, OwnSimilarity, PeakPositions, evaluate
from molchord.evaluate.pools import make_pool, measured_masses
from molchord.evaluate.repeats import out_of_fold
from molchord.retrieval.metrics import METRICS, paired_tanimoto
from molchord.testing import examples_of, molecules
from molchord.vocabulary import FUSIONS

N, DIM = 48, 5
TAU = {"ir": 0.2, "raman": 0.5}


def unit_rows(rng, count):
    values = torch.from_numpy(rng.normal(size=(count, DIM)))
    return torch.nn.functional.normalize(values, dim=1)


def made_up(seed=0, **changes):
    rng = np.random.default_rng(seed)
    candidates = unit_rows(rng, N)
    present = np.ones(N, bool)
    present[[3, 11]] = False
    spectra = {}
    for name, chance in (("ir", 0.9), ("raman", 0.7)):
        counts = np.where(rng.random(N) < chance, rng.integers(1, 4, size=N), 0)
        molecule = rng.permutation(np.repeat(np.arange(N), counts))
        noisy = candidates[torch.from_numpy(molecule)] + 0.6 * unit_rows(rng, len(molecule))
        spectra[name] = Spectra(molecule=molecule, vectors=torch.nn.functional.normalize(noisy, dim=1))
    candidates[~torch.from_numpy(present)] = torch.nan
    split = rng.integers(0, 4, size=N).astype(np.uint8)  # 3: a decoy of no split
    split[:14] = 2
    settings = {
        "key14": [f"K{i:013d}" for i in range(N)],
        "smiles": ["C"] * N,
        "formula": [f"C{i % 9}" for i in range(N)],
        "exact_mass": 100.0 + (np.arange(N) % 9) * 0.0005,
        "split": split,
        "trained": split == 0,
        "candidates": candidates,
        "present": present,
        "spectra": spectra,
        "tau": TAU,
    }
    return Embedded(**(settings | changes))


def fingerprints_of(count=N, seed=1):
    return np.random.default_rng(seed).integers(0, 256, size=(count, 8), dtype=np.uint8)


# --- plain reference


def plain_queries(embedded, subset):
    """(molecule, {modality: measurement}) as the docstring says, one by one."""
    found = []
    for molecule in np.flatnonzero(embedded.split == 2).tolist():
        own = {m: [k for k, owner in enumerate(embedded.spectra[m].molecule) if owner == molecule] for m in subset}
        if all(own.values()):
            for turn in range(max(map(len, own.values()))):
                found.append((molecule, {m: ks[turn % len(ks)] for m, ks in own.items()}))
    return found


def plain_cosines(embedded, query, g, mode, arrays):
    """The cosines and temperatures of every pair of a query with candidate g."""
    cosines, taus = [], []
    for m, k in query.items():
        vector = arrays[m][k]
        cosines.append(float(vector @ arrays["candidates"][g]))
        taus.append(TAU[m])
        for other in embedded.spectra if mode == "library" else ():
            mine = arrays[other][embedded.spectra[other].molecule == g]
            if other != m and len(mine):
                mean = mine.mean(axis=0)
                cosines.append(float(vector @ (mean / np.linalg.norm(mean))))
                taus.append(math.sqrt(TAU[m] * TAU[other]))
    return cosines, taus


def plain_value(cosines, taus, fusion):
    """(geometric mean, arithmetic mean where it breaks ties) of one candidate."""
    if fusion == "gm-exp":
        logs = [(c - 1) / t for c, t in zip(cosines, taus, strict=True)]
        return math.exp(sum(logs) / len(logs)), 0.0
    factors = [(1 + c) / 2 if fusion == "gm-half" else max(0.0, c) for c in cosines]
    tie = sum(cosines) / len(cosines) if fusion == "gm-clamp" else 0.0
    return math.prod(factors) ** (1 / len(factors)), tie


def plain_pool(embedded, pool, molecule, measured):
    there = [g for g in range(N) if embedded.present[g]]
    if pool == "test":
        return [g for g in there if embedded.split[g] == 2]
    if pool == "isomers":
        return [g for g in there if embedded.formula[g] == embedded.formula[molecule]]
    if pool == "mass:8ppm":
        return [g for g in there if abs(embedded.exact_mass[g] - measured[molecule]) <= 8e-6 * measured[molecule]]
    return there


def plain_figures(embedded, prints, subset, mode, fusion, pool, measured):
    arrays = {m: part.vectors.numpy() for m, part in embedded.spectra.items()}
    arrays["candidates"] = embedded.candidates.numpy()
    by_molecule, left_out, sizes = {}, 0, []
    for molecule, query in plain_queries(embedded, subset):
        members = plain_pool(embedded, pool, molecule, measured)
        if pool == "isomers" and len(members) <= 1:
            left_out += 1
            continue
        sizes.append(len(members))
        values = {g: plain_value(*plain_cosines(embedded, query, g, mode, arrays), fusion) for g in members}
        rank = math.inf
        if molecule in values:
            rank = sum(value >= values[molecule] for value in values.values())
        others = [g for g in members if g != molecule]
        hit = molecule if rank == 1 else max(others, key=values.get, default=None)
        similar = 0.0 if hit is None else float(paired_tanimoto(prints[[molecule]], prints[[hit]])[0])
        figures = [float(rank <= k) for k in (1, 5, 10, 25)] + [1 / rank, 1.0 if rank == 1 else similar]
        by_molecule.setdefault(molecule, []).append(figures)
    means = [np.mean(rows, axis=0) for rows in by_molecule.values()]
    return np.mean(means, axis=0), len(means), left_out, float(np.median(sizes))


@pytest.fixture(scope="module")
def evaluated():
    embedded, prints = made_up(), fingerprints_of()
    pools = ["test", "all", "isomers", "mass:8ppm", "unseen:5"]
    found = evaluate(embedded, pools=pools, fingerprints=prints, resamples=200, tautomers=None, seed=4)
    return embedded, prints, found


@pytest.mark.parametrize("mode", ["blind", "library"])
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("pool", ["test", "all", "isomers", "mass:8ppm"])
def test_every_row_agrees_with_plain_loops(evaluated, mode, fusion, pool):
    embedded, prints, found = evaluated
    measured = measured_masses(embedded.exact_mass, 4)
    for subset in [("ir",), ("raman",), ("ir", "raman")]:
        row = found.find(*subset, system="model", mode=mode, fusion=fusion, pool=pool)
        expected, molecules, left_out, size = plain_figures(embedded, prints, subset, mode, fusion, pool, measured)
        assert [row.metrics[name].value for name in METRICS] == pytest.approx(expected.tolist())
        assert (row.molecules, row.left_out, row.pool_size) == (molecules, left_out, size)
        assert row.with_mass == pool.startswith("mass")
        assert all(i.low <= i.value <= i.high for i in row.metrics.values())


def test_a_molecule_without_a_candidate_vector_is_counted_as_a_miss(evaluated):
    embedded, _, found = evaluated
    row = found.find("ir", system="model", mode="blind", fusion="gm-exp", pool="all")
    gone = [m for m, _ in plain_queries(embedded, ("ir",)) if not embedded.present[m]]
    assert gone
    assert row.unreachable == len(gone)


def test_the_random_baseline_is_analytic_and_mass_alone_prints_both_ways_to_break_ties(evaluated):
    embedded, _, found = evaluated
    chance = found.find("ir", system="random (expected)", pool="all")
    reachable = np.mean([embedded.present[m] for m in {m for m, _ in plain_queries(embedded, ("ir",))}])
    size = int(embedded.present.sum())
    assert chance.metrics["top5"].value == pytest.approx(reachable * 5 / size)
    assert chance.metrics["mrr"].value == pytest.approx(reachable * np.mean(1 / np.arange(1, size + 1)))
    assert math.isnan(chance.metrics["tanimoto"].value)
    worst, expected = (found.find("ir", system=f"mass alone{s}", pool="isomers") for s in ("", " (expected)"))
    assert worst.with_mass
    assert worst.metrics["top1"].value == 0.0
    random = found.find("ir", system="random (expected)", pool="isomers")
    assert expected.metrics["mrr"].value == pytest.approx(random.metrics["mrr"].value)
    assert expected.metrics["mrr"].value > worst.metrics["mrr"].value


def test_unseen_holds_the_test_structures_and_so_many_never_trained_on():
    embedded = made_up()
    arguments = {
        "molecule": np.zeros(1, np.int64),
        "present": embedded.present,
        "queried": embedded.in_split("test"),
        "held_out": embedded.in_split("test") | embedded.in_split("val"),
        "trained": embedded.trained,
        "formula": embedded.formula,
        "mass": embedded.exact_mass,
        "measured": embedded.exact_mass,
    }
    members = make_pool("unseen:7", seed=3, **arguments).members.numpy()
    tested = embedded.present & embedded.in_split("test")
    assert (members & tested).sum() == tested.sum()
    assert members.sum() == tested.sum() + 7
    assert not (members & embedded.trained).any()
    assert (make_pool("unseen:7", seed=3, **arguments).members.numpy() == members).all()
    with pytest.raises(DataError, match="'unseen:500' needs 500 structures beside the"):
        make_pool("unseen:500", seed=3, **arguments)
    held_out = embedded.present & arguments["held_out"]
    count = int(held_out.sum()) + 5
    exact = make_pool(f"all:{count}", seed=3, **arguments).members.numpy()
    assert exact.sum() == count
    assert (exact & held_out).sum() == held_out.sum()
    assert not (exact & ~embedded.present).any()
    with pytest.raises(DataError, match="'all:3' needs"):
        make_pool("all:3", seed=3, **arguments)
    for text in ("tests", "unseen:x", "all:", "all:x", "mass:10", "mass:ppm"):
        with pytest.raises(DataError, match="unknown pool"):
            make_pool(text, seed=3, **arguments)
    with pytest.raises(DataError, match="is empty"):
        make_pool("all", seed=3, **(arguments | {"present": np.zeros(N, bool)}))


def test_measured_masses_have_an_error_of_5_ppm():
    exact = np.full(20000, 250.0)
    error = (measured_masses(exact, 0) / exact - 1) * 1e6
    assert abs(error.mean()) < 0.15
    assert error.std() == pytest.approx(5.0, rel=0.03)


# --- baselines


def test_candidates_only_ranks_alike_for_every_query():
    embedded = made_up()
    ranking = np.full(N, np.nan)
    ranking[embedded.present] = -np.arange(N)[embedded.present]  # molecule 0 first
    found = evaluate(
        embedded,
        pools=["all"],
        modes=["blind"],
        fusions=["gm-exp"],
        fingerprints=fingerprints_of(),
        baselines=Baselines(candidates_only=ranking),
        resamples=50,
        audit=False,
    )
    row = found.find("raman", system="candidates only")
    molecules = {m for m, _ in plain_queries(embedded, ("raman",))}
    ranks = [1 + sum(embedded.present[:m]) if embedded.present[m] else math.inf for m in molecules]
    assert row.metrics["mrr"].value == pytest.approx(np.mean([1 / r for r in ranks]))


def test_nearest_training_spectrum_ranks_by_tanimoto_to_its_molecule():
    embedded, prints = made_up(), fingerprints_of()
    rng = np.random.default_rng(5)
    neighbours = {m: rng.integers(0, N, size=len(s.molecule)) for m, s in embedded.spectra.items()}
    neighbours["ir"][embedded.spectra["ir"].molecule == 1] = -1
    found = evaluate(
        embedded,
        pools=["all"],
        modes=["blind"],
        fusions=["gm-exp"],
        fingerprints=prints,
        baselines=Baselines(neighbours=neighbours),
        resamples=50,
        audit=False,
    )
    for subset in [("ir",), ("ir", "raman")]:
        by_molecule = {}
        for molecule, query in plain_queries(embedded, subset):
            near = [neighbours[m][k] for m, k in query.items()]
            values = {
                g: np.mean([paired_tanimoto(prints[[g]], prints[[int(b)]])[0] for b in near])
                for g in range(N)
                if embedded.present[g]
            }
            lost = molecule not in values or min(near) < 0
            rank = math.inf if lost else sum(v >= values[molecule] - 1e-6 for v in values.values())
            by_molecule.setdefault(molecule, []).append(1 / rank)
        expected = np.mean([np.mean(v) for v in by_molecule.values()])
        row = found.find(*subset, system="nearest training spectrum")
        assert row.metrics["mrr"].value == pytest.approx(expected)


class Overlap:
    """A similarity that is the product of two numbers, with NaN for negative references."""

    def similarity(self, query, references):
        values = [float(query.arrays["x"][0] * r.arrays["x"][0]) for r in references]
        return np.array([v if v >= 0 else np.nan for v in values])


def test_own_similarity_never_compares_a_spectrum_with_itself():
    embedded = made_up()
    molecule = embedded.spectra["ir"].molecule
    numbers = np.random.default_rng(0).random(len(molecule))

    def read(index):
        return Measurement(arrays={"x": np.array([numbers[index]])})

    own = OwnSimilarity(modality=Overlap(), read=read)
    assert isinstance(own.modality, Compares)
    found = evaluate(
        embedded,
        pools=["all"],
        fusions=["gm-exp"],
        fingerprints=fingerprints_of(),
        baselines=Baselines(own={"ir": own}),
        resamples=50,
        audit=False,
    )
    by_molecule, left_out = {}, 0
    for m, query in plain_queries(embedded, ("ir",)):
        index = query["ir"]
        if (molecule == m).sum() < 2:
            left_out += 1
            continue
        best = {}
        for k, owner in enumerate(molecule.tolist()):
            if k != index and embedded.present[owner]:
                best[owner] = max(best.get(owner, -math.inf), np.float32(numbers[index] * numbers[k]))
        rank = sum(v >= best[m] - 1e-6 for v in best.values()) if m in best else math.inf
        by_molecule.setdefault(m, []).append(1 / rank)
    row = found.find("ir", system="own similarity", mode="library")
    assert row.left_out == left_out > 0
    assert row.metrics["mrr"].value == pytest.approx(np.mean([np.mean(v) for v in by_molecule.values()]))


def plain_coincidence(mine, other, width):
    """Cosine of two sums of Gaussians, whose products have closed integrals."""

    def product(a, b):
        return sum(math.exp(-(((x - y) / width) ** 2) / 4) for x in a for y in b)

    return product(mine, other) / math.sqrt(product(mine, mine) * product(other, other))


def test_peak_coincidence_is_the_cosine_of_the_combs():
    rng = np.random.default_rng(0)
    queries = {"ir": [rng.uniform(500, 600, k) for k in (1, 4, 9)], "raman": [rng.uniform(500, 600, 5)] * 3}
    candidates = {name: [rng.uniform(500, 600, k) for k in (3, 8, 2, 6)] for name in ("ir", "raman")}
    candidates["raman"][2] = np.zeros(0)
    found = peak_coincidence(queries, candidates, 3.0)(slice(1, 3), torch.tensor([3, 0, 2]))
    for row, q in enumerate((1, 2)):
        for column, c in enumerate((3, 0, 2)):
            pairs = [(queries[a][q], candidates[b][c]) for a, b in (("ir", "raman"), ("raman", "ir"))]
            cosines = [plain_coincidence(a, b, 3.0) for a, b in pairs if len(b)]
            assert found[row, column] == pytest.approx(np.mean(cosines), abs=5e-3)


def test_a_candidate_without_another_spectrum_and_a_query_without_peaks_have_no_match():
    none, one = [np.zeros(0)], [np.array([1.0])]
    here = slice(0, 1)
    assert peak_coincidence({"ir": one}, {"ir": one, "raman": none}, 1.0)(here, here).tolist() == [[-math.inf]]
    assert peak_coincidence({"ir": none}, {"raman": one}, 1.0)(here, here).tolist() == [[0.0]]
    assert peak_coincidence({"ir": none}, {"raman": none}, 1.0)(here, here).tolist() == [[-math.inf]]


def test_figures_with_mass_leave_out_queries_whose_mass_cannot_be_known():
    embedded = made_up()
    ir = embedded.spectra["ir"]
    tells = np.random.default_rng(4).random(len(ir.molecule)) < 0.5
    spectra = {"ir": dataclasses.replace(ir, reveals_mass=tells), "raman": embedded.spectra["raman"]}
    some, every = (
        evaluate(
            made_up(spectra=parts), pools=["all", "mass:50000ppm"], modes=["blind"], fusions=["gm-exp"], audit=False,
            fingerprints=fingerprints_of(), resamples=50,
        )
        for parts in (spectra, embedded.spectra)
    )  # fmt: skip
    queries = {subset: plain_queries(embedded, subset) for subset in subsets(["ir", "raman"])}
    assert len(some.rows) == len(every.rows)
    for row, whole in zip(some.rows, every.rows, strict=True):
        asked = queries[row.subset]
        if row.with_mass and "ir" in row.subset:
            known = [q for q in asked if tells[q[1]["ir"]]]
            assert (row.queries, row.left_out) == (len(known), len(asked) - len(known))
            assert 0 < len(known) < len(asked)
            assert sorted(row.by_molecule[0]) == sorted({molecule for molecule, _ in known})
        else:
            assert (row.queries, row.left_out) == (len(asked), 0)
            np.testing.assert_array_equal(row.by_molecule[1], whole.by_molecule[1])


def test_what_a_modality_needs_for_the_mass_reaches_the_evaluation():
    from molchord_modalities.msms import MSMS

    assert MSMS.mass_needs in MSMS.stores.columns
    smiles = [molecule.smiles for molecule in molecules()]
    spectra = [
        dataclasses.replace(m, columns={**m.columns, "adduct": None if row % 3 == 0 else "[M+H]+"})
        for row, m in enumerate(examples_of("msms", len(smiles)))
    ]
    data = mc.from_measurements(smiles, {"msms": spectra}, splits=["train"] * 8 + ["test"] * (len(smiles) - 8))
    graph = mc.ModelGraph.of(
        embedding_dim=8,
        modalities={
            "structure": mc.Use("structure", encoder=mc.Use("gine", width=8, hidden=8, layers=1)),
            "msms": mc.Use("msms", encoder=mc.Use("peak_transformer", width=8, hidden=8, layers=1, heads=1)),
        },
        loss=mc.Use("all_pairs"),
        train={"epochs": 1, "batch_size": 8},
    )
    found = embed_dataset(mc.Run.train(graph, data, device="cpu", progress=False).embedder, data)
    part = found.embedded.spectra["msms"]
    table = data.table("msms")
    adducts = [table.read(int(i)).columns["adduct"] for i in found.indices["msms"]]
    assert part.reveals_mass.tolist() == [adduct is not None for adduct in adducts]
    assert 0 < part.reveals_mass.sum() < len(adducts)
    assert found.combined().embedded.spectra["msms"].reveals_mass.tolist() == part.reveals_mass.tolist()


def peak_rows(embedded, **peaks):
    found = evaluate(
        embedded, pools=["all"], fusions=["gm-exp"], fingerprints=fingerprints_of(), resamples=50, audit=False,
        baselines=Baselines(peaks=peaks),
    )  # fmt: skip
    return [row for row in found.rows if row.system == "peak coincidence"]


def test_peaks_shared_by_two_modalities_find_the_molecule_and_those_of_one_do_not_count():
    embedded = made_up()
    lines = np.random.default_rng(5).uniform(0, 1000, (N, 12))
    owner = {name: part.molecule for name, part in embedded.spectra.items()}

    def positions(name, lines):
        return PeakPositions(read=lambda i: lines[owner[name][i]], unit="cm^-1", width=1.0)

    rows = peak_rows(embedded, ir=positions("ir", lines), raman=positions("raman", lines))
    assert [(row.subset, row.mode) for row in rows] == [(s, "library") for s in subsets(["ir", "raman"])]
    has = {name: np.isin(np.arange(N), molecule) for name, molecule in owner.items()}
    for row in rows:
        found = [m for m in row.by_molecule[0] if embedded.present[m] and has["ir"][m] and has["raman"][m]]
        assert row.metrics["top1"].value == pytest.approx(len(found) / row.molecules)
    # Unlike lines of the other modality: the query's own spectrum, alike as it is, must not be the reference.
    unlike = np.random.default_rng(6).uniform(0, 1000, (N, 12))
    rows = peak_rows(embedded, ir=positions("ir", lines), raman=positions("raman", unlike))
    assert all(row.metrics["top1"].value < 0.3 for row in rows)


def test_peaks_of_modalities_without_a_common_unit_make_no_rows():
    peaks = {
        name: PeakPositions(read=lambda i: np.array([1.0]), unit=unit, width=1.0)
        for name, unit in (("ir", "cm^-1"), ("raman", "m/z"))
    }
    assert peak_rows(made_up(), **peaks) == []
    assert peak_rows(made_up(), ir=peaks["ir"]) == []


def test_nearest_spectra_by_cosine_and_by_similarity():
    rng = np.random.default_rng(0)
    training, queries = rng.random((40, 12)), rng.random((9, 12))
    cosine = queries @ training.T / np.linalg.norm(training, axis=1)
    got = nearest_by_cosine(torch.from_numpy(queries), torch.from_numpy(training), at_once=4)
    assert got.tolist() == cosine.argmax(axis=1).tolist()
    numbers = [3.0, -1.0, 7.0, 5.0]

    def measurement(value):
        return Measurement(arrays={"x": np.array([value])})

    picked = nearest_by_similarity(
        Overlap(), [measurement(2.0), measurement(-1.0)], lambda i: measurement(numbers[i]), [0, 1, 3]
    )
    assert picked.tolist() == [3, 1]
    assert nearest_by_similarity(Overlap(), [measurement(1.0)], lambda i: measurement(-1.0), [0]).tolist() == [-1]


# --- the whole


def test_modality_subsets_and_measurement_turns():
    assert subsets(["a", "b", "c"])[-1] == ("a", "b", "c")
    assert len(subsets(["a", "b", "c"])) == 7
    embedded = made_up()
    for subset in subsets(list(embedded.spectra)):
        queries = queries_of(embedded, subset, "test")
        got = [
            (m, {n: int(queries.measurement[n][i]) for n in subset}) for i, m in enumerate(queries.molecule.tolist())
        ]
        assert got == plain_queries(embedded, subset)
    assert len(queries_of(embedded, ("ir",), "test", most=1)) == len({m for m, _ in plain_queries(embedded, ("ir",))})


def test_the_confidence_of_a_calibrated_model_has_a_small_error():
    embedded = made_up()
    tau, beta = calibrate(embedded, split="train")
    assert tau == TAU
    assert sorted(beta) == [1, 2]
    fitted, _ = calibrate(embedded, split="train", refit_tau=True)
    assert sorted(fitted) == ["ir", "raman"]

    def likelihood(tau):  # of all three subsets together
        total = 0.0
        absent = ~torch.from_numpy(embedded.present)
        for subset in subsets(["ir", "raman"]):
            asked = queries_of(embedded, subset, "train")
            truth = asked.truth(embedded)
            values = logits(asked.vectors(embedded), embedded.candidates, tau).masked_fill(absent, -torch.inf)
            total += float(values.log_softmax(dim=1)[torch.arange(len(truth)), truth][~absent[truth]].sum())
        return total

    assert likelihood(fitted) > likelihood(TAU)
    common = {
        "pools": ["all"],
        "modes": ["blind"],
        "fusions": ["gm-exp"],
        "fingerprints": fingerprints_of(),
        "audit": False,
    }
    rows = evaluate(embedded, calibration=beta, **common).rows
    good = [r.calibration_error for r in rows if r.system == "model"]
    bad = next(r.calibration_error for r in evaluate(embedded, calibration={1: 1e-3, 2: 1e-3}, **common).rows)
    assert all(0 <= error <= 1 for error in good)
    assert good[0] < bad
    assert all(r.calibration_error is None for r in rows if r.system != "model")
    with pytest.raises(DataError, match="differs by query"):
        calibrate(embedded, pool="isomers")
    with pytest.raises(DataError, match="unknown split 'tset'"):
        calibrate(embedded, split="tset")


def test_what_is_missing_is_noted_and_nothing_at_all_is_an_error():
    embedded = made_up()
    none = Spectra(molecule=np.zeros(0, np.int64), vectors=torch.zeros(0, DIM, dtype=torch.float64))
    partly = made_up(spectra={"ir": embedded.spectra["ir"], "raman": none})
    common = {
        "pools": ["all"],
        "fusions": ["gm-exp"],
        "fingerprints": fingerprints_of(),
        "audit": False,
        "resamples": 20,
    }
    found = evaluate(partly, **common)
    assert {r.subset for r in found.rows} == {("ir",)}
    assert [note.split(":")[0] for note in found.notes] == ["raman", "ir + raman"]
    single = evaluate(made_up(spectra={"ir": embedded.spectra["ir"]}), **common)
    assert "library mode needs two modalities" in single.notes[0]
    assert {r.mode for r in single.rows} == {"blind", ""}
    with pytest.raises(DataError, match="no molecule of split 'test' has a spectrum"):
        evaluate(made_up(spectra={"ir": none}), **common)
    with pytest.raises(DataError, match="there are no spectra"):
        evaluate(made_up(spectra={}), **common)
    with pytest.raises(DataError, match="unknown fusion 'gm'"):
        evaluate(embedded, **(common | {"fusions": ["gm"]}))
    with pytest.raises(DataError, match="unknown mode 'blnd'; did you mean 'blind'"):
        evaluate(embedded, modes=["blnd"], **common)
    with pytest.raises(DataError, match="no mode was given"):
        evaluate(embedded, modes=[], **common)


def test_a_single_test_molecule_and_a_pool_of_one_work():
    split = np.full(N, 0, np.uint8)
    split[0] = 2
    embedded = made_up(split=split, trained=split == 0, formula=[f"C{i}" for i in range(N)])
    found = evaluate(
        embedded, pools=["test", "isomers"], fusions=["gm-exp"], fingerprints=fingerprints_of(), resamples=20
    )
    row = found.find("ir", system="model", mode="blind", pool="test")
    assert (row.molecules, row.pool_size, row.metrics["top1"].value) == (1, 1.0, 1.0)
    alone = found.find("ir", system="model", mode="blind", pool="isomers")
    assert (alone.queries, alone.left_out) == (0, row.queries)
    assert math.isnan(alone.metrics["top1"].value)
    assert "-" in found.table()


def test_mass_aware_modalities_are_flagged():
    found = evaluate(
        made_up(with_mass=frozenset(["raman"])),
        pools=["all"],
        fusions=["gm-exp"],
        fingerprints=fingerprints_of(),
        resamples=20,
        audit=False,
    )
    flags = {(r.subset, r.mode): r.with_mass for r in found.rows if r.system == "model"}
    assert flags[("ir",), "blind"] is False
    assert flags[("ir",), "library"] is True
    assert flags[("ir", "raman"), "blind"] is True


def test_rows_of_the_same_molecules_are_compared_in_pairs(evaluated):
    _, _, found = evaluated
    one = found.find("ir", system="model", mode="blind", fusion="gm-exp", pool="all")
    chance = found.find("ir", system="random (expected)", pool="all")
    difference = one.minus(chance, resamples=200)["mrr"]
    assert difference.value == pytest.approx(one.metrics["mrr"].value - chance.metrics["mrr"].value)
    assert difference.low > 0
    with pytest.raises(DataError, match="not the same"):
        one.minus(found.find("raman", system="model", mode="blind", fusion="gm-exp", pool="all"))
    with pytest.raises(DataError, match="holds 0 rows"):
        found.find("nmr")


def test_saved_files_hold_what_the_table_says(evaluated, tmp_path):
    _, _, found = evaluated
    found.save(tmp_path / "out")
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    with (tmp_path / "out" / "evaluation.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(content["rows"]) == len(found.rows)
    assert (
        float(lines[0]["top5"]) == content["rows"][0]["metrics"]["top5"]["value"] == found.rows[0].metrics["top5"].value
    )
    assert content["settings"]["seed"] == 4
    assert set(content["settings"]) >= {"seed", "split", "version", "commit"}
    assert content["audit"]["overlap"] == 0
    with pytest.raises(OutputExistsError):
        found.save(tmp_path / "out")
    found.save(tmp_path / "out", force=True)
    table, markdown = found.table().splitlines(), found.table(markdown=True).splitlines()
    assert len(table) == len(found.rows) + 1
    assert len({len(line) for line in markdown}) == 1
    assert set(markdown[1]) <= set("|- ")
    assert "median" in found.text()
    assert "Top-1 by nearest training Tanimoto, ir + raman" in found.text()


def test_self_consistency_is_reported_and_does_not_enter_scores(evaluated):
    embedded, _, found = evaluated
    pairs = [
        float(embedded.spectra["ir"].vectors[q["ir"]] @ embedded.spectra["raman"].vectors[q["raman"]])
        for _, q in plain_queries(embedded, ("ir", "raman"))
    ]
    assert found.self_consistency == {"ir + raman": pytest.approx(np.mean(pairs))}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"smiles": ["C"]}, "`smiles` has 1 entries for 48"),
        ({"key14": ["same"] * N}, "two molecules have the same key14"),
        ({"spectra": {"ir": Spectra(molecule=np.zeros(2, np.int64), vectors=torch.zeros(3, DIM))}}, "3 vectors for 2"),
    ],
)
def test_data_that_does_not_fit_together_is_refused(change, message):
    with pytest.raises(DataError, match=message):
        made_up(**change)


# --- the audit


def test_nearest_training_similarity_and_bins():
    prints = fingerprints_of(50, seed=9)
    tested, trained = np.arange(50) < 13, np.arange(50) >= 20
    nearest = nearest_training(prints, tested, trained, at_once=4)
    for i in range(13):
        expected = max(paired_tanimoto(prints[[i]], prints[[j]])[0] for j in range(20, 50))
        assert nearest[i] == pytest.approx(expected)
    assert not nearest_training(prints, tested, np.zeros(50, bool)).any()
    bins = top1_by_nearest(
        np.array([0, 1, 2, 3]),
        np.array([1.0, 0.0, 1.0, 0.5]),
        np.arange(5) < 4,
        np.array([0.39, 0.4, 0.6, 0.61], np.float32),
    )
    assert bins["< 0.4"] == (1, 1.0)
    assert bins["> 0.6"] == (1, 0.5)
    assert bins["0.4-0.6"] == (2, 0.5)


def test_the_audit_counts_overlap_and_tautomers():
    pytest.importorskip("rdkit")
    smiles = ["CC(=O)CC(C)=O", "CC(O)=CC(C)=O", "CCCC(=O)C=O", "CCO", "CCO"]
    tested = np.array([True, False, False, True, False])
    trained = np.array([False, True, True, False, False])
    common = {"smiles": smiles, "nearest": np.array([0.5, 1.0], np.float32), "top1": {}}
    found = audit_split(tested=tested, trained=trained, tautomers=100, **common)
    assert (found.overlap, found.tautomers, found.tautomers_unchecked) == (0, 1, 0)
    assert (found.histogram[5], found.histogram[9]) == (1, 1)
    capped = audit_split(tested=tested, trained=trained, tautomers=1, **common)
    assert (capped.tautomers, capped.tautomers_unchecked) == (0, 1)
    skipped = audit_split(tested=tested, trained=tested | trained, tautomers=None, **common)
    assert (skipped.overlap, skipped.tautomers) == (2, None)
    assert "not looked for" in skipped.text()


def test_the_audit_looks_at_molecules_trained_on_in_other_data_sets():
    pytest.importorskip("rdkit")
    smiles = ["CC(=O)CC(C)=O", "c1ccccc1", "CCCCCCO"]
    embedded = Embedded(
        key14=["A", "B", "C"], smiles=smiles, formula=["C5H8O2", "C6H6", "C6H14O"], exact_mass=np.ones(3),
        split=np.array([2, 2, 0]), trained=np.array([False, False, True]), candidates=torch.eye(3),
        present=np.ones(3, bool), spectra={"ir": Spectra(molecule=np.arange(3), vectors=torch.eye(3))},
    )  # fmt: skip
    options = {"pools": ["all"], "modes": ["blind"], "fusions": ["gm-exp"]}
    alone = evaluate(embedded, **options).audit
    assert (alone.tautomers, alone.unknown) == (0, 0)
    assert alone.histogram[9] == 0
    # A tautomer of the first one, a relative of the second one, and one that an old list names by its key alone.
    elsewhere = {"D": "CC(O)=CC(C)=O", "E": "Cc1ccccc1", "F": ""}
    found = evaluate(dataclasses.replace(embedded, trained_elsewhere=elsewhere), **options).audit
    assert (found.overlap, found.tautomers, found.unknown) == (0, 1, 1)
    prints = morgan([*smiles, *filter(None, elsewhere.values())])
    nearest = [max(paired_tanimoto(prints[[i]], prints[[j]])[0] for j in (2, 3, 4)) for i in (0, 1)]
    assert list(found.histogram) == np.histogram(nearest, bins=np.linspace(0, 1, 11))[0].tolist()
    assert sum(count for count, _ in found.top1_by_nearest["ir"].values()) == 2
    assert "compared by key alone: 1" in found.text()
    joined = out_of_fold([dataclasses.replace(evaluate(embedded, **options), audit=found)])
    assert joined.audit.unknown == 1


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("pools", [], "no pool was given; allowed: 'test', 'all', 'all:N', 'isomers', 'unseen:N', 'mass:Xppm'"),
        ("pools", ["test", "all", "test"], "a pool is given twice in ['test', 'all', 'test']; name each once"),
        ("modes", ["blind", "blind"], "a mode is given twice in ['blind', 'blind']; name each once"),
        ("fusions", ("gm-exp", "gm-exp"), "a fusion is given twice in ['gm-exp', 'gm-exp']; name each once"),
    ],
)
def test_what_is_measured_is_named_once(name, given, said):
    with pytest.raises(DataError) as caught:
        evaluate(made_up(), **{name: given}, audit=False, fingerprints=fingerprints_of())
    assert str(caught.value) == f"evaluation failed: {said}"
