"""Decides which sends are one attempt, or one request about a job, and shows the exchange the body of the response."""

from __future__ import annotations

import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
    MutableMapping,
    Sequence,
)
from contextlib import nullcontext
from contextvars import ContextVar
from functools import partial
from typing import Any
from urllib.parse import unquote_to_bytes

from pixelmeter.budgets.spender import Ask
from pixelmeter.core.budgets.budget import Refusal
from pixelmeter.core.gateways.routes import Followed, Found
from pixelmeter.core.wire.exchange import Exchange
from pixelmeter.drivers.refusal import refusal_by
from pixelmeter.drivers.waiting import through, through_async
from pixelmeter.errors import CallRefused
from pixelmeter.lifecycle import Watch, catch_up, watch
from pixelmeter.linking import Mark, mark_of
from pixelmeter.meter import Meter, intake_of
from pixelmeter.outgoing import Outgoing
from pixelmeter.recorder.failures import Failures
from pixelmeter.recorder.sink_dispatch import amid_other_code

__all__ = ["AsyncTeeStream", "Layer", "Routes", "TeeStream", "send", "send_async", "tell"]


Routes = Callable[[str, bytes, bytes], Sequence[Found | Followed]]
"""Tells by method, host and raw target of which routes a request may be."""


class Layer:
    """A client or transport that we have instrumented."""

    meter: Meter | None = None
    """None for a layer that only looks at what another one has begun."""
    refusal: Refusal | None = None
    """How its callers are told that a check does not let a call go; None where only the request tells."""

    def choose_meter(self) -> None:
        """Look which meter a request is for, where that may change from one to the next."""

    def context_of(self, request: Any) -> MutableMapping[str, Any]:
        """Return what the library carries along with a request."""
        raise NotImplementedError

    def read(self, request: Any, routes: Routes) -> Outgoing | None:
        """Return what the library's request says; None for one that no route fits by its method and path."""
        raise NotImplementedError

    def is_below(self, other: Layer) -> bool:
        """Return whether the other one sends through this one."""
        raise NotImplementedError

    def reason(self, request: Any, error: BaseException) -> tuple[BaseException, bool | None]:
        """Return the error that tells why there is no answer, and whether the request had been sent.

        None where the error's own name tells that.
        """
        return error, None

    def watch(self, response: Any, exchange: Exchange, failures: Failures, *, is_async: bool) -> None:
        """Show the exchange the library's response and, as it is read, its body."""
        raise NotImplementedError

    def refuse(self, request: Any, refused: CallRefused) -> Any:
        """Return the library's response that says that a check does not let the request go, or raise that.

        `refused.refuse` says which of these.
        """
        raise refused

    def enter(self, request: Any) -> Generator[Ask, None, Passage | None]:
        """Enter with a request; None where it is not to be watched. Yields what is to be waited for before.

        Raises nothing but CallRefused, whatever the request is.
        """
        try:
            self.choose_meter()
            meter = self.meter or self._meter_of(request)
            if meter is None:
                return None
            outgoing = self.read(request, intake_of(meter).routes)
            return None if outgoing is None else (yield from _enter(self, outgoing))
        except CallRefused:
            raise
        except Exception as error:
            latest = _latest.get()
            meter = self.meter or (None if latest is None else latest.meter)
            if meter is not None:
                intake_of(meter).failures.note("request", error)
            return None

    def _meter_of(self, request: Any) -> Meter | None:
        """Return the meter of the attempt that a request may be part of."""
        around = _current()
        if around is not None:
            return around.meter
        mark = mark_of(self.context_of(request))
        return next((passage.meter for passage in [*mark.passages]), None) if mark is not None else None


