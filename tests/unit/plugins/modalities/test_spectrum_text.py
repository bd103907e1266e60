"""Two columns of text as spreadsheets and instruments export them: which column is which, units, footers, encodings."""

import gzip

import numpy as np
import pytest

from molchord.api import Reading, SampleError
from molchord_modalities import curve, spectrum_text
from molchord_modalities.ir import IR
from molchord_modalities.raman import RAMAN
from molchord_modalities.vibrational_settings import VibrationalConfig

ir, raman = (record.build(VibrationalConfig(), "spectrum1d") for record in (IR, RAMAN))

X = np.arange(4000.0, 3960.0, -2.0)
Y = np.round(0.01 + 0.013 * np.arange(20), 3)


def rows(*columns, separator=",", end="\n"):
    return "".join(separator.join(f"{value:g}" for value in row) + end for row in zip(*columns, strict=True))


def outcome(modality, folder, content, name="a.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        return list(modality.read(path))
    except SampleError as error:
        return [error]


def arrays(modality, folder, content, name="a.csv"):
    [reading] = outcome(modality, folder, content, name)
    assert isinstance(reading, Reading), reading
    return reading.measurement.arrays


def refusal(modality, folder, content, name="a.csv"):
    [error] = outcome(modality, folder, content, name)
    assert isinstance(error, SampleError), error
    assert "\n" not in str(error)
    return str(error)


def assert_is_the_spectrum(found):
    np.testing.assert_allclose(found["wavenumber"], X[::-1], rtol=1e-6)
    np.testing.assert_allclose(found["absorbance"], Y[::-1], rtol=1e-5)


# --- which column is which -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("titles", "columns"),
    [
        ("cm-1,absorbance", (X, Y)),
        ("absorbance,cm-1", (Y, X)),
        (",wavenumber,absorbance", (np.arange(20), X, Y)),  # as pandas writes it with its index
        ("No,Wavenumber (cm-1),Absorbance", (np.arange(20), X, Y)),
        ("#,absorbance,wavenumber", (np.arange(20), Y, X)),
        ("Wavenumber (cm-1),sample absorbance,error", (X, Y, 0.001 + 0 * X)),
        ('"Wavenumber, cm-1","Absorbance"', (X, Y)),
        ("cm-1,Abs", (X, Y)),
        ("cm-1,A", (X, Y)),
        ("cm-1,Abs.", (X, Y)),
        ("cm-1,a", (X, Y)),
    ],
)
def test_titles_say_which_column_is_which(tmp_path, titles, columns):
    """A running number read as an abscissa once ranked the true molecule 1,513th, without a word."""
    assert_is_the_spectrum(arrays(ir, tmp_path, f"{titles}\n{rows(*columns)}"))


@pytest.mark.parametrize(
    ("titles", "columns", "says"),
    [
        ("No,a.u.,absorbance", (np.arange(20), X, Y), "none of the columns ['No', 'a.u.', 'absorbance'] is titled"),
        ("Index,position,absorbance", (np.arange(20), X, Y), "is titled as an abscissa; title one 'cm-1' or so"),
        ("cm-1,absorbance,absorbance 2", (X, Y, Y), "3 columns, 2 of them named as an ordinate"),
        ("cm-1,first,second", (X, Y, Y), "3 columns, 0 of them named as an ordinate"),
        ("Wavelength,Absorbance", (X, Y), "the abscissa is titled 'Wavelength', without a unit; add '(nm)' or '(um)'"),
        ("Wellenlänge;Absorbance", (X, Y), "'Wellenlänge', without a unit"),
    ],
)
def test_titles_that_leave_a_choice_are_refused(tmp_path, titles, columns, says):
    content = f"{titles}\n{rows(*columns, separator=';' if ';' in titles else ',')}"
    assert says in refusal(ir, tmp_path, content)


def test_columns_without_titles_are_not_guessed(tmp_path):
    assert "the table has 3 columns, without titles" in refusal(ir, tmp_path, rows(X, Y, Y))


def test_an_intensity_is_the_ordinate_of_a_raman_spectrum_of_three_columns(tmp_path):
    found = arrays(raman, tmp_path, "pixel,Raman shift (cm-1),Intensity (counts)\n" + rows(np.arange(20), X, 100 * Y))
    np.testing.assert_allclose(found["intensity"], 100 * Y[::-1], rtol=1e-5)


