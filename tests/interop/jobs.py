"""Programs that have jobs done through real SDKs against the stand-in gateway, and tell what their caller saw."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import aigateway
import fal_client
import httpx
from replicate.client import Client as ReplicateClient
from replicate.exceptions import ModelError

import pixelmeter
from pixelmeter.testing import Gateway

__all__ = ["PROGRAMS", "Act", "Program", "Seen", "Wish", "fal_at", "replicate_at", "wishes"]

Act = Literal["get", "cancel", "leave"]
Vendor = Literal["aigateway", "fal", "replicate", "black-forest-labs"]

PAUSE = 0.005
"""Seconds between two polls."""

PROMPT = "a red fox at dawn"


@dataclass(frozen=True, slots=True)
class Wish:
    """A job that a program is to have done, and how it goes."""

    id: str
    images: int
    act: Act
    """Wait for the result, cancel the job, or go away after the submit."""
    behaviour: dict[str, Any]
    """What the gateway is told at the submit."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a caller saw of the end of its job."""

    wish: str
    job: str | None
    """None where the SDK does not say."""
    end: Literal["completed", "failed", "cancelled", "open"]
    images: int = 0


@dataclass(frozen=True, slots=True)
class Program:
    """A way of having jobs done."""

    vendor: Vendor
    """The profile that a meter is to take the gateway for."""
    drive: Callable[[Gateway, pixelmeter.Meter, list[Wish]], Awaitable[list[Seen]]]
    """Have jobs done and return what was seen of each, in the order of the wishes."""
    acts: tuple[Act, ...] = ("get", "cancel", "leave")
    """What its interface can do."""
    most_images: int = 4
    says_job: bool = field(default=True)
    """Whether a caller learns the id of each job."""

    def wishes(self, count: int, seed: int = 0) -> list[Wish]:
        """Return jobs that this program can have done."""
        return wishes(count, self.acts, self.most_images, seed)


def wishes(count: int, acts: tuple[Act, ...], most_images: int, seed: int = 0) -> list[Wish]:
    """Return jobs of mixed ends: every way to go comes once before any comes twice."""
    source = random.Random(seed)
    ways: list[tuple[Act, dict[str, Any]]] = [
        ("get", {}),
        ("get", {"job_polls": 1}),
        ("get", {"job_polls": 4}),
        ("get", {"job_end": "failed"}),
        ("get", {"job_end": "failed_object"}),
        ("cancel", {}),
        ("cancel", {"job_cancel": "too_late"}),
        ("leave", {}),
        ("leave", {"job_end": "never"}),
    ]
    usable = [way for way in ways if way[0] in acts]
    chosen = [usable[number % len(usable)] for number in range(count)]
    return [
        Wish(f"{seed}-{number}", source.randint(1, most_images), act, behaviour)
        for number, (act, behaviour) in enumerate(chosen)
    ]


def headers_of(wish: Wish) -> dict[str, str]:
    """Return the headers of a submit."""
    return {"x-test-id": wish.id, "x-test-behaviour": json.dumps(wish.behaviour)}


@contextmanager
def fal_at(gateway: Gateway) -> Iterator[None]:
    """Point fal's SDK at a gateway: its queue at 127.0.0.1, and what answers with the images at localhost.

    FAL_RUN_HOST and FAL_QUEUE_RUN_HOST only change the host of its https URLs, so the URLs themselves are replaced.
    """
    names = ("QUEUE_URL_FORMAT", "RUN_URL_FORMAT")
    before = {name: getattr(fal_client.client, name) for name in names}
    for name, url in zip(names, (gateway.root, gateway.root.replace("127.0.0.1", "localhost")), strict=True):
        setattr(fal_client.client, name, f"{url}/")
    try:
        yield
    finally:
        for name, url in before.items():
            setattr(fal_client.client, name, url)


_FAL_APP = "fal-ai/flux/dev"


