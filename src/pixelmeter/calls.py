"""Which attempts belong to one call: SDK retries, redirects, auth flows that send twice, and what a block groups."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from contextvars import ContextVar
from types import TracebackType
from typing import Protocol

from pixelmeter.core.request import Ask

__all__ = ["Block", "CallView", "Mark", "announced", "call", "current_block", "link", "mark_of", "show"]

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


class Block:
    """What is known of the call that a `with pixelmeter.call()` block makes."""

    __slots__ = ("_first", "_joined", "_later", "is_over", "outer", "views")

    def __init__(self, outer: Block | None) -> None:
        self.outer = outer
        """The block around it."""
        self.is_over = False
        """Whether it has been left, perhaps in another context: one that still has it makes no attempts of it."""
        self._first: dict[str, str] = {}
        self._later = itertools.count(1)
        self._joined: list[None] = []
        self.views: dict[object, object] = {}
        """What each view of the block keeps of it, under a key of its own."""

    @property
    def attempts(self) -> int:
        """How many there have been."""
        return len(self._joined)

    def join(self, new_id: str) -> tuple[str, int]:
        """Return the id of the call and the number of the next attempt; may be called by several threads at once."""
        # Each step is atomic, so the call has the id of the attempt that is number 0.
        first = self._first.setdefault("id", new_id)
        self._joined.append(None)
        return first, 0 if first == new_id else next(self._later)


class CallView(Protocol):
    """What wants to know of blocks."""

    def open_call(self, block: Block) -> Callable[[BaseException | None], None] | None:
        """Take note that a block begins; what is returned is called when it ends, with the exception that leaves it."""
        ...


class call:
    """All image requests of the block are attempts of one call, also in its tasks and in threads that copy the context,
    until it is left.

        with pixelmeter.call():
            for wait in (0, 1, 2):
                ...  # a retry loop of your own

    For clients that do not say themselves which requests are retries (openai's does). Of nested blocks the inner one
    counts.
    """

    __slots__ = ("_entered",)

    def __init__(self) -> None:
        self._entered: list[tuple[Block, list[Callable[[BaseException | None], None]]]] = []

    def __enter__(self) -> None:
        block, leaving = Block(current_block()), list[Callable[[BaseException | None], None]]()
        # Of a copy: a view that is collected meanwhile would have the next one passed over.
        for reference in [*_views]:
            view = reference()
            if view is not None:
                with suppress(Exception):
                    leave = view.open_call(block)
                    if leave is not None:
                        leaving.append(leave)
        self._entered.append((block, leaving))
        _block.set(block)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        block, leaving = self._entered.pop()
        block.is_over = True
        # Not a token: a generator may be closed in another context, where a token would raise, or in another block.
        if _block.get() is block:
            _block.set(block.outer)
        while leaving:
            with suppress(Exception):
                leaving.pop()(error)


class _Last:
    __slots__ = ("attempt", "call_id", "key", "retry")

    def __init__(self, key: object, retry: int, call_id: str, attempt: int) -> None:
        self.key = key
        self.retry = retry
        self.call_id = call_id
        self.attempt = attempt


# An SDK's retry loop runs in one task or thread, so what the last attempt there was is context, not a shared table.
_last: ContextVar[_Last | None] = ContextVar("pixelmeter_last", default=None)
_block: ContextVar[Block | None] = ContextVar("pixelmeter_call", default=None)
# Not a WeakSet: a thread that adds a view would break the loop of another one that enters a block.
_views: list[weakref.ref[CallView]] = []


def show(view: CallView) -> None:
    """Tell a view of every block from now on, as long as somebody else keeps it."""
    _views.append(weakref.ref(view, _views.remove))


def current_block() -> Block | None:
    """Return the block of the running context."""
    block = _block.get()
    while block is not None and block.is_over:
        block = block.outer
    return block


def announced(call_id: str) -> bool:
    """Return whether the context's latest attempt is of this call, and of an SDK that counts its retries."""
    last = _last.get()
    return last is not None and last.call_id == call_id


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
    block = current_block()
    if block is not None:
        mark.call_id, mark.attempt = block.join(new_id)
        return mark
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
