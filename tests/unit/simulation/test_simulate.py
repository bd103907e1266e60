"""Simulation: the physics of `gfn2`, and what the engine does with any simulator."""

import csv
import dataclasses
import importlib
import os
import pickle
import runpy
import shutil
import subprocess
import sys
import zipfile
from functools import cache, partial
from importlib import metadata
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from scipy.spatial.transform import Rotation
from tests.one_check import failure_of

import molchord as mc
import molchord_simulators
from molchord.api import Array, Config, SampleError
from molchord.chem import molecule
from molchord.cli.main import main
from molchord.errors import DataError, OutputExistsError, PluginError
from molchord.host import Host, Plugin, discovery, installed
from molchord.simulation.files import Outcome, read_contents, read_entries, write_entries
from molchord.simulation.folder import SimulationFolder
from molchord.simulation.simulate import build_simulator, simulate, simulate_molecules, write_jobs
from molchord_simulators import gfn2
from molchord_simulators.gfn2_record import GFN2

SIMULATOR = GFN2.build(GFN2.config())


@cache
def result(smiles):
    return SIMULATOR.compute(SIMULATOR.prepare(molecule(smiles)))


def job(smiles, **changed):
    return {**SIMULATOR.prepare(molecule(smiles)), **changed}


def reason(given):
    with pytest.raises(gfn2.Failed) as error:
        gfn2.compute(given)
    return str(error.value)


# --- wavenumbers and intensities -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("smiles", "known"),
    [("O", [1539, 3643, 3651]), ("CC=O", [1800]), ("c1ccccc1", [693, 1067])],
    ids=["water", "acetaldehyde C=O", "benzene C-H out of plane and ring breathing"],
)
def test_known_wavenumbers(smiles, known):
    found = result(smiles)["freq"]
    for wavenumber in known:
        assert np.abs(found - wavenumber).min() < 3


def test_selection_rules():
    """Where there is a centre of inversion, no mode is active in both; nitrogen and hydrogen have no infrared line."""
    for smiles in ("c1ccccc1", "O=C=O", "N#N", "[H][H]"):
        r = result(smiles)
        assert np.all((r["ir"] < 0.05) | (r["raman"] < 0.05)), smiles
    assert result("N#N")["ir"].max() < 1e-6 < 1 < result("N#N")["raman"].max()
    benzene = result("c1ccccc1")
    degenerate = np.flatnonzero(np.abs(benzene["freq"] - 1600) < 3)
    assert len(degenerate) == 2
    assert benzene["raman"][degenerate[0]] == pytest.approx(benzene["raman"][degenerate[1]], rel=0.02)


@pytest.mark.parametrize(
    ("smiles", "modes"), [("[H][H]", 1), ("N#N", 1), ("O=C=O", 4), ("C#C", 7), ("O", 3), ("C", 9), ("CC=O", 15)]
)
def test_linear_molecules_have_one_mode_more(smiles, modes):
    r = result(smiles)
    assert len(r["freq"]) == len(r["ir"]) == len(r["raman"]) == modes
    assert (r["freq"] > 0).all()


def test_against_stored_molecules(shared_data):
    """Entries of the computed set, from their stored geometries: another program's conformer and relaxation."""
    with np.load(shared_data / "qm9-xtb.npz") as data:
        stored = {name: data[name] for name in data.files}
    for i in (3, 11):
        atoms, modes = (slice(*stored[name][i : i + 2]) for name in ("atoms", "modes"))
        given = job(str(stored["smiles"][i]), pos=stored["pos"][atoms].astype(float))
        assert np.array_equal(given["z"], stored["z"][atoms])
        found = gfn2.compute(given)
        high = stored["freq"][modes] > 200  # softer modes carry the noise of the finite differences
        assert np.abs(found["freq"] - stored["freq"][modes])[high].max() < 5
        assert np.abs(found["freq"] - stored["freq"][modes])[high].mean() < 1.5
        for name in ("ir", "raman"):
            assert found[name].sum() == pytest.approx(stored[name][modes].sum(), rel=0.03)


def test_spectra_do_not_depend_on_where_the_molecule_lies():
    turned = job("CC=O")
    turned["pos"] = Rotation.from_euler("xyz", [0.3, 1.1, -2.0]).apply(turned["pos"]) + np.array([3.0, -7.0, 11.0])
    here, there = result("CC=O"), gfn2.compute(turned)
    np.testing.assert_allclose(there["freq"][2:], here["freq"][2:], atol=1.0)
    np.testing.assert_allclose(there["ir"], here["ir"], atol=0.6, rtol=0.02)
    np.testing.assert_allclose(there["raman"], here["raman"], atol=0.6, rtol=0.02)


def test_intensities_by_hand():
    """Of a diatomic along z: a' = a_zz / 3 and g' = a_zz, so 45 a'^2 + 7 g'^2 = 12 a_zz^2."""
    derivative = np.zeros((3, 3, 1))
    derivative[2, 2, 0] = 1 / gfn2.BOHR**2
    assert gfn2.raman(derivative)[0] == pytest.approx(12.0)
    assert gfn2.raman(np.eye(3)[..., None] / gfn2.BOHR**2)[0] == pytest.approx(45.0)
    # e^2 / dalton in km/mol: pi N_A / (3 c^2) / (4 pi epsilon_0) in SI units, per kilometre
    si = 6.02214076e23 * 1.602176634e-19**2 / 1.66053907e-27 / (12 * 299792458.0**2 * 8.8541878e-12) / 1000
    assert gfn2.infrared(np.array([[1.0], [0], [0]]))[0] == pytest.approx(si, rel=1e-4)


def test_a_spring_of_known_frequency():
    """k = 1 Hartree/Bohr^2 between masses of 1 and 3 dalton, reduced 0.75; the wavenumber from SI constants."""
    spring = np.kron([[1.0, -1], [-1, 1]], np.diag([0, 0, 1.0]))
    found, modes = gfn2.normal_modes(spring, np.array([1.0, 3.0]), np.array([[0, 0, 0], [0, 0, 2.0]]))
    omega = np.sqrt(4.3597447e-18 / 5.29177211e-11**2 / (0.75 * 1.66053907e-27))
    assert found == pytest.approx([omega / (2 * np.pi * 29979245800.0)], rel=1e-6)
    assert modes[2, 0] / modes[5, 0] == pytest.approx(-3.0)  # the light one moves three times as far


