"""Predict 13C, 1H and 19F shifts of molecules with csp5, and write them as the compact files that the repository holds.

Usage:
    python datasets/make_nmr_shifts.py predict SMILES.csv.gz --work FOLDER [--out datasets/NAME] [--limit N]
    python datasets/make_nmr_shifts.py pack --work FOLDER --out datasets/NAME [--measured LISTS.jsonl.gz]

csp5 (https://pypi.org/project/csp5, MIT) unpickles a file of its own and brings scikit-learn and pandas along, so it is
no dependency of molchord: install it beside molchord in an environment of its own (``pip install csp5 molchord``).

`predict` works through the molecules in the order given, leaves out those that the set of ``--out`` holds, and writes
one block of results after the other into the work folder; stopped and started again, it continues with the first block
that is missing. `pack` puts what is new in the blocks into one more file, ``part-00.npz`` and so on, so that large
files are committed once, in an order that follows from the InChIKeys alone and thus is random, and writes the data card
beside the folder from what all parts hold. With ``--measured``, measured lists in JSON lines, the card says how far
predictions are off.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem
from tqdm import tqdm

from molchord.api import Array, Molecule, SampleError
from molchord.chem import FORCE_FIELD_STEPS, RDKIT_VERSION, conformer_seed, conformers, molecule, parse, with_hydrogens
from molchord.data.reading import items_of, parsed
from molchord.simulation.files import Contents, Outcome, read_contents, read_entries, write_entries

NUCLEI = {"13C": 6, "1H": 1, "19F": 9}
"""Nuclei that are predicted, with the atomic number."""

SOLVENT = "cdcl3"  # most measured lists are taken in it
BLOCK = 200  # molecules in a file of the work folder: half a minute or so
DECIMALS = 2  # of a shift in ppm

ARRAYS = {
    **{f"shift_{n}": Array(unit="ppm", axis=f"peaks_{n}", dtype="float32") for n in NUCLEI},
    **{f"nuclei_{n}": Array(unit="1", axis=f"peaks_{n}", dtype="uint8") for n in NUCLEI},
    "hydrogens_13C": Array(unit="1", axis="peaks_13C", dtype="uint8"),
}
"""What is kept of each molecule; a nucleus that it lacks has no peak."""

Predict = Callable[[Chem.Mol, str], Mapping[int, float]]
"""Shift in ppm of each atom of a nucleus, by the atom's index."""

CARD = """# {name}

**Predicted** NMR shifts of {molecules:,} molecules that chemists meet, one entry per molecule (InChIKey block), in
random order within each file; files: {files}; {megabytes:.2f} MB, {bytes:.0f} bytes per molecule. Nothing here is
measured.

    molchord data import {folder} --out data/nmr

makes the data set that `molchord train --data` takes: one list of the modality `nmr` for each molecule and nucleus,
`origin` computed, the predictor and its version in `source`.

| nucleus | molecules | peaks |
|---|---|---|
{counts}

## How they were made
{made}.

Atoms that are equivalent in the molecular graph without stereo (hydrogens of one CH2 too) are one peak at the
mean of their predictions, as they are in most measured lists. Further peaks that coincide by accident are not merged.

| array | unit | kept to |
|---|---|---|
| `smiles` (without stereo), `id` (InChIKey block) | | |
| `shift_13C`, `shift_1H`, `shift_19F`; molecule i has `peaks_13C[i]:peaks_13C[i+1]` and so on | ppm | 0.01 |
| `nuclei_13C` and so on: atoms that a peak stands for | | |
| `hydrogens_13C`: hydrogens on each of these carbons, which DEPT tells | | |

How protons split each other is not predicted; their multiplicities are unknown.
{accuracy}
## What is missing
{failed:,} molecules could not be predicted and are listed in the file (`failed_smiles`, `failed_reason`).

| reason | molecules |
|---|---|
{reasons}

## Licence
CC0 1.0 for the predictions, as far as there are rights in them. csp5 is by Benji Rowlands, under the MIT licence. The
SMILES are facts from MassBank, nmrshiftdb2 and C3SDB.

## How to make more
    pip install csp5 molchord
    python datasets/make_nmr_shifts.py predict SMILES.csv --work data/shifts --out {folder}
    python datasets/make_nmr_shifts.py pack --work data/shifts --out {folder}

The first line takes a fifth of a second of one core per molecule, leaves out what this set holds, and may be stopped at
any time. The second adds a file and writes this card anew.
"""

