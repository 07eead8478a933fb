from __future__ import annotations

import json
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from pixelmeter.core.attempts.record import FIELDS, Attempt
from pixelmeter.core.reporting.listing import COLUMNS, OF_TABLES, cells, columns, listed
from pixelmeter.errors import ConfigError
from tests.factories import make_attempt


def test_every_field_of_the_ledger_is_listed_with_its_unit_in_the_name() -> None:
    renamed = {
        "cost": "cost_usd",
        "reported_cost": "reported_cost_usd",
        "token_cost": "token_cost_usd",
        "image_cost": "image_cost_usd",
        "at_risk": "at_risk_usd",
        "fee": "fee_usd",
        "baseline_cost": "baseline_cost_usd",
        "route_fee": "route_fee_usd",
        "savings": "savings_usd",
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


def test_parts_of_a_price_are_listed_as_a_programs_own_objects() -> None:
    attempt = make_attempt(priced_parts='[{"of":"image_cost","atto":"40"}]', savings=-15_000_000)
    found = listed(attempt)
    assert ([{"of": "image_cost", "atto": "40"}], "-0.015") == (found["priced_parts"], found["savings_usd"])


def test_the_keys_of_an_earlier_version_keep_their_places() -> None:
    assert ("version", "first_image_seconds", "remaining_requests") == COLUMNS[46:49]
    assert COLUMNS[49:] == (
        "job_id", "priced_parts", "baseline_model", "baseline_cost_usd", "route_fee_usd", "savings_usd", "service_tier"
    )  # fmt: skip


def test_a_start_is_told_to_the_microsecond() -> None:
    found = listed(make_attempt(started_at=1_780_000_000_000_001))
    assert "2026-05-28T20:26:40.000001Z" == found["started_at"]


def test_what_is_unknown_is_null_and_never_zero() -> None:
    optional = [field.name for field in msgspec.structs.fields(Attempt) if type(None) in _members(field.type)]
    found = listed(make_attempt(**dict.fromkeys(optional)))
    assert len(optional) == sum(value is None for value in found.values())
    json.dumps(found)


def test_a_row_of_a_table_is_ready_to_read() -> None:
    attempt = make_attempt(cost=1_500_000_000_000, at_risk=None, duration=8_123_456, tags='{"a":"1","b":"x y"}')
    expected = {
        "started_at": "2026-05-29 02:11:40",
        "outcome": "success",
        "status": 200,
        "images": 1,
        "cost": "$1,500.0000",
        "at_risk": "",
        "seconds": "8.12",
        "gateway": "aigateway",
        "model": "openai/gpt-image-2",
        "tags": "a=1 b=x y",
    }
    found = cells(attempt, ZoneInfo("Asia/Kathmandu"))
    assert expected == {name: found[name] for name in OF_TABLES}
    assert {*COLUMNS, *OF_TABLES} == found.keys()


@pytest.mark.parametrize(
    ("cost", "reason", "billing", "at_risk", "shown"),
    [
        (0, "rejected", "not_billed", None, ("$0.0000", "")),
        (None, "no_price", "billed", None, ("no_price", "")),
        (None, "outcome_unknown", "unknown", 5_000_000, ("outcome_unknown", "$0.0050")),
        (None, "outcome_unknown", "unknown", 0, ("outcome_unknown", "$0.0000")),
        (None, "outcome_unknown", "unknown", None, ("outcome_unknown", "unknown")),
        (None, "pending_job", "pending", None, ("pending_job", "unknown")),
        (None, None, "unknown", None, ("unknown", "unknown")),
    ],
)
def test_a_row_of_a_table_never_shows_nothing_for_what_is_not_known(
    cost: int | None, reason: str | None, billing: str, at_risk: int | None, shown: tuple[str, str]
) -> None:
    found = cells(make_attempt(cost=cost, cost_reason=reason, billing=billing, at_risk=at_risk), UTC)
    assert shown == (found["cost"], found["at_risk"])


def test_columns_are_chosen_by_the_name_of_the_ledger_of_json_or_of_the_table() -> None:
    assert ("id", "cost_usd", "duration_seconds", "trace_id") == columns("id, cost,seconds,cost_usd,duration,trace_id")
    assert COLUMNS == columns(",".join(FIELDS)) == columns(",".join(COLUMNS))
    for text in ("price", "", ","):
        with pytest.raises(ConfigError, match=f"id, call_id, .*, {COLUMNS[-1]}$"):
            columns(text)


def _members(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__args__", ())
