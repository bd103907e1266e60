"""Ship a trained run as the model that comes with molchord, in half precision, with its card.

Usage: python -m models.make_pretrained RUN DATA [--out FOLDER]

RUN is `recipes/vibrational.yaml` trained on DATA, the data set made from `datasets/qm9-xtb-grown`; the card says how.
Temperatures, confidence and all figures of the card are those of the very weights that are shipped.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from benchmarks.accuracy.perturb import CONDITIONS
from safetensors.torch import load_file, save_file

import molchord as mc
from molchord.evaluate.results import Evaluation
from molchord.run_folder import read_run_manifest, read_trained_on, write_run_manifest, write_trained_on

DATA = "data/qm9-xtb-grown"
SHIPPED = ("graph.yaml", "model.safetensors")
TESTS = ("clean", "realistic")
POOLS = ("test", "all", "isomers")

CARD = f"""# The model that comes with molchord

Finds a molecule's structure from its infrared spectrum, its Raman spectrum, or both. `molchord search pretrained ...`
and `mc.load("pretrained")` take it; a folder named `pretrained` in the working directory wins over it.

    molchord embed pretrained datasets/qm9_smiles.csv.gz --out runs/qm9    # 116,999 structures
    molchord search pretrained runs/qm9 --ir measured.jdx

## Trained on
{{train:,}} molecules with computed spectra (GFN2-xTB, harmonic, gas phase): `datasets/qm9-xtb-grown` (QM9 and alike:
C, H, N, O, F, at most 9 heavy atoms). Nothing else, and no measured spectrum. Licence of the data and of the weights:
CC0 1.0.

Split by a hash of the InChIKey's first block, the same rule for every molchord data set: {{val:,}} validation molecules
chose the epoch and fitted temperatures and confidence; {{test:,}} test molecules gave the figures below, nothing else.
`trained_on.txt` lists every training molecule.

## Model
{{parameters:,}} parameters, stored in half precision ({{megabytes:.1f}} MB). `graph.yaml` is the model graph: a 2-D
graph network (GINE, implicit hydrogens) and a strided convolution tower for each spectrum. Candidates enter as their
stereo-free SMILES alone. {{epochs}} epochs in {{hours:.1f}} hours, one core of a busy machine; best epoch {{best}}.

## Figures
Blind Top-k in % with the 95 % bootstrap interval over molecules, fusion `gm-exp`, ties against the model, measured with
the shipped weights. `clean`: half width 5 cm^-1. `realistic`: half width 8 cm^-1, one frequency scale in 0.98-1.02 a
query, a shift of up to 2 points a spectrum, 1 % noise. Pools: `test`, the test molecules; `all`, every molecule of the
set; `isomers`, those of the query's formula (median size).

{{figures}}
Random order gives {{random:.3f}} % (Top-1, pool `all`).

## Limits
- Computed spectra are not measured ones: those have other line shapes, shifted bands, overtones, solvent, water and
  baselines. Adapt the model by `molchord realign pretrained --data MEASURED --out RUN` with a few hundred measured
  spectra, and expect far lower figures before that.
- Beyond 9 heavy atoms, or with other elements than H, C, N, O and F, it has seen nothing.
- Stereoisomers are one candidate; conformers and tautomers were not sampled.
- The probability beside a hit is fitted on computed spectra in a pool of {{pool:,}}. It falls where the
  first hit is less like the query than nearly all validation queries are like their own molecule: an absent molecule
  shows in a short list, and among tens of thousands often does not.

## Train it again
    molchord data import datasets/qm9-xtb-grown --out {DATA}
    molchord train recipes/vibrational.yaml --data {DATA} --out runs/vibrational
    python -m models.make_pretrained runs/vibrational {DATA}
"""


def ship(run: mc.Run, dataset: mc.DataSet, out: Path) -> mc.Run:
    """Write what is needed of a run, with the weights in half precision, calibrate these, and load it."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for name in SHIPPED:
        shutil.copyfile(run.path / name, out / name)
    weights = load_file(out / "model.safetensors")
    halves = {name: t.half() if t.dtype == torch.float32 else t for name, t in weights.items()}
    save_file(halves, out / "model.safetensors")
    known = read_trained_on(run.path)
    rows = np.array([row for row, key in enumerate(dataset.keys()) if key in known])
    write_trained_on(out, dict(zip(dataset.keys(rows), dataset.smiles(rows), strict=True)))
    manifest = read_run_manifest(run.path)
    manifest.data["path"] = DATA
    write_run_manifest(out, manifest)
    shipped = mc.load(out, device="cpu")
    shipped.calibrate(dataset)
    return shipped


def card(shipped: mc.Run, run: mc.Run, dataset: mc.DataSet, found: Mapping[str, Evaluation]) -> str:
    """Return the model card."""
    lines = (run.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    seconds = [float(json.loads(line)["seconds"]) for line in lines]
    size = (shipped.path / "model.safetensors").stat().st_size
    return CARD.format(
        train=len(dataset.rows("train")), val=len(dataset.rows("val")), test=len(dataset.rows("test")),
        parameters=sum(parameter.numel() for parameter in shipped.model.parameters()), megabytes=size / 1e6,
        epochs=len(seconds), hours=sum(seconds) / 3600, best=int(shipped.manifest.best["epoch"]),
        figures=_figures(found), random=100 / len(dataset), pool=len(dataset),
    )  # fmt: skip


def _figures(found: Mapping[str, Evaluation]) -> str:
    lines = ["| queries | pool | size | spectra | Top-1 | Top-5 | Top-25 |", "|---|---|---|---|---|---|---|"]
    for test, evaluation in found.items():
        for row in evaluation.rows:
            if row.system == "model":
                figures = (row.metrics[name] for name in ("top1", "top5", "top25"))
                cells = [f"{100 * f.value:.1f} [{100 * f.low:.1f}, {100 * f.high:.1f}]" for f in figures]
                head = [test, f"`{row.pool}`", f"{row.pool_size:,.0f}", " + ".join(row.subset)]
                lines.append(f"| {' | '.join([*head, *cells])} |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    """Ship the run, measure it and write the card."""
    parser = argparse.ArgumentParser(prog="python -m models.make_pretrained", description="Ship a trained run.")
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "pretrained", metavar="FOLDER")
    arguments = parser.parse_args(argv)
    run, dataset = mc.load(arguments.run, device="cpu"), mc.DataSet(arguments.data)
    shipped = ship(run, dataset, arguments.out)
    found = {
        test: shipped.evaluate(
            dataset, pools=POOLS, modes=["blind"], fusions=["gm-exp"], perturb=CONDITIONS[test],
            baselines=False, audit=False,
        )
        for test in TESTS
    }  # fmt: skip
    (arguments.out / "README.md").write_text(card(shipped, run, dataset, found), encoding="utf-8")


if __name__ == "__main__":
    main()
