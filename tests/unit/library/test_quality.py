"""Doubtful queries: what the vibrational modalities say of a curve, what searches make of it, and of unlike queries."""

import csv
import dataclasses
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from molchord.api import Inspects, Measurement, QualityWarning
from molchord.domain import domain_of
from molchord.errors import QueryError
from molchord.evaluate.calibration import calibrate, likeness
from molchord.evaluate.embedded import Embedded, Spectra, queries_of, subsets
from molchord.library.library import Hit
from molchord.library.quality import beyond_training, inspected, out_of_distribution, warned
from molchord.run import Run
from molchord.run_folder import RunManifest
from molchord.testing import tiny_run
from molchord_modalities.ir import IR
from molchord_modalities.quality_warnings import curve_warnings
from molchord_modalities.raman import RAMAN
from molchord_modalities.vibrational_settings import VibrationalConfig

ROOT = Path(__file__).resolve().parents[3]
GRID = np.linspace(500, 4000, 1750)
X = np.arange(400.0, 4001.0, 2.0)
BANDS = ((700, 10, 0.4), (1050, 12, 0.7), (1450, 15, 0.5), (1715, 10, 1.0), (2950, 30, 0.6), (3400, 60, 0.3))


def spectrum():
    y = sum(height / (1 + ((X - place) / width) ** 2) for place, width, height in BANDS)
    return y / y.max()


def absorbed(y):
    """Return transmittance as a fraction, of a strongest absorbance of 0.8."""
    return 10 ** (-0.8 * y / y.max())


def noise(size, level):
    return level * np.random.default_rng(0).normal(size=size)


def slope(y, height):
    return y + height * np.linspace(0, 1, len(y))


def part(x, y, low, high):
    keep = (x >= low) & (x <= high)
    return x[keep], y[keep]


FAULTS = {
    "wavelengths in nm": (lambda x, y: (np.sort(1e7 / x), y[np.argsort(1e7 / x)]), "its abscissa reaches 25000"),
    "transmittance": (lambda x, y: (x, absorbed(y)), "it hangs from its top"),
    "logarithm of absorbance": (lambda x, y: (x, -np.log10(np.maximum(0.8 * y, 1e-3))), "it hangs from its top"),
    "upside down": (lambda x, y: (x, -y), "it hangs from its top"),
    "inverted on a slope": (lambda x, y: (x, slope(-y, 2.0)), "it hangs from its top"),
    "fractions as per cent": (
        lambda x, y: (x, np.minimum(-np.log10(absorbed(y) / 100), 3.0)),
        "its lowest absorbance is 2.0",
    ),
    "a tenth": (lambda x, y: part(x, y, 1500, 1850), "it covers 10% of the grid of 500-4000"),
    "half": (lambda x, y: part(x, y, 500, 2250), "it covers 50% of the grid"),
    "noise": (lambda x, y: (x, y + noise(len(y), 0.1)), "its noise has a standard deviation of "),
    "noise only": (lambda x, y: (x, noise(len(y), 1.0)), "its noise has a standard deviation of "),
    "slope": (lambda x, y: (x, slope(y, 1.0)), "its baseline rises by "),
    "falling slope": (lambda x, y: (x, slope(y, 1.0)[::-1]), "its baseline rises by "),
    "hump": (lambda x, y: (x, y + np.exp(-(((x - 1800) / 900) ** 2))), "its baseline rises by "),
    "clipped": (lambda x, y: (x, np.minimum(y, 0.2)), "its strongest band is cut off flat over "),
}


def doubts_of(x, y, record=IR, **config):
    modality = record.build(VibrationalConfig.model_validate(config), "spectrum1d")
    name = "absorbance" if record is IR else "intensity"
    return modality.inspect(Measurement(arrays={"wavenumber": np.float32(x), name: np.float32(y)}))


# --- what the modality says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", [IR, RAMAN])
def test_a_sound_curve_leaves_no_doubt(record):
    assert isinstance(record.build(VibrationalConfig(), "spectrum1d"), Inspects)
    y = spectrum()
    for sound in (y, y + noise(len(y), 0.01), 1e-4 * y, 1000 * y, slope(y, 0.1), y + 0.3):
        assert doubts_of(X, sound, record) == []


