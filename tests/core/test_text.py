"""Text and amounts from outside."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmeter.core.text import bounded, count, scaled
from pixelmeter.core.usage import NumberText

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
