"""What the Prometheus sink counts is what happened, in series whose number has a bound."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import prometheus_client
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from pixelmeter import Meter, instrument
from pixelmeter._version import __version__
from pixelmeter.core.attempts.record import OPERATIONS, OUTCOMES, Attempt
from pixelmeter.core.metrics import METRICS
from pixelmeter.core.sink import Health
from pixelmeter.errors import ConfigError
from pixelmeter.meter import intake_of
from pixelmeter.sinks.otel import OtelSink
from pixelmeter.sinks.prometheus import PrometheusSink, exposed_registry
from pixelmeter.sinks.series import START
from pixelmeter.testing import Gateway
from tests.factories import make_attempt
from tests.hazards.process import environment, run_python
from tests.ledger.reading import stored
from tests.sinks.exposition import Scrape

GATEWAYS = {"127.0.0.1:*": "aigateway"}
PROCESS = [metric for metric in METRICS if "process" in metric.origins]


@pytest.fixture
def registry() -> CollectorRegistry:
    """A registry that nobody else uses."""
    return CollectorRegistry()


def went(sink: PrometheusSink, **fields: Any) -> Attempt:
    """Have an attempt begin and end."""
    attempt = make_attempt(**fields)
    sink.begin(attempt)
    sink.record(attempt)
    return attempt


def test_every_metric_of_the_catalogue_is_there_with_its_help_and_labels(registry: CollectorRegistry) -> None:
    went(PrometheusSink(registry))
    families = {family.name: family for family in registry.collect()}
    assert {metric.name.removesuffix("_total") for metric in PROCESS} == set(families)
    for metric in PROCESS:
        family = families[metric.name.removesuffix("_total")]
        assert (metric.kind, metric.help) == (family.type, family.documentation)
        for sample in family.samples:
            assert set(metric.labels) == set(sample.labels) - {"le"}


def test_an_attempt_is_counted_in_all_that_it_has(registry: CollectorRegistry) -> None:
    went(PrometheusSink(registry), attempt=2, input_image_tokens=3, cached_input_tokens=4)
    call = {"gateway": "aigateway", "operation": "generate", "model": "openai/gpt-image-2"}
    scrape = Scrape(registry)
    assert 1 == scrape.total("pixelmeter_requests_total", **call, outcome="success", error_type="")
    assert 1 == scrape.total("pixelmeter_retries_total", **call)
    assert 8.123456 == scrape.total("pixelmeter_request_duration_seconds_sum", **call, outcome="success")
    assert 0 == scrape.total("pixelmeter_request_duration_seconds_bucket", **call, le="7.5")
    assert 1 == scrape.total("pixelmeter_request_duration_seconds_bucket", **call, le="10.0")
    assert 0.08 == scrape.total("pixelmeter_time_to_first_byte_seconds_sum", **call)
    assert 0.04224 == scrape.total("pixelmeter_cost_usd_total", **call, cost_source="reported")
    assert 1 == scrape.total("pixelmeter_images_total", **call, size="1024x1024", quality="medium")
    tokens = {("input", "text"): 8, ("input", "cached_text"): 4, ("input", "image"): 3, ("output", "image"): 1056}
    for (direction, modality), number in tokens.items():
        assert number == scrape.total("pixelmeter_tokens_total", direction=direction, modality=modality)
    assert 0 == scrape.total("pixelmeter_at_risk_usd_total") == scrape.total("pixelmeter_unknown_cost_requests_total")


def test_an_unknown_cost_is_counted_with_its_reason_and_is_no_cost(registry: CollectorRegistry) -> None:
    went(
        PrometheusSink(registry),
        outcome="error",
        status=503,
        images=None,
        cost=None,
        cost_source="none",
        cost_reason="outcome_unknown",
        at_risk=42_000_000,
    )
    scrape = Scrape(registry)
    assert 1 == scrape.total("pixelmeter_unknown_cost_requests_total", reason="outcome_unknown")
    assert 0.042 == scrape.total("pixelmeter_at_risk_usd_total")
    assert 0 == scrape.total("pixelmeter_cost_usd_total")
    assert 1 == scrape.total("pixelmeter_requests_total", outcome="error", error_type="server")
    assert not scrape.has("pixelmeter_images_total")


def test_what_alerts_watch_is_there_at_zero_before_the_first_answer(registry: CollectorRegistry) -> None:
    PrometheusSink(registry).begin(make_attempt(gateway="g", operation="edit", model="m"))
    scrape = Scrape(registry)
    for name, rest in START:
        metric = next(metric for metric in METRICS if metric.name == name)
        labels = dict(zip(metric.labels, ("g", "edit", "m", *rest), strict=True))
        assert 0 == scrape.total(f"{name}_count" if metric.kind == "histogram" else name, **labels)
    assert 1 == scrape.total("pixelmeter_requests_in_flight", gateway="g", operation="edit")


def test_what_stands_is_there_from_the_start(registry: CollectorRegistry) -> None:
    PrometheusSink(registry)
    scrape = Scrape(registry)
    assert 1 == scrape.total("pixelmeter_build_info", version=__version__)
    assert 1_790_000_000 < scrape.total("pixelmeter_price_book_timestamp_seconds")
    for name in ("dropped_records_total", "ledger_rows_total", "ledger_write_errors_total", "internal_errors_total"):
        assert 0 == scrape.total(f"pixelmeter_{name}")


def test_in_flight_goes_back_where_it_came_from_though_the_answer_names_another_gateway(
    registry: CollectorRegistry,
) -> None:
    sink = PrometheusSink(registry)
    sink.begin(make_attempt(id="1" * 36, gateway="intended"))
    sink.record(make_attempt(id="1" * 36, gateway="other-one", model="resolved"))
    sink.record(make_attempt())
    scrape = Scrape(registry)
    assert 0 == scrape.total("pixelmeter_requests_in_flight", gateway="intended")
    assert not scrape.has("pixelmeter_requests_in_flight", gateway="other-one")
    assert 2 == scrape.total("pixelmeter_requests_total")


@pytest.mark.slow
def test_hostile_names_stay_within_the_budget_and_nothing_is_lost(registry: CollectorRegistry) -> None:
    source = random.Random(11)
    sink = PrometheusSink(registry)
    cost = images = tokens = sent = 0
    for number in range(100_000):
        junk = "".join(map(chr, source.choices(range(0x20, 0xE000), k=source.randint(0, 8))))
        attempt = make_attempt(
            id=str(number),
            gateway=f"{source.randrange(5000)}.example" if number % 3 else f"{junk}\ud800\n",
            operation=source.choice(OPERATIONS),
            model=f"model-{number}-{junk}" if number % 2 else "x" * (number % 300),
            outcome=source.choice(OUTCOMES),
            size=source.choice([f"{number}x{number}", "1024x1024", None]),
            quality=junk,
            tags=f'{{"{junk}":"{number}"}}',
            cost=source.randrange(10**9),
            at_risk=source.choice([None, 1000]),
            price_id=source.choice([None, "p"]),
        )
        sink.begin(attempt)
        sink.record(attempt)
        if attempt.outcome == "blocked":
            continue
        sent += 1
        cost += attempt.cost or 0
        images += attempt.images or 0
        tokens += 12 + 1056
    scrape = Scrape(registry)
    assert len(scrape.samples) <= 2000
    assert 100_000 == scrape.total("pixelmeter_requests_total")
    assert sent == scrape.total("pixelmeter_request_duration_seconds_count")
    assert (images, tokens) == (scrape.total("pixelmeter_images_total"), scrape.total("pixelmeter_tokens_total"))
    assert cost / 1e9 == pytest.approx(scrape.total("pixelmeter_cost_usd_total"), rel=1e-9, abs=0)
    assert 0 == scrape.total("pixelmeter_requests_in_flight")
    assert len(scrape.values("model")) > 5


def test_meters_of_one_registry_share_its_metrics(registry: CollectorRegistry) -> None:
    for sink in (PrometheusSink(registry), PrometheusSink(registry, max_series=5000)):
        went(sink)
    assert 2 == Scrape(registry).total("pixelmeter_requests_total")


@pytest.mark.parametrize("kind", [Counter, Gauge, Histogram, Summary])
@pytest.mark.parametrize("name", [PROCESS[0].name, PROCESS[-1].name, "pixelmeter_request_duration_seconds"])
def test_a_name_that_is_taken_is_told_and_nothing_is_registered(
    registry: CollectorRegistry, sqlite_url: str, name: str, kind: Any
) -> None:
    theirs = kind(name, "theirs", registry=registry)

    for make in (lambda: PrometheusSink(registry), lambda: Meter(sqlite_url, registry=registry)):
        with pytest.raises(ConfigError, match=f"{name.removesuffix('_total')}.*give another one"):
            make()
    assert [theirs] == list(registry._collector_to_names)

    registry.unregister(theirs)
    went(PrometheusSink(registry))
    assert 1 == Scrape(registry).total("pixelmeter_requests_total")


@pytest.mark.slow
def test_a_folder_of_workers_that_is_not_there_is_told(tmp_path: Path) -> None:
    code = (
        "import pixelmeter, prometheus_client\n"
        "try:\n    pixelmeter.Meter('sqlite:////nowhere/a.db', registry=prometheus_client.REGISTRY)\n"
        "except pixelmeter.ConfigError as error:\n    print(error)\n"
        "print([name for name in prometheus_client.REGISTRY._names_to_collectors if 'pixelmeter' in name])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=environment() | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "nowhere")},
        capture_output=True,
        text=True,
        check=False,
    )

    told, left = ended.stdout.splitlines()
    assert (0, "", "[]") == (ended.returncode, ended.stderr, left)
    assert told.startswith(f"PROMETHEUS_MULTIPROC_DIR cannot be used: {tmp_path}/nowhere/")
    assert told.endswith("No such file or directory")


def test_a_registry_is_not_kept_alive() -> None:
    registry = CollectorRegistry()
    PrometheusSink(registry)
    seen = weakref.ref(registry)
    del registry
    gc.collect()
    assert None is seen()


def test_a_budget_that_is_too_small_is_refused(registry: CollectorRegistry) -> None:
    with pytest.raises(ConfigError, match="max_series"):
        PrometheusSink(registry, max_series=50)
    assert [] == list(registry.collect())


def health(**fields: Any) -> Health:
    """Return how a ledger is doing that does well."""
    well: dict[str, Any] = {
        "backend": "sqlite",
        "writes": (),
        "failed": False,
        "waiting": 0,
        "lag": 0,
        "dropped": 0,
        "failures": {},
    }
    return Health(**(well | fields))


def test_how_the_ledger_is_doing_is_shown(registry: CollectorRegistry) -> None:
    sink = PrometheusSink(registry)
    sink.observe(health(writes=((3, 4_000), (2, 700_000)), dropped=2, failures={"body": 1}))
    sink.observe(health(failed=True, waiting=7, lag=9_500_000, dropped=3, failures={"body": 1, "ledger": 4}))
    scrape = Scrape(registry)
    assert 5 == scrape.total("pixelmeter_ledger_rows_total", backend="sqlite")
    assert 2 == scrape.total("pixelmeter_ledger_write_duration_seconds_count", backend="sqlite")
    assert 0.704 == scrape.total("pixelmeter_ledger_write_duration_seconds_sum")
    assert 1 == scrape.total("pixelmeter_ledger_write_errors_total", backend="sqlite")
    assert (7, 9.5) == (
        scrape.total("pixelmeter_ledger_waiting_records"),
        scrape.total("pixelmeter_ledger_lag_seconds"),
    )
    assert 3 == scrape.total("pixelmeter_dropped_records_total")
    assert (1, 4) == tuple(
        scrape.total("pixelmeter_internal_errors_total", place=place) for place in ("body", "ledger")
    )


def test_two_ledgers_wait_together_and_the_older_lag_shows(registry: CollectorRegistry) -> None:
    sinks = [PrometheusSink(registry), PrometheusSink(registry)]
    for sink, waiting in zip(sinks, (2, 5), strict=True):
        sink.observe(health(waiting=waiting, lag=10_000_000 // waiting))
    scrape = Scrape(registry)
    assert (7, 5) == (scrape.total("pixelmeter_ledger_waiting_records"), scrape.total("pixelmeter_ledger_lag_seconds"))


def marked(registry: CollectorRegistry, trace_id: str) -> list[str]:
    """Return the names of the samples that have the trace for an exemplar."""
    text: str = openmetrics(registry).decode()  # type: ignore[no-untyped-call]
    lines = [line for line in text.splitlines() if f'# {{trace_id="{trace_id}"}}' in line]
    return sorted(line.partition("{")[0] for line in lines)


@pytest.mark.parametrize(("sampler", "kept"), [(ALWAYS_ON, True), (ALWAYS_OFF, False)])
def test_duration_and_cost_name_the_trace_if_it_is_kept(registry: CollectorRegistry, sampler: Any, kept: bool) -> None:
    tracer = TracerProvider(sampler=sampler).get_tracer("test")
    sink = PrometheusSink(registry)
    with tracer.start_as_current_span("call") as span:
        trace_id = trace.format_trace_id(span.get_span_context().trace_id)
        went(sink, trace_id=trace_id)
    names = ["pixelmeter_cost_usd_total", "pixelmeter_request_duration_seconds_bucket"]
    assert (names if kept else []) == marked(registry, trace_id)


def test_a_call_is_metered_while_another_thread_loads_opentelemetry(
    gateway: Gateway, sqlite_url: str, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", ModuleType("opentelemetry.trace"))
    with Meter(sqlite_url, gateways=GATEWAYS, registry=registry) as meter:
        posted(meter, gateway)
        assert {} == meter.status()["failures"]
    scrape = Scrape(registry)
    assert (1, 0) == (scrape.total("pixelmeter_requests_total"), scrape.total("pixelmeter_requests_in_flight"))


def test_a_trace_that_only_the_request_tells_of_is_named(registry: CollectorRegistry) -> None:
    went(PrometheusSink(registry), trace_id="4bf92f3577b34da6a3ce929d0e0e4736")
    assert 2 == len(marked(registry, "4bf92f3577b34da6a3ce929d0e0e4736"))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_takes_none_of_the_parents_attempts_for_its_own() -> None:
    done = run_python(
        """
