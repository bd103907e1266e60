"""The benchmark machine on a tiny set: what is perturbed, what is trained, what is written, what is drawn."""

import csv
import dataclasses
import doctest
import gzip
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from benchmarks import absence, cells, chemist, groups, reasons, report
from benchmarks.accuracy import __main__ as command
from benchmarks.accuracy import perturb, plan, sources
from benchmarks.accuracy.perturb import CONDITIONS, GRID, STEP, Perturbed
from benchmarks.accuracy.plan import FIVE_FOLDS, Curve, Realign, System, Table, Test
from benchmarks.accuracy.runner import Bench, measure
from benchmarks.accuracy.sources import SOURCES, MissingData, Source, opened
from benchmarks.accuracy.tables import TABLES
from benchmarks.full_table import table_text
from benchmarks.plots import draw

import molchord as mc
from molchord.absence import Absence
from molchord.api import Measurement
from molchord.chem import molecule
from molchord.data.splits import hash_split
from molchord.errors import DataError
from molchord.evaluate.absence import Answers
from molchord.host import installed
from molchord.testing import MOLECULES, examples_of, tiny_run
from molchord_modalities.vibrational_settings import KINDS

ROOT = Path(__file__).parent.parent.parent
SPLITS = ["train"] * 8 + ["val"] * 2 + ["test"] * 6
GRAPH = """
schema: 1
embedding_dim: 8
modalities:
  structure: {use: structure, encoder: {use: gine, width: 8, hidden: 8, layers: 1}}
  ir: {use: ir, encoder: {use: mlp, width: 8, hidden: [8]}}
  raman: {use: raman, encoder: {use: mlp, width: 8, hidden: [8]}}
loss: {use: all_pairs}
train: {epochs: 2, batch_size: 8, workers: 0}
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    given = {name: examples_of(name, len(MOLECULES)) for name in ("ir", "raman")}
    mc.from_measurements(MOLECULES, given, folder / "tiny", splits=SPLITS)
    (folder / "tiny.yaml").write_text(GRAPH)
    return Bench(work=folder / "work", sources={"tiny": Source(folder=str(folder / "tiny"))}, device="cpu")


@pytest.fixture(scope="module")
def recipe(bench):
    return System(name="recipe", graph=str(bench.work.parent / "tiny.yaml"))


# --- none of these


def test_rates_of_what_is_stated_by_hand():
    """Four searches; weights of one feature, so that none is stated with 0.2 or 0.8."""
    four = math.log(4)
    made = Answers(
        rows=np.array([[1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [-1, 0, 0, 0, 0], [-1, 0, 0, 0, 0]], dtype=float),
        absent=np.array([False, False, False, True]),
        right=np.array([True, False, True, False]),
        query=np.arange(4),
        share=np.array([1.0, 1.0, 1.0, 1.0]),
    )
    found = absence.rates(Absence(weights={"none": [-four, 0, 0, 0, 0, 0]}), "none", made, 0.4)
    # Three searches with their molecule weigh 0.2 each, the one without 0.4; 0.8 is stated of all four answers, and it
    # is true of the first one, and of "none of these" for the last one.
    assert found["ece"] == pytest.approx(0.8 - (0.2 + 0.4))
    assert found["ece_without"] == pytest.approx(1 - 0.4)
    assert found["top1"] == pytest.approx(0.4 / 0.6)
    assert found["auroc"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert found["brier"] == pytest.approx(0.2 * 0.2**2 + 0.2 * 0.8**2 + 0.2 * 0.8**2 + 0.4 * 0.2**2)
    assert found["reliability"] == [[pytest.approx(1.0), pytest.approx(0.8), pytest.approx(0.6)]]


def test_coverage_waits_for_enough_searches():
    few = absence.coverage(np.linspace(1, 0.5, 20), np.ones(20, dtype=bool), np.full(20, 0.05))
    many = absence.coverage(np.linspace(1, 0.5, 200), np.ones(200, dtype=bool), np.full(200, 0.005))
    assert (few, many) == (0.0, pytest.approx(1.0))  # twenty right answers do not show a risk under one in twenty


# --- what happens to queries


def sticks(*position):
    arrays = {"stick_wavenumber": np.array(position), "stick_intensity": np.ones(len(position))}
    return Measurement(arrays=arrays, columns={"origin": "computed"})


def top(measurement):
    values = measurement.arrays.get("absorbance", measurement.arrays.get("intensity"))
    return measurement.arrays["wavenumber"][int(values.argmax())]


def test_a_curve_without_any_change_is_what_the_modality_makes_of_sticks():
    record = installed().modality("ir")
    ir = record.build(record.config(channels=("plain",), normalise="max"), "spectrum1d")
    given = examples_of("ir", 3)
    seen = [Perturbed()("ir", m, "KEY") for m in given]
    made = [ir.prepare(ir.collate([ir.transform(m, None) for m in ms]), None).values.numpy() for ms in (given, seen)]
    np.testing.assert_allclose(made[0], made[1], atol=1e-4)


def test_the_model_sees_noise_of_the_size_that_is_asked_for():
    record = installed().modality("raman")
    raman = record.build(record.config(channels=("plain",), normalise="none"), "spectrum1d")
    quiet, noisy = (
        raman.transform(Perturbed(noise=noise)("raman", sticks(1000.0), "KEY"), None).values for noise in (0.0, 0.05)
    )
    assert np.std(noisy - quiet) == pytest.approx(0.05 * quiet.max(), rel=0.05)


def test_spectra_of_a_query_share_the_scale_and_shift_for_themselves():
    scaled = Perturbed(scale=0.02)
    factors = []
    for i in range(40):
        ir, raman = (top(scaled(name, sticks(2500.0), f"KEY{i}")) for name in ("ir", "raman"))
        assert ir == raman
        factors.append(ir / 2500)
    assert 0.979 <= min(factors) < 0.985
    assert 1.015 < max(factors) <= 1.021
    shifted = Perturbed(shift=10)
    shifts = np.array([[top(shifted(n, sticks(2500.0), f"KEY{i}")) for n in ("ir", "raman")] for i in range(40)]) - 2500
    assert np.abs(shifts).max() <= 11 * STEP
    assert np.abs(shifts).max() > 8 * STEP
    assert abs(np.corrcoef(shifts.T)[0, 1]) < 0.5


def test_a_run_that_corrects_sticks_gets_the_curve_of_corrected_ones():
    graph = mc.ModelGraph.load(ROOT / "recipes" / "gas.yaml")
    seen = Perturbed(width=1.0).reading(graph)
    known = sticks(3000.0)
    by_kind = {
        kind: dataclasses.replace(known, arrays={**known.arrays, "stick_kind": np.array([i])})
        for i, kind in enumerate(KINDS)
    }
    for kind, scale in {"rest": 0.965, "ch": 0.955, "xh": 0.945}.items():
        assert top(seen("ir", by_kind[kind], "KEY")) == pytest.approx(3000 * scale, abs=STEP)
    assert top(seen("ir", sticks(3500.0), "KEY")) == pytest.approx(3500 * 0.945, abs=STEP)  # by where it lies
    both = sticks(1000.0, 3500.0)
    curve = dataclasses.replace(seen, width=8.0)("ir", both, "KEY").arrays["absorbance"]
    high = curve[: len(curve) // 2].max(), curve[len(curve) // 2 :].max()
    assert high[1] / high[0] == pytest.approx(0.55, rel=0.02)


def test_each_line_moves_for_itself_by_the_size_that_is_asked_for():
    moved = Perturbed(width=1.0, stick_shift=12.0)
    found = np.array([top(moved("ir", sticks(2000.0), f"KEY{i}")) for i in range(300)]) - 2000
    assert np.std(found) == pytest.approx(12, rel=0.15)
    shifts = Measurement(arrays={"shift": np.linspace(10, 190, 400)}, columns={"nucleus": "13C"})
    seen = Perturbed(ppm={"13C": 2.0})("carbon", shifts, "KEY")
    assert np.std(seen.arrays["shift"] - shifts.arrays["shift"]) == pytest.approx(2.0, rel=0.15)
    assert Perturbed(ppm={"1H": 0.2})("carbon", shifts, "KEY") is shifts


def test_noise_is_a_part_of_the_maximum_and_the_same_each_time():
    quiet = Perturbed()("raman", sticks(1000.0, 3000.0), "KEY").arrays["intensity"]
    noisy = Perturbed(noise=0.05)
    twice = [noisy("raman", sticks(1000.0, 3000.0), "KEY").arrays["intensity"] for _ in range(2)]
    assert (twice[0] == twice[1]).all()
    assert np.std((twice[0] - quiet)[::2]) == pytest.approx(0.05 * quiet.max(), rel=0.05)
    other = noisy("raman", sticks(1000.0, 3000.0), "OTHER").arrays["intensity"]
    assert abs(np.corrcoef(twice[0] - quiet, other - quiet)[0, 1]) < 0.1


def test_what_has_no_sticks_stays_as_it_is():
    peaks = examples_of("msms", 1)[0]
    assert CONDITIONS["realistic"]("msms", peaks, "KEY") is peaks
    curve = Measurement(arrays={"wavenumber": GRID, "absorbance": np.ones(len(GRID))})
    assert CONDITIONS["noise 0.1"]("ir", curve, "KEY") is curve


# --- data sets


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Twelve computed molecules in a file, three of them measured too, and a list of structures."""
    monkeypatch.setattr(sources, "DATA", tmp_path / "files")
    (tmp_path / "files" / "jdx").mkdir(parents=True)
    keys = [molecule(smiles).key14 for smiles in MOLECULES]
    np.savez(
        tmp_path / "files" / "a.npz",
        smiles=np.array(MOLECULES[:12]),
        inchikey=np.array([f"{key}-UHFFFAOYSA-N" for key in keys[:12]]),
        modes=np.arange(13) * 2,
        freq=np.tile([1000.0, 2000.0], 12),
        ir=np.ones(24),
        raman=np.ones(24),
    )
    with (tmp_path / "files" / "index.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "smiles", "inchikey", "origin"])
        for i, origin in enumerate(["MSDC-IR", "MSDC-IR", "COBLENTZ", "MSDC-IR"]):
            row = 12 if i == 3 else i  # the last one has no computed partner
            writer.writerow([f"{i}.csv", MOLECULES[row], keys[row], origin])
            lines = [f"{x},{0.1 + (x == 1500)}" for x in range(500, 4001, 4)]
            (tmp_path / "files" / "jdx" / f"{i}.csv").write_text("cm-1,absorbance\n" + "\n".join(lines))
    monkeypatch.setattr(sources, "QM9", tmp_path / "files" / "qm9_smiles.csv.gz")
    with gzip.open(sources.QM9, "wt") as file:
        file.write("smiles,qm9s_split\n" + "".join(f"{smiles},\n" for smiles in MOLECULES))
    return tmp_path


def test_measured_spectra_are_taken_for_computed_molecules_alone(files):
    source = {"nist": Source(files=("a.npz",), spectra="index.csv")}
    data = mc.DataSet(opened("nist", files / "work", source))
    assert len(data) == 12
    assert data.table("ir").column("origin").tolist().count("measured") == 2
    before = list((files / "work" / "data").iterdir())
    assert mc.DataSet(opened("nist", files / "work", source)).sha256 == data.sha256
    assert list((files / "work" / "data").iterdir()) == before


def test_a_missing_table_of_spectra_is_named(files):
    with pytest.raises(sources.MissingData, match="none.csv"):
        opened("nist", files / "work", {"nist": Source(files=("a.npz",), spectra="none.csv")})


def test_molecules_of_another_set_are_in_no_split(files):
    known = {"small": Source(files=("a.npz",), limit=5), "apart": Source(files=("a.npz",), without=("small",))}
    data = mc.DataSet(opened("apart", files / "work", known))
    expected = [255] * 5 + [("train", "val", "test").index(hash_split(key)) for key in data.keys()[5:]]
    assert data.split.tolist() == expected


def test_structures_beside_a_set_are_others_in_no_split(files):
    known = {"a": Source(files=("a.npz",)), "more": Source(beside="a", structures=4)}
    base, data = (mc.DataSet(opened(name, files / "work", known)) for name in ("a", "more"))
    assert data.keys()[:12] == base.keys()
    assert sorted(data.keys()[12:]) == sorted(molecule(smiles).key14 for smiles in MOLECULES[12:])
    assert data.split.tolist() == [*base.split.tolist(), *[255] * 4]
    first, second = (d.table("ir").read(3).arrays["stick_wavenumber"] for d in (base, data))
    assert first.tolist() == second.tolist()
    assert not data.table("ir").present()[12:].any()


def test_a_missing_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "DATA", tmp_path)
    with pytest.raises(MissingData, match="it needs 'b.npz', which is not in"):
        opened("b", tmp_path, {"b": Source(files=("b.npz",))})


