"""Readers of vibrational spectra: JCAMP-DX, two columns of text, computed sticks in npz."""

import csv
import gzip

import numpy as np
import pytest

from molchord.api import Reading, SampleError
from molchord_modalities import curve, jcamp, spectrum_text
from molchord_modalities.ir import IR
from molchord_modalities.raman import RAMAN
from molchord_modalities.vibrational_settings import VibrationalConfig

ir = IR.build(VibrationalConfig(), "spectrum1d")
raman = RAMAN.build(VibrationalConfig(), "spectrum1d")

# The worked example of McDonald and Wilks (1988): one table in plain, and in difference and duplicate form.
EXAMPLE = (
    "0 0 0 0 2 4 4 4 7 5 4 4 5 5 7 10 11 11 6 5 7 6 9 9 7 10 10 9 10 11 12 15 16 16 14 17 38 38 35 38 42 47 54 59 66 "
    "75 78 88 96 104 110 121 128"
)
PACKED = "599.860@VKT%TLkj%J%KLJ%njKjL%kL%jJULJ%kLK1%lLMNPNPRLJ0QTOJ1P\n700.158A28\n"
FIRST, STEP, COUNT = 599.860, 1.92881, 53


def block(table, *, first=FIRST, last=FIRST + STEP * (COUNT - 1), count=COUNT, end="##END=\n", **labels):
    said = {
        "JCAMP-DX": "4.24",
        "DATA TYPE": "INFRARED SPECTRUM",
        "XUNITS": "1/CM",
        "YUNITS": "ABSORBANCE",
        "XFACTOR": "1.0",
        "YFACTOR": "0.01",
        "FIRSTX": first,
        "LASTX": last,
        "NPOINTS": count,
    } | labels
    head = "".join(f"##{label}={value}\n" for label, value in said.items() if value is not None)
    return f"##TITLE=test\n{head}##XYDATA=(X++(Y..Y))\n{table}{end}"


def plain_rows(values, first=FIRST, step=STEP, row=10):
    return "".join(
        f"{first + step * i:.3f} {' '.join(str(v) for v in values[i : i + row])}\n" for i in range(0, len(values), row)
    )


def one(text):
    [result] = jcamp.parse(text, "f.jdx")
    return result


