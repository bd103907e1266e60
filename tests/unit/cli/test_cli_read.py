"""`molchord read`: what a file says, what is wrong with it, and that the others follow."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from molchord.cli.main import main

X = np.linspace(4000, 400, 900)
BANDS = np.exp(-(((X - 1700) / 15) ** 2)) + 0.7 * np.exp(-(((X - 2900) / 30) ** 2))


def table(x, y, head="cm-1,absorbance\n"):
    return head + "".join(f"{a:.4f},{b:.5f}\n" for a, b in zip(x, y, strict=True))


FILES = {
    "good.csv": table(X, BANDS),
    "raman.txt": table(X, BANDS, "Raman shift (cm-1),Intensity\n"),
    "peaks.mgf": "BEGIN IONS\nPEPMASS=89.06\nSMILES=CCO\n43.02 4\n61.03 1\nEND IONS\n"
    "BEGIN IONS\nPEPMASS=89.06\n43.02 4\n61.03 2\nEND IONS\n",
    "bare.csv": table(1e4 / X, 100 * 10**-BANDS, ""),
    "several.csv": "cm-1,first,second\n" + "".join(f"{a},{b},{2 * b}\n" for a, b in zip(X, BANDS, strict=True)),
    "empty.csv": "",
    "photo.jdx": "\xff\xd8\xff\xe0\0\x10JFIF\0",
    "twelve.csv": table(X[::80], BANDS[::80]),
    "round.csv": table(np.concatenate([X, X[::-1]]), np.tile(BANDS, 2)),
    "flat.csv": table(X, np.minimum(3 * BANDS, 1)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("spectra")
    for name, content in FILES.items():
        (path / name).write_bytes(content.encode("latin-1"))
    return path


@pytest.fixture
def read(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)

    def run(*words):
        status = main(["read", *words])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def test_a_file_says_what_it_is_and_what_was_made_of_it(read):
    status, out, err = read("bare.csv", "--as", "ir", "--x-unit", "um", "--y-unit", "%T")
    assert (status, err) == (0, "")
    assert out.splitlines()[0] == "bare.csv: ir, 900 points, wavenumber 400 to 4000 cm^-1, absorbance"
    rows = dict(line.strip().split(maxsplit=1) for line in out.splitlines()[1:])
    assert rows == {
        "format": "a table of text",
        "column": "2",
        "direction": "ascending in the file",
        "abscissa": "'um', turned into cm^-1",
        "ordinate": "'%T' in per cent, turned into absorbance",
        "origin": "measured",
    }


def test_each_file_is_read_by_the_modality_that_it_names(read):
    status, out, _ = read("good.csv", "raman.txt", "peaks.mgf", "--json")
    assert status == 0
    files = json.loads(out)
    assert [[one["modality"] for one in file["spectra"]] for file in files] == [["ir"], ["raman"], ["msms", "msms"]]
    ir, _, msms = (file["spectra"][0] for file in files)
    assert (ir["points"], ir["unit"], ir["range"], ir["curve"]) == (900, "cm^-1", [400, 4000], True)
    assert (msms["points"], msms["unit"], msms["smiles"], msms["curve"]) == (2, "m/z", "CCO", False)
    assert msms["metadata"]["precursor_mz"] == 89.06


def test_many_entries_are_counted_and_the_first_printed(read):
    _, out, _ = read("peaks.mgf", "--entries", "1")
    assert out.startswith("peaks.mgf: 2 spectra msms\n")
    assert "and 1 more of msms; `--entries` prints them" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["empty.csv"], "file 'empty.csv' is empty; export it again"),
        (["photo.jdx"], "file 'photo.jdx' is binary and does not say what it is; name it with `--as`"),
        (["photo.jdx", "--as", "ir"], "'photo.jdx' cannot be read as 'ir' (the file is a picture (JPEG); export JCAMP"),
        (["round.csv"], "the abscissa turns round, by 3600 of 3600 in all; leave one spectrum in the file"),
        (["bare.csv"], "file 'bare.csv' does not say what it is; name it with `--as` "),
        (["bare.csv", "--as", "ir"], "(the abscissa stays below 100 and has no unit; give `--x-unit um`"),
        (["good.csv", "--as", "msms"], "file 'good.csv' names itself 'ir' and not 'msms'; give it as 'ir'"),
        (["peaks.mgf", "--as", "ir"], "file 'peaks.mgf' names itself 'msms' and not 'ir'; give it as 'msms'"),
        (["peaks.mgf", "--skip", "1"], "modality 'msms' takes no options of reading; leave `--skip` out"),
        (["nowhere.csv"], "file 'nowhere.csv' does not exist; give the path of a spectrum file"),
    ],
)
def test_a_bad_file_is_one_sentence_and_the_others_follow(read, words, says):
    before = ["good.csv"] if "--as" not in words and "--skip" not in words else []
    status, out, err = read(*words[:1], *before, *words[1:])
    assert status == 1
    [line] = err.splitlines()
    assert line.startswith("molchord: file ")
    assert says in line
    assert out.startswith("good.csv: ir, 900 points") is bool(before)


def test_warnings_are_those_of_a_search(read):
    _, out, _ = read("flat.csv", "twelve.csv")
    assert "its strongest band is cut off flat over" in out
    assert "it cannot be searched with: the curve has 12 points" in out


def test_a_folder_means_its_files(read, folder):
    status, out, err = read(str(folder), "--json")
    found = {Path(file["file"]).name: "spectra" in file for file in json.loads(out)}
    assert found.keys() == FILES.keys()
    assert [name for name, good in found.items() if not good] == sorted(
        ["bare.csv", "empty.csv", "photo.jdx", "round.csv", "several.csv"]
    )
    assert (status, len(err.splitlines())) == (1, 5)


def test_each_column_of_a_table_is_a_spectrum_where_asked(read):
    _, out, _ = read("several.csv", "--as", "ir", "--column", "all", "--json")
    first, second = json.loads(out)[0]["spectra"]
    assert [one["location"] for one in (first, second)] == [
        "several.csv: column 'first'",
        "several.csv: column 'second'",
    ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--as", "irr"], "unknown modality 'irr'; did you mean 'ir'?"),
        (["--plot", "a.pdf"], "`--plot` got 'a.pdf'; give a file that ends in .svg or .png"),
        (["--skip", "many"], "`--skip` got 'many'; give the number of lines to leave out"),
    ],
)
def test_mistakes_in_options_end_the_command(read, words, says):
    status, out, err = read("good.csv", *words)
    assert (status, out) == (2, "")
    assert says in err


def test_spectra_are_drawn_as_the_field_draws_them(read, folder):
    status, out, _ = read("good.csv", "peaks.mgf", "--plot", "a.svg")
    assert status == 0
    assert out.endswith("drawn in a.svg\n")
    drawn = (folder / "a.svg").read_text()
    (folder / "a.svg").unlink()
    for text in ("IR: good.csv", "MS/MS: peaks.mgf: entry 1", "wavenumber / cm⁻¹", ">m/z<"):
        assert text in drawn
    left, right = (float(re.search(rf'x="([\d.]+)"[^>]*>{label}<', drawn)[1]) for label in (4000, 500))
    assert left < right
    read("good.csv", "--plot", "a.png")
    assert (folder / "a.png").read_bytes().startswith(b"\x89PNG")
    (folder / "a.png").unlink()


def test_where_nothing_can_be_drawn_nothing_is_written(read, folder):
    status, _, err = read("empty.csv", "--plot", "b.svg")
    assert status == 2
    assert "nothing was read that can be drawn" in err
    assert not (folder / "b.svg").exists()


def test_reading_loads_no_torch(folder):
    code = "import sys; from molchord.cli.main import main; main(['read', *sys.argv[1:]]); assert 'torch' not in sys.modules"
    names = [str(folder / name) for name in ("good.csv", "raman.txt", "peaks.mgf")]
    subprocess.run([sys.executable, "-c", code, *names], check=True, stdout=subprocess.DEVNULL)


def test_an_import_reads_tables_as_options_say(folder, tmp_path, capsys):
    (tmp_path / "t.csv").write_text(f"smiles,file\nCCO,{folder / 'several.csv'}\n")
    words = ["data", "import", "--table", str(tmp_path / "t.csv"), "--out", str(tmp_path / "d"), "--json"]
    assert main([*words, "--column", "file"]) == 2
    assert "`--column` got 'file'; write MODALITY=COLUMN, or name files with `--as`" in capsys.readouterr().err
    assert main([*words, "--column", "ir=file"]) == 2
    assert "choose one of 1 'cm-1', 2 'first', 3 'second' with `--column`" in capsys.readouterr().err
    assert main([*words, "--column", "ir=file", "--column", "all"]) == 0
    assert json.loads(capsys.readouterr().out)["measurements"] == {"ir": 2}
