"""Prices in other currencies than USD: unknown without a rate of the user's own, exact with one."""

from __future__ import annotations

import datetime
import decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmeter.core.pricing.book import Consumption, PriceBook, Quote
from pixelmeter.core.pricing.file import read
from pixelmeter.core.pricing.tables import CURRENCIES, decimals_of, in_usd, key_of, unit_of
from pixelmeter.core.pricing.tariff import COUNTS, UNITS, Entry, atto

HEAD = 'gateway = "g"\n'
YUAN = '[[price]]\nmodel = "m"\ncny_per_image = "0.2"\n'
RATE = '[[exchange_rate]]\ncurrency = "CNY"\nusd_per_unit = "0.1402"\neffective_from = 2026-06-01\n'


def book(text: str, own: str = "") -> PriceBook:
    bundled, mine = read(HEAD + text), read(HEAD + own, own=True)
    assert ([], []) == (bundled.problems, mine.problems)

    def load(name: str) -> list[Entry]:
        return [entry for entry in bundled.entries if entry.gateway == name]

    return PriceBook(load, own=mine.entries, exchange_rates=mine.exchange_rates)


def at(day: str) -> int:
    return int(datetime.datetime.fromisoformat(day).replace(tzinfo=datetime.UTC).timestamp()) * 1_000_000


def quote(prices: PriceBook, consumption: Consumption, day: str = "2026-06-15", *vendors: str) -> Quote:
    return prices.quote(consumption, gateway="g", model="m", at=at(day), vendors=vendors)


def test_a_price_in_yuan_is_no_price_in_dollars() -> None:
    prices = book(YUAN)

    found = quote(prices, Consumption(images=1))

    assert (None, None, "foreign_currency") == (found.image_cost, found.token_cost, found.reason)
    assert prices.estimate(Consumption(images=1), gateway="g", model="m", at=at("2026-06-15")) is None


def test_a_rate_of_the_user_makes_it_one_from_its_day_on() -> None:
    prices = book(YUAN, RATE)

    assert 3 * 28_040_000 == quote(prices, Consumption(images=3)).image_cost
    assert 28_040_000 == prices.estimate(Consumption(images=1), gateway="g", model="m", at=at("2026-06-15"))
    assert "foreign_currency" == quote(prices, Consumption(images=1), "2026-05-31").reason


@pytest.mark.parametrize("first", ["older", "newer"])
def test_the_newest_rate_in_force_on_the_day_of_the_call_decides(first: str) -> None:
    newer = RATE.replace("0.1402", "0.15").replace("2026-06-01", "2026-07-01") + "effective_to = 2026-08-01\n"
    prices = book(YUAN, RATE + newer if first == "older" else newer + RATE)

    costs = [quote(prices, Consumption(images=1), day).image_cost for day in ("2026-06-30", "2026-07-01", "2026-08-01")]

    assert [28_040_000, 30_000_000, 28_040_000] == costs


def test_a_rate_that_ended_is_not_used() -> None:
    prices = book(YUAN, RATE + "effective_to = 2026-06-10\n")

    assert "foreign_currency" == quote(prices, Consumption(images=1)).reason


def test_a_rate_of_another_currency_says_nothing() -> None:
    assert "foreign_currency" == quote(book(YUAN, RATE.replace("CNY", "EUR")), Consumption(images=1)).reason


def test_a_price_in_dollars_needs_no_rate() -> None:
    found = quote(book('[[price]]\nmodel = "m"\nusd_per_image = "0.2"\n', RATE), Consumption(images=1))

    assert (200_000_000, None) == (found.image_cost, found.reason)


def test_tables_and_tokens_are_in_the_currency_of_their_key() -> None:
    prices = book(
        '[[price]]\nmodel = "m"\neur_per_1m_input_text_tokens = "5.25"\neur_per_1m_output_image_tokens = "30"\n'
        '[[price]]\ngateway = "h"\nmodel = "m"\n[price.eur_per_image_by_size_and_quality]\n1K = { low = "0.01" }',
        RATE.replace("CNY", "EUR").replace("0.1402", "1.08"),
    )

    tokens = quote(prices, Consumption(images=1, input_text_tokens=7, output_image_tokens=1000))
    assert 7 * 5_670 + 1000 * 32_400 == tokens.token_cost
    images = Consumption(images=1, size="1024x1024", quality="low")
    assert 10_800_000 == prices.quote(images, gateway="h", model="m", at=at("2026-06-15")).image_cost


