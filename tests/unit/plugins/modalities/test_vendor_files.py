"""Files of vendors: real ones as other readers have them, damaged ones, and what a file says that it is."""

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest

from molchord.api import Reading, ReadingOptions, SampleError
from molchord_modalities import vendor_files
from molchord_modalities.ir import IR
from molchord_modalities.raman import RAMAN
from molchord_modalities.vibrational_settings import VibrationalConfig

FOLDER = Path(__file__).parents[3] / "fixtures" / "vendor"
ir = IR.build(VibrationalConfig(), "spectrum1d")
raman = RAMAN.build(VibrationalConfig(), "spectrum1d")

# First two and last of the abscissa, the first three of the ordinate: as `brukeropus` 1.4.3, `spectrochempy-omnic`
# 0.2.1, `spc-io` 0.2.1 and `renishawWiRE` 0.1.16 read the same files.
REAL = {
    "polystyrene.0": (2126, [4497.53679, 4495.60817, 399.223892], [0.02361715, 0.02362563, 0.02357077], "absorbance"),
    "polyethylene.spa": (1738, [3999.80859, 3997.88005, 649.920715], [100.4965, 100.495255, 100.415436], "%R"),
    "atacamite.spc": (559, [117.779991, 119.450633, 1050.0], [218.719986, 236.39999, 242.039978], "absorbance"),
    "single_scan.wdf": (1015, [2787.5144, 2786.1345, 1226.2753], [47.09271, 63.394028, 54.326714], "counts"),
}
BINARY = sorted(REAL)


def read(file):
    path = FOLDER / file
    return list(vendor_files.spectra(path, vendor_files.vendor_of(path)))


@pytest.mark.parametrize("file", BINARY)
def test_a_real_file_is_read_as_another_reader_has_it(file):
    points, x, y, unit = REAL[file]
    [spectrum] = read(file)
    assert len(spectrum.x) == len(spectrum.y) == points
    np.testing.assert_allclose([*spectrum.x[:2], spectrum.x[-1]], x, rtol=1e-6)
    np.testing.assert_allclose(spectrum.y[:3], y, rtol=1e-6)
    assert unit in spectrum.y_unit


def test_each_modality_takes_what_the_file_says_and_converts_it():
    recognised = {file: (ir.can_read(FOLDER / file), raman.can_read(FOLDER / file)) for file in BINARY}
    assert recognised == {
        "polystyrene.0": (True, False),
        "polyethylene.spa": (True, False),
        "single_scan.wdf": (False, True),
        "atacamite.spc": (False, False),  # its header says absorbance over cm^-1 from 118 on: both or neither
    }
    [reading] = ir.read(FOLDER / "polyethylene.spa")
    reflectance = read("polyethylene.spa")[0].y
    np.testing.assert_allclose(
        reading.measurement.arrays["absorbance"], -np.log10(reflectance[::-1] / 100), rtol=1e-5, atol=1e-7
    )
    assert reading.understood["format"] == "Thermo OMNIC SPA"
    assert reading.understood["title"] == "Parafilm Test"
    [reading] = raman.read(FOLDER / "atacamite.spc")
    assert reading.measurement.arrays["intensity"].max() == pytest.approx(585.50995)


def test_a_spectrum_of_another_technique_is_refused_by_name():
    [error] = raman.read(FOLDER / "polystyrene.0")
    assert "it says that it is infrared, and not Raman; give it as that" in str(error)


def test_a_file_is_known_by_its_first_bytes_and_not_by_its_name(tmp_path):
    copy = tmp_path / "sample.txt"
    copy.write_bytes((FOLDER / "polystyrene.0").read_bytes())
    [reading] = ir.read(copy)
    assert reading.understood["format"] == "Bruker OPUS"
    text = tmp_path / "text.spc"
    text.write_text("aKbc,absorbance\n" + "".join(f"{x},0.{x}\n" for x in range(400, 600)))
    assert vendor_files.vendor_of(text) is None


def test_options_go_before_the_file_and_columns_are_refused():
    [reading] = ir.read_table(FOLDER / "atacamite.spc", ReadingOptions(y_unit="absorbance"))
    assert reading.measurement.columns["ordinate"] == "absorbance"
    with pytest.raises(SampleError, match="a Galactic SPC file has no columns; leave out `--column` and `--skip`"):
        list(ir.read_table(FOLDER / "atacamite.spc", ReadingOptions(skip=2)))


def test_asp_states_its_abscissa_by_its_ends(tmp_path):
    [reading] = ir.read(FOLDER / "polyethylene_soil.asp")
    arrays = reading.measurement.arrays
    np.testing.assert_allclose(arrays["wavenumber"][[0, -1]], [650.42045, 3999.4335], rtol=1e-6)
    assert arrays["absorbance"][-1] == pytest.approx(0.00569463)
    cut = tmp_path / "cut.asp"
    cut.write_text("".join((FOLDER / "polyethylene_soil.asp").read_text().splitlines(keepends=True)[:500]))
    with pytest.raises(SampleError):
        list(ir.read(cut))