class Passage:
    """A request on its way through one layer, from when it enters until the layer has its answer."""

    __slots__ = ("_begun", "_here", "exchange", "is_over", "layer", "mark", "meter", "outer", "outgoing", "refusal")

    def __init__(
        self, layer: Layer, meter: Meter, exchange: Exchange, mark: Mark | None, outgoing: Outgoing, *, begun: bool
    ) -> None:
        self.layer: Layer | None = layer
        self.meter = meter
        self.exchange = exchange
        self.mark = mark
        """None for a request about a job."""
        self.outgoing: Outgoing | None = outgoing
        """The request as it was when its attempt began."""
        self.refusal: Refusal | None = layer.refusal
        """How whoever sends is told that a check does not let a request go, by the outermost layer that knows."""
        self.outer: Passage | None = None
        """What was the latest of the context before."""
        self.is_over = False
        """Whether the layer has its answer, or an error."""
        self._begun = begun
        # Popping is atomic: of two layers that are entered at once, one goes on with the attempt.
        self._here = [exchange]

    def enter(self) -> None:
        """Make it the latest of the running context."""
        self.outer = _latest.get()
        _latest.set(self)
        if self.mark is not None:
            self.mark.passages.append(self)

    def hand_on(self, layer: Layer) -> bool:
        """Return whether a layer below goes on with the attempt: the first one does, what is sent after it is new."""
        if layer is self.layer:
            return False
        try:
            self._here.pop()
        except IndexError:
            return False
        return True

    @property
    def is_innermost(self) -> bool:
        """Whether no layer below has gone on with the attempt, so that this one has to see the answer."""
        return bool(self._here)

    def fail(self, error: BaseException, *, sent: bool | None = None) -> None:
        """The layer has got an error instead of an answer; `sent` is None where only its name tells whether."""
        if self._begun:
            self._trace()
        if self.is_innermost:
            self.exchange.fail(error, sent=sent)

    def leave(self) -> None:
        """Leave the layer and the context, once it is over."""
        if self._begun:
            self._trace()
        # Whatever was started meanwhile may keep its context, and this in it, for as long as it lives.
        self.layer = self.outgoing = None
        # Not a token: in another context, where a generator may be closed, that would raise.
        if _latest.get() is self:
            _latest.set(self.outer)
        if self.mark is not None:
            self.mark.passages.remove(self)
            if self._begun:
                self.mark.restore()

    def _trace(self) -> None:
        if self.outgoing is not None and not self.exchange.is_traced:
            trace_id = self.outgoing.sent_trace_id
            if trace_id is not None:
                self.exchange.trace(trace_id)


_latest: ContextVar[Passage | None] = ContextVar("pixelmeter_passage", default=None)


def _current() -> Passage | None:
    """Return the latest passage of the running context that is not over."""
    passage = _latest.get()
    while passage is not None and passage.is_over:
        passage = passage.outer
    return passage


def tell(failures: Failures, step: Callable[..., object], *what: object) -> None:
    """Take a step of ours inside the caller's request; when it fails that is counted, and the request goes on."""
    try:
        step(*what)
    except Exception as error:
        failures.note("exchange", error)


def send(layer: Layer, request: Any, inner: Callable[[Any], Any]) -> Any:
    """Send a request through a layer by `inner`; return the response that it gives, the same object."""
    try:
        passage = through(layer.enter(request))
    except CallRefused as refused:
        return layer.refuse(request, refused)
    if passage is None:
        return inner(request)
    try:
        response = inner(request)
    except BaseException as error:
        tell(intake_of(passage.meter).failures, _fail, layer, request, passage, error)
        raise
    finally:
        passage.is_over = True
        tell(intake_of(passage.meter).failures, passage.leave)
    _watch(layer, passage, response, is_async=False)
    return response


async def send_async(layer: Layer, request: Any, inner: Callable[[Any], Awaitable[Any]]) -> Any:
    """Async twin of `send`."""
    try:
        passage = await through_async(layer.enter(request))
    except CallRefused as refused:
        return layer.refuse(request, refused)
    if passage is None:
        return await inner(request)
    try:
        response = await inner(request)
    except BaseException as error:
        tell(intake_of(passage.meter).failures, _fail, layer, request, passage, error)
        raise
    finally:
        passage.is_over = True
        tell(intake_of(passage.meter).failures, passage.leave)
    _watch(layer, passage, response, is_async=True)
    return response


def _fail(layer: Layer, request: Any, passage: Passage, error: BaseException) -> None:
    reason, sent = layer.reason(request, error)
    passage.fail(reason, sent=sent)


def _watch(layer: Layer, passage: Passage, response: Any, *, is_async: bool) -> None:
    failures = intake_of(passage.meter).failures
    try:
        if passage.is_innermost:
            layer.watch(response, passage.exchange, failures, is_async=is_async)
    except Exception as error:
        failures.note("response", error)
        tell(failures, passage.exchange.abandon, "unreadable")