def test_tables_of_the_elements():
    table = Chem.GetPeriodicTable()
    assert len(gfn2.MASSES) == len(gfn2.RADII) == 86
    for z in range(1, 87):
        if z not in (43, 61, 84, 85, 86):  # without a standard weight
            assert gfn2.MASSES[z - 1] == pytest.approx(table.GetAtomicWeight(z), rel=5e-4), z
        assert gfn2.RADII[z - 1] == pytest.approx(table.GetRcovalent(z), abs=0.45), z


@pytest.mark.parametrize("smiles", ["Br", "[SiH4]", "CI", "[SeH2]", "B", "[NH4+]", "[OH-]", "[CH3]"])
def test_other_elements_ions_and_radicals(smiles):
    r = result(smiles)
    assert len(r["freq"]) == 3 * len(r["z"]) - (5 if len(r["z"]) == 2 else 6)
    assert all(np.isfinite(r[name]).all() for name in ("freq", "ir", "raman"))
    assert r["ir"].max() > 0.1


# --- what cannot be simulated ----------------------------------------------------------------------------------------


def test_failures_name_their_reason(monkeypatch):
    assert reason(job("[He]")) == "a single atom has no vibration"
    assert "no parameters for atomic number 92" in reason(job("[U]", z=np.array([92, 1]), pos=np.eye(3)[:2]))
    assert reason(job("O", bonds=np.array([[0, 1], [1, 2]]))) == "bonds changed during the relaxation"
    torn = np.array([[0, 0, 0.0], [0, 0, 0.9], [9, 9, 9]])
    assert reason(job("O", pos=torn)).startswith("GFN2-xTB stopped: SCF not converged")
    planar = np.array([[0, 0, 0.0], [1.0, 0, 0], [-0.5, 0.87, 0], [-0.5, -0.87, 0]])
    assert reason(job("N", pos=planar)).startswith("imaginary mode at -")  # ammonia on its way through
    monkeypatch.setattr(gfn2, "MAX_STEPS", 2)
    assert reason(job("CO")) == "the geometry does not converge"


def test_bonds_lost_and_formed():
    z, bonded = np.array([6, 6]), ~np.eye(2, dtype=bool)
    for bond, distance, changed in [
        (True, 1.94, False), (True, 1.96, True), (False, 1.73, False), (False, 1.72, True),
    ]:  # fmt: skip
        positions = np.array([[0, 0, 0], [0, 0, distance]]) / gfn2.BOHR  # the radii add up to 1.5 angstrom
        assert gfn2.rearranged(z, positions, bonded & bond) is changed


@pytest.fixture
def _imported_anew(monkeypatch):
    """Once found, the library is kept by the simulator's module, so it gets another one."""
    monkeypatch.setattr(molchord_simulators, "gfn2", gfn2)  # puts it back
    del molchord_simulators.gfn2  # where `from molchord_simulators import gfn2` looks first
    for name in ("gfn2", "harmonic"):
        monkeypatch.delitem(sys.modules, f"molchord_simulators.{name}")


@pytest.mark.usefixtures("_imported_anew")
def test_an_older_library_is_refused(monkeypatch):
    """Before 0.8 its gradients in an electric field are wrong, which shows in no error."""
    monkeypatch.setattr(metadata, "version", lambda name: "0.7.0" if name == "tblite" else version(name))
    with pytest.raises(PluginError, match=r"cannot be used \(tblite 0.7.0 is older than 0.8\); run pip install"):
        build_simulator(installed())


def test_gradients_in_a_field_are_those_of_the_energy():
    SIMULATOR.computed_by()  # imports the library with one thread
    from tblite import interface, library

    start = np.array([[0, 0, 0.1], [0, 1.43, 1.2], [0, -1.4, 1.1]])

    def run(positions):
        calculator = interface.Calculator("GFN2-xTB", np.array([8, 1, 1]), positions)
        calculator.set("verbosity", 0)
        calculator.set("accuracy", 0.001)
        calculator.add("electric-field", library.ffi.new("double[3]", [0.0, 0.004, 0.0]))
        return calculator.singlepoint()

    step = np.zeros((3, 3))
    step[1, 1] = 1e-3
    numerical = (run(start + step).get("energy") - run(start - step).get("energy")) / 2e-3
    assert run(start).get("gradient")[1, 1] == pytest.approx(numerical, abs=2e-6)


def test_conformers_are_refused_with_a_reason():
    with pytest.raises(SampleError, match="2 fragments; simulate them one by one"):
        SIMULATOR.prepare(molecule("[Na+].[Cl-]"))
    with pytest.raises(SampleError, match="no conformer"):
        SIMULATOR.prepare(molecule("C1#CC1"))


def test_a_conformer_follows_from_the_key():
    one, again, other = (job(smiles)["pos"] for smiles in ("OCC", "CCO", "CCN"))
    assert np.array_equal(one, again)
    assert one.shape == (9, 3)
    assert other.shape == (10, 3)


# --- data sets -------------------------------------------------------------------------------------------------------

SMALL = ["O", "CO", "xx", "[He]", "OC", "C#N", "N"]


