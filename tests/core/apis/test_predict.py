"""Answers of Imagen: what a filter took is no image."""

from __future__ import annotations

from typing import Any

import pytest

from pixelmeter.core.apis import predict
from tests.core.apis.reading import PNG, Answers

_ANSWERS = Answers(predict)
_IMAGE = {"mimeType": "image/png", "bytesBase64Encoded": PNG}
_FILTERED = {"raiFilteredReason": "Unable to show generated images. Support codes: 00000000"}


@pytest.mark.parametrize(
    ("predictions", "images", "error_type"),
    [
        ([_IMAGE] * 4, 4, None),
        ([_IMAGE, _FILTERED], 1, None),
        ([{"mimeType": "image/png", "gcsUri": "gs://bucket/1.png"}], 1, None),
        ([_FILTERED, _FILTERED], 0, "rai_filtered"),
        ([_IMAGE, {"contentType": "Positive Prompt", "safetyAttributes": {"scores": [0.1]}}], 1, None),
        ([{"bytesBase64Encoded": ""}, {"gcsUri": None}, None, "text", 5], 0, None),
        ([], 0, None),
    ],
)
def test_entries_with_bytes_or_an_address_are_images(predictions: Any, images: int, error_type: str | None) -> None:
    response = _ANSWERS.whole({"predictions": predictions})
    assert (images, error_type, False, False) == (response.images, response.error_type, response.whole, response.job)
    assert response.usage.is_empty


def test_the_size_is_that_of_the_picture() -> None:
    assert "1024x1536" == _ANSWERS.whole({"predictions": [_IMAGE]}).size


@pytest.mark.parametrize("body", [{}, {"predictions": None}, {"predictions": {"a": 1}}])
def test_an_answer_without_predictions_has_no_images(body: object) -> None:
    assert None is _ANSWERS.whole(body).images


def test_an_error_has_its_status_for_a_type() -> None:
    response = _ANSWERS.whole({"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}})
    assert ("INVALID_ARGUMENT", "400") == (response.error_type, response.error_code)
