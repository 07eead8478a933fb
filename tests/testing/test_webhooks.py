"""Webhooks of the stand-in gateway: verified by those who know, doubled, late, out of order, or not at all."""

from __future__ import annotations

import hashlib
import json
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from aigateway import verify_webhook
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from replicate.webhook import InvalidSignatureError, InvalidTimestampError, Webhooks, WebhookSigningSecret

from pixelmeter.testing import Gateway
from tests.testing.conftest import Post
from tests.testing.receiver import Inbox, received

FLEX = {"model": "black-forest-labs/flux-2-flex"}
PREDICTIONS = "/v1/models/black-forest-labs/flux-schnell/predictions"
AT_ONCE = {"job_seconds": 0}


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """A program that gets webhooks."""
    with received() as inbox:
        yield inbox


def types(inbox: Inbox) -> list[tuple[str, str]]:
    """Return the job and the type of each event of AIgateway."""
    bodies = [json.loads(body) for _, body in inbox.messages]
    return [(body["data"]["job_id"], body["type"]) for body in bodies]


@pytest.mark.parametrize("signature", ["aig", "gateway"])
def test_aigateway_signs_in_both_forms(post: Post, gateway: Gateway, inbox: Inbox, signature: str) -> None:
    told = AT_ONCE | {"webhook": inbox.url, "webhook_secret": "whsec", "webhook_signature": signature}
    post(behaviour=told, **FLEX)
    gateway.wait_webhooks(1)
    [(headers, body)] = inbox.messages
    signed = headers.get("x-gateway-signature") or f"t={headers['aig-timestamp']},v1={headers['aig-signature']}"
    assert verify_webhook("whsec", body, signed)
    assert ("x-gateway-signature" in headers) is (signature == "gateway")
    assert {"job_id": "job_01", "model": FLEX["model"], "usage": {"cost_cents": 6}}.items() <= json.loads(body)[
        "data"
    ].items()
    assert 60_000_000 == gateway.billed_nano()


@pytest.mark.parametrize(("end", "kind"), [("failed", "job.failed"), ("cancelled", "job.cancelled")])
def test_aigateway_tells_of_other_ends_too(post: Post, gateway: Gateway, inbox: Inbox, end: str, kind: str) -> None:
    post(behaviour=AT_ONCE | {"webhook": inbox.url, "job_end": end}, **FLEX)
    gateway.wait_webhooks(1)
    assert ([("job_01", kind)], 0) == (types(inbox), gateway.billed_nano())


def test_fal_signs_with_its_key(post: Post, gateway: Gateway, inbox: Inbox) -> None:
    job = post(f"/fal-ai/flux/dev?fal_webhook={inbox.url}", AT_ONCE).json()["request_id"]
    gateway.wait_webhooks(1)
    [(headers, body)] = inbox.messages
    [key] = httpx.get(f"{gateway.root}/.well-known/jwks.json").json()["keys"]
    public = Ed25519PublicKey.from_public_bytes(urlsafe_b64decode(key["x"] + "="))
    said = [headers[f"x-fal-webhook-{name}"] for name in ("request-id", "user-id", "timestamp")]
    message = "\n".join((*said, hashlib.sha256(body.encode()).hexdigest())).encode()
    signature = bytes.fromhex(headers["x-fal-webhook-signature"])
    public.verify(signature, message)
    with pytest.raises(InvalidSignature):
        public.verify(signature, message + b" ")
    told = json.loads(body)
    assert (job, job, "OK", 1) == (said[0], told["request_id"], told["status"], len(told["payload"]["images"]))


def test_fal_posts_failures(post: Post, gateway: Gateway, inbox: Inbox) -> None:
    post(f"/fal-ai/flux/dev?fal_webhook={inbox.url}", AT_ONCE | {"job_end": "failed_object"})
    gateway.wait_webhooks(1)
    told = json.loads(inbox.messages[0][1])
    assert ("ERROR", "Invalid status code: 422") == (told["status"], told["error"])


def validate(gateway: Gateway, message: tuple[dict[str, str], str]) -> None:
    """Have Replicate's client look at a webhook; it raises."""
    secret = httpx.get(f"{gateway.url}/webhooks/default/secret").json()["key"]
    Webhooks.validate(headers=message[0], body=message[1], secret=WebhookSigningSecret(key=secret), tolerance=300)


