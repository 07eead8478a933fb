"""The usage reports of AIgateway. All amounts are cents.

Sources: aigateway-cli (2026-04-22) for `usage/recent` and the shape with `data`; the guides on costs by feature and on
sub-accounts for the others. None is in its OpenAPI document but the path of `by-sub-account`, so each may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from pixelmeter.core.gateways.amounts import Unit
from pixelmeter.core.reconciling.statement import Grain, Period, month
from pixelmeter.errors import SourceError
from pixelmeter.reconcile.sources.client import UsageClient
from pixelmeter.reconcile.sources.rows import RowShape, paths, rows_at, text_at, unexpected
from pixelmeter.reconcile.sources.source import GatewaySource, Page, asked, date_of, numbered

__all__ = ["AigatewayByTag", "AigatewayRecent", "AigatewaySubAccountDays", "AigatewaySubAccounts"]

_CENTS = Unit("cents")
_LIMITS = (1000, 100)
"""How many of the latest requests are asked for; the second is the documented one, for a gateway that refuses more."""
_ACCOUNT_LIMIT = 1000
_WINDOW = 30 * 24 * 3600 * 1_000_000
_ACCOUNT = re.compile(r"[A-Za-z0-9_-]{1,100}")
_MISSING = (404, 405, 501)


class AigatewayRecent(GatewaySource):
    """The latest requests, one by one."""

    id = "aigateway_recent"
    gateway = "aigateway"
    base_url = "https://api.aigateway.sh"
    shape = RowShape(
        ids=paths("request_id", "id", "job_id"),
        time=paths("created_at", "timestamp"),
        model=paths("model", "model_id"),
        amount=paths("cost_cents"),
        unit=_CENTS,
        status=paths("status"),
        label=paths("tag"),
        kept=paths("latency_ms"),
    )

    def pages(
        self, client: UsageClient | None, period: Period, wanted_ids: Sequence[str] = (), cursor: str | None = None
    ) -> Iterator[Page]:
        """Yield one page. What the gateway no longer lists is said in its notes."""
        client = asked(client)
        path = "/v1/usage/recent"
        for limit in _LIMITS:
            document = client.get(path, [("limit", str(limit))], missing=(*_MISSING, 400, 422))
            if document is not None:
                break
        else:
            raise _not_there(path)
        rows = rows_at(document, "data")
        if rows is None:
            raise unexpected(path)
        reader = self.reader(client, period)
        statements = reader.statements(numbered(rows, path))
        notes: tuple[str, ...] = ()
        if len(rows) >= limit and reader.oldest is not None and reader.oldest >= period.start:
            day = date_of(reader.oldest).isoformat()
            notes = (
                f"{path} lists the latest {len(rows)} requests, which go back to {day} and not to the month's start",
            )
        yield Page(tuple(statements), None, reader.problems(), notes)


class _OfMonth(GatewaySource):
    """A report with a row for each part of a month's sum."""

    gateway = "aigateway"
    base_url = "https://api.aigateway.sh"
    grain: Grain = "month"
    path = ""
    shape = RowShape(unit=_CENTS)

    def pages(
        self, client: UsageClient | None, period: Period, wanted_ids: Sequence[str] = (), cursor: str | None = None
    ) -> Iterator[Page]:
        """Yield one page; the period must be a UTC month."""
        client = asked(client)
        name = date_of(period.start).isoformat()[:7]
        if month(name) != period:
            raise SourceError(f"{self.path} has sums of whole months (UTC) only")
        document = client.get(self.path, [("month", name)], missing=_MISSING)
        if document is None:
            raise _not_there(self.path)
        rows = rows_at(document, "data")
        if rows is None:
            raise unexpected(self.path)
        reader = self.reader(client, period)
        statements = reader.statements(numbered(rows, self.path), first=period.start)
        yield Page(tuple(statements), None, reader.problems())


class AigatewayByTag(_OfMonth):
    """Sums of a month by tag: a list with `tag`, or `data` with `label`."""

    id = "aigateway_by_tag"
    path = "/v1/usage/by-tag"
    shape = RowShape(
        key=paths("tag", "label"),
        amount=paths("cost_cents"),
        unit=_CENTS,
        requests=paths("requests"),
        label=paths("tag", "label"),
    )


class AigatewaySubAccounts(_OfMonth):
    """Sums of a month by sub-account."""

    id = "aigateway_sub_accounts"
    path = "/v1/usage/by-sub-account"
    shape = RowShape(
        key=paths("sub_account_id", "id", "label"),
        amount=paths("cost_cents"),
        unit=_CENTS,
        requests=paths("requests"),
        label=paths("sub_account_id", "id", "label"),
    )


class AigatewaySubAccountDays(GatewaySource):
    """Sums by UTC day of each sub-account, of the last thirty days."""

    id = "aigateway_sub_account_days"
    gateway = "aigateway"
    base_url = "https://api.aigateway.sh"
    grain: Grain = "day"
    shape = RowShape(
        key=paths("sub_account_id"),
        time=paths("date"),
        amount=paths("cost_cents"),
        unit=_CENTS,
        requests=paths("requests"),
        label=paths("sub_account_id"),
    )

    def pages(
        self, client: UsageClient | None, period: Period, wanted_ids: Sequence[str] = (), cursor: str | None = None
    ) -> Iterator[Page]:
        """Yield a page for each sub-account; the cursor is the id of the one that comes next."""
        client = asked(client)
        listed = client.get("/v1/sub-accounts", missing=_MISSING)
        accounts = None if listed is None else rows_at(listed, "data", "sub_accounts")
        if accounts is None:
            raise _not_there("/v1/sub-accounts") if listed is None else unexpected("/v1/sub-accounts")
        ids = sorted({text_at(row, "id") or "" for row in accounts})
        if len(ids) > _ACCOUNT_LIMIT or not all(map(_ACCOUNT.fullmatch, ids)):
            raise unexpected("/v1/sub-accounts")
        if cursor is not None:
            ids = [each for each in ids if each >= cursor]
        reader = self.reader(client, period)
        if not ids:
            yield Page((), None)
        for at, account in enumerate(ids):
            path = f"/v1/sub-accounts/{account}/usage"
            document = client.get(path, [("window", "30d")])
            rows = None if document is None else rows_at(document, "by_day")
            if rows is None:
                raise unexpected(path)
            named = ((name, _with_account(row, account)) for name, row in numbered(rows, path))
            statements = reader.statements(named)
            following = ids[at + 1] if at + 1 < len(ids) else None
            notes: tuple[str, ...] = ()
            if client.now() - period.start > _WINDOW:
                notes = (f"{path} has the last thirty days, not all of the month",)
            yield Page(tuple(statements), following, reader.problems(), notes)


def _with_account(row: msgspec.Raw, account: str) -> bytes:
    text = bytes(row).strip()
    if not text.startswith(b"{"):
        return text
    rest = text[1:].lstrip()
    return b'{"sub_account_id":"' + account.encode() + b'"' + (b"," if rest[:1] != b"}" else b"") + rest


def _not_there(path: str) -> SourceError:
    return SourceError(f"the gateway has no {path}, which not every AIgateway has: use another --source, or a file")
