"""The logs of a Cloudflare AI Gateway: one row a request, with what it reckons that it cost.

Source: the API reference of AI Gateway logs. The base URL has the account and the gateway:
`https://api.cloudflare.com/client/v4/accounts/ACCOUNT/ai-gateway/gateways/GATEWAY`. A request can be kept out of the
logs, and logs are deleted when there are too many: so they are not complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from pixelmeter.core.reconciling.statement import Period
from pixelmeter.reconcile.sources.client import UsageClient
from pixelmeter.reconcile.sources.rows import RowShape, paths, rows_at, text_at, unexpected
from pixelmeter.reconcile.sources.source import GatewaySource, Page, Pages, asked, numbered

__all__ = ["CloudflareLogs"]

_PAGE_SIZE = 50
_PAGE_LIMIT = 100_000


class CloudflareLogs(GatewaySource):
    """The requests that are in the logs."""

    id = "cloudflare_logs"
    gateway = "cloudflare-ai-gateway"
    shape = RowShape(
        ids=paths("id", "event_id"),
        time=paths("created_at"),
        model=paths("model"),
        amount=paths("cost"),
        status=paths("success", "status_code"),
        label=paths("provider"),
        # Not the path: its query may have a key of the vendor.
        kept=paths("status_code", "cached", "custom_cost", "model_type", "step"),
    )

    def pages(
        self, client: UsageClient | None, period: Period, wanted_ids: Sequence[str] = (), cursor: str | None = None
    ) -> Iterator[Page]:
        """Yield the pages, oldest rows first; the cursor is the number of the page that comes next."""
        client = asked(client)
        path = "/logs"
        reader = self.reader(client, period)
        # The bounds are not in what is asked for, so they are a millisecond further out, and rows are looked at again.
        span = [
            *_filter(0, "gt", _iso(period.start - 1000)),
            *_filter(1, "lt", _iso(period.end)),
        ]
        first = int(cursor) if cursor is not None and cursor.isdecimal() else 1
        pages = Pages(path, _PAGE_LIMIT)
        for number in pages.numbers(first):
            query = [("page", str(number)), ("per_page", str(_PAGE_SIZE)), *span]
            document = client.get(path, [*query, ("order_by", "created_at"), ("order_by_direction", "asc")])
            rows = None if document is None else rows_at(document, "result")
            if document is None or rows is None:
                raise unexpected(path)
            pages.check(rows)
            total = text_at(document, "result_info.total_count")
            read = (number - 1) * _PAGE_SIZE + len(rows)
            is_last = read >= int(total[:12]) if total is not None and total.isdecimal() else len(rows) < _PAGE_SIZE
            is_last = is_last or not rows
            statements = reader.statements(numbered(rows, f"{path}, page {number}"))
            yield Page(tuple(statements), None if is_last else str(number + 1), reader.problems())
            if is_last:
                return


def _filter(at: int, operator: str, value: str) -> list[tuple[str, str]]:
    name = f"filters[{at}]"
    return [(f"{name}[key]", "created_at"), (f"{name}[operator]", operator), (f"{name}[value][]", value)]


def _iso(moment: int) -> str:
    seconds, rest = divmod(moment, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()}.{rest // 1000:03}Z"
