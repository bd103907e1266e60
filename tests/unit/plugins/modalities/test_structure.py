"""The modality `structure`: graphs, conformers, the geometry of a source."""

import dataclasses
import hashlib
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from rdkit import Chem
from rdkit.Chem import AllChem, rdDetermineBonds
from rdkit.Chem.rdDistGeom import EmbedMolecule, ETKDGv3
from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator
from rdkit.rdBase import BlockLogs

from molchord.api import Derives, Measurement, Molecule, SampleError
from molchord_modalities.structure import STRUCTURE, StructureConfig
from molchord_modalities.structure_columns import ATOM_COLUMNS, BOND_COLUMNS

ODD = [
    "C",
    "[He]",
    "[H][H]",
    "[CH3]",
    "O=C=O",
    "C#C",
    "[NH4+]",
    "[Na+].[Cl-]",
    "CCO.CCN",
    "C[N+](=O)[O-]",
    "O=[SH](=O)O",
]


def molecule(smiles: str, stored: Measurement | None = None) -> Molecule:
    parsed = Chem.MolFromSmiles(smiles)
    key14 = Chem.MolToInchiKey(parsed)[:14] if parsed else "NONE"
    return Molecule(key14=key14, smiles=smiles, formula="", exact_mass=0.0, stored=stored)


def derived(smiles: str, **config: object) -> Measurement:
    return STRUCTURE.build(StructureConfig.model_validate(config), "graph").derive(molecule(smiles))


def sample(smiles: str, **config: object):
    structure = STRUCTURE.build(StructureConfig.model_validate(config), "graph")
    return structure.transform(structure.derive(molecule(smiles)), None)


def distances(positions: np.ndarray) -> np.ndarray:
    return np.linalg.norm(positions[:, None] - positions[None], axis=-1)


def test_record_loads_nothing_heavy():
    code = (
        "import sys; from molchord_modalities.structure import STRUCTURE as s;"
        "s.spec(s.adapt(s.config(), ('positions',)), 'graph');"
        "print([m for m in ('torch', 'numpy', 'rdkit') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("geometry", "needs", "expected"),
    [
        (None, (), "none"),
        (None, ("positions",), "etkdg"),
        ("none", ("positions",), "none"),
        ("source", ("positions",), "source"),
        ("etkdg", (), "etkdg"),
    ],
)
def test_adapt_fills_only_what_was_left_out(geometry, needs, expected):
    adapted = STRUCTURE.adapt(StructureConfig(geometry=geometry), needs)
    assert adapted.geometry == expected
    assert STRUCTURE.spec(adapted, "graph").positions is (expected != "none")


@pytest.mark.parametrize("config", [{"conformers": 3}, {"optimise": True}])
@pytest.mark.parametrize("geometry", ["none", "source"])
def test_conformers_without_etkdg_are_refused(geometry, config):
    with pytest.raises(ValidationError, match="belong to geometry 'etkdg'"):
        StructureConfig(geometry=geometry, **config)
    with pytest.raises(ValidationError, match="belong to geometry 'etkdg'"):
        STRUCTURE.adapt(StructureConfig(**config), ())


def test_columns_of_a_known_molecule():
    """N-methylpyrrole-2-carbonitrile, read off by hand: aromatic five-ring, triple bond, methyl."""
    graph = sample("Cn1cccc1C#N", hydrogens="implicit")
    canonical = Chem.MolFromSmiles(Chem.CanonSmiles("Cn1cccc1C#N"))
    methyl, nitrile = (canonical.GetSubstructMatch(Chem.MolFromSmarts(s))[0] for s in ("[CH3]", "[N;D1]"))
    ring_n = canonical.GetSubstructMatch(Chem.MolFromSmarts("n"))[0]

    def value(name: str, i: int) -> str:
        return ATOM_COLUMNS[name].values[graph.atom[name][i] - 1]

    assert graph.elements[[methyl, nitrile, ring_n]].tolist() == [6, 7, 7]
    assert [value("degree", i) for i in (methyl, nitrile, ring_n)] == ["1", "1", "3"]
    assert [value("hydrogens", i) for i in (methyl, nitrile, ring_n)] == ["3", "0", "0"]
    assert [value("aromatic", i) for i in (methyl, nitrile, ring_n)] == ["no", "no", "yes"]
    assert [value("ring5", i) for i in (methyl, nitrile, ring_n)] == ["no", "no", "yes"]
    assert (graph.atom["ring6"] == 1).all()
    orders = [BOND_COLUMNS["order"].values[code - 1] for code in graph.bond["order"]]
    assert {order: orders.count(order) for order in orders} == {"single": 4, "triple": 2, "aromatic": 10}


