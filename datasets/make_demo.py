"""Make `datasets/demo` from the full sets: MassBank molecules with their measured MS/MS, and QM9-type molecules.

Usage: python datasets/make_demo.py FOLDER

FOLDER holds ``qm9-xtb.npz``, ``massbank-xtb.npz`` and ``massbank/ms2.mgf.gz``. Takes every molecule of
``massbank-xtb.npz`` that has MS/MS under CC0 or CC BY, with all those spectra, and the first molecules of
``qm9-xtb.npz``, 2,000 together; the import itself is that of ``molchord data import``. Writes the attribution file and
``examples/unknown`` and ``examples/unknown-ordinary``: spectra of two held-out molecules as the files that a chemist
would have.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from make_massbank import ATTRIBUTION, LICENCES, entries

from molchord.data.importer import import_files
from molchord.files import sha256_file, write_csv
from molchord.host import installed

MOLECULES = 2000
HALF_WIDTH, NOISE = 6.0, 0.003  # of the unknown: cm^-1, part of the maximum
ORIGINALS = ("qm9-xtb.npz", "massbank-xtb.npz", "massbank/ms2.mgf.gz")
UNKNOWN = "ZYGHJZDHTFUPRJ"
"""Coumarin, of the test split."""
UNKNOWN_ORDINARY = "WCXDHFDTOYPNIE"
"""Acetamiprid, of the test split of `ordinary-aimnet2` and `massbank`."""
MEASURED = {"ir": ((0.965, 0.955, 0.945), (1.0, 1.2, 0.55)), "raman": ((0.965, 0.955, 0.945), (1.0, 1.0, 1.0))}
"""What brings AIMNet2's sticks near measured ones: factors on wavenumbers and intensities by kind, as in five.yaml."""
# Wavenumbers to 0.1 cm^-1 and half-precision intensities keep the set small; m/z stays at single precision.
STORAGE = {
    f"{modality}.{array}": how
    for modality in ("ir", "raman")
    for array, how in {
        "stick_wavenumber": {"dtype": "uint16", "scale": 0.1, "offset": -50.0},
        "stick_intensity": {"dtype": "float16"},
    }.items()
} | {"msms.intensity": {"dtype": "float16"}, "structure.positions": {"dtype": "float16"}}


def sliced(source: Path, chosen: np.ndarray, out: Path) -> None:
    """Write the chosen molecules of a ``*-xtb.npz`` file, without the geometry, which the demo does not use."""
    data = np.load(source)
    modes = [np.arange(*data["modes"][i : i + 2]) for i in chosen]
    joined = np.concatenate(modes)
    np.savez(
        out,
        smiles=data["smiles"][chosen],
        inchikey=data["inchikey"][chosen],
        id=data["id"][chosen],
        modes=np.concatenate([[0], np.cumsum([len(m) for m in modes])]),
        freq=data["freq"][joined],
        ir=data["ir"][joined],
        raman=data["raman"][joined],
    )


def curves(source: Path, key14: str, out: Path) -> None:
    """Write the infrared and Raman spectrum of one molecule of an npz file as noisy broadened curves.

    Where the file knows the kinds of its modes, the sticks are brought near measured ones first.
    """
    data = np.load(source)
    row = [str(id)[:14] for id in data["id"]].index(key14)
    modes = slice(*data["modes"][row : row + 2])
    kind = data["kind"][modes].astype(int) if "kind" in data.files else None
    grid, rng = np.arange(400.0, 4001.0, 2.0), np.random.default_rng(0)
    out.mkdir(parents=True, exist_ok=True)
    for name, heading in (("ir", "wavenumber_cm-1,absorbance"), ("raman", "raman_shift_cm-1,intensity")):
        position, height = data["freq"][modes].astype(np.float64), data[name][modes].astype(np.float64)
        if kind is not None:
            scale, strength = (np.array(factors)[kind] for factors in MEASURED[name])
            position, height = position * scale, height * strength
        lines = HALF_WIDTH / ((grid[:, None] - position[None]) ** 2 + HALF_WIDTH**2)
        curve = lines @ height
        curve = curve / curve.max() + rng.normal(0, NOISE, len(grid))
        rows = [f"{x:.0f},{y:.4f}" for x, y in zip(grid, curve, strict=True)]
        (out / f"{name}.csv").write_text("\n".join(["# origin: computed", heading, *rows]) + "\n")


def msms(source: Path, key14: str, licence: str, out: Path) -> None:
    """Write the spectrum of a molecule with the most peaks, without what names it."""
    texts = [
        text
        for fields, text in entries(source)
        if fields["INCHIKEY"].startswith(key14) and fields.get("LICENSE") == licence
    ]
    private = ("SMILES=", "INCHIKEY=", "TITLE=")
    richest = max(texts, key=lambda text: text.count("\n"))
    kept = [line for line in richest.strip().splitlines() if not line.startswith(private)]
    (out / "msms.mgf").write_text("\n".join(kept) + "\n")


def main(folder: Path, out: Path) -> None:
    """Make the demo data set."""
    computed = np.load(folder / "massbank-xtb.npz")
    known = {str(key)[:14]: i for i, key in enumerate(computed["inchikey"])}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        chosen: set[int] = set()
        credits = []
        with (work / "massbank.mgf").open("w") as mgf:
            for fields, text in entries(folder / "massbank" / "ms2.mgf.gz"):
                row = known.get(fields["INCHIKEY"][:14])
                if row is None or fields.get("LICENSE") not in LICENCES:
                    continue
                chosen.add(row)
                mgf.write(text)
                credits.append((fields["TITLE"], fields["LICENSE"]))
        first = MOLECULES - len(chosen)
        sliced(folder / "qm9-xtb.npz", np.arange(first), work / "qm9-xtb-first.npz")
        sliced(folder / "massbank-xtb.npz", np.array(sorted(chosen)), work / "massbank-xtb-with-msms.npz")
        sources = [work / "qm9-xtb-first.npz", work / "massbank-xtb-with-msms.npz", work / "massbank.mgf"]
        origin = ", ".join(f"{name} (sha256 {sha256_file(folder / name)})" for name in ORIGINALS)
        note = (
            f"Selected from {origin}: the first {first} molecules of the first, those of the second with MS/MS under "
            f"{' or '.join(LICENCES)} in the third, and these MS/MS spectra; geometries left out."
        )
        report = import_files(sources, out, host=installed(), storage=STORAGE, note=note, force=True)
    write_csv(out / "ATTRIBUTION.csv", ATTRIBUTION, sorted(credits))
    print(report.summary())


if __name__ == "__main__":
    here = Path(__file__).parent
    main(Path(sys.argv[1]), here / "demo")
    examples, folder = here.parent / "examples", Path(sys.argv[1])
    curves(folder / "massbank-xtb.npz", UNKNOWN, examples / "unknown")
    msms(folder / "massbank" / "ms2.mgf.gz", UNKNOWN, "CC0", examples / "unknown")
    curves(here / "ordinary-aimnet2" / "part-04.npz", UNKNOWN_ORDINARY, examples / "unknown-ordinary")
    msms(here / "massbank" / "ms2.mgf.gz", UNKNOWN_ORDINARY, "CC BY", examples / "unknown-ordinary")
