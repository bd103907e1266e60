"""How well functional groups are told, with the molecule among the candidates and without.

Usage: python -m benchmarks.groups RUN DATA [DATA ...] [--more LIBRARY]

Test molecules of each DATA are searched for among its molecules, and among these and those of LIBRARY, as stored and
made like measured ones. What was fitted of the run decides, as `Run.groups` has it; nothing is fitted here. Writes
``benchmarks/results/groups.json``.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import molchord as mc
from benchmarks.accuracy.__main__ import write
from benchmarks.accuracy.perturb import LIKE_MEASURED
from benchmarks.accuracy.runner import hardware
from benchmarks.accuracy.sources import ROOT
from molchord.absence import Background, first_hit_features
from molchord.evaluate.embedded import Embedded, queries_of
from molchord.evaluate.embedding import embed_dataset
from molchord.evaluate.properties import embedded_molecules, first_others
from molchord.properties import AskedProperty, PropertyFit, Vote, read_properties, vote
from molchord.run_folder import code_version
from molchord.vocabulary import DEFAULT_PROPERTY

__all__ = ["figures", "main"]

RESULT = ROOT / "benchmarks" / "results" / "groups.json"
SUBSETS = (
    ("ir",), ("raman",), ("ir", "raman"), ("msms",), ("carbon",), ("carbon", "proton"),
    ("ir", "raman", "carbon", "proton"),
)  # fmt: skip
BINS = 10
_NO_SPLIT = 9


def main(argv: Sequence[str] | None = None) -> None:
    """Measure a run and write what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.groups", description=__doc__)
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("data", type=Path, nargs="+", metavar="DATA")
    parser.add_argument("--more", type=Path, metavar="LIBRARY", help="candidates to search among as well")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    run = mc.load(arguments.run, device="cpu")
    asked = AskedProperty(DEFAULT_PROPERTY)
    fit = read_properties(run.path)[asked.name]
    rows = []
    conditions = (("as stored", None), ("like measured", LIKE_MEASURED.reading(run.graph)))
    for data, (queries, perturb) in itertools.product(arguments.data, conditions):
        embedded = embed_dataset(run.embedder, mc.DataSet(data), perturb=perturb).embedded
        pools = [embedded, *([] if arguments.more is None else [_more(embedded, mc.Library(arguments.more))])]
        for row in (row for pool in pools for row in _judged(run, pool, asked, fit)):
            rows.append({"data": data.name, "queries": queries, **row})
            print({key: round(value, 4) if isinstance(value, float) else value for key, value in rows[-1].items()})
    write(RESULT, {"run": run.id[:12], "settings": code_version(), "hardware": hardware(), "rows": rows})


def figures(said: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, float]:
    """Return micro F1 at a half, macro F1 over the names that occur, and the expected calibration error.

    Args:
        said: (q, n) probabilities.
        truth: (q, n) 1 or 0.

    Example:
        >>> figures(np.array([[0.9, 0.2]]), np.array([[1.0, 0.0]]))
        {'micro_f1': 1.0, 'macro_f1': 1.0, 'exact': 1.0, 'ece': 0.15}
    """
    yes, true = said > 0.5, truth > 0.5
    both, either = (yes & true).sum(axis=0), yes.sum(axis=0) + true.sum(axis=0)
    occurs = true.any(axis=0)
    bins = np.minimum((BINS * said).astype(int), BINS - 1)
    apart = [abs((said - truth)[bins == place].sum()) for place in range(BINS)]
    return {
        "micro_f1": float(2 * both.sum() / either.sum()),
        "macro_f1": float((2 * both[occurs] / either[occurs]).mean()),
        "exact": float((yes == true).all(axis=1).mean()),
        "ece": float(sum(apart) / said.size),
    }


def _more(embedded: Embedded, library: mc.Library) -> Embedded:
    """Return the data with the molecules of a library as candidates too, of no split."""
    own = set(embedded.key14)
    every = library.molecules(range(len(library)))
    rows = [row for row, molecule in enumerate(every) if molecule.key14 not in own]
    added = [every[row] for row in rows]
    return dataclasses.replace(
        embedded,
        key14=[*embedded.key14, *(molecule.key14 for molecule in added)],
        smiles=[*embedded.smiles, *(molecule.smiles for molecule in added)],
        formula=[*embedded.formula, *(molecule.formula for molecule in added)],
        exact_mass=np.append(embedded.exact_mass, [molecule.exact_mass for molecule in added]),
        split=np.append(embedded.split, np.full(len(added), _NO_SPLIT)),
        trained=np.append(embedded.trained, np.zeros(len(added), dtype=np.bool_)),
        candidates=torch.cat([embedded.candidates.cpu(), library.vectors(rows)]),
        present=np.append(embedded.present, np.ones(len(added), dtype=np.bool_)),
    )


def _judged(run: mc.Run, embedded: Embedded, asked: AskedProperty, fit: PropertyFit) -> Iterator[dict[str, Any]]:
    """Yield the figures of each set of spectra, with the molecule among the candidates and without."""
    manifest, base, pool = run.manifest, np.array(fit.base), np.flatnonzero(embedded.present)
    values = asked.values(embedded_molecules(embedded, np.arange(len(embedded))))
    for subset in SUBSETS:
        name = " + ".join(subset)
        if not set(subset) <= set(embedded.spectra) or name not in fit.votes:
            continue
        queries = queries_of(embedded, subset, "test", most=1)
        if not len(queries):
            continue
        vectors, beta = queries.vectors(embedded), manifest.beta[len(subset)]
        for listed in (True, False):
            own = queries.molecule
            found, odds = first_others(embedded, vectors, own, pool, manifest.tau, beta, listed=listed)
            none = _none(run, embedded, vectors, found[:, 0], odds, len(pool) - (not listed), name)
            first = vote(odds, values[found], base, Vote())
            unlisted = vote(odds, values[found], base, fit.votes[name])
            said = (1 - none)[:, None] * first + none[:, None] * unlisted
            row = {"subset": list(subset), "listed": listed, "molecules": len(own), "pool": len(pool)}
            yield {**row, "none": float(none.mean()), **figures(said, values[own])}
        always = np.repeat(base[None], len(own), axis=0)
        yield {"subset": list(subset), "listed": None, "molecules": len(own), "pool": 0, **figures(always, values[own])}


def _none(
    run: mc.Run,
    embedded: Embedded,
    vectors: dict[str, torch.Tensor],
    best: NDArray[np.int64],
    odds: NDArray[np.float64],
    candidates: int,
    name: str,
) -> NDArray[np.float64]:
    """Return the probability of none of these for each query, as a search states it."""
    absence, background = run.manifest.absence.get(name), Background.read(run.path)
    if absence is None or background is None:
        return np.ones(len(best))
    tau, beta = run.manifest.tau, run.manifest.beta[len(vectors)]
    total = beta * sum(1 / tau[modality] for modality in vectors)
    fused = sum(beta / tau[modality] * rows.cpu().float() for modality, rows in vectors.items())
    shares = np.exp(odds[:, 0] - np.logaddexp.reduce(odds, axis=1))
    return np.array(
        [
            absence.probability(
                first_hit_features(
                    float(odds[query, 0]),
                    float(odds[query, 0] / total),
                    candidates,
                    float(shares[query]),
                    background.logits(torch.as_tensor(fused)[query], embedded.key14[best[query]]),
                ),
                "none",
            )
            for query in range(len(best))
        ]
    )


if __name__ == "__main__":
    main()
