"""Text and amounts from outside."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmeter.core.apis.usage import NumberText
from pixelmeter.core.attempts.record import NANO_PER_USD
from pixelmeter.core.text import bounded, count, half_even, scaled, summed, whole

_CENT = 10_000_000


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("4", 40_000_000),
        ("8.000000", 80_000_000),
        ("4.2", 42_000_000),
        ("0.4", 4_000_000),
        ("0.01", 100_000),
        (" 1 ", 10_000_000),
        ("1e-2", 100_000),
        ("1E2", 1_000_000_000),
        (".5", 5_000_000),
        ("0", 0),
    ],
)
def test_cents_are_exact(text: str, nano: int) -> None:
    assert nano == scaled(text, _CENT)


@pytest.mark.parametrize(
    "text",
    ["", " ", "abc", "NaN", "-1", "-0", "inf", "Infinity", "1e400", "1e299999", "1e999999", "1e-19", "1e13", "1_000",
     "0x10", "1,5", "4, 4", "١", "1" * 41, "1e", "e5", "--1", "+", ".", "100000001", "None", "1\x00"],
)  # fmt: skip
def test_what_is_no_sane_amount_is_refused(text: str) -> None:
    assert scaled(text, _CENT) is None


def test_a_tick_is_a_tenth_of_a_nano_dollar() -> None:
    assert 20_000_000 == scaled("200000000", 1, 10)


@given(st.decimals(min_value=0, max_value=10_000, places=11))
def test_the_error_is_at_most_half_a_nano_dollar(amount: Decimal) -> None:
    nano = scaled(str(amount), 1_000_000_000)
    if nano is None:  # the text had an exponent below what is accepted
        assert "E" in str(amount)
    else:
        assert abs(amount * 10**9 - nano) <= Decimal("0.5")


@pytest.mark.parametrize("value", [None, 7, True, [], {}, "", b"x", NumberText("0.5")])
def test_only_text_is_text(value: object) -> None:
    assert bounded(value) is None


def test_text_is_cut_and_made_printable() -> None:
    assert "a?b" == bounded("a\x00b")
    assert "?" == bounded("\ud800")
    assert 200 == len(bounded("x" * 1_000_000) or "")


@pytest.mark.parametrize("value", [None, True, -1, 1.0, "1", 1_000_000_001])
def test_only_sane_whole_numbers_count(value: object) -> None:
    assert count(value) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [("50.0", 50), ("5e1", 50), ("0.5e2", 50), ("0.0", 0), ("1000000000.00", 10**9), ("1E9", 10**9), ("500e-1", 50)],
)
def test_a_whole_number_may_be_written_with_a_point_or_an_exponent(text: str, number: int) -> None:
    assert number == whole(text)


@pytest.mark.parametrize(
    "text",
    ["50.5", "-50.0", "1e10", "1e999999999", "1e-19", "5e-1", "", ".", "NaN", "0x5.0", " 50.0", "0." + "0" * 40],
)
def test_what_is_no_sane_whole_number_is_none(text: str) -> None:
    assert whole(text) is None


@pytest.mark.parametrize(
    ("dividend", "divisor", "quotient"),
    [
        (1, 2, 0),
        (3, 2, 2),
        (5, 2, 2),
        (7, 2, 4),
        (15, 10, 2),
        (25, 10, 2),
        (26, 10, 3),
        (24, 10, 2),
        (4, 2, 2),
        (0, 2, 0),
    ],
)
def test_a_half_is_rounded_to_the_even_neighbour(dividend: int, divisor: int, quotient: int) -> None:
    assert quotient == half_even(dividend, divisor)


@pytest.mark.parametrize(("ticks", "nano"), [("5", 0), ("15", 2), ("25", 2), ("35", 4)])
def test_an_amount_between_two_nano_dollars_is_rounded_half_to_even(ticks: str, nano: int) -> None:
    assert nano == scaled(ticks, 1, 10)


@pytest.mark.parametrize(("text", "nano"), [("0.00000005", 0), ("0.00000015", 2), ("25e-8", 2)])
def test_a_fraction_of_a_nano_dollar_is_rounded_half_to_even(text: str, nano: int) -> None:
    assert nano == scaled(text, _CENT)


def test_an_amount_may_be_a_million_dollars_and_not_a_trace_more() -> None:
    assert (10**15, None) == (scaled("1000000", 10**9), scaled("1000000.000000001", 10**9))


def test_an_amount_may_have_forty_characters_and_not_one_more() -> None:
    assert (10**9, None) == (scaled(f"1.{'0' * 38}"[:40], 10**9), scaled(f"1.{'0' * 39}", 10**9))


@pytest.mark.parametrize(
    ("texts", "nano"),
    [
        (["1", "2.5", "0.25"], 3_750_000_000),
        (["0.1"] * 3, 300_000_000),
        (["0.0000000003"] * 5, 2),
        (["0.0000000005"], 0),
        (["0.0000000005", "0.000000001"], 2),
        (["1e-9", "0.5", "2E1"], 20_500_000_001),
        (["0.5", "1e3", "1e-12"], 1_000_500_000_000),
        ([], 0),
        (["1", "-1"], None),
        (["1", "one"], None),
        (["1", ""], None),
        (["999999", "2"], None),
    ],
)
def test_amounts_are_added_up_exactly_and_rounded_once(texts: list[str], nano: int | None) -> None:
    assert nano == summed(texts, NANO_PER_USD)
    assert nano == summed(reversed(texts), NANO_PER_USD)


@given(st.lists(st.decimals(min_value=0, max_value=1000, places=11), max_size=20), st.integers(1, 1000))
def test_a_sum_is_that_of_exact_decimals(amounts: list[Decimal], divisor: int) -> None:
    exact = sum((int(amount.scaleb(11)) for amount in amounts), 0)
    assert half_even(exact * NANO_PER_USD, divisor * 10**11) == summed(map(str, amounts), NANO_PER_USD, divisor)
