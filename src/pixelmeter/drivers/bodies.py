"""Response bodies passed through unchanged, each chunk shown to the exchange first; sync and async."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

from pixelmeter.collected import Watch, watch
from pixelmeter.core.wire.exchange import Exchange
from pixelmeter.drivers.passage import tell
from pixelmeter.failures import Failures
from pixelmeter.fanout import amid_other_code

__all__ = ["AsyncTeeStream", "TeeStream"]


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
