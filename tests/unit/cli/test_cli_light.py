"""The commands that must answer at once: what they print, how they fail, and that they import nothing heavy."""

import json
import os
import re
import subprocess
import sys
import warnings

import pytest

import molchord as mc
from molchord.cli.main import main
from molchord.cli.search import search_parser
from molchord.host.types import RESERVED_NAMES

GRAPH = """
schema: 1
embedding_dim: 32
modalities:
  structure: {use: structure, encoder: {use: gine}}
  ir: {use: ir, encoder: {use: mlp}}
loss: {use: all_pairs}
"""
HEAVY = ("torch", "numpy", "rdkit", "scipy", "pyarrow", "torch_geometric")


@pytest.fixture
def graph(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "g.yaml").write_text(GRAPH)
    return "g.yaml"


LIGHT_COMMANDS = [
    ["--help"],
    ["--version"],
    ["search", "--help"],
    ["search"],
    ["plugins", "list"],
    ["plugins", "list", "--json"],
    ["graph", "check", "g.yaml"],
    ["graph", "check", "g.yaml", "--explain"],
    ["graph", "check", "missing.yaml"],
]


def test_light_commands_import_nothing_heavy(graph):
    """One after the other in one process: what any of them imports is there after it, and named with it."""
    code = "import sys, molchord.cli.main\n"
    code += f"for argv in {LIGHT_COMMANDS!r}:\n"
    code += "    try: molchord.cli.main.main(argv)\n    except SystemExit: pass\n"
    code += f"    print('HEAVY', *argv, *(m for m in {HEAVY!r} if m in sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = [line for line in done.stderr.splitlines() if line.startswith("HEAVY")]
    assert said == [" ".join(["HEAVY", *argv]) for argv in LIGHT_COMMANDS]


WRONG = [
    (["--formula", "Xy2"], "'Xy', which is not an element"),
    (["--elements", "C,Q9"], "'Q9' among the elements allowed is not an element"),
    (["--mass", "-3"], "`mass` is -3.0, but must be a positive number"),
    (["--mass", "100", "--ppm", "5", "--da", "1"], "at most one of `ppm` and `da`"),
    (["--mz", "100"], "add --adduct"),
    (["--mz", "100", "--adduct", "M plus"], "cannot be read"),
    (["--k", "0"], "`k` is 0, but must be a whole number of at least 1"),
]
IDENTIFY = ["identify", "spectra", "--candidates", "ordinary", "--out", "out"]
SEARCH = ["search", "pretrained", "library", "--ir", "spectra/a.csv"]


def test_what_is_wrong_with_a_search_is_said_before_a_model_is_loaded(tmp_path):
    """Torch takes seconds to load, and longer on a busy machine."""
    (tmp_path / "spectra").mkdir()
    (tmp_path / "spectra" / "a.csv").write_text("1,2\n")
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "manifest.json").write_text("{}")
    cases = [([*words, *wrong], said) for words in (IDENTIFY, SEARCH) for wrong, said in WRONG]
    cases += [
        (["identify", "nowhere", *IDENTIFY[2:]], "'nowhere' does not exist"),
        (["identify", "library/manifest.json", *IDENTIFY[2:], "--samples", "no.csv"], "table 'no.csv' does not exist"),
        (["identify", "spectra", "--candidates", "no.csv", "--out", "out"], "'no.csv' does not exist"),
        ([*IDENTIFY, "--run", "no-run"], "run 'no-run' does not exist"),
        (["search", "pretrained", "no-library", "--ir", "spectra/a.csv"], "library 'no-library' does not exist"),
        (["search", "pretrained", "library", "--ir", "b.csv"], "file 'b.csv' for 'ir' does not exist"),
    ]
    code = "import sys\nfrom molchord.cli.main import main\n"
    code += f"for argv in {[words for words, _ in cases]!r}:\n    assert main(argv) == 2, argv\n"
    code += "print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
    for line, (words, said) in zip(done.stderr.splitlines(), cases, strict=True):
        assert said in line, words


