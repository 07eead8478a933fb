"""aiohttp behind the face of `tests.clients`: its wire is a server on loopback that answers by a script."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from pixelmeter import Meter
from pixelmeter.drivers import aiohttp as driver
from tests.clients import Body, Client, Kit, seen, timeless
from tests.servers import Scripted, ScriptedServer

__all__ = ["AIOHTTP"]


class AiohttpKit(Kit):
    """Sessions of aiohttp."""

    has: ClassVar[frozenset[str]] = frozenset({"waits"})
    undecoded: ClassVar[dict[str, Any]] = {"auto_decompress": False}

    def client(
        self, *, connections: int | None = None, transport: ScriptedServer | None = None, **options: Any
    ) -> Client:
        follow = options.pop("follow_redirects", False)
        resolver = None if transport is None else _AlwaysTo(transport.port)
        options["connector"] = aiohttp.TCPConnector(resolver=resolver, limit=connections or 100)
        return AiohttpClient(self, aiohttp.ClientSession(**options), transport, follow=follow)

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
        return json.loads(response._body)

    def downloaded(self, response: Any) -> int:
        size: int = response.content.total_raw_bytes
        return size

    def timeout(self, seconds: float, *, pool: float | None = None) -> Any:
        return aiohttp.ClientTimeout(sock_connect=seconds, sock_read=seconds, connect=pool)

    async def read(self, response: Any) -> bytes:
        content: bytes = await response.read()
        return content

    async def close(self, response: Any) -> None:
        response.close()

    def raw(self, response: Any) -> Any:
        return _chunks(response)

    def decoded(self, response: Any) -> Any:
        return _chunks(response)

    def lines(self, response: Any) -> Any:
        return _lines(response)


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the chunks of a body as they were sent."""
    async for chunk, _ in response.content.iter_chunks():
        if chunk:
            yield chunk


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[str]:
    async for line in response.content:
        yield line.decode().rstrip("\n")


class AiohttpClient(Client):
    """The face; `raw` is a session."""

    def __init__(self, kit: Kit, raw: Any, server: ScriptedServer | None, *, follow: bool) -> None:
        super().__init__(kit, raw)
        self._server = server
        self._follow = follow

    async def post(self, url: str, **options: Any) -> Any:
        response = await self.send(url, **options)
        await response.read()
        return response

    async def send(
        self, url: str, *, method: str = "POST", stream: bool = True, auth: Any = None, **request: Any
    ) -> Any:
        return await self.raw.request(method, url, **self._translated(request))

    @asynccontextmanager
    async def stream(self, url: str, **options: Any) -> AsyncIterator[Any]:
        async with self.raw.post(url, **self._translated(options)) as response:
            yield response

    async def close(self) -> None:
        await self.raw.close()
        if self._server is not None:
            self._server.close()

    @property
    def pool(self) -> list[str]:
        connector = self.raw.connector
        idle = sum(map(len, connector._conns.values()))
        return ["active"] * len(connector._acquired) + ["idle"] * idle

    def _translated(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return aiohttp's options for what httpx calls by other names."""
        options = {"allow_redirects": self._follow} | options
        if isinstance(options.get("timeout"), float | int):
            options["timeout"] = self.kit.timeout(options["timeout"])
        if "content" in options:
            options["data"] = options.pop("content")
        if "files" in options:
            form = aiohttp.FormData(options.get("data", {}))
            for name, file in options.pop("files").items():
                filename, content, kind = file if isinstance(file, tuple) else ("upload", file, None)
                form.add_field(name, content, filename=filename, content_type=kind)
            options["data"] = form
        return options


class _AlwaysTo(AbstractResolver):
    """Has every name mean one port of this machine."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host="127.0.0.1", port=self._port, family=2, proto=0, flags=0),
        ]

    async def close(self) -> None:
        pass


@seen.register
def _(response: aiohttp.ClientResponse) -> dict[str, Any]:
    return {
        "class": type(response),
        "status": response.status,
        "headers": [pair for pair in response.raw_headers if pair[0].lower() != b"date"],
        "version": response.version,
        "reason": response.reason,
        "content class": type(response.content),
        "content": timeless(response._body or b""),
        # Before that it depends on what of the body has arrived.
        "read": response._body is not None and (response.closed, sorted(vars(response))),
        "history": [earlier.status for earlier in response.history],
        "url": str(response.url).partition("://")[2].partition("/")[2],
        "request headers": sorted(response.request_info.headers),
    }


AIOHTTP = [AiohttpKit(aiohttp, "asyncio")]
"""The one way to use it."""
