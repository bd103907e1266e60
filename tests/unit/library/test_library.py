"""The library on disk: what it holds, what it refuses, and that search through it is exact."""

import gc
import json
import math
import shutil

import numpy as np
import pytest
import torch
from tests.unit.library.candidates import DIM, key_of, unit

from molchord.api import Molecule
from molchord.errors import OutputExistsError, QueryError
from molchord.library.filters import mass_window, sought_formula
from molchord.library.library import Entry, Library
from molchord.retrieval.scores import geometric_mean, library_scores, pair_temperatures, scores
from molchord.vocabulary import FUSIONS

FORMULAS = ("C2H6O", "C3H8", "CH4O", "C2H4O2")
TAU = {"ir": 0.1, "raman": 0.3}


def molecule_of(number):
    return Molecule(
        key14=key_of(number * 7919),
        smiles="C" * (number + 1),
        formula=FORMULAS[number % 4],
        exact_mass=100 + (number * 37 % 50) / 10,
    )


def entry_of(number):
    spectra = {"ir": unit(1000 + number)} if number % 3 else {}
    if number % 5:
        spectra["raman"] = unit(2000 + number)
    return Entry(molecule_of(number), unit(number), spectra)


def make(path, count=60, shard_rows=16, **more):
    settings = {"run": "run-1", "candidate": "structure", "embedding_dim": DIM, "spectra": ("ir", "raman")}
    return Library.create(path, map(entry_of, range(count)), shard_rows=shard_rows, **(settings | more))


@pytest.fixture
def library(tmp_path):
    return make(tmp_path / "lib")


def query_of(*names, seed=500):
    return {name: torch.from_numpy(unit(seed + i)) for i, name in enumerate(names)}


def brute(query, numbers, fusion, mode="blind", k=10):
    """Hits by one dense score matrix in fp64, ties by key14."""
    entries = [entry_of(i) for i in numbers]
    queries = {n: v[None].double() for n, v in query.items()}
    candidates = torch.from_numpy(np.stack([e.vector for e in entries])).double()
    if mode == "blind":
        values = scores(queries, candidates, fusion=fusion, tau=TAU)[0]
        pairs = pair_temperatures(query, TAU)
    else:
        spectra = {
            m: torch.from_numpy(np.stack([e.spectra.get(m, np.zeros(DIM)) for e in entries])).double() for m in TAU
        }
        has = {m: torch.tensor([m in e.spectra for e in entries]) for m in TAU}
        values = library_scores(queries, candidates, spectra, fusion=fusion, tau=TAU, spectra_present=has)[0]
        pairs = pair_temperatures(query, TAU, spectra=TAU)
    order = sorted(range(len(entries)), key=lambda i: (-float(values[i]), entries[i].molecule.key14))[:k]
    shown = [geometric_mean(float(values[i]), fusion=fusion, tau=list(pairs.values())) for i in order]
    return [entries[i].molecule.key14 for i in order], shown


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("mode", ["blind", "library"])
@pytest.mark.parametrize("names", [("ir",), ("raman", "ir")])
def test_search_over_shards_equals_a_dense_search(library, fusion, mode, names):
    hits = library.search(query_of(*names), k=10, fusion=fusion, mode=mode, tau=TAU)
    keys, shown = brute(query_of(*names), range(60), fusion, mode)
    assert [hit.key14 for hit in hits] == keys
    assert [hit.score for hit in hits] == pytest.approx(shown, rel=1e-4)
    assert [hit.rank for hit in hits] == list(range(1, 11))
    assert all(hit.proven for hit in hits)
    first = next(e for e in map_entries() if e.molecule.key14 == hits[0].key14)
    expected = {
        name: float(v.double() @ torch.from_numpy(first.vector).double()) for name, v in query_of(*names).items()
    }
    assert hits[0].cosines == pytest.approx(expected, abs=1e-6)
    assert hits[0].smiles == first.molecule.smiles
    assert hits[0].exact_mass == first.molecule.exact_mass


def map_entries():
    return map(entry_of, range(60))


