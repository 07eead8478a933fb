"""Requests about jobs: each answer that tells a job's end tells it once, and none of them is an attempt."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import pixelmeter
from pixelmeter import Meter
from pixelmeter.core.attempts.jobs import JobEnd
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.meter import intake_of
from tests.clients import Body, Kit, settled
from tests.drivers.wires import BODY, URL, metered_transport, wrapping

POLL = "http://mock.test/v1/jobs/job_1"
RUNNING = {"id": "job_1", "status": "running"}
DONE = {"id": "job_1", "status": "completed", "result_url": "https://media.test/1.png"}
QUEUED = {"id": "job_1", "status": "queued", "object": "job"}


class Answers:
    """Answers with one document after the other, or breaks off; the last one for ever."""

    def __init__(self, kit: Kit, *answers: Any) -> None:
        self.kit = kit
        self.answers = list(answers)
        self.sent: list[Any] = []

    def answer(self, request: Any) -> Any:
        self.sent.append(request)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, Exception):
            raise found
        status, body = found if isinstance(found, tuple) else (200, found)
        if callable(body):
            return body()
        text = json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        if status == 302:
            headers["location"] = body["to"]
        stream = self.kit.stream(Body(text[:7], text[7:]))
        return self.kit.package.Response(status, headers=headers, stream=stream)

    @property
    def transport(self) -> Any:
        return self.kit.wire(self.answer)


@pytest.fixture
def ends(meter: Meter, monkeypatch: pytest.MonkeyPatch) -> list[JobEnd]:
    """What is heard of the ends of jobs."""
    ends: list[JobEnd] = []
    monkeypatch.setattr(intake_of(meter).recorder, "job_end", ends.append)
    return ends


def asking(kit: Kit, meter: Meter, transport: Any, times: int = 1, **options: Any) -> list[Any]:
    """Ask for the job so many times through an instrumented client; return the statuses and documents."""
    seen: list[Any] = []

    async def scene() -> None:
        client = kit.client(transport=transport, **options)
        pixelmeter.instrument(client.raw, meter)
        for _ in range(times):
            response = await settled(client.raw.get(POLL))
            seen.append((response.status_code, response.json()))
        await client.close()

    kit.run(scene())
    return seen


def told(ends: list[JobEnd]) -> list[tuple[str, str, str, int | None]]:
    return [(end.gateway, end.job_id, end.outcome, end.images) for end in ends]


ONE = [("aigateway", "job_1", "success", 1)]


def test_an_answer_that_tells_the_end_tells_it_once_and_comes_as_it_is(
    kit: Kit, meter: Meter, attempts: list[Attempt], ends: list[JobEnd]
) -> None:
    seen = asking(kit, meter, Answers(kit, RUNNING, RUNNING, DONE).transport, times=5)
    assert [(200, RUNNING)] * 2 + [(200, DONE)] * 3 == seen
    assert ONE == told(ends)
    assert [] == attempts


def test_what_tells_more_is_told_and_what_tells_less_is_not(kit: Kit, meter: Meter, ends: list[JobEnd]) -> None:
    def with_cost() -> Any:
        headers = {"x-cost-cents": "4"}
        return kit.package.Response(200, headers=headers, json=DONE)

    silent = {"id": "job_1", "status": "completed"}
    asking(kit, meter, Answers(kit, silent, DONE, (200, with_cost), silent, DONE).transport, times=5)
    assert [(None, None), (1, None), (1, 40_000_000)] == [(end.images, end.reported_cost) for end in ends]


def test_each_job_is_told(kit: Kit, meter: Meter, ends: list[JobEnd]) -> None:
    async def scene() -> None:
        client = kit.client(transport=Answers(kit, DONE).transport)
        pixelmeter.instrument(client.raw, meter)
        for number in range(3):
            await settled(client.raw.get(f"http://mock.test/v1/jobs/{number}"))

    kit.run(scene())
    assert ["0", "1", "2"] == [end.job_id for end in ends]


def test_a_client_and_a_transport_below_it_tell_an_answer_once(
    kit: Kit, meter: Meter, attempts: list[Attempt], ends: list[JobEnd], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_of(meter), "_tell", ends.append)
    asking(kit, meter, metered_transport(kit, meter, metered_transport(kit, meter, Answers(kit, DONE).transport)))
    assert (ONE, []) == (told(ends), attempts)


def _retrying(kit: Kit, inner: Any) -> Any:
    def send(request: Any, handle: Any) -> Any:
        response = handle(request)
        return response if response.status_code == 200 else handle(request)

    async def send_async(request: Any, handle: Any) -> Any:
        response = await handle(request)
        return response if response.status_code == 200 else await handle(request)

    return wrapping(kit, inner, send_async if kit.is_async else send)


def test_each_send_of_a_retrying_transport_is_watched(
    kit: Kit, meter: Meter, attempts: list[Attempt], ends: list[JobEnd], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_of(meter), "_tell", ends.append)
    answers = Answers(kit, (503, {}), DONE)
    assert [(200, DONE)] == asking(kit, meter, _retrying(kit, answers.transport))
    assert (2, ONE, []) == (len(answers.sent), told(ends), attempts)


def test_an_answer_that_a_redirect_leads_to_is_told(kit: Kit, meter: Meter, ends: list[JobEnd]) -> None:
    answers = Answers(kit, (302, {"to": POLL + "?again=1"}), DONE)
    assert [(200, DONE)] == asking(kit, meter, answers.transport, follow_redirects=True)
    assert (2, ONE) == (len(answers.sent), told(ends))


def test_an_image_call_that_ends_in_a_redirect_to_its_job_is_one_attempt_and_an_end(
    kit: Kit, meter: Meter, attempts: list[Attempt], ends: list[JobEnd]
) -> None:
    async def scene() -> None:
        client = kit.client(transport=Answers(kit, (302, {"to": POLL}), DONE).transport, follow_redirects=True)
        pixelmeter.instrument(client.raw, meter)
        await settled(client.raw.post(URL, json=BODY))

    kit.run(scene())
    assert ([302], ONE) == ([attempt.status for attempt in attempts], told(ends))


def test_a_poll_that_fails_tells_nothing_and_the_error_arrives(
    kit: Kit, meter: Meter, attempts: list[Attempt], ends: list[JobEnd]
) -> None:
    error = kit.package.ReadTimeout("slow")
    with pytest.raises(kit.package.ReadTimeout) as raised:
        asking(kit, meter, Answers(kit, error).transport)
    assert raised.value is error
    assert [(500, {"error": {"type": "server"}})] == asking(
        kit, meter, Answers(kit, (500, {"error": {"type": "server"}})).transport
    )
    assert ([], []) == (attempts, ends)


def test_a_body_that_breaks_off_or_is_let_go_tells_nothing(kit: Kit, meter: Meter, ends: list[JobEnd]) -> None:
    def broken() -> Any:
        stream = kit.stream(Body(json.dumps(DONE).encode()[:30], kit.package.ReadError("cut")))
        return kit.package.Response(200, headers={"content-type": "application/json"}, stream=stream)

    async def scene() -> None:
        client = kit.client(transport=Answers(kit, (200, broken), DONE).transport)
        pixelmeter.instrument(client.raw, meter)
        with pytest.raises(kit.package.ReadError):
            await settled(client.raw.get(POLL))
        response = await client.send(POLL, method="GET")
        await kit.close(response)

    kit.run(scene())
    assert [] == ends


def test_a_submit_and_its_polls_are_one_attempt_and_one_end_of_the_same_job(
    kit: Kit, meter: Meter, attempts: list[Attempt], ends: list[JobEnd]
) -> None:
    async def scene() -> None:
        client = kit.client(transport=Answers(kit, (202, QUEUED), RUNNING, DONE).transport)
        pixelmeter.instrument(client.raw, meter)
        await settled(client.raw.post(URL, json=BODY))
        for _ in range(2):
            await settled(client.raw.get(POLL))

    kit.run(scene())
    assert [("pending", "job_1")] == [(attempt.outcome, attempt.job_id) for attempt in attempts]
    assert ONE == told(ends)


def test_a_submit_that_nobody_has_read_says_so_until_its_job_ends(
    kit: Kit, meter: Meter, attempts: list[Attempt]
) -> None:
    async def parts() -> Any:
        yield json.dumps(BODY).encode()

    async def scene() -> None:
        client = kit.client(transport=Answers(kit, QUEUED).transport)
        pixelmeter.instrument(client.raw, meter)
        await settled(client.raw.post(URL, content=parts() if kit.is_async else iter([b"{}"])))
        await settled(client.raw.post(URL, json=BODY))
        await client.close()

    kit.run(scene())
    assert [("pending", "unread_request"), ("pending", "pending_job")] == [
        (attempt.billing, attempt.cost_reason) for attempt in attempts
    ]


def test_a_transport_that_submits_and_polls_inside_one_send_makes_one_attempt_and_one_end(
    kit: Kit, meter: Meter, attempts: list[Attempt], ends: list[JobEnd]
) -> None:
    """What it gives back is the poll's answer: that is no second answer to the call."""
    poll = kit.package.Request("GET", POLL)

    def send(request: Any, handle: Any) -> Any:
        handle(request).close()
        return handle(poll)

    async def send_async(request: Any, handle: Any) -> Any:
        await (await handle(request)).aclose()
        return await handle(poll)

    async def scene() -> None:
        inner = Answers(kit, (202, QUEUED), DONE).transport
        client = kit.client(transport=wrapping(kit, inner, send_async if kit.is_async else send))
        pixelmeter.instrument(client.raw, meter)
        assert DONE == (await settled(client.raw.post(URL, json=BODY))).json()

    kit.run(scene())
    assert ([202], ONE) == ([attempt.status for attempt in attempts], told(ends))


