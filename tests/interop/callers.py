"""One face over the clients that a program may have, so that one workload runs through each of them."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable
from typing import Any, Protocol

import aigateway
import httpx
import httpx2
import openai

from pixelmeter.testing import Gateway
from tests.clients import each, settled
from tests.interop.workload import PROMPT, Step, Work

__all__ = ["CALLERS", "Caller"]

_PATHS = {"generate": "/images/generations", "edit": "/images/edits", "variation": "/images/variations"}


class Caller(Protocol):
    """A client of some kind."""

    retries: bool
    """Whether the client repeats what failed, so that the steps of a work are attempts of one call."""

    @property
    def client(self) -> Any:
        """What is instrumented."""

    def speaks(self, work: Work) -> bool:
        """Return whether the client can ask for this at all."""
        ...

    async def make(self, work: Work) -> None:
        """Make the call, or one for each step where the client does not retry; failures are as they are told."""
        ...

    async def close(self) -> None:
        """Close the client."""
        ...


class _OpenAI:
    retries = True

    def __init__(self, gateway: Gateway, client: Any) -> None:
        self.client = client
        elsewhere = gateway.url.replace("127.0.0.1", "localhost")
        self._clients = {"aigateway": client, "openai": client.with_options(base_url=elsewhere)}

    def speaks(self, work: Work) -> bool:
        return True

    async def make(self, work: Work) -> None:
        # The SDK's own errors are told ones; a ValueError is what it raises for JSON that was cut off.
        with contextlib.suppress(openai.OpenAIError, ValueError):
            answer = await settled(self._ask(work, _headers(work, *work.steps)))
            if work.streamed:
                async for _ in each(answer):
                    pass

    async def close(self) -> None:
        await settled(self.client.close())

    def _ask(self, work: Work, headers: dict[str, str]) -> Any:
        client = self._clients[work.vendor]
        if work.operation == "generate":
            return client.images.generate(prompt=PROMPT, **work.fields, extra_headers=headers)
        files = [(f"{number}.png", b"png") for number in range(work.files)]
        if not files:
            body = {"prompt": PROMPT} | work.fields
            return client.post(_PATHS[work.operation], cast_to=object, body=body, options={"headers": headers})
        if work.operation == "edit":
            return client.images.edit(image=files, prompt=PROMPT, **work.fields, extra_headers=headers)
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            return client.images.create_variation(image=files[0], **work.fields, extra_headers=headers)


class _AIgateway:
    retries = False

    def __init__(self, gateway: Gateway, client: Any) -> None:
        self.client = client

    def speaks(self, work: Work) -> bool:
        return work.vendor == "aigateway" and not work.files

    async def make(self, work: Work) -> None:
        for step in work.steps:
            # It has no headers for a single request; nothing else runs before the request is built.
            self.client._client.headers.update(_headers(work, step))
            with contextlib.suppress(aigateway.AIgatewayError, ValueError):
                body = {"prompt": PROMPT} | work.fields
                await settled(self.client._request("POST", f"/v1{_PATHS[work.operation]}", json=body))

    async def close(self) -> None:
        await settled(self.client.close())


class _Bare:
    retries = False

    def __init__(self, gateway: Gateway, client: Any) -> None:
        self.client = client
        self._bases = {"aigateway": gateway.url, "openai": gateway.url.replace("127.0.0.1", "localhost")}
        self._async = hasattr(client, "aclose")

    def speaks(self, work: Work) -> bool:
        return True

    async def make(self, work: Work) -> None:
        body: dict[str, Any] = {"prompt": PROMPT} | work.fields
        files = [("image[]", (f"{number}.png", b"png")) for number in range(work.files)]
        sent = (
            {"data": {name: _text(value) for name, value in body.items()}, "files": files} if files else {"json": body}
        )
        url = self._bases[work.vendor] + _PATHS[work.operation]
        for step in work.steps:
            request = self.client.build_request("POST", url, headers=_headers(work, step), **sent)
            response = await settled(self.client.send(request, stream=work.streamed))
            if work.streamed:
                async for _ in each(response.aiter_lines() if self._async else response.iter_lines()):
                    pass
                await settled(response.aclose() if self._async else response.close())

    async def close(self) -> None:
        await settled(self.client.aclose() if self._async else self.client.close())


def _headers(work: Work, *steps: Step) -> dict[str, str]:
    told = json.dumps([step.behaviour for step in steps])
    return {"x-test-id": work.id, "x-test-behaviour": told}


def _text(value: object) -> str:
    return json.dumps(value) if isinstance(value, bool | int) else str(value)


def _sdk(kind: Any, http_client: Any) -> Callable[[Gateway], Caller]:
    return lambda gateway: _OpenAI(gateway, kind(base_url=gateway.url, api_key="sk-test", http_client=http_client()))


def _gateway_sdk(kind: Any) -> Callable[[Gateway], Caller]:
    return lambda gateway: _AIgateway(gateway, kind(api_key="sk-aig-test", base_url=gateway.root))


def _bare(kind: Any) -> Callable[[Gateway], Caller]:
    return lambda gateway: _Bare(gateway, kind())


CALLERS: dict[str, Callable[[Gateway], Caller]] = {
    "openai-sync": _sdk(openai.OpenAI, lambda: None),
    "openai-async": _sdk(openai.AsyncOpenAI, lambda: None),
    "openai-sync-legacy-httpx": _sdk(openai.OpenAI, httpx.Client),
    "openai-async-legacy-httpx": _sdk(openai.AsyncOpenAI, httpx.AsyncClient),
    "aigateway-sync": _gateway_sdk(aigateway.AIgateway),
    "aigateway-async": _gateway_sdk(aigateway.AsyncAIgateway),
    "httpx-sync": _bare(httpx.Client),
    "httpx-async": _bare(httpx.AsyncClient),
    "httpx2-sync": _bare(httpx2.Client),
    "httpx2-async": _bare(httpx2.AsyncClient),
}
"""How to make each kind of client, by name."""