@pytest.mark.parametrize(("smiles", "charges", "radicals"), [("C[N+](=O)[O-]", "-0+", "0"), ("[CH3]", "0", "01")])
def test_charges_and_radicals_are_told(smiles, charges, radicals):
    graph = sample(smiles)
    names = {"-": "-1", "0": "0", "+": "1"}
    assert set(graph.atom["charge"].tolist()) == {ATOM_COLUMNS["charge"].code(names[c]) for c in charges}
    assert set(graph.atom["radicals"].tolist()) == {ATOM_COLUMNS["radicals"].code(r) for r in radicals}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("C[C@H](N)C(=O)O", "OC(=O)[C@H](C)N"),
        ("F/C=C/Cl", "Cl/C=C\\F"),
        ("c1ccccc1O", "OC1=CC=CC=C1"),
        ("C[N+](C)(C)CC(=O)[O-]", "[O-]C(=O)C[N+](C)(C)C"),
    ],
)
def test_only_the_stereo_free_canonical_smiles_enters(one, other):
    key = molecule(one).key14
    structure = STRUCTURE.build(StructureConfig(geometry="etkdg", conformers=2), "graph")
    a, b = (
        structure.derive(Molecule(key14=key, smiles=text, formula="", exact_mass=0.0)).arrays for text in (one, other)
    )
    for name in STRUCTURE.stores.arrays:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_conformers_are_rdkits_with_the_documented_seeds():
    smiles = Chem.CanonSmiles("CCCCO")
    key = molecule(smiles).key14
    positions = sample(smiles, geometry="etkdg", conformers=3).positions
    for i in range(3):
        full = Chem.AddHs(Chem.MolFromSmiles(smiles))
        parameters = ETKDGv3()
        parameters.randomSeed = int(hashlib.sha256(f"conf:{key}:{i}".encode()).hexdigest()[:8], 16) >> 1
        assert EmbedMolecule(full, parameters) == 0
        np.testing.assert_allclose(positions[:, i], full.GetConformer().GetPositions(), atol=1e-5)
    assert np.abs(distances(positions[:, 0]) - distances(positions[:, 1])).max() > 0.1
    np.testing.assert_array_equal(sample(smiles, geometry="etkdg").positions, positions[:, :1])


def test_optimise_reaches_a_minimum_of_mmff():
    full = Chem.AddHs(Chem.MolFromSmiles("CCCCO"))
    EmbedMolecule(full, randomSeed=1)
    properties = AllChem.MMFFGetMoleculeProperties(full)

    def force(positions: np.ndarray) -> float:
        full.GetConformer().SetPositions(positions.astype(np.float64))
        return float(np.abs(AllChem.MMFFGetMoleculeForceField(full, properties).CalcGrad()).max())

    raw, relaxed = (sample("CCCCO", geometry="etkdg", optimise=optimise).positions[:, 0] for optimise in (False, True))
    assert force(raw) > 5.0
    assert force(relaxed) < 0.05


def test_optimise_refuses_what_mmff_lacks():
    with pytest.raises(SampleError, match="MMFF94 has no parameters"):
        derived("CB(C)C", geometry="etkdg", optimise=True)


@pytest.mark.parametrize("smiles", ODD)
@pytest.mark.parametrize("hydrogens", ["explicit", "implicit"])
def test_odd_molecules_embed(smiles, hydrogens):
    graph = sample(smiles, geometry="etkdg", conformers=2, hydrogens=hydrogens)
    apart = distances(graph.positions[:, 0]) + 9 * np.eye(len(graph.elements))
    assert np.isfinite(graph.positions).all()
    assert apart.min() > 0.6
    first, second = graph.bonds
    assert (apart[first, second] < 2.0).all()


