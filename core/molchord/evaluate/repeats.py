"""One set of rows from several evaluations: the folds of a cross-validation, or runs that differ by their seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from molchord.errors import DataError
from molchord.evaluate.results import Evaluation, Row, SplitAudit
from molchord.retrieval.metrics import METRICS, bootstrap

__all__ = ["out_of_fold", "over_seeds"]

Means: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64]]


def out_of_fold(folds: Sequence[Evaluation]) -> Evaluation:
    """Return the rows over all molecules, each tested in one fold; every fold an evaluation on the same data set.

    Raises:
        DataError: No evaluation, a row that one of them lacks, or a molecule that two of them tested.

    Example:
        >>> from molchord.testing import tiny_data, tiny_run
        >>> from molchord.data.store import DataSet
        >>> folds = [DataSet(tiny_data().path, split=f"fold:{i}") for i in range(5)]
        >>> options = {"pools": ["all"], "modes": ["blind"], "fusions": ["gm-exp"]}
        >>> out_of_fold([tiny_run().evaluate(fold, **options) for fold in folds]).find("ir", system="model").molecules
        16
    """
    return _joined(folds, _concatenated)


def over_seeds(seeds: Sequence[Evaluation]) -> Evaluation:
    """Return the rows whose metrics are each molecule's mean over runs that differ by their seed alone.

    Intervals are over molecules: report the spread between seeds alongside them.

    Raises:
        DataError: No evaluation, a row that one of them lacks, or rows of different molecules.

    Example:
        >>> from molchord.testing import tiny_run
        >>> found = tiny_run().evaluate(pools=["test"], modes=["blind"], fusions=["gm-exp"])
        >>> over_seeds([found, found]).find("ir", system="model").queries
        4
    """
    return _joined(seeds, _averaged)


def _joined(parts: Sequence[Evaluation], join: Callable[[Sequence[Row]], Row]) -> Evaluation:
    if not parts:
        raise DataError("evaluations cannot be joined: there is none; evaluate first")
    rows = []
    for group in _groups(parts):
        row = join(group)
        resamples, seed = (int(parts[0].settings[name]) for name in ("resamples", "seed"))
        intervals = bootstrap(row.by_molecule[1], resamples=resamples, seed=seed)
        rows.append(dataclasses.replace(row, metrics=dict(zip(METRICS, intervals, strict=True))))
    consistency = {
        name: float(np.mean([part.self_consistency[name] for part in parts if name in part.self_consistency]))
        for name in parts[0].self_consistency
    }
    notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    audits = [part.audit for part in parts if part.audit is not None]
    audit = None if not audits else audits[0] if join is _averaged else _audited(audits)
    settings = {
        name: value if all(part.settings[name] == value for part in parts) else [part.settings[name] for part in parts]
        for name, value in parts[0].settings.items()
    }
    return Evaluation(rows=tuple(rows), settings=settings, self_consistency=consistency, notes=notes, audit=audit)


def _groups(parts: Sequence[Evaluation]) -> list[list[Row]]:
    """Return the rows that report the same for different runs, in the order of the first evaluation that has them."""
    found: dict[tuple[object, ...], list[Row]] = {}
    for part in parts:
        for row in part.rows:
            found.setdefault((row.system, row.subset, row.mode, row.fusion, row.pool), []).append(row)
    for what, rows in found.items():
        if len(rows) != len(parts):
            raise DataError(
                f"evaluations cannot be joined: {len(rows)} of {len(parts)} have the row {what!r}; evaluate all alike"
            )
    return list(found.values())


def _concatenated(rows: Sequence[Row]) -> Row:
    molecules = np.concatenate([row.by_molecule[0] for row in rows])
    values = np.concatenate([row.by_molecule[1] for row in rows])
    order = np.argsort(molecules, kind="stable")
    if len(np.unique(molecules)) != len(molecules):
        raise DataError("folds cannot be joined: two of them tested the same molecule; give each fold once")
    return dataclasses.replace(
        rows[0],
        pool_size=float(np.median(np.repeat([row.pool_size for row in rows], [row.molecules for row in rows]))),
        queries=sum(row.queries for row in rows),
        molecules=len(molecules),
        left_out=sum(row.left_out for row in rows),
        unreachable=sum(row.unreachable for row in rows),
        with_mass=any(row.with_mass for row in rows),
        calibration_error=None,
        by_molecule=(molecules[order], values[order]),
    )


def _averaged(rows: Sequence[Row]) -> Row:
    molecules = rows[0].by_molecule[0]
    for row in rows:
        if not np.array_equal(row.by_molecule[0], molecules):
            raise DataError("seeds cannot be joined: their rows are of different molecules; evaluate the same split")
    errors = [row.calibration_error for row in rows if row.calibration_error is not None]
    return dataclasses.replace(
        rows[0],
        calibration_error=float(np.mean(errors)) if errors else None,
        by_molecule=(molecules, np.mean([row.by_molecule[1] for row in rows], axis=0)),
    )


def _audited(audits: Sequence[SplitAudit]) -> SplitAudit:
    counted = [audit.tautomers for audit in audits if audit.tautomers is not None]
    return SplitAudit(
        overlap=sum(audit.overlap for audit in audits),
        tautomers=sum(counted) if len(counted) == len(audits) else None,
        tautomers_unchecked=sum(audit.tautomers_unchecked for audit in audits),
        histogram=[sum(bins) for bins in zip(*(audit.histogram for audit in audits), strict=True)],
        top1_by_nearest={
            subset: _bins([audit.top1_by_nearest[subset] for audit in audits if subset in audit.top1_by_nearest])
            for subset in audits[0].top1_by_nearest
        },
        unknown=max(audit.unknown for audit in audits),
    )


def _bins(parts: Sequence[Mapping[str, tuple[int, float]]]) -> dict[str, tuple[int, float]]:
    out = {}
    for name in parts[0]:
        count = sum(part[name][0] for part in parts)
        hits = sum(part[name][0] * part[name][1] for part in parts if part[name][0])
        out[name] = (count, hits / count if count else float("nan"))
    return out
