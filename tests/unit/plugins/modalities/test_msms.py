"""The modality `msms`: readers, cleaning, columns, augmentation, spectral entropy similarity."""

import gzip
import math
import pickle
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from pydantic import ValidationError
from rdkit import Chem
from rdkit.Chem.rdMolDescriptors import CalcExactMolWt

from molchord.api import Compares, Measurement, Molecule, Reading, SampleError
from molchord.chem import canonical_adduct
from molchord_modalities import msms_modality
from molchord_modalities.mass_spectra import collision_energy
from molchord_modalities.msms import ADDUCTS, MSMS, MsmsConfig
from molchord_modalities.msms_modality import Msms
from molchord_modalities.msms_settings import Bins, Jitter
from molchord_modalities.spectral_entropy import entropy_similarity

MGF = """\
COM=a comment
LICENSE=CC0
BEGIN IONS
TITLE=A1
SMILES=CCO
PEPMASS=47.0491 1200.5
ADDUCT=
IONMODE=POSITIVE
COLLISION_ENERGY=35 % (nominal)
45.0335 0.5 1+
29.0386\t1
END IONS

BEGIN IONS
TITLE=A2
INCHI=InChI=1S/CH4O/c1-2/h2H,1H3
PEPMASS=31.0189
ADDUCT=[M-H]-
LICENSE=CC BY
13.008 -4
15.0235 8
END IONS
"""
MSP = """\
Name: Ethanol
Synon: $:03[M+H]+
DB#: A1
SMILES: CCO
Precursor_type: [M+H]+
Spectrum_type: MS2
PrecursorMZ: 47.0491
Instrument_type: LC-ESI-QTOF
Ion_mode: POSITIVE
Collision_energy: 20 eV
License: CC0
Num Peaks: 2
29.0386 100 "C2H5+ 0.1 ppm"
45.0335 50

NAME: Methanol
PRECURSORMZ: 31.0189
PRECURSORTYPE: [M-H]-
IONMODE: Negative
SMILES: CO
Num Peaks: 3
13.008 -4; 15.0235 8;
31.0189 2
NAME: MoNA
Comments: "SMILES=CN" "collision energy=10" "adduct=[M+H]+"
Num Peaks: 1
15.0235 999
"""


def write(folder, text: str, name: str = "a.mgf"):
    path = folder / name
    path.write_bytes(text.encode())
    return path


def msms(kind: str = "peaks", **config: object) -> Msms:
    return MSMS.build(MsmsConfig.model_validate(config), kind)


def readings(path) -> list[Reading | SampleError]:
    return list(msms().read(path))


def spectrum(mz, intensity, **columns) -> Measurement:
    arrays = {"mz": np.array(mz, np.float32), "intensity": np.array(intensity, np.float32)}
    return Measurement(arrays=arrays, columns={"precursor_mz": 500.0, **columns})


def molecule(smiles: str) -> Molecule:
    parsed = Chem.MolFromSmiles(smiles)
    mass = CalcExactMolWt(parsed)
    return Molecule(key14=Chem.MolToInchiKey(parsed)[:14], smiles=smiles, formula="", exact_mass=mass)


# --- record ----------------------------------------------------------------------------------------------------------