# --- units -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        "Accessory: Attenuated Total Reflectance\ncm-1,A\n",
        "Mode: Transmission\ncm-1,Absorbance\n",
        "# measurement: transmission cell of 0.1 mm\ncm-1,absorbance\n",
        "Aperture = 6 mm\nWavelength range: 2.5-25 (um)\nWavenumber,absorbance\n",
        "Y Axis: Absorbance\nX Axis: cm-1\n",
        "#AxisUnit[1]=1/cm\n#Laser=785 nm\n#Ordinate=Absorbance\n",
        "# X (µm)=0\n# AxisUnit[1]=1/cm\n# y unit: absorbance\n",
        "Operator: Raman Iyer\ncm-1,absorbance\n",
        "# author: C. V. Raman\n# cm-1, absorbance\n",
    ],
)
def test_units_come_from_titles_and_from_what_is_said_about_axes(tmp_path, head):
    """An accessory, a stage's position or a person's name is no unit of the table."""
    assert_is_the_spectrum(arrays(ir, tmp_path, head + rows(X, Y)))


@pytest.mark.parametrize(
    ("unit", "kind"),
    [
        ("Wavelength / nm", "nm"),
        ("Wavelength, nm", "nm"),
        ("lambda [nm]", "nm"),
        ("x_nm", "nm"),
        ("NM", "nm"),
        ("nanometers", "nm"),
        ("785 nm", None),
        ("785nm laser", None),
        ("0.5 um slit", None),
        ("Wavelength / µm", "um"),
        ("Wavelength / \u03bcm", "um"),
        ("x in um", "um"),
        ("um", "um"),
        ("micrometres", "um"),
        ("MICRONS", "um"),
        ("volume", None),
        ("helium", None),
        ("number", None),
        ("columns", None),
        ("inm", None),
        ("1/cm", "cm"),
        ("cm^{-1}", "cm"),
        ("cm⁻¹", "cm"),
        ("Raman shift / rel. 1/cm", "cm"),
        ("cm", None),
        ("", None),
    ],
)
def test_units_of_the_abscissa(unit, kind):
    assert curve.length_unit(unit) == kind


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("A", "absorbance"),
        ("Abs", "absorbance"),
        ("Absorbance (AU)", "absorbance"),
        ("Kubelka-Munk", "absorbance"),
        ("Extinction", "absorbance"),
        ("molar epsilon", "absorbance"),
        ("T", "transmittance"),
        ("%T", "transmittance"),
        ("% T", "transmittance"),
        ("%R", "transmittance"),
        ("Transmission [%]", "transmittance"),
        ("Reflectance", "transmittance"),
        ("area", None),
        ("table", None),
        ("a.u.", None),
        ("counts", None),
        ("", None),
    ],
)
def test_kinds_of_the_ordinate(title, kind):
    assert curve.ordinate_kind(title) == kind


@pytest.mark.parametrize(
    ("title", "scale"), [("%T", 100), ("Transmittance", 100), ("Transmittance", 1), ("transmission (percent)", 100)]
)
def test_transmittance_is_absorbance_whether_per_cent_or_fractions(tmp_path, title, scale):
    found = arrays(
        ir, tmp_path, f"cm-1,{title}\n" + "".join(f"{x},{scale * 10**-y}\n" for x, y in zip(X, Y, strict=True))
    )
    np.testing.assert_allclose(found["absorbance"], Y[::-1], atol=1e-5)


def test_per_cent_below_two_are_per_cent_where_the_title_says_so():
    """Without a sign of the unit, values up to 2 are fractions with noise, above it per cent."""
    low = np.array([1.5, 1.0, 0.5])
    np.testing.assert_allclose(curve.absorbance("a", low, "%T"), -np.log10(low / 100))
    np.testing.assert_allclose(curve.absorbance("a", low, "transmittance"), [-np.log10(1.5), 0, -np.log10(0.5)])
    np.testing.assert_allclose(curve.absorbance("a", np.array([2.0, 1.0]), "transmittance"), [-np.log10(2), 0])
    np.testing.assert_allclose(curve.absorbance("a", np.array([2.1, 1.0]), "transmittance"), -np.log10([0.021, 0.01]))


def test_a_spectrum_over_wavelengths_is_one_over_wavenumbers(tmp_path):
    for unit, factor in (("nm", 1e7), ("um", 1e4)):
        content = f"Wavelength / {unit},Absorbance\n" + "".join(
            f"{factor / x:.12g},{y}\n" for x, y in zip(X, Y, strict=True)
        )
        assert_is_the_spectrum(arrays(ir, tmp_path, content))


