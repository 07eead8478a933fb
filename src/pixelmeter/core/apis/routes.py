"""Which requests are image operations."""

from __future__ import annotations

from pixelmeter.core.attempts.record import Operation

__all__ = ["METHODS", "operation_of"]

METHODS = frozenset({"POST"})
"""Requests with another method are no image operations."""

_ROUTES: tuple[tuple[bytes, Operation], ...] = (
    (b"/images/generations", "generate"),
    (b"/images/edits", "edit"),
    (b"/images/variations", "variation"),
)


def operation_of(method: str, target: bytes) -> Operation | None:
    """Return the image operation of a request by its method and raw target (path and query); None for any other.

    The prefix is free: gateways answer under /v1, /openai/v1, /openai/deployments/{name} and elsewhere.
    """
    if method != "POST" or b"/images/" not in target:
        return None
    path = target.partition(b"?")[0].rstrip(b"/")
    for suffix, operation in _ROUTES:
        if path.endswith(suffix):
            return operation
    return None
