"""requests, whose sessions send through urllib3."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter

from pixelmeter import BudgetExceeded, Meter
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.drivers.urllib3 import is_client, meter_client, patch
from pixelmeter.testing import Gateway, capture_calls
from tests.drivers.limits import Limited
from tests.ledger.reading import stored

BODY = {"model": "meta/sam-3-1-image", "prompt": "a fox"}
PRICE = 10_000_000
RETRY = urllib3.Retry(5, allowed_methods=None, status_forcelist=[503], backoff_factor=0)


@pytest.fixture
def meter(sqlite_url: str) -> Iterator[Meter]:
    with Meter(sqlite_url) as meter:
        yield meter
        assert {} == meter.status()["failures"]


@pytest.fixture
def attempts() -> Iterator[list[Attempt]]:
    with capture_calls() as attempts:
        yield attempts


@pytest.fixture(params=["in place", "patched", "both"])
def session(request: pytest.FixtureRequest, meter: Meter) -> Iterator[requests.Session]:
    """A session that is metered: by itself, with urllib3's classes, or both, which is one attempt a request."""
    undo = patch(lambda: meter) if request.param != "in place" else lambda: None
    with requests.Session() as session:
        if request.param != "patched":
            meter_client(session, meter, provisional=False)
        yield session
    undo()


def url_of(gateway: Gateway) -> str:
    return f"{gateway.url}/images/generations"


def test_the_ledger_has_what_the_gateway_bills(meter: Meter, gateway: Gateway) -> None:
    with requests.Session() as session:
        meter_client(session, meter, provisional=False)
        for _ in range(5):
            session.post(url_of(gateway), json=BODY).raise_for_status()
        session.post(url_of(gateway), data='{"model": "meta/sam-3-1-image"}').raise_for_status()
    assert meter.flush(60)
    kept = stored(meter.database_url).values()
    assert [entry["charged_nano"] for entry in gateway.billing()] == [attempt.cost for attempt in kept]
    assert 6 == len(kept)


def test_a_form_with_files_is_an_edit(
    session: requests.Session, attempts: list[Attempt], gateway: Gateway, tmp_path: Path
) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"\x89PNG")
    with picture.open("rb") as file:
        session.post(f"{gateway.url}/images/edits", data=BODY, files={"image": file}).raise_for_status()
    assert [("edit", "meta/sam-3-1-image", 1)] == [
        (attempt.operation, attempt.model, attempt.input_images) for attempt in attempts
    ]


@pytest.mark.parametrize("transfer", ["length", "chunked"])
def test_an_answer_that_is_streamed_is_recorded_once_it_is_read(
    transfer: str, session: requests.Session, attempts: list[Attempt], gateway: Gateway
) -> None:
    gateway.tell(transfer=transfer, encoding="gzip")
    with session.post(url_of(gateway), json=BODY, stream=True) as response:
        assert [] == attempts
        assert b"".join(response.iter_content(10)).startswith(b"{")
        assert [("success", PRICE)] == [(attempt.outcome, attempt.cost) for attempt in attempts]


def test_raw_bytes_and_lines_are_seen(session: requests.Session, attempts: list[Attempt], gateway: Gateway) -> None:
    session.post(url_of(gateway), json=BODY, stream=True).raw.read(decode_content=False)
    list(session.post(url_of(gateway), json=BODY, stream=True).iter_lines())
    assert ["success"] * 2 == [attempt.outcome for attempt in attempts]


def test_a_stream_that_is_closed_is_cancelled(
    session: requests.Session, attempts: list[Attempt], gateway: Gateway
) -> None:
    gateway.tell(transfer="chunked", image_bytes=200_000)
    with session.post(url_of(gateway), json={**BODY, "response_format": "b64_json"}, stream=True) as response:
        for _ in response.iter_content(10):
            break
    assert ["cancelled"] == [attempt.outcome for attempt in attempts]


def test_retries_of_an_adapter_are_attempts_of_one_call(
    session: requests.Session, attempts: list[Attempt], gateway: Gateway
) -> None:
    # An adapter that the session is given after it has been instrumented.
    session.mount("http://", HTTPAdapter(max_retries=RETRY))
    gateway.tell(status=503, times=2)
    assert 200 == session.post(url_of(gateway), json=BODY).status_code
    assert [(0, "error"), (1, "error"), (2, "success")] == [(each.attempt, each.outcome) for each in attempts]
    assert 1 == len({attempt.call_id for attempt in attempts})


