"""What narrows the candidates of a search: windows of mass, formulas, and rows as ranges."""

import itertools
import math

import numpy as np
import pytest

from molchord.errors import QueryError
from molchord.library.filters import adjoined, mass_window, runs, sought_formula


@pytest.mark.parametrize(
    ("mass", "ppm", "da", "ends"),
    [
        (500.0, 10.0, None, (499.995, 500.005)),
        (500.0, None, 0.25, (499.75, 500.25)),
        (500.0, 0.0, None, (500.0, 500.0)),
        (500.0, None, 0.0, (500.0, 500.0)),
        (0.5, None, 1.0, (-0.5, 1.5)),
        (None, None, None, None),
    ],
)
def test_a_window_reaches_as_far_down_as_up(mass, ppm, da, ends):
    assert mass_window(mass, ppm, da) == (None if ends is None else pytest.approx(ends, abs=1e-9))


@pytest.mark.parametrize(
    ("mass", "ppm", "da", "says"),
    [
        (None, 10.0, None, "got mass=None, ppm=10.0, da=None"),
        (None, None, 0.1, "got mass=None, ppm=None, da=0.1"),
        (500.0, 10.0, 0.1, "got mass=500.0, ppm=10.0, da=0.1"),
        (0.0, 10.0, None, "`mass` is 0.0, but must be a positive number"),
        (-1.0, 10.0, None, "`mass` is -1.0"),
        (math.nan, 10.0, None, "`mass` is nan"),
        (math.inf, 10.0, None, "`mass` is inf"),
        ("46", 10.0, None, "`mass` is '46', but must be a positive number"),
        (500.0, -10.0, None, "`ppm` is -10.0"),
        (500.0, None, math.nan, "`da` is nan"),
    ],
)
def test_a_window_that_makes_no_sense_is_refused(mass, ppm, da, says):
    with pytest.raises(QueryError) as caught:
        mass_window(mass, ppm, da)
    assert str(caught.value).startswith("search failed: ")
    assert says in str(caught.value)


@pytest.mark.parametrize(("formula", "hill"), [("OH6C2", "C2H6O"), ("C1H4", "CH4"), ("ClNa", "ClNa"), ("NaCl", "ClNa")])
def test_formulas_are_compared_in_hill_order(formula, hill):
    assert sought_formula(formula) == hill


@pytest.mark.parametrize("formula", ["", "Xx2", "Ch4", "ethanol", "C2H6O)"])
def test_a_formula_that_cannot_be_read_is_refused(formula):
    with pytest.raises(QueryError, match="^search failed: "):
        sought_formula(formula)


def flat(parts):
    return [int(row) for part in parts for row in part]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.5, 0.999, 1.0])
def test_rows_stay_the_same_rows_in_runs(share):
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(rng.random(5000) >= share)
    parts = runs(rows)
    assert flat(parts) == rows.tolist()
    assert all(isinstance(part, range) for part in parts) or len(parts) == 1


@pytest.mark.parametrize(("length", "as_ranges"), [(255, False), (256, True)])
def test_rows_become_ranges_where_these_are_256_long_on_average(length, as_ranges):
    rows = np.concatenate([np.arange(length), 1000 + np.arange(length)])
    parts = runs(rows)
    assert flat(parts) == rows.tolist()
    assert [isinstance(part, range) for part in parts] == ([True, True] if as_ranges else [False])


def test_no_rows_are_no_runs():
    assert runs(np.zeros(0, dtype=np.int64)) == []
    assert runs(range(0)) == []
    assert runs(range(3, 9)) == [range(3, 9)]
    assert list(adjoined([])) == []
    assert list(adjoined([range(0), np.zeros(0, dtype=np.int64)])) == []


@pytest.mark.parametrize("seed", range(5))
def test_adjacent_runs_become_one_and_no_row_is_lost_doubled_or_moved(seed):
    rng = np.random.default_rng(seed)
    parts, at = [], 0
    for kind in rng.integers(0, 3, 20):
        at += int(rng.integers(0, 2)) * int(rng.integers(0, 9))
        if kind == 0:
            scattered = at + np.flatnonzero(rng.random(40) < 0.3)
            parts.append(scattered)
            at += 40
        else:
            size = int(rng.integers(0, 600))
            parts.append(range(at, at + size) if kind == 1 else np.arange(at, at + size))
            at += size
    found = list(adjoined(parts))
    assert flat(found) == flat(parts)
    ranges = [
        (one, other) for one, other in itertools.pairwise(found) if isinstance(one, range) and isinstance(other, range)
    ]
    assert all(one.stop < other.start for one, other in ranges)
