"""Tables of SMILES: separators, quotes, line numbers, and damage of any kind as one sentence."""

import gzip

import numpy as np
import pytest

from molchord.data.spreadsheet import read_rows
from molchord.errors import DataError


def rows(tmp_path, text, columns=(), name="t.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(read_rows(path, columns))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("smiles\nC\n", [(2, {"smiles": "C"})]),
        ("smiles\nC", [(2, {"smiles": "C"})]),  # no end of the last line
        ("smiles\r\nC\r\n", [(2, {"smiles": "C"})]),
        ("smiles\n\n  \n,\nC\n", [(5, {"smiles": "C"})]),  # blank rows, of one cell or more, are none
        (" SMILES , a \n C , 1 \n", [(2, {"smiles": "C", "a": "1"})]),
        ("a;smiles\n1,5;C\n", [(2, {"a": "1,5", "smiles": "C"})]),  # a comma of a decimal
        ("a\tsmiles\n1;2\tC\n", [(2, {"a": "1;2", "smiles": "C"})]),
        ('smiles,a\nC,"x,y"\n', [(2, {"smiles": "C", "a": "x,y"})]),
        ('smiles,a\nC,"x\ny"\nCC,z\n', [(3, {"smiles": "C", "a": "x\ny"}), (4, {"smiles": "CC", "a": "z"})]),
        ("smiles,a\nC\nCC,1,2\nCCC,3\n", [(2, None), (3, None), (4, {"smiles": "CCC", "a": "3"})]),
        ("\ufeffsmiles\nC\n", [(2, {"smiles": "C"})]),
        ("smiles,naïve\nC,Å\n", [(2, {"smiles": "C", "naïve": "Å"})]),
        ("smiles\n", []),
    ],
)
def test_rows_are_read_with_the_line_that_an_editor_shows(tmp_path, text, expected):
    assert rows(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "columns", "said"),
    [
        ("", (), "needs one column `smiles`; its columns are []"),
        ("\nsmiles\nC\n", (), "needs one column `smiles`; its columns are []"),
        ("a,b\n", (), "needs one column `smiles`; its columns are ['a', 'b']"),
        ("smiles,Smiles\n", (), "needs one column `smiles`; its columns are ['smiles', 'Smiles']"),
        ("smiles,x,x\n", ("x",), "needs one column `x`; it has 2"),
        ("smiles,File\n", ("file",), "needs one column `file`; did you mean 'File'?"),
        ("smiles,a\n", ("zzz",), "needs one column `zzz`; allowed: 'a', 'smiles'"),
    ],
)
def test_a_column_that_is_not_there_once_is_named(tmp_path, text, columns, said):
    with pytest.raises(DataError) as caught:
        rows(tmp_path, text, columns)
    assert str(caught.value) == f"table {str(tmp_path / 't.csv')!r} {said}"


def test_a_table_that_is_not_there_is_named(tmp_path):
    for path in (tmp_path / "gone.csv", tmp_path):
        with pytest.raises(DataError, match="does not exist"):
            next(read_rows(path, ()))


COMPRESSED = gzip.compress(b"smiles\n" + b"".join(b"%sO\n" % (b"C" * n) for n in range(200)), mtime=0)


@pytest.mark.parametrize("seed", range(25))
def test_a_damaged_archive_is_one_sentence(tmp_path, seed):
    """Whatever the damage: a cut, another header, flipped bytes that zlib or its checksum notices."""
    rng = np.random.default_rng(seed)
    content = bytearray(COMPRESSED)
    if seed % 3 == 0:
        content = content[: rng.integers(1, len(content) - 1)]
    else:
        for place in rng.integers(10, len(content) - 8, size=8):
            content[place] ^= int(rng.integers(1, 256))
    with pytest.raises(DataError, match=r"t\.csv\.gz' cannot be read: "):
        rows(tmp_path, bytes(content), name="t.csv.gz")


@pytest.mark.parametrize("content", [b"smiles\nC\x00\n", b'smiles\n"' + b"C" * 140_000 + b'"\n'])
def test_text_that_cannot_be_read_is_one_sentence(tmp_path, content):
    with pytest.raises(DataError, match=r"t\.csv' cannot be read: "):
        rows(tmp_path, content)
