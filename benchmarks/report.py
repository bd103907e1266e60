"""Write RESULTS.md and its pictures from the JSON files alone: ``python -m benchmarks.report``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy.tables import TABLES

__all__ = ["main", "results_text", "section"]

HERE = Path(__file__).resolve().parent
METRICS = {"top1": "Top-1", "top5": "Top-5", "top10": "Top-10", "top25": "Top-25", "mrr": "MRR", "tanimoto": "Tanimoto"}
DEFAULT_MAP = "gm-exp"

INTRO = """\
# Accuracy

Made from the JSON files in `results/` by `python -m benchmarks.report`, never by hand. One table is measured by
`python -m benchmarks.accuracy NAME`, all that fit a time by `make benchmark-accuracy MINUTES=60`.

**How to read it.** A query is one held-out molecule's spectra, a figure the share of queries whose molecule is ranked
first (Top-1) or among the first k in the pool named, one entry a molecule (first block of the InChIKey). *Blind*:
candidates carry a structure only, made from the SMILES; *library*: they carry reference spectra too. Ties count against
the model. Brackets hold the 95 % interval of 1,000 bootstrap resamples over molecules; with several seeds a molecule's
figure is the mean over them, and the range of the single seeds follows. The similarities of a query's spectra are
joined by the map `gm-exp` where nothing else is said. *With mass* marks rows that use the query's mass (exact, with
5 ppm of Gaussian error). Splits are by a hash of the molecule, the same for every source, where a table names no other
rule; figures of five folds are pooled out of fold. A difference from a system with one seed carries no spread over
seeds. `clean`: computed sticks as Lorentzian lines of half width 5 cm^-1 on 500-4000 cm^-1, 1,750 points; `realistic`:
half width 8 cm^-1, one frequency scale in 0.98-1.02 a query, a shift of up to 2 points a spectrum, 1 % noise.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page and the pictures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description="Write RESULTS.md.")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the JSON files")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of RESULTS.md and plots/")
    arguments = parser.parse_args(argv)
    results = read(arguments.results)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "RESULTS.md").write_text(results_text(results), encoding="utf-8")
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