@pytest.mark.parametrize("smiles", ["[Na+].[Cl-]", "CCO.CCN", "O.O.O"])
def test_fragments_stay_out_of_each_others_cutoff(smiles):
    graph = sample(smiles, geometry="etkdg")
    count = len(smiles.split("."))
    reach = distances(graph.positions[:, 0]) < 9.9
    linked = np.linalg.matrix_power(reach.astype(np.int64), 8) > 0
    assert len(np.unique(linked, axis=0)) == count


def test_implicit_hydrogens_keep_the_heavy_atoms_of_the_same_conformer():
    explicit, implicit = (sample("CC(=O)O", geometry="etkdg", hydrogens=h) for h in ("explicit", "implicit"))
    heavy = explicit.elements > 1
    assert implicit.elements.tolist() == explicit.elements[heavy].tolist() == [6, 6, 8, 8]
    np.testing.assert_array_equal(implicit.positions, explicit.positions[heavy])
    np.testing.assert_array_equal(implicit.atom["hydrogens"], explicit.atom["hydrogens"][heavy])


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("C(", "RDKit cannot parse the SMILES 'C\\('"),
        ("", "holds no atom"),
        ("C(C)(C)(C)(C)C", "RDKit refuses"),
        ("*CC", "not an element"),
        ("C1=CC2=CC=C1C=C2", "finds no conformer"),
    ],
)
def test_what_cannot_be_made_says_why(smiles, reason):
    with BlockLogs():
        asked = molecule(smiles)
    with pytest.raises(SampleError, match=reason) as caught:
        STRUCTURE.build(StructureConfig(geometry="etkdg"), "graph").derive(asked)
    assert caught.value.id == asked.key14


def test_measurement_is_as_declared():
    for geometry in ("none", "etkdg"):
        measurement = derived("CCO", geometry=geometry, environments=2)
        assert measurement.origin == "computed"
        assert set(measurement.arrays) == set(STRUCTURE.stores.arrays)
        lengths: dict[str, set[int]] = {}
        for name, declared in STRUCTURE.stores.arrays.items():
            array = measurement.arrays[name]
            assert (array.dtype, array.shape[1:]) == (np.dtype(declared.dtype), declared.shape)
            lengths.setdefault(declared.axis, set()).add(len(array))
        assert lengths == {"atom": {9}, "bond": {8}, "environment": {18}, "position": {9 if geometry == "etkdg" else 0}}


def test_bonds_stand_in_both_directions_with_equal_columns():
    graph = sample("C=CC#N")
    codes = {
        (i, j): tuple(int(graph.bond[name][k]) for name in BOND_COLUMNS)
        for k, (i, j) in enumerate(graph.bonds.T.tolist())
    }
    assert len(codes) == graph.bonds.shape[1] == 12
    assert all(codes[j, i] == code for (i, j), code in codes.items())


def test_batches_of_none_one_and_several():
    structure = STRUCTURE.build(StructureConfig(geometry="etkdg", conformers=2), "graph")
    samples = [sample(smiles, geometry="etkdg", conformers=2) for smiles in ("CCO", "[He]", "[H][H]")]
    for chosen in ([], samples[1:2], samples):
        batch = structure.prepare(structure.collate(chosen), None)
        atoms = sum(len(s.elements) for s in chosen)
        assert (batch.size, tuple(batch.positions.shape)) == (len(chosen), (atoms, 2, 3))
        assert batch.bonds.shape == (2, sum(s.bonds.shape[1] for s in chosen))
        assert set(batch.atom) == set(ATOM_COLUMNS)
        assert set(batch.bond) == set(BOND_COLUMNS)
    batch = structure.collate(samples)
    assert batch.graph.tolist() == [0] * 9 + [1] + [2] * 2
    assert batch.bonds[:, -2:].tolist() == [[10, 11], [11, 10]]


