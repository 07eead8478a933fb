"""Programs in a Python of their own: without an SDK, without OpenTelemetry in use, and after a fork."""

from __future__ import annotations

import json
import os

import pytest

from pixelmeter.testing import Gateway
from tests.hazards.process import run_python

pytestmark = pytest.mark.slow

START = """
import json, os, sys
import httpx, openai, pixelmeter

meter = pixelmeter.Meter(os.environ["LEDGER"], sinks=SINKS)
client = pixelmeter.instrument(httpx.Client(base_url=os.environ["GATEWAY"]), meter)
body = {"model": "meta/sam-3-1-image", "prompt": "a fox"}
"""
"""A program needs SINKS before it."""
IN_MEMORY = """
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pixelmeter.sinks.otel import OtelSink
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
SINKS = [OtelSink(provider)]
"""


@pytest.fixture
def surroundings(gateway: Gateway, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program finds in its environment."""
    monkeypatch.setenv("GATEWAY", gateway.url)
    monkeypatch.setenv("LEDGER", sqlite_url)


@pytest.mark.usefixtures("surroundings")
def test_without_an_sdk_nothing_happens_and_nothing_breaks(gateway: Gateway) -> None:
    program = (
        """
import sys
sys.modules["opentelemetry.sdk"] = None
from pixelmeter.sinks.otel import OtelSink
SINKS = [OtelSink()]
"""
        + START
        + """
with pixelmeter.call():
    client.post("/images/generations", json=body)
sdk = pixelmeter.instrument(openai.OpenAI(base_url=os.environ["GATEWAY"], api_key="k"), meter)
sdk.images.generate(**body)
assert meter.flush(60)
print(json.dumps(meter.status()["failures"]), meter.status()["drain"]["committed"])
client.close()
sdk.close()
meter.close(60)
"""
    )
    done = run_python(program, "-W", "error")
    assert ("{} 2\n", "") == (done.stdout, done.stderr)
    assert 2 == len(gateway.billing())


@pytest.mark.usefixtures("surroundings")
def test_the_module_loads_opentelemetry_when_a_sink_is_made() -> None:
    program = """
import sys
from pixelmeter.sinks.otel import OtelSink
print("opentelemetry" in sys.modules)
OtelSink()
print("opentelemetry" in sys.modules, "opentelemetry.sdk" in sys.modules)
"""
    assert "False\nTrue False\n" == run_python(program).stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.usefixtures("surroundings")
def test_a_child_has_spans_of_its_own_and_none_of_its_parent(gateway: Gateway) -> None:
    gateway.tell(status=500, match={"model": "m"})
    program = (
        IN_MEMORY
        + START
        + """
request = client.build_request("POST", "/images/generations", json=body)
response = client.send(request, stream=True)          # its attempt is under way
sdk = pixelmeter.instrument(openai.OpenAI(base_url=os.environ["GATEWAY"], api_key="k", max_retries=0), meter)
try:
    sdk.images.generate(model="m", prompt="a fox")    # its call stays open
except openai.APIError:
    pass
exporter.clear()
if os.fork() == 0:
    with httpx.Client(base_url=os.environ["GATEWAY"]) as own:
        pixelmeter.instrument(own, meter).post("/images/generations", json=body)
        SINKS[0].observe(None)
    print("child", json.dumps([span.name for span in exporter.get_finished_spans()]), flush=True)
    os._exit(0)
os.wait()
response.read()
client.close()
sdk.images.generate(**body)
print("parent", json.dumps(sorted(span.name for span in exporter.get_finished_spans())), meter.status()["failures"])
"""
    )
    done = run_python(program)
    child, parent = done.stdout.splitlines()
    assert ["generate_content meta/sam-3-1-image"] == json.loads(child.removeprefix("child "))
    names = ["generate_content meta/sam-3-1-image"] * 2 + ["image_generation m", "image_generation meta/sam-3-1-image"]
    assert f"parent {json.dumps(names)} {{}}" == parent
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("provider", ["None", "MeterProvider([InMemoryMetricReader()])"], ids=["no SDK", "an SDK"])
def test_a_child_counts_though_threads_of_its_parent_did_when_it_was_forked(provider: str) -> None:
    program = f"""
import os, signal, threading
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from pixelmeter.sinks.otel import OtelSink
from tests.factories import make_attempt

sink = OtelSink(None, {provider})
stop = threading.Event()

def work():
    number = 0
    while not stop.is_set():
        number += 1
        sink.record(make_attempt(model=f"m{{number}}", gateway=f"g{{number}}"))

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
codes = set()
for _ in range(60):
    child = os.fork()
    if not child:
        signal.alarm(120)
        sink.record(make_attempt(model="own", gateway="own"))
        os._exit(0)
    codes.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    if codes != {{0}}:
        break
stop.set()
print(codes)
"""
    done = run_python(program, "-W", "ignore")
    assert "{0}" == done.stdout.strip(), done.stderr
