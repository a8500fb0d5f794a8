"""Who may use the page at all: a password before everything, and no foreign names for a server of this machine.

    app.add_middleware(Guard, login="user:password")      # pages, files, API, MCP and every WebSocket
    app.add_middleware(Guard, hosts=LOOPBACK)             # a page of another site cannot pretend to be this machine

HTTP Basic; a browser then gets a cookie, since not every browser sends the password along with a WebSocket. Over an
untrusted network put a TLS proxy before it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import re
import secrets
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
COOKIE = "parafovea"
WRONG_S = 0.5
"""Pause after a wrong password; all who guess share it."""


def is_loopback(host: str) -> bool:
    """True when an address that a server binds to is reached from this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def own_origin(headers: Headers) -> bool:
    """True when a page of our own asks, or no browser at all."""
    origin = headers.get("origin", "")
    return not origin or origin.partition("://")[2] == headers.get("host")


class Guard:
    """ASGI middleware. login: "user:password", None = nobody is asked. hosts: names under which the server may be
    called, None = any."""

    def __init__(self, app: ASGIApp, login: str | None = None, hosts: Collection[str] | None = None) -> None:
        self._app, self._hosts = app, hosts
        self._login = None if login is None else login.encode()
        self._ticket = secrets.token_urlsafe(32)
        self._guessing = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if self._hosts is not None and _name(headers.get("host", "")) not in self._hosts:
            await _refuse(scope, receive, send, PlainTextResponse("this server is called by another name", 421))
        elif self._login is None or self._has_ticket(headers):
            await self._app(scope, receive, send)
        elif await self._knows_password(headers):
            await self._app(scope, receive, self._with_ticket(send) if scope["type"] == "http" else send)
        else:
            challenge = {"WWW-Authenticate": 'Basic realm="Parafovea", charset="UTF-8"'}
            await _refuse(scope, receive, send, PlainTextResponse("name and password, please", 401, challenge))

    def _has_ticket(self, headers: Headers) -> bool:
        try:
            given = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return given is not None and secrets.compare_digest(given.value.encode(), self._ticket.encode())

    async def _knows_password(self, headers: Headers) -> bool:
        kind, _, code = headers.get("authorization", "").partition(" ")
        if kind.lower() != "basic":
            return False
        try:
            given = base64.b64decode(code, validate=True)
        except binascii.Error:
            return False
        if secrets.compare_digest(given, self._login or b""):
            return True
        async with self._guessing:
            await asyncio.sleep(WRONG_S)
        return False

    def _with_ticket(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).append(
                    "Set-Cookie", f"{COOKIE}={self._ticket}; Path=/; HttpOnly; SameSite=Strict")
            await send(message)
        return sending


def _name(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    name = re.fullmatch(r"\[(.*)\](:\d*)?|([^:]*)(:\d*)?", host)
    return (name[1] or name[3] or "").lower() if name else ""


async def _refuse(scope: Scope, receive: Receive, send: Send, answer: PlainTextResponse) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
    else:
        await answer(scope, receive, send)
