"""When a body is collected nothing of ours runs: what a signal handler raises would be swallowed there."""

from __future__ import annotations

import gc
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import pixelmeter
from pixelmeter import Meter
from pixelmeter.core.attempts.record import Attempt
from tests.clients import Body, Client, Kit, each
from tests.drivers.wires import ANSWER, BODY, URL
from tests.requests_kit import REQUESTS
from tests.urllib3_kit import URLLIB3

SOURCE = str(Path(pixelmeter.__file__).parent)
EVENTS = b'data: {"type":"image_generation.completed","b64_json":"AAAA"}\n\n'


CLOSING = {"Body.close", "Body.closing", "_Close.__call__"}


@contextmanager
def functions_of_ours() -> Generator[list[str]]:
    """Give the names of our functions that this thread calls meanwhile, once it is over."""
    called: list[str] = []

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(SOURCE):
            called.append(frame.f_code.co_qualname)

    sys.setprofile(profile)
    try:
        yield called
    finally:
        sys.setprofile(None)


def answering(kit: Kit, *script: bytes | BaseException, **headers: str) -> Any:
    def answer(_: Any) -> Any:
        kind = {"content-type": "application/json"} | headers
        return kit.response(200, kind, Body(*script))

    return kit.wire(answer)


async def read(kit: Kit, client: Client) -> Any:
    response = await client.send(URL, json=BODY)
    await kit.read(response)
    return response


async def close(kit: Kit, client: Client) -> Any:
    response = await client.send(URL, json=BODY)
    await kit.close(response)
    return response


async def read_the_first_chunk(kit: Kit, client: Client) -> Any:
    """And neither ask for another one, nor close."""
    response = await client.send(URL, json=BODY)
    chunks = kit.raw(response)
    async for _ in each(chunks):
        break
    await kit.close(response)
    return response


async def break_off(kit: Kit, client: Client) -> Any:
    response = await client.send(URL, json=BODY)
    with pytest.raises(OSError, match="broken"):
        await kit.read(response)
    return response


async def leave(_: Kit, client: Client) -> Any:
    return await client.send(URL, json=BODY)


SCENES: dict[str, tuple[Any, tuple[bytes | BaseException, ...], dict[str, str], str | None]] = {
    "read": (read, (ANSWER[:9], ANSWER[9:]), {}, None),
    "closed": (close, (ANSWER,), {}, None),
    "all of a known length": (read_the_first_chunk, (ANSWER,), {"content-length": str(len(ANSWER))}, None),
    "all images of a stream": (read_the_first_chunk, (EVENTS, b": more"), {"content-type": "text/event-stream"}, None),
    "broken off": (break_off, (ANSWER[:9], OSError("broken")), {}, "OSError"),
    "left": (leave, (ANSWER,), {}, "never_closed"),
}


@pytest.mark.parametrize("name", SCENES)
def test_nothing_of_ours_runs_when_a_body_is_collected_and_its_record_ends(
    name: str, kit: Kit, meter: Meter, attempts: list[Attempt]
) -> None:
    scene, script, headers, error_type = SCENES[name]

    async def play() -> None:
        client = kit.client(transport=answering(kit, *script, **headers))
        pixelmeter.instrument(client.raw, meter)
        kept = [await scene(kit, client)]
        gc.collect()
        with functions_of_ours() as called:
            kept[0].stream = None
            kept.clear()
            gc.collect()
        assert [] == called
        await client.close()

    kit.run(play())
    meter.flush(60)
    assert [error_type] == [attempt.error_type for attempt in attempts]


@pytest.mark.parametrize("kit", [*URLLIB3, *REQUESTS], ids=str)
@pytest.mark.parametrize("transfer", ["length", "chunked"])
@pytest.mark.parametrize("scene", [read, close, leave])
def test_a_response_of_urllib3_closes_its_body_when_it_is_collected_and_nothing_else_of_ours_runs(
    scene: Any, transfer: str, kit: Kit, meter: Meter, attempts: list[Attempt]
) -> None:
    """Its finalizer calls `close`, as without us, where there is something to be closed: that is passed on."""
    length = {"content-length": str(len(ANSWER))} if transfer == "length" else {}

    async def play() -> None:
        client = kit.client(transport=answering(kit, ANSWER, **length))
        kit.meter(client.raw, meter)
        kept = [await scene(kit, client)]
        gc.collect()
        with functions_of_ours() as called:
            kept.clear()
            gc.collect()
        assert (CLOSING if scene is leave else set()) == set(called)
        assert [] == attempts or scene is not leave
        await client.close()

    kit.run(play())
    meter.flush(60)
    assert ["never_closed" if scene is leave else None] == [attempt.error_type for attempt in attempts]


def test_a_body_that_was_left_is_recorded_when_the_next_request_is_sent(
    kit: Kit, meter: Meter, attempts: list[Attempt]
) -> None:
    async def play() -> None:
        client = kit.client(transport=answering(kit, ANSWER))
        pixelmeter.instrument(client.raw, meter)
        (await leave(kit, client)).stream = None
        gc.collect()
        await read(kit, client)
        await client.close()

    kit.run(play())
    assert [("cancelled", "never_closed"), ("success", None)] == [
        (attempt.outcome, attempt.error_type) for attempt in attempts
    ]