def _fal_arguments(wish: Wish) -> dict[str, Any]:
    return {"prompt": PROMPT, "num_images": wish.images, "image_size": "square_hd"}


def _fal_images(answer: Any) -> int:
    return len(answer["images"])


async def _fal_sync(gateway: Gateway, meter: pixelmeter.Meter, wanted: list[Wish]) -> list[Seen]:
    client = fal_client.SyncClient(key="any")
    pixelmeter.instrument(client, meter)

    def one(wish: Wish) -> Seen:
        handle = client.submit(_FAL_APP, _fal_arguments(wish), headers=headers_of(wish))
        if wish.act == "leave":
            return Seen(wish.id, handle.request_id, "open")
        if wish.act == "cancel":
            handle.cancel()
        try:
            answer = client.get_handle(_FAL_APP, handle.request_id).get(interval=PAUSE)
        except fal_client.client.FalClientHTTPError as error:
            return Seen(wish.id, handle.request_id, "cancelled" if error.status_code == 499 else "failed")
        return Seen(wish.id, handle.request_id, "completed", _fal_images(answer))

    with fal_at(gateway), client._client:
        return [one(wish) for wish in wanted]


async def _fal_async(gateway: Gateway, meter: pixelmeter.Meter, wanted: list[Wish]) -> list[Seen]:
    client = fal_client.AsyncClient(key="any")

    async def one(wish: Wish) -> Seen:
        handle = await client.submit(_FAL_APP, _fal_arguments(wish), headers=headers_of(wish))
        if wish.act == "leave":
            return Seen(wish.id, handle.request_id, "open")
        if wish.act == "cancel":
            await handle.cancel()
        try:
            answer = await handle.get(interval=PAUSE)
        except fal_client.client.FalClientHTTPError as error:
            return Seen(wish.id, handle.request_id, "cancelled" if error.status_code == 499 else "failed")
        return Seen(wish.id, handle.request_id, "completed", _fal_images(answer))

    # The SDK makes its client of httpx when it is first awaited.
    with fal_at(gateway):
        async with pixelmeter.instrument(await client._client, meter):
            return list(await asyncio.gather(*(one(wish) for wish in wanted)))


async def _fal_subscribe(gateway: Gateway, meter: pixelmeter.Meter, wanted: list[Wish]) -> list[Seen]:
    client = fal_client.SyncClient(key="any")
    pixelmeter.instrument(client, meter)

    def one(wish: Wish) -> Seen:
        ids: list[str] = []
        try:
            answer = client.subscribe(
                _FAL_APP,
                _fal_arguments(wish),
                headers=headers_of(wish),
                on_enqueue=ids.append,
                on_queue_update=lambda status: None,
                interval=PAUSE,
            )
        except fal_client.client.FalClientHTTPError:
            return Seen(wish.id, ids[0], "failed")
        return Seen(wish.id, ids[0], "completed", _fal_images(answer))

    with fal_at(gateway), client._client:
        return [one(wish) for wish in wanted]


async def _fal_subscribe_async(gateway: Gateway, meter: pixelmeter.Meter, wanted: list[Wish]) -> list[Seen]:
    client = fal_client.AsyncClient(key="any")

    async def one(wish: Wish) -> Seen:
        ids: list[str] = []
        told = headers_of(wish)
        try:
            answer = await client.subscribe(
                _FAL_APP, _fal_arguments(wish), headers=told, on_enqueue=ids.append, interval=PAUSE
            )
        except fal_client.client.FalClientHTTPError:
            return Seen(wish.id, ids[0], "failed")
        return Seen(wish.id, ids[0], "completed", _fal_images(answer))

    with fal_at(gateway):
        async with pixelmeter.instrument(await client._client, meter):
            return list(await asyncio.gather(*(one(wish) for wish in wanted)))


_REPLICATE_MODEL = "black-forest-labs/flux-schnell"


