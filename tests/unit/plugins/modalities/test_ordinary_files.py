"""Ordinary files that once stopped a reader or were misread, each with the right values, and options for the others."""

import numpy as np
import pytest

from molchord.api import Reading, ReadingOptions, ReadsTables, SampleError
from molchord_modalities.ir import IR
from molchord_modalities.raman import RAMAN
from molchord_modalities.vibrational_settings import VibrationalConfig

ir, raman = (record.build(VibrationalConfig(), "spectrum1d") for record in (IR, RAMAN))

X = np.arange(4000.0, 3960.0, -2.0)
Y = np.round(0.01 + 0.013 * np.arange(20), 3)


def rows(*columns, separator=",", end="\n", write="{:g}".format):
    return "".join(separator.join(map(write, row)) + end for row in zip(*columns, strict=True))


def comma(value):
    return f"{value:.3f}".replace(".", ",")


def outcome(modality, folder, content, **options):
    path = folder / "a.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        return list(modality.read_table(path, ReadingOptions(**options)) if options else modality.read(path))
    except SampleError as error:
        return [error]


def assert_is_the_spectrum(found):
    assert isinstance(found, Reading), found
    np.testing.assert_allclose(found.measurement.arrays["wavenumber"], X[::-1], rtol=1e-6)
    np.testing.assert_allclose(found.measurement.arrays["absorbance"], Y[::-1], rtol=1e-4, atol=1e-6)


def refusal(folder, content, **options):
    [error] = outcome(ir, folder, content, **options)
    assert isinstance(error, SampleError), error
    return str(error)


ORDINARY = {
    "a running number and titles": "No,Wavenumber (cm-1),Absorbance\n" + rows(np.arange(20), X, Y),
    "an accessory of reflectance": "Accessory: Attenuated Total Reflectance\ncm-1,A\n" + rows(X, Y),
    "a stage's position": "#X (µm)=\t0\n#AxisUnit[1]=1/cm\n#y unit=absorbance\n" + rows(X, Y, separator="\t"),
    "wavelengths": "Wavelength / nm,Absorbance\n" + rows(1e7 / X, Y, write="{:.10g}".format),
    "a decimal comma between commas": "cm-1,absorbance\n" + rows(X, Y, write=comma),
    "a footer and more titled columns": ",wavenumber,absorbance\n" + rows(np.arange(20), X, Y) + "# 20 points\n",
    "rows that are not available": "cm-1,absorbance\n#N/A,#N/A\n" + rows(X, Y) + "#N/A,#N/A\n,\n",
    "blank rows of a spreadsheet": "cm-1;absorbance\n;\n" + rows(X, Y, separator=";") + ";\n;;\n",
    "JASCO": "TITLE\tx\nDATA TYPE\tINFRARED SPECTRUM\nXUNITS\t1/CM\nYUNITS\tABSORBANCE\nNPOINTS\t20\nXYDATA\n"
    + rows(X, Y, separator="\t")
    + "\n##### Extended Information\n[Comments]\nSample name\tx\n",
    "Shimadzu": "##### FTIR\n##TITLE\tsample\ncm-1\tAbs\n" + rows(X, Y, separator="\t"),
    "a table under a head like JCAMP-DX": "##TITLE=a\n##DATA TYPE=INFRARED SPECTRUM\n##XUNITS=1/CM\n##YUNITS=ABSORBANCE\n"
    + rows(X, Y, separator="\t"),
    "the same with an end": "##TITLE=a\n##XUNITS=1/CM\n##YUNITS=ABSORBANCE\n" + rows(X, Y) + "##END=\n",
    "titles of one letter": "cm-1,A\n" + rows(X, Y),
}  # fmt: skip


@pytest.mark.parametrize("content", ORDINARY.values(), ids=ORDINARY)
def test_ordinary_files_have_their_right_values(tmp_path, content):
    [found] = outcome(ir, tmp_path, content)
    assert_is_the_spectrum(found)
    # Without nanometres, each says of itself what it is.
    assert ir.can_read(tmp_path / "a.csv") is ("nm" not in content)


def test_a_wavelength_without_a_unit_may_be_of_visible_light(tmp_path):
    (tmp_path / "a.csv").write_text("Wavelength,Absorbance\n" + rows(X, Y))
    assert not ir.can_read(tmp_path / "a.csv")


MICROMETRES = rows(1e4 / X, Y, write="{:.10g}".format)
SEVERAL = "cm-1,first,second\n" + rows(X, Y, 2 * Y)