ACCURACY = """
## How far off
Against measured lists of nmrshiftdb2 (not distributed here) of molecules in this set, one list per molecule and
nucleus, lists with a shift for each atom of the nucleus only; both lists in ascending order and compared shift by
shift, which flatters the predictor a little.

| nucleus | molecules | shifts | median error, ppm | mean error | 90 % within | median of the molecules' own offsets |
|---|---|---|---|---|---|---|
{rows}

csp5 does not say which molecules it was trained on. Errors this small say that many of these were among them, so they
are not a test of molecules that it has never seen. A model trained on this set has seen no measured list, but its
predictions may be as good as measured shifts: leave the molecules of a test out of training, as the split by hash does,
which is the same in every set.
"""


# --- predicting ------------------------------------------------------------------------------------------------------


def predict(source: Path, work: Path, shifts: Predict, out: Path | None = None, limit: int | None = None) -> None:
    """Predict the molecules of a file that set and work folder lack, block by block after those that are there."""
    work.mkdir(parents=True, exist_ok=True)
    blocks = sorted(work.glob("block-*.npz"))
    known = _ids(read_contents(path) for path in (*blocks, *(() if out is None else _parts(out))))
    new = (one for one in parsed(items_of(source)) if _id(one) not in known)
    items = iter(tqdm(islice(new, limit), unit=" molecules", disable=None))
    for number, block in enumerate(iter(lambda: list(islice(items, BLOCK)), []), start=len(blocks)):
        entries = [_entry(one, shifts) for one in block]
        path = work / f"block-{number:05d}.npz"
        write_entries(path, ARRAYS, entries, prepared_by=prepared_by(), computed_by=computed_by())


def _id(one: Molecule | SampleError) -> str:
    return one.id if isinstance(one, SampleError) else one.key14


def _parts(out: Path) -> list[Path]:
    return sorted(out.glob("part-*.npz"))


def _ids(contents: Iterable[Contents]) -> set[str]:
    """Return the key14 of molecules that were predicted or failed."""
    return {id for one in contents for id in (*one.ids, *(failed.id for failed in one.failed))}


def _entry(one: Molecule | SampleError, shifts: Predict) -> Outcome:
    if isinstance(one, SampleError):
        return Outcome(id=_id(one), smiles=one.id, reason=one.reason)
    try:
        return Outcome(id=one.key14, smiles=one.smiles, arrays=peaks(conformer(one), shifts))
    except SampleError as error:
        return Outcome(id=one.key14, smiles=one.smiles, reason=error.reason)


def conformer(one: Molecule) -> Chem.Mol:
    """Return a molecule with hydrogens and one relaxed conformer.

    Raises:
        SampleError: There is none.
    """
    mol = with_hydrogens(parse(one.smiles, one.key14))
    seed = conformer_seed("nmr", one.key14)
    [positions] = conformers(mol, [seed], one.key14, relax="mmff_or_uff")
    placed = Chem.Conformer(len(positions))
    placed.SetPositions(positions)
    mol.AddConformer(placed)
    return mol


