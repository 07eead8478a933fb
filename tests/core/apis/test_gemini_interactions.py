"""Gemini's Interactions API: steps with images, in one answer or in a stream, and the usage of all of them."""

from __future__ import annotations

from typing import Any

import pytest

from pixelmeter.core.apis import gemini_interactions
from tests.core.apis.reading import PNG, Answers

_ANSWERS = Answers(gemini_interactions)
_IMAGE = {"type": "image", "data": PNG, "mime_type": "image/png"}


def _answer(usage: dict[str, Any] | None = None, *, status: str = "completed", **more: Any) -> dict[str, Any]:
    steps = [{"type": "thought", "signature": "s"}, {"type": "model_output", "content": [_IMAGE]}]
    return {"id": "v1", "status": status, "steps": steps, "usage": usage or {}} | more


def _usage(*, output: int, thoughts: int, total: int) -> dict[str, Any]:
    return {
        "total_input_tokens": 10,
        "total_output_tokens": output,
        "output_tokens_by_modality": [{"modality": "image", "tokens": 1120}],
        "total_thought_tokens": thoughts,
        "total_tokens": total,
    }


class TestUsage:
    def test_what_is_no_image_of_the_output_is_text(self) -> None:
        usage = _ANSWERS.whole(_answer(_usage(output=1130, thoughts=0, total=1140))).usage
        assert (10, 10, 1120, None) == (usage.input_text, usage.output_text, usage.output_image, usage.doubt)

    @pytest.mark.parametrize(("output", "total"), [(1120, 1355), (1345, 1355)])
    def test_the_total_tells_whether_the_thoughts_are_among_the_output(self, output: int, total: int) -> None:
        usage = _ANSWERS.whole(_answer(_usage(output=output, thoughts=225, total=total))).usage
        assert (225, 1120, None) == (usage.output_text, usage.output_image, usage.doubt)

    def test_thoughts_that_fit_no_total_are_a_doubt(self) -> None:
        assert "unparsed" == _ANSWERS.whole(_answer(_usage(output=1120, thoughts=225, total=1200))).usage.doubt

    @pytest.mark.parametrize("step", ["google_search_call", "google_maps_call", "code_execution_call"])
    def test_a_tool_that_was_called_may_cost_besides(self, step: str) -> None:
        answer = _answer(_usage(output=1120, thoughts=0, total=1130))
        answer["steps"].insert(0, {"type": step})
        assert "unpriced_usage" == _ANSWERS.whole(answer).usage.doubt

    def test_a_usage_that_is_no_object_is_a_doubt(self) -> None:
        assert "unparsed" == _ANSWERS.whole(_answer(usage=None) | {"usage": 7}).usage.doubt


class TestStatus:
    def test_images_of_the_outputs_that_were_before_steps_count(self) -> None:
        response = _ANSWERS.whole({"id": "v1", "status": "completed", "outputs": [_IMAGE, {"type": "text"}]})
        assert (1, True, "1024x1536") == (response.images, response.whole, response.size)

    def test_what_goes_on_in_the_background_is_a_job(self) -> None:
        response = _ANSWERS.whole({"id": "v1", "status": "in_progress"})
        assert (True, "v1", None) == (response.job, response.job_id, response.images)

    @pytest.mark.parametrize("status", ["failed", "cancelled", "incomplete"])
    def test_a_failure_is_named_by_its_status(self, status: str) -> None:
        response = _ANSWERS.whole({"id": "v1", "status": status, "steps": []})
        assert (status, 0, False) == (response.error_type, response.images, response.whole)

    def test_an_answer_in_words_is_whole(self) -> None:
        steps = [{"type": "model_output", "content": [{"type": "text", "text": "no"}]}]
        response = _ANSWERS.whole({"id": "v1", "status": "completed", "steps": steps})
        assert (0, True, None) == (response.images, response.whole, response.error_type)