def test_record_loads_nothing_heavy():
    code = (
        "import sys; from molchord_modalities.msms import MSMS as m;"
        "[m.spec(m.config(), kind) for kind in m.kinds];"
        "print([m for m in ('torch', 'numpy', 'rdkit') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("kind", MSMS.kinds)
def test_precursor_is_a_column_only_where_asked_for(kind):
    assert "precursor_mz" not in MSMS.spec(MsmsConfig(), kind).whole
    assert "precursor_mz" in MSMS.spec(MsmsConfig(precursor=True), kind).whole
    measurement = spectrum([100, 200], [1, 2])
    assert "precursor_mz" not in msms(kind).transform(measurement, None).whole
    assert msms(kind, precursor=True).transform(measurement, None).whole["precursor_mz"] == 500.0


@pytest.mark.parametrize(
    ("stated", "ionisation", "analyser"),
    [("LC-ESI-QFT", "ESI", "QFT"), ("GC-APCI-QTOF", "APCI", "QTOF"), ("MALDI-QITTOF", "MALDI", "QITTOF"),
     ("Orbitrap", None, "QFT"), ("Q-TOF", None, "QTOF"), ("FAB-EBEB", "FAB", None), ("magic", None, None), (None, None, None)],
)  # fmt: skip
def test_ionisation_and_analyser_are_columns_where_asked_for(stated, ionisation, analyser):
    modality = msms("peaks", instrument=True)
    whole = MSMS.spec(MsmsConfig(instrument=True), "peaks").whole
    assert not {"ionisation", "analyser"} & set(MSMS.spec(MsmsConfig(), "peaks").whole)
    sample = modality.transform(spectrum([100, 200], [1, 2], instrument_type=stated), None)
    assert sample.whole["ionisation"] == whole["ionisation"].code(ionisation)
    assert sample.whole["analyser"] == whole["analyser"].code(analyser)
    assert sample.whole["analyser"] == 0 or analyser is not None


@pytest.mark.parametrize("kind", MSMS.kinds)
@pytest.mark.parametrize(("precursor", "remove", "tells"), [(0, 1, False), (1, 1, True), (0, 0, True), (1, 0, True)])
def test_the_precursor_tells_the_mass_as_a_column_or_as_a_peak(kind, precursor, remove, tells):
    config = MsmsConfig(precursor=bool(precursor), remove_precursor=bool(remove))
    assert MSMS.spec(config, kind).reveals_mass is tells


@pytest.mark.parametrize(
    "config", [{"bins": {"start": 9, "stop": 9}}, {"jitter": {"drop": 1.0}}, {"max_peaks": 0}, {"peaks": 3}]
)
def test_config_refuses(config):
    with pytest.raises(ValidationError):
        MsmsConfig.model_validate(config)


# --- readers ---------------------------------------------------------------------------------------------------------


def test_mgf_says_everything(tmp_path):
    first, second = readings(write(tmp_path, MGF))
    assert (first.smiles, first.location) == ("CCO", "a.mgf: entry 1 (A1)")
    assert first.measurement.arrays["mz"].tolist() == pytest.approx([29.0386, 45.0335])
    assert first.measurement.arrays["intensity"].tolist() == [1.0, 0.5]
    columns = dict(first.measurement.columns)
    assert math.isnan(columns.pop("collision_energy"))
    assert columns == {
        "adduct": None,
        "ion_mode": "positive",
        "normalised_energy": 35.0,
        "energy_text": "35 % (nominal)",
        "precursor_mz": 47.0491,
        "instrument_type": None,
        "license": "CC0",
        "title": "A1",
        "origin": "measured",
    }
    assert set(first.measurement.columns) == {*MSMS.stores.columns, "origin"}
    assert (second.smiles, second.measurement.columns["license"]) == ("CO", "CC BY")
    assert second.measurement.columns["ion_mode"] == "negative"  # from the adduct
    assert second.measurement.arrays["mz"].tolist() == pytest.approx([15.0235])  # the negative peak is none


def test_msp_of_three_writers(tmp_path):
    nist, riken, mona = readings(write(tmp_path, MSP, "a.msp"))
    assert (nist.smiles, riken.smiles, mona.smiles) == ("CCO", "CO", "CN")
    assert [r.measurement.columns["adduct"] for r in (nist, riken, mona)] == ["[M+H]+", "[M-H]-", "[M+H]+"]
    assert [r.measurement.columns["collision_energy"] for r in (nist, mona)] == [20.0, 10.0]
    assert nist.measurement.columns["title"] == "A1"
    assert nist.measurement.arrays["intensity"].tolist() == [1.0, 0.5]
    assert riken.measurement.arrays["mz"].tolist() == pytest.approx([15.0235, 31.0189])
    assert riken.measurement.columns["ion_mode"] == "negative"


@pytest.mark.parametrize("text", [MGF, MSP])
@pytest.mark.parametrize("change", ["crlf", "gzip", "latin-1", "bom", "no final newline"])
def test_encodings_do_not_matter(tmp_path, text, change):
    reference = readings(write(tmp_path, text))
    data = text.encode()
    match change:
        case "crlf":
            data = data.replace(b"\n", b"\r\n")
        case "gzip":
            data = gzip.compress(data)
        case "latin-1":
            data = data.replace(b"a comment", b"\xe9").replace(b"Ethanol", b"\xc9thanol")
        case "bom":
            data = b"\xef\xbb\xbf" + data
        case _:
            data = data.rstrip()
    path = tmp_path / "a.mgf"
    path.write_bytes(data)
    assert msms().can_read(path)
    again = readings(path)
    assert len(again) == len(reference)
    for one, other in zip(again, reference, strict=True):
        assert one.smiles == other.smiles
        np.testing.assert_array_equal(one.measurement.arrays["mz"], other.measurement.arrays["mz"])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("TITLE=B\nPEPMASS=9\n", "entry 2 (B): has no peak with a positive intensity"),
        ("TITLE=B\n12.0 0\n13.0 -1\n", "entry 2 (B): has no peak with a positive intensity"),
        ("12.0 abc\n", "entry 2: line 14: '12.0 abc' is not a pair"),
        ("12.0\n", "entry 2: line 14: '12.0' is not a pair"),
        ("12.0 nan\n", "entry 2: line 14: m/z 12.0 with intensity nan is not a peak"),
        ("-12.0 3\n", "is not a peak"),
        ("12.0 3\nBEGIN IONS\n12.0 3\n", "line 15: BEGIN IONS before the entry's END IONS"),
    ],
)
def test_one_bad_mgf_entry_lets_the_next_ones_through(tmp_path, bad, reason):
    head, _, tail = MGF.partition("END IONS\n")
    results = readings(write(tmp_path, f"{head}END IONS\nBEGIN IONS\n{bad}END IONS\n{tail}"))
    assert isinstance(results[1], SampleError)
    assert reason in str(results[1])
    assert [r.measurement.columns["title"] for r in results if isinstance(r, Reading) and r.smiles] == ["A1", "A2"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("Num Peaks: 2", "Num Peaks: 3"), "declares 3 peaks and has 2"),
        (("Num Peaks: 2", "Num Peaks: two"), "number of peaks 'two'"),
        (("45.0335 50\n", "45.0335 50\n46.1 3\n"), "declares 2 peaks and has 3"),
        (("Ion_mode: POSITIVE", "no field"), "line 9: 'no field' is neither a field nor a peak"),
        (("45.0335 50", "45.0335 -"), "is not a pair"),
    ],
)
def test_one_bad_msp_entry_lets_the_next_ones_through(tmp_path, change, reason):
    results = readings(write(tmp_path, MSP.replace(*change), "a.msp"))
    assert isinstance(results[0], SampleError)
    assert reason in results[0].reason
    assert [r.smiles for r in results[1:]] == ["CO", "CN"]


