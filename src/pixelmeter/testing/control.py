"""What a gateway remembers, and the endpoint by which a test steers it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from pixelmeter.testing.behaviour import BehaviourError, Rules, Signature
from pixelmeter.testing.billing import Billing, Entry
from pixelmeter.testing.bodies import Answer, document, is_object, plain
from pixelmeter.testing.job_apis import events_of
from pixelmeter.testing.jobs import Job, Jobs
from pixelmeter.testing.requests import Head
from pixelmeter.testing.webhooks import Webhooks

__all__ = ["State", "control"]


class _Waiting:
    """Keeps the requests that are held, and wakes the tests that wait for a condition."""

    def __init__(self) -> None:
        self._held: list[tuple[asyncio.Future[None], Callable[[], bool]]] = []
        self._watchers: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    @property
    def held(self) -> int:
        """How many requests wait whose client is still there."""
        return sum(not gone() for _, gone in self._held)

    async def hold(self, gone: Callable[[], bool]) -> None:
        """Wait for the release; `gone` tells whether the client has left meanwhile."""
        released = asyncio.get_running_loop().create_future()
        place = (released, gone)
        self._held.append(place)
        self.changed()
        try:
            await released
        finally:
            if place in self._held:
                self._held.remove(place)

    def release(self) -> int:
        """Let every held request go on; return how many there were."""
        held, self._held = self._held, []
        for released, _ in held:
            if not released.done():
                released.set_result(None)
        return len(held)

    def changed(self) -> None:
        """Check again the conditions that tests wait for."""
        for true, future in self._watchers:
            if not future.done() and true():
                future.set_result(None)

    async def until(self, true: Callable[[], bool], seconds: float) -> bool:
        """Return True as soon as the condition holds, False when it does not after that many seconds."""
        if true():
            return True
        watcher = (true, asyncio.get_running_loop().create_future())
        self._watchers.append(watcher)
        try:
            await asyncio.wait_for(watcher[1], seconds)
        except TimeoutError:
            return False
        finally:
            self._watchers.remove(watcher)
        return True


class State:
    """The parts of a gateway that requests share."""

    def __init__(self, log: Path, seed: int) -> None:
        self.seed = seed
        self.billing = Billing(log)
        self.jobs = Jobs(seed, self._ended)
        self.waiting = _Waiting()
        self.webhooks = Webhooks(seed, self.waiting.changed)
        self.rules = Rules(seed)
        self._requests = 0

    def new_request_id(self) -> str:
        """Return an id for a request that brought none."""
        self._requests += 1
        return f"req_{self.seed}_{self._requests:08d}"

    def bill(self, entry: Entry) -> None:
        """Write a line of the billing log."""
        self.billing.write(entry)
        self.waiting.changed()

    def watch(self, job: Job) -> None:
        """End a job by itself when it is told to."""
        if job.behaviour.job_seconds is not None:
            asyncio.get_running_loop().call_later(job.behaviour.job_seconds, self.jobs.end, job)

    def announce(self, job: Job) -> None:
        """Post the events of a job that has ended, or hold them."""
        url = job.behaviour.webhook or job.asked.webhook
        if url:
            self.webhooks.take(events_of(job, url), job.behaviour.webhook_times, hold=job.behaviour.webhook_held)

    def _ended(self, job: Job, entry: Entry | None) -> None:
        if self.jobs.find(job.id) is not job:
            # It was forgotten.
            return
        if entry is not None:
            self.bill(entry)
        self.announce(job)

    def reset(self) -> None:
        """Go back to the start: no rules, no jobs, an empty billing log, nothing held."""
        self.rules = Rules(self.seed)
        self.jobs = Jobs(self.seed, self._ended)
        self.webhooks.forget()
        self.billing.clear()
        self.waiting.release()


async def control(state: State, head: Head, body: bytes) -> Answer:
    """Return the answer to a request below /_control.

    POST /_control adds a rule, DELETE /_control resets; POST /_control/release lets held requests go on; GET
    /_control/wait?held=N, ?attempts=N or ?webhooks=N (with seconds=S) answers when that many are held, were billed,
    were posted; GET /_control/jobs has the jobs and GET /_control/webhooks what was posted; POST /_control/end?job=
    ends one, or all; POST /_control/webhook?url=&job= (with secret= and signature=) posts a job's events, and POST
    /_control/deliver?order= those that are held.
    """
    match head.method, head.path:
        case "POST", "/_control":
            try:
                asked: Any = json.loads(body)
                if not is_object(asked):
                    raise BehaviourError('a rule is a JSON object, as in {"status": 503, "times": 1}')
                return _reply({"rules": state.rules.tell(asked)})
            except ValueError as error:
                return _reply({"error": str(error)}, 400)
        case "DELETE", "/_control":
            state.reset()
            return _reply({"rules": 0})
        case "POST", "/_control/release":
            return _reply({"released": state.waiting.release()})
        case "GET", "/_control/wait":
            return await _wait(state, head.query)
        case _:
            reply = await _of_jobs(state, head)
            return reply or _reply({"error": f"there is no {head.method} {head.path} here"}, 404)


async def _of_jobs(state: State, head: Head) -> Answer | None:
    query = head.query
    match head.method, head.path:
        case "GET", "/_control/jobs":
            return _reply({"jobs": [job.facts() for job in state.jobs]})
        case "GET", "/_control/webhooks":
            return _reply({"webhooks": state.webhooks.posted, "held": state.webhooks.held})
        case "POST", "/_control/end":
            wanted = query.get("job")
            chosen = [job for job in state.jobs if job.is_open and wanted in (None, job.id)]
            ended = sum(state.jobs.end(job) for job in chosen)
            return _reply({"ended": ended})
        case "POST", "/_control/webhook":
            return await _webhook(state, query)
        case "POST", "/_control/deliver":
            order: Any = query.get("order", "as_ended")
            if order not in ("as_ended", "reversed", "shuffled"):
                return _reply({"error": "order is as_ended, reversed or shuffled"}, 400)
            return _reply({"delivered": await state.webhooks.deliver(order)})
        case _:
            return None


async def _wait(state: State, query: dict[str, str]) -> Answer:
    try:
        held, attempts = int(query.get("held", 0)), int(query.get("attempts", 0))
        webhooks, seconds = int(query.get("webhooks", 0)), float(query.get("seconds", 10))
    except ValueError:
        return _reply({"error": "held, attempts, webhooks and seconds take numbers"}, 400)
    waiting, billing, posted = state.waiting, state.billing, state.webhooks.posted
    true = await waiting.until(
        lambda: waiting.held >= held and billing.count >= attempts and len(posted) >= webhooks, seconds
    )
    reached = {"held": waiting.held, "attempts": billing.count, "webhooks": len(posted)}
    return _reply(reached, 200 if true else 408)


async def _webhook(state: State, query: dict[str, str]) -> Answer:
    job = state.jobs.find(query.get("job", ""))
    signature: Any = query.get("signature")
    if job is None or "url" not in query or signature not in (None, *get_args(Signature)):
        words = ", ".join(get_args(Signature))
        return _reply({"error": f"a webhook takes url, the id of a job, and signature: {words}"}, 400)
    if not state.jobs.end(job):
        return _reply({"error": f"{job.id} was told never to end"}, 400)
    status = 0
    try:
        for event in events_of(job, query["url"], secret=query.get("secret"), signature=signature):
            status = await state.webhooks.post(event)
    except OSError as error:
        return _reply({"error": f"the webhook could not be posted: {error}"}, 400)
    return _reply({"answered": status})


def _reply(value: object, status: int = 200) -> Answer:
    return Answer(status, (("content-type", "application/json"),), plain(document(value).encode()))
