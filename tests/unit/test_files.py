"""Nothing is lost when it is replaced: whatever step fails, the old content is whole, or the new one is."""

import ast
import itertools
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tests.unit.faults import FAULTS, check

from molchord import files
from molchord.errors import OutputError
from molchord.files import (
    discard,
    move_folder,
    new_file,
    remove,
    replace_file,
    replace_files,
    replace_folder,
    write_csv,
    write_tensors,
)

ROOT = Path(__file__).parent.parent.parent


def content(folder):
    """Return the text of every file below a folder that is not hidden."""
    found = ((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    return {name: path.read_text() for name, path in found if not f"/{name}".count("/.")}


def fill(folder, **texts):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)


# --- every step fails


def old(home):
    fill(home / "thing", a="old a", b="old b")
    fill(home / "made", a="new a", c="new c")


def by_folder(home):
    with replace_folder(home / "thing") as new:
        fill(new, a="new a", c="new c")


def by_moving(home):
    if (home / "made").exists():  # else it is moved already
        move_folder(home / "made", home / "thing")


def by_files(home):
    with replace_files(home / "thing") as new:
        fill(new, a="new a", c="new c")


def by_file(home):
    replace_file(home / "thing" / "a", "new a")


def by_removal(home):
    remove(home / "thing")


@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "two renames"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("act", [by_folder, by_moving, by_files, by_file, by_removal])
def test_a_failing_step_leaves_the_old_content_or_the_new(act, fault, exchange, tmp_path):
    def read(home):
        there = content(home)
        if act is by_moving and "thing/c" in there:
            there = {name: text for name, text in there.items() if not name.startswith("made")}
        return there if act is by_moving else {n: text for n, text in there.items() if n.startswith("thing")}

    check(act, read, old, tmp_path, fault, exchange=exchange, fewest=2)


@pytest.mark.parametrize("act", [by_folder, by_moving, by_files])
def test_what_cannot_be_put_back_is_kept_and_said_where(act, tmp_path, monkeypatch):
    old(tmp_path)
    rename, calls = os.rename, itertools.count()

    def failing(source, target):
        if next(calls) >= (2 if act is by_moving else 1):  # the old one has gone out of the way
            raise OSError(5, "Input/output error")
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", failing)
        patch.setattr(files, "ctypes", SimpleNamespace(CDLL=lambda _: None))
        with pytest.raises(OutputError, match="what was there is") as caught:
            act(tmp_path)
    kept = Path(str(caught.value).split("what was there is '")[1].split("' now")[0])
    assert (kept if kept.is_file() else kept / "a").read_text() == "old a"


def test_a_killed_process_leaves_the_old_folder_or_the_new_one(tmp_path):
    """At each rename in turn; where the system can exchange names there is no moment between."""
    old(tmp_path)
    script = (
        "import ctypes, os, signal, sys\n"
        "from pathlib import Path\n"
        "from molchord import files\n"
        "found = ctypes.CDLL(None).renameat2\n"
        "def exchange(*given):\n"
        "    done = found(*given)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "ctypes.CDLL = lambda _: type('', (), {'renameat2': staticmethod(exchange)})\n"
        "with files.replace_folder(Path(sys.argv[1])) as new:\n"
        "    (new / 'a').write_text('new a')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "thing"], check=False, capture_output=True)
    assert done.returncode == -9, done.stderr
    assert content(tmp_path / "thing") in ({"a": "old a", "b": "old b"}, {"a": "new a"})


# --- what is written


def test_a_block_that_fails_leaves_nothing_of_it(tmp_path):
    old(tmp_path)
    before = content(tmp_path)
    for make in (replace_folder, replace_files):
        with pytest.raises(ZeroDivisionError), make(tmp_path / "thing") as new:
            fill(new, a="half", b=str(1 / 0))
    with pytest.raises(ZeroDivisionError), new_file(tmp_path / "thing" / "a") as partial:
        partial.write_text(f"half of {1 / 0}")
    assert content(tmp_path) == before
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "a", "b", "c", "made", "thing"]


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_permissions_are_what_the_umask_leaves(umask, tmp_path):
    before = os.umask(umask)
    try:
        replace_file(tmp_path / "text", "a")
        write_csv(tmp_path / "table.csv", ["a"], [["b"]])
        write_tensors(tmp_path / "plain.safetensors", {"a": np.zeros(2)})
        write_tensors(tmp_path / "torch.safetensors", {"a": torch.zeros(2)}, {"made": "here"})
        with replace_folder(tmp_path / "folder") as new:
            write_tensors(new / "a.safetensors", {"a": np.zeros(2)})
    finally:
        os.umask(before)
    made = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o666 & ~umask}
    assert len(made) == 5
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o777 & ~umask
    with safe_open(tmp_path / "torch.safetensors", "np") as file:
        assert (file.metadata(), list(file.keys())) == ({"made": "here"}, ["a"])
    assert (tmp_path / "table.csv").read_text() == "a\nb\n"


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path):
    old(tmp_path)
    (tmp_path / "link").symlink_to("thing")
    (tmp_path / "file").symlink_to("thing/b")
    replace_file(tmp_path / "file", "new b")
    assert (tmp_path / "file").is_symlink()
    assert content(tmp_path / "thing") == {"a": "old a", "b": "new b"}
    with replace_folder(tmp_path / "link") as new:
        fill(new, z="z")
    move_folder(tmp_path / "made", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert content(tmp_path / "thing") == {"a": "new a", "c": "new c"}


def test_several_files_take_their_places_together_and_others_stay(tmp_path):
    old(tmp_path)
    by_files(tmp_path)
    assert content(tmp_path / "thing") == {"a": "new a", "b": "old b", "c": "new c"}


def test_what_is_removed_may_be_gone(tmp_path):
    old(tmp_path)
    (tmp_path / "link").symlink_to("made")
    for name in ("thing", "link", "gone"):
        remove(tmp_path / name)
        discard(tmp_path / name)
    discard(tmp_path / "made" / "a")
    assert content(tmp_path) == {"made/c": "new c"}


def test_what_the_system_refuses_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    advice = "; choose another place, or see to its permissions"
    for write in (
        lambda path: replace_file(path, "a"),
        lambda path: write_tensors(path, {"a": np.zeros(1)}),
        lambda path: replace_folder(path).__enter__(),
        lambda path: replace_files(path).__enter__(),
    ):
        with pytest.raises(OutputError, match=r"file/deep' cannot be written \(.*\)" + advice):
            write(tmp_path / "file" / "deep")
    with pytest.raises(OutputError, match="gone' cannot be written"):
        move_folder(tmp_path / "gone", tmp_path / "gone")


def test_another_file_that_the_block_cannot_read_is_not_blamed_on_the_output(tmp_path):
    with pytest.raises(FileNotFoundError, match="spectrum"), replace_folder(tmp_path / "data"):
        (tmp_path / "spectrum").read_text()


# --- nobody else does it

CALLS = {"rmtree", "rename", "renames", "unlink", "rmdir", "write_text", "write_bytes", "move", "save_file"}
REASONS = {
    "core/molchord/files.py": "does it",
    "core/molchord/testing": "the kit writes into temporary folders of its own",
    "plugins/simulators/molchord_simulators/gfn2.py": "runs alone on machines without molchord",
    "plugins/indexes/molchord_indexes/milvus_index.py": "writes into the new folder that it is handed",
    "plugins/loggers/molchord_loggers/mlflow_logger.py": "a new file of its own; plugins have `molchord.api` alone",
    "plugins/loggers/molchord_loggers/wandb_logger.py": "a new file of its own; plugins have `molchord.api` alone",
}


def replaces(call):
    """Tell whether a call replaces or removes a file or folder; text and dataclasses have a `replace` too."""
    name = getattr(call.func, "attr", getattr(call.func, "id", None))
    of_os = isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", None) == "os"
    if name in ("replace", "remove"):
        return of_os or (name == "replace" and len(call.args) == 1 and not call.keywords)
    return name in CALLS


def test_files_and_folders_are_replaced_in_one_module():
    for folder in ("core", "plugins"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            found = [call for call in ast.walk(ast.parse(path.read_text())) if isinstance(call, ast.Call)]
            lines = [call.lineno for call in found if replaces(call)]
            known = [place for place in REASONS if name == place or name.startswith(f"{place}/")]
            assert bool(known) or not lines, f"{name}:{lines}: use molchord.files"


@pytest.mark.parametrize("place", REASONS)
def test_every_exception_is_one(place):
    paths = [ROOT / place] if place.endswith(".py") else (ROOT / place).rglob("*.py")
    trees = [ast.parse(path.read_text()) for path in paths]
    assert any(isinstance(node, ast.Call) and replaces(node) for tree in trees for node in ast.walk(tree))
