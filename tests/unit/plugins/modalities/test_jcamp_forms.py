"""JCAMP-DX against two other readers, n-tuples, peak assignments, links, and what the standard's own samples hold."""

import re
import warnings

import jcamp as other
import nmrglue
import numpy as np
import pytest

from molchord.api import Reading, SampleError
from molchord_modalities import jcamp
from molchord_modalities.ir import IR
from molchord_modalities.raman import RAMAN
from molchord_modalities.vibrational_settings import VibrationalConfig

ir, raman = (record.build(VibrationalConfig(), "spectrum1d") for record in (IR, RAMAN))

SQUEEZED, NEGATIVE = "@ABCDEFGHI", "@abcdefghi"
RISING, FALLING = "%JKLMNOPQR", "%jklmnopqr"
REPEATED = " STUVWXYZs"
PER_LINE = 12


def lettered(value, positive, negative):
    digits = str(abs(value))
    return (negative if value < 0 else positive)[int(digits[0])] + digits[1:]


def affn(values):
    return " ".join(map(str, values))


def pac(values):
    return "".join(f"{value:+d}" for value in values)


def squeezed(values):
    return "".join(lettered(value, SQUEEZED, NEGATIVE) for value in values)


def differences(values):
    return lettered(values[0], SQUEEZED, NEGATIVE) + "".join(
        lettered(int(step), RISING, FALLING) for step in np.diff(values)
    )


def repeated(values):
    """Differences, equal ones in a row written once with their number."""
    steps = np.diff(values).tolist()
    out, at = lettered(values[0], SQUEEZED, NEGATIVE), 0
    while at < len(steps):
        run = next((i for i in range(at, len(steps)) if steps[i] != steps[at]), len(steps)) - at
        out += lettered(steps[at], RISING, FALLING) + (REPEATED[run] if 1 < run < 10 else "")
        at += run if run < 10 else 1
    return out


def table(values, form):
    """Lines of a table over 400, 401, ...; a line of differences begins with a check of the one before."""
    checked = form in (differences, repeated)
    lines, at = [], 0
    while at < len(values):
        begin = max(at - checked, 0)
        lines.append(f"{400 + begin}{' ' if form is affn else ''}{form(values[begin : at + PER_LINE])}")
        at += PER_LINE
    if checked:
        lines.append(f"{400 + len(values) - 1}{squeezed(values[-1:])}")
    return "\n".join(lines) + "\n"


def text(body, count, data_type="INFRARED SPECTRUM", **labels):
    said = {
        "TITLE": "a", "JCAMP-DX": "4.24", "DATA TYPE": data_type, "XUNITS": "1/CM", "YUNITS": "ABSORBANCE",
        "XFACTOR": "1", "YFACTOR": "0.001", "FIRSTX": "400", "LASTX": str(399 + count), "NPOINTS": str(count),
    } | labels  # fmt: skip
    return "".join(f"##{name}={value}\n" for name, value in said.items()) + f"##XYDATA=(X++(Y..Y))\n{body}##END=\n"


def block(content):
    [found] = jcamp.parse(content, "a.jdx")
    assert isinstance(found, jcamp.Block), found
    return found


def spectra():
    rng = np.random.default_rng(4)
    steps = rng.integers(-40, 40, size=(4, 60)) * rng.integers(0, 2, size=(4, 60))
    return [row.cumsum() + 1 for row in steps] + [np.repeat([5, -3, 0, 120], 15)]


@pytest.mark.parametrize("form", [affn, pac, squeezed, differences, repeated])
def test_all_forms_are_read_as_two_other_readers_do(tmp_path, form):
    for values in spectra():
        content = text(table(values.tolist(), form), len(values))
        found = block(content)
        np.testing.assert_allclose(found.y, values * 0.001, atol=1e-12)
        (tmp_path / "a.jdx").write_text(content)
        theirs = other.readfile(str(tmp_path / "a.jdx"))
        np.testing.assert_allclose(theirs["x"], found.x)
        np.testing.assert_allclose(theirs["y"], found.y, atol=1e-12)
        # nmrglue reads spectra that call themselves NMR
        (tmp_path / "b.jdx").write_text(content.replace("INFRARED SPECTRUM", "NMR SPECTRUM"))
        _, numbers = nmrglue.jcampdx.read(str(tmp_path / "b.jdx"))
        np.testing.assert_allclose(np.ravel(numbers)[: len(values)], found.y, atol=1e-12)


