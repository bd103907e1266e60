"""The modality keeps the contract, and its reader takes C3SDB's table and refuses what is damaged."""

import csv
import doctest
import gzip
from pathlib import Path

import numpy as np
import pytest

from molchord.api import Measurement, Reading, SampleError
from molchord.testing import checks
from molchord_ccs import ccs_files, ccs_modality
from molchord_ccs.ccs import CCS, CcsConfig
from molchord_ccs.ions import INSTRUMENTS, IONS

SAMPLE = Path(__file__).parent.parent / "sample.csv"
C3SDB = (
    "name,adduct,mz,ccs,ccs_type,smiles,smiles_parent\n"
    '"ethylamine, its salt",[M+H]+,46.06,110.5,TW,CCN.Cl,CCN\n'
    "ethylamine,[M+H]+,46.06,111.5,TW,CCN,CCN\n"
    "ethylamine,[M+Na]+,68.05,120.0,DT,CCN,CCN\n"
    "ethanol,[M+H]+,47.05,105.0,?,CCO,\n"
)


@checks(CCS)
def test_contract(check):
    check()


@pytest.mark.parametrize("module", [ccs_files, ccs_modality])
def test_examples_in_docstrings_run(module):
    failed, tried = doctest.testmod(module)
    assert tried > 0
    assert failed == 0


def modality(**config):
    return CCS.build(CcsConfig(**config), "peaks")


