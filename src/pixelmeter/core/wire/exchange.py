"""One request, seen from the wire: events in, exactly one end out. Sans-I/O and total.

`respond`, any number of `feed`, then one of `finish`, `fail` and `abandon`; whichever comes after the end does nothing.
`leave` may come at any time.
What the end is made into, `Watched` decides. A body that cannot be read becomes a field of it, never an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from pixelmeter.core.apis.image_size import size_in
from pixelmeter.core.apis.reader import ImageRequest, ImageResponse, Reader, Reading
from pixelmeter.core.attempts import outcome as outcomes
from pixelmeter.core.attempts.assemble import Wire
from pixelmeter.core.attempts.record import Outcome
from pixelmeter.core.gateways.places import is_one_of
from pixelmeter.core.ports import Clock
from pixelmeter.core.text import ERROR_LIMIT, bounded
from pixelmeter.core.wire.decode import BrokenBody, NotDecoded, Take, decoder
from pixelmeter.core.wire.headers import Headers, by_name, first, length_of, media_type
from pixelmeter.core.wire.skim import SHORT, Head, Skim, Whole
from pixelmeter.core.wire.sse import EventStream

__all__ = ["Exchange", "Watched"]

_NO_NAMES = outcomes.ErrorNames()
_NOT_JSON = (b"video/", b"audio/", b"application/octet-stream")


class Readable(Reading, Protocol):
    """A route whose answers can be read."""

    @property
    def reader(self) -> Reader:
        """Who reads them."""
        ...


class Watched(Protocol):
    """What an exchange is watched for."""

    @property
    def route(self) -> Readable:
        """Who reads the answer, and where it has what matters."""
        ...

    @property
    def request(self) -> ImageRequest:
        """What was asked for."""
        ...

    @property
    def is_traced(self) -> bool:
        """Whether no trace of the request is wanted any more."""
        ...

    def trace(self, trace_id: str) -> None:
        """Take the trace that the request was given on its way out."""
        ...

    def end(self, wire: Wire, response: ImageResponse, outcome: Outcome, error_type: str | None, *, sent: bool) -> None:
        """Make of the end what is to be kept of it; called once."""
        ...


class Exchange:
    """Watches one request and tells its end."""

    __slots__ = (
        "_clock",
        "_ends",
        "_errors",
        "_expected",
        "_note",
        "_picture",
        "_response",
        "_skim",
        "_started",
        "_streamed",
        "_take",
        "_watched",
        "_wire",
    )

    def __init__(
        self,
        watched: Watched,
        clock: Clock,
        note: Callable[[str, Exception], None] = lambda place, error: None,
        errors: outcomes.ErrorNames = _NO_NAMES,
    ) -> None:
        """Begin; `note` takes a failure of ours and where it was, `errors` says what the library's exceptions mean."""
        self._watched = watched
        self._clock = clock
        self._errors = errors
        # Popping is atomic: of two threads that end the exchange at once, one tells it.
        self._ends = [watched.end]
        self._note = note
        self._started = clock.monotonic()
        self._wire = Wire()
        self._expected: int | None = None
        self._response: ImageResponse | None = None
        self._skim: Skim | Whole | None = None
        self._picture: Head | None = None
        self._streamed = False
        self._take: Take | None = None

    @property
    def is_over(self) -> bool:
        """Whether its end is told."""
        return not self._ends

    @property
    def is_traced(self) -> bool:
        """Whether the trace of the request is known, or of no interest."""
        return self._watched.is_traced

    def trace(self, trace_id: str) -> None:
        """Take the trace that the request was given on its way out."""
        self._watched.trace(trace_id)

    def respond(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], *, decoded: bool = False, cached: bool = False
    ) -> None:
        """Take the status and the raw headers.

        `decoded` says that what is fed has no Content-Encoding any more, `cached` that a cache of the caller answered.
        """
        wire = self._wire
        wire.cached = cached
        wire.first_byte = self._clock.monotonic() - self._started
        wire.status = status
        try:
            wire.headers = by_name(headers)
            self._choose_reader(wire.headers, decoded=decoded)
        except Exception as error:
            self._take = None
            self._note("headers", error)

    def learn(self, errors: outcomes.ErrorNames) -> None:
        """Take what the exceptions of another library mean, through which the request goes as well."""
        if errors is not self._errors:
            both = zip(self._errors, errors, strict=True)
            self._errors = outcomes.ErrorNames(*(ours | theirs for ours, theirs in both))

    def feed(self, chunk: bytes, size: int | None = None) -> None:
        """Take the next bytes of the body; the end is told before the caller gets the last of a known length.

        `size` is how many bytes they took on the wire, where they were decoded.
        """
        self._wire.response_bytes += len(chunk) if size is None else size
        if self._take is not None:
            try:
                self._take(chunk)
            except NotDecoded:
                self._give_up()
            except BrokenBody:
                self._take = self._skim = None
            except Exception as error:
                self._take = self._skim = None
                self._note("body", error)
        if self._expected is not None and self._wire.response_bytes >= self._expected:
            self.finish()

    def finish(self) -> None:
        """The body has ended."""
        if self._ends:
            response = self._read()
            self._end(*outcomes.of_response(self._wire.status or 0, response, streamed=self._streamed))

    def leave(self, why: str) -> None:
        """The caller has gone, and somebody else reads on: a success becomes `cancelled`, with its cost.

        `why` is its error type.
        """
        self._wire.left = why

    def fail(self, error: BaseException, *, sent: bool | None = None) -> None:
        """The request or the body broke off with this error; `sent` is None where its name tells whether it left."""
        if self._ends:
            if sent is None:
                sent = self._wire.status is not None or outcomes.was_sent(error, self._errors)
            self._end(outcomes.of_error(error, self._errors), type(error).__name__, sent=sent)

    def abandon(self, why: str | None = None) -> None:
        """The body was closed before its end, or never closed; what had come whole or tells of an error counts."""
        if self._ends:
            # A part of a picture is none, and nothing in it says where it ends.
            response = self._read() if self._picture is None else ImageResponse()
            is_whole = response.readable and not self._streamed
            said = response.error_type is not None or is_whole
            if (self._wire.status or 0) >= 300 or said:
                self.finish()
            else:
                self._end("cancelled", why)

    def _choose_reader(self, headers: Headers, *, decoded: bool) -> None:
        if not decoded and b"transfer-encoding" not in headers:
            self._expected = length_of(headers)
        kind = media_type(headers)
        if kind.startswith(_NOT_JSON):
            return
        if kind.startswith(b"image/"):
            self._picture = Head()
            self._take = self._picture.feed
            return
        encoding = None if decoded else headers.get(b"content-encoding")
        if kind == b"text/event-stream":
            self._streamed = True
            self._response = ImageResponse()
            self._take = EventStream(self._on_event).feed
        else:
            short = not encoding and self._expected is not None and self._expected <= SHORT
            self._skim = Whole() if short else Skim()
            self._take = self._skim.feed
        if encoding:
            try:
                self._take = decoder(encoding.decode("latin-1"), self._take) or self._take
            except NotDecoded:
                self._give_up()

    def _give_up(self) -> None:
        """Go on without reading the body: what it says is not known, and the end tells that."""
        self._response = ImageResponse(decoded=False)
        self._take = self._skim = None

    def _on_event(self, document: bytes) -> None:
        route, response = self._watched.route, self._read()
        event = route.reader.add_event(response, document, self._watched.request, route)
        if self._wire.first_image is None and (event == "partial" or response.images):
            self._wire.first_image = self._clock.monotonic() - self._started
        if event == "end":
            self.finish()

    def _read(self) -> ImageResponse:
        if self._response is None and self._picture is not None:
            self._response = self._seen(self._picture.start)
        if self._response is None:
            try:
                document = self._skim.document() if self._skim is not None else None
                route = self._watched.route
                self._response = route.reader.response_of(document, self._watched.request, route)
            except Exception as error:
                self._response = ImageResponse()
                self._note("answer", error)
        return self._response

    def _seen(self, start: bytes) -> ImageResponse:
        """Return what an answer says that is a picture itself."""
        is_image = bool(start) and 200 <= (self._wire.status or 0) < 300
        refusal = self._refusal() if is_image else None
        images = int(is_image and refusal is None)
        return ImageResponse(readable=True, images=images, size=size_in(start), error_type=refusal)

    def _refusal(self) -> str | None:
        """Return what a header says in place of a word that the route requires; None where all is well."""
        for name, wanted in self._watched.route.response.required.items():
            said = first(self._wire.headers, (name.lower().encode(),))
            if said is not None and not is_one_of(said, wanted):
                return bounded(said, ERROR_LIMIT)
        return None

    def _end(self, outcome: Outcome, error_type: str | None, *, sent: bool = True) -> None:
        try:
            end = self._ends.pop()
        except IndexError:
            return
        self._wire.duration = self._clock.monotonic() - self._started
        self._take = self._skim = None
        end(self._wire, self._response or ImageResponse(), outcome, error_type, sent=sent)
