"""Files of NMR peak lists as spreadsheets, spectrometers' programs and databases write them."""

import json
import math

import numpy as np
import pytest

from molchord.api import Reading, SampleError
from molchord_modalities.nmr_files import names_itself, read
from molchord_modalities.nmr_lists import frequency_of, multiplicity_code, nucleus_of, without_nucleus
from molchord_modalities.nmr_settings import MULTIPLICITIES

ETHANOL = """ethanol
  by hand

  3  2  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 C   0  0
    1.5000    0.0000    0.0000 C   0  0
    2.2000    1.2000    0.0000 O   0  0
  1  2  1  0
  2  3  1  0
M  END
"""
SHIFTDB = ETHANOL + "> <Spectrum 13C 0>\n18.1;0.0Q;0|57.8;0.0T;1|\n\n$$$$\n"
JCAMP = "##TITLE= ethanol\n##DATA TYPE= NMR PEAK TABLE\n##.OBSERVE NUCLEUS= ^13C\n"


def jcamp(table, form="(XY..XY)", **labels):
    said = {".OBSERVE FREQUENCY": "100", "XUNITS": "PPM", **labels}
    return (
        JCAMP
        + "".join(f"##{name}={value}\n" for name, value in said.items())
        + f"##PEAK TABLE= {form}\n{table}##END=\n"
    )


def results(folder, content, name="a.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        return list(read(path))
    except SampleError as error:
        return [error]


def only(folder, content, name="a.csv"):
    [reading] = results(folder, content, name)
    assert isinstance(reading, Reading), reading
    return reading


def shifts(reading):
    return reading.measurement.arrays["shift"].astype(float).round(4).tolist()


def patterns(reading):
    return [MULTIPLICITIES[code - 1] if code else None for code in reading.measurement.arrays["multiplicity"]]


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "nucleus", "rest"),
    [
        ("13C{1H}", "13C", ""),  # protons are decoupled here, and were once taken for what is observed
        ("13C{1H} NMR", "13C", "NMR"),
        ("19F{1H}", "19F", ""),
        ("13C, 1H decoupled", "13C", None),
        ("^{13}C", "13C", None),
        ("¹³C", "13C", ""),
        ("C-13", "13C", ""),
        ("13-C", "13C", ""),
        ("c13 shift", "13C", "shift"),
        ("H1", "1H", ""),
        ("31P", "31P", ""),
        ("11H", None, "11H"),
        ("2H", None, "2H"),
        ("113C", None, "113C"),
        ("13CO", None, "13CO"),
        ("proton", None, "proton"),
        ("", None, ""),
    ],
)
def test_nuclei_as_people_write_them(text, nucleus, rest):
    assert nucleus_of(text) == nucleus
    assert rest is None or without_nucleus(text) == rest


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("S", "s"),
        ("br. s", "s"),
        ("s br", "s"),
        ("brs", "s"),
        ("broad singlet", "s"),
        ("app t", "t"),
        ("apparent triplet", "t"),
        ("pseudo t", "t"),
        ("doublet of doublets", "dd"),
        ("triplet of doublets", "td"),
        ("doublet", "d"),
        ("pent", "quint"),
        ("pentet", "quint"),
        ("quint.", "quint"),
        ("hept", "sept"),
        ("t, J=7.1 Hz", "t"),
        ("dd (J = 8, 2 Hz)", "dd"),
        ("m (5 lines)", "m"),
        ("ddt", "m"),
        ("ABq", "m"),
        ("overlapped", "m"),
        ("CH", "d"),
        ("CH2", "t"),
        ("CH3", "q"),
        ("C", "s"),
        ("-", None),
        ("?", None),
        (" ", None),
        ("br", None),
        (None, None),
    ],
)
def test_patterns_as_people_write_them(text, pattern):
    code = multiplicity_code(text, "a.csv:1")
    assert (MULTIPLICITIES[code - 1] if code else None) == pattern


@pytest.mark.parametrize("text", ["4", "d4", "t/q", "a pattern of more than twelve letters"])
def test_what_is_no_pattern_is_refused(text):
    with pytest.raises(SampleError, match="is not a pattern such as 's', 'dd' or 'm'"):
        multiplicity_code(text, "a.csv:1")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("125.8", 125.8),
        ("125,8", 125.8),
        (400, 400.0),
        ("0", None),
        ("-400", None),
        ("nan", None),
        ("inf", None),
        ("400 MHz", None),
        (None, None),
    ],
)
def test_frequencies_are_positive_numbers_or_unknown(text, value):
    assert frequency_of(text) == value


