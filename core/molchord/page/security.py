"""What keeps others out: who may ask, from which page, how much and how slowly; and what a browser is told."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, final
from urllib.parse import parse_qsl, urlencode, urlsplit

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["ASKED_BY", "CONTENT_POLICY", "Guard", "Hasty", "is_loopback", "refuse_short_token"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ASKED_BY = "x-molchord"
"""Header that each request which changes something has: a form or link of another site cannot send it."""

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Nothing inline, nothing from elsewhere."""

_HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
_CHANGING = {"POST", "PUT", "PATCH", "DELETE"}
_LONGEST_BODY = 2**27 + 2**20
_JSON_BODY = 2**25
BODY_SECONDS, CHUNK_SECONDS = 300.0, 20.0
"""Seconds that a body, and a part of one, may take."""
_HEAD_SECONDS = 10.0
_SHORTEST_TOKEN = 16


def is_loopback(host: str) -> bool:
    """Return whether an address is of this machine alone.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("example.org")
        (True, True, False, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def refuse_short_token(token: str | None) -> str | None:
    """Say why a token is none; None where it is one, or none is wanted.

    Example:
        >>> refuse_short_token("secret")
        '`--token` has 6 characters; give one of at least 16 plain letters and digits that nobody guesses'
    """
    if token is None or (len(token) >= _SHORTEST_TOKEN and token.isascii() and token.isprintable()):
        return None
    return (
        f"`--token` has {len(token)} characters; give one of at least {_SHORTEST_TOKEN} plain letters and digits that "
        "nobody guesses"
    )


@final
class Guard:
    """Refuses what does not come from the page itself, and tells browsers what a page may do.

    Args:
        app: What answers.
        token: What who asks must know; None: the server is asked by this machine alone.
        loopback: Whether it listens on this machine alone; then only names of this machine are its own, which keeps
            out pages of other sites whose name was made to lead here (DNS rebinding).
    """

    def __init__(self, app: App, *, token: str | None, loopback: bool = True) -> None:
        self._app, self._loopback = app, loopback
        self._token = None if token is None else token.encode()
        self._session = secrets.token_urlsafe(32).encode()
        self._cookie = f"molchord-{secrets.token_hex(4)}"  # servers of one host, on other ports, have others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refused = self._refusal(scope, headers)
        if refused is not None:
            await _refuse(send, *refused)
            return
        if self._token is not None:
            visit = self._first_visit(scope)
            if visit is not None:
                await _redirect(send, visit, f"{self._cookie}={self._session.decode()}")
                return
            if not self._is_known(headers):
                await _refuse(send, 401, "a token is needed; open the address that `molchord open` printed")
                return
        body = _Body(receive, _LONGEST_BODY if _is_upload(headers) else _JSON_BODY)
        # What is the same for all may be kept, and is asked for again: a new version shows at once.
        kept = {"cache-control": "no-cache"} if scope["path"].startswith(("/static/", "/look/")) else {}
        await self._app(scope, body, _with_headers(send, {**_HEADERS, **kept}))

    def _refusal(self, scope: Scope, headers: MutableMapping[str, str]) -> tuple[int, str] | None:
        hosts = [value for name, value in scope["headers"] if name.lower() == b"host"]
        host = headers.get("host", "")
        name = urlsplit(f"//{host}").hostname or ""
        if len(hosts) != 1 or not name or (self._loopback and not is_loopback(name)):
            return 421, "the server is asked under a name that is not its own; open the address that it printed"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, "the request comes from another page; use the page of this server"
        away = headers.get("sec-fetch-site") in ("cross-site", "same-site")
        visits = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if away and not (visits and not scope["path"].startswith("/api/")):
            return 403, "the request comes from another page; use the page of this server"
        if scope["method"] in _CHANGING and headers.get(ASKED_BY) != "1":
            return 403, f"the request lacks the header `{ASKED_BY}: 1`, without which nothing is changed; send it"
        length = headers.get("content-length", "0")
        longest = _LONGEST_BODY if _is_upload(headers) else _JSON_BODY
        if not (length.isascii() and length.isdigit() and len(length) < 15):
            return 400, "the request states no length that is a number; send it again"
        if int(length) > longest:
            return 413, f"the request has {int(length):,} bytes, {longest:,} are allowed; send it in parts"
        return None

    def _is_known(self, headers: MutableMapping[str, str]) -> bool:
        """Return whether who asks knows the token, or has visited with it; compared in constant time."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._matches(given.strip()):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(cookie.value.encode("utf-8", "replace"), self._session)

    def _matches(self, given: str) -> bool:
        return self._token is not None and hmac.compare_digest(given.encode("utf-8", "replace"), self._token)

    def _first_visit(self, scope: Scope) -> str | None:
        """Return where to lead who visits with the right token in the address, which is to be seen no longer."""
        if scope["method"] != "GET":
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if not any(name == "token" and self._matches(value) for name, value in query):
            return None
        rest = urlencode([pair for pair in query if pair[0] != "token"])
        # One slash at the start: two would lead to another host.
        path = "/" + str(scope["path"]).lstrip("/\\")
        quoted = path if path.isascii() and path.isprintable() else "/"
        return f"{quoted}?{rest}" if rest else quoted


def _is_upload(headers: MutableMapping[str, str]) -> bool:
    return headers.get("content-type", "").startswith("multipart/form-data")


class _Body:
    """Receives a body, up to a length and within a time."""

    def __init__(self, receive: Receive, longest: int) -> None:
        self._receive, self._left = receive, longest
        self._until: float | None = None
        self._whole = False

    async def __call__(self) -> Message:
        if self._whole:
            return await self._receive()
        now = asyncio.get_running_loop().time()
        self._until = self._until or now + BODY_SECONDS
        try:
            message = await asyncio.wait_for(self._receive(), max(0.01, min(CHUNK_SECONDS, self._until - now)))
        except TimeoutError:
            return {"type": "http.disconnect"}
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            return {"type": "http.disconnect"}
        self._whole = not message.get("more_body", False)
        return message


def _with_headers(send: Send, headers: MutableMapping[str, str]) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message.get("headers", [])}
            more = [(n.encode(), v.encode()) for n, v in headers.items() if n.encode() not in given]
            message = {**message, "headers": [*message.get("headers", []), *more]}
        await send(message)

    return sending


async def _refuse(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"error": sentence}).encode()
    await _answer(send, status, [("content-type", "application/json")], body)


async def _redirect(send: Send, where: str, session: str) -> None:
    cookie = f"{session}; Path=/; HttpOnly; SameSite=Strict"
    await _answer(send, 303, [("location", where), ("set-cookie", cookie)], b"")


async def _answer(send: Send, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
    whole = [*headers, *_HEADERS.items(), ("content-length", str(len(body))), ("connection", "close")]
    raw = [(name.encode(), value.encode("latin-1")) for name, value in whole]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


class Hasty(H11Protocol):
    """HTTP as uvicorn speaks it, but for clients that take their time with a request's head: they are hung up on."""

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start to wait for a head."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Wait on where the head is not whole yet; the time runs from its first byte."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        super().connection_lost(exc)
        if self._head is not None:
            self._head.cancel()

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            if self._head is not None:
                self._head.cancel()
                self._head = None
        elif self._head is None:
            self._head = self.loop.call_later(_HEAD_SECONDS, self._hang_up)

    def _hang_up(self) -> None:
        self._head = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()
