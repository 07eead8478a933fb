"""One attempt from the wire to its record, with the bundled profiles and prices and no network."""

from __future__ import annotations

import base64
import gzip
import json
import struct
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmeter.core.attempts.assemble import Metered
from pixelmeter.core.attempts.intent import Intents
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.wire.exchange import Exchange
from pixelmeter.drivers.httpx_shape import ERRORS
from pixelmeter.gateways import load_profiles
from pixelmeter.prices import bundled
from tests.conftest import FakeClock
from tests.factories import STARTED_AT, asked_in, route_to

Headers = Sequence[tuple[bytes, bytes]]
_JSON: Headers = [(b"Content-Type", b"application/json")]
_BUNDLED = load_profiles({})
_KLEIN = "black-forest-labs/flux-2-klein-9b"
_PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 1536, 1024) + bytes(3000)).decode()


class _Wire:
    """An exchange under test, and what it emits."""

    def __init__(self, host: str = "api.aigateway.sh", **body: Any) -> None:
        self.clock = FakeClock()
        self.attempts: list[Attempt] = []
        route = route_to(host, _BUNDLED)
        ask = asked_in(json.dumps({"model": _KLEIN, "prompt": "p"} | body).encode())
        kinds = Intents(_BUNDLED, bundled(), fee_rate=None, version="0")
        prepared = kinds.of(host, route, ask, STARTED_AT)
        self.intent = msgspec.structs.replace(prepared.intent, id="a", call_id="c", started_at=STARTED_AT)
        self.exchange = Exchange(Metered(self.intent, prepared, self.attempts.append), self.clock, errors=ERRORS)

    def answer(self, body: Any, *, status: int = 200, headers: Headers = ()) -> Attempt:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.exchange.respond(status, [*_JSON, *headers])
        self.exchange.feed(content)
        self.exchange.finish()
        return self.attempt

    @property
    def attempt(self) -> Attempt:
        [attempt] = self.attempts
        return attempt


def _urls(count: int) -> dict[str, Any]:
    return {"created": 1, "data": [{"url": f"https://media.aigateway.sh/fake/{n}.png"} for n in range(count)]}


def test_an_intent_is_the_record_of_a_process_that_died_at_that_moment() -> None:
    intent = _Wire(n=3).intent
    assert ("interrupted", "unknown", None) == (intent.outcome, intent.billing, intent.cost)
    assert 120_000_000 == intent.at_risk


def test_the_reported_cents_are_the_cost_and_the_book_stands_beside_them() -> None:
    attempt = _Wire(n=2).answer(_urls(2), headers=[(b"X-Cost-Cents", b"7.5"), (b"X-Request-Id", b"req_1")])
    assert (75_000_000, "reported", 75_000_000, 80_000_000) == (
        attempt.cost,
        attempt.cost_source,
        attempt.reported_cost,
        attempt.image_cost,
    )
    assert ("billed", "req_1", 2) == (attempt.billing, attempt.request_id, attempt.images)


def test_without_a_header_the_delivered_images_are_priced_not_the_requested() -> None:
    attempt = _Wire(n=4).answer(_urls(3))
    assert (120_000_000, "priced", 3, 4) == (
        attempt.cost,
        attempt.cost_source,
        attempt.images,
        attempt.requested_images,
    )


def test_the_fee_stands_apart_from_the_price() -> None:
    attempt = _Wire().answer(_urls(1), headers=[(b"x-cost-cents", b"4")])
    assert (40_000_000, 50_000, 2_000_000) == (attempt.cost, attempt.fee_rate, attempt.fee)


def test_a_model_without_a_price_is_unknown() -> None:
    attempt = _Wire(model="nobody/knows").answer(_urls(1))
    assert (None, "none", "no_price", "billed") == (
        attempt.cost,
        attempt.cost_source,
        attempt.cost_reason,
        attempt.billing,
    )


@pytest.mark.parametrize("text", [b"", b"abc", b"NaN", b"-1", b"1e400"])
def test_a_hostile_amount_falls_to_the_book_and_is_kept_as_text(text: bytes) -> None:
    attempt = _Wire().answer(_urls(1), headers=[(b"x-cost-cents", text)])
    assert (40_000_000, "priced", text.decode() or None) == (attempt.cost, attempt.cost_source, attempt.reported_text)