def test_graph_without_positions_carries_none():
    structure = STRUCTURE.build(StructureConfig(), "graph")
    assert structure.collate([sample("CCO")]).positions is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"elements": np.zeros(0, np.uint8), "atom": np.zeros((0, len(ATOM_COLUMNS)), np.uint8)}, "holds 0 elements"),
        ({"elements": np.ones(3, np.uint8)}, "holds 3 elements and 5 rows"),
        ({"bonds": np.array([[0, 1], [0, 2], [0, 3], [0, 5]], np.int32)}, "not among its 5 atoms"),
        ({"positions": np.zeros((4, 3), np.float32)}, "holds 4 positions"),
        ({"positions": None}, "holds 0 positions"),
        ({"positions": np.eye(5, 3, dtype=np.float32)}, "atoms 4 and 5 coincide"),
        ({"positions": np.full((5, 3), np.nan, np.float32)}, "positions are not all finite"),
        (
            {"positions": np.array([[0, 0, i] for i in (0, 1, 2, 3, np.inf)], np.float32)},
            "positions are not all finite",
        ),
    ],
)
def test_damaged_measurements_are_refused(changes, reason):
    arrays = {**derived("C", geometry="etkdg").arrays, **changes}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    with pytest.raises(SampleError, match=reason):
        STRUCTURE.build(StructureConfig(geometry="etkdg"), "graph").transform(Measurement(arrays=arrays), None)


def test_modality_is_light_to_send_and_deterministic():
    structure = STRUCTURE.build(StructureConfig(geometry="etkdg"), "graph")
    assert isinstance(structure, Derives)
    assert STRUCTURE.derives
    assert len(pickle.dumps(structure)) < 10_000
    copy = pickle.loads(pickle.dumps(structure))
    one, other = structure.example([molecule("CCO")], 1)[0], copy.example([molecule("CCO")], 1)[0]
    for name in STRUCTURE.stores.arrays:
        np.testing.assert_array_equal(one.arrays[name], other.arrays[name])
    drawn = structure.transform(one, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn.positions, structure.transform(other, None).positions)


# --- geometry of a source --------------------------------------------------------------------------------------------


def source_file(folder: Path, texts: list[str], **changes: object) -> tuple[Path, list[np.ndarray]]:
    """Write an archive of molecules whose positions come from an embedding with a foreign seed."""
    elements, positions = [], []
    for text in texts:
        full = Chem.AddHs(Chem.MolFromSmiles(text))
        assert EmbedMolecule(full, randomSeed=99) == 0
        elements.append(np.array([atom.GetAtomicNum() for atom in full.GetAtoms()], np.uint8))
        positions.append(full.GetConformer().GetPositions().astype(np.float32))
    arrays = {
        "smiles": np.array(texts),
        "z": np.concatenate(elements),
        "pos": np.concatenate(positions),
        "atoms": np.cumsum([0, *map(len, elements)]),
    } | changes
    path = folder / "molecules.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path, positions


def shuffled(smiles: str, seed: int) -> str:
    parsed = Chem.MolFromSmiles(smiles)
    order = np.random.default_rng(seed).permutation(parsed.GetNumAtoms()).tolist()
    return Chem.MolToSmiles(Chem.RenumberAtoms(parsed, order), canonical=False)


@pytest.mark.parametrize("smiles", ["CC(=O)NCc1ccco1", "OCC1CC1C#N", "C[N+](C)(C)CC(=O)[O-]", "O", "[H][H]", "CC.CO"])
def test_source_geometry_follows_the_canonical_atom_order(tmp_path, smiles):
    texts = [shuffled(smiles, seed) for seed in range(4)]
    path, _ = source_file(tmp_path, texts)
    structure = STRUCTURE.build(StructureConfig(geometry="source"), "graph")
    assert structure.can_read(path)
    readings = list(structure.read(path))
    assert [reading.smiles for reading in readings] == texts
    for reading in readings:
        result = structure.derive(molecule(Chem.CanonSmiles(smiles), reading.measurement)).arrays
        np.testing.assert_array_equal(result["elements"], derived(smiles).arrays["elements"])
        ends = [arrays["bonds"].T for arrays in (result, reading.measurement.arrays)]
        kept, given = (
            sorted(np.linalg.norm(arrays["positions"][a] - arrays["positions"][b], axis=-1).tolist())
            for arrays, (a, b) in zip((result, reading.measurement.arrays), ends, strict=True)
        )
        np.testing.assert_allclose(kept, given, atol=1e-5)