@pytest.mark.parametrize(
    "text",
    [
        "m/z,intensity\n29.0386,100\n45.0335,50\n",
        "mz;int\n29,0386;100\n45,0335;50\n",
        "29.0386 100\n45.0335 50\n",
        "29,0386 100\n45,0335 50\n",
        "45.0335\t50\tnote\n29.0386\t100\tnote\n",
        '"m/z","Relative abundance"\n"29.0386","100"\n"45.0335","50"\n',
    ],
)
def test_two_columns(tmp_path, text):
    path = write(tmp_path, "# precursor_mz: 47.0491\n# adduct = [M+H]+\n" + text, "a.csv")
    assert msms().can_read(path) is text.lstrip('"').startswith("m")
    (reading,) = readings(path)
    assert reading.smiles is None
    assert reading.measurement.arrays["mz"].tolist() == pytest.approx([29.0386, 45.0335])
    assert reading.measurement.arrays["intensity"].tolist() == [1.0, 0.5]
    assert reading.measurement.columns["precursor_mz"] == 47.0491
    assert reading.measurement.columns["adduct"] == "[M+H]+"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "holds no spectrum"),
        (b"\n\n\n", "holds no spectrum"),
        (b"# only\n# comments\n", "holds no spectrum"),
        (b"nothing that\nlooks like a spectrum\n", "holds no spectrum"),
        (bytes(range(256)) * 9, "is not text"),
        (gzip.compress(MGF.encode(), mtime=0)[:60], "cannot be read"),
        (b"\x1f\x8b" + b"rubbish" * 9, "cannot be read"),
        (b"PK\x03\x04\x00\x00", "is not text"),
    ],
    ids=["empty", "blank", "comments", "prose", "binary", "cut gzip", "false gzip", "zip"],
)
def test_unreadable_files(tmp_path, data, reason):
    path = tmp_path / "a.mgf"
    path.write_bytes(data)
    assert not msms().can_read(path)
    with pytest.raises(SampleError, match=reason):
        readings(path)


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path, tmp_path / "absent.mgf"):
        assert not msms().can_read(path)
        with pytest.raises(SampleError, match="cannot be read"):
            readings(path)


