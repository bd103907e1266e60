"""Mass spectra in SIRIUS files, JCAMP-DX, mzML and mzXML: right values, levels counted, damage in one sentence."""

import base64
import gzip
import math
import struct
import zlib

import numpy as np
import pytest

from molchord.api import Reading, SampleError
from molchord_modalities.mass_spectra import read
from molchord_modalities.mass_spectra_files import names_itself

SIRIUS = """\
## from the laboratory
>compound ethanol
>formula C2H6O
>parentmass 47,0491
>ionization [M+H]+
>smiles CCO

>ms1
47.0491 100
48.0525 2

>collision 35 NCE
29.0386 2000
45.0335 1000

>ms2
29.0386 10

>compound other
>parentmass 60.08
>ionization M+Na
>ms2peaks
31.0178 5
"""
JCAMP = """\
##TITLE= ethanol
##JCAMP-DX= 5.00
##DATA TYPE= MASS SPECTRUM
##DATA CLASS= PEAK TABLE
##.IONIZATION MODE= ESI+
##$PRECURSOR MZ= 47.0491
##$ADDUCT= M+H
##XUNITS= M/Z
##YUNITS= RELATIVE ABUNDANCE
##XFACTOR= 1
##YFACTOR= 0.1
##NPOINTS= 3
##PEAK TABLE= (XY..XY)
29.0386,2000 45.0335,1000
31.0178,500
##END=
"""
NTUPLES = """\
##TITLE= run
##JCAMP-DX= 5.00
##DATA TYPE= MASS SPECTRUM
##DATA CLASS= NTUPLES
##NTUPLES= MASS SPECTRUM
##VAR_NAME= MASS, INTENSITY, RETENTION TIME
##SYMBOL= X, Y, T
##FACTOR= 1, 0.5, 1
##PAGE= T=1.5
##NPOINTS= 2
##DATA TABLE= (XY..XY), PEAKS
29.0386,2000
45.0335,1000
##PAGE= T=2.5
##NPOINTS= 1
##DATA TABLE= (XY..XY), PEAKS
31.0178; 500
##END NTUPLES= MASS SPECTRUM
##END=
"""


def mzml(*spectra):
    """A file of spectra, each of level, precursor and peaks."""
    head = (
        '<?xml version="1.0" encoding="utf-8"?>\n<mzML xmlns="http://psi.hupo.org/ms/mzml" version="1.1.0"><run id="r">'
    )
    body = "".join(mzml_spectrum(number, *spectrum) for number, spectrum in enumerate(spectra))
    return f'{head}<spectrumList count="{len(spectra)}">{body}</spectrumList></run></mzML>'


def cv(accession, name, value="", unit=""):
    units = f' unitCvRef="UO" unitAccession="UO:0000266" unitName="{unit}"' if unit else ""
    return f'<cvParam cvRef="MS" accession="{accession}" name="{name}" value="{value}"{units}/>'


def mzml_spectrum(number, level, precursor, mz, intensity):
    ion = "" if precursor is None else (
        '<precursorList count="1"><precursor><selectedIonList count="1"><selectedIon>'
        + cv("MS:1000744", "selected ion m/z", precursor)
        + "</selectedIon></selectedIonList><activation>"
        + cv("MS:1000045", "collision energy", 35, "electronvolt")
        + "</activation></precursor></precursorList>"
    )  # fmt: skip
    arrays = "".join(
        f'<binaryDataArray encodedLength="{len(data)}">{cv("MS:1000523", "64-bit float")}'
        f"{cv('MS:1000576', 'no compression')}{cv(*kind)}<binary>{data}</binary></binaryDataArray>"
        for kind, data in (
            (("MS:1000514", "m/z array"), encoded("<", mz)),
            (("MS:1000515", "intensity array"), encoded("<", intensity)),
        )
    )
    return (
        f'<spectrum index="{number}" id="scan={number + 1}" defaultArrayLength="{len(mz)}">'
        f"{cv('MS:1000511', 'ms level', level)}{cv('MS:1000130', 'positive scan')}{ion}"
        f'<binaryDataArrayList count="2">{arrays}</binaryDataArrayList></spectrum>'
    )