@pytest.mark.parametrize("file", BINARY)
def test_a_damaged_file_is_read_or_refused_in_one_sentence(file, tmp_path):
    raw = (FOLDER / file).read_bytes()
    rng = np.random.default_rng(7)
    damaged = [raw[: int(share * len(raw))] for share in (0.002, 0.01, 0.1, 0.5, 0.9, 0.999)]
    for place in rng.integers(0, min(len(raw), 1600), 40):
        changed = bytearray(raw)
        changed[place : place + 4] = rng.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", rng.bytes(4)])
        damaged.append(bytes(changed))
    path, refused = tmp_path / file, 0
    for number, content in enumerate(damaged):
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for modality in (ir, raman):
                modality.can_read(path)
                try:
                    entries = list(modality.read(path))
                except SampleError as error:
                    entries = [error]
                assert entries
                for entry in entries:
                    if isinstance(entry, Reading):
                        assert len(entry.measurement.arrays["wavenumber"]) <= len(raw)
                    else:
                        refused += number < 5
    assert refused >= 5  # what is cut off before its spectrum is never read


def test_a_wdf_block_of_no_size_does_not_hang(tmp_path):
    raw = bytearray((FOLDER / "single_scan.wdf").read_bytes())
    raw[8:16] = struct.pack("<Q", 0)
    path = tmp_path / "zero.wdf"
    path.write_bytes(raw)
    with pytest.raises(SampleError, match=r"its block b'WDF1' has 0 bytes; copy it from the instrument again, or"):
        list(raman.read(path))


def old_spc(points, exponent, first, last, whole):
    """Write the older SPC format by its specification: integers of 32 bits with their halves swapped."""
    head = struct.pack("<BBhfffBB", 0, 0x4D, exponent, points, first, last, 1, 2).ljust(224, b"\0") + bytes(32)
    return head + b"".join(struct.pack("<HH", (value >> 16) & 0xFFFF, value & 0xFFFF) for value in whole)


def new_spc(order, version, points, exponent, first, last, body, *, flags=0, x_type=1, y_type=2):
    head = struct.pack(f"{order}BBBbIddI", flags, version, 0, exponent, points, first, last, 1)
    return (head + bytes([x_type, y_type])).ljust(512, b"\0") + body


def test_every_form_of_spc_says_the_same(tmp_path):
    y = np.linspace(-0.5, 1.0, 16)
    whole = [int(value * 2**28) for value in y]
    x = np.linspace(4000, 400, 16)
    forms = {
        "old": old_spc(16, 4, 4000, 400, whole),
        "little": new_spc("<", 0x4B, 16, 4, 4000, 400, bytes(32) + struct.pack("<16i", *whole)),
        "big": new_spc(">", 0x4C, 16, 4, 4000, 400, bytes(32) + struct.pack(">16i", *whole)),
        "short": new_spc(
            "<", 0x4B, 16, 4, 4000, 400, bytes(32) + struct.pack("<16h", *(value >> 16 for value in whole)), flags=1
        ),
        "floats": new_spc("<", 0x4B, 16, -128, 4000, 400, bytes(32) + struct.pack("<16f", *y)),
        "abscissa": new_spc(
            "<", 0x4B, 16, -128, 0, 0, struct.pack("<16f", *x) + bytes(32) + struct.pack("<16f", *y), flags=0x80
        ),
        "own abscissa": new_spc(
            "<", 0x4B, 0, -128, 0, 0,
            bytes(16) + struct.pack("<I", 16) + bytes(12) + struct.pack("<32f", *x, *y), flags=0x40,
        ),
    }  # fmt: skip
    for form, content in forms.items():
        path = tmp_path / form
        path.write_bytes(content)
        [reading] = ir.read(path)
        assert ir.can_read(path), form
        np.testing.assert_allclose(reading.measurement.arrays["absorbance"][::-1], y, atol=3e-4, err_msg=form)
        np.testing.assert_allclose(reading.measurement.arrays["wavenumber"][::-1], x, rtol=1e-6, err_msg=form)


def test_a_spc_without_a_spectrum_over_wavenumbers_names_its_abscissa(tmp_path):
    path = tmp_path / "chromatogram.spc"
    path.write_bytes(new_spc("<", 0x4B, 16, -128, 0, 9, bytes(32) + struct.pack("<16f", *range(16)), x_type=5))
    [error] = ir.read(path)
    assert "the unit 'minutes' of the abscissa is not known" in str(error)