@pytest.mark.parametrize(
    "limits",
    [
        {"mass": 102.5, "da": 0.55},
        {"mass": 102.5, "ppm": 5000.0},
        {"mass": 102.5, "da": 0.0},
        {"formula": "OH6C2"},
        {"formula": "C3H8", "mass": 101.0, "da": 1.0},
    ],
)
def test_filters_keep_exactly_what_they_say(library, limits):
    def kept(number):
        molecule = molecule_of(number)
        half = limits.get("da", limits.get("mass", 0) * limits.get("ppm", 0) * 1e-6)
        near = "mass" not in limits or limits["mass"] - half <= molecule.exact_mass <= limits["mass"] + half
        return near and ("formula" not in limits or molecule.formula == sought_formula(limits["formula"]))

    numbers = [i for i in range(60) if kept(i)]
    assert 0 < len(numbers) < 60
    hits = library.search(query_of("ir"), k=100, tau=TAU, **limits)
    assert [hit.key14 for hit in hits] == brute(query_of("ir"), numbers, "gm-exp", k=100)[0]


def test_equal_scores_are_ordered_by_key(tmp_path):
    same = unit(0)
    entries = [Entry(molecule_of(i), same) for i in range(20)]
    made = Library.create(tmp_path / "l", entries, run="r", candidate="c", embedding_dim=DIM, shard_rows=3)
    hits = made.search(query_of("ir"), k=7)
    assert [hit.key14 for hit in hits] == sorted(entry.molecule.key14 for entry in entries)[:7]


def test_probability_is_the_softmax_over_the_filtered_pool(library):
    query, beta = query_of("ir", "raman"), 0.7
    hits = library.search(query, k=100, tau=TAU, formula="C3H8", calibration={2: beta})
    vectors = {
        hit.key14: torch.from_numpy(e.vector).double()
        for e in map_entries()
        for hit in hits
        if e.molecule.key14 == hit.key14
    }
    raw = torch.stack([sum(beta * (q.double() @ vectors[h.key14]) / TAU[n] for n, q in query.items()) for h in hits])
    assert [hit.probability for hit in hits] == pytest.approx(raw.softmax(dim=0).tolist(), rel=1e-6)
    assert sum(hit.probability for hit in hits) == pytest.approx(1.0)
    assert library.search(query, tau=TAU)[0].probability is None
    assert library.search(query, tau=TAU, calibration={1: beta})[0].probability is None
    assert library.search(query, tau=TAU, mode="library", calibration={2: beta})[0].probability is None


def test_one_entry_a_key_the_first_one_and_the_rest_is_counted(tmp_path):
    entries = [entry_of(0), entry_of(1), entry_of(2), Entry(molecule_of(1), unit(77)), entry_of(0)]
    broken = Entry(molecule_of(9), np.full(DIM, np.nan))
    made = Library.create(
        tmp_path / "l",
        [*entries, broken],
        run="r",
        candidate="c",
        embedding_dim=DIM,
        spectra=("ir", "raman"),
        shard_rows=2,
    )
    assert (len(made), made.manifest.duplicates, made.manifest.unusable) == (3, 2, 1)
    row = next(i for i, m in enumerate(made.molecules(range(3))) if m.key14 == molecule_of(1).key14)
    assert made.vectors([row])[0].tolist() == pytest.approx(unit(1).tolist())


def test_shards_are_sorted_by_mass_and_molecules_come_back_whole(library):
    for number, shard in enumerate(library.manifest.shards):
        start = sum(s.rows for s in library.manifest.shards[:number])
        masses = [m.exact_mass for m in library.molecules(range(start, start + shard.rows))]
        assert masses == sorted(masses)
        assert (masses[0], masses[-1]) == (shard.lightest, shard.heaviest)
    every = library.molecules([59, 0, 31])
    assert every[0] in [molecule_of(i) for i in range(60)]
    assert library.molecules([0])[0] == every[1]


def test_removed_candidates_are_gone_and_can_come_back(library):
    best = library.search(query_of("ir"), k=3, tau=TAU)
    assert library.remove([best[0].key14, "NOTTHEREATALLX"]) == 1
    assert library.remove([best[0].key14]) == 0
    for opened in (library, Library(library.path)):
        assert len(opened) == 59
        assert [h.key14 for h in opened.search(query_of("ir"), k=2, tau=TAU)] == [h.key14 for h in best[1:]]
        assert len(opened.search(query_of("ir"), k=100, formula=best[0].formula)) == 14
    number = next(i for i in range(60) if molecule_of(i).key14 == best[0].key14)
    assert library.append([entry_of(number), entry_of(number + 1), entry_of(61)]) == 2
    assert len(library) == len(Library(library.path)) == 61
    assert library.search(query_of("ir"), k=1, tau=TAU)[0].key14 == best[0].key14


