"""The one place that is written twice: a sync and an async driver of an exchange.

Knows httpx and httpx2 only by shape; `pixelmeter.httpx` and `pixelmeter.httpx2` bind it to each.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import nullcontext
from types import TracebackType
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, cast

from pixelmeter.core.exchange import Exchange
from pixelmeter.failures import Failures
from pixelmeter.fanout import amid_other_code
from pixelmeter.meter import Meter
from pixelmeter.outgoing import RequestLike

__all__ = ["AsyncDriver", "AsyncTeeStream", "SyncDriver", "TeeStream"]


class ResponseLike(Protocol):
    """What both libraries' responses have."""

    status_code: int
    is_closed: bool
    is_stream_consumed: bool
    stream: Any
    extensions: Any

    @property
    def headers(self) -> Any: ...
    @property
    def content(self) -> bytes: ...


Req = TypeVar("Req", bound=RequestLike, contravariant=True)
Res = TypeVar("Res", bound=ResponseLike, covariant=True)


class TransportLike(Protocol[Req, Res]):
    """A sync transport of either library."""

    def handle_request(self, request: Req) -> Res: ...
    def close(self) -> None: ...
    def __enter__(self) -> Any: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None: ...


class AsyncTransportLike(Protocol[Req, Res]):
    """An async transport of either library."""

    async def handle_async_request(self, request: Req) -> Res: ...
    async def aclose(self) -> None: ...
    async def __aenter__(self) -> Any: ...
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None: ...


def _tell(failures: Failures, step: Callable[..., None], *what: object) -> None:
    """Let an exchange take a step; when that fails it is counted, and what is watched goes on."""
    try:
        step(*what)
    except Exception as error:
        failures.note("exchange", error)


class _Tee:
    """Holds a body and its exchange; a body that nobody closes ends its record when it is collected."""

    def __init__(self, inner: Any, exchange: Exchange, failures: Failures) -> None:
        self._inner = inner
        self._exchange = exchange
        self._failures = failures

    def __del__(self) -> None:
        # May run inside any other code of this thread, so it takes no lock: the exchange and the spool have none.
        _tell(self._failures, self._abandon, True, "never_closed")

    def _closed(self) -> None:
        # A generator that is collected ends with this exception: `client.stream(...)` closes the body then.
        _tell(self._failures, self._abandon, sys.exc_info()[0] is GeneratorExit)

    def _abandon(self, collected: bool, why: str | None = None) -> None:
        if not self._exchange.is_over:
            with amid_other_code() if collected else nullcontext():
                self._exchange.abandon(why)


class TeeStream(_Tee):
    """A body passed through unchanged, each chunk shown to the exchange first."""

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._inner:
                _tell(self._failures, self._exchange.feed, chunk)
                yield chunk
        except GeneratorExit:
            raise
        except BaseException as error:
            _tell(self._failures, self._exchange.fail, error)
            raise
        _tell(self._failures, self._exchange.finish)

    def close(self) -> None:
        self._closed()
        self._inner.close()


class AsyncTeeStream(_Tee):
    """Async twin of TeeStream."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = self._inner.__aiter__()
        try:
            async for chunk in chunks:
                _tell(self._failures, self._exchange.feed, chunk)
                yield chunk
        except GeneratorExit:
            raise
        except BaseException as error:
            _tell(self._failures, self._exchange.fail, error)
            raise
        finally:
            # httpx2 closes the generator that it iterates over, which without us would be this one.
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()
        _tell(self._failures, self._exchange.finish)

    async def aclose(self) -> None:
        self._closed()
        await self._inner.aclose()


class _Driver:
    """What the sync and async drivers share: everything that never waits."""

    _tee: ClassVar[type[TeeStream | AsyncTeeStream]]
    meter: Meter
    provisional = False
    """Whether the meter is one that nobody named, which gives way to one that somebody does."""

    def __getattr__(self, name: str) -> Any:
        # Whoever looks for something of the wrapped transport finds it.
        try:
            inner = self.__dict__["inner"]
        except KeyError:
            raise AttributeError(name) from None
        return getattr(inner, name)

    def _watch(self, response: ResponseLike, exchange: Exchange) -> None:
        try:
            # Already read: a mock, a cache, a retrying layer that looked inside. Nobody will iterate it again.
            read = response.is_closed or response.is_stream_consumed
            cached = _from_cache(response.extensions)
            exchange.respond(response.status_code, response.headers.raw, decoded=read, cached=cached)
            if response.status_code == 101:
                exchange.finish()
            elif read:
                exchange.feed(response.content)
                exchange.finish()
            else:
                response.stream = self._tee(response.stream, exchange, self.meter.failures)
        except Exception as error:
            self.meter.failures.note("response", error)
            _tell(self.meter.failures, exchange.abandon, "unreadable")


def _from_cache(extensions: Mapping[str, Any]) -> bool:
    """Return whether the transport below answered from a cache: how hishel says so, version 2, then version 1."""
    marks = extensions.get("caching")
    if marks is not None and isinstance(marks, Mapping):
        return bool(cast("Mapping[str, object]", marks).get("from_cache"))
    return bool(extensions.get("hishel_from_cache"))


class SyncDriver(_Driver, Generic[Req, Res]):
    """Meters the image calls that pass through a sync transport."""

    def __init__(self, meter: Meter, inner: TransportLike[Req, Res]) -> None:
        self.meter = meter
        self.inner: TransportLike[Req, Res] = inner

    def handle_request(self, request: Req) -> Res:
        """Send the request through the inner transport and return its response, the same object."""
        begun = self.meter.begin(request)
        if begun is None:
            return self.inner.handle_request(request)
        exchange, mark = begun
        try:
            response = self.inner.handle_request(request)
        except BaseException as error:
            _tell(self.meter.failures, exchange.fail, error)
            raise
        finally:
            _tell(self.meter.failures, mark.leave)
        self._watch(response, exchange)
        return response

    def close(self) -> None:
        """Close the inner transport."""
        self.inner.close()

    def __enter__(self) -> Self:
        self.inner.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.inner.__exit__(exc_type, exc_value, traceback)


class AsyncDriver(_Driver, Generic[Req, Res]):
    """Meters the image calls that pass through an async transport."""

    def __init__(self, meter: Meter, inner: AsyncTransportLike[Req, Res]) -> None:
        self.meter = meter
        self.inner: AsyncTransportLike[Req, Res] = inner

    async def handle_async_request(self, request: Req) -> Res:
        """Send the request through the inner transport and return its response, the same object."""
        begun = self.meter.begin(request)
        if begun is None:
            return await self.inner.handle_async_request(request)
        exchange, mark = begun
        try:
            response = await self.inner.handle_async_request(request)
        except BaseException as error:
            _tell(self.meter.failures, exchange.fail, error)
            raise
        finally:
            _tell(self.meter.failures, mark.leave)
        self._watch(response, exchange)
        return response

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self.inner.aclose()

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.inner.__aexit__(exc_type, exc_value, traceback)
