"""HTML of the page: each answer has an address, and each page is whole without a script but for what a button does.

A page is made of parts (`data-part`); after a change, `static/page.js` asks for the same address again and puts in
those parts that became others. So all markup is made here, by the templates, and none by the script.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any, final
from urllib.parse import urlencode

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from markupsafe import Markup

from molchord.chem import substructures
from molchord.errors import MolchordError, QueryError, SampleError
from molchord.library.hits import none_before
from molchord.look.structures import structure_svgs
from molchord.look.templates import environment
from molchord.look.words import titled
from molchord.page.card import card_html
from molchord.page.desk import Desk
from molchord.page.jobs import Job
from molchord.page.models import (
    AnswerView,
    CleaningStepView,
    HitView,
    JobView,
    SampleView,
    SpectrumView,
    WhySpectrumView,
    WhyView,
)

__all__ = ["PATTERNS", "having", "pages"]

PATTERNS = (
    ("carbonyl", "[CX3]=[OX1]"),
    ("carboxylic acid", "[CX3](=O)[OX2H1]"),
    ("ester", "[CX3](=O)[OX2][#6]"),
    ("amide", "[CX3](=O)[NX3]"),
    ("alcohol", "[CX4][OX2H]"),
    ("phenol", "c[OX2H]"),
    ("ether", "[OD2]([#6])[#6]"),
    ("amine", "[NX3;!$(N[C,S]=[O,S,N])]"),
    ("nitrile", "C#N"),
    ("nitro", "[$([NX3](=O)=O),$([NX3+](=O)[O-])]"),
    ("aromatic ring", "a1aaaaa1"),
    ("C=C", "[CX3]=[CX3]"),
    ("C#C", "[CX2]#[CX2]"),
    ("halogen", "[F,Cl,Br,I]"),
)
"""Substructures that the filter offers by name, as SMARTS."""

_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"
"""A report has its style within; its script, which sorts tables, is not needed to read it."""

_REASONS = 100
"""Explanations that are kept."""


def pages(desk: Desk) -> APIRouter:
    """Return the routes of all pages; the folder `static` is to be served under `/static` beside them."""
    router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)
    shown = _Pages(desk)
    router.get("/")(shown.start)
    router.get("/samples/{id}")(shown.sample)
    router.get("/table")(shown.table)
    router.get("/model")(shown.model)
    router.get("/report")(shown.report)
    router.get("/look/{name}")(_look)
    return router


def having(hits: Sequence[HitView], pattern: str) -> list[HitView]:
    """Return the hits that have a substructure, all of them for a blank one.

    Args:
        hits: Of an answer.
        pattern: SMARTS, or the name of one of `PATTERNS`.

    Raises:
        SampleError: It is neither.
    """
    pattern = pattern.strip()
    smarts = dict(PATTERNS).get(pattern.lower(), pattern)
    return [hit for hit in hits if not smarts or substructures(hit.smiles, [smarts], hit.key14)[0]]


@final
class _Pages:
    """The pages of a desk."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.templates = environment("molchord.page", "templates")
        self._reasons: dict[Any, Job] = {}

    def start(self) -> Response:
        """Go to the first sample, or say how to begin."""
        samples = self.desk.samples()
        if samples:
            return RedirectResponse(f"/samples/{samples[0].id}", status_code=303)
        return self._render("work.html.j2", view="samples", samples=samples, sample=None)

    def sample(self, id: str, hit: int | None = None, has: str = "", pin: str = "") -> Response:
        """Show one sample: its spectra, the question, the candidates, and why `hit` is one of them."""
        jobs = self._jobs()
        samples = self.desk.samples()
        sample = next((one for one in samples if one.id == id), None)
        if sample is None:
            return self._missing("This case has no such sample; it may have been removed.")
        answer = self._answer(id)
        hits, wrong = _filtered(answer, has)
        pins = [key for key in pin.split(",") if key][:2]
        compared = [one for one in (answer.hits if answer else ()) if one.key14 in pins]
        why, error, asked = self._why(sample, answer, hit)
        return self._render(
            "work.html.j2",
            view="samples",
            jobs=[*jobs, *asked],
            samples=samples,
            sample=sample,
            spectra=self._spectra(id),
            answer=answer,
            hits=hits,
            has=has,
            has_error=wrong,
            patterns=PATTERNS,
            pins=pins,
            compared=compared,
            pictures=_pictures(tuple(one.smiles for one in (answer.hits if answer else ()))),
            opened=hit,
            why=why,
            why_error=error,
            drawn=_drawn,
            step_text=_step_text,
            odds=lambda value: f"{math.exp(min(value, 20.0)):.3g}",
            address=_address(id, {"has": has, "pin": ",".join(pins)}),
            here=f"/samples/{id}",
        )

    def table(self) -> Response:
        """Show all samples, and what can be exported."""
        jobs = self._jobs()
        return self._render("table.html.j2", view="table", jobs=jobs, samples=self.desk.samples())

    def model(self) -> Response:
        """Show the card of the model."""
        return self._render("model.html.j2", view="model", card=card_html)

    def report(self) -> Response:
        """Show the report of all answers, to be read or printed as PDF."""
        try:
            found = self.desk.export("report")
        except QueryError as error:
            return self._missing(f"{str(error)[:1].upper()}{str(error)[1:]}.")
        return Response(found.content, media_type="text/html", headers={"content-security-policy": _REPORT_POLICY})

    def _answer(self, id: str) -> AnswerView | None:
        try:
            return self.desk.answer(id)
        except QueryError:  # there is none yet, or the model is not loaded: the sample says so
            return None

    def _spectra(self, id: str) -> list[SpectrumView]:
        try:
            return self.desk.spectra(id)
        except QueryError:  # the model, which knows the techniques, is not loaded yet
            return []

    def _why(
        self, sample: SampleView, answer: AnswerView | None, rank: int | None
    ) -> tuple[WhyView | None, str | None, list[JobView]]:
        """Return the explanation of a hit, why there is none, or the job that finds it; the first call asks for it."""
        if rank is None or answer is None:
            return None, None, []
        place = (
            sample.id,
            rank,
            sample.model_dump_json(include={"files", "asked", "clean"}),
            tuple(h.key14 for h in answer.hits),
        )
        try:
            job = self._reasons.get(place)
            if job is None or job.future.cancelled():
                while len(self._reasons) >= _REASONS:
                    del self._reasons[next(iter(self._reasons))]
                job = self._reasons[place] = self.desk.why(sample.id, rank)
            seen = job.view()
            return (job.future.result(), None, []) if job.future.done() else (None, None, [seen])
        except MolchordError as error:
            return None, str(error), []

    def _jobs(self) -> list[JobView]:
        """Return what the model does now and next; asked for before all that a page shows of it.

        A job that ends while a page is made is still on it, and its end makes the page look again.
        """
        ids = [self.desk.jobs.current(kind) for kind in ("load", "candidates", "search", "why")]
        return [self.desk.jobs.find(id).view() for id in ids if id is not None]

    def _render(
        self, template: str, *, view: str, status: int = 200, jobs: Sequence[JobView] = (), **context: Any
    ) -> HTMLResponse:
        followed = {job.id: job for job in (*self._jobs(), *jobs)}
        case = self.desk.view(context.get("samples"))
        titles = {chip.modality: chip.title for chip in case.run.spectra}
        shared = {
            "case": case,
            "view": view,
            "jobs": list(followed.values()),
            "here": "/",
            "titles": titles,
            "none_before": none_before,
            "titled": lambda text: titled(text, titles),
        }
        return HTMLResponse(self.templates.get_template(template).render(shared | context), status_code=status)

    def _missing(self, text: str) -> HTMLResponse:
        return self._render("missing.html.j2", view="", status=404, text=text)


