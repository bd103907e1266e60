"""`molchord plugins new`: every package it writes is sound, passes its own tests and trains, right after installing."""

import os
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
from tests.unit.test_order import circles, graph_of

from molchord.cli.main import main
from molchord.errors import PluginError
from molchord.host import Host
from molchord.host.scaffold import new_plugin, new_types
from molchord.vocabulary import KINDS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
PACKAGES = [(type, f"{type[:3]}_{kind}", kind) for type in ("modality", "encoder") for kind in KINDS]
PACKAGES += [("loss", "barlow", None), ("property", "elements", None)]
INSTALLED = ("mod_spectrum1d", "enc_peaks", "barlow", "elements")
"""One of each type is installed as a user would; the others are put in place by hand, which is quicker."""

RULES = "ANN,B,D,E,F,I,PT,RET,RUF,SIM,TID,UP"


def run(*command, cwd=None, **environment):
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, cwd=cwd, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Every package, by plugin name, as the templates write it."""
    base = tmp_path_factory.mktemp("new")
    return {name: (new_plugin(type, name, kind, base / name), base / name)[1] for type, name, kind in PACKAGES}


@pytest.fixture(scope="module")
def python(folders, tmp_path_factory):
    """An environment of its own that has the packages, and sees what is installed here."""
    venv = tmp_path_factory.mktemp("env") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv)
    site = next(venv.glob("lib/python*/site-packages"))
    (site / "shared.pth").write_text(f"import site; site.addsitedir({sysconfig.get_paths()['purelib']!r})\n")
    interpreter = venv / "bin" / "python"
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    editable = [part for name in INSTALLED for part in ("-e", folders[name])]
    run(sys.executable, "-m", "pip", "--python", interpreter, "install", *options, *editable)
    for name, folder in folders.items():
        if name not in INSTALLED:
            info = site / f"molchord_{name}-0.1.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: molchord-{name}\nVersion: 0.1.0\n")
            (info / "entry_points.txt").write_text(f"[molchord]\n{name} = molchord_{name}\n")
            (site / f"{name}.pth").write_text(f"{folder}\n")
    return interpreter


def test_a_package_is_a_handful_of_files_to_read(folders):
    for name, folder in folders.items():
        files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        of_a_graph = set() if name == "elements" else {"graph.yaml"}  # no graph names a property
        assert len(files) == 6 + len(of_a_graph), files
        assert {"README.md", "pyproject.toml", "tests/test_contract.py", *of_a_graph} < set(files)
        for path in folder.rglob("*"):
            assert path.is_dir() or 5 < len(path.read_text().splitlines()) < 170, path
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        assert project["entry-points"]["molchord"] == {name: f"molchord_{name}"}


def test_no_module_of_theirs_imports_itself_by_a_detour(folders):
    assert [circles(graph_of(folder)) for folder in folders.values()] == [[]] * len(folders)


def test_they_are_listed_and_nothing_is_wrong_with_them(python, folders):
    listed = run(python, "-m", "molchord", "plugins", "list")
    assert [name for name in folders if f"{name} " not in listed] == []
    assert "no problem" in run(python, "-m", "molchord", "plugins", "check")


def test_they_pass_their_own_tests(python, folders):
    """The whole conformance kit and one training each, warnings being errors as in this project's own tests."""
    files = [folder / "tests" / "test_contract.py" for folder in folders.values()]
    strict = ["-W", "error", "-W", "ignore:`torch.jit:DeprecationWarning", "--import-mode=importlib"]
    run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *strict, *files, OMP_NUM_THREADS="1")


GRAPH = """
schema: 1
embedding_dim: 8
candidate: structure
modalities:
  structure: {use: structure, encoder: {use: enc_graph, width: 8}}
  mod_graph: {use: mod_graph, encoder: {use: enc_graph, width: 8}}
  mod_spectrum1d: {use: mod_spectrum1d, encoder: {use: enc_spectrum1d, width: 8}}
  mod_peaks: {use: mod_peaks, encoder: {use: enc_peaks, width: 8}}
  mod_vector: {use: mod_vector, encoder: {use: enc_vector, width: 8}}
loss: {use: barlow}
train: {batch_size: 16, epochs: 1, workers: 0}
"""


