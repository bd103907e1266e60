"""A chemist's day: measured spectra of several kinds searched with a run, and how sure it says it is.

Usage: python -m benchmarks.chemist [RUN] [--work FOLDER]

Every search is one that `molchord search` makes; nothing is trained. Where the molecule is not among the candidates,
every second one that was measured was left out. Writes ``benchmarks/results/chemist.json``, and from it
``benchmarks/chemist.md``.
"""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import molchord as mc
from benchmarks.accuracy.__main__ import write
from benchmarks.accuracy.runner import hardware
from benchmarks.accuracy.sources import ROOT, MissingData, opened
from benchmarks.cells import markdown
from molchord.chem import molecule
from molchord.errors import QueryError
from molchord.run_folder import code_version

__all__ = ["Asked", "answered", "main", "page_text"]

RESULT = ROOT / "benchmarks" / "results" / "chemist.json"
PAGE = ROOT / "benchmarks" / "chemist.md"
SURE = 0.8
ACETAMIPRID = "CC(=NC#N)N(C)Cc1ccc(Cl)nc1"
COUMARIN = "O=c1ccc2ccccc2o1"
MOST = 150
"""Queries of a situation, the first ones by key14, which is no order of anything."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One search.

    Attributes:
        key14: The molecule that was measured.
        spectra: Measurements by modality.
        limits: Formula or mass.
    """

    key14: str
    spectra: Mapping[str, Any]
    limits: Mapping[str, Any]


def main(argv: Sequence[str] | None = None) -> None:
    """Ask everything and write what was answered."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chemist", description=__doc__)
    parser.add_argument("run", nargs="?", default="pretrained", metavar="RUN")
    parser.add_argument("--work", type=Path, default=Path("data/measured"), metavar="FOLDER", help="of measured sets")
    arguments = parser.parse_args(argv)
    run = mc.load(arguments.run, device="cpu")
    rows = []
    with TemporaryDirectory() as scratch:
        for situation, library, asked in situations(run, arguments.work, Path(scratch)):
            rows.append({"situation": situation, **answered(run, library, asked)})
            print(situation, rows[-1], flush=True)
    result = {"run": run.id[:12], "settings": code_version(), "hardware": hardware(), "rows": rows}
    write(RESULT, result)
    PAGE.write_text(page_text(result), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


INTRO = """\
# A chemist's day

Measured spectra, searched by `molchord search` with the run {run}, written by `python -m benchmarks.chemist`. Nothing
is trained, and no molecule of these infrared and Raman spectra has trained the shipped model. A search that no
candidate passes is an answer too: none of these.

"""
HEADER = ("situation", "searches", "candidates, median", "Top-1 / 5 / 25 %", "stated >= 80 %", "of these right",
          "none of these, mean %", "warned %")  # fmt: skip
WARNINGS = """
## Warnings

How often each warning was given: of {right} searches whose first hit is the molecule, and of {wrong} others.

