"""An outside package trains and searches through an engine that never names it."""

import json
import os
import subprocess
import sys

import pytest

from molchord.data.splits import hash_split
from molchord.testing import molecules

GRAPH = """
schema: 1
embedding_dim: 16
modalities:
  structure: {use: structure, encoder: {use: gine, width: 16, hidden: 16, layers: 2}}
  carbon: {use: nmr, where: {nucleus: 13C}, jitter: 0.1, encoder: {use: peak_transformer, width: 16, hidden: 16, layers: 1}}
  ir: {use: ir, grid: {points: 200}, jitter: {}, encoder: {use: mlp, width: 16, hidden: [16]}}
loss: {use: all_pairs}
train: {batch_size: 16, epochs: 60, optimizer: {lr: 5.0e-3}, stopping: {every: 60}, workers: 0}
"""


TRAINED = next(i for i, m in enumerate(molecules()) if hash_split(m.key14) == "train")


def molchord(site, *arguments, status=0):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **({} if site is None else {"PYTHONPATH": str(site)})}
    done = subprocess.run(
        [sys.executable, "-m", "molchord", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def files(tmp_path_factory, nmr_site):
    """Peak lists as JSON lines (two lists a molecule: 13C, and 1H that the graph leaves out) and a graph."""
    folder = tmp_path_factory.mktemp("nmr")
    sys.path.insert(0, str(nmr_site))
    try:
        from molchord_nmr.peaks import _example
    finally:
        sys.path.remove(str(nmr_site))
    lines = []
    for nucleus, seed in (("13C", 0), ("1H", 1)):
        for m in molecules():
            found = _example(m, seed)
            mult = ["SDTQM"[code - 1] for code in found.arrays["multiplicity"]]
            shifts = [round(float(s), 2) for s in found.arrays["shift"]]
            lines.append(
                json.dumps({"nucleus": nucleus, "shifts": shifts, "mult": mult, "smiles": m.smiles, "field_mhz": "100"})
            )
    (folder / "lists.jsonl").write_text("\n".join([*lines, "not json"]) + "\n")
    (folder / "query.jsonl").write_text(lines[TRAINED] + "\n")
    (folder / "graph.yaml").write_text(GRAPH)
    (folder / "smiles.txt").write_text("\n".join(m.smiles for m in molecules()) + "\n")
    (folder / "computed.npz").write_bytes(_computed(molecules()))
    return folder


def _computed(mols):
    """IR and Raman sticks in the layout of computed sets, for half of the molecules."""
    from io import BytesIO

    import numpy as np

    half, buffer = mols[::2], BytesIO()
    rng = np.random.default_rng(0)
    freq = rng.uniform(600, 3500, (len(half), 12)).astype(np.float32)
    np.savez(
        buffer, smiles=np.array([m.smiles for m in half]), modes=np.arange(0, 12 * len(half) + 1, 12),
        freq=freq.ravel(), ir=rng.random(freq.size, dtype=np.float32), raman=rng.random(freq.size, dtype=np.float32),
    )  # fmt: skip
    return buffer.getvalue()


def test_it_is_listed(nmr_site):
    listed = molchord(nmr_site, "plugins", "list")
    assert "molchord-nmr" in listed
    assert "0.3.0" in listed
    molchord(nmr_site, "plugins", "check")


def test_it_imports_trains_and_finds_molecules(nmr_site, files):
    data, run, library = files / "data", files / "run", files / "library"
    said = molchord(nmr_site, "data", "import", files / "lists.jsonl", files / "computed.npz", "--out", data)
    assert "32 nmr" in said
    assert "1 rejected" in said
    molchord(nmr_site, "graph", "check", files / "graph.yaml")
    molchord(nmr_site, "train", files / "graph.yaml", "--data", data, "--out", run)
    counted = json.loads((run / "manifest.json").read_text())["molecules"]
    assert counted["carbon"] > counted["ir"] > 0
    molchord(nmr_site, "embed", run, files / "smiles.txt", "--out", library)
    hits = json.loads(
        molchord(nmr_site, "search", run, library, "--carbon", files / "query.jsonl", "--k", "3", "--json")
    )
    assert len(hits) == 3
    assert hits[0]["cosines"].keys() == {"carbon"}
    # A molecule that was trained on must be found again.
    assert hits[0]["smiles"] == molecules()[TRAINED].smiles


def test_without_the_package_the_run_says_what_to_install(nmr_site, files):
    catalogue = files / "registry.toml"
    catalogue.write_text('[[known]]\ntype = "modality"\nname = "nmr"\ndistribution = "molchord-nmr"\n')
    assert "run 'pip install molchord-nmr'" in molchord(
        None, "search", files / "run", files / "library", "--carbon", "x", status=2
    )
    assert "provided by molchord-nmr, run 'pip install molchord-nmr'" in molchord(
        None, "--registry", catalogue, "graph", "check", files / "graph.yaml", status=2
    )


def test_it_passes_the_conformance_kit(nmr_site):
    code = "from molchord.testing import check_modality; from molchord_nmr import NMR; r = check_modality(NMR); print(r); assert r.ok"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(nmr_site)},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