def results_text(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page; tables that have not been measured are named as such."""
    parts = [INTRO]
    for name, table in TABLES.items():
        if name in results:
            parts.append(section(results[name]))
        else:
            parts.append(f"## {table.title}\n\nNot measured yet: `python -m benchmarks.accuracy {name}`.\n")
    return "\n".join([*parts, _published(json.loads((HERE / "published.json").read_text(encoding="utf-8")), results)])


def section(result: Mapping[str, Any]) -> str:
    """Return the section of one table."""
    parts = [f"## {result['title']}\n", f"{result['text']}\n"]
    if result["figure"] is not None:
        parts.append(f"![{result['title']}](plots/{result['table']}.svg)\n")
    for mode, pool in dict.fromkeys((row["mode"], row["pool"]) for row in result["rows"] if row["model"]):
        parts.append(_pivot(result, mode, pool))
    parts += [_share_of_error(result), _differences(result), _systems(result), *_audits(result)]
    notes = [f"- {what}: {note}" for what, told in result["notes"].items() for note in told]
    parts += ["\n".join(["Left out:", "", *notes, ""])] if notes else []
    return "\n".join([*(part for part in parts if part), _every_figure(result), _made_on(result)])


# --- parts of a section ----------------------------------------------------------------------------------------------


def _pivot(result: Mapping[str, Any], mode: str, pool: str) -> str:
    """Return Top-1 by subset, a line a test and system; the first model with all metrics is in `_every_figure`."""
    rows = [
        r for r in result["rows"] if r["pool"] == pool and r["mode"] in (mode, "") and r["map"] in (DEFAULT_MAP, "")
    ]
    subsets = list(dict.fromkeys(tuple(row["subset"]) for row in rows))
    lines: dict[tuple[str, str, str], dict[tuple[str, ...], Mapping[str, Any]]] = {}
    for row in rows:
        lines.setdefault((row["test"], f"{row['pool_size']:,.0f}", row["system"]), {})[tuple(row["subset"])] = row
    table, shown = [], set()
    for (test, size, system), by_subset in lines.items():
        cells = [_top1(by_subset[subset]) if subset in by_subset else "" for subset in subsets]
        some = next(iter(by_subset.values()))
        if not some["model"]:
            if (system, size, *cells) in shown:
                continue  # a baseline that no condition changes
            shown.add((system, size, *cells))
        named = f"**{system}**" if some["model"] else system
        table.append([test, size, named + (" (with mass)" if some["with_mass"] else ""), *cells])
    counts = sorted({row["molecules"] for row in rows if row["model"]})
    asked = "-".join(f"{n:,}" for n in dict.fromkeys((counts[0], counts[-1])))
    title = f"Top-1 in %, {mode} queries of {asked} molecules, pool `{pool}`:"
    return f"{title}\n\n{_markdown(['test', 'pool size', 'system', *map(_name, subsets)], table)}"


def _share_of_error(result: Mapping[str, Any]) -> str:
    """Say what part of the reference's Top-1 error is left, the better reference of each row counting."""
    first = result["systems"][0]["name"]
    references = {system["name"] for system in result["systems"] if system["name"].startswith("reference")}
    best: dict[tuple[Any, ...], float] = {}
    own: dict[tuple[Any, ...], float] = {}
    for row in result["rows"]:
        key = (row["test"], row["mode"], row["pool"], tuple(row["subset"]))
        if row["map"] == DEFAULT_MAP and row["system"] == first:
            own[key] = row["top1"][0]
    for row in result["rows"]:
        key = (row["test"], row["mode"], row["pool"], tuple(row["subset"]))
        if row["model"] and row["system"] in references and key in own:  # any of its maps, whichever serves it best
            best[key] = max(best.get(key, 0.0), row["top1"][0])
    lines = [
        [
            key[0],
            f"`{key[2]}`",
            _name(key[3]),
            f"{100 * best[key]:.1f}",
            f"{100 * own[key]:.1f}",
            _ratio(own[key], best[key]),
        ]
        for key in best
        if key[1] == "blind"
    ]
    header = ["test", "pool", "query", "best reference", first, "share of the reference's error"]
    return f"Against the better reference, Top-1 in %:\n\n{_markdown(header, lines)}" if lines else ""


def _ratio(own: float, reference: float) -> str:
    return f"{(1 - own) / (1 - reference):.2f}" if reference < 1 else "-"


def _differences(result: Mapping[str, Any]) -> str:
    lines = [
        [row["system"], row["test"], f"`{row['pool']}`", _name(row["subset"]), _interval(row["top1"], signed=True)]
        for row in result["differences"]
        if row["map"] == DEFAULT_MAP
    ]
    if not lines:
        return ""
    first = result["systems"][0]["name"]
    header = ["system", "test", "pool", "query", f"Top-1 minus that of {first}"]
    return _folded(f"Differences from {first} in points, paired bootstrap over molecules", _markdown(header, lines))


def _systems(result: Mapping[str, Any]) -> str:
    lines = []
    for system in result["systems"]:
        change = ", ".join(f"`{path}: {json.dumps(value)}`" for path, value in system["change"].items())
        again = "" if system["realign"] is None else f", realigned on {system['realign']['data']}"
        runs, made = system["runs"], system["candidates"]
        lines.append(
            [
                system["name"],
                f"`{system['recipe']}`" + (f" with {change}" if change else ""),
                system["data"] + again,
                _range([run["molecules"]["molecules"] for run in runs], "{:,.0f}"),
                ", ".join(str(value) if name == "modality" else f"{name} {value}" for name, value in made.items()),
                f"{system['parameters'] / 1e6:.2f} M",
                ", ".join(dict.fromkeys(str(run["seed"]) for run in runs)),
                _range([run["epochs"] for run in runs], "{:.0f}"),
                _range([run["seconds"] for run in runs], "{:.0f}"),
            ]
        )
    header = [
        "system",
        "recipe",
        "trained on",
        "molecules",
        "candidates",
        "parameters",
        "seeds",
        "epochs",
        "training, s",
    ]
    return _markdown(header, lines)


def _audits(result: Mapping[str, Any]) -> Iterable[str]:
    for test, audit in result["audits"].items():
        bins = ", ".join(f"{i / 10:.1f}: {count}" for i, count in enumerate(audit["histogram"]))
        lines = [
            f"Split audit ({test}): {audit['overlap']} molecules on both sides; {audit['tautomers']} tested molecules "
            f"with an equal canonical tautomer in training ({audit['tautomers_unchecked']} unchecked); nearest "
            f"training Tanimoto, bins of 0.1 from {bins}."
        ]
        for subset, found in audit["top1_by_nearest"].items():
            told = ", ".join(
                f"{name}: {100 * entry['top1']:.1f} % of {entry['molecules']}"
                for name, entry in found.items()
                if entry["top1"] is not None
            )
            lines.append(f"Top-1 by nearest training Tanimoto, {subset}: {told}.")
        yield "  \n".join(lines) + "\n"


def _every_figure(result: Mapping[str, Any]) -> str:
    header = ["test", "pool", "query", "system", "mode", "map", "queries", "left out", "outside", *METRICS.values()]
    lines = []
    for row in result["rows"]:
        start = [row["test"], f"`{row['pool']}` {row['pool_size']:,.0f}", _name(row["subset"]), row["system"]]
        counts = [str(row["queries"]), str(row["left_out"]), str(row["unreachable"])]
        figures = [_interval(row["top1"]), *(_value(row[name][0], name) for name in [*METRICS][1:])]
        lines.append([*start, row["mode"] or "-", row["map"] or "-", *counts, *figures])
    return _folded("Every figure", _markdown(header, lines))


def _made_on(result: Mapping[str, Any]) -> str:
    settings, machine = result["settings"], result["hardware"]
    data = "; ".join(
        f"{name}: {entry['molecules']:,} molecules ("
        + ", ".join(f"{count:,} {modality}" for modality, count in entry["measurements"].items())
        + f"), `{entry['sha256']}`"
        for name, entry in result["data"].items()
    )
    folds = f"; split by {', '.join(settings['splits'])}" if settings["splits"] else ""
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    changed = f"; every graph with {json.dumps(settings['change'])}" if settings["change"] else ""
    commits = dict.fromkeys(str(run["commit"])[:12] for system in result["systems"] for run in system["runs"])
    seeds = ", ".join(map(str, settings["seeds"]))
    cores = f"{machine['threads']} of {machine['cores']} cores"
    return (
        f"Seeds {seeds}{folds}{changed}; molchord {settings['version']}, measured at commit "
        f"`{str(settings['commit'])[:12]}`, trained at {_quoted(commits)}; {machine['processor']}, {cores}{gpu}, torch "
        f"{machine['torch']}. Data: {data}. Graphs and runs: `results/{result['table']}.json`.\n"
    )


def _published(entries: Sequence[Mapping[str, Any]], results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return published figures beside our nearest ones; pools and data differ, as the columns say."""
    lines = []
    for entry in entries:
        ours = [_beside(results, wanted) for wanted in entry.get("beside", [])]
        told = "; ".join(text for text in ours if text) or "-"
        lines.append([entry["system"], entry["data"], entry["pool"], entry["mode"], entry["figure"], told])
    header = ["system", "data and query", "pool", "mode", "published", "nearest figure here"]
    text = "As their authors give them, on their own data and pools: to be compared with care."
    return f"## Published figures\n\n{text}\n\n{_markdown(header, lines)}"


def _beside(results: Mapping[str, Mapping[str, Any]], wanted: Mapping[str, Any]) -> str:
    """Return our figure in words, empty where the table has not been measured."""
    result = results.get(wanted["table"])
    names = ("test", "pool", "subset", "mode")
    for row in () if result is None else result["rows"]:
        if row["model"] and row["map"] == DEFAULT_MAP and all(row[name] == wanted[name] for name in names):
            told = ", ".join(f"{METRICS[name]} {_value(row[name][0], name)} %" for name in wanted["metrics"])
            return f"{told} ({row['system']}; {row['test']}, pool `{row['pool']}` of {row['pool_size']:,.0f})"
    return ""


# --- text ------------------------------------------------------------------------------------------------------------


def _markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows) + "\n"


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n</details>\n"


def _name(subset: Sequence[str]) -> str:
    return " + ".join(subset)


def _top1(row: Mapping[str, Any]) -> str:
    seeds = row["top1_by_seed"]
    spread = f"; seeds {_range([100 * value for value in seeds], '{:.1f}')}" if len(seeds) > 1 else ""
    return _interval(row["top1"]) + spread


def _interval(interval: Sequence[float | None], *, signed: bool = False) -> str:
    if interval[0] is None:
        return "-"
    value, low, high = (f"{100 * float(x or 0):{'+' if signed else ''}.1f}" for x in interval)
    return f"{value} [{low}, {high}]"


def _value(value: float | None, metric: str) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if metric in ("mrr", "tanimoto") else f"{100 * value:.1f}"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _range(values: Sequence[float], form: str) -> str:
    return "-".join(dict.fromkeys(form.format(value) for value in (min(values), max(values))))


if __name__ == "__main__":
    raise SystemExit(main())
