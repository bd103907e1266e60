"""The modality `fingerprint`: counts against RDKit's own, derivation from the bare SMILES, damaged input."""

import numpy as np
import pytest
from pydantic import ValidationError
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator

from molchord.api import Derives, Measurement, Molecule, SampleError
from molchord_modalities.fingerprint import ELEMENTS, FINGERPRINT, KEYS, FingerprintConfig


def molecule(smiles: str) -> Molecule:
    return Molecule(key14="K", smiles=smiles, formula="", exact_mass=1.0)


def dense(fingerprint: Derives, smiles: str, config: FingerprintConfig) -> np.ndarray:
    arrays = fingerprint.derive(molecule(smiles)).arrays
    out = np.zeros(FINGERPRINT.spec(config, "vector").size, dtype=int)
    out[arrays["index"]] = arrays["count"]
    return out


def test_pieces_are_rdkits_and_stand_in_the_stated_order():
    config = FingerprintConfig(radius=1, morgan=128, torsions=64)
    counts = dense(FINGERPRINT.build(config, "vector"), "CCCCO", config)
    parsed = Chem.MolFromSmiles("CCCCO")
    morgan = rdFingerprintGenerator.GetMorganGenerator(radius=1, fpSize=128).GetCountFingerprintAsNumPy(parsed)
    assert counts[:128].tolist() == morgan.tolist()
    assert counts[128:192].sum() == 2  # C-C-C-C and C-C-C-O
    assert set(counts[192 : 192 + KEYS]) <= {0, 1}
    assert dict(zip(ELEMENTS, counts[192 + KEYS :], strict=True)) == dict.fromkeys(ELEMENTS, 0) | {
        "C": 4,
        "H": 10,
        "O": 1,
    }
    assert len(counts) == FINGERPRINT.spec(config, "vector").size


def test_neither_stereo_nor_the_order_of_atoms_tells_anything():
    config = FingerprintConfig()
    fingerprint = FINGERPRINT.build(config, "vector")
    reference = dense(fingerprint, "CC(N)C(=O)O", config)
    assert (dense(fingerprint, "OC(=O)[C@@H](C)N", config) == reference).all()
    assert (dense(fingerprint, "CC(N)CO", config) != reference).any()


def test_a_sample_is_logarithms_of_length_ten():
    config = FingerprintConfig()
    fingerprint = FINGERPRINT.build(config, "vector")
    measurement = fingerprint.derive(molecule("CCO"))
    values = fingerprint.transform(measurement, None).values
    logarithms = np.log1p(dense(fingerprint, "CCO", config))
    np.testing.assert_allclose(values, 10 * logarithms / np.linalg.norm(logarithms), rtol=1e-5)


def test_numbers_are_dropped_in_training_alone():
    fingerprint = FINGERPRINT.build(FingerprintConfig(drop=0.5), "vector")
    measurement = fingerprint.derive(molecule("CC(C)Cc1ccc(cc1)C(C)C(=O)O"))
    whole = fingerprint.transform(measurement, None).values
    dropped = fingerprint.transform(measurement, np.random.default_rng(0)).values
    gone = (whole > 0) & (dropped == 0)
    assert 0.3 < gone.sum() / (whole > 0).sum() < 0.7
    assert (dropped[~gone] == whole[~gone]).all()
    kept = (
        FINGERPRINT.build(FingerprintConfig(drop=0.0), "vector").transform(measurement, np.random.default_rng(0)).values
    )
    assert (kept == whole).all()


def test_no_sample_and_one_sample():
    fingerprint = FINGERPRINT.build(FingerprintConfig(morgan=64, torsions=64), "vector")
    assert isinstance(fingerprint, Derives)
    assert fingerprint.collate([]).values.shape == (0, 64 + 64 + KEYS + len(ELEMENTS))
    one = fingerprint.transform(fingerprint.derive(molecule("[Na+].[Cl-]")), None)
    assert fingerprint.collate([one]).values.isfinite().all()


@pytest.mark.parametrize("smiles", ["", "C(", "no smiles"])
def test_a_smiles_that_rdkit_refuses(smiles):
    with pytest.raises(SampleError, match="RDKit cannot parse|RDKit refuses|holds no atom"):
        FINGERPRINT.build(FingerprintConfig(), "vector").derive(molecule(smiles))


@pytest.mark.parametrize(
    ("index", "count", "message"),
    [([], [], "0 pieces"), ([1, 2], [1], "1 counts"), ([10_000], [1], "outside of"), ([1], [0], "occurs never")],
)
def test_damaged_measurements(index, count, message):
    arrays = {"index": np.array(index, dtype=np.int32), "count": np.array(count, dtype=np.int32)}
    with pytest.raises(SampleError, match=message):
        FINGERPRINT.build(FingerprintConfig(), "vector").transform(Measurement(arrays=arrays, columns={}), None)


def test_nothing_is_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("1,2\n")
    fingerprint = FINGERPRINT.build(FingerprintConfig(), "vector")
    assert not fingerprint.can_read(path)
    with pytest.raises(SampleError, match="made from the molecule's SMILES"):
        list(fingerprint.read(path))


@pytest.mark.parametrize("config", [{"radius": 5}, {"morgan": 10}, {"drop": 1.0}, {"bits": 3}])
def test_config_refuses(config):
    with pytest.raises(ValidationError):
        FingerprintConfig.model_validate(config)
