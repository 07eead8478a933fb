"""Answers of Gemini: one, a list of parts, or a stream of them; and tokens by modality."""

from __future__ import annotations

from typing import Any

import pytest

from pixelmeter.core.apis import gemini
from pixelmeter.core.apis.gemini_usage import gemini_usage_of
from tests.core.apis.reading import PNG, Answers, tokens

_ANSWERS = Answers(gemini)
_IMAGE = {"inlineData": {"mimeType": "image/png", "data": PNG}}
_WORDS = {"text": "Here it is."}


def _count(modality: str, tokens: object) -> dict[str, object]:
    return {"modality": modality, "tokenCount": tokens}


_USAGE = {
    "promptTokenCount": 6,
    "candidatesTokenCount": 1290,
    "totalTokenCount": 1296,
    "candidatesTokensDetails": [_count("IMAGE", 1290)],
}


def _answer(*parts: object, reason: str | None = "STOP", usage: object = _USAGE, **fields: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if reason is not None:
        candidate["finishReason"] = reason
    answer: dict[str, Any] = {"candidates": [candidate], "modelVersion": "gemini-2.5-flash-image"}
    return answer | ({} if usage is None else {"usageMetadata": usage}) | fields


class TestImages:
    def test_an_answer_of_an_image(self) -> None:
        response = _ANSWERS.whole(_answer(_WORDS, _IMAGE))
        assert (1, "1024x1536", "gemini-2.5-flash-image", True) == (
            response.images,
            response.size,
            response.model,
            response.whole,
        )
        assert {"input_text": 6, "output_text": 0, "output_image": 1290} == tokens(response.usage)

    @pytest.mark.parametrize(
        ("part", "images"),
        [
            ({"inline_data": {"mime_type": "image/webp", "data": PNG}}, 1),
            ({"inlineData": {"mimeType": "IMAGE/PNG", "data": PNG}}, 1),
            (_IMAGE | {"thought": True}, 0),
            (_IMAGE | {"thought": False}, 1),
            (_IMAGE | {"thoughtSignature": "s"}, 1),
            ({"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}}, 0),
            ({"inlineData": {"mimeType": "image/png", "data": ""}}, 0),
            ({"inlineData": {"data": PNG}}, 0),
            ({"inlineData": PNG}, 0),
            ({"fileData": {"mimeType": "image/png", "fileUri": "gs://bucket/1.png"}}, 0),
            (None, 0),
        ],
    )
    def test_pictures_are_images_and_drafts_are_not(self, part: object, images: int) -> None:
        assert images == _ANSWERS.whole(_answer(part)).images

    def test_the_candidates_are_added_up(self) -> None:
        body = _answer(_IMAGE)
        assert 2 == _ANSWERS.whole(body | {"candidates": body["candidates"] * 2}).images


def _read(fields: dict[str, Any], input_images: int = 0, *, images: bool = True) -> dict[str, Any]:
    return tokens(gemini_usage_of(fields, input_images=input_images, images=images))


_MADE = {"candidatesTokenCount": 1290, "candidatesTokensDetails": [_count("IMAGE", 1290)]}
_MADE_READ = {"output_text": 0, "output_image": 1290}


class TestUsage:
    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"promptTokensDetails": [_count("TEXT", 6)]}, {"input_text": 6, "input_image": 0}),
            ({"promptTokensDetails": [_count("TEXT", 2), _count("IMAGE", 4)]}, {"input_text": 2, "input_image": 4}),
            ({"promptTokensDetails": [{"tokenCount": 6}]}, {"input_text": 6, "input_image": 0}),
            ({"promptTokensDetails": []}, {"input_text": 6}),
            ({"toolUsePromptTokenCount": 5}, {"input_text": 11}),
            (
                {
                    "toolUsePromptTokenCount": 5,
                    "toolUsePromptTokensDetails": [_count("TEXT", 4), _count("IMAGE", 1)],
                },
                {"input_text": 10, "input_image": 1},
            ),
            ({"thoughtsTokenCount": 225}, {"input_text": 6, "output_text": 225}),
            ({"cachedContentTokenCount": 4}, {"input_text": 6, "cached": 4, "cached_text": 4}),
            (
                {
                    "promptTokensDetails": [_count("TEXT", 2), _count("IMAGE", 4)],
                    "cachedContentTokenCount": 5,
                    "cacheTokensDetails": [_count("TEXT", 2), _count("IMAGE", 3)],
                },
                {"input_text": 2, "input_image": 4, "cached": 5, "cached_text": 2, "cached_image": 3},
            ),
            (
                {"candidatesTokenCount": 1299},
                {"input_text": 6, "output_text": 9},
            ),
            ({"trafficType": "ON_DEMAND", "serviceTier": "standard"}, {"input_text": 6}),
        ],
    )
    def test_a_usage_is_read_whole(self, fields: dict[str, Any], expected: dict[str, Any]) -> None:
        assert _MADE_READ | expected == _read({"promptTokenCount": 6} | _MADE | fields)

    @pytest.mark.parametrize(
        ("fields", "doubt"),
        [
            ({"promptTokensDetails": [_count("TEXT", 2), _count("AUDIO", 4)]}, "unpriced_tokens"),
            ({"promptTokensDetails": [_count("TEXT", 5)]}, "unpriced_tokens"),
            ({"promptTokensDetails": [_count("TEXT", 7)]}, "unparsed"),
            ({"promptTokensDetails": {"TEXT": 6}}, "unpriced_tokens"),
            ({"promptTokensDetails": [[6]]}, "unparsed"),
            ({"toolUsePromptTokensDetails": [_count("DOCUMENT", 5)]}, "unpriced_tokens"),
            ({"candidatesTokensDetails": [_count("IMAGE", 1290), _count("VIDEO", 9)]}, "unparsed"),
            ({"candidatesTokensDetails": [_count("IMAGE", 1291)]}, "unparsed"),
            ({"candidatesTokensDetails": None}, "unparsed"),
            ({"candidatesTokensDetails": [_count("TEXT", 9)]}, "unparsed"),
            ({"cachedContentTokenCount": 7, "cacheTokensDetails": [_count("TEXT", 7)]}, "unparsed"),
            ({"cachedContentTokenCount": 6, "cacheTokensDetails": [_count("AUDIO", 6)]}, "unpriced_tokens"),
            ({"totalTokenCount": 1300}, "unpriced_tokens"),
            ({"totalTokenCount": 1200}, "unparsed"),
            ({"audioTokenCount": 3}, "unpriced_tokens"),
            ({"searches": 3}, "unpriced_usage"),
            ({"promptTokenCount": -1}, "unparsed"),
            ({"thoughtsTokenCount": 10**30}, "unparsed"),
            ({"thoughtsTokenCount": "225"}, "unparsed"),
            ({"candidatesTokensDetails": [_count("IMAGE", 10**9)] * 2}, "unparsed"),
        ],
    )
    def test_what_is_left_over_or_makes_no_sense_is_doubted(self, fields: dict[str, Any], doubt: str) -> None:
        assert doubt == _read({"promptTokenCount": 6} | _MADE | fields)["doubt"]

    def test_where_images_went_in_a_prompt_without_details_is_of_unknown_class(self) -> None:
        assert _MADE_READ == _read({"promptTokenCount": 264, "totalTokenCount": 1554} | _MADE, 1)

    def test_what_tools_brought_in_is_no_stand_in_for_such_a_prompt(self) -> None:
        usage = _read({"promptTokenCount": 264, "toolUsePromptTokenCount": 5} | _MADE, 1)
        assert {"doubt": "unparsed"} | _MADE_READ == usage

    def test_without_an_image_all_that_was_made_is_text(self) -> None:
        assert {"input_text": 6, "output_text": 40} == _read(
            {"promptTokenCount": 6, "candidatesTokenCount": 40}, images=False
        )