def peaks(mol: Chem.Mol, shifts: Predict) -> dict[str, NDArray[Any]]:
    """Return the arrays of a molecule: equivalent atoms are one peak, at the mean of their shifts, ascending."""
    ranks = list(Chem.CanonicalRankAtoms(mol, breakTies=False, includeChirality=False))
    out: dict[str, NDArray[Any]] = {}
    for nucleus, number in NUCLEI.items():
        atoms = [atom for atom in mol.GetAtoms() if atom.GetAtomicNum() == number]
        predicted = shifts(mol, nucleus) if atoms else {}
        alike: dict[int, list[Chem.Atom]] = {}
        for atom in atoms:
            alike.setdefault(ranks[atom.GetIdx()], []).append(atom)
        found = sorted(
            (
                round(float(np.mean([predicted[atom.GetIdx()] for atom in group])), DECIMALS),
                len(group),
                group[0].GetTotalNumHs(includeNeighbors=True),
            )
            for group in alike.values()
        )
        table = np.array(found).reshape(-1, 3)
        out[f"shift_{nucleus}"], out[f"nuclei_{nucleus}"] = table[:, 0], table[:, 1]
        if nucleus == "13C":
            out["hydrogens_13C"] = table[:, 2]
    return out


def csp5_shifts(mol: Chem.Mol, nucleus: str) -> Mapping[int, float]:
    """Return csp5's shifts.

    Raises:
        SampleError: It gives none, or not for each atom.
    """
    import csp5

    result = csp5.predict_mols([mol], nucleus=nucleus, solvent=SOLVENT, device="cpu", batch_size=1)
    if result.failures:
        raise SampleError("csp5", f"{nucleus}: {result.failures[0].partition(chr(9))[0]}")
    table = result.predictions
    return dict(zip(table["atom_index"].tolist(), table["shift_ppm"].tolist(), strict=True))


def prepared_by() -> str:
    """Say how conformers are made."""
    return (
        f"one conformer by ETKDGv3 of RDKit {RDKIT_VERSION}, seed from sha256('nmr:' + key14), relaxed by MMFF94 "
        f"(UFF where that lacks parameters) in at most {FORCE_FIELD_STEPS} steps"
    )


def computed_by() -> str:
    """Say what predicts, and in which solvent."""
    return f"predicted by csp5 {version('csp5')} (CSP5-13C, CSP5-1H, CSP5-19F), solvent {SOLVENT}"


# --- packing ---------------------------------------------------------------------------------------------------------


def pack(work: Path, out: Path, measured: Path | None = None) -> None:
    """Put what is new in the blocks of a work folder into one more file of a set, and write the card."""
    blocks = sorted(work.glob("block-*.npz"))
    contents = [read_contents(path) for path in blocks]
    entries = {entry.id: entry for one in contents for entry in one.failed}
    for path in blocks:
        entries |= {entry.id: entry for entry in read_entries(path, ARRAYS)}
    parts = _parts(out)
    known = _ids(read_contents(part) for part in parts)
    order = sorted(entries.keys() - known, key=lambda id: hashlib.sha256(f"order:{id}".encode()).digest())
    if order:
        texts = {name: sorted({getattr(one, name) for one in contents}) for name in ("prepared_by", "computed_by")}
        out.mkdir(parents=True, exist_ok=True)
        parts.append(out / f"part-{len(parts):02d}.npz")
        made = {name: " | ".join(said) for name, said in texts.items()}
        write_entries(parts[-1], ARRAYS, [entries[id] for id in order], **made)
    found = [] if measured is None else list(errors(parts, measured))
    out.with_suffix(".md").write_text(card(out.name, parts, found), encoding="utf-8")
    print(f"{out}: {len(order)} molecules added to {len(known)} that were there, failures counted")


