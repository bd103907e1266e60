"""What speaks for a hit: each part of a spectrum is left out once, and the hit's similarity without it is looked at.

The query is embedded again as if the part had not been measured, which a modality that `Explains` knows how to say to
its encoder. What the hit loses by that is what the part says for it; what it loses beside the other first hits is what
the part says for it *against them*.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from molchord.api import (
    Annotates,
    Explains,
    Measurement,
    Modality,
    Molecule,
    SampleError,
    Trace,
    Traces,
    Window,
)
from molchord.data.reading import Given
from molchord.data.store import DataSet
from molchord.embedder import EMBEDDED_AT_ONCE, Embedder
from molchord.errors import QueryError, check_whole
from molchord.explain.peaks import highest_within, peaks_of
from molchord.library.hits import Hit
from molchord.query import query_of
from molchord.retrieval.scores import pooled
from molchord.run_folder import RunManifest

__all__ = ["Explanation", "Reason", "explain", "stored_spectra", "trace_of"]

OTHERS = 4
"""First hits that a hit is held against."""


@final
@dataclass(frozen=True, kw_only=True)
class Reason:
    """What one part of a spectrum says of a hit.

    Attributes:
        modality: Of the spectrum.
        window: The part.
        similarity: By how much the hit's cosine with the spectrum falls where the part is not measured; negative: the
            part speaks against the hit.
        odds: Natural logarithm of the factor by which the odds of the hit against the other first hits fall; None where
            there is no other hit.
        peak: Place of the highest peak in the part; None: there is none, or the modality cannot be drawn.
        notes: What the part may come from, if the hit is right, the best first.
    """

    modality: str
    window: Window
    similarity: float
    odds: float | None
    peak: float | None = None
    notes: tuple[str, ...] = ()


@final
@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a hit was found.

    Attributes:
        hit: The hit.
        others: The other first hits that it is held against.
        similarity: Cosine of the hit with each spectrum.
        reasons: All parts of each spectrum that was looked at, by ascending place.
        traces: What each spectrum looks like; of several of one modality, the first.
        below: A spectrum of the hit's molecule for each modality, where one was given or found.
        unexplained: Spectra whose modality cannot leave parts out.
    """

    hit: Hit
    others: tuple[Hit, ...]
    similarity: Mapping[str, float]
    reasons: Mapping[str, tuple[Reason, ...]]
    traces: Mapping[str, Trace]
    below: Mapping[str, Trace]
    unexplained: tuple[str, ...] = ()

    def first(self, modality: str, most: int = 3, *, against: bool = False, odds: bool = False) -> list[Reason]:
        """Return the parts of a spectrum that say most for the hit, no two of them overlapping, the weightiest first.

        Args:
            modality: Of the spectrum.
            most: How many; fewer where fewer say anything.
            against: Those that say most against the hit instead.
            odds: By what they say against the other first hits, not of the hit alone.
        """
        sign = -1.0 if against else 1.0

        def worth(reason: Reason) -> float:
            return sign * ((reason.odds or 0.0) if odds else reason.similarity)

        chosen: list[Reason] = []
        for reason in sorted(self.reasons.get(modality, ()), key=worth, reverse=True):
            if len(chosen) == most or worth(reason) <= 0:
                break
            if not any(_overlap(reason.window, other.window) for other in chosen):
                chosen.append(reason)
        return chosen


def _overlap(one: Window, other: Window) -> bool:
    """Return whether two parts share more than an end; two peaks share nothing unless they are one."""
    return one.start < other.stop and other.start < one.stop


