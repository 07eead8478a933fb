"""What is said of a threshold that has been passed."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from pixelmeter.core.budgets.budget import Budget
from pixelmeter.core.budgets.notices import NoticeKey, Passed, amount_at, body_of, notice_of, signatures_of
from pixelmeter.core.gateways.signatures import keys_of
from tests.factories import STARTED_AT

NANO = 1_000_000_000


def passed(spent: int = 40 * NANO, value: str = "", threshold: int = 800_000, **budget: object) -> Passed:
    """Return a threshold of a budget of 50 dollars a day that has been passed on the day of STARTED_AT."""
    rule = Budget(**{"usd": 50, "per": "day", "name": "images", **budget}).rule  # type: ignore[arg-type]
    return Passed(NoticeKey(rule.name, value, rule.span_of(STARTED_AT).start, threshold), rule, STARTED_AT, spent)


def test_a_notice_says_of_what_how_much_is_spent_and_until_when() -> None:
    notice = notice_of(passed())
    assert Decimal("0.8") == notice.threshold
    assert "budget 'images': $40 of $50 spent, 80% passed; it resets at 2026-05-29 00:00 UTC" == notice.text


def test_the_text_of_a_notice_has_the_threshold_to_the_digit_and_a_value_on_one_line() -> None:
    notice = notice_of(passed(value="acme\nERROR all is lost", threshold=2500, per="total", each="tag:customer"))
    assert r"budget 'images' ('acme\nERROR all is lost'): $40 of $50 spent, 0.25% passed" == notice.text


def test_a_webhook_is_sent_a_message_for_slack_and_the_amounts_as_exact_text() -> None:
    notice = notice_of(passed(spent=40_000_000_001))
    assert {
        "text": notice.text,
        "type": "budget.threshold_passed",
        "id": notice.id,
        "budget": "images",
        "value": "",
        "threshold": "0.8",
        "limit_usd": "50",
        "spent_usd": "40.000000001",
        "starts_at": "2026-05-28T00:00:00Z",
        "resets_at": "2026-05-29T00:00:00Z",
    } == json.loads(body_of(notice))


def test_what_a_customer_calls_himself_cannot_address_everybody_in_a_channel_of_slack() -> None:
    body = json.loads(body_of(notice_of(passed(value="<!channel> & co", each="tag:customer"))))
    assert "&lt;!channel&gt; &amp; co" in body["text"]
    assert "<!channel> & co" == body["value"]


def test_a_notice_has_one_id_for_ever_and_that_of_another_limit_or_ledger_has_another_one() -> None:
    first = passed()
    again = passed(spent=45 * NANO)
    others = [
        first._replace(changed_at=first.changed_at + 1),
        first._replace(key=first.key._replace(threshold=1_000_000)),
        first._replace(key=first.key._replace(value="acme")),
        first._replace(key=first.key._replace(start=first.key.start + 1)),
    ]
    assert notice_of(first).id == notice_of(again).id
    assert 5 == len({notice_of(each).id for each in [first, *others]})


@pytest.mark.parametrize(
    ("limit", "threshold", "amount"),
    [
        (50 * NANO, 800_000, 40 * NANO),
        (1, 500_000, 1),
        (3, 500_000, 2),
        (0, 1_000_000, 1),
        (50 * NANO, 2_000_000, 100 * NANO),
    ],
)
def test_a_threshold_is_passed_when_its_part_of_the_limit_is_spent_and_never_by_nothing(
    limit: int, threshold: int, amount: int
) -> None:
    assert amount == amount_at(limit, threshold)


def test_a_body_is_signed_as_the_example_of_standard_webhooks_is() -> None:
    # https://github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md
    body = b'{"test": 2432232314}'
    keys = keys_of("standard_webhooks", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" == signatures_of(
        keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body
    )
