"""The client libraries that are installed, behind one interface."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import pixelmeter
from pixelmeter.testing import Gateway
from pixelmeter.testing.demo.work import Call

__all__ = ["Caller", "callers", "installed"]

_PATHS = {"generate": "/images/generations", "edit": "/images/edits"}
_KEY = "sk-demo"


class Caller(Protocol):
    """A client of some kind; `client` is what is instrumented."""

    client: Any

    def speaks(self, call: Call) -> bool:
        """Return whether the client can make this call."""
        ...

    async def make(self, call: Call) -> None:
        """Make the call; the failures that the gateway was told to give are swallowed."""
        ...

    async def close(self) -> None:
        """Close the client."""
        ...


class _OpenAI:
    def __init__(self, client: Any, errors: type[Exception]) -> None:
        self.client = client
        self._errors = errors
        self._is_async = type(client).__name__.startswith("Async")

    def speaks(self, call: Call) -> bool:
        return not call.is_job

    async def make(self, call: Call) -> None:
        with contextlib.suppress(self._errors):
            if self._is_async:
                answer = await self._ask(call)
                if call.is_streamed:
                    async for _ in answer:
                        pass
            else:
                await asyncio.to_thread(self._make, call)

    async def close(self) -> None:
        closing = self.client.close()
        if self._is_async:
            await closing

    def _make(self, call: Call) -> None:
        answer = self._ask(call)
        if call.is_streamed:
            deque(answer, maxlen=0)

    def _ask(self, call: Call) -> Any:
        options: dict[str, Any] = {"extra_headers": _told(*call.answers)}
        if call.patience is not None:
            options["timeout"] = call.patience
        if call.operation == "edit":
            return self.client.images.edit(image=_pictures(call), **call.fields, **options)
        return self.client.images.generate(**call.fields, **options)


class _AIgateway:
    def __init__(self, client: Any, errors: type[Exception]) -> None:
        self.client = client
        self._errors = errors
        self._is_async = type(client).__name__.startswith("Async")

    def speaks(self, call: Call) -> bool:
        return call.is_plain

    async def make(self, call: Call) -> None:
        # The package has no method for images yet; this is what its other methods use.
        arguments = ("POST", "/v1" + _PATHS[call.operation])
        with contextlib.suppress(self._errors):
            if self._is_async:
                await self.client._request(*arguments, json=call.fields)
            else:
                await asyncio.to_thread(self.client._request, *arguments, json=call.fields)

    async def close(self) -> None:
        closing = self.client.close()
        if self._is_async:
            await closing


class _Bare:
    """A client of httpx or httpx2, in a program that retries by itself and marks the attempts as one call."""

    def __init__(self, client: Any, errors: type[Exception]) -> None:
        self.client = client
        self._errors = errors
        self._is_async = hasattr(client, "aclose")

    def speaks(self, call: Call) -> bool:
        return True

    async def make(self, call: Call) -> None:
        sent: dict[str, Any] = {"json": call.fields}
        if call.files:
            fields = {name: str(value) for name, value in call.fields.items()}
            sent = {"data": fields, "files": [("image[]", picture) for picture in _pictures(call)]}
        if call.patience is not None:
            sent["timeout"] = call.patience
        with pixelmeter.call():
            for answer in call.answers:
                with contextlib.suppress(self._errors):
                    response = await self._do(self.client.post, _PATHS[call.operation], headers=_told(answer), **sent)
                    if call.is_job:
                        await self._await(response.json()["id"])

    async def close(self) -> None:
        await self._do(self.client.aclose if self._is_async else self.client.close)

    async def _await(self, job: str) -> None:
        # The stand-in's jobs go on by the number of polls, so there is no time to wait for.
        while (await self._do(self.client.get, f"/jobs/{job}")).json()["status"] != "completed":
            pass

    async def _do(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if self._is_async:
            return await method(*arguments, **options)
        return await asyncio.to_thread(method, *arguments, **options)


def installed() -> tuple[list[str], list[str]]:
    """Return which of the clients' packages are here, and which are not."""
    names = ("openai", "aigateway", "httpx", "httpx2")
    here = [name for name in names if find_spec(name)]
    return here, [name for name in names if name not in here]


def callers(gateway: Gateway, libraries: list[str]) -> list[Caller]:
    """Return a caller of each kind that the libraries give, sync and async."""
    made: list[Caller] = []
    for name in libraries:
        library = import_module(name)
        if name == "openai":
            made += _openai(library, gateway)
        elif name == "aigateway":
            for kind in (library.AIgateway, library.AsyncAIgateway):
                made.append(_AIgateway(kind(api_key=_KEY, base_url=gateway.root), library.AIgatewayError))
        else:
            for kind in (library.Client, library.AsyncClient):
                made.append(_Bare(kind(base_url=gateway.url, timeout=30), library.TransportError))
    return made


def _openai(library: Any, gateway: Gateway) -> list[Caller]:
    httpx = import_module("httpx")
    # Its own choice of HTTP library, and httpx in its place, as programs pass that have not moved to httpx2.
    kinds = (
        (library.OpenAI, None),
        (library.AsyncOpenAI, None),
        (library.OpenAI, httpx.Client(timeout=30)),
        (library.AsyncOpenAI, httpx.AsyncClient(timeout=30)),
    )
    return [
        _OpenAI(kind(base_url=gateway.url, api_key=_KEY, http_client=http_client), library.OpenAIError)
        for kind, http_client in kinds
    ]


def _told(*answers: dict[str, Any]) -> dict[str, str]:
    return {"x-test-behaviour": json.dumps(answers)}


def _pictures(call: Call) -> list[tuple[str, bytes]]:
    return [(f"{number}.png", b"\x89PNG\r\n\x1a\n") for number in range(call.files)]