def rows(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def make(source, out, **options):
    return simulate(source, Path(out), host=installed(), **options)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    make(SMALL, folder / "data", workers=1)
    return folder / "data"


def test_a_data_set_of_simulated_spectra(small):
    data = mc.DataSet(small)
    assert data.smiles() == ["O", "CO", "C#N", "N"]
    assert set(data.stored) == {"ir", "raman", "structure"}
    stored = data.table("ir").read(0)
    assert stored.origin == "computed"
    np.testing.assert_array_equal(stored.arrays["stick_wavenumber"], result("O")["freq"])
    np.testing.assert_array_equal(data.table("raman").read(0).arrays["stick_intensity"], result("O")["raman"])
    np.testing.assert_array_equal(data.table("structure").read(0).arrays["positions"], result("O")["pos"])
    note = data.manifest.options["note"]
    for word in ("molchord:gfn2", "GFN2-xTB of tblite", "ETKDGv3 of RDKit", "1 of 5 molecules failed"):
        assert word in note


def test_failures_are_listed_while_others_go_on(small):
    assert rows(small / "failures.csv") == [
        ["smiles", "key14", "reason"],
        ["xx", "", "RDKit cannot parse the SMILES 'xx'"],
        ["[He]", molecule("[He]").key14, "a single atom has no vibration"],
    ]


def test_two_workers_give_the_same_files(small, tmp_path):
    make(SMALL, tmp_path / "data", workers=2)
    for name in ("ir", "raman", "structure"):
        file = f"{name}/arrays-00000.safetensors"
        assert (small / file).read_bytes() == (tmp_path / "data" / file).read_bytes()


def test_the_python_face_and_the_command_line(small, tmp_path, capsys):
    (tmp_path / "list.csv").write_text("name,smiles\nwater,O\nmethanol,CO\n")
    shutil.copytree(f"{small}.jobs", tmp_path / "jobs")
    arguments = ["data", "simulate", str(tmp_path / "list.csv"), "--out", str(tmp_path / "a"), "--workers", "1"]
    assert main([*arguments, "--limit", "1", "--json"]) == 0
    assert '"molecules": 1' in capsys.readouterr().out
    assert main(arguments) == 2
    assert "already exists" in capsys.readouterr().err
    assert main(["data", "simulate", str(tmp_path / "list.csv")]) == 2
    assert "give `--out DATASET`, or `--jobs FOLDER`" in capsys.readouterr().err
    assert len(mc.simulate(SMALL, tmp_path / "b", jobs=tmp_path / "jobs")) == 4


# --- a stopped simulation --------------------------------------------------------------------------------------------


class Counting:
    """A simulator that computes by hand, notes each molecule, and stops the program at one of them."""

    def __init__(self, notes, stop_at=None):
        self.notes, self.stop_at = notes, stop_at

    def prepare(self, molecule):
        return {"n": np.array(len(molecule.smiles))}

    def compute(self, job):
        n = int(job["n"])
        with open(self.notes, "a") as file:
            file.write(f"{n}\n")
        if n == self.stop_at:
            raise KeyboardInterrupt
        if n == 2:
            raise ZeroDivisionError("by two")
        return {name: np.full(3, n, dtype=np.float32) for name in ("freq", "ir", "raman")}

    def measurements(self, result):
        return {}

    def prepared_by(self):
        return "counting"

    def computed_by(self):
        return "hand"


def counting(tmp_path, stop_at=None):
    record = dataclasses.replace(
        GFN2,
        name="counting",
        jobs={"n": Array(unit="1", dtype="int64")},
        results={name: Array(unit="1", axis="modes") for name in ("freq", "ir", "raman")},
        build=lambda config: Counting(tmp_path / "notes", stop_at),
    )
    return Host(
        plugins=(*(p for p in installed().plugins if p.type != "simulator"), Plugin("simulator", record, "own", "1"))
    )


CHAINS = ["C" * n for n in range(1, 13)]


@pytest.fixture
def short_chunks(monkeypatch):
    monkeypatch.setattr("molchord.simulation.folder.ENTRIES_PER_FILE", 4)


def test_a_stopped_simulation_goes_on(tmp_path, short_chunks):
    out = tmp_path / "data"
    with pytest.raises(KeyboardInterrupt):
        simulate(CHAINS, out, host=counting(tmp_path, stop_at=7), workers=1)
    assert not out.exists()
    assert [len(read_contents(p).ids) for p in sorted((tmp_path / "data.jobs").glob("*.npz"))] == [3, 2]
    report = simulate(CHAINS, out, host=counting(tmp_path), workers=1)
    done = (tmp_path / "notes").read_text().split()
    assert done == ["1", "2", "3", "4", "5", "6", "7", *map(str, range(7, 13))]  # only the stopped one again
    assert (report.molecules, report.failed) == (11, 1)
    data = mc.DataSet(out)
    assert data.smiles() == [chain for chain in CHAINS if len(chain) != 2]
    assert data.table("ir").read(10).arrays["stick_wavenumber"].tolist() == [12.0] * 3
    assert rows(out / "failures.csv")[1] == [
        "CC",
        molecule("CC").key14,
        "the simulator failed: ZeroDivisionError: by two",
    ]


@pytest.mark.slow
def test_a_killed_simulation_loses_a_chunk_at_most(tmp_path):
    """SIGKILL in the middle: nothing half-written is left, and the same command ends it."""
    code = f"""
import os, signal, sys
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[3])!r}]
import molchord.simulation.simulate as s
import molchord.simulation.folder
from test_simulate import CHAINS, Counting, counting
from pathlib import Path
Counting.compute = (lambda old: lambda self, job: os.kill(os.getpid(), signal.SIGKILL) if job["n"] == 7 else old(self, job))(Counting.compute)
molchord.simulation.folder.ENTRIES_PER_FILE = 4
s.simulate(CHAINS, Path("data"), host=counting(Path(".")), workers=1)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    assert [p.name for p in (tmp_path / "data.jobs").glob("*.npz")] == ["results-00000.npz"]
    report = simulate(CHAINS, tmp_path / "data", host=counting(tmp_path), workers=1)
    assert (report.molecules, report.failed) == (11, 1)


def test_a_longer_list_computes_what_is_new(tmp_path):
    host = counting(tmp_path)
    simulate(CHAINS[2:5], tmp_path / "data", host=host, workers=1)
    simulate(CHAINS[2:7], tmp_path / "data", host=host, workers=1, force=True)
    assert (tmp_path / "notes").read_text().split() == ["3", "4", "5", "6", "7"]
    assert len(mc.DataSet(tmp_path / "data")) == 5
    with pytest.raises(DataError, match="holds results of 2 molecules that are not asked for"):
        simulate(CHAINS[4:7], tmp_path / "data", host=host, workers=1, force=True)


def test_a_molecule_counts_once(tmp_path):
    """Of what two files hold, as where two simulations shared a folder, the first wins."""
    host = counting(tmp_path)
    simulate(CHAINS[2:4], tmp_path / "data", host=host, workers=1)
    late = [
        Outcome(id=molecule("CCCC").key14, smiles="CCCC", reason="late"),
        *(filled(chain, value=9) for chain in CHAINS[2:3] + CHAINS[4:5]),
    ]
    declared = host.find("simulator", "counting").record.results
    write_entries(tmp_path / "data.jobs" / "results-00001.npz", declared, late, prepared_by="p", computed_by="c")
    report = simulate(CHAINS[2:5], tmp_path / "data", host=host, workers=1, force=True)
    assert (report.molecules, report.failed, report.measurements["ir"]) == (3, 0, 3)
    table = mc.DataSet(tmp_path / "data").table("ir")
    assert [table.read(row).arrays["stick_wavenumber"][0] for row in range(3)] == [3.0, 4.0, 9.0]


def filled(chain, value):
    arrays = {name: np.full(3, value, dtype=np.float32) for name in ("freq", "ir", "raman")}
    return Outcome(id=molecule(chain).key14, smiles=chain, arrays=arrays)


def test_two_simulations_share_a_folder(tmp_path):
    """One that started first and writes last finds its number taken."""
    host = counting(tmp_path)
    plugin = host.find("simulator", "counting")

    def slow():
        yield filled("CCC", 3)
        SimulationFolder(tmp_path / "jobs", plugin, plugin.record.config()).fill(
            "results", [filled("CCCC", 4)], 1, {"prepared_by": ""}, False
        )

    SimulationFolder(tmp_path / "jobs", plugin, plugin.record.config()).fill(
        "results", slow(), 1, {"prepared_by": ""}, False
    )
    found = [read_contents(path).ids for path in sorted((tmp_path / "jobs").glob("*.npz"))]
    assert found == [(molecule("CCCC").key14,), (molecule("CCC").key14,)]
    assert sorted(path.name for path in (tmp_path / "jobs").iterdir()) == [
        "results-00000.npz", "results-00001.npz", "simulator.txt",
    ]  # fmt: skip


def test_a_number_taken_at_the_last_moment_is_not_overwritten(tmp_path, monkeypatch):
    plugin = counting(tmp_path).find("simulator", "counting")
    folder = SimulationFolder(tmp_path / "jobs", plugin, plugin.record.config())
    link = os.link

    def late(source, target):
        if target.name == "results-00000.npz":
            target.write_bytes(b"of another simulation")
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    folder.fill("results", [filled("CCC", 3)], 1, {"prepared_by": ""}, False)
    assert (tmp_path / "jobs" / "results-00000.npz").read_bytes() == b"of another simulation"
    assert read_contents(tmp_path / "jobs" / "results-00001.npz").ids == (molecule("CCC").key14,)


def test_a_damaged_array_is_found(tmp_path):
    host = counting(tmp_path)
    simulate(CHAINS[2:6], tmp_path / "data", host=host, workers=1)
    path = tmp_path / "data.jobs" / "results-00000.npz"
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("freq.npy").header_offset + 60
    damaged = bytearray(path.read_bytes())
    damaged[start : start + 40] = bytes(byte ^ 0x5A for byte in damaged[start : start + 40])
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"results-00000.npz' cannot be read \(.*\); delete it"):
        simulate(CHAINS[2:6], tmp_path / "data", host=host, workers=1, force=True)


def test_results_that_are_not_imported_are_no_smaller_data_set(tmp_path):
    host = counting(tmp_path)
    simulate(CHAINS[2:4], tmp_path / "data", host=host, workers=1)
    record, odd = host.find("simulator", "counting").record, dataclasses.replace(filled("CCCCC", 5), smiles="xx")
    path = tmp_path / "data.jobs" / "results-00001.npz"
    write_entries(path, record.results, [odd], prepared_by="p", computed_by="c")
    with pytest.raises(DataError, match=r"has 2 of 3 simulated molecules; delete the files of results that .*rejected"):
        simulate(CHAINS[2:5], tmp_path / "data", host=host, workers=1, force=True)


def test_what_is_under_way_elsewhere_is_left_out(tmp_path, capsys):
    """Jobs without a result are neither computed here nor needed: the library may be missing."""
    host = counting(tmp_path)
    plugin, record = host.find("simulator", "counting"), host.find("simulator", "counting").record
    folder = SimulationFolder(tmp_path / "jobs", plugin, plugin.record.config())
    for chains in (CHAINS[2:4], CHAINS[4:7]):
        jobs = [Outcome(id=molecule(c).key14, smiles=c, arrays={"n": np.array(len(c))}) for c in chains]
        folder.fill("jobs", jobs, len(jobs), {"prepared_by": "counting"}, False)
    options = {"jobs": tmp_path / "jobs", "host": host, "workers": 1, "force": True}
    with pytest.raises(DataError, match=r"none of 5 molecules could be simulated \(5 whose job has no result yet"):
        simulate(CHAINS[2:7], tmp_path / "data", **options)
    theirs = [filled(chain, 1) for chain in CHAINS[2:4]]
    write_entries(tmp_path / "jobs" / "results-00000.npz", record.results, theirs, prepared_by="p", computed_by="c")
    report = simulate(CHAINS[2:7], tmp_path / "data", **options)
    assert (report.molecules, report.waiting) == (2, 3)
    assert "3 left out whose job has no result yet (run its program, or delete the file of jobs" in report.summary()
    assert simulate(CHAINS[2:8], tmp_path / "data", **options).molecules == 3
    assert (tmp_path / "notes").read_text().split() == ["8"]  # the one that is in no file of jobs
    (tmp_path / "jobs" / "jobs-00001.npz").unlink()
    assert simulate(CHAINS[2:8], tmp_path / "data", **options).molecules == 6


class MembersConfig(Config):
    members: int = 3


def with_members(tmp_path):
    """A simulator with something to set, which its results show."""
    host = counting(tmp_path)
    record = dataclasses.replace(
        host.find("simulator", "counting").record,
        config=MembersConfig,
        build=lambda config: Members(tmp_path / "notes", config.members),
    )
    return dataclasses.replace(host, plugins=(*host.plugins[:-1], Plugin("simulator", record, "own", "1")))


class Members(Counting):
    def __init__(self, notes, members):
        super().__init__(notes)
        self.members = members

    def compute(self, job):
        return {name: np.full(3, self.members, dtype=np.float32) for name in ("freq", "ir", "raman")}


def test_a_simulator_is_configured_and_the_data_set_says_how(tmp_path):
    host = with_members(tmp_path)
    simulate(["CCC"], tmp_path / "data", host=host, use=mc.Use("counting", members=1), workers=1)
    data = mc.DataSet(tmp_path / "data")
    assert data.table("ir").read(0).arrays["stick_wavenumber"].tolist() == [1.0] * 3
    assert data.manifest.options["note"].startswith('Simulated by own:counting 1 with {"members": 1}; 0 of 1 molecules')
    with pytest.raises(PluginError, match="simulator 'counting': `member`: unknown key .* did you mean 'members'"):
        simulate(["CCC"], tmp_path / "other", host=host, use=mc.Use("counting", member=1))


def test_a_folder_of_jobs_keeps_to_one_configuration(tmp_path):
    host = with_members(tmp_path)
    options = {"host": host, "workers": 1, "force": True, "jobs": tmp_path / "jobs"}
    simulate(["CCC"], tmp_path / "data", use=mc.Use("counting", members=1), **options)
    with pytest.raises(DataError) as caught:
        simulate(["CCC", "CCCC"], tmp_path / "data", use="counting", **options)
    assert str(caught.value) == (
        f"folder {str(tmp_path / 'jobs')!r} holds jobs of simulator 'own:counting' with {{\"members\":1}}, and "
        '{"members":3} is asked for; name another one by `--jobs`'
    )
    assert simulate(["CCC", "CCCC"], tmp_path / "data", use=mc.Use("counting", members=1), **options).molecules == 2


def test_a_folder_of_an_older_version_means_the_defaults(tmp_path):
    options = {"host": with_members(tmp_path), "workers": 1, "force": True, "jobs": tmp_path / "jobs"}
    simulate(["CCC"], tmp_path / "data", **options)
    (tmp_path / "jobs" / "simulator.txt").write_text("own:counting\n")
    assert simulate(["CCC"], tmp_path / "data", use=mc.Use("counting", members=3), **options).molecules == 1
    (tmp_path / "jobs" / "simulator.txt").write_text("own:counting\n")
    with pytest.raises(DataError, match="with its defaults, and"):
        simulate(["CCC"], tmp_path / "data", use=mc.Use("counting", members=1), **options)


def test_settings_on_the_command_line(tmp_path, monkeypatch, capsys):
    host = with_members(tmp_path)
    monkeypatch.setattr(discovery, "_installed", lambda cwd, extra: host)
    (tmp_path / "a.smi").write_text("CCC\n")
    command = ["data", "simulate", str(tmp_path / "a.smi"), "--out", str(tmp_path / "data"), "--workers", "1"]
    assert main([*command, "--use", "counting", "--set", "members=2"]) == 0, capsys.readouterr().err
    assert mc.DataSet(tmp_path / "data").table("ir").read(0).arrays["stick_wavenumber"].tolist() == [2.0] * 3
    assert main([*command, "--set", "members=many", "--force"]) == 2
    assert "simulator 'counting': `members`: got 'many'" in capsys.readouterr().err


def test_a_molecule_whose_process_died_is_tried_again(tmp_path):
    """Memory may have been short; other failures are for good."""
    host = counting(tmp_path)
    plugin = host.find("simulator", "counting")
    folder = SimulationFolder(tmp_path / "data.jobs", plugin, plugin.record.config())
    reasons = ["its process died", "no conformer"]
    failed = [Outcome(id=molecule(c).key14, smiles=c, reason=r) for c, r in zip(CHAINS[2:4], reasons, strict=True)]
    folder.fill("results", failed, 2, {"prepared_by": "p", "computed_by": "c"}, False)
    report = simulate(CHAINS[2:4], tmp_path / "data", host=host, workers=1)
    assert (report.molecules, report.failed) == (1, 1)
    assert rows(tmp_path / "data" / "failures.csv")[1:] == [["CCCC", molecule("CCCC").key14, "no conformer"]]
    assert "1 of 2 molecules failed" in mc.DataSet(tmp_path / "data").manifest.options["note"]


def test_wrong_folders_are_refused(tmp_path):
    host = counting(tmp_path)
    simulate(CHAINS[2:4], tmp_path / "data", host=host, workers=1)
    jobs = tmp_path / "data.jobs"
    with pytest.raises(OutputExistsError):
        simulate(CHAINS[2:4], tmp_path / "data", host=host, workers=1)
    with pytest.raises(DataError, match="belongs to simulator 'own:counting', not to 'molchord:gfn2'"):
        make(["O"], tmp_path / "other", jobs=jobs)
    (jobs / "results-00001.npz").write_bytes((jobs / "results-00000.npz").read_bytes()[:-40])
    with pytest.raises(DataError, match=r"results-00001.npz' cannot be read \(.*\); delete it"):
        simulate(CHAINS[2:4], tmp_path / "data", host=host, force=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep")
    with pytest.raises(DataError, match="is not a folder of jobs"):
        make(["O"], tmp_path / "other", jobs=tmp_path / "mine")
    with pytest.raises(DataError, match="the list of SMILES is empty"):
        make([], tmp_path / "other")
    with pytest.raises(DataError, match="limit is 0"):
        make(["O"], tmp_path / "other", limit=0)
    with pytest.raises(DataError, match=r"none of 2 molecules could be simulated \(a single atom has no vibration\)"):
        make(["[He]", "[Ne]"], tmp_path / "other", workers=1)
    assert len(rows(tmp_path / "other.jobs" / "failures.csv")) == 3
    assert not (tmp_path / "other").exists()


# --- streams and processes -------------------------------------------------------------------------------------------


def test_a_few_molecules_in_order():
    found = list(simulate_molecules(SIMULATOR, map(molecule, ["O", "[He]", "CO"]), workers=1))
    assert [isinstance(one, SampleError) for one in found] == [False, True, False]
    assert found[1].id == molecule("[He]").key14
    assert set(found[0]) == {"ir", "raman"}
    np.testing.assert_array_equal(found[2]["raman"].arrays["stick_intensity"], result("CO")["raman"])
    assert list(simulate_molecules(SIMULATOR, [], workers=1)) == []


DEADLY = """
import os
import numpy as np

class Deadly:
    def computed_by(self):
        return "by hand"

    def measurements(self, arrays):
        return {"length": int(arrays["n"])}

    def prepare(self, molecule):
        return {"n": np.array(len(molecule.smiles))}

    def compute(self, job):
        if job["n"] == 2:
            os._exit(1)
        return job
"""


@pytest.fixture
def deadly(tmp_path, monkeypatch):
    """A simulator whose process dies at molecules of two letters, from a module that workers find too."""
    (tmp_path / "deadly_simulator.py").write_text(DEADLY)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("deadly_simulator").Deadly()
    del sys.modules["deadly_simulator"]


def test_workers_take_one_core_each(tmp_path):
    """Threads of numerical libraries in many processes fight for the cores."""
    (tmp_path / "script.py").write_text(
        "import os\n"
        "from molchord.data.parallel import ordered\n"
        "if __name__ == '__main__':\n"
        "    print(*ordered(os.getenv, ['OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'], workers=2))\n"
        "    print(os.environ['OMP_NUM_THREADS'], os.getenv('OPENBLAS_NUM_THREADS'))\n"
    )
    outside = {**os.environ, "OMP_NUM_THREADS": "7"}
    outside.pop("OPENBLAS_NUM_THREADS", None)
    command = [sys.executable, tmp_path / "script.py"]
    done = subprocess.run(command, env=outside, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["1 1", "7 None"]


def test_workers_take_one_core_each_beside_a_fork_server(tmp_path):
    """A training's loader may have started one, with the environment of then."""
    (tmp_path / "script.py").write_text(
        "import multiprocessing, os\n"
        "from molchord.data.parallel import ordered\n"
        "if __name__ == '__main__':\n"
        "    other = multiprocessing.get_context('forkserver').Process(target=print)\n"
        "    other.start()\n"
        "    other.join()\n"
        "    print(*ordered(os.getenv, ['OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'], workers=2))\n"
    )
    outside = {**os.environ, "OMP_NUM_THREADS": "7", "OPENBLAS_NUM_THREADS": "7"}
    command = [sys.executable, tmp_path / "script.py"]
    done = subprocess.run(command, env=outside, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]


@pytest.mark.slow
def test_a_molecule_that_kills_its_process_is_listed(deadly):
    found = list(simulate_molecules(deadly, map(molecule, CHAINS[:5]), workers=2))
    assert (found[1].id, found[1].reason) == (molecule(CHAINS[1]).key14, "its process died")
    assert [one["length"] for one in found[:1] + found[2:]] == [1, 3, 4, 5]


@pytest.mark.slow
def test_processes_that_all_die_stop_the_run(deadly):
    with pytest.raises(DataError, match="a worker process died"):
        list(simulate_molecules(deadly, [molecule("CC")] * 2, workers=2))


@pytest.mark.usefixtures("_imported_anew")
def test_without_the_library(monkeypatch, tmp_path, capsys):
    for name in [name for name in sys.modules if name.split(".")[0] == "tblite"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tblite", None)
    with pytest.raises(
        PluginError, match=r"simulator 'gfn2' cannot be used \(.*tblite.*\); run pip install 'molchord\[simulate\]'"
    ):
        build_simulator(installed())
    (tmp_path / "a.smi").write_text("O\n")
    assert main(["data", "simulate", str(tmp_path / "a.smi"), "--out", str(tmp_path / "a")]) == 2
    assert "run pip install 'molchord[simulate]'" in capsys.readouterr().err
    assert (
        main(["data", "simulate", str(tmp_path / "a.smi"), "--jobs", str(tmp_path / "jobs")]) == 0
    )  # needs RDKit only
    with pytest.raises(ImportError):
        next(simulate_molecules(GFN2.build(GFN2.config()), [molecule("O")], workers=1))


# --- other machines --------------------------------------------------------------------------------------------------

BARE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top not in sys.stdlib_module_names | {"numpy", "tblite", "cffi", "_cffi_backend", "pycparser"}:
            raise ImportError(f"{name} is not on this machine")
sys.meta_path.insert(0, Blocked())
import runpy
sys.argv = ["gfn2.py", *sys.argv[1:]]
runpy.run_path("gfn2.py", run_name="__main__")
"""


def test_a_bare_machine_computes_the_jobs(small, tmp_path):
    report = write_jobs(SMALL, tmp_path / "jobs", host=installed(), workers=1)
    assert (report.files, report.molecules, report.failed) == (1, 5, 1)
    assert "gfn2.py jobs-00000.npz results-00000.npz" in report.summary()
    assert write_jobs(SMALL, tmp_path / "jobs", host=installed(), workers=1).files == 0  # there already
    command = [sys.executable, "-c", BARE, "jobs-00000.npz", "results-00000.npz"]
    options = {"cwd": tmp_path / "jobs", "capture_output": True, "text": True, "check": True}
    done = subprocess.run(command, **options)
    assert done.stdout.strip() == "results-00000.npz: 4 computed, 1 failed"
    assert done.stderr.strip().endswith("[He]: a single atom has no vibration")
    assert subprocess.run(command, **options).stdout.strip() == "results-00000.npz: there already"
    make(SMALL, tmp_path / "data", jobs=tmp_path / "jobs")
    for name in ("ir", "raman", "structure"):
        file = f"{name}/arrays-00000.safetensors"
        assert (small / file).read_bytes() == (tmp_path / "data" / file).read_bytes()
    assert rows(tmp_path / "data" / "failures.csv") == rows(small / "failures.csv")


def test_a_simulator_without_a_program_writes_no_jobs(tmp_path):
    with pytest.raises(PluginError, match="has no program for other machines"):
        write_jobs(["O"], tmp_path / "jobs", host=counting(tmp_path))


def test_usage_of_the_program(capsys):
    assert gfn2.main(["jobs.npz"]) == 2
    assert "usage" in capsys.readouterr().err


def test_one_error_does_not_end_the_program(tmp_path, monkeypatch, capsys):
    """The reason reads as where molchord itself computes."""
    entries = [Outcome(id=molecule(s).key14, smiles=s, arrays=job(s)) for s in ("O", "N")]
    write_entries(tmp_path / "jobs.npz", GFN2.jobs, entries, prepared_by="p")

    def compute(given):
        if len(given["z"]) == 3:
            raise np.linalg.LinAlgError("no convergence")
        flat = np.ones(1, np.float32)
        more = {"kind": np.zeros(1, np.uint8), "constants": np.ones(3, np.float32)}
        return {
            "z": given["z"],
            "pos": given["pos"].astype(np.float32),
            "freq": flat,
            "ir": flat,
            "raman": flat,
            **more,
        }

    monkeypatch.setattr(gfn2, "compute", compute)
    assert gfn2.main([str(tmp_path / "jobs.npz"), str(tmp_path / "results.npz")]) == 0
    contents = read_contents(tmp_path / "results.npz")
    assert contents.ids == (molecule("N").key14,)
    (failed,) = contents.failed
    (here,) = simulate_molecules(SIMULATOR, [molecule("O")], workers=1)
    assert failed.reason == here.reason == "the simulator failed: LinAlgError: no convergence"
    assert failed.id == molecule("O").key14


# --- files and the kit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"freq": np.zeros(2)}, r"gave \['freq'\].*declared are \['freq', 'ir'\]"),
        ({"freq": np.zeros(2), "ir": np.zeros(3)}, r"gave `ir` of shape \(3,\)"),
        ({"freq": np.zeros((2, 2)), "ir": np.zeros(2)}, r"gave `freq` of shape \(2, 2\)"),
        ({"freq": np.zeros(()), "ir": np.zeros(2)}, r"gave `freq` of shape \(\)"),
    ],
)
def test_arrays_that_are_not_as_declared(arrays, message, tmp_path):
    declared = {name: Array(unit="1", axis="modes") for name in ("freq", "ir")}
    with pytest.raises(PluginError, match=message):
        write_entries(tmp_path / "a.npz", declared, [Outcome(id="K", smiles="C", arrays=arrays)], prepared_by="")
    assert list(tmp_path.iterdir()) == []


def test_entries_are_read_as_they_were_written(tmp_path):
    entries = [Outcome(id=s, smiles=s, arrays=job(s)) for s in ("O", "CO")]
    failed = Outcome(id="X", smiles="X", reason="why")
    write_entries(tmp_path / "a.npz", GFN2.jobs, [entries[0], failed, entries[1]], prepared_by="p")
    for found, given in zip(read_entries(tmp_path / "a.npz", GFN2.jobs), entries, strict=True):
        assert (found.id, found.smiles) == (given.id, given.smiles)
        assert all(np.array_equal(found.arrays[name], given.arrays[name]) for name in GFN2.jobs)


def test_no_file_is_made_of_nothing_but_an_empty_one_reads(tmp_path):
    write_entries(tmp_path / "a.npz", GFN2.results, [], prepared_by="p", computed_by="c")
    assert read_contents(tmp_path / "a.npz").ids == ()
    assert pickle.loads(pickle.dumps(read_contents(tmp_path / "a.npz"))).computed_by == "c"


def test_the_kit_catches_a_wrong_simulator():
    class Wrong(type(SIMULATOR)):
        def compute(self, job):
            return {**super().compute(job), "freq": np.random.default_rng().random(3)}

        def prepared_by(self):
            return "two\nlines"

    class Lost(type(SIMULATOR)):
        def measurements(self, result):
            return {name: dataclasses.replace(one, columns={}) for name, one in super().measurements(result).items()}

    wrong = dataclasses.replace(GFN2, build=lambda c: Wrong())
    for check in ("arrays_are_as_declared", "simulation_is_deterministic", "says_how_it_was_made"):
        assert failure_of(wrong, check)
    assert failure_of(wrong, "goes_to_workers")  # a local class
    lost = dataclasses.replace(GFN2, build=lambda c: Lost())
    assert "columns of 'ir' differ" in failure_of(lost, "modalities_read_the_results")


def test_the_simulator_is_installed_as_every_other_plugin():
    assert installed().find("simulator", "gfn2").qualified == "molchord:gfn2"
    with pytest.raises(PluginError, match="unknown simulator 'gfn3'; did you mean 'gfn2'"):
        make(["O"], "nowhere", use="gfn3")
    none = Host(plugins=tuple(p for p in installed().plugins if p.type != "simulator"))
    with pytest.raises(PluginError, match="0 simulators are installed; see `molchord plugins check`"):
        build_simulator(none)


# --- the bundled set -------------------------------------------------------------------------------------------------


def without_failures(data, path):
    """Write the results of a simulated data set without the helium that failed, which is none of the bundled set."""
    results = Path(f"{data}.jobs") / "results-00000.npz"
    said = {name: getattr(read_contents(results), name) for name in ("prepared_by", "computed_by")}
    write_entries(path, GFN2.results, list(read_entries(results, GFN2.results)), **said)
    return path


SCRIPT = Path(__file__).parents[3] / "datasets" / "make_computed.py"


def maker():
    """Return what adds files to the set, by its script."""
    script = runpy.run_path(str(SCRIPT))
    return partial(script["main"], script["SETS"]["qm9-xtb-grown"])


def test_the_bundled_set_grows_by_files(small, tmp_path):
    script = runpy.run_path(str(SCRIPT))
    main = partial(script["main"], script["SETS"]["qm9-xtb-grown"])
    results = without_failures(small, tmp_path / "results.npz")
    chunk = tmp_path / "chunk-7.npz"
    lines = np.array([-3.04, 100.06, 1234.56, 3001.26])
    np.savez(
        chunk, smiles=np.array(["OC", "F"]), modes=np.array([0, 3, 4]), freq=lines, ir=lines + 9, raman=lines + 9
    )  # fmt: skip
    (tmp_path / "fails-7.json").write_text('[["C=O", "imaginary mode at -73"], ["CC=O", "imaginary mode at -21"]]')
    out = tmp_path / "grown"
    main([results, results], out)
    main([chunk, results], out)
    before = [path.read_bytes() for path in sorted(out.iterdir())]
    main([chunk, results], out)
    assert [path.read_bytes() for path in sorted(out.iterdir())] == before
    first, second = (read_contents(path) for path in sorted(out.glob("part-*.npz")))
    assert len(first.ids) == 4
    assert second.ids == (molecule("F").key14,)  # methanol was there
    assert {entry.smiles for entry in second.failed} == {"C=O", "CC=O"}
    card = out.with_suffix(".md").read_text()
    assert "spectra of 5 molecules" in card
    assert "| imaginary mode | 2 |" in card
    assert "2 beside 1 that were computed, 66.7 %" in card
    assert "CC0" in card
    mc.import_files([out], tmp_path / "data")
    data = mc.DataSet(tmp_path / "data")
    assert set(data.smiles()) == {"O", "CO", "C#N", "N", "F"}
    stored = data.table("ir").read(data.smiles().index("F")).arrays
    assert stored["stick_wavenumber"].tolist() == [np.float32(3001.3)]
    water = data.table("raman").read(data.smiles().index("O")).arrays
    np.testing.assert_allclose(water["stick_wavenumber"], result("O")["freq"], atol=0.0501)
    np.testing.assert_allclose(water["stick_intensity"], result("O")["raman"], rtol=5e-4)


def computed(path, smiles, intensity=1.0, **texts):
    lines = np.full(len(smiles), intensity)
    modes = np.arange(len(smiles) + 1)
    np.savez(path, smiles=np.array(smiles), modes=modes, freq=lines + 500, ir=lines, raman=lines, **texts)
    return path


def test_the_bundled_set_says_how_its_inputs_were_made(small, tmp_path):
    script = runpy.run_path(str(SCRIPT))
    main = partial(script["main"], script["SETS"]["qm9-xtb-grown"])
    results = without_failures(small, tmp_path / "results.npz")
    main([results], tmp_path / "one")
    said, found = read_contents(results), read_contents(tmp_path / "one" / "part-00.npz")
    assert found.prepared_by == said.prepared_by
    assert found.computed_by == said.computed_by + script["ROUNDED"]
    silent = computed(tmp_path / "silent.npz", ["F"])
    known = computed(tmp_path / "known.npz", ["O"], prepared_by=np.array("adds nothing"))
    main([silent, results, known], tmp_path / "two")
    both = sorted([script["PREPARED_BY"], said.prepared_by])
    assert read_contents(tmp_path / "two" / "part-00.npz").prepared_by == " | ".join(both)


@pytest.mark.parametrize("intensity", [np.nan, np.inf])
def test_the_bundled_set_refuses_what_is_not_finite(intensity, tmp_path):
    with pytest.raises(DataError, match=r"values of 'F' are not finite"):
        maker()([computed(tmp_path / "a.npz", ["F"], intensity)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_bundled_set_lists_what_half_precision_does_not_hold(tmp_path):
    maker()([computed(tmp_path / "a.npz", ["F"], 7e4), computed(tmp_path / "b.npz", ["O"], 6e4)], tmp_path / "out")
    found = read_contents(tmp_path / "out" / "part-00.npz")
    assert found.ids == (molecule("O").key14,)
    assert [(one.id, one.reason) for one in found.failed] == [(molecule("F").key14, "intensity beyond half precision")]


@pytest.mark.parametrize("smiles", ["CCl", "CCCCCCCCCC", "C[SiH3]"])
def test_the_bundled_set_refuses_molecules_that_its_card_leaves_out(smiles, tmp_path):
    main = maker()
    with pytest.raises(DataError, match="beyond 9 atoms of C, F, N, O beside H"):
        main([computed(tmp_path / "a.npz", ["F", smiles])], tmp_path / "out")
    computed(tmp_path / "chunk-0.npz", ["CCCCCCCCC"])
    (tmp_path / "fails-0.json").write_text(f'[["{smiles}", "no conformer"]]')
    with pytest.raises(DataError, match="beyond 9 atoms"):
        main([tmp_path / "chunk-0.npz"], tmp_path / "out")


def test_a_failure_of_the_bundled_set_can_be_computed_later(tmp_path):
    main = maker()
    out = tmp_path / "out"
    chunk = computed(tmp_path / "chunk-0.npz", ["F", "N"])
    (tmp_path / "fails-0.json").write_text('[["O", "SCF not converged"], ["C", "no conformer"]]')
    main([chunk], out)
    main([chunk, computed(tmp_path / "later.npz", ["O"])], out)
    assert read_contents(out / "part-01.npz").ids == (molecule("O").key14,)
    assert read_contents(out / "part-01.npz").failed == ()
    card = out.with_suffix(".md").read_text()
    assert "spectra of 3 molecules" in card
    assert "1 beside 2 that were computed" in card
    assert "| SCF not converged |" not in card
    main([chunk, tmp_path / "later.npz"], out)
    assert len(list(out.iterdir())) == 2