def write(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def outcome(modality, path):
    """Everything that reading gives: readings and errors, those raised included."""
    try:
        return list(modality.read(path))
    except SampleError as error:
        return [error]


def only_error(modality, path):
    [error] = outcome(modality, path)
    assert isinstance(error, SampleError), error
    return str(error)


# --- JCAMP-DX --------------------------------------------------------------------------------------------------------

VALUES = [int(v) for v in EXAMPLE.split()]
SQUEEZED = "@ABCDEFGHI"


def squeeze(v):
    text = str(abs(v))
    return ("abcdefghi"[int(text[0]) - 1] if v < 0 else SQUEEZED[int(text[0])]) + text[1:]


@pytest.mark.parametrize(
    "table",
    [
        plain_rows(VALUES),
        plain_rows(VALUES).replace(" ", "+"),
        f"{FIRST}{''.join(squeeze(v) for v in VALUES)}\n",
        PACKED,
        PACKED.replace("@V", "@%%%"),
    ],
    ids=["plain", "packed", "squeezed", "difference-duplicate", "difference"],
)
def test_all_forms_of_the_published_example_agree(table):
    result = one(block(table))
    np.testing.assert_allclose(result.y, np.array(VALUES) * 0.01)
    np.testing.assert_allclose(result.x, FIRST + STEP * np.arange(COUNT))
    assert not result.sticks


def test_negative_values_in_glued_and_squeezed_form():
    values = [5, -4036162, 12, -7, 0, 0, -31, -1, 8]
    glued = "1" + "".join(f"{v:+d}" for v in values) + "\n"
    kind = {"first": 1, "last": 9, "count": 9, "YFACTOR": 1}
    assert one(block(glued, **kind)).y.tolist() == values
    assert one(block("1" + "".join(squeeze(v) for v in values) + "\n", **kind)).y.tolist() == values


def test_exponents_and_missing_ordinates_in_plain_tables():
    result = one(block("1 1E-2 2.5e+1 ? 4\n", first=1, last=4, count=4, YFACTOR=1))
    np.testing.assert_array_equal(result.y, [0.01, 25.0, np.nan, 4.0])


def test_repeats_repeat_the_difference_or_the_value():
    table = "1A0JT%SU\n"  # 10, then +1 twice in all (T), then 0 (%), once in all (S), three times in all (U)
    result = one(block(table, first=1, last=6, count=6, YFACTOR=1))
    assert result.y.tolist() == [10, 11, 12, 12, 12, 12]


def test_multi_line_labels_comments_and_crlf():
    text = block(plain_rows(VALUES), **{"OWNER": "one\nand two", "STATE": "gas $$ not part"}).replace("\n", "\r\n")
    result = one(text)
    assert result.labels["OWNER"] == "one and two"
    assert result.labels["STATE"] == "gas"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (block(plain_rows(VALUES), end=""), "cut off"),
        (block(plain_rows(VALUES[:-1])), "52 points, `NPOINTS` says 53"),
        (block(plain_rows(VALUES), FIRSTY=0.5), "`FIRSTY` says 0.5"),
        (block(plain_rows(VALUES), DELTAX=1.5), "`DELTAX` says 1.5"),
        (block(plain_rows(VALUES), LASTX=None), "`LASTX` is missing"),
        (block(plain_rows(VALUES), FIRSTX="abc"), "not a number"),
        (block(plain_rows(VALUES), FIRSTX="inf"), "not a finite number"),
        (block(plain_rows(VALUES).replace("619.148", "719.148")), "f.jdx:13: the line starts at x = 719.148"),
        (block(plain_rows(VALUES).replace(" 7 ", " x7 ")), "f.jdx:12: the table holds 'x'"),
        (block(PACKED.replace("A28", "A27")), "the ordinate check fails: 127 after 128"),
        (block(f"{FIRST}A0S99999999999\n"), "longer than"),
        (block(f"{FIRST}J\n"), "no ordinate before it"),
        (block("").replace("(X++(Y..Y))", "(R++(A..A))"), "the form '(R++(A..A))' is not read"),
        ("##TITLE=a\n##DATA TYPE=INFRARED SPECTRUM\n##END=\n", "no data table"),
        ("##TITLE=a\n##NTUPLES=x\n##END=\n", "`NTUPLES` without a page"),
    ],
)
def test_a_broken_block_says_what_and_where(text, says):
    error = one(text)
    assert isinstance(error, SampleError)
    assert says in str(error)
    assert str(error).startswith("f.jdx:")


def test_first_ordinate_before_or_after_its_factor_is_let_pass():
    first = VALUES.index(2)
    assert one(
        block(plain_rows(VALUES[first:]), last=FIRST + STEP * (COUNT - first - 1), count=COUNT - first, FIRSTY=2)
    )
    assert not isinstance(one(block(plain_rows(VALUES), FIRSTY=0)), SampleError)


def test_a_link_gives_its_good_blocks_after_a_bad_one(tmp_path):
    good = block(plain_rows(VALUES))
    other = block(plain_rows(VALUES), **{"DATA TYPE": "MASS SPECTRUM", "XUNITS": "M/Z"})
    raman_block = block(plain_rows(VALUES), **{"DATA TYPE": "RAMAN SPECTRUM", "YUNITS": "ARBITRARY UNITS"})
    text = "##TITLE=all\n##DATA TYPE=LINK\n##BLOCKS=4\n" + block("1 2\n") + other + good + raman_block + "##END=\n"
    path = write(tmp_path, "link.jdx", text)
    bad, reading = ir.read(path)
    assert isinstance(bad, SampleError)
    np.testing.assert_allclose(reading.measurement.arrays["absorbance"], np.array(VALUES) * 0.01, rtol=1e-6)
    readings = [r for r in raman.read(path) if isinstance(r, Reading)]
    assert len(readings) == 1
    assert ir.can_read(path)
    assert raman.can_read(path)


