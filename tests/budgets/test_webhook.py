"""Notices are posted to webhooks: signed, tried again where that has a use, and without their URL in any text."""

from __future__ import annotations

import base64
import hmac
import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pixelmeter.budgets.notices import Teller
from pixelmeter.budgets.webhook import Message, Undelivered, Webhook, pause_of
from pixelmeter.core.budgets.budget import Budget
from pixelmeter.core.budgets.notices import NoticeKey, Passed, notice_of
from pixelmeter.errors import ConfigError
from pixelmeter.settings import from_environment
from tests.conftest import FakeClock
from tests.factories import STARTED_AT
from tests.receiver import Answer, Receiver, receiving

SECRETS = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_plJ3nmyCDGBKInavdOK15jsl")
PATIENCE = 30.0
HOUR = 3600.0
NANO = 1_000_000_000


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


class Desk:
    """What tells notices, and what it has noted of failures."""

    def __init__(self, url: str, *, keys: tuple[bytes, ...] = (), pauses: tuple[float, ...] = (0, 0, 0)) -> None:
        self.failures: list[BaseException] = []
        clock = FakeClock()
        self.rule = Budget(10, per="day", name="images", notify=url).rule
        self.teller = Teller(
            {"images": url},
            clock=clock,
            note=lambda place, error: self.failures.append(error),
            webhook=Webhook(keys, clock),
            pauses=pauses,
            told=lambda: None,
        )

    def tell(self) -> Passed:
        """Tell of a threshold, and wait until that is over."""
        key = NoticeKey("images", "", self.rule.span_of(STARTED_AT).start, 500_000)
        passed = Passed(key, self.rule, STARTED_AT, 5 * NANO)
        self.teller.tell([passed])
        assert self.teller.wait(PATIENCE)
        assert [key] == self.teller.told_so_far()
        return passed


def test_a_notice_is_posted_as_json_that_slack_takes(receiver: Receiver) -> None:
    notice = notice_of(Desk(receiver.url).tell())
    assert ["/services/T0/B0/topsecret"] == receiver.paths
    assert "application/json" == receiver.headers[0]["content-type"]
    assert notice.id == receiver.headers[0]["webhook-id"]
    assert notice.text == json.loads(receiver.bodies[0])["text"]
    assert "webhook-signature" not in receiver.headers[0]


def test_a_notice_is_signed_with_each_secret_as_standard_webhooks_has_it(receiver: Receiver) -> None:
    keys = from_environment({"PIXELMETER_NOTIFY_SECRET": ", ".join(SECRETS)}).notify_keys
    Desk(receiver.url, keys=keys).tell()
    [headers], [body] = receiver.headers, receiver.bodies
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    assert str(STARTED_AT // 1_000_000) == headers["webhook-timestamp"]
    assert [signature_by(secret, signed) for secret in SECRETS] == headers["webhook-signature"].split(" ")


def signature_by(secret: str, signed: bytes) -> str:
    digest = hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), signed, "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"


def test_a_server_that_fails_twice_is_sent_the_same_notice_again(receiver: Receiver) -> None:
    receiver.answers = [Answer(500), Answer(503)]
    desk = Desk(receiver.url)
    desk.tell()
    assert 3 == len(receiver.bodies)
    assert 1 == len({headers["webhook-id"] for headers in receiver.headers})
    assert [] == desk.failures


def test_a_server_that_is_busy_tells_when_to_try_again(receiver: Receiver) -> None:
    receiver.answers = [Answer(429, {"retry-after": "0"})]
    desk = Desk(receiver.url, pauses=(HOUR,))
    desk.tell()
    assert 2 == len(receiver.bodies)
    assert [] == desk.failures


def test_a_server_that_goes_on_failing_is_given_up(receiver: Receiver) -> None:
    receiver.answers = [Answer(500)] * 9
    desk = Desk(receiver.url)
    desk.tell()
    assert 4 == len(receiver.bodies)
    assert ["the webhook of the budget 'images' answers 500"] == [str(error) for error in desk.failures]


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_whatever_a_server_says_that_has_taken_the_notice_is_enough(receiver: Receiver, status: int) -> None:
    receiver.answers = [Answer(status)]
    desk = Desk(receiver.url)
    desk.tell()
    assert 1 == len(receiver.bodies)
    assert [] == desk.failures


