"""The simulator `aimnet2`: its physics against independent references, and what becomes of hard molecules."""

import csv
from functools import cache

import numpy as np
import pytest
import torch

import molchord as mc
from molchord.api import Batched, SampleError, Simulator
from molchord.chem import molecule
from molchord.cli.main import main
from molchord.data.info import data_info
from molchord.host import installed
from molchord.simulation.simulate import simulate, simulate_molecules
from molchord_simulators import AIMNET2, gfn2
from molchord_simulators.aimnet2 import spectra, surface, weights
from molchord_simulators.aimnet2.hessian import derivatives
from molchord_simulators.aimnet2.network import Network
from molchord_simulators.aimnet2.simulator import averaged
from molchord_simulators.aimnet2.surface import Start
from molchord_simulators.aimnet2.valence import valence_hessian
from molchord_simulators.gfn2 import BOHR, Failed

try:
    FILE = weights.find()
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)

FAST = AIMNET2.build(AIMNET2.config(members=1))
FULL = AIMNET2.build(AIMNET2.config())


@cache
def network(members=4, dtype=torch.float64):
    return Network(weights.read(FILE, members), dtype, torch.device("cpu"))


@cache
def result(smiles, simulator=FULL):
    return simulator.compute(simulator.prepare(molecule(smiles)))


@cache
def start(smiles, disturbed=0.0):
    job = FULL.prepare(molecule(smiles))
    moved = disturbed * np.random.default_rng(1).standard_normal(job["pos"].shape)
    bonds = np.asarray(job["bonds"], dtype=np.int64).reshape(-1, 2)
    return Start(job["z"].astype(np.int64), (job["pos"] + moved).astype(float) / BOHR, bonds, float(job["charge"]))


def masses(z):
    return np.array(gfn2.MASSES)[z - 1]


def rigid_motions(positions):
    """Three translations and three rotations about the centre, as columns (3n, 6)."""
    arms = positions - positions.mean(axis=0)
    return (
        np.stack([*(np.tile(e, (len(arms), 1)) for e in np.eye(3)), *(np.cross(e, arms) for e in np.eye(3))])
        .reshape(6, -1)
        .T
    )


def tensors(*starts, dtype=torch.float64):
    """Return z (b, n), positions in angstrom (b, n, 3) and charges (b,), filled up with nothing."""
    n = max(len(one.z) for one in starts)
    z, x = torch.zeros(len(starts), n, dtype=torch.long), torch.zeros(len(starts), n, 3, dtype=dtype)
    for row, one in enumerate(starts):
        z[row, : len(one.z)] = torch.from_numpy(one.z)
        x[row, : len(one.z)] = torch.from_numpy(one.positions * BOHR)
    return z, x, torch.tensor([one.charge for one in starts], dtype=dtype)


def energy_gradient(net, z, x, charge):
    leaf = x.clone().requires_grad_()
    trace = net(z, leaf, charge)
    return trace, torch.autograd.grad(trace.energy.sum(), leaf)[0]


# --- the network -----------------------------------------------------------------------------------------------------

MOLECULES = ("CC(=O)[O-]", "C[NH3+]", "OB(O)O", "CSC(F)(Cl)Br", "C[SiH2]I", "OP(=O)(O)O", "C[AsH2]")


def test_energies_forces_and_charges_are_those_of_the_archive():
    """The archive is run by torch.jit here, and nowhere else: as the independent reference."""
    reference = torch.jit.load(str(FILE))
    starts = [start(smiles, 0.05) for smiles in MOLECULES]
    trace, gradient = energy_gradient(network(), *tensors(*starts))
    for row, one in enumerate(starts):
        z, x, charge = tensors(one, dtype=torch.float32)
        with torch.jit.optimized_execution(False):  # which takes longer than to compute
            theirs = reference({"coord": x, "numbers": z, "charge": charge})
        n = len(one.z)
        assert (theirs["forces"][0] + gradient[row, :n]).abs().max() < 2e-5  # eV/angstrom; they compute in 32 bits
        assert (theirs["charges"][0] - trace.charges.mean(0)[row, :n]).abs().max() < 2e-6
        assert trace.charges.mean(0)[row].sum().item() == pytest.approx(one.charge, abs=1e-3)
        atoms = np.mean([member["shift"][one.z, 0].astype(float).sum() for member in weights.read(FILE)])
        assert theirs["energy"].item() - atoms == pytest.approx(trace.energy[row].item(), abs=2e-3)


