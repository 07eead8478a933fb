"""Every key of a profile changes what is recorded or sent: a key that nothing reads is a promise that is not kept."""

from __future__ import annotations

import datetime
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import httpx
import msgspec
import pytest

import pixelmeter
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.gateways.amounts import AmountReader
from pixelmeter.core.gateways.profile import Profile
from pixelmeter.system import SystemClock
from pixelmeter.testing import capture_calls

_HOST = "images.corp.example"
_PRICES = """
gateway = "corp"
[[price]]
model = "house/flux"
usd_per_image = "0.04"
[[price]]
model = "house/steps"
usd_per_step = "0.001"
[[price]]
model = "house/tokens"
usd_per_1m_output_image_tokens = "30"
output_image_tokens_per_image = 1000
output_image_tokens_per_partial_image = 100
[[price]]
gateway = "vendor"
model = "theirs"
usd_per_image = "0.05"
"""
_NOW = int(datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC).timestamp()) * 1_000_000
_READ_BY_PEOPLE = {"evidence"}
"""Keys that are for whoever reads the file."""

# By key: the profile without it or with another value, the one with it, and the call that shows the difference.
_BASE = f'id = "corp"\n[match]\nhosts = ["{_HOST}"]\n'
_COST = '[[cost]]\nfrom = "header"\nname = "x-cost"\nunit = "cents"\n'
_BODY_COST = '[[cost]]\nfrom = "body"\nname = "bill.sum"\nunit = "cents"\n'
_ROUTING = '[routing.{}]\nfrom = "header"\nname = "x-amount"\nunit = "cents"\n'
_TAG = '[tag]\nrequest_header = "x-corp-tag"\n'
_DEFAULT = '[[default_model]]\noperation = "generate"\nmodel = "house/flux"\n'
_REGION = f'[[region]]\nhosts = ["{_HOST}"]\n'
_ADDED = f'{_REGION}[[region.surcharge]]\nmodels = ["house/*"]\nparts_per_million = 100_000\n'
_SILENT = {"model": None}
_PATH = "/v1/images/generations"
_CACHED = '[cached]\nheader = "x-cache"\nvalues = ["hit"]\n'
_OWN_ROUTE = f'[[route]]\npath = "{_PATH}"\napi = "openai_images"\noperation = "generate"\n'
_CASES: dict[str, tuple[str, str, Mapping[str, Any]]] = {
    "id": (_BASE, _BASE.replace('id = "corp"', 'id = "other"'), {}),
    "generic": (_BASE, "generic = true\n" + _BASE, {}),
    "pass_through": (_BASE, 'pass_through = ["vendor"]\n' + _BASE, {"body": {"model": "theirs"}}),
    "match.hosts": (_BASE.replace(_HOST, "elsewhere.example"), _BASE, {}),
    "match.response_header_prefixes": (
        'id = "corp"\n',
        'id = "corp"\n[match]\nresponse_header_prefixes = ["x-corp-"]\n',
        {"answer": {"x-corp-id": "1"}},
    ),
    "cost.from": (_BASE + _COST, _BASE + _COST.replace("header", "body"), {"answer": {"x-cost": "7"}}),
    "cost.name": (_BASE + _COST, _BASE + _COST.replace("x-cost", "x-other"), {"answer": {"x-cost": "7"}}),
    "cost.unit": (_BASE + _BODY_COST, _BASE + _BODY_COST.replace("cents", "usd_ticks"), {}),
    "cost.zero_is_real": (_BASE + _COST, _BASE + _COST + "zero_is_real = true\n", {"answer": {"x-cost": "0"}}),
    "routing.baseline_model": (
        _BASE,
        _BASE + '[routing]\nbaseline_model = ["x-base"]\n',
        {"answer": {"x-base": "m"}},
    ),
    "routing.baseline_cost": (_BASE, _BASE + _ROUTING.format("baseline_cost"), {"answer": {"x-amount": "1"}}),
    "routing.route_fee": (_BASE, _BASE + _ROUTING.format("route_fee"), {"answer": {"x-amount": "1"}}),
    "routing.savings": (_BASE, _BASE + _ROUTING.format("savings"), {"answer": {"x-amount": "1"}}),
    "identity.request_id": (_BASE, _BASE + '[identity]\nrequest_id = ["x-id"]\n', {"answer": {"x-id": "r"}}),
    "identity.model": (_BASE, _BASE + '[identity]\nmodel = ["x-model"]\n', {"answer": {"x-model": "m"}}),
    "identity.provider": (_BASE, _BASE + '[identity]\nprovider = ["x-by"]\n', {"answer": {"x-by": "p"}}),
    "identity.hidden_models": (_BASE, _BASE + '[identity]\nhidden_models = ["house/*"]\n', {}),
    "identity.model_in_path": (
        _BASE,
        _BASE + '[identity]\nmodel_in_path = "deployments"\n',
        {"body": _SILENT, "path": "/deployments/house%2Fflux/images/generations"},
    ),
    "default_model.operation": (_BASE + _DEFAULT, _BASE + _DEFAULT.replace("generate", "edit"), {"body": _SILENT}),
    "default_model.model": (_BASE + _DEFAULT, _BASE + _DEFAULT.replace("flux", "other"), {"body": _SILENT}),
    "default_model.effective_from": (
        _BASE + _DEFAULT,
        _BASE + _DEFAULT + "effective_from = 2026-06-02\n",
        {"body": _SILENT},
    ),
    "default_model.effective_to": (
        _BASE + _DEFAULT,
        _BASE + _DEFAULT + "effective_to = 2026-06-01\n",
        {"body": _SILENT},
    ),
    "default_model.unless_fields": (
        _BASE + _DEFAULT,
        _BASE + _DEFAULT + 'unless_fields = ["background"]\n',
        {"body": _SILENT | {"background": "opaque"}},
    ),
    "byok.request_header_prefix": (
        _BASE + '[byok]\nrequest_header_prefix = "x-none-"\n',
        _BASE + '[byok]\nrequest_header_prefix = "X-Key-"\n',
        {"headers": {"x-key-vendor": "k"}},
    ),
    "byok.request_field": (
        _BASE + '[byok]\nrequest_field = "other"\n',
        _BASE + '[byok]\nrequest_field = "key"\n',
        {"body": {"key": "k"}},
    ),
    "tag.request_header": (_BASE + _TAG, _BASE + _TAG.replace("corp", "own"), {"tag": "hero"}),
    "tag.limit": (_BASE + _TAG, _BASE + _TAG + "limit = 3\n", {"tag": "hero"}),
    "fee.parts_per_million": (_BASE, _BASE + "[fee]\nparts_per_million = 50_000\n", {}),
    "limits.remaining_requests": (
        _BASE,
        _BASE + '[limits]\nremaining_requests = ["x-left"]\n',
        {"answer": {"x-left": "9"}},
    ),
    "errors.not_charged": (_BASE, _BASE + "[errors]\nnot_charged = [400]\n", {"status": 400}),
    "deployments": (_BASE, _BASE + '[deployments]\nimg = "house/flux"\n', {"body": {"model": "img"}}),
    "region.hosts": (_BASE + _ADDED.replace(_HOST, "elsewhere.example"), _BASE + _ADDED, {}),
    "region.surcharge.models": (_BASE + _ADDED, _BASE + _ADDED.replace("house", "other"), {}),
    "region.surcharge.parts_per_million": (_BASE + _ADDED, _BASE + _ADDED.replace("100_000", "200_000"), {}),
    "region.surcharge.effective_from": (_BASE + _ADDED, _BASE + _ADDED + "effective_from = 2026-06-02\n", {}),
    "region.surcharge.effective_to": (_BASE + _ADDED, _BASE + _ADDED + "effective_to = 2026-06-01\n", {}),
}
_OPEN = """path = "/v1/images/generations"
api = "prediction_jobs"
operation = "generate"
"""