def test_measured_files_are_read_as_their_headers_say_and_as_another_reader_does(shared_data):
    """One file in forty of both collections, gas and digitised, cm^-1 and micrometres."""
    files = sorted((shared_data / "nist-ir" / "jdx").glob("*.jdx"))[::40]
    assert len(files) > 20
    for file in files:
        content = file.read_text(encoding="latin-1")
        first, last, points = (
            float(re.search(rf"^##{label}=\s*(\S+)", content, re.MULTILINE)[1])
            for label in ("FIRSTX", "LASTX", "NPOINTS")
        )
        found = block(content)
        assert len(found.x) == points, file
        np.testing.assert_allclose([found.x[0], found.x[-1]], [first, last])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = other.readfile(str(file))
        np.testing.assert_allclose(theirs["y"], found.y, rtol=1e-9)


# --- closing checks and comments


def test_a_last_line_that_only_checks_the_one_before_is_no_point():
    """The standard's own samples close so, whether the line before ends in a difference or not."""
    assert block(text("400@@A1\n402A1\n", 3, LASTX="402", YFACTOR="1")).y.tolist() == [0, 0, 11]
    assert block(text("31998A1@\n31999@\n", 2, FIRSTX="31998", LASTX="31999", YFACTOR="1")).y.tolist() == [11, 0]
    [error] = jcamp.parse(text("400@@A1\n402A2\n", 3, LASTX="402"), "a.jdx")
    assert "a.jdx:13: the ordinate check fails: 12 after 11" in str(error)


def test_a_comment_of_several_lines_is_not_part_of_the_label_before():
    content = text("400 1 2 3\n", 3).replace("##XUNITS", "##= by hand\nnot a unit\n##XUNITS")
    assert block(content).labels["DATATYPE"] == "INFRARED SPECTRUM"


def test_squeezed_digits_e_are_no_exponents():
    assert block(text("400E5E6E7\n", 3, YFACTOR="1")).y.tolist() == [55, 56, 57]


# --- n-tuples

PAGES = """##TITLE= kinetics
##JCAMP-DX= 6.00
##DATA TYPE= INFRARED SPECTRUM
##DATA CLASS= NTUPLES
##NTUPLES= INFRARED SPECTRUM
##VAR_NAME= WAVENUMBER, ABSORBANCE, TIME
##SYMBOL= X, Y, T
##VAR_TYPE= INDEPENDENT, DEPENDENT, PAGE
##VAR_FORM= AFFN, ASDF, AFFN
##VAR_DIM= 12, 12, 2
##UNITS= 1/CM, ABSORBANCE, SECONDS
##FIRST= 400, 0.1, 0
##LAST= 411, 1.2, 60
##FACTOR= 1, 0.1, 1
##PAGE= T=0
##DATA TABLE= (X++(Y..Y)), XYDATA   $$ the first one
400A%%%%%%%%%%%
##PAGE= T=60
##NPOINTS= 12
##DATA TABLE= (X++(Y..Y)), XYDATA
400A1A2A3A4A5A6
406A7A8A9B0B1B2
##PAGE= T=90
##DATA TABLE= (X++(Q..Q)), XYDATA
400A1
##END NTUPLES= INFRARED SPECTRUM
##END=
"""


def test_each_page_of_n_tuples_is_a_spectrum_in_the_units_of_its_variables(tmp_path):
    (tmp_path / "a.jdx").write_text(PAGES)
    first, second, wrong = ir.read(tmp_path / "a.jdx")
    assert ir.can_read(tmp_path / "a.jdx")
    np.testing.assert_allclose(first.measurement.arrays["absorbance"], 0.1, rtol=1e-6)
    np.testing.assert_allclose(second.measurement.arrays["absorbance"], np.arange(1.1, 2.3, 0.1), rtol=1e-6)
    np.testing.assert_allclose(second.measurement.arrays["wavenumber"], np.arange(400, 412))
    assert [one.understood["page"] for one in (first, second)] == ["T=0", "T=60"]
    assert "the form '(X++(Q..Q)),XYDATA' is not one of the variables ['X', 'Y', 'T']" in str(wrong)


