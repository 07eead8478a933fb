"""The stand-in gateway as a process: `python -m pixelmeter.testing.gateway --log PATH`.

It prints {"url": "http://127.0.0.1:PORT", "pid": …} on a line when it is ready, and ends on SIGTERM, SIGINT, or when
the pipe that is its standard input closes, so that it does not outlive whoever started it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import stat
import sys
from dataclasses import replace
from pathlib import Path

from pixelmeter.testing.behaviour import DEFAULT, Behaviour, BehaviourError
from pixelmeter.testing.billing import PER_UNIT
from pixelmeter.testing.bodies import EMPTY, Answer, document, plain
from pixelmeter.testing.control import State, control
from pixelmeter.testing.delivery import deliver, reset
from pixelmeter.testing.endpoints import Request, answer, entry_for, page
from pixelmeter.testing.job_requests import job_route, read_job_request
from pixelmeter.testing.requests import BadRequest, Head, Incomplete, read_body, read_head, read_image_request, route
from pixelmeter.testing.responses import adjust, head_start

__all__ = ["main"]

_STDIN = 0
_HEAD_LIMIT = 1 << 18
_CHALLENGES = {
    "basic": 'Basic realm="stand-in"',
    "digest": 'Digest realm="stand-in", nonce="00112233445566778899aabbccddeeff", qop="auth", algorithm=SHA-256',
}


class _Server:
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
        target = route(head.method, head.path) or job_route(head.method, head.path)
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
            shown = _detour(head, behaviour, request_id) or page(state, head, behaviour, request_id)
            return _finished(shown, behaviour, "aigateway"), behaviour
        request = Request(head, target, request_id, state.seed)
        if early.cut == "before_read":
            state.bill(replace(entry_for(request, early), outcome="cut"))
            return early
        try:
            body = await read_body(reader, headers)
        except Incomplete:
            state.bill(entry_for(request, DEFAULT))
            raise
        read = read_job_request if target.family in PER_UNIT else read_image_request
        try:
            if body is None:
                request = replace(request, problem=(413, "the request is larger than 25 MB"))
            else:
                request = replace(request, asked=read(head, target, body))
        except BadRequest as error:
            request = replace(request, problem=(400, str(error)))
        facts["operation"] = target.operation
        facts["model"] = request.asked.model if request.asked is not None else ""
        behaviour = state.rules.apply(facts, asked, read=True, image=True)
        reply = _detour(head, behaviour, request_id)
        if reply is not None:
            outcome = "challenged" if reply.status == 401 else "redirected"
            state.bill(replace(entry_for(request, behaviour), status=reply.status, outcome=outcome))
        else:
            reply, entry = answer(request, behaviour, state)
            state.bill(entry)
        return _finished(reply, behaviour, behaviour.gateway or target.family), behaviour


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


async def _run(port: int, log: Path, seed: int) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    kind = os.fstat(_STDIN).st_mode
    if stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind):
        loop.add_reader(_STDIN, _watch, stopped)
    server = _Server(State(log, seed))
    listener = await asyncio.start_server(
        server.connected, "127.0.0.1", port, limit=_HEAD_LIMIT, backlog=4096, start_serving=True
    )
    address = listener.sockets[0].getsockname()
    sys.stdout.write(json.dumps({"url": f"http://{address[0]}:{address[1]}", "pid": os.getpid()}) + "\n")
    sys.stdout.flush()
    await stopped.wait()
    listener.close()


def _watch(stopped: asyncio.Event) -> None:
    if not os.read(_STDIN, 4096):
        stopped.set()


def main() -> None:
    """Run a gateway until it is told to stop."""
    parser = argparse.ArgumentParser(
        prog="python -m pixelmeter.testing.gateway", description="A stand-in image gateway on loopback, for tests."
    )
    parser.add_argument("--port", type=int, default=0, help="the port to listen at; 0 takes a free one")
    parser.add_argument("--log", type=Path, required=True, help="the file to append the billing log to")
    parser.add_argument("--seed", type=int, default=0, help="decides the pictures and every chance")
    given = parser.parse_args()
    try:
        asyncio.run(_run(given.port, given.log, given.seed))
    except OSError as error:
        sys.exit(f"the stand-in gateway cannot start: {error}; choose another --port or --log")


if __name__ == "__main__":
    main()
