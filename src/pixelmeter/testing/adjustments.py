"""The last word on an answer: headers and bodies that a behaviour puts in place of the right ones."""

from __future__ import annotations

from pixelmeter.testing.behaviour import Behaviour
from pixelmeter.testing.body import Answer, Body, plain
from pixelmeter.testing.dialects import COST_HEADERS

__all__ = ["adjust"]

_BODIES = {
    "html": b"<html><head><title>Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>\n",
    "empty": b"",
}


def adjust(reply: Answer, behaviour: Behaviour, dialect: str) -> Answer:
    """Return the answer with the headers and the body that the behaviour asks for."""
    changes: dict[str, str | list[str] | None] = {}
    if behaviour.cost_header is not None:
        text = behaviour.cost_header
        changes[COST_HEADERS.get(dialect, "x-cost-cents")] = None if text is False else text
    if behaviour.body == "html":
        changes["content-type"] = "text/html"
    changes |= {name.lower(): value for name, value in behaviour.headers.items()}
    headers = [(name, value) for name, value in reply.headers if name not in changes]
    for name, value in changes.items():
        headers += [(name, text) for text in ([value] if isinstance(value, str) else value or ())]
    return Answer(reply.status, tuple(headers), _body(reply.body, behaviour))


def _body(body: Body, behaviour: Behaviour) -> Body:
    if behaviour.body_text is not None:
        return plain(behaviour.body_text.encode())
    if behaviour.body is None:
        return body
    if behaviour.body == "truncated":
        whole = b"".join(body.pieces())
        return plain(whole[: len(whole) * 2 // 3])
    return plain(_BODIES[behaviour.body])