def _route(**keys: str) -> str:
    """Return a profile with one route that takes anything, or as these keys say."""
    lines = dict(line.split(" = ", 1) for line in _OPEN.splitlines()) | keys
    return _BASE + "[[route]]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())


_INNER = _route(path='"/none"') + '[[inner]]\nprefix = "/{account}/openai"\nstrip = "/v1"\nprofile = "openai"\n'
_BEHIND = {"path": "/acc/openai/images/generations"}
_CASES |= {
    "route.path": (_route(path='"/v2"'), _route(path='"/v1/{model}/generations"'), {}),
    "route.api": (_route(), _route(api='"openai_images"'), {"json": {"images": ["text"]}}),
    "route.operation": (_route(), _route(operation='"edit"'), {}),
    "route.method": (_route(), _route(method='"PUT"'), {}),
    "route.pass_through": (_route(), _route(pass_through='["vendor"]'), {"body": {"model": "theirs"}}),
    "route.asks": (_route(), _route(asks='{ "body.kind[]" = ["image*"] }'), {"body": {"kind": ["text"]}}),
    "route.unless": (_route(), _route(unless='{ "body.kind" = ["*video*"] }'), {"body": {"kind": "a video"}}),
    "route.quote": (_route(), _route(quote='{ "query.dry_run" = ["true"] }'), {"path": _PATH + "?dry_run=true"}),
    "inner.prefix": (_INNER.replace("{account}", "own"), _INNER, _BEHIND),
    "inner.profile": (_INNER.replace('profile = "openai"', 'profile = "nobody"'), _INNER, _BEHIND),
    "inner.strip": (
        _BASE + '[[inner]]\nprefix = "/front"\nprofile = "corp"\n' + _OWN_ROUTE,
        _BASE + '[[inner]]\nprefix = "/front"\nstrip = "/v1"\nprofile = "corp"\n' + _OWN_ROUTE,
        {"path": "/front/images/generations"},
    ),
    "cost.when": (
        _BASE + _BODY_COST,
        _BASE + _BODY_COST + 'when = { "bill.final" = [true] }\n',
        {"json": {"data": [{"url": "u"}], "bill": {"sum": 3, "final": False}}},
    ),
    "cost.plus": (
        _BASE + _BODY_COST + _COST,
        _BASE + _BODY_COST + _COST + "plus = true\n",
        {"answer": {"x-cost": "7"}},
    ),
    "errors.not_charged_types": (
        _BASE,
        _BASE + '[errors]\nnot_charged_types = ["refus*"]\n',
        {"status": 500, "json": {"error": {"type": "refused"}}},
    ),
    "cached.header": (_BASE + _CACHED.replace("x-cache", "x-other"), _BASE + _CACHED, {"answer": {"x-cache": "HIT"}}),
    "cached.values": (_BASE + _CACHED.replace("hit", "miss"), _BASE + _CACHED, {"answer": {"x-cache": "HIT"}}),
}

