"""What an event says of a job, and how often it is taken."""

from __future__ import annotations

import json
from typing import Any

import pytest

import pixelmeter
from pixelmeter.core.attempts.jobs import Evidence, JobEnd
from pixelmeter.errors import WebhookError
from pixelmeter.recorder.recorder import Recorder
from tests.webhooks.senders import (
    AIG_BODY,
    FAL_BODY,
    IDEOGRAM_BODY,
    PREDICTION,
    TIME,
    aig,
    aig_docs,
    bria,
    fal,
    ideogram,
    standard,
)


def test_aigateway_says_what_a_job_costs(meter: pixelmeter.Meter, heard: list[JobEnd]) -> None:
    event = meter.webhook(aig(AIG_BODY), AIG_BODY)
    [end] = heard
    assert ("evt_01", "job.completed", "job_01", "job.completed") == (event.id, event.type, event.job_id, event.status)
    assert (40_000_000, "meta/sam-3-1-image", Evidence.MONEY) == (end.reported_cost, end.model, end.evidence)


@pytest.mark.parametrize(
    ("cents", "nano", "doubtful"),
    [("0.123456", 1_234_560, False), ("0", None, True), ("-1", None, False), ('"4"', 40_000_000, False)],
)
def test_a_cost_is_read_as_every_other_one(
    meter: pixelmeter.Meter, heard: list[JobEnd], cents: str, nano: int | None, doubtful: bool
) -> None:
    body = AIG_BODY.replace(b'"cost_cents":4', f'"cost_cents":{cents}'.encode())
    meter.webhook(aig(body), body)
    assert [(nano, doubtful)] == [(end.reported_cost, end.doubtful_zero) for end in heard]


@pytest.mark.parametrize(
    ("document", "outcome", "error_type"),
    [
        ({"id": "job_02", "status": "completed", "result_url": "https://x/1.png"}, "success", None),
        ({"id": "job_02", "status": "failed", "error": {"code": "provider_error", "message": "m"}}, "error",
         "provider_error"),
        ({"id": "job_02", "status": "failed", "error": "no luck with this one"}, "error", "failed"),
        ({"id": "job_02", "status": "cancelled"}, "cancelled", "cancelled"),
        ({"id": "job_02", "status": "processing"}, None, None),
        ({"id": "job_02", "status": "queued"}, None, None),
        ({"id": "evt", "type": "job.failed", "data": {"job_id": "job_02", "error": {"type": "e"}}}, "error", "e"),
        ({"id": "evt", "type": "job.started", "data": {"job_id": "job_02"}}, None, None),
    ],
)  # fmt: skip
def test_aigateway_tells_of_jobs_in_two_forms(
    meter: pixelmeter.Meter, heard: list[JobEnd], document: dict[str, Any], outcome: str | None, error_type: str | None
) -> None:
    body = json.dumps(document).encode()
    event = meter.webhook(aig(body), body)
    assert (outcome, "job_02") == (event.outcome, event.job_id)
    assert [(outcome, error_type, "job_02")] * bool(outcome) == [(e.outcome, e.error_type, e.job_id) for e in heard]


@pytest.mark.parametrize(
    "document", [{"id": "j", "status": "failed"}, {"id": "e", "type": "job.failed", "data": {"job_id": "j"}}]
)
def test_aigateway_does_not_charge_a_job_that_has_failed(
    meter: pixelmeter.Meter, heard: list[JobEnd], document: dict[str, Any]
) -> None:
    body = json.dumps(document).encode()
    assert "error" == meter.webhook(aig(body), body).outcome
    assert [True] == [end.not_charged for end in heard]


@pytest.mark.parametrize("kind", ["sub_account.budget.exhausted", "usage.threshold", "balance.low"])
def test_an_event_about_something_else_records_nothing(meter: pixelmeter.Meter, heard: list[JobEnd], kind: str) -> None:
    document = {"id": "evt_9", "type": kind, "data": {"id": "sub_1", "status": "completed", "balance_cents": 4}}
    body = json.dumps(document).encode()
    event = meter.webhook(aig_docs(body), body)
    assert ("evt_9", kind, None, None, None) == (event.id, event.type, event.job_id, event.status, event.outcome)
    assert [] == heard