def explain(
    embedder: Embedder,
    manifest: RunManifest,
    hits: Sequence[Hit],
    spectra: Mapping[str, Given],
    *,
    hit: int = 1,
    others: int = OTHERS,
    mass: float | None = None,
    against: DataSet | str | Path | Mapping[str, Measurement] | None = None,
) -> Explanation:
    """Explain one hit of a search with these spectra; what is not said here is as `Run.explain` has it.

    Raises:
        QueryError: There is no such hit, or as `query_of` raises.
    """
    check_whole(others, "others", least=0, failed="the explanation", error=QueryError)
    chosen = next((one for one in hits if one.rank == hit), None)
    if chosen is None:
        ranks = f"1 to {len(hits)}" if hits else "none"
        raise QueryError(f"hit {hit!r} cannot be explained, as there is no such hit; the ranks found are {ranks}")
    first = [chosen, *[one for one in hits if one.rank != hit][:others]]
    query = query_of(embedder, spectra, mass)
    vectors = torch.cat([_candidate(embedder, one) for one in first]).double()
    scalars = {} if mass is None else {"exact_mass": mass}
    masked, cosines = {}, {}
    for name, measurements in query.measurements.items():
        cosines[name] = vectors @ query.vectors[name].cpu().double()
        modality = embedder.modalities[name]
        if isinstance(modality, Explains):
            masked[name] = _Masked.of(embedder, name, modality, measurements, scalars)
            cosines[name] = vectors @ masked[name].whole
    beta = manifest.beta.get(len(query.vectors), 1.0)
    logits = sum((beta / manifest.tau.get(name, 1.0)) * value for name, value in cosines.items())
    molecule = Molecule(key14=chosen.key14, smiles=chosen.smiles, formula=chosen.formula, exact_mass=chosen.exact_mass)
    reasons, traces = {}, {}
    for name, measurements in query.measurements.items():
        trace = trace_of(embedder.modalities[name], measurements[0])
        if trace is not None:
            traces[name] = trace
        if name in masked:
            scale = beta / manifest.tau.get(name, 1.0)
            found = masked[name].reasons(vectors, cosines[name], torch.as_tensor(logits), scale)
            reasons[name] = _annotated(embedder.modalities[name], found, masked[name], molecule, trace)
    return Explanation(
        hit=chosen,
        others=tuple(first[1:]),
        similarity={name: float(value[0]) for name, value in cosines.items()},
        reasons=reasons,
        traces=traces,
        below=_below(embedder, against, chosen.key14, traces),
        unexplained=tuple(name for name in query.measurements if name not in masked),
    )


@final
@dataclass(frozen=True, kw_only=True)
class _Masked:
    """A spectrum of the query, whole and without each of w parts.

    Attributes:
        name: Of its modality.
        windows: The parts.
        owners: For each part the measurement that has it.
        whole: (d,) unit vector of all measurements together, in the form in which parts are left out.
        without: (w, d) unit vectors without each part.
    """

    name: str
    windows: Sequence[Window]
    owners: Sequence[Measurement]
    whole: Tensor
    without: Tensor

    @classmethod
    def of(
        cls,
        embedder: Embedder,
        name: str,
        modality: Explains,
        measurements: Sequence[Measurement],
        scalars: Mapping[str, float],
    ) -> _Masked:
        """Embed the measurements of a modality with each part left out of all of them."""
        wholes = [modality.without(one, ()) for one in measurements]
        owners: dict[Window, Measurement] = {}
        for one in wholes:
            for window in modality.windows(one):
                owners.setdefault(window, one)
        # Of several measurements most parts are in one only: the others stay the same object, and are embedded once.
        variants = [[modality.without(one, [window]) for one in wholes] for window in owners]
        samples = _samples(embedder.modalities[name], [*wholes, *(one for several in variants for one in several)])
        rows = _embedded(embedder, name, list(samples.values()), scalars)
        row_of = {key: row for row, key in enumerate(samples)}
        kept, without = [], []
        for window, several in zip(owners, variants, strict=True):
            own = [row_of[id(one)] for one in several if id(one) in row_of]
            if own:  # a spectrum of one peak has nothing left without it
                kept.append(window)
                without.append(pooled(rows[own]))
        return cls(
            name=name,
            windows=kept,
            owners=[owners[window] for window in kept],
            whole=pooled(rows[[row_of[id(one)] for one in wholes]]),
            without=torch.stack(without) if without else rows[:0],
        )

    def reasons(self, candidates: Tensor, cosines: Tensor, logits: Tensor, scale: float) -> list[Reason]:
        """Return what each part says of the first of c candidates.

        Args:
            candidates: (c, d) their vectors, that of the hit first.
            cosines: (c,) their cosines with the whole spectrum.
            logits: (c,) logarithms of their odds, by all spectra of the query.
            scale: What a cosine of this modality counts in them.
        """
        lost = cosines - self.without @ candidates.T  # (w, c)
        kept = logits - scale * lost
        odds = _odds(logits[None]) - _odds(kept) if len(logits) > 1 else None
        return [
            Reason(
                modality=self.name,
                window=window,
                similarity=float(lost[row, 0]),
                odds=None if odds is None else float(odds[row]),
            )
            for row, window in enumerate(self.windows)
        ]


