"""How honest "none of these" is: test queries with and without their molecule among the candidates.

Usage: python -m benchmarks.absence RUN DATA [--work FOLDER]

RUN is calibrated already; DATA holds its test queries, computed ones made like measured ones. Gas IR of `nist-ir` is
asked beside where it is there, by the run as it is and calibrated on four fifths of these molecules. Writes
``benchmarks/results/absence.json``, and ``benchmarks/plots/absence.svg``, the reliability of what is stated.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

import molchord as mc
from benchmarks.accuracy.__main__ import write
from benchmarks.accuracy.perturb import LIKE_MEASURED
from benchmarks.accuracy.plan import FIVE_FOLDS
from benchmarks.accuracy.runner import hardware
from benchmarks.accuracy.sources import ROOT, MissingData, opened
from benchmarks.plots import COLOURS, GRID, INK
from molchord.absence import Absence, Background, Filter
from molchord.evaluate.absence import Answers, answers
from molchord.evaluate.embedded import Embedded
from molchord.evaluate.embedding import embed_dataset
from molchord.evaluate.pairs import auroc
from molchord.run_folder import code_version

__all__ = ["calibration_error", "coverage", "judged", "main", "rates", "reliability"]

RESULT = ROOT / "benchmarks" / "results" / "absence.json"
PLOT = ROOT / "benchmarks" / "plots" / "absence.svg"
POOLS: Sequence[tuple[str, Filter, tuple[int, ...]]] = (
    ("20", "none", (20,)),
    ("500", "none", (500,)),
    ("all", "none", ()),
    ("formula", "formula", ()),
    ("10 ppm", "mass", ()),
)
SUBSETS = (
    ("ir",), ("raman",), ("ir", "raman"), ("msms",), ("carbon",), ("carbon", "proton"),
    ("ir", "raman", "carbon", "proton"),
)  # fmt: skip
GONE = (0.0, 0.2, 0.4)
BINS = 10
RISK, SURE = 0.05, 0.8
DRAWN = 0.01
"""Least share of the searches that a point of the figure stands for."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure a run and write what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.absence", description=__doc__)
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--work", type=Path, default=Path("data/measured"), metavar="FOLDER", help="of measured sets")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    run = mc.load(arguments.run, device="cpu")
    perturb = LIKE_MEASURED.reading(run.graph)
    computed = embed_dataset(run.embedder, mc.DataSet(arguments.data), perturb=perturb).embedded
    rows = [*judged(run, computed, "like measured", SUBSETS)]
    try:
        rows += judged(run, _gas(run, arguments.work), "gas IR, measured", [("ir",)])
        rows += _calibrated(run, arguments.work)
    except MissingData as missing:
        print(f"gas IR left out: {missing}")
    result = {"run": run.id[:12], "settings": code_version(), "hardware": hardware(), "rows": rows}
    write(RESULT, result)
    draw(rows, PLOT)
    for row in rows:
        said = {key: round(value, 3) for key, value in row.items() if isinstance(value, float)}
        print(row["queries"], " + ".join(row["subset"]), row["pool"], said)


def judged(
    run: mc.Run, embedded: Embedded, queries: str, subsets: Sequence[tuple[str, ...]]
) -> Iterator[dict[str, Any]]:
    """Yield a row for each set of spectra, pool and share of molecules that are gone."""
    background = Background.read(run.path)
    tau, beta = run.manifest.tau, run.manifest.beta
    for subset in subsets:
        absence = run.manifest.absence.get(" + ".join(subset))
        if absence is None or background is None or not set(subset) <= set(embedded.spectra):
            continue
        for pool, narrowed, sizes in POOLS:
            made = answers(
                embedded, background, subset, narrowed, tau, beta[len(subset)], split="test", sizes=sizes, seed=1
            )
            if made is None:
                continue
            if sizes:  # the last pool of each query holds all candidates
                made = _only(made, np.exp(made.rows[:, 2]).round() == sizes[0])
            for gone in GONE:
                yield {
                    "queries": queries,
                    "subset": list(subset),
                    "pool": pool,
                    "gone": gone,
                    **rates(absence, narrowed, made, gone),
                }


def rates(absence: Absence, narrowed: Filter, made: Answers, gone: float) -> dict[str, Any]:
    """Return what PROTOCOLS asks of a confidence where a share of the molecules is gone.

    Args:
        absence: The run's weights.
        narrowed: What narrowed the candidates.
        made: Searches with and without their molecule.
        gone: Share of the queries whose molecule is not among the candidates.
    """
    none = np.array([absence.probability(row, narrowed) for row in made.rows])
    weight = np.where(made.absent, gone / max(1, made.absent.sum()), (1 - gone) / max(1, (~made.absent).sum()))
    stated = np.maximum(none, (1 - none) * made.share)
    right = np.where(none > (1 - none) * made.share, made.absent, made.right)
    first = (1 - none) * made.share
    sure = first > SURE
    return {
        "searches": len(none),
        "top1": float((weight * made.right).sum() / max(1e-9, 1 - gone)),
        "ece": calibration_error(stated, right, weight),
        "ece_without": calibration_error(made.share, made.right, weight),
        "brier": float((weight * ((first - made.right) ** 2)).sum()),
        "coverage": coverage(first, made.right, weight),
        "auroc": auroc(none[made.absent], none[~made.absent]),
        "sure": float(weight[sure].sum()),
        "sure_right": float((weight * made.right)[sure].sum() / max(1e-9, weight[sure].sum())),
        "reliability": reliability(stated, right, weight),
    }