def test_the_gateway_decides_even_where_its_price_is_of_no_use() -> None:
    prices = book(YUAN + '[[price]]\ngateway = "v"\nmodel = "m"\nusd_per_image = "1"')

    assert "foreign_currency" == quote(prices, Consumption(images=1), "2026-06-15", "v").reason


def test_a_part_in_another_currency_makes_the_whole_unknown() -> None:
    prices = book(YUAN + '[[price]]\nmodel = "m"\nusd_per_input_image = "0.01"\neffective_from = 2026-01-01\n')

    assert "foreign_currency" == quote(prices, Consumption(images=1, input_images=1)).reason


def test_parts_in_two_currencies_are_added_in_dollars() -> None:
    dated = '[[price]]\nmodel = "m"\nusd_per_input_image = "0.01"\neffective_from = 2026-01-01\n'

    found = quote(book(YUAN + dated, RATE), Consumption(images=1, input_images=2))

    assert 28_040_000 + 20_000_000 == found.image_cost


def test_a_line_of_the_sum_is_in_dollars_and_leads_to_the_rate() -> None:
    (line,) = quote(book(YUAN, RATE), Consumption(images=2)).lines

    assert ("usd_per_image", "0.02804", 2 * 28_040_000) == (line.unit, line.price, line.amount)
    assert ("CNY", "0.1402") == (line.entry.currency, line.entry.exchange and line.entry.exchange.text)


def amounts(digits: int) -> st.SearchStrategy[str]:
    return st.builds("{}.{:0{}}".format, st.integers(0, 999_999), st.integers(0, 10**digits - 1), st.just(digits))


@given(data=st.data(), unit=st.sampled_from(sorted(UNITS)), quantity=st.integers(1, 10**9))
def test_a_price_times_a_rate_is_exact(data: st.DataObject, unit: str, quantity: int) -> None:
    price = data.draw(amounts(decimals_of(unit, "CNY")))
    rate = data.draw(amounts(8).filter(lambda text: text.strip("0.") != ""))
    file = read(f'{HEAD}[[price]]\nmodel = "m"\n{key_of(unit, "CNY")} = "{price}"\n', own=True)
    exchange = read(RATE.replace("0.1402", rate), own=True).exchange_rates

    converted = in_usd(file.entries, exchange, datetime.date(2026, 6, 15))

    assert converted is not None
    ((found,),) = (entry.rates[unit] for entry in converted)
    exact = Fraction(price) * Fraction(rate)
    assert exact * quantity / UNITS[unit] == Fraction(found.amount * quantity, 10**18)
    assert exact == Fraction(found.text)


def test_every_unit_has_a_key_in_every_currency() -> None:
    assert [] == [unit for unit in UNITS if unit_of(key_of(unit, "JPY")) != (unit, "JPY")]
    assert [] == [code for code in CURRENCIES if unit_of(f"{code.lower()}_per_image") != ("usd_per_image", code)]
    assert [] == [count for count in COUNTS if unit_of(count) != (count, "USD")]


