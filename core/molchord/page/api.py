"""REST: each route a thin shell over the desk. Errors are one sentence, ``{"error": ...}``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response, StreamingResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from molchord.case.record import Question
from molchord.chem import drawing
from molchord.errors import QueryError
from molchord.page.changes import CandidatesGiven, CaseChange, FileChange, SampleChange, SearchAsked
from molchord.page.desk import LIMITS, Desk
from molchord.page.jobs import Busy, Job
from molchord.page.models import (
    AnswerView,
    CandidatesView,
    CaseView,
    CountView,
    JobView,
    RunView,
    SampleView,
    SpectrumView,
    WhyView,
)

__all__ = ["api_of", "finished"]

SampleId = Annotated[str, Path(pattern=r"^s[0-9]{1,9}$", description="Id of a sample, such as s1.")]
FileId = Annotated[str, Path(pattern=r"^f[0-9]{1,9}$", description="Id of a file, such as f1.")]
JobId = Annotated[str, Path(pattern=r"^j[0-9]{1,9}$", description="Id of a job, such as j1.")]
Rank = Annotated[int, Path(ge=1, le=100, description="Rank of a candidate, from 1.")]

_PATIENCE = 120.0
"""Seconds for which an answer is waited for."""

_GIVEN = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": CandidatesGiven.model_json_schema()},
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}
            },
        },
    }
}
"""How candidates are given."""

_FILES = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            }
        },
    }
}
"""How spectra are uploaded."""

_SVG_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


async def finished(job: Job, patience: float = _PATIENCE) -> Any:
    """Return the result of a job, when it is there.

    Raises:
        QueryError: It was cancelled.
        Busy: It takes too long; it continues.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    while not job.future.done():
        if loop.time() > until:
            raise Busy(f"job {job.id!r} takes longer than {patience:.0f} s; ask again, as it continues")
        await asyncio.sleep(0.02)
    if job.future.cancelled():
        raise QueryError(f"job {job.id!r} was cancelled; ask again")
    return job.future.result()


def api_of(desk: Desk) -> APIRouter:
    """Return the routes of a desk."""
    api = APIRouter(prefix="/api", responses={422: {"description": "One sentence, as `error`."}})
    _add_case(api, desk)
    _add_samples(api, desk)
    _add_answers(api, desk)
    _add_jobs(api, desk)
    return api


def _add_case(api: APIRouter, desk: Desk) -> None:
    @api.get("/case", tags=["case"])
    def case() -> CaseView:
        """The case as a whole."""
        return desk.view()

    @api.patch("/case", tags=["case"])
    def change_case(change: CaseChange) -> CaseView:
        """Change the case's name, what is known of all samples, or how they are searched for."""
        return desk.change(change)

    @api.get("/runs", tags=["case"])
    def runs() -> list[RunView]:
        """The model of the case."""
        return desk.runs()

    @api.get("/candidates", tags=["candidates"])
    def candidates() -> CandidatesView:
        """The candidates of the case."""
        return desk.candidates()

    @api.get("/candidates/count", tags=["candidates"])
    def count(asked: Annotated[Question, Query()]) -> CountView:
        """How many candidates a question leaves, to be asked as it is typed."""
        return desk.count(asked)

    @api.post("/candidates", tags=["candidates"], status_code=202, openapi_extra=_GIVEN)
    async def choose_candidates(request: Request) -> JobView:
        """Take a list that comes with molchord, pasted text or an uploaded list; it is embedded in the background."""
        given, content = await _candidates_given(request)
        return await run_in_threadpool(desk.choose_candidates, given, content)


async def _candidates_given(request: Request) -> tuple[CandidatesGiven, bytes | None]:
    """Return the candidates of a request, which is JSON or a form with a file."""
    content = None
    try:
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            async with request.form(max_files=1, max_fields=3, max_part_size=2**24) as form:
                values = {name: part for name, part in form.items() if isinstance(part, str) and part}
                file = form.get("file")
                if file is not None and not isinstance(file, str):
                    content = await _content(file)
                    values["name"] = (file.filename or "candidates")[-300:]
            return CandidatesGiven.model_validate(values), content
        return CandidatesGiven.model_validate_json(await request.body()), None
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error


