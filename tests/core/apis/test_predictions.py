"""Answers that are read where a profile says: sizes of several images, and what an error is called."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from pixelmeter.core.apis import predictions
from tests.core.apis.reading import Answers

_ANSWERS = Answers(predictions)


def _png(width: int, height: int) -> str:
    return base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + bytes(99)).decode()


@pytest.mark.parametrize(
    ("images", "size"),
    [
        ([{"url": "u", "width": 512, "height": 768}] * 2, "512x768"),
        ([{"url": "u", "width": 512, "height": 768}, {"url": "u"}], "512x768"),
        ([{"url": "u", "width": 512, "height": 768}, {"url": "u", "width": 1024, "height": 768}], "mixed"),
        ([{"url": "u", "width": 512, "height": 768}, {"url": "u", "width": 512, "height": 1024}], "mixed"),
        ([_png(512, 768), _png(512, 768)], "512x768"),
        ([_png(512, 768), "https://files.example/1.png"], "512x768"),
        ([_png(512, 768), _png(768, 512)], "mixed"),
        ([_png(512, 768), _png(768, 512), _png(512, 768)], "mixed"),
        ([{"url": "u"}], None),
    ],
)
def test_images_of_several_sizes_have_none_of_them(images: list[Any], size: str | None) -> None:
    response = _ANSWERS.whole({"images": images})
    assert (len(images), size) == (response.images, response.size)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("invalid_request", "invalid_request"),
        ("Request Moderated", "Request Moderated"),
        ("a red fox is not allowed", None),
        ("", None),
        (["content"], None),
    ],
)
def test_a_sentence_is_no_name_of_an_error(said: object, kept: str | None) -> None:
    response = _ANSWERS.whole({"error": {"type": said, "code": said}})
    assert (kept, kept) == (response.error_type, response.error_code)


def test_a_code_may_be_a_number_and_a_type_may_not() -> None:
    response = _ANSWERS.whole({"error": {"type": 7, "code": 7}})
    assert (None, "7") == (response.error_type, response.error_code)