def test_entries_before_the_damage_are_kept(tmp_path):
    entries = "".join(
        f"BEGIN IONS\nTITLE=T{i}\nSMILES=CCO\n"
        + "".join(f"{10 + i * 7919 * k % 9973}.5 {k}\n" for k in range(1, 20))
        + "END IONS\n"
        for i in range(400)
    )
    whole = gzip.compress(entries.encode())
    path = tmp_path / "a.mgf.gz"
    path.write_bytes(whole[: len(whole) // 2])
    results = readings(path)
    assert len(results) > 100
    assert all(isinstance(r, Reading) for r in results[:-1])
    assert "cannot be read" in results[-1].reason


def test_truncation_and_noise_never_escape(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "a"
    for text in (MGF, MSP, "m/z,intensity\n29.0386,100\n"):
        whole = text.encode()
        for _ in range(60):
            data = bytearray(whole[: rng.integers(1, len(whole))])
            for at in rng.integers(0, len(data), 3):
                data[at] = int(rng.integers(0, 256))
            path.write_bytes(bytes(data))
            try:
                results = readings(path)
            except SampleError:
                continue
            assert results


def test_files_are_streamed(tmp_path):
    entry = "BEGIN IONS\nTITLE=x\nCOMMENT=" + "long " * 4000 + "\n50.5 1\nEND IONS\n"
    path = write(tmp_path, entry * 60)
    tracemalloc.start()
    count = sum(1 for _ in msms().read(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 60
    assert peak < path.stat().st_size / 3


@pytest.mark.parametrize(
    ("text", "volts", "percent"),
    [
        ("40", 40, None),
        ("30 eV", 30, None),
        ("45V", 45, None),
        ("-35 V", 35, None),
        ("35 eV FT-MS II", 35, None),
        ("Ramp 20-40 V", 30, None),
        ("Ramp 22,9-34.3 eV", 28.6, None),
        ("30-50", 40, None),
        ("35 % (nominal)", None, 35),
        ("35  (nominal)", None, 35),
        ("HCD 35 NCE", None, 35),
        ("Ramp 20%-70% (nominal)", None, 45),
        ("20,40,130% (stepped)", None, 190 / 3),
        ("42% (nominal) with stepped collision energies 30% and 55%", None, 42),
        ("15, 30, 45, 60, 70 or 90 (nominal)", None, None),
        ("160-0.41mz or 15 (mz>350) nominal units", None, None),
        ("scaled 80 (m/z=200) to 110 (m/z=120)", None, None),
        ("20 kV", None, None),
        ("ceV", None, None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_collision_energies(text, volts, percent):
    expected = [math.nan if value is None else value for value in (volts, percent)]
    assert collision_energy(text, "LC-ESI-QTOF") == pytest.approx(expected, nan_ok=True)


def test_bare_number_on_a_fourier_instrument_is_in_percent():
    assert collision_energy("HCD 35", "LC-ESI-QFT") == pytest.approx((math.nan, 35), nan_ok=True)
    assert collision_energy("35 eV", "LC-ESI-ITFT") == pytest.approx((35, math.nan), nan_ok=True)


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        ("[M+H]+", None, "[M+H]+"),
        ("[M+H]", "positive", "[M+H]+"),
        ("M+Na", "positive", "[M+Na]+"),
        ("M-H-", None, "[M-H]-"),
        ("[M]+*", None, "[M]+"),
        ("[M - H2O + H]+", None, "[M+H-H2O]+"),
        ("[M+CH3COOH-H]-", None, "[M+CH3COO]-"),
        ("[M+Ag]+", None, "[M+Ag]+"),
        (None, "positive", None),
    ],
)
def test_adducts_have_one_spelling(text, mode, expected):
    assert canonical_adduct(text, mode) == expected


# --- samples ---------------------------------------------------------------------------------------------------------


def test_peaks_are_cleaned_as_documented():
    measurement = spectrum([50, 60, 70, 80, 90], [4.0, 0.003, 16.0, 1.0, 0.5], adduct="[M-H]-", ion_mode="negative")
    sample = msms(max_peaks=3).transform(measurement, None)
    assert sample.peak["mz"].tolist() == [50, 70, 80]
    assert sample.peak["intensity"].tolist() == [0.5, 1.0, 0.25]
    assert sample.whole["adduct"] == ADDUCTS.index("[M-H]-") + 1
    assert sample.whole["ion_mode"] == 2
    assert math.isnan(sample.whole["collision_energy"])
    assert len(msms().transform(measurement, None).peak["mz"]) == 4


def test_unknown_category_is_code_zero():
    whole = msms().transform(spectrum([50], [1], adduct="[M+Ag]+", collision_energy=20.0), None).whole
    assert (whole["adduct"], whole["ion_mode"], whole["collision_energy"]) == (0, 0, 20.0)


def test_peaks_do_not_tell_the_precursor():
    """The sample is the same whatever lies from 0.5 below the precursor upwards."""
    clean = spectrum([50, 80, 99.4], [1, 2, 3], precursor_mz=100.0)
    with_ion = spectrum([50, 80, 99.4, 99.6, 100.0, 101.0, 150.0], [1, 2, 3, 9, 50, 7, 1], precursor_mz=100.0)
    for kind in MSMS.kinds:
        a, b = (msms(kind).transform(m, None) for m in (clean, with_ion))
        if kind == "peaks":
            np.testing.assert_array_equal(a.peak["mz"], b.peak["mz"])
            np.testing.assert_array_equal(a.peak["intensity"], b.peak["intensity"])
        else:
            np.testing.assert_array_equal(a.values, b.values)
    assert msms(remove_precursor=False).transform(with_ion, None).peak["mz"].tolist()[-1] == 150.0


@pytest.mark.parametrize("precursor", [math.nan, None])
def test_unknown_precursor_is_never_passed_over(precursor):
    measurement = spectrum([50], [1], precursor_mz=precursor, title="A7")
    with pytest.raises(SampleError, match="A7: precursor m/z is unknown"):
        msms().transform(measurement, None)
    assert len(msms(remove_precursor=False).transform(measurement, None).peak["mz"]) == 1


@pytest.mark.parametrize(
    ("mz", "intensity", "reason"),
    [
        ([], [], "no peak is left"),
        ([500.0], [1.0], "no peak is left"),
        ([50.0], [0.0], "no peak is left"),
        ([50.0], [-1.0], "no peak is left"),
        ([50.0], [math.nan], "not finite"),
        ([math.inf], [1.0], "not finite"),
        ([50.0, 60.0], [1.0], "do not fit together"),
    ],
)
def test_unusable_measurements(mz, intensity, reason):
    for kind in MSMS.kinds:
        with pytest.raises(SampleError, match=reason):
            msms(kind).transform(spectrum(mz, intensity), None)


def test_bins_include_both_ends_and_add_up():
    bins = Bins(start=50, stop=100, points=6)
    sample = msms("spectrum1d", bins=bins.model_dump()).transform(
        spectrum([44, 50, 54.9, 71, 72, 100, 106], [9, 4, 5, 1, 3, 16, 9]), None
    )
    assert sample.values.dtype == np.float32
    assert sample.values.tolist() == [[0.75, 0, 0.5, 0, 0, 1.0]]
    with pytest.raises(SampleError, match=r"no peak lies between m/z 50.0 and 100.0"):
        msms("spectrum1d", bins=bins.model_dump()).transform(spectrum([20, 300], [1, 1]), None)


def test_default_bins_are_half_a_dalton():
    spec = MSMS.spec(MsmsConfig(), "spectrum1d")
    bins = MsmsConfig().bins
    assert (bins.stop - bins.start) / (spec.points - 1) == 0.5
    values = msms("spectrum1d").transform(spectrum([100.0, 100.26, 200.2], [1, 1, 1]), None).values[0]
    assert np.flatnonzero(values).tolist() == [180, 181, 380]


def test_augmentation_is_drawn_from_the_generator_alone():
    measurement = spectrum(np.linspace(50, 400, 60), np.linspace(1, 60, 60))
    modality = msms(jitter=Jitter(drop=0.3, intensity=0.2, ppm=50).model_dump())
    plain = modality.transform(measurement, None)
    one, again, other = (modality.transform(measurement, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.peak["mz"], again.peak["mz"])
    np.testing.assert_array_equal(one.peak["intensity"], again.peak["intensity"])
    assert one.peak["mz"].tolist() != other.peak["mz"].tolist()
    assert 20 < len(one.peak["mz"]) < 60 == len(plain.peak["mz"])
    assert one.peak["intensity"].max() == 1.0
    nearest = np.abs(one.peak["mz"][:, None] / plain.peak["mz"][None] - 1).min(axis=1)
    assert 1e-5 < nearest.std() < nearest.max() < 3e-4
    off = msms(jitter=None).transform(measurement, np.random.default_rng(1))
    np.testing.assert_array_equal(off.peak["mz"], plain.peak["mz"])


def test_augmentation_keeps_the_base_peak():
    modality = msms(jitter={"drop": 0.99})
    rng = np.random.default_rng(0)
    for _ in range(50):
        sample = modality.transform(spectrum([50, 60, 70], [1, 9, 2]), rng)
        assert np.abs(sample.peak["mz"] - 60).min() < 0.01


@pytest.mark.parametrize("kind", MSMS.kinds)
def test_batches_of_none_one_and_several(kind):
    modality = msms(kind, precursor=True)
    measurements = [spectrum([50], [1]), spectrum([50, 60, 70], [1, 2, 3], adduct="[M+H]+")]
    samples = [modality.transform(m, None) for m in measurements]
    for chosen in (samples[:0], samples[:1], samples):
        batch = modality.prepare(modality.collate(chosen), None)
        assert set(batch.whole) == set(MSMS.spec(MsmsConfig(precursor=True), kind).whole)
        assert all(len(column) == len(chosen) for column in batch.whole.values())
        if kind == "peaks":
            assert batch.mask.sum(dim=1).tolist() == [1, 3][: len(chosen)]
        else:
            assert tuple(batch.values.shape) == (len(chosen), 1, 1981)


def test_modality_goes_to_workers():
    copy = pickle.loads(pickle.dumps(MSMS.build(MsmsConfig(), "peaks")))
    measurement = spectrum([50, 60], [1, 2])
    np.testing.assert_array_equal(
        copy.transform(measurement, None).peak["mz"], msms().transform(measurement, None).peak["mz"]
    )


@pytest.mark.parametrize("kind", MSMS.kinds)
def test_examples_are_usable_deterministic_and_alike_for_like_molecules(kind):
    smiles = ["CCCCO", "CCCCCO", "c1ccc(C)nc1", "Cn1cccc1", "C", "C[N+](C)(C)CC(=O)[O-]"]
    modality = msms(kind)
    molecules = [molecule(text) for text in smiles]
    one, again, other = (modality.example(molecules, seed) for seed in (3, 3, 4))
    for a, b, c in zip(one, again, other, strict=True):
        modality.transform(a, None)
        np.testing.assert_array_equal(a.arrays["intensity"], b.arrays["intensity"])
        assert a.arrays["intensity"].tolist() != c.arrays["intensity"].tolist()
    alike = modality.similarity(one[0], one)
    assert alike[0] == pytest.approx(1.0)
    assert alike[1] > max(alike[2], alike[3])


# --- spectral entropy similarity -------------------------------------------------------------------------------------


def definition(one, other, tolerance: float) -> float:
    """Li et al. 2021 as printed, with the mixed spectrum spelled out; peaks in fp64 and far enough apart to need no
    merging."""

    def weighted(intensity):
        share = np.array([i for i in intensity if i >= 0.01 * max(intensity)])
        share = share / share.sum()
        entropy = -(share * np.log(share)).sum()
        if entropy < 3:
            share = share ** (0.25 + 0.25 * entropy)
        return share / share.sum()

    def entropy(values):
        return -sum(v * math.log(v) for v in values)

    a, b = weighted(one[1]), weighted(other[1])
    mz_a = [m for m, i in zip(*one, strict=True) if i >= 0.01 * max(one[1])]
    mz_b = [m for m, i in zip(*other, strict=True) if i >= 0.01 * max(other[1])]
    mixed = []
    left = dict(enumerate(mz_b))
    for m, i in zip(mz_a, a, strict=True):
        partner = next((k for k, n in left.items() if abs(m - n) <= tolerance), None)
        mixed.append((i + (b[partner] if partner is not None else 0)) / 2)
        left.pop(partner, None)
    mixed += [b[k] / 2 for k in left]
    return 1 - (2 * entropy(mixed) - entropy(a) - entropy(b)) / math.log(4)


def random_peaks(rng, count: int):
    mz = 50 + 0.25 * np.sort(rng.choice(1200, count, replace=False)) + rng.uniform(-0.015, 0.015, count)
    return mz, rng.lognormal(0, 1.5, count)


def test_similarity_is_the_printed_one():
    rng = np.random.default_rng(0)
    references = [random_peaks(rng, int(count)) for count in rng.integers(1, 200, 25)]
    references += [(mz + rng.uniform(-0.003, 0.003, len(mz)), i) for mz, i in references[:10]]
    for query in references[:3]:
        expected = [definition(query, reference, 0.02) for reference in references]
        np.testing.assert_allclose(entropy_similarity(query, references), expected, atol=1e-10)
    assert 0.05 < np.mean(expected) < 0.95


def test_similarity_is_symmetric_and_bounded():
    rng = np.random.default_rng(1)
    spectra = [random_peaks(rng, 40) for _ in range(8)]
    table = np.stack([entropy_similarity(query, spectra) for query in spectra])
    np.testing.assert_allclose(table, table.T, atol=1e-12)
    np.testing.assert_allclose(table.diagonal(), 1.0, atol=1e-12)
    assert table.min() >= 0.0


def test_close_peaks_are_merged_before_they_match():
    split = (np.array([100.00, 100.01, 150.0]), np.array([1.0, 1.0, 1.0]))
    whole = (np.array([100.005, 150.0]), np.array([2.0, 1.0]))
    assert entropy_similarity(split, [whole]).tolist() == pytest.approx([1.0])


def test_similarity_of_odd_spectra():
    peak = (np.array([100.0]), np.array([1.0]))
    nothing = (np.zeros(0), np.zeros(0))
    assert entropy_similarity(peak, []).shape == (0,)
    assert entropy_similarity(nothing, [peak, nothing]).tolist() == [0.0, 0.0]
    references = [
        nothing,
        peak,
        (np.array([100.021]), np.array([1.0])),
        nothing,
        (np.array([99.9, 100.019]), np.ones(2)),
    ]
    got = entropy_similarity(peak, references)
    assert got[:4].tolist() == [0.0, 1.0, 0.0, 0.0]
    assert 0.5 < got[4] < 1.0


def test_similarity_of_measurements_leaves_the_precursor_out():
    modality = msms()
    assert isinstance(modality, Compares)
    query = spectrum([50, 60, 200], [1, 2, 90], precursor_mz=200.0)
    references = [
        spectrum([50, 60, 200], [1, 2, 3], precursor_mz=200.0),
        spectrum([200], [1], precursor_mz=200.0),
        spectrum([50, 60], [1, 2], precursor_mz=math.nan),
    ]
    assert modality.similarity(query, references).tolist() == pytest.approx([1.0, 0.0, 0.0])
    with pytest.raises(SampleError, match="no peak is left"):
        modality.similarity(references[1], references)


def test_references_are_cleaned_once_for_many_queries(monkeypatch):
    rng = np.random.default_rng(2)
    measured = [spectrum(*random_peaks(rng, 30)) for _ in range(6)]
    others = [spectrum(*random_peaks(rng, 30)) for _ in range(6)]
    fresh = [msms().similarity(query, measured) for query in measured]
    modality = msms()
    cleaned = []
    weighted = msms_modality.weighted
    monkeypatch.setattr(msms_modality, "weighted", lambda peaks, *more: cleaned.extend(peaks) or weighted(peaks, *more))
    for query, expected in zip(measured, fresh, strict=True):
        np.testing.assert_array_equal(modality.similarity(query, measured), expected)
    assert len(cleaned) == 6 + 6  # each query, and each reference once
    np.testing.assert_array_equal(modality.similarity(measured[0], others), msms().similarity(measured[0], others))
    changed = list(measured)
    modality.similarity(measured[0], changed)
    changed[0], changed[1] = changed[1], changed[0]  # one list, other content
    np.testing.assert_array_equal(modality.similarity(measured[0], changed), fresh[0][[1, 0, 2, 3, 4, 5]])


def test_references_kept_for_comparison_do_not_go_to_workers():
    modality = msms("spectrum1d", max_peaks=7)
    bare = pickle.dumps(modality)
    modality.similarity(spectrum([50], [1]), [spectrum([50 + i], [1]) for i in range(100)])
    assert pickle.dumps(modality) == bare
    sample = spectrum(range(50, 90), range(1, 41))
    again = pickle.loads(bare).transform(sample, None)
    np.testing.assert_array_equal(again.values, modality.transform(sample, None).values)


# --- the real data ---------------------------------------------------------------------------------------------------


@pytest.mark.shared
def test_massbank_sample(shared_data, tmp_path):
    small = tmp_path / "part.mgf"
    lines: list[str] = []
    with gzip.open(shared_data / "massbank" / "ms2.mgf.gz", "rt") as file:
        for line in file:
            lines.append(line)
            if line.startswith("END") and len(lines) > 5_000:
                break
    small.write_text("".join(lines))
    modality = msms()
    assert modality.can_read(small)
    results = list(modality.read(small))
    assert all(isinstance(r, Reading) for r in results)
    assert len(results) == "".join(lines).count("BEGIN IONS")
    titles = [line[6:].strip() for line in lines if line.startswith("TITLE=")]
    assert [r.measurement.columns["title"] for r in results] == titles
    declared = sum(1 for line in lines if line[:1].isdigit())
    assert sum(len(r.measurement.arrays["mz"]) for r in results) == declared
    usable = 0
    for reading in results:
        precursor = reading.measurement.columns["precursor_mz"]
        if (reading.measurement.arrays["mz"] < precursor - 0.5).any():
            assert len(modality.transform(reading.measurement, np.random.default_rng(0)).peak["mz"]) > 0
            usable += 1
    assert usable > 0.9 * len(results)
