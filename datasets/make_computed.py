"""Add computed spectra to one of the sets of `datasets/`, in the compact files that the repository holds.

Usage: python datasets/make_computed.py SET FILE.npz ... [--out FOLDER] [--without FILE ...]

SET is `qm9-xtb-grown`, `qm9-aimnet2` or `ordinary-aimnet2`. Takes files of results, as ``molchord data simulate``
writes them, and any other ``*-xtb.npz`` or ``*-aimnet2.npz`` files, with the failures that they, or ``fails-*.json``
beside ``chunk-*.npz``, list. Molecules that the folder holds already are left out, but one that failed may be computed
later; left out are, too, those of files after `--without` (``.npz``, or tables with a column `key14` or `inchikey`),
such as molecules that benchmarks measure on. The rest goes into one more file, ``part-00.npz`` and so on, so that large
files are committed once, in an order that follows from their InChIKey alone and thus is random. Files that list
failures go into another call than those that do not, so that the card can say what part failed. Wavenumbers are rounded
to 0.1 cm^-1, intensities to half precision, geometries left out; sets by AIMNet2 keep their rotational constants. The
card beside the folder is written from what all its parts hold.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from held_out import keys_of
from numpy.typing import NDArray
from tqdm import tqdm

from molchord.api import Array
from molchord.chem import element_counts, molecule
from molchord.errors import DataError
from molchord.simulation.files import Contents, Outcome, read_contents, write_entries
from molchord_modalities.vibrational_settings import KIND_BEGINS
from molchord_simulators.gfn2 import rotational_constants

ARRAYS = {
    "freq": Array(unit="cm^-1", axis="modes", dtype="float32"),
    "ir": Array(unit="km/mol", axis="modes", dtype="float16"),
    "raman": Array(unit="angstrom^4/dalton", axis="modes", dtype="float16"),
}
DECIMALS = 1  # of a wavenumber; as float32, which any reader takes, since the archive packs the rest away
PREPARED_BY = "one conformer by ETKDGv3, relaxed by MMFF94 or UFF (RDKit)"  # of files that do not say it
ROUNDED = "; wavenumbers rounded to 0.1 cm^-1, intensities to half precision"
TOO_STRONG = "intensity beyond half precision"
REASONS = (TOO_STRONG, "imaginary mode", "bonds changed", "no conformer", "SCF not converged", "not converge")


@dataclass(frozen=True, kw_only=True)
class Computed:
    """A set, as its card describes it.

    Attributes:
        name: Of the folder and the card.
        arrays: What it keeps.
        elements: That it may hold.
        heavy_atoms: That a molecule has at most.
        limits: Elements and size in words.
        method: Level of theory in words.
        source: Where the molecules come from.
        licence: What is beside CC0.
        computed_by: What files were computed by that do not say it.
        lowest: Wavenumber in cm^-1 of an imaginary mode that a molecule may keep.
        simulator: What computes more of it.
    """

    name: str
    arrays: Mapping[str, Array] = field(default_factory=lambda: ARRAYS)
    elements: frozenset[str]
    heavy_atoms: int
    limits: str
    method: str
    source: str
    licence: str
    computed_by: str
    lowest: int
    simulator: str


_GFN2 = """\
GFN2-xTB (Bannwarth, Ehlert and Grimme, J. Chem. Theory Comput. 15, 1652, 2019), gas phase, harmonic and unscaled. One
conformer a molecule: ETKDG and a force field (what `molchord data simulate` made: ETKDGv3 with a seed from the
InChIKey, MMFF94, or UFF where that lacks parameters), then GFN2-xTB to a largest gradient component of 1.5e-4
Hartree/Bohr. Hessian by central differences of 0.005 Bohr; dipole and polarizability derivatives from gradients in
fields of 0.004 a.u.; average atomic masses. Stereochemistry is not given, so the conformer of a molecule with
stereocentres is that of one of its stereoisomers."""
_AIMNET2 = """\
AIMNet2 (Anstine, Zubatyuk and Isayev, Chem. Sci. 16, 10228, 2025), a neural network potential for wB97M-D3, mean of
its four members, or its first member alone where `simulator` says so; gas phase, harmonic and unscaled. One conformer
per molecule: ETKDGv3 with a seed from the InChIKey, MMFF94 (UFF where that lacks parameters), then AIMNet2 to a
largest gradient component of 6e-5 Hartree/Bohr (1.5e-4 in some: see `computed_by` in the files). Analytic Hessian;
infrared intensities from the dipole moment of AIMNet2's charges; Raman activities from GFN2-xTB's gradients in fields
of 0.004 a.u., on AIMNet2's geometry and modes; average atomic masses. Stereochemistry is not given, so the conformer
of a molecule with stereocentres is that of one of its stereoisomers.