# What a request or an answer has under the key `its`, for each field that a profile can say the place of.
_ASKED: dict[str, Any] = {
    "model": "theirs",
    "images": 3,
    "size": {"width": 640, "height": 480},
    "quality": "high",
    "output_format": "webp",
    "input_images": ["a", "b"],
}
_SAID: dict[str, tuple[str, Any]] = {
    "items": ('["its[]"]', [{"url": "u"}, {"url": "v"}]),
    "image": ('["its"]', None),
    "required": ("{ its = [true] }", None),
    "model": ('["its"]', "theirs"),
    "size": ('["its"]', "640x480"),
    "quality": ('["its"]', "high"),
    "output_format": ('["its"]', "webp"),
    "usage": ('["its"]', {"input_tokens": 5, "output_tokens": 7}),
    "error_type": ('["its"]', "refused"),
    "error_code": ('["its"]', "E7"),
}
_TIERED: tuple[Mapping[str, Any], ...] = {"body": {"its": "flex"}}, {"json": {"data": [{"url": "u"}], "its": "flex"}}
for _table in ("route.", ""):
    for _side, _place, _call in zip(("request", "response"), ("body.its", "its"), _TIERED, strict=True):
        _with = f'[{_table}{_side}]\nservice_tier = ["{_place}"]\n'
        _CASES[f"{_table}{_side}.service_tier"] = _route(), _route() + _with, _call
    for _name, _value in _ASKED.items():
        _with = f'[{_table}request]\n{_name} = ["body.its"]\n'
        _CASES[f"{_table}request.{_name}"] = _route(), _route() + _with, {"body": {"its": _value}}
    for _name, (_place, _value) in _SAID.items():
        _with = f"[{_table}response]\n{_name} = {_place}\n"
        _answered = {"data": [{"url": "u", "its": False}]} | ({} if _value is None else {"its": _value})
        _call = {"json": _answered, "status": 500 if _name.startswith("error") else 200}
        _CASES[f"{_table}response.{_name}"] = _route(), _route() + _with, _call
    for _name, _model in (("steps", "house/steps"), ("partial_images", "house/tokens")):
        _with = f'[{_table}request]\n{_name} = ["body.its"]\n'
        _call = {"body": {"model": _model, "its": 9}, "status": 500}
        _CASES[f"{_table}request.{_name}"] = _route(), _route() + _with, _call
    for _name in ("width", "height"):
        _other = {"width": "height", "height": "width"}[_name]
        _one = f'[{_table}request]\n{_other} = ["body.its"]\n'
        _CASES[f"{_table}request.{_name}"] = (
            _route() + _one,
            _route() + _one + f'{_name} = ["body.its"]\n',
            {"body": {"its": 640}},
        )
        _one = f'[{_table}response]\n{_other} = ["its"]\n'
        _CASES[f"{_table}response.{_name}"] = (
            _route() + _one,
            _route() + _one + f'{_name} = ["its"]\n',
            {"json": {"data": [{"url": "u"}], "its": 640}},
        )
    _job = f'[{_table}job]\nid = ["task"]\nstatus = ["state"]\n'
    _queued = {"json": {"task": "t", "state": "in line"}}
    _CASES |= {
        f"{_table}job.id": (_route() + _job.replace("task", "none"), _route() + _job, _queued),
        f"{_table}job.status": (
            _route() + _job.replace("state", "none") + "id_alone = false\n",
            _route() + _job + "id_alone = false\n",
            _queued,
        ),
        f"{_table}job.pending": (_route() + _job, _route() + _job + 'pending = ["queued"]\n', _queued),
        f"{_table}job.failed": (_route() + _job, _route() + _job + 'failed = ["in *"]\n', _queued),
        f"{_table}job.id_alone": (_route() + _job, _route() + _job + "id_alone = false\n", {"json": {"task": "t"}}),
    }