def test_source_positions_alone_give_the_molecule_back(tmp_path):
    """RDKit's own perception of bonds from elements and positions is the independent judge."""
    smiles = "CC(=O)NCc1ccco1"
    path, _ = source_file(tmp_path, [shuffled(smiles, 5)])
    structure = STRUCTURE.build(StructureConfig(geometry="source"), "graph")
    (reading,) = structure.read(path)
    arrays = structure.derive(molecule(smiles, reading.measurement)).arrays
    lines = [
        f"{Chem.GetPeriodicTable().GetElementSymbol(int(z))} {x} {y} {w}"
        for z, (x, y, w) in zip(arrays["elements"], arrays["positions"].tolist(), strict=True)
    ]
    seen = Chem.MolFromXYZBlock("\n".join([str(len(lines)), "", *lines, ""]))
    rdDetermineBonds.DetermineBonds(seen)
    assert Chem.MolToSmiles(Chem.RemoveHs(seen), isomericSmiles=False) == Chem.CanonSmiles(smiles)
    perceived = {frozenset((b.GetBeginAtomIdx(), b.GetEndAtomIdx())) for b in seen.GetBonds()}
    assert perceived == {frozenset(pair) for pair in arrays["bonds"].tolist()}


def test_source_never_falls_back_to_etkdg(tmp_path):
    structure = STRUCTURE.build(StructureConfig(geometry="source"), "graph")
    with pytest.raises(SampleError, match="holds no geometry of a source"):
        structure.derive(molecule("CCO"))
    path, _ = source_file(tmp_path, ["CC(C)=O"])
    (reading,) = structure.read(path)
    with pytest.raises(SampleError, match="another tautomer"):
        structure.derive(molecule("C=C(C)O", reading.measurement))
    assert len(structure.example([molecule("CCO")], 0)[0].arrays["positions"]) == 9


@pytest.mark.parametrize(("value", "reason"), [(np.nan, "positions are not all finite"), (None, "coincide")])
def test_an_impossible_geometry_of_a_source_is_refused(tmp_path, value, reason):
    path, _ = source_file(tmp_path, ["CCO"])
    (reading,) = STRUCTURE.build(StructureConfig(), "graph").read(path)
    arrays = dict(reading.measurement.arrays)
    arrays["positions"] = arrays["positions"].copy()
    arrays["positions"][8] = arrays["positions"][3] if value is None else value
    with pytest.raises(SampleError, match=reason) as caught:
        STRUCTURE.build(StructureConfig(geometry="source"), "graph").derive(molecule("CCO", Measurement(arrays=arrays)))
    assert caught.value.id == "LFQSCWFLJHTTHZ"


def test_etkdg_does_not_look_at_a_stored_geometry(tmp_path):
    path, positions = source_file(tmp_path, ["CCCO"])
    structure = STRUCTURE.build(StructureConfig(geometry="etkdg"), "graph")
    (reading,) = structure.read(path)
    made = structure.derive(molecule("CCCO", reading.measurement)).arrays["positions"]
    np.testing.assert_array_equal(made, derived("CCCO", geometry="etkdg").arrays["positions"])
    assert np.abs(made - positions[0]).max() > 0.01


