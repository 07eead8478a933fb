"""What each API's reader makes of every way an answer can end, from an instrumented client to a row of the ledger.

The table below is the test: change an expectation there. A `whole` answer is read to its end. `cut` loses the line in
the body, `closed` is closed by the caller, `cancelled` is a caller that is cancelled or interrupted while it reads;
each of them before the image has come, `late`: behind an image, or at the `end`: behind all that an answer has.
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import pixelmeter
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.system import SystemClock
from tests.clients import KITS, Body, Client, Kit, each
from tests.ledger.reading import stored

_NOON = int(datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.UTC).timestamp()) * 1_000_000

# Costs are in USD, "-" is unknown. `why` is where the cost comes from, or why it is unknown or nothing.
_TABLE = """
api              body    ends           outcome   images billing    cost      at_risk   error            why
openai_images    plain   whole          success   1      billed     0.008954  -         -                priced
openai_images    plain   400            rejected  -      unknown    -         0.009     bad_request      outcome_unknown
openai_images    plain   500            error     -      unknown    -         0.009     server_error     outcome_unknown
openai_images    plain   cut            error     -      unknown    -         0.009     ReadError        outcome_unknown
openai_images    plain   closed         cancelled -      unknown    -         0.009     -                outcome_unknown
openai_images    plain   cancelled      cancelled -      unknown    -         0.009     cancelled        outcome_unknown
openai_images    plain   cut-end        error     -      unknown    -         0.009     ReadError        outcome_unknown
openai_images    plain   closed-end     success   1      billed     0.008954  -         -                priced

openai_images    stream  whole          success   2      billed     0.008954  -         -                priced
openai_images    stream  400            rejected  -      unknown    -         0.018     bad_request      outcome_unknown
openai_images    stream  500            error     -      unknown    -         0.018     server_error     outcome_unknown
openai_images    stream  cut            error     -      unknown    -         0.018     ReadError        outcome_unknown
openai_images    stream  closed         cancelled -      unknown    -         0.018     -                outcome_unknown
openai_images    stream  cancelled      cancelled -      unknown    -         0.018     cancelled        outcome_unknown
openai_images    stream  cut-late       error     1      unknown    -         0.018     ReadError        outcome_unknown
openai_images    stream  closed-late    cancelled 1      unknown    -         0.018     -                outcome_unknown
openai_images    stream  cancelled-late cancelled 1      unknown    -         0.018     cancelled        outcome_unknown
openai_images    stream  cut-end        success   2      billed     0.008954  -         -                priced
openai_images    stream  closed-end     success   2      billed     0.008954  -         -                priced

openai_responses plain   whole          success   1      billed     0.0112425 -         -                priced
openai_responses plain   400            rejected  -      unknown    -         0.01088   bad_request      outcome_unknown
openai_responses plain   500            error     -      unknown    -         0.01088   server_error     outcome_unknown
openai_responses plain   cut            error     -      unknown    -         0.01088   ReadError        outcome_unknown
openai_responses plain   closed         cancelled -      unknown    -         0.01088   -                outcome_unknown
openai_responses plain   cancelled      cancelled -      unknown    -         0.01088   cancelled        outcome_unknown
openai_responses plain   cut-end        error     -      unknown    -         0.01088   ReadError        outcome_unknown
openai_responses plain   closed-end     success   1      billed     0.0112425 -         -                priced

openai_responses stream  whole          success   1      billed     0.0112425 -         -                priced
openai_responses stream  400            rejected  -      unknown    -         0.01088   bad_request      outcome_unknown
openai_responses stream  500            error     -      unknown    -         0.01088   server_error     outcome_unknown
openai_responses stream  cut            error     -      unknown    -         0.01088   ReadError        outcome_unknown
openai_responses stream  closed         cancelled -      unknown    -         0.01088   -                outcome_unknown
openai_responses stream  cancelled      cancelled -      unknown    -         0.01088   cancelled        outcome_unknown
openai_responses stream  cut-late       error     1      unknown    -         0.01088   ReadError        outcome_unknown
openai_responses stream  closed-late    cancelled 1      unknown    -         0.01088   -                outcome_unknown
openai_responses stream  cancelled-late cancelled 1      unknown    -         0.01088   cancelled        outcome_unknown
openai_responses stream  cut-end        success   1      billed     0.0112425 -         -                priced
openai_responses stream  closed-end     success   1      billed     0.0112425 -         -                priced

