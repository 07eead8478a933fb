"""Attempts as the meter makes them, for tests that only care about some of the fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import uuid_utils

from pixelmeter.core.apis.reader import ImageRequest
from pixelmeter.core.apis.requests import Asked, request_of
from pixelmeter.core.attempts.record import Attempt, Operation
from pixelmeter.core.gateways.profiles import Profiles
from pixelmeter.core.gateways.routes import Route
from pixelmeter.core.reconciling.ours import COLUMNS, Ours
from pixelmeter.gateways import load_profiles

STARTED_AT = 1_780_000_000_123_456
"""2026-05-28T20:26:40.123456Z in Unix microseconds."""


def make_attempt(**overrides: Any) -> Attempt:
    """Return a successful, priced attempt with an id of its own; any field can be given."""
    identity = overrides.pop("id", None) or str(uuid_utils.uuid7())
    fields: dict[str, Any] = {
        "id": identity,
        "call_id": identity,
        "attempt": 0,
        "started_at": STARTED_AT,
        "gateway": "aigateway",
        "operation": "generate",
        "requested_model": "openai/gpt-image-2",
        "model": "openai/gpt-image-2",
        "provider": "openai",
        "requested_images": 1,
        "images": 1,
        "input_images": 0,
        "requested_size": "1024x1024",
        "size": "1024x1024",
        "requested_quality": None,
        "quality": "medium",
        "output_format": "png",
        "input_text_tokens": 12,
        "input_image_tokens": 0,
        "cached_input_tokens": None,
        "output_text_tokens": None,
        "output_image_tokens": 1056,
        "request_bytes": 164,
        "response_bytes": 1_300_000,
        "status": 200,
        "outcome": "success",
        "error_type": None,
        "error_code": None,
        "request_id": "req_1",
        "first_byte": 80_000,
        "duration": 8_123_456,
        "billing": "billed",
        "cost": 42_240_000,
        "cost_source": "reported",
        "cost_reason": None,
        "reported_cost": 42_240_000,
        "token_cost": 42_300_000,
        "image_cost": None,
        "reported_text": None,
        "price_id": "openai/gpt-image-2@2026-04-21",
        "at_risk": None,
        "byok": False,
        "fee_rate": 50_000,
        "fee": 2_112_000,
        "tags": '{"team":"growth"}',
        "trace_id": None,
        "version": "0.1.0",
        "first_image": None,
        "remaining_requests": 599,
        "job_id": None,
        "priced_parts": None,
        "baseline_model": None,
        "baseline_cost": None,
        "route_fee": None,
        "savings": None,
        "service_tier": None,
    }
    return Attempt(**(fields | overrides))


_PROFILES = load_profiles({})
_ENDS: dict[Operation, bytes] = {"generate": b"generations", "edit": b"edits", "variation": b"variations"}


def route_to(host: str, profiles: Profiles = _PROFILES, operation: Operation = "generate") -> Route:
    """Return the route of an image call that speaks OpenAI's API."""
    return profiles.routes("POST", host.encode(), b"/v1/images/" + _ENDS[operation])[0].route


def asked_in(document: bytes, named: tuple[str, ...] = ()) -> ImageRequest:
    """Return what a JSON body of OpenAI's images API asks for."""
    return _asked(Asked((), b"", {}, document, ()), named)


def asked_in_form(fields: Sequence[tuple[str, str | None]], named: tuple[str, ...] = ()) -> ImageRequest:
    """Return what a form of OpenAI's images API asks for."""
    return _asked(Asked((), b"", {}, None, tuple(fields)), named)


def _asked(asked: Asked, named: tuple[str, ...]) -> ImageRequest:
    request = request_of(route_to("api.openai.com"), asked, named)
    assert request is not None
    return request


def ours_of(attempt: Attempt) -> Ours:
    """Return what a statement can say of an attempt."""
    return Ours(**{name: getattr(attempt, name) for name in COLUMNS})
