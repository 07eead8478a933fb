from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from pixelmeter.core.apis.reader import ImageResponse
from pixelmeter.core.attempts.outcome import of_error, of_response
from pixelmeter.core.labels import (
    ENDINGS,
    ERROR_TYPES,
    error_type,
    quality_label,
    size_label,
)
from pixelmeter.drivers.httpx_shape import ERRORS
from pixelmeter.prices import bundled
from tests.factories import make_attempt


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ""),
        ({"outcome": "pending", "status": 202}, ""),
        ({"outcome": "timeout", "status": 504, "error_type": "timeout_error"}, "timeout"),
        ({"outcome": "throttled", "status": 429, "error_type": "rate_limit_error"}, "throttled"),
        ({"outcome": "throttled", "status": 429, "error_code": "insufficient_quota"}, "insufficient_funds"),
        ({"outcome": "rejected", "status": 402, "error_type": "budget_exceeded"}, "insufficient_funds"),
        ({"outcome": "rejected", "status": 402, "error_type": "http_402"}, "insufficient_funds"),
        ({"outcome": "rejected", "status": 400, "error_code": "moderation_blocked"}, "moderation"),
        ({"outcome": "rejected", "status": 400, "error_type": "content_policy_violation"}, "moderation"),
        ({"outcome": "rejected", "status": 400, "error_type": "invalid_request_error"}, "invalid_request"),
        ({"outcome": "rejected", "status": 401, "error_type": "authentication_error"}, "auth"),
        ({"outcome": "rejected", "status": 404, "error_type": "model_not_found"}, "not_found"),
        ({"outcome": "error", "status": 502, "error_type": "provider_error"}, "server"),
        ({"outcome": "error", "status": None, "error_type": "ConnectError"}, "connection"),
        ({"outcome": "error", "status": 200, "error_type": "no_images"}, "bad_answer"),
        ({"outcome": "error", "status": 200, "error_type": "ReadError"}, "connection"),
        ({"outcome": "error", "status": 200, "error_type": "FAILED"}, "bad_answer"),
        ({"outcome": "error", "status": 200, "error_type": "Failed"}, "bad_answer"),
        ({"outcome": "error", "status": 200, "error_type": "Error"}, "bad_answer"),
        ({"outcome": "error", "status": 200, "error_type": "NO_IMAGE"}, "bad_answer"),
        ({"outcome": "error", "status": 500, "error_type": "InternalServerException"}, "server"),
        ({"outcome": "cancelled", "status": None, "error_type": "CancelledError"}, "cancelled"),
        ({"outcome": "interrupted", "status": None}, "interrupted"),
        ({"outcome": "blocked", "status": None}, "blocked"),
    ],
)
def test_an_attempt_failed_for_one_reason_of_a_closed_set(fields: dict[str, Any], expected: str) -> None:
    assert expected == error_type(make_attempt(**fields))


@pytest.mark.parametrize(("size", "expected"), [(None, ""), ("1024x1024", "1024x1024"), ("1x" + "9" * 90, "other")])
def test_a_size_that_nobody_lists_is_other(size: str | None, expected: str) -> None:
    assert expected == size_label(make_attempt(size=size))


@pytest.mark.parametrize("gateway", ["openai", "azure-openai"])
def test_every_size_and_quality_that_openai_sells_has_a_label_of_its_own(gateway: str) -> None:
    rates = [rate for entry in bundled().entries(gateway) for every in entry.rates.values() for rate in every]
    sizes = {rate.size for rate in rates} - {None}
    qualities = {rate.quality for rate in rates} - {None}
    assert sizes
    assert qualities
    assert sizes == {size_label(make_attempt(size=size)) for size in sizes}
    assert qualities == {quality_label(make_attempt(quality=quality)) for quality in qualities}


@pytest.mark.parametrize(("quality", "expected"), [(None, ""), ("medium", "medium"), ("; drop table", "other")])
def test_a_quality_that_nobody_lists_is_other(quality: str | None, expected: str) -> None:
    assert expected == quality_label(make_attempt(quality=quality))


@pytest.mark.parametrize(
    "code",
    [
        "moderation_blocked",
        "contentFilter",
        "content_filter",
        "content_policy_violation",
        "ResponsibleAIPolicyViolation",
        "responsible_ai_policy_violation",
        "Content Moderated",
        "request-moderated",
        "InputTextSensitiveContentDetected",
        "PROHIBITED_CONTENT",
        "safety_violation",
    ],
)
def test_a_prompt_that_moderation_refused_is_told_from_an_invalid_one(code: str) -> None:
    refused = make_attempt(outcome="rejected", status=400, error_type="invalid_request_error", error_code=code)
    assert "moderation" == error_type(refused)


@pytest.mark.parametrize("code", ["invalid_size", "unknown_parameter", "content_type", "filter", "policy"])
def test_an_invalid_request_is_no_refusal(code: str) -> None:
    invalid = make_attempt(outcome="rejected", status=400, error_type="invalid_request_error", error_code=code)
    assert "invalid_request" == error_type(invalid)


def test_every_way_in_which_an_answer_ends_an_attempt_is_listed() -> None:
    words = ["", "server_error", "moderation_blocked", "insufficient_quota", "no_images", "ReadError"]
    seen = set[tuple[str, str]]()
    for status, word, images in product(
        [200, 202, 302, 400, 401, 402, 403, 404, 408, 429, 500, 503, 504], words, [0, 1]
    ):
        answer = ImageResponse(images=images, error_type=word or None, readable=True)
        outcome, found = of_response(status, answer, streamed=False)
        seen.add((outcome, error_type(make_attempt(outcome=outcome, status=status, error_type=found))))
    for error in (TimeoutError(), ConnectionError(), KeyboardInterrupt()):
        outcome = of_error(error, ERRORS)
        seen.add((outcome, error_type(make_attempt(outcome=outcome, status=None, error_type=type(error).__name__))))
    for outcome in ("interrupted", "blocked"):
        seen.add((outcome, error_type(make_attempt(outcome=outcome, status=None))))
    assert set(ENDINGS) == seen
    assert set(ERROR_TYPES) == {reason for _, reason in seen}