def test_a_broken_file_is_still_claimed_so_that_import_reports_it(tmp_path):
    path = write(tmp_path, "a.jdx", block("1 2\n", end=""))
    assert ir.can_read(path)
    assert not raman.can_read(path)
    assert "cut off" in only_error(ir, path)


def test_points_in_pairs_and_peak_tables(tmp_path):
    pairs = "".join(f"{x}, {x / 100}; " for x in range(400, 1200, 50))
    text = block("").replace("(X++(Y..Y))\n", f"(XY..XY)\n{pairs}\n").replace("##NPOINTS=53\n", "")
    [reading] = ir.read(write(tmp_path, "a.jdx", text.replace("XYDATA", "XYPOINTS")))
    np.testing.assert_allclose(reading.measurement.arrays["wavenumber"], range(400, 1200, 50))
    np.testing.assert_allclose(reading.measurement.arrays["absorbance"], np.arange(400, 1200, 50) / 1e4, rtol=1e-6)
    [reading] = ir.read(write(tmp_path, "b.jdx", text.replace("XYDATA", "PEAK TABLE")))
    assert reading.measurement.arrays["stick_wavenumber"].shape == (16,)
    assert "wavenumber" not in reading.measurement.arrays


def test_a_file_of_another_data_type_is_refused(tmp_path):
    path = write(tmp_path, "a.jdx", block(plain_rows(VALUES), **{"DATA TYPE": "MASS SPECTRUM"}))
    assert not ir.can_read(path)
    assert "`DATA TYPE` says 'MASS SPECTRUM'" in only_error(ir, path)


def test_smiles_and_columns_of_a_jcamp_file(tmp_path):
    labels = {"$SMILES": "CCO", "STATE": "gas", "ORIGIN": "bench", "SPECTROMETER/DATA SYSTEM": "FT-7"}
    [reading] = ir.read(write(tmp_path, "a.jdx", block(plain_rows(VALUES), **labels)))
    assert reading.smiles == "CCO"
    assert reading.location.endswith("a.jdx:1")
    expected = {
        "origin": "measured",
        "state": "gas",
        "source": "bench",
        "instrument": "FT-7",
        "ordinate": "ABSORBANCE",
    }
    assert reading.measurement.columns == expected


def test_micrometres_and_transmittance_become_ascending_wavenumber_and_absorbance(tmp_path):
    values = [100, 50, 10, 1, 100, 100, 0, -3, 100]
    text = block(plain_rows(values, 2.0, 1.0), first=2, last=10, count=9, XUNITS="MICROMETERS", YUNITS="TRANSMITTANCE")
    [reading] = ir.read(write(tmp_path, "a.jdx", text))
    arrays = reading.measurement.arrays
    np.testing.assert_allclose(arrays["wavenumber"], 1e4 / np.arange(10, 1, -1), rtol=1e-6)
    np.testing.assert_allclose(arrays["absorbance"][::-1], [0, -np.log10(0.5), 1, 2, 0, 0, 3, 3, 0], atol=1e-6)


def test_nist_files_agree_with_their_index(shared_data):
    """Every third of 846, by the name; all of them were."""
    folder = shared_data / "nist-ir"
    read = 0
    listed = list(csv.DictReader((folder / "index.csv").read_text(encoding="utf-8").splitlines()))
    for row in sorted(listed, key=lambda row: row["file"])[::3]:
        path = folder / "jdx" / row["file"]
        [reading] = ir.read(path)
        x, y = reading.measurement.arrays["wavenumber"], reading.measurement.arrays["absorbance"]
        assert len(x) == int(row["npts"])
        np.testing.assert_allclose([x[0], x[-1]], [float(row["x_min"]), float(row["x_max"])], atol=0.02)
        assert np.all(np.diff(x) > 0)
        assert np.isfinite(y).all()
        read += 1
    assert (len(listed), read) == (846, 282)


