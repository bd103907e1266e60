"""Modalities `ir` and `raman`: configuration, sticks and curves to batches, augmentation, similarity, examples."""

import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
import scipy.special
import torch
from pydantic import ValidationError
from scipy.special import voigt_profile

from molchord.api import Compares, Measurement, Molecule, SampleError, SpectrumBatch
from molchord_modalities import curve
from molchord_modalities.ir import IR
from molchord_modalities.line_shapes import broaden
from molchord_modalities.raman import RAMAN
from molchord_modalities.vibrational_batch import normalise, warp
from molchord_modalities.vibrational_settings import Grid, Line, VibrationalConfig

WATER = ([1539.0, 3643.0, 3651.0], [90.0, 9.0, 30.0])


def build(record=IR, **config):
    return record.build(VibrationalConfig.model_validate(config), "spectrum1d")


def sticks(position=WATER[0], intensity=WATER[1]):
    arrays = {"stick_wavenumber": np.float32(position), "stick_intensity": np.float32(intensity)}
    return Measurement(arrays=arrays, columns={"origin": "computed"})


def measured(x, y):
    return Measurement(arrays={"wavenumber": np.float32(x), "absorbance": np.float32(y)})


def render(modality, *measurements, generator=None):
    return modality.prepare(modality.collate([modality.transform(m, None) for m in measurements]), generator)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def lorentzian_reference(position, intensity, half_width=5.0, start=500, stop=4000, points=1750):
    x = np.linspace(start, stop, points)
    y = sum(
        a * half_width / np.pi / ((x - f) ** 2 + half_width**2)
        for f, a in zip(position, intensity, strict=True)
        if f > 0
    )
    return (y - y.min()) / (y.max() - y.min())


# --- records and configuration ---------------------------------------------------------------------------------------


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys; from molchord_modalities.ir import IR\n"
        "IR.spec(IR.config(), 'spectrum1d')\n"
        "print([n for n in ('torch', 'numpy', 'rdkit') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("record", "name"), [(IR, "absorbance"), (RAMAN, "intensity")])
def test_records_declare_what_they_store_and_emit(record, name):
    assert set(record.stores.arrays) == {"stick_wavenumber", "stick_intensity", "stick_kind", "wavenumber", name}
    assert record.stores.arrays["stick_wavenumber"].unit == "cm^-1"
    spec = record.spec(VibrationalConfig(grid=Grid(start=400, stop=1800, points=701), channels=("sqrt",)), "spectrum1d")
    assert (spec.points, spec.channels, spec.unit) == (701, 1, "cm^-1")
    assert isinstance(build(record), Compares)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"grid": {"start": 4000, "stop": 500}}, "`start` 4000.0 must be below `stop` 500.0"),
        ({"grid": {"points": 1}}, "greater than or equal to 2"),
        ({"line": {"shape": "triangle"}}, "'lorentzian', 'gaussian' or 'voigt'"),
        ({"line": {"width": 0}}, "greater than 0"),
        ({"line": {"shape": "voigt"}}, "`gaussian` is the second width of shape 'voigt'; got None"),
        ({"line": {"gaussian": 3}}, "with shape 'lorentzian'"),
        ({"jitter": {"shift": [4, -4]}}, "must be [lowest, highest]"),
        ({"jitter": {"noise": [-0.1, 0]}}, "greater than or equal to 0"),
        ({"jitter": {"scale": 0.02}}, "valid tuple"),
        ({"channels": ["sqrt", "sqrt"]}, "names one twice"),
        ({"channels": []}, "at least 1 item"),
        ({"baseline": {"method": "rolling"}}, "`window` belongs to method 'rolling'; got None"),
        ({"baseline": {"method": "rubberband", "window": 3}}, "with method 'rubberband'"),
        ({"scale": float("nan")}, "finite"),
        ({"shape": 5}, "Extra inputs"),
    ],
)
def test_a_wrong_configuration_is_refused(config, says):
    with pytest.raises(ValidationError) as caught:
        VibrationalConfig.model_validate(config)
    assert says in str(caught.value)


def test_configuration_round_trips():
    config = VibrationalConfig.model_validate(
        {"line": {"shape": "voigt", "gaussian": 2}, "baseline": {"method": "rolling", "window": 300}}
    )
    assert VibrationalConfig.model_validate(config.model_dump(mode="json")) == config


# --- sticks ----------------------------------------------------------------------------------------------------------


