"""FOCUS: what a validator says of it, and that its rows add up to what the ledger knows."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
from focus_data_toolkit.model.validator import lint_focus_1_4_structure, load_model

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.pricing.tariff import UNITS
from pixelmeter.export.focus import METERS, columns_of
from tests.export.ledgers import HOSTILE, PARTS, export, filled, in_order
from tests.factories import STARTED_AT, make_attempt
from tests.ledger.test_adjusted_queries import write

NANO = 10**9


def rows(url: str, *options: str) -> list[dict[str, str]]:
    text = export(url, "--format", "focus", *options, "-").stdout
    return [*csv.DictReader(io.StringIO(text, newline=""))]


def priced(**fields: object) -> Attempt:
    """Return an attempt that is billed by two meters."""
    given = {"cost": 42_345_000, "token_cost": 42_345_000, "priced_parts": PARTS, "cost_source": "priced"}
    return make_attempt(**(given | fields))


def part(unit: str, quantity: int, atto: int, **more: object) -> str:
    fields = {"of": "image_cost", "model": "m", "unit": unit, "quantity": quantity, "price": "1", "atto": str(atto)}
    return json.dumps([fields | {"price_id": "p@1"} | more])


@pytest.mark.slow
def test_the_rows_of_each_attempt_add_up_to_its_cost(ledger_url: str) -> None:
    now = [one for one in filled(ledger_url).values() if one.cost is not None]
    write(ledger_url, several := [priced(), priced(cost=5, cost_source="manual"), priced(byok=True)], {})

    sums: Counter[str] = Counter()
    for one in rows(ledger_url):
        assert one["BilledCost"] == one["EffectiveCost"]
        sums[one["x_AttemptId"]] += int(Decimal(one["BilledCost"]) * NANO)

    assert {one.id: one.cost for one in [*now, *several] if one.cost or one.billing != "not_billed"} == dict(sums)


def test_an_attempt_has_a_row_for_each_meter_with_unit_and_price(ledger_url: str) -> None:
    write(ledger_url, [priced()], {})

    image, text = rows(ledger_url)

    assert ("0.04228", "Tokens", "1057", "0.00004") == tuple(
        image[name] for name in ("BilledCost", "PricingUnit", "PricingQuantity", "ListUnitPrice")
    )
    assert ("0.000065", "Tokens", "13", "0.000005", "input text tokens") == tuple(
        text[name] for name in ("BilledCost", "PricingUnit", "PricingQuantity", "ListUnitPrice", "SkuMeter")
    )
    assert ("1", "") == (image["x_Images"], text["x_Images"])
    assert ("2026-05-28T20:00:00Z", "2026-06-01T00:00:00Z") == (text["ChargePeriodStart"], text["BillingPeriodEnd"])


def test_what_rounding_takes_from_the_parts_goes_to_the_largest(ledger_url: str) -> None:
    parts = json.loads(part("usd_per_1m_input_text_tokens", 1, 1_400_000_000, of="token_cost"))
    parts += json.loads(part("usd_per_1m_output_text_tokens", 1, 1_300_000_000, of="token_cost"))
    write(ledger_url, [priced(cost=3, token_cost=3, priced_parts=json.dumps(parts))], {})

    assert ["0.000000002", "0.000000001"] == [one["BilledCost"] for one in rows(ledger_url)]


def test_a_cost_that_the_parts_do_not_come_to_is_one_row_without_a_price(ledger_url: str) -> None:
    write(ledger_url, [priced(cost=42_345_001, cost_source="reported")], {})

    [one] = rows(ledger_url)

    assert ("0.042345001", "", "") == (one["BilledCost"], one["SkuPriceId"], one["PricingQuantity"])


def test_unknown_cost_is_left_out_and_counted(ledger_url: str) -> None:
    unknown = make_attempt(cost=None, cost_reason="no_price")
    write(ledger_url, [priced(), unknown, make_attempt(cost=0, billing="not_billed")], {})

    told = export(ledger_url, "--format", "focus", "-").stderr

    assert "FOCUS has no place for unknown cost: 1 attempt left out" in told
    assert "Not billed, so no charge: 1 attempt left out" in told


def violations(url: str) -> list[str]:
    report = lint_focus_1_4_structure("Cost and Usage", rows(url))
    return [str(one) for one in report.violations]


def test_a_validator_finds_nothing_wrong(ledger_url: str) -> None:
    filled(ledger_url)
    every = [
        make_attempt(cost=7, token_cost=None, image_cost=7, priced_parts=part(unit, 3 * per, 7 * NANO), model=name)
        for (unit, per), name in zip(UNITS.items(), HOSTILE * 3, strict=False)
    ]
    write(ledger_url, [priced(), priced(provider=None, byok=True, tags='{"a b":"=1"}'), *every], {})

    assert [] == violations(ledger_url)


def test_every_unit_of_the_price_book_has_a_meter() -> None:
    assert set(UNITS) == set(METERS)


def test_version_1_2_has_the_names_of_that_version(ledger_url: str) -> None:
    write(ledger_url, [priced()], {})

    [image, _] = rows(ledger_url, "--focus-version", "1.2")

    assert ("aigateway", "openai") == (image["ProviderName"], image["PublisherName"])
    assert not {"HostProviderName", "ServiceProviderName"} & set(image)


def test_every_column_of_1_4_is_in_its_model_or_our_own() -> None:
    known = {one.get("column_id", name) for name, one in load_model()["datasets"]["Cost and Usage"]["columns"].items()}
    names = [column.name for column in columns_of("1.4")]
    assert [] == [name for name in names if name not in known and not name.startswith("x_")]
    assert sorted(names, key=str.lower) == names


def test_a_folder_has_focus_by_the_day(sqlite_url: str, tmp_path: Path) -> None:
    write(sqlite_url, in_order([priced(), priced(started_at=STARTED_AT + 86_400_000_000)]), {})
    export(sqlite_url, "--format", "focus", tmp_path)
    assert ["part-2026-05-28.csv", "part-2026-05-29.csv"] == sorted(p.name for p in tmp_path.glob("month=2026-05/*"))
    with pytest.raises(StopIteration):
        next(tmp_path.glob("month=*/.*"))