"""


def page_text(result: Mapping[str, Any]) -> str:
    """Return the page of a result."""
    rows = result["rows"]
    right = sum(row["right"] for row in rows)
    wrong = sum(row["searches"] for row in rows) - right
    kinds: dict[str, list[int]] = {}
    for row in rows:
        for kind, (on_right, on_wrong) in row["warnings"].items():
            counts = kinds.setdefault(kind, [0, 0])
            counts[0] += on_right
            counts[1] += on_wrong
    shares = [
        (kind, f"{100 * on_right / max(1, right):.1f}", f"{100 * on_wrong / max(1, wrong):.1f}")
        for kind, (on_right, on_wrong) in sorted(kinds.items(), key=lambda item: -item[1][0])
    ]
    return (
        INTRO.format(run=f"`{result['run']}`")
        + markdown(HEADER, map(_shown, rows))
        + WARNINGS.format(right=right, wrong=wrong)
        + markdown(("warning", "% of right answers", "% of others"), shares)
    )


def _shown(row: Mapping[str, Any]) -> list[str]:
    return [
        row["situation"],
        str(row["searches"]),
        f"{row['candidates']:.0f}",
        " / ".join(f"{100 * value:.0f}" for value in row["top"]),
        str(row["sure"]),
        str(row["sure_right"]),
        f"{100 * row['none']:.0f}",
        f"{100 * row['warned']:.0f}",
    ]


def answered(run: mc.Run, library: mc.Library, asked: Sequence[Asked]) -> dict[str, Any]:
    """Search for each and count what was found and what was said.

    A search that no candidate passes is an answer too: none of these, for certain. `warnings` has by kind how many
    searches got it, those whose first hit is the molecule and the others.
    """
    ranks, candidates, none, sure, right, warned = [], [], [], 0, 0, 0
    kinds: dict[str, list[int]] = {}
    for one in asked:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                hits = run.search(library, k=25, **one.limits, **one.spectra)
            except QueryError:
                ranks.append(np.inf)
                candidates.append(0)
                none.append(1.0)
                continue
        found = [hit.rank for hit in hits if hit.key14 == one.key14]
        ranks.append(found[0] if found else np.inf)
        candidates.append(hits.candidates)
        none.append(hits.none_of_these if hits.none_of_these is not None else np.nan)
        stated = hits[0].probability
        if stated is not None and stated >= SURE:
            sure += 1
            right += hits[0].key14 == one.key14
        warned += bool(said)
        for kind in {_kind(str(one.message)) for one in said}:
            kinds.setdefault(kind, [0, 0])[hits[0].key14 != one.key14] += 1
    place = np.array(ranks)
    return {
        "searches": len(asked),
        "candidates": float(np.median(candidates)),
        "top": [float((place <= k).mean()) for k in (1, 5, 25)],
        "right": int((place == 1).sum()),
        "sure": sure,
        "sure_right": int(right),
        "none": float(np.nanmean(none)),
        "warned": warned / max(1, len(asked)),
        "warnings": kinds,
    }


def _kind(message: str) -> str:
    """Return what a warning says without what is particular to one search."""
    return re.sub(r"\[[^]]*\]|'[^']*'|-?\d[\d.,]*", "#", message).partition(";")[0]


def situations(run: mc.Run, work: Path, scratch: Path) -> Iterator[tuple[str, mc.Library, list[Asked]]]:
    """Yield what is asked for: its name, the candidates, the searches; what data are lacking is left out."""
    try:
        gas = mc.DataSet(opened("nist", work))
        pool = mc.DataSet(opened("nist and 2,033 ordinary structures", work))
    except MissingData as missing:
        print(f"measured infrared spectra left out: {missing}")
        return
    everything = run.library(pool.smiles(), scratch / "all")
    lacking, kept = _halves(pool, gas)
    halved = run.library(kept, scratch / "half")
    infrared = list(_measured(gas, "ir"))
    yield "gas IR", everything, [_limited(one) for one in infrared]
    yield "gas IR, formula known", everything, infrared
    absent = [one for one in infrared if one.key14 in lacking]
    yield "gas IR, not among the candidates", halved, [_limited(one) for one in absent]
    yield "gas IR, formula known, not among the candidates", halved, absent
    yield from _tandem(run, work, scratch)
    yield from _raman(run, work, scratch)


def _tandem(run: mc.Run, work: Path, scratch: Path) -> Iterator[tuple[str, mc.Library, list[Asked]]]:
    """Yield searches by MS/MS, with the right mass and with another molecule's."""
    if "msms" not in run.spectra:
        return
    data = mc.DataSet(opened("massbank", work))
    library = run.library(data.smiles(), scratch / "massbank")
    asked = list(_measured(data, "msms", split="test"))
    yield "MS/MS", library, [_limited(one) for one in asked]
    masses = {key: data.molecule(row).exact_mass for row, key in enumerate(data.keys())}
    yield "MS/MS, mass known", library, [_limited(one, mass=masses[one.key14]) for one in asked]
    shifted = zip(asked, [*asked[1:], *asked[:1]], strict=True)
    others = [
        _limited(one, mass=masses[other.key14])
        for one, other in shifted
        if abs(masses[one.key14] - masses[other.key14]) > 0.1
    ]
    yield "MS/MS, another molecule's mass", library, others
    acetamiprid = Asked(
        key14=molecule(ACETAMIPRID).key14,
        spectra={"msms": ROOT / "examples" / "unknown-ordinary" / "msms.mgf"},
        limits={"mass": molecule(COUMARIN).exact_mass},
    )
    yield "acetamiprid's MS/MS, coumarin's mass", library, [acetamiprid]


def _raman(run: mc.Run, work: Path, scratch: Path) -> Iterator[tuple[str, mc.Library, list[Asked]]]:
    """Yield searches by measured Raman spectra."""
    if "raman" in run.spectra:
        data = mc.DataSet(opened("raman", work))
        pool = mc.DataSet(opened("raman and 2,000 ordinary structures", work))
        library = run.library(pool.smiles(), scratch / "raman")
        yield "Raman of biomolecules", library, [_limited(one) for one in _measured(data, "raman")]


def _halves(pool: mc.DataSet, gas: mc.DataSet) -> tuple[set[str], list[str]]:
    """Return every second measured molecule, and the SMILES of all others."""
    lacking = set(sorted(gas.keys())[::2])
    return lacking, [smiles for key, smiles in zip(pool.keys(), pool.smiles(), strict=True) if key not in lacking]


def _measured(data: mc.DataSet, modality: str, *, split: str | None = None) -> Iterator[Asked]:
    """Yield a search with the first measured spectrum of each molecule."""
    table = data.table(modality)
    keys = data.keys()
    rows = sorted(data.rows(split).tolist() if split else range(len(data)), key=lambda row: keys[row])
    made = 0
    for row in rows:
        spectra = [table.read(int(i)) for i in table.of(row)]
        chosen = [one for one in spectra if one.origin == "measured"][:1]
        if chosen and made < MOST:
            made += 1
            yield Asked(key14=keys[row], spectra={modality: chosen}, limits={"formula": data.molecule(row).formula})


def _limited(asked: Asked, **limits: Any) -> Asked:
    return Asked(key14=asked.key14, spectra=asked.spectra, limits=limits)


if __name__ == "__main__":
    main()