@pytest.mark.parametrize(
    ("wanted", "statuses"),
    [
        (None, ["processing", "succeeded"]),
        (["completed"], ["succeeded"]),
        (["start", "completed"], ["processing", "succeeded"]),
        (["start", "output", "completed"], ["processing", "processing", "succeeded"]),
    ],
)
def test_replicate_posts_what_is_asked_for(
    post: Post, gateway: Gateway, inbox: Inbox, wanted: list[str] | None, statuses: list[str]
) -> None:
    filtered = {} if wanted is None else {"webhook_events_filter": wanted}
    post(PREDICTIONS, AT_ONCE, input={"prompt": "p"}, webhook=inbox.url, **filtered)
    gateway.wait_webhooks(len(statuses))
    assert statuses == [json.loads(body)["status"] for _, body in inbox.messages]
    for message in inbox.messages:
        validate(gateway, message)
    assert len(statuses) == len({headers["webhook-id"] for headers, _ in inbox.messages})


def test_replicate_also_posts_what_was_waited_for(post: Post, gateway: Gateway, inbox: Inbox) -> None:
    post(PREDICTIONS, headers={"prefer": "wait"}, webhook=inbox.url, webhook_events_filter=["completed"])
    gateway.wait_webhooks(1)
    assert "succeeded" == json.loads(inbox.messages[0][1])["status"]


def test_black_forest_labs_posts_with_the_secret_of_the_request(post: Post, gateway: Gateway, inbox: Inbox) -> None:
    post("/v1/flux-pro-1.1", AT_ONCE, webhook_url=inbox.url, webhook_secret="s")
    gateway.wait_webhooks(1)
    [(headers, body)] = inbox.messages
    assert "Ready" == json.loads(body)["status"]
    assert headers["x-bfl-signature"].startswith("sha256=")


def test_a_signature_can_be_wrong_missing_or_old(post: Post, gateway: Gateway, inbox: Inbox) -> None:
    asked: dict[str, Any] = {"webhook": inbox.url, "webhook_events_filter": ["completed"]}
    post(PREDICTIONS, AT_ONCE | {"webhook_signature": "wrong"}, **asked)
    gateway.wait_webhooks(1)
    with pytest.raises(InvalidSignatureError):
        validate(gateway, inbox.messages[0])
    post(PREDICTIONS, AT_ONCE | {"webhook_age": 301}, **asked)
    gateway.wait_webhooks(2)
    with pytest.raises(InvalidTimestampError):
        validate(gateway, inbox.messages[1])
    assert 299 < time.time() - int(inbox.messages[1][0]["webhook-timestamp"]) < 330
    post(PREDICTIONS, AT_ONCE | {"webhook_signature": "none"}, **asked)
    gateway.wait_webhooks(3)
    assert not any(name.startswith("webhook-") for name in inbox.messages[2][0])


def test_events_are_posted_as_often_as_told(post: Post, gateway: Gateway, inbox: Inbox) -> None:
    post(behaviour=AT_ONCE | {"webhook": inbox.url, "webhook_times": 0}, **FLEX)
    post(behaviour=AT_ONCE | {"webhook": inbox.url, "webhook_times": 3}, **FLEX)
    gateway.wait_webhooks(3)
    assert [("job_02", "job.completed")] * 3 == types(inbox)
    assert 1 == len({body for _, body in inbox.messages})
    assert 120_000_000 == gateway.billed_nano()


def test_events_are_held_and_delivered_in_another_order(post: Post, gateway: Gateway, inbox: Inbox) -> None:
    told = {"webhook": inbox.url, "webhook_held": True, "webhook_times": 2}
    gateway.tell(**told)
    for _ in range(3):
        post(**FLEX)
    assert 3 == gateway.end_jobs()
    assert [] == gateway.webhooks()
    assert 6 == gateway.deliver("reversed")
    assert ["job_03", "job_03", "job_02", "job_02", "job_01", "job_01"] == [job for job, _ in types(inbox)]
    assert [204] * 6 == [posted["status"] for posted in gateway.webhooks()]
    assert 0 == gateway.deliver("shuffled")


def test_a_test_can_post_an_event_once_more(post: Post, gateway: Gateway, inbox: Inbox) -> None:
    post(**FLEX)
    assert 204 == gateway.post_webhook(inbox.url, "job_01")
    assert 204 == gateway.post_webhook(inbox.url, "job_01", secret="other", signature="gateway")
    assert verify_webhook("other", inbox.messages[1][1], inbox.messages[1][0]["x-gateway-signature"])
    assert [("job_01", "job.completed")] * 2 == types(inbox)
    assert 60_000_000 == gateway.billed_nano()


def test_a_receiver_that_is_gone_is_noted(post: Post, gateway: Gateway) -> None:
    post(behaviour=AT_ONCE | {"webhook": "http://127.0.0.1:1/"}, **FLEX)
    gateway.wait_webhooks(1)
    assert [{"job": "job_01", "event": "completed", "url": "http://127.0.0.1:1/", "status": None}] == gateway.webhooks()
