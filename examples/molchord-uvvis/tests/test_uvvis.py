"""The modality keeps the contract, and its readers take what people have and refuse what is damaged."""

import doctest

import numpy as np
import pytest

from molchord.api import Measurement, Reading, SampleError
from molchord.testing import checks
from molchord_uvvis import files, uvvis_modality
from molchord_uvvis.uvvis import UVVIS, UvVisConfig

CURVE = np.exp(-(((np.arange(220, 401, 2.0) - 300) / 20) ** 2))


@checks(UVVIS)
def test_contract(check):
    check()


@pytest.mark.parametrize("module", [files, uvvis_modality])
def test_examples_in_docstrings_run(module):
    failed, tried = doctest.testmod(module)
    assert tried > 0
    assert failed == 0


def modality(**config):
    return UVVIS.build(UvVisConfig(**config), "spectrum1d")


def curve(absorbance=CURVE, wavelength=None):
    wavelength = 220 + 2.0 * np.arange(len(absorbance)) if wavelength is None else wavelength
    return Measurement(arrays={"wavelength": np.asarray(wavelength), "absorbance": np.asarray(absorbance)}, columns={})


def table(header, values, separator=","):
    rows = [f"{220 + 2 * i}{separator}{value:.8g}" for i, value in enumerate(values)]
    return "\n".join([header, *rows]) + "\n"


def archive(path, **changes):
    """Write two curves, log10 of the molar absorptivity."""
    x, y = np.tile(220 + 2.0 * np.arange(len(CURVE)), 2), np.log10(1e4 * np.tile(CURVE, 2) + 1e-3)
    arrays = {"raw_x": x, "raw_y": y, "raw_offsets": np.array([0, len(CURVE), 2 * len(CURVE)])}
    np.savez(path, **(arrays | changes))
    return path


# --- readers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "values"),
    [
        ("wavelength (nm),absorbance", CURVE),
        ("Wavelength nm,Abs", 0.7 * CURVE),
        ("nm,molar extinction coefficient", 1e4 * CURVE),
        ("nm,log epsilon", np.log10(1e4 * CURVE + 1e-9)),
        ("nm,%T", 100 * 10**-CURVE),
        ("nm,transmittance", 10**-CURVE),
    ],
)
def test_every_ordinate_gives_the_same_sample(header, values, tmp_path):
    path = tmp_path / "curve.csv"
    path.write_text(table(header, values))
    assert modality().can_read(path)
    [reading] = modality().read(path)
    expected = modality().transform(curve(), None)
    assert modality().transform(reading.measurement, None).values[0] == pytest.approx(expected.values[0], abs=1e-4)


@pytest.mark.parametrize("separator", [";", "\t", " ", ", "])
def test_separators_decimal_commas_and_the_smiles(separator, tmp_path):
    path = tmp_path / "curve.txt"
    text = table("# smiles: c1ccccc1\nwavelength (nm) absorbance", CURVE, separator)
    path.write_text(text if separator == ", " else text.replace(".", ","))
    [reading] = modality().read(path)
    assert reading.smiles == "c1ccccc1"
    assert reading.measurement.arrays["absorbance"] == pytest.approx(CURVE, abs=1e-6)


def test_an_archive_with_and_without_the_table_of_molecules(tmp_path):
    path = archive(tmp_path / "set.npz")
    assert modality().can_read(path)
    assert [reading.smiles for reading in modality().read(path)] == [None, None]
    (tmp_path / "set_meta.csv").write_text("name,smiles,solvent\nbenzene,c1ccccc1,\nnone,,ethanol\n")
    first, second = modality().read(path)
    assert (first.smiles, second.smiles) == ("c1ccccc1", None)
    assert (first.measurement.columns["solvent"], second.measurement.columns["solvent"]) == (None, "ethanol")
    assert first.measurement.arrays["absorbance"] == pytest.approx(1e4 * CURVE, rel=1e-3, abs=0.01)


def test_one_broken_curve_of_an_archive_is_left_out_alone(tmp_path):
    y = np.zeros(2 * len(CURVE))
    y[3] = np.nan
    entries = list(modality().read(archive(tmp_path / "set.npz", raw_y=y)))
    assert [isinstance(entry, Reading) for entry in entries] == [False, True]