@pytest.mark.parametrize("record", [IR, RAMAN])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_and_lowers_the_trust(fault, record):
    change, says = FAULTS[fault]
    found = doubts_of(*change(X, spectrum()), record)
    assert [doubt.message[: len(says)] for doubt in found] == [says]
    assert 0 <= found[0].confidence_factor < 1


def test_less_of_the_grid_is_trusted_less():
    trust = [doubts_of(*part(X, spectrum(), 500, top))[0].confidence_factor for top in (3500, 2250, 1000, 850)]
    assert trust == sorted(trust, reverse=True)
    assert trust[0] == pytest.approx(0.5 ** (10 * 500 / 3500), rel=0.01)
    assert trust[-1] < 0.01


def test_more_noise_is_trusted_less():
    y = spectrum()
    trust = [doubts_of(X, y + noise(len(y), level))[0].confidence_factor for level in (0.05, 0.1, 0.3)]
    assert trust == sorted(trust, reverse=True)


def test_sticks_and_a_corrected_baseline_leave_no_doubt():
    sticks = Measurement(arrays={"stick_wavenumber": np.float32([900.0]), "stick_intensity": np.float32([1.0])})
    assert IR.build(VibrationalConfig(), "spectrum1d").inspect(sticks) == []
    sloping = slope(spectrum(), 1.0)
    assert len(doubts_of(X, sloping)) == 1
    assert doubts_of(X, sloping, baseline={"method": "rubberband"}) == []


def test_a_tenth_of_the_grid_can_be_searched_with():
    x, y = part(X, spectrum(), 1500, 1850)
    measurement = Measurement(arrays={"wavenumber": np.float32(x), "absorbance": np.float32(y)})
    sample = IR.build(VibrationalConfig(), "spectrum1d").transform(measurement, None)
    assert 0.09 < sample.observed.mean() < 0.11


def test_a_constant_curve_and_one_beside_the_grid_are_judged_without_failing():
    assert curve_warnings(X, np.ones_like(X), GRID, 50.0) == []
    assert [d.confidence_factor for d in curve_warnings(np.linspace(4500, 5000, 99), np.arange(99.0), GRID, 50.0)] == [
        0.5**10
    ]


def test_a_hole_is_no_baseline_and_no_flat_top():
    y = spectrum()
    alone = (X == 500) | (X >= 620)  # the first two points observed are 120 cm^-1 apart
    told = [d.message for d in doubts_of(X[alone], y[alone])]
    assert all(message.startswith("it covers") for message in told)
    # Each half lies flat, at two levels; the height between them and the top on either side are no faults of a stretch.
    halves = np.where(X < 2000, y, y + 0.5)
    kept = (X < 1730) | (X > 2300)
    told = [d.message for d in doubts_of(X[kept], halves[kept])]
    assert [message[:9] for message in told] == ["it covers"]


def test_faults_are_seen_beside_a_hole():
    kept = (X < 2200) | (X > 2500)
    for fault in ("upside down", "clipped", "slope", "noise"):
        change, says = FAULTS[fault]
        x, y = change(X, spectrum())
        told = [d.message for d in doubts_of(x[kept], y[kept])]
        assert [message[:9] for message in told[:1]] == ["it covers"]
        assert any(message.startswith(says) for message in told)


def test_gas_phase_spectra_are_sound_and_the_same_upside_down_are_not(shared_data):
    folder = shared_data / "nist-ir"
    with (folder / "index.csv").open() as file:
        names = [row["file"] for row in csv.DictReader(file) if row["origin"] in ("MSDC-IR", "QUANT-IR")]
    modality = IR.build(VibrationalConfig(), "spectrum1d")
    warned, inverted = [], []
    for name in names[::4]:
        for reading in modality.read(folder / "jdx" / name):
            arrays = reading.measurement.arrays
            warned += modality.inspect(reading.measurement)
            inverted.append(doubts_of(arrays["wavenumber"], -arrays["absorbance"]))
    assert warned == []
    assert all(found and found[0].confidence_factor < 0.05 for found in inverted)
    assert len(inverted) > 100


