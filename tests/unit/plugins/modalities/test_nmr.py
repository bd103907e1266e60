"""The modality `nmr`: what its readers take and refuse, samples of both kinds, augmentation, similarity, quality warnings."""

import dataclasses
import gzip
import itertools
import json
import pickle
from collections import Counter

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

import molchord as mc
from molchord.api import Measurement, Reading, SampleError
from molchord.testing import MOLECULES, checks, examples_of, molecules
from molchord_modalities.nmr import NMR, NmrConfig
from molchord_modalities.nmr_matching import matched, padded
from molchord_modalities.nmr_settings import MULTIPLICITIES, NUCLEI

JCAMP = """##TITLE= ethanol
##JCAMP-DX= 5.01
##DATA TYPE= NMR PEAK TABLE $$ exported
##.OBSERVE FREQUENCY= 100.0
##.OBSERVE NUCLEUS= ^13C
##.SOLVENT NAME= CDCl3
##$SMILES= CCO
##XUNITS= PPM
##PEAK TABLE= (XYM)
(18.1, 50.2, Q)
(57.8, 40.1, T)
##END=
"""
TABLE = "# smiles: CCO\n# field: 400\n# nucleus: 1H\nshift,multiplicity,nuclei\n3.69,q,2H\n1.22,t,3\n2.61,br s,1\n"
ETHANOL = """ethanol
  by hand

  3  2  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 C   0  0
    1.5000    0.0000    0.0000 C   0  0
    2.2000    1.2000    0.0000 O   0  0
  1  2  1  0
  2  3  1  0
M  END
"""
NMREDATA = (
    ETHANOL
    + """> <NMREDATA_VERSION>
1.1\\

> <NMREDATA_SOLVENT>
CDCl3\\

> <NMREDATA_1D_13C>
Larmor=100.6\\
Spectrum_Location=file:./13c\\
57.8, L=b, S=t\\
18.1, L=a ; assigned by hand\\

> <NMREDATA_1D_1H#1>
Larmor=400.1\\
1.20-1.24, S=t, J=7.0(H2), N=3, L=a\\
3.69, S=q, E=2.0, L=b\\
2.61, L=oh\\

$$$$
"""
)
SHIFTDB = (
    ETHANOL
    + """> <nmrshiftdb2 ID>
123

> <Solvent>
0:Chloroform-D1 (CDCl3) 1:Unreported

> <Field Strength [MHz]>
0:100.6 1:Unreported

> <Spectrum 13C 0>
18.1;0.0Q;0|57.8;0.0T;1|

> <Spectrum 1H 1>
1.22;0.0;3|1.22;0.0;4|1.22;0.0;5|3.69;0.0;6|3.69;0.0;7|2.61;;8|

$$$$
"""
)


@checks(NMR)
def test_contract(check):
    check()


def modality(kind="peaks", **config):
    return NMR.build(NmrConfig(**config), kind)


