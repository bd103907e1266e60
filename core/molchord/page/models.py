"""What the page and REST answer: one set of models for JSON, for OpenAPI and for the templates.

Texts are as files and lists have them, never escaped: JSON needs no escaping, and templates escape by themselves.
`url` fields are paths on this server. No field holds a path of the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "AdviceView",
    "AnswerView",
    "AskedView",
    "CandidatesView",
    "CaseView",
    "ChipView",
    "CleaningStepView",
    "CountView",
    "CurveView",
    "DrawnView",
    "FileView",
    "GroupView",
    "HitView",
    "JobView",
    "PeakView",
    "ReadingView",
    "ReasonView",
    "RunView",
    "SampleView",
    "SpectrumView",
    "WhySpectrumView",
    "WhyView",
]

State = Literal["new", "waiting", "searching", "answered", "failed"]
Light = Literal["green", "yellow", "red", "none"]
Decision = Literal["accepted", "rejected"]


class View(BaseModel):
    """Base of all: frozen, and without fields that it does not declare."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class AdviceView(View):
    """One sentence of advice, and what a button beside it would do."""

    text: str = Field(description="The sentence.")
    label: str | None = Field(default=None, description="Words of the button; null: there is nothing to press.")
    patch: Mapping[str, Any] | None = Field(
        default=None, description="Body of the `PATCH /api/samples/{id}` that the button sends."
    )


class ReadingView(View):
    """How a table is read that does not say all itself."""

    x_unit: str | None = Field(default=None, description="Unit of the abscissa, such as um.")
    y_unit: str | None = Field(default=None, description="Unit of the ordinate, such as %T.")
    column: str | None = Field(default=None, description="Title or number of the ordinate's column.")
    skip: int = Field(default=0, ge=0, description="Lines at the beginning that are left out.")


class FileView(View):
    """A file of a sample."""

    id: str = Field(description="Names it in this case: f1, f2, ...")
    name: str = Field(description="What it was called where it came from.")
    bytes: int = Field(description="Size.")
    modality: str | None = Field(description="What it was said, or found, to be a spectrum of; null: not known.")
    title: str = Field(description="Proper name of that; empty where it is not known.")
    entry: int | None = Field(description="Which entry of the file, from 1; null: all of it.")
    entries: int | None = Field(description="How many entries the file has; null: it has not been read.")
    reading: ReadingView = Field(description="How it is read.")
    choices: tuple[str, ...] = Field(description="Modalities that it may be said to be.")
    error: str | None = Field(description="Why it cannot be read, a sentence; null: it can.")


class AskedView(View):
    """What is known of a sample besides its spectra."""

    mass: float | None = Field(default=None, description="Exact mass in Da: given, or that of the ion.")
    mz: float | None = Field(default=None, description="m/z of an ion, as it was given.")
    adduct: str | None = Field(default=None, description="Which ion, such as [M+H]+.")
    ppm: float | None = Field(default=None, description="Half width of the mass window in ppm.")
    da: float | None = Field(default=None, description="Half width of the mass window in Da.")
    formula: str | None = Field(default=None, description="Sum formula in Hill order.")
    elements: str | None = Field(default=None, description="Elements allowed, such as C,H,N,O.")


class ChipView(View):
    """A technique that a sample has a spectrum of."""

    modality: str = Field(description="Name in the run.")
    title: str = Field(description="Proper name.")


class HitView(View):
    """A candidate that was found."""

    rank: int = Field(description="From 1.")
    key14: str = Field(description="First block of the InChIKey.")
    name: str = Field(description="What the list calls it; may be empty.")
    smiles: str = Field(description="Canonical SMILES.")
    formula: str = Field(description="Hill formula.")
    mass: float = Field(description="Monoisotopic mass in Da.")
    deviation_ppm: float | None = Field(description="Of its mass from the one asked for; null: none was asked for.")
    probability: float | None = Field(description="Calibrated; null: not calibrated for such a query.")
    svg: str = Field(description="URL of its drawing.")
    warnings: tuple[str, ...] = Field(description="What is said of this candidate alone, a sentence each.")
    columns: Mapping[str, str] = Field(description="The other columns of its list.")
    merged: tuple[str, ...] = Field(description="Rows of the list that are the same molecule.")
    reference: str | None = Field(description="What of it was compared; null: references were not searched.")
    cosines: Mapping[str, float] = Field(description="Agreement of each spectrum with the structure, -1 to 1.")
    similarities: Mapping[str, float] = Field(description="Likeness to its best reference, by modality.")
    decision: Decision | None = Field(description="What was decided of it.")


