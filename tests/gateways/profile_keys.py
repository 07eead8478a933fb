"""Whether a key of a profile changes what is recorded, heard of a job, or sent."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import httpx
import msgspec
import pytest

import pixelmeter
from pixelmeter.core.attempts.jobs import JobEnd
from pixelmeter.core.gateways.amounts import AmountReader
from pixelmeter.meter import intake_of
from pixelmeter.system import SystemClock
from pixelmeter.testing import capture_calls

HOST = "images.corp.example"
PRICES = """
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
NOW = int(datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC).timestamp()) * 1_000_000
BASE = f'id = "corp"\n[match]\nhosts = ["{HOST}"]\n'
PATH = "/v1/images/generations"
_OPEN = """path = "/v1/images/generations"
api = "prediction_jobs"
operation = "generate"
"""


def route(**keys: str) -> str:
    """Return a profile with one route that takes anything, or as these keys say."""
    lines = dict(line.split(" = ", 1) for line in _OPEN.splitlines()) | keys
    return BASE + "[[route]]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())


REFUSED = {"webhook.response.output_format", "webhook.response.service_tier"}
"""Keys that a table has from another one, and that may not be used there."""
OWN = {"id", "call_id", "first_byte", "duration"}


def keys(kind: type[msgspec.Struct], prefix: str = "") -> Iterator[str]:
    """Yield the keys of a table, with those of the tables in it."""
    hints = get_type_hints(kind)
    for field in msgspec.structs.fields(kind):
        inner = [one for one in (hints[field.name], *get_args(hints[field.name])) if _is_table(one)]
        # Its keys are those of a cost.
        if inner and inner[0] is not AmountReader:
            yield from keys(inner[0], f"{prefix}{field.encode_name}.")
        else:
            yield prefix + field.encode_name


def _is_table(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def seen(folder: Path, profile: str, **call: Any) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return what is recorded of a call or heard of a job, but for what is its own, and the headers that were sent."""
    folder.mkdir()
    (folder / "profile.toml").write_text(profile)
    (folder / "prices.toml").write_text(PRICES)
    sent: dict[str, str] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        sent.update(request.headers)
        images = call.get("json", {"data": [{"url": "u"}], "bill": {"sum": 3}})
        return httpx.Response(call.get("status", 200), headers=call.get("answer", {}), json=images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIXELMETER_PROFILES", str(folder / "profile.toml"))
        patch.setattr(SystemClock, "now", lambda _: NOW)
        meter = pixelmeter.Meter(f"sqlite:///{folder}/a.db", price_book=folder / "prices.toml")
        ends: list[JobEnd] = []
        patch.setattr(intake_of(meter).recorder, "job_end", ends.append)
        with (
            capture_calls() as calls,
            pixelmeter.tags(**({"aig_tag": call["tag"]} if "tag" in call else {})),
            pixelmeter.instrument(httpx.Client(transport=httpx.MockTransport(answer)), meter) as client,
        ):
            client.request(
                call.get("method", "POST"),
                f"https://{HOST}{call.get('path', PATH)}",
                headers=call.get("headers", {}),
                json={key: value for key, value in ({"model": "house/flux"} | call.get("body", {})).items() if value},
            )
    records = [msgspec.structs.asdict(one) for one in (*calls, *ends)]
    return [
        {name: value for name, value in record.items() if name not in OWN | {"heard_at"}} for record in records
    ], sent
