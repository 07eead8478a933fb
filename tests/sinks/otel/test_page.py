"""The tables of docs/opentelemetry.md have what is really emitted, and its programs run."""

from __future__ import annotations

import contextlib
import itertools
import re
from pathlib import Path
from typing import Any

import openai
import pytest

import pixelmeter
from pixelmeter import Meter
from pixelmeter.testing import Gateway
from tests.factories import make_attempt
from tests.interop.conftest import Metered
from tests.sinks.otel.conftest import Telemetry
from tests.sinks.otel.test_metrics import job_ended

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[3] / "docs" / "opentelemetry.md").read_text()
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def table(name: str) -> dict[str, list[str]]:
    """Return the rows of a table of the page: by their first cell, the others."""
    text = PAGE.partition(f"<!-- table: {name} -->")[2].partition("<!-- end -->")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.strip().splitlines()[2:]]
    return {row[0].strip("`"): row[1:] for row in rows}


def record_all_kinds(telemetry: Telemetry, **options: Any) -> None:
    """Record attempts that between them have every field, and the end of a job."""
    sink = telemetry.sink(**options)
    counted = {"cached_input_tokens": 2, "output_text_tokens": 3, "first_image": 1}
    for attempt in (
        make_attempt(requested_images=2, input_images=1, gateway="images.test:81", attempt=1, **counted),
        make_attempt(outcome="timeout", cost=None, cost_source="none", cost_reason="outcome_unknown", at_risk=1),
    ):
        leave = sink.begin(attempt)
        assert leave is not None
        leave()
        sink.record(attempt)
    sink.adjust(job_ended())


def test_the_page_has_every_attribute_of_an_attempt_and_no_other(telemetry: Telemetry) -> None:
    for names in ("semconv", "openlit"):
        record_all_kinds(telemetry, cost_attributes=names)
    found = set(itertools.chain.from_iterable(span.attributes or {} for span in telemetry.spans()))
    assert found == table("attempt").keys()


def test_what_the_page_calls_always_there_is_on_every_attempt(telemetry: Telemetry) -> None:
    record_all_kinds(telemetry)
    always = {name for name, (_, when) in table("attempt").items() if when == "always"}
    assert always
    assert [set()] * 2 == [always - (span.attributes or {}).keys() for span in telemetry.spans()]


def test_the_page_has_every_attribute_of_a_call_and_no_other(
    meter: Meter, gateway: Gateway, telemetry: Telemetry
) -> None:
    gateway.tell(status=400)
    with openai.OpenAI(base_url=gateway.url, api_key="k") as client:
        pixelmeter.instrument(client, meter)
        for block in (contextlib.nullcontext(), pixelmeter.call()):
            with contextlib.suppress(openai.OpenAIError), block:
                client.images.generate(model="m", prompt="a fox")
    spans = [span for span in telemetry.spans() if span.name == "image_generation m"]
    assert 2 == len(spans)
    assert set(itertools.chain.from_iterable(span.attributes or {} for span in spans)) == table("call").keys()


def test_the_page_has_every_metric_with_its_unit_and_no_other(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_all_kinds(telemetry)
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "gen_ai_latest_experimental")
    record_all_kinds(telemetry)
    kinds = {"Sum": "counter", "Histogram": "histogram"}
    found = {
        name: [kinds[type(metric.data).__name__], f"`{metric.unit}`"]
        for name, metric in telemetry.instruments().items()
    }
    assert found == {name: row[:2] for name, row in table("metrics").items()}


def test_the_page_says_which_attributes_a_metric_has(telemetry: Telemetry) -> None:
    record_all_kinds(telemetry)
    shared = {"pixelmeter.gateway", "pixelmeter.operation"}
    for name in telemetry.instruments():
        found = set(itertools.chain.from_iterable(attributes for attributes, _ in telemetry.points(name)))
        said = set(re.findall(r"`([a-z_.]+[a-z])`", table("metrics")[name][2]))
        if "`gen_ai.*`" in table("metrics")[name][2]:
            said |= {
                f"gen_ai.{word}" for word in ("operation.name", "provider.name", "request.model", "response.model")
            }
        assert said | shared == found, name


def test_the_programs_of_the_page_run(gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIXELMETER_GATEWAYS", "127.0.0.1:*=aigateway")
    blocks = BLOCK.findall(PAGE)
    names: dict[str, Any] = {}
    exec("\n".join(blocks).replace("https://api.aigateway.sh", gateway.root), names)
    assert (3, 1) == (len(blocks), len(Metered(names["meter"]).attempts()))
    names["client"].close()
    names["meter"].close()
    names["tracer_provider"].shutdown()
    names["meter_provider"].shutdown()