Infrared intensities of N-H and O-H stretches are some 1.8 times too strong."""
_BY_AIMNET2 = "AIMNet2 (wB97M-D3, four members), Raman activities by GFN2-xTB in fields; relaxed to 1.5e-4 Hartree/Bohr"
_AIMNET2_ARRAYS = {
    **ARRAYS,
    "kind": Array(unit="1", axis="modes", dtype="uint8"),
    "constants": Array(unit="cm^-1", shape=(3,), dtype="float32"),
    "simulator": Array(unit="1", dtype="str"),
}
_QM9 = "QM9 in random order"
_OPEN_QM9 = f"{_QM9}, without those whose measured infrared or Raman spectra benchmarks use"
_QM9_LICENCE = "The SMILES are facts from QM9 (Ramakrishnan et al., Scientific Data 1, 140022, 2014)."
_QM9_LIMITS = "of QM9 and alike (C, H, N, O, F; at most 9 heavy atoms)"

SETS = {
    one.name: one
    for one in (
        Computed(
            name="qm9-xtb-grown", elements=frozenset("CHNOF"), heavy_atoms=9, limits=_QM9_LIMITS, method=_GFN2,
            source=_QM9, licence=_QM9_LICENCE, computed_by="GFN2-xTB (tblite) as the data card says", lowest=-20,
            simulator="gfn2",
        ),
        Computed(
            name="qm9-aimnet2", arrays=_AIMNET2_ARRAYS, elements=frozenset("CHNOF"), heavy_atoms=9, limits=_QM9_LIMITS,
            method=_AIMNET2, source=_OPEN_QM9, licence=_QM9_LICENCE, computed_by=_BY_AIMNET2, lowest=-100,
            simulator="aimnet2",
        ),
        Computed(
            name="ordinary-aimnet2", arrays=_AIMNET2_ARRAYS,
            elements=frozenset({"H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "As", "Se", "Br", "I"}),
            heavy_atoms=24,
            limits="that chemists meet (H, B, C, N, O, F, Si, P, S, Cl, As, Se, Br, I; at most 24 heavy atoms)",
            method=_AIMNET2,
            source="the lists of molecules of MassBank, nmrshiftdb2 and C3SDB, "
            "without\nthose whose measured infrared or Raman spectra benchmarks use, in random order",
            licence="The SMILES are facts.", computed_by=_BY_AIMNET2, lowest=-100, simulator="aimnet2",
        ),
    )
}  # fmt: skip

CARD = """# {name}

Harmonic infrared and Raman spectra of {molecules:,} molecules {limits},
computed for this project; one entry per molecule (InChIKey block), in random order within each of {parts} files;
{megabytes:.1f} MB, {kilobytes:.2f} kB per molecule.

    molchord data import datasets/{name} --out data/{name}

makes the data set that `molchord train --data` takes, split by the hash rule, so that a molecule's split is the same in
every set that it is in.

## Level of theory
{method}

| array | unit | kept to |
|---|---|---|
| `smiles`, `id` (InChIKey block) | | |
| `freq`, molecule i has `modes[i]:modes[i+1]` | cm^-1 | 0.1 |
| `ir` | km/mol | half precision |
| `raman` | angstrom^4 / dalton | half precision |
{more_arrays}
{noise:,} modes of {modes:,} lie between {lowest} and 0 cm^-1: {noise_means}, which molchord drops.

## What is missing
Molecules were taken from {source}, and left out where no conformer was found, the bonds changed or a mode
below {lowest} cm^-1 remained. The files list those that failed (`failed_smiles`, `failed_reason`) where that was
recorded: {failed:,} beside {beside:,} that were computed, {share:.1f} %. They are not a random sample.

| reason | molecules |
|---|---|
{reasons}

## Licence
CC0 1.0. {licence}

## How to make more
    pip install 'molchord[simulate]'{install}
    molchord data simulate SMILES.csv --use {simulator} --out data/more
    python datasets/make_computed.py {name} data/more.jobs/results-*.npz