def test_an_amount_that_comes_twice_is_no_amount() -> None:
    attempt = _Wire().answer(_urls(1), headers=[(b"x-cost-cents", b"4"), (b"x-cost-cents", b"9")])
    assert ("priced", "4, 9") == (attempt.cost_source, attempt.reported_text)


def test_a_reported_zero_proves_nothing_and_is_at_risk() -> None:
    attempt = _Wire().answer(_urls(1), headers=[(b"x-cost-cents", b"0")])
    assert (None, "reported_zero_unverified", 40_000_000) == (attempt.cost, attempt.cost_reason, attempt.at_risk)


def test_tokens_are_priced_by_their_kind() -> None:
    usage = {"input_tokens": 12, "input_tokens_details": {"text_tokens": 12, "image_tokens": 0}, "output_tokens": 272}
    attempt = _Wire("api.openai.com", model="gpt-image-2", quality="low").answer(
        {"data": [{"b64_json": _PNG}], "quality": "low", "size": "1024x1024", "usage": usage}
    )
    assert 12 * 5_000 + 272 * 30_000 == attempt.cost
    assert ("priced", 12, 0, 272) == (
        attempt.cost_source,
        attempt.input_text_tokens,
        attempt.input_image_tokens,
        attempt.output_image_tokens,
    )


@pytest.mark.parametrize(
    "usage", [[], "many", 7, {"output_tokens": -1}, {"output_tokens": "5"}, {"input_tokens": True}]
)
def test_a_usage_that_makes_no_sense_prices_nothing(usage: object) -> None:
    attempt = _Wire("api.openai.com", model="gpt-image-2").answer({"data": [{"b64_json": _PNG}], "usage": usage})
    assert (None, "unparsed", "success") == (attempt.cost, attempt.cost_reason, attempt.outcome)


def test_a_silent_answer_is_measured_by_the_image_itself() -> None:
    attempt = _Wire(size="auto").answer({"data": [{"b64_json": _PNG}]})
    assert ("1536x1024", "auto") == (attempt.size, attempt.requested_size)


def test_the_model_that_was_routed_to_is_the_one_that_is_priced() -> None:
    headers = [(b"x-auto-routed", b"true"), (b"x-routing-selected", b"meta/sam-3-1-image")]
    attempt = _Wire(model="auto/image").answer(_urls(1), headers=headers)
    assert ("meta/sam-3-1-image", "auto/image", 10_000_000) == (attempt.model, attempt.requested_model, attempt.cost)


@pytest.mark.parametrize("model", ["auto", "auto/image", None, ["a/b", "c/d"]])
def test_a_hidden_route_has_no_price(model: object) -> None:
    assert "routed_model_hidden" == _Wire(model=model).answer(_urls(1)).cost_reason


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ({"id": "job_01", "status": "queued"}, "pending"),
        ({"id": "job_01"}, "error"),
        ({"status": "queued"}, "error"),
        ({"id": "img_01", "status": "completed", "data": [{"url": "https://x.test/a.png"}]}, "success"),
    ],
)
def test_an_answer_of_200_is_a_job_where_it_has_an_id_and_a_status_in_the_place_of_data(
    body: dict[str, Any], outcome: str
) -> None:
    assert outcome == _Wire().answer(body).outcome


@pytest.mark.parametrize("thing", [None, "x", 7, [], [{"url": "https://x.test/b.png"}]])
def test_what_is_no_object_among_the_images_is_none(thing: object) -> None:
    wire = _Wire()
    wire.answer({"data": [thing, {"url": "https://x.test/a.png"}, thing]})
    assert ("success", 1) == (wire.attempt.outcome, wire.attempt.images)


def test_a_queued_job_is_pending_with_its_price_at_risk() -> None:
    attempt = _Wire().answer({"id": "job_01", "status": "queued", "object": "job"}, status=202)
    assert ("pending", "pending", None, 40_000_000) == (
        attempt.outcome,
        attempt.billing,
        attempt.cost,
        attempt.at_risk,
    )