def test_a_nist_file_by_hand(shared_data):
    [reading] = ir.read(shared_data / "nist-ir" / "jdx" / "C106956_1.jdx")
    x, y = reading.measurement.arrays["wavenumber"], reading.measurement.arrays["absorbance"]
    assert x[:2].tolist() == [453.0, 454.0]
    np.testing.assert_allclose(y[:2], [-np.log10(0.9280), -np.log10(0.9271)], rtol=1e-5)
    assert reading.measurement.columns["source"] == "COBLENTZ"
    assert ir.can_read(shared_data / "nist-ir" / "jdx" / "C106956_1.jdx")


# --- two columns -----------------------------------------------------------------------------------------------------

X = [400.5 + 10 * i for i in range(12)]
Y = [0.01 * i for i in range(12)]


def table(separator, comma=False, descending=False):
    rows = [f"{x}{separator}{y:.3f}" for x, y in zip(X, Y, strict=True)]
    text = "\n".join(reversed(rows) if descending else rows) + "\n"
    return text.replace(".", ",") if comma else text


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    ("separator", "comma"),
    [(",", False), (", ", False), (";", False), ("\t", False), ("   ", False), (";", True), ("\t", True), (" ", True)],
)
def test_separators_decimal_commas_and_order(tmp_path, separator, comma, descending):
    text = "# bench 3\n// cm-1 against absorbance\n" + table(separator, comma, descending)
    [reading] = ir.read(write(tmp_path, "a.csv", text))
    np.testing.assert_allclose(reading.measurement.arrays["wavenumber"], X, rtol=1e-6)
    np.testing.assert_allclose(reading.measurement.arrays["absorbance"], Y, rtol=1e-6)
    assert reading.smiles is None
    assert reading.measurement.origin == "measured"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings_and_micrometre_sign(tmp_path, encoding):
    rows = "".join(f"{2 + i};{100 - i}\n" for i in range(10))
    path = tmp_path / "a.txt"
    path.write_bytes(f"Wellenlänge (µm);Transmission %\n{rows}".encode(encoding))
    [reading] = ir.read(path)
    np.testing.assert_allclose(reading.measurement.arrays["wavenumber"][-1], 5000)
    np.testing.assert_allclose(reading.measurement.arrays["absorbance"][-2], -np.log10(0.99), rtol=1e-5)


def test_smiles_in_a_comment_and_gz(tmp_path):
    text = "# SMILES: CCO\nwavenumber,absorbance\n" + table(",")
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    [reading] = ir.read(path)
    assert reading.smiles == "CCO"
    assert ir.can_read(path)


def test_the_titled_ordinate_of_many_columns_is_taken(tmp_path):
    rows = "".join(f"{x},{y},{7}\n" for x, y in zip(X, Y, strict=True))
    [reading] = ir.read(write(tmp_path, "a.csv", "cm-1,absorbance,error\n" + rows))
    np.testing.assert_allclose(reading.measurement.arrays["absorbance"], Y, rtol=1e-6)
    assert "3 columns" in only_error(ir, write(tmp_path, "b.csv", rows))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("wavenumber,absorbance\n", (True, False)),
        ("wavenumber,%T\n", (True, False)),
        ("# Raman, 785 nm\n", (False, True)),
        ("Raman shift,intensity\n", (False, True)),
        ("wavelength (nm),absorbance\n", (False, False)),
        ("nm,absorbance\n", (False, False)),
        ("", (False, False)),
        ("wavenumber,value\n", (False, False)),
    ],
)
def test_two_columns_name_themselves_by_their_header_only(tmp_path, header, expected):
    path = write(tmp_path, "a.csv", header + table(","))
    assert (ir.can_read(path), raman.can_read(path)) == expected


def test_other_files_are_not_claimed(tmp_path):
    files = {
        "a.mgf": "BEGIN IONS\nTITLE=Raman absorbance\n100.1 200\n110 30\nEND IONS\n",
        "a.csv": "smiles,ir,absorbance\nCCO,a.jdx,1\n",
        "b.csv": "",
        "c.npz": "not an archive",
    }
    for name, text in files.items():
        path = write(tmp_path, name, text)
        assert not ir.can_read(path), name
        assert not raman.can_read(path), name
    assert not ir.can_read(tmp_path / "missing.csv")
    assert not ir.can_read(tmp_path)


