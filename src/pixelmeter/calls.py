"""Which attempts belong to one call: SDK retries, redirects, and auth flows that send twice."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from contextvars import ContextVar

from pixelmeter.core.request import Ask

__all__ = ["Mark", "link", "mark_of"]

_EXTENSION = "pixelmeter"


class Mark:
    """Left in a request's extensions: it has been metered, as this attempt of this call.

    Clients copy extensions to the request that follows a redirect or a challenge, so the mark also links those.
    """

    __slots__ = ("_added", "ask", "attempt", "call_id", "in_transport", "leaving")

    def __init__(self) -> None:
        self.call_id = ""
        self.attempt = 0
        self.in_transport = False
        """Whether the attempt is on its way through a metered transport just now."""
        self.ask = Ask()
        """What was asked for: the request that follows may not tell it any more."""
        self.leaving: list[Callable[[], None]] = []
        """What wants to know that the transport has answered."""
        self._added: tuple[MutableMapping[str, str], str] | None = None

    def add_header(self, headers: MutableMapping[str, str], name: str, value: str) -> None:
        """Send a header with this attempt, and with no other: a client copies headers to where it is redirected."""
        headers[name] = value
        self._added = headers, name

    def leave(self) -> None:
        """The transport has given its answer: leave the request as it came."""
        self.in_transport = False
        while self.leaving:
            self.leaving.pop()()
        if self._added is not None:
            headers, name = self._added
            headers.pop(name, None)


class _Last:
    __slots__ = ("attempt", "call_id", "key", "retry")

    def __init__(self, key: object, retry: int, call_id: str, attempt: int) -> None:
        self.key = key
        self.retry = retry
        self.call_id = call_id
        self.attempt = attempt


# An SDK's retry loop runs in one task or thread, so what the last attempt there was is context, not a shared table.
_last: ContextVar[_Last | None] = ContextVar("pixelmeter_last", default=None)


def mark_of(extensions: dict[str, object]) -> Mark | None:
    """Return the mark of an earlier attempt or of an outer wrapper."""
    mark = extensions.get(_EXTENSION)
    return mark if isinstance(mark, Mark) else None


def link(
    extensions: dict[str, object],
    earlier: Mark | None,
    *,
    retry: int | None,
    key: Callable[[], object],
    new_id: str,
) -> Mark:
    """Mark a request as the next attempt of the call it belongs to; a new call takes `new_id`.

    `retry` is what the SDK says (`x-stainless-retry-count`; None when it says nothing), `key` gives something equal for
    the same content to the same place.
    """
    mark = Mark()
    extensions[_EXTENSION] = mark
    if earlier is not None:
        mark.call_id, mark.attempt = earlier.call_id, earlier.attempt + 1
    else:
        mark.call_id, mark.attempt = new_id, retry or 0
    if retry is not None:
        here = key()
        last = _last.get()
        if earlier is None and retry and last is not None and last.retry == retry - 1 and last.key == here:
            mark.call_id, mark.attempt = last.call_id, last.attempt + 1
        _last.set(_Last(here, retry, mark.call_id, mark.attempt))
    return mark
