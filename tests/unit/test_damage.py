"""A bit flipped, a page zeroed or a piece cut off any file of a run, data set or library is noticed, the file named."""

import json
import random

import pytest
from benchmarks.damage import make_folders, trial

from molchord.checksums import check_seal, checksum_of, fault_of_file, seal, sealed, unsealed
from molchord.cli.main import main
from molchord.data.store import DataSet
from molchord.errors import DataError, QueryError, RunError
from molchord.library.library import Library
from molchord.places import inside
from molchord.run_folder import read_weights
from molchord.verify import verify


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return make_folders(tmp_path_factory.mktemp("damage"))


@pytest.mark.parametrize("kind", ["run", "data", "library"])
def test_every_damage_is_noticed_and_its_file_named(folders, kind):
    generator, found = random.Random(19), {}
    files = sorted(file for file in folders[kind].rglob("*") if file.is_file() and file.stat().st_size)
    for number, file in enumerate(2 * files):
        how, what = trial(kind, folders[kind], file, generator)
        found[f"{number} {file.name} {how}"] = what
    assert {name: what for name, what in found.items() if what != "noticed"} == {}
    assert verify(folders[kind]) == []  # every trial put its file back


@pytest.mark.parametrize("kind", ["run", "data", "library"])
def test_verify_names_each_damaged_file_and_exits_1(folders, kind, capsys):
    assert main(["verify", str(folders[kind])]) == 0
    assert capsys.readouterr().out == f"{folders[kind]}: no damaged files\n"
    file = next(folders[kind].rglob("*.safetensors"))
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        assert main(["verify", str(folders[kind]), "--json"]) == 1
        [said] = json.loads(capsys.readouterr().out)["damaged"]
        assert said.endswith("differs from its checksum")
        assert file.name in said
    finally:
        file.write_bytes(content)


def test_verify_of_something_else_is_one_sentence(tmp_path, capsys):
    assert main(["verify", str(tmp_path)]) == 2
    assert "has no manifest.json; give a run, a data set, a library or a study" in capsys.readouterr().err


def test_a_sealed_text_is_known_by_every_byte():
    content = sealed('{"a": 1, "b": "é"}')
    assert json.loads(content)["a"] == 1
    assert json.loads(unsealed(content)) == {"a": 1, "b": "é"}
    assert unsealed(b'{"a": 1}') == b'{"a": 1}'  # of an earlier version
    for place in range(len(content)):
        broken = content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]
        try:
            found = json.loads(unsealed(broken))
        except ValueError:
            continue
        assert set(found) != {"a", "b"}, place  # manifests refuse a key that they do not know


def test_a_file_is_compared_again_once_it_has_changed(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"abc")
    entry = checksum_of(file)
    assert fault_of_file(file, entry) is None
    file.write_bytes(b"abd")
    assert fault_of_file(file, entry) == "differs from its checksum"
    file.write_bytes(b"ab")
    assert fault_of_file(file, entry) == "has 2 bytes instead of 3"
    file.unlink()
    assert fault_of_file(file, entry) == "is missing"


def test_a_file_that_holds_its_own_checksum(tmp_path):
    file = tmp_path / "a"
    file.write_text("head sha256:" + "0" * 64 + " body")
    seal(file)
    assert check_seal(file) is None
    file.write_bytes(file.read_bytes()[:-1] + b"z")
    assert check_seal(file) == "differs from its checksum"
    file.write_text("no checksum")
    assert check_seal(file) is None


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/../../b", "", ".", "link", "a\0b"])
def test_names_in_manifests_stay_in_their_folder(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to("/etc/passwd")
    with pytest.raises(DataError, match="its manifest names .*, which is not in it; get a whole copy"):
        inside(tmp_path / "folder", name, DataError)


def unchecked(folder, change):
    """Edit a manifest as an earlier version would have written it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["checksum"]
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_manifest_that_names_files_elsewhere_is_refused(tmp_path, folders):
    import shutil

    shutil.copytree(folders["library"], tmp_path / "library")
    unchecked(tmp_path / "library", lambda m: m["shards"][0].update(name="../shard-00000"))
    with pytest.raises(QueryError, match="`shards.0.name` is '../shard-00000'"):
        Library(tmp_path / "library")
    shutil.copytree(folders["data"], tmp_path / "data")
    unchecked(tmp_path / "data", lambda m: m["files"].update({"../x": {"bytes": 1, "sha256": ""}}))
    with pytest.raises(DataError, match="its manifest names '../x', which is not in it"):
        DataSet(tmp_path / "data")


@pytest.mark.parametrize("length", [0, 1, 2**40, 90 * 2**20])
def test_a_header_that_cannot_be_true_is_refused_before_it_is_read(tmp_path, length):
    file = tmp_path / "model.safetensors"
    file.write_bytes(length.to_bytes(8, "little"))
    with file.open("r+b") as out:
        out.truncate(100 * 2**20)  # sparse
    with pytest.raises(RunError, match=f"declares a header of {length}, of 16777216 at most"):
        read_weights(file)
