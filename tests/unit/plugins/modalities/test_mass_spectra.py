"""Files of tandem mass spectra as databases, instruments and spreadsheets write them, and what their fields mean."""

import gzip
import math

import numpy as np
import pytest

from molchord.api import Reading, SampleError
from molchord.chem import canonical_adduct
from molchord_modalities.mass_spectra import collision_energy, read
from molchord_modalities.mass_spectra_files import names_itself

MASSBANK = """\
ACCESSION: MSBNK-Test-T001
RECORD_TITLE: Ethanol; LC-ESI-QFT; MS2; CE: 35 NCE; R=15000; [M+H]+
DATE: 2024.01.02
LICENSE: CC BY
CH$NAME: Ethanol
CH$NAME: Ethyl alcohol
CH$FORMULA: C2H6O
CH$SMILES: CCO
CH$IUPAC: InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3
AC$INSTRUMENT: Q Exactive
AC$INSTRUMENT_TYPE: LC-ESI-QFT
AC$MASS_SPECTROMETRY: MS_TYPE MS2
AC$MASS_SPECTROMETRY: ION_MODE POSITIVE
AC$MASS_SPECTROMETRY: COLLISION_ENERGY 35 (nominal)
AC$CHROMATOGRAPHY: FLOW_GRADIENT 90/10 at 0 min, 50/50 at 4 min
MS$FOCUSED_ION: BASE_PEAK 29.0386
MS$FOCUSED_ION: PRECURSOR_M/Z 47.0491
MS$FOCUSED_ION: PRECURSOR_TYPE [M+H]+
PK$SPLASH: splash10-0002-0900000000-0123456789abcdef0123
PK$ANNOTATION: m/z tentative_formula formula_count mass error(ppm)
  29.0386 C2H5+ 1 29.0386 0.1
PK$NUM_PEAK: 2
PK$PEAK: m/z int. rel.int.
  29.0386 2000 999
  45.0335 1000 499
//
"""
GNPS = """\
BEGIN IONS
PEPMASS=47.0491
CHARGE=1
MSLEVEL=2
SOURCE_INSTRUMENT=LC-ESI-qTof
FILENAME=a.mzXML
SEQ=*..*
IONMODE=Positive
NAME=Ethanol M+H
SMILES=CCO
INCHI=N/A
INCHIAUX=N/A
SPECTRUMID=CCMSLIB00000000001
SCANS=7
29.038601\t2000.0
45.033501\t1000.0
END IONS
"""
MONA = """\
Name: Ethanol
Synon: Ethyl alcohol
DB#: MoNA000001
InChIKey: LFQSCWFLJHTTHZ-UHFFFAOYSA-N
Precursor_type: [M+H]+
Spectrum_type: MS2
PrecursorMZ: 47.0491
Instrument_type: LC-ESI-QTOF
Ion_mode: P
Formula: C2H6O
Comments: "SMILES=CCO" "cas=64-17-5" "collision energy=20 eV" "license=CC BY"
Num Peaks: 2
29.0386 2000.000000
45.0335 1000.000000

"""
RIKEN = """\
NAME: Ethanol
PRECURSORMZ: 47.0491
PRECURSORTYPE: [M+H]+
FORMULA: C2H6O
SMILES: CCO
IONMODE: Positive
COLLISIONENERGY: 20
Num Peaks: 2
29.0386\t2000
45.0335\t1000
"""
NIST = """\
Name: Ethanol
Notes: Consensus spectrum; Nreps=12/12
Precursor_type: [M+H]+
Spectrum_type: ms2
PrecursorMZ: 47.0491
Ion_mode: P
SMILES: CCO
Collision_energy: NCE=25% 9eV
Num peaks: 2
29.0386 2000 "C2H5=p-H2O/0.1ppm 12/12"; 45.0335 1000 "p-2H/-0.2ppm 12/12"
"""