def test_bad_entries_of_an_archive_let_the_next_ones_through(tmp_path):
    structure = STRUCTURE.build(StructureConfig(), "graph")
    path, positions = source_file(tmp_path, ["CCO", "CO", "CN"])
    joined = np.concatenate(positions)
    joined[2] += 5.0  # the oxygen of ethanol
    joined[10] = np.nan
    source_file(tmp_path, ["CCO", "CO", "CN"], pos=joined)
    results = list(structure.read(path))
    assert "a bond of the SMILES 'CCO' is" in str(results[0])
    assert str(results[1]) == "molecules.npz: entry 2: positions are not all finite"
    assert results[2].location == "molecules.npz: entry 3"
    joined[10] = joined[9]
    source_file(tmp_path, ["CCO", "CO", "CN"], pos=joined)
    assert str(list(structure.read(path))[1]) == "molecules.npz: entry 2: atoms 1 and 2 coincide"
    source_file(tmp_path, ["CCO", "CO", "CN"], smiles=np.array(["CCN", "C(", "CN"]))
    results = list(structure.read(path))
    assert "not those of the SMILES 'CCN'" in results[0].reason
    assert "cannot parse" in results[1].reason
    assert results[2].smiles == "CN"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pos": None}, "lacks the arrays 'pos'"),
        ({"atoms": np.array([0, 9, 20])}, "do not fit together"),
        ({"atoms": np.array([0, 16, 9, 15])}, "do not fit together"),
        ({"z": np.ones(3, np.uint8)}, "do not fit together"),
        ({"smiles": np.array([{"a": 1}], dtype=object)}, "cannot be read as a numpy archive: Object arrays"),
    ],
)
def test_archives_that_do_not_fit_are_refused(tmp_path, changes, reason):
    path, _ = source_file(tmp_path, ["CCO", "CO"], **changes)
    with pytest.raises(SampleError, match=reason):
        list(STRUCTURE.build(StructureConfig(), "graph").read(path))


def test_any_damage_to_an_archive_is_a_sample_error(tmp_path):
    path, _ = source_file(tmp_path, ["CCO", "CO", "c1ccccc1"])
    whole = path.read_bytes()
    structure = STRUCTURE.build(StructureConfig(), "graph")
    rng = np.random.default_rng(0)
    broken = [whole[:n] for n in rng.integers(0, len(whole), 20)]
    for _ in range(60):
        data = bytearray(whole)
        for at in rng.integers(0, len(whole), 3):
            data[at] ^= int(rng.integers(1, 256))
        broken.append(bytes(data))
    refused = 0
    for data in [b"", b"not a zip", *broken]:
        path.write_bytes(data)
        structure.can_read(path)
        try:
            list(structure.read(path))
        except SampleError:
            refused += 1
    assert refused > 25
    with pytest.raises(SampleError, match="cannot be read"):
        list(structure.read(tmp_path / "absent.npz"))


@pytest.mark.shared
@pytest.mark.parametrize("name", ["qm9-xtb", "qm9-xtb-more", "massbank-xtb", "nist-xtb"])
def test_real_archives(shared_data, name, tmp_path):
    path = shared_data / f"{name}.npz"
    structure = STRUCTURE.build(StructureConfig(geometry="source"), "graph")
    assert structure.can_read(path)
    with np.load(path, allow_pickle=False) as archive:
        order = np.random.default_rng(1).choice(len(archive["smiles"]), 15, replace=False)
        starts, z, pos, smiles = (archive[key] for key in ("atoms", "z", "pos", "smiles"))
    parts = [np.arange(starts[i], starts[i + 1]) for i in order]
    small = tmp_path / "part.npz"
    np.savez(
        small,
        smiles=smiles[order],
        z=z[np.concatenate(parts)],
        pos=pos[np.concatenate(parts)],
        atoms=np.cumsum([0, *map(len, parts)]),
    )
    for reading in structure.read(small):
        result = structure.derive(molecule(reading.smiles, reading.measurement)).arrays
        first, second = result["bonds"].T
        assert np.linalg.norm(result["positions"][first] - result["positions"][second], axis=-1).max() < 3.0


# --- environments --------------------------------------------------------------------------------------------------


def test_environments_count_as_rdkits_morgan_fingerprint_does():
    smiles, size = "CC(=O)Nc1ccc(O)cc1Br", 4096
    mol = Chem.MolFromSmiles(smiles)
    found = sample(smiles, environments=2, hydrogens="implicit")
    codes = np.concatenate([found.atom["environment1"], found.atom["environment2"]])
    counts = np.bincount(codes - 1, minlength=size)
    whole = GetMorganGenerator(radius=2, fpSize=size, includeRedundantEnvironments=True)
    atoms_alone = GetMorganGenerator(radius=0, fpSize=size)
    expected = whole.GetCountFingerprintAsNumPy(mol).astype(int) - atoms_alone.GetCountFingerprintAsNumPy(mol)
    np.testing.assert_array_equal(counts, expected)