def test_two_columns_without_header_read_when_asked(tmp_path):
    path = write(tmp_path, "a.txt", table(" "))
    for modality, name in ((ir, "absorbance"), (raman, "intensity")):
        [reading] = modality.read(path)
        np.testing.assert_allclose(reading.measurement.arrays[name], Y, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("\n \n", "empty"),
        ("hello\n", "no row of two numbers"),
        ("400\n401\n", "no row of two numbers"),
        ("400 0.1\n", "1 of 1 points are usable"),
        ("".join(f"{x} nan\n" for x in X), "0 of 12 points are usable"),
        ("\n".join(table(" ").splitlines()[:5]) + "\n450.5 abc\n", "a.txt:6: 'abc' is not a number"),
        (table(" ") + "520.5\n", "a.txt:13: the row has 1 numbers"),
        ("".join(f"{2 + i} {i}\n" for i in range(9)), "stays below 100 and has no unit"),
        ("".join(f"{x} {90 - 80 * (i == 3)}\n" for i, x in enumerate(X)), "looks like transmittance"),
        ("micrometers,absorbance\n" + "".join(f"{i},{i}\n" for i in range(9)), "must be above 0, got 0"),
        ("a\0b", "binary"),
    ],
)
def test_damaged_text_gives_one_sentence(tmp_path, text, says):
    message = only_error(ir, write(tmp_path, "a.txt", text))
    assert says in message
    assert "\n" not in message


def test_raman_wants_shifts(tmp_path):
    text = "wavelength (nm),intensity\n" + table(",")
    assert "Raman shifts in 'cm-1' were expected" in only_error(raman, write(tmp_path, "a.csv", text))


def test_units_that_are_not_known(tmp_path):
    assert "'SECONDS'" in only_error(ir, write(tmp_path, "a.jdx", block(plain_rows(VALUES), XUNITS="SECONDS")))
    text = block(plain_rows(VALUES), YUNITS="ARBITRARY UNITS")
    assert "'absorbance', 'transmittance' or '%T'" in only_error(ir, write(tmp_path, "b.jdx", text))


def test_a_missing_file_and_a_cut_gz(tmp_path):
    assert "No such file" in only_error(ir, tmp_path / "missing.csv")
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(table(",").encode())[:-20])
    assert "cannot be read" in only_error(ir, path)


def test_headings_need_a_table_of_numbers_only():
    assert spectrum_text.headings("a b\n1 2\n3 4\n5 unfin") == "a b"
    assert spectrum_text.headings("a b\n1 2\nend\n3 4\n") == ""


# --- sticks ----------------------------------------------------------------------------------------------------------


def archive(folder, **changes):
    arrays = {
        "smiles": np.array(["O", "C"]),
        "modes": np.array([0, 3, 5], dtype=np.int32),
        "freq": np.array([1539, 3643, 3651, -10, 1300], dtype=np.float32),
        "ir": np.array([90, 9, 30, 0, 4], dtype=np.float32),
    } | changes
    path = folder / "a.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def test_sticks_come_as_they_are_stored(tmp_path):
    path = archive(tmp_path)
    first, second = ir.read(path)
    assert (first.smiles, second.smiles) == ("O", "C")
    assert first.measurement.arrays["stick_wavenumber"].tolist() == [1539, 3643, 3651]
    assert second.measurement.arrays["stick_wavenumber"].tolist() == [-10, 1300]
    assert second.measurement.columns["origin"] == "computed"
    assert second.location == f"{path}[1]"
    assert ir.can_read(path)
    assert not raman.can_read(path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"freq": None}, "lacks the array 'freq'"),
        ({"modes": np.array([0, 3])}, "2 molecules need 3 offsets"),
        ({"modes": np.array([0, 4, 3])}, "offsets"),
        ({"modes": np.array([0, 3, 9])}, "`modes` ends at 9"),
        ({"ir": np.zeros(4)}, "(4,)"),
        ({"ir": np.array(list("abcde"))}, "must be numbers"),
        ({"smiles": np.array(["O", None], dtype=object)}, "cannot be read"),
    ],
)
def test_an_archive_that_does_not_fit_itself(tmp_path, changes, says):
    assert says in only_error(ir, archive(tmp_path, **changes))


