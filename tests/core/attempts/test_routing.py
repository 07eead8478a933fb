"""What a gateway says of its choice of a model is kept as it says it, and never guessed."""

from __future__ import annotations

from typing import Any

import pytest

from pixelmeter.core.attempts.routing import Routed, routed_by
from pixelmeter.core.gateways.profile import Profile, ProfileError, read_profile
from pixelmeter.gateways import load_profiles

_AIGATEWAY = load_profiles({}).of_host("api.aigateway.sh")


def _said(**headers: str) -> Routed:
    return routed_by(_AIGATEWAY, {name.replace("_", "-").encode(): text.encode() for name, text in headers.items()}, {})


def test_aigateway_says_it_in_headers_in_cents() -> None:
    assert Routed("black-forest-labs/flux-2-klein-9b", 40_000_000, 100_000, 39_100_000) == _said(
        x_auto_routed="true",
        x_auto_baseline_model="black-forest-labs/flux-2-klein-9b",
        x_auto_baseline_cost_cents="4",
        x_auto_route_fee_cents="0.01",
        x_auto_savings_cents="3.91",
        x_cost_cents="0.08",
    )


def test_what_it_does_not_say_is_unknown() -> None:
    assert Routed() == _said(x_cost_cents="0.08", x_routing_selected="meta/sam-3-1-image")
    assert Routed(savings=10_000_000) == _said(x_auto_savings_cents="1")


@pytest.mark.parametrize("text", ["", "abc", "NaN", "1e400", "--1", "4, 4", "9" * 50, "-", "0", "-0", "1e15"])
def test_an_amount_that_is_not_sane_or_proves_nothing_is_unknown(text: str) -> None:
    found = _said(x_auto_baseline_cost_cents=text, x_auto_route_fee_cents=text, x_auto_savings_cents=text)
    assert Routed() == found


def test_savings_alone_may_be_negative() -> None:
    found = _said(x_auto_baseline_cost_cents="-1", x_auto_route_fee_cents="-1", x_auto_savings_cents=" -1.5")
    assert Routed(savings=-15_000_000) == found


def _profile(**savings: Any) -> Profile:
    reader = {"from": "body", "name": "routing.saved", "unit": "usd"} | savings
    return read_profile({"id": "p", "routing": {"savings": reader}})


@pytest.mark.parametrize(
    ("reader", "body", "savings"),
    [
        ({}, {"routing": {"saved": "0.5"}}, 500_000_000),
        ({"name": "runs[].saved"}, {"runs": [{"saved": 1}, {"saved": "0.5"}]}, 1_500_000_000),
        ({}, {"routing": {"saved": 0}}, None),
        ({"zero_is_real": True}, {"routing": {"saved": 0}}, 0),
        ({"when": {"routing.mode": ["auto"]}}, {"routing": {"saved": 1, "mode": "fixed"}}, None),
        ({"when": {"routing.mode": ["auto"]}}, {"routing": {"saved": 1, "mode": "auto"}}, 1_000_000_000),
        ({"unit": "price"}, {"routing": {"saved": 1}}, None),
    ],
)
def test_a_profile_reads_it_as_it_reads_a_cost(reader: dict[str, Any], body: Any, savings: int | None) -> None:
    assert Routed(savings=savings) == routed_by(_profile(**reader), {}, body)


def test_it_is_one_amount_to_which_nothing_is_added() -> None:
    with pytest.raises(ProfileError, match="plus"):
        _profile(plus=True)


def test_a_gateway_that_does_not_choose_says_nothing() -> None:
    assert Routed() == routed_by(read_profile({"id": "p"}), {b"x-auto-savings-cents": b"1"}, {})