@pytest.mark.parametrize(
    ("content", "refused", "healed"),
    [
        (MICROMETRES, "stays below 100 and has no unit; give `--x-unit um`", {"x_unit": "um"}),
        ("Wavelength,Absorbance\n" + MICROMETRES, "or give `--x-unit`", {"x_unit": "um"}),
        ("No,a.u.,absorbance\n" + rows(np.arange(20), X, Y), "or give `--x-unit`", {"x_unit": "cm-1"}),
        ("depth,A\n" + MICROMETRES, "give `--x-unit um`", {"x_unit": "micrometers"}),
        (SEVERAL, "choose one of 1 'cm-1', 2 'first', 3 'second' with `--column`", {"column": "first"}),
        (SEVERAL, "read each as a spectrum with `--column all`", {"column": "2"}),
        (rows(X, Y, Y), "3 columns, without titles; choose one of 1, 2, 3 with `--column`", {"column": "2"}),
        (rows(Y, X), "say with `--column 1` that the first is the ordinate", {"column": "1"}),
        ("2 4\n7 9 11\n" + rows(X, Y), "the first one 2; if the table starts here, give `--skip 1`", {"skip": 2}),
        ("1.2.3 4.5.6\n" + rows(X, Y), "or `--skip` it", {"skip": 1}),
    ],
)
def test_a_refusal_names_the_option_that_heals_it(tmp_path, content, refused, healed):
    assert refused in refusal(tmp_path, content)
    [found] = outcome(ir, tmp_path, content, **healed)
    assert_is_the_spectrum(found)


def test_transmittance_without_a_title_is_healed_by_its_unit(tmp_path):
    absorbance = np.where(np.arange(20) == 7, 0.5, 0.01)
    content = rows(X, 100 * 10**-absorbance, write="{:.10g}".format)
    assert "looks like transmittance and has no unit; give `--y-unit %T`" in refusal(tmp_path, content)
    [found] = outcome(ir, tmp_path, content, y_unit="%T")
    np.testing.assert_allclose(found.measurement.arrays["absorbance"], absorbance[::-1], rtol=1e-5)


def jcamp(**labels):
    said = {"XUNITS": "1/CM", "YUNITS": "ABSORBANCE", "FIRSTX": 3962, "LASTX": 4000, "NPOINTS": 20} | labels
    head = "".join(f"##{name}={value}\n" for name, value in said.items())
    return f"##TITLE=a\n{head}##XYDATA=(X++(Y..Y))\n3962 {' '.join(f'{y:g}' for y in Y[::-1])}\n##END=\n"


def test_units_of_jcamp_that_say_nothing_are_healed_too(tmp_path):
    assert "state 'absorbance', 'transmittance' or '%T' with `--y-unit`" in refusal(tmp_path, jcamp(YUNITS="ARBITRARY"))
    assert "state 'cm-1', 'um' or 'nm' with `--x-unit`" in refusal(tmp_path, jcamp(XUNITS=""))
    [found] = outcome(ir, tmp_path, jcamp(XUNITS="", YUNITS="ARBITRARY"), x_unit="cm-1", y_unit="A")
    assert_is_the_spectrum(found)


def test_an_option_goes_before_what_the_file_says(tmp_path):
    [found] = outcome(ir, tmp_path, "um,absorbance\n" + rows(X, Y), x_unit="cm-1")
    assert_is_the_spectrum(found)


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        (SEVERAL, {"column": "third"}, "`--column` got 'third', which is none of 1 'cm-1', 2 'first', 3 'second'"),
        (SEVERAL, {"column": "4"}, "`--column` got '4'"),
        (rows(X, Y), {"x_unit": "furlong"}, "the unit 'furlong' of the abscissa is not known"),
        (rows(X, Y), {"y_unit": "counts"}, "the unit 'counts' of the ordinate is not known"),
        (rows(X, Y), {"skip": 20}, "no row of two numbers was found"),
        (jcamp(), {"column": "2"}, "JCAMP-DX states its columns itself; leave out `--column` and `--skip`"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, content, options, says):
    assert says in refusal(tmp_path, content, **options)


def test_sticks_take_no_options(tmp_path):
    np.savez(tmp_path / "a.npz", smiles=np.array(["O"]), modes=np.array([0, 1]), freq=np.ones(1), ir=np.ones(1))
    with pytest.raises(SampleError, match="computed sticks state all themselves; leave out `--x-unit` and `--skip`"):
        list(ir.read_table(tmp_path / "a.npz", ReadingOptions(x_unit="um", skip=1)))