def test_shared_sticks_read_whole(shared_data):
    readings = list(raman.read(shared_data / "nist-xtb.npz"))
    assert len(readings) == 555
    with np.load(shared_data / "nist-xtb.npz", allow_pickle=False) as stored:
        total = sum(r.measurement.arrays["stick_intensity"].astype(float).sum() for r in readings)
        np.testing.assert_allclose(total, stored["raman"].astype(float).sum())
        assert [r.smiles for r in readings] == stored["smiles"].tolist()


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.jdx", "b.jdx", "a.csv", "a.csv.gz", "a.npz"])
def test_no_damage_gives_anything_but_readings_and_sample_errors(tmp_path, name):
    texts = {
        "a.jdx": block(plain_rows(VALUES)),
        "b.jdx": block(PACKED),
        "a.csv": "cm-1;absorbance\n" + table(";", comma=True),
    }
    whole = texts[name].encode() if name in texts else gzip.compress(texts_csv().encode())
    if name == "a.npz":
        whole = archive(tmp_path).read_bytes()
    rng = np.random.default_rng(5)
    path = tmp_path / f"damaged-{name}"
    kept = 0
    for trial in range(150):
        damaged = bytearray(whole)
        if trial % 2:
            damaged = damaged[: rng.integers(len(whole))]
        for _ in range(rng.integers(0, 4)):
            if damaged:
                damaged[rng.integers(len(damaged))] = rng.integers(256)
        path.write_bytes(damaged)
        ir.can_read(path)
        results = outcome(ir, path)
        assert all(isinstance(result, Reading | SampleError) for result in results)
        for result in results:
            if isinstance(result, Reading):
                kept += 1
                assert len(result.measurement.arrays.get("wavenumber", ())) != 1
    assert kept < 150


def texts_csv():
    return "cm-1,absorbance\n" + table(",")


def test_a_cut_jcamp_file_never_passes():
    text = block(plain_rows(VALUES)).rstrip("\n")
    for end in range(20, len(text) - len("##END=")):
        assert isinstance(one(text[:end]), SampleError), text[end - 10 : end]


def test_units_by_their_many_names():
    for text in ("1/CM", "cm-1", "CM^-1", "Wavenumber / cm⁻¹", "Raman shift"):
        assert curve.length_unit(text) == "cm"
    for text in ("MICROMETERS", "microns", "um", "wavelength (µm)", "wavelength (μm)"):
        assert curve.length_unit(text) == "um"
    for text in ("NANOMETERS", "nm", "lambda [nm]"):
        assert curve.length_unit(text) == "nm"
    assert curve.length_unit("volume") is None


@pytest.mark.parametrize(
    ("header", "wrong", "said"),
    [
        ("raman_shift_cm-1,intensity", IR, "its header is that of Raman and not of infrared"),
        ("wavenumber_cm-1,absorbance", RAMAN, "its header is that of infrared and not of Raman"),
        ("cm-1\t%T", RAMAN, "its header is that of infrared and not of Raman"),
    ],
)
def test_a_spectrum_that_names_the_other_technique_is_refused(header, wrong, said, tmp_path):
    rows = "\n".join(f"{x}\t{50 + x % 7}" for x in range(500, 4000, 5))
    path = write(tmp_path, "spectrum.txt", f"{header}\n{rows}\n")
    right = RAMAN if wrong is IR else IR
    assert said in only_error(wrong.build(VibrationalConfig(), wrong.kinds[0]), path)
    [reading] = outcome(right.build(VibrationalConfig(), right.kinds[0]), path)
    assert isinstance(reading, Reading)


def test_units_behind_an_underscore_are_read():
    assert [curve.length_unit(text) for text in ("wavelength_um", "wavelength_nm", "helium")] == ["um", "nm", None]
