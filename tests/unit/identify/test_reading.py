"""What files of a sample hold: entries told apart, what contradicts refused, one nucleus from a file of two."""

from types import SimpleNamespace

import pytest

from molchord.host import installed
from molchord.identify.reading import Failure, unknowns_of
from molchord.identify.samples import Sample, SpectrumFile

WHERE = {"msms": {}, "carbon": {"nucleus": "13C"}, "proton": {"nucleus": "1H"}}
PLUGINS = {"msms": "msms", "carbon": "nmr", "proton": "nmr"}


@pytest.fixture(scope="module")
def embedder():
    """Only what reading asks of a model: its spectra and their readers."""
    records = {name: installed().modality(plugin) for name, plugin in PLUGINS.items()}
    nodes = {name: SimpleNamespace(where=WHERE[name], record=record) for name, record in records.items()}
    built = {name: record.build(record.config(), record.kinds[0]) for name, record in records.items()}
    return SimpleNamespace(spectra=tuple(PLUGINS), modalities=built, graph=SimpleNamespace(modalities=nodes))


def mgf(*precursors, adduct="[M+H]+"):
    entry = "BEGIN IONS\nPEPMASS={}\nADDUCT={}\n79.05 100\n91.05 40\nEND IONS\n"
    return "".join(entry.format(mz, adduct) for mz in precursors)


def read(embedder, folder, together=False, **files):
    paths = []
    for name, text in files.items():
        paths.append(folder / name.replace("_", "."))
        paths[-1].write_text(text)
    given = tuple(SpectrumFile(path=path, label=path.name) for path in paths)
    return list(unknowns_of(embedder, Sample(id="s", files=given, together=together)))


def test_each_entry_of_a_file_alone_is_an_unknown(embedder, tmp_path):
    assert [one.id for one in read(embedder, tmp_path, a_mgf=mgf(100.1, 200.2))] == ["s#1", "s#2"]
    [one] = read(embedder, tmp_path, a_mgf=mgf(100.1))
    assert one.id == "s"


def test_two_precursors_of_one_sample_are_refused_with_their_files(embedder, tmp_path):
    [failure] = read(embedder, tmp_path, a_mgf=mgf(100.1), b_mgf=mgf(200.2))
    assert isinstance(failure, Failure)
    assert failure.reason.startswith("'msms' was given as 'a.mgf' and 'b.mgf', which state molecules of 99.09")
    assert failure.reason.endswith("give them names of their own, or tell them apart in a samples table")
    [failure] = read(embedder, tmp_path, together=True, a_mgf=mgf(100.1, 200.2))
    assert failure.reason.startswith("'msms' was given as 'a.mgf' and 'a.mgf', which state molecules")


def test_one_precursor_measured_twice_and_two_ions_of_a_molecule_are_one_sample(embedder, tmp_path):
    [one] = read(embedder, tmp_path, a_mgf=mgf(100.101), b_mgf=mgf(100.102))
    assert len(one.spectra["msms"]) == 2
    [one] = read(embedder, tmp_path, a_mgf=mgf(100.1), b_mgf=mgf(122.08, adduct="[M+Na]+"))
    assert len(one.spectra["msms"]) == 2


def test_files_that_name_two_molecules_are_refused(embedder, tmp_path):
    texts = [mgf(100.1).replace("PEPMASS", f"SMILES={smiles}\nPEPMASS") for smiles in ("CCO", "CCN")]
    [failure] = read(embedder, tmp_path, a_mgf=texts[0], b_mgf=texts[1])
    assert "'a.mgf' and 'b.mgf', which state different molecules (CCO and CCN)" in failure.reason
    [one] = read(embedder, tmp_path, a_mgf=texts[0], b_mgf=texts[0].replace("CCO", "OCC"))
    assert len(one.spectra["msms"]) == 2


def test_lists_of_two_nuclei_in_one_file_are_two_spectra_of_one_sample(embedder, tmp_path):
    text = '{"nucleus": "13C", "shifts": [18.1, 57.8]}\n{"nucleus": "1H", "shifts": [1.2, 3.7]}\n'
    [one] = read(embedder, tmp_path, a_jsonl=text)
    assert {name: len(given) for name, given in one.spectra.items()} == {"carbon": 1, "proton": 1}