# --- the machine


@pytest.fixture(scope="module")
def result(bench, recipe):
    table = Table(
        title="Tiny",
        text="A try.",
        data="tiny",
        systems=(
            recipe,
            recipe.changed(name="half", train__fraction=0.5, line="fewer", x=0.5),
            recipe.changed(name="reference", as_long_as="recipe", train__epochs=3),
            recipe.changed(name="realigned", realign=Realign(data="tiny", epochs=1)),
        ),
        tests=(
            Test(name="clean", pools=("test", "all:14"), line="clean", x=0.0),
            Test(name="noise", pools=("all",), condition="noise 0.1", line="noise", x=10.0),
        ),
        minutes=1,
        seeds=(1, 2, 3),
        figure=Curve(over="bars"),
    )
    return measure("tiny", table, dataclasses.replace(bench, seeds=2)), table


def rows(result, **where):
    return [row for row in result["rows"] if all(row[name] == value for name, value in where.items())]


def test_every_system_is_measured_by_every_test(result):
    found, table = result
    for system in table.systems:
        for test, pools in (("clean", {"test": 6, "all:14": 14}), ("noise", {"all": 16})):
            for pool, size in pools.items():
                same = rows(found, system=system.name, test=test, pool=pool, fusion="gm-exp")
                assert [row["subset"] for row in same] == [["ir"], ["raman"], ["ir", "raman"]]
                assert {(row["pool_size"], row["queries"], row["molecules"]) for row in same} == {(size, 6, 6)}
                for row in same:
                    value, low, high = row["top1"]
                    assert low <= value <= high
                    assert value == pytest.approx(np.mean(row["top1_by_seed"]), abs=1e-4)
                    assert len(row["top1_by_seed"]) == 2
    baselines = {row["system"] for row in rows(found, model=False, test="clean")}
    assert {"candidates only", "mass alone", "nearest training spectrum", "random (expected)"} <= baselines
    first, second = ({k: s[k] for k in ("epochs", "molecules")} for s in (r["runs"][0] for r in found["systems"][:2]))
    assert (first["epochs"], second["molecules"]["molecules"]) == (2, 4)
    assert found["systems"][2]["runs"][0]["epochs"] <= 3
    assert "fraction: 0.5" in found["systems"][1]["graph"]
    assert found["audits"]["clean"]["overlap"] == 0