def test_the_computed_measurement_is_the_protocols_own():
    rng = np.random.default_rng(0)
    position = np.concatenate([[-20.0, -3.0, 30.0], rng.uniform(100, 3800, 50)])
    intensity = rng.uniform(0, 100, 53)
    batch = render(build(channels=["plain"], normalise="minmax"), sticks(position, intensity))
    expected = lorentzian_reference(np.float32(position).astype(float), np.float32(intensity).astype(float))
    np.testing.assert_allclose(batch.values[0, 0].numpy(), expected, atol=1e-3)
    assert batch.observed.all()


@pytest.mark.parametrize(
    ("shape", "gaussian"), [("lorentzian", None), ("gaussian", None), ("voigt", 4.0), ("voigt", 30.0)]
)
def test_line_shapes_agree_with_the_exact_convolution(shape, gaussian):
    half, grid = 6.0, Grid(start=500, stop=1500, points=501)
    places = np.linspace(500, 1500, 501)
    sigma = (half if shape == "gaussian" else gaussian or 0.0) / np.sqrt(2 * np.log(2))
    exact = voigt_profile(places - 1000.3, sigma, 0.0 if shape == "gaussian" else half)
    line = Line(shape=shape, width=half, gaussian=gaussian)
    got = broaden(torch.tensor([[1000.3]]), torch.ones(1, 1), grid, line, torch.ones(1))[0].numpy()
    assert np.abs(got - exact).max() < 1e-3 * exact.max()
    assert np.abs(got.sum() - exact.sum()) < 2e-3 * exact.sum()


def test_the_width_factor_is_each_spectrums_own():
    grid = Grid(start=900, stop=1100, points=401)
    both = broaden(torch.full((2, 1), 1000.2), torch.ones(2, 1), grid, Line(width=5), torch.tensor([1.0, 2.0]))
    above = (both > both.amax(dim=1, keepdim=True) / 2).sum(dim=1)  # full width at half maximum in steps of 0.5
    assert above.tolist() == [20, 40]


def test_the_branches_of_a_gas_are_as_far_apart_as_its_rotational_constant_makes_them():
    """Carbon monoxide at 300 K: P and R maxima 55 cm^-1 apart (B 1.93 cm^-1; Herzberg), Q between them."""
    modality = build(line={"width": 2.0, "temperature": 300.0}, channels=["plain"], grid={"points": 7001})
    one = sticks([2143.0], [1.0])
    gas = Measurement(arrays=one.arrays, columns={**one.columns, "rotational_constant": 1.93})
    values = render(modality, gas).values[0, 0].numpy()
    tops = np.flatnonzero((values[1:-1] > values[:-2]) & (values[1:-1] >= values[2:]) & (values[1:-1] > 0.3)) + 1
    grid = np.linspace(500, 4000, 7001)
    apart = 2 * np.sqrt(2 * 0.6950348 * 300 * 1.93)
    assert len(tops) == 3
    assert grid[tops[2]] - grid[tops[0]] == pytest.approx(apart, abs=1.0)
    assert apart == pytest.approx(56.7, abs=0.1)
    unknown = render(modality, one).values[0, 0].numpy()
    assert np.ptp(grid[unknown > 0.5]) == pytest.approx(4.0, abs=1.0)  # one line


def test_sums_of_lines_agree_with_plain_arithmetic_whatever_the_grid_and_the_width():
    rng = np.random.default_rng(3)
    position, intensity = rng.uniform(100, 3900, (3, 40)), rng.exponential(1.0, (3, 40))
    for points, half in ((400, 12.0), (1750, 5.0), (1750, 1.0), (3000, 40.0), (150, 30.0)):
        grid, factor = Grid(points=points), np.array([1.0, 1.5, 3.0])
        places = np.linspace(500, 4000, points)
        away = places[None, None] - position[..., None]
        width = (half * factor)[:, None, None]
        exact = (intensity[..., None] * width / np.pi / (away**2 + width**2)).sum(axis=1)
        got = broaden(*map(torch.from_numpy, np.float32([position, intensity])), grid, Line(width=half),
                      torch.from_numpy(np.float32(factor)))  # fmt: skip
        assert np.abs(got.numpy() - exact).max() < 2e-3 * exact.max(), (points, half)


def test_sticks_far_outside_the_grid_are_left_out_and_neither_wrap_nor_fail():
    grid, one = Grid(start=1000, stop=2000, points=501), torch.ones(1)
    far = torch.tensor([[-9e4, 9e4, 1500.0]])
    alone = broaden(far[:, 2:], torch.ones(1, 1), grid, Line(), one)
    torch.testing.assert_close(broaden(far, torch.ones(1, 3), grid, Line(), one), alone)


