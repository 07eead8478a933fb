"""The reports of OpenRouter: one generation after the other, and sums by UTC day.

Source: openrouter 1.3 (the SDK). Of a request with the caller's own key, `total_cost` is the gateway's fee.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pixelmeter.core.reconciling.statement import Grain, Period, Statement
from pixelmeter.reconcile.sources.client import UsageClient
from pixelmeter.reconcile.sources.rows import RowShape, object_at, paths, rows_at, unexpected
from pixelmeter.reconcile.sources.source import GatewaySource, Page, asked, date_of, days_of, numbered

__all__ = ["OpenrouterActivity", "OpenrouterGenerations"]

_AT_ONCE = 50


class OpenrouterGenerations(GatewaySource):
    """What single requests were charged; asked for the ids that are wanted, one by one."""

    id = "openrouter_generations"
    gateway = "openrouter"
    base_url = "https://openrouter.ai"
    by_id = True
    shape = RowShape(
        ids=paths("id", "request_id", "upstream_id"),
        time=paths("created_at"),
        model=paths("model"),
        amount=paths("total_cost", "usage"),
        images=paths("num_media_completion"),
        kept=paths(
            "provider_name", "is_byok", "upstream_inference_cost", "cache_discount", "response_cache_source_id",
            "cancelled", "streamed", "api_type", "native_tokens_completion_images",
        ),
    )  # fmt: skip

    def pages(
        self, client: UsageClient | None, period: Period, wanted_ids: Sequence[str] = (), cursor: str | None = None
    ) -> Iterator[Page]:
        """Yield pages of fifty ids; the cursor is the id that comes next. An id that is not known yet has no row."""
        client = asked(client)
        path = "/api/v1/generation"
        reader = self.reader(client, period)
        ids = sorted({each for each in wanted_ids if cursor is None or each >= cursor})
        for start in range(0, len(ids) or 1, _AT_ONCE):
            statements, missing = list[Statement](), 0
            for each in ids[start : start + _AT_ONCE]:
                document = client.get(path, [("id", each)], missing=(404,))
                if document is None:
                    missing += 1
                    continue
                row = object_at(document, "data")
                if row is None:
                    raise unexpected(path)
                statements += reader.statements([(f"{path}, {each[:80]}", row)])
            notes = (f"{missing} of the requests are not known to {path}, or not yet",) if missing else ()
            following = ids[start + _AT_ONCE] if start + _AT_ONCE < len(ids) else None
            yield Page(tuple(statements), following, reader.problems(), notes)


class OpenrouterActivity(GatewaySource):
    """Sums of a UTC day by model and vendor, of the last thirty days; needs a management key."""

    id = "openrouter_activity"
    gateway = "openrouter"
    base_url = "https://openrouter.ai"
    grain: Grain = "day"
    shape = RowShape(
        key=paths("model", "model_permaslug", "endpoint_id", "provider_name", "workspace_id"),
        time=paths("date"),
        model=paths("model", "model_permaslug"),
        amount=paths("usage"),
        requests=paths("requests"),
        label=paths("provider_name"),
        kept=paths("byok_usage_inference"),
    )

    def pages(
        self, client: UsageClient | None, period: Period, wanted_ids: Sequence[str] = (), cursor: str | None = None
    ) -> Iterator[Page]:
        """Yield a page for each day; the cursor is the day that comes next. Days that it no longer has are noted."""
        client = asked(client)
        path = "/api/v1/activity"
        reader = self.reader(client, period)
        today = date_of(client.now())
        days = [day for day in days_of(period) if day <= today and (cursor is None or day.isoformat() >= cursor)]
        if not days:
            yield Page((), None)
        for at, day in enumerate(days):
            document = client.get(path, [("date", day.isoformat())], missing=(400, 404))
            rows = [] if document is None else rows_at(document, "data")
            if rows is None:
                raise unexpected(path)
            notes = (f"{path} has no {day}: it goes back thirty days",) if document is None else ()
            statements = reader.statements(numbered(rows, f"{path}, {day}"))
            following = days[at + 1].isoformat() if at + 1 < len(days) else None
            yield Page(tuple(statements), following, reader.problems(), notes)
