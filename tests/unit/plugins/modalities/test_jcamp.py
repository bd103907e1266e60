"""JCAMP-DX as instruments and collections write it: labels, packed numbers, and what the labels state about the table."""

import numpy as np
import pytest

from molchord.api import Reading, SampleError
from molchord_modalities import jcamp
from molchord_modalities.ir import IR
from molchord_modalities.nmr import NMR, NmrConfig
from molchord_modalities.raman import RAMAN
from molchord_modalities.vibrational_settings import VibrationalConfig

ir, raman = (record.build(VibrationalConfig(), "spectrum1d") for record in (IR, RAMAN))
nmr = NMR.build(NmrConfig(), "peaks")

ROW = "400 1 2 3 4 5 6 7 8 9 10\n"
LABELS = {
    "JCAMP-DX": "4.24",
    "DATA TYPE": "INFRARED SPECTRUM",
    "XUNITS": "1/CM",
    "YUNITS": "ABSORBANCE",
    "FIRSTX": "400",
    "LASTX": "409",
    "NPOINTS": "10",
    "XFACTOR": "1",
    "YFACTOR": "0.01",
}


def text(table=ROW, form="XYDATA=(X++(Y..Y))", start="##TITLE=a\n", **labels):
    """A block whose labels are changed, or left out where None."""
    said = LABELS | {name.replace("_", " "): value for name, value in labels.items()}
    head = "".join(f"##{name}={value}\n" for name, value in said.items() if value is not None)
    return f"{start}{head}##{form}\n{table}##END=\n"


def pairs(table, form="XYPOINTS=(XY..XY)", **labels):
    return text(table, form, **{"FIRSTX": None, "LASTX": None, "NPOINTS": None, "YFACTOR": None, **labels})


def block(content):
    [found] = jcamp.parse(content, "a.jdx")
    assert isinstance(found, jcamp.Block), found
    return found


def refusal(content):
    [found] = jcamp.parse(content, "a.jdx")
    assert isinstance(found, SampleError), found
    return str(found)


def outcome(modality, folder, content, name="a.jdx"):
    path = folder / name
    path.write_text(content, encoding="utf-8", newline="")
    try:
        return list(modality.read(path)), modality.can_read(path)
    except SampleError as error:
        return [error], modality.can_read(path)


# --- what a file is --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("##TITLE=a\n", True),
        ("  ##TITLE= a\n", True),
        ("##title=a\n", True),
        ("\n\n##TITLE=a\n", True),
        ("$$ exported by hand\n##TITLE=a\n", True),
        ("##JCAMP-DX=4.24\n##TITLE=a\n", True),
        ("##JCAMP_DX=4.24\n", True),
        ("##DATA TYPE= NMR PEAK TABLE\n", True),
        ("##NAMES=Calcite\n##RRUFFID=R040070\n504.0, 2.7\n##END=\n", False),
        ("##### Title\n##TITLE=a\n", True),
        ("##### Extended\n400 0.1\n", False),
        ("# ##TITLE=a\n", False),
        ("TITLE=a\n", False),
        ("", False),
    ],
)
def test_jcamp_is_known_by_its_first_labels(start, expected):
    assert jcamp.is_jcamp(start) is expected


def test_a_comment_above_the_title_changes_nothing(tmp_path):
    """Read as two columns, the factors would be ignored."""
    [reading], claimed = outcome(ir, tmp_path, "$$ exported by hand\n" + text())
    assert claimed
    np.testing.assert_allclose(reading.measurement.arrays["absorbance"], np.arange(1, 11) / 100, rtol=1e-6)


def test_a_file_of_rruff_is_a_raman_spectrum_in_two_columns(tmp_path):
    rows = "".join(f"{500 + i}, {i % 7}.5\n" for i in range(20))
    content = f"##NAMES=Calcite\n##RRUFFID=R040070\n##IDEAL CHEMISTRY=CaCO3\n{rows}##END=\n\n"
    [reading], _ = outcome(raman, tmp_path, content, "Calcite__R040070__Raman.txt")
    assert reading.measurement.arrays["wavenumber"].tolist() == [500.0 + i for i in range(20)]
    assert reading.measurement.arrays["intensity"][8] == 1.5


