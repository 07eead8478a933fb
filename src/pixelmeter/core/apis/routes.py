"""Which requests are image operations, and which API they speak."""

from __future__ import annotations

from typing import NamedTuple

from pixelmeter.core.apis import openai_images
from pixelmeter.core.apis.reader import Reader
from pixelmeter.core.attempts.record import Operation

__all__ = ["METHODS", "READERS", "Route", "route_of"]

METHODS = frozenset({"POST"})
"""Requests with another method are no image operations."""

READERS: tuple[Reader, ...] = (openai_images,)
"""One an API."""


class Route(NamedTuple):
    """What a request asks for, and who reads it."""

    operation: Operation
    reader: Reader


_ROUTES = tuple((end, Route(operation, reader)) for reader in READERS for end, operation in reader.ROUTES)


def route_of(method: str, target: bytes) -> Route | None:
    """Return the route of a request by its method and raw target (path and query); None for any but images."""
    if method not in METHODS:
        return None
    path = target.partition(b"?")[0].rstrip(b"/")
    for end, route in _ROUTES:
        if path.endswith(end):
            return route
    return None
