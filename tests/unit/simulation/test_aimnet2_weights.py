"""The parameters of AIMNet2: found without an import, checked before they are read, read with bounds."""

import hashlib
import io
import math
import sys
import zipfile

import numpy as np
import pytest

from molchord_simulators.aimnet2 import weights

NAMES = [name for name, _ in weights.TENSORS]


@pytest.fixture(scope="module")
def installed():
    """Return the file of the wheel."""
    try:
        return weights.find()
    except ImportError as error:
        pytest.skip(str(error))


def archive(change=None, compression=zipfile.ZIP_STORED):
    """Return an archive of one member, all its numbers 0, whose entries (name, content) a function may change."""
    entries = {f"wb97m_gas_ens_f/data/{i}": bytes(4 * math.prod(s)) for i, (_, s) in enumerate(weights.TENSORS)}
    if change is not None:
        change(entries)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return out.getvalue()


def refused(content, members=1):
    with pytest.raises(weights.WeightsError) as error:
        weights.parse(content, members)
    return str(error.value)


def entry(name):
    return f"wb97m_gas_ens_f/data/{NAMES.index(name)}"


# --- the installed file ----------------------------------------------------------------------------------------------


def test_it_is_found_and_read_without_importing_the_package(installed):
    (first,) = weights.read(installed, 1)
    assert {name for name in sys.modules if name.partition(".")[0] == "Auto3D"} == set()
    assert [(name, first[name].shape) for name in NAMES] == list(weights.TENSORS)
    assert first["rc_s"] == 5
    assert np.isclose(first["shifts_s"][[0, -1]], [0.8, 4.7375], atol=0.01).all()
    assert not np.array_equal(first["mlp0.0.weight"], weights.read(installed, 2)[1]["mlp0.0.weight"])


def test_numbers_are_those_that_torch_reads(installed):
    torch = pytest.importorskip("torch")
    state = torch.jit.load(str(installed)).state_dict()
    ours = weights.read(installed, 4)
    theirs = list(state.values())
    mine = [member[name] for member in ours for name in NAMES]
    assert len(theirs) == len(mine)
    for one in mine:
        assert any(one.shape == tuple(other.shape) and np.array_equal(one, other.numpy()) for other in theirs)


def test_a_damaged_file_is_refused_with_both_digests(installed, tmp_path):
    content = bytearray(installed.read_bytes())
    content[len(content) // 2] ^= 1
    for name, damaged in (("flipped", bytes(content)), ("cut", bytes(content[:-1])), ("empty", b"")):
        path = tmp_path / name
        path.write_bytes(damaged)
        with pytest.raises(weights.WeightsError) as error:
            weights.read(path)
        assert weights.SHA256 in str(error.value)
        assert hashlib.sha256(damaged).hexdigest() in str(error.value)


def test_another_version_is_refused_with_both_digests(installed):
    other = installed.with_name("aimnet2_wb97m-d3_0.jpt")
    with pytest.raises(
        weights.WeightsError, match="of another version: pip install --force-reinstall --no-deps Auto3D"
    ):
        weights.read(other)


def test_a_file_that_cannot_be_opened(tmp_path):
    with pytest.raises(weights.WeightsError, match="cannot be read"):
        weights.read(tmp_path / "none")


def test_a_missing_wheel_is_named_with_the_command_that_brings_it(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="Auto3D is not installed.*pip install --no-deps Auto3D==2.3.1"):
        weights.find()
    package = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
    monkeypatch.setattr(weights, "find_spec", lambda name: package)
    with pytest.raises(ImportError, match="Auto3D without models/aimnet2_wb97m_ens_f.jpt is installed"):
        weights.find()


# --- hostile archives ------------------------------------------------------------------------------------------------


def test_an_archive_of_the_right_layout_is_read():
    (member,) = weights.parse(archive(), 1)
    assert all(not member[name].any() for name in NAMES)


def test_what_lies_beside_the_tensors_is_never_looked_at():
    def plant(entries):
        entries["wb97m_gas_ens_f/data.pkl"] = b"cos\nsystem\n(S'exit 1'\ntR."
        entries["wb97m_gas_ens_f/code/__torch__/evil.py"] = b"raise SystemExit"

    assert len(weights.parse(archive(plant), 1)) == 1


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "damaged"), (b"PK\x03\x04" + bytes(100), "damaged"), (archive()[:-30], "damaged")]
)
def test_no_archive(content, message):
    assert message in refused(content)


def test_an_entry_that_is_missing_short_or_long():
    for change, message in (
        (lambda e: e.pop(entry("afv")), "lacks the entry 'wb97m_gas_ens_f/data/6'"),
        (lambda e: e.update({entry("afv"): bytes(8)}), "holds 8 bytes; 65536 are needed"),
        (lambda e: e.update({entry("rc_s"): bytes(1 << 16)}), "holds 65536 bytes; 4 are needed"),
    ):
        assert message in refused(archive(change))


def test_a_compressed_entry_is_refused_before_it_is_unpacked():
    assert "compressed" in refused(archive(compression=zipfile.ZIP_DEFLATED))


def test_numbers_that_are_not_finite():
    assert "not finite" in refused(archive(lambda e: e.update({entry("eta_s"): np.float32("nan").tobytes()})))


def test_sizes_that_lie_are_refused():
    """The directory at the end says more, or lies outside of the file."""
    content = bytearray(archive())
    directory = content.rindex(b"PK\x05\x06")
    moved = bytearray(content)
    moved[directory + 16 : directory + 20] = (1 << 31).to_bytes(4, "little")
    assert "damaged" in refused(bytes(moved))
    place = content.rindex(b"PK\x01\x02")  # of the last entry
    longer = bytearray(content)
    longer[place + 24 : place + 28] = (1 << 30).to_bytes(4, "little")  # its size unpacked
    message = refused(bytes(longer))
    assert "damaged" in message or "holds" in message
    outside = bytearray(content)
    outside[place + 42 : place + 46] = (len(content) + 100).to_bytes(4, "little")  # where it begins
    assert "damaged" in refused(bytes(outside)) or "ends after" in refused(bytes(outside))


def test_a_flipped_byte_of_an_entry_is_found_by_its_checksum():
    content = bytearray(archive())
    content[content.index(b"data/9") + 1000] ^= 1
    assert "damaged" in refused(bytes(content))


@pytest.mark.parametrize("members", [0, 5, -1])
def test_members_that_there_are_not(members):
    assert "there are 4 members" in refused(archive(), members)


def test_members_of_an_archive_of_fewer():
    assert "lacks the entry 'wb97m_gas_ens_f/data/40'" in refused(archive(), 2)
