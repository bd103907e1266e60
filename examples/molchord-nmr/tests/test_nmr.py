"""The modality keeps the contract, and its readers take what people have and refuse what is damaged."""

import dataclasses
import doctest
import gzip
import json

import numpy as np
import pytest

from molchord.api import Measurement, Reading, SampleError
from molchord.testing import checks, molecules
from molchord_nmr import MULTIPLICITIES, NMR, NmrConfig, files, jcamp, nmr

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


@checks(NMR)
def test_contract(check):
    check()


@pytest.mark.parametrize("module", [files, jcamp, nmr])
def test_examples_in_docstrings_run(module):
    failed, tried = doctest.testmod(module)
    assert tried > 0
    assert failed == 0


def modality(**config):
    return NMR.build(NmrConfig(**config), "peaks")


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
    assert reading.measurement.columns == {"origin": "measured", "nucleus": "1H", "field": 400.0, "solvent": None}
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


def test_json_lines_put_equal_atoms_together_and_go_on_after_a_bad_line(tmp_path):
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
    assert reading.measurement.columns == {"origin": "measured", "nucleus": "13C", "field": 100.0, "solvent": "CDCl3"}
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


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "shift,multiplicity\n", "no row"),
        ("a.csv", "# nucleus: 13C\nshift,multiplicity\n18.1\n", "1 cells, the header 2"),
        ("a.csv", "# nucleus: 13C\nshift\nx18\n", "not a number"),
        ("a.csv", "# nucleus: 13C\nshift\nnan\n", "no number of ppm"),
        ("a.csv", "shift\n18.1\n", "the nucleus is None"),
        ("a.csv", "# nucleus: 195Pt\nshift\n18.1\n", "'195Pt', not one of 1H, 13C"),
        ("a.csv", "# nucleus: 13C\nshift,multiplicity\n18.1,4\n", "'4' is no pattern"),
        ("a.csv", "ppm,height\n18.1,4\n", "no column `shift`"),
        ("a.jsonl", listed(shifts=[]), "0 shifts, 2 patterns"),
        ("a.jsonl", listed(shifts=[], mult=[]), "no peak"),
        ("a.jsonl", listed(mult=["Q"]), "2 shifts, 1 patterns"),
        ("a.jsonl", listed(shifts="18.1"), "no peak list"),
        ("a.jsonl", '{"nucleus": "13C"}', "needs `nucleus` and `shifts`"),
        ("a.jsonl", listed()[:40], "was it cut off?"),
        ("a.jdx", JCAMP.replace("##END=\n", ""), "no `##END=`"),
        ("a.jdx", JCAMP.replace("##.OBSERVE NUCLEUS= ^13C\n", ""), "the nucleus is None"),
        ("a.jdx", JCAMP.replace("PPM", "SECONDS"), "'SECONDS'; state 'PPM' or 'HZ'"),
        ("a.jdx", JCAMP.replace("##XUNITS= PPM\n", ""), "`XUNITS` is ''"),
        ("a.jdx", JCAMP.replace("##PEAK", "##NPOINTS= 3\n##PEAK"), "2 peaks, `NPOINTS` says '3'"),
        ("a.jdx", "##DATA TYPE= NMR PEAK TABLE\n", "no `##TITLE=`"),
        ("a.jdx", "##TITLE= first, cut off\n##DATA TYPE= NMR PEAK TABLE\n" + JCAMP, "no `##END=`"),
        ("a.jdx", JCAMP.replace("PPM", "HZ").replace("##.OBSERVE FREQUENCY= 100.0\n", ""), "is missing"),
        ("a.jdx", JCAMP.replace("= 100.0", "= fast"), "not a positive number"),
        ("a.jdx", JCAMP.replace("57.8, 40.1, T", "57.8, T"), "has 2 parts, `(XYM)` says 3"),
        ("a.jdx", JCAMP.replace("18.1, 5", "abc, 5"), "does not start with a number"),
        ("a.jdx", JCAMP.replace("(XYM)", "(X++(Y..Y))"), "'(XYM)'"),
        ("a.jdx", JCAMP.replace("NMR PEAK TABLE", "NMR SPECTRUM"), "no NMR peak table"),
    ],
)
def test_what_is_damaged_is_refused_in_one_sentence(name, text, says, tmp_path):
    try:
        entries, _ = read(tmp_path, name, text)
    except SampleError as error:
        entries = [error]
    error = entries[0]
    assert isinstance(error, SampleError), error
    assert says in error.reason
    assert "\n" not in error.reason


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ir.csv", "wavenumber,absorbance\n400,0.1\n"),
        ("raman.csv", "shift,intensity\n400,0.1\n"),
        ("ir.jdx", "##TITLE= a\n##DATA TYPE= INFRARED SPECTRUM\n##END=\n"),
        ("other.jsonl", '{"smiles": "CCO"}\n'),
        ("empty.csv", ""),
    ],
)
def test_other_files_are_not_claimed(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    assert not modality().can_read(tmp_path / name)


# --- samples ---------------------------------------------------------------------------------------------------------


def peaks(shift, **columns):
    arrays = {"shift": np.array(shift, dtype=np.float32), "multiplicity": np.ones(len(shift), dtype=np.uint8)}
    return Measurement(arrays=arrays, columns={"nucleus": "13C", **columns})


def test_what_a_list_lacks_is_missing_in_its_sample():
    sample = modality().transform(Measurement(arrays={"shift": np.array([2.0, 1.0])}, columns={}), None)
    assert sample.peak["shift"].tolist() == [1.0, 2.0]
    assert sample.peak["multiplicity"].tolist() == [0, 0]
    assert np.isnan(sample.peak["nuclei"]).all()
    assert "nuclei" not in modality(nuclei=False).transform(peaks([1.0]), None).peak


def test_jitter_moves_shifts_as_told_and_never_empties_a_list():
    jittered = modality(jitter={"shift": 0.5, "drop": 0.9, "multiplicity": 1.0})
    rng = np.random.default_rng(0)
    samples = [jittered.transform(peaks([100.0, 100.0]), rng) for _ in range(400)]
    assert {len(s.peak["shift"]) for s in samples} == {1, 2}
    assert not any(s.peak["multiplicity"].any() for s in samples)
    moved = np.concatenate([s.peak["shift"] for s in samples]) - 100
    assert 0.4 < moved.std() < 0.6
    still = modality(jitter=None).transform(peaks([100.0]), rng)
    assert still.peak["shift"].tolist() == [100.0]


@pytest.mark.parametrize("name", ["multiplicity", "nuclei"])
def test_arrays_that_do_not_fit_together_are_refused(name):
    broken = Measurement(arrays={"shift": np.array([1.0, 2.0]), name: np.array([1])}, columns={})
    with pytest.raises(SampleError, match=f"2 shifts and 1 values of `{name}`"):
        modality().transform(broken, None)


def test_a_multiplicity_code_of_another_version_is_refused():
    broken = Measurement(arrays={"shift": np.array([1.0]), "multiplicity": np.array([99])}, columns={})
    with pytest.raises(SampleError, match="outside 0-11"):
        modality().transform(broken, None)


def test_similarity_knows_near_shifts_from_far_ones_and_nuclei_apart():
    query = peaks([20.0, 60.0])
    near, far, other = peaks([20.5, 60.5]), peaks([120.0, 160.0]), peaks([20.0, 60.0], nucleus="1H")
    values = modality().similarity(query, [query, near, far, other])
    assert values[0] == pytest.approx(1.0)
    assert 0.9 < values[1] < 1.0
    assert values[2] < 0.01
    assert values[3] == 0
    assert len(modality().similarity(query, [])) == 0


def test_shifts_in_hertz_are_doubted():
    assert not modality().inspect(peaks([18.1, 57.8]))
    assert not modality().inspect(peaks([18.1], nucleus=None))
    [doubt] = modality().inspect(peaks([1810.0, 57.8]))
    assert "1810" in doubt.message
    assert doubt.confidence_factor < 1


def test_examples_are_alike_for_like_molecules():
    propanol, butanol, benzene = (m for m in modality().example(_alcohols(), 0))
    values = modality().similarity(propanol, [butanol, benzene])
    assert values[0] > values[1]


def _alcohols():
    first = molecules(1)[0]
    return [dataclasses.replace(first, smiles=smiles, key14=smiles) for smiles in ("CCCO", "CCCCO", "c1ccccc1")]