# --- what a search makes of it ---------------------------------------------------------------------------------------


def hit(rank=1, probability=0.8, **cosines):
    known = {"key14": "A", "smiles": "C", "formula": "CH4", "exact_mass": 16.0313}
    return Hit(rank=rank, score=0.5, cosines=cosines, probability=probability, **known)


def test_the_lowest_trust_counts_and_every_doubt_is_warned_of():
    doubts = [QualityWarning("first", 0.5), QualityWarning("second", 0.25)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = warned([hit(), hit(2, None)], doubts, stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["first", "second"]
    assert [h.probability for h in found] == [0.2, None]
    assert found[0].quality_warnings == found[1].quality_warnings == ("first", "second")


def test_without_doubts_hits_stay_as_they_are():
    assert warned([hit()], [], stacklevel=1) == [hit()]
    assert inspected(object(), "ir", [Measurement(arrays={})]) == []


def test_only_a_best_hit_less_alike_than_own_molecules_is_unfamiliar():
    tau, both = {"ir": 0.1, "raman": 0.3}, hit(ir=0.2, raman=0.6)
    mean = (0.2 / 0.1 + 0.6 / 0.3) / (1 / 0.1 + 1 / 0.3)
    assert (
        out_of_distribution(both, tau, {"ir": [(0.9, 0.05)], "raman": [(0.9, 0.05)]}) == []
    )  # nothing fitted for the two
    assert out_of_distribution(both, tau, {"ir + raman": [(0.1, 0.01), (mean - 1e-9, 0.05)]}) == []
    lower = [(mean - 0.1, 0.01), (mean - 0.05, 0.02), (mean + 0.05, 0.04), (mean + 0.1, 0.05)]
    (found,) = out_of_distribution(both, tau, {"ir + raman": lower})
    assert found.confidence_factor == pytest.approx(0.4)
    assert "the query of 'ir + raman' is doubtful: its best candidate has a mean cosine of 0.30" in found.message
    assert "98.0% of the validation queries are more like their own molecule" in found.message
    (below,) = out_of_distribution(hit(ir=0.2), tau, {"ir": [(0.3, 0.01), (0.4, 0.05)]})
    assert below.confidence_factor == pytest.approx(0.1)


def test_candidates_beyond_the_training_set_are_marked_one_by_one():
    known = {"ir": domain_of(["CH4O"] * 300), "msms": domain_of(["CH4O"] * 290 + ["CH3Br"] * 10)}
    usual = dataclasses.replace(hit(ir=0.2), formula="CH4O", quality_warnings=("said before",))
    strange = dataclasses.replace(hit(2, ir=0.2), formula="CH3Br", quality_warnings=("said before",))
    with pytest.warns(UserWarning, match="hit 2 is beyond") as caught:
        found = beyond_training([usual, strange, dataclasses.replace(strange, rank=3)], known, stacklevel=1)
    why = "beyond what 'ir' was trained on: it has Br, which none of 300 training molecules holds"
    assert [str(w.message) for w in caught] == [
        f"hit 2 is {why}; 2 of 3 hits are beyond the training set; their probability is lowered to a tenth"
    ]
    assert found[0] == usual
    assert found[1].quality_warnings == ("said before", f"the candidate is {why}")
    assert found[1].probability == pytest.approx(0.08)
    # A spectrum that the search did not use, or of which nothing is known, has no say.
    for spectra in ({"msms": 0.1}, {"raman": 0.1}):
        other = dataclasses.replace(strange, cosines=spectra)
        assert beyond_training([other], known, stacklevel=1) == [other]
    without = dataclasses.replace(strange, probability=None)
    with pytest.warns(UserWarning, match="hit 2 is beyond"):
        assert beyond_training([without], known, stacklevel=1)[0].probability is None


def towers(molecules, queries, spectra, seed=0):
    """Spectra that are as like their molecules as 1.2 of noise to 1 of signal leaves them, some of them hardly."""
    rng = np.random.default_rng(seed)

    def unit(values):
        return torch.nn.functional.normalize(torch.from_numpy(values).float(), dim=1)

    space, molecule = rng.normal(size=(molecules, 32)), np.arange(queries)
    hard = np.where(rng.random(queries) < 0.1, 3.0, 1.0)[:, None]
    parts = {
        name: Spectra(molecule=molecule, vectors=unit(space[:queries] + 1.2 * hard * rng.normal(size=(queries, 32))))
        for name in spectra
    }
    return Embedded(
        key14=[str(i) for i in range(molecules)], smiles=["C"] * molecules, formula=["CH4"] * molecules,
        exact_mass=np.ones(molecules), split=np.where(np.arange(molecules) < queries, 1, 0),
        trained=np.zeros(molecules, bool), candidates=unit(space), present=np.ones(molecules, bool), spectra=parts,
        tau=dict.fromkeys(spectra, 0.1),
    )  # fmt: skip


def test_of_queries_whose_molecule_is_there_one_in_twenty_is_doubted_at_most_whatever_the_pool():
    embedded = towers(900, 400, ("a", "b", "c"))
    tau, _ = calibrate(embedded)
    lower = likeness(embedded)
    assert len(lower) == 7
    rng = np.random.default_rng(1)
    for subset in subsets(["a", "b", "c"]):
        queries = queries_of(embedded, subset, "val")
        cosines = {m: vectors @ embedded.candidates.T for m, vectors in queries.vectors(embedded).items()}
        total = sum(cosine / tau[m] for m, cosine in cosines.items())
        flagged = {True: 0, False: 0}
        trusted = {True: 0.0, False: 0.0}
        for row, own in enumerate(queries.molecule):
            for there in (True, False):
                pool = rng.choice(np.arange(400, 900), 9, replace=False)
                pool = [own, *pool] if there else pool
                first = int(pool[int(total[row, pool].argmax())])
                found = out_of_distribution(hit(**{m: float(c[row, first]) for m, c in cosines.items()}), tau, lower)
                flagged[there] += bool(found)
                trusted[there] += found[0].confidence_factor if found else 1.0
        assert flagged[True] <= 0.05 * len(queries)
        assert trusted[True] >= 0.95 * len(queries)
        if len(subset) == 3:  # one spectrum is hardly more like its molecule than some of nine others are
            assert flagged[False] > 0.5 * len(queries)
            assert trusted[False] < 0.7 * len(queries)


def test_likeness_is_the_lower_end_of_the_own_cosines_against_brute_force():
    rng = np.random.default_rng(0)
    unit = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(240, 8))).float(), dim=1)
    present = rng.random(40) > 0.2
    molecule = rng.integers(0, 40, 200)
    embedded = Embedded(
        key14=[str(i) for i in range(40)], smiles=["C"] * 40, formula=["CH4"] * 40, exact_mass=np.ones(40),
        split=np.where(np.arange(40) < 20, 1, 0), trained=np.zeros(40, bool), candidates=unit[:40], present=present,
        spectra={
            "ir": Spectra(molecule=molecule, vectors=unit[40:]),
            "raman": Spectra(molecule=np.arange(40)[:3], vectors=unit[:3]),
        },
    )  # fmt: skip
    mine = [i for i in range(200) if molecule[i] < 20 and present[molecule[i]]]
    own = sorted(float(unit[40 + i] @ unit[molecule[i]]) for i in mine)
    assert 60 < len(own) < 110
    found = likeness(embedded)
    assert list(found) == ["ir"]  # of three queries nothing is known of one in twenty
    values, shares = zip(*found["ir"], strict=True)
    assert values == pytest.approx(own[: len(values)], abs=1e-6)
    assert shares == pytest.approx([(k + 2) / (len(own) + 1) for k in range(len(values))])
    assert shares[-1] <= 0.05 < (len(values) + 2) / (len(own) + 1)
    assert len(likeness(embedded, most=0.9, points=7)["ir"]) == 7


