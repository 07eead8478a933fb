"""requests behind the face of `tests.clients`; what it rides on is that of `tests.urllib3_kit`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, MaxRetryError

from tests.clients import Client, seen, timeless
from tests.servers import ScriptedServer
from tests.urllib3_kit import Urllib3Kit, always_to, chunks_of, idle_in

__all__ = ["REQUESTS"]


class RequestsKit(Urllib3Kit):
    """Sessions."""

    has: ClassVar[frozenset[str]] = frozenset({"demand", "forgets"})

    def client(
        self, *, connections: int | None = None, transport: ScriptedServer | None = None, **options: Any
    ) -> Client:
        session = requests.Session()
        session.trust_env = options.pop("trust_env", False)
        if connections is not None:
            session.mount("http://", HTTPAdapter(pool_maxsize=connections, pool_block=True))
        if transport is not None:
            always_to(transport.port, session.adapters["http://"].poolmanager)  # type: ignore[attr-defined]
        return RequestsClient(self, session, transport, follow=options.pop("follow_redirects", False))

    def status(self, response: Any) -> int:
        status: int = response.status_code
        return status

    def json(self, response: Any) -> Any:
        return response.json()

    def downloaded(self, response: Any) -> int | None:
        return None

    def error_behind(self, view: list[Any]) -> type[BaseException]:
        kinds: list[type[BaseException]] = [kind for kind, *_ in view]
        return next(kind for kind in kinds if issubclass(kind, HTTPError) and kind is not MaxRetryError)

    def timeout(self, seconds: float, *, pool: float | None = None) -> Any:
        return seconds

    async def read(self, response: Any) -> bytes:
        content: bytes = response.content
        return content

    def raw(self, response: Any) -> Any:
        return chunks_of(response.raw)

    def decoded(self, response: Any) -> Any:
        return response.iter_content(None)

    def lines(self, response: Any) -> Any:
        return (line.decode() for line in response.iter_lines())


class RequestsClient(Client):
    """The face; `raw` is a session."""

    def __init__(self, kit: RequestsKit, raw: Any, server: ScriptedServer | None, *, follow: bool) -> None:
        super().__init__(kit, raw)
        self._server = server
        self._follow = follow

    async def post(self, url: str, **options: Any) -> Any:
        return await self.send(url, stream=False, **options)

    async def send(
        self, url: str, *, method: str = "POST", stream: bool = True, auth: Any = None, **request: Any
    ) -> Any:
        if "content" in request:
            request["data"] = request.pop("content")
        return self.raw.request(method, url, stream=stream, allow_redirects=self._follow, auth=auth, **request)

    @asynccontextmanager
    async def stream(self, url: str, **options: Any) -> AsyncIterator[Any]:
        with await self.send(url, **options) as response:
            yield response

    async def close(self) -> None:
        self.raw.close()
        if self._server is not None:
            self._server.close()

    @property
    def pool(self) -> list[str]:
        return idle_in(self.raw.adapters["http://"].poolmanager)


@seen.register
def _(response: requests.Response) -> dict[str, Any]:
    return {
        "class": type(response),
        "attributes": sorted(vars(response)),
        "status": response.status_code,
        "headers": [pair for pair in response.headers.items() if pair[0].lower() != "date"],
        "reason": response.reason,
        "content": timeless(vars(response)["_content"] or b""),
        "consumed": vars(response)["_content_consumed"],
        "history": [earlier.status_code for earlier in response.history],
        "url": response.url.partition("://")[2].partition("/")[2],
        "raw": seen(response.raw),
    }


REQUESTS = [RequestsKit(requests, "sync")]
"""The one way to use it."""
