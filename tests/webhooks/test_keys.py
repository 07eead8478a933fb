"""Every key of `[webhook]` in a profile changes what is taken or recorded."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

import pixelmeter
from pixelmeter.core.attempts.jobs import JobEnd
from pixelmeter.core.gateways.profile import Profile
from pixelmeter.errors import PixelmeterError
from tests.gateways.profile_keys import REFUSED, keys
from tests.webhooks.senders import TIME

_SIGNATURE = '[[webhook.signature]]\nscheme = "hmac"\nheader = "X-Sig"\ntimestamp = "X-Time"\nsigned = ["X-Id"]\n'
_COST = '[[webhook.cost]]\nfrom = "body"\nname = "bill"\nunit = "cents"\n'
_JOB = 'job_id = ["job"]\nstatus = ["state"]\ndone = ["ok"]\n'
_FAILED = 'job_id = ["job"]\nstatus = ["state"]\nfailed = ["ok"]\n'
_OK: Mapping[str, Any] = {"job": "j", "state": "ok", "id": "e", "kind": "job", "data": [{"url": "u"}], "bill": 3}


def _profile(table: str = _JOB, more: str = "", signature: str = _SIGNATURE) -> str:
    return f'id = "corp"\n[webhook]\n{table}\n{signature}{more}'


# By key: the profile without it or with another value, the one with it, and the event that shows the difference.
_CASES: dict[str, tuple[str, str, Mapping[str, Any]]] = {
    "event_id": (_profile(), _profile(_JOB + 'event_id = ["id"]'), _OK),
    "type": (_profile(), _profile(_JOB + 'type = ["kind"]'), _OK),
    "jobs": (_profile(_JOB + 'type = ["kind"]'), _profile(_JOB + 'type = ["kind"]\njobs = ["x*"]'), _OK),
    "job_id": (_profile(), _profile(_JOB.replace('"job"', '"id"')), _OK),
    "status": (_profile(), _profile(_JOB.replace('"state"', '"kind"')), _OK),
    "done": (_profile(_JOB.replace('"ok"', '"well"')), _profile(), {**_OK, "data": []}),
    "failed": (_profile(), _profile(_JOB + 'failed = ["o*"]'), _OK),
    "cancelled": (_profile(), _profile(_JOB + 'cancelled = ["o*"]'), _OK),
    "not_charged": (_profile(_FAILED), _profile(_FAILED + 'not_charged = ["o*"]'), _OK),
    "signature.scheme": (_profile(signature=_SIGNATURE.replace('"hmac"', '"bria"')), _profile(), _OK),
    "signature.header": (_profile(signature=_SIGNATURE.replace("X-Sig", "X-None")), _profile(), _OK),
    "signature.timestamp": (_profile(signature=_SIGNATURE.replace("X-Time", "X-None")), _profile(), _OK),
    "signature.signed": (_profile(signature=_SIGNATURE.replace('"X-Id"', "")), _profile(), _OK),
    "signature.tolerance": (_profile(signature=_SIGNATURE + "tolerance = 9\n"), _profile(), _OK),
    "cost.from": (_profile(), _profile(more=_COST), _OK),
    "cost.name": (_profile(more=_COST.replace("bill", "none")), _profile(more=_COST), _OK),
    "cost.unit": (_profile(more=_COST.replace("cents", "usd")), _profile(more=_COST), _OK),
    "cost.zero_is_real": (_profile(more=_COST), _profile(more=_COST + "zero_is_real = true\n"), {**_OK, "bill": 0}),
    "cost.when": (_profile(more=_COST), _profile(more=_COST + 'when = { "state" = ["no"] }\n'), _OK),
    "cost.plus": (_profile(more=_COST + _COST), _profile(more=_COST + _COST + "plus = true\n"), _OK),
}
_SAID: dict[str, tuple[str, Any]] = {
    "items": ('["its[]"]', [{"url": "u"}, {"url": "v"}]),
    "image": ('["its"]', None),
    "required": ("{ its = [true] }", None),
    "model": ('["its"]', "theirs"),
    "size": ('["its"]', "640x480"),
    "quality": ('["its"]', "high"),
    "usage": ('["its"]', {"input_tokens": 5, "output_tokens": 7}),
    "error_type": ('["its"]', "refused"),
    "error_code": ('["its"]', "E7"),
}
for _name, (_place, _value) in _SAID.items():
    _said = {**_OK, "data": [{"url": "u", "its": False}]} | ({} if _value is None else {"its": _value})
    _job = _FAILED if _name.startswith("error") else _JOB
    _case = _profile(_job), _profile(_job, f"[webhook.response]\n{_name} = {_place}\n"), _said
    _CASES[f"response.{_name}"] = _case
for _name, _other in (("width", "height"), ("height", "width")):
    _one = f'[webhook.response]\n{_other} = ["its"]\n'
    _CASES[f"response.{_name}"] = (
        _profile(more=_one),
        _profile(more=_one + f'{_name} = ["its"]\n'),
        {**_OK, "its": 640},
    )


def _heard(folder: Path, heard: list[JobEnd], profile: str, document: Mapping[str, Any]) -> list[Any]:
    """Return the event, or why it is none, and what was recorded, but for the id of that."""
    folder.mkdir()
    (folder / "corp.toml").write_text(profile)
    body = json.dumps(document).encode()
    signed = hmac.new(b"s", f"i.{TIME - 100}.".encode() + body, hashlib.sha256).hexdigest()
    heard.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIXELMETER_PROFILES", str(folder / "corp.toml"))
        meter = pixelmeter.Meter(f"sqlite:///{folder}/a.db", webhook_secrets={"corp": "s"})
        try:
            event: Any = meter.webhook({"x-sig": signed, "x-time": str(TIME - 100), "x-id": "i"}, body)
        except PixelmeterError as error:
            event = str(error)
    return [event, *(msgspec.structs.replace(end, id="") for end in heard)]


@pytest.mark.parametrize("key", _CASES)
def test_a_key_of_a_webhook_changes_a_result(tmp_path: Path, heard: list[JobEnd], key: str) -> None:
    without, with_it, document = _CASES[key]
    before = _heard(tmp_path / "without", heard, without, document)
    assert before == _heard(tmp_path / "again", heard, without, document)
    assert before != _heard(tmp_path / "with", heard, with_it, document)


def test_every_key_that_a_webhook_may_have_is_tried() -> None:
    names = {key for key in keys(Profile) if key.startswith("webhook.")}
    assert names - REFUSED == {f"webhook.{key}" for key in _CASES}


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ('id = "corp"\n[webhook]\nsignature = []\n', "a webhook without a signature proves nothing"),
        (
            _profile(more=_SIGNATURE.replace("hmac", "ed25519")),
            "a webhook has signatures of ed25519 only, or none of it",
        ),
        (_profile(more=_COST.replace('"body"', '"header"')), "the cost of an event stands in its body"),
        (_profile(more='[webhook.response]\nservice_tier = ["x"]\n'), "of an event neither output_format nor"),
        (_profile(signature=_SIGNATURE.replace("hmac", "timestamped")), "timestamped takes no timestamp"),
        (_profile(signature=_SIGNATURE.replace('timestamp = "X-Time"', "")), "hmac takes a header timestamp"),
        (_profile(signature=_SIGNATURE.replace("hmac", "md5")), "Invalid enum value 'md5'"),
        (_profile(signature=_SIGNATURE + "tolerance = -1\n"), "Expected `int` >= 0"),
        (_profile(_JOB + "secret = 's'"), "contains unknown field `secret`"),
    ],
)
def test_a_webhook_that_cannot_be_used_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str, said: str
) -> None:
    (tmp_path / "corp.toml").write_text(profile)
    monkeypatch.setenv("PIXELMETER_PROFILES", str(tmp_path / "corp.toml"))
    with pytest.raises(pixelmeter.ConfigError, match=said):
        pixelmeter.Meter(f"sqlite:///{tmp_path}/a.db")