def results(folder, text, name="a.txt"):
    """What reading gives, an error that is raised included."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        return list(read(path))
    except SampleError as error:
        return [error]


def only(folder, text):
    [result] = results(folder, text)
    assert isinstance(result, Reading), result
    return result


def refusal(folder, text):
    [result] = results(folder, text)
    assert isinstance(result, SampleError), result
    return result


def peaks(reading):
    arrays = reading.measurement.arrays
    return list(zip(arrays["mz"].astype(float).round(4).tolist(), arrays["intensity"].tolist(), strict=True))


def entry(body, **fields):
    return "BEGIN IONS\n" + "".join(f"{name}={value}\n" for name, value in fields.items()) + body + "END IONS\n"


# --- one spectrum, five writers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [MASSBANK, GNPS, MONA, RIKEN, NIST], ids=["massbank", "gnps", "mona", "riken", "nist"])
@pytest.mark.parametrize("change", ["as it is", "crlf", "gzip", "mark of utf-8"])
def test_the_same_spectrum_is_the_same_whoever_wrote_it(tmp_path, text, change):
    data = text.encode()
    data = {
        "as it is": data,
        "crlf": data.replace(b"\n", b"\r\n"),
        "gzip": gzip.compress(data),
        "mark of utf-8": b"\xef\xbb\xbf" + data,
    }[change]
    reading = only(tmp_path, data)
    assert names_itself(tmp_path / "a.txt")
    np.testing.assert_allclose(reading.measurement.arrays["mz"], [29.0386, 45.0335], atol=1e-5)
    assert reading.measurement.arrays["intensity"].tolist() == [1.0, 0.5]
    assert reading.smiles == "CCO"
    assert reading.measurement.columns["ion_mode"] == "positive"
    assert reading.measurement.columns["precursor_mz"] == 47.0491


def test_a_massbank_record_states_how_it_was_measured(tmp_path):
    columns = only(tmp_path, MASSBANK).measurement.columns
    assert math.isnan(columns["collision_energy"])
    expected = {
        "adduct": "[M+H]+",
        "normalised_energy": 35.0,
        "energy_text": "35 (nominal)",
        "instrument_type": "LC-ESI-QFT",
        "license": "CC BY",
        "title": "MSBNK-Test-T001",
    }
    assert {name: columns[name] for name in expected} == expected


def test_massbank_records_follow_each_other_in_one_file(tmp_path):
    second = MASSBANK.replace("T001", "T002").replace("CH$SMILES: CCO", "CH$SMILES: N/A")
    first, other = results(tmp_path, MASSBANK + second)
    assert first.smiles == other.smiles == "CCO"  # the second one's from its InChI
    assert [r.measurement.columns["title"] for r in (first, other)] == ["MSBNK-Test-T001", "MSBNK-Test-T002"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("PK$NUM_PEAK: 2", "PK$NUM_PEAK: 3"), "the entry declares 3 peaks and has 2"),
        (("PK$NUM_PEAK: 2\n", ""), "the entry has no 'Num Peaks'"),
        (("PK$NUM_PEAK: 2", "PK$NUM_PEAK: N/A"), "the number of peaks 'N/A' is not a whole number"),
        (("  45.0335 1000 499", "  45.0335 high 499"), "line 25: '45.0335 high 499' is not a pair"),
    ],
)
def test_a_broken_massbank_record_lets_the_next_one_through(tmp_path, change, says):
    broken, whole = results(tmp_path, MASSBANK.replace(*change) + MASSBANK.replace("T001", "T002"))
    assert isinstance(broken, SampleError)
    assert says in broken.reason
    assert "(MSBNK-Test-T001)" in broken.id
    assert whole.measurement.columns["title"] == "MSBNK-Test-T002"


def test_a_massbank_record_without_its_end_was_cut_off(tmp_path):
    assert "'//' is missing" in refusal(tmp_path, MASSBANK.removesuffix("//\n")).reason


# --- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("79.0544 100", [(79.0544, 1.0)]),
        ("79.0544\t100\t1+", [(79.0544, 1.0)]),
        ("79.0544,100", [(79.0544, 1.0)]),
        ("79.0544;100", [(79.0544, 1.0)]),
        ("79.0544, 100", [(79.0544, 1.0)]),
        ("7.90544E+01 1e2", [(79.0544, 1.0)]),
        ("79,0544 100,5", [(79.0544, 1.0)]),  # a German spreadsheet's decimal commas
        ("79,0544\t100", [(79.0544, 1.0)]),
        ("79. .5", [(79.0, 1.0)]),
        ("+79.0544 +100", [(79.0544, 1.0)]),
    ],
)
def test_peaks_of_an_mgf_in_all_notations(tmp_path, line, expected):
    assert peaks(only(tmp_path, entry(line + "\n"))) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("79.0544 100\n91.0542 50\n", [(79.0544, 1.0), (91.0542, 0.5)]),
        ("79.0544 100; 91.0542 50;\n", [(79.0544, 1.0), (91.0542, 0.5)]),
        ("79.0544 100 91.0542 50\n", [(79.0544, 1.0), (91.0542, 0.5)]),
        ("79.0544:100 91.0542:50\n", [(79.0544, 1.0), (91.0542, 0.5)]),
        ("(79.0544,100) (91.0542,50)\n", [(79.0544, 1.0), (91.0542, 0.5)]),
        ("79,100 91,50\n", [(79.0, 1.0), (91.0, 0.5)]),  # pairs: the comma is none of a decimal
        ("79,0544\t100\n91,0542\t50\n", [(79.0544, 1.0), (91.0542, 0.5)]),
        ("79.0544 100 C6H7+\n91.0542 50 C7H7+\n", [(79.0544, 1.0), (91.0542, 0.5)]),
        ('79.0544 100 "a; b (c) 1 2"\n91.0542 50\n', [(79.0544, 1.0), (91.0542, 0.5)]),
        ("91.0542 50\n79.0544 100\n", [(79.0544, 1.0), (91.0542, 0.5)]),  # unordered ones are put in order
    ],
)
def test_peaks_of_an_msp_in_all_notations(tmp_path, lines, expected):
    assert peaks(only(tmp_path, f"Name: x\nNum Peaks: 2\n{lines}")) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("281.2013", 281.2013),
        ("281,2013", 281.2013),
        ("281.2013 15000.5", 281.2013),
        ("281,2013 15000,5", 281.2013),
        ("281.2013\t15000", 281.2013),
        ("281", 281.0),
        ("1,281", 1.281),
        ("0", math.nan),
        ("-281.2", math.nan),
        ("unknown", math.nan),
        ("", math.nan),
    ],
)
def test_the_precursor_is_a_number_above_0_or_unknown(tmp_path, text, value):
    found = only(tmp_path, entry("79.0544 100\n", PEPMASS=text)).measurement.columns["precursor_mz"]
    assert found == pytest.approx(value, nan_ok=True)


def test_intensities_are_shares_of_the_base_peak_and_peaks_ascend(tmp_path):
    reading = only(tmp_path, entry("91.1 8\n79.1 2\n85.1 0\n95.1 -3\n79.1 4\n"))
    assert peaks(reading) == [(79.1, 0.25), (79.1, 0.5), (91.1, 1.0)]  # of one m/z: in the file's order
    assert {array.dtype for array in reading.measurement.arrays.values()} == {np.dtype(np.float32)}


# --- entries and their fields ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["=x", "=", "= 5 6"])
def test_a_line_of_an_mgf_without_a_name_is_passed_over(tmp_path, line):
    """One such line once ended the import of the whole file."""
    first, second = results(tmp_path, entry(f"{line}\n79.1 100\n", TITLE="a") + entry("79.1 100\n", TITLE="b"))
    assert [r.measurement.columns["title"] for r in (first, second)] == ["a", "b"]


def test_comments_between_peaks_are_none(tmp_path):
    reading = only(tmp_path, entry("# a\n79.1 100\n; b\n! c\n/ d\n91.1 50\n"))
    assert [mz for mz, _ in peaks(reading)] == [79.1, 91.1]


def test_begin_and_end_are_known_in_small_letters(tmp_path):
    text = entry("79.1 100\n", TITLE="a") + entry("79.1 100\n", TITLE="b")
    assert len(results(tmp_path, text.replace("BEGIN IONS", "begin ions").replace("END IONS", "End Ions"))) == 2


def test_an_entry_of_its_own_field_wins_over_the_one_shared_by_the_file(tmp_path):
    text = "IONMODE=negative\nLICENSE=CC0\n" + entry("79.1 1\n", IONMODE="positive") + entry("79.1 1\n")
    first, second = (r.measurement.columns for r in results(tmp_path, text))
    assert (first["ion_mode"], first["license"]) == ("positive", "CC0")
    assert (second["ion_mode"], second["license"]) == ("negative", "CC0")


def test_the_first_field_of_a_name_counts_and_blank_words_do_not(tmp_path):
    fields = "SMILES=N/A\nSMILES=CC\nCOMPUTED_SMILES=CCO\nADDUCT=none\nION_TYPE=[M+Na]+\nTITLE=nan\nNAME=ethanol\n"
    reading = only(tmp_path, entry(fields + "79.1 1\n"))
    assert reading.smiles == "CCO"
    assert reading.measurement.columns["adduct"] == "[M+Na]+"
    assert reading.location == "a.txt: entry 1 (ethanol)"


def test_an_accession_comes_before_a_title_and_a_title_before_a_name(tmp_path):
    names = {"NAME": "n", "TITLE": "t", "SPECTRUMID": "s", "DB#": "d", "ACCESSION": "a"}
    for expected in ("a", "d", "s", "t", "n"):
        assert only(tmp_path, entry("79.1 1\n", **names)).measurement.columns["title"] == expected
        del names[next(name for name, value in names.items() if value == expected)]


def test_an_inchi_that_cannot_be_read_leaves_the_spectrum_without_a_molecule(tmp_path):
    assert only(tmp_path, entry("79.1 1\n", INCHI="InChI=1S/rubbish")).smiles is None
    assert only(tmp_path, entry("79.1 1\n", INCHI="InChI=1S/CH4O/c1-2/h2H,1H3")).smiles == "CO"
    assert only(tmp_path, entry("79.1 1\n", INCHI="InChI=1S/CH4O/c1-2/h2H,1H3", SMILES="CCO")).smiles == "CCO"


@pytest.mark.parametrize(
    ("level", "said"),
    [("1", 1), ("MS", 1), ("MS1", 1), ("ms1", 1), ("MS3", 3), ("4", 4), ("2", 2), ("MS/MS", 2), ("Centroid", 2)],
)
def test_spectra_of_other_levels_are_counted_and_said_once(tmp_path, level, said):
    found = results(tmp_path, entry("79.1 1\n", MSLEVEL=level) * 2 + entry("80.1 1\n", MSLEVEL="2"))
    if said == 2:
        assert all(isinstance(one, Reading) for one in found)
        return
    read, left = found
    assert peaks(read) == [(80.1, 1.0)]
    assert left.reason == f"2 of level {said} of its 3 spectra are left out; tandem spectra, of level 2, are read"


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ({"IONMODE": "Positive"}, "positive"),
        ({"IONMODE": "N"}, "negative"),
        ({"POLARITY": "-"}, "negative"),
        ({"ION_MODE": "+"}, "positive"),
        ({"ADDUCT": "[M+H]+"}, "positive"),
        ({"ADDUCT": "[M+H]1+"}, "positive"),
        ({"ADDUCT": "[M-H]-1"}, "negative"),
        ({"ADDUCT": "(M-H)⁻"}, "negative"),
        ({"ADDUCT": "M+H"}, "positive"),
        ({"CHARGE": "1+"}, "positive"),
        ({"CHARGE": "2-"}, "negative"),
        ({"CHARGE": "1"}, "positive"),
        ({"CHARGE": "-2"}, "negative"),
        ({"CHARGE": "0"}, None),  # GNPS writes 0 where it does not know
        ({"ADDUCT": "[M-H]-", "CHARGE": "1+"}, "negative"),
        ({"IONMODE": "negative", "ADDUCT": "[M+H]+"}, "negative"),
        ({}, None),
    ],
)
def test_the_ion_mode_comes_from_what_says_it_most_plainly(tmp_path, fields, mode):
    assert only(tmp_path, entry("79.1 1\n", **fields)).measurement.columns["ion_mode"] == mode


def test_msp_entries_need_no_blank_line_between_them(tmp_path):
    text = RIKEN.replace("Ethanol", "a") + RIKEN.replace("Ethanol", "b") + "\n\n\n" + RIKEN.replace("NAME", "TITLE")
    found = results(tmp_path, text)
    assert [r.measurement.columns["title"] for r in found] == ["a", "b", "Ethanol"]


def test_an_msp_entry_without_peaks_says_so_and_the_next_is_read(tmp_path):
    empty, good = results(tmp_path, "Name: a\nNum Peaks: 0\n\n" + RIKEN)
    assert "no peak with a positive intensity" in empty.reason
    assert good.smiles == "CCO"


def test_the_layout_is_seen_below_a_long_head(tmp_path):
    """GNPS and MoNA put pages of comments above the first entry."""
    path = tmp_path / "a.mgf"
    path.write_text("# note\n" * 398 + entry("79.1 1\n"))
    assert names_itself(path)
    path.write_text("# note\n" * 400 + entry("79.1 1\n"))
    assert not names_itself(path)
    path.write_text("#" * 70_000 + "\n" + entry("79.1 1\n"))
    assert not names_itself(path)


# --- two columns -----------------------------------------------------------------------------------------------------


def test_titles_say_which_columns_are_peaks(tmp_path):
    text = "intensity,m/z\n100,79.0544\n50,91.0542\n"
    assert peaks(only(tmp_path, text)) == [(79.0544, 1.0), (91.0542, 0.5)]
    text = "no;m/z;charge;rel. intensity\n1;79,0544;1;100\n2;91,0542;1;50\n"
    assert peaks(only(tmp_path, text)) == [(79.0544, 1.0), (91.0542, 0.5)]


def test_a_table_of_one_scan_is_read_and_of_several_refused(tmp_path):
    head = "scan,m/z,intensity\n"
    assert peaks(only(tmp_path, head + "7,79.0544,100\n7,91.0542,50\n")) == [(79.0544, 1.0), (91.0542, 0.5)]
    said = refusal(tmp_path, head + "1,79.0544,100\n2,91.0542,100\n").reason
    assert "line 3: the peaks are of several scans (1, 2)" in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("##TITLE=a\n##XYPOINTS=(XY..XY)\n79.1,100\n##END=\n", "is JCAMP-DX of 'no stated data type', not of a mass"),
        ("##TITLE=a\n##DATA TYPE=INFRARED SPECTRUM\n##END=\n", "is JCAMP-DX of 'INFRARED SPECTRUM', not of a mass"),
        ('<?xml version="1.0"?>\n<html>\n1 2\n', "is XML, but neither mzML nor mzXML"),
        ("79.1 100\n91.1\n", "'91.1' is not a pair of m/z and intensity"),
        ("79.1 100\n91.1 x\n", "'91.1 x' is not a pair of m/z and intensity"),
    ],
)
def test_what_is_no_table_of_peaks_is_refused_by_name(tmp_path, text, says):
    assert says in refusal(tmp_path, text).reason
    assert not names_itself(tmp_path / "a.txt")


# --- free text -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "volts", "percent"),
    [
        ("NCE=25% 9eV", 9, 25),  # NIST 20 gives both
        ("[20,45]", 32.5, None),  # a Python list, as MassSpecGym and matchms write
        ("[15.0, 30.0, 45.0]", 30, None),
        ("MS2 HCD 35 NCE", None, 35),
        ("35eV (MS2)", 35, None),
        ("35eV (MS^2)", 35, None),
        ("0.035 keV", 35, None),
        ("35 +/- 15 eV", 35, None),
        ("35 ± 15 eV", 35, None),
        ("HCD (NCE 20-30-40%)", None, 30),
        ("35,0", 35, None),
        ("1.5e1 eV", 15, None),
        ("10 eV/20 eV", 15, None),
        ("30HCD", 30, None),
        ("25.0 CID", 25, None),
        ("0", 0, None),
        ("3 kV", None, None),
        ("N/A", None, None),
        ("HCD", None, None),
    ],
)
def test_energies_as_people_write_them(text, volts, percent):
    expected = [math.nan if value is None else value for value in (volts, percent)]
    assert collision_energy(text) == pytest.approx(expected, nan_ok=True)


def test_a_unit_wins_over_the_instrument_and_small_letters_count_too():
    assert collision_energy("35 eV", "LC-ESI-QFT") == pytest.approx((35, math.nan), nan_ok=True)
    assert collision_energy("35", "lc-esi-qft") == pytest.approx((math.nan, 35), nan_ok=True)
    assert collision_energy("35", "FT-ICR") == pytest.approx((35, math.nan), nan_ok=True)


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        ("[M+H]1+", None, "[M+H]+"),
        ("[M+H]+1", None, "[M+H]+"),
        ("(M+H)+", None, "[M+H]+"),
        ("[M+H]⁺", None, "[M+H]+"),
        ("[M-H]\u2212", None, "[M-H]-"),  # a minus sign, not a hyphen
        ("M+H+", None, "[M+H]+"),
        ("M-H-", None, "[M-H]-"),
        ("M+2H", "positive", "[M+2H]2+"),
        ("M-2H", "negative", "[M-2H]2-"),
        ("M+H+Na", "positive", "[M+H+Na]2+"),
        ("M+Na-2H", "negative", "[M+Na-2H]-"),
        ("M+Cl", "negative", "[M+Cl]-"),
        ("M-H2O+H", "positive", "[M+H-H2O]+"),
        ("M+C2H3+", None, "[M+C2H3]+"),  # the 3 counts hydrogens, not charges
        ("[M+2H]", "positive", "[M+2H]2+"),
        ("[M+2H]++", None, "[M+2H]2+"),
        ("[M+2H]2+", None, "[M+2H]2+"),
        ("[M-2H]--", None, "[M-2H]2-"),
        ("[M]+•", None, "[M]+"),
        ("[M]", "negative", "[M]-"),
        ("[2M+H]+", None, "[2M+H]+"),
        ("[M+FA-H]-", None, "[M+HCOO]-"),
        ("M+FA-H", "negative", "[M+HCOO]-"),
        ("M+H", None, "[M+H]+"),
        ("M-H", None, "[M-H]-"),
        ("MH+", None, "[M+H]+"),
        ("[MH]+", None, "[M+H]+"),
        ("[M+1H]+", None, "[M+H]+"),
        ("[M + H]+", None, "[M+H]+"),
        ("[M+H](+)", None, "[M+H]+"),
        ("[M+H+]", None, "[M+H]+"),
        ("[M•]+", None, "[M]+"),
        ("[M-H2O-H]-", None, "[M-H-H2O]-"),
        ("[M+Na+H]2+", None, "[M+H+Na]2+"),
        ("[M+CH3CN+H]+", None, "[M+H+ACN]+"),
        ("[M+acetate]-", None, "[M+CH3COO]-"),
        ("[M+CF3COOH-H]-", None, "[M+TFA-H]-"),
        ("[M-H]-/[M-Ser]-", None, "[M-H]-/[M-Ser]-"),  # more than one: as it is
        ("", "positive", None),
    ],
)
def test_one_ion_has_one_name(text, mode, expected):
    assert canonical_adduct(text, mode) == expected
    if "/" not in text:
        assert canonical_adduct(expected, mode) == expected
