"""The log of a LiteLLM proxy: one row a request, with what it reckons that it cost.

Source: litellm 1.110 (`spend_management_endpoints`). Rows carry prompts, hashes of keys and addresses of clients, of
which nothing is kept. `/spend/logs/v2` comes in pages; a proxy that does not have it has `/spend/logs`, which does not.
A key that is not the master key may see a part of it, and a request whose client has left may be missing from it though
the vendor charged for it: so it is not complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

from pixelmeter.core.reconciling.statement import Period
from pixelmeter.reconcile.sources.client import UsageClient
from pixelmeter.reconcile.sources.rows import RowReader, RowShape, paths, rows_at, text_at, unexpected
from pixelmeter.reconcile.sources.source import GatewaySource, Page, Pages, asked, date_of, days_of, numbered

__all__ = ["LitellmSpendLogs"]

_PAGED = "/spend/logs/v2"
_WHOLE = "/spend/logs"
_PAGE_SIZE = 100
_PAGE_LIMIT = 10_000


class LitellmSpendLogs(GatewaySource):
    """Every request that the proxy has logged."""

    id = "litellm_spend_logs"
    gateway = "litellm"
    shape = RowShape(
        ids=paths(
            "request_id", "litellm_call_id", "metadata.litellm_call_id", "metadata.spend_logs_metadata.request_id"
        ),
        time=paths("startTime", "start_time"),
        model=paths("model", "model_group"),
        amount=paths("spend"),
        status=paths("status", "metadata.status"),
        kept=paths("model_group", "model_id", "call_type", "cache_hit", "custom_llm_provider"),
    )

    def pages(
        self, client: UsageClient | None, period: Period, wanted_ids: Sequence[str] = (), cursor: str | None = None
    ) -> Iterator[Page]:
        """Yield the pages of each UTC day; the cursor is day and page, such as 2026-11-05 3."""
        client = asked(client)
        from_day, _, from_page = (cursor or "").partition(" ")
        today = date_of(client.now())
        days = [day for day in days_of(period) if day <= today and day.isoformat() >= from_day]
        if not days:
            yield Page((), None)
        reader = self.reader(client, period)
        number = int(from_page) if from_page.isdecimal() else 1
        for day in days:
            following = (day + timedelta(days=1)).isoformat() if day != days[-1] else None
            for page, is_last in self._of_day(client, reader, day, number):
                number += 1
                yield page._replace(cursor=f"{day} {number}" if not is_last else following)
            number = 1

    def _of_day(self, client: UsageClient, reader: RowReader, day: date, number: int) -> Iterator[tuple[Page, bool]]:
        """Yield the pages of a day from that number on, and whether each is the last."""
        pages = Pages(f"{_PAGED}, {day}", _PAGE_LIMIT)
        for at in pages.numbers(number):
            query = [
                ("start_date", f"{day} 00:00:00"),
                ("end_date", f"{day + timedelta(days=1)} 00:00:00"),
                ("page", str(at)),
                ("page_size", str(_PAGE_SIZE)),
                ("sort_by", "startTime"),
                ("sort_order", "asc"),
            ]
            document, path = client.get(_PAGED, query, missing=(404, 405)), _PAGED
            if document is None:
                span = [("start_date", day.isoformat()), ("end_date", (day + timedelta(days=1)).isoformat())]
                document, path = client.get(_WHOLE, [*span, ("summarize", "false")]), _WHOLE
            rows = None if document is None else rows_at(document, "data")
            if document is None or rows is None:
                raise unexpected(path)
            pages.check(rows)
            is_last = path == _WHOLE or _is_last(document, at, len(rows))
            named = numbered(rows, f"{path}, {day}, page {at}")
            # The end of a day is the beginning of the next, whose rows come with that one.
            statements = [each for each in reader.statements(named) if date_of(each.starts_at) == day]
            yield Page(tuple(statements), None, reader.problems()), is_last
            if is_last:
                return


def _is_last(document: bytes, number: int, rows: int) -> bool:
    if not rows:
        return True
    pages = text_at(document, "total_pages")
    # A total that is capped is less than there are.
    if pages is not None and pages.isdecimal() and text_at(document, "total_is_capped") != "true":
        return number >= int(pages[:9])
    size = text_at(document, "page_size")
    return rows < (int(size[:9]) if size is not None and size.isdecimal() else _PAGE_SIZE)
