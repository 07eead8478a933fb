"""Which attempts belong to one call: SDK retries, redirects, auth flows that send twice, and what a block groups."""

from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, cast

from pixelmeter.core.apis.reader import ImageRequest

if TYPE_CHECKING:
    from decimal import Decimal

    from pixelmeter.core.attempts.record import Attempt

__all__ = [
    "Block",
    "Call",
    "CallView",
    "Mark",
    "announced",
    "call",
    "current_block",
    "go_on_with",
    "link",
    "mark_of",
    "show",
]

_EXTENSION = "pixelmeter"
_UNKNOWN = ImageRequest()


class Call:
    """Numbers the attempts of a call; safe to use from several threads."""

    __slots__ = ("_first", "_joined", "_later", "_start", "_unused")

    def __init__(self, start: int = 0) -> None:
        self._start = start
        self._first: dict[str, str] = {}
        self._later = itertools.count(start + 1)
        self._joined: list[None] = []
        self._unused: list[int] = []

    @property
    def id(self) -> str:
        """The id of its first attempt; empty before there is one."""
        return self._first.get("id", "")

    @property
    def attempts(self) -> int:
        """How many there have been; those that a budget refused are not among them."""
        return len(self._joined)

    def join(self, new_id: str) -> tuple[str, int]:
        """Return the id of the call and the number of the next attempt."""
        # Each step is atomic, so the call has the id of the attempt with the first number.
        first = self._first.setdefault("id", new_id)
        self._joined.append(None)
        if first == new_id:
            return first, self._start
        try:
            return first, self._unused.pop()
        except IndexError:
            return first, next(self._later)

    def watch(self, receiver: Callable[[Attempt], None]) -> Callable[[Attempt], None]:
        """Return what takes the end of an attempt."""
        return receiver

    def refused(self, number: int) -> None:
        """Take note that an attempt was never sent: the next one has its number, so it is no retry of it."""
        self._unused.append(number)
        with suppress(IndexError):
            self._joined.pop()


class Mark:
    """Marks a request, in the data that its library carries along, as an attempt of a call.

    Clients copy that to the request that follows a redirect or a challenge, so the mark also links those.
    """

    __slots__ = ("_added", "attempt", "call", "call_id", "leaving", "passages", "request")

    def __init__(self, call: Call, new_id: str) -> None:
        self.call = call
        self.call_id, self.attempt = call.join(new_id)
        self.request = _UNKNOWN
        """What was asked for: the request that follows may not tell it any more."""
        self.leaving: list[Callable[[], None]] = []
        """What wants to know that the transport has answered."""
        self.passages: list[Any] = []
        """The layers of ours that the request, or one that it follows from, is passing just now."""
        self._added: tuple[Callable[[], MutableMapping[str, str]], str] | None = None

    def add_header(self, headers: Callable[[], MutableMapping[str, str]], name: str, value: str) -> None:
        """Send a header with this attempt, and with no other: a client copies headers to where it is redirected."""
        headers()[name] = value
        self._added = headers, name

    def restore(self) -> None:
        """Undo what was added to the request, once the transport has answered."""
        while self.leaving:
            self.leaving.pop()()
        if self._added is not None:
            (headers, name), self._added = self._added, None
            headers().pop(name, None)


class Block(Call):
    """The call of a `with pixelmeter.call()` block."""

    __slots__ = ("_ended", "is_over", "outer", "views")

    def __init__(self, outer: Block | None) -> None:
        super().__init__()
        self.outer = outer
        """The block around it."""
        self.is_over = False
        """Whether it has been left, perhaps in another context: one that still has it makes no attempts of it."""
        self.views: dict[object, object] = {}
        """What each view of the block keeps of it, under a key of its own."""
        self._ended: list[tuple[int | None, int | None]] = []

    def watch(self, receiver: Callable[[Attempt], None]) -> Callable[[Attempt], None]:
        """Return what takes the end of an attempt, and keeps in mind what it cost."""
        return functools.partial(self._take, receiver)

    def _take(self, receiver: Callable[[Attempt], None], attempt: Attempt) -> None:
        # What is at risk of an attempt whose billing is settled is nothing.
        at_risk = attempt.at_risk if attempt.billing in {"unknown", "pending"} else 0
        self._ended.append((attempt.cost, 0 if attempt.cost is not None and at_risk is None else at_risk))
        receiver(attempt)

    def sums(self) -> tuple[int | None, int | None]:
        """Return cost and risk of its attempts in nano-dollars, None where nothing is known; some may still run."""
        ended = [*self._ended]
        running = max(self.attempts - len(ended), 0)
        return _sum([cost for cost, _ in ended], running), _sum([at_risk for _, at_risk in ended], running)


