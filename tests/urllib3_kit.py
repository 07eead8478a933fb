"""urllib3 behind the face of `tests.clients`: its wire is a server on loopback that answers by a script."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ClassVar

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.util.connection import create_connection

from pixelmeter import Meter
from pixelmeter.drivers import urllib3 as driver
from tests.clients import Body, Client, Kit, seen, timeless
from tests.servers import Scripted, ScriptedServer

__all__ = ["URLLIB3", "Urllib3Kit", "always_to", "chunks_of", "idle_in"]


class Urllib3Kit(Kit):
    """Managers of pools."""

    has: ClassVar[frozenset[str]] = frozenset({"demand", "forgets", "logs", "waits"})
    informational: ClassVar[list[int]] = [100]

    def client(
        self,
        *,
        connections: int | None = None,
        transport: ScriptedServer | None = None,
        **options: Any,
    ) -> Client:
        follow = options.pop("follow_redirects", False)
        if connections is not None:
            options |= {"maxsize": connections, "block": True}
        # It reads no environment: a program that wants its proxy names it.
        proxy = os.environ["HTTP_PROXY"] if options.pop("trust_env", False) else None
        manager: Any = urllib3.PoolManager(**options) if proxy is None else urllib3.ProxyManager(proxy, **options)
        if transport is not None:
            always_to(transport.port, manager)
        return Urllib3Client(self, manager, transport, follow=follow)

    def meter(self, raw: Any, meter: Meter) -> None:
        driver.refuse_another(raw, meter)
        driver.meter_client(raw, meter, provisional=False)

    def wire(self, answer: Callable[[Any], Any], close: Callable[[], Any] = lambda: None) -> Any:
        return ScriptedServer(answer)

    def response(self, status: int, headers: dict[str, str], body: Body) -> Any:
        return Scripted(status, headers, body)

    def status(self, response: Any) -> int:
        status: int = response.status
        return status

    def json(self, response: Any) -> Any:
        return json.loads(response.data)

    def downloaded(self, response: Any) -> int | None:
        size: int = response.tell()
        return size

    def timeout(self, seconds: float, *, pool: float | None = None) -> Any:
        return {"timeout": seconds, "pool_timeout": pool}

    async def read(self, response: Any) -> bytes:
        content: bytes = response.data
        return content

    async def close(self, response: Any) -> None:
        response.close()

    def let_go(self, response: Any) -> None:
        pass

    def raw(self, response: Any) -> Any:
        return chunks_of(response)

    def decoded(self, response: Any) -> Any:
        return response.stream(decode_content=True)

    def lines(self, response: Any) -> Any:
        return (line.decode().rstrip("\n") for line in response)


def chunks_of(response: Any) -> Iterator[bytes]:
    """Yield the chunks of a body as they were sent, or else what has arrived."""
    if response.chunked:
        yield from response.stream(decode_content=False)
        return
    while chunk := response.read1(decode_content=False):
        yield chunk


def idle_in(manager: Any) -> list[str]:
    """Return a word for each connection that a manager keeps for what is sent next."""
    pools = [manager.pools[key] for key in manager.pools.keys()]  # noqa: SIM118 (it cannot be iterated over)
    return ["idle" for pool in pools for each in pool.pool.queue if each is not None and each.is_connected]


def always_to(port: int, manager: Any) -> None:
    """Have every name mean one port of this machine, for a manager that has sent nothing yet."""
    manager.pool_classes_by_scheme = {"http": partial(_PoolTo, port)}


class Urllib3Client(Client):
    """The face; `raw` is a manager of pools."""

    def __init__(self, kit: Kit, raw: Any, server: ScriptedServer | None, *, follow: bool) -> None:
        super().__init__(kit, raw)
        self._server = server
        self._follow = follow

    async def post(self, url: str, **options: Any) -> Any:
        return self.raw.request("POST", url, **self._translated(options))

    async def send(
        self, url: str, *, method: str = "POST", stream: bool = True, auth: Any = None, **request: Any
    ) -> Any:
        return self.raw.request(method, url, preload_content=not stream, **self._translated(request))

    @asynccontextmanager
    async def stream(self, url: str, **options: Any) -> AsyncIterator[Any]:
        with await self.send(url, **options) as response:
            yield response

    async def close(self) -> None:
        self.raw.clear()
        if self._server is not None:
            self._server.close()

    @property
    def pool(self) -> list[str]:
        return idle_in(self.raw)

    def _translated(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return urllib3's options for what httpx calls by other names."""
        # A request that fails is not sent again.
        options = {"retries": urllib3.Retry(None, connect=0, read=0, redirect=5) if self._follow else False} | options
        if isinstance(options.get("timeout"), dict):
            options |= options.pop("timeout")
        if "content" in options:
            options["body"] = options.pop("content")
        if "files" in options:
            files = {name: _file(file) for name, file in options.pop("files").items()}
            options["fields"] = options.pop("data", {}) | files
        return options


def _file(file: Any) -> Any:
    """Return a file of a form in memory: it takes no other."""
    name, content, *kind = file if isinstance(file, tuple) else ("upload", file)
    return (name, content if isinstance(content, bytes) else content.read(), *kind)


class _ConnectionTo(HTTPConnection):
    """Has every name mean one port of this machine."""

    def __init__(self, *args: Any, to: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._to = to

    def _new_conn(self) -> socket.socket:
        return create_connection(("127.0.0.1", self._to), socket_options=self.socket_options)


class _PoolTo(HTTPConnectionPool):
    def __init__(self, to: int, *args: Any, **kwargs: Any) -> None:
        self.ConnectionCls = partial(_ConnectionTo, to=to)  # type: ignore[assignment]
        super().__init__(*args, **kwargs)


@seen.register
def _(response: urllib3.BaseHTTPResponse) -> dict[str, Any]:
    return {
        "class": type(response),
        "attributes": sorted(vars(response)),
        "status": response.status,
        "headers": [pair for pair in response.headers.items() if pair[0].lower() != "date"],
        "version": response.version,
        "reason": response.reason,
        "closed": response.closed,
        "downloaded": response.tell(),
        "length remaining": response.length_remaining,
        "connection": type(response.connection),
        "content": timeless(getattr(response, "_body", None) or b""),
        "history": [] if response.retries is None else [earlier.status for earlier in response.retries.history],
        "url": (response.url or "").partition("://")[2].partition("/")[2],
        "readable": response.readable(),
    }


URLLIB3 = [Urllib3Kit(urllib3, "sync")]
"""The one way to use it."""
