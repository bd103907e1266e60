"""What an evaluation found: rows of metrics, printed as a table and saved as JSON and CSV."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from molchord.deprecation import renamed, renamed_attribute
from molchord.errors import DataError, OutputExistsError
from molchord.evaluate.pictures import Pictures
from molchord.files import replace_file, replace_files, write_csv
from molchord.retrieval.metrics import METRICS, Interval, paired_difference
from molchord.text_table import aligned, padded

__all__ = ["Evaluation", "Row", "SplitAudit"]

_TITLES = {"top1": "Top-1", "top5": "Top-5", "top10": "Top-10", "top25": "Top-25", "mrr": "MRR", "tanimoto": "Tanimoto"}


@final
@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        system: ``model`` or the name of a baseline.
        subset: The query's modalities.
        mode: ``blind`` or ``library``; empty for a baseline that is neither.
        fusion: The geometric mean's fusion; empty for baselines.
        pool: Name of the pool.
        pool_size: Median number of candidates per query.
        queries: Number of queries.
        molecules: Number of molecules they are of.
        left_out: Queries left out: a pool of isomers with one member, or no reference for a similarity.
        unreachable: Queries counted as misses because the true molecule is not in the pool.
        with_mass: Whether anything of the row used the query's mass.
        metrics: Every metric of `METRICS` with its interval, as fractions.
        calibration_error: Expected calibration error of the first hit's probability, before any quality warning
            lowers it, where a calibration was given.
        by_molecule: Molecules and their mean metrics, for paired comparisons; not saved.
    """

    system: str
    subset: tuple[str, ...]
    mode: str
    fusion: str
    pool: str
    pool_size: float
    queries: int
    molecules: int
    left_out: int
    unreachable: int
    with_mass: bool
    metrics: Mapping[str, Interval]
    calibration_error: float | None = None
    by_molecule: tuple[NDArray[np.int64], NDArray[np.float64]] = field(repr=False, compare=False)

    map = renamed_attribute("Row", "map", "fusion")
    figures = renamed_attribute("Row", "figures", "metrics")

    def minus(self, other: Row, *, resamples: int = 1000, seed: int = 0) -> dict[str, Interval]:
        """Return this row minus another one for every metric, with a paired bootstrap over molecules.

        Raises:
            DataError: The rows are of different molecules.
        """
        found = paired_difference(self.by_molecule, other.by_molecule, resamples=resamples, seed=seed)
        return dict(zip(METRICS, found, strict=True))


@final
@dataclass(frozen=True, kw_only=True)
class SplitAudit:
    """How far apart the tested molecules and those that the run was trained on, in whatever data set, are.

    Attributes:
        overlap: Molecules of the tested split that were trained on; must be 0.
        tautomers: Tested molecules whose canonical tautomer was trained on under another key; None if not searched for.
        tautomers_unchecked: Tested molecules left unchecked by the limit on the search.
        histogram: Tested molecules by nearest training Tanimoto, in bins of 0.1 from 0 to 1.
        top1_by_nearest: Per subset (names joined by " + "): nearest Tanimoto bin to (molecules, Top-1).
        unknown: Molecules that were trained on but of which the run's list has no structure, so that the tested ones
            are compared with them by key alone.
    """

    overlap: int
    tautomers: int | None
    tautomers_unchecked: int
    histogram: Sequence[int]
    top1_by_nearest: Mapping[str, Mapping[str, tuple[int, float]]]
    unknown: int = 0

    def text(self) -> str:
        """Return the audit as lines of text."""
        taut = (
            "not looked for" if self.tautomers is None else f"{self.tautomers} ({self.tautomers_unchecked} unchecked)"
        )
        bars = "  ".join(f"{i / 10:.1f}: {count}" for i, count in enumerate(self.histogram))
        lines = [
            f"molecules on both sides of the split: {self.overlap}",
            f"tested molecules with an equal canonical tautomer in training: {taut}",
            f"nearest training Tanimoto, bins of 0.1 from: {bars}",
        ]
        for subset, bins in self.top1_by_nearest.items():
            parts = [
                f"{name}: {100 * top1:.1f} % of {count}" if count else f"{name}: none"
                for name, (count, top1) in bins.items()
            ]
            lines.append(f"Top-1 by nearest training Tanimoto, {subset}: {', '.join(parts)}")
        if self.unknown:
            lines.append(f"training molecules of unknown structure, compared by key alone: {self.unknown}")
        return "\n".join(lines)


