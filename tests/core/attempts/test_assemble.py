"""What attempts that ended alike share is worked out once, and never shows in one that ended otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import permutations
from typing import Any, NamedTuple

import msgspec
import pytest

from pixelmeter.core.apis.reader import ImageRequest
from pixelmeter.core.attempts.assemble import Metered
from pixelmeter.core.attempts.intent import Intents, Prepared
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.gateways.profile import Profile, read_profile
from pixelmeter.core.gateways.profiles import Profiles, listed
from pixelmeter.core.pricing.book import PriceBook
from pixelmeter.core.pricing.file import read
from pixelmeter.core.wire.exchange import Exchange
from pixelmeter.drivers.httpx_shape import ERRORS
from pixelmeter.gateways import load_profiles
from pixelmeter.prices import bundled
from tests.conftest import FakeClock
from tests.factories import STARTED_AT, route_to

_BUNDLED = load_profiles({})
_TELLS_IN_BODY = read_profile(
    {
        "id": "tells",
        "match": {"hosts": ["tells.example"]},
        "cost": [
            {"from": "body", "name": "usage.cost", "unit": "usd"},
            {"from": "body", "name": "usage.extra", "unit": "usd", "plus": True, "when": {"usage.own_key": [True]}},
        ],
        "identity": {"request_id": ["X-Request-Id"]},
    }
)
_HOSTS = {"api.aigateway.sh": "aigateway", "tells.example": "tells"}
_BODIES: list[Any] = [
    {"data": [{"url": "u"}]},
    {"data": [{"url": "u"}, {"url": "v"}]},
    {"data": [{"url": "u"}], "model": "openai/gpt-image-1", "quality": "high", "size": "1024x1536"},
    {"data": [{"url": "u"}], "usage": {"input_tokens": 5, "output_tokens": 100}},
    {"data": [{"url": "u"}], "usage": {"input_tokens": 6, "output_tokens": 100}},
    {"data": [{"url": "u"}], "usage": {"input_tokens": -1}},
    {"data": [{"url": "u"}], "usage": {"cost": 0.25}},
    {"data": [{"url": "u"}], "usage": {"cost": 0.5}},
    {"data": [{"url": "u"}], "usage": {"cost": 0.5, "extra": 0.125, "own_key": False}},
    {"data": [{"url": "u"}], "usage": {"cost": 0.5, "extra": 0.125, "own_key": True}},
    {"id": "job", "status": "queued"},
    {"id": "another job", "status": "queued"},
    {"data": [{"url": "u"}], "service_tier": "flex"},
    {"error": {"type": "overloaded", "code": 7}},
    [],
]
_HEADERS = [
    (b"X-Cost-Cents", b"7.5"),
    (b"X-Cost-Cents", b"0"),
    (b"X-Routing-Selected", b"black-forest-labs/flux-2-klein-9b"),
    (b"X-Aig-Provider", b"fireworks"),
    (b"X-Request-Id", b"req_1"),
    (b"X-Request-Id", b"req_2"),
    (b"X-RateLimit-Remaining-Requests", b"9"),
    (b"X-Auto-Baseline-Model", b"black-forest-labs/flux-2-flex"),
    (b"X-Auto-Baseline-Cost-Cents", b"4"),
    (b"X-Auto-Route-Fee-Cents", b"0.01"),
    (b"X-Auto-Savings-Cents", b"3.91"),
    (b"X-Auto-Savings-Cents", b"-1"),
]


class Ending(NamedTuple):
    """One way in which an attempt ends."""

    host: str
    status: int
    body: Any
    headers: list[tuple[bytes, bytes]]
    cached: bool
    end: str


_ERRORS = {"time out": TimeoutError, "break off": ConnectionResetError, "broken pipe": BrokenPipeError}
_VALUES: dict[str, list[Any]] = {
    "host": ["api.aigateway.sh", "tells.example", "other.example"],
    "status": [200, 202, 302, 400, 429, 504],
    "body": _BODIES,
    "headers": [[], *([header] for header in _HEADERS), _HEADERS[2:5]],
    "cached": [False, True],
    "end": ["finish", "abandon", *_ERRORS, "never sent"],
}


_LOADED: list[Profile] = [_BUNDLED.of_host("api.aigateway.sh"), _BUNDLED.of_host("other.example"), _TELLS_IN_BODY]
_PROFILES = Profiles([*map(listed, _LOADED)], _HOSTS)


def _intents() -> Intents:
    return Intents(_PROFILES, bundled(), fee_rate=None, version="0")


def _kind(kinds: Intents, host: str) -> Prepared:
    route = route_to(host, _PROFILES)
    return kinds.of(host, route, ImageRequest(model="black-forest-labs/flux-2-klein-9b", size="auto"), STARTED_AT)


def _attempt(kinds: Intents, ending: Ending, number: int) -> Attempt:
    attempts: list[Attempt] = []
    kind = _kind(kinds, ending.host)
    own = {"id": f"i{number}", "call_id": f"c{number}", "attempt": number, "started_at": STARTED_AT + number}
    own |= {"request_bytes": number, "tags": f'{{"n":"{number}"}}', "trace_id": f"t{number}"}
    clock = FakeClock()
    exchange = Exchange(
        Metered(msgspec.structs.replace(kind.intent, **own), kind, attempts.append), clock, errors=ERRORS
    )
    clock.advance(number)
    if ending.end == "never sent":
        exchange.fail(type("ConnectError", (Exception,), {})())
        return attempts[0]
    exchange.respond(ending.status, [(b"Content-Type", b"application/json"), *ending.headers], cached=ending.cached)
    clock.advance(number)
    exchange.feed(json.dumps(ending.body).encode())
    if ending.end in _ERRORS:
        exchange.fail(_ERRORS[ending.end]())
    elif ending.end == "abandon":
        exchange.abandon("closed")
    else:
        exchange.finish()
    return attempts[0]


def _pairs(base: Ending) -> Iterator[tuple[Ending, Ending]]:
    for field, values in _VALUES.items():
        for one, other in permutations(values, 2):
            yield base._replace(**{field: one}), base._replace(**{field: other})


@pytest.mark.parametrize("host", _VALUES["host"])
@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("body", [_BODIES[0], _BODIES[3], _BODIES[11]], ids=["images", "usage", "error"])
def test_an_attempt_reads_the_same_whatever_ended_before_it(host: str, status: int, body: Any) -> None:
    base = Ending(host, status, body, [], cached=False, end="finish")
    kinds = _intents()
    for first, second in _pairs(base):
        _attempt(kinds, first, 1)
        after = _attempt(kinds, second, 2)
        _kind(kinds, second.host).endings.known.clear()
        assert _attempt(kinds, second, 2) == after


def test_a_number_where_text_belongs_is_unknown_and_harms_no_answer_that_has_the_text() -> None:
    kinds = _intents()
    found: list[object] = []
    for quality in (0.5, "0.5", 0.5):
        body = {"data": [{"url": "u"}], "model": quality, "quality": quality, "error": {"code": quality}}
        attempt = _attempt(kinds, Ending("tells.example", 200, body, [], cached=False, end="finish"), 1)
        found.append((attempt.model, attempt.quality, attempt.error_code))
        assert {str, type(None)} >= {type(attempt.model), type(attempt.quality), type(attempt.error_code)}
    unknown = ("black-forest-labs/flux-2-klein-9b", None, None)
    assert [unknown, ("0.5", "0.5", "0.5"), unknown] == found


def test_endings_with_long_texts_are_not_remembered() -> None:
    kinds = _intents()
    long = [(b"x-routing-selected", b"x" * 60_000)]
    ended = Ending("api.aigateway.sh", 200, _BODIES[0], long, cached=False, end="finish")
    assert 200 == len(_attempt(kinds, ended, 1).model)
    assert {} == _kind(kinds, "api.aigateway.sh").endings.known


def test_answers_that_all_differ_do_not_grow_the_memory_of_a_process() -> None:
    kinds = _intents()
    for number in range(1000):
        body = {"data": [{"url": "u"}], "usage": {"input_tokens": number, "output_tokens": 1}}
        _attempt(kinds, Ending("tells.example", 200, body, [], cached=False, end="finish"), number)
    assert 32 >= len(_kind(kinds, "tells.example").endings.known)


def _routed(headers: list[tuple[bytes, bytes]], *, cached: bool = False) -> tuple[object, ...]:
    ended = Ending("api.aigateway.sh", 200, _BODIES[0], headers, cached=cached, end="finish")
    one = _attempt(_intents(), ended, 1)
    return one.cost, one.baseline_model, one.baseline_cost, one.route_fee, one.savings


def test_what_the_gateway_says_of_its_choice_is_kept_beside_the_cost() -> None:
    headers = [_HEADERS[0], *_HEADERS[7:11]]
    assert (75_000_000, "black-forest-labs/flux-2-flex", 40_000_000, 100_000, 39_100_000) == _routed(headers)
    assert (0, None, None, None, None) == _routed(headers, cached=True)
    assert (75_000_000, None, None, None, None) == _routed(headers[:1])


def test_the_parts_of_the_price_are_kept_whoever_says_the_cost() -> None:
    for headers, source in (([], "priced"), (_HEADERS[:1], "reported")):
        one = _attempt(_intents(), Ending("api.aigateway.sh", 200, _BODIES[0], headers, cached=False, end="finish"), 1)
        assert source == one.cost_source
        [part] = json.loads(one.priced_parts or "null")
        assert (one.image_cost, 1) == (int(part["atto"]) // 10**9, part["quantity"])


def test_where_the_book_has_no_price_there_are_no_parts() -> None:
    one = _attempt(_intents(), Ending("other.example", 200, _BODIES[0], [], cached=False, end="finish"), 1)
    assert (None, None) == (one.image_cost, one.priced_parts)


def test_a_job_is_kept_by_the_gateways_own_id_and_takes_no_memory() -> None:
    kinds = _intents()
    queued = {"id": "job_01", "status": "queued", "object": "job"}
    found = [
        _attempt(kinds, Ending("api.aigateway.sh", 202, queued | {"id": name}, [], cached=cached, end="finish"), 1)
        for name, cached in (("job_01", False), ("job_02", False), ("job_03", True))
    ]
    assert ["pending", "pending"] == [one.outcome for one in found[:2]]
    assert ["job_01", "job_02", None] == [one.job_id for one in found]
    assert {} == _kind(kinds, "api.aigateway.sh").endings.known


@pytest.mark.parametrize(
    ("asked", "answered", "kept"),
    [
        (None, None, None),
        ("flex", None, "flex"),
        ("auto", None, None),
        ("auto", "default", "default"),
        ("flex", "priority", "priority"),
        ("flex", "auto", "flex"),
    ],
)
def test_the_tier_is_that_of_the_answer_else_the_requested_one(
    asked: str | None, answered: str | None, kept: str | None
) -> None:
    attempts: list[Attempt] = []
    request = ImageRequest(model="m", service_tier=asked)
    prepared = _intents().of("tells.example", route_to("tells.example", _PROFILES), request, STARTED_AT)
    exchange = Exchange(Metered(prepared.intent, prepared, attempts.append), FakeClock())
    exchange.respond(200, [(b"Content-Type", b"application/json")])
    exchange.feed(json.dumps({"data": [{"url": "u"}]} | ({"service_tier": answered} if answered else {})).encode())
    exchange.finish()
    assert [kept] == [one.service_tier for one in attempts]
    assert (None if asked == "auto" else asked) == prepared.intent.service_tier


@pytest.mark.parametrize(
    ("tier", "expected"),
    [(None, (80_000_000, None)), ("batch", (40_000_000, None)), ("flex", (None, "unknown_service_tier"))],
)
def test_units_that_a_gateway_counts_have_the_price_of_the_calls_tier(
    tier: str | None, expected: tuple[int | None, str | None]
) -> None:
    counts = read_profile(
        {
            "id": "counts",
            "match": {"hosts": ["counts.example"]},
            "cost": [{"from": "header", "name": "x-units", "unit": "price"}],
        }
    )
    entries, _, _ = read(
        'gateway = "counts"\n[[price]]\nmodel = "m"\nusd_per_image = "0.04"\n'
        '[[price]]\nmodel = "m"\nservice_tier = "batch"\nusd_per_image = "0.02"',
        own=True,
    )
    profiles = Profiles([listed(counts)], {})
    kinds = Intents(profiles, PriceBook(lambda name: (), own=entries), fee_rate=None, version="0")
    kind = kinds.of("counts.example", route_to("counts.example", profiles), ImageRequest(model="m"), STARTED_AT)
    attempts: list[Attempt] = []
    exchange = Exchange(Metered(kind.intent, kind, attempts.append), FakeClock())
    exchange.respond(200, [(b"content-type", b"application/json"), (b"x-units", b"2")])
    exchange.feed(json.dumps({"data": [{"url": "u"}], "service_tier": tier}).encode())
    exchange.finish()
    assert expected == (attempts[0].cost, attempts[0].cost_reason)


@pytest.mark.parametrize(
    ("tier", "expected"), [(None, (None, "unread_request")), ("standard", (38_700_000, None))], ids=str
)
def test_the_tier_that_a_request_may_name_that_nobody_has_read_is_not_the_plain_one(
    tier: str | None, expected: tuple[int | None, str | None]
) -> None:
    host, path = "generativelanguage.googleapis.com", b"/v1beta/models/gemini-2.5-flash-image:generateContent"
    route = _BUNDLED.routes("POST", host.encode(), path)[0].route
    kind = Intents(_BUNDLED, bundled(), fee_rate=None, version="0").of(
        host, route, ImageRequest(model="gemini-2.5-flash-image", unread=True), STARTED_AT
    )
    attempts: list[Attempt] = []
    exchange = Exchange(Metered(kind.intent, kind, attempts.append), FakeClock(), errors=ERRORS)
    exchange.respond(200, [(b"Content-Type", b"application/json")])
    picture = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo"}}
    usage: dict[str, Any] = {"promptTokenCount": 0, "candidatesTokenCount": 1290, "totalTokenCount": 1290}
    usage["candidatesTokensDetails"] = [{"modality": "IMAGE", "tokenCount": 1290}]
    usage |= {} if tier is None else {"serviceTier": tier}
    answer = {"candidates": [{"content": {"parts": [picture]}, "finishReason": "STOP"}], "usageMetadata": usage}
    exchange.feed(json.dumps(answer).encode())
    exchange.finish()
    [attempt] = attempts
    assert expected == (attempt.cost, attempt.cost_reason)
    assert (1, "billed") == (attempt.images, attempt.billing)
