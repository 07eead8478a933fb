"""What a request asks for whose body is a list of tasks, as Runware has it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pixelmeter.core.apis.reader import ImageRequest
from pixelmeter.core.apis.requests import Asked, request_of
from pixelmeter.core.gateways.profile import read_profile
from pixelmeter.core.gateways.profiles import Profiles, listed

_HOST = "images.vendor.example"
_PROFILE = {
    "id": "vendor",
    "match": {"hosts": [_HOST]},
    "route": [{"path": "/v1", "api": "prediction_jobs", "operation": "generate"}],
    "request": {
        "images": ["body[].count"],
        "size": ["body[].size"],
        "width": ["body[].width"],
        "height": ["body[].height"],
        "quality": ["body[].quality"],
        "service_tier": ["body[].tier"],
    },
    "size_names": {"square": "512x512"},
}
_PROFILES = Profiles([listed(read_profile(_PROFILE))], {})


def _asked(*tasks: dict[str, Any]) -> ImageRequest:
    [found] = _PROFILES.routes("POST", _HOST.encode(), b"/v1")
    request = request_of(found.route, Asked(found.parts, b"", {}, json.dumps(tasks).encode(), ()))
    assert request is not None
    return request


@pytest.mark.parametrize(
    ("tasks", "size"),
    [
        ([{"width": 512, "height": 768}] * 2, "512x768"),
        ([{"width": 512, "height": 768}, {"width": 1024, "height": 768}], "mixed"),
        ([{"width": 512, "height": 768}, {"width": 512, "height": 1024}], "mixed"),
        ([{"size": "square"}, {"size": {"width": 512, "height": 512}}, {"size": "512*512"}], "512x512"),
        ([{"size": "square"}, {"size": "2K"}], "mixed"),
        ([{"size": {"width": 512}}, {"size": "2K"}], "2K"),
        ([{"width": 512}, {}], None),
    ],
)
def test_tasks_of_several_sizes_have_none_that_holds_for_all(tasks: list[dict[str, Any]], size: str | None) -> None:
    assert size == _asked(*tasks).size


def test_the_same_of_quality_and_service_tier_and_counts_are_added_up() -> None:
    one, other = {"quality": "low", "tier": "flex", "count": 2}, {"quality": "high", "tier": "batch", "count": 3}
    asked, alike = _asked(one, other), _asked(one, one)
    assert ("mixed", "mixed", 5) == (asked.quality, asked.service_tier, asked.images)
    assert ("low", "flex", 4) == (alike.quality, alike.service_tier, alike.images)
