"""Measured references beside the model: what is found by structure alone, by references alone and by both in one list.

Usage: python -m benchmarks.references RUN DATA [--work FOLDER]

RUN is calibrated already; DATA holds test queries, MS/MS among them with several spectra of a molecule. Measured
infrared spectra of `nist-ir` are asked beside where they are there, five-fold: calibrated on the molecules that are not
of the fold's test split, tested on these. Then how often spectra of one query are said to disagree, and what the
advised next measurement finds. Writes ``benchmarks/results/references.json``.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import molchord as mc
from benchmarks.absence import calibration_error, coverage, reliability
from benchmarks.accuracy.__main__ import write
from benchmarks.accuracy.perturb import LIKE_MEASURED
from benchmarks.accuracy.plan import FIVE_FOLDS
from benchmarks.accuracy.runner import hardware
from benchmarks.accuracy.sources import DATA, ROOT, MissingData
from molchord.absence import Background, Filter
from molchord.agreement import disagreements
from molchord.evaluate.compared import Compared, ReferenceSearches, compare, reference_searches
from molchord.evaluate.embedded import Embedded, queries_of, subsets
from molchord.evaluate.embedding import embed_dataset
from molchord.evaluate.pairs import auroc
from molchord.evaluate.references import ReferenceAnswers, reference_answers
from molchord.prospects import Channels, prospects
from molchord.reference_weights import Origin, ReferenceWeights
from molchord.run_folder import code_version

__all__ = ["advice", "agreement", "judged", "main"]

RESULT = ROOT / "benchmarks" / "results" / "references.json"
POOLS: Sequence[tuple[str, Filter, tuple[int, ...]]] = (
    ("20", "none", (20,)),
    ("500", "none", (500,)),
    ("formula", "formula", ()),
)
KINDS = {"referenced": 0.4, "structure only": 0.4, "absent": 0.2}
"""Shares of the searches: the molecule has a reference, it is a candidate without one, it is not there."""

FIRST = 25
SWAP = 7


def main(argv: Sequence[str] | None = None) -> None:
    """Measure a run and write what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.references", description=__doc__)
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--work", type=Path, default=Path("data"), metavar="FOLDER", help="of measured sets")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    run = mc.load(arguments.run, device="cpu")
    data, perturb = mc.DataSet(arguments.data), LIKE_MEASURED.reading(run.graph)
    found = embed_dataset(run.embedder, data, mass_seed=run.graph.seed, perturb=perturb, split="test")
    compared, rows = compare(run.embedder, data, found, perturb=perturb, split="test", every=True), []
    for origin, fitted in run.manifest.references.items():
        for names, weights in fitted.items():
            if " + " not in names:
                searches = _searches(run, found.embedded, compared, names, origin)
                rows += judged(searches, weights, f"{weights.queries} {names}, {origin} references")
    try:
        rows += _infrared(run, arguments.work)
    except MissingData as missing:
        print(f"measured infrared spectra left out: {missing}")
    result = {
        "run": run.id[:12],
        "settings": code_version(),
        "hardware": hardware(),
        "references": rows,
        "agreement": [*agreement(run, found.embedded)],
        "advice": [*advice(run, found.embedded)],
    }
    write(RESULT, result)
    for part in ("references", "agreement", "advice"):
        for row in result[part]:
            print({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()})


def judged(searches: ReferenceSearches | None, weights: ReferenceWeights, queries: str) -> Iterator[dict[str, Any]]:
    """Yield a row for each pool; the molecule has a reference in two of five searches, and is not there in one."""
    if searches is None:
        return
    alone = {
        "structure": weights.model_copy(
            update={"logit": 1.0, "balance": 0.0, "spectra": {name: (0.0, 0.0) for name in weights.spectra}}
        ),
        "references": weights.model_copy(
            update={"logit": 0.0, "spectra": {name: (100.0, 1.0) for name in weights.spectra}}
        ),
    }
    for pool, narrowed, sizes in POOLS:
        made = reference_answers(searches, weights, narrowed, sizes=sizes or (1,), seed=1)
        if made is None:
            continue
        others = {
            name: reference_answers(searches, one, narrowed, sizes=sizes or (1,), seed=1) for name, one in alone.items()
        }
        none = np.array([weights.probability_of_none(row, narrowed) or 0.0 for row in made.rows])
        weight = _weight(made)
        first = (1 - none) * made.share
        stated, right = np.maximum(none, first), np.where(none > first, made.absent, made.right)
        listed = ~made.absent & ~made.referenced
        yield {
            "queries": queries,
            "pool": pool,
            "searches": len(none),
            **{
                f"top1 {name}, {kind}": float(one.right[chosen].mean())
                for name, one in ({**others, "merged": made}).items()
                if one is not None
                for kind, chosen in (("referenced", made.referenced), ("structure only", listed))
            },
            "ece": calibration_error(stated, right, weight),
            "coverage": coverage(first, made.right, weight),
            "auroc": auroc(none[made.absent], none[~made.absent]),
            "reliability": reliability(stated, right, weight),
        }


