"""The driver of httpx: its transports and stream classes."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from pixelmeter.drivers.httpx_clients import look_below, patch_clients, sends_through
from pixelmeter.drivers.httpx_shape import AsyncDriver, SyncDriver, bind
from pixelmeter.drivers.passage import AsyncTeeStream, TeeStream
from pixelmeter.meter import Meter

__all__ = ["AsyncMeterTransport", "MeterTransport", "patch"]


class _Tee(TeeStream, httpx.SyncByteStream): ...


class _AsyncTee(AsyncTeeStream, httpx.AsyncByteStream): ...


bind(httpx.Response, _Tee, _AsyncTee)


class MeterTransport(SyncDriver[httpx.Request, httpx.Response], httpx.BaseTransport):
    """A transport for an `httpx.Client` that records its image calls.

    `inner` is the transport that sends them, by default a new `httpx.HTTPTransport`.
    """

    def __init__(self, meter: Meter, inner: httpx.BaseTransport | None = None) -> None:
        super().__init__(meter, inner or httpx.HTTPTransport(), sends_through)
        look_below(self.inner)


class AsyncMeterTransport(AsyncDriver[httpx.Request, httpx.Response], httpx.AsyncBaseTransport):
    """A transport for an `httpx.AsyncClient` that records its image calls.

    `inner` is the transport that sends them, by default a new `httpx.AsyncHTTPTransport`.
    """

    def __init__(self, meter: Meter, inner: httpx.AsyncBaseTransport | None = None) -> None:
        super().__init__(meter, inner or httpx.AsyncHTTPTransport(), sends_through)
        look_below(self.inner)


def patch(meter_of: Callable[[], Meter | None]) -> Callable[[], None]:
    """Meter what all clients of httpx send from now on by the meter that there is then; return what undoes it."""
    return patch_clients(httpx, meter_of)
