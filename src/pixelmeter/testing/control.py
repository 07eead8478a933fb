"""What a gateway remembers, and the endpoint by which a test steers it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pixelmeter.testing.behaviour import BehaviourError, Rules
from pixelmeter.testing.billing import Billing
from pixelmeter.testing.bodies import Answer, document, is_object, plain
from pixelmeter.testing.jobs import Jobs, post_webhook
from pixelmeter.testing.requests import Head

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
        self.jobs = Jobs()
        self.waiting = _Waiting()
        self.rules = Rules(seed)
        self._requests = 0

    def new_request_id(self) -> str:
        """Return an id for a request that brought none."""
        self._requests += 1
        return f"req_{self.seed}_{self._requests:08d}"

    def reset(self) -> None:
        """Go back to the start: no rules, no jobs, an empty billing log, nothing held."""
        self.rules = Rules(self.seed)
        self.jobs = Jobs()
        self.billing.clear()
        self.waiting.release()


async def control(state: State, head: Head, body: bytes) -> Answer:
    """Return the answer to a request below /_control.

    POST /_control adds a rule, DELETE /_control resets; POST /_control/release lets held requests go on; GET
    /_control/wait?held=N or ?attempts=N (with seconds=S) answers when that many are held, or were billed;
    POST /_control/webhook?url=&job= (with secret= and signature=aig or gateway) posts a job's event.
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
        case "POST", "/_control/webhook":
            return await _webhook(state, head)
        case "GET", "/_control/wait":
            return await _wait(state, head.query)
        case _:
            return _reply({"error": f"there is no {head.method} {head.path} here"}, 404)


async def _wait(state: State, query: dict[str, str]) -> Answer:
    try:
        held, attempts = int(query.get("held", 0)), int(query.get("attempts", 0))
        seconds = float(query.get("seconds", 10))
    except ValueError:
        return _reply({"error": "held, attempts and seconds take numbers"}, 400)
    waiting, billing = state.waiting, state.billing
    true = await waiting.until(lambda: waiting.held >= held and billing.count >= attempts, seconds)
    return _reply({"held": waiting.held, "attempts": billing.count}, 200 if true else 408)


async def _webhook(state: State, head: Head) -> Answer:
    query = head.query
    job = state.jobs.find(query.get("job", ""))
    signature = query.get("signature", "aig")
    if job is None or "url" not in query or signature not in ("aig", "gateway"):
        return _reply({"error": "a webhook takes url, the job id of a 202 answer, and signature=aig or gateway"}, 400)
    try:
        base = f"http://{head.headers.get('host', '127.0.0.1')}"
        return _reply({"answered": await post_webhook(query["url"], job, base, query.get("secret", ""), signature)})
    except OSError as error:
        return _reply({"error": f"the webhook could not be posted: {error}"}, 400)


def _reply(value: object, status: int = 200) -> Answer:
    return Answer(status, (("content-type", "application/json"),), plain(document(value).encode()))
