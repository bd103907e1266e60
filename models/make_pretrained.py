"""Ship a trained run as the model that comes with molchord, in eight bits a number, with its card.

Usage: python -m models.make_pretrained RUN DATA [--out FOLDER] [--work FOLDER]

RUN is `recipes/five.yaml` trained on DATA, the data set made from `SOURCES`; the card says how. Temperatures,
confidence and all figures of the card are those of the very weights that are shipped. The measured spectra of the card
are not part of molchord; `MOLCHORD_DATA` says where they lie.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from benchmarks.accuracy.perturb import CONDITIONS, LIKE_MEASURED
from benchmarks.accuracy.plan import FIVE_FOLDS
from benchmarks.accuracy.sources import opened
from safetensors.torch import load_file

import molchord as mc
from molchord.checksums import checksums_of, write_sealed_tensors
from molchord.eight_bits import packed
from molchord.evaluate.repeats import out_of_fold
from molchord.evaluate.results import Evaluation, Row
from molchord.run_folder import read_run_manifest, read_trained_on, write_run_manifest, write_trained_on

DATA = "data/five"
SOURCES = ("massbank", "ordinary-aimnet2", "qm9-aimnet2", "ordinary-shifts")
TESTS = ("clean", "realistic", "like measured")
SUBSETS = (
    ("ir",), ("raman",), ("ir", "raman"), ("msms",), ("carbon",), ("proton",), ("carbon", "proton"),
    ("ir", "raman", "carbon", "proton"),
)  # fmt: skip
LEAST = 50  # molecules of a row; fewer say nothing

CARD = f"""# The model that comes with molchord