@pytest.mark.parametrize(
    ("said", "tier"),
    [
        ({"trafficType": "ON_DEMAND"}, "standard"),
        ({"trafficType": "ON_DEMAND_FLEX"}, "flex"),
        ({"trafficType": "ON_DEMAND_PRIORITY"}, "priority"),
        ({"trafficType": "PROVISIONED_THROUGHPUT"}, "provisioned_throughput"),
        ({"trafficType": "TRAFFIC_TYPE_UNSPECIFIED"}, None),
        ({"serviceTier": "unspecified"}, "standard"),
        ({"serviceTier": "FLEX", "trafficType": "ON_DEMAND"}, "flex"),
        ({"serviceTier": 5}, None),
        ({}, None),
    ],
)
def test_the_tier_has_the_name_that_prices_have(said: dict[str, Any], tier: str | None) -> None:
    assert tier == _ANSWERS.whole(_answer(_IMAGE, usage=_USAGE | said)).service_tier


@pytest.mark.parametrize("field", ["webSearchQueries", "imageSearchQueries"])
def test_searches_are_billed_besides(field: str) -> None:
    body = _answer(_IMAGE)
    body["candidates"][0]["groundingMetadata"] = {field: ["weather"]}
    assert "unpriced_usage" == _ANSWERS.whole(body).usage.doubt


