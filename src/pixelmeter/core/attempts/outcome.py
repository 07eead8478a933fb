"""How an attempt ended: the closed set of outcomes."""

from __future__ import annotations

from typing import NamedTuple

from pixelmeter.core.apis.reader import ImageResponse
from pixelmeter.core.attempts.record import Outcome

__all__ = ["ErrorNames", "of_error", "of_response", "was_sent"]


class ErrorNames(NamedTuple):
    """What the exceptions of an HTTP library mean, by the names of their classes and of those they inherit from.

    A name may have its module before it (`urllib3.exceptions.SSLError`), where others have the same one.
    """

    never_sent: frozenset[str] = frozenset()
    """The request has not left the machine."""
    timeouts: frozenset[str] = frozenset()
    """The answer took too long; Python's own TimeoutError is one anyway."""
    no_timeouts: frozenset[str] = frozenset()
    """What inherits from one that took too long, and is none."""


def of_response(status: int, response: ImageResponse, *, streamed: bool) -> tuple[Outcome, str | None]:
    """Return the outcome of a response that arrived whole, and its error type."""
    if status >= 300:
        return _of_status(status), response.error_type or f"http_{status}"
    if response.job or (status == 202 and not response.images):
        return "pending", None
    if response.images or not response.decoded:
        return "success", None
    if response.error_type is not None:
        return "error", response.error_type
    if response.whole:
        return "success", None
    if streamed:
        return "error", "stream_incomplete"
    return "error", "no_images" if response.readable else "unreadable_body"


def of_error(error: BaseException, names: ErrorNames) -> Outcome:
    """Return the outcome of an attempt that an exception ended; what is no Exception is a cancellation."""
    if not isinstance(error, Exception):
        return "cancelled"
    classes = _classes(error)
    is_timeout = not names.timeouts.isdisjoint(classes) and names.no_timeouts.isdisjoint(classes)
    return "timeout" if is_timeout or isinstance(error, TimeoutError) else "error"


def was_sent(error: BaseException, names: ErrorNames) -> bool:
    """Return whether the request may have reached the gateway before this error."""
    return names.never_sent.isdisjoint(_classes(error))


def _of_status(status: int) -> Outcome:
    if status == 429:
        return "throttled"
    if status in (408, 504):
        return "timeout"
    return "error" if status >= 500 else "rejected"


def _classes(error: BaseException) -> set[str]:
    kinds = type(error).__mro__
    return {kind.__name__ for kind in kinds} | {f"{kind.__module__}.{kind.__qualname__}" for kind in kinds}
