"""What each built-in modality can leave out of a measurement, and what it says of the parts."""

import numpy as np
import pytest

from molchord.api import Measurement, SampleError, Window
from molchord.chem import molecule
from molchord.host import installed
from molchord.testing import examples_of


def built(name, **settings):
    record = installed().modality(name)
    return record.build(record.config(**settings), record.kinds[0])


def batch(modality, measurement):
    return modality.prepare(modality.collate([modality.transform(measurement, None)]), None)


def curve(low=400.0, high=4100.0, step=4.0):
    x = np.arange(low, high, step)
    y = sum(np.exp(-(((x - place) / 15) ** 2)) for place in (700.0, 1200.0, 1715.0, 2950.0))
    return Measurement(arrays={"wavenumber": x, "absorbance": y}, columns={"origin": "measured"})


def window(start, stop, unit="cm^-1"):
    return Window(name=f"{start}-{stop}", start=start, stop=stop, unit=unit)


@pytest.mark.parametrize("whole", [curve(), examples_of("ir", 1)[0]], ids=["curve", "sticks"])
def test_a_range_left_out_counts_as_not_measured_and_the_rest_stays(whole):
    ir = built("ir", normalise="none")
    places = np.linspace(500, 4000, 1750)
    masked = ir.without(whole, [window(1650, 1750), window(3000, 3100)])
    before, after = batch(ir, ir.without(whole, ())), batch(ir, masked)
    left_out = ((places >= 1650) & (places <= 1750)) | ((places >= 3000) & (places <= 3100))
    gone = ~after.observed[0].numpy()
    assert gone[left_out].all()
    assert gone.sum() - left_out.sum() <= 8  # the points beside a gap, as far as the curve's own are apart
    far = (~gone) & (np.abs(places[:, None] - [1650, 1750, 3000, 3100]).min(axis=1) > 30)
    np.testing.assert_allclose(after.values[0, 0].numpy()[far], before.values[0, 0].numpy()[far], atol=1e-5)


def test_ranges_are_those_that_were_measured():
    ir = built("ir")
    seen = [(window.start, window.stop) for window in ir.windows(curve(990, 1310))]
    assert seen == [(start, start + 100) for start in range(950, 1300, 50)]
    assert {w.stop - w.start for w in built("ir", max_gap=120).windows(curve())} == {240.0}


def test_bands_are_named_where_textbooks_have_them_for_bonds_that_the_molecule_has():
    ir = built("ir")
    windows = [window(1650, 1750), window(2200, 2300), window(3300, 3400)]
    acid, nitrile = molecule("CC(=O)O"), molecule("CC#N")
    assert ir.annotate(curve(), windows, acid) == [["C=O stretching"], [], ["O-H stretching"]]
    assert ir.annotate(curve(), windows, nitrile) == [[], ["C#N stretching"], []]


def test_infrared_runs_from_high_to_low_and_raman_does_not():
    assert built("ir").trace(curve()).descending
    trace = built("raman").trace(examples_of("raman", 1)[0])
    assert (trace.descending, trace.sticks) == (False, False)
    assert np.nanmax(trace.height) == pytest.approx(1)
    part = built("ir").trace(built("ir").without(curve(), [window(1650, 1750)]))
    assert np.isnan(part.height[(part.position > 1650) & (part.position < 1750)]).all()


CAFFEINE = Measurement(
    arrays={"mz": np.array([110.0713, 138.0662, 195.0877]), "intensity": np.array([20.0, 100.0, 60.0])},
    columns={"precursor_mz": 195.0877, "adduct": "[M+H]+", "ion_mode": "positive"},
)


def test_a_peak_of_a_mass_spectrum_is_left_out_and_named_by_its_formulas():
    msms = built("msms")
    windows = msms.windows(CAFFEINE)
    assert [w.name for w in windows] == ["m/z 110.0713", "m/z 138.0662"]  # the precursor's is not seen
    assert msms.without(CAFFEINE, windows[:1]).arrays["mz"].tolist() == [138.0662, 195.0877]
    notes = msms.annotate(CAFFEINE, windows, molecule("Cn1cnc2c1c(=O)n(C)c(=O)n2C"))
    assert [texts[0].split()[0] for texts in notes] == ["C5H8N3+", "C6H8N3O+"]
    with pytest.raises(SampleError, match="no peak is left"):
        msms.transform(msms.without(CAFFEINE, windows), None)
    assert msms.trace(CAFFEINE).sticks


def test_a_shift_is_left_out_with_all_that_is_known_of_it():
    nmr = built("nmr")
    ethanol = Measurement(
        arrays={"shift": np.array([57.8, 18.1]), "multiplicity": np.array([3, 4]), "nuclei": np.zeros(0)},
        columns={"nucleus": "13C"},
    )
    first, second = nmr.windows(ethanol)
    assert (first.name, second.name) == ("18.10 ppm", "57.80 ppm")
    rest = nmr.without(ethanol, [first]).arrays
    assert {name: array.tolist() for name, array in rest.items()} == {
        "shift": [57.8],
        "multiplicity": [3],
        "nuclei": [],
    }
    assert nmr.without(ethanol, ()) is ethanol
    near = Measurement(arrays={"shift": np.array([7.2601, 7.2602])}, columns={"nucleus": "1H"})
    assert [w.name for w in nmr.windows(near)] == ["7.2601 ppm", "7.2602 ppm"]