@pytest.mark.parametrize(
    ("status", "kind", "outcome", "billing"),
    [
        (400, "invalid_request_error", "rejected", "not_billed"),
        (401, "authentication_error", "rejected", "not_billed"),
        (402, "budget_exceeded", "rejected", "not_billed"),
        (404, "model_not_found", "rejected", "not_billed"),
        (413, None, "rejected", "not_billed"),
        (429, "rate_limit_error", "throttled", "not_billed"),
        (502, "provider_error", "error", "unknown"),
        (504, "timeout_error", "timeout", "unknown"),
    ],
)
def test_failures_keep_their_kind(status: int, kind: str | None, outcome: str, billing: str) -> None:
    error = {"error": {"message": "your prompt 'secret' …", "type": kind, "code": status}}
    attempt = _Wire().answer(error, status=status)
    assert (outcome, billing, kind or f"http_{status}", str(status)) == (
        attempt.outcome,
        attempt.billing,
        attempt.error_type,
        attempt.error_code,
    )
    assert "secret" not in repr(attempt)
    assert (0 if billing == "not_billed" else None) == attempt.cost


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"data": []}, "no_images"),
        ({"data": [{"url": ""}, {"b64_json": None}]}, "no_images"),
        (b"<html>502</html>", "unreadable_body"),
        (b'{"data":[{"url":"x', "unreadable_body"),
        (b"\xff\xfe", "unreadable_body"),
        (b"[" * 100_000, "unreadable_body"),
        ({"error": {"type": "moderation_blocked"}}, "moderation_blocked"),
    ],
)
def test_a_200_without_an_image_is_an_error_at_risk(body: Any, kind: str) -> None:
    attempt = _Wire().answer(body)
    assert ("error", kind, "unknown", 40_000_000) == (
        attempt.outcome,
        attempt.error_type,
        attempt.billing,
        attempt.at_risk,
    )


def test_the_record_is_out_before_the_caller_gets_the_last_byte_of_a_known_length() -> None:
    wire = _Wire()
    content = json.dumps(_urls(1)).encode()
    wire.exchange.respond(200, [*_JSON, (b"content-length", str(len(content)).encode())])
    wire.exchange.feed(content[:-1])
    assert [] == wire.attempts
    wire.exchange.feed(content[-1:])
    assert "success" == wire.attempt.outcome
    wire.exchange.finish()
    wire.exchange.abandon()
    wire.exchange.fail(RuntimeError())
    assert 1 == len(wire.attempts)


@pytest.mark.parametrize("size", [1, 5, 100_000])
def test_a_compressed_answer_is_read_and_its_wire_bytes_counted(size: int) -> None:
    content = gzip.compress(json.dumps({"data": [{"b64_json": _PNG * 20}]}).encode())
    wire = _Wire()
    wire.exchange.respond(200, [*_JSON, (b"content-encoding", b"gzip")])
    for at in range(0, len(content), size):
        wire.exchange.feed(content[at : at + size])
    wire.exchange.finish()
    assert (1, len(content)) == (wire.attempt.images, wire.attempt.response_bytes)


@pytest.mark.parametrize(
    "kind",
    [
        b"application/json",
        b"Application/JSON; Charset=UTF-8",
        b"application/problem+json",
        b"text/json",
        b"text/plain",
        b"",
    ],
)
def test_a_json_answer_is_read_whatever_its_type_is_called(kind: bytes) -> None:
    wire = _Wire()
    wire.exchange.respond(200, [(b"content-type", kind)])
    wire.exchange.feed(json.dumps(_urls(2)).encode())
    wire.exchange.finish()
    assert ("success", 2) == (wire.attempt.outcome, wire.attempt.images)


@pytest.mark.parametrize("kind", [b"Text/Event-Stream", b"TEXT/EVENT-STREAM;charset=utf-8", b" text/event-stream ;a=b"])
def test_a_stream_is_one_however_its_type_is_written(kind: bytes) -> None:
    wire = _Wire("api.openai.com", model="gpt-image-2", stream=True)
    wire.exchange.respond(200, [(b"content-type", kind)])
    wire.exchange.feed(_events(_COMPLETED))
    assert ("success", 1) == (wire.attempt.outcome, wire.attempt.images)


def _swollen(body: bytes) -> bytes:
    return gzip.compress(body + bytes(80_000_000))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoding", "body"),
    [(b"br", b"nobody here reads it"), (b"gzip", b'{"data":[{"url":"u"}]}')],
    ids=["br", "bomb"],
)
def test_an_answer_that_is_not_decoded_is_a_success_of_unknown_cost_at_risk(
    monkeypatch: pytest.MonkeyPatch, encoding: bytes, body: bytes
) -> None:
    for package in ("brotli", "brotlicffi"):
        monkeypatch.setitem(sys.modules, package, None)
    content = _swollen(body) if encoding == b"gzip" else body
    attempt = _Wire().answer(content, headers=[(b"content-encoding", encoding)])
    assert ("success", None, None) == (attempt.outcome, attempt.error_type, attempt.images)
    assert ("unknown", None, "not_decoded", 40_000_000) == (
        attempt.billing,
        attempt.cost,
        attempt.cost_reason,
        attempt.at_risk,
    )