def test_a_table_over_nanometres_is_not_claimed_whatever_way_they_are_written(tmp_path):
    for title in ("Wavelength / nm", "Wavelength (nm)", "nm", "wavelength_nm"):
        (tmp_path / "uv.csv").write_text(f"{title},Absorbance\n" + rows(X, Y))
        assert not ir.can_read(tmp_path / "uv.csv"), title


# --- rows ------------------------------------------------------------------------------------------------------------


def comma(text):
    return text.replace(".", ",")


@pytest.mark.parametrize(
    "content",
    [
        "".join(f'"{x}","{y}"\n' for x, y in zip(X, Y, strict=True)),
        "".join(comma(f'"{x}"|"{y}"\n').replace("|", ",") for x, y in zip(X, Y, strict=True)),
        "".join(comma(f'"{x}";"{y}"\n') for x, y in zip(X, Y, strict=True)),
        "".join(f'"{x}" "{y}"\n' for x, y in zip(X, Y, strict=True)),
        rows(X, Y, end=",\n"),
        rows(X, Y, separator=";", end=";\n"),
        rows(X, Y, separator="\t", end="\t\n"),
        rows(X, Y, separator=" , "),
        rows(X, Y, end=" \n\n"),
        rows(X, Y, end="\r\n"),
        rows(X, Y, end="\r"),
        "".join(f"   {x:.3e}   {y:.4E}\n" for x, y in zip(X, Y, strict=True)),
    ],
    ids=["quoted", "quoted commas", "quoted commas ;", "quoted blanks", "end ,", "end ;", "end tab", "blanks", "empty lines",
         "crlf", "cr", "exponents"],
)  # fmt: skip
def test_rows_in_all_notations(tmp_path, content):
    assert_is_the_spectrum(arrays(ir, tmp_path, content))
    assert_is_the_spectrum(arrays(ir, tmp_path, "# by hand\n\n" + content))


@pytest.mark.parametrize(
    "footer",
    [
        ">>>>>End\n",
        "\x1a",
        "[END]\n",
        "\n##### Extended Information\n[Comments]\nSample name\tx\nUser\ty\n",
        "[Comments]\nSample name\tx\n",
        "# 20 points\n",
        "\n\n",
    ],
    ids=["bruker", "dos", "horiba", "jasco", "jasco comments", "comment", "blank"],
)
def test_what_instruments_write_below_the_table_is_not_read(tmp_path, footer):
    content = "cm-1\tabsorbance\n" + rows(X, Y, separator="\t") + footer
    assert_is_the_spectrum(arrays(ir, tmp_path, content, "a.txt"))
    assert ir.can_read(tmp_path / "a.txt")


def test_words_below_the_table_are_still_an_error(tmp_path):
    """A line that is neither a row nor a known end may be a row that was damaged."""
    content = "cm-1,absorbance\n" + rows(X, Y)
    assert "a.csv:22: 'The' is not a number; every row must be two numbers" in refusal(
        ir, tmp_path, content + "The end\n"
    )
    assert "a.csv:22: the row has 3 numbers, the first one 2" in refusal(ir, tmp_path, content + "1,2,3\n")


def test_missing_values_are_left_out(tmp_path):
    words = ["nan", "#N/A", "NA", "n/a", "inf", "-inf"]
    content = "cm-1,absorbance\n" + rows(X, Y) + "".join(f"{3900 - i},{word}\n" for i, word in enumerate(words))
    assert_is_the_spectrum(arrays(ir, tmp_path, content))


def test_thousands_signs_are_refused_at_the_first_row_that_has_one(tmp_path):
    """Once, 751 of 875 rows were taken for a header, and the rest for the spectrum."""
    content = "cm-1;absorbance\n" + "".join(
        f"{x:,.1f};{y}\n" for x, y in zip(np.linspace(1010, 900, 20), Y, strict=True)
    )
    said = refusal(ir, tmp_path, content)
    assert "a.csv:2: the row '1,010.0;0.01' is not two numbers; leave out thousands signs" in said


def test_numbers_in_words_above_the_table_are_a_header(tmp_path):
    head = "Sample 1\n20 points\n2024-01-02\n4 cm-1 resolution\ncm-1,absorbance\n"
    assert_is_the_spectrum(arrays(ir, tmp_path, head + rows(X, Y)))


def test_two_spectra_below_each_other_are_refused(tmp_path):
    """Their mean is the spectrum of neither."""
    other = rows(X, Y[::-1])
    for content in (rows(X, Y) + other, rows(X, Y) + rows(X[::-1], Y)):
        said = refusal(ir, tmp_path, "cm-1,absorbance\n" + content)
        assert "the abscissa turns round, by 38 of 38 in all; leave one spectrum in the file" in said


