"""The driver of httpx2: its transports and stream classes."""

from __future__ import annotations

from collections.abc import Callable

import httpx2

from pixelmeter.drivers.httpx_clients import look_below, patch_clients, sends_through
from pixelmeter.drivers.httpx_shape import AsyncDriver, SyncDriver, bind
from pixelmeter.drivers.passage import AsyncTeeStream, TeeStream
from pixelmeter.meter import Meter

__all__ = ["AsyncMeterTransport", "MeterTransport", "patch"]


class _Tee(TeeStream, httpx2.SyncByteStream): ...


class _AsyncTee(AsyncTeeStream, httpx2.AsyncByteStream): ...


bind(httpx2.Response, _Tee, _AsyncTee)


class MeterTransport(SyncDriver[httpx2.Request, httpx2.Response], httpx2.BaseTransport):
    """A transport for an `httpx2.Client` that records its image calls.

    `inner` is the transport that sends them, by default a new `httpx2.HTTPTransport`.
    """

    def __init__(self, meter: Meter, inner: httpx2.BaseTransport | None = None) -> None:
        super().__init__(meter, inner or httpx2.HTTPTransport(), sends_through)
        look_below(self.inner)


class AsyncMeterTransport(AsyncDriver[httpx2.Request, httpx2.Response], httpx2.AsyncBaseTransport):
    """A transport for an `httpx2.AsyncClient` that records its image calls.

    `inner` is the transport that sends them, by default a new `httpx2.AsyncHTTPTransport`.
    """

    def __init__(self, meter: Meter, inner: httpx2.AsyncBaseTransport | None = None) -> None:
        super().__init__(meter, inner or httpx2.AsyncHTTPTransport(), sends_through)
        look_below(self.inner)


def patch(meter_of: Callable[[], Meter | None]) -> Callable[[], None]:
    """Meter what all clients of httpx2 send from now on by the meter that there is then; return what undoes it."""
    return patch_clients(httpx2, meter_of)