@pytest.mark.slow
def test_what_a_stream_had_told_before_it_turned_out_a_bomb_is_not_taken_for_all_of_it() -> None:
    wire = _Wire("api.openai.com", model="gpt-image-2", n=2, stream=True)
    wire.exchange.respond(200, [*_SSE, (b"content-encoding", b"gzip")])
    wire.exchange.feed(_swollen(_events(_COMPLETED)))
    wire.exchange.finish()
    assert ("success", None, None, "not_decoded") == (
        wire.attempt.outcome,
        wire.attempt.images,
        wire.attempt.cost,
        wire.attempt.cost_reason,
    )


@pytest.mark.slow
def test_the_gateways_word_counts_also_where_the_body_is_not_decoded() -> None:
    headers = [(b"content-encoding", b"gzip"), (b"x-cost-cents", b"4")]
    attempt = _Wire().answer(_swollen(b""), headers=headers)
    assert ("billed", 40_000_000, "reported") == (attempt.billing, attempt.cost, attempt.cost_source)


@pytest.mark.slow
def test_a_failure_that_is_not_decoded_keeps_its_status() -> None:
    attempt = _Wire().answer(_swollen(b""), status=502, headers=[(b"content-encoding", b"gzip")])
    assert ("error", "http_502", "outcome_unknown") == (attempt.outcome, attempt.error_type, attempt.cost_reason)