@pytest.mark.parametrize(
    "key", ["uds_per_image", "CNY_per_image", "cny_per_imge", "cny", "cny_per_", "output_per_image"]
)
def test_another_key_is_no_price(key: str) -> None:
    assert unit_of(key) is None


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (YUAN.replace("cny_per", "yua_per"), 4, "'yua_per_image' is not a key of a price file"),
        (YUAN.replace('"0.2"', '"0.00000000001"'), 4, "cny_per_image must be CNY in quotes with at most 10 decimals"),
        (YUAN.replace('"0.2"', "0.2"), 4, "cny_per_image must be CNY in quotes with at most 10 decimals"),
        (YUAN.replace('"0.2"', '"1234567"'), 4, "cny_per_image must be CNY with at most six digits before the point"),
        (
            YUAN.replace('image = "0.2"', '1m_output_image_tokens = "0.00001"'),
            4,
            "cny_per_1m_output_image_tokens must be CNY in quotes with at most 4 decimals",
        ),
        (
            YUAN + 'usd_per_request = "1"\n',
            5,
            "usd_per_request: the entry has prices in CNY: write one entry a currency",
        ),
        (
            YUAN + 'cny_per_image_by_colour = "1"',
            5,
            "'cny_per_image_by_colour' is not a key of a price file: did you mean",
        ),
        (YUAN + YUAN.replace("cny", "usd"), 7, "usd_per_image of 'm' has a price for this day already"),
        (RATE.replace('"CNY"', '"YUAN"'), 3, "currency: 'YUAN' is no other currency of ISO 4217"),
        (RATE.replace('"CNY"', '"cny"'), 3, "currency: 'cny' is no other currency of ISO 4217: did you mean CNY?"),
        (RATE.replace('"CNY"', '"USD"'), 3, "currency: 'USD' is no other currency of ISO 4217"),
        (RATE.replace('"CNY"', "3"), 3, "currency: Expected `str`, got `int`"),
        (RATE.replace('currency = "CNY"\n', ""), 2, 'nothing says which currency this is: write currency = "CNY"'),
        (RATE.replace('"0.1402"', "0.1402"), 4, "usd_per_unit: Expected `str`, got `float`"),
        (RATE.replace("0.1402", "0"), 4, "usd_per_unit must be USD, more than 0, with at most 8 decimals"),
        (RATE.replace("0.1402", "-1"), 4, "usd_per_unit must be USD, more than 0, with at most 8 decimals"),
        (RATE.replace("0.1402", "1e9"), 4, "usd_per_unit must be USD, more than 0, with at most 8 decimals"),
        (RATE.replace("0.1402", "0.123456789"), 4, "usd_per_unit must be USD, more than 0, with at most 8 decimals"),
        (RATE.replace("usd_per_unit", "usd_per_yuan"), 2, "nothing says what it is worth: write usd_per_unit"),
        (RATE.replace("effective_from = 2026-06-01\n", ""), 2, "nothing says since when: write effective_from"),
        (RATE.replace("2026-06-01", '"2026-06-01"'), 5, "effective_from: Expected `date`, got `str`"),
        (RATE + "effective_to = 2026-06-01", 6, "effective_to must be later than effective_from"),
        (RATE + 'from = "bank"', 6, "'from' is not a key of a price file"),
        (RATE + RATE, 9, "CNY has a rate from this day already: give the newer one a later effective_from"),
        ("exchange_rate = 3", 2, "write [[exchange_rate]] above every rate of exchange"),
    ],
)
def test_a_problem_has_its_line_and_the_way_out(text: str, line: int, message: str) -> None:
    found = [(problem.line, problem.message[: len(message)]) for problem in read(HEAD + text, own=True).problems]

    assert (line, message) in found


def test_rates_and_prices_may_stand_in_any_order() -> None:
    file = read(RATE + YUAN.replace("[[price]]", '[[price]]\ngateway = "g"') + RATE.replace("CNY", "EUR"), own=True)

    assert ([], ["m"], ["CNY", "EUR"]) == (
        file.problems,
        [entry.model for entry in file.entries],
        [rate.currency for rate in file.exchange_rates],
    )
    assert (1, 5, 9) == (file.exchange_rates[0].line, file.entries[0].line, file.exchange_rates[1].line)


def test_the_bundled_book_may_have_no_rate() -> None:
    (problem,) = read(RATE).problems

    assert (1, "a rate of exchange stands in a file of your own") == problem


def test_the_context_of_the_caller_s_decimals_changes_no_price() -> None:
    with decimal.localcontext(decimal.Context(prec=2, traps=[decimal.Inexact])):
        assert 26_975_000_000_000_000 == atto("0.026975", 1)
        assert 28_040_000 == quote(book(YUAN, RATE), Consumption(images=1)).image_cost


def test_a_model_that_was_to_be_shut_down_keeps_its_price() -> None:
    prices = book('[[price]]\nmodel = "m"\nusd_per_image = "0.02"\nshutdown_on = 2026-05-12\n')

    assert 20_000_000 == quote(prices, Consumption(images=1), "2026-05-11").image_cost
    assert 20_000_000 == quote(prices, Consumption(images=1), "2026-11-26").image_cost


def test_a_price_that_stops_before_the_shutdown_stops() -> None:
    text = '[[price]]\nmodel = "m"\nusd_per_image = "0.02"\neffective_to = 2026-05-12\nshutdown_on = 2026-06-01\n'

    assert "no_price" == quote(book(text), Consumption(images=1), "2026-05-12").reason


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('shutdown_on = "soon"', "shutdown_on: Expected `date`, got `str`"),
        ("shutdown_on = 2026-01-01", "shutdown_on must be later than effective_from"),
    ],
)
def test_a_shutdown_is_a_day_after_the_first(line: str, message: str) -> None:
    text = f'{HEAD}[[price]]\nmodel = "m"\nusd_per_image = "1"\neffective_from = 2026-01-01\n{line}\n'

    (problem,) = read(text).problems

    assert (6, message) == (problem.line, problem.message[: len(message)])