import os, threading
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary
from pixelmeter.sinks.prometheus import PrometheusSink
from tests.factories import make_attempt

registry = CollectorRegistry()
sink = PrometheusSink(registry)
stop = threading.Event()

def work():
    while not stop.is_set():
        attempt = make_attempt(gateway="busy")
        sink.begin(attempt)
        sink.record(attempt)

sink.begin(make_attempt(gateway="g"))
thread = threading.Thread(target=work)
thread.start()
children = []
for _ in range(30):
    child = os.fork()
    if not child:
        sink.begin(make_attempt(gateway="g"))
        value = registry.get_sample_value("pixelmeter_requests_in_flight", {"gateway": "g", "operation": "generate"})
        os._exit(int(value))
    children.append(child)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
stop.set()
thread.join()
print(set(codes), registry.get_sample_value("pixelmeter_requests_in_flight", {"gateway": "g", "operation": "generate"}))
""",
        "-W",
        "ignore",
    )
    assert "{1} 1.0" == done.stdout.strip(), done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_counts_all_that_it_drops_itself() -> None:
    done = run_python(
        """
import os
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary
from pixelmeter.sinks.prometheus import PrometheusSink
from tests.sinks.test_prometheus import health

registry = CollectorRegistry()
sink = PrometheusSink(registry)
sink.observe(health(dropped=5))
if not os.fork():
    sink.observe(health(dropped=7))
    print(registry.get_sample_value("pixelmeter_dropped_records_total"), flush=True)
    os._exit(0)