chat_images      plain   whole          success   1      billed     0.0387    -         -                reported
chat_images      plain   400            rejected  -      unknown    -         -         bad_request      outcome_unknown
chat_images      plain   500            error     -      unknown    -         -         server_error     outcome_unknown
chat_images      plain   cut            error     -      unknown    -         -         ReadError        outcome_unknown
chat_images      plain   closed         cancelled -      unknown    -         -         -                outcome_unknown
chat_images      plain   cancelled      cancelled -      unknown    -         -         cancelled        outcome_unknown
chat_images      plain   cut-end        error     -      unknown    -         -         ReadError        outcome_unknown
chat_images      plain   closed-end     success   1      billed     0.0387    -         -                reported

chat_images      stream  whole          success   1      billed     0.0387    -         -                reported
chat_images      stream  400            rejected  -      unknown    -         -         bad_request      outcome_unknown
chat_images      stream  500            error     -      unknown    -         -         server_error     outcome_unknown
chat_images      stream  cut            error     0      unknown    -         -         ReadError        outcome_unknown
chat_images      stream  closed         cancelled 0      unknown    -         -         -                outcome_unknown
chat_images      stream  cancelled      cancelled 0      unknown    -         -         cancelled        outcome_unknown
chat_images      stream  cut-late       error     1      unknown    -         -         ReadError        outcome_unknown
chat_images      stream  closed-late    cancelled 1      unknown    -         -         -                outcome_unknown
chat_images      stream  cancelled-late cancelled 1      unknown    -         -         cancelled        outcome_unknown
chat_images      stream  cut-end        success   1      billed     0.0387    -         -                reported
chat_images      stream  closed-end     success   1      billed     0.0387    -         -                reported

gemini           plain   whole          success   1      billed     0.0387018 -         -                priced
gemini           plain   400            rejected  -      not_billed 0         -         INVALID_ARGUMENT rejected
gemini           plain   500            error     -      not_billed 0         -         server_error     rejected
gemini           plain   cut            error     -      unknown    -         0.0387    ReadError        outcome_unknown
gemini           plain   closed         cancelled -      unknown    -         0.0387    -                outcome_unknown
gemini           plain   cancelled      cancelled -      unknown    -         0.0387    cancelled        outcome_unknown
gemini           plain   cut-end        error     -      unknown    -         0.0387    ReadError        outcome_unknown
gemini           plain   closed-end     success   1      billed     0.0387018 -         -                priced

gemini           stream  whole          success   1      billed     0.0387018 -         -                priced
gemini           stream  400            rejected  -      not_billed 0         -         INVALID_ARGUMENT rejected
gemini           stream  500            error     -      not_billed 0         -         server_error     rejected
gemini           stream  cut            error     0      unknown    -         0.0387    ReadError        outcome_unknown
gemini           stream  closed         cancelled 0      unknown    -         0.0387    -                outcome_unknown
gemini           stream  cancelled      cancelled 0      unknown    -         0.0387    cancelled        outcome_unknown
gemini           stream  cut-late       error     1      unknown    -         0.0387    ReadError        outcome_unknown
gemini           stream  closed-late    cancelled 1      unknown    -         0.0387    -                outcome_unknown
gemini           stream  cancelled-late cancelled 1      unknown    -         0.0387    cancelled        outcome_unknown
gemini           stream  cut-end        error     1      unknown    -         0.0387018 ReadError        outcome_unknown
gemini           stream  closed-end     cancelled 1      unknown    -         0.0387018 -                outcome_unknown

predict          plain   whole          success   1      billed     0.04      -         -                priced
predict          plain   400            rejected  -      not_billed 0         -         INVALID_ARGUMENT rejected
predict          plain   500            error     -      not_billed 0         -         server_error     rejected
predict          plain   cut            error     -      unknown    -         0.04      ReadError        outcome_unknown
predict          plain   closed         cancelled -      unknown    -         0.04      -                outcome_unknown
predict          plain   cancelled      cancelled -      unknown    -         0.04      cancelled        outcome_unknown
predict          plain   cut-end        error     -      unknown    -         0.04      ReadError        outcome_unknown
predict          plain   closed-end     success   1      billed     0.04      -         -                priced

