"""Answers that are read where a profile says: sizes of several images, and what an error is called."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from pixelmeter.core.apis import prediction_jobs
from pixelmeter.core.apis.reader import ImageRequest
from pixelmeter.core.gateways.jobs import Job
from pixelmeter.core.gateways.places import DocumentPath
from tests.core.apis.reading import Answers, Route

_ANSWERS = Answers(prediction_jobs)


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


@pytest.mark.parametrize(
    ("body", "job", "job_id"),
    [
        ({"id": "j"}, True, "j"),
        ({"id": "j", "images": []}, False, "j"),
        ({"id": "j", "state": "queued", "images": []}, True, "j"),
        ({"id": "j", "state": "done"}, False, "j"),
        ({"id": "j", "images": [{"url": "u"}]}, False, None),
        ({}, False, None),
    ],
)
def test_an_id_is_a_job_where_nothing_says_that_the_work_is_done(
    body: dict[str, Any], job: bool, job_id: str | None
) -> None:
    route = Route(
        prediction_jobs.RESPONSE, Job(id=(DocumentPath("id"),), status=(DocumentPath("state"),), pending=("q*",))
    )
    response = prediction_jobs.response_of(json.dumps(body).encode(), ImageRequest(), route)
    assert (job, job_id) == (response.job, response.job_id)


def test_a_code_may_be_a_number_and_a_type_may_not() -> None:
    response = _ANSWERS.whole({"error": {"type": 7, "code": 7}})
    assert (None, "7") == (response.error_type, response.error_code)
