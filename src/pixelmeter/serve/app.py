"""The ASGI app: /metrics and /-/healthy."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from pixelmeter.serve.guard import Guard

__all__ = ["make_app"]


def make_app(registry: CollectorRegistry, guard: Guard | None = None) -> Starlette:
    """Return the app that shows a registry, to whom the guard lets in; `/-/healthy` is for everybody."""

    # Not async, so Starlette runs it in a thread: a ledger that takes its time does not hold up /-/healthy.
    def metrics(request: Request) -> Response:
        if guard is not None and not guard.lets_in(request.headers.get("authorization", "")):
            return PlainTextResponse("unauthorized\n", 401, {"www-authenticate": guard.challenge})
        try:
            encode, content_type = choose_encoder(request.headers.get("accept", ""))
        except TypeError:
            # A version that is no number.
            encode, content_type = choose_encoder("")
        return Response(encode(registry), headers={"content-type": content_type, "cache-control": "no-store"})

    async def healthy(_: Request) -> Response:
        return PlainTextResponse("healthy\n")

    return Starlette(
        routes=[Route("/metrics", metrics), Route("/-/healthy", healthy)],
        middleware=[Middleware(GZipMiddleware, minimum_size=1000, compresslevel=4)],
    )
