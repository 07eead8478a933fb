"""How programs that use pixelmeter are typed: read by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import assert_type

import aigateway
import httpx
import httpx2
import openai
import prometheus_client
import starlette.datastructures
import werkzeug.datastructures
from opentelemetry.sdk.trace import TracerProvider

import pixelmeter
import pixelmeter.httpx
import pixelmeter.httpx2
from pixelmeter import Adjustment, Attempt, Change, Health
from pixelmeter.sinks.otel import OtelSink
from pixelmeter.testing import Gateway, capture_calls

meter = pixelmeter.Meter()
pixelmeter.Meter("sqlite:///images.db")
pixelmeter.Meter(
    database_url="postgresql://host/database",
    tags={"team": "growth"},
    price_book="prices.toml",
    gateways={"images.corp.example": "litellm", "127.0.0.1:*": "aigateway"},
    registry=prometheus_client.CollectorRegistry(),
    spool_dir="/var/spool/images",
    webhook_secrets={"aigateway": "secret", "replicate": ["new", "old"]},
)

assert_type(pixelmeter.instrument(openai.OpenAI(), meter), openai.OpenAI)
assert_type(pixelmeter.instrument(openai.AsyncOpenAI(), meter), openai.AsyncOpenAI)
assert_type(pixelmeter.instrument(aigateway.AIgateway("key"), meter), aigateway.AIgateway)
assert_type(pixelmeter.instrument(aigateway.AsyncAIgateway("key"), meter), aigateway.AsyncAIgateway)
assert_type(pixelmeter.instrument(httpx.Client(), meter), httpx.Client)
assert_type(pixelmeter.instrument(httpx.AsyncClient(), meter), httpx.AsyncClient)
assert_type(pixelmeter.instrument(httpx2.Client(), meter), httpx2.Client)
assert_type(pixelmeter.instrument(httpx2.AsyncClient(), meter), httpx2.AsyncClient)

httpx.Client(transport=pixelmeter.httpx.MeterTransport(meter, httpx.HTTPTransport(http2=True)))
httpx.AsyncClient(transport=pixelmeter.httpx.AsyncMeterTransport(meter, httpx.AsyncHTTPTransport(retries=2)))
httpx2.Client(transport=pixelmeter.httpx2.MeterTransport(meter))
httpx2.AsyncClient(mounts={"https://": pixelmeter.httpx2.AsyncMeterTransport(meter)})
httpx.Client(transport=pixelmeter.httpx.AsyncMeterTransport(meter))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Watch:
    """A sink that also takes what is learned later."""

    def begin(self, intent: Attempt) -> Callable[[], None] | None:
        assert_type(intent.at_risk, int | None)
        return None

    def record(self, attempt: Attempt) -> None:
        assert_type(attempt.cost, int | None)
        assert_type(attempt.model, str)

    def observe(self, health: Health) -> None:
        assert_type(health.waiting, int)

    def adjust(self, change: Change) -> None:
        assert_type(change.before, Attempt)
        assert_type(change.adjustment, Adjustment)


pixelmeter.Meter(sinks=[Watch()])
counting: pixelmeter.AdjustmentSink = Watch()
pixelmeter.Meter(sinks=[object()])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]

book = pixelmeter.load_price_book("prices.toml")
assert_type(book, pixelmeter.PriceBook)
pixelmeter.Meter(price_book=book)

budget = pixelmeter.Budget(Decimal("0.03"), per="day", name="customers", each="tag:customer", action="block")
pixelmeter.Meter(budgets=[budget, pixelmeter.Budget(50, notify=lambda notice: notice.text)])
pixelmeter.Budget(50, each=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
try:
    pass
except pixelmeter.BudgetExceeded as refused:
    assert_type(refused.limit, Decimal)
    assert_type(refused.spent, Decimal | None)
    assert_type(refused.resets_at, datetime | None)

pixelmeter.Meter(sinks=[OtelSink(TracerProvider(), cost_attributes="semconv")])

assert_type(meter.webhook({"x-gateway-signature": "t=1,v1=00"}, b"{}"), pixelmeter.WebhookEvent)
meter.webhook([(b"webhook-id", b"1")], b"{}", gateway="replicate", secret=["new", "old"])
meter.webhook(starlette.datastructures.Headers(), b"{}", secret="secret")
meter.webhook(werkzeug.datastructures.Headers(), b"{}")
meter.webhook({}, "{}")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

assert_type(meter.flush(timeout=1.0), bool)
status = meter.status()
assert_type(status, pixelmeter.Status)
assert_type(status["waiting"], int)
assert_type(status["waiting_seconds"], float)
assert_type(status["ledger_error"], str | None)
assert_type(status["spool"]["held"], int)
assert_type(status["writer"]["running"], bool)
assert_type(status["failures"], Mapping[str, int])
status["nothing"]  # type: ignore[typeddict-item]  # pyright: ignore[reportGeneralTypeIssues, reportUnusedExpression]
meter.close()

with pixelmeter.Meter() as opened:
    assert_type(opened, pixelmeter.Meter)


async def asynchronously() -> None:
    async with pixelmeter.Meter() as opened:
        assert_type(opened, pixelmeter.Meter)


with pixelmeter.tags(team="growth", feature="hero"):
    pass

with pixelmeter.call() as call:
    assert_type(call.cost, Decimal | None)
assert_type(call.at_risk, Decimal | None)

spend = meter.spend("this-month", by="tag:team", tags={"env": "prod"}, top=10, model="openai/*", tz="Europe/Berlin")
assert_type(spend, pixelmeter.Spend)
assert_type(spend.rows, tuple[pixelmeter.SpendRow, ...])
assert_type(spend.total.cost, Decimal | None)
meter.spend(datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC))
meter.spend("7d", provider="openai")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

with capture_calls() as attempts:
    assert_type(attempts, list[Attempt])

with Gateway() as gateway:
    assert_type(gateway.url, str)