@pytest.fixture
def run():
    found = Run.load(tiny_run().path, device="cpu")
    found.manifest.beta, found.manifest.likeness = {1: 1.0}, {}
    return found


def curve_measurement(y):
    return Measurement(arrays={"wavenumber": np.float32(X), "absorbance": np.float32(y)})


def test_a_faulty_query_is_answered_with_a_warning_and_a_lower_probability(run, tmp_path):
    library = run.library(["CCO", "CC#N", "CSC", "CCC"])
    path = tmp_path / "up.csv"
    path.write_text("cm-1,absorbance\n" + "\n".join(f"{a},{b}" for a, b in zip(X, 2 - spectrum(), strict=True)))
    with pytest.warns(UserWarning, match="the measurement of 'ir' is doubtful: it hangs from its top"):
        hits = run.search(library, ir=path, k=4)
    assert 0 < sum(h.probability for h in hits) == pytest.approx(0.02)
    assert json.loads(json.dumps(hits[0].quality_warnings)) == [hits[0].quality_warnings[0]]
    sound = run.search(library, ir=curve_measurement(spectrum()), k=4)
    assert sum(h.probability for h in sound) == pytest.approx(1.0)
    assert sound[0].quality_warnings == ()


def test_which_of_several_measurements_is_doubtful_is_said(run):
    library = run.library(["CCO", "CC#N"])
    y = spectrum()
    with pytest.warns(UserWarning, match=r"the measurement of 'ir' \(2 of 2\) is doubtful"):
        run.search(library, ir=[curve_measurement(y), curve_measurement(-y)])


