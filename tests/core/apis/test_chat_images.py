"""Chat completions with images: which are counted, and which tokens are theirs."""

from __future__ import annotations

from typing import Any

import pytest

from pixelmeter.core.apis import chat_images
from tests.core.apis.reading import PNG, Answers, tokens

_ANSWERS = Answers(chat_images)
_DATA = f"data:image/png;base64,{PNG}"
_IMAGE = {"type": "image_url", "image_url": {"url": _DATA}}
_USAGE = {"prompt_tokens": 6, "completion_tokens": 1290, "total_tokens": 1296}
_MADE = "completion_tokens_details"


def _answer(usage: object = _USAGE, finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": ""} | message}
    return {"id": "gen-1", "model": "google/gemini-2.5-flash-image", "choices": [choice], "usage": usage}


def _chunk(choice: int = 0, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": choice, "delta": delta, "finish_reason": None}]}


def _at(index: int) -> dict[str, Any]:
    return _IMAGE | {"index": index}


class TestImages:
    def test_an_answer_of_an_image_alone(self) -> None:
        response = _ANSWERS.whole(_answer(images=[_IMAGE]))
        assert (1, "1024x1536", "google/gemini-2.5-flash-image", True) == (
            response.images,
            response.size,
            response.model,
            response.whole,
        )

    @pytest.mark.parametrize(
        ("message", "images"),
        [
            ({"images": [_IMAGE, {"image_url": {"url": "https://cdn.example/1.png"}}]}, 2),
            ({"images": [_at(0), _at(0)]}, 2),
            ({"images": [{"image_url": "https://cdn.example/1.png"}]}, 1),
            ({"images": [{"image_url": {"url": ""}}, {"image_url": None}, {}, None, "text"]}, 0),
            ({"images": None}, 0),
            ({"content": [{"type": "text", "text": "Here:"}, _IMAGE]}, 1),
            ({"content": [{"type": "image", "image": PNG}]}, 1),
            ({"content": [{"type": "text", "url": "https://docs.example"}]}, 0),
            ({"content": [_IMAGE], "images": [_IMAGE]}, 1),
            ({"content": "A picture is worth a thousand words."}, 0),
        ],
    )
    def test_images_are_counted_where_a_message_has_them(self, message: dict[str, Any], images: int) -> None:
        response = _ANSWERS.whole(_answer(**message))
        assert (images, True) == (response.images, response.whole)

    def test_of_an_image_in_markdown_nobody_knows_whether_it_is_the_only_one(self) -> None:
        response = _ANSWERS.whole(_answer(content=f"![image]({_DATA})"))
        assert (1, "unparsed") == (response.images, response.usage.doubt)

    def test_the_choices_are_added_up(self) -> None:
        body = _answer(images=[_IMAGE])
        assert 2 == _ANSWERS.whole(body | {"choices": body["choices"] * 2}).images


@pytest.mark.parametrize(
    ("fields", "message", "expected"),
    [
        ({}, {"images": [_IMAGE]}, {"output_text": 0, "output_image": 1290}),
        ({}, {"images": [_IMAGE], "content": "Here."}, {"output_text": 0, "output_image": 1290, "doubt": "unparsed"}),
        ({}, {"content": "No."}, {"output_text": 1290, "output_image": 0}),
        ({_MADE: {"image_tokens": 1120}}, {"images": [_IMAGE]}, {"output_text": 170, "output_image": 1120}),
        (
            {_MADE: {"image_tokens": 1120}},
            {"images": [_IMAGE], "content": "Here."},
            {"output_text": 170, "output_image": 1120},
        ),
        (
            {_MADE: {"image_tokens": 1120, "reasoning_tokens": 150}},
            {"images": [_IMAGE], "reasoning": "Hm."},
            {"output_text": 170, "output_image": 1120},
        ),
        (
            {_MADE: {"image_tokens": 1120, "text_tokens": 170}},
            {"images": [_IMAGE], "content": "Here."},
            {"output_text": 170, "output_image": 1120},
        ),
        (
            {_MADE: {"reasoning_tokens": 170}},
            {"images": [_IMAGE], "reasoning": "Hm."},
            {"output_text": 170, "output_image": 1120},
        ),
        (
            {_MADE: {"reasoning_tokens": 170}, "total_tokens": 1466},
            {"images": [_IMAGE], "reasoning": "Hm."},
            {"output_text": 170, "output_image": 1290},
        ),
        (
            {_MADE: {"reasoning_tokens": 170}, "total_tokens": None},
            {"images": [_IMAGE]},
            {"output_text": 0, "output_image": 1290, "doubt": "unpriced_tokens"},
        ),
        ({}, {"images": [_IMAGE], "reasoning": "Hm."}, {"output_text": 0, "output_image": 1290, "doubt": "unparsed"}),
        ({_MADE: {"image_tokens": 0}}, {"images": [_IMAGE]}, {"output_text": 0, "output_image": 1290}),
        (
            {_MADE: {"image_tokens": 1291}},
            {"images": [_IMAGE]},
            {"output_text": 0, "output_image": 1291, "doubt": "unparsed"},
        ),
        (
            {_MADE: {"image_tokens": 1290, "audio_tokens": 5}},
            {"images": [_IMAGE]},
            {"output_text": 0, "output_image": 1290, "doubt": "unpriced_tokens"},
        ),
        (
            {"cost": 0.0387, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.0387}},
            {"images": [_IMAGE]},
            {"output_text": 0, "output_image": 1290},
        ),
        (
            {"server_tool_use_details": {"web_search_requests": 1}},
            {"images": [_IMAGE]},
            {"output_text": 0, "output_image": 1290, "doubt": "unpriced_usage"},
        ),
    ],
)
def test_output_tokens_are_of_images_or_of_text(
    fields: dict[str, Any], message: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert {"input_text": 6} | expected == tokens(_ANSWERS.whole(_answer(_USAGE | fields, **message)).usage)


@pytest.mark.parametrize("count", [-1, 10**30, "1290", 1290.5, True])
def test_a_count_that_is_none_is_doubted(count: object) -> None:
    usage = _ANSWERS.whole(_answer(_USAGE | {"completion_tokens": count, "total_tokens": None}, images=[_IMAGE])).usage
    assert ("unparsed", None) == (usage.doubt, usage.output_image)


@pytest.mark.parametrize("finish_reason", ["stop", "length", "content_filter"])
def test_words_and_refusals_are_answers(finish_reason: str) -> None:
    response = _ANSWERS.whole(_answer(finish_reason=finish_reason, refusal="I cannot draw that."))
    assert (0, True, None) == (response.images, response.whole, response.error_type)


@pytest.mark.parametrize(
    ("body", "error_type", "error_code"),
    [
        ({"error": {"code": 429, "message": "m", "metadata": {"error_type": "rate_limit"}}}, "rate_limit", "429"),
        ({"error": {"type": "invalid_request_error", "code": "bad"}}, "invalid_request_error", "bad"),
        ({"error": {"code": 502, "message": "m"}}, None, "502"),
        ({"choices": [{"error": {"code": 502, "message": "m"}, "message": {}}]}, "error", "502"),
        ({"choices": [{"finish_reason": "error", "message": {}}]}, "error", None),
    ],
)
def test_an_error_is_no_answer_in_words(body: dict[str, Any], error_type: str | None, error_code: str | None) -> None:
    response = _ANSWERS.whole(body)
    assert (error_type, error_code) == (response.error_type, response.error_code)
    assert error_type is not None or not response.whole


_LAST = {"choices": [], "usage": _USAGE}


class TestStreams:
    def test_the_usage_comes_behind_the_image_and_done_is_the_end(self) -> None:
        response, brought = _ANSWERS.stream(
            _chunk(role="assistant", content=""), _chunk(images=[_at(0)]), _LAST, "[DONE]"
        )
        assert [None, "complete", None, "end"] == brought
        assert (1, 1290, None, True) == (
            response.images,
            response.usage.output_image,
            response.usage.doubt,
            response.whole,
        )
        assert _USAGE == response.body["usage"]

    @pytest.mark.parametrize(
        ("chunks", "images"),
        [
            ([_chunk(images=[_at(0)]), _chunk(images=[_at(0)])], 1),
            ([_chunk(images=[_at(0)]), _chunk(images=[_at(1)])], 2),
            ([_chunk(images=[_at(0)]), _chunk(images=[_at(0), _at(1)])], 2),
            ([_chunk(images=[_at(0)]), _chunk(1, images=[_at(0)])], 2),
            ([_chunk(images=[_IMAGE]), _chunk(images=[_IMAGE])], 2),
            ([_chunk(images=[_IMAGE, _IMAGE])], 2),
            ([_chunk(images=[{"index": 0, "image_url": {"url": ""}}]), _chunk(images=[_at(0)])], 1),
        ],
    )
    def test_an_index_counts_once_and_without_one_the_order_tells(self, chunks: list[Any], images: int) -> None:
        assert images == _ANSWERS.stream(*chunks, _LAST)[0].images

    def test_words_that_came_before_the_image_are_not_forgotten(self) -> None:
        response, _ = _ANSWERS.stream(_chunk(content="Here."), _chunk(images=[_at(0)]), _LAST)
        assert "unparsed" == response.usage.doubt

    def test_a_usage_that_grows_with_the_stream_counts_once(self) -> None:
        first = _chunk(images=[_at(0)]) | {"usage": {"prompt_tokens": 6, "completion_tokens": 3}}
        response, _ = _ANSWERS.stream(first, _LAST, "[DONE]")
        assert {"input_text": 6, "output_text": 0, "output_image": 1290} == tokens(response.usage)

    def test_a_usage_before_the_last_image_is_a_part_of_the_bill(self) -> None:
        response, _ = _ANSWERS.stream(_chunk(images=[_at(0)]), _LAST, _chunk(images=[_at(1)]), "[DONE]")
        assert (2, "unparsed") == (response.images, response.usage.doubt)

    def test_an_error_in_the_middle_has_a_type(self) -> None:
        response, _ = _ANSWERS.stream(_chunk(content="H"), {"error": {"code": 502, "message": "m"}})
        assert ("error", "502") == (response.error_type, response.error_code)

    def test_words_alone_are_a_whole_answer_once_they_end(self) -> None:
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        cut, _ = _ANSWERS.stream(_chunk(content="No."))
        ended, _ = _ANSWERS.stream(_chunk(content="No."), end)
        assert ((0, False), (0, True)) == ((cut.images, cut.whole), (ended.images, ended.whole))

    def test_an_end_of_nothing_is_no_answer(self) -> None:
        response, brought = _ANSWERS.stream("[DONE]")
        assert (None, False, ["end"]) == (response.images, response.whole, brought)