def test_removed_candidates_of_every_shard_can_come_back(library):
    keys = [molecule_of(i).key14 for i in range(60)]
    assert library.remove(keys[::2]) == 30
    assert library.append(map(entry_of, range(60))) == 30
    assert sorted(m.key14 for m in library.molecules(int(r) for part in library.filter() for r in part)) == sorted(keys)


def test_append_adds_sorted_shards_that_are_searched(library):
    assert library.append(map(entry_of, range(50, 90)), shard_rows=16) == 30
    hits = library.search(query_of("ir"), k=10, tau=TAU)
    assert [h.key14 for h in hits] == brute(query_of("ir"), range(90), "gm-exp")[0]


def test_a_failed_append_leaves_the_library_as_it_was(library):
    def failing():
        yield entry_of(70)
        raise RuntimeError("stream broke")

    with pytest.raises(RuntimeError, match="stream broke"):
        library.append(failing(), shard_rows=1)
    assert len(Library(library.path)) == 60
    assert library.append([entry_of(70)]) == 1


def test_a_temporary_library_goes_with_its_object():
    made = make(None, count=3)
    path = made.path
    assert path.is_dir()
    del made
    gc.collect()
    assert not path.parent.exists()


# --- refusals


def test_a_library_of_another_run_is_refused_with_both_named(library):
    library.expect_run("run-1")
    with pytest.raises(QueryError, match=r"'run-1'.*'run-2'"):
        library.expect_run("run-2")


def test_an_existing_folder_is_kept_without_force(library):
    with pytest.raises(OutputExistsError, match="--force"):
        make(library.path)
    assert len(Library(library.path)) == 60
    assert len(make(library.path, count=5, force=True)) == 5
    assert sorted(p.name for p in library.path.parent.iterdir()) == ["lib"]


def test_force_never_replaces_a_folder_that_is_no_library(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    with pytest.raises(QueryError, match="is not a library"):
        make(tmp_path / "home", force=True)
    (tmp_path / "home" / "manifest.json").write_text("{}")
    with pytest.raises(QueryError, match="cannot be read"):
        make(tmp_path / "home", force=True)
    assert (tmp_path / "home" / "thesis.txt").read_text() == "years of work"


def test_a_failed_creation_leaves_nothing_and_keeps_the_old_one(library):
    with pytest.raises(QueryError, match="would be empty"):
        make(library.path, count=0, force=True)
    assert len(Library(library.path)) == 60
    assert sorted(p.name for p in library.path.parent.iterdir()) == ["lib"]
    with pytest.raises(QueryError, match="would be empty"):
        make(None, count=0)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Entry(molecule_of(0), unit(0, 5)), "shape \\(5,\\)"),
        (Entry(molecule_of(0), 2 * unit(0)), "length 2"),
        (Entry(molecule_of(0), unit(0), {"nmr": unit(0)}), "spectrum 'nmr'"),
    ],
)
def test_an_entry_that_does_not_fit_is_refused(tmp_path, entry, message):
    with pytest.raises(QueryError, match=message):
        Library.create(tmp_path / "l", [entry], run="r", candidate="c", embedding_dim=DIM, spectra=("ir",))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mass": 5.0, "ppm": 10.0}, "no candidate of library .* passes the filters"),
        ({"formula": "C99"}, "no candidate of library .* passes the filters"),
        ({"mass": 100.0, "ppm": 1.0, "da": 1.0}, "needs `mass`, and at most one of"),
        ({"ppm": 10.0}, "needs `mass`, and at most one of"),
        ({"mass": math.nan, "ppm": 10.0}, "`mass` is nan"),
        ({"mass": 100.0, "ppm": -1.0}, "`ppm` is -1.0"),
        ({"mass": 0.0, "da": 1.0}, "`mass` is 0.0"),
        ({"formula": "water"}, "formula 'water' cannot be read"),
        ({"formula": "co2"}, "'co' can be 'CO' or 'Co'; write its capitals"),
        ({"formula": "xq3"}, "'xq' can be no elements"),
        ({"mode": "libary"}, "did you mean 'library'"),
        ({"fusion": "exp"}, "unknown fusion 'exp'"),
        ({"k": 0}, "`k` is 0"),
        ({"tau": {"raman": 1.0}}, "no temperature for 'ir'"),
    ],
)
def test_a_wrong_search_is_one_sentence(library, arguments, message):
    with pytest.raises(QueryError, match=message) as caught:
        library.search(query_of("ir"), **arguments)
    assert "\n" not in str(caught.value)