def read(folder, name, text):
    """Return what a file of this content holds, and whether it names itself."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(modality().read(path)), modality().can_read(path)


def patterns(measurement):
    return [MULTIPLICITIES[code - 1] if code else None for code in measurement.arrays["multiplicity"]]


def listed(**changes):
    return json.dumps({"nucleus": "13C", "shifts": [18.1, 57.8], "mult": ["Q", "T"], "smiles": "CCO", **changes})


# --- readers ---------------------------------------------------------------------------------------------------------


def test_a_table_of_shifts(tmp_path):
    [reading], named = read(tmp_path, "ethanol.csv", TABLE)
    assert named
    assert reading.smiles == "CCO"
    said = {"origin": "measured", "nucleus": "1H", "frequency": 400.0, "solvent": None, "source": None}
    assert reading.measurement.columns == said
    assert reading.measurement.arrays["shift"].tolist() == pytest.approx([1.22, 2.61, 3.69])
    assert patterns(reading.measurement) == ["t", "s", "q"]
    assert reading.measurement.arrays["nuclei"].tolist() == [3, 1, 2]


def test_a_table_may_hold_several_nuclei_and_decimal_commas(tmp_path):
    text = "Nucleus;Shift\n13C;18,1\n1H;1,2\n13C;57,8\n"
    readings, named = read(tmp_path, "both.csv", text)
    assert named
    found = {r.measurement.columns["nucleus"]: r.measurement for r in readings}
    assert found["13C"].arrays["shift"].tolist() == pytest.approx([18.1, 57.8])
    assert found["1H"].arrays["shift"].tolist() == pytest.approx([1.2])
    assert patterns(found["1H"]) == [None]
    assert np.isnan(found["1H"].arrays["nuclei"]).all()


def test_a_table_may_hold_several_molecules(tmp_path):
    text = "smiles,nucleus,shift\nCCO,13C,18.1\nCCO,13C,57.8\nCO,13C,49.9\n"
    readings, named = read(tmp_path, "many.csv", text)
    assert named
    assert {r.smiles: len(r.measurement.arrays["shift"]) for r in readings} == {"CCO": 2, "CO": 1}


@pytest.mark.parametrize(
    "text",
    [
        "13C shift (ppm);DEPT\n18.1;CH3\n57.8;CH2\n",
        "# nucleus: 13C\nδ (ppm)\tMult.\n18.1\tq\n57.8\tt\n",
        "# nucleus: C13\nChemical shift,pattern\n18.1,quartet\n57.8,triplet\n",
        "# nucleus: 13C\nshift multiplicity\n18.1 q\n57.8 t\n",
    ],
)
def test_columns_are_known_by_several_titles(text, tmp_path):
    [reading], named = read(tmp_path, "a.txt", text)
    assert named
    assert reading.measurement.columns["nucleus"] == "13C"
    assert reading.measurement.arrays["shift"].tolist() == pytest.approx([18.1, 57.8])
    assert patterns(reading.measurement) == ["q", "t"]


def test_a_column_of_shifts_alone(tmp_path):
    [reading], named = read(tmp_path, "a.txt", "# nucleus: 13C\nshift\n18.1\n57.8\n")
    assert named
    assert patterns(reading.measurement) == [None, None]


def test_json_lines_put_equal_atoms_together_and_continue_after_a_bad_line(tmp_path):
    lines = [listed(), listed(nucleus="1H", shifts=[1.2, 3.7, 1.2, 1.2], mult=["", "", "", ""]), "not json", listed()]
    text = gzip.compress("\n".join(lines).encode())
    entries, named = read(tmp_path, "lists.jsonl.gz", text)
    assert named
    assert [isinstance(entry, Reading) for entry in entries] == [True, True, False, True]
    assert entries[1].measurement.arrays["nuclei"].tolist() == [3, 1]
    assert entries[2].id == "lists.jsonl.gz:3"


def test_jcamp_peak_table(tmp_path):
    [reading], named = read(tmp_path, "ethanol.jdx", JCAMP)
    assert named
    assert reading.smiles == "CCO"
    assert reading.measurement.columns["nucleus"] == "13C"
    assert reading.measurement.columns["frequency"] == 100.0
    assert reading.measurement.columns["solvent"] == "CDCl3"
    assert reading.measurement.arrays["shift"].tolist() == pytest.approx([18.1, 57.8])
    assert patterns(reading.measurement) == ["q", "t"]


@pytest.mark.parametrize(
    "table",
    [
        "##XUNITS= HZ\n##PEAK TABLE= (XY..XY)\n1810.0, 1.0; 5780.0, 2.0\n",
        "##XUNITS= HZ\n##PEAK TABLE= (XY..XY)\n1810.0, 1.0\n5780.0, 2.0\n",
        "##XUNITS= PPM\n##XFACTOR= 0.1\n##PEAK TABLE=(XY..XY)\n181 1\n578 2\n",
        "##XUNITS= PPM\n##NPOINTS= 2\n##PEAK ASSIGNMENTS= (XYMA)\n(18.1, 1.0, Q, <C1, the methyl>)\n(57.8, 2.0, T, <C2>)\n",
    ],
)
def test_jcamp_in_other_forms_gives_the_same_shifts(table, tmp_path):
    head = JCAMP[: JCAMP.index("##XUNITS")]
    [reading], _ = read(tmp_path, "a.jdx", head + table + "##END=\n")
    assert reading.measurement.arrays["shift"].tolist() == pytest.approx([18.1, 57.8])


def test_jcamp_of_linked_blocks(tmp_path):
    link = "##TITLE= both\n##JCAMP-DX= 5.01\n##DATA TYPE= LINK\n##BLOCKS= 2\n"
    readings, _ = read(tmp_path, "both.jdx", link + JCAMP + JCAMP.replace("^13C", "^1H") + "##END=\n")
    assert [r.measurement.columns["nucleus"] for r in readings] == ["13C", "1H"]


@pytest.mark.parametrize(("text", "solvent"), [(NMREDATA, "CDCl3"), (SHIFTDB, "Chloroform-D1 (CDCl3)")])
def test_sd_files_with_peak_lists(text, solvent, tmp_path):
    (carbon, proton), named = read(tmp_path, "ethanol.sdf", text)
    assert named
    assert {carbon.smiles, proton.smiles} == {"CCO"}
    assert carbon.measurement.columns["nucleus"] == "13C"
    assert carbon.measurement.columns["frequency"] == 100.6
    assert carbon.measurement.columns["solvent"] == solvent
    assert carbon.measurement.arrays["shift"].tolist() == pytest.approx([18.1, 57.8])
    assert patterns(carbon.measurement)[1] == "t"
    assert proton.measurement.columns["nucleus"] == "1H"
    assert proton.measurement.arrays["shift"].tolist() == pytest.approx([1.22, 2.61, 3.69])
    assert proton.measurement.arrays["nuclei"][[0, 2]].tolist() == [3, 2]


def test_an_sd_file_states_its_smiles_where_the_atoms_cannot_be_read(tmp_path):
    broken = NMREDATA.replace("  1  2  1  0\n", "  1  9  1  0\n")
    entries, _ = read(tmp_path, "a.sdf", broken)
    assert all("NMREDATA_SMILES" in entry.reason for entry in entries)
    stated = broken.replace("> <NMREDATA_SOLVENT>", "> <NMREDATA_SMILES>\nCCO\\\n\n> <NMREDATA_SOLVENT>")
    readings, _ = read(tmp_path, "b.sdf", stated)
    assert [reading.smiles for reading in readings] == ["CCO", "CCO"]


def test_predicted_lists_of_many_molecules(tmp_path):
    with (tmp_path / "part.npz").open("wb") as file:
        np.savez(
            file, smiles=np.array(["CCO", "O", "C"]), computed_by=np.array("predicted by a table"),
            peaks_13C=np.array([0, 2, 2, 3]), shift_13C=np.array([18.1, 57.8, -2.3], dtype=np.float32),
            nuclei_13C=np.array([1, 1, 1], dtype=np.uint8), hydrogens_13C=np.array([3, 2, 4], dtype=np.uint8),
            peaks_1H=np.array([0, 1, 2, 2]), shift_1H=np.array([1.2, 4.8]),
        )  # fmt: skip
    assert modality().can_read(tmp_path / "part.npz")
    readings = list(modality().read(tmp_path / "part.npz"))
    assert [(r.smiles, r.measurement.columns["nucleus"]) for r in readings] == [
        ("CCO", "1H"),
        ("CCO", "13C"),
        ("O", "1H"),
        ("C", "13C"),
    ]
    assert {r.measurement.origin for r in readings} == {"computed"}
    assert {r.measurement.columns["source"] for r in readings} == {"predicted by a table"}
    assert patterns(readings[1].measurement) == ["q", "t"]
    assert patterns(readings[3].measurement) == ["m"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"peaks_13C": np.array([0, 3])}, "must be 2 finite numbers|must be 3 finite numbers"),
        ({"peaks_13C": np.array([1, 2])}, "offsets that start at 0"),
        ({"shift_13C": np.array([18.1, np.nan])}, "finite numbers"),
        ({"shift_13C": np.array(["a", "b"])}, "cannot be read"),
        ({"nuclei_13C": np.array([1])}, "whole numbers"),
        ({"smiles": None}, "lacks the array 'smiles'"),
    ],
)
def test_damaged_predicted_lists_are_refused(change, says, tmp_path):
    sound = {"smiles": np.array(["CCO"]), "peaks_13C": np.array([0, 2]), "shift_13C": np.array([18.1, 57.8])}
    np.savez(tmp_path / "a.npz", **{name: value for name, value in (sound | change).items() if value is not None})
    with pytest.raises(SampleError, match=says):
        list(modality().read(tmp_path / "a.npz"))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "shift,multiplicity\n", "no row"),
        ("a.csv", "# nucleus: 13C\nshift,multiplicity\n18.1\n", "1 cells, the header 2"),
        ("a.csv", "# nucleus: 13C\nshift\nx18\n", "not a number"),
        ("a.csv", "# nucleus: 13C\nshift\nnan\n", "not a number of ppm"),
        ("a.csv", "shift\n18.1\n", "the nucleus is None"),
        ("a.csv", "# nucleus: 195Pt\nshift\n18.1\n", "'195Pt', not one of 1H, 13C"),
        ("a.csv", "# nucleus: 13C\nshift,multiplicity\n18.1,4\n", "'4' is not a pattern"),
        ("a.csv", "offset,height\n18.1,4\n", "no column `shift`"),
        ("a.jsonl", listed(shifts=[]), "0 shifts, 2 patterns"),
        ("a.jsonl", listed(shifts=[], mult=[]), "no peak"),
        ("a.jsonl", listed(mult=["Q"]), "2 shifts, 1 patterns"),
        ("a.jsonl", listed(shifts="18.1"), "not a peak list"),
        ("a.jsonl", '{"nucleus": "13C"}', "needs `nucleus` and `shifts`"),
        ("a.jsonl", listed()[:40], "was it cut off?"),
        ("a.jdx", JCAMP.replace("##END=\n", ""), "no `##END=`"),
        ("a.jdx", JCAMP.replace("##.OBSERVE NUCLEUS= ^13C\n", ""), "the nucleus is None"),
        ("a.jdx", JCAMP.replace("PPM", "SECONDS"), "'SECONDS'; state 'PPM' or 'HZ'"),
        ("a.jdx", JCAMP.replace("##XUNITS= PPM\n", ""), "`XUNITS` is ''"),
        ("a.jdx", JCAMP.replace("##PEAK", "##NPOINTS= 3\n##PEAK"), "2 peaks, `NPOINTS` says '3'"),
        ("a.jdx", "##DATA TYPE= NMR PEAK TABLE\n", "no `##TITLE=`"),
        ("a.jdx", JCAMP.replace("PPM", "HZ").replace("##.OBSERVE FREQUENCY= 100.0\n", ""), "is missing"),
        ("a.jdx", JCAMP.replace("= 100.0", "= fast"), "not a positive number"),
        ("a.jdx", JCAMP.replace("57.8, 40.1, T", "57.8, T"), "has 2 parts, `(XYM)` says 3"),
        ("a.jdx", JCAMP.replace("18.1, 5", "abc, 5"), "does not start with a number"),
        ("a.jdx", JCAMP.replace("(XYM)", "(X++(Y..Y))"), "'(XYM)'"),
        ("a.jdx", JCAMP.replace("NMR PEAK TABLE", "NMR SPECTRUM"), "not an NMR peak table"),
        ("a.sdf", ETHANOL + "$$$$\n", "no tag `NMREDATA_1D_...`"),
        ("a.sdf", NMREDATA.replace("57.8,", "high,"), "does not start with a shift"),
        ("a.sdf", NMREDATA.replace("57.8, L=b", "57.8, N=many"), "'many', not a number"),
        ("a.sdf", NMREDATA.replace("1D_13C", "1D_195Pt"), "'195Pt', not one of"),
        ("a.sdf", SHIFTDB.replace("57.8;0.0T;1", "57.8"), "not written as shift;intensity"),
        ("a.csv", b"\x00\x01\x02", "binary"),
    ],
)
def test_what_is_damaged_is_refused_in_one_sentence(name, text, says, tmp_path):
    try:
        entries, _ = read(tmp_path, name, text)
    except SampleError as error:
        entries = [error]
    error = next(entry for entry in entries if isinstance(entry, SampleError))
    assert says in error.reason
    assert "\n" not in error.reason


def test_what_was_cut_off_in_a_jcamp_file_does_not_hide_what_follows(tmp_path):
    entries, _ = read(tmp_path, "a.jdx", "##TITLE= cut off\n##DATA TYPE= NMR PEAK TABLE\n" + JCAMP)
    assert {isinstance(entry, Reading) for entry in entries} == {True, False}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ir.csv", "wavenumber,absorbance\n400,0.1\n"),
        ("raman.csv", "shift,intensity\n400,0.1\n"),
        ("raman.csv", "# nucleus of research\nRaman shift (cm-1),intensity\n400,0.1\n"),
        ("ir.jdx", "##TITLE= a\n##DATA TYPE= INFRARED SPECTRUM\n##END=\n"),
        ("other.jsonl", '{"smiles": "CCO"}\n'),
        ("other.sdf", ETHANOL + "> <logP>\n0.1\n\n$$$$\n"),
        ("empty.csv", ""),
    ],
)
def test_other_files_are_not_claimed(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    assert not modality().can_read(tmp_path / name)


def test_archives_of_other_arrays_are_not_claimed(tmp_path):
    np.savez(tmp_path / "ir.npz", smiles=np.array(["C"]), freq=np.zeros(1), ir=np.zeros(1), modes=np.array([0, 1]))
    assert not modality().can_read(tmp_path / "ir.npz")


@pytest.mark.shared
def test_the_measured_lists_of_nmrshiftdb_are_read(shared_data):
    """Counts that were taken from the file itself."""
    path = shared_data / "nmr" / "nmrshiftdb2_8k.jsonl.gz"
    entries = list(modality().read(path))
    assert all(isinstance(entry, Reading) for entry in entries)
    counts = Counter(entry.measurement.columns["nucleus"] for entry in entries)
    assert counts == {"13C": 6205, "1H": 3025, "19F": 1059, "17O": 14, "15N": 9, "31P": 7}
    atoms = 0
    with gzip.open(path, "rt") as lines:
        atoms = sum(len(json.loads(line)["shifts"]) for line in lines)
    assert sum(entry.measurement.arrays["nuclei"].sum() for entry in entries) == atoms
    warned = sum(bool(modality().inspect(entry.measurement)) for entry in entries)
    assert warned < len(entries) / 100


# --- samples ---------------------------------------------------------------------------------------------------------


def peaks(shift, codes=1, nucleus="13C", **arrays):
    code = np.full(len(shift), codes, dtype=np.uint8) if isinstance(codes, int) else np.array(codes, dtype=np.uint8)
    arrays = {"shift": np.array(shift, dtype=np.float32), "multiplicity": code, **arrays}
    return Measurement(arrays=arrays, columns={"nucleus": nucleus})


def test_what_a_list_lacks_is_missing_in_its_sample():
    sample = modality().transform(Measurement(arrays={"shift": np.array([2.0, 1.0])}, columns={}), None)
    assert sample.peak["shift"].tolist() == [1.0, 2.0]
    assert sample.peak["multiplicity"].tolist() == [0, 0]
    assert np.isnan(sample.peak["nuclei"]).all()
    assert sample.whole == {"nucleus": 0}


def test_counts_reach_the_encoder_of_integrated_nuclei_only():
    two = np.array([2.0])
    carbon, proton = (modality().transform(peaks([5.0], nucleus=n, nuclei=two), None) for n in ("13C", "1H"))
    assert np.isnan(carbon.peak["nuclei"]).all()
    assert proton.peak["nuclei"].tolist() == [2.0]
    assert carbon.whole != proton.whole
    assert set(modality(counted=(), multiplicity=False).transform(peaks([1.0]), None).peak) == {"shift"}


def test_equivalent_atoms_are_one_peak_whether_a_list_is_of_atoms_or_of_lines():
    atoms = modality().transform(peaks([128.5, 128.54, 128.52, 130.0], nuclei=np.ones(4)), None)
    lines = modality().transform(peaks([128.52, 130.0]), None)
    np.testing.assert_allclose(atoms.peak["shift"], lines.peak["shift"], atol=1e-4)
    apart = modality().transform(peaks([128.5, 128.52], codes=[1, 2]), None)
    assert len(apart.peak["shift"]) == 2
    protons = modality().transform(peaks([7.20, 7.22], nucleus="1H", nuclei=np.ones(2)), None)
    assert len(protons.peak["shift"]) == 2
    together = modality(merge=0.5).transform(peaks([7.20, 7.22], nucleus="1H", nuclei=np.ones(2)), None)
    assert together.peak["nuclei"].tolist() == [2.0]


def varied(measurement, draws=400, **jitter):
    still = {"shift": 0, "offset": 0, "drop": 0, "merge": 0, "multiplicity": 0}
    built = modality(merge=0, jitter={**still, **jitter})
    rng = np.random.default_rng(0)
    return [built.transform(measurement, rng).peak for _ in range(draws)]


@pytest.mark.parametrize(("nucleus", "scale"), [("13C", 1.0), ("1H", 0.1)])
def test_shifts_move_on_their_own_and_together_in_ppm_of_carbon(nucleus, scale):
    measurement = peaks([1.0, 100.0], nucleus=nucleus)
    own = np.array([p["shift"] for p in varied(measurement, shift=2.0)]) - [1.0, 100.0]
    assert own.std() == pytest.approx(2.0 * scale, rel=0.1)
    assert abs(np.corrcoef(own.T)[0, 1]) < 0.15
    joint = np.array([p["shift"] for p in varied(measurement, offset=2.0)]) - [1.0, 100.0]
    assert joint.std() == pytest.approx(2.0 * scale, rel=0.1)
    assert np.corrcoef(joint.T)[0, 1] > 0.99


def test_peaks_are_left_out_but_never_all():
    lengths = Counter(len(p["shift"]) for p in varied(peaks([100.0, 101.0, 102.0]), drop=0.9))
    assert set(lengths) == {1, 2, 3}
    assert lengths[1] > lengths[3]


def test_peaks_run_into_one_within_a_distance_drawn_for_each_list():
    lengths = Counter(len(p["shift"]) for p in varied(peaks([100.0, 101.0, 104.0]), merge=2.0))
    assert set(lengths) == {2, 3}
    assert 0.4 < lengths[2] / 400 < 0.6


def test_all_multiplicities_of_a_list_are_hidden_at_random():
    hidden = [not p["multiplicity"].any() for p in varied(peaks([1.0, 2.0]), multiplicity=0.3)]
    assert 0.2 < np.mean(hidden) < 0.4
    assert all(p["multiplicity"].all() or not p["multiplicity"].any() for p in varied(peaks([1.0, 2.0])))


def test_without_jitter_and_without_a_generator_nothing_moves():
    for built, rng in ((modality(jitter=None), np.random.default_rng(0)), (modality(), None)):
        assert built.transform(peaks([100.0]), rng).peak["shift"].tolist() == [100.0]


def test_a_smeared_spectrum_has_a_gaussian_at_each_peak_and_a_channel_for_each_multiplicity():
    grid = {"start": 0.0, "stop": 100.0, "points": 1001, "width": 2.0}
    built = modality("spectrum1d", grid=grid)
    values = built.transform(peaks([20.0, 60.0, 500.0], codes=[4, 8, 1]), None).values
    places = np.linspace(0, 100, 1001)
    area = np.trapezoid(values, places, axis=1)
    np.testing.assert_allclose(area / (2.0 * np.sqrt(2 * np.pi)), [2, 0, 0, 0, 1, 1], atol=1e-4)
    assert places[values[4].argmax()] == pytest.approx(20.0)
    assert places[values[5].argmax()] == pytest.approx(60.0)
    half = values[4][places <= 20.0].searchsorted(0.5)
    assert 20.0 - places[half] == pytest.approx(2.0 * np.sqrt(2 * np.log(2)), abs=0.1)
    bare = modality("spectrum1d", grid=grid, multiplicity=False).transform(peaks([20.0, 60.0]), None).values
    assert bare.shape == (1, 1001)


def test_a_smeared_spectrum_is_as_high_as_the_integral_where_that_counts():
    built = modality("spectrum1d", grid={"start": 0.0, "stop": 10.0, "points": 101, "width": 0.1})
    values = built.transform(peaks([2.0, 6.0], nucleus="1H", nuclei=np.array([3.0, np.nan])), None).values[0]
    assert values[[20, 60]].tolist() == pytest.approx([3.0, 1.0])


def test_a_list_off_the_grid_is_refused():
    with pytest.raises(SampleError, match="no shift of the list is|no shift of the list lies between"):
        modality("spectrum1d").transform(peaks([500.0]), None)


@pytest.mark.parametrize("name", ["multiplicity", "nuclei"])
def test_arrays_that_do_not_fit_together_are_refused(name):
    broken = Measurement(arrays={"shift": np.array([1.0, 2.0]), name: np.array([1])}, columns={})
    with pytest.raises(SampleError, match=f"2 shifts and 1 values of `{name}`"):
        modality().transform(broken, None)


def test_a_multiplicity_code_of_another_version_is_refused():
    broken = Measurement(arrays={"shift": np.array([1.0]), "multiplicity": np.array([99])}, columns={})
    with pytest.raises(SampleError, match="outside 0-11"):
        modality().transform(broken, None)


# --- similarity and quality warnings -------------------------------------------------------------------------------


def test_matching_in_order_is_the_best_of_all_matchings():
    """Reference: the Hungarian algorithm, which knows nothing of order, on all pairs of peaks."""
    rng = np.random.default_rng(3)
    lists = [rng.uniform(0, 30, size) for size in (1, 2, 5, 9, 9, 14)]
    for query, reference in itertools.product(lists, lists):
        worth = np.maximum(0, 1 - np.abs(query[:, None] - reference) / 4.0)
        best = worth[linear_sum_assignment(worth, maximize=True)].sum()
        [found] = matched(query, *padded([reference]), 4.0)
        assert found == pytest.approx(2 * best / (len(query) + len(reference)))


def test_similarity_knows_near_shifts_from_far_ones_and_nuclei_apart():
    query = peaks([20.0, 60.0])
    near, far, longer, other = (
        peaks([20.5, 60.5]),
        peaks([120.0, 160.0]),
        peaks([20.0, 60.0, 99.0]),
        peaks([20.0, 60.0], nucleus="1H"),
    )
    values = modality().similarity(query, [query, near, far, longer, other])
    assert values.tolist() == pytest.approx([1.0, 0.9, 0.0, 0.8, 0.0])
    assert len(modality().similarity(query, [])) == 0


def test_similarity_forgets_the_references_of_the_last_query():
    built = modality()
    first, second = [peaks([20.0]), peaks([90.0])], [peaks([90.0]), peaks([20.0])]
    assert built.similarity(peaks([20.0]), first).tolist() == [1.0, 0.0]
    assert built.similarity(peaks([20.0]), second).tolist() == [0.0, 1.0]


def test_references_kept_for_comparison_do_not_go_to_workers():
    built = modality()
    bare = pickle.dumps(built)
    built.similarity(peaks([20.0]), [peaks([20.0 + i]) for i in range(100)])
    assert pickle.dumps(built) == bare
    assert pickle.loads(bare).similarity(peaks([20.0]), [peaks([20.0])]).tolist() == [1.0]


def test_the_tolerance_is_in_ppm_of_carbon():
    protons = [peaks([2.0], nucleus="1H"), peaks([2.25], nucleus="1H")]
    assert modality(tolerance=5.0).similarity(protons[0], protons).tolist() == pytest.approx([1.0, 0.5])


def test_shifts_in_hertz_get_a_quality_warning():
    assert not modality().inspect(peaks([18.1, 57.8]))
    assert not modality().inspect(peaks([18.1], nucleus=None))
    [warning] = modality().inspect(peaks([1810.0, 57.8]))
    assert "1810" in warning.message
    assert warning.confidence_factor < 1


def test_too_many_peaks_get_a_quality_warning():
    [warning] = modality().inspect(peaks(np.linspace(0, 200, 101)))
    assert "101 peaks" in warning.message


def test_a_proton_list_named_carbon_gets_a_quality_warning():
    protons = [0.9, 1.2, 1.5, 2.1, 3.7, 7.2]
    [warning] = modality().inspect(peaks(protons))
    assert "1H list" in warning.message
    assert not modality().inspect(peaks(protons, nucleus="1H"))


def test_every_nucleus_has_a_range_and_a_scale():
    for name, nucleus in NUCLEI.items():
        assert nucleus.low < 0 < nucleus.high, name
        assert nucleus.scale > 0, name


def test_examples_are_alike_for_like_molecules():
    propanol, butanol, benzene = (m for m in modality().example(_alcohols(), 0))
    values = modality().similarity(propanol, [butanol, benzene])
    assert values[0] > values[1]


def _alcohols():
    first = molecules(1)[0]
    return [dataclasses.replace(first, smiles=smiles, key14=smiles) for smiles in ("CCCO", "CCCCO", "c1ccccc1")]


# --- in a run --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A run of one 13C tower, and a library of what it was trained on."""
    graph = mc.ModelGraph.of(
        embedding_dim=16,
        candidate="structure",
        modalities={
            "structure": mc.Use("structure", encoder=mc.Use("gine", width=16, hidden=16, layers=1)),
            "carbon": mc.Use(
                "nmr",
                where={"nucleus": "13C"},
                encoder=mc.Use("peak_transformer", width=16, hidden=16, layers=1),
            ),
        },
        loss=mc.Use("all_pairs"),
        train={"epochs": 1, "batch_size": 8},
    )
    data = mc.from_measurements(
        MOLECULES, {"nmr": examples_of("nmr", len(MOLECULES))}, splits=["train"] * len(MOLECULES)
    )
    run = mc.Run.train(graph, data, device="cpu", progress=False)
    return run, run.library(MOLECULES, tmp_path_factory.mktemp("library") / "library")


def test_a_query_file_of_two_nuclei_gives_the_tower_its_own(searched, tmp_path):
    run, library = searched
    (tmp_path / "both.csv").write_text("nucleus,shift\n13C,18.1\n13C,57.8\n1H,1.2\n1H,3.7\n")
    (tmp_path / "carbon.csv").write_text("nucleus,shift\n13C,18.1\n13C,57.8\n")
    both, alone = (run.search(library, carbon=tmp_path / name) for name in ("both.csv", "carbon.csv"))
    assert [hit.score for hit in both] == [hit.score for hit in alone]


def test_a_list_of_another_nucleus_gets_a_quality_warning(searched, tmp_path):
    run, library = searched
    (tmp_path / "proton.csv").write_text("nucleus,shift\n1H,1.2\n1H,3.7\n")
    with pytest.warns(UserWarning, match="its nucleus is '1H', and the run was trained on '13C'"):
        hits = run.search(library, carbon=tmp_path / "proton.csv")
    assert any("nucleus" in message for message in hits[0].quality_warnings)
