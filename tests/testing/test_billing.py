from __future__ import annotations

import datetime

import pytest

from pixelmeter.core.pricing.book import Consumption
from pixelmeter.prices import bundled
from pixelmeter.testing.billing import PER_IMAGE, PER_TOKEN, PER_UNIT, Tokens, cents, charge, charge_units, dollars

# Between the last price change and the next shutdown that the bundled book knows.
AT = int(datetime.datetime(2026, 10, 1, tzinfo=datetime.UTC).timestamp()) * 1_000_000
WITHOUT_A_PUBLISHED_PRICE = {"black-forest-labs/flux-2-flex", "bria/fibo-edit/edit"}


@pytest.mark.parametrize("model", sorted(PER_IMAGE.keys() - WITHOUT_A_PUBLISHED_PRICE - {"grok-imagine-image"}))
def test_an_image_costs_what_the_bundled_book_says(model: str) -> None:
    consumption = Consumption(images=3, size="1024x1024")
    assert charge(model, 3, None) == bundled().quote(consumption, gateway="aigateway", model=model, at=AT).image_cost


@pytest.mark.parametrize(
    ("vendor", "model"), [(vendor, model) for vendor, models in PER_UNIT.items() for model in models]
)
def test_a_unit_costs_what_the_bundled_book_says(vendor: str, model: str) -> None:
    at = int(datetime.datetime(2026, 11, 27, tzinfo=datetime.UTC).timestamp()) * 1_000_000
    consumption = Consumption(images=2, size="1500x1024")
    quote = bundled().quote(consumption, gateway=vendor, model=model, at=at)
    assert charge_units(vendor, model, 2, 1500, 1024, None)[0] == quote.image_cost


@pytest.mark.parametrize("model", PER_TOKEN)
def test_tokens_cost_what_the_bundled_book_says(model: str) -> None:
    consumption = Consumption(images=1, input_text_tokens=120, input_image_tokens=323, output_image_tokens=1056)
    quote = bundled().quote(consumption, gateway="openai", model=model, at=AT)
    assert charge(model, 1, Tokens(120, 323, 1056)) == quote.token_cost


def test_a_cache_hit_costs_a_share() -> None:
    assert 4_000_000 == charge("black-forest-labs/flux-2-klein-9b", 1, None, 10)
    assert 120_000 == charge("black-forest-labs/flux-2-klein-4b", 1, None, 10)


@pytest.mark.parametrize(
    ("nano", "in_cents", "in_dollars"),
    [(0, "0", "0"), (10, "0.000001", "0.00000001"), (42_000_000, "4.2", "0.042"), (10**12, "100000", "1000")],
)
def test_nano_dollars_are_written_exactly(nano: int, in_cents: str, in_dollars: str) -> None:
    assert (in_cents, in_dollars) == (cents(nano), dollars(nano))
