"""What requests of one kind share, and what tells kinds apart."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pixelmeter.core.apis.reader import ImageRequest
from pixelmeter.core.attempts.intent import Intents
from pixelmeter.core.attempts.record import MICROSECONDS_PER_DAY
from pixelmeter.gateways import load_profiles
from pixelmeter.prices import bundled
from tests.factories import STARTED_AT, route_to

_PROFILES = load_profiles({})
_AIGATEWAY = route_to("api.aigateway.sh", _PROFILES)
_ASK = ImageRequest(model="meta/sam-3-1-image", images=2)


def _intents() -> Intents:
    return Intents(_PROFILES, bundled(), fee_rate=None, version="0")


def test_a_kind_is_worked_out_once_a_day() -> None:
    kinds = _intents()
    first = kinds.of("api.aigateway.sh", _AIGATEWAY, _ASK, STARTED_AT)
    assert first is kinds.of(
        "api.aigateway.sh", _AIGATEWAY, ImageRequest(model="meta/sam-3-1-image", images=2), STARTED_AT + 1
    )
    assert first is not kinds.of("api.aigateway.sh", _AIGATEWAY, _ASK, STARTED_AT + MICROSECONDS_PER_DAY)
    assert 20_000_000 == first.intent.at_risk


@pytest.mark.parametrize(
    ("host", "operation", "ask", "field", "value"),
    [
        ("images.corp.example", "generate", _ASK, "gateway", "images.corp.example"),
        ("api.aigateway.sh", "edit", _ASK, "operation", "edit"),
        ("api.aigateway.sh", "generate", ImageRequest(model="meta/sam-3-1-image", images=3), "at_risk", 30_000_000),
        ("api.aigateway.sh", "generate", ImageRequest(model="meta/sam-3-1-image", images=2, byok=True), "fee_rate", 0),
        ("api.aigateway.sh", "generate", ImageRequest(model="meta/sam-3-1-image", images=2, size="1x1"), "size", "1x1"),
    ],
)
def test_kinds_that_differ_are_kept_apart(
    host: str, operation: Any, ask: ImageRequest, field: str, value: object
) -> None:
    kinds = _intents()
    plain = kinds.of("api.aigateway.sh", _AIGATEWAY, _ASK, STARTED_AT).intent
    other = kinds.of(host, route_to(host, _PROFILES, operation), ask, STARTED_AT).intent
    assert value == getattr(other, field)
    assert value != getattr(plain, field)


def test_what_a_request_puts_at_risk_is_unknown_where_nobody_has_read_how_many_images_it_asks_for() -> None:
    path = ImageRequest(deployment="meta/sam-3-1-image")
    read, unread = (
        _intents().of("api.aigateway.sh", _AIGATEWAY, each, STARTED_AT).intent
        for each in (path, msgspec.structs.replace(path, unread=True))
    )
    assert (10_000_000, None) == (read.at_risk, unread.at_risk)


def test_careless_model_names_do_not_grow_the_memory_of_a_process() -> None:
    kinds = _intents()
    for number in range(3000):
        kinds.of("api.aigateway.sh", _AIGATEWAY, ImageRequest(model=f"m{number}"), STARTED_AT)
    assert 256 >= len(kinds._known.known)
