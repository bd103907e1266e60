"""Write RESULTS.md, tables/ and plots/ from the JSON files alone: ``python -m benchmarks.report``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy.tables import TABLES
from benchmarks.cells import DEFAULT_FUSION, METRICS, interval, markdown, number_range, subset_name, value
from benchmarks.full_table import table_text

__all__ = ["main", "page_text", "read", "section"]

HERE = Path(__file__).resolve().parent
LEAST = 0.01
"""Baselines whose Top-1 stays below this are not on the page."""

INTRO = """\
# Accuracy

How often the right structure is found, for each set of training data and test. This page holds one compact table for
each benchmark, measured spectra first; every figure, all metrics, paired differences, split audits and training times
are in the full tables it links to. It is written from the JSON files in `results/` by `python -m benchmarks.report`,
never by hand; `python -m benchmarks.accuracy NAME` measures one table, `make benchmark-accuracy MINUTES=60` all that
fit into an hour.

## How to read it

**Queries.** One query is the spectra of one held-out molecule. Top-1 is the share of queries in % whose molecule is
ranked first, Top-k the share within the first k; ties count against the model. Brackets hold the 95 % interval of
1,000 bootstrap resamples over molecules. Where several seeds were trained, the figure of a molecule is the mean over
them. The full tables add the range of the seeds, and differences from the first system; one with a single seed
carries no spread over seeds.

**Candidates.** *Blind* queries, the default, meet candidates that carry a structure only, made from the SMILES; in
*library* mode candidates carry reference spectra too. A pool has one entry per molecule (first block of the
InChIKey), and its size is given behind its name: `all` is every structure of the data set, `unseen:20000` the test
molecules and 20,000 structures that no model was trained on, `isomers` those of the query's formula, `mass:10ppm`
those of its mass (for these two the size is the median). The pool `test`, the test molecules alone, is the easiest
one and only in the full tables.

**Splits.** Training and test molecules are separated by a hash of the molecule, the same for every source, unless a
table says otherwise. Figures of five folds are pooled out of fold. The similarities of a query's spectra are combined
by `gm-exp`, the geometric mean of exp((cos - 1) / tau).

**Computed spectra.** `clean`: Lorentzian lines of half width 5 cm^-1 on 500-4000 cm^-1, 1,750 points. `realistic`:
half width 8 cm^-1, one frequency scale in 0.98-1.02 per query, a shift of up to 2 points per spectrum, 1 % noise.

**Systems.** Trained models are bold; *with mass* marks those that use the query's mass. Of the baselines, *mass
alone* ranks by the query's exact mass with 5 ppm of Gaussian error, ties broken at random; *candidates only* is the
model trained without spectra; *nearest training spectrum* ranks by similarity to the molecule of that spectrum, which
in the pool `all` comes first itself; *peak coincidence* compares peak positions with those of the candidates'
reference spectra, which on computed data, where IR and Raman lines share their positions, cannot fail. A baseline
that a test does not change is given once; chance, one over the pool's size, and baselines below 1 % are only in the
full tables.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, the full tables and the pictures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description="Write RESULTS.md and tables/.")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the JSON files")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of RESULTS.md, tables/ and plots/")
    arguments = parser.parse_args(argv)
    results = read(arguments.results)
    (arguments.out / "tables").mkdir(parents=True, exist_ok=True)
    (arguments.out / "RESULTS.md").write_text(page_text(results), encoding="utf-8")
    for name, result in results.items():
        (arguments.out / "tables" / f"{name}.md").write_text(table_text(result), encoding="utf-8")
    drawn = [result for result in results.values() if result["figure"] is not None]
    if drawn:
        from benchmarks.plots import draw  # matplotlib is imported only where something is drawn

        for result in drawn:
            draw(result, arguments.out / "plots" / f"{result['table']}.svg")
    return 0


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the tables that have been measured, in their order."""
    paths = {name: folder / f"{name}.json" for name in TABLES}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()}


def page_text(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page: tables of measured queries, then those of computed ones, then published figures."""
    published = json.loads((HERE / "published.json").read_text(encoding="utf-8"))
    parts = [INTRO]
    for heading, measured in (("Measured spectra", True), ("Computed spectra", False)):
        parts.append(f"## {heading}\n")
        for name, table in TABLES.items():
            if table.measured == measured and name in results:
                parts.append(section(results[name], table.headline, published))
            elif table.measured == measured:
                parts.append(f"### {table.title}\n\nNot measured yet: `python -m benchmarks.accuracy {name}`.\n")
    return "\n".join([*parts, _published(published, results)])


