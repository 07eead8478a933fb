"""Calls that pass through the proxy are in the ledger as they were billed, whoever leaves before their end."""

from __future__ import annotations

import json
import socket
import threading
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from sqlalchemy.exc import OperationalError

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.proxy.calls import CallLimits
from pixelmeter.testing import Gateway
from tests.ledger.reading import stored
from tests.proxy.conftest import Pair
from tests.proxy.sidecar import PATIENT, ask, connect, proxying
from tests.proxy.upstream import GENEROUS, Arrived, say
from tests.sinks.web.running import until

MODEL = "meta/sam-3-1-image"
BODY: dict[str, Any] = {"model": MODEL, "prompt": "a red fox", "n": 2}
PATH = "/v1/images/generations"


def everything(url: str) -> list[Attempt]:
    """Return every row; there is none before the writer has made the ledger."""
    try:
        return list(stored(url).values())
    except OperationalError:
        return []


class Calls:
    """The calls of one test, by a tag of their own."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.name = uuid.uuid4().hex
        self.headers = {"x-pixelmeter-tags": f"test={self.name}", "authorization": "Bearer sk-secret"}

    def post(self, body: Any = None, path: str = PATH, **options: Any) -> httpx.Response:
        """Make a call through the proxy to the stand-in gateway."""
        return httpx.post(
            f"{self.pair.root}/gw{path}", json=body or BODY, headers=self.headers, timeout=GENEROUS, **options
        )

    def rows(self, count: int = 1) -> list[Attempt]:
        """Return the attempts, once so many are in the ledger."""
        until(lambda: len(self._rows()) >= count)
        return self._rows()

    def row(self) -> Attempt:
        [row] = self.rows()
        return row

    def _rows(self) -> list[Attempt]:
        found = [row for row in everything(self.pair.url) if json.loads(row.tags).get("test") == self.name]
        return sorted(found, key=lambda row: row.id)

    def raw(self, path: str = PATH, body: bytes | None = None, *, headers: str = "") -> bytes:
        """Return the bytes of a request to the upstream of plain sockets."""
        content = json.dumps(BODY).encode() if body is None else body
        return (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
            f"x-pixelmeter-tags: test={self.name}\r\n{headers}\r\n"
        ).encode() + content


@pytest.fixture
def calls(pair: Pair) -> Calls:
    return Calls(pair)


def test_a_call_is_in_the_ledger_as_it_was_billed(calls: Calls, gateway: Gateway) -> None:
    assert 200 == calls.post().status_code
    row = calls.row()

    [billed] = gateway.billing()
    assert (MODEL, 2, "success", "reported") == (row.model, row.images, row.outcome, row.cost_source)
    assert (billed["charged_nano"], billed["request_id"]) == (row.cost, row.request_id)


def test_what_is_meant_for_the_proxy_does_not_reach_the_gateway_and_keys_do_and_are_not_kept(
    pair: Pair, calls: Calls
) -> None:
    tags = "x-pixelmeter-tags: team=caf\u00e9%2C x, aig_tag=growth\r\nAuthorization: Bearer sk-secret-key\r\n"
    ask(pair.root, calls.raw(headers=tags + "X-Pixelmeter-Token: let-me-in\r\nX-Pixelmeter-Other: 1\r\n"))
    sent = pair.upstream.wait_for().headers
    row = calls.row()

    assert [] == [name for name, _ in sent if b"pixelmeter" in name.lower()]
    assert (b"Authorization", b"Bearer sk-secret-key") in sent
    assert (b"x-aig-tag", b"growth") in sent
    assert {"team": "caf\u00e9, x", "aig_tag": "growth", "test": calls.name} == json.loads(row.tags)
    assert not [field for field in row.__struct_fields__ if "secret" in str(getattr(row, field))]


def test_a_stream_is_metered_as_it_passes(calls: Calls, gateway: Gateway) -> None:
    body = BODY | {"model": "openai/gpt-image-1", "stream": True, "partial_images": 2, "n": 1}
    assert "completed" in calls.post(body).text
    row = calls.row()

    assert ("success", gateway.billed_nano()) == (row.outcome, row.cost)
    assert row.first_image is not None


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_an_answer_that_is_compressed_stays_so_and_is_read(calls: Calls, gateway: Gateway, encoding: str) -> None:
    gateway.tell(encoding=encoding)
    answer = calls.post()

    assert (200, encoding) == (answer.status_code, answer.headers["content-encoding"])
    assert (2, gateway.billed_nano()) == (calls.row().images, calls.row().cost)


def test_the_fields_of_an_upload_are_known_wherever_they_stand(calls: Calls, gateway: Gateway) -> None:
    picture = b"\x89PNG" + b"x" * 3_000_000
    answer = httpx.post(
        f"{calls.pair.root}/gw/v1/images/edits",
        files=[
            ("image", ("fox.png", picture, "image/png")),
            ("model", (None, "bria/fibo-edit/edit")),
            ("n", (None, "1")),
            ("prompt", (None, "a fox")),
        ],
        headers=calls.headers,
        timeout=GENEROUS,
    )
    row = calls.row()

    assert (200, "edit", "bria/fibo-edit/edit") == (answer.status_code, row.operation, row.requested_model)
    assert gateway.billed_nano() == row.cost


@pytest.mark.slow
def test_a_body_beyond_what_is_held_goes_through_and_its_first_fields_are_known(pair: Pair, calls: Calls) -> None:
    boundary, picture = b"b7", b"y" * 20_000_000
    fields = b'--b7\r\nContent-Disposition: form-data; name="model"\r\n\r\nbria/fibo-edit/edit\r\n'
    body = fields + b'--b7\r\nContent-Disposition: form-data; name="image"; filename="f"\r\n\r\n' + picture
    body += b"\r\n--" + boundary + b"--\r\n"
    request = calls.raw("/v1/images/edits", body).replace(b"application/json", b"multipart/form-data; boundary=b7")
    pair.upstream.answer = say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx-cost-cents: 4\r\n\r\n{}")

    assert 200 == ask(pair.root, request).status
    assert body == pair.upstream.wait_for().body
    row = calls.row()
    assert ("bria/fibo-edit/edit", 40_000_000, len(body)) == (row.requested_model, row.cost, row.request_bytes)


@pytest.mark.slow
def test_what_fields_beyond_what_is_held_may_name_is_no_default_of_the_gateway(pair: Pair, calls: Calls) -> None:
    body = b'--b7\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na fox\r\n'
    body += b'--b7\r\nContent-Disposition: form-data; name="image"; filename="f"\r\n\r\n' + b"y" * 20_000_000
    body += b'\r\n--b7\r\nContent-Disposition: form-data; name="model"\r\n\r\nhouse\r\n--b7--\r\n'
    request = calls.raw("/v1/images/edits", body).replace(b"application/json", b"multipart/form-data; boundary=b7")
    answer = b'{"data":[{"url":"https://media.test/1.png"}]}'
    pair.upstream.answer = say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))

    assert 200 == ask(pair.root, request).status
    row = calls.row()
    assert ("edit", "", None, "unread_request") == (row.operation, row.model, row.cost, row.cost_reason)


def test_a_call_through_an_sdk_and_its_retries_are_in_the_ledger(calls: Calls, gateway: Gateway) -> None:
    gateway.tell(status=503, times=1, headers={"retry-after-ms": "1"})
    client = openai.OpenAI(
        base_url=f"{calls.pair.root}/gw/v1", api_key="sk-x", default_headers=calls.headers, max_retries=2
    )
    client.images.generate(model=MODEL, prompt="a fox")

    rows = calls.rows(2)

    assert [("error", 0), ("success", 1)] == [(row.outcome, row.attempt) for row in rows]
    assert [rows[0].id] * 2 == [row.call_id for row in rows]


def test_no_image_call_leaves_no_row(pair: Pair, calls: Calls) -> None:
    calls.post()
    calls.row()
    before = len(stored(pair.url))
    assert httpx.get(f"{pair.root}/gw/v1/models", headers=calls.headers).status_code in (200, 404)
    httpx.post(f"{pair.root}/gw/v1/chat/completions", json={"model": "x", "messages": []}, headers=calls.headers)
    calls.post()
    calls.rows(2)
    assert before + 1 == len(stored(pair.url))


# Clients that leave.


def hang_up_when(pair: Pair, calls: Calls, ready: Callable[[socket.socket, Arrived], object]) -> Arrived:
    """Send a call, and close the connection as soon as `ready` has returned."""
    with connect(pair.root) as client:
        client.sendall(calls.raw())
        arrived = pair.upstream.wait_for()
        assert arrived.is_whole.wait(GENEROUS)
        ready(client, arrived)
    return arrived


def picture(cents: int = 4) -> bytes:
    body = json.dumps({"created": 1, "data": [{"b64_json": "x" * 50_000}] * 2}).encode()
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-cost-cents: %d\r\nContent-Length: %d\r\n\r\n"
        % (cents, len(body))
    ) + body


def test_the_cost_of_a_call_is_learnt_when_its_client_leaves_before_the_answer(pair: Pair, calls: Calls) -> None:
    has_left = threading.Event()

    def answer(client: socket.socket, _: Arrived) -> None:
        assert has_left.wait(GENEROUS)
        client.sendall(picture())

    pair.upstream.answer = answer
    hang_up_when(pair, calls, lambda client, arrived: None)
    wait_until_gone(pair)
    has_left.set()
    row = calls.row()

    assert ("cancelled", "client_gone", 40_000_000, "billed", 2) == (
        row.outcome, row.error_type, row.cost, row.billing, row.images,
    )  # fmt: skip


def test_the_cost_of_a_call_is_learnt_when_its_client_leaves_in_the_middle_of_the_answer(
    pair: Pair, calls: Calls
) -> None:
    has_left = threading.Event()

    def answer(client: socket.socket, _: Arrived) -> None:
        client.sendall(picture()[:5000])
        assert has_left.wait(GENEROUS)
        client.sendall(picture()[5000:])

    pair.upstream.answer = answer
    hang_up_when(pair, calls, lambda client, arrived: client.recv(65536))
    wait_until_gone(pair)
    has_left.set()
    row = calls.row()

    assert ("cancelled", "client_gone", 40_000_000, 2) == (row.outcome, row.error_type, row.cost, row.images)


def test_a_call_that_failed_anyway_says_why_though_its_client_has_left(pair: Pair, calls: Calls) -> None:
    has_left = threading.Event()

    def answer(client: socket.socket, _: Arrived) -> None:
        assert has_left.wait(GENEROUS)
        client.sendall(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n")

    pair.upstream.answer = answer
    hang_up_when(pair, calls, lambda client, arrived: None)
    wait_until_gone(pair)
    has_left.set()

    assert ("throttled", 0) == (calls.row().outcome, calls.row().cost)


@pytest.mark.slow
def test_an_answer_that_does_not_come_in_time_for_a_client_that_left_is_given_up(pair: Pair, sqlite_url: str) -> None:
    with proxying(pair.upstream.root, url=sqlite_url, options=["--gone-timeout", "0.2"]) as sidecar:
        short = Pair(sidecar, pair.upstream, sqlite_url, pair.gateway)
        calls = Calls(short)
        pair.upstream.answer = lambda client, arrived: client.recv(1)
        arrived = hang_up_when(short, calls, lambda client, arrived: None)
        pair.upstream.wait_closed(arrived.connection)
        row = calls.row()

    assert ("cancelled", "client_gone", None, "unknown") == (row.outcome, row.error_type, row.cost, row.billing)
    assert row.at_risk


def test_an_answer_without_an_end_for_a_client_that_left_is_given_up(pair: Pair, calls: Calls) -> None:
    has_left = threading.Event()
    sent = 0

    def answer(client: socket.socket, _: Arrived) -> None:
        nonlocal sent
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert has_left.wait(GENEROUS)
        chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        while sent < 2 * CallLimits().gone_bytes:
            client.sendall(chunk)
            sent += 0x100000

    pair.upstream.answer = answer
    arrived = hang_up_when(pair, calls, lambda client, arrived: client.recv(65536))
    wait_until_gone(pair)
    has_left.set()
    pair.upstream.wait_closed(arrived.connection)

    assert ("cancelled", "client_gone", None) == (calls.row().outcome, calls.row().error_type, calls.row().cost)
    assert sent < 2 * CallLimits().gone_bytes


def wait_until_gone(pair: Pair) -> None:
    """Return when the proxy has seen all that was sent to it so far: connections are served in their order."""
    for _ in range(2):
        answer = ask(pair.root, b"GET /gw/_control/jobs HTTP/1.1\r\nHost: x\r\n\r\n")
        assert 200 == answer.status


# Gateways that fail.


@pytest.mark.slow
def test_a_gateway_that_nobody_reaches_is_a_502_and_was_not_billed(sqlite_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with proxying(nobody, url=sqlite_url) as sidecar:
        answer = httpx.post(f"{sidecar.root}{PATH}", json=BODY)
        sidecar.stop()
    [row] = stored(sqlite_url).values()

    assert (502, "pixelmeter_proxy") == (answer.status_code, answer.json()["error"]["type"])
    assert ("error", "ClientConnectorError", "not_billed", 0) == (row.outcome, row.error_type, row.billing, row.cost)


def test_a_gateway_that_breaks_off_leaves_the_call_at_risk(pair: Pair, calls: Calls) -> None:
    def answer(client: socket.socket, _: Arrived) -> None:
        client.shutdown(socket.SHUT_RDWR)

    pair.upstream.answer = answer
    answered = ask(pair.root, calls.raw())
    row = calls.row()

    assert (502, 1) == (answered.status, len(pair.upstream.arrived))
    assert ("error", "unknown", None) == (row.outcome, row.billing, row.cost)
    assert row.at_risk


@pytest.mark.slow
def test_a_silent_gateway_is_a_504(pair: Pair, sqlite_url: str) -> None:
    pair.upstream.answer = lambda client, arrived: client.recv(1)
    with proxying(pair.upstream.root, url=sqlite_url, options=["--idle-timeout", "1"]) as sidecar:
        answer = httpx.post(f"{sidecar.root}{PATH}", json=BODY, timeout=GENEROUS)
        sidecar.stop()
    [row] = stored(sqlite_url).values()

    assert (504, "timeout", "unknown") == (answer.status_code, row.outcome, row.billing)


def test_a_header_with_a_line_break_in_it_is_not_passed_on(pair: Pair) -> None:
    pair.upstream.answer = say(b"HTTP/1.1 200 OK\r\nX-A: 1\rSet-Cookie: x\r\nContent-Length: 2\r\n\r\n{}")
    answer = ask(pair.root, b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")

    assert 502 == answer.status
    assert b"Set-Cookie" not in answer.head


# Budgets.


@pytest.mark.slow
def test_a_call_that_a_budget_does_not_let_go_is_a_402_and_goes_nowhere(
    gateway: Gateway, sqlite_url: str, tmp_path: Any
) -> None:
    (tmp_path / "budgets.toml").write_text(
        '[[budget]]\nname = "growth"\nusd = "0.03"\nper = "day"\neach = "tag:team"\naction = "block"\n'
        'on_unavailable = "block"\n'
    )
    settings = {"PIXELMETER_BUDGETS": str(tmp_path / "budgets.toml")}
    with proxying(gateway.root, url=sqlite_url, settings=settings, program=PATIENT) as sidecar:
        headers = {"x-pixelmeter-tags": "team=growth"}
        with httpx.Client(base_url=sidecar.root, headers=headers, timeout=GENEROUS) as client:
            answers = [client.post(PATH, json=BODY) for _ in range(2)]
            refused = answers[1]
            sdk = openai.OpenAI(base_url=f"{sidecar.root}/v1", api_key="x", default_headers=headers)
            with pytest.raises(openai.APIStatusError) as raised:
                sdk.images.generate(model=MODEL, prompt="a fox", n=2)
            sidecar.stop()
    rows = sorted(stored(sqlite_url).values(), key=lambda row: row.id)

    assert [200, 402] == [answer.status_code for answer in answers]
    assert ("budget_exceeded", "growth") == (refused.json()["error"]["type"], refused.json()["error"]["budget"])
    assert "false" == refused.headers["x-should-retry"]
    assert (402, "budget_exceeded") == (raised.value.status_code, raised.value.type)
    assert ["success", "blocked", "blocked"] == [row.outcome for row in rows]
    assert 1 == len(gateway.billing())