def encoded(order, values):
    return base64.b64encode(struct.pack(f"{order}{len(values)}d", *values)).decode()


def mzxml(*spectra):
    scans = "".join(
        f'<scan num="{number}" msLevel="{level}" polarity="-" peaksCount="{len(mz)}" collisionEnergy="20">'
        + ("" if precursor is None else f'<precursorMz precursorIntensity="1">{precursor}</precursorMz>')
        + '<peaks precision="64" byteOrder="network" contentType="m/z-int" compressionType="none">'
        + encoded(">", [v for pair in zip(mz, intensity, strict=True) for v in pair])
        + "</peaks></scan>"
        for number, (level, precursor, mz, intensity) in enumerate(spectra, start=1)
    )
    head = '<?xml version="1.0"?>\n<mzXML xmlns="http://sashimi.sourceforge.net/schema_revision/mzXML_3.2">'
    return f'{head}<msRun scanCount="{len(spectra)}">{scans}</msRun></mzXML>'


SURVEY = (1, None, [47.0491], [100.0])
TANDEM = (2, 47.0491, [45.0335, 29.0386], [1000.0, 2000.0])
DEEPER = (3, 29.0386, [27.02], [1.0])


def results(folder, text, name="a.txt"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        return list(read(path))
    except SampleError as error:
        return [error]


def peaks(reading):
    arrays = reading.measurement.arrays
    return list(zip(arrays["mz"].astype(float).round(4).tolist(), arrays["intensity"].tolist(), strict=True))


ETHANOL = [(29.0386, 1.0), (45.0335, 0.5)]


def test_a_sirius_file_gives_every_tandem_spectrum_with_its_compound(tmp_path):
    first, second, other, left = results(tmp_path, SIRIUS)
    assert names_itself(tmp_path / "a.txt")
    assert [peaks(one) for one in (first, second, other)] == [ETHANOL, [(29.0386, 1.0)], [(31.0178, 1.0)]]
    assert [one.measurement.columns["precursor_mz"] for one in (first, second, other)] == [47.0491, 47.0491, 60.08]
    assert [one.measurement.columns["adduct"] for one in (first, second, other)] == ["[M+H]+", "[M+H]+", "[M+Na]+"]
    assert [one.smiles for one in (first, second, other)] == ["CCO", "CCO", None]
    assert [one.name for one in (first, second, other)] == ["ethanol", "ethanol", "other"]
    energies = [first.measurement.columns[name] for name in ("collision_energy", "normalised_energy")]
    assert energies == pytest.approx([math.nan, 35], nan_ok=True)
    assert left.reason.startswith("1 of level 1 of its 4 spectra are left out")


def test_a_bad_peak_of_a_sirius_file_spoils_its_spectrum_alone(tmp_path):
    bad, good, _, _ = results(tmp_path, SIRIUS.replace("45.0335 1000", "45.0335 high"))
    assert "line 14: '45.0335 high' is not a pair" in bad.reason
    assert isinstance(good, Reading)
    [bad] = results(tmp_path, ">compound a\n29.1 3\n>ms2\n29.1 3\n")
    assert "line 2: '29.1 3' is a peak of no spectrum" in bad.reason


def test_a_mass_spectrum_in_jcamp_is_read_with_its_factors_and_conditions(tmp_path):
    [reading] = results(tmp_path, JCAMP)
    assert names_itself(tmp_path / "a.txt")
    assert peaks(reading) == [(29.0386, 1.0), (31.0178, 0.25), (45.0335, 0.5)]
    wanted = {"adduct": "[M+H]+", "ion_mode": "positive", "precursor_mz": 47.0491, "title": "ethanol"}
    assert {name: reading.measurement.columns[name] for name in wanted} == wanted


def test_pages_of_ntuples_stay_apart(tmp_path):
    first, second = results(tmp_path, NTUPLES)
    assert (peaks(first), peaks(second)) == (ETHANOL, [(31.0178, 1.0)])
    assert [one.measurement.columns["title"] for one in (first, second)] == ["run, T=1.5", "run, T=2.5"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("NPOINTS= 3", "NPOINTS= 4"), "the table has 3 peaks, `NPOINTS` says 4"),
        (("31.0178,500", "31.0178,500,7"), "line 15: the line has 3 numbers, an odd count"),
        (("31.0178,500", "31.0178,A500"), "line 15: the table holds 'A'"),
        (("(XY..XY)", "(X++(Y..Y))"), "the table is '(X++(Y..Y))', a curve"),
        (("##END=", ""), "the file was cut off"),
        (("##PEAK TABLE=", "##PEAKS="), "the block has no table of peaks"),
        (("MASS SPECTRUM", "INFRARED SPECTRUM"), "is JCAMP-DX of 'INFRARED SPECTRUM', not of a mass spectrum"),
    ],
)
def test_a_jcamp_file_that_cannot_be_read_says_why(tmp_path, change, says):
    [error] = results(tmp_path, JCAMP.replace(*change))
    assert says in error.reason