@final
@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All rows of an evaluation and what is needed to read them.

    Attributes:
        rows: The rows, grouped by subset.
        settings: Seed, split, number of resamples, version, commit and what the caller added (graph, geometry).
        self_consistency: Per subset of two or more spectra, mean cosine between the spectra of one query; reported and
            never multiplied into a score.
        notes: What was left out, and why.
        audit: The split audit, if it was requested.
        pictures: What the model learned, as numbers to draw, if they were requested.
    """

    rows: tuple[Row, ...]
    settings: Mapping[str, Any]
    self_consistency: Mapping[str, float]
    notes: tuple[str, ...]
    audit: SplitAudit | None = None
    pictures: Pictures | None = None

    @renamed("Evaluation.find", map="fusion")
    def find(self, *subset: str, **where: str) -> Row:
        """Return the one row of a subset with these values of system, mode, fusion or pool.

        Raises:
            DataError: No row, or several.
        """
        found = [r for r in self.rows if r.subset == subset and all(getattr(r, k) == v for k, v in where.items())]
        if len(found) != 1:
            raise DataError(f"evaluation holds {len(found)} rows of {subset!r} with {where!r}; name exactly one")
        return found[0]

    def table(self, *, markdown: bool = False) -> str:
        """Return the rows as an aligned text table, or as Markdown; percent except for MRR and Tanimoto.

        "37 of 19" are 37 queries of 19 molecules; "outside" are the misses whose true molecule is not in the pool.
        """
        header = ["query", "system", "mode", "fusion", "pool", "size", "queries", "left out", "outside", "with mass"]
        lines = [[*header, *(_TITLES[name] for name in METRICS)]]
        for row in self.rows:
            size = f"{row.pool_size:g}" if row.pool != "isomers" else f"median {row.pool_size:g}"
            queries = f"{row.queries}" if row.queries == row.molecules else f"{row.queries} of {row.molecules}"
            start = [" + ".join(row.subset), row.system, row.mode or "-", row.fusion or "-", row.pool, size, queries]
            cells = [_cell(row.metrics[name], percent=name.startswith("top")) for name in METRICS]
            start += [str(row.left_out), str(row.unreachable)]
            lines.append([*start, "yes" if row.with_mass else "no", *cells])
        if markdown:
            head, *rest = padded(lines)
            rule = ["-" * len(cell) for cell in head]
            return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *rest])
        return "\n".join(aligned(lines))

    def summary(self) -> str:
        """Return one short table per mode and pool: the first fusion, with the baselines' Top-1 next to it."""
        lines: list[str] = []
        modelled = [row for row in self.rows if row.system == "model"]
        for mode, pool in dict.fromkeys((row.mode, row.pool) for row in modelled):
            rows = [row for row in modelled if (row.mode, row.pool) == (mode, pool)]
            shown = [row for row in rows if row.fusion == rows[0].fusion]
            lines += [*self._short(mode, pool, shown), ""]
        audit = [] if self.audit is None else [f"molecules on both sides of the split: {self.audit.overlap}"]
        return "\n".join([*lines, *audit, *(f"note: {note}" for note in self.notes)])

    def _short(self, mode: str, pool: str, shown: Sequence[Row]) -> list[str]:
        beside = [row for row in self.rows if row.system != "model" and row.pool == pool and row.mode in ("", mode)]
        systems = list(dict.fromkeys(row.system for row in beside if not row.system.startswith("mass alone (")))
        top1 = {(row.system, row.subset): _short_percent(row.metrics["top1"].value) for row in beside}
        names = [("mass alone*" if name == "mass alone" else name.removesuffix(" (expected)")) for name in systems]
        table = [["query", "molecules", "Top-1 % [95 %]", "Top-5", "Top-10", "Top-25", "MRR", *names]]
        for row in shown:
            tops = [f"{100 * row.metrics[name].value:.1f}" for name in ("top5", "top10", "top25")]
            asked = f"{row.molecules}" if row.queries == row.molecules else f"{row.molecules} ({row.queries} queries)"
            start = [" + ".join(row.subset) + ("*" if row.with_mass else ""), asked]
            cells = [_cell(row.metrics["top1"], percent=True), *tops, f"{row.metrics['mrr'].value:.3f}"]
            table.append([*start, *cells, *(top1.get((system, row.subset), "-") for system in systems)])
        sizes = sorted({round(row.pool_size) for row in shown})
        size = "-".join(str(n) for n in dict.fromkeys((sizes[0], sizes[-1])))
        marked = "; * with mass" if any("*" in cell for line in table for cell in line) else ""
        head = f"{mode} queries, {shown[0].fusion}, pool {pool} of {size}; Top-1 of the baselines on the right{marked}"
        return [head, *(f"  {line}" for line in aligned(table))]

    def text(self) -> str:
        """Return the table with everything that goes with it."""
        lines = [self.table(), ""]
        lines += [f"mean cosine between the spectra of a query, {k}: {v:.3f}" for k, v in self.self_consistency.items()]
        lines += [] if self.audit is None else [self.audit.text()]
        lines += [f"note: {note}" for note in self.notes]
        lines.append("; ".join(f"{name} {value}" for name, value in self.settings.items()))
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON values; a metric that is not defined is None."""
        audit = None
        if self.audit is not None:
            audit = {f.name: getattr(self.audit, f.name) for f in fields(self.audit)}
            audit["top1_by_nearest"] = {
                subset: {name: {"molecules": count, "top1": _number(top1)} for name, (count, top1) in bins.items()}
                for subset, bins in self.audit.top1_by_nearest.items()
            }
        return {
            "settings": dict(self.settings),
            "rows": [_plain(row) for row in self.rows],
            "self_consistency": {name: _number(value) for name, value in self.self_consistency.items()},
            "audit": audit,
            "notes": list(self.notes),
            **({} if self.pictures is None else {"pictures": self.pictures.as_dict()}),
        }

    def save(self, folder: Path | str, *, force: bool = False) -> None:
        """Write ``evaluation.json`` and ``evaluation.csv`` into a folder.

        Raises:
            OutputExistsError: One of them exists and `force` is false.
        """
        folder = Path(folder)
        for name in ("evaluation.json", "evaluation.csv"):
            if (folder / name).exists() and not force:
                raise OutputExistsError(folder / name)
        content = self.as_dict()
        text = json.dumps(content, indent=1, allow_nan=False, default=str)
        flat = [_flat(row) for row in content["rows"]]
        with replace_files(folder) as new:
            replace_file(new / "evaluation.json", text + "\n")
            write_csv(new / "evaluation.csv", list(flat[0]) if flat else [], (list(row.values()) for row in flat))


def _short_percent(value: float) -> str:
    """Return a share in percent; what would round to nothing keeps two digits, as chance among thousands does.

    Example:
        >>> _short_percent(0.123), _short_percent(0.00019), _short_percent(0.0), _short_percent(math.nan)
        ('12.3', '0.019', '0.0', '-')
    """
    if math.isnan(value):
        return "-"
    return f"{100 * value:.2g}" if 0 < value < 0.0005 else f"{100 * value:.1f}"


def _cell(interval: Interval, *, percent: bool) -> str:
    if math.isnan(interval.value):
        return "-"
    factor, digits = (100.0, 1) if percent else (1.0, 3)
    value, low, high = (f"{factor * x:.{digits}f}" for x in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]"


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _plain(row: Row) -> dict[str, Any]:
    plain = {f.name: getattr(row, f.name) for f in fields(row) if f.name not in ("metrics", "by_molecule")}
    plain["metrics"] = {
        name: {"value": _number(i.value), "low": _number(i.low), "high": _number(i.high)}
        for name, i in row.metrics.items()
    }
    return plain


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat = {name: value for name, value in row.items() if name != "metrics"}
    flat["subset"] = "+".join(row["subset"])
    for name, interval in row["metrics"].items():
        flat |= {name: interval["value"], f"{name}_low": interval["low"], f"{name}_high": interval["high"]}
    return flat
