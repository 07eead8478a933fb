"""The events of jobs, signed as each gateway signs them, and posted as often and in the order that is told."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import importlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from pixelmeter.testing.behaviour import Signature

__all__ = ["FAL_KEY", "STANDARD_SECRET", "Event", "Order", "Webhooks"]

Order = Literal["as_ended", "reversed", "shuffled"]

STANDARD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""Replicate's secret, where no other is told."""

FAL_KEY = "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"
"""The public half of the key that signs fal's webhooks, as a JSON Web Key has it."""

_FAL_SEED = bytes(range(32))
_PATIENCE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What is to be posted."""

    id: str
    vendor: str
    job: str
    kind: str
    """completed, failed, …, or one of Replicate's: start, output, completed."""
    url: str
    body: str
    secret: str
    signature: Signature
    age: int
    """Seconds by which the time that is signed lies back."""


def signed(event: Event, now: int) -> list[tuple[str, str]]:
    """Return the headers that sign an event at that Unix time in seconds."""
    if event.signature == "none":
        return []
    body = event.body + " " if event.signature == "wrong" else event.body
    if event.vendor == "aigateway":
        digest = _hmac(event.secret.encode(), f"{now}.{body}").hex()
        if event.signature == "gateway":
            return [("X-Gateway-Signature", f"t={now},v1={digest}")]
        return [("aig-timestamp", str(now)), ("aig-signature", digest)]
    if event.vendor == "replicate":
        key = base64.b64decode(event.secret.removeprefix("whsec_"))
        text = base64.b64encode(_hmac(key, f"{event.id}.{now}.{body}")).decode()
        return [("webhook-id", event.id), ("webhook-timestamp", str(now)), ("webhook-signature", f"v1,{text}")]
    if event.vendor == "fal":
        return _signed_by_fal(event.job, body, now)
    return [("X-BFL-Signature", f"sha256={_hmac(event.secret.encode(), body).hex()}")] if event.secret else []


def _signed_by_fal(job: str, body: str, now: int) -> list[tuple[str, str]]:
    names = ("Request-Id", "User-Id", "Timestamp")
    values = (job, "user_1", str(now))
    headers = [(f"X-Fal-Webhook-{name}", value) for name, value in zip(names, values, strict=True)]
    try:
        keys: Any = importlib.import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
    except ImportError:
        return []
    message = "\n".join((*values, hashlib.sha256(body.encode()).hexdigest()))
    signature: bytes = keys.Ed25519PrivateKey.from_private_bytes(_FAL_SEED).sign(message.encode())
    return [*headers, ("X-Fal-Webhook-Signature", signature.hex())]


def _hmac(key: bytes, message: str) -> bytes:
    return hmac.new(key, message.encode(), hashlib.sha256).digest()


class Webhooks:
    """The events of one gateway process: posted one after the other for each job, or held until they are asked for."""

    def __init__(self, seed: int, changed: Callable[[], None]) -> None:
        self._random = random.Random(seed)
        self._changed = changed
        self._held: list[Event] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.posted: list[dict[str, object]] = []
        """What has been posted, in that order: job, event, url, and the status of the answer, None where none came."""

    @property
    def held(self) -> int:
        """How many are held."""
        return len(self._held)

    def take(self, events: list[Event], times: int, *, hold: bool) -> None:
        """Post each of these events so many times in the background, or hold them."""
        events = [event for event in events for _ in range(times)]
        if hold:
            self._held += events
            self._changed()
        elif events:
            task = asyncio.get_running_loop().create_task(self._post_all(events))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def deliver(self, order: Order) -> int:
        """Post all that is held, in this order, and return how many that were."""
        events, self._held = self._held, []
        if order == "reversed":
            events.reverse()
        elif order == "shuffled":
            self._random.shuffle(events)
        await self._post_all(events)
        return len(events)

    def forget(self) -> None:
        """Drop what is held and what is under way."""
        self._held.clear()
        self.posted.clear()
        for task in self._tasks:
            task.cancel()

    async def post(self, event: Event) -> int:
        """Post one event and return the status of the answer; raise OSError or TimeoutError when nobody answers."""
        line: dict[str, object] = {"job": event.job, "event": event.kind, "url": event.url, "status": None}
        try:
            status = await _send(event)
            line["status"] = status
            return status
        finally:
            self.posted.append(line)
            self._changed()

    async def _post_all(self, events: list[Event]) -> None:
        for event in events:
            try:
                await self.post(event)
            except OSError:
                continue


async def _send(event: Event) -> int:
    target = urlsplit(event.url)
    path = (target.path or "/") + (f"?{target.query}" if target.query else "")
    headers = "".join(f"{name}: {value}\r\n" for name, value in signed(event, int(time.time()) - event.age))
    body = event.body.encode()
    request = (
        f"POST {path} HTTP/1.1\r\nhost: {target.netloc}\r\ncontent-type: application/json\r\n"
        f"{headers}connection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    async with asyncio.timeout(_PATIENCE):
        reader, writer = await asyncio.open_connection(target.hostname, target.port or 80)
        try:
            writer.write(request.encode() + body)
            await writer.drain()
            words = (await reader.readline()).split(b" ")
        finally:
            writer.close()
    if len(words) < 2 or not words[1].isdigit():
        raise ConnectionError("the receiver of the webhook did not answer in HTTP")
    return int(words[1])