class SampleView(View):
    """A row of the list of samples."""

    id: str = Field(description="Names it in this case and in URLs: s1, s2, ...")
    name: str = Field(description="What it is called.")
    files: tuple[FileView, ...] = Field(description="Its files.")
    chips: tuple[ChipView, ...] = Field(description="The techniques it has spectra of.")
    asked: AskedView = Field(description="What is known of it.")
    clean: Mapping[str, str] = Field(description="Steps of clean-up by modality, as a person writes them.")
    state: State = Field(
        description="new: not read; waiting: read, and not searched as it is now; failed: see `error`."
    )
    light: Light = Field(
        description="green: a likely answer; yellow: look at it; red: none of these, or failed; none: not answered."
    )
    best: HitView | None = Field(description="The first candidate of its last answer.")
    probability: float | None = Field(description="Of `best`.")
    none_of_these: float | None = Field(description="Probability that no candidate is the molecule.")
    decision: Decision | None = Field(description="What was decided of the sample.")
    decided_key14: str | None = Field(description="Which candidate was accepted.")
    comment: str = Field(description="What was noted.")
    error: str | None = Field(description="Why there is no answer, a sentence.")
    job: str | None = Field(description="The job that reads or searches it now.")


class CurveView(View):
    """A curve, downsampled to what a screen shows; a height of null was not measured."""

    x: tuple[float, ...] = Field(description="Ascending places.")
    y: tuple[float | None, ...] = Field(description="Heights, the largest 1.")


class PeakView(View):
    """A peak that was picked."""

    x: float = Field(description="Place.")
    y: float = Field(description="Height.")
    label: str = Field(description="The place as it is written beside the peak.")


class CleaningStepView(View):
    """A step of clean-up that a technique has."""

    step: str = Field(description="Its name.")
    text: str = Field(description="The step as a person writes it; settings without a default in capitals.")
    fields: tuple[str, ...] = Field(description="Its settings in order.")
    on: bool = Field(description="Whether it is asked for.")


class DrawnView(View):
    """What is drawn of a spectrum."""

    modality: str = Field(description="Name in the run.")
    title: str = Field(description="Proper name of the technique.")
    axis: str = Field(description="Title of the axis of places, with its unit.")
    scale: str = Field(description="Title of the axis of heights.")
    x: tuple[float, ...] = Field(description="Ascending places; empty: it cannot be drawn.")
    y: tuple[float | None, ...] = Field(description="Heights, the largest 1.")
    sticks: bool = Field(description="One line for each place, in place of a curve.")
    descending: bool = Field(description="Drawn from the largest place to the smallest.")


class SpectrumView(DrawnView):
    """One spectrum of a sample, as it was read, before and after clean-up."""

    file: str = Field(description="Id of its file.")
    unit: str = Field(description="Unit of the places.")
    raw: CurveView | None = Field(description="Before clean-up; null: it was not cleaned up.")
    peaks: tuple[PeakView, ...] = Field(description="The highest peaks, the highest first.")
    read: str = Field(description="What was read, a sentence.")
    understood: Mapping[str, str] = Field(description="How the file was read, by subject.")
    metadata: Mapping[str, str] = Field(description="What the file says of the measurement.")
    warnings: tuple[AdviceView, ...] = Field(description="What makes its answer uncertain, and what helps.")
    steps: tuple[CleaningStepView, ...] = Field(description="The clean-up that the technique has.")
    clean: str = Field(description="The steps asked for, as a person writes them.")


class GroupView(View):
    """A functional group that the unknown may have."""

    name: str = Field(description="Which.")
    probability: float | None = Field(description="Calibrated; null: not calibrated for such a query.")
    share: float = Field(description="The same number whether calibrated or not.")
    base: float | None = Field(description="How frequent it is at all.")


class AnswerView(View):
    """The answer to one sample."""

    sample: str = Field(description="Id of the sample.")
    current: bool = Field(description="Whether it is of the sample, the question and the candidates as they are now.")
    hits: tuple[HitView, ...] = Field(description="The first candidates, best first.")
    none_of_these: float | None = Field(description="Probability that no candidate is the molecule.")
    none_first: bool = Field(description="Whether 'none of these' is more probable than every candidate.")
    candidates: int = Field(description="How many candidates passed the filters.")
    summary: tuple[str, ...] = Field(description="Sentences about the answer as a whole.")
    advice: tuple[AdviceView, ...] = Field(description="What makes it uncertain, and what helps.")
    groups: tuple[GroupView, ...] = Field(description="Functional groups, the most probable first.")
    read: tuple[str, ...] = Field(description="What was read, a sentence per measurement.")