prediction_jobs  plain   whole          success   1      billed     0.003     -         -                priced
prediction_jobs  plain   400            rejected  -      unknown    -         0.003     missing          outcome_unknown
prediction_jobs  plain   500            error     -      not_billed 0         -         server_error     rejected
prediction_jobs  plain   cut            error     -      unknown    -         0.003     ReadError        outcome_unknown
prediction_jobs  plain   closed         cancelled -      unknown    -         0.003     -                outcome_unknown
prediction_jobs  plain   cancelled      cancelled -      unknown    -         0.003     cancelled        outcome_unknown
prediction_jobs  plain   cut-end        error     -      unknown    -         0.003     ReadError        outcome_unknown
prediction_jobs  plain   closed-end     success   1      billed     0.003     -         -                priced

prediction_jobs  stream  whole          success   1      billed     0.003     -         -                priced
prediction_jobs  stream  400            rejected  -      unknown    -         0.003     missing          outcome_unknown
prediction_jobs  stream  500            error     -      not_billed 0         -         server_error     rejected
prediction_jobs  stream  cut            error     -      unknown    -         0.003     ReadError        outcome_unknown
prediction_jobs  stream  closed         cancelled -      unknown    -         0.003     -                outcome_unknown
prediction_jobs  stream  cancelled      cancelled -      unknown    -         0.003     cancelled        outcome_unknown
prediction_jobs  stream  cut-late       error     1      unknown    -         0.003     ReadError        outcome_unknown
prediction_jobs  stream  closed-late    cancelled 1      unknown    -         0.003     -                outcome_unknown
prediction_jobs  stream  cancelled-late cancelled 1      unknown    -         0.003     cancelled        outcome_unknown
prediction_jobs  stream  cut-end        error     1      unknown    -         0.003     ReadError        outcome_unknown
prediction_jobs  stream  closed-end     cancelled 1      unknown    -         0.003     -                outcome_unknown

prediction_jobs  job     whole          pending   -      pending    -         0.003     -                pending_job
prediction_jobs  job     400            rejected  -      unknown    -         0.003     missing          outcome_unknown
prediction_jobs  job     500            error     -      not_billed 0         -         server_error     rejected
prediction_jobs  job     cut            error     -      unknown    -         0.003     ReadError        outcome_unknown
prediction_jobs  job     closed         cancelled -      unknown    -         0.003     -                outcome_unknown
prediction_jobs  job     cancelled      cancelled -      unknown    -         0.003     cancelled        outcome_unknown
prediction_jobs  job     cut-end        error     -      unknown    -         0.003     ReadError        outcome_unknown
prediction_jobs  job     closed-end     pending   -      pending    -         0.003     -                pending_job

plain_images     plain   whole          success   1      billed     0.03      -         -                priced
plain_images     plain   400            rejected  -      not_billed 0         -         bad_request      rejected
plain_images     plain   500            error     -      not_billed 0         -         http_500         rejected
plain_images     plain   cut            error     -      unknown    -         0.03      ReadError        outcome_unknown
plain_images     plain   closed         cancelled -      unknown    -         0.03      -                outcome_unknown
plain_images     plain   cancelled      cancelled -      unknown    -         0.03      cancelled        outcome_unknown
plain_images     plain   cut-end        error     -      unknown    -         0.03      ReadError        outcome_unknown
plain_images     plain   closed-end     success   1      billed     0.03      -         -                priced

