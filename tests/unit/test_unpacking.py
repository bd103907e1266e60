"""Compressed files unpack to a bounded multiple of their size, and archives declare no more than they hold."""

import gzip
import io
import zipfile

import numpy as np
import pytest

from molchord.api import SampleError, open_unpacked, unpacked_limit
from molchord.data.spreadsheet import read_rows
from molchord.errors import DataError
from molchord_modalities.archives import check_archive
from molchord_modalities.xtb import read as read_sticks


@pytest.fixture(scope="module")
def bomb(tmp_path_factory):
    """A table that unpacks to 80 MB."""
    path = tmp_path_factory.mktemp("bomb") / "table.csv.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"smiles,x\n")
        for _ in range(800):
            file.write(b"0" * 99_999 + b"\n")
    return path


def test_what_unpacks_to_too_much_is_refused(bomb):
    assert unpacked_limit(bomb.stat().st_size) < 80_000_000
    with open_unpacked(bomb) as file:
        assert len(file.read(2**20)) == 2**20
        with pytest.raises(OSError, match="it unpacks to more than .* bytes, which is 20 times its size and 64 MiB"):
            file.read()
    with pytest.raises(DataError, match="table .*table.csv.gz' cannot be read: it unpacks to more than"):
        list(read_rows(bomb, []))


def test_plain_and_gzipped_files_are_read_alike_whatever_their_name(tmp_path):
    (tmp_path / "plain.gz").write_bytes(b"text")
    (tmp_path / "packed.csv").write_bytes(gzip.compress(b"text"))
    for name in ("plain.gz", "packed.csv"):
        with open_unpacked(tmp_path / name) as file:
            assert file.read() == b"text"


def npy(shape):
    """The header of an array of this shape, and no more than eight bytes of it."""
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return out.getvalue() + bytes(8)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda: npy((2**40,)), "its array 'freq.npy' declares .1099511627776,. values, but is shorter"),
        (lambda: bytes(80 * 2**20), "it unpacks to 83886080 bytes, but .* are allowed: 20 times its size and 64 MiB"),
    ],
)
def test_an_archive_that_declares_too_much_is_refused_before_it_is_read(tmp_path, content, said):
    path = tmp_path / "sticks.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("freq.npy", content())
    with pytest.raises(ValueError, match=said):
        check_archive(path)
    with pytest.raises(SampleError, match=said):
        list(read_sticks(path, "intensity"))


def test_an_archive_that_numpy_wrote_passes(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((30, 4)), text=np.array(["CCO"]), none=np.zeros((0, 3)))
    check_archive(tmp_path / "a.npz")
