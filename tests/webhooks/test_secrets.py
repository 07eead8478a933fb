"""Where secrets come from, and that nobody sees them."""

from __future__ import annotations

import importlib.util
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import pixelmeter
from pixelmeter.cli import main
from pixelmeter.core.attempts.jobs import JobEnd
from pixelmeter.errors import ConfigError, WebhookError
from pixelmeter.settings import from_environment
from tests.webhooks.senders import (
    AIG_BODY,
    BRIA_BODY,
    EVENTS,
    FAL_BODY,
    PREDICTION,
    SECRETS,
    X,
    aig,
    bria,
    fal,
    standard,
)


def test_nothing_is_taken_without_a_secret(tmp_path: Path) -> None:
    meter = pixelmeter.Meter(f"sqlite:///{tmp_path}/a.db")
    with pytest.raises(WebhookError) as raised:
        meter.webhook(aig(AIG_BODY, secret=""), AIG_BODY)
    assert (
        'no secret of aigateway: give secret=, Meter(webhook_secrets={"aigateway": ...}) '
        "or PIXELMETER_WEBHOOK_SECRETS=aigateway=..."
    ) == str(raised.value)
    with pytest.raises(WebhookError, match="^no secret of replicate or wavespeed: "):
        meter.webhook(standard(PREDICTION), PREDICTION)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("aigateway=a", {"aigateway": ("a",)}),
        (" aigateway = a , bria=b==, aigateway=c,", {"aigateway": ("a", "c"), "bria": ("b==",)}),
        ('{"aigateway": "a", "bria": ["b,1", "b2"]}', {"aigateway": ("a",), "bria": ("b,1", "b2")}),
        ('{"fal": {"keys": [{"x": "k"}]}}', {"fal": ('{"keys":[{"x":"k"}]}',)}),
        ("{}", {}),
        ("", {}),
    ],
)
def test_secrets_may_come_from_the_environment(text: str, found: dict[str, tuple[str, ...]]) -> None:
    assert found == from_environment({"PIXELMETER_WEBHOOK_SECRETS": text}).webhook_secrets