def test_differences_are_of_the_means_over_seeds(result):
    found, _ = result
    (gain,) = [
        d for d in found["differences"] if (d["system"], d["pool"]) == ("half", "test") and d["subset"] == ["ir"]
    ]
    own, other = (rows(found, system=s, pool="test", subset=["ir"])[0]["top1"][0] for s in ("half", "recipe"))
    assert gain["top1"][0] == pytest.approx(own - other, abs=1e-4)


def test_what_is_there_is_not_trained_again(result, bench, monkeypatch):
    found, table = result
    monkeypatch.setattr(mc.Run, "train", None)
    again = measure("tiny", table, dataclasses.replace(bench, seeds=2))
    assert again == found


def test_folds_are_pooled_out_of_fold(bench, recipe):
    table = Table(
        title="Folds", text="", data="tiny", systems=(recipe,), tests=(Test(name="clean", pools=("all",)),),
        minutes=1, seeds=(1,), splits=FIVE_FOLDS, candidates_only=False,
    )  # fmt: skip
    found = measure("folds", table, bench)
    assert {run["fold"] for run in found["systems"][0]["runs"]} == {f"fold:{i}" for i in range(5)}
    (row,) = rows(found, system="recipe", subset=["ir"])
    assert (row["molecules"], row["pool_size"]) == (16, 16)