@pytest.mark.parametrize("write", [mzml, mzxml], ids=["mzML", "mzXML"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_tandem_spectra_of_an_instrument_are_read_and_other_levels_counted(tmp_path, write, packed):
    text = write(SURVEY, TANDEM, DEEPER, SURVEY).encode()
    reading, left = results(tmp_path, gzip.compress(text) if packed else text)
    assert names_itself(tmp_path / "a.txt")
    assert peaks(reading) == ETHANOL
    columns = reading.measurement.columns
    assert columns["precursor_mz"] == 47.0491
    assert (columns["ion_mode"], columns["collision_energy"]) == (
        ("positive", 35) if write is mzml else ("negative", 20)
    )
    assert left.reason.startswith("2 of level 1 and 1 of level 3 of its 4 spectra are left out")


@pytest.mark.parametrize("write", [mzml, mzxml], ids=["mzML", "mzXML"])
def test_what_precedes_the_damage_of_an_instruments_file_is_read(tmp_path, write):
    text = write(TANDEM, TANDEM)
    reading, error = results(tmp_path, text[: text.rindex("</spectrum>") if write is mzml else text.rindex("</scan>")])
    assert peaks(reading) == ETHANOL
    assert "is damaged mzXML" in error.reason or "is damaged mzML" in error.reason
    for cut in np.linspace(len(text) // 3, len(text) - 2, 12).astype(int):
        assert isinstance(results(tmp_path, text[:cut])[-1], SampleError), cut


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('accession="MS:1000576"', 'accession="MS:1002312"'), "packed otherwise than as zlib"),
        (('accession="MS:1000576"', 'accession="MS:1000574"'), "its peaks cannot be decoded"),
        (('accession="MS:1000523"', 'accession="MS:1000521"'), "is not a positive, finite number"),
        (("<binary>", "<binary>A"), "its peaks cannot be decoded"),
    ],
)
def test_arrays_that_cannot_be_decoded_spoil_their_spectrum_alone(tmp_path, change, says):
    bad, good = results(tmp_path, mzml(TANDEM, TANDEM).replace(*change, 2))
    assert peaks(good) == ETHANOL
    assert says in bad.reason


def test_zlib_and_terms_that_are_stated_once_for_all_are_read(tmp_path):
    text = mzml(TANDEM)
    for values in (TANDEM[2], TANDEM[3]):
        plain = encoded("<", values)
        text = text.replace(plain, base64.b64encode(zlib.compress(base64.b64decode(plain))).decode())
    level, group = cv("MS:1000511", "ms level", 2), "<referenceableParamGroup id='g'>{}</referenceableParamGroup>"
    text = text.replace(level, "<referenceableParamGroupRef ref='g'/>").replace("<run", group.format(level) + "<run")
    [reading] = results(tmp_path, text.replace("MS:1000576", "MS:1000574"))
    assert peaks(reading) == ETHANOL


def test_scans_inside_a_scan_are_read(tmp_path):
    text = mzxml(SURVEY, TANDEM)
    inside = text.replace("</scan><scan", "<scan", 1).replace("</scan></msRun>", "</scan></scan></msRun>")
    reading, left = results(tmp_path, inside)
    assert peaks(reading) == ETHANOL
    assert left.reason.startswith("1 of level 1 of its 2 spectra")
