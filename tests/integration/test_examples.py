"""Outside packages train and search through an engine that never names them, come and go."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from tests.once import made_once

from molchord.data.splits import hash_split
from molchord.testing import molecules

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
PACKAGES = sorted((ROOT / "examples").glob("molchord-*"))
GRAPH = """
schema: 1
embedding_dim: 32
candidate: structure
modalities:
  structure: {use: structure, encoder: {use: gine, width: 32, hidden: 32, layers: 2}}
  carbon: {use: nmr, where: {nucleus: 13C}, encoder: {use: peak_bag, width: 32, hidden: 32, step: 1.0, rows: 256}}
  proton: {use: nmr, where: {nucleus: 1H}, encoder: {use: peak_transformer, width: 16, hidden: 16, layers: 1}}
  uvvis: {use: uvvis, encoder: {use: resnet1d, width: 16, readout: {use: flatten, hidden: 16}}}
  composition: {use: composition, encoder: {use: mlp, width: 32, hidden: [32], batch_norm: false}}
  isotopes: {use: isotopes, encoder: {use: isotope_mlp, width: 16, hidden: 16}}
  ccs: {use: ccs, encoder: {use: peak_transformer, width: 16, hidden: 16, layers: 1}}
loss: {use: graph_centered}
train: {batch_size: 16, epochs: 40, optimizer: {lr: 1.0e-2}, stopping: {every: 40}, workers: 0}
"""
TRAINED = next(i for i, m in enumerate(molecules()) if hash_split(m.key14) == "train")


class Environment:
    """A fresh environment that sees the packages of the one the tests run in, and what is installed into it."""

    def __init__(self, folder):
        self.python = folder / "bin" / "python"

    @classmethod
    def new(cls, folder):
        venv.create(folder, with_pip=False)
        here = sysconfig.get_path("purelib")
        [site] = folder.glob("lib/python*/site-packages")
        # `addsitedir` and not the bare path, so that editable packages there are seen too.
        (site / "beyond.pth").write_text(f"import site; site.addsitedir({here!r})\n")
        return cls(folder)

    def pip(self, *arguments):
        run(sys.executable, "-m", "pip", "--python", self.python, *arguments)

    def install(self, *packages):
        self.pip("install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", *packages)

    def molchord(self, *arguments, status=0):
        return run(self.python, "-m", "molchord", *arguments, status=status)

    def commands(self, *lines):
        """Run several commands in one process, since importing torch takes longer than most of them."""
        code = "import sys, json; from molchord.cli.main import main; sys.exit(any(map(main, json.loads(sys.argv[1]))))"
        return run(self.python, "-c", code, json.dumps(lines, default=str))


def run(*command, status=0, cwd=None):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env=environment, cwd=cwd, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stderr + done.stdout


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """An environment with every example installed."""

    def make(folder):
        Environment.new(folder / "venv").install(*PACKAGES)

    return Environment(made_once(tmp_path_factory, "examples", make) / "venv")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of the kit's molecules: peak lists of two nuclei, cross sections, and curves for half of them."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "lists.jsonl").write_text("\n".join([*peak_lists("13C"), *peak_lists("1H"), "not json"]) + "\n")
    (folder / "ions.csv").write_text("\n".join(["smiles,adduct,ccs", *cross_sections()]) + "\n")
    (folder / "curves.npz").write_bytes(curves())
    (folder / "curves_meta.csv").write_text("\n".join(["smiles", *(m.smiles for m in molecules()[::2])]) + "\n")
    return folder


def peak_lists(nucleus):
    """A peak for each letter of the SMILES, where no two molecules have the same."""
    for number, m in enumerate(molecules()):
        rng = np.random.default_rng(number)
        span = 200 if nucleus == "13C" else 10
        shifts = [round(float(shift), 2) for shift in rng.uniform(0, span, len(m.smiles))]
        mult = [] if nucleus == "1H" else list(rng.choice(list("SDTQ"), len(shifts)))
        yield json.dumps({"nucleus": nucleus, "shifts": shifts, "mult": mult, "smiles": m.smiles, "field_mhz": "100"})


def cross_sections():
    """Two ions of each molecule."""
    for number, m in enumerate(molecules()):
        yield f"{m.smiles},[M+H]+,{120 + 5 * number}"
        yield f"{m.smiles},[M+Na]+,{128 + 5 * number}"


def curves():
    buffer, wavelength = BytesIO(), np.arange(200.0, 401.0, 2.0)
    centres = np.random.default_rng(0).uniform(210, 390, (len(molecules()[::2]), 2))
    bands = np.exp(-(((wavelength - centres[:, :, None]) / 12) ** 2)).sum(axis=1)
    count = len(wavelength)
    np.savez(
        buffer, raw_x=np.tile(wavelength, len(bands)), raw_y=np.log10(1e4 * bands.ravel() + 1),
        raw_offsets=np.arange(0, count * len(bands) + 1, count),
    )  # fmt: skip
    return buffer.getvalue()


def test_each_package_passes_its_own_tests(here):
    folders = [package / "tests" for package in PACKAGES]
    said = run(here.python, "-m", "pytest", *folders, "-q", "-p", "no:cacheprovider", "-p", "no:xdist", cwd=ROOT)
    assert re.search(r"\d{3} passed", said), said
    assert "skipped" not in said


def test_the_graphs_of_the_packages_pass_graph_check(here, tmp_path):
    """The graph file of each package, and every graph in its README."""
    graphs = [path for package in PACKAGES for path in sorted(package.glob("*.yaml"))]
    for package in PACKAGES:
        for number, text in enumerate(re.findall(r"```yaml\n(.*?)```", (package / "README.md").read_text(), re.DOTALL)):
            graphs.append(tmp_path / f"{package.name}-{number}.yaml")
            graphs[-1].write_text(text)
    assert {path.parent for path in graphs if path.parent != tmp_path} == set(PACKAGES)
    code = "import sys; from molchord import ModelGraph; [ModelGraph.load(path) for path in sys.argv[1:]]"
    run(here.python, "-c", code, *graphs)


def test_only_its_own_modality_claims_a_file(here, files, tmp_path):
    """Import offers every file to all that are installed."""
    (tmp_path / "uv.csv").write_text(
        "# smiles: c1ccccc1\nwavelength (nm),absorbance\n220,0.1\n240,0.9\n260,0.2\n280,0\n"
    )
    (tmp_path / "shifts.csv").write_text("# smiles: CCO\n# nucleus: 13C\nshift,multiplicity\n18.1,q\n57.8,t\n")
    (tmp_path / "peaks.jdx").write_text(
        "##TITLE= a\n##DATA TYPE= NMR PEAK TABLE\n##.OBSERVE NUCLEUS= ^1H\n##XUNITS= PPM\n##$SMILES= CCO\n"
        "##PEAK TABLE= (XY..XY)\n1.2, 3\n3.7, 2\n##END=\n"
    )
    (tmp_path / "ions.csv").write_text("# smiles: CCO\nadduct,ccs\n[M+H]+,105\n")
    (tmp_path / "formula.csv").write_text("formula,smiles\nC2H6O,CCO\n")
    (tmp_path / "isotopes.csv").write_text("# smiles: ClC(Cl)Cl\noffset,abundance\n0,1\n1.997,0.96\n3.994,0.31\n")
    (tmp_path / "ir.csv").write_text(
        "# smiles: CCO\ncm-1,absorbance\n" + "".join(f"{x},0.5\n" for x in range(500, 600))
    )
    out = tmp_path / "data"
    said = here.molchord("data", "import", *tmp_path.glob("*.*"), "--out", out)
    assert "3 molecules, 1 ccs, 1 composition, 1 ir, 1 isotopes, 2 nmr, 1 uvvis" in said
    assert "rejected" not in said, (out / "rejected.csv").read_text()


def test_they_are_listed_train_report_search_and_go(here, files, tmp_path):
    """The whole life of outside packages; a run that needs one that is uninstalled names it."""
    listed = here.molchord("plugins", "list")
    for package in PACKAGES:
        project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
        assert re.search(rf"{project['name']} +{re.escape(project['version'])} ", listed), listed
    graph, data, trained, library = (tmp_path / name for name in ("graph.yaml", "data", "run", "library"))
    graph.write_text(GRAPH)
    (tmp_path / "query.jsonl").write_text([*peak_lists("13C")][TRAINED] + "\n")
    (tmp_path / "formula.txt").write_text(molecules()[TRAINED].formula + "\n")
    search = [
        "search",
        trained,
        library,
        "--carbon",
        tmp_path / "query.jsonl",
        "--composition",
        tmp_path / "formula.txt",
    ]
    said = here.commands(
        ["data", "import", *(files / name for name in ("lists.jsonl", "curves.npz", "ions.csv")), "--out", data],
        ["train", graph, "--data", data, "--out", trained],
        ["evaluate", trained, "--pool", "all", "--mode", "blind"],
        ["embed", trained, data, "--out", library],
        [*search, "--k", "3", "--json"],
    )
    assert "16 molecules, 16 ccs, 32 nmr, 8 uvvis, 1 rejected" in said
    counted = json.loads((trained / "manifest.json").read_text())["molecules"]
    assert counted["carbon"] == counted["ccs"] == counted["isotopes"] > counted["uvvis"] > 0
    report = (trained / "report.html").read_text()
    assert all(name in report for name in ("carbon", "proton", "uvvis", "composition", "isotopes", "ccs"))
    hits = json.loads(said[said.rindex("\n[") :])
    assert hits[0]["cosines"].keys() == {"carbon", "composition"}
    # A molecule that was trained on must be found again.
    assert hits[0]["smiles"] == molecules()[TRAINED].smiles
    here.pip("uninstall", "--quiet", "--yes", "molchord-ccs")
    try:
        _says_what_to_install(here, search, graph)
    finally:
        here.install(ROOT / "examples" / "molchord-ccs")


def _says_what_to_install(here, search, graph):
    assert "of molchord-ccs 0.1.0, which is not installed; run 'pip install molchord-ccs'" in here.molchord(
        *search, status=2
    )
    catalogue = graph.with_name("registry.toml")
    catalogue.write_text('[[known]]\ntype = "modality"\nname = "ccs"\ndistribution = "molchord-ccs"\n')
    said = here.molchord("--registry", catalogue, "graph", "check", graph, status=2)
    assert "provided by molchord-ccs, run 'pip install molchord-ccs'" in said


@pytest.mark.shared
def test_the_shared_curves_and_cross_sections_are_read(here, shared_data):
    """Counts that were taken from the files themselves."""
    code = (
        "import sys; from pathlib import Path; from molchord.api import Reading\n"
        "from molchord_ccs.ccs import CCS; from molchord_uvvis.uvvis import UVVIS\n"
        "ions, curves = ([*record.build(record.config(), record.kinds[0]).read(Path(path))]\n"
        "                for record, path in zip((CCS, UVVIS), sys.argv[1:], strict=True))\n"
        "assert all(isinstance(entry, Reading) for entry in curves)\n"
        "print(len(curves), len({e.smiles for e in ions if isinstance(e, Reading)}))"
    )
    files = (shared_data / "ccs" / "c3sdb_ccs.csv.gz", shared_data / "uvvis" / "uvvis_exp.npz")
    assert run(here.python, "-c", code, *files).split() == ["2161", "5615"]
