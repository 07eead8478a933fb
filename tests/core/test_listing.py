from __future__ import annotations

import json
from typing import Any

import msgspec

from pixelmeter.core.listing import COLUMNS, listed
from pixelmeter.core.record import FIELDS, Attempt
from tests.factories import make_attempt


def test_every_field_of_the_ledger_is_listed_with_its_unit_in_the_name() -> None:
    renamed = {
        "cost": "cost_usd",
        "reported_cost": "reported_cost_usd",
        "token_cost": "token_cost_usd",
        "image_cost": "image_cost_usd",
        "at_risk": "at_risk_usd",
        "fee": "fee_usd",
        "first_byte": "first_byte_seconds",
        "first_image": "first_image_seconds",
        "duration": "duration_seconds",
    }
    assert tuple(renamed.get(name, name) for name in FIELDS) == COLUMNS
    assert list(COLUMNS) == list(listed(make_attempt()))


def test_values_are_exact_and_in_their_units() -> None:
    attempt = make_attempt(
        started_at=1_780_000_000_000_000,
        cost=10_000_000,
        at_risk=0,
        image_cost=None,
        fee=2_112_001,
        duration=8_123_456,
        first_byte=None,
        fee_rate=55_000,
        tags='{"feature":"x","team":"growth"}',
    )
    expected = {
        "started_at": "2026-05-28T20:26:40.000000Z",
        "cost_usd": "0.01",
        "at_risk_usd": "0",
        "image_cost_usd": None,
        "fee_usd": "0.002112001",
        "duration_seconds": 8.123456,
        "first_byte_seconds": None,
        "fee_rate": 55_000,
        "tags": {"feature": "x", "team": "growth"},
    }
    found = listed(attempt)
    assert expected == {key: found[key] for key in expected}


def test_what_is_unknown_is_null_and_never_zero() -> None:
    optional = [field.name for field in msgspec.structs.fields(Attempt) if type(None) in _members(field.type)]
    found = listed(make_attempt(**dict.fromkeys(optional)))
    assert len(optional) == sum(value is None for value in found.values())
    json.dumps(found)


def _members(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__args__", ())