def test_a_molecule_does_not_feel_the_others_of_its_batch():
    starts = [start(smiles, 0.05) for smiles in ("O", "CC(=O)[O-]", "c1ccccc1")]
    trace, gradient = energy_gradient(network(), *tensors(*starts))
    for row, one in enumerate(starts):
        alone, slope = energy_gradient(network(), *tensors(one))
        assert alone.energy.item() == pytest.approx(trace.energy[row].item(), abs=1e-10)
        torch.testing.assert_close(slope[0], gradient[row, : len(one.z)])
        assert not gradient[row, len(one.z) :].any()


def test_the_mean_of_members_is_that_of_each():
    z, x, charge = tensors(start("CC=O", 0.05))
    each = [network().only(i)(z, x, charge).energy for i in range(4)]
    torch.testing.assert_close(torch.stack(each).mean(0), network()(z, x, charge).energy)
    torch.testing.assert_close(each[0], network(1)(z, x, charge).energy)


@pytest.mark.parametrize("smiles", ["O", "[OH-]", "OSCl"])
def test_second_derivatives_are_finite_differences_of_first_ones(smiles):
    z, x, charge = tensors(start(smiles, 0.05))
    n, step = z.shape[1], 1e-4
    columns = torch.arange(3 * n)[None]
    found = derivatives(network(), z, x, charge, columns)
    for k in range(3 * n):
        shift = torch.zeros_like(x).view(1, -1)
        shift[0, k] = step
        plus, minus = (energy_gradient(network(), z, x + sign * shift.view_as(x), charge) for sign in (1, -1))
        by_gradient = (plus[1] - minus[1]).flatten() / (2 * step)
        assert (found.hessian[0, k] - by_gradient).abs().max() < 2e-5  # eV/angstrom^2; stretches have some 50
        moments = [one[0].charges.mean(0) @ (x + sign * shift.view_as(x)) for one, sign in ((plus, 1), (minus, -1))]
        by_moment = (moments[0] - moments[1]).flatten() / (2 * step)
        assert (found.dipole[0, :, k] - by_moment.detach()).abs().max() < 1e-6
    torch.testing.assert_close(found.gradient, energy_gradient(network(), z, x, charge)[1].flatten(1))


def test_derivatives_of_several_molecules_by_other_coordinates_each():
    starts = [start("O", 0.05), start("S", 0.05)]
    z, x, charge = tensors(*starts)
    columns = torch.tensor([[0, 4, 8], [7, 1, 2]])
    found = derivatives(network(), z, x, charge, columns)
    for row in range(2):
        part = slice(row, row + 1)
        whole = derivatives(network(), z[part], x[part], charge[part], torch.arange(9)[None])
        chosen = columns[row]
        torch.testing.assert_close(found.hessian[row], whole.hessian[0][chosen][:, chosen])
        torch.testing.assert_close(found.dipole[row], whole.dipole[0][:, chosen])


@pytest.mark.parametrize("smiles", ["C[NH3+]", "O=C=O", "C#C", "CC=O"])
def test_what_rigid_motions_tell_need_not_be_computed(smiles, monkeypatch):
    """Six rows follow from the others, where the molecule is not linear."""
    one, computed = start(smiles, 0.0 if smiles in ("O=C=O", "C#C") else 0.05), []

    def noted(network, z, positions, charge, columns):
        computed.append(columns.shape[1])
        return derivatives(network, z, positions, charge, columns)

    monkeypatch.setattr(surface, "derivatives", noted)
    (found,) = surface.curvatures(network(1), [one])
    size = 3 * len(one.z)
    whole = derivatives(network(1), *tensors(one), torch.arange(size)[None])
    np.testing.assert_allclose(found.hessian, whole.hessian[0] * BOHR**2 / surface.HARTREE, atol=1e-9)
    np.testing.assert_allclose(found.dipole, whole.dipole[0], atol=1e-9)
    assert computed == [size - (0 if smiles in ("O=C=O", "C#C") else 6)]