def test_a_system_trained_on_what_is_asked_for_is_refused(bench, recipe):
    table = Table(
        title="", text="", data="tiny", systems=(dataclasses.replace(recipe, own_split=True),),
        tests=(Test(name="clean"),), minutes=1, seeds=(1,), splits=FIVE_FOLDS,
    )  # fmt: skip
    with pytest.raises(DataError, match="system 'recipe' was trained on .* molecules that test 'clean' asks for"):
        measure("leak", table, bench)


def test_the_command_writes_a_table_once_and_says_what_it_left_out(bench, recipe, tmp_path, monkeypatch, capsys):
    table = Table(
        title="A", text="", data="tiny", systems=(recipe,), tests=(Test(name="clean"),), minutes=1, seeds=(1,)
    )
    tables = {"a": table, "b": dataclasses.replace(table, data="gone"), "c": dataclasses.replace(table, minutes=99)}
    monkeypatch.setattr(command, "TABLES", tables)
    monkeypatch.setattr(command, "Bench", lambda **options: dataclasses.replace(bench, **options | {
        "work": bench.work, "device": "cpu", "sources": {**bench.sources, "gone": Source(folder="no-such-set")}
    }))  # fmt: skip
    words = ["--results", str(tmp_path), "--within", "50", "--set", "train.epochs=1"]
    assert command.main(words) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    saved = json.loads((tmp_path / "a.json").read_text())
    assert saved["systems"][0]["runs"][0]["epochs"] == 1
    told = capsys.readouterr().err
    assert "b: left out, it needs 'no-such-set'" in told
    assert "c: left out, it takes about 99 of" in told
    assert command.main([*words, "a"]) == 0
    assert "a: a.json is there; give --again" in capsys.readouterr().err
    assert command.main(["d"]) == 2