@pytest.mark.parametrize(
    ("data_type", "of"),
    [
        ("INFRARED SPECTRUM", {"ir"}),
        ("Infrared Spectrum", {"ir"}),
        ("INFRARED PEAK TABLE", {"ir"}),
        ("FTIR", {"ir"}),
        ("FT-IR SPECTRUM", {"ir"}),
        ("IR", {"ir"}),
        ("ATR-IR SPECTRUM", {"ir"}),
        ("RAMAN SPECTRUM", {"raman"}),
        ("FT-RAMAN", {"raman"}),
        ("NIR SPECTRUM", set()),
        ("VIRTUAL", set()),
        ("UV/VIS SPECTRUM", set()),
        ("NMR SPECTRUM", set()),
        ("MASS SPECTRUM", set()),
    ],
)
def test_each_technique_takes_its_own_data_types(tmp_path, data_type, of):
    content = text(DATA_TYPE=data_type)
    found = {
        name: outcome(modality, tmp_path, content) for name, modality in (("ir", ir), ("raman", raman), ("nmr", nmr))
    }
    assert {name for name, (_, claimed) in found.items() if claimed} == of
    assert {name for name, ([entry], _) in found.items() if isinstance(entry, Reading)} == of


def test_a_block_without_a_data_type_is_what_it_is_given_as(tmp_path):
    content = text(DATA_TYPE=None)
    for modality in (ir, raman):
        [reading], claimed = outcome(modality, tmp_path, content)
        assert isinstance(reading, Reading)
        assert not claimed


def test_labels_may_be_written_with_blanks_dashes_slashes_and_in_small_letters():
    plain = block(text())
    odd = text().replace("##FIRSTX=", "##First-X = ").replace("##XFACTOR=", "##x_factor=").replace("##END=", "##end=")
    assert block(odd.replace("##DATA TYPE", "##data/type")).labels["DATATYPE"] == plain.labels["DATATYPE"]
    np.testing.assert_array_equal(block(odd).x, plain.x)


def test_data_types_of_all_blocks_are_in_capitals():
    link = (
        "##TITLE=all\n##DATA TYPE=link\n" + text(DATA_TYPE="Infrared Spectrum") + text(DATA_TYPE="raman") + "##END=\n"
    )
    assert jcamp.data_types(link) == ["INFRARED SPECTRUM", "RAMAN", "LINK"]  # a link ends last


def test_a_block_inside_a_block_that_was_cut_off_comes_first():
    cut = "##TITLE=outer\n##DATA TYPE=LINK\n" + text().removesuffix("##END=\n")
    inner, outer = jcamp.parse(cut, "a.jdx")
    assert (inner.id, outer.id) == ("a.jdx:3", "a.jdx:1")
    assert "cut off" in str(inner)


def test_two_tables_in_one_block_are_refused_with_their_number():
    twice = text(ROW + "##XYDATA=(X++(Y..Y))\n" + ROW)
    assert refusal(twice) == "a.jdx:1: the block has 2 data tables; one was expected"


@pytest.mark.parametrize(
    ("label", "got"),
    [
        ("NTUPLES", "`NTUPLES` without a page"),
        ("RADATA", "only an interferogram (`RADATA`)"),
        ("OWNER", "no data table"),
    ],
)
def test_a_block_without_a_table_that_is_read_says_what_it_has(label, got):
    said = refusal(f"##TITLE=a\n##{label}=x\n##END=\n")
    assert f"the block has {got}; `XYDATA`, `XYPOINTS`, `PEAK TABLE` or a page of `NTUPLES` is read" in said


