"""Where pages ask the ledger: in threads, a few at once, each with a reader of its own and for a limited time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar

from pixelmeter.ledger.reader import LedgerReader, is_too_long, reading_ledger

__all__ = ["Busy", "Desk", "TooLong"]

_Answer = TypeVar("_Answer")
_PLACES = 6
# Less than a client has for an answer (`serve.connections.Limits`).
_SECONDS = 20.0
# A database that does not answer at all cannot be told to break off.
_GRACE_SECONDS = 5.0


class Busy(Exception):
    """As many questions as may be asked at once are being asked."""


class TooLong(Exception):
    """A question took longer than it may."""


class Desk:
    """Asks a ledger. Threads cannot be ended while a database hangs: they keep their places until it lets go."""

    def __init__(self, url: str, *, places: int = _PLACES, seconds: float = _SECONDS) -> None:
        """`url` names the ledger; at most so many `places` ask at once, for so many seconds each."""
        self.url = url
        self.seconds = seconds
        self._places = threading.BoundedSemaphore(places)

    async def answer(self, ask: Callable[[LedgerReader], _Answer]) -> _Answer:
        """Return what is asked of the ledger as it is at one moment. Raises Busy, TooLong, LedgerError."""
        return await self.work(lambda: self._ask(ask), self.seconds + _GRACE_SECONDS)

    async def work(self, work: Callable[[], _Answer], patience: float) -> _Answer:
        """Return what a thread finds within so many seconds. Raises Busy, TooLong, and what it raises."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[_Answer] = loop.create_future()

        def run() -> None:
            try:
                found = self._released(work)
            except Exception as error:
                _call(loop, _fail, answered, error)
            else:
                _call(loop, _fulfil, answered, found)

        self._start(run)
        try:
            return await asyncio.wait_for(answered, patience)
        except TimeoutError:
            raise TooLong from None

    async def pieces(self, ask: Callable[[LedgerReader], Iterator[str]]) -> AsyncIterator[bytes]:
        """Return what is made of the ledger, as it is made. Raises what goes wrong before the first piece."""
        loop = asyncio.get_running_loop()
        made: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        gone = threading.Event()

        def send(piece: bytes | Exception | None) -> None:
            _call(loop, made.put_nowait, piece)

        def run() -> None:
            try:
                self._released(lambda: self._ask(lambda reader: _send_all(ask(reader), gone, send)))
            except Exception as error:
                send(error)
            send(None)

        self._start(run)
        first = await made.get()
        if isinstance(first, Exception):
            raise first
        return _following(first, made, gone)

    def _ask(self, ask: Callable[[LedgerReader], _Answer]) -> _Answer:
        # Opened for each question: since the last one the file may have been replaced, or its schema upgraded.
        with reading_ledger(self.url) as reader:
            try:
                with reader.time_limit(self.seconds):
                    return ask(reader)
            except Exception as error:
                if is_too_long(error):
                    raise TooLong from None
                raise

    def _start(self, run: Callable[[], None]) -> None:
        """Have a thread run, which gives its place back by `_released`."""
        if not self._places.acquire(blocking=False):
            raise Busy
        try:
            threading.Thread(target=run, name="pixelmeter-page", daemon=True).start()
        except RuntimeError:
            # The machine has no more threads for now.
            self._places.release()
            raise Busy from None

    def _released(self, work: Callable[[], _Answer]) -> _Answer:
        """Return what work finds, once the place is given back: whoever asks again has it then."""
        try:
            return work()
        finally:
            self._places.release()


async def _following(
    first: bytes | None, made: asyncio.Queue[bytes | Exception | None], gone: threading.Event
) -> AsyncIterator[bytes]:
    """Yield pieces to the last; an error ends them as well."""
    try:
        piece: bytes | Exception | None = first
        while isinstance(piece, bytes):
            yield piece
            piece = await made.get()
    finally:
        gone.set()


def _send_all(pieces: Iterator[str], gone: threading.Event, send: Callable[[bytes], None]) -> None:
    """Send pieces, until whoever asked has gone."""
    for piece in pieces:
        if gone.is_set():
            return
        send(piece.encode())


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: object) -> None:
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:
        # The server has ended, and with it whoever asked.
        return


def _fulfil(answered: asyncio.Future[_Answer], found: _Answer) -> None:
    if not answered.done():
        answered.set_result(found)


def _fail(answered: asyncio.Future[_Answer], error: Exception) -> None:
    if not answered.done():
        answered.set_exception(error)