@pytest.mark.parametrize(
    "changes", [{"raw_offsets": np.array([0, 5])}, {"raw_offsets": np.array([0, 100, 50, 182])}, {"raw_x": np.zeros(3)}]
)
def test_a_damaged_archive_is_refused(changes, tmp_path):
    with pytest.raises(SampleError, match="do not fit"):
        list(modality().read(archive(tmp_path / "set.npz", **changes)))


def test_a_table_of_molecules_that_does_not_fit_is_refused(tmp_path):
    (tmp_path / "set_meta.csv").write_text("smiles\nC\n")
    with pytest.raises(SampleError, match="1 rows for 2 curves"):
        list(modality().read(archive(tmp_path / "set.npz")))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (table("nm,counts", CURVE), "does not name the second column"),
        (table("cm-1,absorbance", CURVE), "no wavelength in nm"),
        (table("nm,absorbance", CURVE) + "402,\n", "was it cut off?"),
        ("nm,absorbance\n", "no row of two numbers"),
        (table("nm,absorbance", [*CURVE, np.inf]), "not two numbers"),
        ("nm,absorbance\n0,1\n1,2\n", "wavelengths are above 0"),
    ],
)
def test_what_is_damaged_is_refused_in_one_sentence(text, says, tmp_path):
    path = tmp_path / "curve.csv"
    path.write_text(text)
    [error] = modality().read(path)
    assert isinstance(error, SampleError), error
    assert says in error.reason
    assert "\n" not in error.reason


@pytest.mark.parametrize("text", ["wavenumber (cm-1),absorbance\n400,0.1\n", "mz,intensity\n100,1\n", "a,b\n1,2\n"])
def test_other_tables_are_not_claimed(text, tmp_path):
    (tmp_path / "other.csv").write_text(text)
    assert not modality().can_read(tmp_path / "other.csv")


# --- samples ---------------------------------------------------------------------------------------------------------


def test_only_the_shape_counts():
    first, second = modality().transform(curve(), None), modality().transform(curve(1e5 * CURVE), None)
    assert first.values == pytest.approx(second.values, abs=1e-6)
    assert first.values.max() == pytest.approx(1.0)
    assert first.observed.sum() == len(CURVE)
    assert not first.values[:, ~first.observed].any()


def test_the_logarithm_shows_a_band_a_hundred_times_weaker():
    weak = 0.01 * np.exp(-(((np.arange(220, 401, 2.0) - 380) / 5) ** 2))
    linear, logarithm = modality().transform(curve(CURVE + weak), None).values
    place = (380 - 200) // 2
    assert linear[place] < 0.02
    assert logarithm[place] == pytest.approx(1 / 3, abs=0.01)


def test_order_and_repeated_wavelengths_make_no_difference():
    wavelength = 220 + 2.0 * np.arange(len(CURVE))
    twice = curve(np.tile(CURVE, 2)[::-1], np.tile(wavelength, 2)[::-1])
    assert modality().transform(twice, None).values == pytest.approx(
        modality().transform(curve(), None).values, abs=1e-6
    )


@pytest.mark.parametrize(
    ("measurement", "says"),
    [
        (curve(CURVE[:3]), "covers less than 10 points"),
        (curve(CURVE, 800 + np.arange(len(CURVE))), "covers less than 10 points"),
        (curve(-CURVE), "nowhere above 0"),
        (curve(CURVE, np.arange(5)), "do not fit together"),
        (curve(np.full(5, np.nan)), "0 of 5 points"),
    ],
)
def test_what_cannot_be_used_is_refused(measurement, says):
    with pytest.raises(SampleError, match=says):
        modality().transform(measurement, None)


def test_jitter_moves_the_band_as_told():
    rng = np.random.default_rng(0)
    samples = [modality(jitter={"shift": 4.0, "noise": 0.0}).transform(curve(), rng) for _ in range(300)]
    places = np.array([2.0 * s.values[0].argmax() for s in samples])
    assert 3.3 < places.std() < 4.7
    assert modality(jitter=None).transform(curve(), rng).values[0].argmax() == 50


def test_a_grid_must_ascend():
    with pytest.raises(ValueError, match="`stop` must be above `start`"):
        UvVisConfig(grid={"start": 400, "stop": 300})