# --- numbers of the labels -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        {"DELTAX": ""},
        {"DELTAX": "   "},
        {"FIRSTY": ""},
        {"XFACTOR": ""},
        {"FIRSTX": "400,0", "LASTX": "409,0"},
        {"FIRSTX": "4.0E+02"},
        {"FIRSTX": "+400."},
        {"NPOINTS": "10.0"},
        {"FIRSTY": "0"},
        {"DELTAX": "1"},
        {"DELTAX": "-1"},
        {"DELTAX": "1.009"},
        {"XFACTOR": None},
        {"FIRSTX": "400 $$ by hand"},
    ],
)
def test_labels_that_say_nothing_and_numbers_in_other_notations_are_let_pass(labels):
    found = block(text(**labels))
    np.testing.assert_allclose(found.x, np.arange(400, 410))
    np.testing.assert_allclose(found.y, np.arange(1, 11) / 100)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({"FIRSTX": ""}, "the label `FIRSTX` is missing"),
        ({"LASTX": None}, "the label `LASTX` is missing"),
        ({"NPOINTS": None}, "the label `NPOINTS` is missing"),
        ({"FIRSTX": "4,0,0"}, "the label `FIRSTX` is '4,0,0', not a number"),
        ({"FIRSTX": "nan"}, "not a finite number"),
        ({"YFACTOR": "x"}, "the label `YFACTOR` is 'x', not a number"),
        ({"YFACTOR": "inf"}, "not a finite number"),
        ({"NPOINTS": "11"}, "the table has 10 points, `NPOINTS` says 11"),
        ({"DELTAX": "1.02"}, "`DELTAX` says 1.02, but FIRSTX, LASTX and NPOINTS give 1"),
        ({"DELTAX": "0.98"}, "`DELTAX` says 0.98"),
        ({"DELTAX": "2"}, "`DELTAX` says 2"),
        ({"FIRSTY": "0.012"}, "`FIRSTY` says 0.012, but the table starts with 0.01"),
        ({"FIRSTY": "0.0085"}, "`FIRSTY` says 0.0085"),
        ({"FIRSTY": "-0.01"}, "`FIRSTY` says -0.01"),
        ({"FIRSTX": "404"}, "a.jdx:12: the line starts at x = 400, expected 404"),
    ],
)
def test_labels_that_contradict_the_table_are_told(labels, says):
    assert says in refusal(text(**labels))


@pytest.mark.parametrize("first", ["0.01", "1", "0.0101", "1.01"])
def test_the_first_ordinate_is_stated_before_or_after_its_factor(first):
    assert block(text(FIRSTY=first)).y[0] == pytest.approx(0.01)


def test_the_factor_of_the_abscissa_is_that_of_printed_abscissae_alone():
    """FIRSTX and LASTX are in the unit of XUNITS; the abscissae printed in the table are to be multiplied."""
    found = block(text("4000 1 2 3 4 5\n4050 6 7 8 9 10\n", XFACTOR="0.1"))
    np.testing.assert_allclose(found.x, np.arange(400, 410))
    assert "the line starts at x = 4000, expected 400" in refusal(text("4000 1 2 3 4 5\n4050 6 7 8 9 10\n"))


def test_both_factors_of_pairs_are_applied():
    found = block(pairs("4000, 100; 5000, 200\n", XFACTOR="0.1", YFACTOR="0.01"))
    assert (found.x.tolist(), found.y.tolist()) == ([400.0, 500.0], [1.0, 2.0])


def test_printed_abscissae_may_be_rounded_by_two_steps_and_not_more():
    rows = "400 1 2 3 4 5\n{} 6 7 8 9 10\n"
    for printed in ("403", "405", "407"):
        assert len(block(text(rows.format(printed))).x) == 10
    for printed in ("402.9", "407.1"):
        assert f"a.jdx:13: the line starts at x = {printed}, expected 405" in refusal(text(rows.format(printed)))


