from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmeter.core.text import dollars, exact_usd


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (10_000_000, "0.01"),
        (42_240_000, "0.04224"),
        (1_000_000_000, "1"),
        (120_000_000_000, "120"),
        (-10_000_000, "-0.01"),
        (27_670_116_110_564_327_421, "27670116110.564327421"),
    ],
)
def test_exact_text_has_every_digit_and_no_more(nano: int, text: str) -> None:
    assert text == exact_usd(nano)


@given(st.integers(-(2**80), 2**80))
def test_exact_text_is_the_amount_without_an_exponent(nano: int) -> None:
    text = exact_usd(nano)
    assert Decimal(nano).scaleb(-9) == Decimal(text)
    assert "e" not in text.lower()


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0.0000"),
        (10_000_000, "$0.0100"),
        (1_234_567_890_000, "$1,234.5679"),
        (-10_000_000, "-$0.0100"),
        (50_000, "<$0.0001"),
        (-1, "<-$0.0001"),
        (50_001, "$0.0001"),
        (150_000, "$0.0002"),
        (250_000, "$0.0002"),
        (999_999_950_000, "$1,000.0000"),
    ],
)
def test_amounts_to_read_have_four_places_rounded_half_to_even(nano: int, text: str) -> None:
    assert text == dollars(nano)
