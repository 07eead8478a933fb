"""Every reader, whatever comes: it never raises, keeps bounds, and reads a stream alike however it is split."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelmeter.core.apis.reader import facts_of, reader_of, readers
from tests.core.apis.reading import HOSTILE, PNG, Answers, documents, is_bounded
from tests.effort import examples

_READERS = readers()
_NAMES = """
candidates content parts inlineData inline_data mimeType data thought finishReason usageMetadata
promptTokenCount candidatesTokenCount totalTokenCount thoughtsTokenCount candidatesTokensDetails
promptTokensDetails modality tokenCount cacheTokensDetails cachedContentTokenCount modelVersion
promptFeedback blockReason trafficType groundingMetadata webSearchQueries choices message delta images
image_url url index finish_reason usage prompt_tokens completion_tokens completion_tokens_details
total_tokens text image_tokens text_tokens reasoning_tokens type output result status item response
tool_usage image_gen input_tokens output_tokens web_search num_requests svg_usage incomplete_details
reason tools model error code predictions bytesBase64Encoded gcsUri raiFilteredReason id size quality
b64_json steps step event_type interaction outputs mime_type total_input_tokens total_output_tokens
total_thought_tokens input_tokens_by_modality output_tokens_by_modality tokens
"""
_WORDS = """
image/png STOP IMAGE_SAFETY IMAGE TEXT AUDIO ON_DEMAND image_generation_call completed failed queued
in_progress response.completed response.output_item.done response.image_generation_call.partial_image
error image_generation image_generation.completed image_url ](data:image/ gpt-image-1 step.delta step.start
interaction.completed google_search_call
"""
_DOCUMENTS = documents(_NAMES.split(), _WORDS.split())
_USUAL: dict[str, list[Any]] = {
    "openai_responses": [
        {"type": "response.image_generation_call.partial_image", "partial_image_b64": PNG},
        {"type": "response.output_item.done", "item": {"type": "image_generation_call", "result": PNG}},
        {
            "type": "response.completed",
            "response": {
                "id": "resp_1",
                "status": "completed",
                "model": "gpt-5",
                "output": [{"type": "image_generation_call", "result": PNG}],
                "usage": {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12},
            },
        },
    ],
    "chat_images": [
        {"choices": [{"index": 0, "delta": {"images": [{"image_url": {"url": f"data:image/png;base64,{PNG}"}}]}}]},
        {"choices": [], "usage": {"prompt_tokens": 6, "completion_tokens": 1290}},
        "[DONE]",
    ],
    "gemini": [
        {
            "candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": PNG}}]}}],
            "usageMetadata": {"promptTokenCount": 6},
        },
        {"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 6, "totalTokenCount": 6}},
    ],
    "gemini_interactions": [
        {"event_type": "step.start", "step": {"type": "google_search_call"}},
        {"event_type": "step.delta", "delta": {"type": "image", "data": PNG, "mime_type": "image/png"}},
        {
            "event_type": "interaction.completed",
            "interaction": {"id": "v1", "status": "completed", "usage": {"total_input_tokens": 6}},
        },
        "[DONE]",
    ],
}


@pytest.mark.parametrize("name", _READERS)
class TestEveryReader:
    @given(content=st.binary(max_size=200))
    @settings(max_examples=examples(40))
    def test_bytes_of_any_kind_raise_nothing(self, name: str, content: bytes) -> None:
        answers = Answers(_READERS[name])
        assert is_bounded(answers.raw(content))
        assert is_bounded(answers.fed([b"data: ", content, b"\n\n"])[0])

    @pytest.mark.usefixtures("uncollected")
    @pytest.mark.parametrize("at", range(len(HOSTILE)))
    def test_what_is_no_answer_has_no_image_and_no_token(self, name: str, at: int) -> None:
        answers = Answers(_READERS[name])
        for response in (answers.raw(HOSTILE[at]), answers.fed([b"data: ", HOSTILE[at], b"\n\n"])[0]):
            assert is_bounded(response)
            assert (None, True) == (response.images, response.usage.is_empty)

    @given(document=_DOCUMENTS | st.lists(_DOCUMENTS, max_size=3), input_images=st.integers(0, 2))
    @settings(max_examples=examples(150))
    def test_a_document_of_the_words_of_all_apis_is_read_within_bounds(
        self, name: str, document: Any, input_images: int
    ) -> None:
        assert is_bounded(Answers(_READERS[name]).whole(document, input_images=input_images))

    @given(document=_DOCUMENTS, ascii=st.booleans(), indent=st.sampled_from([None, 0, 3]))
    @settings(max_examples=examples(100))
    def test_what_is_read_is_what_json_loads_reads(
        self, name: str, document: Any, ascii: bool, indent: int | None
    ) -> None:
        answers = Answers(_READERS[name])
        text = json.dumps(document, ensure_ascii=ascii, indent=indent)
        response = answers.raw(text.encode())
        if response.readable and isinstance(document, dict):
            # Numbers with a fraction stay text, so that no float is on the way.
            assert json.loads(text, parse_float=str) == response.body
        assert facts_of(answers.whole(json.loads(text))) == facts_of(response)

    @given(document=_DOCUMENTS)
    @settings(max_examples=examples(40))
    def test_half_a_surrogate_pair_or_a_number_that_is_none_hides_nothing_else(self, name: str, document: Any) -> None:
        answers = Answers(_READERS[name])
        if isinstance(document, dict):
            loose = json.dumps({**document, "said of it": "a fox \ud83d", "score of it": math.nan})
            assert facts_of(answers.raw(json.dumps(document).encode())) == facts_of(answers.raw(loose.encode()))

    @given(document=_DOCUMENTS)
    @settings(max_examples=examples(40))
    def test_of_half_a_surrogate_pair_nothing_is_kept_that_cannot_be_stored(self, name: str, document: Any) -> None:
        response = Answers(_READERS[name]).raw(json.dumps(document).replace('": "', '": "\\ud83d').encode())
        assert is_bounded(response)
        assert r"\ud83d" not in repr(facts_of(response))

    @given(events=st.lists(_DOCUMENTS, max_size=5), input_images=st.integers(0, 2))
    @settings(max_examples=examples(150))
    def test_a_stream_of_them_too(self, name: str, events: list[Any], input_images: int) -> None:
        response, _ = Answers(_READERS[name]).stream(*events, input_images=input_images)
        assert is_bounded(response)
        hash(facts_of(response))


@pytest.mark.parametrize("name", _USUAL)
@given(data=st.data())
@settings(max_examples=examples(40))
def test_a_stream_says_the_same_however_it_is_split(name: str, data: st.DataObject) -> None:
    answers = Answers(_READERS[name])
    lines = (event if isinstance(event, str) else json.dumps(event) for event in _USUAL[name])
    content = "".join(f"data: {line}\n\n" for line in lines).encode()
    at = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=6)))
    chunks = [content[begin:end] for begin, end in zip([0, *at], [*at, len(content)], strict=True)]
    response, brought = answers.fed(chunks)
    expected, as_expected = answers.fed([content])
    assert (facts_of(expected), as_expected, 1) == (facts_of(response), brought, response.images)


def test_an_api_is_read_by_the_module_of_its_name_which_is_a_reader() -> None:
    assert {*_READERS} >= {*_USUAL, "openai_images", "plain_images", "predict", "prediction_jobs"}
    assert [] == [name for name, reader in _READERS.items() if reader_of(name) is not reader]
    # Modules that are no readers, of other folders, or of other packages.
    assert [None] * 6 == [*map(reader_of, ("reader", "requests", "nosuch", "../errors", "attempts.record", ""))]