# --- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('# nucleus: 13C\nshift,mult\n"18,1",q\n"57,8",t\n', [18.1, 57.8]),
        ("# nucleus: 13C\nshift;mult\n18,1;q\n57,8;t\n", [18.1, 57.8]),
        ("# nucleus: 13C\nshift,mult,\n18.1,q,\n57.8,t,\n", [18.1, 57.8]),
        ("# nucleus: 13C\r\nshift,mult\r\n18.1,q\r\n57.8,t\r\n", [18.1, 57.8]),
        ("# nucleus: 13C\nshift\n57.8\n18.1\n", [18.1, 57.8]),
        ("# nucleus: 13C\nshift\n\u22122.3\n", [-2.3]),
        ("# nucleus: 1H\nshift,mult\n7.26-7.31,m\n1.2,t\n", [1.2, 7.285]),
        ("# nucleus: 1H\nshift,mult\n7.31 \u2013 7.26,m\n", [7.285]),
        ("# nucleus: 1H\nshift,mult\n-0.10--0.06,m\n", [-0.08]),
        ("# nucleus: 1H\nPeak\t\u03bd(F1) [ppm]\tIntensity\n1\t1.2\t5\n2\t3.7\t4\n", [1.2, 3.7]),
        ("13C{1H} shift,note\n18.1,a\n", [18.1]),
    ],
)
def test_shifts_in_all_notations(tmp_path, content, expected):
    assert shifts(only(tmp_path, content)) == expected
    assert names_itself(tmp_path / "a.csv")


def test_the_title_of_a_decoupled_spectrum_names_carbon(tmp_path):
    assert only(tmp_path, "13C{1H} shift,note\n18.1,a\n").measurement.columns["nucleus"] == "13C"
    assert only(tmp_path, "# nucleus: 13C{1H}\nshift\n18.1\n").measurement.columns["nucleus"] == "13C"


def test_a_table_of_multiplets_as_mestrenova_exports_it(tmp_path):
    content = "# nucleus: 1H\n# frequency: 400,1\nName\tShift\tH's\tIntegral\tClass\n1 (m)\t7.28\t2\t2.04\tm\n2 (t)\t1.22\t3\t2.97\tt\n"
    reading = only(tmp_path, content)
    assert shifts(reading) == [1.22, 7.28]
    assert reading.measurement.arrays["nuclei"].tolist() == [3, 2]  # the first column that counts
    assert patterns(reading) == ["t", "m"]
    assert reading.measurement.columns["frequency"] == 400.1


def test_a_bad_list_does_not_hide_the_next_one(tmp_path):
    content = "nucleus,shift\n195Pt,-1600\n13C,18.1\n1H,nan\n31P,-4.2\n"
    found = results(tmp_path, content)
    assert [isinstance(entry, Reading) for entry in found] == [False, True, False, True]
    assert "'195Pt', not one of 1H, 13C" in str(found[0])
    sdf = SHIFTDB.replace("18.1;0.0Q;0|57.8;0.0T;1|", "|").replace("13C 0", "13C 0") + SHIFTDB
    bad, good = results(tmp_path, sdf, "a.sdf")
    assert (bad.reason, good.smiles) == ("the list has no peak", "CCO")


@pytest.mark.parametrize(
    ("count", "says"), [("-1", "has -1.0 nuclei"), ("inf", "has inf nuclei"), ("x", "not a number")]
)
def test_impossible_counts_are_refused(tmp_path, count, says):
    [error] = results(tmp_path, f"# nucleus: 1H\nshift,integral\n7.2,{count}\n")
    assert says in str(error)


@pytest.mark.parametrize(("count", "value"), [("3", 3), ("3H", 3), ("3h", 3), ("2.97", 2.97), ("", math.nan)])
def test_counts_in_all_notations(tmp_path, count, value):
    [reading] = results(tmp_path, f"# nucleus: 1H\nshift,integral\n7.2,{count}\n")
    assert reading.measurement.arrays["nuclei"].tolist() == pytest.approx([value], nan_ok=True)


def test_equal_shifts_of_one_pattern_are_one_peak_and_of_two_patterns_two(tmp_path):
    reading = only(tmp_path, "# nucleus: 1H\nshift,mult,integral\n1.2,t,3\n1.2,t,3\n1.2,s,1\n")
    assert shifts(reading) == [1.2, 1.2]
    assert dict(zip(patterns(reading), reading.measurement.arrays["nuclei"].tolist(), strict=True)) == {"s": 1, "t": 6}