def section(
    result: Mapping[str, Any],
    headline: Sequence[tuple[str, str]] = (),
    published: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return what the page says about one table.

    Args:
        result: The table as measured.
        headline: Pairs of test and pool to show; empty: all pools but `test`, unless there is no other.
        published: Published figures; those beside this table are named under it.
    """
    rows = [row for row in result["rows"] if row["fusion"] in (DEFAULT_FUSION, "")]
    shown = headline or _main_pools(rows)
    groups = {
        pair: [row for row in rows if (row["test"], row["pool"]) == pair and _belongs(row, rows)] for pair in shown
    }
    parts = [f"### {result['title']}\n", f"{result['text']}\n"]
    if result["figure"] is not None:
        parts.append(f"![{result['title']}](plots/{result['table']}.svg)\n")
    parts += [f"{_asked(groups)}\n", _pivot(groups)]
    beside = [entry for entry in published if result["table"] in {b["table"] for b in entry.get("beside", ())}]
    told = "; ".join(f"{e['system']} ({e['data']}; {e['mode']}, pool {e['pool']}) {e['figure']}" for e in beside)
    parts += [f"Published: {told}.\n"] if told else []
    return "\n".join([*parts, f"Every figure: [tables/{result['table']}.md](tables/{result['table']}.md)\n"])


# --- parts of a section ----------------------------------------------------------------------------------------------

Groups = Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]
"""Rows by test and pool."""


def _main_pools(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    pairs = list(dict.fromkeys((row["test"], row["pool"]) for row in rows))
    return [pair for pair in pairs if pair[1] != "test"] or pairs


def _belongs(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether a row belongs on the page: a model's, or that of a baseline that finds anything.

    Of mass alone, the row with ties broken at random stays: it is the stronger one.
    """
    if row["model"]:
        return True
    same = [other for other in rows if all(other[name] == row[name] for name in ("test", "pool", "system"))]
    finds = any((other["top1"][0] or 0) >= LEAST for other in same)
    return finds and row["system"] not in ("mass alone", "random (expected)")


def _asked(groups: Groups) -> str:
    """Say what was asked, above the pivot."""
    rows = [row for group in groups.values() for row in group]
    models = [row for row in rows if row["model"]]
    metrics = "Top-1 in %" if len({tuple(row["subset"]) for row in rows}) > 1 else "In %"
    modes = " and ".join(dict.fromkeys(row["mode"] for row in models))
    text = f"{metrics}, {modes} queries of {number_range([row['molecules'] for row in models], '{:,}')} molecules"
    labels = [_label(pair, group) for pair, group in groups.items()]
    return f"{text}, test {labels[0]}:" if len(labels) == 1 else f"{text}:"


def _label(pair: tuple[str, str], rows: Sequence[Mapping[str, Any]]) -> str:
    test, pool = pair
    return f"{test}; `{pool}` {number_range([row['pool_size'] for row in rows], '{:,.0f}')}"


def _pivot(groups: Groups) -> str:
    """Return one line for each test, pool and system, models first.

    Columns are the subsets' Top-1; where there is one subset alone, its Top-1, Top-5 and Top-10. What is asked is not
    repeated from line to line, and left out where it is the same for all.
    """
    subsets = list(dict.fromkeys(tuple(row["subset"]) for group in groups.values() for row in group))
    lines: list[list[str]] = []
    seen: set[tuple[str, ...]] = set()
    for pair, group in groups.items():
        label = _label(pair, group)
        for system in dict.fromkeys(row["system"] for row in sorted(group, key=lambda row: not row["model"])):
            by_subset = {tuple(row["subset"]): row for row in group if row["system"] == system}
            some = next(iter(by_subset.values()))
            cells = [interval(by_subset[subset]["top1"]) if subset in by_subset else "" for subset in subsets]
            if len(subsets) == 1:
                cells += [value(some[metric][0], metric) for metric in ("top5", "top10")]
            if not some["model"]:
                if (pair[1], system, *cells) in seen:
                    continue  # a baseline that the test's condition does not change
                seen.add((pair[1], system, *cells))
            else:
                system = f"**{system}**" + (" (with mass)" if some["with_mass"] else "")
            lines.append([label, system, *cells])
            label = ""
    header = ["test; pool", "system", *map(subset_name, subsets)]
    if len(subsets) == 1:
        header = [*header[:2], f"{header[2]}, Top-1", "Top-5", "Top-10"]
    start = int(len(groups) == 1)
    return markdown(header[start:], [line[start:] for line in lines])


# --- published figures -----------------------------------------------------------------------------------------------


def _published(entries: Sequence[Mapping[str, Any]], results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return published figures with our nearest ones; pools and data differ, as the columns say."""
    lines = []
    for entry in entries:
        ours = [_beside(results, wanted) for wanted in entry.get("beside", [])]
        told = "; ".join(text for text in ours if text) or "-"
        lines.append([entry["system"], entry["data"], entry["pool"], entry["mode"], entry["figure"], told])
    header = ["system", "data and query", "pool", "mode", "published", "nearest figure here"]
    text = "As their authors give them, on their own data and pools: compare with care."
    return f"## Published figures\n\n{text}\n\n{markdown(header, lines)}"


def _beside(results: Mapping[str, Mapping[str, Any]], wanted: Mapping[str, Any]) -> str:
    """Return our figure in words, empty where the table has not been measured."""
    result = results.get(wanted["table"])
    names = ("test", "pool", "subset", "mode")
    for row in () if result is None else result["rows"]:
        if row["model"] and row["fusion"] == DEFAULT_FUSION and all(row[name] == wanted[name] for name in names):
            told = ", ".join(f"{METRICS[name]} {value(row[name][0], name)} %" for name in wanted["metrics"])
            return f"{told} ({row['system']}; {row['test']}, pool `{row['pool']}` of {row['pool_size']:,.0f})"
    return ""


if __name__ == "__main__":
    raise SystemExit(main())
