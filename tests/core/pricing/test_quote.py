"""One rounding for all that a call is billed, surcharges of regions, and bills that are read in part only."""

from __future__ import annotations

from datetime import date
from typing import get_args

import pytest

from pixelmeter.core.gateways.profile import Region, Surcharge
from pixelmeter.core.pricing.book import Consumption, PriceBook, Quote
from pixelmeter.core.pricing.file import read
from pixelmeter.core.pricing.tariff import IMAGE_UNITS, TOKEN_UNITS, UNITS, Unit
from tests.core.pricing.test_book import TOKENS, at, book, quote

_TOKENS_AND_IMAGES = f'{TOKENS}usd_per_image = "0.04"\n'
_USED = Consumption(images=1, input_text_tokens=100, output_image_tokens=1000)
_EU = Region(
    hosts=("eu.example",),
    surcharge=(
        Surcharge(models=("old*",), parts_per_million=0),
        Surcharge(models=("m", "n"), parts_per_million=100_000, effective_from=date(2026, 3, 5)),
    ),
)


def _book(*models: str, own: bool = False) -> PriceBook:
    text = 'gateway = "g"\n' + "".join(f'[[price]]\nmodel = "{model}"\n{TOKENS}' for model in models)
    found, problems, _ = read(text, own=own)
    assert [] == problems
    return PriceBook(lambda name: [] if own else found, own=found if own else ())


def _quote(prices: PriceBook, used: Consumption = _USED, *, model: str = "m", day: str = "2026-06-01") -> Quote:
    return prices.quote(used, gateway="g", model=model, at=at(day), region=_EU)


def test_lines_of_images_are_summed_before_they_are_rounded() -> None:
    # Half a nano-dollar each: rounded one by one, to even, both would be nothing.
    halves = 'usd_per_image = "0.0000000005"\nusd_per_request = "0.0000000005"'
    assert 1 == quote(halves, Consumption(images=1)).image_cost


def test_lines_of_tokens_are_summed_before_they_are_rounded() -> None:
    halves = 'usd_per_1m_output_image_tokens = "0.0005"\nusd_per_1m_input_text_tokens = "0.0005"'
    assert 1 == quote(halves, Consumption(images=1, input_text_tokens=1, output_image_tokens=1)).token_cost


def test_every_unit_is_of_images_or_of_tokens_and_says_how_many_a_price_pays_for() -> None:
    units = [unit for kind in get_args(Unit) for unit in get_args(kind)]
    assert units == [*IMAGE_UNITS, *TOKEN_UNITS] == list(UNITS)


