"""Tables, summaries and saved files of an evaluation hold what its rows say, cell by cell."""

import csv
import dataclasses
import json
import math

import numpy as np
import pytest

from molchord.errors import DataError, OutputExistsError
from molchord.evaluate.results import Evaluation, Row, SplitAudit
from molchord.retrieval.metrics import METRICS, Interval

NAN = float("nan")


def row(subset=("ir",), system="model", top1=0.5, **changes):
    metrics = {name: Interval(value=top1, low=max(0.0, top1 - 0.1), high=top1 + 0.1) for name in METRICS}
    given = {
        "system": system,
        "subset": subset,
        "mode": "blind" if system == "model" else "",
        "fusion": "gm-exp" if system == "model" else "",
        "pool": "test",
        "pool_size": 40.0,
        "queries": 10,
        "molecules": 10,
        "left_out": 0,
        "unreachable": 0,
        "with_mass": False,
        "metrics": metrics,
        "by_molecule": (np.arange(10), np.full((10, len(METRICS)), top1)),
    }
    return Row(**given | changes)


def evaluation(*rows, **changes):
    given = {"settings": {"seed": 1}, "self_consistency": {}, "notes": ()}
    return Evaluation(rows=rows, **given | changes)


def cells(found, line=1):
    header, *lines = (
        [cell.strip() for cell in text.strip("|").split("|")] for text in found.table(markdown=True).splitlines()
    )
    return dict(zip(header, lines[line], strict=True))


def test_a_row_of_the_table_has_every_number_in_its_column():
    found = evaluation(
        row(("ir", "raman"), top1=0.123, queries=37, molecules=19, left_out=3, unreachable=2, with_mass=True)
    )
    assert cells(found) == {
        "query": "ir + raman",
        "system": "model",
        "mode": "blind",
        "fusion": "gm-exp",
        "pool": "test",
        "size": "40",
        "queries": "37 of 19",
        "left out": "3",
        "outside": "2",
        "with mass": "yes",
        "Top-1": "12.3 [2.3, 22.3]",
        "Top-5": "12.3 [2.3, 22.3]",
        "Top-10": "12.3 [2.3, 22.3]",
        "Top-25": "12.3 [2.3, 22.3]",
        "MRR": "0.123 [0.023, 0.223]",
        "Tanimoto": "0.123 [0.023, 0.223]",
    }


def test_what_is_not_there_is_a_dash():
    found = cells(evaluation(row(system="random (expected)", top1=NAN, pool="isomers", pool_size=2.5)))
    assert (found["mode"], found["fusion"], found["Top-1"], found["Tanimoto"]) == ("-", "-", "-", "-")
    assert (found["size"], found["queries"], found["with mass"]) == ("median 2.5", "10", "no")


def test_text_and_markdown_hold_the_same_cells():
    found = evaluation(row(), row(("raman",), top1=0.25))
    plain, marked = found.table().splitlines(), found.table(markdown=True).splitlines()
    assert len(plain) == 3
    assert len(marked) == 4
    for text, line in zip(plain[1:], marked[2:], strict=True):
        assert text.split() == line.replace("|", " ").split()
    assert {len(line) for line in marked} == {len(marked[0])}


def test_one_row_is_found_and_no_other_number():
    found = evaluation(row(), row(system="mass alone"), row(pool="all"))
    assert found.find("ir", system="model", pool="all") is found.rows[2]
    assert found.find("ir", system="mass alone") is found.rows[1]
    for where, count in (({"system": "model"}, 2), ({"pool": "mass"}, 0)):
        with pytest.raises(DataError) as caught:
            found.find("ir", **where)
        assert str(caught.value) == f"evaluation holds {count} rows of ('ir',) with {where!r}; name exactly one"


# --- the summary


def test_a_summary_has_one_table_a_mode_and_pool_with_the_baselines_beside():
    rows = [
        row(top1=0.5),
        row(top1=0.9, fusion="gm-half"),  # of another fusion
        row(("ir", "raman"), top1=0.75, pool_size=44.4, queries=12, molecules=6),
        row(top1=0.25, pool="all", pool_size=900.0),
        row(top1=0.6, mode="library"),
        row(system="random (expected)", top1=0.025),
        row(("ir", "raman"), system="random (expected)", top1=0.0002),
        row(system="mass alone", top1=0.1, with_mass=True),
        row(system="mass alone (expected)", top1=0.1, with_mass=True),
        row(system="own similarity", mode="library", top1=0.3),
    ]
    first, second, third, *rest = evaluation(*rows, notes=("a note",)).summary().split("\n\n")
    lines = first.splitlines()
    assert lines[0] == ("blind queries, gm-exp, pool test of 40-44; Top-1 of the baselines on the right; * with mass")
    assert " ".join(lines[1].split()) == "query molecules Top-1 % [95 %] Top-5 Top-10 Top-25 MRR random mass alone*"
    assert " ".join(lines[2].split()) == "ir 10 50.0 [40.0, 60.0] 50.0 50.0 50.0 0.500 2.5 10.0"
    assert " ".join(lines[3].split()) == "ir + raman 6 (12 queries) 75.0 [65.0, 85.0] 75.0 75.0 75.0 0.750 0.02 -"
    assert len(lines) == 4
    assert second.splitlines()[0] == "blind queries, gm-exp, pool all of 900; Top-1 of the baselines on the right"
    assert third.splitlines()[1].split()[-2:] == ["own", "similarity"]
    assert third.splitlines()[2].split()[-1] == "30.0"
    assert rest == ["note: a note"]


