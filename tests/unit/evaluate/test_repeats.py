"""Folds and seeds joined: every number of the joined row from the rows it is made of."""

import dataclasses

import numpy as np
import pytest

from molchord.errors import DataError
from molchord.evaluate.repeats import out_of_fold, over_seeds
from molchord.evaluate.results import Evaluation, Row, SplitAudit
from molchord.retrieval.metrics import METRICS, Interval, bootstrap

SETTINGS = {"seed": 1, "resamples": 50, "split": "test"}


def row(molecules, value=0.5, **changes):
    values = np.array([[value + m / 100] * len(METRICS) for m in molecules])
    given = {
        "system": "model", "subset": ("ir",), "mode": "blind", "fusion": "gm-exp", "pool": "all", "pool_size": 10.0,
        "queries": len(molecules), "molecules": len(molecules), "left_out": 0, "unreachable": 0, "with_mass": False,
        "metrics": dict.fromkeys(METRICS, Interval(value=0, low=0, high=0)),
        "by_molecule": (np.array(molecules, np.int64), values),
    }  # fmt: skip
    return Row(**given | changes)


def evaluation(*rows, **changes):
    return Evaluation(**{"rows": rows, "settings": SETTINGS, "self_consistency": {}, "notes": ()} | changes)


def test_folds_are_laid_end_to_end_by_molecule():
    first = row([5, 2, 9], pool_size=8.0, queries=7, left_out=1, unreachable=2, calibration_error=0.1)
    second = row([4], value=0.1, pool_size=20.0, queries=3, left_out=4, unreachable=0, with_mass=True)
    (joined,) = out_of_fold([evaluation(first), evaluation(second)]).rows
    assert joined.by_molecule[0].tolist() == [2, 4, 5, 9]
    assert joined.by_molecule[1][:, 0].tolist() == pytest.approx([0.52, 0.14, 0.55, 0.59])
    assert (joined.queries, joined.molecules, joined.left_out, joined.unreachable) == (10, 4, 5, 2)
    assert joined.pool_size == 8.0  # the median over molecules
    assert joined.with_mass is True
    assert joined.calibration_error is None  # of no one model
    assert list(joined.metrics.values()) == bootstrap(joined.by_molecule[1], resamples=50, seed=1)
    assert joined.metrics["mrr"].value == pytest.approx(np.mean([0.52, 0.14, 0.55, 0.59]))


def test_a_molecule_is_tested_in_one_fold():
    with pytest.raises(DataError) as caught:
        out_of_fold([evaluation(row([1, 2])), evaluation(row([2, 3]))])
    assert str(caught.value) == "folds cannot be joined: two of them tested the same molecule; give each fold once"


def test_seeds_are_averaged_molecule_by_molecule():
    first, second = row([1, 2], value=0.2, calibration_error=0.1), row([1, 2], value=0.6, calibration_error=0.4)
    (joined,) = over_seeds([evaluation(first), evaluation(second)]).rows
    assert joined.by_molecule[0].tolist() == [1, 2]
    assert joined.by_molecule[1][:, 0].tolist() == pytest.approx([0.41, 0.42])
    assert (joined.queries, joined.molecules) == (2, 2)
    assert joined.calibration_error == pytest.approx(0.25)
    half = over_seeds([evaluation(first), evaluation(dataclasses.replace(second, calibration_error=None))]).rows[0]
    assert half.calibration_error == pytest.approx(0.1)
    none = over_seeds([evaluation(row([1]))] * 2).rows[0]
    assert none.calibration_error is None


def test_seeds_are_of_the_same_molecules():
    with pytest.raises(DataError) as caught:
        over_seeds([evaluation(row([1, 2])), evaluation(row([1, 3]))])
    assert str(caught.value) == (
        "seeds cannot be joined: their rows are of different molecules; evaluate the same split"
    )


@pytest.mark.parametrize("join", [out_of_fold, over_seeds])
def test_nothing_and_unlike_evaluations_cannot_be_joined(join):
    with pytest.raises(DataError, match="evaluations cannot be joined: there is none; evaluate first"):
        join([])
    with pytest.raises(DataError) as caught:
        join([evaluation(row([1]), row([1], pool="test")), evaluation(row([2]))])
    assert str(caught.value) == (
        "evaluations cannot be joined: 1 of 2 have the row ('model', ('ir',), 'blind', 'gm-exp', 'test'); evaluate all alike"
    )


def test_rows_are_matched_by_what_they_report_not_by_their_place():
    changes = [{"system": "b"}, {"subset": ("raman",)}, {"mode": "library"}, {"fusion": "gm-half"}, {"pool": "test"}]
    first = [row([1], value=i / 10, **change) for i, change in enumerate(changes)]
    second = [row([2], value=i / 10, **change) for i, change in enumerate(changes)]
    joined = out_of_fold([evaluation(*first), evaluation(*reversed(second))])
    assert [(r.system, r.subset, r.mode, r.fusion, r.pool) for r in joined.rows] == [
        (r.system, r.subset, r.mode, r.fusion, r.pool) for r in first
    ]
    for i, found in enumerate(joined.rows):
        assert found.by_molecule[1][:, 0].tolist() == pytest.approx([i / 10 + 0.01, i / 10 + 0.02])


def test_settings_that_differ_are_listed_and_notes_said_once():
    parts = [
        evaluation(
            row([i]), settings={**SETTINGS, "fold": i}, notes=("a", f"b{i}"), self_consistency={"ir + raman": 0.2 * i}
        )
        for i in (1, 2)
    ]
    joined = out_of_fold(parts)
    assert joined.settings == {**SETTINGS, "fold": [1, 2]}
    assert joined.notes == ("a", "b1", "b2")
    assert joined.self_consistency == {"ir + raman": pytest.approx(0.3)}
    lacks = out_of_fold([parts[0], dataclasses.replace(parts[1], self_consistency={})])
    assert lacks.self_consistency == {"ir + raman": pytest.approx(0.2)}


def audit(**changes):
    given = {
        "overlap": 1, "tautomers": 2, "tautomers_unchecked": 3, "histogram": [1, 2], "unknown": 5,
        "top1_by_nearest": {"ir": {"< 0.4": (3, 1.0), "> 0.6": (0, float("nan"))}},
    }  # fmt: skip
    return SplitAudit(**given | changes)


def test_audits_of_folds_add_up_and_of_seeds_are_the_same():
    other = audit(unknown=7, top1_by_nearest={"ir": {"< 0.4": (1, 0.0), "> 0.6": (0, float("nan"))}})
    parts = [evaluation(row([1]), audit=audit()), evaluation(row([2]), audit=other)]
    found = out_of_fold(parts).audit
    assert (found.overlap, found.tautomers, found.tautomers_unchecked, found.unknown) == (2, 4, 6, 7)
    assert found.histogram == [2, 4]
    assert found.top1_by_nearest["ir"]["< 0.4"] == (4, 0.75)
    assert found.top1_by_nearest["ir"]["> 0.6"][0] == 0
    assert np.isnan(found.top1_by_nearest["ir"]["> 0.6"][1])
    seeds = [evaluation(row([1]), audit=part.audit) for part in parts]
    assert over_seeds(seeds).audit is parts[0].audit
    partly = [parts[0], evaluation(row([2]), audit=audit(tautomers=None))]
    assert out_of_fold(partly).audit.tautomers is None  # not all were looked for
    assert out_of_fold([evaluation(row([1])), evaluation(row([2]))]).audit is None