def agreement(run: mc.Run, embedded: Embedded) -> Iterator[dict[str, Any]]:
    """Yield for each set of spectra how often they are said to disagree: right ones, and with each of them swapped."""
    for subset in subsets(list(embedded.spectra)):
        queries = queries_of(embedded, subset, "test", most=1)
        if len(subset) < 2 or len(queries) < 30:
            continue
        vectors = {name: part.float() for name, part in queries.vectors(embedded).items()}
        tau, beta = run.manifest.tau, run.manifest.beta[len(subset)]
        logits = beta * torch.stack([part @ embedded.candidates.T / tau[name] for name, part in vectors.items()]).sum(0)
        answered = logits.argmax(dim=1).numpy() == queries.molecule
        said = _said(run, vectors)
        swapped = [_said(run, {**vectors, name: vectors[name].roll(SWAP, 0)}) for name in subset]
        yield {
            "subset": list(subset),
            "queries": len(queries),
            "said of right queries": float(np.mean(said > 0)),
            "said of right answers": float(np.mean(said[answered] > 0)) if answered.any() else None,
            "said of swapped ones": float(np.mean([part > 0 for part in swapped])),
            "factor of swapped ones": float(np.mean([1 - part for part in swapped])),
        }


def _said(run: mc.Run, vectors: dict[str, torch.Tensor]) -> NDArray[np.float64]:
    """Return what the warning takes of each query's probability; 0 where there is none."""
    count = len(next(iter(vectors.values())))
    found = (
        disagreements({name: part[i] for name, part in vectors.items()}, run.manifest.agreement) for i in range(count)
    )
    return np.array([1 - min((warning.confidence_factor for warning in one), default=1.0) for one in found])


def advice(run: mc.Run, embedded: Embedded, most: int = 150) -> Iterator[dict[str, Any]]:
    """Yield for each first spectrum what the advised second one finds, beside one drawn at random.

    Queries of molecules with all spectra but MS/MS, which few have; those that the first spectrum decides are left out.
    """
    channels = Channels.read(run.path)
    names = tuple(name for name in embedded.spectra if not embedded.with_mass & {name} and name != "msms")
    queries = queries_of(embedded, names, "test", most=1)
    if channels is None or len(names) < 3 or len(queries) == 0:
        return
    tau, beta = run.manifest.tau, run.manifest.beta
    vectors = {name: part.float() for name, part in queries.vectors(embedded).items()}
    logits = {name: part @ embedded.candidates.float().T / tau[name] for name, part in vectors.items()}
    for first in names:
        found = []
        others = [name for name in names if name != first]
        for i, own in enumerate(queries.molecule[:most].tolist()):
            shares = (beta[1] * logits[first][i]).double().softmax(dim=0)
            if float(shares.max()) > 0.9:
                continue
            top = shares.topk(FIRST).indices
            said = prospects(
                embedded.candidates[top], shares[top].tolist(), channels,
                {name: beta[2] / tau[name] for name in others}, {first: vectors[first][i]},
            )  # fmt: skip
            after = {name: _after(beta[2] * (logits[first][i] + logits[name][i]), own) for name in others}
            found.append((_after(logits[first][i] * beta[1], own), after, said[0]))
        yield {
            "first": first,
            "queries": len(found),
            "top1 before": float(np.mean([before[1] for before, _, _ in found])),
            "top1 advised": float(np.mean([after[best.modality][1] for _, after, best in found])),
            "top1 random": float(np.mean([[part[1] for part in after.values()] for _, after, _ in found])),
            "top1 expected": float(np.mean([best.right for _, _, best in found])),
            "entropy before": float(np.mean([before[0] for before, _, _ in found])),
            "entropy advised": float(np.mean([after[best.modality][0] for _, after, best in found])),
            "entropy random": float(np.mean([[part[0] for part in after.values()] for _, after, _ in found])),
            "advised beats another": float(
                np.mean(
                    [
                        after[best.modality][0] < part[0]
                        for _, after, best in found
                        for name, part in after.items()
                        if name != best.modality
                    ]
                )
            ),
        }