# --- JSON lines ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"nucleus": "13C", "shifts": [' + "9" * 400 + "]}", "int too large to convert to float"),
        ('{"nucleus": "13C", "shifts": ' + "[" * 100_000, "recursion"),
        ('{"nucleus": "13C", "shifts": [1], "smiles": 7}', "`smiles` is 7, not a text"),
        ('{"nucleus": "13C", "shifts": [1], "solvent": ["CDCl3"]}', "`solvent` is ['CDCl3'], not a text"),
        ('{"nucleus": "13C", "shifts": [NaN]}', "the shift nan"),
        ('{"nucleus": "13C", "shifts": [1e999]}', "the shift inf"),
        ('{"nucleus": "13C", "shifts": [null]}', "not a peak list"),
        ('{"nucleus": 13, "shifts": [1]}', "not a peak list"),
        ('{"nucleus": "13C", "shifts": [1], "mult": [4]}', "not a peak list"),
        ('{"nucleus": "13C", "shifts": 4}', "not a peak list"),
        ("7", "not a peak list"),
        ("[]", "not a peak list"),
        ("null", "not a peak list"),
    ],
)
def test_any_line_of_json_leaves_the_others_readable(tmp_path, line, says):
    good = json.dumps({"nucleus": "13C", "shifts": [18.1], "smiles": "CCO"})
    first, bad, last = results(tmp_path, f"{good}\n{line}\n\n{good}\n", "a.jsonl")
    assert first.smiles == last.smiles == "CCO"
    assert says in bad.reason
    assert bad.id == "a.jsonl:2"
    assert last.location == "a.jsonl:4"


# --- JCAMP-DX --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "table",
    ["18.1,50\n57.8,40\n", "18.1,50;57.8,40\n", "18.1,50 57.8,40\n", "18.1, 50  57.8, 40\n", "18.1 50\n57.8 40\n",
     "(18.1,50) (57.8,40)\n", "57.8,40\n\n18.1,50\n"],
)  # fmt: skip
def test_pairs_of_a_peak_table_in_all_notations(tmp_path, table):
    assert shifts(only(tmp_path, jcamp(table), "a.jdx")) == [18.1, 57.8]


@pytest.mark.parametrize(
    "labels",
    [{"NPOINTS": ""}, {"NPOINTS": " 2 "}, {"XFACTOR": ""}, {".OBSERVE FREQUENCY": ""}, {".OBSERVE FREQUENCY": "100,6"},
     {"XUNITS": "ppm"}, {".SOLVENT NAME": ""}],
)  # fmt: skip
def test_labels_that_say_nothing_are_let_pass(tmp_path, labels):
    reading = only(tmp_path, jcamp("18.1,50\n57.8,40\n", **labels), "a.jdx")
    assert shifts(reading) == [18.1, 57.8]
    assert reading.measurement.columns["solvent"] is None


def test_hertz_are_divided_by_the_frequency(tmp_path):
    table = jcamp("1810,50\n5780,40\n", **{"XUNITS": "Hz"})
    assert shifts(only(tmp_path, table, "a.jdx")) == [18.1, 57.8]
    halved = table.replace("##.OBSERVE FREQUENCY=100", "##.OBSERVE FREQUENCY=200")
    assert shifts(only(tmp_path, halved, "a.jdx")) == [9.05, 28.9]


def test_the_data_type_may_be_in_small_letters_and_behind_a_comment(tmp_path):
    content = "$$ exported\n" + jcamp("18.1,50\n").replace("NMR PEAK TABLE", " nmr peak table ")
    assert shifts(only(tmp_path, content, "a.jdx")) == [18.1]
    assert names_itself(tmp_path / "a.jdx")


# --- SD files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        SHIFTDB,
        SHIFTDB.replace("\n", "\r\n"),
        SHIFTDB.removesuffix("\n$$$$\n"),
        SHIFTDB.replace("> <Spectrum 13C 0>", ">  <Spectrum 13C 0>  (1)"),
        SHIFTDB.replace("|57.8;", "|57.8;\n"),
        SHIFTDB.replace("0.0Q", "Q").replace("0.0T", "0.0t"),
    ],
    ids=["as it is", "crlf", "no end", "number of the molecule", "wrapped", "no intensity"],
)
def test_the_lists_of_nmrshiftdb_in_all_notations(tmp_path, content):
    reading = only(tmp_path, content, "a.sdf")
    assert (reading.smiles, shifts(reading), patterns(reading)) == ("CCO", [18.1, 57.8], ["q", "t"])
    np.testing.assert_array_equal(reading.measurement.arrays["nuclei"], [1, 1])
    assert names_itself(tmp_path / "a.sdf")