JOURNEY = """
import json, sys
from molchord.cli.main import main
from molchord.testing import MOLECULES, examples_of

files, spectra = [], []
for kind in ("graph", "spectrum1d", "peaks", "vector"):
    measured = [
        {"smiles": smiles, **{name: array.tolist() for name, array in measurement.arrays.items()}}
        for smiles, measurement in zip(MOLECULES, examples_of(f"mod_{kind}", 16))
    ]
    lines = [*map(json.dumps, measured), '{"smiles": "C"}', "[]"]
    open(f"{kind}.jsonl", "w").write("\\n".join(lines))
    open(f"{kind}-one.jsonl", "w").write(lines[0])
    files.append(f"{kind}.jsonl")
    spectra += [f"--mod_{kind}", f"{kind}-one.jsonl"]
open("smiles.txt", "w").write("\\n".join(MOLECULES))
assert main(["data", "import", *files, "--out", "data"]) == 0
assert main(["train", "graph.yaml", "--data", "data", "--out", "run"]) == 0
assert main(["embed", "run", "smiles.txt", "--out", "library"]) == 0
assert main(["search", "run", "library", *spectra, "--k", "3"]) == 0
"""


def test_files_are_read_trained_on_and_searched_with(python, tmp_path):
    """Four new modalities, their encoders and the loss together; each file finds its own modality."""
    (tmp_path / "graph.yaml").write_text(GRAPH)
    said = run(python, "-c", JOURNEY, cwd=tmp_path, OMP_NUM_THREADS="1")
    assert [f"16 mod_{kind}" in said for kind in KINDS] == [True] * 4, said
    assert "8 rejected" in said
    assert [f"cos mod_{kind}" in said for kind in KINDS] == [True] * 4, said


def test_they_pass_ruff_and_mypy(folders):
    for folder in folders.values():
        ignored = "ANN401,D107"  # what plugins hand the engine is opaque to it; __init__ is described by its class
        style = ["--config", 'lint.pydocstyle.convention = "google"', "--no-cache", "--quiet"]
        package = next(folder.glob("molchord_*"))
        run(sys.executable, "-m", "ruff", "check", "--select", RULES, "--ignore", ignored, *style, package, cwd=folder)
        run(sys.executable, "-m", "ruff", "check", "--select", "E,F,I,UP", *style, ".", cwd=folder)
        run(sys.executable, "-m", "ruff", "format", "--check", "--no-cache", ".", cwd=folder)
    packages = [part for folder in folders.values() for part in ("-p", next(folder.glob("molchord_*")).name)]
    # The project's own options, so that both find what mypy has read of torch already.
    options = ["--strict", "--config-file", ROOT / "pyproject.toml", "--cache-dir", ROOT / ".mypy_cache"]
    run(
        sys.executable,
        "-m",
        "mypy",
        *options,
        *packages,
        MYPYPATH=os.pathsep.join(map(str, folders.values())),
        cwd=ROOT,
    )


def test_it_refuses_to_overwrite(folders):
    folder = folders["barlow"]
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(PluginError, match="already exists and is not replaced; choose another with `--out`"):
        new_plugin("loss", "barlow", folder=folder)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("type", "name", "kind", "message"),
    [
        ("modality", "Uvvis", None, "modality cannot have the name 'Uvvis'; take lower-case letters, digits and single '_'"),
        ("modality", "uv__vis", None, "modality cannot have the name 'uv__vis'; take lower-case"),
        ("loss", "lambda", None, "loss cannot have the name 'lambda', which is a word of Python; take another name"),
        ("modality", "mass", None, "modality cannot have the name 'mass', which the command line uses"),
        ("modality", "ir", None, "modality cannot have the name 'ir', which modality 'molchord:ir' has; take another"),
        ("loss", "encoders", None, "cannot have the name 'encoders', which the installed package 'molchord_encoders' has"),
        ("loss", "mine", "peaks", "a loss has no kind, got 'peaks'; leave `--kind` out"),
        ("modality", "mine", "spectrum", "no template for kind 'spectrum'; did you mean 'spectrum1d'?"),
        ("simulator", "mine", None, "no template for plugin type 'simulator'; allowed: 'encoder', 'modality', 'loss', 'property'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_and_nothing_is_written(type, name, kind, message, tmp_path):
    with pytest.raises(PluginError) as error:
        new_plugin(type, name, kind, tmp_path / "out")
    assert message in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_name_is_free_where_another_type_has_it(tmp_path):
    assert len(new_plugin("encoder", "tanimoto_infonce", folder=tmp_path / "out", host=Host())) == 7


def test_the_command_says_what_to_do_next(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["plugins", "new", "modality", "uv_vis"]) == 0
    assert "cd molchord-uv-vis" in capsys.readouterr().out
    assert (tmp_path / "molchord-uv-vis" / "molchord_uv_vis" / "uv_vis_modality.py").is_file()
    assert main(["plugins", "new", "modality", "uv_vis"]) == 2
    assert "molchord: folder 'molchord-uv-vis' already exists" in capsys.readouterr().err
    assert set(new_types()) == {"modality", "encoder", "loss", "property"}