os.wait()
"""
    )
    assert "12.0" == done.stdout.strip(), done.stderr


def posted(meter: Meter, gateway: Gateway, count: int = 1) -> None:
    """Make image calls that are metered."""
    with instrument(httpx.Client(), meter) as client:
        for _ in range(count):
            body = {"model": "meta/sam-3-1-image", "prompt": "p"}
            client.post(f"{gateway.url}/images/generations", json=body).raise_for_status()


def test_a_meter_with_a_registry_counts_its_calls(
    gateway: Gateway, sqlite_url: str, registry: CollectorRegistry
) -> None:
    with Meter(sqlite_url, gateways=GATEWAYS, registry=registry) as meter:
        posted(meter, gateway, 3)
        assert meter.flush(10)
        assert {} == meter.status()["failures"]
    scrape = Scrape(registry)
    assert 3 == scrape.total("pixelmeter_requests_total", gateway="aigateway", outcome="success")
    assert gateway.billed_nano() / 1e9 == pytest.approx(scrape.total("pixelmeter_cost_usd_total"), rel=1e-9)
    assert 3 == scrape.total("pixelmeter_ledger_rows_total", backend="sqlite")
    assert 0 == scrape.total("pixelmeter_ledger_waiting_records")


@pytest.fixture
def default_registry(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    """A registry that is the default one during the test."""
    monkeypatch.setattr(prometheus_client, "REGISTRY", registry)
    return registry


@pytest.mark.parametrize("own", [tuple, lambda: [PrometheusSink()]], ids=["named", "named and given"])
def test_the_environment_turns_it_on_once(
    gateway: Gateway,
    sqlite_url: str,
    default_registry: CollectorRegistry,
    monkeypatch: pytest.MonkeyPatch,
    own: Callable[[], Any],
) -> None:
    monkeypatch.setenv("PIXELMETER_SINKS", "prometheus")
    with Meter(sqlite_url, gateways=GATEWAYS, sinks=own()) as meter:
        posted(meter, gateway)
    assert 1 == Scrape(default_registry).total("pixelmeter_requests_total")
    assert exposed_registry() is default_registry


@pytest.mark.parametrize(("sampler", "kept"), [(ALWAYS_ON, 2), (ALWAYS_OFF, 0)])
def test_a_span_of_the_meter_itself_decides_as_well(
    gateway: Gateway, sqlite_url: str, registry: CollectorRegistry, sampler: Any, kept: int
) -> None:
    spans = OtelSink(TracerProvider(sampler=sampler))
    with Meter(sqlite_url, gateways=GATEWAYS, registry=registry, sinks=[spans]) as meter:
        posted(meter, gateway)
        assert meter.flush(10)
    [attempt] = stored(sqlite_url).values()
    assert attempt.trace_id is not None
    assert kept == len(marked(registry, attempt.trace_id))


@pytest.mark.usefixtures("default_registry")
def test_spans_come_first_however_they_are_turned_on(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELMETER_SINKS", "prometheus,otel")
    for registry in (None, CollectorRegistry()):
        with Meter(sqlite_url, registry=registry) as meter:
            assert ["OtelSink", "PrometheusSink"] == [type(sink).__name__ for sink in intake_of(meter).recorder.sinks]


def test_promtool_finds_nothing_to_say_of_the_metrics(registry: CollectorRegistry, promtool: Path) -> None:
    sink = PrometheusSink(registry)
    went(sink)
    sink.observe(health(writes=((3, 4_000),)))
    text = Scrape(registry).text
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (0, "", "") == (checked.returncode, checked.stdout, checked.stderr)