@pytest.mark.parametrize(
    "text",
    ["topsecret", "=topsecret", "topsecret=", "{topsecret", '{"fal": 7, "a": "topsecret"}', '{"topsecret": []}',
     '{"topsecret": ""}', '{"topsecret": ["a", 7]}', "{" * 5000],
)  # fmt: skip
def test_secrets_that_cannot_be_read_are_not_shown(text: str) -> None:
    with pytest.raises(ConfigError, match="^PIXELMETER_WEBHOOK_SECRETS") as raised:
        from_environment({"PIXELMETER_WEBHOOK_SECRETS": text})
    assert "topsecret" not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"topsecret": "x"}, "webhook_secrets: entry 1 is for no gateway profile with webhooks; those are aigateway"),
        ({"openai": "topsecret"}, "webhook_secrets: entry 1 is for no gateway profile with webhooks"),
        ({"fal": ""}, "webhook_secrets: entry 1 is no profile with a secret"),
        ({"fal": b"topsecret"}, "webhook_secrets: entry 1 is no profile with a secret"),
        ({"fal": []}, "webhook_secrets: entry 1 is no profile with a secret"),
        ("topsecret", "webhook_secrets is a str: give a dict"),
    ],
)
def test_secrets_of_a_meter_that_cannot_be_used_are_refused_at_once(tmp_path: Path, given: Any, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        pixelmeter.Meter(f"sqlite:///{tmp_path}/a.db", webhook_secrets=given)
    assert str(raised.value).startswith(said)
    assert "topsecret" not in str(raised.value)


def test_the_argument_wins_over_the_meter_and_that_over_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELMETER_WEBHOOK_SECRETS", "aigateway=of the environment,bria=bria_test_token")
    meter = pixelmeter.Meter(f"sqlite:///{tmp_path}/a.db")
    assert "aigateway" == meter.webhook(aig(AIG_BODY, secret="of the environment"), AIG_BODY).gateway
    meter = pixelmeter.Meter(f"sqlite:///{tmp_path}/a.db", webhook_secrets={"aigateway": "of the meter"})
    assert "bria" == meter.webhook(bria(BRIA_BODY), BRIA_BODY).gateway
    with pytest.raises(WebhookError, match="^wrong signature"):
        meter.webhook(aig(AIG_BODY, secret="of the environment"), AIG_BODY)
    assert "aigateway" == meter.webhook(aig(AIG_BODY, secret="of the meter"), AIG_BODY).gateway
    with pytest.raises(WebhookError, match="^wrong signature"):
        meter.webhook(aig(AIG_BODY, secret="of the meter"), AIG_BODY, secret="given")
    assert "aigateway" == meter.webhook(aig(AIG_BODY, secret="given"), AIG_BODY, secret="given").gateway


def test_nothing_secret_is_shown(
    meter: pixelmeter.Meter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    texts: list[str] = []
    for gateway, body, sign in EVENTS.values():
        texts.append(repr(meter.webhook(sign(body), body)))
        mistakes: tuple[dict[str, Any], ...] = ({"body": body + b"~"}, {"secret": "topsecret"}, {"headers": {}})
        for wrong in mistakes:
            with pytest.raises(WebhookError) as raised:
                meter.webhook(**{"headers": sign(body), "body": body, "gateway": gateway} | wrong)
            texts.append(f"{raised.value!r} {raised.value.__cause__!r} {raised.value.__context__!r}")
    monkeypatch.setenv("PIXELMETER_WEBHOOK_SECRETS", "aigateway=topsecret")
    texts += [repr(meter), str(meter.status()), repr(vars(meter)), repr(from_environment()), caplog.text]
    shown = "\n".join(texts)
    for secret in ("topsecret", "https://", "seed", *SECRETS.values()):
        assert secret not in shown


def test_without_cryptography_the_error_says_what_to_install(tmp_path: Path) -> None:
    program = f"""
import sys
sys.modules["cryptography"] = None
import pixelmeter
from pixelmeter.recorder.recorder import Recorder
Recorder.job_end = lambda self, end: None
meter = pixelmeter.Meter("sqlite:///{tmp_path}/a.db", webhook_secrets={{"fal": "{X}"}})
try:
    meter.webhook({fal(FAL_BODY)!r}, {FAL_BODY!r})
except pixelmeter.WebhookError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert 'fal signs with Ed25519, which needs cryptography: pip install "pixelmeter[webhooks]"\n' == done.stdout


def test_cryptography_is_loaded_for_those_who_need_it_only(tmp_path: Path) -> None:
    program = f"""
import sys
import pixelmeter
from pixelmeter.recorder.recorder import Recorder
Recorder.job_end = lambda self, end: None
meter = pixelmeter.Meter("sqlite:///{tmp_path}/a.db", webhook_secrets={{"bria": "bria_test_token"}})
print(meter.webhook({bria(BRIA_BODY)!r}, {BRIA_BODY!r}).outcome)
print("cryptography" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert "success\nFalse\n" == done.stdout


@pytest.mark.parametrize(
    ("secrets", "cryptography", "state", "found"),
    [
        ("bria=topsecret,fal=topsecret", True, "ok", "secrets for bria, fal"),
        ("bria=topsecret,fal=topsecret", False, "problem", "fal: Ed25519 needs cryptography"),
        ("bria=topsecret", False, "ok", "secrets for bria"),
        ("topsecret=x", True, "problem", "a secret is for no gateway profile with webhooks"),
        ("openai=topsecret", True, "problem", "a secret is for no gateway profile with webhooks"),
    ],
)
def test_the_doctor_says_whose_secrets_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secrets: str, cryptography: bool, state: str, found: str
) -> None:
    monkeypatch.setenv("PIXELMETER_WEBHOOK_SECRETS", secrets)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: find(name) if cryptography or name != "cryptography" else None
    )
    result = CliRunner().invoke(main, ["doctor", "--format", "json", "--database-url", f"sqlite:///{tmp_path}/a.db"])
    [webhooks] = [each for each in json.loads(result.output) if each["check"] == "webhooks"]
    assert (state, found) == (webhooks["state"], webhooks["found"])
    assert "topsecret" not in result.output


def test_nobody_can_sign_with_a_public_key_as_if_it_were_a_secret(meter: pixelmeter.Meter, heard: list[JobEnd]) -> None:
    for secret in (X, [SECRETS["bria"], X]):
        with pytest.raises(WebhookError, match="^no gateway: this secret may be a public key"):
            meter.webhook(aig(AIG_BODY, secret=X), AIG_BODY, secret=secret)
    for name in ("fal", "ideogram"):
        with pytest.raises(WebhookError, match=f"^no signature: it has none of the headers x-{name}"):
            meter.webhook(aig(AIG_BODY, secret=X), AIG_BODY, gateway=name)
    assert [] == heard
    # A secret that only looks like one is taken where it is said whose it is.
    assert "aigateway" == meter.webhook(aig(AIG_BODY, secret=X), AIG_BODY, gateway="aigateway", secret=X).gateway
