"""Lists of candidates in the forms that people have them: structures, names and columns, whatever the encoding."""

import gzip

import pytest

from molchord.chem import from_inchi
from molchord.data.candidates import Listed, candidates_of, shipped_list
from molchord.data.reading import molecules_of
from molchord.errors import DataError, SampleError


def written(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(tmp_path, content, name="list.csv"):
    return list(candidates_of(written(tmp_path, content, name)))


TABLE = "Compound Name;Canonical_SMILES;CAS\nñandú;CCO;64-17-5\n=1+1;CC;\n"
EXPECTED = [
    Listed(notation="CCO", name="ñandú", columns={"CAS": "64-17-5"}),
    Listed(notation="CC", name="=1+1"),  # a hostile name is a name
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["list.csv", "LIST.CSV", "list.txt", "list.csv.gz"])
def test_a_table_is_read_in_any_encoding_and_under_any_name(tmp_path, encoding, name):
    content = TABLE.encode(encoding)
    assert rows(tmp_path, gzip.compress(content) if name.endswith("gz") else content, name) == EXPECTED


@pytest.mark.parametrize(
    "title", ["smiles", "SMILES", "canonical_smiles", "Isomeric SMILES", "InChI", "Standard InChI"]
)
def test_the_column_of_structures_has_many_names(tmp_path, title):
    assert rows(tmp_path, f"id,{title},x\n7,C,1\n") == [Listed(notation="C", name="7", columns={"x": "1"})]


def test_where_smiles_is_blank_the_inchi_of_the_row_is_taken(tmp_path):
    inchi = "InChI=1S/CH4/h1H4"
    [row] = rows(tmp_path, f'smiles,inchi\n,"{inchi}"\n')
    assert row.notation == inchi
    [methane] = molecules_of([inchi], [])
    assert methane.smiles == from_inchi(inchi) == "C"


def test_lines_of_inchi_and_of_smiles_have_names_behind_them(tmp_path):
    text = "smiles name\nCCO |$R1;;$| ethyl  alcohol\n# a remark\nInChI=1S/CH4/h1H4\tmethane\n"
    assert rows(tmp_path, text, "list.smi") == [
        Listed(notation="CCO", name="ethyl alcohol"),
        Listed(notation="InChI=1S/CH4/h1H4", name="methane"),
    ]


ATOMS = "    0.0000    0.0000    0.0000 C   0  0\n    1.5000    0.0000    0.0000 O   0  0\n"
BLOCK = f"\n\n  2  1  0  0  0  0  0  0  0  0999 V2000\n{ATOMS}  1  2  1  0\nM  END\n"
SD_FILE = (
    f"PCP\n{BLOCK}>  <CAS>  (1)\n67-56-1\n\n> <Note>\ntwo\nlines\n\n$$$$\n"
    f"\n{BLOCK}> <Name>\nwood alcohol\n\n$$$$\n"
    "broken\n\n\n  9  9  0\nM  END\n$$$$\n"
    f"cut\n{BLOCK.partition('M  END')[0]}"
)


@pytest.mark.parametrize("name", ["list.sdf", "LIST.SDF", "list.txt"])
def test_an_sd_file_gives_structures_names_and_properties_and_its_title_is_no_structure(tmp_path, name):
    first, second, broken, cut = rows(tmp_path, SD_FILE, name)
    assert first == Listed(notation="CO", name="PCP", columns={"CAS": "67-56-1", "Note": "two lines"})
    assert second == Listed(notation="CO", name="wood alcohol")
    assert isinstance(broken, SampleError)
    assert broken.id == f"{name}: entry 3"
    assert isinstance(cut, SampleError)
    assert "cut off" in cut.reason


def test_a_molecule_that_breaks_the_inchikey_leaves_the_others(tmp_path):
    hard = "C=CC1=CC2=C3C(=CC=C4C5=CC=CC6=CC=CC(=C65)C1=C43)C1=CC=CC3=C1C2=C1C=CC(=C)C2=C1C3=CC=C2"
    failures = []
    found = [one.smiles for one in molecules_of(written(tmp_path, f"CCO\n{hard}\nCCN\n", "a.smi"), failures)]
    assert found[0] == "CCO"
    assert found[-1] == "CCN"
    assert len(found) + len(failures) == 3


def test_a_photo_is_no_list(tmp_path):
    with pytest.raises(DataError, match=r"photo\.csv' cannot be read as SMILES \(it is not text\)"):
        rows(tmp_path, b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01", "photo.csv")


def test_the_shipped_list_is_found_by_its_name_unless_a_file_has_it(tmp_path, monkeypatch):
    path = shipped_list("ordinary")
    assert next(iter(candidates_of(path))).columns.keys() >= {"sources"}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ordinary").write_text("CCO\n")
    assert shipped_list("ordinary") is None
    with pytest.raises(DataError, match="'nowhere' does not exist.*'ordinary'"):
        list(molecules_of("nowhere", []))