def test_pages_of_pairs_are_peaks_or_points_as_they_say():
    head = PAGES.partition("##PAGE")[0].replace("##VAR_DIM= 12, 12, 2", "##VAR_DIM= , , 2")
    body = "##PAGE= T=1\n##NPOINTS= 2\n##DATA TABLE= (XY..XY), {}\n400,5; 410,7\n##END NTUPLES=\n##END=\n"
    for word, sticks in (("PEAKS", True), ("XYDATA", False)):
        found = block(head + body.format(word))
        assert (found.x.tolist(), found.sticks) == ([400.0, 410.0], sticks)
        np.testing.assert_allclose(found.y, [0.5, 0.7])


def test_real_and_imaginary_parts_are_pages_of_their_own():
    content = PAGES.replace("= X, Y, T", "= X, R, I").replace("(Y..Y)", "(R..R)", 1).replace("(Y..Y)", "(I..I)", 1)
    real, imaginary, _ = jcamp.parse(content.replace("1, 0.1, 1\n", "1, 0.1, 10\n"), "a.jdx")
    np.testing.assert_allclose(real.y, 0.1)
    np.testing.assert_allclose(imaginary.y, np.arange(110, 230, 10))  # its own factor


# --- peaks with more than a height


@pytest.mark.parametrize(
    ("form", "rows"),
    [
        ("PEAK TABLE=(XYW..XYW)", "1650, 80, 12; 1050, 30, 9\n"),
        ("PEAK TABLE=(XYW)", "1650, 80, 12\n1050, 30, 9\n"),
        ("PEAK ASSIGNMENTS=(XYA)", "(1650, 80, <C=O (amide), stretch>)\n(1050, 30, <C-O>)\n"),
        ("PEAK ASSIGNMENTS=(XYWA)", "(1650, 80, 12, <C=O>) (1050, 30, 9, <C-O>)\n"),
    ],
)
def test_widths_and_assignments_are_let_pass(tmp_path, form, rows):
    head = "##TITLE=a\n##JCAMP-DX=5.01\n##DATA TYPE=INFRARED PEAK TABLE\n##XUNITS=1/CM\n##YUNITS=ABSORBANCE\n"
    (tmp_path / "a.jdx").write_text(f"{head}##NPOINTS=2\n##{form}\n{rows}##END=\n")
    [reading] = ir.read(tmp_path / "a.jdx")
    assert reading.measurement.arrays["stick_wavenumber"].tolist() == [1650.0, 1050.0]
    assert reading.measurement.arrays["stick_intensity"].tolist() == [80.0, 30.0]


def test_an_assignment_without_a_height_is_refused():
    [error] = jcamp.parse("##TITLE=a\n##PEAK ASSIGNMENTS=(XYA)\n(1650, <C=O>)\n##END=\n", "a.jdx")
    assert "a.jdx:3: a group has 1 numbers; at least a place and a height were expected" in str(error)


# --- links


def test_a_link_of_a_structure_an_interferogram_and_two_spectra(tmp_path):
    """JCAMP-CS holds no spectrum, so nothing is said of it; an interferogram is named."""
    structure = "##TITLE=b\n##JCAMP-CS=3.7\n##ATOMLIST=\n1 C 3\n2 O 1\n##END=\n"
    interferogram = "##TITLE=c\n##DATA TYPE=INFRARED INTERFEROGRAM\n##RADATA=(R++(A..A))\n+0+10\n##END=\n"
    rows = "400 1 2 3 4 5 6 7 8 9 10\n"
    inside = structure + interferogram + text(rows, 10) + text(rows, 10, "RAMAN SPECTRUM")
    (tmp_path / "a.jdx").write_text(f"##TITLE=a\n##DATA TYPE=LINK\n##BLOCKS=5\n{inside}##END=\n")
    found = list(ir.read(tmp_path / "a.jdx"))
    assert sum(isinstance(one, Reading) for one in found) == 1
    assert ["only an interferogram" in str(one) for one in found if isinstance(one, SampleError)] == [True]
    assert sum(isinstance(one, Reading) for one in raman.read(tmp_path / "a.jdx")) == 1
