"""The application: REST, pages and what guards them; and the server that runs it."""

from __future__ import annotations

import logging
from importlib.resources import files
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from molchord.errors import MolchordError, NotInCase
from molchord.page.api import api_of
from molchord.page.desk import Desk
from molchord.page.jobs import Busy
from molchord.page.said import without_paths
from molchord.page.security import App, Guard, Hasty, is_loopback
from molchord.page.views import pages

__all__ = ["app_of", "server_of"]

_log = logging.getLogger(__name__)


def app_of(desk: Desk, *, token: str | None = None, host: str = "127.0.0.1") -> App:
    """Return the application of a desk, guarded.

    Args:
        desk: The case at work.
        token: What who asks must know; None: nothing, for a server on loopback.
        host: Address that it listens on.
    """
    app = FastAPI(
        title="molchord",
        summary="Samples, their spectra and what they are: the case that `molchord open` has open.",
        version=desk.case.record.versions.get("molchord", ""),
        openapi_url="/api/openapi.json",
        docs_url=None,  # pages of FastAPI load scripts from other hosts
        redoc_url=None,
    )
    app.include_router(api_of(desk))
    app.include_router(pages(desk))
    app.mount("/static", StaticFiles(directory=Path(str(files("molchord.page") / "static"))), name="static")
    app.add_exception_handler(MolchordError, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _unanswered)
    app.add_exception_handler(ClientDisconnect, _cut_off)
    app.add_exception_handler(Exception, _failed)
    return Guard(app, token=token, loopback=is_loopback(host))


def server_of(app: App, *, host: str = "127.0.0.1", port: int = 0) -> uvicorn.Server:
    """Return a server that is patient with work and not with clients; port 0: any that is free."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=Hasty,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=256,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=2**14,
    )
    return uvicorn.Server(config)


def _sentence(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": without_paths(text)}, status, headers)


async def _refused(_: Request, error: Any) -> JSONResponse:
    if isinstance(error, Busy):
        return _sentence(429, str(error), {"retry-after": str(error.retry_after)})
    return _sentence(404 if isinstance(error, NotInCase) else 422, str(error))


async def _malformed(_: Request, error: Any) -> JSONResponse:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first.get("loc", ()) if part != "body")
    return _sentence(422, f"`{place[:100] or 'the request'}` cannot be used ({first.get('msg', '')}); correct it")


async def _unanswered(request: Request, error: Any) -> JSONResponse:
    said = {404: "there is nothing under this address; see /api/openapi.json for what there is"}
    said[405] = f"{request.method} is not answered here; see /api/openapi.json for what is"
    return _sentence(error.status_code, said.get(error.status_code, str(error.detail)))


async def _cut_off(*_: Any) -> JSONResponse:
    return _sentence(413, "the upload is too long, too slow or was cut off; send it in parts")


async def _failed(_: Request, error: Exception) -> JSONResponse:
    _log.error("a request failed", exc_info=error)
    return _sentence(500, "the server failed at this; the terminal that runs it has the details")