@pytest.mark.parametrize("hydrogens", ["implicit", "explicit"])
@pytest.mark.parametrize("smiles", ODD)
def test_odd_molecules_have_environments_too(smiles, hydrogens):
    found = sample(smiles, environments=3, hydrogens=hydrogens)
    for radius in (1, 2, 3):
        codes = found.atom[f"environment{radius}"]
        assert len(codes) == len(found.elements)
        assert 0 <= codes.min() <= codes.max() <= 4096


def test_an_atom_without_neighbours_has_no_environment():
    salt = sample("[Na+].[Cl-].CO", environments=1, hydrogens="implicit")
    assert ((salt.atom["environment1"] == 0) == np.isin(salt.elements, [11, 17])).all()


def test_explicit_hydrogens_have_no_environment_and_leave_the_others_as_they_are():
    bare, full = (sample("CCO", environments=1, hydrogens=h).atom["environment1"] for h in ("implicit", "explicit"))
    assert full[:3].tolist() == bare.tolist()
    assert bare.min() > 0
    assert full[3:].tolist() == [0] * 6


@pytest.mark.parametrize(
    ("drop", "hide", "share"), [(0.0, 1.0, 1.0), (0.0, 0.0, 0.0), (0.3, 0.0, 0.3), (0.0, 0.5, 0.5)]
)
def test_environments_are_left_out_in_training_alone_and_whole(drop, hide, share):
    structure = STRUCTURE.build(StructureConfig(environments=1, drop=drop, hide=hide), "graph")
    measurement = structure.derive(molecule("CCCCO"))
    known = structure.transform(measurement, None).atom["environment1"]
    gone = []
    for seed in range(400):
        drawn = structure.transform(measurement, np.random.default_rng(seed)).atom["environment1"]
        for code in set(known[known > 0].tolist()):
            left = set(drawn[known == code].tolist())
            assert left in ({code}, {0})  # it goes from all of its atoms
            gone.append(left == {0})
    assert np.mean(gone) == pytest.approx(share, abs=0.06)


def test_measurements_without_environments_are_refused_where_they_are_asked_for():
    structure = STRUCTURE.build(StructureConfig(environments=2), "graph")
    with pytest.raises(SampleError, match="holds 0 environments, needs 2 for each of 9 atoms"):
        structure.transform(derived("CCO"), None)
    whole = structure.derive(molecule("CCO"))
    beyond = Measurement(arrays=whole.arrays | {"environments": np.full(18, 5000, dtype=np.uint16)})
    with pytest.raises(SampleError, match="outside of 4096"):
        structure.transform(beyond, None)


def test_geometry_of_a_data_set_from_before_environments_is_still_taken():
    structure = STRUCTURE.build(StructureConfig(), "graph")
    earlier = {name: array for name, array in STRUCTURE.stores.arrays.items() if name != "environments"}
    stored = Measurement(arrays={"elements": np.array([6], dtype=np.uint8)})
    assert structure.migrate(stored, dataclasses.replace(STRUCTURE.stores, arrays=earlier)) is stored
    with pytest.raises(SampleError, match="lacks the array `bonds`"):
        structure.migrate(stored, dataclasses.replace(STRUCTURE.stores, arrays={}))


def test_views_are_the_molecule_with_and_without_its_environments():
    structure = STRUCTURE.build(StructureConfig(environments=2, views=True), "graph")
    one = structure.transform(structure.derive(molecule("CCO")), None)
    whole, bare = structure.views(one)
    assert whole is one
    assert {name for name in one.atom if (one.atom[name] != bare.atom[name]).any()} == {"environment1", "environment2"}
    assert not any(bare.atom[name].any() for name in ("environment1", "environment2"))
    assert STRUCTURE.build(StructureConfig(environments=2), "graph").views(one) == [one]
    for wrong in ({}, {"environments": 2, "hide": 0.0}):
        with pytest.raises(ValidationError, match="`views` needs `environments` above 0 and `hide` above 0"):
            StructureConfig(views=True, **wrong)