def test_where_requests_follows_a_redirect_each_request_is_an_attempt(
    session: requests.Session, attempts: list[Attempt], gateway: Gateway
) -> None:
    gateway.tell(redirect=307, times=1)
    response = session.post(url_of(gateway), json=BODY)
    assert (200, 1) == (response.status_code, len(response.history))
    assert ["rejected", "success"] == [attempt.outcome for attempt in attempts]


def test_a_redirect_that_an_instrumented_session_follows_is_of_the_same_call(
    meter: Meter, attempts: list[Attempt], gateway: Gateway
) -> None:
    gateway.tell(redirect=308, times=1)
    with requests.Session() as session:
        meter_client(session, meter, provisional=False)
        session.post(url_of(gateway), json=BODY).raise_for_status()
    assert [0, 1] == [attempt.attempt for attempt in attempts]
    assert 1 == len({attempt.call_id for attempt in attempts})


def test_a_body_that_is_generated_is_sent_and_recorded(
    session: requests.Session, attempts: list[Attempt], gateway: Gateway
) -> None:
    session.post(
        url_of(gateway), data=iter([b'{"model":"meta/sam-3-1-image",', b'"prompt":"a fox"}'])
    ).raise_for_status()
    assert [("success", PRICE)] == [(attempt.outcome, attempt.cost) for attempt in attempts]


def test_a_proxy_that_a_call_names_is_metered(
    session: requests.Session, attempts: list[Attempt], gateway: Gateway
) -> None:
    proxies = {"http": gateway.url.removesuffix("/v1")}
    session.post("http://api.aigateway.sh/v1/images/generations", json=BODY, proxies=proxies).raise_for_status()
    assert [("aigateway", "success")] == [(attempt.gateway, attempt.outcome) for attempt in attempts]


@pytest.mark.parametrize(
    ("behaviour", "error", "outcome"),
    [
        ({"hold": "before_headers"}, requests.ReadTimeout, "timeout"),
        ({"cut": "before_headers"}, requests.ConnectionError, "error"),
        ({"cut": 10, "transfer": "length", "cost_header": False}, requests.exceptions.ChunkedEncodingError, "error"),
    ],
)
def test_callers_get_the_errors_of_requests_and_it_may_be_billed(
    behaviour: dict[str, Any],
    error: type[Exception],
    outcome: str,
    session: requests.Session,
    attempts: list[Attempt],
    gateway: Gateway,
) -> None:
    gateway.tell(**behaviour)
    with pytest.raises(error):
        session.post(url_of(gateway), json=BODY, timeout=0.5)
    assert [(outcome, "unknown")] == [(attempt.outcome, attempt.billing) for attempt in attempts]


@pytest.mark.parametrize("retries", [0, RETRY])
def test_a_refused_call_raises_what_requests_neither_tries_again_nor_hides(
    retries: Any, sqlite_url: str, gateway: Gateway
) -> None:
    limited = Limited(sqlite_url, 1)
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=retries))
        meter_client(session, limited.meter, provisional=False)
        session.post(url_of(gateway), json=BODY).raise_for_status()
        with pytest.raises(BudgetExceeded):
            session.post(url_of(gateway), json=BODY)
    assert ["success", "blocked"] == limited.outcomes()
    assert 1 == len(gateway.billing())
    limited.meter.close()


def test_a_refused_call_is_a_402_where_the_budget_says_so(sqlite_url: str, gateway: Gateway) -> None:
    limited = Limited(sqlite_url, 1, refuse="respond")
    with requests.Session() as session:
        meter_client(session, limited.meter, provisional=False)
        session.post(url_of(gateway), json=BODY).raise_for_status()
        response = session.post(url_of(gateway), json=BODY)
    assert (402, "budget_exceeded") == (response.status_code, response.json()["error"]["type"])
    limited.meter.close()


def test_a_metered_session_can_be_copied_and_pickled_as_before(meter: Meter, gateway: Gateway) -> None:
    with requests.Session() as session:
        meter_client(session, meter, provisional=False)
        session.headers["x-mine"] = "1"
        for copied in (copy.deepcopy(session), pickle.loads(pickle.dumps(session))):
            assert "1" == copied.headers["x-mine"]
            copied.post(url_of(gateway), json=BODY).raise_for_status()
            copied.close()


def test_sessions_and_adapters_are_clients() -> None:
    assert is_client(requests.Session())
    assert is_client(HTTPAdapter())
