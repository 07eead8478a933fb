"""What is signed, with what, and when."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import pixelmeter
from pixelmeter.core.attempts.jobs import JobEnd
from pixelmeter.errors import WebhookError
from tests.webhooks.senders import (
    AIG_BODY,
    AIG_HEX,
    BRIA_BODY,
    EACH,
    EVENTS,
    FAL_BODY,
    FAL_HEX,
    OTHER_X,
    PREDICTION,
    PUBLIC,
    SECRETS,
    TIME,
    Headers,
    X,
    aig,
    bria,
    fal,
    set_clock,
    standard,
)


@pytest.mark.parametrize(
    ("gateway", "headers", "body"),
    [
        ("aigateway", {"X-Gateway-Signature": f"t={TIME},v1={AIG_HEX}"}, AIG_BODY),
        ("aigateway", {"aig-timestamp": str(TIME), "aig-signature": AIG_HEX}, AIG_BODY),
        (
            "fal",
            {
                "X-Fal-Webhook-Request-Id": "req_1",
                "X-Fal-Webhook-User-Id": "user_1",
                "X-Fal-Webhook-Timestamp": str(TIME),
                "X-Fal-Webhook-Signature": FAL_HEX,
            },
            FAL_BODY,
        ),
        (
            "bria",
            {
                "Bria-Webhook-Id": "r1",
                "Bria-Webhook-Timestamp": str(TIME),
                "Bria-Webhook-Signature": "v1=qtnLHmgAzjll1SwGin+plwmQ7+7cDKxNvFcFzk4iWVU=",
            },
            BRIA_BODY,
        ),
    ],
)
def test_a_known_signature_of_each_vendor_is_right(
    meter: pixelmeter.Meter, gateway: str, headers: Headers, body: bytes
) -> None:
    assert gateway == meter.webhook(headers, body).gateway


def test_the_example_of_standard_webhooks_is_right(meter: pixelmeter.Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, 1_614_265_330)
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    event = meter.webhook(headers, b'{"test": 2432232314}')
    assert ("replicate", "msg_p5jXN8AQM9LWM0D4loKWxJek", None) == (event.gateway, event.id, event.outcome)


@EACH
def test_a_job_that_has_ended_is_recorded(
    meter: pixelmeter.Meter, heard: list[JobEnd], gateway: str, body: bytes, sign: Callable[..., Headers]
) -> None:
    event = meter.webhook(sign(body), body)
    [end] = heard
    assert (gateway, "success", False) == (event.gateway, event.outcome, event.repeated)
    assert (gateway, event.job_id, "webhook", "success", 1) == (
        end.gateway,
        end.job_id,
        end.source,
        end.outcome,
        end.images,
    )
    assert TIME * 1_000_000 == end.heard_at


@EACH
def test_a_body_that_was_changed_is_refused(
    meter: pixelmeter.Meter, heard: list[JobEnd], gateway: str, body: bytes, sign: Callable[..., Headers]
) -> None:
    for changed in (body + b" ", body[:-2] + b" }", body.replace(b"1", b"2"), b"{}", b""):
        with pytest.raises(WebhookError, match=f"^wrong signature: no secret of {gateway} fits"):
            meter.webhook(sign(body), changed, gateway=gateway)
    assert [] == heard


@EACH
def test_a_time_that_was_changed_is_refused(
    meter: pixelmeter.Meter, gateway: str, body: bytes, sign: Callable[..., Headers]
) -> None:
    changed = {name: value.replace(str(TIME), str(TIME + 1)) for name, value in sign(body).items()}
    with pytest.raises(WebhookError, match="^wrong signature"):
        meter.webhook(changed, body, gateway=gateway)


@EACH
def test_a_signature_that_was_changed_is_refused(
    meter: pixelmeter.Meter, gateway: str, body: bytes, sign: Callable[..., Headers]
) -> None:
    [name] = [name for name in sign(body) if name.endswith(("ignature", "ignature"))]
    value = sign(body)[name]
    first = {"v1=": 3, "v1,": 3, "v3,": 3, "t=1": value.find("v1=") + 3}.get(value[:3], 0)
    other = "1" if value[first] != "1" else "2"
    for wrong in (
        value[:first] + other + value[first + 1 :],
        value[:first],
        value[:-4],
        value + "00",
        "",
        "é",
        "t=,v1=",
    ):
        with pytest.raises(WebhookError, match="^(wrong|no) signature"):
            meter.webhook(sign(body) | {name: wrong}, body, gateway=gateway)


@EACH
def test_each_header_that_is_signed_is_needed_and_checked(
    meter: pixelmeter.Meter, gateway: str, body: bytes, sign: Callable[..., Headers]
) -> None:
    for name in (name for name in sign(body) if not name.endswith("Key-Id")):
        without = {key: value for key, value in sign(body).items() if key != name}
        with pytest.raises(WebhookError, match="^no signature"):
            meter.webhook(without, body, gateway=gateway)
        with pytest.raises(WebhookError, match="^wrong signature"):
            meter.webhook(sign(body) | {name: "9" + sign(body)[name]}, body, gateway=gateway)


@EACH
def test_another_secret_is_refused(
    meter: pixelmeter.Meter, gateway: str, body: bytes, sign: Callable[..., Headers]
) -> None:
    other = OTHER_X if gateway in ("fal", "ideogram") else base64.b64encode(b"other").decode()
    with pytest.raises(WebhookError, match="^wrong signature"):
        meter.webhook(sign(body), body, gateway=gateway, secret=other)


@EACH
def test_any_of_several_secrets_may_be_right(
    tmp_path: Path, gateway: str, body: bytes, sign: Callable[..., Headers]
) -> None:
    other = OTHER_X if gateway in ("fal", "ideogram") else base64.b64encode(b"other").decode()
    meter = pixelmeter.Meter(f"sqlite:///{tmp_path}/a.db", webhook_secrets={gateway: [other, SECRETS[gateway]]})
    assert gateway == meter.webhook(sign(body), body).gateway
    again = pixelmeter.Meter(f"sqlite:///{tmp_path}/a.db")
    assert gateway == again.webhook(sign(body), body, gateway=gateway, secret=(other, SECRETS[gateway])).gateway


def test_any_of_several_signatures_may_be_right(meter: pixelmeter.Meter) -> None:
    for name, sign, other in (
        ("webhook-signature", standard, "v1,AAAA v2,xx {}"),
        ("webhook-signature", standard, "{} v1a,AAAA"),
    ):
        headers = sign(PREDICTION)
        meter.webhook(headers | {name: other.format(headers[name])}, PREDICTION)
    bria_headers = bria(BRIA_BODY)
    several = f"v1=AAAA, {bria_headers['Bria-Webhook-Signature']}"
    meter.webhook(bria_headers | {"Bria-Webhook-Signature": several}, BRIA_BODY)
    meter.webhook({name: f"{value},v1=00,v0=11" for name, value in aig(AIG_BODY).items()}, AIG_BODY)


@pytest.mark.parametrize(
    "key",
    [
        X,
        X + "=",
        base64.b64encode(PUBLIC).decode(),
        PUBLIC.hex(),
        PUBLIC.hex().upper(),
        f"  {X}\n",
        json.dumps({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": OTHER_X}, {"kty": "OKP", "x": X, "kid": "k"}]}),
        json.dumps({"kty": "OKP", "crv": "Ed25519", "x": X}),
    ],
)
def test_a_public_key_may_be_written_in_several_ways(meter: pixelmeter.Meter, key: str) -> None:
    assert "fal" == meter.webhook(fal(FAL_BODY), FAL_BODY, secret=key).gateway


@pytest.mark.parametrize(
    "key",
    ["x", "{", "{}", '{"keys": 7}', '{"keys": [7, {"x": 7}, {"x": "AAAA"}]}', "[]", "00" * 31, "é" * 32, "-----BEGIN"],
)
def test_what_is_no_public_key_is_refused(meter: pixelmeter.Meter, key: str) -> None:
    with pytest.raises(WebhookError, match=r"^no secret: that of fal is not a public key"):
        meter.webhook(fal(FAL_BODY), FAL_BODY, secret=key)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_ä", "whsec_$$$", "a"])
def test_a_key_of_standard_webhooks_is_base64(meter: pixelmeter.Meter, secret: str) -> None:
    with pytest.raises(WebhookError, match=r"^no secret: that of replicate is not base64"):
        meter.webhook(standard(PREDICTION), PREDICTION, gateway="replicate", secret=secret)


def test_signatures_are_compared_in_constant_time(meter: pixelmeter.Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def watched(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr("pixelmeter.core.gateways.signatures.hmac.compare_digest", watched)
    for gateway, body, sign in EVENTS.values():
        compared.clear()
        meter.webhook(sign(body), body, gateway=gateway, secret=(SECRETS[gateway], SECRETS[gateway]))
        # Of two secrets the second is compared although the first is right.
        assert (0 if gateway in ("fal", "ideogram") else 2) == len(compared)


@EACH
@pytest.mark.parametrize(("late", "taken"), [(299, True), (300, True), (301, False), (-300, True), (-301, False)])
def test_an_event_has_300_seconds(
    meter: pixelmeter.Meter,
    monkeypatch: pytest.MonkeyPatch,
    gateway: str,
    body: bytes,
    sign: Callable[..., Headers],
    late: int,
    taken: bool,
) -> None:
    set_clock(monkeypatch, TIME + late)
    if taken or gateway == "bria":
        assert gateway == meter.webhook(sign(body), body).gateway
        return
    said = (
        "too old: signed 301 s ago, 300 s are allowed" if late > 0 else "signed 301 s in the future, 300 s are allowed"
    )
    with pytest.raises(WebhookError, match=f"^{said}"):
        meter.webhook(sign(body), body)


def test_bria_may_be_late_as_its_own_client_has_it(meter: pixelmeter.Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, TIME + 45 * 60)
    assert "success" == meter.webhook(bria(BRIA_BODY), BRIA_BODY).outcome