_OWN = {"id", "call_id", "first_byte", "duration"}


def _keys(kind: type[msgspec.Struct], prefix: str = "") -> Iterator[str]:
    hints = get_type_hints(kind)
    for field in msgspec.structs.fields(kind):
        inner = [one for one in (hints[field.name], *get_args(hints[field.name])) if _is_table(one)]
        # Its keys are those of a cost.
        if inner and inner[0] is not AmountReader:
            yield from _keys(inner[0], f"{prefix}{field.encode_name}.")
        else:
            yield prefix + field.encode_name


def _is_table(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _seen(folder: Path, profile: str, **call: Any) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return what is recorded of a call, but for what is its own, and the headers that were sent."""
    folder.mkdir()
    (folder / "profile.toml").write_text(profile)
    (folder / "prices.toml").write_text(_PRICES)
    sent: dict[str, str] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        sent.update(request.headers)
        images = call.get("json", {"data": [{"url": "u"}], "bill": {"sum": 3}})
        return httpx.Response(call.get("status", 200), headers=call.get("answer", {}), json=images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIXELMETER_PROFILES", str(folder / "profile.toml"))
        patch.setattr(SystemClock, "now", lambda _: _NOW)
        meter = pixelmeter.Meter(f"sqlite:///{folder}/a.db", price_book=folder / "prices.toml")
        with (
            capture_calls() as calls,
            pixelmeter.tags(**({"aig_tag": call["tag"]} if "tag" in call else {})),
            pixelmeter.instrument(httpx.Client(transport=httpx.MockTransport(answer)), meter) as client,
        ):
            client.post(
                f"https://{_HOST}{call.get('path', _PATH)}",
                headers=call.get("headers", {}),
                json={key: value for key, value in ({"model": "house/flux"} | call.get("body", {})).items() if value},
            )
    records = [msgspec.structs.asdict(attempt) for attempt in calls]
    return [{name: value for name, value in record.items() if name not in _OWN} for record in records], sent


@pytest.mark.parametrize("key", _CASES)
def test_a_key_of_a_profile_changes_a_result(tmp_path: Path, key: str) -> None:
    without, with_it, call = _CASES[key]
    before = _seen(tmp_path / "without", without, **call)
    assert before == _seen(tmp_path / "again", without, **call)
    assert before != _seen(tmp_path / "with", with_it, **call)


def test_every_key_that_a_profile_may_have_is_tried() -> None:
    # Those of webhooks are tried in tests/webhooks/test_keys.py.
    assert {key for key in _keys(Profile) if not key.startswith("webhook.")} == _CASES.keys() | _READ_BY_PEOPLE


def test_every_key_that_a_profile_may_have_is_documented() -> None:
    page = Path(__file__).parents[2] / "docs" / "gateways.md"
    [text] = re.findall(r"```toml\n(# Everything.*?)```", page.read_text(), re.DOTALL)
    shown = set(_paths(tomllib.loads(text)))
    assert set(_keys(Profile)) - {"generic"} - _REFUSED == shown


_REFUSED = {"webhook.response.output_format", "webhook.response.service_tier"}
"""Keys that a table has from another one, and that may not be used there."""
_MAPPINGS = {"asks", "unless", "quote", "when", "required", "deployments"}
"""Keys whose tables have keys of whoever writes them."""


def _paths(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in table.items():
        tables = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]
        is_whole = name in _MAPPINGS or prefix == "routing."
        if not tables or is_whole:
            yield prefix + name
        for one in tables if not is_whole else ():
            yield from _paths(one, f"{prefix}{name}.")


def test_a_tag_is_sent_as_the_gateway_takes_it_and_recorded_as_it_was_sent(tmp_path: Path) -> None:
    [record], sent = _seen(tmp_path / "a", _BASE + _TAG + "limit = 3\n", tag="hero")
    assert ("her", {"aig_tag": "her"}) == (sent["x-corp-tag"], json.loads(record["tags"]))


def test_a_tag_of_the_request_itself_is_sent_as_it_is_and_recorded_within_the_limit(tmp_path: Path) -> None:
    [record], sent = _seen(tmp_path / "a", _BASE + _TAG + "limit = 3\n", headers={"x-corp-tag": "heroes"})
    assert ("heroes", {"aig_tag": "her"}) == (sent["x-corp-tag"], json.loads(record["tags"]))


@pytest.mark.parametrize(("length", "kept"), [(64, 64), (65, 64), (5000, 64)])
def test_no_more_of_a_tag_than_aigateway_takes_is_recorded(tmp_path: Path, length: int, kept: int) -> None:
    [record], _ = _seen(
        tmp_path / "a",
        f'id = "mine"\n[match]\nhosts = ["{_HOST}"]\n[tag]\nrequest_header = "x-aig-tag"\n',
        headers={"x-aig-tag": "x" * length},
    )
    assert kept == len(json.loads(record["tags"])["aig_tag"])


def test_a_key_of_the_callers_own_to_an_unknown_host_is_seen_before_the_answer_shows_whose_it_is(
    tmp_path: Path,
) -> None:
    [record], _ = _seen(
        tmp_path / "a",
        'id = "elsewhere"\n',
        headers={"x-byok-openai": "k"},
        answer={"x-aig-provider": "p", "x-cost-cents": "0.2"},
        body={"model": "meta/sam-3-1-image"},
    )
    assert (True, 10_000_000, "priced", 2_000_000) == tuple(
        record[name] for name in ("byok", "cost", "cost_source", "fee")
    )


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ({"x-byok-openai": "k"}, True),
        ({"accept": "*/*", "X-BYOK-OpenAI": "k"}, True),
        ({"my-x-byok-openai": "k"}, False),
        ({"x-by": "k", "byok-openai": "k"}, False),
    ],
)
def test_a_key_is_the_callers_own_where_the_name_of_its_header_begins_with_the_prefix(
    tmp_path: Path, headers: dict[str, str], own: bool
) -> None:
    profile = _BASE + '[byok]\nrequest_header_prefix = "x-byok-"\n'
    [record], _ = _seen(tmp_path / "a", profile, headers=headers)
    assert own == record["byok"]


def test_attempts_have_the_fields_that_are_left_out_here() -> None:
    assert _OWN <= set(Attempt.__struct_fields__)