def test_corrections_follow_the_kind_of_a_mode():
    correction = {
        "rest": {"scale": 0.965}, "ch": {"scale": 0.955, "intensity": 1.2}, "xh": {"scale": 0.945, "intensity": 0.5}
    }  # fmt: skip
    modality = build(correction=correction, scale=0.5, grid={"start": 100})
    given = sticks([1000.0, 3480.0, 3600.0], [1.0, 1.0, 1.0])
    known = Measurement(arrays={**given.arrays, "stick_kind": np.uint8([0, 1, 2])}, columns=given.columns)
    sample = modality.transform(known, None)
    np.testing.assert_allclose(sample.position, [482.5, 0.5 * 0.955 * 3480, 0.5 * 0.945 * 3600], rtol=1e-6)
    np.testing.assert_allclose(sample.intensity, [1.0, 1.2, 0.5], rtol=1e-6)
    guessed = modality.transform(given, None)  # by wavenumber, so an alkyne's C-H counts as O-H
    assert guessed.kind.tolist() == [0, 2, 2]
    with pytest.raises(SampleError, match="a stick's kind is 3; the kinds are 0 to 2"):
        modality.transform(Measurement(arrays={**given.arrays, "stick_kind": np.uint8([0, 1, 3])}), None)


def test_hydrogen_bonds_broaden_and_lower_the_lines_of_hydrogen_on_oxygen_alone():
    bonds = {"share": 1.0, "shift": [-300.0, -300.0], "width": [10.0, 10.0], "intensity": [2.0, 2.0]}
    still = {"intensity": [1.0, 1.0]}
    wet, dry = (
        build(jitter={**still, **more}, channels=["plain"], normalise="none")
        for more in ({"hydrogen_bonds": bonds}, {})
    )
    given = sticks([1000.0, 3700.0], [1.0, 1.0])
    free, bound = (render(m, given, generator=seeded()).values[0, 0] for m in (dry, wet))
    grid = torch.linspace(500, 4000, 1750)
    low = grid < 2000
    torch.testing.assert_close(bound[low], free[low], atol=1e-4, rtol=0.02)
    assert abs(grid[~low][bound[~low].argmax()] - 3400) <= 2
    assert bound[~low].max() == pytest.approx(2 / (math.pi * 50), rel=0.01)
    assert bound[~low].sum() == pytest.approx(2 * float(free[~low].sum()), rel=0.1)
    none = build(jitter={**still, "hydrogen_bonds": {**bonds, "share": 0.0}}, channels=["plain"], normalise="none")
    torch.testing.assert_close(render(none, given, generator=seeded()).values[0, 0], free, atol=1e-6, rtol=1e-4)


def test_each_kind_of_mode_draws_a_factor_of_its_own():
    modality = build(jitter={"kind_scale": 0.01, "intensity": [1.0, 1.0]}, channels=["plain"])
    many = [sticks([1000.0, 1300.0, 3000.0], [1.0, 1.0, 1.0]) for _ in range(60)]
    values = render(modality, *many, generator=seeded()).values[:, 0].numpy()
    grid = np.linspace(500, 4000, 1750)
    low, next_, high = (
        grid[(grid > a) & (grid < b)][values[:, (grid > a) & (grid < b)].argmax(axis=1)]
        for a, b in ((900, 1150), (1150, 1500), (2500, 3500))
    )
    assert np.std(low / 1000) == pytest.approx(0.01, rel=0.35)
    assert np.abs(low / 1000 - next_ / 1300).max() < 0.004  # of one kind, together
    assert abs(np.corrcoef(low, high)[0, 1]) < 0.4  # of another kind, by itself


def test_fixed_scale_and_shift_move_sticks():
    modality = build(scale=0.96, shift=10.0, channels=["plain"])
    top = render(modality, sticks([2000.0], [1.0])).values[0, 0].argmax()
    grid = np.linspace(500, 4000, 1750)
    assert abs(grid[top] - (0.96 * 2000 + 10)) <= 1.01
    with pytest.raises(SampleError, match="no stick of positive intensity lies on the grid"):
        modality.transform(sticks([500.0], [1.0]), None)