def test_a_descending_abscissa_stays_in_the_order_of_the_file():
    found = block(text("409 1 2 3 4 5\n404 6 7 8 9 10\n", FIRSTX="409", LASTX="400", DELTAX="-1"))
    np.testing.assert_allclose(found.x, np.arange(409, 399, -1))


def test_a_single_point_has_no_step():
    found = block(text("400 5\n", LASTX="400", NPOINTS="1", DELTAX="7"))
    assert (found.x.tolist(), found.y.tolist()) == ([400.0], [0.05])


def test_a_first_ordinate_that_is_missing_checks_nothing():
    found = block(text("400 ? 2 3 4 5 6 7 8 9 10\n", FIRSTY="0.5"))
    assert np.isnan(found.y[0])


def test_a_small_first_ordinate_is_judged_by_the_height_of_the_spectrum():
    """Beside a band of 100, a first ordinate that is off by 0.05 is rounding."""
    table = "400 0 2 3 4 5 6 7 8 9 10000\n"
    assert block(text(table, FIRSTY="0.05")).y[0] == 0
    assert "`FIRSTY` says 20" in refusal(text(table, FIRSTY="20"))
    negative = table.replace("10000", "-10000")
    assert block(text(negative, FIRSTY="0.05")).y[0] == 0


# --- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "table",
    [
        "400, 1; 401, 2; 402, 3\n",
        "400,1 401,2 402,3\n",
        "400 1\n401 2\n402 3\n",
        "400\t1\n\n401\t2\n402\t3\n",
        "4.00E2, 1.0e0\n401., 2.\n+402 +3\n",
        "400, 1 $$ strong\n401, 2\n402, 3\n",
    ],
)
@pytest.mark.parametrize(
    "form", ["XYPOINTS=(XY..XY)", "XYDATA= (XY..XY)", "PEAK TABLE=(XY..XY)", "peaktable=( XY..XY )"]
)
def test_pairs_in_all_notations(table, form):
    found = block(pairs(table, form))
    assert (found.x.tolist(), found.y.tolist()) == ([400.0, 401.0, 402.0], [1.0, 2.0, 3.0])
    assert found.sticks is (form[:4].upper() == "PEAK")


@pytest.mark.parametrize(
    ("table", "labels", "says"),
    [
        ("400, 1; 401\n", {}, "the table has 3 numbers, an odd count; pairs were expected"),
        ("400, 1; 401, 2\n", {"NPOINTS": "3"}, "the table has 2 points, `NPOINTS` says 3"),
        ("", {}, "the data table is empty"),
        ("400, high\n", {}, "a.jdx:8: the table holds 'h', which is not part of a number"),
    ],
)
def test_broken_pairs_say_what_is_wrong(table, labels, says):
    assert says in refusal(pairs(table, **labels))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("400A", [1]),
        ("400a", [-1]),
        ("400@", [0]),
        ("400I9", [99]),
        ("400i9", [-99]),
        ("400A0J0", [10, 20]),
        ("400A0j0", [10, 0]),
        ("400A0%", [10, 10]),
        ("400A0R", [10, 19]),
        ("400A0r", [10, 1]),
        ("400A0S", [10]),
        ("400A0T", [10, 10]),
        ("400A0Z", [10] * 8),
        ("400A0s", [10] * 9),
        ("400A0S2", [10] * 12),
        ("400A0JT", [10, 11, 12]),
        ("400A0JTA0T", [10, 11, 12, 10, 10]),  # a value ends the run of a difference
        ("400A0J?A0", [10, 11, None, 10]),
        ("400 A0 J J", [10, 11, 12]),
        ("400+10-20+30", [10, -20, 30]),
        ("400 A.5", [1.5]),
    ],
)
def test_packed_numbers_by_the_letters_of_the_standard(row, expected):
    """Davies and Lampen 1993: @ A-I a-i are digits 0, 1-9 and -1 to -9; % J-R j-r differences; S-Z s repeats."""
    count = len(expected)
    labels = {"LASTX": str(399 + count), "NPOINTS": str(count), "YFACTOR": "1"}
    found = block(text(f"{row}\n", **labels)).y
    np.testing.assert_array_equal(found, np.array(expected, dtype=float))


