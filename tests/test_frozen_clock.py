"""Programs under freezegun: a call is kept and priced as of the day that it shows, and takes the time that it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from freezegun import freeze_time

import pixelmeter
from pixelmeter import Meter
from pixelmeter.core.attempts.record import Attempt
from tests.ledger.reading import stored

URL = "https://api.openai.com/v1/images/generations"
BODY = {"model": "gpt-image-1", "prompt": "a fox", "size": "1024x1024", "quality": "low"}
USAGE = {"input_tokens": 50, "output_tokens": 272, "input_tokens_details": {"text_tokens": 50, "image_tokens": 0}}
ANSWER = {"created": 1, "data": [{"b64_json": "AAAA"}], "usage": USAGE}
FROZEN = "2026-02-03"
HOUR = 3_600_000_000

# What is written in C warns when it is imported while the clock is stopped: its classes are larger then.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:datetime.* size changed:RuntimeWarning")]

Start = Callable[[], tuple[Meter, httpx.Client]]


def answer(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, stream=httpx.ByteStream(httpx.Response(200, json=ANSWER).content))


@pytest.fixture
def start(new_url: str, tmp_path: Path) -> Iterator[Start]:
    """Makes a meter and a metered client."""
    started: list[tuple[Meter, httpx.Client]] = []

    def make() -> tuple[Meter, httpx.Client]:
        meter = Meter(new_url, spool_dir=str(tmp_path / "spool"))
        client = pixelmeter.instrument(httpx.Client(transport=httpx.MockTransport(answer)), meter)
        started.append((meter, client))
        return started[-1]

    yield make
    for meter, client in started:
        client.close()
        assert meter.close(60)
        assert {} == meter.status()["failures"]


def kept(meter: Meter) -> list[Attempt]:
    assert meter.flush(60)
    return sorted(stored(meter.database_url).values(), key=lambda attempt: attempt.id)


def microseconds(day: str) -> int:
    return int(datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()) * 1_000_000


@pytest.mark.parametrize("made", ["before", "while"])
def test_the_first_call_while_the_clock_is_stopped_is_kept_and_priced(made: str, start: Start) -> None:
    if made == "before":
        meter, client = start()
        with freeze_time(FROZEN):
            client.post(URL, json=BODY)
            assert meter.flush(60)
    else:
        with freeze_time(FROZEN):
            meter, client = start()
            client.post(URL, json=BODY)
            assert meter.flush(60)
    client.post(URL, json=BODY)
    frozen, later = kept(meter)
    assert microseconds(FROZEN) == frozen.started_at
    assert frozen.cost
    assert frozen.cost == later.cost
    assert ("openai", "success") == (frozen.gateway, frozen.outcome)


def test_a_call_in_the_middle_of_which_the_clock_stops_or_goes_on_takes_no_longer(start: Start) -> None:
    meter, client = start()
    # What connects to PostgreSQL takes a jump of the clock meanwhile for a time-out, and is tried again.
    client.post(URL, json=BODY)
    assert meter.flush(60)
    with freeze_time(FROZEN):
        unread = client.send(client.build_request("POST", URL, json=BODY), stream=True)
    unread.read()
    begun = client.send(client.build_request("POST", URL, json=BODY), stream=True)
    with freeze_time(FROZEN):
        begun.read()
    attempts = kept(meter)
    assert 3 == len(attempts)
    assert all(0 <= (attempt.first_byte or 0) <= attempt.duration < HOUR for attempt in attempts)
