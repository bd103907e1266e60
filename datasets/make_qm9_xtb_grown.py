"""Add computed spectra to `datasets/qm9-xtb-grown`, in the compact files that the repository holds.

Usage: python datasets/make_qm9_xtb_grown.py FILE.npz ... [--out FOLDER]

Takes files of results, as ``molchord data simulate`` writes them, and any other ``*-xtb.npz`` files, with the failures
that they, or ``fails-*.json`` beside ``chunk-*.npz``, list. Molecules that the folder holds already are left out, but
one that failed may be computed later. The others go into one more file, ``part-00.npz`` and so on, so that large files
are committed once, in an order that follows from their InChIKey alone and thus is random. Files that list failures go
into another call than those that do not, so that the card can say what part failed. Wavenumbers are rounded to
0.1 cm^-1, intensities to half precision, geometries left out. The data card beside the folder is written from what all
its parts hold.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from molchord.api import Array
from molchord.chem import molecule
from molchord.errors import DataError
from molchord.simulation.files import Contents, Entry, read_contents, write_entries

ARRAYS = {
    "freq": Array(unit="cm^-1", axis="modes", dtype="float32"),
    "ir": Array(unit="km/mol", axis="modes", dtype="float16"),
    "raman": Array(unit="angstrom^4/dalton", axis="modes", dtype="float16"),
}
ELEMENTS, HEAVY_ATOMS = frozenset("CHNOF"), 9  # as the card says
DECIMALS = 1  # of a wavenumber; as float32, which any reader takes, since the archive packs the rest away
PREPARED_BY = "one conformer by ETKDGv3, relaxed by MMFF94 or UFF (RDKit)"  # of files that do not say it
COMPUTED_BY = "GFN2-xTB (tblite) as the data card says"  # likewise
ROUNDED = "; wavenumbers rounded to 0.1 cm^-1, intensities to half precision"
REASONS = ("imaginary mode", "bonds changed", "no conformer", "SCF not converged", "not converge")

CARD = """# qm9-xtb-grown

Harmonic infrared and Raman spectra of {molecules:,} molecules of QM9 and alike (C, H, N, O, F; at most 9 heavy atoms),
computed for this project; one entry a molecule (InChIKey block), in random order within each of {parts} files;
{megabytes:.1f} MB, {kilobytes:.2f} kB a molecule.

    molchord data import datasets/qm9-xtb-grown --out data/qm9-xtb-grown

makes the data set that `molchord train --data` takes, split by the hash rule, so that a molecule's split is the same in
every set that it is in.

## Level of theory
GFN2-xTB (Bannwarth, Ehlert and Grimme, J. Chem. Theory Comput. 15, 1652, 2019), gas phase, harmonic and unscaled. One
conformer a molecule: ETKDG and a force field (what `molchord data simulate` made: ETKDGv3 with a seed from the
InChIKey, MMFF94, or UFF where that lacks parameters), then GFN2-xTB to a largest gradient component of 1.5e-4
Hartree/Bohr. Hessian by central differences of 0.005 Bohr; dipole and polarizability derivatives from gradients in
fields of 0.004 a.u.; average atomic masses. Stereochemistry is not given, so the conformer of a molecule with
stereocentres is that of one of its stereoisomers.

| array | unit | kept to |
|---|---|---|
| `smiles`, `id` (InChIKey block) | | |
| `freq`, molecule i has `modes[i]:modes[i+1]` | cm^-1 | 0.1 |
| `ir` | km/mol | half precision |
| `raman` | angstrom^4 / dalton | half precision |

{noise:,} modes of {modes:,} lie between -20 and 0 cm^-1: numerical noise of soft torsions, which molchord drops.

## What is missing
Molecules were taken from QM9 in random order, and left out where no conformer was found, the bonds changed or a mode
below -20 cm^-1 remained. The files list those that failed (`failed_smiles`, `failed_reason`) where that was recorded:
{failed:,} beside {beside:,} that were computed, {share:.1f} %. They are no random sample of QM9.

| reason | molecules |
|---|---|
{reasons}

## Licence
CC0 1.0. The SMILES are facts from QM9 (Ramakrishnan et al., Scientific Data 1, 140022, 2014).

## How to make more
    pip install 'molchord[simulate]'
    molchord data simulate SMILES.csv --out data/more
    python datasets/make_qm9_xtb_grown.py data/more.jobs/results-*.npz