def test_what_waits_for_a_job_inside_a_poll_may_call_again(
    kit: Kit, meter: Meter, attempts: list[Attempt], ends: list[JobEnd]
) -> None:
    post = kit.package.Request("POST", URL, json=BODY)

    def send(request: Any, handle: Any) -> Any:
        handle(post).read()
        return handle(request)

    async def send_async(request: Any, handle: Any) -> Any:
        await (await handle(post)).aread()
        return await handle(request)

    inner = Answers(kit, (202, QUEUED), DONE).transport
    asking(kit, meter, wrapping(kit, inner, send_async if kit.is_async else send))
    assert (["pending"], ONE) == ([attempt.outcome for attempt in attempts], told(ends))


@pytest.mark.parametrize("fails", [lambda end: 1 / 0, None])
def test_a_failure_of_ours_is_counted_and_the_answer_arrives(
    kit: Kit,
    tmp_path: Any,
    attempts: list[Attempt],
    monkeypatch: pytest.MonkeyPatch,
    fails: Callable[[JobEnd], object] | None,
) -> None:
    meter = Meter(f"sqlite:///{tmp_path}/ledger.db", gateways={"mock.test": "aigateway"})
    if fails is None:
        monkeypatch.setattr(intake_of(meter), "follow", lambda outgoing: 1 / 0)
    else:
        monkeypatch.setattr(intake_of(meter).recorder, "job_end", fails)
    assert [(200, DONE)] == asking(kit, meter, Answers(kit, DONE).transport)
    assert 1 == sum(meter.status()["failures"].values())
    assert [] == attempts


def test_a_poll_leaves_the_request_as_it_is(kit: Kit, meter: Meter, ends: list[JobEnd]) -> None:
    answers = Answers(kit, DONE)
    with pixelmeter.tags(aig_tag="hero"):
        asking(kit, meter, answers.transport)
    [request] = answers.sent
    assert "x-aig-tag" not in request.headers
    assert "pixelmeter" not in request.extensions
    assert ONE == told(ends)
