"""The command line from files to ranked structures, and its sentences for bad input."""

import json
import math
import shutil
from itertools import pairwise

import numpy as np
import pytest

from molchord.cli.main import main
from molchord.testing import molecules

GRAPH = """
schema: 1
embedding_dim: 16
scalar_features: []
modalities:
  structure: {use: structure, encoder: {use: gine, width: 16, hidden: 16, layers: 2}}
  ir: {use: ir, grid: {points: 200}, encoder: {use: mlp, width: 16, hidden: [32]}}
  raman: {use: raman, grid: {points: 200}, encoder: {use: mlp, width: 16, hidden: [32]}}
loss: {use: graph_centered}
train: {batch_size: 8, epochs: 6, optimizer: {lr: 3.0e-3}, workers: 0}
"""
SMILES = [
    "CCO",
    "CC(C)=O",
    "c1ccccc1",
    "CC#N",
    "OC(=O)c1ccccc1",
    "CCN(CC)CC",
    "C1CCCCC1",
    "NCC(=O)O",
    "c1ccncc1",
    "CSC",
    "FC(F)F",
    "C=CC=C",
    "OCC(O)CO",
    "Clc1ccccc1",
    "CCCC",
    "CCCCC",
    "CCCCCC",
    "COC",
    "CCOCC",
    "CC(=O)O",
    "CCC(=O)O",
    "CNC",
    "CCN",
    "C1CC1",
    "C1CCC1",
    "C1CCCC1",
    "c1ccoc1",
    "c1ccsc1",
    "CC=O",
    "CCC=O",
]


def run(capsys, *arguments, status=0):
    code = main([str(a) for a in arguments])
    said = capsys.readouterr()
    assert code == status, said.out + said.err
    return said.out if status == 0 else said.err


def sticks(smiles, seed=0):
    """Computed-looking IR and Raman sticks in the npz layout, made from the SMILES alone."""
    from zlib import crc32

    rows = [np.random.default_rng([crc32(s.encode()), seed]) for s in smiles]
    freq = np.stack([rng.uniform(600, 3500, 10) for rng in rows]).astype(np.float32)
    ir, raman = (np.stack([rng.random(10) for rng in rows]).astype(np.float32) for _ in range(2))
    offsets = np.arange(0, 10 * len(smiles) + 1, 10)
    return {
        "smiles": np.array(smiles),
        "modes": offsets,
        "freq": freq.ravel(),
        "ir": ir.ravel(),
        "raman": raman.ravel(),
    }