def coverage(stated: NDArray[np.float64], right: NDArray[np.bool_], weight: NDArray[np.float64]) -> float:
    """Return the share of queries answered when the surest ones are, so many that one in twenty may be wrong.

    The upper end of the risk's 95 % Wilson interval is what must stay below, over as many searches as there are.

    Example:
        >>> round(coverage(np.linspace(1, 0, 400), np.arange(400) < 200, np.full(400, 1 / 400)), 2)
        0.51
    """
    order = np.argsort(-stated, kind="stable")
    wrong, answered = np.cumsum((weight * ~right)[order]), np.cumsum(weight[order])
    count, z = np.arange(1, len(order) + 1), 1.96
    risk = wrong / answered
    high = (risk + z**2 / (2 * count) + z * np.sqrt(risk * (1 - risk) / count + z**2 / (4 * count**2))) / (
        1 + z**2 / count
    )
    fits = np.flatnonzero(high <= RISK)
    return float(answered[fits[-1]]) if len(fits) else 0.0


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw what is stated against how often it is true, a fifth of the molecules gone."""
    pools = ("500", "formula")
    figure = Figure(figsize=(7.2, 3.9), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, pool in zip(axes, pools, strict=True):
        axis.plot([0, 1], [0, 1], color=GRID, linewidth=1)
        chosen = [row for row in rows if row["gone"] == GONE[1] and row["pool"] == pool]
        for row, colour in zip(chosen, itertools.cycle((*COLOURS, INK))):
            _, said, true = zip(*(part for part in row["reliability"] if part[0] >= DRAWN), strict=True)
            dashes = "-" if row["queries"] == "like measured" else "--"
            label = f"{' + '.join(row['subset'])}, {row['queries']}"
            axis.plot(said, true, dashes, color=colour, marker="o", markersize=3, linewidth=1.2, label=label)
        axis.set(title=f"candidates: {pool}", xlabel="stated", xlim=(0, 1), ylim=(0, 1))
    axes[0].set_ylabel("true")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": path.stem, "font.family": "sans-serif"}):
        figure.savefig(path, metadata={"Date": None, "Creator": None})


def _gas(run: mc.Run, work: Path) -> Embedded:
    """Embed measured gas spectra, all of them as queries of the test split."""
    data = mc.DataSet(opened("nist", work))
    whole = embed_dataset(run.embedder, data).embedded
    table, part = data.table("ir"), whole.spectra["ir"]
    measured = np.flatnonzero([table.read(i).origin == "measured" for i in range(len(table))])
    spectra = dataclasses.replace(
        part, molecule=part.molecule[measured], vectors=part.vectors[torch.from_numpy(measured)], reveals_mass=None
    )
    return dataclasses.replace(whole, spectra={"ir": spectra}, split=np.full(len(whole), 2))


def _calibrated(run: mc.Run, work: Path) -> Iterator[dict[str, Any]]:
    """Yield rows of measured gas spectra, the run calibrated on four fifths of their molecules, five-fold."""
    folder, parts = opened("nist", work), []
    with TemporaryDirectory() as name:
        for fold in FIVE_FOLDS:
            own = Path(name) / fold.replace(":", "-")
            shutil.copytree(run.path, own)
            fitted, data = mc.load(own, device="cpu"), mc.DataSet(folder, split=fold)
            fitted.calibrate(data, where={"ir": {"origin": "measured"}})
            tested = dataclasses.replace(_gas(fitted, work), split=data.split)
            parts.append([*judged(fitted, tested, "gas IR, calibrated on measured", [("ir",)])])
    for same in zip(*parts, strict=True):
        mean = {key: float(np.mean([row[key] for row in same])) for key in same[0] if isinstance(same[0][key], float)}
        whole = _pooled(same)
        mean["ece"] = sum(share * abs(said - true) for share, said, true in whole)
        yield {**same[0], **mean, "searches": sum(row["searches"] for row in same), "reliability": whole}


def _pooled(rows: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """Return the reliability of several folds together, by tenths of what is stated."""
    bins: dict[int, list[tuple[float, float, float]]] = {}
    for row in rows:
        for share, said, true in row["reliability"]:
            bins.setdefault(min(int(BINS * said), BINS - 1), []).append((share, share * said, share * true))
    sums = [np.sum(parts, axis=0) for _, parts in sorted(bins.items())]
    return [[float(share) / len(rows), float(said / share), float(true / share)] for share, said, true in sums]


def _only(made: Answers, kept: NDArray[np.bool_]) -> Answers:
    return Answers(**{field.name: getattr(made, field.name)[kept] for field in dataclasses.fields(made)})


def reliability(
    stated: NDArray[np.float64], right: NDArray[np.bool_], weight: NDArray[np.float64]
) -> list[list[float]]:
    """Return for each tenth of what is stated its share of the searches, the mean stated and how often it is true."""
    bins = np.minimum((BINS * stated).astype(int), BINS - 1)
    out = []
    for own in (bins == i for i in range(BINS)):
        share = weight[own].sum()
        if share > 0:
            said, true = (weight * stated)[own].sum() / share, (weight * right)[own].sum() / share
            out.append([float(share), float(said), float(true)])
    return out


def calibration_error(stated: NDArray[np.float64], right: NDArray[np.bool_], weight: NDArray[np.float64]) -> float:
    """Return the expected calibration error: mean distance of what is stated from how often it is true."""
    return sum(share * abs(said - true) for share, said, true in reliability(stated, right, weight))


if __name__ == "__main__":
    main()
