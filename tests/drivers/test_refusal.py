"""Calls that a budget does not let go: nothing is sent, and callers are told so by what they know."""

from __future__ import annotations

import copy
import gc
import pickle
import warnings
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import httpx2
import openai
import pytest

import pixelmeter
from pixelmeter import BudgetExceeded
from pixelmeter.drivers.refusal import raised_to
from pixelmeter.testing import capture_calls
from tests.clients import Client, Kit, each, settled
from tests.drivers.limits import PRICE, MakeLimited, instrumented, refused
from tests.drivers.wires import BODY, URL, Wire, posted


def test_a_call_over_the_limit_raises_what_the_librarys_users_catch_and_nothing_is_sent(
    kit: Kit, limited: MakeLimited
) -> None:
    tiny, wire = limited(2), Wire(kit)

    async def scene() -> BudgetExceeded:
        client = instrumented(kit, tiny, transport=wire.transport)
        for _ in range(2):
            assert 200 == (await posted(client)).status_code
        error = await refused(kit, lambda: posted(client))
        await client.close()
        return error

    error: Any = kit.run(scene())
    assert ("tiny", "limit", Decimal("0.02"), Decimal("0.01")) == (
        error.budget,
        error.reason,
        error.limit,
        error.needed,
    )
    assert Decimal("0.02") == error.spent + error.reserved
    assert URL == str(error.request.url)
    assert not isinstance(error, kit.package.RequestError)
    assert error.__suppress_context__
    assert 2 == len(wire.sent)
    assert ["success", "success", "blocked"] == tiny.outcomes()
    assert (2 * PRICE, 0, 0, 1) == tiny.sums()


def test_the_row_of_a_refused_call_says_which_budget_and_that_it_cost_nothing(kit: Kit, limited: MakeLimited) -> None:
    tiny, wire = limited(0), Wire(kit)

    async def scene() -> None:
        client = instrumented(kit, tiny, transport=wire.transport)
        await refused(kit, lambda: posted(client))
        await client.close()

    kit.run(scene())
    [attempt] = tiny.attempts()
    assert ("blocked", "budget_exceeded", "tiny", "not_billed", 0, "blocked", None, None, 0) == (
        attempt.outcome,
        attempt.error_type,
        attempt.error_code,
        attempt.billing,
        attempt.cost,
        attempt.cost_reason,
        attempt.at_risk,
        attempt.status,
        attempt.duration,
    )


def test_a_response_in_its_place_is_as_one_that_was_sent(kit: Kit, limited: MakeLimited) -> None:
    tiny, wire = limited(0, refuse="respond"), Wire(kit)
    hooked: list[int] = []

    def hook(response: Any) -> None:
        hooked.append(response.status_code)

    async def hook_async(response: Any) -> None:
        hook(response)

    async def scene() -> None:
        client = instrumented(
            kit,
            tiny,
            transport=wire.transport,
            event_hooks={"response": [hook_async if kit.is_async else hook]},
        )
        response = await posted(client)
        error = response.json()["error"]
        assert ("budget_exceeded", 402, "tiny", "limit", "0", "0.01") == (
            error["type"],
            error["code"],
            error["budget"],
            error["reason"],
            error["limit_usd"],
            error["needed_usd"],
        )
        assert (402, "Payment Required", timedelta(0), True) == (
            response.status_code,
            response.reason_phrase,
            response.elapsed,
            response.is_closed,
        )
        assert (str(len(response.content)), "false") == (
            response.headers["content-length"],
            response.headers["x-should-retry"],
        )
        with pytest.raises(kit.package.HTTPStatusError, match="402 Payment Required"):
            response.raise_for_status()
        await client.close()

    kit.run(scene())
    assert ([402], []) == (hooked, wire.sent)


