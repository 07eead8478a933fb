"""The reports of OpenAI's organizations: costs, and how many images were made. Both need an admin key.

Source: openai 3.57 (`client.admin.organization.usage`). Days are UTC. A line of the costs is named such as
"gpt-image-1 image, output": the model is its first word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from pixelmeter.core.reconciling.statement import Grain, Period, Statement
from pixelmeter.core.text import whole
from pixelmeter.reconcile.sources.client import Query, UsageClient
from pixelmeter.reconcile.sources.rows import RowShape, paths, rows_at, text_at, unexpected
from pixelmeter.reconcile.sources.source import GatewaySource, Page, Pages, asked, numbered

__all__ = ["OpenaiCosts", "OpenaiImages"]

_SECOND = 1_000_000
_PAGE_LIMIT = 1000
_MODEL = re.compile(r"([a-z0-9][a-z0-9._:/-]*)(?: (?:image|text|audio|cached|input|output)[a-z ]*)?(?:,.*)?")


class _Buckets(GatewaySource):
    """A report in buckets of a day, in pages."""

    gateway = "openai"
    base_url = "https://api.openai.com"
    grain: Grain = "day"
    path = ""
    query: Query = ()

    def pages(
        self, client: UsageClient | None, period: Period, wanted_ids: Sequence[str] = (), cursor: str | None = None
    ) -> Iterator[Page]:
        """Yield the pages as the gateway makes them; its `next_page` is the cursor."""
        client = asked(client)
        reader = self.reader(client, period)
        span = [("start_time", str(period.start // _SECOND))]
        if period.end <= client.now():
            span.append(("end_time", str(-(-period.end // _SECOND))))
        pages = Pages(self.path, _PAGE_LIMIT)
        for _ in pages.numbers():
            query = [*span, *self.query, *([("page", cursor)] if cursor is not None else [])]
            document = client.get(self.path, query)
            buckets = None if document is None else rows_at(document, "data")
            if document is None or buckets is None:
                raise unexpected(self.path)
            rows = list(self._rows(buckets))
            cursor = text_at(document, "next_page") if text_at(document, "has_more") == "true" else None
            pages.check(buckets, cursor)
            statements = tuple(map(self._with_model, reader.statements(rows)))
            yield Page(statements, cursor, reader.problems())
            if cursor is None:
                return

    def _rows(self, buckets: Sequence[msgspec.Raw]) -> Iterator[tuple[str, bytes]]:
        for bucket in buckets:
            start = text_at(bucket, "start_time")
            results = rows_at(bucket, "results", "result")
            if start is None or not start.isdecimal() or results is None or bytes(bucket).lstrip()[:1] != b"{":
                raise unexpected(self.path)
            for name, row in numbered(results, f"{self.path}, bucket {start}"):
                text = bytes(row).strip()
                if text[:1] == b"{" and text[1:].strip() != b"}":
                    text = b'{"start_time":' + start.encode() + b"," + text[1:]
                yield name, text

    def _with_model(self, statement: Statement) -> Statement:
        return statement


class OpenaiCosts(_Buckets):
    """What each line of the invoice was charged on a UTC day."""

    id = "openai_costs"
    path = "/v1/organization/costs"
    query = (("bucket_width", "1d"), ("limit", "31"), ("group_by[]", "line_item"), ("group_by[]", "project_id"))
    shape = RowShape(
        key=paths("line_item", "project_id"),
        time=paths("start_time"),
        amount=paths("amount.value"),
        label=paths("line_item"),
        currency=paths("amount.currency"),
        kept=paths("quantity", "quantity_unit"),
    )

    def _with_model(self, statement: Statement) -> Statement:
        raw = statement.raw.encode()
        found = _MODEL.fullmatch(statement.label or "")
        is_of_images = text_at(raw, "quantity_unit") == "images"
        return msgspec.structs.replace(
            statement,
            model=found[1] if found else None,
            images=whole(text_at(raw, "quantity") or "") if is_of_images else None,
        )


class OpenaiImages(_Buckets):
    """How many images were made on a UTC day, by model, size and kind of request. It has no amounts."""

    id = "openai_images"
    has_amounts = False
    path = "/v1/organization/usage/images"
    query = (
        ("bucket_width", "1d"),
        ("limit", "31"),
        *(("group_by[]", name) for name in ("model", "size", "source", "project_id")),
    )
    shape = RowShape(
        key=paths("model", "size", "source", "project_id"),
        time=paths("start_time"),
        model=paths("model"),
        images=paths("images"),
        requests=paths("num_model_requests"),
        label=paths("source", "size"),
    )
