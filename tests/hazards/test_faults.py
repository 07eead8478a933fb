"""A fault in any function of ours that runs inside the caller's request is counted, and the caller never sees it."""

from __future__ import annotations

import itertools
import logging
import sys
import zlib
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

import pixelmeter
from pixelmeter import Meter
from pixelmeter.lifecycle import catch_up
from pixelmeter.meter import intake_of
from pixelmeter.recorder.failures import settle
from tests.clients import KITS, Body, Client, Kit, each, failure, seen
from tests.hazards.pair import MOCK, URLS, asked, json_headers
from tests.kits import ALL
from tests.requests_kit import REQUESTS

SOURCE = str(Path(pixelmeter.__file__).parent)
# What the caller calls itself; and the counter of failures, which guards itself.
OUTSIDE = ("failures.py", "tagging.py")
# The caller's own call passed on.
PASSAGE = (
    "_Sync.__call__",
    "_Async.__call__",
    "_Replacement._method",
    "_Replacement.__call__",
    "_Replacement.method",
    "method_of",
    "bound",
    "_Call.__call__",
    "_Pieces.append",
    "_Callbacks.clear",
    "send",
    "send_async",
    "TeeStream.__iter__",
    "TeeStream.close",
    "AsyncTeeStream.__aiter__",
    "AsyncTeeStream.aclose",
    "_Tee._closed",
    "urlopen",
    "send_one",
    "as_one_call",
    "_send",
    "_sent_by_connection",
    "_sent_by_connection.<locals>.seen",
    "_replaced",
    "_urlopen",
    "_within_one_call",
    "_as_new_call",
    "_making",
    "Body.__getattr__",
    "Body.fp",
    "Body.read",
    "Body._read",
    "Body.read1",
    "Body._safe_read",
    "Body.close",
    "Body.closing",
    "_Close.__call__",
    "_Lines.readline",
    "_Lines.__getattr__",
)
# What catches the failures of all that it calls.
GUARDS = (
    "Layer.enter",
    "tell",
    "_watch",
    "_Tee._tell",
    "_with_ours",
    "ArrivingBody.tell",
    "catch_up",
    "_Layer.see",
    "Body.begin_chunk",
    "Body.fail",
)
# What they do is to take steps of a guard; what is raised while they wait is the caller's.
STEPPING = ("through", "through_async")
EVENTS = b'data: {"type":"image_generation.completed","b64_json":"AAAA","usage":{"output_tokens":200}}\n\n'

Scene = Callable[[Kit, Client], Awaitable[Any]]


# A collection in the middle would call functions of ours.
pytestmark = pytest.mark.usefixtures("uncollected")


class Planted(Exception):
    """A bug of ours."""


