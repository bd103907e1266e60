"""The maker of the MS/MS that may be passed on: licences, molecules held out, attribution, the card."""

import csv
import gzip
import runpy
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
KEYS = {"CCO": "LFQSCWFLJHTTHZ-UHFFFAOYSA-N", "CCC": "ATUOYWHBWRKTHZ-UHFFFAOYSA-N", "C": "VNWKTOKETHGBQD-UHFFFAOYSA-N"}


def entry(title, smiles, licence):
    fields = {"TITLE": title, "SMILES": smiles, "INCHIKEY": KEYS[smiles], "PEPMASS": "47.05", "LICENSE": licence}
    head = "".join(f"{name}={value}\n" for name, value in fields.items())
    return f"BEGIN IONS\n{head}29.0386 1\n31.0178 0.5\nEND IONS\n\n"


@pytest.fixture
def made(tmp_path):
    source = tmp_path / "ms2.mgf.gz"
    kept = [entry("B2", "CCO", "CC BY"), entry("A1", "CCC", "CC0")]
    others = [entry("C3", "CCO", "dl-de/by-2-0"), entry("D4", "CCO", "CC BY-NC"), entry("E5", "C", "CC0")]
    source.write_bytes(gzip.compress("".join([others[0], kept[0], others[2], kept[1], others[1]]).encode()))
    (tmp_path / "measured.csv").write_text(f"name,inchikey\nmethane,{KEYS['C']}\n")
    script = runpy.run_path(str(ROOT / "datasets" / "make_massbank.py"))
    script["make"](source, tmp_path / "massbank", [tmp_path / "measured.csv"])
    return tmp_path / "massbank", kept


def test_only_entries_that_may_be_passed_on_are_kept_as_they_are(made):
    out, kept = made
    assert gzip.decompress((out / "ms2.mgf.gz").read_bytes()).decode() == "".join(kept)
    with (out.parent / "massbank-attribution.csv").open() as file:
        assert [*csv.reader(file)] == [["massbank_record", "licence"], ["A1", "CC0"], ["B2", "CC BY"]]


def test_the_card_counts_what_is_there_and_what_is_not(made):
    card = (made[0].parent / "massbank.md").read_text()
    for text in ("2 spectra of 2 molecules", "| CC BY | 1 |", "2 entries under another licence, and 1 of molecules"):
        assert text in card


def test_every_record_that_ships_is_named_with_its_licence():
    folder = ROOT / "datasets" / "massbank"
    text = gzip.decompress((folder / "ms2.mgf.gz").read_bytes()).decode()
    found = {name: [line[len(name) + 1 :] for line in text.splitlines() if line.startswith(f"{name}=")]
             for name in ("TITLE", "LICENSE")}  # fmt: skip
    with (ROOT / "datasets" / "massbank-attribution.csv").open() as file:
        named = [(row["massbank_record"], row["licence"]) for row in csv.DictReader(file)]
    assert sorted(zip(found["TITLE"], found["LICENSE"], strict=True)) == named
    assert set(found["LICENSE"]) == {"CC0", "CC BY"}


def test_sets_by_aimnet2_shifts_and_massbank_hold_no_molecule_whose_measured_spectra_benchmarks_use(shared_data):
    held = set()
    for table in ("nist-ir/index.csv", "raman-bio/raman_exp_meta.csv"):
        with (shared_data / table).open() as file:
            held |= {row["inchikey"][:14] for row in csv.DictReader(file)}
    assert len(held) > 500
    with gzip.open(ROOT / "datasets" / "massbank" / "ms2.mgf.gz", "rt") as file:
        assert not held & {line[9:23] for line in file if line.startswith("INCHIKEY=")}
    parts = [part for name in ("ordinary-aimnet2", "qm9-aimnet2", "ordinary-shifts")
             for part in (ROOT / "datasets" / name).glob("*.npz")]  # fmt: skip
    assert len(parts) > 2
    for part in parts:
        assert not held & set(np.load(part)["id"].tolist()), part
