"""Meter transports for httpx2 clients.

    client = httpx2.Client(transport=MeterTransport(meter, httpx2.HTTPTransport(http2=True)))

`pixelmeter.instrument(client, meter)` is the shorter way, and keeps the proxies and limits that a client given a
`transport` does not make for itself.
"""

from __future__ import annotations

from pixelmeter.drivers.httpx2 import AsyncMeterTransport, MeterTransport

__all__ = ["AsyncMeterTransport", "MeterTransport"]