def test_32_bits_are_enough():
    one = start("CC(=O)O")
    lines = []
    for dtype in (torch.float32, torch.float64):
        (found,) = surface.curvatures(network(4, dtype), [one])
        lines.append(gfn2.normal_modes(found.hessian, masses(one.z), one.positions)[0])
    assert np.abs(lines[0] - lines[1]).max() < 0.1


# --- wavenumbers and intensities -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("smiles", "known"),
    [("O", [1595, 3657, 3756]), ("CC=O", [1743, 1352]), ("c1ccccc1", [673, 993, 1486, 1038])],
    ids=["water", "acetaldehyde C=O and CH3", "benzene C-H out of plane, ring breathing, and two active ones"],
)
def test_measured_fundamentals(smiles, known):
    """Shimanouchi, Tables of Molecular Vibrational Frequencies, NSRDS-NBS 39 (1972); scaled as wB97X-D by 0.957."""
    found = result(smiles)["freq"] * 0.957
    for wavenumber in known:
        assert np.abs(found - wavenumber).min() < 0.045 * wavenumber, wavenumber


def test_selection_rules():
    """Where there is a centre of inversion, no mode is active in both; nitrogen and hydrogen have no infrared line."""
    for smiles in ("c1ccccc1", "O=C=O", "N#N"):
        r = result(smiles)
        assert np.all((r["ir"] < 0.1) | (r["raman"] < 0.1)), smiles
    assert result("N#N")["ir"].max() < 1e-4 < 1 < result("N#N")["raman"].max()


@pytest.mark.parametrize(("smiles", "modes"), [("N#N", 1), ("O=C=O", 4), ("C#C", 7), ("O", 3), ("C", 9), ("CC=O", 15)])
def test_linear_molecules_have_one_mode_more(smiles, modes):
    r = result(smiles, FAST)
    assert len(r["freq"]) == len(r["ir"]) == len(r["raman"]) == modes
    assert (r["freq"] > 0).all()


def test_against_stored_molecules(shared_data):
    """A dozen from their stored geometries; the benchmark `accuracy/aimnet2` takes all of them."""
    with np.load(shared_data / "nist-aimnet2.npz") as data:
        stored = {name: data[name] for name in data.files}
    small = np.flatnonzero(np.diff(stored["atoms"]) < 16)
    for i in np.random.default_rng(0).choice(small, 12, replace=False):
        atoms, modes = (slice(*stored[name][i : i + 2]) for name in ("atoms", "modes"))
        one = Start(
            stored["z"][atoms].astype(np.int64), stored["pos"][atoms].astype(float) / BOHR, np.zeros((0, 2), int), 0.0
        )
        (found,) = surface.curvatures(network(4, torch.float32), [one])
        lines, normal = gfn2.normal_modes(found.hessian, masses(one.z), one.positions)
        high = stored["freq"][modes] > 100
        assert np.abs(lines - stored["freq"][modes])[high].max() < 0.5, stored["smiles"][i]
        np.testing.assert_allclose(gfn2.infrared(found.dipole @ normal).sum(), stored["ir"][modes].sum(), rtol=0.01)


def test_batches_change_nothing_but_the_last_digits():
    jobs = [FAST.prepare(molecule(smiles)) for smiles in ("CCO", "CC=O", "C[NH3+]", "OC=O")]
    for job, found in zip(jobs, FAST.compute_batch(jobs), strict=True):
        alone = FAST.compute(job)
        assert np.abs(alone["freq"] - found["freq"]).max() < 1
        np.testing.assert_allclose(alone["raman"].sum(), found["raman"].sum(), rtol=0.01)


# --- geometries ------------------------------------------------------------------------------------------------------


def test_a_guess_of_the_hessian_knows_rigid_motions_and_bonds():
    one = start("CC#CC(=O)N", 0.05)
    guess = valence_hessian(one.z, one.positions, one.bonds)
    rigid = rigid_motions(one.positions)
    np.testing.assert_allclose(guess @ rigid, 0.003 * rigid, atol=1e-10)
    assert np.linalg.eigvalsh(guess).min() > 0.0029
    assert 1 < np.linalg.eigvalsh(guess).max() < 4


