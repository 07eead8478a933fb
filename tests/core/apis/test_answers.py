"""What an answer costs, from the wire to the record: names, parts of bills, keys, fees and what stays at risk."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from pixelmeter.core.apis.reader import ImageRequest
from pixelmeter.core.attempts.assemble import Metered
from pixelmeter.core.attempts.intent import Intents
from pixelmeter.core.attempts.record import Attempt, Operation
from pixelmeter.core.pricing.book import PriceBook
from pixelmeter.core.pricing.file import read
from pixelmeter.core.wire.exchange import Exchange
from pixelmeter.gateways import load_profiles
from pixelmeter.prices import bundled
from tests.conftest import FakeClock
from tests.factories import route_to

_PROFILES = load_profiles({})
_OPENAI, _AIGATEWAY, _AZURE = "api.openai.com", "api.aigateway.sh", "res.openai.azure.com"
_IMAGE = {"url": "https://media.example/1.png"}
_USAGE = {"input_tokens": 10, "input_tokens_details": {"text_tokens": 10, "image_tokens": 0}, "output_tokens": 100}


def _at(day: str) -> int:
    return int(datetime.datetime.fromisoformat(day).replace(tzinfo=datetime.UTC).timestamp()) * 1_000_000


class _Call:
    """One call, and how it ended."""

    def __init__(
        self,
        host: str = _OPENAI,
        ask: ImageRequest | None = None,
        *,
        day: str = "2026-06-01",
        operation: Operation = "generate",
        book: PriceBook | None = None,
        fee_rate: int | None = None,
    ) -> None:
        self._attempts: list[Attempt] = []
        kinds = Intents(_PROFILES, book or bundled(), fee_rate=fee_rate, version="0")
        kind = kinds.of(host, route_to(host, _PROFILES, operation), ask or ImageRequest(model="gpt-image-2"), _at(day))
        self.intent = msgspec.structs.replace(kind.intent, started_at=_at(day))
        self.exchange = Exchange(Metered(self.intent, kind, self._attempts.append), FakeClock())

    def answer(self, *, status: int = 200, headers: Sequence[tuple[str, str]] = (), **body: Any) -> Attempt:
        self.exchange.respond(status, [_header("content-type", "application/json"), *(_header(*h) for h in headers)])
        self.exchange.feed(json.dumps(body).encode())
        self.exchange.finish()
        return self.attempt

    def stream(self, *events: dict[str, Any]) -> Attempt:
        self.exchange.respond(200, [_header("content-type", "text/event-stream")])
        for event in events:
            self.exchange.feed(b"data: %s\n\n" % json.dumps(event).encode())
        self.exchange.finish()
        return self.attempt

    @property
    def attempt(self) -> Attempt:
        [attempt] = self._attempts
        return attempt


def _header(name: str, value: str) -> tuple[bytes, bytes]:
    return name.encode(), value.encode()


def _completed(**fields: Any) -> dict[str, Any]:
    return {"type": "image_generation.completed", "b64_json": "aGk=", **fields}


def _money(attempt: Attempt) -> tuple[int | None, str | None]:
    return attempt.cost, attempt.cost_reason


_COST = 10 * 5_000 + 100 * 30_000


class TestNames:
    def test_a_model_in_the_answer_that_the_book_lacks_does_not_hide_the_requested_one(self) -> None:
        attempt = _Call().answer(data=[_IMAGE], model="gpt-image-2-2099-01-01", usage=_USAGE)
        assert ("gpt-image-2-2099-01-01", _COST, "openai:gpt-image-2@2026-04-21#tokens") == (
            attempt.model,
            attempt.cost,
            attempt.price_id,
        )

    def test_a_model_in_the_answer_that_the_book_has_goes_before_the_requested_one(self) -> None:
        attempt = _Call().answer(data=[_IMAGE], model="gpt-image-1.5", usage=_USAGE)
        assert 10 * 5_000 + 100 * 32_000 == attempt.cost

    def test_a_model_that_the_gateway_routed_to_is_never_priced_as_the_requested_one(self) -> None:
        call = _Call(_AIGATEWAY, ImageRequest(model="meta/sam-3-1-image"))
        attempt = call.answer(headers=[("x-routing-selected", "vendor/unheard-of")], data=[_IMAGE])
        assert ("vendor/unheard-of", None, "no_price") == (attempt.model, *_money(attempt))

    def test_a_way_to_choose_that_an_answer_repeats_is_no_model(self) -> None:
        attempt = _Call(_AIGATEWAY, ImageRequest(model="meta/sam-3-1-image")).answer(data=[_IMAGE], model="auto")
        assert ("meta/sam-3-1-image", 10_000_000) == (attempt.model, attempt.cost)

    def test_behind_aigateway_a_model_of_openai_has_openais_price(self) -> None:
        call = _Call(_AIGATEWAY, ImageRequest(model="openai/gpt-image-2"))
        assert _COST == call.answer(data=[_IMAGE], usage=_USAGE).cost

    def test_a_default_model_is_not_taken_where_the_answer_names_another(self) -> None:
        attempt = _Call(ask=ImageRequest(), day="2026-03-01").answer(data=[_IMAGE], model="unheard-of")
        assert ("unheard-of", None, "no_price") == (attempt.model, *_money(attempt))

    def test_a_default_model_that_is_billed_by_images_made_no_answer_that_counts_tokens(self) -> None:
        attempt = _Call(ask=ImageRequest(size="1024x1024"), day="2026-03-01").answer(data=[_IMAGE], usage=_USAGE)
        assert ("", None, "no_model") == (attempt.model, *_money(attempt))

    def test_a_default_model_that_is_billed_by_tokens_is_priced_by_them(self) -> None:
        call = _Call(ask=ImageRequest(), day="2026-03-01", operation="edit")
        attempt = call.answer(data=[_IMAGE], usage=_USAGE)
        assert ("gpt-image-1.5", 10 * 5_000 + 100 * 32_000) == (attempt.model, attempt.cost)

    def test_what_may_be_lost_without_an_answer_is_that_of_the_default_model(self) -> None:
        intent = _Call(ask=ImageRequest(images=2), day="2026-03-01").intent
        assert ("dall-e-2", None, 40_000_000) == (intent.model, intent.requested_model, intent.at_risk)

    def test_without_any_model_the_reason_is_that_there_is_none(self) -> None:
        assert (None, "no_model") == _money(_Call(ask=ImageRequest(), day="2026-06-01").answer(data=[_IMAGE]))
        assert (None, "no_model") == _money(_Call("images.corp.example", ImageRequest()).answer(data=[_IMAGE]))

    def test_an_answer_that_shows_the_gateway_shows_how_it_chooses_a_model(self) -> None:
        attempt = _Call("images.corp.example", ImageRequest()).answer(headers=[("x-aig-provider", "x")], data=[_IMAGE])
        assert (None, "routed_model_hidden") == _money(attempt)

    def test_a_deployment_that_is_named_after_no_model_is_priced_as_the_one_in_the_body(self) -> None:
        attempt = _Call(_AZURE, ImageRequest(model="gpt-image-2", deployment="img-prod")).answer(
            data=[_IMAGE], usage=_USAGE
        )
        assert ("gpt-image-2", _COST) == (attempt.model, attempt.cost)

    def test_a_deployment_that_is_named_after_a_model_is_priced_as_that(self) -> None:
        attempt = _Call(_AZURE, ImageRequest(model="gpt-image-2", deployment="GPT-Image-1")).answer(
            data=[_IMAGE], usage=_USAGE
        )
        assert ("GPT-Image-1", 10 * 5_000 + 100 * 40_000) == (attempt.model, attempt.cost)

    @pytest.mark.parametrize("host", ["res.openai.azure.us", "res.services.ai.azure.cn"])
    def test_a_cloud_with_a_price_list_of_its_own_has_no_price(self, host: str) -> None:
        call = _Call(host, ImageRequest(model="gpt-image-1", size="1024x1024", quality="low"))
        assert (None, "regional_price", None) == (
            *_money(call.answer(data=[_IMAGE], usage=_USAGE)),
            call.intent.at_risk,
        )

    def test_the_quality_that_was_asked_for_is_not_lost_where_the_answer_repeats_auto(self) -> None:
        call = _Call(ask=ImageRequest(model="dall-e-3", size="1024x1024", quality="hd"), day="2026-03-01")
        assert 80_000_000 == call.answer(data=[_IMAGE], quality="auto").cost

    def test_what_may_be_lost_at_a_regional_host_has_its_surcharge(self) -> None:
        ask = ImageRequest(model="gpt-image-2", size="1024x1024", quality="low")
        assert (6_000_000, 6_600_000) == (_Call(ask=ask).intent.at_risk, _Call("eu.api.openai.com", ask).intent.at_risk)


class TestBillsReadInPart:
    @pytest.mark.parametrize(
        ("usage", "reason"),
        [
            ({"input_tokens_details": {"text_tokens": 9, "image_tokens": 0}}, "unpriced_tokens"),
            ({"input_tokens_details": {"text_tokens": 11, "image_tokens": 0}}, "unparsed"),
            ({"output_tokens_details": {"text_tokens": 0, "image_tokens": 90, "audio_tokens": 10}}, "unpriced_tokens"),
            ({"output_tokens_details": {"text_tokens": 10, "image_tokens": 90}}, "unpriced_tokens"),
            ({"web_searches": 1}, "unpriced_usage"),
            ({"total_tokens": 111}, "unpriced_tokens"),
            ({"total_tokens": 109}, "unparsed"),
        ],
    )
    def test_the_cost_is_unknown_and_never_the_part(self, usage: dict[str, Any], reason: str) -> None:
        attempt = _Call().answer(data=[_IMAGE], usage=_USAGE | usage)
        assert (None, reason, None) == (*_money(attempt), attempt.token_cost)

    @pytest.mark.parametrize("block", ["svg_usage", "video_usage"])
    def test_a_block_of_another_model_makes_it_unknown(self, block: str) -> None:
        other = {"model": "author", "input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
        body: dict[str, Any] = {"data": [_IMAGE], "usage": _USAGE, block: other}
        assert (None, "unpriced_usage") == _money(_Call().answer(**body))

    def test_a_usage_of_each_image_makes_it_unknown(self) -> None:
        images = [_IMAGE, _IMAGE | {"usage": {"output_tokens": 5}}]
        assert (None, "unpriced_usage") == _money(_Call().answer(data=images, usage=_USAGE))

    def test_an_svg_is_priced_where_the_users_book_has_its_author(self) -> None:
        text = (
            'gateway = "openai"\n[[price]]\nmodel = "author"\nusd_per_1m_input_text_tokens = "2"\n'
            'usd_per_1m_output_text_tokens = "12"\n[[price]]\nmodel = "gpt-image-2"\n'
            'usd_per_1m_input_text_tokens = "5"\nusd_per_1m_output_image_tokens = "30"'
        )
        entries, problems, _ = read(text, own=True)
        assert [] == problems
        svg = {"model": "author", "input_tokens": 5, "output_tokens": 7, "reasoning_tokens": 3, "total_tokens": 12}
        call = _Call(book=PriceBook(lambda name: (), own=entries))
        assert _COST + 5 * 2_000 + 7 * 12_000 == call.answer(data=[_IMAGE], usage=_USAGE, svg_usage=svg).cost

    def test_the_amount_that_the_gateway_reports_needs_no_usage(self) -> None:
        call = _Call(_AIGATEWAY, ImageRequest(model="openai/gpt-image-2"))
        attempt = call.answer(headers=[("x-cost-cents", "2")], data=[_IMAGE], usage=_USAGE | {"total_tokens": 1})
        assert (20_000_000, "reported") == (attempt.cost, attempt.cost_source)

    @pytest.mark.parametrize("usages", [(_USAGE, _USAGE), (_USAGE, _USAGE | {"output_tokens": 7}), (_USAGE,) * 3])
    def test_of_several_usages_in_a_stream_nobody_says_whether_each_is_of_all_images(
        self, usages: Sequence[dict[str, Any]]
    ) -> None:
        call = _Call(ask=ImageRequest(model="gpt-image-2", images=len(usages)))
        attempt = call.stream(*(_completed(usage=usage) for usage in usages))
        assert (len(usages), None, "unparsed") == (attempt.images, *_money(attempt))
        assert (None, None) == (attempt.input_text_tokens, attempt.output_image_tokens)

    @pytest.mark.parametrize("usages", [(None, _USAGE), (_USAGE, None), (_USAGE, {"output_tokens": 0})])
    def test_one_usage_in_a_stream_of_several_images_is_of_all_of_them(self, usages: Sequence[Any]) -> None:
        attempt = _Call(ask=ImageRequest(model="gpt-image-2", images=2)).stream(
            *(_completed(usage=usage) for usage in usages)
        )
        assert (2, _COST) == (attempt.images, attempt.cost)

    def test_counts_with_a_point_are_read_in_a_stream_too(self) -> None:
        content = json.dumps(_completed(usage=_USAGE)).replace("100", "100.0").encode()
        call = _Call()
        call.exchange.respond(200, [_header("content-type", "text/event-stream")])
        call.exchange.feed(b"data: %s\n\n" % content)
        assert (_COST, 100) == (call.attempt.cost, call.attempt.output_image_tokens)


class TestAtRisk:
    def test_a_reported_zero_that_proves_nothing_puts_the_answers_own_price_at_risk(self) -> None:
        call = _Call(_AIGATEWAY, ImageRequest(model="black-forest-labs/flux-2-klein-9b"))
        attempt = call.answer(headers=[("x-cost-cents", "0")], data=[_IMAGE, _IMAGE])
        assert (40_000_000, 80_000_000) == (call.intent.at_risk, attempt.at_risk)

    def test_by_tokens_too(self) -> None:
        call = _Call(_AIGATEWAY, ImageRequest(model="openai/gpt-image-2"))
        attempt = call.answer(headers=[("x-cost-cents", "0")], data=[_IMAGE], usage=_USAGE)
        assert ("reported_zero_unverified", None, _COST) == (attempt.cost_reason, attempt.cost, attempt.at_risk)

    def test_a_refusal_with_a_usage_puts_at_risk_what_it_counts_if_that_is_more(self) -> None:
        error = {"code": "moderation_blocked", "type": "image_generation_user_error"}
        for output, at_risk in ((100_000, 3_000_050_000), (1, 6_000_000)):
            call = _Call(ask=ImageRequest(model="gpt-image-2", size="1024x1024", quality="low"))
            attempt = call.answer(status=400, error=error, usage=_USAGE | {"output_tokens": output})
            assert ("rejected", None, "outcome_unknown", at_risk) == (
                attempt.outcome,
                *_money(attempt),
                attempt.at_risk,
            )

    def test_a_failure_that_is_not_charged_costs_nothing_whatever_its_usage_says(self) -> None:
        attempt = _Call().answer(status=429, error={"type": "x"}, usage=_USAGE)
        assert (0, "rejected", None) == (*_money(attempt), attempt.at_risk)


class TestKeysAndFees:
    def test_with_a_key_of_the_callers_own_the_amount_is_the_fee_and_no_part_of_the_cost(self) -> None:
        call = _Call(_AIGATEWAY, ImageRequest(model="black-forest-labs/flux-2-klein-9b", byok=True))
        attempt = call.answer(headers=[("x-cost-cents", "0.2")], data=[_IMAGE])
        assert (40_000_000, "priced", 2_000_000, 2_000_000, 0) == (
            attempt.cost,
            attempt.cost_source,
            attempt.fee,
            attempt.reported_cost,
            attempt.fee_rate,
        )

    def test_without_one_the_fee_is_the_gateways_share_of_the_cost(self) -> None:
        attempt = _Call(_AIGATEWAY, ImageRequest(model="x")).answer(headers=[("x-cost-cents", "4")], data=[_IMAGE])
        assert (40_000_000, 50_000, 2_000_000) == (attempt.cost, attempt.fee_rate, attempt.fee)

    @pytest.mark.parametrize(("fee_rate", "fee"), [(0, 0), (100_000, 4_000_000)])
    def test_a_fee_of_ones_own_goes_before_the_gateways(self, fee_rate: int, fee: int) -> None:
        call = _Call(_AIGATEWAY, ImageRequest(model="x"), fee_rate=fee_rate)
        assert fee_rate == call.intent.fee_rate
        attempt = call.answer(headers=[("x-cost-cents", "4")], data=[_IMAGE])
        assert (fee_rate, fee) == (attempt.fee_rate, attempt.fee)


def test_the_inner_code_of_an_error_stands_for_one_that_is_missing() -> None:
    error = {"code": None, "inner_error": {"code": "ResponsibleAIPolicyViolation"}, "type": "invalid_request_error"}
    assert "ResponsibleAIPolicyViolation" == _Call(_AZURE).answer(status=400, error=error).error_code