The last line adds a file to the folder and writes this card anew.
{portable}
"""
_MORE_ARRAYS = """\
| `constants` | cm^-1 | rotational constants A, B, C of the relaxed conformer; A of a linear molecule is 0 |
| `kind` | | what a mode stretches: 2 hydrogen on N, O or a halogen, 1 hydrogen on another element, 0 neither |
| `simulator` | | `aimnet2`, `aimnet2 (one member)`, or `gfn2` where all is by that |

`kind` follows from the displacements of the mode's atoms, or, of molecules computed before that was recorded, from its
wavenumber: 2 above 3340 cm^-1, 1 from 2300 to 3340 cm^-1.{without_kind}
"""
_INSTALL = "\n    pip install --no-deps Auto3D==2.3.1    # the parameters of AIMNet2, MIT licence"
_PORTABLE = """\
`molchord data simulate SMILES.csv --use gfn2 --jobs FOLDER` writes jobs for machines that have numpy and tblite only.
"""


def entries(which: Computed, path: Path) -> Iterator[Outcome]:
    """Yield what a file, and the list of failures beside it, say of each molecule.

    Raises:
        DataError: A molecule is none of those that the card speaks of, or a value does not fit half precision.
    """
    with np.load(path, allow_pickle=False) as data:
        modes, smiles = data["modes"], data["smiles"].tolist()
        freq, ir, raman = (data[name] for name in ARRAYS)
        kind = data["kind"] if "kind" in data.files else None
        further = _further(which, data, len(smiles))
        failures: list[Sequence[str]] = []
        if "failed_smiles" in data.files:
            failures += zip(data["failed_smiles"].tolist(), data["failed_reason"].tolist(), strict=True)
    for i, text in enumerate(smiles):
        part = slice(*modes[i : i + 2])
        arrays = {"freq": np.round(freq[part], DECIMALS), "ir": ir[part], "raman": raman[part]}
        if "kind" in which.arrays:
            arrays["kind"] = np.searchsorted(KIND_BEGINS, freq[part], side="right") if kind is None else kind[part]
        if not all(np.isfinite(values).all() for values in arrays.values()):
            raise DataError(f"{str(path)!r}: values of {text!r} are not finite; compute it again")
        if any((np.abs(values) > np.finfo(np.float16).max).any() for values in arrays.values()):
            yield Outcome(id=_key14(which, path, text), smiles=text, reason=TOO_STRONG)
            continue
        arrays |= {name: values[i] for name, values in further.items()}
        yield Outcome(id=_key14(which, path, text), smiles=text, arrays=arrays)
    listed = path.with_name(path.name.replace("chunk-", "fails-")).with_suffix(".json")
    if listed.is_file():
        failures += json.loads(listed.read_text())
    for text, reason in failures:
        yield Outcome(id=_key14(which, path, text), smiles=text, reason=reason)


def _further(which: Computed, data: Mapping[str, NDArray[Any]], count: int) -> dict[str, Sequence[Any]]:
    """Return what a set keeps beside its lines, by molecule."""
    if "constants" not in which.arrays:
        return {}
    if "constants" in data and "simulator" in data:
        return {name: data[name].tolist() for name in ("constants", "simulator")}
    atoms = data["atoms"]
    parts = [slice(*atoms[i : i + 2]) for i in range(count)]
    z, positions = data["z"], data["pos"]
    said = data["simulator"].tolist() if "simulator" in data else [which.simulator] * count
    return {"constants": [rotational_constants(z[part], positions[part]) for part in parts], "simulator": said}


def _key14(which: Computed, path: Path, smiles: str) -> str:
    found = molecule(smiles)
    atoms = element_counts(found.formula)
    if not atoms.keys() <= which.elements or sum(atoms.values()) - atoms.get("H", 0) > which.heavy_atoms:
        raise DataError(
            f"{str(path)!r}: {smiles!r} ({found.formula}) is beyond {which.heavy_atoms} atoms of "
            f"{', '.join(sorted(which.elements - {'H'}))} beside H; give files of molecules that the data card speaks "
            "of"
        )
    return found.key14


def new_entries(
    which: Computed, files: Sequence[Path], contents: Sequence[Contents], without: frozenset[str]
) -> tuple[list[Outcome], dict[str, str]]:
    """Return each molecule once that the contents and `without` lack, in random order, and how they were made.

    One that was computed did not fail, whatever another file says.
    """
    computed, failed = _states(contents)
    found: dict[str, tuple[Outcome, Path]] = {}
    for path in tqdm(files, unit=" files", disable=None):
        for entry in entries(which, path):
            known = (computed if entry.arrays is not None else computed | failed.keys()) | without
            if entry.id not in known and (entry.id not in found or found[entry.id][0].arrays is None):
                found[entry.id] = (entry, path)
    new = [found[id][0] for id in sorted(found, key=lambda id: hashlib.sha256(f"order:{id}".encode()).hexdigest())]
    sources = {path for _, path in found.values()}
    made_by = {"prepared_by": _texts(sources, "prepared_by", PREPARED_BY)}
    return new, {**made_by, "computed_by": _texts(sources, "computed_by", which.computed_by) + ROUNDED}


def _states(contents: Sequence[Contents]) -> tuple[set[str], dict[str, str]]:
    """Return the key14 of molecules that were computed, and the reasons of those that only failed."""
    computed = {id for one in contents for id in one.ids}
    return computed, {e.id: e.reason for one in contents for e in one.failed if e.id not in computed}


def _texts(files: Iterable[Path], name: str, default: str) -> str:
    """Return what the files say of how they were made, each text once."""
    texts = set()
    for path in files:
        with np.load(path, allow_pickle=False) as data:
            texts.add(str(data[name]).removesuffix(ROUNDED) if name in data.files else default)
    return " | ".join(sorted(texts))


def card(which: Computed, parts: Sequence[Path]) -> str:
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
    by_aimnet2 = which.simulator == "aimnet2"
    return CARD.format(
        name=which.name, limits=which.limits, method=which.method, source=which.source, licence=which.licence,
        simulator=which.simulator, lowest=which.lowest, molecules=molecules, parts=len(parts), megabytes=size / 1e6,
        kilobytes=size / 1e3 / max(molecules, 1), noise=noise, modes=modes, failed=failed, beside=beside,
        share=100 * failed / max(failed + beside, 1), reasons="\n".join(rows) or "| none recorded | 0 |",
        more_arrays=_MORE_ARRAYS.format(without_kind=_without_kind(parts)) if by_aimnet2 else "",
        install=_INSTALL if by_aimnet2 else "",
        portable="" if by_aimnet2 else _PORTABLE,
        noise_means="soft torsions of a learned surface" if by_aimnet2 else "numerical noise of soft torsions",
    )  # fmt: skip


def _without_kind(parts: Sequence[Path]) -> str:
    """Say which parts are older than the array `kind`."""
    lacking = []
    for part in parts:
        with np.load(part, allow_pickle=False) as data:
            lacking += [f"`{part.name}`"] if "kind" not in data.files else []
    return f" {' and '.join(lacking)} lack{'s' * (len(lacking) == 1)} it." if lacking else ""


def _reason(text: str) -> str:
    """Return a reason without its figures, which differ from molecule to molecule."""
    return next((kind for kind in REASONS if kind in text), text)


def main(which: Computed, files: Sequence[Path], out: Path, without: Sequence[Path] = ()) -> None:
    """Add what is new to the folder, and write the card."""
    parts = sorted(out.glob("part-*.npz"))
    contents = [read_contents(part) for part in parts]
    new, made_by = new_entries(which, files, contents, frozenset(key for path in without for key in _keys(path)))
    if new:
        out.mkdir(parents=True, exist_ok=True)
        parts.append(out / f"part-{len(parts):02d}.npz")
        write_entries(parts[-1], which.arrays, new, **made_by)
    out.with_suffix(".md").write_text(card(which, parts).rstrip() + "\n", encoding="utf-8")
    computed = sum(entry.arrays is not None for entry in new)
    there = sum(len(one.ids) + len(one.failed) for one in contents)
    print(f"{out}: {computed} molecules and {len(new) - computed} failures added to {there} that were there")


def _keys(path: Path) -> set[str]:
    """Return the key14 of a file's molecules."""
    if path.suffix == ".csv":
        return keys_of(path)
    with np.load(path, allow_pickle=False) as data:
        return {molecule(text).key14 for text in data["smiles"].tolist()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Add computed spectra to a folder of compact files.")
    parser.add_argument("set", choices=sorted(SETS), metavar="SET", help=", ".join(sorted(SETS)))
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.npz", help="none: only write the card anew")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: the set's folder beside this script")
    parser.add_argument("--without", nargs="+", type=Path, default=[], metavar="FILE")
    arguments = parser.parse_args()
    chosen = SETS[arguments.set]
    folder = Path(__file__).parent / chosen.name if arguments.out is None else arguments.out
    main(chosen, arguments.files, folder, arguments.without)