class ReasonView(View):
    """What one part of a spectrum says for or against a hit."""

    name: str = Field(description="The part, such as 1650-1750 cm^-1.")
    start: float = Field(description="Lower end.")
    stop: float = Field(description="Upper end.")
    unit: str = Field(description="Unit of both.")
    similarity: float = Field(description="What the hit's agreement loses without it; negative: it speaks against.")
    odds: float | None = Field(description="Logarithm of the factor by which its odds against the others fall.")
    peak: float | None = Field(description="Place of the highest peak in it.")
    notes: tuple[str, ...] = Field(description="What it may come from if the hit is right.")


class WhySpectrumView(DrawnView):
    """One technique of an explanation."""

    agreement: float = Field(description="Cosine of the hit with the spectrum.")
    below: CurveView | None = Field(description="A reference of the candidate to draw mirrored; null: there is none.")
    below_is: str = Field(description="What is below: measured reference or computed curve; empty where nothing is.")
    reasons_for: tuple[ReasonView, ...] = Field(description="Parts that say most for the hit: those to shade.")
    reasons_against: tuple[ReasonView, ...] = Field(description="Parts that say most against it.")


class WhyView(View):
    """Why a hit was found."""

    sample: str = Field(description="Id of the sample.")
    hit: HitView = Field(description="The hit.")
    others: tuple[int, ...] = Field(description="Ranks of the hits that it is held against.")
    spectra: tuple[WhySpectrumView, ...] = Field(description="Each technique of the query.")
    unexplained: tuple[str, ...] = Field(description="Titles of techniques that cannot leave parts out.")
    advice: tuple[AdviceView, ...] = Field(description="As in the answer.")


class CountView(View):
    """How many candidates a question leaves, counted as it is typed."""

    left: int = Field(description="Candidates that pass the filters.")
    of: int = Field(description="All of them.")
    unseen: int = Field(description="Of those left, how many are of elements or sizes that the run hardly met.")
    error: str | None = Field(description="Why the question cannot be asked, a sentence.")


class CandidatesView(View):
    """The candidates of the case."""

    name: str = Field(description="What they are called: a shipped list, a file or 'pasted'.")
    state: Literal["loading", "embedding", "ready", "failed"] = Field(description="Whether they can be searched.")
    count: int | None = Field(description="How many there are; null: not known yet.")
    unseen: int | None = Field(description="How many are of elements or sizes that the run hardly met.")
    merged: int | None = Field(description="Rows of the list that are the same molecule as another one.")
    skipped: int | None = Field(description="Rows that could not be read.")
    lists: tuple[str, ...] = Field(description="Lists that come with molchord.")
    references: str | None = Field(description="What the references are called; null: there are none.")
    error: str | None = Field(description="Why they cannot be searched, a sentence.")
    job: str | None = Field(description="The job that embeds them now.")


class RunView(View):
    """A model."""

    name: str = Field(description="What it is called.")
    identity: str = Field(description="Digest of graph and weights; empty until it is loaded.")
    current: bool = Field(description="Whether it is that of the case.")
    state: Literal["loading", "ready", "failed"] = Field(description="Whether it can be used.")
    spectra: tuple[ChipView, ...] = Field(description="The techniques that it takes.")
    card: str = Field(description="Its card, Markdown; empty where it has none.")
    error: str | None = Field(description="Why it cannot be used, a sentence.")


class JobView(View):
    """Something that is queued for the model."""

    id: str = Field(description="Names it: j1, j2, ...")
    kind: Literal["search", "why", "candidates", "load"] = Field(description="What it does.")
    state: Literal["queued", "running", "done", "failed", "cancelled"] = Field(description="How far it is.")
    done: int = Field(description="Samples done.")
    total: int = Field(description="Samples in all.")
    samples: tuple[str, ...] = Field(description="Ids of its samples.")
    message: str = Field(description="What it does now.")
    error: str | None = Field(description="Why it failed, a sentence.")


class CaseView(View):
    """The case as a whole."""

    name: str = Field(description="What it is called.")
    molchord: str = Field(description="Version of molchord.")
    samples: int = Field(description="How many samples.")
    answered: int = Field(description="How many are answered as they are now.")
    failed: int = Field(description="How many cannot be answered.")
    decided: int = Field(description="How many were accepted or rejected.")
    run: RunView = Field(description="Its model.")
    candidates: CandidatesView = Field(description="Its candidates.")
    asked: AskedView = Field(description="What is known of all samples that say nothing else.")
    fusion: str = Field(description="How similarities are joined.")
    hits: int = Field(description="Hits shown per sample.")
    differences: tuple[str, ...] = Field(
        description="What is no longer as it was when the case was saved: a file, the run or the list."
    )
    adducts: tuple[str, ...] = Field(description="Ions that can be chosen.")
    limits: Mapping[str, int] = Field(description="Upload limits: bytes_per_file, bytes_per_upload, files_per_upload.")