plain_images     picture whole          success   1      billed     0.03      -         -                priced
plain_images     picture 400            rejected  -      not_billed 0         -         bad_request      rejected
plain_images     picture 500            error     -      not_billed 0         -         http_500         rejected
plain_images     picture cut            error     -      unknown    -         0.03      ReadError        outcome_unknown
plain_images     picture closed         cancelled -      unknown    -         0.03      -                outcome_unknown
plain_images     picture cancelled      cancelled -      unknown    -         0.03      cancelled        outcome_unknown
plain_images     picture cut-end        error     -      unknown    -         0.03      ReadError        outcome_unknown
plain_images     picture closed-end     cancelled -      unknown    -         0.03      -                outcome_unknown
"""


class Row(NamedTuple):
    """A line of the table."""

    api: str
    body: str
    ends: str
    outcome: str
    images: str
    billing: str
    cost: str
    at_risk: str
    error: str
    why: str

    def __str__(self) -> str:
        return f"{self.api} {self.body} {self.ends}"


_ROWS = [Row(*line.split()) for line in _TABLE.strip().splitlines()[1:] if line]
_CANCELLATIONS = ("CancelledError", "KeyboardInterrupt")
"""What async and sync callers are ended with, `cancelled` in the table."""

_PICTURE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 1024, 1024) + bytes(3000)
_PNG = base64.b64encode(_PICTURE).decode()
_LINK = "https://files.example/1.png"


class Call(NamedTuple):
    """A request, and the body of its good answer in two or three parts, of which the second has the image."""

    url: str
    request: Mapping[str, Any]
    parts: Sequence[bytes]
    media_type: str = "application/json"
    refusal: Mapping[str, Any] = {"error": {"type": "bad_request", "code": "bad", "message": "m"}}
    """The JSON of a 400."""


def _split(document: Any) -> list[bytes]:
    """Return a document whose image comes half in the first part, and half in the second."""
    text = json.dumps(document).encode()
    return [text[: len(text) // 2], text[len(text) // 2 :]]


def _events(*events: Any) -> list[bytes]:
    """Return a stream of events, each a part, with its name if it has one."""
    return [
        (f"event: {event['type']}\n" if isinstance(event, dict) and "type" in event else "").encode()
        + f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode()
        for event in events
    ]


_EVENTS = "text/event-stream; charset=utf-8"
_OPENAI = "https://api.openai.com/v1"
_OPENROUTER = "https://openrouter.ai/api/v1/chat/completions"
_GOOGLE = "https://generativelanguage.googleapis.com/v1beta/models"
_STABILITY = "https://api.stability.ai/v2beta/stable-image/generate/core"
_PROMPT = {"prompt": "an otter"}

_IMAGE_REQUEST = _PROMPT | {"model": "gpt-image-1.5", "size": "1024x1024", "quality": "low"}
_IMAGE_USAGE = {
    "input_tokens": 50,
    "output_tokens": 272,
    "total_tokens": 322,
    "input_tokens_details": {"text_tokens": 50, "image_tokens": 0},
}
_TOOL = {"type": "image_generation", "model": "gpt-image-1", "size": "1024x1024", "quality": "low"}
_RESPONSES_REQUEST = {"model": "gpt-5", "input": "an otter", "tools": [_TOOL]}
_ITEM = {"type": "image_generation_call", "id": "i", "status": "completed", "result": _PNG}
_RESPONSE = {
    "id": "r",
    "object": "response",
    "status": "completed",
    "model": "gpt-5",
    "output": [_ITEM],
    "tools": [_TOOL],
    "usage": {"input_tokens": 10, "output_tokens": 10, "total_tokens": 20},
    "tool_usage": {"image_gen": _IMAGE_USAGE},
}
_CHAT_REQUEST = {
    "model": "google/gemini-2.5-flash-image",
    "messages": [{"role": "user", "content": "an otter"}],
    "modalities": ["image", "text"],
}
_MESSAGE = {
    "role": "assistant",
    "content": "",
    "images": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_PNG}"}, "index": 0}],
}
_CHAT_USAGE = {"prompt_tokens": 9, "completion_tokens": 1290, "total_tokens": 1299, "cost": 0.0387}
_CHAT = {"id": "gen-1", "model": "google/gemini-2.5-flash-image"}
_GEMINI_REQUEST = {
    "contents": [{"parts": [{"text": "an otter"}]}],
    "generationConfig": {"responseModalities": ["TEXT", "IMAGE"]},
}
_GEMINI_USAGE = {
    "promptTokenCount": 6,
    "candidatesTokenCount": 1290,
    "totalTokenCount": 1296,
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}],
}
_INLINE = {"parts": [{"inlineData": {"mimeType": "image/png", "data": _PNG}}], "role": "model"}
_WORDS = {"candidates": [{"content": {"parts": [{"text": "here"}], "role": "model"}}], "modelVersion": "gemini-2.5"}
_GOOGLE_REFUSAL = {"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}}
_FAL_REQUEST = _PROMPT | {"image_size": {"width": 1024, "height": 1024}}
_FAL_IMAGE = {"url": _LINK, "width": 1024, "height": 1024, "content_type": "image/jpeg"}
_FAL_REFUSAL = {"detail": [{"loc": ["body", "prompt"], "msg": "m", "type": "missing"}]}
_STABILITY_REFUSAL = {"id": "x", "name": "bad_request", "errors": ["m"]}

_CALLS: dict[tuple[str, str], Call] = {
    ("openai_images", "plain"): Call(
        f"{_OPENAI}/images/generations",
        _IMAGE_REQUEST,
        _split({"created": 1, "data": [{"b64_json": _PNG}], "usage": _IMAGE_USAGE}),
    ),
    ("openai_images", "stream"): Call(
        f"{_OPENAI}/images/generations",
        _IMAGE_REQUEST | {"stream": True, "n": 2},
        _events(
            {"type": "image_generation.partial_image", "b64_json": _PNG, "partial_image_index": 0},
            {"type": "image_generation.completed", "b64_json": _PNG},
            {"type": "image_generation.completed", "b64_json": _PNG, "usage": _IMAGE_USAGE},
        ),
        _EVENTS,
    ),
    ("openai_responses", "plain"): Call(f"{_OPENAI}/responses", _RESPONSES_REQUEST, _split(_RESPONSE)),
    ("openai_responses", "stream"): Call(
        f"{_OPENAI}/responses",
        _RESPONSES_REQUEST | {"stream": True},
        _events(
            {"type": "response.image_generation_call.partial_image", "item_id": "i", "partial_image_b64": _PNG},
            {"type": "response.output_item.done", "output_index": 0, "item": _ITEM},
            {"type": "response.completed", "response": _RESPONSE},
        ),
        _EVENTS,
    ),
    ("chat_images", "plain"): Call(
        _OPENROUTER,
        _CHAT_REQUEST,
        _split(_CHAT | {"choices": [{"index": 0, "message": _MESSAGE, "finish_reason": "stop"}], "usage": _CHAT_USAGE}),
    ),
    ("chat_images", "stream"): Call(
        _OPENROUTER,
        _CHAT_REQUEST | {"stream": True},
        _events(
            _CHAT | {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "here"}}]},
            _CHAT | {"choices": [{"index": 0, "delta": _MESSAGE}]},
            _CHAT | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": _CHAT_USAGE},
            "[DONE]",
        ),
        _EVENTS,
    ),
    ("gemini", "plain"): Call(
        f"{_GOOGLE}/gemini-2.5-flash-image:generateContent",
        _GEMINI_REQUEST,
        _split({"candidates": [{"content": _INLINE, "finishReason": "STOP"}], "usageMetadata": _GEMINI_USAGE}),
        refusal=_GOOGLE_REFUSAL,
    ),
    ("gemini", "stream"): Call(
        f"{_GOOGLE}/gemini-2.5-flash-image:streamGenerateContent?alt=sse",
        _GEMINI_REQUEST,
        _events(
            _WORDS | {"usageMetadata": {"promptTokenCount": 6, "totalTokenCount": 6}},
            {"candidates": [{"content": _INLINE}]},
            {"candidates": [{"finishReason": "STOP"}], "usageMetadata": _GEMINI_USAGE},
        ),
        _EVENTS,
        refusal=_GOOGLE_REFUSAL,
    ),
    ("predict", "plain"): Call(
        f"{_GOOGLE}/imagen-4.0-generate-001:predict",
        {"instances": [_PROMPT], "parameters": {"sampleCount": 1}},
        _split({"predictions": [{"mimeType": "image/png", "bytesBase64Encoded": _PNG}]}),
        refusal=_GOOGLE_REFUSAL,
    ),
    ("prediction_jobs", "plain"): Call(
        "https://fal.run/fal-ai/flux/schnell", _FAL_REQUEST, _split({"images": [_FAL_IMAGE]}), refusal=_FAL_REFUSAL
    ),
    ("prediction_jobs", "stream"): Call(
        "https://fal.run/fal-ai/flux/schnell/stream",
        _FAL_REQUEST,
        _events({"progress": 0.5}, {"images": [_FAL_IMAGE]}, {"images": [_FAL_IMAGE], "seed": 1}),
        _EVENTS,
        refusal=_FAL_REFUSAL,
    ),
    ("prediction_jobs", "job"): Call(
        "https://queue.fal.run/fal-ai/flux/schnell",
        _FAL_REQUEST,
        _split({"status": "IN_QUEUE", "request_id": "r", "queue_position": 0}),
        refusal=_FAL_REFUSAL,
    ),
    ("plain_images", "plain"): Call(
        _STABILITY, _PROMPT, _split({"image": _PNG, "finish_reason": "SUCCESS"}), refusal=_STABILITY_REFUSAL
    ),
    ("plain_images", "picture"): Call(
        _STABILITY, _PROMPT, [_PICTURE[:1000], _PICTURE[1000:]], "image/png", refusal=_STABILITY_REFUSAL
    ),
}


class Ledger:
    """A client whose answers end as a row says, and the ledger that it is metered into."""

    def __init__(self, kit: Kit, folder: Path) -> None:
        self._kit = kit
        self._url = f"sqlite:///{folder}/ledger.db"
        self._meter = pixelmeter.Meter(self._url, spool_dir=str(folder / "spool"))
        self._client = kit.client(transport=kit.wire(lambda _: self._answer))
        pixelmeter.instrument(self._client.raw, self._meter)
        self._known: set[str] = set()
        self._answer: Any = None

    def attempt_of(self, call: Call, ends: str) -> Attempt:
        """Make the call, and return the one row that has come of it."""
        self._kit.run(self._play(self._client, call, ends))
        assert self._meter.flush(60)
        assert {} == self._meter.status()["failures"]
        rows = {name: row for name, row in stored(self._url).items() if name not in self._known}
        self._known |= rows.keys()
        [attempt] = rows.values()
        return attempt

    async def _play(self, client: Client, call: Call, ends: str) -> None:
        end, _, when = ends.partition("-")
        come = call.parts[: {"": 1, "late": 2, "end": None}[when]]
        failure = self._failure(end)
        if end.isdigit():
            document = call.refusal if end == "400" else {"error": {"type": "server_error", "message": "m"}}
            self._answers(Body(*_split(document)), "application/json", int(end))
        elif failure is not None:
            self._answers(Body(*come, failure), call.media_type)
        else:
            self._answers(Body(*call.parts), call.media_type)
        response = await client.send(call.url, json=call.request)
        if failure is not None:
            with pytest.raises(type(failure)):
                await self._kit.read(response)
        elif end == "closed":
            await self._close_after(response, len(come))
        else:
            await self._kit.read(response)

    def _failure(self, end: str) -> BaseException | None:
        if end == "cut":
            error: BaseException = self._kit.package.ReadError("connection lost")
            return error
        if end == "cancelled":
            return asyncio.CancelledError() if self._kit.is_async else KeyboardInterrupt()
        return None

    def _answers(self, body: Body, media_type: str, status: int = 200) -> None:
        headers = {"content-type": media_type}
        self._answer = self._kit.package.Response(status, headers=headers, stream=self._kit.stream(body))

    async def _close_after(self, response: Any, parts: int) -> None:
        async for _ in each(self._kit.raw(response)):
            parts -= 1
            if not parts:
                break
        await self._kit.close(response)

    def close(self) -> None:
        """Give back what the meter has."""
        self._kit.run(self._client.close())
        assert self._meter.close(60)


@pytest.fixture(scope="module", params=KITS, ids=str)
def ledger(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    ledger = Ledger(request.param, tmp_path_factory.mktemp("readers"))
    yield ledger
    ledger.close()


@pytest.mark.parametrize("row", _ROWS, ids=str)
def test_an_answer_is_in_the_ledger_as_it_ended(ledger: Ledger, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SystemClock, "now", _noon)

    attempt = ledger.attempt_of(_CALLS[row.api, row.body], row.ends)

    assert row == Row(
        *row[:3],
        attempt.outcome,
        _text(attempt.images),
        attempt.billing,
        _usd(attempt.cost),
        _usd(attempt.at_risk),
        "cancelled" if attempt.error_type in _CANCELLATIONS else _text(attempt.error_type),
        _text(attempt.cost_reason or attempt.cost_source),
    )


def _noon(_: SystemClock) -> int:
    return _NOON


def _text(value: object) -> str:
    return "-" if value is None else str(value)


def _usd(nano: int | None) -> str:
    return "-" if nano is None else f"{Decimal(nano).scaleb(-9).normalize():f}"
