"""Clean-up of curves: each step against what is known, masks that reach the encoder, steps of a recipe."""

import dataclasses

import numpy as np
import pytest

from molchord.api import Cleans, Measurement, SampleError
from molchord_modalities import cleaning_steps as s
from molchord_modalities.cleaning import cleaned
from molchord_modalities.ir import IR
from molchord_modalities.raman import RAMAN
from molchord_modalities.vibrational_settings import VibrationalConfig

X = np.arange(400.0, 4001.0, 2.0)
BANDS = sum(h / (1 + ((X - c) / w) ** 2) for c, w, h in ((1050, 12, 0.6), (1720, 10, 1.0), (2950, 25, 0.8)))
ir = IR.build(VibrationalConfig(), "spectrum1d")


def measured(y, x=X):
    return Measurement(arrays={"wavenumber": x, "absorbance": y}, columns={"origin": "measured"})


def after(y, *steps):
    return cleaned("a", X, y, steps)[1]


def test_a_sloped_and_bent_baseline_goes_and_the_bands_stay():
    slope = 0.4 - 1e-4 * X + 0.1 * np.sin(X / 900)
    left = after(BANDS + slope, s.BaselineStep())
    assert np.abs(left - BANDS).max() < 0.06 < np.ptp(slope)
    assert np.corrcoef(left, BANDS)[0, 1] > 0.995


def test_fluorescence_goes_from_below_raman_lines():
    hump = 5 * np.exp(-(((X - 2000) / 900) ** 2))
    assert np.corrcoef(after(BANDS + hump, s.FluorescenceStep()), BANDS)[0, 1] > 0.98
    assert np.corrcoef(BANDS + hump, BANDS)[0, 1] < 0.3


def test_smoothing_lowers_noise_and_keeps_a_parabola():
    noise = np.random.default_rng(1).normal(0, 0.02, len(X))
    smooth = after(BANDS + noise, s.SmoothStep(window=9, order=3))
    assert np.std(smooth - BANDS) < 0.6 * np.std(noise)
    np.testing.assert_allclose(after((X / 1000) ** 2, s.SmoothStep()), (X / 1000) ** 2, rtol=1e-9)


def test_a_broadened_line_is_a_wider_gaussian_of_the_same_area():
    line = np.exp(-0.5 * ((X - 2000) / 12) ** 2)
    wider = 12 / np.hypot(12, 25) * np.exp(-0.5 * ((X - 2000) / np.hypot(12, 25)) ** 2)
    np.testing.assert_allclose(after(line, s.BroadenStep(width=25)), wider, atol=2e-4)
    # unevenly spaced points, ends and masked ranges: a constant stays one
    uneven = np.sort(np.concatenate((X, X[::7] + 0.3)))
    x, y = cleaned("a", uneven, np.full(len(uneven), 2.0), [s.MaskStep(low=900, high=1100), s.BroadenStep()])
    assert np.isnan(y).sum() == ((x >= 900) & (x <= 1100)).sum()
    np.testing.assert_allclose(y[np.isfinite(y)], 2.0, rtol=1e-12)
    # what is masked does not reach out of its range
    spoiled = np.where((X >= 900) & (X <= 1100), 50.0, line)
    masked = after(spoiled, s.MaskStep(low=900, high=1100), s.BroadenStep())
    assert np.nanmax(masked) < 1
    # wider than the curve, and a curve of few points
    assert np.isfinite(after(line, s.BroadenStep(width=500))).all()
    few = np.linspace(500, 4000, 40)
    assert np.isfinite(cleaned("a", few, np.sin(few / 300), [s.BroadenStep(width=1)])[1]).all()


def test_cosmic_rays_go_and_the_strongest_sharp_band_stays():
    noise = np.random.default_rng(2).normal(0, 0.003, len(X))
    hit = BANDS + noise
    for at, points in ((100, 1), (900, 2), (1500, 1)):
        hit[at : at + points] += 3.0
    left = after(hit, s.CosmicStep())
    assert np.abs(left - BANDS - noise).max() < 0.05
    np.testing.assert_array_equal(after(BANDS + noise, s.CosmicStep()), BANDS + noise)


def test_transmittance_becomes_absorbance_and_is_clipped():
    np.testing.assert_allclose(after(np.where(X > 3000, -1.0, 10.0), s.AbsorbanceStep())[[0, -1]], [1.0, 3.0])


