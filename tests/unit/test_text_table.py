"""Tables of text line up, and lose nothing."""

import pytest

from molchord.text_table import aligned, padded


def test_columns_start_at_the_same_place():
    lines = aligned([["name", "value", "note"], ["a", "12345678", ""], ["longer name", "1", "x y"]])
    assert lines == ["name         value     note", "a            12345678", "longer name  1         x y"]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [([], []), ([[]], [""]), ([["a"]], ["a"]), ([["", "b"]], ["  b"]), ([["a", ""], ["b", ""]], ["a", "b"])],
)
def test_tables_with_nothing_in_them(rows, expected):
    assert aligned(rows) == expected


def test_every_cell_has_the_width_of_its_column_alone():
    rows = [["a", "bbb"], ["cc", "d"], ["", "Å"]]
    assert padded(rows) == [["a ", "bbb"], ["cc", "d  "], ["  ", "Å  "]]


def test_rows_of_other_lengths_are_an_error_and_not_cut():
    with pytest.raises(ValueError, match="longer|shorter"):
        padded([["a", "b"], ["c"]])