class TestWithoutAnImage:
    @pytest.mark.parametrize("reason", ["STOP", "MAX_TOKENS", "FINISH_REASON_UNSPECIFIED", None])
    def test_words_are_an_answer(self, reason: str | None) -> None:
        response = _ANSWERS.whole(_answer(_WORDS, reason=reason))
        assert (0, True, None) == (response.images, response.whole, response.error_type)

    @pytest.mark.parametrize("reason", ["SAFETY", "IMAGE_SAFETY", "PROHIBITED_CONTENT", "NO_IMAGE", "A_NEW_ONE"])
    def test_a_reason_that_says_that_there_is_none_is_its_error(self, reason: str) -> None:
        alone, beside = _ANSWERS.whole(_answer(reason=reason)), _ANSWERS.whole(_answer(_IMAGE, reason=reason))
        assert ((0, reason), (1, None)) == ((alone.images, alone.error_type), (beside.images, beside.error_type))

    def test_a_prompt_that_was_blocked_says_why(self) -> None:
        body = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 6}}
        response = _ANSWERS.whole(body)
        assert (0, "PROHIBITED_CONTENT", 6) == (response.images, response.error_type, response.usage.input_text)

    @pytest.mark.parametrize("body", [{}, {"usageMetadata": _USAGE}, [], [5]])
    def test_an_answer_without_candidates_is_none(self, body: object) -> None:
        response = _ANSWERS.whole(body)
        assert (None, False) == (response.images, response.whole)

    @pytest.mark.parametrize("in_list", [False, True])
    def test_an_error_has_its_status_for_a_type(self, in_list: bool) -> None:
        body = {"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}}
        response = _ANSWERS.whole([body] if in_list else body)
        assert ("RESOURCE_EXHAUSTED", "429", False) == (response.error_type, response.error_code, response.whole)


_PARTS = [
    _answer(_WORDS, reason=None, usage={"promptTokenCount": 6, "totalTokenCount": 6}),
    _answer(_IMAGE, reason=None, usage={"promptTokenCount": 6, "totalTokenCount": 6}),
    _answer({"text": ""}, usage=_USAGE | {"trafficType": "ON_DEMAND"}),
]


class TestStreams:
    def test_the_last_usage_is_that_of_the_answer(self) -> None:
        response, brought = _ANSWERS.stream(*_PARTS)
        assert [None, "complete", None] == brought
        assert (1, True, "standard") == (response.images, response.whole, response.service_tier)
        assert {"input_text": 6, "output_text": 0, "output_image": 1290} == tokens(response.usage)

    def test_a_list_of_the_same_parts_says_the_same(self) -> None:
        listed, streamed = _ANSWERS.whole(_PARTS), _ANSWERS.stream(*_PARTS)[0]
        assert (listed.images, listed.usage, listed.size, listed.model, listed.body) == (
            streamed.images,
            streamed.usage,
            streamed.size,
            streamed.model,
            streamed.body,
        )

    def test_a_usage_before_the_last_image_is_a_part_of_the_bill(self) -> None:
        response, _ = _ANSWERS.stream(_answer(_IMAGE), _answer(_IMAGE, usage=None))
        assert (2, "unparsed") == (response.images, response.usage.doubt)

    def test_what_stands_beside_the_usage_is_kept_where_the_last_part_has_none(self) -> None:
        answer, words = _answer(_IMAGE, cost=0.04), {"text": "That was it."}
        response, _ = _ANSWERS.stream(answer, {"candidates": [], "responseId": "r"})
        assert 0.04 == float(response.body["cost"])
        response, _ = _ANSWERS.stream(answer, _answer(words, _IMAGE, usage=None))
        assert "cost" not in response.body

    def test_a_stream_that_was_cut_is_not_whole(self) -> None:
        response, _ = _ANSWERS.stream(*_PARTS[:1])
        assert (0, False) == (response.images, response.whole)

    def test_searches_in_the_middle_are_not_forgotten(self) -> None:
        middle = _answer(_WORDS, reason=None)
        middle["candidates"][0]["groundingMetadata"] = {"webSearchQueries": ["weather"]}
        assert "unpriced_usage" == _ANSWERS.stream(middle, *_PARTS)[0].usage.doubt

    def test_an_error_in_the_middle_has_a_type(self) -> None:
        response, _ = _ANSWERS.stream(_PARTS[0], {"error": {"code": 503, "status": "UNAVAILABLE"}})
        assert ("UNAVAILABLE", "503") == (response.error_type, response.error_code)
