"""One face over the clients of HTTP libraries, sync and async, so that one test body runs on all of them.

Here are those of httpx and httpx2; `tests.kits` has all.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, ClassVar, Literal, TypeVar

import httpx
import httpx2
import trio

import pixelmeter
from pixelmeter import Meter

__all__ = ["KITS", "TRIO", "Body", "Client", "Kit", "each", "failure", "seen", "settled", "timeless"]

T = TypeVar("T")


async def settled(value: Any) -> Any:
    """Return the value, awaited if it is an awaitable: what lets a sync call pass for an async one."""
    return await value if inspect.isawaitable(value) else value


async def each(source: Any) -> AsyncIterator[Any]:
    """Iterate over a sync or an async iterable."""
    if hasattr(source, "__aiter__"):
        async for item in source:
            yield item
    else:
        for item in source:
            yield item


class Body:
    """The script of a response body: chunks to yield, and an exception to raise where one stands; counts its closes."""

    def __init__(self, *script: bytes | BaseException) -> None:
        self.script = script
        self.closes = 0


@dataclass(frozen=True)
class Kit:
    """A library and a colour."""

    package: Any
    colour: Literal["sync", "asyncio", "trio"]

    has: ClassVar[frozenset[str]] = frozenset(
        {"transports", "demand", "extensions", "flows", "forgets", "hooks", "logs", "pickles", "sdks", "waits"}
    )
    """What tests may ask for (`tests.kits.on`):

    - transports: objects in the network's place, which give responses and raise errors that a test has made; a library
      without them meets a server that answers by the same script
    - demand: no more is read from a connection than the caller asks for, so that what it sees does not depend on what
      has arrived
    - extensions, flows, hooks: data that go along with a request, authentication that sends again, functions that see
      each response
    - forgets: a response that nobody has read or closed can be let go of, and nobody is warned
    - logs, pickles: each request is logged, responses can be pickled
    - sdks: openai's clients send through it
    - waits: a call may say how long it waits for a connection of the pool
    """

    def __str__(self) -> str:
        return f"{self.package.__name__}-{self.colour}"

    @property
    def is_async(self) -> bool:
        return self.colour != "sync"

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a test body to its end; the sync one must get there without ever suspending."""
        if self.colour == "asyncio":
            return asyncio.run(coroutine)
        if self.colour == "trio":
            return trio.run(lambda: coroutine)
        try:
            coroutine.send(None)
        except StopIteration as end:
            result: T = end.value
            return result
        coroutine.close()
        raise AssertionError("a sync client suspended")

    def client(self, *, connections: int | None = None, **options: Any) -> Client:
        """Return a new client, with so many connections at most.

        It trusts everybody, because reading the certificates takes longer than a test.
        """
        if connections is not None:
            options["limits"] = self.package.Limits(max_connections=connections)
        kind = self.package.AsyncClient if self.is_async else self.package.Client
        return Client(self, kind(**{"verify": False} | options))

    def mock(self, handler: Callable[[Any], Any]) -> Any:
        """Return the library's MockTransport, which answers with responses that may have been read already."""
        return self.package.MockTransport(handler)

    def wire(self, answer: Callable[[Any], Any], close: Callable[[], Any] = lambda: None) -> Any:
        """Return a transport that answers with `answer(request)`, and closes with `close()`, awaited if need be."""
        library = self.package
        if self.is_async:

            class AsyncWire(library.AsyncBaseTransport):  # type: ignore[misc, name-defined]
                async def handle_async_request(self, request: Any) -> Any:
                    return await settled(answer(request))

                async def aclose(self) -> None:
                    await settled(close())

            return AsyncWire()

        class Wire(library.BaseTransport):  # type: ignore[misc, name-defined]
            def handle_request(self, request: Any) -> Any:
                return answer(request)

            def close(self) -> None:
                close()

        return Wire()

    informational: ClassVar[list[int]] = [100, 103]
    """The statuses before that of an answer which the library passes over."""
    undecoded: ClassVar[dict[str, Any]] = {}
    """The options of a client whose raw chunks are to be as they were sent."""

    def response(self, status: int, headers: dict[str, str], body: Body) -> Any:
        """Return what `answer` of a wire returns for a response with this body."""
        return self.package.Response(status, headers=headers, stream=self.stream(body))

    def meter(self, raw: Any, meter: Meter) -> None:
        """Instrument a client of the library."""
        pixelmeter.instrument(raw, meter)

    def stream(self, body: Body) -> Any:
        """Return a response stream that follows the script."""
        library = self.package
        if self.is_async:

            class AsyncStream(library.AsyncByteStream):  # type: ignore[misc, name-defined]
                async def __aiter__(self) -> AsyncIterator[bytes]:
                    for item in body.script:
                        if isinstance(item, BaseException):
                            raise item
                        yield item

                async def aclose(self) -> None:
                    body.closes += 1

            return AsyncStream()

        class Stream(library.SyncByteStream):  # type: ignore[misc, name-defined]
            def __iter__(self) -> Any:
                for item in body.script:
                    if isinstance(item, BaseException):
                        raise item
                    yield item

            def close(self) -> None:
                body.closes += 1

        return Stream()

    def status(self, response: Any) -> int:
        """Return a response's status."""
        status: int = response.status_code
        return status

    def json(self, response: Any) -> Any:
        """Return what a response says that has been read."""
        return response.json()

    def downloaded(self, response: Any) -> int | None:
        """Return how many bytes a response that has been read was on the wire; None where the library forgets it."""
        size: int = response.num_bytes_downloaded
        return size

    def error_behind(self, view: list[Any]) -> type[BaseException]:
        """Return what a failure (see `failure`) is to the library that has sent the request."""
        kind: type[BaseException] = view[0][0]
        return kind

    def timeout(self, seconds: float, *, pool: float | None = None) -> Any:
        """Return the library's own time limits: for each step, and for the wait for a connection of the pool."""
        return self.package.Timeout(seconds, **({} if pool is None else {"pool": pool}))

    async def read(self, response: Any) -> bytes:
        """Read the response to its end."""
        content: bytes = await (response.aread() if self.is_async else settled(response.read()))
        return content

    async def close(self, response: Any) -> None:
        """Close the response."""
        await settled(response.aclose() if self.is_async else response.close())

    def let_go(self, response: Any) -> None:
        """Break the cycle in which a response is, so that its body is collected with the last reference to it."""
        response.stream = None

    def raw(self, response: Any) -> Any:
        """Return an iterator over the raw chunks: a generator of the library's own, for `each`."""
        return response.aiter_raw() if self.is_async else response.iter_raw()

    def decoded(self, response: Any) -> Any:
        """Return an iterator over the decoded chunks, for `each`."""
        return response.aiter_bytes() if self.is_async else response.iter_bytes()

    def lines(self, response: Any) -> Any:
        """Return an iterator over the lines, without their ends, for `each`."""
        return response.aiter_lines() if self.is_async else response.iter_lines()

    async def together(self, makers: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
        """Run all of them at once: as tasks, or each in a thread."""
        if self.is_async:
            return list(await asyncio.gather(*(maker() for maker in makers)))
        with ThreadPoolExecutor(len(makers)) as threads:
            return list(threads.map(lambda maker: self.run(_awaited(maker)), makers))


class Client:
    """The face; `raw` is the library's own client."""

    def __init__(self, kit: Kit, raw: Any) -> None:
        self.kit = kit
        self.raw = raw

    async def post(self, url: str, **options: Any) -> Any:
        """Post, read the answer and return it."""
        return await settled(self.raw.post(url, **options))

    async def send(
        self, url: str, *, method: str = "POST", stream: bool = True, auth: Any = None, **request: Any
    ) -> Any:
        """Send a request and return its response, unread."""
        built = self.raw.build_request(method, url, **request)
        options = {} if auth is None else {"auth": auth}
        return await settled(self.raw.send(built, stream=stream, **options))

    @asynccontextmanager
    async def stream(self, url: str, **options: Any) -> AsyncIterator[Any]:
        """The client's own `stream` context."""
        manager = self.raw.stream("POST", url, **options)
        if self.kit.is_async:
            async with manager as response:
                yield response
        else:
            with manager as response:
                yield response

    async def close(self) -> None:
        """Close the client."""
        await settled(self.raw.aclose() if self.kit.is_async else self.raw.close())

    @property
    def pool(self) -> list[str]:
        """The connections of the client's pool, each in one word of its state."""
        pool = self.raw._transport._pool
        return sorted(
            next(word for word in ("idle", "closed", "active") if word in connection.info().lower())
            for connection in pool.connections
        )


KITS = [Kit(library, colour) for library in (httpx, httpx2) for colour in ("sync", "asyncio")]
"""The four combinations that everything is tested on."""
TRIO = [Kit(library, "trio") for library in (httpx, httpx2)]
"""Two more, for what depends on the event loop."""


@singledispatch
def seen(response: Any) -> dict[str, Any]:
    """Return what a caller can see of a response without changing it; each library's kit adds its own."""
    return {
        "class": type(response),
        "status": response.status_code,
        "headers": [pair for pair in response.headers.raw if pair[0].lower() != b"date"],
        "extensions": sorted(response.extensions),
        "version": response.http_version,
        "reason": response.reason_phrase,
        "closed": response.is_closed,
        "consumed": response.is_stream_consumed,
        "downloaded": response.num_bytes_downloaded,
        "elapsed": _has_elapsed(response),
        "content": timeless(getattr(response, "_content", b"")),
        "history": [earlier.status_code for earlier in response.history],
        "url": str(response.request.url),
    }


def timeless(content: bytes) -> bytes:
    """Return a body without the second in which it was made."""
    return re.sub(rb'"created(_at)?":\d+', b'"created":0', content)


def failure(error: BaseException) -> list[Any]:
    """Return what a caller can see of an exception and of those behind it."""
    found: list[Any] = []
    link: BaseException | None = error
    while link is not None:
        has_request = getattr(link, "_request", None) is not None
        # A cancellation's text names its scope by address.
        text = "" if isinstance(link, asyncio.CancelledError) else timeless(str(link).encode()).decode()
        found.append((type(link), text, has_request, link.__suppress_context__))
        link = link.__cause__ or link.__context__
    return found


def _has_elapsed(response: Any) -> bool:
    try:
        return response.elapsed is not None
    except RuntimeError:
        return False


async def _awaited(maker: Callable[[], Awaitable[T]]) -> T:
    return await maker()
