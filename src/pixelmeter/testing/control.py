"""The control endpoint: how a test tells the gateway what to do, and asks it what happened."""

from __future__ import annotations

import json
from typing import Any

from pixelmeter.testing.behaviour import BehaviourError
from pixelmeter.testing.body import Answer, document, plain
from pixelmeter.testing.incoming import Head
from pixelmeter.testing.shapes import is_object
from pixelmeter.testing.state import State
from pixelmeter.testing.webhooks import post_webhook

__all__ = ["control"]


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
