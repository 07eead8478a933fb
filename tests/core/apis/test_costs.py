"""Calls of each API from the request to the cost: what is asked for, what came, and what it is billed as."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from pixelmeter.core.apis.reader import ImageRequest
from pixelmeter.core.apis.requests import Asked, request_of
from pixelmeter.core.attempts.assemble import Metered
from pixelmeter.core.attempts.intent import Intents
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.gateways.profile import read_profile
from pixelmeter.core.gateways.profiles import Profiles, listed
from pixelmeter.core.pricing.book import PriceBook
from pixelmeter.core.pricing.file import read
from pixelmeter.core.wire.exchange import Exchange
from pixelmeter.prices import bundled
from tests.conftest import FakeClock
from tests.core.apis.reading import PNG

_HOST = "images.vendor.example"
_AT = 1_793_000_000_000_000
_PATHS = {
    "gemini": "/v1beta/models/{model}:generateContent",
    "predict": "/v1beta/models/{model}:predict",
    "chat_images": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
}
_PROFILES = Profiles(
    [
        listed(
            read_profile(
                {
                    "id": "vendor",
                    "pass_through": ["google", "vertex-ai", "openai"],
                    "match": {"hosts": [_HOST]},
                    "route": [{"path": path, "api": api, "operation": "generate"} for api, path in _PATHS.items()],
                }
            )
        )
    ],
    {},
)
_TEXT_PRICE, _PROBLEMS, _RATES = read(
    'gateway = "openai"\n[[price]]\nmodel = "gpt-5.2"\nusd_per_1m_input_text_tokens = "2"\n'
    'usd_per_1m_output_text_tokens = "10"\n[[price]]\nmodel = "gpt-image-1"\nusd_per_1m_input_text_tokens = "5"\n'
    'usd_per_1m_input_image_tokens = "10"\nusd_per_1m_output_image_tokens = "40"',
    own=True,
)
_BOOK = PriceBook(lambda name: (), own=_TEXT_PRICE)


class _Call:
    def __init__(self, path: str, book: PriceBook | None = None, **body: Any) -> None:
        [found] = _PROFILES.routes("POST", _HOST.encode(), path.encode())
        asked = request_of(found.route, Asked(found.parts, b"", {}, json.dumps(body).encode(), ()))
        assert asked is not None
        self.asked: ImageRequest = asked
        prepared = Intents(_PROFILES, book or bundled(), fee_rate=None, version="0").of(_HOST, found.route, asked, _AT)
        self._attempts: list[Attempt] = []
        intent = msgspec.structs.replace(prepared.intent, started_at=_AT)
        self._exchange = Exchange(Metered(intent, prepared, self._attempts.append), FakeClock())

    def answer(self, **body: Any) -> Attempt:
        self._exchange.respond(200, [(b"content-type", b"application/json")])
        self._exchange.feed(json.dumps(body).encode())
        self._exchange.finish()
        return self._attempts[0]

    def stream(self, *events: object) -> Attempt:
        self._exchange.respond(200, [(b"content-type", b"text/event-stream")])
        for event in events:
            self._exchange.feed(b"data: %s\n\n" % (event if isinstance(event, bytes) else json.dumps(event).encode()))
        self._exchange.finish()
        return self._attempts[0]


def _of(attempt: Attempt) -> tuple[str, int | None, int | None, str | None]:
    return attempt.outcome, attempt.images, attempt.cost, attempt.cost_reason


_GEMINI = "/v1beta/models/gemini-2.5-flash-image:generateContent"
_MADE = {"promptTokenCount": 6, "candidatesTokenCount": 1290, "totalTokenCount": 1296}
_SPLIT = {"candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}]}
_PICTURE = {"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": PNG}}]}, "finishReason": "STOP"}
_COST = 6 * 300 + 1290 * 30_000


class TestGemini:
    def test_an_image_costs_its_tokens(self) -> None:
        call = _Call(_GEMINI, contents=[{"parts": [{"text": "x"}]}])
        attempt = call.answer(candidates=[_PICTURE], usageMetadata=_MADE | _SPLIT)
        assert ("success", 1, _COST, None) == _of(attempt)

    def test_tokens_that_are_not_told_apart_have_no_price(self) -> None:
        attempt = _Call(_GEMINI).answer(candidates=[_PICTURE], usageMetadata=_MADE)
        assert ("success", 1, None, "unparsed") == _of(attempt)

    def test_words_alone_cost_what_words_cost(self) -> None:
        said = {"content": {"parts": [{"text": "No."}]}, "finishReason": "STOP"}
        usage = {"promptTokenCount": 6, "candidatesTokenCount": 40, "totalTokenCount": 46}
        attempt = _Call(_GEMINI).answer(candidates=[said], usageMetadata=usage)
        assert ("success", 0, 6 * 300 + 40 * 2_500, None) == _of(attempt)

    def test_a_refusal_is_an_error_of_its_own_name(self) -> None:
        attempt = _Call(_GEMINI).answer(candidates=[{"finishReason": "IMAGE_SAFETY"}], usageMetadata=_MADE)
        assert ("error", "IMAGE_SAFETY", None) == (attempt.outcome, attempt.error_type, attempt.cost)

    def test_what_is_asked_for_is_read(self) -> None:
        parts = [{"text": "x"}, {"inlineData": {"mimeType": "image/png", "data": PNG}}]
        config = {"candidateCount": 2, "imageConfig": {"imageSize": "2K"}}
        asked = _Call(_GEMINI, contents=[{"parts": parts}], generationConfig=config).asked
        assert ("gemini-2.5-flash-image", 2, "2K", 1) == (asked.model, asked.images, asked.size, asked.input_images)


_IMAGEN_PATH = "/v1beta/models/imagen-4.0-generate-001:predict"


class TestPredict:
    def test_each_image_costs_the_price_of_an_image(self) -> None:
        call = _Call(_IMAGEN_PATH, instances=[{"prompt": "x"}], parameters={"sampleCount": 4})
        assert 4 == call.asked.images
        attempt = call.answer(predictions=[{"mimeType": "image/png", "bytesBase64Encoded": PNG}] * 4)
        assert ("success", 4, 160_000_000, None) == _of(attempt)

    def test_where_all_were_filtered_it_is_an_error(self) -> None:
        attempt = _Call(_IMAGEN_PATH).answer(predictions=[{"raiFilteredReason": "no"}])
        assert ("error", "rai_filtered", 0) == (attempt.outcome, attempt.error_type, attempt.images)


_CHAT_DATA = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}, "index": 0}
_CHAT_USAGE = {"prompt_tokens": 6, "completion_tokens": 1290, "total_tokens": 1296}


class TestChat:
    def _call(self) -> _Call:
        return _Call("/v1/chat/completions", model="gemini-2.5-flash-image", modalities=["image", "text"])

    def test_an_image_alone_costs_all_the_tokens_that_were_made(self) -> None:
        choice = {"message": {"content": "", "images": [_CHAT_DATA]}}
        assert ("success", 1, _COST, None) == _of(self._call().answer(choices=[choice], usage=_CHAT_USAGE))

    def test_a_stream_costs_the_same(self) -> None:
        chunk = {"choices": [{"index": 0, "delta": {"images": [_CHAT_DATA]}}]}
        attempt = self._call().stream(chunk, chunk, {"choices": [], "usage": _CHAT_USAGE}, b"[DONE]")
        assert ("success", 1, _COST, None) == _of(attempt)

    def test_a_stream_of_words_is_a_success_without_images(self) -> None:
        chunk = {"choices": [{"index": 0, "delta": {"content": "No."}, "finish_reason": "stop"}]}
        attempt = self._call().stream(chunk, {"choices": [], "usage": _CHAT_USAGE}, b"[DONE]")
        assert ("success", 0, 6 * 300 + 1290 * 2_500, None) == _of(attempt)

    def test_a_stream_that_breaks_off_is_none(self) -> None:
        attempt = self._call().stream({"choices": [{"index": 0, "delta": {"content": "N"}}]})
        assert ("error", "stream_incomplete") == (attempt.outcome, attempt.error_type)

    def test_images_that_go_in_are_counted(self) -> None:
        content = [{"type": "text", "text": "x"}, _CHAT_DATA, _CHAT_DATA]
        call = _Call("/v1/chat/completions", model="m", messages=[{"role": "user", "content": content}])
        assert 2 == call.asked.input_images


_RESPONSE_IMAGE = {"type": "image_generation_call", "result": PNG}
_RESPONSE_TOKENS = {
    "input_tokens": 50,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 50},
    "output_tokens": 1056,
    "total_tokens": 1106,
}
_RESPONSE_USAGE = {"input_tokens": 300, "output_tokens": 20, "total_tokens": 320}
_RESPONSE_BOTH = 50 * 5_000 + 1056 * 40_000 + 300 * 2_000 + 20 * 10_000


class TestResponses:
    def _call(self, **tool: Any) -> _Call:
        tools = [{"type": "function", "name": "f"}, {"type": "image_generation"} | tool]
        return _Call("/v1/responses", _BOOK, model="gpt-5.2", input="x", tools=tools)

    def _answer(self, *output: object, **fields: Any) -> dict[str, Any]:
        answer = {"id": "resp_1", "status": "completed", "model": "gpt-5.2", "output": output, "usage": _RESPONSE_USAGE}
        return answer | {"tool_usage": {"image_gen": _RESPONSE_TOKENS}} | fields

    def test_both_models_are_billed_at_their_own_prices(self) -> None:
        assert ("success", 1, _RESPONSE_BOTH, None) == _of(self._call().answer(**self._answer(_RESPONSE_IMAGE)))

    def test_a_stream_costs_the_same(self) -> None:
        done = {"type": "response.output_item.done", "item": _RESPONSE_IMAGE}
        completed = {"type": "response.completed", "response": self._answer(_RESPONSE_IMAGE)}
        assert ("success", 1, _RESPONSE_BOTH, None) == _of(self._call().stream(done, completed))

    def test_words_alone_cost_what_the_language_model_costs(self) -> None:
        attempt = self._call().answer(**self._answer({"type": "message"}, tool_usage=None))
        assert ("success", 0, 300 * 2_000 + 20 * 10_000, None) == _of(attempt)

    @pytest.mark.parametrize(
        ("fields", "reason"), [({"tool_usage": None}, "unpriced_tokens"), ({"usage": None}, "unpriced_usage")]
    )
    def test_a_part_of_the_bill_is_no_cost(self, fields: dict[str, Any], reason: str) -> None:
        attempt = self._call().answer(**self._answer(_RESPONSE_IMAGE, **fields))
        assert ("success", 1, None, reason) == _of(attempt)

    def test_an_answer_in_the_background_is_pending(self) -> None:
        attempt = self._call().answer(**self._answer(status="queued", usage=None, tool_usage=None))
        assert "pending" == attempt.outcome

    def test_what_the_tool_is_asked_for_is_read(self) -> None:
        tool = {"model": "gpt-image-1.5", "size": "1024x1024", "quality": "low", "partial_images": 2}
        asked = self._call(**tool).asked
        assert ("gpt-image-1.5", "1024x1024", "low", 2) == (
            asked.model,
            asked.size,
            asked.quality,
            asked.partial_images,
        )
        assert "gpt-image-1" == self._call().asked.model