def test_each_column_of_a_table_is_a_spectrum_where_asked(tmp_path):
    first, second = outcome(ir, tmp_path, "No," + SEVERAL.replace("\n", "\n1,")[:-2], column="all")
    assert_is_the_spectrum(first)
    np.testing.assert_allclose(second.measurement.arrays["absorbance"], 2 * Y[::-1], rtol=1e-6)
    assert [one.location.partition(": ")[2] for one in (first, second)] == ["column 'first'", "column 'second'"]
    assert "assumed" in first.understood


def test_a_column_called_all_is_one_column(tmp_path):
    [found] = outcome(ir, tmp_path, SEVERAL.replace("first", "All"), column="all")
    assert_is_the_spectrum(found)


def test_a_bad_column_is_left_out_and_the_others_follow(tmp_path):
    blank = "cm-1,first,second\n" + rows(X, Y, np.full(20, np.nan))
    good, bad = outcome(ir, tmp_path, blank, column="all")
    assert_is_the_spectrum(good)
    assert "column 'second': 0 of 20 points are usable" in str(bad)


def test_both_techniques_read_tables_with_options(tmp_path):
    assert isinstance(ir, ReadsTables)
    assert isinstance(raman, ReadsTables)
    [found] = outcome(raman, tmp_path, "shift,a,b\n" + rows(X, Y, 2 * Y), column="b")
    np.testing.assert_allclose(found.measurement.arrays["intensity"], 2 * Y[::-1], rtol=1e-6)


def test_a_negative_number_of_lines_is_no_option():
    with pytest.raises(ValueError, match="`skip` is -1"):
        ReadingOptions(skip=-1)


@pytest.mark.parametrize(
    ("content", "understood"),
    [
        ("um;%T\n" + rows(1e4 / X, 100 * 10**-Y, separator=";"), {
            "format": "a table of text", "column": "%T", "direction": "ascending in the file",
            "abscissa": "'um', turned into cm^-1", "ordinate": "'%T' in per cent, turned into absorbance"}),
        (rows(X, Y), {
            "format": "a table of text", "column": "2", "direction": "descending in the file", "abscissa": "'cm^-1'",
            "ordinate": "'absorbance'", "assumed": "an abscissa in cm^-1 and an ordinate in absorbance"}),
        ("cm-1,transmittance\n" + rows(X, np.where(X > 3990, 0.0, 0.5)), {
            "format": "a table of text", "column": "transmittance", "direction": "descending in the file",
            "abscissa": "'cm-1'",
            "ordinate": "'transmittance' in fractions, turned into absorbance, 5 points below 0.1% raised to it"}),
        (jcamp(**{"JCAMP-DX": "5.01 $$ by hand"}), {
            "format": "JCAMP-DX 5.01", "title": "a", "direction": "ascending in the file", "abscissa": "'1/CM'",
            "ordinate": "'ABSORBANCE'"}),
        ("cm-1,absorbance\n3999,nan\n" + rows(X, Y), {
            "format": "a table of text", "column": "absorbance", "direction": "descending in the file",
            "abscissa": "'cm-1'", "ordinate": "'absorbance'", "left out": "1 of 21 points, which have no value"}),
    ],
)  # fmt: skip
def test_what_was_understood_is_said(tmp_path, content, understood):
    [found] = outcome(ir, tmp_path, content)
    assert dict(found.understood) == understood


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "a picture (JPEG)"),
        (b"\x89PNG\r\n\x1a\n\x00", "a picture (PNG)"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"PK\x03\x04", "a ZIP archive or an office document"),
        (b"\x00\x01\x02", "binary, not text"),
    ],
)
def test_a_file_of_another_kind_is_named_whatever_it_is_called(tmp_path, start, what):
    assert f"the file is {what}; export JCAMP-DX or a table of two columns" in refusal(tmp_path, start + b"abc")


def test_a_few_points_far_apart_are_named(tmp_path):
    far = np.linspace(4000, 400, 12)
    [found] = outcome(ir, tmp_path, "cm-1,absorbance\n" + rows(far, np.sin(far)))
    with pytest.raises(SampleError, match="the curve has 12 points, 327 cm\\^-1 apart; more than `max_gap` of 50"):
        ir.transform(found.measurement, None)