Finds a molecule's structure from any of five spectra: infrared, Raman, MS/MS, 13C and 1H NMR. `molchord search
pretrained ...` and `mc.load("pretrained")` take it; a folder named `pretrained` in the working directory wins over it.

    molchord embed pretrained datasets/qm9_smiles.csv.gz --out runs/qm9    # 116,999 structures
    molchord search pretrained runs/qm9 --ir measured.jdx

## Trained on
{{train:,}} molecules that chemists meet (at most 24 heavy atoms, also B, Si, P, S and halogens) and of QM9, each with
what it has: {{counts}}.
IR and Raman are computed (AIMNet2, harmonic, gas phase; `datasets/ordinary-aimnet2.md`), shifts predicted
(`datasets/ordinary-shifts.md`), MS/MS measured (MassBank, `datasets/massbank.md`). No measured IR, Raman or NMR
spectrum, and no molecule that the measured rows below ask for in IR or Raman. Licences: computed spectra, shifts and
weights CC0 1.0; MassBank's entries CC0 or CC BY, attributed in `datasets/massbank-attribution.csv`.

Split by a hash of the InChIKey's first block, the same rule for every molchord data set: {{val:,}} validation molecules
chose the epoch and fitted temperatures and confidence; {{test:,}} test molecules gave the figures below, nothing else.
`trained_on.txt` lists every training molecule.

## Model
{{parameters:,}} parameters, stored in eight bits each ({{megabytes:.1f}} MB). `graph.yaml` is the model graph: a 2-D
graph network (GINE, implicit hydrogens), a strided convolution tower for IR and for Raman, a bag of peaks and neutral
losses for MS/MS, set attention over the lines of each NMR list. Candidates enter as their stereo-free SMILES alone.
{{epochs}} epochs in {{hours:.1f}} hours on one core; best epoch {{best}}; one seed.

## Measured spectra
Blind Top-k in % with the 95 % bootstrap interval over molecules, fusion `gm-exp`, ties against the model, measured with
the shipped weights; candidates are structures alone.

{{measured}}
## Computed spectra
The same for molecules of the test split among all {{pool:,}} molecules of the set. `clean`: as the model reads computed
spectra. `realistic`: half width 8 cm^-1, one frequency scale in 0.98-1.02 a query, a shift of up to 2 points a
spectrum, 1 % noise. `like measured`: half width {LIKE_MEASURED.width:g} cm^-1, a scale in 0.99-1.01, each line moved by
{LIKE_MEASURED.stick_shift:g} cm^-1 and its intensity by a factor (standard deviations; the factor's logarithm
{LIKE_MEASURED.stick_intensity:g}), 1 % noise, shifts moved by 2 (13C) and 0.2 ppm (1H). MS/MS is measured in all three.

{{figures}}
Random order gives {{random:.3f}} % (Top-1). Rows of other molecules do not compare: few molecules have all spectra.

## Limits
- Measured spectra are not computed ones: condensed phases, solvent, overtones, water and baselines are unlike what it
  has seen. `molchord realign pretrained --data MEASURED --out RUN` adapts it with a few hundred measured spectra.
- Beyond the elements and sizes of its training molecules it has seen nothing, and a hit beyond them says so.
- Stereoisomers are one candidate; conformers and tautomers were not sampled.
- The probability beside a hit is fitted on validation queries that are like measured ones (computed, as above; MS/MS
  measured), in a pool of {{pool:,}} that holds their molecule. It is not calibrated on measured IR, Raman or NMR.

## Train it again
The sets grow; the counts above are those of this training.

    molchord data import {" ".join(f"datasets/{name}" for name in SOURCES)} --out {DATA}
    molchord train recipes/five.yaml --data {DATA} --out runs/five
    python -m models.make_pretrained runs/five {DATA}
"""


def ship(run: mc.Run, dataset: mc.DataSet, out: Path) -> mc.Run:
    """Write what is needed of a run, with the weights in eight bits, calibrate these, and load it."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    shutil.copyfile(run.path / "graph.yaml", out / "graph.yaml")
    write_sealed_tensors(out / "model.safetensors", packed(load_file(run.path / "model.safetensors")))
    known = read_trained_on(run.path)
    rows = np.array([row for row, key in enumerate(dataset.keys()) if key in known])
    write_trained_on(out, dict(zip(dataset.keys(rows), dataset.smiles(rows), strict=True)))
    manifest = read_run_manifest(run.path)
    manifest.data["path"] = DATA
    manifest.files = checksums_of(out, ("graph.yaml", "trained_on.txt"))
    write_run_manifest(out, manifest)
    shipped = mc.load(out, device="cpu")
    perturb = LIKE_MEASURED.reading(shipped.graph)
    shipped.calibrate(dataset, perturb=perturb)
    try:
        shipped.calibrate(dataset, perturb=perturb, references=True)
    except mc.MolchordError as reason:  # of a small set
        print(f"references count as they do by default: {reason}")
    return shipped


def measured(shipped: mc.Run, work: Path) -> list[tuple[str, Row]]:
    """Search with measured spectra: gas IR and Raman of all molecules there are, shifts of the test split."""
    gas = {"ir": {"origin": "measured"}}
    tests = (
        ("gas IR, NIST", "nist", FIVE_FOLDS, gas),
        (
            "the same, ordinary molecules more",
            "nist and 2,033 ordinary structures",
            FIVE_FOLDS,
            {"ir": {"origin": "measured"}},
        ),
        ("Raman of biomolecules", "raman and 2,000 ordinary structures", FIVE_FOLDS, None),
        ("shifts, nmrshiftdb", "shifts", (None,), None),
    )
    rows = []
    for name, data, folds, where in tests:
        folder = opened(data, work)
        parts = [
            shipped.evaluate(
                mc.DataSet(folder, split=fold), pools=["all"], modes=["blind"], fusions=["gm-exp"], where=where,
                baselines=False, audit=False,
            )
            for fold in folds
        ]  # fmt: skip
        found = out_of_fold(parts) if len(parts) > 1 else parts[0]
        # Beside measured infrared spectra the set has computed Raman spectra, which are not asked for here.
        rows += [
            (name, row) for row in found.rows if row.system == "model" and (where is None or row.subset == ("ir",))
        ]
    return rows


def card(
    shipped: mc.Run,
    run: mc.Run,
    dataset: mc.DataSet,
    found: Mapping[str, Evaluation],
    seen: Sequence[tuple[str, Row]],
) -> str:
    """Return the model card."""
    lines = (run.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    seconds = [float(json.loads(line)["seconds"]) for line in lines]
    size, counts = (shipped.path / "model.safetensors").stat().st_size, run.manifest.molecules
    return CARD.format(
        train=len(dataset.rows("train")), val=len(dataset.rows("val")), test=len(dataset.rows("test")),
        parameters=sum(parameter.numel() for parameter in shipped.model.parameters()), megabytes=size / 1e6,
        epochs=len(seconds), hours=sum(seconds) / 3600, best=int(shipped.manifest.best["epoch"]),
        counts=", ".join(f"{counts[name]:,} {title}" for name, title in TITLES.items() if name in counts),
        figures=_figures(_computed(found)),
        measured=_figures(seen), random=100 / len(dataset), pool=len(dataset),
    )  # fmt: skip


TITLES = {"ir": "IR", "raman": "Raman", "msms": "MS/MS", "carbon": "13C", "proton": "1H"}


def _computed(found: Mapping[str, Evaluation]) -> list[tuple[str, Row]]:
    return [(test, row) for test, one in found.items() for row in one.rows if _shown(row)]


def _shown(row: Row) -> bool:
    return row.system == "model" and row.subset in SUBSETS and row.molecules >= LEAST


def _figures(rows: Sequence[tuple[str, Row]]) -> str:
    lines = ["| queries | spectra | molecules | pool | Top-1 | Top-5 | Top-25 |", "|---|---|---|---|---|---|---|"]
    for test, row in rows:
        figures = (row.metrics[name] for name in ("top1", "top5", "top25"))
        cells = [f"{100 * f.value:.1f} [{100 * f.low:.1f}, {100 * f.high:.1f}]" for f in figures]
        spectra = " + ".join(TITLES[name] for name in row.subset)
        lines.append(f"| {' | '.join([test, spectra, f'{row.molecules:,}', f'{row.pool_size:,.0f}', *cells])} |")
    return "\n".join(lines) + "\n"


def figures(computed: Sequence[tuple[str, Row]], seen: Sequence[tuple[str, Row]]) -> str:
    """Return the rows of the card as the JSON that reports of searches take theirs from."""
    rows = [
        {
            "queries_are": test,
            "subset": list(row.subset),
            "molecules": row.molecules,
            "pool_size": row.pool_size,
            "metrics": {
                name: {"value": row.metrics[name].value, "low": row.metrics[name].low, "high": row.metrics[name].high}
                for name in ("top1", "top5", "top25")
            },
        }
        for test, row in [*seen, *((f"computed spectra, {test}", row) for test, row in computed)]
    ]
    return '{"rows": [\n' + ",\n".join(map(json.dumps, rows)) + "\n]}\n"


def main(argv: Sequence[str] | None = None) -> None:
    """Ship the run, measure it and write the card."""
    parser = argparse.ArgumentParser(prog="python -m models.make_pretrained", description="Ship a trained run.")
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "pretrained", metavar="FOLDER")
    parser.add_argument("--work", type=Path, default=Path("data/measured"), metavar="FOLDER", help="of measured sets")
    arguments = parser.parse_args(argv)
    run, dataset = mc.load(arguments.run, device="cpu"), mc.DataSet(arguments.data)
    shipped = ship(run, dataset, arguments.out)
    found = {}
    for test in TESTS:
        condition = CONDITIONS[test]
        found[test] = shipped.evaluate(
            dataset, pools=["all"], modes=["blind"], fusions=["gm-exp"], baselines=False, audit=False,
            perturb=None if condition is None else condition.reading(shipped.graph),
        )  # fmt: skip
    seen = measured(shipped, arguments.work)
    (arguments.out / "README.md").write_text(card(shipped, run, dataset, found, seen), encoding="utf-8")
    (arguments.out / "figures.json").write_text(figures(_computed(found), seen), encoding="utf-8")


if __name__ == "__main__":
    main()
