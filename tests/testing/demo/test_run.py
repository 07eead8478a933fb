from __future__ import annotations

from typing import Any

from pixelmeter.testing.demo import Books
from pixelmeter.testing.demo.run import compare
from tests.factories import make_attempt


def line(request_id: str, charged: int, operation: str = "generate") -> dict[str, Any]:
    return {"request_id": request_id, "charged_nano": charged, "operation": operation}


KNOWN = make_attempt(request_id="a", cost=40_000_000)
FREE = make_attempt(request_id="b", cost=0, outcome="throttled")
CUT_OFF = make_attempt(request_id=None, cost=None, billing="unknown")
QUEUED = make_attempt(request_id="d", cost=None, outcome="pending", billing="pending")
BILL = [line("a", 40_000_000), line("b", 0), line("c", 7), line("d", 0), line("e", 60_000_000, "job")]


def test_what_is_unknown_is_counted_and_its_bill_stands_beside_the_sum() -> None:
    books = compare(BILL, [KNOWN, FREE, CUT_OFF, QUEUED])
    expected = Books(billed=100_000_007, known=40_000_000, unknown=2, unknown_billed=60_000_007, missing=0)
    assert expected == books
    assert books.is_even


def test_an_attempt_that_the_ledger_lacks_is_missing_whether_it_was_charged_or_not() -> None:
    for lost in (KNOWN, FREE, CUT_OFF, QUEUED):
        rest = [attempt for attempt in (KNOWN, FREE, CUT_OFF, QUEUED) if attempt is not lost]
        assert 1 == compare(BILL, rest).missing
        assert not compare(BILL, rest).is_even


def test_an_attempt_too_many_is_below_zero() -> None:
    assert -1 == compare(BILL, [KNOWN, FREE, CUT_OFF, CUT_OFF, QUEUED]).missing


def test_a_cost_that_is_not_the_charge_is_a_difference() -> None:
    wrong = make_attempt(request_id="a", cost=40_000_001)
    books = compare(BILL, [wrong, FREE, CUT_OFF, QUEUED])
    assert -1 == books.difference
    assert not books.is_even