@contextmanager
def traced(on_call: Callable[[CodeType], object]) -> Generator[Callable[[], None]]:
    """Call back with the code of each function of ours that this thread calls meanwhile.

    Python stops to trace when the callback raises; what this yields begins anew.
    """

    def trace(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        ours = code.co_filename.startswith(SOURCE) and not code.co_filename.endswith(OUTSIDE)
        if ours and event == "call" and code.co_qualname not in (*PASSAGE, *GUARDS, *STEPPING):
            on_call(code)

    sys.settrace(trace)
    try:
        yield lambda: sys.settrace(trace)
    finally:
        sys.settrace(None)


def answering(kit: Kit, *script: bytes | BaseException, **headers: str) -> Any:
    """Return a wire that answers so; with a location it sends every other request there first."""
    statuses = itertools.cycle([307, 200] if "location" in headers else [200])

    def answer(_: Any) -> Any:
        return kit.response(next(statuses), json_headers(**headers), Body(*script))

    return kit.wire(answer)


async def read(_: Kit, client: Client) -> object:
    with pixelmeter.tags(team="growth"):
        return seen(await client.post(MOCK, **asked()))


async def upload(_: Kit, client: Client) -> object:
    return seen(await client.post(MOCK.replace("generations", "edits"), data={"model": "m"}, files={"image": b"png"}))


async def leave(kit: Kit, client: Client) -> object:
    async with client.stream(MOCK, **asked()) as response:
        async for chunk in each(kit.raw(response)):
            return chunk
    return None


async def forget(kit: Kit, client: Client) -> object:
    response = await client.send(MOCK, **asked())
    status = kit.status(response)
    # The body is collected here and now, not with some later cycle, and whoever comes by ends its record.
    kit.let_go(response)
    del response
    catch_up()
    return status


SCENES: dict[str, tuple[Scene, tuple[bytes | BaseException, ...], dict[str, str]]] = {
    "read": (read, (URLS[:20], URLS[20:]), {"content-length": str(len(URLS))}),
    "upload": (upload, (URLS,), {}),
    "events": (read, (EVENTS[:20], EVENTS[20:]), {"content-type": "text/event-stream"}),
    "deflate": (read, (zlib.compress(URLS),), {"content-encoding": "deflate"}),
    "broken": (read, (URLS[:20], OSError("broken")), {}),
    "left": (leave, (URLS[:20], URLS[20:]), {}),
    "redirected": (read, (URLS,), {"content-length": str(len(URLS)), "location": "/v1/images/edits"}),
    "forgotten": (forget, (URLS[:20], URLS[20:]), {}),
}


async def view(kit: Kit, scene: Scene, client: Client) -> object:
    try:
        return await scene(kit, client)
    except Exception as error:
        return failure(error)


def metered(kit: Kit, meter: Meter, name: str) -> Client:
    _, script, headers = SCENES[name]
    client = kit.client(transport=answering(kit, *script, **headers), follow_redirects=True)
    kit.meter(client.raw, meter)
    return client


async def called(kit: Kit, client: Client, scene: Scene) -> list[CodeType]:
    """Return the functions of ours that the scene calls, each once."""
    functions: dict[CodeType, None] = {}
    with traced(functions.setdefault):
        await view(kit, scene, client)
    return list(functions)


async def planted(
    kit: Kit,
    client: Client,
    scene: Scene,
    victim: CodeType,
    meter: Meter,
    *,
    once: bool,
    failed: list[CodeType] | None = None,
) -> object:
    """Play the scene while the victim fails, the first time or always; return what the caller sees.

    `failed` takes the victim each time: what depends on how far the writer is may not be called again.
    """
    failures = intake_of(meter).failures

    def plant(code: CodeType) -> None:
        if code is victim:
            if failed is not None:
                failed.append(code)
            raise Planted

    with pytest.MonkeyPatch.context() as patch, traced(plant) as go_on:
        note = failures.note

        def noting(place: str, error: Exception) -> None:
            if not once:
                go_on()
            note(place, error)

        patch.setattr(failures, "note", noting)
        return await view(kit, scene, client)


def name_of(code: CodeType) -> str:
    return f"{Path(code.co_filename).stem}.{code.co_qualname}"


# By day each scene runs with each library and each colour, and one of them with all kits, and a fault comes once.
@pytest.mark.parametrize(
    ("kit", "name"),
    [
        pytest.param(
            kit,
            name,
            id=f"{kit}-{name}",
            marks=[] if name == "read" or kit not in (*KITS[1:-1], *REQUESTS) else [pytest.mark.slow],
        )
        for kit in ALL
        for name in SCENES
        if name != "forgotten" or "forgets" in kit.has
    ],
)
@pytest.mark.parametrize("once", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["once", "always"])
async def test_hazard_07_a_fault_in_any_function_of_ours_is_counted_and_not_seen(
    kit: Kit, name: str, once: bool, tmp_path: Path
) -> None:
    scene, script, headers = SCENES[name]
    bare = kit.client(transport=answering(kit, *script, **headers), follow_redirects=True)
    expected = await view(kit, scene, bare)
    await bare.close()
    wrong: list[str] = []
    called_again = 0
    with Meter(f"sqlite:///{tmp_path}/ledger.db", gateways={"mock.test": "aigateway"}) as meter:
        client = metered(kit, meter, name)
        assert expected == await view(kit, scene, client)
        functions = await called(kit, client, scene)
        assert {} == intake_of(meter).failures.counts()
        assert len(functions) > 30
        for victim in functions:
            intake_of(meter).failures._counts.clear()
            failed: list[CodeType] = []
            if expected != await planted(kit, client, scene, victim, meter, once=once, failed=failed):
                wrong.append(f"seen: {name_of(victim)}")
            called_again += bool(failed)
            # Any failure of a codec is put down to the body.
            if failed and not intake_of(meter).failures.counts() and not victim.co_filename.endswith("decode.py"):
                wrong.append(f"not counted: {name_of(victim)}")
        intake_of(meter).failures._counts.clear()
        assert expected == await view(kit, scene, client)
        assert {} == intake_of(meter).failures.counts()
        await client.close()
    assert [] == wrong
    assert called_again > 30


@pytest.mark.slow
async def test_hazard_07_a_fault_in_what_only_the_first_request_calls_is_counted_and_not_seen(
    kit: Kit, tmp_path: Path
) -> None:
    def new(number: int) -> Meter:
        url = f"sqlite:///{tmp_path}/ledger.db"
        return Meter(url, gateways={"mock.test": "aigateway"}, spool_dir=f"{tmp_path}/{number}")

    with new(0) as meter:
        client = metered(kit, meter, "read")
        first = await called(kit, client, read)
        warm = await called(kit, client, read)
        expected = await view(kit, read, client)
        await client.close()
    cold = [function for function in first if function not in warm and function.co_name != "<module>"]
    assert cold
    wrong: list[str] = []
    called_again = 0
    for number, victim in enumerate(cold, start=1):
        with new(number) as meter:
            client = metered(kit, meter, "read")
            failed: list[CodeType] = []
            if expected != await planted(kit, client, read, victim, meter, once=True, failed=failed):
                wrong.append(f"seen: {name_of(victim)}")
            status = meter.status()
            # Some are called or not as the body comes with its headers or after them.
            if failed and not status["failures"] and not status["spool"]["last_error"]:
                wrong.append(f"not counted: {name_of(victim)}")
            called_again += bool(failed)
            await client.close()
    assert [] == wrong
    assert called_again > len(cold) // 2


class Raising(logging.Handler):
    """A handler of the host that is broken."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error
        self.emitted = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.emitted += 1
        raise self.error


@pytest.mark.parametrize(
    "error",
    [ZeroDivisionError(), SystemExit(1), KeyboardInterrupt(), GeneratorExit()],
    ids=lambda error: type(error).__name__,
)
async def test_hazard_07_a_logging_handler_that_raises_is_not_seen(
    kit: Kit, error: BaseException, tmp_path: Path
) -> None:
    logger = logging.getLogger("pixelmeter")
    handler = Raising(error)
    logger.addHandler(handler)
    try:
        with Meter(f"sqlite:///{tmp_path}/ledger.db", gateways={"mock.test": "aigateway"}) as meter:
            client = metered(kit, meter, "read")
            functions = await called(kit, client, read)
            victim = next(function for function in functions if function.co_qualname == "Outgoing.image_request")
            result = await planted(kit, client, read, victim, meter, once=True)
            settle(timeout=60)
            assert ({"request": 1}, 1) == (intake_of(meter).failures.counts(), handler.emitted)
            await client.close()
    finally:
        logger.removeHandler(handler)
    assert isinstance(result, dict)
    assert 200 == result["status"]


async def test_hazard_29_a_logging_handler_that_makes_image_calls_does_not_recurse(kit: Kit, tmp_path: Path) -> None:
    kinds: list[int] = []
    with Meter(f"sqlite:///{tmp_path}/ledger.db", gateways={"mock.test": "aigateway"}) as meter:
        own = KITS[0]
        other = metered(own, meter, "read")

        class Posting(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                kinds.append(own.status(own.run(other.post(MOCK, **asked()))))

        client = metered(kit, meter, "read")
        functions = await called(kit, client, read)
        victim = next(function for function in functions if function.co_qualname == "Outgoing.image_request")
        handler = Posting()
        logging.getLogger("pixelmeter").addHandler(handler)
        try:
            result = await planted(kit, client, read, victim, meter, once=False)
            settle(timeout=60)
        finally:
            logging.getLogger("pixelmeter").removeHandler(handler)
        assert {"request": 1} == intake_of(meter).failures.counts()
        own.run(other.close())
        await client.close()
    assert [200] == kinds
    assert isinstance(result, dict)
