"""Which model a request names, as far as the request and the profile say."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from pixelmeter.core.apis.reader import ImageRequest
from pixelmeter.core.attempts.record import Operation
from pixelmeter.core.attempts.terms import Named, named_by
from pixelmeter.core.gateways.profile import read_profile
from pixelmeter.gateways import load_profiles

_BUNDLED = load_profiles({})
_HIDDEN = Named(reason="routed_model_hidden")
_UNKNOWN = Named(reason="no_model")


def _at(day: str) -> int:
    return int(datetime.datetime.fromisoformat(day).replace(tzinfo=datetime.UTC).timestamp()) * 1_000_000


def _named(host: str, ask: ImageRequest, operation: Operation = "generate", day: str = "2026-03-01") -> Named:
    return named_by(ask, _BUNDLED.of_host(host), operation, _at(day))


@pytest.mark.parametrize(
    ("host", "operation", "day", "expected"),
    [
        ("api.openai.com", "generate", "2026-05-11", Named(("dall-e-2",), is_default=True)),
        ("eu.api.openai.com", "generate", "2026-05-11", Named(("dall-e-2",), is_default=True)),
        ("api.openai.com", "generate", "2026-05-12", _UNKNOWN),
        ("api.openai.com", "edit", "2026-02-09", Named(("dall-e-2",), is_default=True)),
        ("api.openai.com", "edit", "2026-02-10", Named(("gpt-image-1.5",), is_default=True)),
        ("api.openai.com", "edit", "2026-10-01", _UNKNOWN),
        ("api.openai.com", "variation", "2026-05-11", Named(("dall-e-2",), is_default=True)),
        ("api.openai.com", "variation", "2026-05-12", _UNKNOWN),
        ("api.aigateway.sh", "generate", "2026-11-01", _HIDDEN),
        ("api.aigateway.sh", "edit", "2026-11-01", Named(("bria/fibo-edit/edit",), is_default=True)),
        ("api.aigateway.sh", "variation", "2026-11-01", _UNKNOWN),
        ("res.openai.azure.com", "generate", "2026-03-01", _UNKNOWN),
        ("images.corp.example", "generate", "2026-03-01", _UNKNOWN),
    ],
)
def test_a_request_without_a_model_has_the_vendors_default_of_that_day_and_operation(
    host: str, operation: Operation, day: str, expected: Named
) -> None:
    assert expected == _named(host, ImageRequest(), operation, day)


@pytest.mark.parametrize("field", ["background", "stream", "output_format"])
def test_with_a_field_of_another_model_the_default_is_not_taken(field: str) -> None:
    assert _UNKNOWN == _named("api.openai.com", ImageRequest(named=(field,)))


@pytest.mark.parametrize("model", ["auto", "auto/image", "eval:42", "a/b,c/d"])
def test_a_way_to_choose_a_model_names_none(model: str) -> None:
    assert _HIDDEN == _named("api.aigateway.sh", ImageRequest(model=model))


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (ImageRequest(model="gpt-image-1", deployment="gpt-image-1"), ("gpt-image-1",)),
        (ImageRequest(model="gpt-image-1", deployment="img-prod"), ("img-prod", "gpt-image-1")),
        (ImageRequest(model="img-prod", deployment="img-prod"), ("img-prod",)),
        (ImageRequest(model="gpt-image-1", deployment="mapped"), ("gpt-image-2",)),
        (ImageRequest(model="mapped"), ("gpt-image-2",)),
        (ImageRequest(model="gpt-image-1"), ("gpt-image-1",)),
    ],
)
def test_a_deployment_in_the_path_goes_before_a_model_in_the_body(ask: ImageRequest, expected: tuple[str, ...]) -> None:
    data: dict[str, Any] = {"id": "p", "deployments": {"mapped": "gpt-image-2"}}
    assert Named(expected) == named_by(ask, read_profile(data), "generate", _at("2026-03-01"))