def test_a_query_that_does_not_fit_is_refused(library, tmp_path):
    with pytest.raises(QueryError, match="no modality"):
        library.search({})
    with pytest.raises(QueryError, match="shape \\(5,\\)"):
        library.search({"ir": torch.zeros(5)})
    with pytest.raises(QueryError, match="not finite"):
        library.search({"ir": torch.full((DIM,), torch.nan)})
    plain = Library.create(
        tmp_path / "plain", [Entry(molecule_of(0), unit(0))], run="r", candidate="c", embedding_dim=DIM
    )
    with pytest.raises(QueryError, match="holds no spectra"):
        plain.search(query_of("ir"), mode="library")


def test_damaged_folders_are_refused(library, tmp_path):
    with pytest.raises(QueryError, match=r"does not exist or has no manifest\.json"):
        Library(tmp_path / "nowhere")

    def damaged(change):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(library.path, copy)
        change(copy)
        return copy

    def edit(path, **changes):
        file = path / "manifest.json"
        stated = json.loads(file.read_text()) | changes
        stated.pop("checksum")  # as an earlier version wrote it
        file.write_text(json.dumps(stated))

    with pytest.raises(QueryError, match="has format 2, this molchord reads 1; .* update molchord"):
        Library(damaged(lambda p: edit(p, format=2)))
    with pytest.raises(QueryError, match="`kind` is 'other'"):
        Library(damaged(lambda p: edit(p, kind="other")))
    with pytest.raises(QueryError, match="cannot be read"):
        Library(damaged(lambda p: (p / "manifest.json").write_text("{")))
    with pytest.raises(QueryError, match=r"shard-00001.safetensors.* is damaged"):
        Library(damaged(lambda p: (p / "shard-00001.safetensors").write_bytes(b"xx"))).search(query_of("ir"))
    with pytest.raises(QueryError, match=r"shard-00000.safetensors.* is damaged"):
        Library(damaged(lambda p: (p / "shard-00000.safetensors").unlink())).search(query_of("ir"))
    with pytest.raises(QueryError, match=r"shard-0000..parquet.* is damaged"):
        Library(damaged(lambda p: [f.write_bytes(b"xx") for f in p.glob("*.parquet")])).search(query_of("ir"))


@pytest.mark.parametrize("smiles", ["CCO", "O=C(O)c1ccccc1", "[NH4+]", "O", "BrC(Cl)F", "[Na+].[Cl-]", "C[N+](=O)[O-]"])
def test_formulas_in_any_order_read_as_rdkit_writes_them(smiles):
    chem = pytest.importorskip("rdkit.Chem")
    import re

    from rdkit.Chem.rdMolDescriptors import CalcMolFormula

    written = CalcMolFormula(chem.MolFromSmiles(smiles))
    core = re.match(r"[A-Za-z0-9]*", written)[0]
    parts = re.findall(r"[A-Z][a-z]?\d*", core)
    assert sought_formula("".join(reversed(parts)) + written[len(core) :]) == written


def test_mass_windows_include_their_ends():
    assert mass_window(None, None, None) is None
    assert mass_window(100.0, None, 0.5) == (99.5, 100.5)
    assert mass_window(200.0, 10.0, None) == pytest.approx((199.998, 200.002))
    assert mass_window(200.0, None, None) == mass_window(200.0, 10.0, None)  # what anyone means by a mass alone


@pytest.mark.parametrize("written", ["C2H4 Br2", " c2h4br2", "C\u2082H\u2084Br\u2082", "Br2 C2 H4", "C2H4Br2\n"])
def test_formulas_are_read_as_people_write_them(written):
    assert sought_formula(written) == "C2H4Br2"