def read(folder, text, name="a.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(modality().read(path)), modality().can_read(path)


def values(measurement):
    """What a measurement holds, in words."""
    ion, instrument = ((*words,) for words in ([None, *IONS], [None, *INSTRUMENTS]))
    codes = zip(measurement.arrays["ion"], measurement.arrays["instrument"], strict=True)
    return {(ion[i], instrument[k]): v for (i, k), v in zip(codes, measurement.arrays["ccs"].tolist(), strict=True)}


# --- reader ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [str.encode, lambda text: gzip.compress(text.encode())])
def test_a_table_gives_one_set_a_molecule(pack, tmp_path):
    packed = pack(C3SDB)
    (amine, ethanol), named = read(tmp_path, packed, "a.csv.gz" if packed[:2] == b"\x1f\x8b" else "a.csv")
    assert named
    assert (amine.smiles, ethanol.smiles) == ("CCN", "CCO")
    assert values(amine.measurement) == {("[M+H]+", "TW"): 111.0, ("[M+Na]+", "DT"): 120.0}
    assert values(ethanol.measurement) == {("[M+H]+", None): 105.0}
    assert set(amine.measurement.arrays) == set(CCS.stores.arrays)  # nowhere an m/z


def test_a_query_names_its_molecule_in_a_comment_or_not_at_all(tmp_path):
    [named], _ = read(tmp_path, "# smiles: CCO\nadduct,ccs\n[M+H]+,105\n")
    [unknown], _ = read(tmp_path, "adduct,ccs\n[M+H]+,105\n")
    assert (named.smiles, unknown.smiles) == ("CCO", None)


def test_rows_without_a_structure_are_not_thrown_together(tmp_path):
    entries, _ = read(tmp_path, "smiles,adduct,ccs\nCCO,[M+H]+,105\n,[M+H]+,120\n,[M+H]+,130\n")
    assert [getattr(entry, "id", None) for entry in entries] == ["a.csv:3", "a.csv:4", None]
    assert all("names no molecule" in entry.reason for entry in entries[:2])


def test_the_sample_is_read_whole():
    entries = list(modality().read(SAMPLE))
    assert modality().can_read(SAMPLE)
    assert all(isinstance(entry, Reading) for entry in entries)
    assert sum(len(entry.measurement.arrays["ccs"]) for entry in entries) == 10


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("adduct,ccs\n[2M+H]+,210\n[M+H]+,105\n", "the ion '[2M+H]+' is not one of [M+H]+"),
        ("adduct,ccs\n[M+H]+,\n[M+H]+,105\n", "'', not a positive number"),
        ("adduct,ccs\n[M+H]+,inf\n[M+H]+,105\n", "'inf', not a positive number"),
        ("adduct,ccs\n[M+H]+,-1\n[M+H]+,105\n", "'-1', not a positive number"),
        ("adduct,ccs\n[M+H]+\n[M+H]+,105\n", "1 cells, the header 2"),
    ],
)
def test_a_bad_row_is_named_and_the_next_ones_count(text, says, tmp_path):
    entries, _ = read(tmp_path, text)
    [error] = [entry for entry in entries if isinstance(entry, SampleError)]
    assert error.id == "a.csv:2"
    assert says in error.reason
    [reading] = [entry for entry in entries if isinstance(entry, Reading)]
    assert values(reading.measurement) == {("[M+H]+", None): 105.0}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("adduct,mz\n[M+H]+,46\n", "`adduct` and `ccs`"),
        ("adduct,ccs\n", "no row that can be used"),
        ("", "empty or binary"),
        (b"\xff\xfe\xfa", "not UTF-8"),
    ],
)
def test_a_file_that_is_no_table_is_refused(text, says, tmp_path):
    (tmp_path / "a.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SampleError, match=says):
        list(modality().read(tmp_path / "a.csv"))
    assert modality().can_read(tmp_path / "a.csv") == (says == "no row that can be used")


@pytest.mark.shared
def test_c3sdb_is_read():
    found = [p / "shared/data/ccs/c3sdb_ccs.csv.gz" for p in Path(__file__).parents]
    path = next((p for p in found if p.is_file()), None)
    if path is None:
        pytest.skip("C3SDB is not beside the project")
    entries = list(modality().read(path))
    sets = [entry for entry in entries if isinstance(entry, Reading)]
    with gzip.open(path, "rt") as file:
        rows = list(csv.DictReader(file))
    named = [row for row in rows if row["adduct"] in IONS and (row["smiles_parent"] or row["smiles"])]
    assert len(entries) - len(sets) == len(rows) - len(named)
    assert len(sets) == len({row["smiles_parent"] or row["smiles"] for row in named}) > 5000
    assert sum(bool(modality().inspect(entry.measurement)) for entry in sets) < len(sets) / 50


# --- samples, similarity, quality warnings -------------------------------------------------------------------------


def made(*rows):
    return ccs_files.measurement(rows)


def test_training_varies_values_and_leaves_ions_out_but_never_all():
    measurement = made((100.0, "[M+H]+", "DT"), (100.0, "[M+Na]+", "DT"))
    rng = np.random.default_rng(0)
    peaks = [modality(jitter=0.05, drop=0.5).transform(measurement, rng).peak for _ in range(400)]
    assert {len(peak["ccs"]) for peak in peaks} == {1, 2}
    assert np.concatenate([np.log(peak["ccs"] / 100) for peak in peaks]).std() == pytest.approx(0.05, rel=0.1)
    assert modality().transform(measurement, None).peak["ccs"].tolist() == [100.0, 100.0]


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({}, "0 cross sections, 0 ions and 0 instruments"),
        ({"ccs": [100.0], "ion": [1, 2], "instrument": [1]}, "1 cross sections, 2 ions"),
        ({"ccs": [-1.0], "ion": [1], "instrument": [1]}, "not a positive number"),
        ({"ccs": [np.nan], "ion": [1], "instrument": [1]}, "not a positive number"),
        ({"ccs": [100.0], "ion": [99], "instrument": [1]}, "a later version"),
    ],
)
def test_what_cannot_be_used_is_refused(arrays, says):
    with pytest.raises(SampleError, match=says):
        modality().transform(Measurement(arrays={name: np.array(v) for name, v in arrays.items()}), None)


def test_similarity_compares_ions_of_one_kind():
    query = made((100.0, "[M+H]+", "DT"), (110.0, "[M+Na]+", "DT"))
    other_instrument = made((100.0, "[M+H]+", "TW"), (110.0, "[M+Na]+", "TW"))
    one_ion, two_percent, none_shared = (
        made((100.0, "[M+H]+", "DT")),
        made((102.02, "[M+H]+", "DT"), (112.222, "[M+Na]+", "DT")),
        made((100.0, "[M-H]-", "DT")),
    )
    found = modality().similarity(query, [query, other_instrument, one_ion, two_percent, none_shared])
    assert found.tolist() == pytest.approx([1.0, 1.0, 0.5, np.exp(-0.5), 0.0], abs=0.01)


def test_nanometres_get_a_quality_warning():
    assert not modality().inspect(made((138.2, "[M+H]+", "DT")))
    [warning] = modality().inspect(made((1.382, "[M+H]+", "DT")))
    assert "nm^2" in warning.message