def card(name: str, parts: Sequence[Path], found: Sequence[tuple[str, NDArray[np.float64]]]) -> str:
    """Return the data card of a set."""
    contents = [read_contents(part) for part in parts]
    molecules, peaks_of = Counter[str](), Counter[str]()
    for part in parts:
        with np.load(part, allow_pickle=False) as data:
            for nucleus in NUCLEI:
                ends = data[f"peaks_{nucleus}"]
                molecules[nucleus] += int((np.diff(ends) > 0).sum())
                peaks_of[nucleus] += int(ends[-1])
    failed = [entry.reason for one in contents for entry in one.failed]
    reasons = Counter(re.sub(r"_\d+\.\d+A_lt_\d+\.\d+A", "", reason) for reason in failed)
    size, count = sum(part.stat().st_size for part in parts), sum(len(one.ids) for one in contents)
    made = " | ".join(sorted({f"{one.prepared_by}; then {one.computed_by}" for one in contents}))
    made = textwrap.fill(made[0].upper() + made[1:], 120, break_on_hyphens=False)
    return CARD.format(
        name=name, folder=f"datasets/{name}", molecules=count, files=len(parts), megabytes=size / 1e6,
        bytes=size / max(count, 1), made=made, failed=len(failed),
        counts="\n".join(f"| {nucleus} | {molecules[nucleus]:,} | {peaks_of[nucleus]:,} |" for nucleus in NUCLEI),
        accuracy=ACCURACY.format(rows="\n".join(_accuracy(found))) if found else "",
        reasons="\n".join(f"| {reason} | {n:,} |" for reason, n in reasons.most_common()) or "| none | 0 |",
    )  # fmt: skip


def _accuracy(found: Sequence[tuple[str, NDArray[np.float64]]]) -> Iterator[str]:
    """Yield a row for each nucleus with a measured list."""
    for nucleus in NUCLEI:
        lists = [error for n, error in found if n == nucleus]
        if lists:
            error = np.abs(np.concatenate(lists))
            offset = float(np.median([abs(one.mean()) for one in lists]))
            figures = f"{np.median(error):.2f} | {error.mean():.2f} | {np.quantile(error, 0.9):.2f} | {offset:.2f}"
            yield f"| {nucleus} | {len(lists):,} | {len(error):,} | {figures} |"


def errors(parts: Sequence[Path], measured: Path) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield nucleus and error of each shift (predicted - measured, ppm) of one measured list per molecule and nucleus.

    Args:
        parts: Files of predictions.
        measured: JSON lines with ``smiles``, ``nucleus`` and ``shifts``, each atom's.
    """
    predicted = {entry.id: entry.arrays or {} for part in parts for entry in read_entries(part, ARRAYS)}
    seen = set()
    with gzip.open(measured, "rt", encoding="utf-8") if measured.suffix == ".gz" else measured.open() as lines:
        for line in lines:
            entry = json.loads(line)
            nucleus = entry["nucleus"]
            try:
                key = molecule(entry["smiles"]).key14
            except SampleError:
                continue
            if nucleus not in NUCLEI or key not in predicted or (key, nucleus) in seen:
                continue
            arrays = predicted[key]
            all_atoms = np.repeat(arrays[f"shift_{nucleus}"], arrays[f"nuclei_{nucleus}"])
            if len(all_atoms) == len(entry["shifts"]):
                seen.add((key, nucleus))
                yield nucleus, np.sort(all_atoms).astype(np.float64) - np.sort(entry["shifts"])


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Predicted NMR shifts of molecules.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("predict", help="predict, block by block")
    one.add_argument("source", type=Path, metavar="SMILES")
    one.add_argument("--limit", type=int, metavar="N", help="the first N molecules only")
    two = verbs.add_parser("pack", help="put the blocks into one file, and write the card")
    two.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    two.add_argument("--measured", type=Path, metavar="LISTS.jsonl", help="measured lists that the card compares with")
    one.add_argument("--out", type=Path, metavar="FOLDER", help="a set whose molecules are left out")
    for verb in (one, two):
        verb.add_argument("--work", type=Path, required=True, metavar="FOLDER")
    arguments = parser.parse_args()
    if arguments.verb == "predict":
        predict(arguments.source, arguments.work, csp5_shifts, arguments.out, arguments.limit)
    else:
        pack(arguments.work, arguments.out, arguments.measured)


if __name__ == "__main__":
    main()
