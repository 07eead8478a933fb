"""Meter transports for httpx2 clients.

    client = httpx2.Client(transport=MeterTransport(meter, httpx2.HTTPTransport(http2=True)))

`pixelmeter.instrument(client, meter)` is the shorter way, and keeps the proxies and limits that a client given a
`transport` does not make for itself.
"""

from __future__ import annotations

import httpx2

from pixelmeter._transport import AsyncDriver, AsyncTeeStream, SyncDriver, TeeStream
from pixelmeter.meter import Meter

__all__ = ["AsyncMeterTransport", "MeterTransport"]


class _Tee(TeeStream, httpx2.SyncByteStream): ...


class _AsyncTee(AsyncTeeStream, httpx2.AsyncByteStream): ...


class MeterTransport(SyncDriver[httpx2.Request, httpx2.Response], httpx2.BaseTransport):
    """Records the image calls of an `httpx2.Client`; `inner` (a new HTTPTransport by default) sends them."""

    _tee = _Tee

    def __init__(self, meter: Meter, inner: httpx2.BaseTransport | None = None) -> None:
        super().__init__(meter, inner or httpx2.HTTPTransport())


class AsyncMeterTransport(AsyncDriver[httpx2.Request, httpx2.Response], httpx2.AsyncBaseTransport):
    """Records the image calls of an `httpx2.AsyncClient`; `inner` (a new AsyncHTTPTransport by default) sends them."""

    _tee = _AsyncTee

    def __init__(self, meter: Meter, inner: httpx2.AsyncBaseTransport | None = None) -> None:
        super().__init__(meter, inner or httpx2.AsyncHTTPTransport())