LIGHT_MODULES = [
    "molchord",
    "molchord.errors",
    "molchord.vocabulary",
    "molchord.api",
    "molchord.host.types",
    "molchord.host.registry",
    "molchord.host.build",
    "molchord.host.scaffold",
    "molchord.host",
    "molchord.graph.settings",
    "molchord.graph.schema",
    "molchord.graph.drawing",
    "molchord.graph.resolve",
    "molchord.graph",
    "molchord.cli.main",
]


def test_light_modules_import_nothing_heavy():
    """From the ground up in one process: what any of them imports is there after it, and named with it."""
    code = f"import importlib, sys\nfor name in {LIGHT_MODULES!r}:\n    importlib.import_module(name)\n"
    code += f"    print(name, *(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == LIGHT_MODULES


def test_the_package_exports_its_names_lazily():
    code = (
        "import sys, molchord as mc\n"
        "assert 'molchord.graph' not in sys.modules\n"
        "assert mc.ModelGraph.__module__ == 'molchord.graph.resolve' and mc.Use('a') == {'use': 'a'}\n"
        "assert set(mc.__all__) <= set(dir(mc)) and mc.__version__.split('.')[0].isdigit()\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert all(hasattr(mc, name) for name in mc.__all__)
    assert not hasattr(mc, "nothing")


def test_plugins_list_names_every_builtin_with_where_it_comes_from(capsys):
    assert main(["plugins", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"ir", "mlp", "all_pairs"} <= {row["name"] for row in rows}
    assert set(rows[0]) == {"name", "type", "kinds", "summary", "distribution", "version", "api"}
    assert main(["plugins", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "type", "kinds", "summary", "distribution", "version", "api"]
    assert len(lines) == len(rows) + 1


def test_plugins_check_of_the_builtins_finds_nothing(capsys):
    assert main(["plugins", "check"]) == 0
    assert capsys.readouterr().out.strip().endswith("plugins, no problem")
    assert main(["plugins", "check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.fixture
def outside(tmp_path):
    """Run the command line beside outside packages given as name and source."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "torch.py").write_text("")  # stands in for the real one, which takes seconds to import

    def run(*argv, **packages):
        for name, source in packages.items():
            (site / f"{name}.py").write_text(source)
            info = site / f"{name}-1.0.dist-info"
            info.mkdir(exist_ok=True)
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            (info / "entry_points.txt").write_text(f"[molchord]\n{name} = {name}\n")
        environment = {**os.environ, "PYTHONPATH": str(site), "XDG_CONFIG_HOME": str(tmp_path / "config")}
        return subprocess.run(
            [sys.executable, "-m", "molchord", *argv], env=environment, cwd=tmp_path, capture_output=True, text=True
        )

    return run


HEAVY_PLUGIN = """
import torch
from molchord.api import Config, LossRecord, hookimpl

@hookimpl
def molchord_losses():
    return [LossRecord(name="heavy", summary="fake", api=1, config=Config, build=lambda *_: None)]
"""


def test_plugins_check_has_one_line_a_problem_and_exit_status_1(outside):
    done = outside("plugins", "check", broken="import nothing_like_it\n", weighty=HEAVY_PLUGIN)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        "plugin 'broken' (broken 1.0) failed to import: No module named 'nothing_like_it'; "
        "run 'pip install nothing_like_it'",
        "plugin 'weighty' (weighty 1.0) imports torch when it is found, which slows every command; "
        "import it inside `build`",
    ]
    done = outside("plugins", "check", "--json")
    assert [(problem["dist"], problem["stage"]) for problem in json.loads(done.stdout)] == [
        ("broken", "import"),
        ("weighty", "import"),
    ]
    done = outside("plugins", "list")
    assert done.returncode == 0, "a broken plugin does not stop the others"
    assert "heavy" in done.stdout
    assert done.stderr == "molchord: warning: 1 not loaded; run 'molchord plugins check'\n"


def test_a_registry_file_given_by_flag_has_the_last_word(outside, tmp_path):
    (tmp_path / "strict.toml").write_text("[policy]\nthird_party = 'deny'\n")
    done = outside("--registry", "strict.toml", "plugins", "check", broken="import nothing_like_it\n")
    assert done.returncode == 0
    assert done.stderr.startswith("molchord: warning: plugin 'broken' (broken 1.0) is kept out by the policy; add ")
    done = outside("--registry", "none.toml", "plugins", "list")
    assert (done.returncode, done.stdout) == (2, "")
    assert "none.toml' cannot be read" in done.stderr


def test_graph_check(graph, capsys):
    assert main(["graph", "check", graph]) == 0
    assert capsys.readouterr().out == "g.yaml: good (structure, ir; molchord:all_pairs)\n"
    assert main(["graph", "check", graph, "--explain"]) == 0
    assert "use: molchord:gine" in capsys.readouterr().out
    assert main(["graph", "check", graph, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["candidate"] == "structure"


def test_what_is_explained_checks_again(graph, tmp_path, capsys):
    main(["graph", "check", graph, "--explain"])
    explained = capsys.readouterr().out
    (tmp_path / "h.yaml").write_text(explained)
    assert main(["graph", "check", "h.yaml", "--explain"]) == 0
    assert capsys.readouterr().out == explained


def test_every_fault_is_a_line_on_stderr_and_the_exit_status_2(graph, tmp_path, capsys):
    (tmp_path / "bad.yaml").write_text(GRAPH.replace("mlp", "mpl").replace("32", "none"))
    assert main(["graph", "check", "bad.yaml"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "bad.yaml:3: embedding_dim: got 'none'; expected a whole number",
        "bad.yaml:6: modalities.ir.encoder.use: unknown encoder 'mpl'; did you mean 'mlp'?",
    ]


@pytest.mark.parametrize("argv", [[], ["plugins"], ["graph", "check"], ["nonsense"], ["plugins", "list", "--jsn"]])
def test_a_wrong_command_line_exits_with_2(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert "usage: molchord" in capsys.readouterr().err


def test_a_closed_pipe_is_no_error(graph):
    command = f"{sys.executable} -m molchord graph check g.yaml --explain | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_ctrl_c_is_said_without_a_traceback(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("molchord.host.installed", interrupted)
    assert main(["plugins", "list"]) == 130
    assert capsys.readouterr().err == "molchord: stopped\n"


def failing_with(error):
    def fail():
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (PermissionError(13, "Permission denied", "/x"), "'/x' cannot be read or written (Permission denied); choose "),
        (
            OSError(28, "No space left on device"),
            "a file cannot be read or written (No space left on device); make room",
        ),
        (OSError("arrow says\nno"), "a file cannot be read or written (arrow says no); choose another path"),
    ],
    ids=["permission", "disk full", "no number"],
)
def test_what_the_system_refuses_is_one_sentence(error, expected, monkeypatch, capsys):
    monkeypatch.setattr("molchord.host.installed", failing_with(error))
    assert main(["plugins", "list"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"molchord: {expected}")
    assert len(err.splitlines()) == 1


def test_warnings_are_short_and_only_within_a_command(monkeypatch, capsys):
    from molchord.host import installed

    def warning():
        warnings.warn("a sentence", stacklevel=1)
        return installed()

    before = warnings.formatwarning
    monkeypatch.setattr("molchord.host.installed", warning)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = plain  # pytest has taken its place
        assert main(["plugins", "list"]) == 0
    assert capsys.readouterr().err.splitlines()[0] == "molchord: warning: a sentence"
    assert warnings.formatwarning is before


def plain(message, category, filename, lineno, file=None, line=None):
    sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


def test_no_modality_can_have_the_name_of_an_option_of_search():
    """A run's spectra become options of `search`, beside its own."""
    taken = {word.replace("-", "_") for word in re.findall(r"--([a-z][a-z-]*)", search_parser().format_help())}
    assert "fusion" in taken
    assert taken - RESERVED_NAMES - {"h"} == set()
