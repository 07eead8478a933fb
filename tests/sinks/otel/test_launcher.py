"""`opentelemetry-instrument` and the instrumentor that it finds: a program is metered without a line in it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aigateway
import httpx
import httpx2
import openai
import pytest

import pixelmeter
from pixelmeter import Meter
from pixelmeter.httpx import MeterTransport
from pixelmeter.instrumentor import PixelmeterInstrumentor
from pixelmeter.testing import Gateway
from tests.clients import Kit
from tests.hazards.process import run_python
from tests.interop.conftest import Metered
from tests.interop.sdk import SAM
from tests.ledger.reading import stored
from tests.sinks.otel.conftest import Telemetry
from tests.sinks.otel.otlp import OtlpReceiver, plain

pytestmark = pytest.mark.slow

PROGRAM = """
import asyncio, os
import aigateway, httpx, httpx2, openai

root = os.environ["GATEWAY"]
body = {"model": "meta/sam-3-1-image", "prompt": "a fox"}
openai.OpenAI(base_url=f"{root}/v1", api_key="k").images.generate(**body)
aigateway.AIgateway("k", base_url=root)._request("POST", "/v1/images/generations", json=body)
httpx.post(f"{root}/v1/images/generations", json=body)
with httpx2.Client() as client:
    client.post(f"{root}/v1/images/generations", json=body)
    client.get(f"{root}/v1/models")


async def asynchronously():
    async with openai.AsyncOpenAI(base_url=f"{root}/v1", api_key="k") as client:
        await client.images.generate(**body)


