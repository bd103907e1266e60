"""One table in full: every figure, differences, split audit, and what it was made of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.cells import (
    DEFAULT_FUSION,
    METRICS,
    folded,
    interval,
    markdown,
    number_range,
    quoted,
    subset_name,
    value,
)

__all__ = ["table_text"]

READ = "[How to read it](../RESULTS.md#how-to-read-it). Written by `python -m benchmarks.report`, never by hand.\n"


def table_text(result: Mapping[str, Any]) -> str:
    """Return the file of one table."""
    parts = [f"# {result['title']}\n", f"{result['text']}\n", READ]
    if result["figure"] is not None:
        parts.append(f"![{result['title']}](../plots/{result['table']}.svg)\n")
    for mode, pool in dict.fromkeys((row["mode"], row["pool"]) for row in result["rows"] if row["model"]):
        parts.append(_pivot(result, mode, pool))
    parts += [_share_of_error(result), _differences(result), _systems(result), *_audits(result)]
    notes = [f"- {what}: {note}" for what, told in result["notes"].items() for note in told]
    parts += ["\n".join(["Left out:", "", *notes, ""])] if notes else []
    return "\n".join([*(part for part in parts if part), _every_figure(result), _made_on(result)])


# --- parts of a table ------------------------------------------------------------------------------------------------


def _pivot(result: Mapping[str, Any], mode: str, pool: str) -> str:
    """Return Top-1 by subset, one line for each test and system; `_every_figure` has the other metrics."""
    tests = {row["test"] for row in result["rows"] if row["model"] and (row["mode"], row["pool"]) == (mode, pool)}
    rows = [
        row
        for row in result["rows"]
        if (row["pool"] == pool and row["test"] in tests)
        and (row["mode"] in (mode, "") and row["fusion"] in (DEFAULT_FUSION, ""))
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
    return f"{title}\n\n{markdown(['test', 'pool size', 'system', *map(subset_name, subsets)], table)}"


def _share_of_error(result: Mapping[str, Any]) -> str:
    """Say what part of the reference's Top-1 error is left, the better reference of each row counting."""
    first = result["systems"][0]["name"]
    references = {system["name"] for system in result["systems"] if system["name"].startswith("reference")}
    best: dict[tuple[Any, ...], float] = {}
    own: dict[tuple[Any, ...], float] = {}
    for row in result["rows"]:
        key = (row["test"], row["mode"], row["pool"], tuple(row["subset"]))
        if row["fusion"] == DEFAULT_FUSION and row["system"] == first:
            own[key] = row["top1"][0]
    for row in result["rows"]:
        key = (row["test"], row["mode"], row["pool"], tuple(row["subset"]))
        if row["model"] and row["system"] in references and key in own:  # any of its fusions, whichever serves it best
            best[key] = max(best.get(key, 0.0), row["top1"][0])
    lines = [
        [
            key[0],
            f"`{key[2]}`",
            subset_name(key[3]),
            f"{100 * best[key]:.1f}",
            f"{100 * own[key]:.1f}",
            _ratio(own[key], best[key]),
        ]
        for key in best
        if key[1] == "blind"
    ]
    header = ["test", "pool", "query", "best reference", first, "share of the reference's error"]
    return f"Against the better reference, Top-1 in %:\n\n{markdown(header, lines)}" if lines else ""


def _ratio(own: float, reference: float) -> str:
    return f"{(1 - own) / (1 - reference):.2f}" if reference < 1 else "-"


def _differences(result: Mapping[str, Any]) -> str:
    lines = [
        [row["system"], row["test"], f"`{row['pool']}`", subset_name(row["subset"]), interval(row["top1"], signed=True)]
        for row in result["differences"]
        if row["fusion"] == DEFAULT_FUSION
    ]
    if not lines:
        return ""
    first = result["systems"][0]["name"]
    header = ["system", "test", "pool", "query", f"Top-1 minus that of {first}"]
    return folded(f"Differences from {first} in points, paired bootstrap over molecules", markdown(header, lines))


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
                number_range([run["molecules"]["molecules"] for run in runs], "{:,.0f}"),
                ", ".join(str(value) if name == "modality" else f"{name} {value}" for name, value in made.items()),
                f"{system['parameters'] / 1e6:.2f} M",
                ", ".join(dict.fromkeys(str(run["seed"]) for run in runs)),
                number_range([run["epochs"] for run in runs], "{:.0f}"),
                number_range([run["seconds"] for run in runs], "{:.0f}"),
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
    return markdown(header, lines)


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
    header = ["test", "pool", "query", "system", "mode", "fusion", "queries", "left out", "outside", *METRICS.values()]
    lines = []
    for row in result["rows"]:
        start = [row["test"], f"`{row['pool']}` {row['pool_size']:,.0f}", subset_name(row["subset"]), row["system"]]
        counts = [str(row["queries"]), str(row["left_out"]), str(row["unreachable"])]
        figures = [interval(row["top1"]), *(value(row[name][0], name) for name in [*METRICS][1:])]
        lines.append([*start, row["mode"] or "-", row["fusion"] or "-", *counts, *figures])
    return folded("Every figure", markdown(header, lines))


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
        f"`{str(settings['commit'])[:12]}`, trained at {quoted(commits)}; {machine['processor']}, {cores}{gpu}, torch "
        f"{machine['torch']}. Data: {data}. Graphs and runs: `../results/{result['table']}.json`.\n"
    )


def _top1(row: Mapping[str, Any]) -> str:
    seeds = row["top1_by_seed"]
    spread = f"; seeds {number_range([100 * value for value in seeds], '{:.1f}')}" if len(seeds) > 1 else ""
    return interval(row["top1"]) + spread