def _look(name: str) -> Response:
    """Send a file of the shared look."""
    kinds = {"style.css": "text/css"}
    if name not in kinds:
        return Response(status_code=404)
    return Response((files("molchord.look") / name).read_text(encoding="utf-8"), media_type=kinds[name])


def _filtered(answer: AnswerView | None, has: str) -> tuple[list[HitView], str | None]:
    """Return the hits to show, and what is wrong with the filter."""
    if answer is None:
        return [], None
    try:
        return having(answer.hits, has), None
    except SampleError as error:
        return list(answer.hits), f"Not filtered: {error.reason}."


@lru_cache(maxsize=200)
def _pictures(smiles: tuple[str, ...]) -> dict[str, Markup]:
    """Return drawings of candidates, all at one scale; markup that this package made."""
    return {one: Markup(svg) for one, svg in zip(smiles, structure_svgs(smiles), strict=True)}


def _drawn(spectrum: SpectrumView | WhySpectrumView) -> dict[str, Any]:
    """Return what `static/plot.js` draws of a spectrum."""
    shown = {"x", "y", "sticks", "descending", "axis", "scale", "unit", "raw", "peaks", "below"}
    out = spectrum.model_dump(include=shown)
    return out if isinstance(spectrum, SpectrumView) else {**out, "bands": _bands(spectrum)}


def _step_text(spectrum: SpectrumView, step: CleaningStepView) -> str:
    """Return a step of clean-up as it is taken, or as it would be."""
    taken = (text for text in spectrum.clean.split(",") if text.partition("=")[0].strip() == step.step)
    return next(taken, step.text)


def _bands(spectrum: WhySpectrumView) -> list[list[float]]:
    """Return the parts to shade: lower end, upper end, how strong from 0 to 1."""
    shown = spectrum.reasons_for[:3]
    most = max((one.similarity for one in shown), default=0.0) or 1.0
    return [[one.start, one.stop, max(0.25, one.similarity / most)] for one in shown if one.similarity > 0]


def _address(id: str, kept: Mapping[str, str]) -> Callable[..., str]:
    """Return a function that makes addresses of a sample's page, with what is set there kept."""

    def address(**more: Any) -> str:
        query = urlencode({name: value for name, value in {**kept, **more}.items() if value})
        return f"/samples/{id}" + (f"?{query}" if query else "")

    return address
