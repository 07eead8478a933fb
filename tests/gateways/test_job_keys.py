"""Every key with which a profile says how jobs are asked for changes what is heard of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pixelmeter.core.gateways.jobs import Job
from tests.gateways.profile_keys import keys, route, seen

_OF_THE_SUBMIT = {"id", "status", "pending", "failed", "id_alone"}
"""Keys that the first answer of a job is read by as well: they are tried with that."""
_ELSEWHERE = {"max_age_hours", "follow.response.output_format", "follow.response.service_tier"}
"""What becomes of a job without an end, and what the first answer decides."""

_Case = tuple[str, str, Mapping[str, Any]]
"""A profile without a key, one with it, and the request and the answer that show the difference."""
_ENDED: Mapping[str, Any] = {"state": "ready", "images": [{"url": "u", "its": False}]}
_LINES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "kind": ('"result"', {}),
    "path": ('"/v1/{job_id}/tasks"', {}),
    "method": ('"PUT"', {}),
    "job_id": ('["query.name"]', {"path": "/v1/tasks/t?name=other"}),
    "asks": ('{ "query.kind" = ["image"] }', {}),
    "unless": ('{ "query.kind" = ["video"] }', {"path": "/v1/tasks/t?kind=video"}),
    "status": ('["task.state"]', {"json": {**_ENDED, "task": {"state": "waiting"}}}),
    "failed_statuses": ("[500]", {"status": 500, "json": {"error": {"type": "refused"}}}),
}
_SAID: Mapping[str, tuple[str, dict[str, Any]]] = {
    "items": ('["its[]"]', {"its": [{"url": "u"}, {"url": "v"}]}),
    "image": ('["its"]', {}),
    "required": ("{ its = [true] }", {}),
    "model": ('["its"]', {"its": "theirs"}),
    "size": ('["its"]', {"its": "640x480"}),
    "quality": ('["its"]', {"its": "high"}),
    "usage": ('["its"]', {"its": {"input_tokens": 5, "output_tokens": 7}}),
    "error_type": ('["its"]', {"its": "refused", "state": "broken"}),
    "error_code": ('["its"]', {"its": "E7", "state": "broken"}),
}
_WORDS = {"done": ("ready", "finished"), "cancelled": ("stopped", "stop*"), "not_charged": ("broken", "broken")}
"""A status, and a glob that changes what it means."""


def _asked(table: str, job: str = "", **keys: str) -> str:
    """Return a profile with a job that is asked for by a GET, or as these keys say."""
    words = 'id = ["task"]\nstatus = ["state"]\npending = ["waiting"]\nfailed = ["broken"]\n'
    lines = {"kind": '"poll"', "path": '"/v1/tasks/{job_id}"', "response.items": '["images[]"]'} | keys
    follow = "".join(f"{key} = {value}\n" for key, value in lines.items())
    return f"{route()}[{table}job]\n{words}{job}[[{table}job.follow]]\n{follow}"


def _cases(table: str) -> Iterator[tuple[str, _Case]]:
    ask = {"method": "GET", "path": "/v1/tasks/t", "json": _ENDED}
    for name, (value, call) in _LINES.items():
        yield f"follow.{name}", (_asked(table), _asked(table, **{name: value}), ask | call)
    for name, (value, said) in _SAID.items():
        with_it = _asked(table, **{f"response.{name}": value})
        yield f"follow.response.{name}", (_asked(table), with_it, ask | {"json": {**_ENDED, **said}})
    for name, other in (("width", "height"), ("height", "width")):
        one = {f"response.{other}": '["its"]'}
        both = one | {f"response.{name}": '["its"]'}
        sides = ask | {"json": {**_ENDED, "its": 640}}
        yield f"follow.response.{name}", (_asked(table, **one), _asked(table, **both), sides)
    for name, (status, glob) in _WORDS.items():
        with_it = _asked(table, f'{name} = ["{glob}"]\n')
        yield name, (_asked(table), with_it, ask | {"json": {"state": status}})


@pytest.mark.parametrize("table", ["", "route."])
@pytest.mark.parametrize("key", dict(_cases("")))
def test_a_key_about_jobs_changes_what_is_heard(tmp_path: Path, table: str, key: str) -> None:
    without, with_it, call = dict(_cases(table))[key]
    before = seen(tmp_path / "without", without, **call)
    assert before == seen(tmp_path / "again", without, **call)
    assert before != seen(tmp_path / "with", with_it, **call)


def test_every_key_about_jobs_is_tried() -> None:
    assert set(keys(Job)) == dict(_cases("")).keys() | _OF_THE_SUBMIT | _ELSEWHERE