@pytest.mark.parametrize("chunks", ["raw", "decoded"])
def test_a_response_in_its_place_can_be_read_in_chunks(kit: Kit, limited: MakeLimited, chunks: str) -> None:
    tiny, wire = limited(0, refuse="respond"), Wire(kit)

    async def scene() -> bytes:
        client = instrumented(kit, tiny, transport=wire.transport)
        async with client.stream(URL, json=BODY) as response:
            assert not response.is_stream_consumed
            found = b"".join([chunk async for chunk in each(getattr(kit, chunks)(response))])
        assert response.is_closed
        await client.close()
        return found

    assert b'"budget_exceeded"' in kit.run(scene())
    assert [] == wire.sent


def test_a_streaming_call_is_refused_before_its_block_is_entered(kit: Kit, limited: MakeLimited) -> None:
    tiny, wire = limited(0), Wire(kit)

    async def scene() -> None:
        client = instrumented(kit, tiny, transport=wire.transport)

        async def call() -> None:
            async with client.stream(URL, json=BODY):
                raise AssertionError("entered")

        await refused(kit, call)
        await client.close()

    kit.run(scene())
    assert [] == wire.sent


def test_in_a_block_a_refused_attempt_is_one_of_the_call(kit: Kit, limited: MakeLimited) -> None:
    tiny, wire = limited(1), Wire(kit)

    async def scene() -> None:
        client = instrumented(kit, tiny, transport=wire.transport)
        with pixelmeter.call():
            assert 200 == (await posted(client)).status_code
            for _ in range(2):
                await refused(kit, lambda: posted(client))
        await client.close()

    kit.run(scene())
    attempts = tiny.attempts()
    assert 1 == len({attempt.call_id for attempt in attempts})
    assert [(0, "success"), (1, "blocked"), (1, "blocked")] == [(one.attempt, one.outcome) for one in attempts]


def test_a_refused_request_may_be_sent_again_once_there_is_room(kit: Kit, limited: MakeLimited) -> None:
    tiny = limited(1)
    wire = Wire(kit, 400, 200)

    async def scene() -> None:
        client = instrumented(kit, tiny, transport=wire.transport)
        under_way = await client.send(URL, json=BODY)
        request = client.raw.build_request("POST", URL, json=BODY)
        await refused(kit, lambda: settled(client.raw.send(request)))
        # What is rejected costs nothing.
        await kit.read(under_way)
        assert 200 == (await settled(client.raw.send(request))).status_code
        await client.close()

    kit.run(scene())
    assert ["rejected", "blocked", "success"] == tiny.outcomes()
    assert (PRICE, 0, 0, 1) == tiny.sums()


def test_what_is_no_image_call_or_is_captured_by_a_test_is_let_go(kit: Kit, limited: MakeLimited) -> None:
    tiny, wire = limited(0), Wire(kit)

    async def scene() -> None:
        client = instrumented(kit, tiny, transport=wire.transport)
        text = "http://mock.test/v1/embeddings"
        assert 200 == (await settled(client.raw.post(text, json={"model": "m", "input": "a fox"}))).status_code
        with capture_calls():
            assert 200 == (await posted(client)).status_code
        await refused(kit, lambda: posted(client))
        await client.close()

    kit.run(scene())
    assert ["blocked"] == tiny.outcomes()


@pytest.mark.parametrize(
    ("error", "at_risk"),
    [("ConnectError", 0), ("ReadTimeout", PRICE), ("PoolTimeout", 0), ("RemoteProtocolError", PRICE)],
)
def test_what_fails_below_keeps_only_what_may_be_billed(
    kit: Kit, limited: MakeLimited, error: str, at_risk: int
) -> None:
    tiny = limited(1)

    def answer(_: Any) -> Any:
        raise getattr(kit.package, error)("away")

    async def scene() -> None:
        client = instrumented(kit, tiny, transport=kit.wire(answer))
        with pytest.raises(getattr(kit.package, error)):
            await posted(client)
        again: Any = BudgetExceeded if at_risk else getattr(kit.package, error)
        with pytest.raises(again):
            await posted(client)
        await client.close()

    kit.run(scene())
    assert (0, at_risk, 0, 1 if at_risk else 0) == tiny.sums()