class CallView(Protocol):
    """A sink that is told when a block begins and ends."""

    def open_call(self, block: Block) -> Callable[[BaseException | None], None] | None:
        """Take note that a block begins; what is returned is called when it ends, with the exception that leaves it."""
        ...


class call:
    """Makes all image requests of a block attempts of one call, also those of its tasks and of threads that copy the
    context.

        with pixelmeter.call() as call:
            for wait in (0, 1, 2):
                ...  # a retry loop of your own
        print(call.cost, call.at_risk)

    Use it for a retry loop of your own, and to learn what a piece of code cost. Retries that OpenAI's SDK makes need no
    block. Of nested blocks the inner one counts.
    """

    __slots__ = ("_block", "_entered")

    def __init__(self) -> None:
        self._block: Block | None = None
        self._entered: list[tuple[Block, list[Callable[[BaseException | None], None]]]] = []

    @property
    def cost(self) -> Decimal | None:
        """What the attempts of the block have cost so far, in exact US dollars. Does not ask the ledger.

        It is the sum of what is known, and None where nothing is known: the only attempt still runs (a stream that has
        not been read to its end), its price or billing is unknown, or its job goes on. 0 before the first attempt.
        """
        return self._usd(0)

    @property
    def at_risk(self) -> Decimal | None:
        """The estimate, in US dollars, for attempts of which nobody knows whether they were billed; never in `cost`.

        0 where all billing is known; None where there is no estimate, and while attempts run.
        """
        return self._usd(1)

    def _usd(self, which: int) -> Decimal | None:
        from decimal import Decimal

        from pixelmeter.core.text import exact_usd

        nano = 0 if self._block is None else self._block.sums()[which]
        return None if nano is None else Decimal(exact_usd(nano))

    def __enter__(self) -> Self:
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
        self._block = block
        _block.set(block)
        return self

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


def _sum(amounts: list[int | None], missing: int) -> int | None:
    known = sum(amount for amount in amounts if amount is not None)
    return None if not known and (missing or None in amounts) else known


class _Last:
    __slots__ = ("call", "key", "retry")

    def __init__(self, call: Call, key: object, retry: int) -> None:
        self.call = call
        self.key = key
        self.retry = retry


# An SDK's retry loop runs in one task or thread, so what the last attempt there was is context, not a shared table.
_last: ContextVar[_Last | None] = ContextVar("pixelmeter_last", default=None)
_block: ContextVar[Block | None] = ContextVar("pixelmeter_call", default=None)
# Not a WeakSet: a thread that adds a view would break the loop of another one that enters a block.
_views: list[weakref.ref[CallView]] = []


def show(view: CallView) -> None:
    """Tell a view of every block from now on; it is referred to weakly."""
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
    return last is not None and last.call.id == call_id


def mark_of(context: MutableMapping[str, Any]) -> Mark | None:
    """Return the mark of the latest attempt that the request, or one that it follows from, has made."""
    mark = context.get(_EXTENSION)
    return mark if isinstance(mark, Mark) else None


def go_on_with(context: MutableMapping[str, Any], mark: Mark) -> None:
    """Have a request that is about to be marked count as one more attempt of the call that a mark is of."""
    context[_EXTENSION] = mark


def link(
    context: MutableMapping[str, Any],
    *,
    within: Mark | None,
    retry: int | None,
    key: Callable[[], object],
    new_id: str,
) -> Mark:
    """Mark a request as the next attempt of the call it belongs to; a new call takes `new_id`.

    `within` is the mark of the request that a wrapper sends again, `retry` is what the SDK says
    (`x-stainless-retry-count`; None when it says nothing), `key` gives something equal for the same content to the same
    place.
    """
    earlier = within or mark_of(context)
    block = current_block()
    if earlier is None:
        mark = Mark(block or _call_of(retry, key), new_id)
        earlier = cast("Mark", context.setdefault(_EXTENSION, mark))
        if earlier is mark:
            return mark
    # It has been sent before, perhaps by another thread just now.
    mark = Mark(block or earlier.call, new_id)
    mark.passages = earlier.passages
    context[_EXTENSION] = mark
    return mark


def _call_of(retry: int | None, key: Callable[[], object]) -> Call:
    """Return the call that this task or thread goes on with, or a new one."""
    if retry is None:
        return Call()
    here, last = key(), _last.get()
    again = last is not None and last.retry == retry - 1 and last.key == here
    call = last.call if last is not None and again else Call(retry)
    _last.set(_Last(call, here, retry))
    return call
