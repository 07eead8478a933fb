"""Events come out the same wherever the bytes are split."""

from __future__ import annotations

import json

import pytest

from pixelmeter.core.wire.sse import EventStream

_BIG = "iVBORw0KGgo" * 500
_LINES = [
    ": a comment",
    "event: image_generation.partial_image",
    f'data: {{"type":"image_generation.partial_image","b64_json":"{_BIG}"}}',
    "",
    "id: 7",
    "event: image_generation.completed",
    'data: {"type":"image_generation.completed",',
    'data: "usage":{"output_tokens":272}}',
    "",
    "data",
    "",
    "dataset: not a field of ours",
    "data:[DONE]",
    "",
    'data: {"cut":',
]
_EXPECTED = [
    {"type": "image_generation.partial_image", "b64_json": _BIG[:64]},
    {"type": "image_generation.completed", "usage": {"output_tokens": 272}},
]


def _events(chunks: list[bytes]) -> list[bytes]:
    events: list[bytes] = []
    stream = EventStream(events.append)
    for chunk in chunks:
        stream.feed(chunk)
    return events


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_complete_events_only_at_every_split(ending: str) -> None:
    whole = ending.join(_LINES).encode()
    for cut in [*range(400), *range(5500, len(whole))]:
        *events, done = _events([whole[:cut], whole[cut:]])
        assert _EXPECTED == [json.loads(event) for event in events]
        assert b"[DONE]" == done.strip()


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_byte_by_byte(ending: str) -> None:
    whole = ending.join(_LINES).encode()
    *events, _ = _events([whole[at : at + 1] for at in range(len(whole))])
    assert _EXPECTED == [json.loads(event) for event in events]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_a_byte_order_mark_before_the_first_event_hides_nothing(ending: str) -> None:
    whole = b"\xef\xbb\xbf" + ending.join(['data: {"type":"first"}', "", 'data: {"type":"second"}', "", ""]).encode()
    for cut in range(len(whole)):
        events = _events([whole[:cut], whole[cut : cut + 1], whole[cut + 1 :]])
        assert ["first", "second"] == [json.loads(event)["type"] for event in events]


def test_the_lines_of_an_event_are_lines_of_its_document() -> None:
    [event] = _events([b'data: {"output_tokens":1\ndata:2}\n\n'])
    assert b' {"output_tokens":1\n2}' == event
