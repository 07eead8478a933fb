"""Nothing but an event or a WebhookError, whatever is posted."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pixelmeter
from pixelmeter.core.attempts.jobs import JobEnd
from pixelmeter.errors import WebhookError
from pixelmeter.gateways import load_profiles
from tests.webhooks.senders import EVENTS, PREDICTION, Headers, standard

pytestmark = pytest.mark.slow

_VALUES = st.one_of(
    st.none(), st.integers(), st.binary(max_size=50), st.text(max_size=50), st.lists(st.text(max_size=5), max_size=3)
)
_NAMES = sorted({name for _, body, sign in EVENTS.values() for name in sign(body)})
_ANY_HEADERS = st.one_of(
    _VALUES,
    st.dictionaries(st.sampled_from(_NAMES) | st.text(max_size=10), _VALUES, max_size=8),
    st.lists(st.tuples(st.sampled_from(_NAMES), st.text(max_size=60)), max_size=8),
    st.lists(st.tuples(_VALUES, _VALUES, _VALUES) | _VALUES, max_size=3),
)
_SOME = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@_SOME
@given(headers=_ANY_HEADERS, body=_VALUES, gateway=st.sampled_from([None, "fal", "nosuch"]) | _VALUES, secret=_VALUES)
def test_whatever_comes_is_an_event_or_a_webhook_error(
    meter: pixelmeter.Meter, headers: Any, body: Any, gateway: Any, secret: Any
) -> None:
    with pytest.raises(WebhookError):
        meter.webhook(headers, body, gateway=gateway, secret=secret)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["id", "type", "data", "job_id", "status", "usage", "cost_cents", "result_url", "payload",
                         "images", "output", "url", "error", "request_id", "width"]) | st.text(max_size=5),
        inner,
        max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip


@_SOME
@given(document=_JSON, event=st.sampled_from(list(EVENTS.values())))
def test_whatever_is_signed_is_an_event_or_a_webhook_error(
    meter: pixelmeter.Meter, document: Any, event: tuple[str, bytes, Callable[..., Headers]]
) -> None:
    gateway, _, sign = event
    body = json.dumps(document).encode()
    if isinstance(document, dict):
        assert gateway == meter.webhook(sign(body), body).gateway
    else:
        with pytest.raises(WebhookError, match="^not JSON"):
            meter.webhook(sign(body), body)


@_SOME
@given(event=st.sampled_from(list(EVENTS.values())), at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_bit_of_a_body_may_differ(
    meter: pixelmeter.Meter, event: tuple[str, bytes, Callable[..., Headers]], at: int, bit: int
) -> None:
    gateway, body, sign = event
    changed = bytearray(body)
    changed[at % len(body)] ^= 1 << bit
    with pytest.raises(WebhookError, match="^wrong signature"):
        meter.webhook(sign(body), bytes(changed), gateway=gateway)


def test_several_threads_may_take_events(meter: pixelmeter.Meter, heard: list[JobEnd]) -> None:
    def take(number: int) -> None:
        for at in range(100):
            meter.webhook(standard(PREDICTION, id=f"m{number}-{at}"), PREDICTION)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 400 == len(heard)


def test_the_bundled_profiles_with_webhooks_are_known_without_reading_them_all() -> None:
    profiles = load_profiles({})
    found: Iterator[str] = (profile.id for profile in profiles.profiles if profile.webhook is not None)
    assert tuple(found) == profiles.webhook_ids == tuple(sorted({gateway for gateway, _, _ in EVENTS.values()}))
