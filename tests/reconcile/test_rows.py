"""Rows of reports as statements."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmeter.core.gateways.amounts import Unit
from pixelmeter.core.reconciling.statement import Grain, Period, Statement, month
from pixelmeter.core.text import signed
from pixelmeter.errors import ConfigError
from pixelmeter.reconcile.sources.rows import RowReader, RowShape, paths

NOVEMBER = month("2026-11")
SHAPE = RowShape(
    ids=paths("id"),
    time=paths("time"),
    model=paths("model"),
    amount=paths("cost"),
    status=paths("status"),
    label=paths("tag"),
    images=paths("images"),
)


def reader(shape: RowShape = SHAPE, grain: Grain = "request", period: Period = NOVEMBER) -> RowReader:
    return RowReader(gateway="g", source="s", grain=grain, shape=shape, period=period, read_at=1)


def one(row: str | dict[str, Any], shape: RowShape = SHAPE, grain: Grain = "request") -> tuple[list[Statement], Any]:
    text = row if isinstance(row, str) else json.dumps(row)
    reading = reader(shape, grain)
    return reading.statements([("row 1", text.encode())]), reading.problems()


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("0.1", 100_000_000),
        ("0.30000000000000004", 300_000_000),
        ("1e-9", 1),
        ("1.5E2", 150_000_000_000),
        ("-0.25", -250_000_000),
        ('"0.042"', 42_000_000),
        ('"$1,234.50"', 1_234_500_000_000),
        ('"1,234,567"', 1_234_567_000_000_000),
        ('"-$2"', -2_000_000_000),
        ('"3 USD"', 3_000_000_000),
        ("0", 0),
        ("123456789.123456789", 123_456_789_123_456_789),
        ("null", None),
        ('""', None),
    ],
)
def test_an_amount_is_read_exactly_and_kept_as_it_came(text: str, nano: int | None) -> None:
    [found], problems = one(f'{{"id":"a","time":"2026-11-05","cost":{text}}}')
    assert (nano, ()) == (found.amount, problems)
    if text != "null":
        assert f'"cost":{text}' in found.raw


@pytest.mark.parametrize(
    "text",
    [
        '"NaN"',
        '"abc"',
        "1e99",
        '"1,50"',
        '"0,040"',
        '"1,250"',
        '"0,123.5"',
        '"1.000,50"',
        "true",
        '"--1"',
        "99999999999",
    ],
)
def test_what_is_no_amount_is_unknown_and_said(text: str) -> None:
    [found], problems = one(f'{{"id":"a","time":"2026-11-05","cost":{text}}}')
    assert found.amount is None
    assert ["row 1" in each and "is no amount; it is kept as unknown" in each for each in problems] == [True]


def test_cents_are_cents() -> None:
    shape = RowShape(time=paths("t"), amount=paths("c"), unit=Unit("cents"))
    [found], _ = one({"t": "2026-11-05", "c": 4.2}, shape)
    assert 42_000_000 == found.amount


_SECONDS = 1_793_873_410


@pytest.mark.parametrize(
    "text",
    [
        str(_SECONDS),
        f'"{_SECONDS}"',
        f"{_SECONDS}.0",
        f"{_SECONDS}000",
        f"{_SECONDS}000000",
        f"{_SECONDS}000000000",
        '"2026-11-05T10:10:10Z"',
        '"2026-11-05 10:10:10"',
        '"2026-11-05 10:10:10 UTC"',
        '"2026-11-05T12:10:10+02:00"',
        '"2026-11-05T10:10:10.000000+00:00"',
        '"20261105T101010Z"',
    ],
)
def test_a_time_is_read_in_every_usual_form(text: str) -> None:
    [found], problems = one(f'{{"id":"a","time":{text}}}')
    assert (_SECONDS * 1_000_000, ()) == (found.starts_at, problems)


@pytest.mark.parametrize("text", ['"yesterday"', '"11/05/2026"', "1e400", "true", '""', "-5", '"9999-99-99"', "1" * 30])
def test_a_row_without_a_time_is_named_and_makes_no_statement(text: str) -> None:
    found, problems = one(f'{{"id":"a","time":{text},"cost":1}}')
    assert ([], 1) == (found, len(problems))
    assert problems[0].startswith("row 1: ")


def test_a_row_outside_the_period_is_left_out() -> None:
    rows = [
        ("r", json.dumps({"id": t, "time": t}).encode())
        for t in ("2026-10-31T23:59:59.999999Z", "2026-11-01", "2026-12-01")
    ]
    reading = reader()
    assert ["2026-11-01"] == [each.external_id for each in reading.statements(rows)]
    assert int(datetime(2026, 10, 31, 23, 59, 59, 999999, UTC).timestamp() * 1_000_000) == reading.oldest


@pytest.mark.parametrize("time", ["2026-11-05T01:00:00Z", "2026-11-05T00:00:00+02:00"])
def test_a_day_that_is_not_one_of_utc_is_named(time: str) -> None:
    found, problems = one({"time": time, "cost": 1}, grain="day")
    assert ([], [f"row 1: '{time}' does not begin a day of UTC"]) == (found, list(problems))


def test_a_day_ends_where_the_next_begins() -> None:
    [found], _ = one({"time": "2026-11-05", "cost": 1}, grain="day")
    assert 86_400_000_000 == (found.ends_at or 0) - found.starts_at


@pytest.mark.parametrize(
    ("given", "status"),
    [(200, "succeeded"), (302, "succeeded"), (402, "failed"), ("500", "failed"), (True, "succeeded"), (False, "failed"),
     ("Success", "succeeded"), ("failure", "failed"), ("queued", None), (None, None), (7, None)],
)  # fmt: skip
def test_how_a_request_ended(given: object, status: str | None) -> None:
    [found], _ = one({"id": "a", "time": "2026-11-05", "status": given})
    assert status == found.status


def test_only_what_is_named_is_kept_and_long_texts_are_cut() -> None:
    row = {"id": "a", "time": "2026-11-05", "prompt": "a fox", "tag": "x" * 10_000, "model": {"no": "scalar"}}
    [found], _ = one(row)
    assert {"id", "time", "tag"} == json.loads(found.raw).keys()
    assert 200 == len(found.label or "")
    assert len(found.raw) < 1000
    assert found.model is None


def test_rows_that_nothing_tells_apart_are_counted_and_the_same_each_time() -> None:
    shape = RowShape(time=paths("time"), amount=paths("cost"))
    rows = [("r", b'{"time":"2026-11-05","cost":1}')] * 3 + [("r", b'{"time":"2026-11-05","cost":2}')]
    first, second = ([each.external_id for each in reader(shape).statements(rows)] for _ in range(2))
    assert first == second
    assert 4 == len(set(first))


_JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(["id", "time", "model", "cost", "status", "tag", "images", "x"]), _JSON),
    st.booleans(),
)
def test_whatever_comes_is_a_statement_or_a_problem_or_outside(row: dict[str, Any], is_sum: bool) -> None:
    reading = reader(grain="day" if is_sum else "request")
    found, problems = reading.statements([("row 1", json.dumps(row).encode())]), reading.problems()
    assert len(found) <= 1
    assert found or problems or reading.oldest is not None
    if found:
        assert json.loads(found[0].raw).keys() <= row.keys() - {"x"}


@given(st.decimals(min_value=-(10**9), max_value=10**9, places=9, allow_nan=False))
def test_nano_dollars_of_either_sign_are_exact(amount: Decimal) -> None:
    assert int(amount * 10**9) == signed(f"{amount:f}", 10**9)


@pytest.mark.parametrize("text", ["", "-", "--1", "-+1", "+-1", "1e400", "-1e13", "NaN", "1000000000.1", "- 1"])
def test_what_is_no_amount_of_either_sign(text: str) -> None:
    assert signed(text, 10**9) is None


def test_months_are_utc() -> None:
    assert (1_793_491_200_000_000, 1_796_083_200_000_000) == month("2026-11")
    assert month("2026-12").end == month("2027-01").start


@pytest.mark.parametrize("text", ["2026", "2026-13", "2026-00", "0000-01", "2026-1", "11-2026", "9999-12", "x" * 99])
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="write it as 2026-11"):
        month(text)