def _odds(logits: Tensor) -> Tensor:
    """Return the logarithm of the odds of the first candidate against all others together, (w,)."""
    return logits[:, 0] - logits[:, 1:].logsumexp(dim=1)


def _samples(modality: Modality, measurements: Sequence[Measurement]) -> dict[int, tuple[Measurement, Any]]:
    """Return each measurement that can be used with its sample, by its identity, the same one once."""
    samples: dict[int, tuple[Measurement, Any]] = {}
    for one in measurements:
        if id(one) not in samples:
            with suppress(SampleError):
                samples[id(one)] = one, modality.transform(one, None)
    return samples


def _embedded(
    embedder: Embedder, name: str, samples: Sequence[tuple[Measurement, Any]], scalars: Mapping[str, float]
) -> Tensor:
    """Embed samples as unit rows, (n, d)."""
    rows = []
    for start in range(0, len(samples), EMBEDDED_AT_ONCE):
        measurements, made = zip(*samples[start : start + EMBEDDED_AT_ONCE], strict=True)
        rows.append(embedder.embed_samples(name, made, embedder.scalar_table(measurements, scalars)).cpu().double())
    return torch.cat(rows)


def _candidate(embedder: Embedder, hit: Hit) -> Tensor:
    """Embed the structure of a hit, (1, d)."""
    made = embedder.measurements(embedder.candidate, [hit.smiles])
    return embedder.embed(embedder.candidate, made, {"exact_mass": hit.exact_mass})


def _annotated(
    modality: Modality, reasons: Sequence[Reason], masked: _Masked, molecule: Molecule, trace: Trace | None
) -> tuple[Reason, ...]:
    """Return the reasons with their peaks, and with what they may come from where the modality knows."""
    notes: dict[Window, tuple[str, ...]] = {}
    if isinstance(modality, Annotates):
        for owner in {id(one): one for one in masked.owners}.values():
            own = [w for w, of in zip(masked.windows, masked.owners, strict=True) if of is owner]
            try:
                said = modality.annotate(owner, own, molecule)
            except SampleError:
                continue
            notes.update({window: tuple(texts) for window, texts in zip(own, said, strict=True)})
    peaks: Sequence[int] = [] if trace is None else peaks_of(trace).tolist()
    return tuple(
        dataclasses.replace(
            reason,
            peak=None if trace is None else highest_within(trace, peaks, reason.window),
            notes=notes.get(reason.window, ()),
        )
        for reason in reasons
    )


def trace_of(modality: Modality, measurement: Measurement) -> Trace | None:
    """Return what a measurement looks like; None where its modality cannot be drawn, or it cannot."""
    if not isinstance(modality, Traces):
        return None
    try:
        return modality.trace(measurement)
    except SampleError:
        return None


def _below(
    embedder: Embedder,
    against: DataSet | str | Path | Mapping[str, Measurement] | None,
    key14: str,
    traces: Mapping[str, Trace],
) -> dict[str, Trace]:
    """Return what spectra of a molecule look like, of the modalities that are drawn, where there are any."""
    if against is None:
        return {}
    if not isinstance(against, Mapping):
        against = stored_spectra(embedder, DataSet.opened(against), key14, traces)
    found = {name: trace_of(embedder.modalities[name], one) for name, one in against.items() if name in traces}
    return {name: trace for name, trace in found.items() if trace is not None}


def stored_spectra(embedder: Embedder, data: DataSet, key14: str, names: Iterable[str]) -> dict[str, Measurement]:
    """Return the first measurement that a data set has of a molecule, of each modality, as the graph chooses them."""
    keys = data.keys()
    if key14 not in keys:
        return {}
    found = {}
    for name in names:
        node = embedder.graph.modalities[name]
        if node.data not in data.stored:
            continue
        table = data.table(node.data, node.record.stores, embedder.modalities[name])
        fits = table.select(node.where)
        own = [index for index in table.of(keys.index(key14)).tolist() if fits[index]]
        if own:
            found[name] = table.read(own[0])
    return found