def test_a_line_that_ends_in_a_difference_is_checked_by_the_next_ones_first_ordinate():
    checked = "400A0J\n401A1J\n"  # 10 11 | the check 11, then 12
    found = block(text(checked, LASTX="402", NPOINTS="3", YFACTOR="1"))
    assert found.y.tolist() == [10, 11, 12]
    said = refusal(text("400A0J\n401A2J\n", LASTX="402", NPOINTS="3", YFACTOR="1"))
    assert said == "a.jdx:13: the ordinate check fails: 12 after 11"


def test_lines_of_packed_values_have_no_check():
    found = block(text("400A0A1\n402A1A2\n", LASTX="403", NPOINTS="4", YFACTOR="1"))
    assert found.y.tolist() == [10, 11, 11, 12]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("400A0!", "the table holds '!'"),
        ("400S", "the repeat 'S' has no ordinate before it"),
        ("400J", "the difference 'J' has no ordinate before it"),
        ("400A0s9999999", "is longer than 1000000 points"),
    ],
)
def test_broken_packed_rows_say_what_is_wrong(row, says):
    assert says in refusal(text(f"{row}\n"))


def test_a_kilobyte_of_repeats_does_not_fill_the_memory():
    """Neither in one line nor in many, whatever the number of points is said to be."""
    [line] = jcamp.parse(text("400A0" + "s99999@" * 100 + "\n", NPOINTS="1000000000"), "a.jdx")
    assert "longer than 1000000 points in a line" in str(line)
    [table] = jcamp.parse(text("400A0s99998\n" * 50, NPOINTS="1000000000"), "a.jdx")
    assert "the table is longer than 4000000 points" in str(table)


def test_a_flat_baseline_is_one_repeat():
    found = block(text("400A0S9999\n", LASTX="20398", NPOINTS="19999", YFACTOR="1"))
    assert found.y.tolist() == [10.0] * 19999


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_ends_of_lines_do_not_matter(tmp_path, end):
    [reading], claimed = outcome(ir, tmp_path, text().replace("\n", end))
    assert claimed
    assert len(reading.measurement.arrays["absorbance"]) == 10


def test_a_line_of_blanks_in_the_table_is_none():
    assert len(block(text("\n" + ROW + "   \n\n")).x) == 10


def test_every_unit_of_the_abscissa_becomes_wavenumbers(tmp_path):
    for unit, first, last in (("1/CM", 400, 409), ("MICROMETERS", 10, 19), ("NANOMETERS", 2500, 2509)):
        content = text(ROW.replace("400", str(first)), XUNITS=unit, FIRSTX=str(first), LASTX=str(last))
        [reading], _ = outcome(ir, tmp_path, content)
        x = np.arange(first, last + 1)
        expected = np.sort({"1/CM": x, "MICROMETERS": 1e4 / x, "NANOMETERS": 1e7 / x}[unit])
        np.testing.assert_allclose(reading.measurement.arrays["wavenumber"], expected, rtol=1e-6)


def test_a_smiles_and_a_source_come_from_several_labels(tmp_path):
    [reading], _ = outcome(ir, tmp_path, text(**{"SMILES": "CC", "$SMILES": "CCO", "ORIGIN": "a", "$NIST SOURCE": "b"}))
    assert (reading.smiles, reading.measurement.columns["source"]) == ("CCO", "b")
    [reading], _ = outcome(ir, tmp_path, text(**{"SMILES": "CC", "ORIGIN": "a"}))
    assert (reading.smiles, reading.measurement.columns["source"]) == ("CC", "a")
    [reading], _ = outcome(ir, tmp_path, text(**{"$SMILES": ""}))
    assert (reading.smiles, reading.measurement.columns["source"]) == (None, None)