asyncio.run(asynchronously())
"""
# What opentelemetry-distro does: it names the SDK's own configurator.
DISTRO = (
    "from opentelemetry.sdk._configuration import _OTelSDKConfigurator\nclass Configurator(_OTelSDKConfigurator): ...\n"
)


def distro(folder: Path) -> str:
    """Make an installed distribution that configures the SDK, and return its folder."""
    (folder / "sdk_distro.py").write_text(DISTRO)
    about = folder / "sdk_distro-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: sdk-distro\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[opentelemetry_configurator]\nconfigurator = sdk_distro:Configurator\n")
    return str(folder)


def launch(
    program: str, receiver: OtlpReceiver, gateway: Gateway, ledger: str, folder: Path, **environment: str
) -> str:
    """Run a program under the real launcher, the way a user would; return what it wrote to standard error."""
    launcher = Path(sys.executable).with_name("opentelemetry-instrument")
    telemetry = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "none",
    }
    settings = {"PIXELMETER_DATABASE_URL": ledger, "PIXELMETER_GATEWAYS": "127.0.0.1:*=aigateway"}
    done = subprocess.run(
        [launcher, sys.executable, "-c", program],
        env=os.environ | telemetry | settings | {"PYTHONPATH": distro(folder), "GATEWAY": gateway.root} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return done.stderr


@pytest.mark.slow
def test_every_client_of_a_program_is_metered_and_its_spans_and_metrics_arrive(
    gateway: Gateway, sqlite_url: str, tmp_path: Path
) -> None:
    with OtlpReceiver() as receiver:
        errors = launch(PROGRAM, receiver, gateway, sqlite_url, tmp_path)
        spans, metrics = receiver.spans(), receiver.metrics()
    attempts = stored(sqlite_url)
    ours = [span for scope, span in spans if scope == "pixelmeter"]
    calls = [span for span in ours if span.name == f"image_generation {SAM}"]
    attempted = [span for span in ours if span.name == f"generate_content {SAM}"]
    below = [span for scope, span in spans if scope == "opentelemetry.instrumentation.httpx" and span.parent_span_id]

    assert "" == errors
    assert (5, 5, 2) == (len(attempts), len(attempted), len(calls))
    assert gateway.billed_nano() == sum(attempt.cost or 0 for attempt in attempts.values())
    assert {span.span_id for span in attempted} == {span.parent_span_id for span in below}
    assert {attempt.trace_id for attempt in attempts.values()} == {span.trace_id.hex() for span in attempted}
    for span in attempted:
        found = plain(span.attributes)
        attempt = attempts[str(found["pixelmeter.attempt_id"])]
        assert {
            "gen_ai.operation.name": "generate_content",
            "gen_ai.provider.name": "openai",
            "gen_ai.output.type": "image",
            "gen_ai.request.model": SAM,
            "gen_ai.response.model": SAM,
            "http.response.status_code": 200,
            "pixelmeter.operation": "generate",
            "pixelmeter.gateway": "aigateway",
            "pixelmeter.call_id": attempt.call_id,
            "pixelmeter.attempt_id": attempt.id,
            "pixelmeter.attempt": 0,
            "pixelmeter.images.requested": 1,
            "pixelmeter.images.returned": 1,
            "pixelmeter.outcome": "success",
            "pixelmeter.provider": attempt.provider,
            "pixelmeter.request_id": attempt.request_id,
            "pixelmeter.first_byte.seconds": (attempt.first_byte or 0) / 1e6,
            "pixelmeter.billing": "billed",
            "pixelmeter.cost.source": "reported",
            "pixelmeter.cost.usd": 0.01,
            "pixelmeter.cost.nano_usd": 10_000_000,
        } == found
    [requests] = metrics["pixelmeter.requests"].sum.data_points
    [cost] = metrics["pixelmeter.cost"].sum.data_points
    [duration] = metrics["gen_ai.client.operation.duration"].histogram.data_points
    call = {"pixelmeter.gateway": "aigateway", "pixelmeter.operation": "generate", "pixelmeter.model": SAM}
    assert (5, {**call, "pixelmeter.outcome": "success"}) == (requests.as_int, plain(requests.attributes))
    assert {**call, "pixelmeter.cost.source": "reported"} == plain(cost.attributes)
    assert pytest.approx(0.05) == cost.as_double
    assert (5, 120.0) == (duration.count, duration.explicit_bounds[-1])


@pytest.mark.slow
def test_a_setting_that_cannot_be_used_is_logged_and_the_program_runs(
    gateway: Gateway, sqlite_url: str, tmp_path: Path
) -> None:
    program = "import os, httpx; print(httpx.get(os.environ['GATEWAY'] + '/v1/models').status_code)"
    with OtlpReceiver() as receiver:
        errors = launch(program, receiver, gateway, sqlite_url, tmp_path, PIXELMETER_DURABILITY="yes")
        scopes = {scope for scope, _ in receiver.spans()}
    assert "image calls are not metered: PIXELMETER_DURABILITY is 'yes'" in errors
    assert {"opentelemetry.instrumentation.httpx"} == scopes


def test_a_sink_that_cannot_be_made_is_logged_and_the_launcher_goes_on(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELMETER_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("PIXELMETER_SINKS", "prometheus")
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", f"{tmp_path}/missing")
    done = run_python(
        "import httpx\nfrom pixelmeter.instrumentor import PixelmeterInstrumentor as P\n"
        "P().instrument()\nhttpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(204))).get('http://a')\nP().uninstrument()"
    )
    assert (0, True) == (
        done.returncode,
        "image calls are not metered: PROMETHEUS_MULTIPROC_DIR cannot be used" in done.stderr,
    )
    assert "Traceback" not in done.stderr


@pytest.fixture
def instrumentor(meter: Meter) -> Iterator[PixelmeterInstrumentor]:
    """The instrumentor at work, with a meter of the test."""
    kinds: tuple[Any, ...] = (httpx.Client, httpx.AsyncClient, httpx2.Client, httpx2.AsyncClient)
    originals = [(kind, kind._send_single_request) for kind in kinds]
    instrumentor = PixelmeterInstrumentor()
    instrumentor.instrument(meter=meter)
    assert all(kind._send_single_request is not original for kind, original in originals)
    yield instrumentor
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()
    assert originals == [(kind, kind._send_single_request) for kind, _ in originals]


async def post(client: Any, kit: Kit) -> None:
    """Make one call."""
    response = client.post("/images/generations", json={"model": SAM, "prompt": "a fox"})
    if kit.is_async:
        await response


async def made(kit: Kit, gateway: Gateway, meter: Meter | None = None) -> None:
    """Make a client, instrument it if there is a meter, make one call, and close it."""
    client = kit.client(base_url=gateway.url)
    if meter is not None:
        pixelmeter.instrument(client.raw, meter)
        pixelmeter.instrument(client.raw, meter)
    await post(client.raw, kit)
    await client.close()


@pytest.mark.usefixtures("instrumentor")
def test_a_client_that_is_made_afterwards_is_metered_once(
    kit: Kit, gateway: Gateway, meter: Meter, telemetry: Telemetry
) -> None:
    kit.run(made(kit, gateway))
    assert SAM == Metered(meter).attempt().model
    telemetry.span("generate_content")


@pytest.mark.usefixtures("instrumentor")
def test_a_client_that_the_program_instruments_goes_to_the_meter_it_names(
    kit: Kit, gateway: Gateway, meter: Meter, tmp_path: Path
) -> None:
    with Meter(f"sqlite:///{tmp_path}/named.db", gateways={"127.0.0.1:*": "aigateway"}) as named:
        kit.run(made(kit, gateway, named))
        assert 1 == len(Metered(named).attempts())
        with pytest.raises(pixelmeter.ConfigError), httpx.Client() as client:
            pixelmeter.instrument(pixelmeter.instrument(client, named), meter)
    assert meter.flush(60)
    assert not meter.status()["drain"]


@pytest.mark.usefixtures("instrumentor")
def test_a_client_with_a_transport_of_ours_keeps_its_meter(gateway: Gateway, meter: Meter, tmp_path: Path) -> None:
    with Meter(f"sqlite:///{tmp_path}/named.db", gateways={"127.0.0.1:*": "aigateway"}) as named:
        with httpx.Client(transport=MeterTransport(named), base_url=gateway.url) as client:
            client.post("/images/generations", json={"model": SAM, "prompt": "a fox"})
        assert 1 == len(Metered(named).attempts())
    assert not meter.status()["drain"]


def test_after_it_has_been_undone_clients_are_as_they_were(
    kit: Kit, gateway: Gateway, meter: Meter, instrumentor: PixelmeterInstrumentor
) -> None:
    instrumentor.uninstrument()
    kit.run(made(kit, gateway))
    assert not meter.status()["drain"]


def test_nothing_is_done_where_the_environment_says_so(meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    kind: Any = httpx.Client
    original = kind._send_single_request
    monkeypatch.setenv("PIXELMETER_DISABLED", "1")
    instrumentor = PixelmeterInstrumentor()
    instrumentor.instrument(meter=meter)
    assert original is kind._send_single_request
    instrumentor.uninstrument()


def test_what_was_put_over_it_stays_when_it_is_undone(
    gateway: Gateway, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind: Any = httpx.Client
    original = kind._send_single_request
    instrumentor = PixelmeterInstrumentor()
    instrumentor.instrument(meter=meter)
    ours = kind._send_single_request
    sent: list[object] = []

    def above(client: Any, request: Any) -> Any:
        sent.append(client)
        return ours(client, request)

    monkeypatch.setattr(kind, "_send_single_request", above)
    instrumentor.uninstrument()
    with httpx.Client(base_url=gateway.url) as client:
        client.post("/images/generations", json={"model": SAM, "prompt": "a fox"})
    assert ([client], above) == (sent, kind._send_single_request)
    assert not meter.status()["drain"]
    monkeypatch.setattr(kind, "_send_single_request", original)


@pytest.mark.usefixtures("instrumentor")
def test_sdk_clients_are_metered_too(gateway: Gateway, meter: Meter) -> None:
    with openai.OpenAI(base_url=gateway.url, api_key="k") as client:
        client.images.generate(model=SAM, prompt="a fox")
    with aigateway.AIgateway("k", base_url=gateway.root) as client:
        client._request("POST", "/v1/images/generations", json={"model": SAM, "prompt": "a fox"})

    async def asynchronously() -> None:
        async with openai.AsyncOpenAI(base_url=gateway.url, api_key="k") as client:
            await client.images.generate(model=SAM, prompt="a fox")

    asyncio.run(asynchronously())
    assert [SAM] * 3 == [attempt.model for attempt in Metered(meter).attempts()]