def _after(logits: torch.Tensor, own: int) -> tuple[float, bool]:
    """Return the entropy of a query's candidates in bits, and whether its own molecule comes first."""
    shares = logits.double().softmax(dim=0)
    entropy = -float((shares * shares.clamp_min(1e-300).log2()).sum())
    return entropy, int((logits >= logits[own]).sum()) == 1


def _infrared(run: mc.Run, work: Path) -> Iterator[dict[str, Any]]:
    """Yield rows of all measured infrared spectra, several of a molecule, out of fold."""
    folder, parts = _measured(work), []
    with TemporaryDirectory() as name:
        for fold in FIVE_FOLDS:
            own = Path(name) / fold.replace(":", "-")
            shutil.copytree(run.path, own)
            fitted, data = mc.load(own, device="cpu"), mc.DataSet(folder, split=fold)
            fitted.calibrate(data, references=True)
            weights = fitted.manifest.references["measured"]["ir"]
            found = embed_dataset(fitted.embedder, data)
            compared = compare(fitted.embedder, data, found, split="test", every=True)
            searches = _searches(fitted, found.embedded, compared, "ir", "measured")
            parts.append([*judged(searches, weights, "measured ir, measured references, calibrated on others")])
    for same in zip(*parts, strict=True):
        counts = np.array([row["searches"] for row in same], dtype=float)
        mean = {
            key: float(np.average([row[key] for row in same], weights=counts))
            for key in same[0]
            if isinstance(same[0][key], float)
        }
        bins = [part for row in same for part in row["reliability"]]
        whole = []
        for low in np.arange(10) / 10:
            inside = [part for part in bins if low <= part[1] < low + 0.1 or (low == 0.9 and part[1] == 1.0)]
            share = sum(part[0] for part in inside)
            if share:
                whole.append([share / len(same), *(sum(p[0] * p[i] for p in inside) / share for i in (1, 2))])
        mean["ece"] = sum(share * abs(said - true) for share, said, true in whole)
        yield {**same[0], **mean, "searches": int(counts.sum()), "reliability": whole}


def _searches(
    run: mc.Run, whole: Embedded, compared: Mapping[str, Compared], name: str, origin: Origin
) -> ReferenceSearches | None:
    """Search with the test queries of a modality among all molecules, with all their measurements as references."""
    background, tau, beta = Background.read(run.path), run.manifest.tau, run.manifest.beta
    return reference_searches(whole, compared, background, tau, beta, (name,), origin, split="test", every=True, seed=1)


def _measured(work: Path) -> Path:
    """Return the data set of all files of `nist-ir`, imported where it is not there yet."""
    index = DATA / "nist-ir" / "index.csv"
    if not index.exists():
        raise MissingData(f"it needs {index.name!r}, which is not in {str(index.parent)!r}")
    folder = work / "nist-all"
    if not folder.exists():
        table = work / "nist-all.csv"
        with index.open(newline="") as file:
            rows = [(row["smiles"], str(index.parent / "jdx" / row["file"])) for row in csv.DictReader(file)]
        with table.open("w", newline="") as file:
            csv.writer(file).writerows([("smiles", "ir"), *rows])
        mc.import_files([], folder, table=table, columns=[("ir", "ir")])
        table.unlink()
    return folder


def _weight(made: ReferenceAnswers) -> NDArray[np.float64]:
    kinds = {"referenced": made.referenced, "structure only": ~made.referenced & ~made.absent, "absent": made.absent}
    weight = np.zeros(len(made.rows))
    for name, chosen in kinds.items():
        weight[chosen] = KINDS[name] / max(1, chosen.sum())
    return weight / weight.sum()


if __name__ == "__main__":
    main()