@pytest.mark.parametrize(
    ("document", "outcome"),
    [
        ({"status": "starting", "output": None}, None),
        ({"status": "processing", "logs": "10%"}, None),
        ({"status": "processing", "output": ["https://x/1.png"]}, None),
        ({"status": "succeeded", "output": ["https://x/1.png", "https://x/2.png"]}, "success"),
        ({"status": "failed", "error": "no such thing in the picture that was given"}, "error"),
    ],
)
def test_replicate_tells_of_a_prediction_as_it_is(
    meter: pixelmeter.Meter, heard: list[JobEnd], document: dict[str, Any], outcome: str | None
) -> None:
    body = json.dumps({"id": "pred_2", "model": "black-forest-labs/flux-schnell"} | document).encode()
    event = meter.webhook(standard(body), body)
    assert ("pred_2", outcome) == (event.job_id, event.outcome)
    assert [outcome] * bool(outcome) == [end.outcome for end in heard]


def test_fal_tells_what_a_request_was_answered_with(meter: pixelmeter.Meter, heard: list[JobEnd]) -> None:
    error = (
        b'{"request_id":"req_1","status":"ERROR","error":"Invalid status code: 422",'
        b'"payload":{"detail":[{"loc":["body","prompt"],"msg":"field required","type":"value_error.missing"}]}}'
    )
    meter.webhook(fal(FAL_BODY), FAL_BODY)
    meter.webhook(fal(error), error)
    assert [("success", 1, "1024x1024", None), ("error", None, None, "value_error.missing")] == [
        (end.outcome, end.images, end.size, end.error_type) for end in heard
    ]


def test_ideogram_tells_of_images_that_are_left_out(meter: pixelmeter.Meter, heard: list[JobEnd]) -> None:
    body = IDEOGRAM_BODY.replace(b"true", b"false")
    assert "error" == meter.webhook(ideogram(body), body).outcome
    assert [(0, "no_images")] == [(end.images, end.error_type) for end in heard]


def test_bria_tells_of_a_job_that_has_failed(meter: pixelmeter.Meter, heard: list[JobEnd]) -> None:
    body = b'{"request_id":"r1","status":"ERROR","error":{"code":422,"message":"a long story about a prompt"}}'
    assert "error" == meter.webhook(bria(body), body).outcome
    assert ["ERROR"] == [end.error_type for end in heard]


def test_an_event_is_taken_once(meter: pixelmeter.Meter, heard: list[JobEnd]) -> None:
    first, second = (meter.webhook(aig(AIG_BODY), AIG_BODY) for _ in range(2))
    assert (False, True) == (first.repeated, second.repeated)
    # Sent again, signed anew.
    assert meter.webhook(aig_docs(AIG_BODY, TIME + 200), AIG_BODY).repeated
    assert 1 == len(heard)
    assert ("evt_01", "success") == (second.id, second.outcome)


def test_two_states_of_one_job_are_two_events(meter: pixelmeter.Meter, heard: list[JobEnd]) -> None:
    for status in ("processing", "completed"):
        body = json.dumps({"id": "job_02", "status": status}).encode()
        assert not meter.webhook(aig(body), body).repeated
    assert ["success"] == [end.outcome for end in heard]


def test_only_so_many_events_are_remembered(meter: pixelmeter.Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pixelmeter.webhooks._REMEMBERED", 3)
    repeated = [meter.webhook(standard(PREDICTION, id=f"m{at}"), PREDICTION).repeated for at in range(7)]
    assert [False] * 7 == repeated
    assert [False, True] == [meter.webhook(standard(PREDICTION, id=m), PREDICTION).repeated for m in ("m0", "m6")]


def test_an_event_that_could_not_be_recorded_is_taken_when_it_comes_again(
    meter: pixelmeter.Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "job_end", full, raising=False)
        with pytest.raises(WebhookError, match=r"^not recorded: OSError"):
            meter.webhook(aig(AIG_BODY), AIG_BODY)
    assert not meter.webhook(aig(AIG_BODY), AIG_BODY).repeated
