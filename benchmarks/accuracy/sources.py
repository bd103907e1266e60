"""The data sets of the tables: which files each is made of, and where it is kept once it is made."""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import molchord as mc
from molchord.chem import molecule
from molchord.data.info import resplit
from molchord.data.splits import hash_split
from molchord.vocabulary import SPLITS

__all__ = ["DATA", "ROOT", "SOURCES", "MissingData", "Source", "opened", "qm9_smiles"]

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("MOLCHORD_DATA", ROOT.parent / "shared" / "data"))
"""Where the files lie that the project does not hold itself."""


class MissingData(Exception):
    """A file that a data set is made of is not there."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a data set is made of: files, or another data set with more structures.

    Attributes:
        folder: A data set that is there already, relative to the repository.
        bundled: Folders of files to import, relative to the repository.
        files: Files to import, relative to the data folder.
        simulator: What computed the files, where they do not say it.
        limit: Number of molecules after which only further measurements of those are taken.
        spectra: A table of measured infrared spectra in the data folder, taken for molecules of the files alone, where
            its column `origin` says MSDC-IR.
        raman: An archive of measured Raman curves in the data folder, a table of their molecules beside it.
        without: Data sets whose molecules are in no split here, so that nothing trained on this one has seen them.
        beside: A data set to which structures without spectra are added, in no split, none of them in it.
        structures: How many of the QM9 list, drawn with seed 0.
        ordinary: How many of the list of ordinary molecules, from its end, where none has been computed.
    """

    folder: str | None = None
    bundled: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    simulator: str | None = None
    limit: int | None = None
    spectra: str | None = None
    raman: str | None = None
    without: tuple[str, ...] = ()
    beside: str | None = None
    structures: int = 0
    ordinary: int = 0


QM9 = ROOT / "datasets" / "qm9_smiles.csv.gz"
ORDINARY = DATA / "ordinary_smiles.csv.gz"
COMPUTED = ("qm9-xtb.npz", "qm9-xtb-more.npz", "qm9-xtb-more-2.npz", "massbank-xtb.npz", "nist-xtb.npz")
AIMNET2 = ("datasets/ordinary-aimnet2", "datasets/qm9-aimnet2")

SOURCES: Mapping[str, Source] = {
    "qm9": Source(files=("qm9-xtb.npz",)),
    "both": Source(files=("qm9-xtb.npz", "qm9-xtb-more.npz")),
    "grown": Source(bundled=("datasets/qm9-xtb-grown",)),
    "computed": Source(files=COMPUTED),
    "computed without nist": Source(files=COMPUTED, without=("nist",)),
    "aimnet2 without nist": Source(bundled=AIMNET2, without=("nist",)),
    "nist by aimnet2": Source(files=("nist-aimnet2.npz",), simulator="aimnet2"),
    "five": Source(bundled=("datasets/massbank", *AIMNET2, "datasets/ordinary-shifts")),
    "raman": Source(raman="raman-bio/raman_exp.npz"),
    "raman and 2,000 ordinary structures": Source(beside="raman", ordinary=2000),
    "shifts": Source(files=("nmr/nmrshiftdb2_8k.jsonl.gz",)),
    "nist": Source(files=("nist-xtb.npz",), spectra="nist-ir/index.csv"),
    "massbank": Source(files=("massbank/ms2.mgf.gz",)),
    "nist and 2,033 ordinary structures": Source(beside="nist", ordinary=2033),
    # All molecules of the first file, then their MS/MS alone.
    "four": Source(files=("massbank-xtb.npz", "massbank/ms2.mgf.gz"), limit=1383),
    **{
        f"{name} and 20,000 structures": Source(beside=name, structures=20_000)
        for name in ("qm9", "both", "grown", "nist")
    },
}


def qm9_smiles() -> list[str]:
    """Return the SMILES of `datasets/qm9_smiles.csv.gz` in the order of the file."""
    return _listed(QM9)


