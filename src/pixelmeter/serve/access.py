"""Who is let in, which `/-/healthy` lets everybody, and the headers of every answer: one middleware for all paths."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pixelmeter.serve.guard import Guard, is_loopback

__all__ = ["HEALTHY", "METRICS", "Access"]

HEALTHY = "/-/healthy"
METRICS = "/metrics"

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class Access:
    """Lets in whom the guard knows. Without one, a page is for those only who call this machine by its own name.

    Another site could have its name lead to this machine and read the page through the browser of whoever visits it.
    """

    def __init__(self, app: ASGIApp, guard: Guard | None, *, has_page: bool) -> None:
        self._app = app
        self._guard = guard
        self._has_page = has_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        path = scope.get("path", "")
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = (
            None if path == HEALTHY else self._refusal(Headers(scope=scope), is_page=self._has_page and path != METRICS)
        )
        is_begun = False

        async def sending(message: Message) -> None:
            nonlocal is_begun
            if message["type"] == "http.response.start":
                is_begun = True
                _add(message)
            await send(message)

        try:
            await (refusal or self._app)(scope, receive, sending)
        except asyncio.CancelledError:
            # The server ends, and has waited for this answer as long as it may: that is no failure of the page.
            if not is_begun:
                await PlainTextResponse("the server ends\n", 503)(scope, receive, sending)

    def _refusal(self, headers: Headers, *, is_page: bool) -> PlainTextResponse | None:
        guard = self._guard
        if guard is not None:
            if guard.lets_in(headers.get("authorization", ""), is_token_password=self._has_page):
                return None
            challenge = guard.challenge_of_browsers if is_page else guard.challenge
            return PlainTextResponse("unauthorized\n", 401, {"www-authenticate": challenge})
        if is_page and not is_loopback(_host(headers.get("host", ""))):
            told = (
                "This page is open to this machine alone, by the name localhost or 127.0.0.1. To have it under another "
                "name, start `pixelmeter serve` with --token-file or --basic-auth-file.\n"
            )
            return PlainTextResponse(told, 421)
        return None


def _host(header: str) -> str:
    """Return the host of a `Host` header, without its port and brackets."""
    if header.startswith("["):
        host, bracket, _ = header[1:].partition("]")
        return host if bracket else ""
    return header.partition(":")[0].lower()


def _add(message: MutableMapping[str, Any]) -> None:
    headers = MutableHeaders(scope=message)
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