@pytest.mark.parametrize("status", [301, 308, 400, 404, 410])
def test_a_server_that_does_not_want_the_notice_is_not_sent_it_again(receiver: Receiver, status: int) -> None:
    receiver.answers = [Answer(status, {"location": receiver.url})]
    desk = Desk(receiver.url)
    desk.tell()
    assert 1 == len(receiver.bodies)
    assert [f"the webhook of the budget 'images' answers {status}: it is not tried again"] == [
        str(error) for error in desk.failures
    ]


def test_a_server_that_cannot_be_reached_is_tried_again_and_then_given_up() -> None:
    closed = Receiver()
    closed.server.server_close()
    desk = Desk(closed.url)
    desk.tell()
    assert ["the webhook of the budget 'images' cannot be reached: ConnectError"] == [
        str(error) for error in desk.failures
    ]


@pytest.mark.parametrize("piece", [b"a", b"\r\n\r\nHTTP/1.1 100 Continue\r\nx: "])
def test_a_server_whose_answer_does_not_come_to_an_end_is_given_up(piece: bytes) -> None:
    def drip() -> None:
        client, _ = listening.accept()
        client.settimeout(0.01)
        with client, suppress(ConnectionError):
            client.sendall(b"HTTP/1.1 100 Continue\r\nx: ")
            is_open = True
            while is_open:
                client.sendall(piece)
                with suppress(TimeoutError):
                    is_open = client.recv(65536) != b""

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        webhook = Webhook((), FakeClock(), patience=0.5)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/topsecret"
        with pytest.raises(Undelivered, match="^a webhook has no answer within 0.5 seconds$"):
            webhook.post(url, Message("1", b"{}", "a webhook"))
        thread.join(PATIENCE)


def test_a_url_that_is_none_is_noted_without_it() -> None:
    desk = Desk("http://127.0.0.1:topsecret/")
    desk.tell()
    assert ["the webhook of the budget 'images' has no URL that can be used: InvalidURL"] == [
        str(error) for error in desk.failures
    ]


def test_the_user_and_password_of_a_url_are_sent_as_such(receiver: Receiver) -> None:
    Desk(receiver.url.replace("http://", "http://me:topsecret@")).tell()
    assert "Basic bWU6dG9wc2VjcmV0" == receiver.headers[0]["authorization"]


def test_the_proxy_of_the_environment_is_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", receiver.url.removeprefix("http://").partition("/")[0])
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    Desk("http://hooks.corp.example/services").tell()
    assert ["http://hooks.corp.example/services"] == receiver.paths


def test_a_host_that_the_environment_excepts_is_reached_without_the_proxy(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    desk = Desk(receiver.url)
    desk.tell()
    assert [] == desk.failures
    assert 1 == len(receiver.bodies)


def test_neither_the_log_nor_a_trace_has_the_url(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    HTTPXClientInstrumentor().instrument(tracer_provider=provider)
    try:
        with caplog.at_level(logging.DEBUG):
            Desk(receiver.url).tell()
            assert "topsecret" not in caplog.text
            # An ordinary client of the program says it in both.
            with httpx.Client() as client:
                client.post(receiver.url)
    finally:
        HTTPXClientInstrumentor().uninstrument()
    assert "topsecret" in caplog.text
    assert 1 == len(spans.get_finished_spans())
    assert 2 == len(receiver.bodies)


def test_the_url_is_in_no_repr() -> None:
    url = "https://hooks.corp.example/topsecret"
    budget = Budget(10, notify=url)
    assert "topsecret" not in repr(budget) + repr(budget.rule) + repr(Desk(url).teller)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("", None), ("7", 7.0), (" 0 ", 0.0), ("9" * 99, 60.0), ("-1", None), ("Thu, 28 May 2026", None)],
)
def test_a_pause_that_is_asked_for_is_a_minute_at_most(header: str | None, seconds: float | None) -> None:
    assert seconds == pause_of(header)


def test_a_secret_that_is_none_is_refused_without_being_shown() -> None:
    with pytest.raises(ConfigError, match="PIXELMETER_NOTIFY_SECRET: secret 2 is no base64") as raised:
        from_environment({"PIXELMETER_NOTIFY_SECRET": f"{SECRETS[0]},top secret!"})
    assert "top" not in str(raised.value)


def test_no_secret_is_shown_by_the_settings() -> None:
    settings = from_environment({"PIXELMETER_NOTIFY_SECRET": SECRETS[0]})
    assert 1 == len(settings.notify_keys)
    assert "notify_keys" not in repr(settings)
