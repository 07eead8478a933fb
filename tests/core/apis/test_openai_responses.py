"""Answers of the Responses API: what of them is the image model's, and what the language model's."""

from __future__ import annotations

from typing import Any

import pytest

from pixelmeter.core.apis import openai_responses
from pixelmeter.core.apis.usage import Block, Usage
from tests.core.apis.reading import PNG, Answers, tokens

_ANSWERS = Answers(openai_responses)
_IMAGE = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": PNG}
_WORDS = {"type": "message", "content": [{"type": "output_text", "text": "Here it is."}]}
_IMAGE_TOKENS = {
    "input_tokens": 1550,
    "input_tokens_details": {"image_tokens": 1521, "text_tokens": 29},
    "output_tokens": 515,
    "output_tokens_details": {"image_tokens": 515, "text_tokens": 0},
    "total_tokens": 2065,
}
_NO_TOKENS = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}
_USAGE = {
    "input_tokens": 2300,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 120,
    "output_tokens_details": {"reasoning_tokens": 64},
    "total_tokens": 2420,
}


def _answer(*output: object, **fields: Any) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": "gpt-5.2",
        "error": None,
        "output": output,
        "usage": _USAGE,
        "tool_usage": {"image_gen": _IMAGE_TOKENS, "web_search": {"num_requests": 0}},
        "tools": [{"type": "web_search"}, {"type": "image_generation", "model": "gpt-image-1.5"}],
    }
    return answer | fields


class TestTokens:
    def test_the_image_models_tokens_stand_apart_from_those_of_the_language_model(self) -> None:
        response = _ANSWERS.whole(_answer(_IMAGE, _WORDS), input_images=1)
        assert {"input_text": 29, "input_image": 1521, "output_text": 0, "output_image": 515} == tokens(response.usage)
        assert (Block("gpt-5.2", Usage(input_text=2300, cached=0, output_text=120)),) == response.blocks
        assert ("gpt-image-1.5", 1, True) == (response.model, response.images, response.whole)

    def test_what_came_from_a_cache_is_told_by_the_names_of_this_api(self) -> None:
        cached = {
            "cached_tokens": 1529,
            "cached_tokens_details": {"cached_image_tokens": 1521, "cached_text_tokens": 8},
        }
        usage = _ANSWERS.whole(_answer(_IMAGE, tool_usage={"image_gen": _IMAGE_TOKENS | cached})).usage
        assert (1529, 8, 1521, None) == (usage.cached, usage.cached_text, usage.cached_image, usage.doubt)

    @pytest.mark.parametrize("tool_usage", [None, {}, {"image_gen": None}, {"image_gen": 5}])
    def test_an_image_without_its_tokens_is_never_billed_by_the_words_alone(self, tool_usage: object) -> None:
        usage = _ANSWERS.whole(_answer(_IMAGE, tool_usage=tool_usage)).usage
        assert usage.is_empty
        assert usage.doubt is not None

    @pytest.mark.parametrize("tool_usage", [None, {"image_gen": _NO_TOKENS, "web_search": {"num_requests": 0}}])
    def test_where_the_tool_was_not_called_only_the_words_are_billed(self, tool_usage: object) -> None:
        response = _ANSWERS.whole(_answer(_WORDS, tool_usage=tool_usage))
        assert (0, True, 0, None) == (response.images, response.whole, response.usage.input_text, response.usage.doubt)
        assert [120] == [block.usage.output_text for block in response.blocks]

    def test_a_call_that_failed_may_have_cost_something_all_the_same(self) -> None:
        response = _ANSWERS.whole(_answer({"type": "image_generation_call", "status": "failed"}, tool_usage=None))
        assert ("unpriced_tokens", "failed") == (response.usage.doubt, response.error_type)

    def test_words_without_a_usage_leave_a_block_that_nobody_can_price(self) -> None:
        assert (Block("gpt-5.2", Usage()),) == _ANSWERS.whole(_answer(_IMAGE, usage=None)).blocks

    def test_an_svg_has_a_block_of_the_model_that_wrote_it(self) -> None:
        svg = {"model": "author", "input_tokens": 5, "output_tokens": 7, "reasoning_tokens": 3, "total_tokens": 12}
        response = _ANSWERS.whole(_answer(_IMAGE | {"svg_usage": svg}))
        assert ["gpt-5.2", "author"] == [block.model for block in response.blocks]

    @pytest.mark.parametrize(
        "fields",
        [
            {"tool_usage": {"image_gen": _IMAGE_TOKENS, "web_search": {"num_requests": 2}}},
            {"output": [_IMAGE, {"type": "web_search_call", "id": "ws_1"}]},
            {"output": [_IMAGE, {"type": "code_interpreter_call"}]},
            {"video_usage": {"seconds": 4}},
        ],
    )
    def test_other_tools_that_cost_money_keep_the_bill_from_being_read_whole(self, fields: dict[str, Any]) -> None:
        assert "unpriced_usage" == _ANSWERS.whole(_answer(_IMAGE) | fields).usage.doubt


