"""Images by UTC day and model, theirs and ours."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmeter.core.reconciling.images import ImageSum, image_sums
from pixelmeter.core.reconciling.ours import Ours
from pixelmeter.core.reconciling.statement import Statement, month
from tests.core.reconciling.builders import DAY, ours, summed

MAY = month("2026-05")
SIXTH = MAY.start + 5 * DAY


def made(images: int | None, *, day: int = 0, model: str = "gpt-image-2", number: int = 1, **fields: Any) -> Ours:
    said = {"started_at": SIXTH + day * DAY + number, "model": model, "images": images}
    return ours(number, **{**said, **fields})


def stated(images: int | None, *, day: int = 0, model: str | None = "gpt-image-2", number: int = 1) -> Statement:
    at = SIXTH + day * DAY
    return summed(number, model=model, images=images, starts_at=at, ends_at=at + DAY, amount=None)


def sums(rows: list[Statement], attempts: list[Ours], *, now: int = MAY.end + DAY) -> list[ImageSum]:
    return image_sums(rows, attempts, period=MAY, now=now, lag=DAY)


def test_images_of_a_day_are_added_up_on_both_sides() -> None:
    attempts = [made(2), made(1, number=2, model="openai/gpt-image-2"), made(1, day=1, number=3)]
    found = sums([stated(3, model="gpt-image-2-2026-04-21"), stated(1, day=1, number=2)], attempts)
    assert [("equal", 3, 3, 0), ("equal", 1, 1, 0)] == [(e.kind, e.theirs, e.ours, e.difference) for e in found]
    assert [date(2026, 5, 6), date(2026, 5, 7)] == [each.day for each in found]
    assert ["gpt-image-2"] * 2 == [each.model for each in found]


@pytest.mark.parametrize(
    ("rows", "attempts", "kind", "numbers"),
    [
        ([stated(3)], [made(2)], "differs", (3, 2, 0, -1)),
        ([stated(3)], [], "only_theirs", (3, None, 0, None)),
        ([stated(3, model=None)], [], "only_theirs", (3, None, 0, None)),
        ([], [made(2)], "only_ours", (None, 2, 0, None)),
        ([], [made(None, outcome="timeout")], "only_ours", (None, 0, 1, None)),
        ([stated(1)], [made(None, outcome="timeout")], "differs", (1, 0, 1, -1)),
        ([stated(2)], [made(2), made(None, number=2, outcome="pending")], "equal", (2, 2, 1, 0)),
    ],
)
def test_what_is_not_alike(rows: list[Statement], attempts: list[Ours], kind: str, numbers: tuple[Any, ...]) -> None:
    [one] = sums(rows, attempts)
    assert (kind, numbers) == (one.kind, (one.theirs, one.ours, one.unknown, one.difference))


def test_what_is_nothing_makes_no_row() -> None:
    refused = made(None, outcome="rejected")
    never_sent = made(None, outcome="error", cost_reason="not_sent", cost=0)
    assert [] == sums([stated(0), stated(None, number=2)], [made(0), refused, never_sent])


def test_what_is_outside_the_month_is_in_no_row() -> None:
    assert [] == sums([stated(1, day=26), stated(1, day=-6)], [made(1, day=26), made(1, day=-6)])


@pytest.mark.parametrize(("later", "kind"), [(2 * DAY - 1, "too_young"), (2 * DAY, "differs")])
def test_a_day_is_too_young_until_all_of_it_is_old_enough(later: int, kind: str) -> None:
    [one] = sums([stated(3)], [made(2)], now=SIXTH + later)
    assert kind == one.kind
    [alike] = sums([stated(2)], [made(2)], now=SIXTH)
    assert "equal" == alike.kind


_NUMBERS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.sampled_from(["a", "v/A", "b"])), max_size=8)


@given(theirs=_NUMBERS, counted=_NUMBERS, order=st.randoms())
def test_every_image_is_in_one_row_in_whatever_order(theirs: Any, counted: Any, order: Any) -> None:
    rows = [stated(n, day=d, model=m, number=at) for at, (n, d, m) in enumerate(theirs)]
    attempts = [made(n, day=d, model=m, number=at) for at, (n, d, m) in enumerate(counted)]
    found = sums(rows, attempts)
    assert sum(n for n, _, _ in theirs) == sum(one.theirs or 0 for one in found)
    assert sum(n for n, _, _ in counted) == sum(one.ours or 0 for one in found)
    order.shuffle(rows)
    order.shuffle(attempts)
    assert found == sums(rows, attempts)