def replicate_at(gateway: Gateway) -> ReplicateClient:
    """Return Replicate's client at a gateway."""
    client = ReplicateClient(api_token="any", base_url=gateway.root)
    client.poll_interval = PAUSE
    return client


def _replicate_input(wish: Wish) -> dict[str, Any]:
    return {"prompt": PROMPT, "num_outputs": wish.images}


def _replicate_seen(wish: Wish, prediction: Any) -> Seen:
    ends: dict[str, Any] = {"succeeded": "completed", "failed": "failed", "canceled": "cancelled"}
    end = ends.get(prediction.status, "open")
    return Seen(wish.id, prediction.id, end, len(prediction.output or []))


async def _replicate_predictions(gateway: Gateway, meter: pixelmeter.Meter, wanted: list[Wish]) -> list[Seen]:
    client = replicate_at(gateway)
    pixelmeter.instrument(client, meter)

    def one(wish: Wish) -> Seen:
        client._client.headers.update(headers_of(wish))
        prediction = client.models.predictions.create(model=_REPLICATE_MODEL, input=_replicate_input(wish))
        if wish.act == "cancel":
            prediction.cancel()
        if wish.act != "leave":
            prediction.wait()
        return _replicate_seen(wish, prediction)

    with client._client:
        return [one(wish) for wish in wanted]


async def _replicate_predictions_async(gateway: Gateway, meter: pixelmeter.Meter, wanted: list[Wish]) -> list[Seen]:
    client = replicate_at(gateway)

    async def one(wish: Wish) -> Seen:
        # It has no headers for a single request; nothing else runs before the request is built.
        client._async_client.headers.update(headers_of(wish))
        create = client.models.predictions.async_create
        prediction = await create(model=_REPLICATE_MODEL, input=_replicate_input(wish))
        if wish.act == "cancel":
            await prediction.async_cancel()
        if wish.act != "leave":
            await prediction.async_wait()
        return _replicate_seen(wish, prediction)

    async with pixelmeter.instrument(client._async_client, meter):
        return list(await asyncio.gather(*(one(wish) for wish in wanted)))


async def _replicate_run(gateway: Gateway, meter: pixelmeter.Meter, wanted: list[Wish]) -> list[Seen]:
    client = replicate_at(gateway)
    pixelmeter.instrument(client, meter)

    def one(wish: Wish) -> Seen:
        client._client.headers.update(headers_of(wish))
        try:
            output: Any = client.run(_REPLICATE_MODEL, input=_replicate_input(wish), wait=False)
        except ModelError as error:
            return Seen(wish.id, error.prediction.id, "failed")
        return Seen(wish.id, None, "completed", len(output))

    with client._client:
        return [one(wish) for wish in wanted]


async def _replicate_run_async(gateway: Gateway, meter: pixelmeter.Meter, wanted: list[Wish]) -> list[Seen]:
    client = replicate_at(gateway)

    async def one(wish: Wish) -> Seen:
        client._async_client.headers.update(headers_of(wish))
        try:
            output: Any = await client.async_run(_REPLICATE_MODEL, input=_replicate_input(wish), wait=False)
        except ModelError as error:
            return Seen(wish.id, error.prediction.id, "failed")
        return Seen(wish.id, None, "completed", len(output))

    async with pixelmeter.instrument(client._async_client, meter):
        return list(await asyncio.gather(*(one(wish) for wish in wanted)))


_AIGATEWAY_MODEL = "meta/sam-3-1-image"


def _aigateway_body(wish: Wish) -> dict[str, Any]:
    return {"model": _AIGATEWAY_MODEL, "prompt": PROMPT, "n": wish.images}


def _aigateway_told(wish: Wish) -> dict[str, str]:
    return headers_of(Wish(wish.id, wish.images, wish.act, wish.behaviour | {"job": True}))


def _aigateway_seen(wish: Wish, job: Any) -> Seen:
    if job.status == "completed":
        return Seen(wish.id, job.id, "completed", 1)
    return Seen(wish.id, job.id, "cancelled" if job.status == "cancelled" else "failed")