def test_stretches_that_overlap_a_little_are_one_spectrum(tmp_path):
    x = np.concatenate([np.arange(400, 1000, 2), np.arange(980, 1800, 2)])
    found = arrays(ir, tmp_path, "cm-1,absorbance\n" + rows(x, x / 1000))
    np.testing.assert_allclose(found["wavenumber"], np.arange(400, 1800, 2))
    np.testing.assert_allclose(found["absorbance"], np.arange(400, 1800, 2) / 1000, rtol=1e-6)


def test_points_of_one_abscissa_become_their_mean(tmp_path):
    found = arrays(
        ir, tmp_path, "cm-1,absorbance\n" + rows(np.repeat(X, 2), np.ravel([Y - 0.001, Y + 0.001], order="F"))
    )
    assert_is_the_spectrum(found)


@pytest.mark.parametrize(("points", "enough"), [(7, False), (8, True)])
def test_a_curve_has_eight_points_or_more(tmp_path, points, enough):
    content = "cm-1,absorbance\n" + rows(X[:points], Y[:points])
    if enough:
        assert len(arrays(ir, tmp_path, content)["wavenumber"]) == 8
    else:
        assert "7 of 7 points are usable; a curve needs 8 or more" in refusal(ir, tmp_path, content)


# --- encodings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252"])
@pytest.mark.parametrize("packed", [False, True])
def test_encodings(tmp_path, encoding, packed):
    content = f"Probe: Nr. 7, ±0.1 µl\ncm-1;Absorbance\n{rows(X, Y, separator=';')}".encode(encoding)
    name = "a.csv.gz" if packed else "a.csv"
    assert_is_the_spectrum(arrays(ir, tmp_path, gzip.compress(content) if packed else content, name))
    assert ir.can_read(tmp_path / name)


def test_the_beginning_of_a_file_may_end_within_a_letter(tmp_path):
    """Sniffing reads so many bytes; a letter of two that is cut there is no sign of Latin-1."""
    (tmp_path / "a.txt").write_bytes("µµµ".encode())
    assert spectrum_text.decode(tmp_path / "a.txt", 5) == "µµ"
    assert spectrum_text.decode(tmp_path / "a.txt") == "µµµ"
    (tmp_path / "b.txt").write_bytes("µµµ".encode()[:5])
    assert spectrum_text.decode(tmp_path / "b.txt") == "ÂµÂµÂ"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty"),
        (b" \n\t\n", "the file is empty"),
        (b"\xff\xfe", "the file is empty"),
        (b"PK\x03\x04\x00\x00\x08\x00", "the file is a ZIP archive or an office document"),
        (b"a\x00b\x00", "no row of two numbers"),
        (bytes(range(256)), "the file is binary, not text"),
    ],
)
def test_what_is_not_text_is_refused(tmp_path, content, says):
    assert says in refusal(ir, tmp_path, content)
    assert not ir.can_read(tmp_path / "a.csv")


# --- comments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "smiles"),
    [
        ("# smiles: CCO", "CCO"),
        ("# SMILES = CCO by hand", "CCO"),
        ("// Smiles:CCO", "CCO"),
        ("! canonical_smiles=CCO", "CCO"),
        ("SMILES: CCO", "CCO"),
        ("# no smile", None),
    ],
)
def test_a_comment_may_name_the_molecule(tmp_path, line, smiles):
    [reading] = outcome(ir, tmp_path, f"{line}\ncm-1,absorbance\n{rows(X, Y)}")
    assert reading.smiles == smiles


def test_headings_are_what_is_above_a_table_of_numbers():
    table = rows(X, Y)
    assert spectrum_text.headings(f"One\nTWO,three\n{table}") == "one\ntwo,three"
    assert spectrum_text.headings(f"One\n\n  \ntwo\n{table}") == "one\ntwo"
    assert spectrum_text.headings(f"User: Raman\ncm-1,A\n{table}") == "cm-1,a"
    assert spectrum_text.headings(f"One\n{table}# remark\n") == "one"
    assert spectrum_text.headings(f"One\n{table}>>>>>End\nwords\n") == "one"
    assert spectrum_text.headings(f"One\n{table}words\n") == ""
    assert spectrum_text.headings("One\ntwo\n") == ""
    assert spectrum_text.headings(f"One\n{table}39") == "one"  # cut off within a row