def _events(*events: dict[str, Any]) -> bytes:
    return b"".join(b"event: %s\ndata: %s\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events)


_PARTIAL = {"type": "image_generation.partial_image", "b64_json": _PNG, "partial_image_index": 0}
_COMPLETED = {
    "type": "image_generation.completed",
    "b64_json": _PNG,
    "quality": "low",
    "usage": {"input_tokens": 5, "output_tokens": 372, "input_tokens_details": {"text_tokens": 5, "image_tokens": 0}},
}
_SSE: Headers = [(b"content-type", b"text/event-stream; charset=utf-8")]


@pytest.mark.parametrize("size", [1, 37, 1_000_000])
def test_a_stream_counts_its_final_image_and_usage_only(size: int) -> None:
    wire = _Wire("api.openai.com", model="gpt-image-2", stream=True, partial_images=1)
    content = _events(_PARTIAL, _COMPLETED)
    wire.exchange.respond(200, _SSE)
    for at in range(0, len(content), size):
        wire.exchange.feed(content[at : at + size])
    assert ("success", 1, 372, "low", 5 * 5_000 + 372 * 30_000) == (
        wire.attempt.outcome,
        wire.attempt.images,
        wire.attempt.output_image_tokens,
        wire.attempt.quality,
        wire.attempt.cost,
    )


def test_a_stream_of_several_images_ends_with_the_last_of_those_that_were_asked_for() -> None:
    wire = _Wire("api.openai.com", model="gpt-image-2", n=3, stream=True)
    wire.exchange.respond(200, _SSE)
    for delivered in range(3):
        assert (delivered, []) == (delivered, wire.attempts)
        wire.exchange.feed(_events(_PARTIAL, _COMPLETED))
    assert ("success", 3) == (wire.attempt.outcome, wire.attempt.images)


def test_the_first_image_of_a_stream_is_timed_a_partial_one_included() -> None:
    wire = _Wire("api.openai.com", model="gpt-image-2", stream=True, partial_images=1)
    wire.exchange.respond(200, _SSE)
    wire.clock.advance(2_000)
    wire.exchange.feed(_events(_PARTIAL))
    wire.clock.advance(5_000)
    wire.exchange.feed(_events(_COMPLETED))
    assert 2_000 == wire.attempt.first_image


def test_without_a_stream_there_is_no_first_image_to_time() -> None:
    wire = _Wire("api.openai.com", model="gpt-image-2")
    wire.answer({"data": [{"b64_json": _PNG}]})
    assert wire.attempt.first_image is None


@pytest.mark.parametrize(
    ("host", "text", "expected"),
    [
        ("api.openai.com", "599", 599),
        ("api.aigateway.sh", "0", 0),
        ("api.openai.com", "-1", None),
        ("api.openai.com", "9" * 400, None),
        ("api.openai.com", "\u0663", None),
        ("images.example", "599", None),
    ],
)
def test_what_a_known_gateway_says_it_still_takes_is_kept(host: str, text: str, expected: int | None) -> None:
    wire = _Wire(host, model="gpt-image-2")
    wire.exchange.respond(429, [(b"x-ratelimit-remaining-requests", text.encode("utf-8"))])
    wire.exchange.finish()
    assert expected == wire.attempt.remaining_requests


_PICTURE = base64.b64decode(_PNG)


@pytest.mark.parametrize(
    ("kind", "picture", "size"),
    [
        (b"image/png", _PICTURE, "1536x1024"),
        (b"Image/WebP; q=1", b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\x03\0\xff\x05\0" + bytes(99), "1024x1536"),
        (b"image/jpeg", b"\xff\xd8\xff\xe0" + bytes(3000), "512x512"),
    ],
)
@pytest.mark.parametrize("piece", [1, 20, 5000])
def test_a_picture_as_the_body_is_one_image_of_its_own_size_else_the_requested(
    kind: bytes, picture: bytes, size: str, piece: int
) -> None:
    wire = _Wire(size="512x512")
    wire.exchange.respond(200, [(b"content-type", kind)])
    for at in range(0, len(picture), piece):
        wire.exchange.feed(picture[at : at + piece])
    wire.exchange.finish()
    assert ("success", 1, size, 40_000_000) == (
        wire.attempt.outcome,
        wire.attempt.images,
        wire.attempt.size,
        wire.attempt.cost,
    )


@pytest.mark.parametrize(
    ("end", "outcome", "error"),
    [
        (None, "cancelled", None),
        ("never_closed", "cancelled", "never_closed"),
        (OSError(), "error", "OSError"),
        (KeyboardInterrupt(), "cancelled", "KeyboardInterrupt"),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_a_picture_that_does_not_come_to_its_end_is_none_and_at_risk(
    end: BaseException | str | None, outcome: str, error: str | None, known: bool
) -> None:
    wire = _Wire()
    length = [(b"content-length", str(len(_PICTURE)).encode())] if known else []
    wire.exchange.respond(200, [(b"content-type", b"image/png"), *length])
    wire.exchange.feed(_PICTURE[:2000])
    if isinstance(end, BaseException):
        wire.exchange.fail(end)
    else:
        wire.exchange.abandon(end)
    assert (outcome, error, None, "unknown", None, 40_000_000) == (
        wire.attempt.outcome,
        wire.attempt.error_type,
        wire.attempt.images,
        wire.attempt.billing,
        wire.attempt.cost,
        wire.attempt.at_risk,
    )


@pytest.mark.parametrize(("status", "body"), [(500, _PICTURE), (200, b"")])
def test_a_picture_of_a_failure_and_one_without_a_byte_are_none(status: int, body: bytes) -> None:
    wire = _Wire()
    wire.exchange.respond(status, [(b"content-type", b"image/png")])
    wire.exchange.feed(body)
    wire.exchange.finish()
    assert ("error", 0) == (wire.attempt.outcome, wire.attempt.images)


def test_a_stream_cut_before_its_final_event_is_at_risk() -> None:
    wire = _Wire("api.openai.com", model="gpt-image-2", quality="low", size="1024x1024", stream=True)
    wire.exchange.respond(200, _SSE)
    wire.exchange.feed(_events(_PARTIAL))
    wire.exchange.finish()
    assert ("error", "stream_incomplete", "unknown", "outcome_unknown") == (
        wire.attempt.outcome,
        wire.attempt.error_type,
        wire.attempt.billing,
        wire.attempt.cost_reason,
    )


def test_an_error_event_in_a_stream_is_an_error() -> None:
    wire = _Wire("api.openai.com", model="gpt-image-2", stream=True)
    wire.exchange.respond(200, _SSE)
    wire.exchange.feed(_events({"type": "error", "error": {"type": "moderation_blocked", "code": "x"}}))
    wire.exchange.finish()
    assert ("error", "moderation_blocked", "x") == (
        wire.attempt.outcome,
        wire.attempt.error_type,
        wire.attempt.error_code,
    )


def test_an_error_event_that_the_sdk_answers_by_closing_the_stream_is_that_error() -> None:
    wire = _Wire("api.openai.com", model="gpt-image-2", stream=True)
    wire.exchange.respond(200, _SSE)
    wire.exchange.feed(_events({"type": "error", "error": {"type": "moderation_blocked"}}))
    wire.exchange.abandon()
    assert ("error", "moderation_blocked") == (wire.attempt.outcome, wire.attempt.error_type)


class ConnectTimeout(TimeoutError):
    """Named as the clients name it."""


class ReadTimeout(TimeoutError):
    """Named as the clients name it."""


class CancelledError(BaseException):
    """What asyncio, trio and anyio throw is no Exception."""


@pytest.mark.parametrize(
    ("error", "outcome", "billing"),
    [
        (ConnectTimeout(), "timeout", "not_billed"),
        (ReadTimeout(), "timeout", "unknown"),
        (OSError(), "error", "unknown"),
        (CancelledError(), "cancelled", "unknown"),
        (KeyboardInterrupt(), "cancelled", "unknown"),
    ],
)
def test_a_request_that_broke_off(error: BaseException, outcome: str, billing: str) -> None:
    wire = _Wire()
    wire.clock.advance(1_500_000)
    wire.exchange.fail(error)
    attempt = wire.attempt
    assert (outcome, billing, type(error).__name__, 1_500_000, None) == (
        attempt.outcome,
        attempt.billing,
        attempt.error_type,
        attempt.duration,
        attempt.status,
    )
    assert (None if billing == "not_billed" else 40_000_000) == attempt.at_risk


def test_a_body_closed_early_is_cancelled_but_what_was_reported_is_billed() -> None:
    wire = _Wire()
    wire.exchange.respond(200, [*_JSON, (b"x-cost-cents", b"4")])
    wire.exchange.feed(b'{"data":[')
    wire.exchange.abandon()
    assert ("cancelled", "billed", 40_000_000) == (wire.attempt.outcome, wire.attempt.billing, wire.attempt.cost)


def test_a_whole_body_closed_before_its_end_was_seen_is_a_success() -> None:
    wire = _Wire()
    wire.exchange.respond(200, _JSON)
    wire.exchange.feed(json.dumps(_urls(1)).encode())
    wire.exchange.abandon()
    assert "success" == wire.attempt.outcome


@pytest.mark.parametrize(("status", "outcome"), [(429, "throttled"), (300, "rejected")])
def test_an_error_closed_unread_keeps_its_status(status: int, outcome: str) -> None:
    wire = _Wire()
    wire.exchange.respond(status, _JSON)
    wire.exchange.abandon()
    assert (outcome, "not_billed") == (wire.attempt.outcome, wire.attempt.billing)


def test_an_unknown_host_is_named_by_itself_and_its_headers_are_not_believed() -> None:
    attempt = _Wire("images.corp.example:8443").answer(_urls(1), headers=[(b"x-cost-cents", b"4")])
    assert ("images.corp.example:8443", None, "no_price") == (attempt.gateway, attempt.cost, attempt.cost_reason)


def test_an_unknown_host_that_answers_like_a_known_gateway_is_one() -> None:
    headers = [(b"x-aig-provider", b"fireworks"), (b"x-cost-cents", b"4")]
    attempt = _Wire("images.corp.example").answer(_urls(1), headers=headers)
    assert ("aigateway", "fireworks", 40_000_000) == (attempt.gateway, attempt.provider, attempt.cost)


def test_time_to_first_byte_and_duration_are_measured_apart() -> None:
    wire = _Wire()
    wire.clock.advance(300)
    wire.exchange.respond(200, _JSON)
    wire.clock.advance(700)
    wire.exchange.feed(json.dumps(_urls(1)).encode())
    wire.exchange.finish()
    assert (300, 1000) == (wire.attempt.first_byte, wire.attempt.duration)


@given(st.integers(100, 599), st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20))), st.binary())
def test_nothing_that_a_gateway_sends_raises(status: int, headers: Headers, body: bytes) -> None:
    for kind in (b"application/json", b"text/event-stream", b"image/png"):
        wire = _Wire()
        wire.exchange.respond(status, [(b"content-type", kind), *headers])
        wire.exchange.feed(body)
        wire.exchange.finish()
        assert wire.attempt.cost is None or wire.attempt.cost >= 0
