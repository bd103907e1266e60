"""Does clean-up help? Measured gas-phase IR, with artefacts of a real day added, and with steps that take them away.

Usage: python -m benchmarks.clean_up DATA [RUN] [--queries N]

DATA is a folder of JCAMP-DX files with ``index.csv`` of columns ``file`` and ``smiles``. The artefacts are drawn once
for each spectrum: bands of carbon dioxide and of water vapour, a sloped and bent baseline, white noise. The candidates
are all molecules of DATA. Writes ``benchmarks/results/clean_up.json`` and prints its table.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import molchord as mc
from molchord.api import Measurement, SampleError
from molchord.chem import molecule
from molchord.clean_up import cleaning_of
from molchord.errors import MolchordError, QueryError
from molchord.text_table import aligned

__all__ = ["main", "with_artefacts"]

RESULT = Path(__file__).parent / "results" / "clean_up.json"
ARMS: Mapping[str, tuple[bool, str]] = {
    "as measured": (False, ""),
    "as measured, baseline": (False, "baseline"),
    "artefacts": (True, ""),
    "artefacts, baseline": (True, "baseline"),
    "artefacts, co2": (True, "co2"),
    "artefacts, baseline, co2": (True, "baseline,co2"),
    "artefacts, co2, baseline, smooth": (True, "co2,baseline,smooth"),
    "artefacts, co2, water, baseline, smooth": (True, "co2,water,baseline,smooth"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Rank every query in every arm and write what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clean_up", description=__doc__)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("run", nargs="?", default="pretrained", metavar="RUN")
    parser.add_argument("--queries", type=int, default=300, metavar="N", help="the first N by file name (default 300)")
    arguments = parser.parse_args(argv)
    run = mc.load(arguments.run, device="cpu")
    modality = run.modalities["ir"]
    spectra, smiles = _spectra(run, arguments.data)
    vectors = run.embed(run.candidate, list(smiles.values()))
    places = {key: place for place, key in enumerate(smiles)}
    chosen = spectra[: arguments.queries]
    rows = []
    for arm, (artefacts, steps) in ARMS.items():
        queries = []
        for key, measurement in chosen:
            asked = with_artefacts(measurement, zlib.crc32(key.encode())) if artefacts else measurement
            cleaned = modality.clean(asked, cleaning_of(steps, modality, "ir"))
            queries.append(cleaned)
        scores = run.embed("ir", queries) @ vectors.T
        own = scores[np.arange(len(chosen)), [places[key] for key, _ in chosen]]
        found = 1 + np.count_nonzero(scores > own[:, None], axis=1)
        rows.append(
            {"arm": arm, "steps": steps, "median_rank": float(np.median(found))}
            | {f"top_{k}": float(np.mean(found <= k)) for k in (1, 5, 25)}
        )
    whole = {"run": run.id[:12], "queries": len(chosen), "candidates": len(smiles), "rows": rows}
    RESULT.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    header = ["arm", "median rank", "Top-1 %", "Top-5 %", "Top-25 %"]
    shown = [
        [row["arm"], f"{row['median_rank']:.0f}", *(f"{100 * row[f'top_{k}']:.1f}" for k in (1, 5, 25))] for row in rows
    ]
    print("\n".join(aligned([header, *shown])))


def with_artefacts(measurement: Measurement, seed: int) -> Measurement:
    """Return a curve with carbon dioxide, water vapour, a baseline and noise, each relative to its height."""
    rng = np.random.default_rng(seed)
    x = np.asarray(measurement.arrays["wavenumber"], dtype=np.float64)
    y = np.asarray(measurement.arrays["absorbance"], dtype=np.float64)
    height = float(np.ptp(y))
    part = (x - x[0]) / (x[-1] - x[0])
    added = rng.uniform(0.1, 0.4) * (_band(x, 2338, 12) + _band(x, 2362, 10))
    lines = [*rng.uniform(1400, 1850, 40), *rng.uniform(3600, 3900, 40)]
    added += rng.uniform(0.03, 0.12) * sum(rng.uniform(0.2, 1.0) * _band(x, place, 3) for place in lines)
    added += rng.uniform(-0.4, 0.4) * part + rng.uniform(0.0, 0.3) * np.sin(np.pi * part)
    added += rng.normal(0.0, 0.01, len(x))
    arrays = {**measurement.arrays, "absorbance": (y + height * added).astype(np.float32)}
    return dataclasses.replace(measurement, arrays=arrays)


def _band(x: NDArray[np.float64], place: float, width: float) -> NDArray[np.float64]:
    return 1 / (1 + ((x - place) / width) ** 2)


def _spectra(run: mc.Run, data: Path) -> tuple[list[tuple[str, Measurement]], dict[str, str]]:
    """Return one usable spectrum of each molecule by key14, and the SMILES of all that can be embedded."""
    spectra: list[tuple[str, Measurement]] = []
    smiles: dict[str, str] = {}
    with (data / "index.csv").open(encoding="utf-8", newline="") as file:
        rows = [{name.lower(): value for name, value in row.items()} for row in csv.DictReader(file)]
    for row in rows:
        path = next((place for place in (data / row["file"], data / "jdx" / row["file"]) if place.is_file()), None)
        try:
            found = molecule(row["smiles"])
            if path is None or found.key14 in smiles:
                continue
            measurement = run.measurements("ir", path)[0]
            run.modalities["ir"].transform(measurement, None)
        except (MolchordError, SampleError, QueryError):
            continue
        smiles[found.key14] = found.smiles
        spectra.append((found.key14, measurement))
    return spectra, smiles


if __name__ == "__main__":
    main()
