"""Asking for a report: keys, waits, tries, bounds."""

from __future__ import annotations

import json
import traceback
from datetime import UTC, datetime
from email.utils import format_datetime

import httpx
import pytest

from pixelmeter.errors import ConfigError, SourceError
from pixelmeter.reconcile.sources import client as client_module
from pixelmeter.reconcile.sources.client import UsageClient
from pixelmeter.testing import Gateway
from tests.conftest import FakeClock
from tests.reconcile.conftest import KEY

RECENT = "/v1/usage/recent"
HERE = {"path": RECENT}


def test_a_report_comes_as_the_gateway_gives_it(gateway: Gateway, usage: UsageClient) -> None:
    assert b'{"data":[]}' == usage.get(RECENT, [("limit", "5")])
    gateway.tell(encoding="gzip", match=HERE)
    assert b'{"data":[]}' == usage.get(RECENT)


def test_too_many_requests_are_waited_for_as_long_as_is_said(
    gateway: Gateway, usage: UsageClient, waits: list[float]
) -> None:
    gateway.tell(status=429, headers={"retry-after": "7"}, times=2, match=HERE)
    assert b'{"data":[]}' == usage.get(RECENT)
    assert [7.0, 7.0] == waits


def test_a_date_to_wait_for_is_a_time_to_wait(gateway: Gateway, http: httpx.Client, clock: FakeClock) -> None:
    waits: list[float] = []
    usage = UsageClient(http, gateway.root, KEY, clock=clock, pause=waits.append)
    for later in (90, -90):
        moment = datetime.fromtimestamp(clock.now() // 1_000_000 + later, UTC)
        gateway.tell(status=429, headers={"retry-after": format_datetime(moment, usegmt=True)}, times=1, match=HERE)
        assert b'{"data":[]}' == usage.get(RECENT)
    assert [90, 0] == [round(wait) for wait in waits]


@pytest.mark.parametrize("said", [None, "soon", "-1", "1e9", "٣"])
def test_without_a_time_to_wait_it_waits_longer_each_time(
    said: str | None, gateway: Gateway, usage: UsageClient, waits: list[float]
) -> None:
    headers = {"retry-after": said} if said and said.isascii() else {}
    gateway.tell(status=503, headers=headers, times=3, match=HERE)
    assert b'{"data":[]}' == usage.get(RECENT)
    assert [1.0, 2.0, 4.0] == waits


def test_a_wait_that_is_too_long_is_told(gateway: Gateway, usage: UsageClient, waits: list[float]) -> None:
    gateway.tell(status=429, headers={"retry-after": "3600"}, match=HERE)
    with pytest.raises(SourceError, match="asks to wait for 3600 seconds: run this again then"):
        usage.get(RECENT)
    assert [] == waits


def test_it_gives_up_after_six_tries(gateway: Gateway, usage: UsageClient, waits: list[float]) -> None:
    gateway.tell(status=500, match=HERE)
    with pytest.raises(SourceError, match="it answered 500, 6 times: run this again later.* is kept"):
        usage.get(RECENT)
    assert [1.0, 2.0, 4.0, 8.0, 16.0] == waits


@pytest.mark.parametrize(
    "fault",
    [
        {"cut": 5},
        {"reset": True},
        {"body": "truncated"},
        {"body": "html"},
        {"body": "empty"},
        {"cut": "before_headers"},
    ],
)
def test_an_answer_that_is_cut_is_asked_for_again(
    fault: dict[str, object], gateway: Gateway, usage: UsageClient, waits: list[float]
) -> None:
    gateway.tell(**fault, times=2, match=HERE)
    assert b'{"data":[]}' == usage.get(RECENT)
    assert [1.0, 2.0] == waits
    gateway.tell(**fault, match=HERE)
    with pytest.raises(SourceError, match="6 times"):
        usage.get(RECENT)


def test_nobody_who_listens_is_an_error(http: httpx.Client) -> None:
    with pytest.raises(SourceError, match=r"the connection failed \(ConnectError\)"):
        UsageClient(http, "http://127.0.0.1:1", KEY, pause=lambda _: None).get(RECENT)


@pytest.mark.parametrize(
    ("status", "what"),
    [(401, "the key is not accepted"), (403, "may not read this report"), (404, "no such report"), (400, "not given")],
)
def test_a_refusal_says_what_to_do_and_nothing_of_the_key(
    status: int, what: str, gateway: Gateway, usage: UsageClient, waits: list[float]
) -> None:
    body = json.dumps({"error": {"message": f"bad {KEY}", "type": "authentication_error"}})
    gateway.tell(status=status, body_text=body, match=HERE)
    with pytest.raises(SourceError, match=what) as raised:
        usage.get(RECENT)
    assert f"it answered {status} (authentication_error)" in str(raised.value)
    assert KEY not in "".join(traceback.format_exception(raised.value))
    assert [] == waits
    assert usage.get(RECENT, missing=(status,)) is None


def test_an_error_type_with_the_key_in_it_is_not_shown(gateway: Gateway, usage: UsageClient) -> None:
    gateway.tell(status=401, body_text=json.dumps({"error": {"type": f"no {KEY}"}}), match=HERE)
    with pytest.raises(SourceError) as raised:
        usage.get(RECENT)
    assert KEY not in str(raised.value)


def test_a_redirect_is_not_followed(gateway: Gateway, http: httpx.Client) -> None:
    gateway.tell(redirect=307, match=HERE)
    http.follow_redirects = True
    with pytest.raises(SourceError, match="it answered 307, which leads elsewhere"):
        UsageClient(http, gateway.root, KEY).get(RECENT)


def test_the_key_is_a_bearer_and_shown_nowhere(gateway: Gateway, http: httpx.Client) -> None:
    seen: list[str | None] = []
    http.event_hooks = {"request": [lambda request: seen.append(request.headers.get("authorization"))]}
    usage = UsageClient(http, f"{gateway.root}/v1/", KEY)
    usage.get(RECENT)
    UsageClient(http, gateway.root).get(RECENT)
    assert [f"Bearer {KEY}", None] == seen
    assert f"UsageClient('{gateway.root}/v1')" == repr(usage)


@pytest.mark.parametrize("key", ["two words", "line\n", "schlüssel", "a\x00b"])
def test_a_key_that_is_none_is_refused_unseen(key: str, http: httpx.Client) -> None:
    with pytest.raises(ConfigError, match="copied whole") as raised:
        UsageClient(http, "https://api.example", key)
    assert key not in str(raised.value)


@pytest.mark.parametrize("url", ["api.example", "ftp://api.example", "https://", "", "http://[", "https://a b"])
def test_what_is_no_address_is_refused(url: str, http: httpx.Client) -> None:
    with pytest.raises(ConfigError, match="--base-url is no address"):
        UsageClient(http, url)


@pytest.mark.parametrize(
    "url", ["https://u:secret@api.example", "https://api.example/?key=secret", "https://a.example#secret"]
)
def test_an_address_with_a_secret_is_refused_unseen(url: str, http: httpx.Client) -> None:
    with pytest.raises(ConfigError, match="leave them out") as raised:
        UsageClient(http, url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("base", "path", "asked"),
    [
        ("", "/v1/usage", "/v1/usage"),
        ("/v1", "/v1/usage", "/v1/usage"),
        ("/api/v1/", "/api/v1/activity", "/api/v1/activity"),
        ("/tenant/v1", "/v1/usage", "/tenant/v1/usage"),
        ("/tenant", "/v1/usage", "/tenant/v1/usage"),
        ("/v1/usage", "/v1/usage", "/v1/usage"),
        ("/xv1", "/v1/usage", "/xv1/v1/usage"),
    ],
)
def test_the_end_of_the_address_may_be_the_beginning_of_the_path(base: str, path: str, asked: str) -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        return httpx.Response(200, json={})

    with httpx.Client(transport=httpx.MockTransport(answer)) as recording:
        UsageClient(recording, f"https://api.example{base}").get(path)
    assert [asked] == seen


def test_an_answer_that_is_too_large_is_not_read(
    gateway: Gateway, usage: UsageClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_BODY_LIMIT", 1 << 20)
    gateway.tell(body_text=json.dumps("x" * (2 << 20)), encoding="gzip", match=HERE)
    with pytest.raises(SourceError, match="larger than 1 MiB"):
        usage.get(RECENT)


def test_an_answer_of_too_many_values_is_not_read(
    gateway: Gateway, usage: UsageClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_VALUE_LIMIT", 1000)
    gateway.tell(body_text=json.dumps([1] * 2000), times=1, match=HERE)
    with pytest.raises(SourceError, match="larger than"):
        usage.get(RECENT)
    gateway.tell(body_text=json.dumps([1] * 1000), times=1, match=HERE)
    assert usage.get(RECENT) is not None


class Racing(FakeClock):
    """A clock that is a quarter of an hour later each time that it is looked at."""

    def monotonic(self) -> int:
        """Return a later time."""
        self.advance(900_000_000)
        return super().monotonic()


def test_an_answer_that_drips_for_ever_is_a_failure(gateway: Gateway, http: httpx.Client) -> None:
    usage = UsageClient(http, gateway.root, KEY, clock=Racing(), pause=lambda _: None)
    with pytest.raises(SourceError, match=r"the connection failed \(ReadTimeout\), 6 times"):
        usage.get(RECENT)


def test_waits_are_told_before_they_begin(gateway: Gateway, http: httpx.Client) -> None:
    told: list[str] = []
    gateway.tell(status=429, headers={"retry-after": "2"}, times=1, match=HERE)
    UsageClient(http, gateway.root, KEY, pause=lambda _: told.append("waited"), told=told.append).get(RECENT)
    assert ["127.0.0.1: it answered 429; next try in 2 s", "waited"] == told