class TestSurcharge:
    def test_a_region_adds_its_share_and_the_price_id_says_so(self) -> None:
        found = _quote(_book("m"))
        assert ((100 * 5_000 + 1000 * 30_000) * 11 // 10, "g:m#tokens+10%") == (found.token_cost, found.price_id)

    def test_it_is_added_before_the_one_rounding(self) -> None:
        # 10 % of five tenths of a nano-dollar makes 0.55 of it.
        halves = 'gateway = "g"\n[[price]]\nmodel = "m"\nusd_per_image = "0.0000000005"'
        plain = book(halves).quote(Consumption(images=1), gateway="g", model="m", at=at("2026-06-01"))
        assert (0, 1) == (plain.image_cost, _quote(book(halves), Consumption(images=1)).image_cost)

    def test_it_is_added_to_what_a_call_may_cost(self) -> None:
        flat = book(
            'gateway = "g"\n[[price]]\nmodel = "m"\nusd_per_image = "0.04"\n[[price]]\nmodel = "x"\nusd_per_image = "1"'
        )
        asked = Consumption(images=2)
        found = [
            flat.estimate(asked, gateway="g", model=model, at=at("2026-06-01"), region=region)
            for model, region in (("m", None), ("m", _EU), ("x", _EU))
        ]
        assert [80_000_000, 88_000_000, None] == found

    def test_of_a_model_that_came_before_nothing_is_added(self) -> None:
        assert 100 * 5_000 + 1000 * 30_000 == _quote(_book("older"), model="older").token_cost

    @pytest.mark.parametrize(("model", "day"), [("unheard-of", "2026-06-01"), ("m", "2026-03-04")])
    def test_a_model_of_which_no_region_speaks_has_no_price_there(self, model: str, day: str) -> None:
        assert Quote(reason="regional_price") == _quote(_book("m", "unheard-of"), model=model, day=day)

    def test_it_is_added_to_a_price_of_the_users_own(self) -> None:
        assert "own:g:m#tokens+10%" == _quote(_book("m", own=True)).price_id

    def test_where_nothing_says_what_is_added_the_users_own_price_is_what_is_paid(self) -> None:
        assert "own:g:unheard-of#tokens" == _quote(_book("unheard-of", own=True), model="unheard-of").price_id

    def test_parts_of_a_percent_are_written_out(self) -> None:
        region = Region(hosts=(), surcharge=(Surcharge(models=("*",), parts_per_million=12_500),))
        found = _book("m").quote(_USED, gateway="g", model="m", at=at("2026-06-01"), region=region)
        assert "g:m#tokens+1.25%" == found.price_id


class TestBillsReadInPart:
    def test_tokens_that_are_doubted_have_no_price(self) -> None:
        doubted = Consumption(images=1, input_text_tokens=100, output_image_tokens=1000, doubt="unpriced_tokens")
        assert Quote(reason="unpriced_tokens") == quote(TOKENS, doubted)

    def test_images_are_no_other_way_to_price_them(self) -> None:
        doubted = Consumption(images=1, input_text_tokens=100, output_image_tokens=1000, doubt="unpriced_tokens")
        assert Quote(reason="unpriced_tokens") == quote(_TOKENS_AND_IMAGES, doubted)
        assert 40_000_000 == quote(_TOKENS_AND_IMAGES, Consumption(images=1)).image_cost

    def test_where_images_alone_are_billed_tokens_do_not_matter(self) -> None:
        doubted = Consumption(images=1, input_text_tokens=100, doubt="unpriced_tokens")
        assert 40_000_000 == quote('usd_per_image = "0.04"', doubted).image_cost


class TestOtherModels:
    _AUTHOR = Consumption(images=0, input_text_tokens=10, output_text_tokens=20)
    _TEXT = '[[price]]\nmodel = "author"\nusd_per_1m_input_text_tokens = "2"\nusd_per_1m_output_text_tokens = "12"\n'

    def _found(self, prices: str, author: Consumption, *, images: str = TOKENS) -> Quote:
        used = Consumption(images=1, input_text_tokens=100, output_image_tokens=1000, others=(("author", author),))
        text = f'gateway = "g"\n[[price]]\nmodel = "m"\n{images}\n{prices}'
        return book(text).quote(used, gateway="g", model="m", at=at("2026-06-01"))

    def test_what_another_model_took_is_billed_at_its_own_price(self) -> None:
        found = self._found(self._TEXT, self._AUTHOR)
        assert 100 * 5_000 + 1000 * 30_000 + 10 * 2_000 + 20 * 12_000 == found.token_cost
        assert "author" == found.lines[-1].entry.model

    def test_it_is_billed_beside_images_too(self) -> None:
        found = self._found(self._TEXT, self._AUTHOR, images='usd_per_image = "0.04"')
        assert 40_000_000 + 10 * 2_000 + 20 * 12_000 == found.image_cost

    def test_where_no_region_speaks_of_it_the_whole_is_unknown(self) -> None:
        region = Region(hosts=(), surcharge=(Surcharge(models=("m",), parts_per_million=100_000),))
        used = Consumption(images=1, input_text_tokens=1, output_image_tokens=1, others=(("author", self._AUTHOR),))
        prices = book(f'gateway = "g"\n[[price]]\nmodel = "m"\n{TOKENS}\n{self._TEXT}')
        assert Quote(reason="unpriced_usage") == prices.quote(
            used, gateway="g", model="m", at=at("2026-06-01"), region=region
        )

    @pytest.mark.parametrize(
        ("prices", "author"),
        [
            ("", _AUTHOR),
            ('[[price]]\nmodel = "author"\nusd_per_1m_input_text_tokens = "2"', _AUTHOR),
            (_TEXT, Consumption(images=0, input_text_tokens=10, doubt="unpriced_usage")),
            (_TEXT, Consumption(images=0)),
        ],
    )
    def test_without_a_price_for_all_of_it_the_whole_is_unknown(self, prices: str, author: Consumption) -> None:
        assert Quote(reason="unpriced_usage") == self._found(prices, author)


class TestNames:
    _NAMES = """
    gateway = "google"
    [[price]]
    model = "imagen-4"
    aliases = ["imagen-4-2026-01-01"]
    usd_per_image = "0.01"
    [[price]]
    model = "FLUX.1-dev"
    usd_per_image = "0.02"
    [[price]]
    model = "twin"
    usd_per_image = "0.03"
    [[price]]
    model = "Twin"
    usd_per_image = "0.04"
    [[price]]
    model = "models/kept"
    usd_per_image = "0.05"
    [[price]]
    model = "kept"
    usd_per_image = "0.06"
    """

    @pytest.mark.parametrize(
        ("model", "cost"),
        [
            ("imagen-4", 10_000_000),
            ("imagen-4-2026-01-01", 10_000_000),
            (" imagen-4\n", 10_000_000),
            ("models/imagen-4", 10_000_000),
            ("publishers/google/models/imagen-4", 10_000_000),
            ("google/imagen-4", 10_000_000),
            ("Google/Imagen-4", 10_000_000),
            ("flux.1-DEV", 20_000_000),
            ("twin", 30_000_000),
            ("Twin", 40_000_000),
            ("TWIN", None),
            ("models/kept", 50_000_000),
            ("kept", 60_000_000),
            ("imagen-4-2026-01-02", None),
            ("imagen-4-preview", None),
            ("imagen", None),
            ("other/imagen-4", None),
            ("models/models/imagen-4", None),
        ],
    )
    def test_a_name_is_taken_as_it_is_and_then_without_what_does_not_matter(self, model: str, cost: int | None) -> None:
        prices = book(self._NAMES)
        found = prices.quote(
            Consumption(images=1), gateway="gate", model=model, at=at("2026-06-01"), vendors=("google",)
        )
        assert cost == found.image_cost
