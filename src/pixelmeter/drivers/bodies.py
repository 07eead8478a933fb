"""Response bodies passed through unchanged, each chunk shown to the exchange first; sync and async."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import nullcontext
from typing import Any

from pixelmeter.core.exchange import Exchange
from pixelmeter.drivers.passage import tell
from pixelmeter.failures import Failures
from pixelmeter.fanout import amid_other_code

__all__ = ["AsyncTeeStream", "TeeStream"]


class _Over:
    """What nobody asks for any more when it is collected."""

    __slots__ = ("exchange", "failures")

    def __init__(self, exchange: Exchange, failures: Failures) -> None:
        self.exchange = exchange
        self.failures = failures


class _Open(_Over):
    """Ends the record of a body that nobody closes, when it is collected."""

    __slots__ = ()

    def __del__(self) -> None:
        # May run inside any other code of this thread, so it takes no lock: the exchange and the spool have none.
        tell(self.failures, _abandon, self.exchange, True, "never_closed")


class _Tee:
    def __init__(self, inner: Any, exchange: Exchange, failures: Failures) -> None:
        self._inner = inner
        self._exchange = exchange
        self._failures = failures
        self._collected: _Over = _Over(exchange, failures)
        self._collected.__class__ = _Open

    def _tell(self, step: Callable[..., object], *what: object) -> None:
        try:
            step(*what)
            if self._exchange.is_over:
                # A finalizer swallows what a signal handler raises while it runs.
                self._collected.__class__ = _Over
        except Exception as error:
            self._failures.note("exchange", error)

    def _closed(self) -> None:
        # A generator that is collected ends with this exception: `client.stream(...)` closes the body then.
        self._tell(_abandon, self._exchange, sys.exc_info()[0] is GeneratorExit, None)


def _abandon(exchange: Exchange, collected: bool, why: str | None) -> None:
    if not exchange.is_over:
        with amid_other_code() if collected else nullcontext():
            exchange.abandon(why)


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