def _enter(layer: Layer, outgoing: Outgoing) -> Generator[Ask, None, Passage | None]:
    catch_up()
    around = _around(outgoing, layer)
    is_follow = outgoing.followed is not None
    if around is not None and is_follow is (around.mark is None) and around.hand_on(layer):
        # Whoever sees the answer may be of another library.
        around.exchange.learn(outgoing.errors)
        passage = Passage(layer, around.meter, around.exchange, around.mark, outgoing, begun=False)
    else:
        meter = layer.meter if around is None else around.meter
        if meter is None:
            return None
        if is_follow:
            exchange, mark = intake_of(meter).follow(outgoing), None
        else:
            try:
                begun = yield from intake_of(meter).begin(outgoing, None if around is None else around.mark)
            except CallRefused as refused:
                known = layer.refusal if around is None or around.refusal is None else around.refusal
                refused.refuse = refused.refuse or known or refusal_by(outgoing.headers)
                raise
            exchange, mark = begun or (None, None)
        if exchange is None:
            return None
        passage = Passage(layer, meter, exchange, mark, outgoing, begun=True)
    if around is not None and around.refusal is not None:
        passage.refusal = around.refusal
    passage.enter()
    return passage


def _around(outgoing: Outgoing, layer: Layer) -> Passage | None:
    """Return the passage that a request, about to enter a layer, is part of; None for one that is sent by itself."""
    mark = mark_of(outgoing.context)
    around = _current()
    if around is not None:
        same = mark is not None and around.mark is not None and mark.passages is around.mark.passages
        return around if same or _is_below(layer, around) or _is_same(outgoing, around) else None
    if mark is None:
        return None
    # A transport that hops to a thread without the context. The same request sent twice at once looks alike, but
    # enters where the other one entered.
    waiting = [each for each in [*mark.passages] if _is_below(layer, each)]
    return next((each for each in reversed(waiting) if each.is_innermost), waiting[-1] if waiting else None)


def _is_below(layer: Layer, passage: Passage) -> bool:
    other = passage.layer
    return other is not None and layer is not other and layer.is_below(other)


def _is_same(outgoing: Outgoing, passage: Passage) -> bool:
    other = passage.outgoing
    if other is None or not _is_to_same(outgoing.target, other.target):
        return False
    # A library that hands a body on as a stream hides it from the one below.
    return outgoing.same_as == other.same_as or outgoing.unread or other.unread


def _is_to_same(target: bytes, other: bytes) -> bool:
    """Return whether both are one place: libraries do not agree on what has to be quoted."""
    return target == other or unquote_to_bytes(target) == unquote_to_bytes(other)


class _Tee:
    def __init__(self, inner: Any, exchange: Exchange, failures: Failures) -> None:
        self._inner = inner
        self._exchange = exchange
        self._failures = failures
        # None once the record is out.
        self._unclosed: Watch | None = watch(self, partial(tell, failures, exchange.abandon, "never_closed"))

    def _tell(self, step: Callable[..., object], *what: object) -> None:
        watching = self._unclosed
        if watching is None:
            return
        try:
            step(*what)
            if self._exchange.is_over:
                self._unclosed = None
                watching.let_go()
        except Exception as error:
            self._failures.note("exchange", error)

    def _closed(self) -> None:
        # A generator that is collected ends with this exception: `client.stream(...)` closes the body then.
        self._tell(_abandon, self._exchange, sys.exc_info()[0] is GeneratorExit)


def _abandon(exchange: Exchange, collected: bool) -> None:
    with amid_other_code() if collected else nullcontext():
        exchange.abandon()


class TeeStream(_Tee):
    """A sync body."""

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._inner:
                self._tell(self._exchange.feed, chunk)
                yield chunk
        except GeneratorExit:
            raise
        except BaseException as error:
            self._tell(self._exchange.fail, error)
            raise
        self._tell(self._exchange.finish)

    def close(self) -> None:
        self._closed()
        self._inner.close()


class AsyncTeeStream(_Tee):
    """An async body."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = self._inner.__aiter__()
        try:
            async for chunk in chunks:
                self._tell(self._exchange.feed, chunk)
                yield chunk
        except GeneratorExit:
            raise
        except BaseException as error:
            self._tell(self._exchange.fail, error)
            raise
        finally:
            # httpx2 closes the generator that it iterates over, which without us would be this one.
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()
        self._tell(self._exchange.finish)

    async def aclose(self) -> None:
        self._closed()
        await self._inner.aclose()
