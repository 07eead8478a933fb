"""The HTTP/1.1 server: connections, and which request goes where."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from pixelmeter.testing.adjustments import adjust
from pixelmeter.testing.asks import read_ask, route
from pixelmeter.testing.behaviour import DEFAULT, Behaviour, BehaviourError
from pixelmeter.testing.billing import Entry
from pixelmeter.testing.body import EMPTY, Answer, document, plain
from pixelmeter.testing.control import control
from pixelmeter.testing.delivery import deliver, reset
from pixelmeter.testing.dialects import head_start
from pixelmeter.testing.exchanges import Request, answer, entry_for
from pixelmeter.testing.incoming import BadRequest, Head, Incomplete, read_body, read_head
from pixelmeter.testing.pages import page
from pixelmeter.testing.state import State

__all__ = ["Server"]

_CHALLENGES = {
    "basic": 'Basic realm="stand-in"',
    "digest": 'Digest realm="stand-in", nonce="00112233445566778899aabbccddeeff", qop="auth", algorithm=SHA-256',
}


class Server:
    """Answers the requests of each connection, one after the other."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._connections: set[asyncio.Task[None]] = set()

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a new connection: the callback for `asyncio.start_server`."""
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        async def hold() -> None:
            await self._state.waiting.hold(lambda: reader.at_eof() or reader.exception() is not None)

        try:
            head = await read_head(reader)
            if head is None:
                return False
            if head.headers.get("expect", "").lower() == "100-continue":
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if head.path.startswith("/_control"):
                reply = await control(self._state, head, await read_body(reader, head.headers) or b"")
                return await deliver(writer, reply, DEFAULT, hold) and head.keep_alive
            prepared = await self._prepare(reader, head)
            if isinstance(prepared, Behaviour):
                if prepared.reset:
                    reset(writer)
                return False
            reply, behaviour = prepared
            return await deliver(writer, reply, behaviour, hold) and head.keep_alive
        except Incomplete:
            return False
        except (BadRequest, BehaviourError) as error:
            text = document({"error": {"message": str(error), "type": "invalid_request_error", "code": 400}})
            await deliver(writer, Answer(400, (("connection", "close"),), plain(text.encode())), DEFAULT, hold)
            return False

    async def _prepare(self, reader: asyncio.StreamReader, head: Head) -> tuple[Answer, Behaviour] | Behaviour:
        """Return the answer and how to deliver it; only the behaviour when it says not to read the request.

        What it costs is in the billing log by then.
        """
        state, headers = self._state, head.headers
        target = route(head.method, head.path)
        request_id = headers.get("x-request-id") or state.new_request_id()
        asked = headers.get("x-test-behaviour")
        facts = {
            "path": head.path,
            "method": head.method,
            "tag": headers.get("x-aig-tag", ""),
            "test_id": headers.get("x-test-id", ""),
            "retry_count": str(head.retry_count),
        }
        early = state.rules.apply(facts, asked, read=False, image=target is not None)
        if target is None:
            if early.cut == "before_read":
                return early
            await read_body(reader, headers)
            behaviour = state.rules.apply(facts, asked, read=True, image=False)
            reply, entry = _detour(head, behaviour, request_id), None
            if reply is None:
                reply, entry = page(state, head, behaviour, request_id)
            if entry is not None:
                self._bill(entry)
            return _finished(reply, behaviour, "aigateway"), behaviour
        request = Request(head, target, request_id, state.seed)
        if early.cut == "before_read":
            self._bill(replace(entry_for(request, early), outcome="cut"))
            return early
        try:
            body = await read_body(reader, headers)
        except Incomplete:
            self._bill(entry_for(request, DEFAULT))
            raise
        try:
            if body is None:
                request = replace(request, problem=(413, "the request is larger than 25 MB"))
            else:
                request = replace(request, ask=read_ask(head, target, body))
        except BadRequest as error:
            request = replace(request, problem=(400, str(error)))
        facts["operation"] = target.operation
        facts["model"] = request.ask.model if request.ask is not None else ""
        behaviour = state.rules.apply(facts, asked, read=True, image=True)
        reply = _detour(head, behaviour, request_id)
        if reply is not None:
            outcome = "challenged" if reply.status == 401 else "redirected"
            self._bill(replace(entry_for(request, behaviour), status=reply.status, outcome=outcome))
        else:
            reply, entry = answer(request, behaviour, state.jobs)
            self._bill(entry)
        return _finished(reply, behaviour, behaviour.gateway or target.family), behaviour

    def _bill(self, entry: Entry) -> None:
        self._state.billing.write(entry)
        self._state.waiting.changed()


def _finished(reply: Answer, behaviour: Behaviour, dialect: str) -> Answer:
    return reply if behaviour is DEFAULT else adjust(reply, behaviour, dialect)


def _detour(head: Head, behaviour: Behaviour, request_id: str) -> Answer | None:
    """Return a redirect or a challenge that has to come first; None when there is none."""
    start = tuple(head_start("aigateway", request_id))
    if behaviour.redirect is not None and "redirected" not in head.query:
        mark = "&" if "?" in head.target else "?"
        return Answer(behaviour.redirect, (*start, ("location", f"{head.target}{mark}redirected=1")), EMPTY)
    if behaviour.challenge is not None:
        scheme = head.headers.get("authorization", "").partition(" ")[0].lower()
        if scheme != behaviour.challenge:
            return Answer(401, (*start, ("www-authenticate", _CHALLENGES[behaviour.challenge])), EMPTY)
    return None