def test_atr_correction_is_proportional_to_the_wavenumber_and_knows_total_reflection():
    ones = np.ones(len(X))
    np.testing.assert_allclose(after(ones, s.AtrStep()), X / 1000)
    # Diamond, 45 degrees, 1000 cm^-1: 2.01 um in the textbooks.
    depth = 1 / after(ones, s.AtrStep(per_micrometre=True))[X == 1000.0]
    assert depth == pytest.approx(2.01, abs=0.01)
    with pytest.raises(SampleError, match="there is no total reflection at 30 degrees between indices 2.4 and 1.5"):
        after(ones, s.AtrStep(angle=30))


def test_crop_leaves_out_and_a_mask_keeps_its_place():
    x, y = cleaned("a", X, BANDS, [s.CropStep(low=600, high=1800), s.MaskStep(low=1000, high=1100)])
    assert (x[0], x[-1]) == (600, 1800)
    assert np.isnan(y[(x >= 1000) & (x <= 1100)]).all()
    assert np.isfinite(y[(x < 1000) | (x > 1100)]).all()


@pytest.mark.parametrize("steps", [[s.Co2Step()], [s.MaskStep(low=2000, high=2010)], [s.WaterStep(), s.BaselineStep()]])
def test_a_masked_range_is_not_measured_for_the_encoder(steps):
    whole = ir.transform(measured(BANDS), None)
    sample = ir.transform(ir.clean(measured(BANDS), steps), None)
    grid = np.linspace(500, 4000, 1750)
    first = steps[0]
    inside = (grid >= first.low) & (grid <= first.high)
    if isinstance(first, s.WaterStep):
        inside |= (grid >= first.stretch_low) & (grid <= first.stretch_high)
    assert whole.observed.all()
    assert not sample.observed[inside].any()
    assert not sample.values[inside].any()
    assert sample.observed[~inside].mean() > 0.995  # the cells beside a masked point are not measured either
    batch = ir.prepare(ir.collate([sample]), None)
    assert not batch.observed[0].numpy()[inside].any()
    assert not batch.values[0].numpy()[:, inside].any()


def test_the_measurement_that_was_handed_in_stays_and_sticks_need_no_step():
    given = measured(BANDS.copy())
    ir.clean(given, [s.Co2Step(), s.SmoothStep()])
    np.testing.assert_array_equal(given.arrays["absorbance"], BANDS)
    sticks = Measurement(arrays={"stick_wavenumber": np.array([1700.0]), "stick_intensity": np.array([3.0])})
    assert ir.clean(sticks, [s.Co2Step()]) is sticks
    assert isinstance(ir, Cleans)


def test_a_recipe_cleans_measured_curves_and_no_computed_ones():
    recipe = VibrationalConfig.model_validate({"clean": [{"step": "co2"}, {"step": "crop", "low": 700, "high": 3900}]})
    cleaning = IR.build(recipe, "spectrum1d")
    assert [step.text for step in cleaning.default_cleaning] == ["co2=2300:2400", "crop=700:3900"]
    by_hand = ir.transform(ir.clean(measured(BANDS), recipe.clean), None)
    by_recipe = cleaning.transform(measured(BANDS), None)
    np.testing.assert_array_equal(by_recipe.observed, by_hand.observed)
    np.testing.assert_allclose(by_recipe.values, by_hand.values, atol=1e-6)
    computed = dataclasses.replace(measured(BANDS), columns={"origin": "computed"})
    assert cleaning.transform(computed, None).observed.all()


def test_steps_that_leave_nothing_or_have_nothing_to_do_are_refused():
    with pytest.raises(SampleError, match="the step `crop=10:20` leaves 0 points; widen it"):
        ir.clean(measured(BANDS), [s.CropStep(low=10, high=20)])
    with pytest.raises(SampleError, match="the curve is constant"):
        ir.clean(measured(np.ones(len(X))), [s.BaselineStep()])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"step": "crop", "low": 4000, "high": 500}, "`low` 4000 must be below `high` 500"),
        ({"step": "smooth", "window": 4}, "`window` 4 must be odd"),
        ({"step": "cosmic", "threshold": float("nan")}, "finite number"),
        ({"step": "bleach"}, "bleach"),
    ],
)
def test_wrong_steps_of_a_recipe_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        VibrationalConfig.model_validate({"clean": [wrong]})


def test_raman_has_the_same_steps():
    raman = RAMAN.build(VibrationalConfig(), "spectrum1d")
    shift = Measurement(arrays={"wavenumber": X, "intensity": BANDS}, columns={"origin": "measured"})
    assert raman.clean(shift, [s.CropStep(low=600, high=1800)]).arrays["intensity"].size == 601