The last line adds a file to the folder and writes this card anew. `molchord data simulate SMILES.csv --jobs FOLDER`
writes jobs for machines that have numpy and tblite only.
"""


def entries(path: Path) -> Iterator[Entry]:
    """Yield what a file, and the list of failures beside it, say of each molecule.

    Raises:
        DataError: A molecule is none of those that the card speaks of, or a value does not fit half precision.
    """
    with np.load(path, allow_pickle=False) as data:
        modes, smiles = data["modes"], data["smiles"].tolist()
        freq, ir, raman = (data[name] for name in ARRAYS)
        failures: list[Sequence[str]] = []
        if "failed_smiles" in data.files:
            failures += zip(data["failed_smiles"].tolist(), data["failed_reason"].tolist(), strict=True)
    for i, text in enumerate(smiles):
        part = slice(*modes[i : i + 2])
        arrays = {"freq": np.round(freq[part], DECIMALS), "ir": ir[part], "raman": raman[part]}
        if not all((np.abs(values) <= np.finfo(np.float16).max).all() for values in arrays.values()):
            raise DataError(f"{str(path)!r}: values of {text!r} are not finite in half precision; compute it again")
        yield Entry(id=_key14(path, text), smiles=text, arrays=arrays)
    listed = path.with_name(path.name.replace("chunk-", "fails-")).with_suffix(".json")
    if listed.is_file():
        failures += json.loads(listed.read_text())
    for text, reason in failures:
        yield Entry(id=_key14(path, text), smiles=text, reason=reason)


def _key14(path: Path, smiles: str) -> str:
    found = molecule(smiles)
    atoms = {element: int(count or 1) for element, count in re.findall(r"([A-Z][a-z]?)(\d*)", found.formula)}
    if not atoms.keys() <= ELEMENTS or sum(atoms.values()) - atoms.get("H", 0) > HEAVY_ATOMS:
        raise DataError(
            f"{str(path)!r}: {smiles!r} ({found.formula}) is beyond {HEAVY_ATOMS} atoms of C, N, O, F beside H; "
            "give files of molecules that the data card speaks of"
        )
    return found.key14


def new_entries(files: Sequence[Path], contents: Sequence[Contents]) -> tuple[list[Entry], dict[str, str]]:
    """Return each molecule that the contents lack once, in random order, and how the files say that they were made.

    One that was computed did not fail, whatever another file says.
    """
    computed, failed = _states(contents)
    found: dict[str, tuple[Entry, Path]] = {}
    for path in tqdm(files, unit=" files", disable=None):
        for entry in entries(path):
            known = computed if entry.arrays is not None else computed | failed.keys()
            if entry.id not in known and (entry.id not in found or found[entry.id][0].arrays is None):
                found[entry.id] = (entry, path)
    new = [found[id][0] for id in sorted(found, key=lambda id: hashlib.sha256(f"order:{id}".encode()).hexdigest())]
    sources = {path for _, path in found.values()}
    made_by = {"prepared_by": _texts(sources, "prepared_by", PREPARED_BY)}
    return new, {**made_by, "computed_by": _texts(sources, "computed_by", COMPUTED_BY) + ROUNDED}


def _states(contents: Sequence[Contents]) -> tuple[set[str], dict[str, str]]:
    """Return the key14 of molecules that were computed, and the reasons of those that only failed."""
    computed = {id for one in contents for id in one.ids}
    return computed, {e.id: e.reason for one in contents for e in one.failed if e.id not in computed}


def _texts(files: Iterable[Path], name: str, default: str) -> str:
    """Return what the files say of how they were made, each text once."""
    texts = set()
    for path in files:
        with np.load(path, allow_pickle=False) as data:
            texts.add(str(data[name]) if name in data.files else default)
    return " | ".join(sorted(texts))


def card(parts: Sequence[Path]) -> str:
    """Return the data card of what the parts hold."""
    contents = [read_contents(part) for part in parts]
    computed, failures = _states(contents)
    molecules = len(computed)
    noise = modes = 0
    for part in parts:
        with np.load(part, allow_pickle=False) as data:
            noise, modes = noise + int((data["freq"] < 0).sum()), modes + len(data["freq"])
    size = sum(part.stat().st_size for part in parts)
    reasons = Counter(map(_reason, failures.values()))
    failed = reasons.total()
    beside = sum(len(one.ids) for one in contents if one.failed)
    rows = [f"| {reason} | {count:,} |" for reason, count in reasons.most_common()]
    return CARD.format(
        molecules=molecules, parts=len(parts), megabytes=size / 1e6, kilobytes=size / 1e3 / max(molecules, 1),
        noise=noise, modes=modes, failed=failed, beside=beside, share=100 * failed / max(failed + beside, 1),
        reasons="\n".join(rows) or "| none recorded | 0 |",
    )  # fmt: skip


def _reason(text: str) -> str:
    """Return a reason without its figures, which differ from molecule to molecule."""
    return next((kind for kind in REASONS if kind in text), text)


def main(files: Sequence[Path], out: Path) -> None:
    """Add what is new to the folder, and write the card."""
    parts = sorted(out.glob("part-*.npz"))
    contents = [read_contents(part) for part in parts]
    new, made_by = new_entries(files, contents)
    if new:
        out.mkdir(parents=True, exist_ok=True)
        parts.append(out / f"part-{len(parts):02d}.npz")
        write_entries(parts[-1], ARRAYS, new, **made_by)
    out.with_suffix(".md").write_text(card(parts), encoding="utf-8")
    computed = sum(entry.arrays is not None for entry in new)
    there = sum(len(one.ids) + len(one.failed) for one in contents)
    print(f"{out}: {computed} molecules and {len(new) - computed} failures added to {there} that were there")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Add computed spectra to a folder of compact files.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.npz")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "qm9-xtb-grown", metavar="FOLDER")
    arguments = parser.parse_args()
    main(arguments.files, arguments.out)