def test_a_saddle_point_is_pushed_off():
    """Flat ammonia stays flat while it relaxes, and is no minimum."""
    job = FAST.prepare(molecule("N"))
    angle = 2 * np.pi * np.arange(3) / 3
    flat = np.vstack([np.zeros(3), np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1)])
    (found,) = spectra.compute(network(1, torch.float32), [{**job, "pos": flat}])
    assert found["freq"][0] > 500
    nitrogen, hydrogen = found["pos"][0].astype(float), found["pos"][1:].astype(float)
    normal = np.cross(hydrogen[1] - hydrogen[0], hydrogen[2] - hydrogen[0])
    height = abs((nitrogen - hydrogen[0]) @ normal) / np.linalg.norm(normal)
    assert 0.3 < height < 0.5


def test_rotational_constants():
    r = result("O")
    np.testing.assert_allclose(r["constants"], [27.88, 14.51, 9.28], rtol=0.03)  # Herzberg
    linear = result("O=C=O", FAST)
    assert linear["constants"][0] == 0


@pytest.mark.parametrize(
    ("smiles", "kinds"),
    [
        ("C#CCN", {3480: 1, 3549: 2, 3616: 2}),  # an alkyne's C-H is among the N-H
        ("CS", {2777: 1}),  # hydrogen on sulfur counts as on carbon
        ("CC(=O)O", {3814: 2, 3159: 1}),
        ("FC(F)=C(F)F", {}),
    ],
)
def test_modes_have_the_kind_of_the_bond_that_they_stretch(smiles, kinds):
    r = result(smiles, FAST)
    hydrogens = np.isin(np.arange(len(r["freq"])), np.flatnonzero(r["kind"]))
    assert hydrogens.sum() == (r["z"] == 1).sum()  # one stretching mode for each hydrogen
    assert (r["freq"][hydrogens] > 2300).all()
    for wavenumber, kind in kinds.items():
        assert r["kind"][np.abs(r["freq"] - wavenumber).argmin()] == kind, wavenumber


def test_measurements_have_kinds_and_the_middle_rotational_constant():
    r = result("O", FAST)
    for one in FAST.measurements(r).values():
        assert one.arrays["stick_kind"].tolist() == [0, 2, 2]
        assert one.columns["rotational_constant"] == pytest.approx(14.51, rel=0.03)  # B of water (Herzberg)
    older = FAST.measurements({name: values for name, values in r.items() if name not in ("kind", "constants")})["ir"]
    assert "stick_kind" not in older.arrays
    assert "rotational_constant" not in older.columns


# --- charges, elements, conformers -----------------------------------------------------------------------------------


def test_ions_are_computed_as_ions():
    charged, neutral = result("C[NH3+]", FAST), result("CN", FAST)
    assert len(charged["freq"]) == len(neutral["freq"]) + 3
    assert FAST.prepare(molecule("CC(=O)[O-]"))["charge"] == -1
    assert result("CC(=O)[O-]", FAST)["ir"].max() > 300  # the antisymmetric stretch


def test_an_element_that_the_networks_lack_is_computed_by_gfn2():
    job = FAST.prepare(molecule("C[Ge]"))
    found = FAST.compute_batch([FAST.prepare(molecule("O")), job])
    assert [str(one["simulator"]) for one in found] == ["aimnet2 (one member)", "gfn2"]
    np.testing.assert_array_equal(found[1]["freq"], gfn2.compute(job)["freq"])
    columns = FAST.measurements(found[1])["raman"].columns
    assert (columns["origin"], columns["source"]) == ("computed", "gfn2")


def test_an_element_that_nobody_has_is_an_error():
    with pytest.raises(SampleError, match="GFN2-xTB"):
        FAST.compute({**FAST.prepare(molecule("O")), "z": np.array([94, 1, 1], dtype=np.uint8)})


def test_several_conformers():
    several = AIMNET2.build(AIMNET2.config(members=1, conformers=4))
    job = several.prepare(molecule("OCCO"))
    assert job["pos"].shape == (40, 3)
    np.testing.assert_array_equal(job["pos"][:10], FAST.prepare(molecule("OCCO"))["pos"])
    found = several.compute(job)
    assert len(found["freq"]) % 24 == 0
    assert (np.diff(found["freq"]) >= 0).all()
    assert len(found["pos"]) == 10


def spectrum(energy, freq, intensity=1.0, stretch=1.0):
    z, pos = np.array([8, 1, 1], np.uint8), stretch * np.array([[0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]], np.float32)
    lines = np.array(freq, np.float32)
    return {
        "z": z, "pos": pos, "freq": lines, "ir": np.full_like(lines, intensity),
        "raman": np.full_like(lines, 2 * intensity), "energy": np.array(energy),
        "kind": (lines > 1500).astype(np.uint8), "constants": gfn2.rotational_constants(z, pos),
    }  # fmt: skip