def curve(smiles, name):
    data = sticks([smiles])
    grid = np.arange(500, 4000, 4.0)
    lines = (25 / ((grid[:, None] - data["freq"]) ** 2 + 25)) @ data[name]
    heading = {"ir": "wavenumber,absorbance", "raman": "shift,raman"}[name]
    return "\n".join([heading, *(f"{x},{y:.5f}" for x, y in zip(grid, lines, strict=True))]) + "\n"


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A data set, a trained run and a library, all made by the command line."""
    folder = tmp_path_factory.mktemp("work")
    np.savez(folder / "computed.npz", **sticks(SMILES))
    (folder / "graph.yaml").write_text(GRAPH)
    (folder / "smiles.csv").write_text("name,smiles\n" + "".join(f"x,{s}\n" for s in SMILES) + "bad,C1CC\n")
    (folder / "ir.csv").write_text(curve("CCO", "ir"))
    (folder / "raman.csv").write_text(curve("CCO", "raman"))
    for command in (
        ["data", "import", folder / "computed.npz", "--out", folder / "data"],
        ["train", folder / "graph.yaml", "--data", folder / "data", "--out", folder / "run"],
        ["embed", folder / "run", folder / "smiles.csv", "--out", folder / "library"],
    ):
        assert main([str(part) for part in command]) == 0
    return folder


def test_import_reports_counts(work, capsys):
    info = json.loads(run(capsys, "data", "info", work / "data", "--verify", "--json"))
    assert info["molecules"] == len(SMILES)
    assert info["pairs"] == {"ir + raman": len(SMILES)}
    assert "all checksums agree" in run(capsys, "data", "info", work / "data", "--verify")


def test_resplit_by_scaffold(work, tmp_path, capsys):
    shutil.copytree(work / "data", tmp_path / "data")
    assert "split by scaffold" in run(capsys, "data", "split", tmp_path / "data", "--by", "scaffold")


def test_training_memorises_what_it_saw(work, capsys):
    hits = json.loads(
        run(
            capsys,
            "search",
            work / "run",
            work / "library",
            "--ir",
            work / "ir.csv",
            "--raman",
            work / "raman.csv",
            "--json",
        )
    )
    assert len(hits) == 25
    assert [hit["rank"] for hit in hits] == list(range(1, 26))
    assert all(hit["cosines"].keys() == {"ir", "raman"} for hit in hits)
    assert all(a["score"] >= b["score"] for a, b in pairwise(hits))
    assert all(0 < hit["score"] <= 1 for hit in hits)


def test_any_subset_of_spectra_is_a_query(work, capsys):
    for name in ("ir", "raman"):
        text = run(capsys, "search", work / "run", work / "library", f"--{name}", work / f"{name}.csv", "--k", "3")
        assert text.splitlines()[0].split()[:2] == ["rank", "score"]
        assert f"cos {name}" in text
        assert len(text.splitlines()) == 5
        assert text.splitlines()[-1].startswith(f"not calibrated for measured spectra ({name!r})")


def test_several_files_of_one_modality_are_one_factor(work, capsys):
    twice = run(capsys, "search", work / "run", work / "library", "--ir", work / "ir.csv", work / "ir.csv", "--json")
    once = run(capsys, "search", work / "run", work / "library", "--ir", work / "ir.csv", "--json")
    assert [h["smiles"] for h in json.loads(twice)] == [h["smiles"] for h in json.loads(once)]


def test_mass_and_formula_filter(work, capsys):
    base = ["search", work / "run", work / "library", "--ir", work / "ir.csv", "--json"]
    by_mass = json.loads(run(capsys, *base, "--mass", "46.0419", "--ppm", "20"))
    assert {h["formula"] for h in by_mass} == {"C2H6O"}
    by_formula = json.loads(run(capsys, *base, "--formula", "C2H6O"))
    assert [h["smiles"] for h in by_formula] == [h["smiles"] for h in by_mass]


def test_refused_smiles_are_listed(work):
    assert "C1CC" in (work / "library" / "failures.csv").read_text()


def test_evaluate_writes_figures_and_report(work, tmp_path, capsys):
    words = ["evaluate", work / "run", "--out", tmp_path, "--split", "train", "--pool", "all", "--fusion", "gm-half"]
    text = run(capsys, *words)
    assert "ir + raman" in text
    figures = json.loads((tmp_path / "evaluation.json").read_text())
    found = {tuple(row["subset"]) for row in figures["rows"] if row["system"] == "model"}
    assert found == {("ir",), ("raman",), ("ir", "raman")}
    assert {row["system"] for row in figures["rows"]} >= {"model", "random (expected)", "mass alone"}
    page = (tmp_path / "report.html").read_text()
    assert "<svg" in page
    assert "the true one" in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://www.rdkit.org", "").replace(
        "http://purl.org", ""
    ).replace("http://creativecommons.org", "")
    assert "already exists" in run(capsys, "evaluate", work / "run", "--out", tmp_path, status=2)
    # What its figures are of.
    page = " ".join(page.split())
    assert "All figures are of one split (“train”; rule: hash, split once) and one training (seed " in page
    assert "2-D graphs without coordinates, no stereoisomers" in page
    assert "those alone solve it" in page
    assert "Geometric mean: gm-half" in page


def test_library_mode_needs_and_uses_spectra(work, tmp_path, capsys):
    library = tmp_path / "library"
    run(capsys, "embed", work / "run", work / "data", "--out", library, "--spectra")
    query = ["--raman", work / "raman.csv", "--mode", "library", "--json"]
    hits = json.loads(run(capsys, "search", work / "run", library, *query))
    assert len(hits) == 25
    assert "spectra" in run(capsys, "search", work / "run", work / "library", *query, status=2)


def test_realign_trains_every_tower_or_the_parts_named_at_the_rate_given(work, tmp_path, capsys):
    given = ("realign", work / "run", "--data", work / "data", "--epochs", "1")
    assert "trained" in run(capsys, *given, "--out", tmp_path / "r2")
    assert "    modalities.ir: true" in (tmp_path / "r2" / "graph.yaml").read_text()
    run(capsys, *given, "--out", tmp_path / "r3", "--trainable", "heads", "--lr", "0.002")
    written = (tmp_path / "r3" / "graph.yaml").read_text()
    assert "    modalities.ir.head.out: true" in written
    assert "    modalities.ir: true" not in written
    assert "lr: 0.002" in written


def test_dry_run_writes_nothing(work, tmp_path, capsys):
    text = run(capsys, "train", work / "graph.yaml", "--data", work / "data", "--dry-run")
    assert "ir+raman" in text
    assert "peak memory" in text
    assert not list(tmp_path.iterdir())


def test_candidates_only_model_is_a_baseline(work, tmp_path, capsys):
    graph = tmp_path / "graph.yaml"
    graph.write_text(GRAPH.replace("epochs: 6", "epochs: 1, candidates_only: true"))
    run(capsys, "train", graph, "--data", work / "data", "--out", tmp_path / "prior")
    text = run(
        capsys, "evaluate", work / "run", "--out", tmp_path / "e", "--split", "train", "--pool", "all", "--mode", "blind",
        "--candidates-only", tmp_path / "prior",
    )  # fmt: skip
    assert "candidates only" in text
    refused = run(
        capsys, "evaluate", work / "run", "--out", tmp_path / "f", "--candidates-only", work / "run", status=2
    )
    assert "train.candidates_only: true" in refused


BAD = {
    "no run": (["search", "{w}/nothing", "{w}/library", "--ir", "{w}/ir.csv"], "does not exist; give a folder"),
    "no library": (["search", "{w}/run", "{w}/nothing", "--ir", "{w}/ir.csv"], "{w}/nothing"),
    "no spectrum": (["search", "{w}/run", "{w}/library"], "no spectrum was given; give one or more of 'ir', 'raman'"),
    "no such file": (["search", "{w}/run", "{w}/library", "--ir", "{w}/none.csv"], "does not exist"),
    "no spectrum in it": (["search", "{w}/run", "{w}/library", "--ir", "{w}/graph.yaml"], "cannot be read as 'ir'"),
    "empty pool": (
        ["search", "{w}/run", "{w}/library", "--ir", "{w}/ir.csv", "--mass", "900", "--ppm", "5"],
        "passes the filters",
    ),
    "no graph": (["graph", "check", "{w}/none.yaml"], "none.yaml"),
    "no data": (["train", "{w}/graph.yaml", "--data", "{w}/none", "--out", "{w}/never"], "none"),
    "existing run": (["train", "{w}/graph.yaml", "--data", "{w}/data", "--out", "{w}/run"], "already exists"),
    "existing data": (["data", "import", "{w}/computed.npz", "--out", "{w}/data"], "already exists"),
    "nothing imported": (["data", "import", "{w}/graph.yaml", "--out", "{w}/never"], "graph.yaml"),
    "unknown pool": (["evaluate", "{w}/run", "--pool", "tset", "--out", "{w}/never"], "unknown pool 'tset'"),
    "resume and more": (["train", "{w}/graph.yaml", "--resume", "{w}/run"], "leave the other options out"),
    "nothing to train": (["train"], "needs GRAPH"),
    "no such device": (["search", "{w}/run", "{w}/library", "--ir", "{w}/ir.csv", "--device", "cuda:77"], "cuda:77"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(work, case, capsys):
    arguments, expected = BAD[case]
    said = run(capsys, *(a.format(w=work) for a in arguments), status=2)
    assert expected.format(w=work) in said
    assert "Traceback" not in said
    assert not (work / "never").exists()


LACKS = {
    "another modality": (["{w}/run", "{w}/library", "--nmr", "a.csv"], "has no spectrum 'nmr'; allowed: 'ir', 'raman'"),
    "a typing error": (["{w}/run", "{w}/library", "--ramn", "a.csv"], "did you mean 'raman'?"),
    "no modality": (["{w}/run", "{w}/library", "a.csv"], "got 'a.csv' without a modality; write --MODALITY a.csv"),
    "spectra first, no library": (["--ir", "a.csv", "{w}/run"], "finds no run and library among '--ir a.csv"),
    "run is no run": (["{w}/data", "{w}/library", "--ir", "a.csv"], "{w}/data"),
}


@pytest.mark.parametrize("case", LACKS)
def test_a_search_that_the_run_cannot_do_is_one_sentence(work, case, capsys):
    words, expected = LACKS[case]
    said = run(capsys, "search", *(word.format(w=work) for word in words), status=2)
    assert expected.format(w=work) in said
    assert said.startswith("molchord: ")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "order",
    ["RUN LIB --ir IR --k 3", "--ir IR RUN LIB --k 3", "RUN --ir IR LIB --k 3", "--k 3 RUN LIB --ir IR"],
)
def test_spectra_do_not_take_the_folders(work, order, capsys):
    named = {"RUN": work / "run", "LIB": work / "library", "IR": work / "ir.csv"}
    said = run(capsys, "search", "--json", *(named.get(word, word) for word in order.split()))
    assert len(json.loads(said)) == 3


def test_several_files_of_one_modality(work, capsys):
    base = ["search", work / "run", work / "library", "--json"]
    together = run(capsys, *base, "--ir", work / "ir.csv", work / "ir.csv")
    assert run(capsys, *base, "--ir", work / "ir.csv", "--ir", work / "ir.csv") == together
    told = run(capsys, *base[:-1], "--ir", work / "ir.csv", work / "ir.csv", "--k", 1)
    assert "ir: 2 measurements, together one factor of the score" in told


def test_entries_that_a_search_leaves_out_are_named(work, tmp_path, capsys):
    good = "##TITLE=a\n##JCAMP-DX=4.24\n##DATA TYPE=INFRARED SPECTRUM\n##XUNITS=1/CM\n##YUNITS=ABSORBANCE\n"
    values = "\n".join(f"{400 + 4 * i} {math.exp(-(((i % 150 - 75) / 5) ** 2)):.5f}" for i in range(900))
    good += f"##XYPOINTS=(XY..XY)\n{values}\n##END=\n"
    (tmp_path / "two.jdx").write_text(good + good.replace("1/CM", "PARSECS"))
    with pytest.warns(UserWarning, match=r"1 of 2 entries of .*two\.jdx.* 'PARSECS'"):
        run(capsys, "search", work / "run", work / "library", "--ir", tmp_path / "two.jdx", "--k", 1)


def test_the_help_of_a_search_lists_the_spectra_of_the_run(work, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["search", str(work / "run"), "--help"])
    assert stopped.value.code == 0
    assert "--raman FILE" in capsys.readouterr().out


def test_scores_have_significant_digits():
    from molchord.cli.output import hit_table
    from molchord.library.library import Hit

    known = {"key14": "VNWKTOKETHGBQD", "smiles": "C", "formula": "CH4", "exact_mass": 16.0313, "probability": None}
    assert "1.23e-05" in hit_table([Hit(rank=1, score=1.234e-5, cosines={"ir": 0.5}, **known)])


REFUSED = {
    "train": ["train", "{w}/graph.yaml", "--data", "{w}/data"],
    "embed": ["embed", "{w}/run", "{w}/smiles.csv"],
    "import": ["data", "import", "{w}/computed.npz"],
    "evaluate": ["evaluate", "{w}/run", "--split", "train", "--pool", "all", "--mode", "blind"],
}


@pytest.mark.parametrize("command", REFUSED)
def test_an_output_below_a_file_is_one_sentence(work, command, capsys):
    (work / "file").write_text("")
    words = [word.format(w=work) for word in REFUSED[command]]
    said = run(capsys, *words, "--out", work / "file" / "inside", status=2)
    refusal = [line for line in said.splitlines() if line.startswith("molchord: ") and "warning" not in line]
    assert len(refusal) == 1
    assert str(work / "file") in refusal[0]
    assert "Traceback" not in said


def test_realign_with_some_measurements_only(work, tmp_path, capsys):
    words = ["realign", work / "run", "--data", work / "data", "--epochs", "1", "--out", tmp_path / "r2"]
    assert "trained" in run(capsys, *words, "--where", "ir.origin=computed")
    assert "origin: computed" in (tmp_path / "r2" / "graph.yaml").read_text().replace("[computed]", "computed")
    words[-1] = tmp_path / "r3"
    assert "lacks; allowed" in run(capsys, *words, "--where", "nmr.origin=computed", status=2)
    assert "origin" in run(capsys, *words, "--where", "ir.origin=nowhere", status=2)
    assert not (tmp_path / "r3").exists()


def test_a_training_without_a_terminal_says_a_line_an_epoch(work, tmp_path, capsys):
    words = ["train", work / "graph.yaml", "--data", work / "data", "--out", tmp_path / "run"]
    assert main([str(word) for word in words]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("epoch ")]
    assert len(lines) == 6
    assert lines[-1].startswith("epoch 6/6: loss ")
    assert lines[-1].endswith(" s")
    assert "val blind_mrr" in lines[-1]
    words[-1] = tmp_path / "quiet"
    assert main([*(str(word) for word in words), "--set", "train.epochs=1", "--json"]) == 0
    assert "epoch" not in capsys.readouterr().err


def test_a_damaged_run_is_a_sentence(work, tmp_path, capsys):
    shutil.copytree(work / "run", tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").write_bytes(b"not safetensors")
    query = ["search", tmp_path / "run", work / "library", "--ir", work / "ir.csv"]
    assert "cannot be read" in run(capsys, *query, status=2)
    (tmp_path / "run" / "manifest.json").write_text("{}")
    assert "has format None" in run(capsys, *query, status=2)


def test_a_library_of_another_run_is_refused(work, tmp_path, capsys):
    run(capsys, "realign", work / "run", "--data", work / "data", "--out", tmp_path / "r2", "--epochs", "1")
    said = run(capsys, "search", tmp_path / "r2", work / "library", "--ir", work / "ir.csv", status=2)
    assert "was embedded by run" in said


def test_a_changed_data_set_is_noticed(work, tmp_path, capsys):
    shutil.copytree(work / "data", tmp_path / "data")
    words = ("train", work / "graph.yaml", "--data", tmp_path / "data", "--out", tmp_path / "run")
    run(capsys, *words, "--set", "train.epochs=1")
    run(capsys, "data", "split", tmp_path / "data", "--by", "scaffold")
    said = run(capsys, "evaluate", tmp_path / "run", "--out", tmp_path / "e", status=2)
    assert "has changed since run" in said


def test_the_kit_molecules_are_embeddable(work):
    import molchord as mc

    vectors = mc.load(work / "run").embed("structure", [m.smiles for m in molecules()])
    assert vectors.shape == (len(molecules()), 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_evaluate_where_replaces_the_graphs_own(work, tmp_path, capsys):
    base = ["evaluate", work / "run", "--split", "train", "--pool", "all", "--mode", "blind", "--fusion", "gm-exp"]
    run(capsys, *base, "--out", tmp_path / "a", "--where", "ir.origin=computed")
    said = run(capsys, *base, "--out", tmp_path / "b", "--where", "nmr.origin=measured", status=2)
    assert "`--where` got modality 'nmr'" in said


def test_calibrate_fits_a_copy_whose_weights_and_libraries_stay(work, tmp_path, capsys):
    said = run(capsys, "calibrate", work / "run", "--data", work / "data", "--out", tmp_path / "r2")
    assert "calibrated; ir computed, raman computed" in said
    assert (tmp_path / "r2" / "model.safetensors").read_bytes() == (work / "run" / "model.safetensors").read_bytes()
    text = run(
        capsys, "search", tmp_path / "r2", work / "library", "--ir", work / "ir.csv", "--mass", "46.0419", "--ppm", "20"
    )
    assert "not calibrated for measured spectra ('ir')" in text
    assert "already exists" in run(
        capsys, "calibrate", work / "run", "--data", work / "data", "--out", tmp_path / "r2", status=2
    )
    refused = run(capsys, "calibrate", "pretrained", "--data", work / "data", status=2)
    assert "the shipped run is not changed; name a folder for a calibrated copy with `--out`" in refused


def test_an_ion_is_as_good_as_a_mass(work, capsys):
    words = ("search", work / "run", work / "library", "--ir", work / "ir.csv", "--json")
    by_mass = json.loads(run(capsys, *words, "--mass", "46.0419"))
    assert json.loads(run(capsys, *words, "--mz", "47.0491", "--adduct", "[M+H]+")) == by_mass
    assert by_mass[0]["formula"] == "C2H6O"
    for wrong, says in (
        (("--mz", "47.0491"), "add --adduct, such as --mz 195.0877"),
        (("--adduct", "[M+H]+"), "add --mz"),
        (("--mz", "47.0491", "--adduct", "M"), "adduct 'M' cannot be read"),
        (("--mz", "47.0491", "--adduct", "[M+H]+", "--mass", "46"), "leave one out"),
        (("--mz", "nan", "--adduct", "[M+H]+"), "must be a positive number"),
    ):
        assert says in run(capsys, *words, *wrong, status=2)
