"""Measurements that state of which molecule they are: several of one sample, and molecules of an import."""

import pytest

import molchord as mc
from molchord.data.reading import measurements_of
from molchord.errors import DataError, QueryError
from molchord_modalities.msms import MSMS

PLUGIN = MSMS.build(MSMS.config(), MSMS.kinds[0])


def entry(**fields):
    return "BEGIN IONS\n" + "".join(f"{name}={value}\n" for name, value in fields.items()) + "29.0386 100\nEND IONS\n"


def read(folder, *entries, files=1, **options):
    """Read entries from one file, or from one each."""
    texts = ["\n".join(entries)] if files == 1 else entries
    paths = [folder / f"{number}.mgf" for number, _ in enumerate(texts)]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    return measurements_of(PLUGIN, paths, "msms", MSMS.stores, of_one=True, **options)


PROTON = {"PEPMASS": 47.0491, "ADDUCT": "[M+H]+"}
BLANK = {"PEPMASS": 47.0491}


@pytest.mark.parametrize("files", [1, 2])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (PROTON, PROTON),
        (PROTON, {"PEPMASS": 69.0310, "ADDUCT": "[M+Na]+"}),  # two ions of ethanol
        (PROTON, {"PEPMASS": 47.05}),
        (PROTON, {}),
        (PROTON | {"SMILES": "CCO"}, PROTON | {"SMILES": "OCC"}),
        (PROTON | {"SMILES": "CCO", "NAME": "a"}, PROTON | {"SMILES": "OCC", "NAME": "b"}),  # the SMILES say it
        (PROTON | {"NAME": "Ethanol M+H"}, PROTON | {"NAME": "ethanol; LC-ESI-QTOF; MS2"}),
        (PROTON | {"NAME": "Unknown"}, PROTON | {"NAME": "Ethanol"}),
    ],
)
def test_measurements_of_one_sample_are_taken(tmp_path, one, other, files):
    assert len(read(tmp_path, entry(**one), entry(**other), files=files)) == 2


@pytest.mark.parametrize("files", [1, 2])
@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        (PROTON, {"PEPMASS": 33.0335, "ADDUCT": "[M+H]+"}, "state molecules of 46.0418 and 32.0262 Da"),
        (BLANK, {"PEPMASS": 69.0310}, "have precursors of m/z 47.0491 and 69.031"),
        (PROTON, {"PEPMASS": 33.0335}, "have precursors of m/z 47.0491 and 33.0335"),
        ({"NAME": "Ethanol"}, {"NAME": "Methanol"}, "name different molecules ('Ethanol' and 'Methanol')"),
    ],
)
def test_measurements_that_disagree_need_the_word_that_they_are_of_one_sample(tmp_path, one, other, says, files):
    with pytest.raises(QueryError) as caught:
        read(tmp_path, entry(**one), entry(**other), files=files)
    places = ["0.mgf: entry 1", "0.mgf: entry 2"] if files == 1 else ["0.mgf: entry 1", "1.mgf: entry 1"]
    assert says in str(caught.value)
    assert all(place in str(caught.value) for place in places)
    assert "`--same-sample`" in str(caught.value)
    assert len(read(tmp_path, entry(**one), entry(**other), files=files, same_sample=True)) == 2


def test_files_of_different_structures_are_refused(tmp_path):
    texts = [entry(**PROTON, SMILES=smiles) for smiles in ("CCO", "COC")]
    with pytest.raises(QueryError, match=r"state different molecules \(CCO and COC\)"):
        read(tmp_path, *texts, files=2)
    assert len(read(tmp_path, *texts, files=2, same_sample=True)) == 2
    assert len(read(tmp_path, *texts, files=1, same_sample=True)) == 2


def test_import_refuses_a_precursor_of_another_molecule(tmp_path):
    water = entry(PEPMASS=189.16, ADDUCT="[M+H]+", SMILES="O")
    heavy = entry(PEPMASS=82.9451, ADDUCT="[M-Cl]+", SMILES="ClC(Cl)Cl")
    chlorine = entry(PEPMASS=84.9421, ADDUCT="[M-Cl]+", SMILES="ClC(Cl)Cl")  # 37Cl
    unstated = entry(PEPMASS=189.16, SMILES="CO")
    path = tmp_path / "a.mgf"
    path.write_text(water + entry(**PROTON, SMILES="CCO") + heavy + chlorine + unstated)
    manifest = mc.import_files([path], tmp_path / "data").manifest
    assert (manifest.tables["msms"].measurements, manifest.rejected) == (4, 1)
    assert (
        "m/z 189.16 of [M+H]+ is of a molecule of 188.1527 Da, but H2O has 18.0106"
        in (tmp_path / "data" / "rejected.csv").read_text()
    )
    path.write_text(water)
    with pytest.raises(DataError, match="correct one of them"):
        mc.import_files([path], tmp_path / "other")
