"""Whose event it is, and what is said of those that prove nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import pixelmeter
from pixelmeter.core.attempts.jobs import JobEnd
from pixelmeter.errors import WebhookError
from tests.webhooks.senders import (
    AIG_BODY,
    AIG_SECRET,
    EVENTS,
    FAL_BODY,
    PREDICTION,
    SECRETS,
    TIME,
    WAVESPEED_BODY,
    Headers,
    aig,
    digest,
    fal,
    standard,
    wavespeed,
)


def test_gateways_with_the_same_headers_differ_in_their_secrets(tmp_path: Path) -> None:
    meter = pixelmeter.Meter(f"sqlite:///{tmp_path}/a.db", webhook_secrets={"wavespeed": SECRETS["wavespeed"]})
    assert "wavespeed" == meter.webhook(wavespeed(WAVESPEED_BODY), WAVESPEED_BODY).gateway
    with pytest.raises(WebhookError, match="^wrong signature: no secret of wavespeed fits"):
        meter.webhook(standard(PREDICTION), PREDICTION)
    with pytest.raises(WebhookError, match="^no secret of replicate: give secret="):
        meter.webhook(standard(PREDICTION), PREDICTION, gateway="replicate")


def test_a_profile_of_ones_own_may_have_webhooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "corp.toml").write_text(
        'id = "corp"\n[webhook]\njob_id = ["job"]\nstatus = ["state"]\ndone = ["ok"]\n[[webhook.signature]]\n'
        'scheme = "hmac"\nheader = "X-Corp-Signature"\ntimestamp = "X-Corp-Time"\ntolerance = 10\n'
    )
    monkeypatch.setenv("PIXELMETER_PROFILES", str(tmp_path / "corp.toml"))
    meter = pixelmeter.Meter(f"sqlite:///{tmp_path}/a.db", webhook_secrets={"corp": "s"})
    body = b'{"job": "j", "state": "ok"}'
    signed = digest(b"s", f"{TIME}.".encode() + body).hex()
    event = meter.webhook({"x-corp-signature": signed, "x-corp-time": str(TIME)}, body)
    assert ("corp", "j", "success") == (event.gateway, event.job_id, event.outcome)


@pytest.mark.parametrize(
    "given",
    [
        lambda headers: {name.upper(): value for name, value in headers.items()},
        lambda headers: list(headers.items()),
        lambda headers: iter(headers.items()),
        lambda headers: [[name.encode(), value.encode()] for name, value in headers.items()],
        lambda headers: {name.encode(): value.encode() for name, value in headers.items()},
        lambda headers: headers | {"accept": ["a", "b"], 7: 8, "content-length": 193},
    ],
)
def test_headers_may_come_in_many_shapes(meter: pixelmeter.Meter, given: Callable[[Headers], Any]) -> None:
    for gateway, body, sign in EVENTS.values():
        assert gateway == meter.webhook(given(sign(body)), body).gateway


@pytest.mark.parametrize("as_given", [bytes, bytearray, memoryview])
def test_a_body_is_bytes_of_any_kind(meter: pixelmeter.Meter, as_given: Callable[[bytes], Any]) -> None:
    assert "success" == meter.webhook(aig(AIG_BODY), as_given(AIG_BODY)).outcome


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"headers": {}}, "no signature: it has none of the headers x-gateway-signature, aig-signature, "),
        ({"headers": {}, "gateway": "fal"}, "no signature: it has none of the headers x-fal-webhook-signature; give"),
        ({"headers": None}, "no headers: a NoneType is given"),
        ({"headers": 7}, "no headers: a int is given"),
        ({"headers": ["abc"]}, "no headers: give a mapping or pairs"),
        ({"headers": {"webhook-signature": "v1,AAAA"}}, "no signature: the header webhook-timestamp is missing"),
        ({"headers": {"x-gateway-signature": "v1=00"}}, "wrong signature: x-gateway-signature has no Unix time"),
        ({"headers": {"x-gateway-signature": "t=1,t=2,v1=00"}}, "wrong signature: x-gateway-signature has no Unix"),
        ({"headers": {"x-gateway-signature": "t=1," + "v1=00," * 9999}}, "wrong signature: the header x-gateway"),
        ({"gateway": "openai"}, "unknown gateway: gateway= is no profile with webhooks; those are aigateway, bria"),
        ({"gateway": "nosuch"}, "unknown gateway: "),
        ({"gateway": 7}, "unknown gateway: "),
        ({"gateway": ""}, "unknown gateway: "),
        ({"body": "text"}, "no bytes: the body is a str; give the bytes received: await request.body()"),
        ({"body": None}, "no bytes: the body is a NoneType"),
        ({"body": {"id": "evt"}}, "no bytes: the body is a dict"),
        ({"body": b" " * (1024 * 1024 + 1)}, "too large: bodies up to 1048576 bytes are taken"),
        ({"secret": ""}, "no secret: secret= takes a text that is not empty"),
        ({"secret": "  "}, "no secret: secret= takes"),
        ({"secret": []}, "no secret: secret= takes"),
        ({"secret": b"bytes"}, "no secret: secret= takes"),
        ({"secret": [AIG_SECRET, None]}, "no secret: secret= takes"),
        ({"secret": ["x"] * 17}, "no secret: secret= takes a text that is not empty, or a list of up to 16"),
    ],
)
def test_what_proves_nothing_is_refused_with_what_to_do(
    meter: pixelmeter.Meter, heard: list[JobEnd], given: Mapping[str, Any], said: str
) -> None:
    call: dict[str, Any] = {"headers": aig(AIG_BODY), "body": AIG_BODY, **given}
    with pytest.raises(WebhookError) as raised:
        meter.webhook(**call)
    assert str(raised.value).startswith(said)
    assert [] == heard


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"{", b"\xff", b"[" * 100_000, b'{"id": ' + b"9" * 5000 + b"}"])
def test_what_is_signed_and_no_json_object_is_refused(meter: pixelmeter.Meter, body: bytes) -> None:
    with pytest.raises(WebhookError, match=r"^not JSON: the body is no JSON object"):
        meter.webhook(aig(body), body)


def test_a_body_of_one_mebibyte_is_taken(meter: pixelmeter.Meter) -> None:
    body = AIG_BODY + b" " * (1024 * 1024 - len(AIG_BODY))
    assert "success" == meter.webhook(aig(body), body).outcome


def test_headers_that_raise_are_a_webhook_error_too(meter: pixelmeter.Meter) -> None:
    class Broken(dict[str, str]):
        def items(self) -> Any:
            raise RuntimeError(AIG_SECRET)

    with pytest.raises(WebhookError, match=r"^not readable: RuntimeError$"):
        meter.webhook(Broken(), AIG_BODY)


def test_a_header_cannot_pass_for_two(meter: pixelmeter.Meter) -> None:
    headers = fal(FAL_BODY)
    headers["X-Fal-Webhook-Request-Id"] = f"req_1\nuser_1\n{TIME}"
    with pytest.raises(WebhookError, match="^wrong signature: the header x-fal-webhook-request-id does not have"):
        meter.webhook(headers, FAL_BODY)