def test_one_measurement_does_not_depend_on_its_neighbours():
    modality = build()
    rng = np.random.default_rng(1)
    many = [sticks(rng.uniform(600, 3500, n), rng.uniform(1, 9, n)) for n in (1, 60, 7)]
    x = np.linspace(400, 4100, 500)
    many.insert(1, measured(x, np.exp(-(((x - 1700) / 20) ** 2))))
    together = render(modality, *many)
    for row, one in enumerate(many):
        torch.testing.assert_close(render(modality, one).values[0], together.values[row], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("generator", [None, seeded()])
def test_no_rows_and_one_row(generator):
    modality = build()
    empty = modality.prepare(modality.collate([]), generator)
    assert empty.values.shape == (0, 3, 1750)
    assert empty.observed.shape == (0, 1750)
    one = render(modality, sticks(), generator=generator)
    assert one.values.shape == (1, 3, 1750)
    assert isinstance(one, SpectrumBatch)


@pytest.mark.parametrize(
    ("measurement", "says"),
    [
        (Measurement(arrays={}), "has none of sticks and curve"),
        (Measurement(arrays=sticks().arrays | measured([1, 2], [1, 2]).arrays), "has both of sticks and curve"),
        (sticks([1000.0, 2000.0], [1.0]), "one length is expected"),
        (sticks([1000.0, np.nan], [1.0, 1.0]), "not a finite number"),
        (measured(5.0, 5.0), "two equal columns"),
        (sticks([1000.0], [0.0]), "no stick of positive intensity"),
        (sticks([-1000.0, 100.0], [1.0, 1.0]), "on the grid of 500-4000 cm^-1"),
        (measured(np.arange(500, 507), np.arange(7)), "7 of 7 points are usable"),
        (measured(np.arange(500, 4000), np.full(3500, np.nan)), "0 of 3500 points are usable"),
        (measured(np.arange(500, 4000), np.zeros(3500)), "constant"),
        (measured(np.arange(500, 700), np.arange(200)), "500-699 cm^-1 covers 6% of the grid; `min_observed`"),
        (measured(np.linspace(2.5, 25, 99), np.arange(99)), "2.5-25 cm^-1 covers 0% of the grid and looks like microm"),
        (measured(np.arange(5000, 6000), np.arange(1000)), "covers 0% of the grid"),
        (measured(np.arange(500, 4000), np.arange(400)), "two equal columns"),
    ],
)
def test_a_measurement_that_cannot_be_used_says_why(measurement, says):
    with pytest.raises(SampleError) as caught:
        build().transform(measurement, None)
    assert says in str(caught.value)
    assert caught.value.id == "ir"


# --- curves ----------------------------------------------------------------------------------------------------------


def test_resampling_keeps_a_fine_curves_area_and_a_coarse_curves_line():
    grid = np.linspace(500, 4000, 1750)
    fine = np.linspace(400, 4100, 37001)
    narrow = np.exp(-(((fine - 1700.3) / 0.5) ** 2))  # narrower than a cell, so interpolation would lose most of it
    values, observed = curve.resample(fine, narrow, grid, 50.0)
    assert observed.all()
    np.testing.assert_allclose(values.sum() * (grid[1] - grid[0]), np.trapezoid(narrow, fine), rtol=1e-6)
    coarse = np.linspace(400, 4100, 371)
    values, _ = curve.resample(coarse, 3 * coarse + 1, grid, 50.0)
    np.testing.assert_allclose(values, 3 * grid + 1, rtol=1e-9)


def test_resampling_agrees_with_brute_force():
    rng = np.random.default_rng(2)
    x = np.sort(rng.uniform(480, 1020, 300))
    y = rng.normal(size=300)
    grid = np.linspace(500, 1000, 101)
    values, observed = curve.resample(x, y, grid, 1e9)
    for i in (0, 17, 50, 100):
        ends = np.linspace(grid[i] - 2.5, grid[i] + 2.5, 200_001)
        assert abs(values[i] - np.interp(ends, x, y).mean()) < 1e-4
    assert observed.all()


def test_what_was_not_measured_is_marked_and_zero():
    x = np.concatenate([np.arange(800, 1500, 2.0), np.arange(1700, 3000, 2.0)])
    batch = render(build(), measured(x, 2 + np.sin(x / 50)))
    grid = np.linspace(500, 4000, 1750)
    expected = ((grid >= 800) & (grid <= 1498)) | ((grid >= 1700) & (grid <= 2998))
    assert batch.observed[0].tolist() == expected.tolist()
    assert (batch.values[0][:, ~batch.observed[0]] == 0).all()
    seen = batch.values[0, 0][batch.observed[0]]
    assert float(seen.max()) == 1.0
    assert float(seen.min()) < 0


def test_a_curve_and_the_sticks_it_came_from_look_alike():
    x = np.linspace(400, 4100, 7401)
    f, a = np.array(WATER[0]), np.array(WATER[1])
    y = (a * 5 / np.pi / ((x[:, None] - f) ** 2 + 25)).sum(axis=1)
    modality = build()
    # The cell mean rounds the tops off a little, hence the tolerance.
    torch.testing.assert_close(
        render(modality, measured(x, y)).values, render(modality, sticks()).values, atol=0.02, rtol=0
    )


def test_descending_duplicate_and_missing_points_are_put_in_order():
    x = np.arange(4100.0, 400.0, -2.0)
    y = np.exp(-(((x - 1700) / 20) ** 2))
    modality = build()
    plain = render(modality, measured(x[::-1], y[::-1])).values
    torch.testing.assert_close(render(modality, measured(x, y)).values, plain)
    y[5] = np.nan
    torch.testing.assert_close(
        render(modality, measured(np.repeat(x, 2), np.repeat(y, 2))).values, plain, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(("method", "window"), [("rubberband", None), ("rolling", 400.0)])
def test_baselines_remove_a_slope_and_keep_a_band(method, window):
    x = np.linspace(500, 4000, 1750)
    band = np.exp(-(((x - 1700) / 15) ** 2))
    tilted = measured(x, band + 0.5 + 2e-4 * x)
    modality = build(baseline={"method": method, "window": window}, channels=["plain"])
    got = render(modality, tilted).values[0, 0].numpy()
    assert np.abs(got - band)[100:-100].max() < 0.05
    assert np.abs(render(build(channels=["plain"]), tilted).values[0, 0].numpy() - band).max() > 0.2


def test_the_rubberband_is_the_lower_hull():
    rng = np.random.default_rng(3)
    x, y = np.sort(rng.uniform(0, 1, 60)), rng.normal(size=60)
    hull = curve.rubberband(x, y)
    # By definition: at each point the lowest of all chords that span it.
    for i in range(60):
        chords = [y[i]] + [
            y[a] + (y[b] - y[a]) * (x[i] - x[a]) / (x[b] - x[a]) for a in range(i) for b in range(i + 1, 60)
        ]
        assert abs(hull[i] - min(chords)) < 1e-12


@pytest.mark.parametrize("how", ["floor", "minmax", "max", "area", "l2", "none"])
def test_normalisation_uses_observed_points_only(how):
    values = torch.tensor([[2.0, 4.0, 3.0, 99.0]])
    observed = torch.tensor([[True, True, True, False]])
    expected = {
        "floor": [0, 1, 0.5, 0],
        "minmax": [0, 1, 0.5, 0],
        "max": [0.5, 1, 0.75, 0],
        "area": [2 / 3, 4 / 3, 1, 0],
        "l2": [2 / 29**0.5, 4 / 29**0.5, 3 / 29**0.5, 0],
        "none": [2, 4, 3, 0],
    }
    torch.testing.assert_close(
        normalise(values, observed, how, 2.0), torch.tensor([expected[how]], dtype=torch.float32)
    )


def test_channels_are_named_in_order():
    root, plain, asinh = render(build(channels=["sqrt", "plain", "asinh"], normalise="minmax"), sticks()).values[0]
    torch.testing.assert_close(root**2, plain)
    torch.testing.assert_close(torch.sinh(asinh * math.asinh(100)) / 100, plain, atol=1e-5, rtol=1e-4)
    assert render(build(channels=["plain"]), sticks()).values.shape == (1, 1, 1750)
    # A line smoothed by a Gaussian is a Voigt line; where it is high, 1 % of it hardly matters.
    sharp, smooth = render(build(channels=["plain", "smooth"], normalise="none"), sticks([2000.0], [1.0])).values[0]
    smooth = torch.sinh(smooth.double() * math.asinh(100)) / 100
    grid = np.linspace(500, 4000, 1750)
    expected = scipy.special.voigt_profile(grid - 2000, 6.0, 5.0)
    near = abs(grid - 2000) < 30
    np.testing.assert_allclose(smooth.numpy()[near], expected[near], rtol=0.03)
    assert float(smooth.max()) < 0.65 * float(sharp.max())


# --- augmentation ----------------------------------------------------------------------------------------------------

STILL = {}  # a jitter of which nothing is asked


def test_no_generator_means_no_chance():
    modality = build()
    assert torch.equal(render(modality, sticks()).values, render(modality, sticks()).values)


def test_a_generator_alone_decides_and_each_spectrum_is_jittered_by_itself():
    modality = build()
    global_state = torch.get_rng_state()
    a = render(modality, sticks(), sticks(), generator=seeded(1)).values
    assert torch.equal(a, render(modality, sticks(), sticks(), generator=seeded(1)).values)
    assert not torch.equal(a, render(modality, sticks(), sticks(), generator=seeded(2)).values)
    assert not torch.allclose(a[0], a[1], atol=0.05)
    assert torch.equal(torch.get_rng_state(), global_state)


@pytest.mark.parametrize("form", ["sticks", "curve"])
def test_still_jitter_changes_nothing(form):
    modality = build(jitter=STILL)
    x = np.linspace(400, 4100, 1000)
    measurement = sticks() if form == "sticks" else measured(x, np.exp(-(((x - 1700) / 20) ** 2)))
    plain, still = render(modality, measurement), render(modality, measurement, generator=seeded())
    torch.testing.assert_close(still.values[:, 0], plain.values[:, 0], atol=1e-3, rtol=0)
    assert still.observed.all()


@pytest.mark.parametrize("form", ["sticks", "curve"])
def test_scale_and_shift_move_sticks_and_curves_alike(form):
    modality = build(jitter=STILL | {"scale": [1.02, 1.02], "shift": [-6, -6]}, channels=["plain"])
    x = np.linspace(400, 4100, 3701)
    measurement = sticks([2000.0], [1.0]) if form == "sticks" else measured(x, np.exp(-(((x - 2000) / 10) ** 2)))
    values = render(modality, measurement, generator=seeded()).values[0, 0].numpy()
    grid = np.linspace(500, 4000, 1750)
    peak = values > 0.5
    assert abs((grid * values)[peak].sum() / values[peak].sum() - (1.02 * 2000 - 6)) < 0.5


def test_a_moved_curve_loses_what_it_moves_in_from_outside():
    grid = torch.linspace(500, 4000, 1751)
    observed = torch.ones(1, 1751, dtype=torch.bool)
    observed[0, 800] = False
    values, seen = warp(torch.ones(1, 1751), observed, grid, torch.ones(1), torch.tensor([5.0]))
    assert (~seen[0]).nonzero().flatten().tolist() == [0, 1, 2, 802, 803]
    assert (values[0] == seen[0].float()).all()


def test_warping_agrees_with_interpolation():
    rng = np.random.default_rng(4)
    grid, y = np.linspace(500, 4000, 700), rng.normal(size=(3, 700))
    scale, shift = np.array([0.98, 1.0, 1.02]), np.array([3.0, -4.0, 0.5])
    as_double = [torch.from_numpy(a) for a in (y, grid, scale, shift)]
    got, seen = warp(as_double[0], torch.ones(3, 700, dtype=torch.bool), *as_double[1:])
    for row in range(3):
        expected = np.interp((grid - shift[row]) / scale[row], grid, y[row])
        np.testing.assert_allclose(got[row][seen[row]].numpy(), expected[seen[row].numpy()], atol=1e-9)


def test_noise_and_intensity_have_the_size_asked_for():
    jitter = STILL | {"noise": [0.03, 0.03]}
    modality = build(jitter=jitter, channels=["plain"], normalise="none")
    clean = render(modality, sticks()).values
    difference = (render(modality, *[sticks()] * 20, generator=seeded()).values - clean) / clean.max()
    assert abs(float(difference.std()) - 0.03) < 5e-4
    assert abs(float(difference.mean())) < 5e-4
    modality = build(jitter=STILL | {"intensity": [0.8, 1.2]}, channels=["plain"])
    tops = render(modality, *[sticks()] * 200, generator=seeded()).values.amax(dim=(1, 2))
    assert 0.8 <= float(tops.min()) < 0.82
    assert 1.18 < float(tops.max()) <= 1.2


def test_noise_averages_out_of_the_floor_but_lifts_a_smallest_value():
    clean, noisy = ({"jitter": {"noise": [level, level]}, "channels": ["plain"]} for level in (0.0, 0.03))
    moved = {}
    for how in ("floor", "minmax"):
        a, b = (render(build(**c, normalise=how), *[sticks()] * 20, generator=seeded()).values for c in (clean, noisy))
        moved[how] = float((b - a).mean())
    assert abs(moved["floor"]) < 0.01 < 0.06 < moved["minmax"]


def test_noise_moves_the_steady_normalisation_less_than_half_as_much():
    """By how much ten percent of noise changes what a spectrum is divided by."""
    rng = np.random.default_rng(5)
    many = [sticks(rng.uniform(600, 3500, 40), rng.exponential(1.0, 40)) for _ in range(60)]
    clean = render(build(channels=["plain"], normalise="none"), *many).values[:, 0]
    seen = torch.ones(clean.shape, dtype=torch.bool)
    noisy = clean + 0.1 * clean.amax(dim=1, keepdim=True) * torch.randn(clean.shape, generator=seeded())
    scale = {}
    for how in ("floor", "steady"):
        a, b = normalise(clean, seen, how, 2.0), normalise(noisy, seen, how, 2.0)
        # both are straight lines of what they were made from
        (slope_a, slope_b) = (float((y[:, :-1] - y[:, 1:]).abs().sum() / (x[:, :-1] - x[:, 1:]).abs().sum())
                              for x, y in ((clean, a), (noisy, b)))  # fmt: skip
        scale[how] = slope_a / slope_b
    assert 2 * abs(scale["steady"] - 1) < abs(scale["floor"] - 1), scale


def test_the_steady_normalisation_does_not_see_beyond_a_window():
    values = torch.zeros(1, 200)
    values[0, 60:70], values[0, 120:] = 1.0, 50.0
    observed = torch.zeros(1, 200, dtype=torch.bool)
    observed[0, 20:118] = True
    expected = normalise(values[:, 20:118], observed[:, 20:118], "steady", 2.0)
    torch.testing.assert_close(normalise(values, observed, "steady", 2.0)[:, 20:118], expected)


def test_a_window_leaves_a_stretch_of_the_size_asked_for_anywhere():
    modality = build(jitter={"window": [0.3, 0.6]})
    batch = render(modality, *[sticks()] * 300, generator=seeded())
    parts = batch.observed.float().mean(dim=1)
    assert 0.299 < float(parts.min()) < 0.32
    assert 0.58 < float(parts.max()) < 0.601
    assert (batch.observed.int().diff(dim=1).abs().sum(dim=1) <= 2).all()  # one stretch
    assert batch.observed[:, :9].any()
    assert batch.observed[:, -9:].any()
    assert (batch.values.masked_select(~batch.observed[:, None]) == 0).all()


def test_each_spectrum_draws_one_of_several_jitters():
    modality = build(jitter=[{}, {"intensity": [2.0, 2.0]}, {"intensity": [3.0, 3.0]}])
    tops = render(modality, *[sticks()] * 300, generator=seeded()).values[:, 0].amax(dim=1).round().int()
    assert [70 < int((tops == n).sum()) < 130 for n in (1, 2, 3)] == [True] * 3


def test_sticks_move_by_themselves_when_asked():
    measurement = sticks([1000.0, 2000.0, 3000.0], [1.0, 1.0, 1.0])
    still = render(build(channels=["plain"]), measurement).values
    moved = render(
        build(jitter=STILL | {"stick_shift": 20.0}, channels=["plain"]), measurement, generator=seeded()
    ).values
    louder = render(
        build(jitter=STILL | {"stick_intensity": 0.5}, channels=["plain"]), measurement, generator=seeded()
    ).values
    assert not torch.allclose(moved, still, atol=0.1)
    at = [250, 750, 1250]
    assert torch.equal(louder[0, 0] > 0.3, (louder[0, 0] > 0.3) & (still[0, 0] > 0.3))
    assert len({round(float(louder[0, 0, i]), 3) for i in at}) == 3


def test_mixed_precision_does_not_reach_the_line_sums():
    modality = build()
    plain = render(modality, sticks()).values
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(render(modality, sticks()).values, plain)


def test_a_jittered_curve_has_no_noise_where_nothing_was_measured():
    x = np.arange(800, 3000, 2.0)
    batch = render(build(), measured(x, 2 + np.sin(x / 50)), generator=seeded())
    assert (batch.values[0][:, ~batch.observed[0]] == 0).all()
    assert torch.isfinite(batch.values).all()


# --- similarity, examples, workers -----------------------------------------------------------------------------------


def test_similarity_agrees_with_the_definition():
    rng = np.random.default_rng(6)
    pairs = [(rng.uniform(600, 3500, 12), rng.uniform(1, 50, 12)) for _ in range(4)]
    references = [sticks(*pair) for pair in pairs]
    roots = [np.sqrt(lorentzian_reference(*pair)) for pair in pairs]
    expected = [roots[1] @ r / np.linalg.norm(roots[1]) / np.linalg.norm(r) for r in roots]
    got = build().similarity(references[1], references)
    np.testing.assert_allclose(got, expected, atol=4e-3)  # square roots lift what is left between lines
    assert got.argmax() == 1


def test_similarity_looks_at_the_overlap_and_puts_unusable_references_last():
    x = np.linspace(400, 4100, 3701)
    f, a = np.array(WATER[0]), np.array(WATER[1])
    y = (a * 5 / np.pi / ((x[:, None] - f) ** 2 + 25)).sum(axis=1)
    half = measured(x[:2000], y[:2000])
    references = [sticks(), sticks([100.0], [1.0]), sticks([800.0, 2200.0], [1.0, 1.0]), half]
    got = build().similarity(half, references)
    assert got[0] > 0.95
    assert got[1] == -1.0
    assert got[2] < 0.6
    np.testing.assert_allclose(got[3], 1.0, rtol=1e-5)
    with pytest.raises(SampleError, match="no stick"):
        build().similarity(references[1], references)
    assert build().similarity(half, []).shape == (0,)


def test_similarity_renders_the_references_again_when_they_change():
    modality, first, second = build(), sticks([800.0], [1.0]), sticks([2200.0], [1.0])
    pool = [first, second]
    assert modality.similarity(first, pool).argmax() == 0
    pool.reverse()
    assert modality.similarity(first, pool).argmax() == 1


def molecule(smiles):
    return Molecule(key14=smiles, smiles=smiles, formula="", exact_mass=0.0)


@pytest.mark.parametrize("record", [IR, RAMAN])
def test_examples_are_repeatable_and_alike_for_like_molecules(record):
    modality = build(record)
    names = ["CCCCO", "CCCCCO", "c1ccccc1C#N", "O"]
    first, again = (modality.example([molecule(n) for n in names], 3) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.arrays["stick_wavenumber"], b.arrays["stick_wavenumber"])
        np.testing.assert_array_equal(a.arrays["stick_intensity"], b.arrays["stick_intensity"])
    other = modality.example([molecule("CCCCO")], 4)[0]
    assert not np.array_equal(other.arrays["stick_wavenumber"], first[0].arrays["stick_wavenumber"])
    alike = modality.similarity(first[0], first)
    assert alike[1] > 0.9 > alike[2]


def test_the_modality_crosses_process_borders():
    modality = build(RAMAN, line={"width": 8})
    modality.similarity(sticks(), [sticks()])
    copy = pickle.loads(pickle.dumps(modality))
    assert copy.config == modality.config
    assert torch.equal(render(copy, sticks()).values, render(modality, sticks()).values)


def test_peaks_are_the_strong_sticks_on_the_grid_and_the_maxima_of_a_curve():
    weak = sticks([*WATER[0], 2000.0, 300.0, 4500.0], [*WATER[1], 0.5, 99.0, 99.0])
    halved = build(scale=0.5, grid={"start": 500, "stop": 2000})
    assert halved.peaks(weak).tolist() == [769.5, 1821.5, 1825.5]
    x = np.linspace(400, 4100, 7401)
    places = np.array([800.0, 1700.0, 2950.0])
    y = 3 + x / 1000 + sum(1 / (1 + ((x - place) / 8) ** 2) for place in places)
    found = build().peaks(measured(x, 100 * y))
    np.testing.assert_allclose(found, places, atol=2.0)
    assert curve.maxima(np.array([0.0, 1.0, 1.0, 1.0, 0.0]), 1, 0.1).tolist() == [1]


def test_real_sticks_against_the_protocol(shared_data):
    modality = build(RAMAN, channels=["plain"], normalise="minmax")
    readings = [reading for reading, _ in zip(modality.read(shared_data / "nist-xtb.npz"), range(40), strict=False)]
    values = render(modality, *[r.measurement for r in readings]).values[:, 0].numpy()
    for row, reading in enumerate(readings):
        arrays = reading.measurement.arrays
        expected = lorentzian_reference(*(arrays[k].astype(float) for k in ("stick_wavenumber", "stick_intensity")))
        np.testing.assert_allclose(values[row], expected, atol=2e-4)


def test_measured_spectra_make_batches_unless_they_barely_overlap(shared_data):
    modality = build()
    refused, samples = [], []
    for path in sorted((shared_data / "nist-ir" / "jdx").glob("*.jdx"))[::6]:
        for reading in modality.read(path):
            try:
                samples.append(modality.transform(reading.measurement, None))
            except SampleError as error:
                refused.append(str(error))
    batch = modality.prepare(modality.collate(samples), None)
    assert torch.isfinite(batch.values).all()
    assert (batch.values.amax(dim=(1, 2)) == 1.0).all()
    assert all("of the grid; `min_observed` asks for" in message for message in refused)
    assert len(samples) > 10 * len(refused)