def test_an_unlike_query_is_doubted_in_any_blind_search(run):
    library = run.library(["CCO", "CC#N", "CSC"])
    run.manifest.likeness = {"ir": [(-1.0, 0.01), (1.01, 0.05)]}
    query = curve_measurement(spectrum())
    with pytest.warns(UserWarning, match="or the measurement is unlike what the run was trained on"):
        one = run.search(library, ir=query, k=1)
    with pytest.warns(UserWarning, match="unlike"):
        three = run.search(library, ir=query, k=3)
    assert len(one) == 1
    # Candidates that are not scored count by their fp32 inner product among those that share the probability.
    assert one[0].probability == pytest.approx(three[0].probability, rel=1e-6)
    assert dataclasses.replace(one[0], probability=three[0].probability) == three[0]
    assert sum(h.probability for h in three) == pytest.approx(0.2)
    for options in ({"formula": "C2H6O"}, {"fusion": "gm-half"}):
        with pytest.warns(UserWarning, match="unlike"):
            assert len(run.search(library, ir=query, **options)[0].quality_warnings) == 1
    run.manifest.likeness = {"ir": [(-1.0, 0.05)]}
    assert run.search(library, ir=query)[0].quality_warnings == ()


def test_the_shipped_model_gives_an_absent_molecule_little_of_the_probability():
    run = Run.load("pretrained")
    there, others = "CC(=NC#N)N(C)Cc1ccc(Cl)nc1", ["CC(=O)c1ccccc1", "c1ccccc1", "CCO", "CC(C)=O", "c1ccncc1"]
    query = {name: ROOT / f"examples/unknown-ordinary/{name}.csv" for name in ("ir", "raman")}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "none of these" says it, no warning says it again
        absent = run.search(run.library(others), **query)
    assert absent[0].quality_warnings == ()
    assert sum(hit.probability or 0 for hit in absent) < 0.3
    assert absent.none_of_these > 0.7
    found = run.search(run.library([there, *others]), **query)
    assert found[0].smiles == there
    assert found[0].probability > 0.7
    assert found.none_of_these < 0.3


def test_hits_of_less_than_one_are_refused(run):
    with pytest.raises(QueryError, match="`k` is 0"):
        run.search(run.library(["CCO"]), ir=curve_measurement(spectrum()), k=0)


def test_of_four_validation_queries_nothing_is_known_of_one_in_twenty():
    assert tiny_run().manifest.likeness == {}


def test_a_manifest_of_an_earlier_version_is_read():
    manifest = tiny_run().manifest
    old = manifest.model_dump() | {"pool": 3, "familiar": {"ir": 0.5}, "trust": {}}
    assert RunManifest.model_validate(old) == manifest
