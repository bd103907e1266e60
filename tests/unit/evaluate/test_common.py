"""Rows of different molecules beside the same rows on the molecules that they have in common."""

import numpy as np
import pytest

from molchord.evaluate.common import in_common
from molchord.evaluate.results import Row
from molchord.retrieval.metrics import METRICS, Interval


def row(subset, molecules, found):
    """A row whose Top-1 is 1 for the molecules found, and whose other metrics are 0."""
    values = np.zeros((len(molecules), len(METRICS)))
    values[:, 0] = np.isin(molecules, found)
    value = values[:, 0].mean()
    return Row(
        system="model", subset=subset, mode="blind", fusion="gm-exp", pool="all", pool_size=40.0,
        queries=len(molecules), molecules=len(molecules), left_out=0, unreachable=0, with_mass=False,
        metrics=dict.fromkeys(METRICS, Interval(value=value, low=0.0, high=1.0)),
        by_molecule=(np.asarray(molecules), values),
    )  # fmt: skip


def test_rows_of_the_same_molecules_compare_as_they_are():
    molecules = np.arange(30)
    assert in_common([row(("a",), molecules, [1]), row(("a", "b"), molecules, [1, 2])]) == []


def test_rows_are_measured_again_on_the_molecules_of_all():
    [common] = in_common([row(("a",), np.arange(40), np.arange(10)), row(("b",), np.arange(5, 30), np.arange(5, 30))])
    assert common.molecules == 25
    tops = {subset: metrics["top1"].value for subset, metrics in common.lines}
    assert tops == pytest.approx({("a",): 5 / 25, ("b",): 1.0})
    for _, metrics in common.lines:
        assert metrics["top1"].low <= metrics["top1"].value <= metrics["top1"].high


def test_where_all_share_too_few_a_set_of_spectra_is_compared_with_its_parts():
    rows = [
        row(("a",), np.arange(40), np.arange(20)),
        row(("b",), np.arange(20, 60), np.arange(60)),
        row(("a", "b"), np.arange(20, 40), np.arange(60)),
        row(("c",), np.arange(100, 140), []),
    ]
    [common] = in_common(rows)
    assert (common.molecules, [subset for subset, _ in common.lines]) == (20, [("a",), ("b",), ("a", "b")])
    assert [metrics["top1"].value for _, metrics in common.lines] == [0.0, 1.0, 1.0]


def test_rows_without_molecules_in_common_are_not_compared():
    assert in_common([row(("a",), np.arange(20), []), row(("b",), np.arange(20, 40), [])]) == []
