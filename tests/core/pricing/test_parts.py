"""What is kept of a price gives the very cost again, to the nano-dollar."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmeter.core.gateways.profile import Region, Surcharge
from pixelmeter.core.pricing.book import Consumption, PriceBook, Quote
from pixelmeter.core.pricing.parts import Part, priced_parts
from tests.core.pricing.test_book import TOKENS, at, book

_AUTHOR = Consumption(images=0, input_text_tokens=10, output_text_tokens=20)
_USED = Consumption(images=2, input_text_tokens=100, output_image_tokens=1000, others=(("author", _AUTHOR),))
_BOTH = f"""
gateway = "g"
[[price]]
model = "m"
{TOKENS}
usd_per_image = "0.04"
usd_per_request = "0.0000000005"
[[price]]
model = "author"
usd_per_1m_input_text_tokens = "2"
usd_per_1m_output_text_tokens = "12"
"""
_DAY = at("2026-06-01")


def _region(parts_per_million: int) -> Region:
    return Region(hosts=(), surcharge=(Surcharge(models=("*",), parts_per_million=parts_per_million),))


def _quote(prices: PriceBook, used: Consumption = _USED, surcharge: int = 0) -> Quote:
    return prices.quote(used, gateway="g", model="m", at=_DAY, region=_region(surcharge))


def _parts(quote: Quote) -> list[dict[str, Any]]:
    text = priced_parts(quote)
    assert text is not None
    found: list[dict[str, Any]] = json.loads(text)
    return found


def _cost(parts: list[dict[str, Any]], which: str) -> int:
    """Return the nano-dollars of a cost by its parts, as docs/ledger.md says."""
    atto = sum(
        int(part["atto"]) * (1_000_000 + part.get("surcharge", 0)) for part in parts if part["of"] in (which, "both")
    )
    return round(Fraction(atto, 10**15))


@pytest.mark.parametrize("surcharge", [0, 100_000, 12_345])
def test_the_parts_give_both_costs_again(surcharge: int) -> None:
    found = _quote(book(_BOTH), surcharge=surcharge)
    parts = _parts(found)
    assert found.token_cost is not None
    assert found.image_cost is not None
    assert [found.token_cost, found.image_cost] == [_cost(parts, "token_cost"), _cost(parts, "image_cost")]
    assert {surcharge} == {part.get("surcharge", 0) for part in parts}


@given(
    st.decimals("0.000000000001", "9", places=12), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6)
)
def test_they_do_whatever_there_is_to_round(price: Any, text: int, image: int, surcharge: int) -> None:
    prices = book(
        f'gateway = "g"\n[[price]]\nmodel = "m"\nusd_per_1m_input_text_tokens = "{price:f}"\n'
        f'usd_per_1m_output_image_tokens = "{price:f}"'
    )
    used = Consumption(images=1, input_text_tokens=text, output_image_tokens=image + 1)
    found = _quote(prices, used, surcharge)
    assert found.token_cost == _cost(_parts(found), "token_cost")


def test_a_part_says_what_was_counted_and_which_entry_priced_it() -> None:
    tokens, text, request, image, *author = _parts(_quote(book(_BOTH), surcharge=100_000))
    assert {
        "of": "token_cost",
        "model": "m",
        "unit": "usd_per_1m_output_image_tokens",
        "quantity": 1000,
        "price": "30.00",
        "atto": "30000000000000000",
        "surcharge": 100_000,
        "price_id": "g:m",
    } == tokens
    assert ["token_cost", "image_cost", "image_cost"] == [part["of"] for part in (text, request, image)]
    assert [("both", "author", "g:author")] * 2 == [(part["of"], part["model"], part["price_id"]) for part in author]


def test_without_a_surcharge_none_is_written() -> None:
    assert all("surcharge" not in part for part in _parts(_quote(book(_BOTH))))


def test_what_costs_nothing_has_no_parts_and_what_has_no_price_has_none_at_all() -> None:
    flat = book('gateway = "g"\n[[price]]\nmodel = "m"\nusd_per_image = "0.04"')
    assert "[]" == priced_parts(_quote(flat, Consumption(images=0)))
    assert priced_parts(_quote(flat, Consumption())) is None
    assert priced_parts(Quote(reason="no_price")) is None


def test_parts_that_would_not_fit_beside_an_attempt_are_left_out() -> None:
    name = "a" * 190
    author = Consumption(images=0, input_text_tokens=10)
    prices = book(
        f'gateway = "g"\n[[price]]\nmodel = "m"\nusd_per_image = "0.04"\n'
        f'[[price]]\nmodel = "{name}"\nusd_per_1m_input_text_tokens = "2"'
    )
    found = _quote(prices, Consumption(images=1, others=((name, author),) * 100))
    assert found.image_cost is not None
    assert priced_parts(found) is None


def test_the_keys_are_those_that_the_ledgers_page_names() -> None:
    assert [field.name for field in msgspec.structs.fields(Part)] == list(_parts(_quote(book(_BOTH), surcharge=1))[0])