def test_an_image_says_its_size_quality_and_format() -> None:
    response = _ANSWERS.whole(
        _answer(_IMAGE | {"size": "1536x864", "quality": "high", "output_format": "webp"}, service_tier="default")
    )
    assert ("1536x864", "high", "webp", "standard") == (
        response.size,
        response.quality,
        response.output_format,
        response.service_tier,
    )
    assert "1024x1536" == _ANSWERS.whole(_answer(_IMAGE | {"size": "auto"})).size


@pytest.mark.parametrize("result", ["", None, 5, [], {}])
def test_a_call_without_a_picture_is_no_image(result: object) -> None:
    assert 0 == _ANSWERS.whole(_answer(_IMAGE | {"result": result})).images


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_an_answer_in_the_background_is_a_job(status: str) -> None:
    response = _ANSWERS.whole(_answer(status=status, background=True, usage=None, tool_usage=None))
    assert (True, "resp_1", (), None) == (response.job, response.job_id, response.blocks, response.usage.doubt)


@pytest.mark.parametrize(
    ("fields", "error_type", "whole"),
    [
        ({"status": "failed", "error": {"code": "server_error", "message": "m"}}, "server_error", False),
        ({"status": "failed", "error": {"code": "server_error", "type": "api_error"}}, "api_error", False),
        ({"status": "failed"}, "failed", False),
        ({"status": "cancelled"}, "cancelled", False),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "content_filter", False),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, None, True),
        ({"status": "incomplete"}, "incomplete", False),
        ({"status": "completed"}, None, True),
        ({"status": ["completed"]}, None, False),
    ],
)
def test_an_answer_without_an_image_is_an_error_where_it_says_so(
    fields: dict[str, Any], error_type: str | None, whole: bool
) -> None:
    response = _ANSWERS.whole(_answer() | fields)
    assert (error_type, whole) == (response.error_type, response.whole)


def test_a_refused_image_is_the_error_of_an_answer_that_has_no_other() -> None:
    error = {"type": "image_generation_user_error", "code": "moderation_blocked", "message": "no"}
    refused = {"type": "image_generation_call", "status": "failed", "error": error}
    alone, beside = _ANSWERS.whole(_answer(refused)), _ANSWERS.whole(_answer(refused, _IMAGE))
    assert ("image_generation_user_error", "moderation_blocked") == (alone.error_type, alone.error_code)
    assert (None, 1) == (beside.error_type, beside.images)


def test_a_plain_error_has_its_type_and_code() -> None:
    response = _ANSWERS.whole({"error": {"type": "invalid_request_error", "code": "model_not_found", "message": "m"}})
    assert ("invalid_request_error", "model_not_found", None) == (
        response.error_type,
        response.error_code,
        response.images,
    )


_PARTIAL = {"type": "response.image_generation_call.partial_image", "partial_image_b64": PNG}
_DONE = {"type": "response.output_item.done", "item": _IMAGE}


class TestStreams:
    def test_an_image_is_counted_once_though_the_last_event_repeats_it(self) -> None:
        response, brought = _ANSWERS.stream(
            {"type": "response.created", "response": _answer(status="in_progress")},
            _PARTIAL,
            _DONE,
            {"type": "response.completed", "response": _answer(_IMAGE)},
        )
        assert [None, "partial", "complete", "end"] == brought
        assert (1, 515, True, False) == (response.images, response.usage.output_image, response.whole, response.job)

    def test_an_image_that_the_last_event_leaves_out_is_not_lost(self) -> None:
        response, _ = _ANSWERS.stream(_DONE, {"type": "response.completed", "response": _answer()})
        assert 1 == response.images

    def test_a_stream_that_was_cut_has_the_images_that_came(self) -> None:
        response, _ = _ANSWERS.stream(_PARTIAL, _DONE)
        assert (1, False, True) == (response.images, response.whole, response.usage.is_empty)

    @pytest.mark.parametrize(
        ("event", "error"),
        [
            ({"type": "error", "code": "rate_limit_exceeded", "message": "m"}, "rate_limit_exceeded"),
            ({"type": "error", "message": "m"}, "error"),
            ({"type": "error", "error": {"type": "server_error", "message": "m"}}, "server_error"),
            ({"type": "response.failed", "response": _answer(status="failed")}, "failed"),
            (
                {
                    "type": "response.incomplete",
                    "response": _answer(status="incomplete", incomplete_details={"reason": "content_filter"}),
                },
                "content_filter",
            ),
        ],
    )
    def test_an_error_ends_it(self, event: dict[str, Any], error: str) -> None:
        response, brought = _ANSWERS.stream(_PARTIAL, event)
        assert (["partial", "end"], error) == (brought, response.error_type)
