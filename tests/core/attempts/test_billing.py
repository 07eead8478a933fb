"""Who pays what."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmeter.core.apis.reader import ImageRequest, ImageResponse
from pixelmeter.core.apis.usage import NumberText
from pixelmeter.core.attempts.billing import (
    Reported,
    Settlement,
    Tiers,
    fee_of,
    price_of,
    reported_by,
    settle,
    units_told,
)
from pixelmeter.core.attempts.record import Outcome
from pixelmeter.core.attempts.repricing import FOUND_LATER
from pixelmeter.core.attempts.terms import Named
from pixelmeter.core.gateways.profile import Profile, read_profile
from tests.core.pricing.test_book import at, book

_PROFILE = read_profile(
    {
        "id": "p",
        "cost": [
            {"from": "header", "name": "x-cost-cents", "unit": "cents"},
            {"from": "body", "name": "usage.cost", "unit": "usd"},
            {"from": "body", "name": "usage.cost_in_usd_ticks", "unit": "usd_ticks", "zero_is_real": True},
        ],
        "errors": {"not_charged": [402, 429]},
    }
)
_PRICED = Tiers(image_cost=7, price_id="x")


def _settle(
    outcome: Outcome = "success",
    *,
    sent: bool = True,
    status: int | None = 200,
    reported: Reported | None = None,
    tiers: Tiers = _PRICED,
    byok: bool = False,
    cached: bool = False,
    profile: Profile = _PROFILE,
) -> Settlement:
    return settle(
        outcome,
        sent=sent,
        status=status,
        profile=profile,
        reported=reported or Reported(),
        tiers=tiers,
        byok=byok,
        cached=cached,
    )


def test_what_the_gateway_reports_wins_over_the_book() -> None:
    assert Settlement("billed", 40_000_000, "reported") == _settle(reported=Reported(nano=40_000_000))


def test_tokens_win_over_images() -> None:
    assert 5 == _settle(tiers=Tiers(token_cost=5, image_cost=7)).cost


def test_a_token_cost_of_nothing_is_a_cost() -> None:
    assert 0 == _settle(tiers=Tiers(token_cost=0, image_cost=7)).cost


def test_images_by_the_book_are_priced() -> None:
    assert Settlement("billed", 7, "priced") == _settle()


def test_no_price_is_unknown_and_never_zero() -> None:
    assert Settlement("billed", None, "none", "no_price") == _settle(tiers=Tiers())


@pytest.mark.parametrize(
    ("prices", "expected"),
    [
        ('model = "m"\nusd_per_image = "0.03"', (30_000_000, None)),
        ('model = "m"\nusd_per_megapixel = "0.01"\ndefault_size = "1024x1024"', (None, "unread_request")),
        ('model = "m"\nusd_per_image = "0.03"\nusd_per_input_image = "0.01"', (None, "unread_request")),
        ('model = "another"\nusd_per_image = "0.03"', (None, "unread_request")),
    ],
)
def test_what_a_request_asked_for_that_nobody_has_read_is_no_default(
    prices: str, expected: tuple[int | None, str | None]
) -> None:
    """Nor is it one by a price that is found later: the reason is none that such a price removes."""
    tiers = price_of(
        ImageRequest(unread=True),
        ImageResponse(readable=True, images=1),
        Named(("m",)),
        ("m",),
        None,
        book=book(f'gateway = "g"\n[[price]]\n{prices}'),
        gateway="g",
        at=at("2026-06-01"),
        vendors=(),
        region=None,
    ).tiers
    found = _settle(tiers=tiers)
    assert expected == (found.cost, found.cost_reason)
    assert "unread_request" not in FOUND_LATER


def test_a_zero_that_proves_nothing_is_unknown() -> None:
    reported = reported_by(_PROFILE.cost, {b"x-cost-cents": b"0"}, {}, None)
    assert Settlement("unknown", None, "none", "reported_zero_unverified") == _settle(reported=reported)


def test_a_zero_that_is_real_is_free() -> None:
    reported = reported_by(_PROFILE.cost, {}, {"usage": {"cost_in_usd_ticks": 0}}, None)
    assert Settlement("billed", 0, "reported", "reported_zero") == _settle(reported=reported)


def test_a_queued_job_is_pending_and_never_free() -> None:
    assert Settlement("pending", None, "none", "pending_job") == _settle("pending", status=202)


def test_a_failure_that_the_gateway_does_not_charge_costs_nothing() -> None:
    assert Settlement("not_billed", 0, "none", "rejected") == _settle("throttled", status=429)


@pytest.mark.parametrize(("outcome", "status"), [("error", 502), ("timeout", None), ("cancelled", 200), ("error", 200)])
def test_a_failure_of_unknown_price_stays_unknown(outcome: Outcome, status: int | None) -> None:
    assert Settlement("unknown", None, "none", "outcome_unknown") == _settle(outcome, status=status)


def test_a_failure_that_reports_a_cost_was_billed() -> None:
    assert Settlement("billed", 9, "reported") == _settle("cancelled", reported=Reported(nano=9))


def test_what_never_left_costs_nothing() -> None:
    assert Settlement("not_billed", 0, "none", "not_sent") == _settle("error", sent=False, status=None)


def test_what_the_clients_own_cache_answered_costs_nothing_whatever_its_headers_repeat() -> None:
    assert Settlement("not_billed", 0, "none", "cached") == _settle(reported=Reported(nano=9), cached=True)


def test_with_the_callers_own_key_the_reported_amount_is_a_fee() -> None:
    assert Settlement("billed", 7, "priced") == _settle(reported=Reported(nano=1), byok=True)


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({b"x-cost-cents": b"4.2"}, {}, Reported(nano=42_000_000)),
        ({}, {"usage": {"cost": NumberText("0.0387")}}, Reported(nano=38_700_000)),
        ({}, {"usage": {"cost": "0.0387"}}, Reported(nano=38_700_000)),
        ({}, {"usage": {"cost_in_usd_ticks": 200_000_000}}, Reported(nano=20_000_000)),
        ({b"x-cost-cents": b"NaN"}, {"usage": {"cost": 1}}, Reported(nano=1_000_000_000)),
        ({b"x-cost-cents": b"1e400"}, {}, Reported(text="1e400")),
        ({b"x-cost-cents": b"4, 4"}, {}, Reported(text="4, 4")),
        ({}, {"usage": {"cost": True}}, Reported()),
        ({}, {"usage": [1]}, Reported()),
        ({}, {}, Reported()),
    ],
)
def test_readers_are_asked_in_order(headers: dict[bytes, bytes], body: dict[str, Any], expected: Reported) -> None:
    assert expected == reported_by(_PROFILE.cost, headers, body, None)


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({b"x-units": b"2.5"}, {}, "2.5"),
        ({}, {"parts": [{"units": 3}]}, "3"),
        ({}, {"parts": [{"units": 3}, {"units": 4}]}, None),
        ({b"x-units": b"2"}, {"parts": [{"units": 3}]}, "2"),
        ({}, {}, None),
    ],
)
def test_units_are_told_once_or_not_at_all(
    headers: dict[bytes, bytes], body: dict[str, Any], expected: str | None
) -> None:
    profile = read_profile(
        {
            "id": "counts",
            "cost": [
                {"from": "header", "name": "x-units", "unit": "price"},
                {"from": "body", "name": "parts[].units", "unit": "price"},
            ],
        }
    )
    assert expected == units_told(profile.cost, headers, body)
    assert Reported() == reported_by(profile.cost, headers, body, None)


@given(st.integers(min_value=0, max_value=10**15), st.integers(min_value=0, max_value=10**6))
def test_a_fee_is_rounded_half_even(cost: int, rate: int) -> None:
    assert round(Fraction(cost * rate, 10**6)) == fee_of(cost, rate)


@pytest.mark.parametrize(("cost", "fee"), [(10, 0), (30, 2), (50, 2), (70, 4)])
def test_half_a_nano_dollar_of_a_fee_goes_to_the_even_neighbour(cost: int, fee: int) -> None:
    assert fee == fee_of(cost, 50_000)


def test_the_fee_of_an_unknown_cost_is_unknown() -> None:
    assert fee_of(None, 50_000) is None