async def _aigateway_sync(gateway: Gateway, meter: pixelmeter.Meter, wanted: list[Wish]) -> list[Seen]:
    client = aigateway.AIgateway(api_key="sk-aig-test", base_url=gateway.root)
    pixelmeter.instrument(client, meter)

    def one(wish: Wish) -> Seen:
        client._client.headers.update(_aigateway_told(wish))
        job = client._request("POST", "/v1/images/generations", json=_aigateway_body(wish))["id"]
        if wish.act == "leave":
            return Seen(wish.id, job, "open")
        if wish.act == "cancel" and client.jobs.cancel(job).status == "cancelled":
            return Seen(wish.id, job, "cancelled")
        return _aigateway_seen(wish, client.jobs.wait(job, poll_interval_seconds=PAUSE))

    with client:
        return [one(wish) for wish in wanted]


async def _aigateway_async(gateway: Gateway, meter: pixelmeter.Meter, wanted: list[Wish]) -> list[Seen]:
    client = aigateway.AsyncAIgateway(api_key="sk-aig-test", base_url=gateway.root)
    pixelmeter.instrument(client, meter)

    async def one(wish: Wish) -> Seen:
        client._client.headers.update(_aigateway_told(wish))
        job = (await client._request("POST", "/v1/images/generations", json=_aigateway_body(wish)))["id"]
        if wish.act == "leave":
            return Seen(wish.id, job, "open")
        if wish.act == "cancel" and (await client.jobs.cancel(job)).status == "cancelled":
            return Seen(wish.id, job, "cancelled")
        return _aigateway_seen(wish, await client.jobs.wait(job, poll_interval_seconds=PAUSE))

    async with client:
        return list(await asyncio.gather(*(one(wish) for wish in wanted)))


async def _bfl(gateway: Gateway, meter: pixelmeter.Meter, wanted: list[Wish]) -> list[Seen]:
    async def one(client: httpx.AsyncClient, wish: Wish) -> Seen:
        body = {"prompt": PROMPT, "width": 1024, "height": 1024}
        answer = await client.post(f"{gateway.url}/flux-pro-1.1", json=body, headers=headers_of(wish))
        job = answer.json()
        if wish.act == "leave":
            return Seen(wish.id, job["id"], "open")
        said = job | {"status": "Pending"}
        while said["status"] == "Pending":
            said = (await client.get(job["polling_url"])).json()
        ready = said["status"] == "Ready"
        return Seen(wish.id, job["id"], "completed" if ready else "failed", int(ready))

    async with httpx.AsyncClient(verify=False) as client:
        pixelmeter.instrument(client, meter)
        return list(await asyncio.gather(*(one(client, wish) for wish in wanted)))


_ONLY_GET: tuple[Act, ...] = ("get",)

PROGRAMS = {
    "fal-sync": Program("fal", _fal_sync),
    "fal-async": Program("fal", _fal_async),
    "fal-subscribe": Program("fal", _fal_subscribe, _ONLY_GET),
    "fal-subscribe-async": Program("fal", _fal_subscribe_async, _ONLY_GET),
    "replicate-predictions": Program("replicate", _replicate_predictions),
    "replicate-predictions-async": Program("replicate", _replicate_predictions_async),
    "replicate-run": Program("replicate", _replicate_run, _ONLY_GET, says_job=False),
    "replicate-run-async": Program("replicate", _replicate_run_async, _ONLY_GET, says_job=False),
    "aigateway-sync": Program("aigateway", _aigateway_sync, most_images=1),
    "aigateway-async": Program("aigateway", _aigateway_async, most_images=1),
    "bfl-httpx": Program("black-forest-labs", _bfl, ("get", "leave"), most_images=1),
}
"""By name. Black Forest Labs has no SDK and no cancellation."""