def _add_samples(api: APIRouter, desk: Desk) -> None:
    @api.get("/samples", tags=["samples"])
    def samples() -> list[SampleView]:
        """All samples."""
        return desk.samples()

    @api.post("/samples", tags=["samples"], status_code=201, openapi_extra=_FILES)
    async def add_samples(request: Request) -> list[SampleView]:
        """Upload spectra as ``multipart/form-data``, each a part ``files``; they are grouped by their names."""
        files: dict[str, bytes] = {}
        async with request.form(max_files=LIMITS["files_per_upload"], max_fields=10, max_part_size=2**16) as form:
            for number, part in enumerate(form.getlist("files"), start=1):
                if isinstance(part, str):
                    raise QueryError("a part `files` holds text; send files, each with a name")
                name = part.filename or f"file {number}"
                files[name if name not in files else f"{name} ({number})"] = await _content(part)
        return await run_in_threadpool(desk.add, files)

    @api.get("/samples/{id}", tags=["samples"])
    def sample(id: SampleId) -> SampleView:
        """One sample."""
        return desk.sample(id)

    @api.patch("/samples/{id}", tags=["samples"])
    def change_sample(id: SampleId, change: SampleChange) -> SampleView:
        """Change what is known of a sample, its clean-up, its name, what was decided or noted."""
        return desk.change_sample(id, change)

    @api.delete("/samples/{id}", tags=["samples"], status_code=204)
    def remove_sample(id: SampleId) -> None:
        """Remove a sample with its files."""
        desk.remove([id])

    @api.patch("/files/{id}", tags=["samples"])
    def change_file(id: FileId, change: FileChange) -> SampleView:
        """Say what a file is or how it is read, or move it to another sample."""
        return desk.change_file(id, change)

    @api.delete("/files/{id}", tags=["samples"], status_code=204)
    def remove_file(id: FileId) -> None:
        """Remove a file."""
        desk.remove([id])

    @api.get("/samples/{id}/spectrum", tags=["samples"])
    def spectra(id: SampleId) -> list[SpectrumView]:
        """The spectra of a sample, before and after clean-up."""
        return desk.spectra(id)


def _add_answers(api: APIRouter, desk: Desk) -> None:
    @api.get("/samples/{id}/hits", tags=["answers"])
    async def hits(id: SampleId) -> AnswerView:
        """The answer to a sample; it is searched for first where it is not answered as it is now."""
        job = await run_in_threadpool(desk.answered, id)
        if job is not None:
            await finished(job)
        return await run_in_threadpool(desk.answer, id)

    @api.get("/samples/{id}/answer", tags=["answers"])
    def answer(id: SampleId) -> AnswerView:
        """The last answer to a sample, whether or not it is of the sample as it is now."""
        return desk.answer(id)

    @api.get("/samples/{id}/hits/{rank}.svg", tags=["answers"], response_class=Response)
    def drawn(id: SampleId, rank: Rank) -> Response:
        """The structure of a candidate as a drawing."""
        svg = drawing(desk.hit(id, rank).smiles)
        headers = {"content-security-policy": _SVG_POLICY}
        return Response(svg, media_type="image/svg+xml", headers=headers)

    @api.get("/samples/{id}/why", tags=["answers"])
    async def why(id: SampleId, hit: Annotated[int, Query(ge=1, le=100)] = 1) -> WhyView:
        """Which parts of the spectra speak for a candidate."""
        job = await run_in_threadpool(desk.why, id, hit)
        found: WhyView = await finished(job)
        return found

    @api.get("/export/{form}", tags=["answers"], response_class=Response)
    def export(form: str) -> Response:
        """The answers as csv, sdf, json or report, or the whole case."""
        found = desk.export(form[:20])
        headers = {
            "content-disposition": f'attachment; filename="{found.name}"',
            "content-security-policy": "default-src 'none'; sandbox",
        }
        return Response(found.content, media_type=found.media, headers=headers)


def _add_jobs(api: APIRouter, desk: Desk) -> None:
    @api.post("/search", tags=["jobs"], status_code=202)
    def search(asked: SearchAsked) -> JobView:
        """Search for samples: those that are not answered as they are now, or those that are named."""
        return desk.search(asked.samples, again=asked.again)

    @api.get("/jobs/{id}", tags=["jobs"])
    def job(id: JobId) -> JobView:
        """How far a job is."""
        return desk.jobs.find(id).view()

    @api.get("/jobs/{id}/events", tags=["jobs"], response_class=StreamingResponse)
    async def events(id: JobId, request: Request) -> StreamingResponse:
        """How far a job is, as server-sent events: a `JobView` whenever it changes, until it has ended."""
        found = desk.jobs.find(id)
        return StreamingResponse(_events(found, request), media_type="text/event-stream")

    @api.delete("/jobs/{id}", tags=["jobs"])
    def cancel(id: JobId) -> JobView:
        """Cancel a job; what is done stays."""
        return desk.jobs.cancel(id).view()


async def _events(job: Job, request: Request) -> AsyncIterator[str]:
    last, quiet = "", 0
    while not await request.is_disconnected():
        ended = job.future.done()
        text = job.view().model_dump_json()
        quiet += 1
        if text != last:
            yield f"data: {text}\n\n"
            last, quiet = text, 0
        elif quiet >= 100:
            yield ": still there\n\n"
            quiet = 0
        if ended:
            return
        await asyncio.sleep(0.1)


async def _content(file: Any) -> bytes:
    """Return an uploaded file.

    Raises:
        QueryError: It is too large.
    """
    most = LIMITS["bytes_per_file"]
    content: bytes = await file.read(most + 1)
    if len(content) > most:
        raise QueryError(f"file {(file.filename or '')[-100:]!r} has more than {most:,} bytes; upload a smaller one")
    return content