def test_a_query_that_knows_its_mass_is_marked():
    assert "  ir*" in evaluation(row(with_mass=True)).summary()
    assert "* with mass" in evaluation(row(with_mass=True)).summary()
    assert "*" not in evaluation(row()).summary()


AUDIT = SplitAudit(
    overlap=2,
    tautomers=1,
    tautomers_unchecked=4,
    histogram=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    top1_by_nearest={"ir": {"< 0.4": (3, 1 / 3), "> 0.6": (0, NAN)}},
)


def test_an_audit_is_written_line_by_line():
    assert AUDIT.text().splitlines() == [
        "molecules on both sides of the split: 2",
        "tested molecules with an equal canonical tautomer in training: 1 (4 unchecked)",
        "nearest training Tanimoto, bins of 0.1 from: 0.0: 0  0.1: 1  0.2: 2  0.3: 3  0.4: 4  0.5: 5  0.6: 6  0.7: 7  "
        "0.8: 8  0.9: 9",
        "Top-1 by nearest training Tanimoto, ir: < 0.4: 33.3 % of 3, > 0.6: none",
    ]
    more = dataclasses.replace(AUDIT, tautomers=None, unknown=7).text().splitlines()
    assert more[1] == "tested molecules with an equal canonical tautomer in training: not looked for"
    assert more[-1] == "training molecules of unknown structure, compared by key alone: 7"
    assert "molecules on both sides of the split: 2" in evaluation(row(), audit=AUDIT).summary()


def test_the_whole_text_has_everything():
    found = evaluation(
        row(),
        audit=AUDIT,
        self_consistency={"ir + raman": 0.1234},
        notes=("left out",),
        settings={"seed": 1, "split": "test"},
    )
    text = found.text().splitlines()
    assert text[: len(found.table().splitlines())] == found.table().splitlines()
    assert "mean cosine between the spectra of a query, ir + raman: 0.123" in text
    assert AUDIT.text().splitlines()[0] in text
    assert text[-2:] == ["note: left out", "seed 1; split test"]


# --- files


def test_files_hold_the_rows_and_undefined_numbers_as_null(tmp_path):
    found = evaluation(
        row(("ir", "raman"), calibration_error=0.02), row(system="mass alone", top1=NAN), audit=AUDIT,
        self_consistency={"ir + raman": NAN}, settings={"seed": 1, "path": tmp_path},
    )  # fmt: skip
    found.save(tmp_path / "out")
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert content == json.loads(json.dumps(found.as_dict(), default=str))
    assert content["settings"] == {"seed": 1, "path": str(tmp_path)}
    assert content["self_consistency"] == {"ir + raman": None}
    assert content["audit"]["top1_by_nearest"] == {
        "ir": {"< 0.4": {"molecules": 3, "top1": 1 / 3}, "> 0.6": {"molecules": 0, "top1": None}}
    }
    assert content["rows"][0]["metrics"]["mrr"] == {"value": 0.5, "low": 0.4, "high": 0.6}
    assert content["rows"][1]["metrics"]["mrr"]["value"] is None
    assert "by_molecule" not in content["rows"][0]
    with (tmp_path / "out" / "evaluation.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["subset"], first["top1"], first["top1_low"], first["top1_high"]) == ("ir+raman", "0.5", "0.4", "0.6")
    assert (second["mrr"], second["system"], first["calibration_error"], second["calibration_error"]) == (
        "", "mass alone", "0.02", "",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["evaluation.json", "evaluation.csv"])
def test_either_file_is_replaced_only_by_force(tmp_path, name):
    (tmp_path / name).write_text("old")
    with pytest.raises(OutputExistsError, match=name):
        evaluation(row()).save(tmp_path)
    assert (tmp_path / name).read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1
    evaluation(row()).save(tmp_path, force=True)
    assert (tmp_path / name).read_text() != "old"


def test_an_evaluation_without_rows_is_saved_too(tmp_path):
    evaluation().save(tmp_path)
    assert (tmp_path / "evaluation.csv").read_text().strip() == ""
    assert evaluation().summary() == ""


def test_a_difference_is_paired_and_of_its_seed():
    better = row(by_molecule=(np.arange(30), np.linspace(0.2, 1.0, 30 * len(METRICS)).reshape(30, -1)))
    worse = row(by_molecule=(better.by_molecule[0], better.by_molecule[1] - 0.2))
    found = better.minus(worse)
    assert list(found) == list(METRICS)
    assert all(d.value == pytest.approx(0.2) and d.low == pytest.approx(0.2) == d.high for d in found.values())
    other = row(by_molecule=(better.by_molecule[0], better.by_molecule[1][::-1].copy()))
    assert better.minus(other, seed=1)["mrr"] == better.minus(other, seed=1)["mrr"]
    assert better.minus(other, seed=1)["mrr"] != better.minus(other, seed=2)["mrr"]
    assert not math.isnan(better.minus(other, resamples=10)["mrr"].low)
