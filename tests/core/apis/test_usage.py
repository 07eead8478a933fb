"""What of a usage is billed, class by class, and what makes it a part of a bill only."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pixelmeter.core.apis.usage import Block, NumberText, Usage, blocks_of, usage_of

IN, OUT = "input_tokens_details", "output_tokens_details"


def _read(images: int = 0, **fields: Any) -> Usage:
    return usage_of(fields, input_images=images)


def _split(**details: Any) -> Usage:
    """Read a usage of 100 text and 1000 image tokens."""
    return _read(1, input_tokens=1100, output_tokens=9, **{IN: {"text_tokens": 100, "image_tokens": 1000, **details}})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"input_tokens": 7, "output_tokens": 9}, Usage(input_text=7, output_image=9)),
        ({"input_tokens": 7, "output_tokens": 9, "total_tokens": 16}, Usage(input_text=7, output_image=9)),
        ({"prompt_tokens": 7, "completion_tokens": 9}, Usage(input_text=7, output_image=9)),
        ({"input_tokens": 7, "prompt_tokens": 7, "output_tokens": 9}, Usage(input_text=7, output_image=9)),
        ({"input_tokens": 7, "prompt_tokens": 0, "output_tokens": 9}, Usage(input_text=7, output_image=9)),
        ({"input_tokens": 0, "prompt_tokens": 7, "output_tokens": 9}, Usage(input_text=7, output_image=9)),
        ({"input_tokens": 7, "output_tokens": 9, "total_tokens": 0}, Usage(input_text=7, output_image=9)),
        (
            {"input_tokens": NumberText("50.0"), "output_tokens": NumberText("1e1")},
            Usage(input_text=50, output_image=10),
        ),
        ({"input_tokens": 7, IN: None, OUT: None, "output_tokens": 9}, Usage(input_text=7, output_image=9)),
        ({"input_tokens": 7, IN: {"text_tokens": 7, "image_tokens": None}}, Usage(input_text=7)),
        ({IN: {"text_tokens": 7, "image_tokens": 3}}, Usage(input_text=7, input_image=3)),
        ({"output_tokens": 9, OUT: {"image_tokens": 9}}, Usage(output_image=9)),
        ({"output_tokens": 9, OUT: {"text_tokens": 2, "image_tokens": 7}}, Usage(output_text=2, output_image=7)),
        ({"generated_images": 1, "output_tokens": 9, "total_tokens": 9}, Usage(output_image=9)),
        ({"input_tokens": 7, "cost": NumberText("0.04"), "cost_details": {"upstream": 4}}, Usage(input_text=7)),
        ({"input_tokens": 7, "cost_in_usd_ticks": 200, "is_byok": True, "service_tier": "x"}, Usage(input_text=7)),
        ({"input_tokens": 7, IN: {"audio_tokens": 0, "text_tokens": 7}, "searches": 0}, Usage(input_text=7)),
    ],
)
def test_a_usage_is_read_whole(fields: dict[str, Any], expected: Usage) -> None:
    assert expected == usage_of(fields, input_images=0)


def test_where_images_went_in_an_unsplit_input_is_of_unknown_class() -> None:
    assert Usage(output_image=9) == _read(1, input_tokens=7, output_tokens=9)


@pytest.mark.parametrize("names", [("prompt", "completion"), ("input", "output")])
def test_details_have_two_families_of_names(names: tuple[str, str]) -> None:
    given, made = names
    usage = usage_of(
        {
            f"{given}_tokens": 22,
            f"{made}_tokens": 1372,
            f"{given}_tokens_details": {"text_tokens": 22, "image_tokens": 0},
            f"{made}_tokens_details": {"text_tokens": 0, "image_tokens": 1372},
        },
        input_images=0,
    )
    assert Usage(input_text=22, input_image=0, output_text=0, output_image=1372) == usage


class TestCached:
    def test_tokens_from_a_cache_are_told_apart_by_their_own_details(self) -> None:
        usage = _split(cached_tokens=550, cached_tokens_details={"text_tokens": 50, "image_tokens": 500})
        assert (550, 50, 500, None) == (usage.cached, usage.cached_text, usage.cached_image, usage.doubt)

    def test_details_stand_beside_the_total_as_well(self) -> None:
        usage = _read(
            1,
            input_tokens=1100,
            input_tokens_details={"text_tokens": 100, "image_tokens": 1000},
            cached_tokens=550,
            cached_tokens_details={"text_tokens": 50, "image_tokens": 500},
        )
        assert (550, 50, 500, None) == (usage.cached, usage.cached_text, usage.cached_image, usage.doubt)

    def test_without_details_nobody_knows_which_of_two_classes_was_cached(self) -> None:
        usage = _split(cached_tokens=550)
        assert (550, None, None, None) == (usage.cached, usage.cached_text, usage.cached_image, usage.doubt)

    def test_where_all_input_is_of_one_class_that_of_the_cache_is_too(self) -> None:
        text = _read(
            input_tokens=100, input_tokens_details={"text_tokens": 100, "image_tokens": 0, "cached_tokens": 40}
        )
        image = _read(1, input_tokens=100, input_tokens_details={"image_tokens": 100, "cached_tokens": 40})
        assert ((40, None), (None, 40)) == (
            (text.cached_text, text.cached_image),
            (image.cached_text, image.cached_image),
        )

    @pytest.mark.parametrize(
        ("cached", "split", "doubt"),
        [
            (550, {"text_tokens": 50}, "unpriced_tokens"),
            (550, {"text_tokens": 50, "image_tokens": 501}, "unparsed"),
            (None, {"text_tokens": 101}, "unparsed"),
            (None, {"image_tokens": 1001}, "unparsed"),
            (550, {"text_tokens": 50, "image_tokens": 450, "audio_tokens": 50}, "unpriced_tokens"),
        ],
    )
    def test_a_split_that_does_not_fit_is_doubted(self, cached: int | None, split: dict[str, int], doubt: str) -> None:
        assert doubt == _split(cached_tokens=cached, cached_tokens_details=split).doubt


@pytest.mark.parametrize(
    ("total", "text", "image", "reasoning", "whole", "expected"),
    [
        (1345, 0, 1120, 225, None, (225, 1120, None)),
        (1345, None, 1120, 225, 1355, (225, 1120, None)),
        (1345, 225, 1120, 225, None, (225, 1120, None)),
        (1345, 225, 1120, 100, 1355, (225, 1120, None)),
        (1345, 225, 1120, 100, 1455, (325, 1120, None)),
        (1120, 0, 1120, 225, 1355, (225, 1120, None)),
        (1120, 0, 1120, 225, None, (0, 1120, "unpriced_tokens")),
        (1345, 0, 1120, 200, None, (0, 1120, "unpriced_tokens")),
        (1345, None, None, 225, None, (None, 1345, "unpriced_tokens")),
        (1345, None, None, 225, 1580, (225, 1345, None)),
        (None, 225, 1120, 225, None, (225, 1120, None)),
        (None, 0, 1120, 225, None, (0, 1120, "unpriced_tokens")),
    ],
)
def test_reasoning_is_text_inside_or_beside_what_was_made(
    total: int | None,
    text: int | None,
    image: int | None,
    reasoning: int,
    whole: int | None,
    expected: tuple[int | None, int | None, str | None],
) -> None:
    details = {"text_tokens": text, "image_tokens": image, "reasoning_tokens": reasoning}
    usage = _read(input_tokens=10, output_tokens=total, total_tokens=whole, output_tokens_details=details)
    assert expected == (usage.output_text, usage.output_image, usage.doubt)


@pytest.mark.parametrize(
    ("fields", "doubt"),
    [
        ({"input_tokens": 100, IN: {"text_tokens": 60, "image_tokens": 30}}, "unpriced_tokens"),
        ({"input_tokens": 100, IN: {"text_tokens": 60, "image_tokens": 41}}, "unparsed"),
        ({"input_tokens": 100, IN: {"text_tokens": 60}}, "unpriced_tokens"),
        ({"input_tokens": 100, IN: {"text_tokens": 0, "image_tokens": 0}}, "unpriced_tokens"),
        ({"input_tokens": 100, IN: {"text_tokens": 100, "audio_tokens": 5}}, "unpriced_tokens"),
        ({"input_tokens": 100, IN: {"text_tokens": 100, "video": 5}}, "unpriced_tokens"),
        ({"input_tokens": 100, IN: {"text_tokens": 100, "cache_write_tokens": 5}}, "unpriced_tokens"),
        ({"input_tokens": 100, IN: [{"modality": "TEXT", "tokenCount": 100}]}, "unpriced_tokens"),
        ({"output_tokens": 100, OUT: {"text_tokens": 40, "image_tokens": 50}}, "unpriced_tokens"),
        ({"output_tokens": 100, OUT: {"text_tokens": 51, "image_tokens": 50}}, "unparsed"),
        ({"output_tokens": 100, OUT: {"image_tokens": 100, "audio_tokens": 1}}, "unpriced_tokens"),
        ({"input_tokens": 10, "output_tokens": 100, "total_tokens": 335}, "unpriced_tokens"),
        ({"input_tokens": 10, "output_tokens": 100, "total_tokens": 109}, "unparsed"),
        ({"input_tokens": 10, "output_tokens": 100, "total_tokens": 5}, "unparsed"),
        ({"input_tokens": 10, "thoughts_tokens": 3}, "unpriced_tokens"),
        ({"input_tokens": 10, "audioTokens": 3}, "unpriced_tokens"),
        ({"input_tokens": 10, "thoughts": {"tokens": {"text": 3}}}, "unpriced_usage"),
        ({"input_tokens": 10, "web_searches": 3}, "unpriced_usage"),
        ({"input_tokens": 10, "web_searches": NumberText("3.0")}, "unpriced_usage"),
        ({"input_tokens": 10, "server_tool_use": {"web_search_requests": 1}}, "unpriced_usage"),
        ({"input_tokens": 10, "svg_usage": {"model": "m", "input_tokens": 5}}, "unpriced_usage"),
        ({"input_tokens": 10, "x" * 100 + "_cost": 1}, "unpriced_usage"),
        ({"input_tokens": 10, "prompt_tokens": 11}, "unparsed"),
        ({"input_tokens": 10, IN: {"text_tokens": 10}, "prompt_tokens_details": {"text_tokens": 9}}, "unparsed"),
        ({"input_tokens": -1}, "unparsed"),
        ({"input_tokens": True}, "unparsed"),
        ({"input_tokens": "5"}, "unparsed"),
        ({"input_tokens": NumberText("5.5")}, "unparsed"),
        ({"input_tokens": NumberText("-5.0")}, "unparsed"),
        ({"input_tokens": NumberText("1e99")}, "unparsed"),
        ({"output_tokens": 2_000_000_000}, "unparsed"),
    ],
)
def test_what_is_left_over_or_makes_no_sense_is_doubted(fields: dict[str, Any], doubt: str) -> None:
    assert doubt == usage_of(fields, input_images=0).doubt


def test_a_contradiction_says_more_than_a_class_without_a_price() -> None:
    fields = {"input_tokens": -1, "audio_tokens": 5, "web_searches": 1}
    for some in (fields, dict(reversed(fields.items()))):
        assert "unparsed" == usage_of(some, input_images=0).doubt


def test_an_svg_has_a_block_of_the_model_that_wrote_it() -> None:
    svg = {"model": "author", "input_tokens": 1200, "output_tokens": 3000, "reasoning_tokens": 500}
    for total, output in ((4200, 3000), (4700, 3500)):
        blocks, doubt = blocks_of({"usage": {"input_tokens": 1}, "svg_usage": svg | {"total_tokens": total}})
        assert ((Block("author", Usage(input_text=1200, output_text=output)),), None) == (blocks, doubt)


@pytest.mark.parametrize(
    "body",
    [
        {"svg_usage": 5},
        {"video_usage": {"model": "m", "seconds": 4}},
        {"tool_usage": {"image_gen": {"input_tokens": 0, "output_tokens": 7}}},
        {"usageMetadata": {"promptTokenCount": 7}},
    ],
)
def test_a_block_that_nobody_knows_may_be_billed(body: dict[str, Any]) -> None:
    assert ((), "unpriced_usage") == blocks_of(body)


@pytest.mark.parametrize("body", [{"svg_usage": None}, {"svg_usage": {"input_tokens": 0}}, {"tool_usage": {"a": [0]}}])
def test_a_block_without_a_count_is_none(body: dict[str, Any]) -> None:
    assert ((), None) == blocks_of(body)


@pytest.mark.usefixtures("uncollected")
@pytest.mark.slow
def test_a_usage_of_a_hundred_thousand_fields_or_levels_is_doubted_like_any_other() -> None:
    deep: Any = 0
    for _ in range(100_000):
        deep = [deep]
    assert "unpriced_usage" == _read(deep=deep).doubt
    assert "unpriced_usage" == usage_of({f"field_{number}": number for number in range(100_000)}, input_images=0).doubt


def test_a_usage_can_be_remembered() -> None:
    usage = _split(cached_tokens=5)
    assert {usage: 1}[msgspec.structs.replace(usage)] == 1
