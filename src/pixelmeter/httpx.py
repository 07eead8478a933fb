"""Meter transports for httpx clients.

    client = httpx.Client(transport=MeterTransport(meter, httpx.HTTPTransport(http2=True)))

`pixelmeter.instrument(client, meter)` is the shorter way, and keeps the proxies and limits that a client given a
`transport` does not make for itself.
"""

from __future__ import annotations

import httpx

from pixelmeter._transport import AsyncDriver, AsyncTeeStream, SyncDriver, TeeStream
from pixelmeter.meter import Meter

__all__ = ["AsyncMeterTransport", "MeterTransport"]


class _Tee(TeeStream, httpx.SyncByteStream): ...


class _AsyncTee(AsyncTeeStream, httpx.AsyncByteStream): ...


class MeterTransport(SyncDriver[httpx.Request, httpx.Response], httpx.BaseTransport):
    """Records the image calls of an `httpx.Client`; `inner` (a new HTTPTransport by default) sends them."""

    _tee = _Tee

    def __init__(self, meter: Meter, inner: httpx.BaseTransport | None = None) -> None:
        super().__init__(meter, inner or httpx.HTTPTransport())


class AsyncMeterTransport(AsyncDriver[httpx.Request, httpx.Response], httpx.AsyncBaseTransport):
    """Records the image calls of an `httpx.AsyncClient`; `inner` (a new AsyncHTTPTransport by default) sends them."""

    _tee = _AsyncTee

    def __init__(self, meter: Meter, inner: httpx.AsyncBaseTransport | None = None) -> None:
        super().__init__(meter, inner or httpx.AsyncHTTPTransport())