def test_a_response_that_nobody_closes_gives_back_what_it_did_not_cost(kit: Kit, limited: MakeLimited) -> None:
    tiny, wire = limited(1), Wire(kit, 400, 200)

    async def scene() -> None:
        client = instrumented(kit, tiny, transport=wire.transport)
        response = await client.send(URL, json=BODY)
        del response
        gc.collect()
        assert 200 == (await posted(client)).status_code
        await client.close()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        kit.run(scene())
    assert ["rejected", "success"] == tiny.outcomes()
    assert (PRICE, 0, 0, 0) == tiny.sums()


def test_calls_at_once_never_go_beyond_the_limit(kit: Kit, limited: MakeLimited) -> None:
    tiny, wire = limited(3), Wire(kit)

    async def scene() -> list[int]:
        client = instrumented(kit, tiny, transport=wire.transport)

        async def call() -> int:
            try:
                return int((await posted(client)).status_code)
            except BudgetExceeded:
                return 0

        found = await kit.together([call] * 12)
        await client.close()
        return found

    assert [0] * 9 + [200] * 3 == sorted(kit.run(scene()))
    assert 3 == len(wire.sent)
    assert (3 * PRICE, 0, 0, 9) == tiny.sums()


def test_a_client_of_a_class_of_the_users_own_is_refused_as_its_base(kit: Kit, limited: MakeLimited) -> None:
    tiny, wire = limited(0), Wire(kit)
    kind: Any = kit.package.AsyncClient if kit.is_async else kit.package.Client

    class Own(kind):  # type: ignore[misc]
        pass

    async def scene() -> None:
        client = Client(kit, Own(transport=wire.transport, verify=False))
        pixelmeter.instrument(client.raw, tiny.meter)
        await refused(kit, lambda: posted(client))
        await client.close()

    kit.run(scene())
    assert [] == wire.sent


def test_a_copy_of_a_client_is_limited_too(kit: Kit, limited: MakeLimited) -> None:
    tiny, wire = limited(1), Wire(kit)

    async def scene() -> None:
        client = instrumented(kit, tiny, transport=wire.transport)
        copied = Client(kit, copy.copy(client.raw))
        assert 200 == (await posted(copied)).status_code
        await refused(kit, lambda: posted(client))
        await refused(kit, lambda: posted(copied))
        await client.close()

    kit.run(scene())
    assert 1 == len(wire.sent)


SENT_ON: dict[str, Callable[[Any], Any]] = {
    "pickled": lambda error: pickle.loads(pickle.dumps(error)),
    "copied": copy.copy,
    "copied deeply": copy.deepcopy,
}


@pytest.mark.parametrize("way", SENT_ON)
def test_the_exception_can_be_sent_on_without_its_request(kit: Kit, limited: MakeLimited, way: str) -> None:
    tiny, wire = limited(0), Wire(kit)

    async def scene() -> BudgetExceeded:
        client = instrumented(kit, tiny, transport=wire.transport, headers={"authorization": "Bearer secret-key"})
        error = await refused(kit, lambda: posted(client))
        await client.close()
        return error

    error = kit.run(scene())
    sent: Any = SENT_ON[way](error)
    assert (str(error), error.fields()) == (str(sent), sent.fields())
    for kind in (BudgetExceeded, httpx.HTTPError, httpx2.HTTPError, openai.OpenAIError):
        assert isinstance(sent, kind)
    assert b"secret-key" not in pickle.dumps(error)
    with pytest.raises(RuntimeError):
        assert sent.request


def test_what_is_raised_is_of_the_libraries_that_are_loaded() -> None:
    exceeded = BudgetExceeded(budget="b", reason="limit", limit=Decimal(1))
    raised = raised_to(exceeded, None)
    assert type(raised) is type(raised_to(exceeded, None))
    assert "BudgetExceeded" == type(raised).__name__
    assert not isinstance(raised, httpx.RequestError | httpx2.RequestError | openai.APIConnectionError)
