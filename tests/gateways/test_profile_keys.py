"""Every key of a profile changes what is recorded or sent: a key that nothing reads is a promise that is not kept."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.gateways.profile import Profile
from tests.gateways.profile_keys import BASE, HOST, OWN, PATH, REFUSED, keys, route, seen

_READ_BY_PEOPLE = {"evidence"}
"""Keys that are for whoever reads the file."""
_OF_LATER_ANSWERS = re.compile(r"^webhook\.|job\.(follow\.|(done|cancelled|not_charged|max_age_hours)$)")
"""Keys that are tried beside this file."""

# By key: the profile without it or with another value, the one with it, and the call that shows the difference.
_COST = '[[cost]]\nfrom = "header"\nname = "x-cost"\nunit = "cents"\n'
_BODY_COST = '[[cost]]\nfrom = "body"\nname = "bill.sum"\nunit = "cents"\n'
_ROUTING = '[routing.{}]\nfrom = "header"\nname = "x-amount"\nunit = "cents"\n'
_TAG = '[tag]\nrequest_header = "x-corp-tag"\n'
_DEFAULT = '[[default_model]]\noperation = "generate"\nmodel = "house/flux"\n'
_REGION = f'[[region]]\nhosts = ["{HOST}"]\n'
_ADDED = f'{_REGION}[[region.surcharge]]\nmodels = ["house/*"]\nparts_per_million = 100_000\n'
_SILENT = {"model": None}
_CACHED = '[cached]\nheader = "x-cache"\nvalues = ["hit"]\n'
_OWN_ROUTE = f'[[route]]\npath = "{PATH}"\napi = "openai_images"\noperation = "generate"\n'
_CASES: dict[str, tuple[str, str, Mapping[str, Any]]] = {
    "id": (BASE, BASE.replace('id = "corp"', 'id = "other"'), {}),
    "generic": (BASE, "generic = true\n" + BASE, {}),
    "pass_through": (BASE, 'pass_through = ["vendor"]\n' + BASE, {"body": {"model": "theirs"}}),
    "match.hosts": (BASE.replace(HOST, "elsewhere.example"), BASE, {}),
    "match.response_header_prefixes": (
        'id = "corp"\n',
        'id = "corp"\n[match]\nresponse_header_prefixes = ["x-corp-"]\n',
        {"answer": {"x-corp-id": "1"}},
    ),
    "cost.from": (BASE + _COST, BASE + _COST.replace("header", "body"), {"answer": {"x-cost": "7"}}),
    "cost.name": (BASE + _COST, BASE + _COST.replace("x-cost", "x-other"), {"answer": {"x-cost": "7"}}),
    "cost.unit": (BASE + _BODY_COST, BASE + _BODY_COST.replace("cents", "usd_ticks"), {}),
    "cost.zero_is_real": (BASE + _COST, BASE + _COST + "zero_is_real = true\n", {"answer": {"x-cost": "0"}}),
    "routing.baseline_model": (
        BASE,
        BASE + '[routing]\nbaseline_model = ["x-base"]\n',
        {"answer": {"x-base": "m"}},
    ),
    "routing.baseline_cost": (BASE, BASE + _ROUTING.format("baseline_cost"), {"answer": {"x-amount": "1"}}),
    "routing.route_fee": (BASE, BASE + _ROUTING.format("route_fee"), {"answer": {"x-amount": "1"}}),
    "routing.savings": (BASE, BASE + _ROUTING.format("savings"), {"answer": {"x-amount": "1"}}),
    "identity.request_id": (BASE, BASE + '[identity]\nrequest_id = ["x-id"]\n', {"answer": {"x-id": "r"}}),
    "identity.model": (BASE, BASE + '[identity]\nmodel = ["x-model"]\n', {"answer": {"x-model": "m"}}),
    "identity.provider": (BASE, BASE + '[identity]\nprovider = ["x-by"]\n', {"answer": {"x-by": "p"}}),
    "identity.hidden_models": (BASE, BASE + '[identity]\nhidden_models = ["house/*"]\n', {}),
    "identity.model_in_path": (
        BASE,
        BASE + '[identity]\nmodel_in_path = "deployments"\n',
        {"body": _SILENT, "path": "/deployments/house%2Fflux/images/generations"},
    ),
    "default_model.operation": (BASE + _DEFAULT, BASE + _DEFAULT.replace("generate", "edit"), {"body": _SILENT}),
    "default_model.model": (BASE + _DEFAULT, BASE + _DEFAULT.replace("flux", "other"), {"body": _SILENT}),
    "default_model.effective_from": (
        BASE + _DEFAULT,
        BASE + _DEFAULT + "effective_from = 2026-06-02\n",
        {"body": _SILENT},
    ),
    "default_model.effective_to": (
        BASE + _DEFAULT,
        BASE + _DEFAULT + "effective_to = 2026-06-01\n",
        {"body": _SILENT},
    ),
    "default_model.unless_fields": (
        BASE + _DEFAULT,
        BASE + _DEFAULT + 'unless_fields = ["background"]\n',
        {"body": _SILENT | {"background": "opaque"}},
    ),
    "byok.request_header_prefix": (
        BASE + '[byok]\nrequest_header_prefix = "x-none-"\n',
        BASE + '[byok]\nrequest_header_prefix = "X-Key-"\n',
        {"headers": {"x-key-vendor": "k"}},
    ),
    "byok.request_field": (
        BASE + '[byok]\nrequest_field = "other"\n',
        BASE + '[byok]\nrequest_field = "key"\n',
        {"body": {"key": "k"}},
    ),
    "tag.request_header": (BASE + _TAG, BASE + _TAG.replace("corp", "own"), {"tag": "hero"}),
    "tag.limit": (BASE + _TAG, BASE + _TAG + "limit = 3\n", {"tag": "hero"}),
    "fee.parts_per_million": (BASE, BASE + "[fee]\nparts_per_million = 50_000\n", {}),
    "limits.remaining_requests": (
        BASE,
        BASE + '[limits]\nremaining_requests = ["x-left"]\n',
        {"answer": {"x-left": "9"}},
    ),
    "errors.not_charged": (BASE, BASE + "[errors]\nnot_charged = [400]\n", {"status": 400}),
    "size_names": (BASE, BASE + '[size_names]\nlarge = "2048x2048"\n', {"body": {"size": "large"}}),
    "deployments": (BASE, BASE + '[deployments]\nimg = "house/flux"\n', {"body": {"model": "img"}}),
    "region.hosts": (BASE + _ADDED.replace(HOST, "elsewhere.example"), BASE + _ADDED, {}),
    "region.surcharge.models": (BASE + _ADDED, BASE + _ADDED.replace("house", "other"), {}),
    "region.surcharge.parts_per_million": (BASE + _ADDED, BASE + _ADDED.replace("100_000", "200_000"), {}),
    "region.surcharge.effective_from": (BASE + _ADDED, BASE + _ADDED + "effective_from = 2026-06-02\n", {}),
    "region.surcharge.effective_to": (BASE + _ADDED, BASE + _ADDED + "effective_to = 2026-06-01\n", {}),
}
_INNER = route(path='"/none"') + '[[inner]]\nprefix = "/{account}/openai"\nstrip = "/v1"\nprofile = "openai"\n'
_BEHIND = {"path": "/acc/openai/images/generations"}
_CASES |= {
    "route.path": (route(path='"/v2"'), route(path='"/v1/{model}/generations"'), {}),
    "route.api": (route(), route(api='"openai_images"'), {"json": {"images": ["text"]}}),
    "route.operation": (route(), route(operation='"edit"'), {}),
    "route.method": (route(), route(method='"PUT"'), {}),
    "route.pass_through": (route(), route(pass_through='["vendor"]'), {"body": {"model": "theirs"}}),
    "route.asks": (route(), route(asks='{ "body.kind[]" = ["image*"] }'), {"body": {"kind": ["text"]}}),
    "route.unless": (route(), route(unless='{ "body.kind" = ["*video*"] }'), {"body": {"kind": "a video"}}),
    "route.quote": (route(), route(quote='{ "query.dry_run" = ["true"] }'), {"path": PATH + "?dry_run=true"}),
    "inner.prefix": (_INNER.replace("{account}", "own"), _INNER, _BEHIND),
    "inner.profile": (_INNER.replace('profile = "openai"', 'profile = "nobody"'), _INNER, _BEHIND),
    "inner.strip": (
        BASE + '[[inner]]\nprefix = "/front"\nprofile = "corp"\n' + _OWN_ROUTE,
        BASE + '[[inner]]\nprefix = "/front"\nstrip = "/v1"\nprofile = "corp"\n' + _OWN_ROUTE,
        {"path": "/front/images/generations"},
    ),
    "cost.when": (
        BASE + _BODY_COST,
        BASE + _BODY_COST + 'when = { "bill.final" = [true] }\n',
        {"json": {"data": [{"url": "u"}], "bill": {"sum": 3, "final": False}}},
    ),
    "cost.plus": (
        BASE + _BODY_COST + _COST,
        BASE + _BODY_COST + _COST + "plus = true\n",
        {"answer": {"x-cost": "7"}},
    ),
    "errors.not_charged_types": (
        BASE,
        BASE + '[errors]\nnot_charged_types = ["refus*"]\n',
        {"status": 500, "json": {"error": {"type": "refused"}}},
    ),
    "cached.header": (BASE + _CACHED.replace("x-cache", "x-other"), BASE + _CACHED, {"answer": {"x-cache": "HIT"}}),
    "cached.values": (BASE + _CACHED.replace("hit", "miss"), BASE + _CACHED, {"answer": {"x-cache": "HIT"}}),
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
        _CASES[f"{_table}{_side}.service_tier"] = route(), route() + _with, _call
    for _name, _value in _ASKED.items():
        _with = f'[{_table}request]\n{_name} = ["body.its"]\n'
        _CASES[f"{_table}request.{_name}"] = route(), route() + _with, {"body": {"its": _value}}
    for _name, (_place, _value) in _SAID.items():
        _with = f"[{_table}response]\n{_name} = {_place}\n"
        _answered = {"data": [{"url": "u", "its": False}]} | ({} if _value is None else {"its": _value})
        _call = {"json": _answered, "status": 500 if _name.startswith("error") else 200}
        _CASES[f"{_table}response.{_name}"] = route(), route() + _with, _call
    for _name, _model in (("steps", "house/steps"), ("partial_images", "house/tokens")):
        _with = f'[{_table}request]\n{_name} = ["body.its"]\n'
        _call = {"body": {"model": _model, "its": 9}, "status": 500}
        _CASES[f"{_table}request.{_name}"] = route(), route() + _with, _call
    for _name in ("width", "height"):
        _other = {"width": "height", "height": "width"}[_name]
        _one = f'[{_table}request]\n{_other} = ["body.its"]\n'
        _CASES[f"{_table}request.{_name}"] = (
            route() + _one,
            route() + _one + f'{_name} = ["body.its"]\n',
            {"body": {"its": 640}},
        )
        _one = f'[{_table}response]\n{_other} = ["its"]\n'
        _CASES[f"{_table}response.{_name}"] = (
            route() + _one,
            route() + _one + f'{_name} = ["its"]\n',
            {"json": {"data": [{"url": "u"}], "its": 640}},
        )
    _job = f'[{_table}job]\nid = ["task"]\nstatus = ["state"]\n'
    _queued = {"json": {"task": "t", "state": "in line"}}
    _CASES |= {
        f"{_table}job.id": (route() + _job.replace("task", "none"), route() + _job, _queued),
        f"{_table}job.status": (
            route() + _job.replace("state", "none") + "id_alone = false\n",
            route() + _job + "id_alone = false\n",
            _queued,
        ),
        f"{_table}job.pending": (route() + _job, route() + _job + 'pending = ["queued"]\n', _queued),
        f"{_table}job.failed": (route() + _job, route() + _job + 'failed = ["in *"]\n', _queued),
        f"{_table}job.id_alone": (route() + _job, route() + _job + "id_alone = false\n", {"json": {"task": "t"}}),
    }


@pytest.mark.parametrize("key", _CASES)
def test_a_key_of_a_profile_changes_a_result(tmp_path: Path, key: str) -> None:
    without, with_it, call = _CASES[key]
    before = seen(tmp_path / "without", without, **call)
    assert before == seen(tmp_path / "again", without, **call)
    assert before != seen(tmp_path / "with", with_it, **call)


def test_every_key_that_a_profile_may_have_is_tried() -> None:
    names = {name for name in keys(Profile) if _OF_LATER_ANSWERS.search(name) is None}
    assert names == _CASES.keys() | _READ_BY_PEOPLE


def test_every_key_that_a_profile_may_have_is_documented() -> None:
    page = Path(__file__).parents[2] / "docs" / "gateways.md"
    [text] = re.findall(r"```toml\n(# Everything.*?)```", page.read_text(), re.DOTALL)
    shown = set(_paths(tomllib.loads(text)))
    assert set(keys(Profile)) - {"generic"} - REFUSED == shown


_MAPPINGS = {"asks", "unless", "quote", "when", "required", "deployments", "size_names"}
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
    [record], sent = seen(tmp_path / "a", BASE + _TAG + "limit = 3\n", tag="hero")
    assert ("her", {"aig_tag": "her"}) == (sent["x-corp-tag"], json.loads(record["tags"]))


def test_a_tag_of_the_request_itself_is_sent_as_it_is_and_recorded_within_the_limit(tmp_path: Path) -> None:
    [record], sent = seen(tmp_path / "a", BASE + _TAG + "limit = 3\n", headers={"x-corp-tag": "heroes"})
    assert ("heroes", {"aig_tag": "her"}) == (sent["x-corp-tag"], json.loads(record["tags"]))


@pytest.mark.parametrize(("length", "kept"), [(64, 64), (65, 64), (5000, 64)])
def test_no_more_of_a_tag_than_aigateway_takes_is_recorded(tmp_path: Path, length: int, kept: int) -> None:
    [record], _ = seen(
        tmp_path / "a",
        f'id = "mine"\n[match]\nhosts = ["{HOST}"]\n[tag]\nrequest_header = "x-aig-tag"\n',
        headers={"x-aig-tag": "x" * length},
    )
    assert kept == len(json.loads(record["tags"])["aig_tag"])


def test_a_key_of_the_callers_own_to_an_unknown_host_is_seen_before_the_answer_shows_whose_it_is(
    tmp_path: Path,
) -> None:
    [record], _ = seen(
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
    profile = BASE + '[byok]\nrequest_header_prefix = "x-byok-"\n'
    [record], _ = seen(tmp_path / "a", profile, headers=headers)
    assert own == record["byok"]


def test_attempts_have_the_fields_that_are_left_out_here() -> None:
    assert OWN <= set(Attempt.__struct_fields__)