# --- the page and the full tables


@pytest.mark.parametrize("over", ["bars", "systems", "tests"])
def test_the_same_result_gives_the_same_table_and_picture(result, over, tmp_path):
    found = json.loads(json.dumps(result[0])) | {"figure": {"over": over, "label": "x"}}
    full = table_text(found)
    assert full == table_text(found)
    assert report.section(found) == report.section(found)
    row = rows(found, system="recipe", test="clean", pool="test", subset=["ir"])[0]
    seeds = sorted(f"{100 * value:.1f}" for value in {min(row["top1_by_seed"]), max(row["top1_by_seed"])})
    assert f"**recipe** | {cells.interval(row['top1'])}; seeds {'-'.join(seeds)} |" in full
    assert "share of the reference's error" in full
    for number in range(2):
        draw(found, tmp_path / str(number) / "tiny.svg")
    first, second = ((tmp_path / str(number) / "tiny.svg").read_bytes() for number in range(2))
    assert first == second
    assert b"Top-1 in %" in first


def lines_of(text):
    """The lines of the one table of a text, as lists of cells."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]


def top1_cells(found, **where):
    return [cells.interval(row["top1"]) for row in rows(found, fusion="gm-exp", **where)]


def test_the_page_shows_every_system_once_for_each_main_pool(result):
    found, table = result
    header, _, *lines = lines_of(report.section(found))
    assert header == ["test; pool", "system", "ir", "raman", "ir + raman"]
    models = [line for line in lines if line[1].startswith("**")]
    assert [line[1] for line in models] == 2 * [f"**{system.name}**" for system in table.systems]
    assert [line[0] for line in lines if line[0]] == ["clean; `all:14` 14", "noise; `all` 16"]
    assert models[0][2:] == top1_cells(found, system="recipe", test="clean", pool="all:14")
    assert models[5][2:] == top1_cells(found, system="half", test="noise", pool="all")


def test_the_page_shows_the_pools_that_a_headline_names(result):
    text = report.section(result[0], [("clean", "test")])
    header, _, *lines = lines_of(text)
    assert "queries of 6 molecules, test clean; `test` 6:" in text
    assert header[0] == "system"
    assert lines[0][1:] == top1_cells(result[0], system="recipe", test="clean", pool="test")


def test_the_page_leaves_out_baselines_that_find_nothing_and_says_once_what_no_test_changes(result):
    found = json.loads(json.dumps(result[0]))
    for row in found["rows"]:
        if not row["model"]:
            row["top1"] = [0.009, 0.0, 0.02] if row["system"] == "candidates only" else [0.25, 0.2, 0.3]
            row["pool"] = row["pool"].replace("all:14", "all")
        row["pool"] = row["pool"].replace("all:14", "all")
    lines = lines_of(report.section(found))
    shown = [line[1] for line in lines[2:] if not line[1].startswith("**")]
    assert shown == ["mass alone (expected)", "nearest training spectrum"]
    full = table_text(found)
    assert "| candidates only |" in full
    assert "| random (expected) |" in full


def test_a_query_of_one_kind_has_more_metrics_on_the_page(result):
    found = json.loads(json.dumps(result[0]))
    found["rows"] = [row for row in found["rows"] if row["subset"] == ["ir"]]
    header, _, first, *_ = lines_of(report.section(found))
    row = rows(found, system="recipe", test="clean", pool="all:14")[0]
    assert header[2:] == ["ir, Top-1", "Top-5", "Top-10"]
    assert first[2:] == [cells.interval(row["top1"]), *(f"{100 * row[name][0]:.1f}" for name in ("top5", "top10"))]


def test_published_figures_are_named_under_their_table(result):
    entry = {"system": "Other", "data": "QM9", "pool": "7", "mode": "blind", "figure": "Top-1 1 %"}
    beside = [{**entry, "beside": [{"table": "tiny"}]}, {**entry, "system": "Elsewhere", "beside": [{"table": "b"}]}]
    text = report.section(result[0], published=beside)
    assert "\nPublished: Other (QM9; blind, pool 7) Top-1 1 %.\n" in text
    assert "Published" not in report.section(result[0])


def test_the_command_writes_the_page_a_file_for_each_table_and_the_pictures(result, tmp_path, monkeypatch):
    measured = dataclasses.replace(result[1], measured=True)
    tables = {"other": result[1], "tiny": measured, "gone": dataclasses.replace(measured, title="Gone")}
    monkeypatch.setattr(report, "TABLES", tables)
    (tmp_path / "in").mkdir()
    for name in ("other", "tiny"):
        found = json.loads(json.dumps(result[0])) | {"table": name, "title": name.title()}
        (tmp_path / "in" / f"{name}.json").write_text(json.dumps(found))
    assert report.main(["--results", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    made = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    plots = {"plots/other.svg", "plots/tiny.svg"}
    assert made == {"RESULTS.md", "tables/other.md", "tables/tiny.md", *plots}
    page = (tmp_path / "out" / "RESULTS.md").read_text()
    order = ["## Measured spectra", "### Tiny", "### Gone", "## Computed spectra", "### Other", "## Published figures"]
    assert [line for line in page.splitlines() if line.startswith("##")][1:] == order
    assert "Not measured yet: `python -m benchmarks.accuracy gone`" in page


def test_the_pages_in_the_repository_are_what_the_script_makes():
    folder = ROOT / "benchmarks"
    results = report.read(folder / "results")
    assert (folder / "RESULTS.md").read_text(encoding="utf-8") == report.page_text(results)
    written = {path.stem: path.read_text(encoding="utf-8") for path in (folder / "tables").iterdir()}
    assert written == {name: table_text(result) for name, result in results.items()}


def test_the_page_can_be_read_to_its_end():
    page = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    assert len(page.splitlines()) < 400
    assert len([word for word in page.split() if word not in ("|", "---")]) < 3500


@pytest.mark.parametrize("page", ["RESULTS.md", *(f"tables/{name}.md" for name in TABLES)])
def test_links_of_the_pages_lead_somewhere(page):
    path = ROOT / "benchmarks" / page
    if not path.exists():
        pytest.skip("not measured yet")
    links = re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8"))
    assert links
    for link in links:
        name, _, anchor = link.partition("#")
        target = path.parent / name
        assert target.exists(), link
        if anchor:
            headings = [
                line.lstrip("# ") for line in target.read_text(encoding="utf-8").splitlines() if line[:1] == "#"
            ]
            assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


def test_published_figures_stand_beside_tests_that_there_are():
    entries = json.loads((ROOT / "benchmarks" / "published.json").read_text(encoding="utf-8"))
    wanted = [beside for entry in entries for beside in entry.get("beside", [])]
    assert wanted
    for beside in wanted:
        tests = {test.name: test for test in TABLES[beside["table"]].tests}
        assert beside["pool"] in tests[beside["test"]].pools
        assert beside["mode"] in tests[beside["test"]].modes


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_well_formed(name, tmp_path):
    table = TABLES[name]
    bench = Bench(work=tmp_path)
    assert len({system.name for system in table.systems}) == len(table.systems)
    assert len({test.name for test in table.tests}) == len(table.tests)
    for system in table.systems:
        bench.graph(system, 7)  # complains of whatever is wrong
        assert (system.data or table.data) in SOURCES
        assert system.as_long_as in {None, *(other.name for other in table.systems)}
    for test in table.tests:
        assert (test.data or table.data) in SOURCES
        assert test.condition in CONDITIONS
        assert set(test.computed) <= set(SOURCES)
        assert test.rerank is None or installed().find("reranker", test.rerank)
    tests = {test.name: test for test in table.tests}
    for name, pool in table.headline:
        assert pool in tests[name].pools


@pytest.mark.parametrize("module", [absence, cells, groups, perturb, plan, reasons], ids=lambda module: module.__name__)
def test_examples_run(module):
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


def test_a_chemists_searches_are_counted_with_what_is_said_of_them():
    run = tiny_run()
    library = run.library(["CCO", "CC#N", "CSC"])
    first = run.search(library, ir=examples_of("ir", 1))[0]
    asked = [
        chemist.Asked(key14=first.key14, spectra={"ir": examples_of("ir", 1)}, limits={}),
        chemist.Asked(key14="A" * 14, spectra={"ir": examples_of("ir", 1)}, limits={}),
        chemist.Asked(key14=first.key14, spectra={"ir": examples_of("ir", 1)}, limits={"formula": "C60"}),
    ]
    found = chemist.answered(run, library, asked)
    assert (found["searches"], found["right"], found["candidates"]) == (3, 1, 3.0)
    assert found["top"] == pytest.approx([1 / 3] * 3)
    page = chemist.page_text({"run": "abc", "rows": [{"situation": "toy", **found, "warnings": {"odd": [1, 1]}}]})
    assert "| toy | 3 | 3 | 33 / 33 / 33 |" in page
    assert "| odd | 100.0 | 50.0 |" in page
