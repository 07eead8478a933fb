"""The proxy as a driver: a request becomes an Outgoing, and an exchange sees its answer. Whatever fails is counted."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextlib import nullcontext
from typing import Any

from pixelmeter.core.gateways.routes import Followed, Found
from pixelmeter.core.wire.exchange import Exchange
from pixelmeter.core.wire.forms import Fields, multipart_fields
from pixelmeter.core.wire.headers import media_type
from pixelmeter.drivers.aiohttp import ERRORS
from pixelmeter.drivers.passage import Layer, Passage, Routes
from pixelmeter.drivers.waiting import through_async
from pixelmeter.errors import PixelmeterError
from pixelmeter.linking import Mark, go_on_with
from pixelmeter.meter import Meter, intake_of
from pixelmeter.outgoing import Outgoing
from pixelmeter.proxy.bodies import Body
from pixelmeter.tagging import tags

__all__ = ["GONE", "Metering", "Watched"]

GONE = "client_gone"
"""The error type of an attempt whose client left before it had its answer."""
STOPPED = "proxy_stopped"

_REMEMBERED_TRIES = 1000


class _Layer(Layer):
    refusal = "respond"

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def context_of(self, request: Any) -> MutableMapping[str, Any]:
        context: MutableMapping[str, Any] = request.context
        return context

    def read(self, request: Any, routes: Routes) -> Outgoing | None:
        outgoing: Outgoing = request
        return outgoing

    def is_below(self, other: Layer) -> bool:
        return False


class Watched:
    """An exchange whose failures are counted, never raised."""

    __slots__ = ("_exchange", "_note", "_passage", "is_attempt")

    def __init__(self, passage: Passage, note: Callable[[str, BaseException], None]) -> None:
        self._passage = passage
        self._exchange = passage.exchange
        self._note = note
        self.is_attempt = passage.mark is not None
        """Whether it may cost something; a request about a job does not."""

    @property
    def is_over(self) -> bool:
        """Whether its end is told."""
        return self._exchange.is_over

    def tell(self, step: Callable[..., object], *what: object) -> None:
        """Tell the exchange, by a method of its class."""
        try:
            step(self._exchange, *what)
        except Exception as error:
            self._note("exchange", error)

    @property
    def _is_seen_below(self) -> bool:
        # The HTTP client may be metered too, under `pixelmeter run`: it shows the answer then.
        return not self._passage.is_innermost

    def respond(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Take the head of the answer."""
        if not self._is_seen_below:
            self.tell(Exchange.respond, status, headers)

    def feed(self, piece: bytes) -> None:
        """Take a piece of the body."""
        if not self._is_seen_below:
            self.tell(Exchange.feed, piece)

    def finish(self) -> None:
        """The body has ended."""
        if not self._is_seen_below:
            self.tell(Exchange.finish)

    def fail(self, error: BaseException) -> None:
        """The answer has broken off."""
        if not self._is_seen_below:
            self.tell(Exchange.fail, error)

    def leave(self) -> None:
        """The client has gone, and the answer is read on."""
        self.tell(Exchange.leave, GONE)

    def abandon(self, why: str) -> None:
        """Nobody reads the rest; nothing happens where the end is told."""
        if not self._exchange.is_over:
            self.tell(Exchange.abandon, why)


class Metering:
    """Begins to meter requests."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self._layer = _Layer(meter)
        self._tries: OrderedDict[tuple[str, bytes, int, int], Mark] = OrderedDict()
        self.note = intake_of(meter).failures.note
        """Takes a failure of ours, and where it was."""

    def routes(self, method: str, host: str, target: bytes) -> Any:
        """Return of which routes a request may be; of none, for most."""
        try:
            return intake_of(self.meter).routes(method, host.encode("ascii"), target)
        except Exception as error:
            self.note("request", error)
            return ()

    async def begin(
        self,
        found: list[Found | Followed],
        host: str,
        target: bytes,
        headers: list[tuple[bytes, bytes]],
        sent: MutableMapping[str, str],
        body: Body,
        given: Mapping[str, str],
    ) -> Passage | None:
        """Return the passage of a request that is about to be sent with the headers `sent`; None for no image call.

        CallRefused where a check does not let it go, and nothing else.
        """
        try:
            content, fields = _known(body, headers)
            outgoing = Outgoing(
                found=found,
                host=host,
                target=target,
                headers={name.lower(): value for name, value in headers},
                content=content,
                fields=fields,
                context={},
                sent_headers=lambda: sent,
                errors=ERRORS,
            )
            # The fields that it begins with are known: those that follow may name what these leave open.
            outgoing.unread |= not body.is_whole
        except Exception as error:
            self.note("request", error)
            return None
        retry = outgoing.retry
        if retry:
            self._go_on(outgoing, retry)
        with tags(**given) if given else nullcontext():
            passage = await through_async(self._layer.enter(outgoing))
        if passage is not None and passage.mark is not None and retry is not None:
            self._remember(outgoing, retry, passage.mark)
        return passage

    def _go_on(self, outgoing: Outgoing, retry: int) -> None:
        """Have a try be one of the call that the try before it is of: each comes as a request of its own."""
        mark = self._tries.pop((outgoing.host, outgoing.target, outgoing.same_as, retry - 1), None)
        if mark is not None:
            go_on_with(outgoing.context, mark)

    def _remember(self, outgoing: Outgoing, retry: int, mark: Mark) -> None:
        self._tries[outgoing.host, outgoing.target, outgoing.same_as, retry] = mark
        if len(self._tries) > _REMEMBERED_TRIES:
            self._tries.popitem(last=False)

    def watch(self, passage: Passage | None) -> Watched | None:
        """Return what is told of the answer."""
        return None if passage is None else Watched(passage, self.note)

    def leave(self, passage: Passage | None) -> None:
        """The gateway has answered, or will not."""
        if passage is not None:
            passage.is_over = True
            try:
                passage.leave()
            except Exception as error:
                self.note("exchange", error)

    def wrong_tags(self, said: str) -> None:
        """Count tags that are none."""
        self.note("tags", PixelmeterError(said))


def _known(body: Body, headers: list[tuple[bytes, bytes]]) -> tuple[bytes | None, Fields]:
    """Return what is known of a body: all of it, or the fields of a form that has begun to come."""
    if body.is_whole:
        return body.held, ()
    named = {name.lower(): value for name, value in headers}
    if media_type(named) != b"multipart/form-data":
        return None, ()
    return None, multipart_fields(body.held, named[b"content-type"])