def test_conformers_count_by_their_energies():
    above = 1.380649e-23 * 298.15 * np.log(3) / 4.3597447222071e-18  # a third as many
    low, high = spectrum(-1.0, [1000, 2000]), spectrum(-1.0 + above, [1100, 1900], stretch=1.1)
    found = averaged([high, Failed("lost"), low])
    assert found["freq"].tolist() == [1000, 1100, 1900, 2000]
    np.testing.assert_allclose(found["ir"], [0.75, 0.25, 0.25, 0.75], rtol=1e-5)
    np.testing.assert_allclose(found["raman"], 2 * found["ir"])
    assert found["kind"].tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(found["pos"], low["pos"])
    again = averaged([low, high, spectrum(-1.0, [1000, 2000])])
    np.testing.assert_allclose(again["ir"], found["ir"])  # what became alike counts once
    assert averaged([low, spectrum(-0.9, [5, 6], stretch=1.1)])["freq"].tolist() == [1000, 2000]
    assert str(averaged([Failed("a"), Failed("b")])) == "a"


# --- what fails ------------------------------------------------------------------------------------------------------


def test_a_molecule_that_fails_is_an_error_and_the_others_go_on():
    water, alone = FAST.prepare(molecule("O")), FAST.prepare(molecule("[H][H]"))
    other = {**water, "bonds": np.array([[0, 1], [1, 2]], dtype=np.int32)}
    broken = {**water, "pos": np.full((3, 3), np.nan)}
    single = {**water, "z": water["z"][:1], "pos": water["pos"][:1], "bonds": np.zeros((0, 2), np.int32)}
    found = FAST.compute_batch([other, water, broken, single, alone])
    assert [isinstance(one, SampleError) for one in found] == [True, False, True, True, False]
    assert "bonds changed" in found[0].reason
    assert "does not converge" in found[2].reason
    assert "a single atom" in found[3].reason


def test_a_batch_that_raises_is_computed_one_by_one(monkeypatch):
    real = type(FAST).compute_batch

    def fragile(self, jobs):
        if len(jobs) > 1:
            raise RuntimeError("out of memory")
        if len(jobs[0]["z"]) == 2:
            raise ZeroDivisionError("of all things")
        return real(self, jobs)

    monkeypatch.setattr(type(FAST), "compute_batch", fragile)
    found = list(simulate_molecules(FAST, [molecule(s) for s in ("O", "[H][H]", "N")], workers=1))
    assert sorted(found[0]) == sorted(found[2]) == ["ir", "raman"]
    assert found[1].reason == "the simulator failed: ZeroDivisionError: of all things"


def test_a_data_set_says_how_each_spectrum_was_computed(tmp_path, capsys):
    report = simulate(["O", "C[Ge]", "[He]", "C.C"], tmp_path / "data", host=installed(), use="aimnet2", workers=1)
    assert (report.molecules, report.failed) == (2, 2)
    data = mc.DataSet(tmp_path / "data")
    sources = dict(zip(data.smiles(), data.table("ir").column("source"), strict=True))
    assert sources == {"O": "aimnet2", "[CH3][Ge]": "gfn2"}
    assert data_info(data)["modalities"]["raman"]["computed_by"] == {"aimnet2": 1, "gfn2": 1}
    assert main(["data", "info", str(tmp_path / "data")]) == 0
    assert "computed: 1 by aimnet2, 1 by gfn2" in capsys.readouterr().out
    note = data.manifest.options["note"]
    assert "molchord:aimnet2" in note
    assert "the mean of four members" in note
    assert weights.SHA256[:12] in note
    with (tmp_path / "data" / "failures.csv").open() as file:
        assert {row["smiles"] for row in csv.DictReader(file)} == {"[He]", "C.C"}


def test_abilities():
    assert isinstance(FAST, Batched)
    assert "first member" in FAST.computed_by()
    assert "\n" not in FULL.computed_by()
    assert AIMNET2.config().members == 4
    simulator: Simulator = FAST
    assert simulator.prepared_by().startswith("one conformer")