def _listed(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return [row["smiles"] for row in csv.DictReader(file)]


def opened(name: str, work: Path, sources: Mapping[str, Source] = SOURCES) -> Path:
    """Return the folder of a data set, made below `work` where it is not there yet.

    Raises:
        MissingData: A file that it is made of is not there; the message says which.
    """
    source = sources[name]
    if source.folder is not None:
        return _existing(ROOT / source.folder)
    files = [_existing(DATA / file) for file in source.files]
    files += _bundled(source)
    files += [_existing(path) for path, count in ((QM9, source.structures), (ORDINARY, source.ordinary)) if count]
    files += [_existing(DATA / path) for path in (source.spectra, source.raman) if path is not None]
    below = [opened(other, work, sources) for other in (*source.without, *([source.beside] if source.beside else []))]
    # A source whose files have other sizes makes another folder.
    parts = [repr(source), *(str(file.stat().st_size) for file in files), *(mc.DataSet(b).sha256 for b in below)]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
    folder = work / "data" / f"{name.replace(' ', '-').replace(',', '')}-{digest}"
    if not folder.exists():
        unfinished = folder.with_name(f"{folder.name}-unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        if source.beside is None:
            _imported(
                source,
                [_existing(DATA / file) for file in source.files] + _bundled(source),
                [mc.DataSet(path) for path in below],
                unfinished,
            )
        else:
            _with_structures(mc.DataSet(below[0]), source, unfinished)
        unfinished.rename(folder)
    return folder


def _bundled(source: Source) -> list[Path]:
    return [file for below in source.bundled for file in sorted(_existing(ROOT / below).glob("*.*z"))]


def _existing(path: Path) -> Path:
    if not path.exists():
        raise MissingData(f"it needs {path.name!r}, which is not in {str(path.parent)!r}")
    return path


def _imported(source: Source, files: Sequence[Path], without: Sequence[mc.DataSet], folder: Path) -> None:
    table = folder.with_suffix(".csv")
    options = {}
    if source.spectra is not None:
        _write(table, ("smiles", "ir"), _spectra(DATA / source.spectra, files[0]))
        options = {"table": table, "columns": [("ir", "ir")]}
    with TemporaryDirectory() as named:
        if source.raman is not None:
            _write(table, ("smiles", "raman"), _curves(DATA / source.raman, Path(named)))
            options = {"table": table, "columns": [("raman", "raman")]}
        if source.simulator is not None:
            files = [_with_simulator(file, source.simulator, Path(named)) for file in files]
        mc.import_files(files, folder, limit=source.limit, **options)
    table.unlink(missing_ok=True)
    if without:
        data, left_out = mc.DataSet(folder), set().union(*(other.keys() for other in without))
        kept = [(s, hash_split(k)) for s, k in zip(data.smiles(), data.keys(), strict=True) if k not in left_out]
        _write(table, ("smiles", "split"), kept)
        resplit(folder, "column:split", table)
        table.unlink()


def _with_simulator(file: Path, simulator: str, folder: Path) -> Path:
    """Write a copy of a file of computed spectra that says what computed them."""
    with np.load(file, allow_pickle=False) as archive:
        np.savez(folder / file.name, **archive, simulator=np.full(len(archive["smiles"]), simulator))
    return folder / file.name


def _spectra(index: Path, computed: Path) -> list[tuple[str, str]]:
    """List the measured spectra whose molecule has a computed one: SMILES and file."""
    with np.load(computed, allow_pickle=False) as archive:
        keys = {str(key)[:14] for key in archive["inchikey"]}
    with index.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["origin"] == "MSDC-IR" and row["inchikey"][:14] in keys]
    return [(row["smiles"], str(index.parent / "jdx" / row["file"])) for row in rows]


def _curves(archive: Path, folder: Path) -> list[tuple[str, str]]:
    """Write each measured Raman curve of an archive as text, and list SMILES and file."""
    with np.load(archive, allow_pickle=False) as held:
        grid, curves = held["grid"], held["intensity"]
    with archive.with_name(f"{archive.stem}_meta.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        text = "\n".join(f"{x:.1f},{y:.6g}" for x, y in zip(grid, curves[int(row["row"])], strict=True))
        (folder / f"{row['row']}.csv").write_text(f"raman shift (cm-1),intensity\n{text}\n", encoding="utf-8")
    return [(row["smiles"], str(folder / f"{row['row']}.csv")) for row in rows if row["smiles"]]


def _with_structures(base: mc.DataSet, source: Source, folder: Path) -> None:
    taken = set(base.keys())
    qm9 = qm9_smiles() if source.structures else []
    drawn = (qm9[i] for i in np.random.default_rng(0).permutation(len(qm9)))
    more = _new(drawn, source.structures, taken)
    more += _new(reversed(_listed(ORDINARY)) if source.ordinary else (), source.ordinary, taken)
    count = len(more)
    splits = [SPLITS[code] if code < len(SPLITS) else "" for code in base.split.tolist()]
    tables = {name: base.table(name) for name in base.stored}
    entries = {
        name: [[table.read(int(i)) for i in table.of(row)] for row in range(len(base))] + [[]] * count
        for name, table in tables.items()
    }
    mc.from_measurements([*base.smiles(), *more], entries, folder, splits=[*splits, *[""] * count])


def _new(smiles: Iterable[str], count: int, taken: set[str]) -> list[str]:
    """Return the first so many structures that are not among those taken, and take them."""
    out: list[str] = []
    for text in smiles:
        if len(out) == count:
            break
        key = molecule(text).key14
        if key not in taken:
            taken.add(key)
            out.append(text)
    return out


def _write(path: Path, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
