"""What the gateway reports of its own bill, as each vendor does it; and what may be wrong with that.

All reports are made from the one bill, whichever dialect a request had.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

from pixelmeter.testing.behaviour import Behaviour
from pixelmeter.testing.billing import Billing, Entry, cents, dollars
from pixelmeter.testing.bodies import document, number

__all__ = ["usage_text"]

_DAY = 86_400
_MICRO = 1_000_000
_MAIN_ACCOUNT = "main"
_OPENAI_SOURCES = {"edit": "image.edit", "variation": "image.variation"}


@dataclass(frozen=True, slots=True)
class _Row:
    """One request, with what its job was charged at its end."""

    entry: Entry
    charged: int
    images: int

    @property
    def seconds(self) -> int:
        return self.entry.received_at // _MICRO

    @property
    def succeeded(self) -> bool:
        return self.entry.status is not None and self.entry.status < 400

    @property
    def account(self) -> str:
        return self.entry.account or _MAIN_ACCOUNT


def usage_text(billing: Billing, path: str, query: dict[str, str], behaviour: Behaviour) -> str | None:
    """Return the JSON of a report; None where there is no such report, or no such request."""
    match path:
        case "usage/recent":
            return _recent(_rows(billing, behaviour), _whole(query.get("limit"), 100))
        case "usage/by-tag":
            return _by_tag(_rows(billing, behaviour), query.get("month"), behaviour.by_tag_shape)
        case "usage/by-sub-account":
            return _by_account(_rows(billing, behaviour), query.get("month"))
        case "sub-accounts":
            accounts = sorted({row.account for row in _rows(billing, behaviour)})
            return document({"data": [{"id": account, "name": account} for account in accounts]})
        case "organization/costs" | "organization/usage/images":
            return _buckets(_rows(billing, behaviour), query, is_costs=path.endswith("costs"))
        case "generation":
            return _generation(_rows(billing, behaviour), query.get("id", ""))
        case "activity":
            return _activity(_rows(billing, behaviour), query.get("date"))
        case "spend/logs" | "spend/logs/v2":
            return _spend_logs(_rows(billing, behaviour), query, is_paged=path.endswith("v2"))
        case _:
            return _below(billing, path, query, behaviour)


def _below(billing: Billing, path: str, query: dict[str, str], behaviour: Behaviour) -> str | None:
    match path.split("/"):
        case ["sub-accounts", account, "usage"]:
            return _account_usage([row for row in _rows(billing, behaviour) if row.account == account])
        case ["client", "v4", "accounts", _, "ai-gateway", "gateways", _, "logs"]:
            return _cloudflare_logs(_rows(billing, behaviour), query)
        case _:
            return None


def _rows(billing: Billing, behaviour: Behaviour) -> list[_Row]:
    """Return the requests, oldest first, as the report has them: a job is one request, there once it has ended."""
    ends = {entry.submit: entry for entry in billing.entries if entry.operation == "job" and entry.submit}
    now, found = time.time_ns() // 1000, list[_Row]()
    for entry in billing.entries:
        end = ends.get(entry.request_id) if entry.job is not None else None
        if entry.operation == "job" or (entry.outcome == "pending" and end is None and not entry.charged_nano):
            continue
        charged = entry.charged_nano + (end.charged_nano if end is not None else 0)
        percent = behaviour.usage_percent.get(entry.model, 100)
        found.append(_Row(entry, charged * percent // 100, entry.images + (end.images if end is not None else 0)))
    if behaviour.usage_lag:
        found = [row for row in found if row.entry.received_at <= now - behaviour.usage_lag * _MICRO]
    if behaviour.usage_missing:
        first, last = behaviour.usage_missing
        found = [row for row in found if not first * _MICRO <= row.entry.received_at < last * _MICRO]
    every = behaviour.usage_duplicates
    if every:
        found = [row for at, one in enumerate(found, 1) for row in ([one, one] if at % every == 0 else [one])]
    return sorted(found, key=lambda row: row.entry.received_at)


def _recent(rows: list[_Row], limit: int) -> str:
    """Return AIgateway's latest requests, newest first."""
    shown: list[dict[str, object]] = []
    for row in list(reversed(rows))[:limit]:
        entry = row.entry
        line: dict[str, object] = {"request_id": entry.request_id, "model": entry.model, "status": entry.status}
        line |= {"latency_ms": 7, "cost_cents": number(cents(row.charged))}
        if entry.tag:
            line["tag"] = entry.tag
        if entry.job:
            line["job_id"] = entry.job
        shown.append(line | {"created_at": row.seconds})
    return document({"data": shown})


def _of_month(rows: list[_Row], month: str | None) -> list[_Row]:
    wanted = month or time.strftime("%Y-%m", time.gmtime())
    return [row for row in rows if time.strftime("%Y-%m", time.gmtime(row.seconds)) == wanted]


def _sums(rows: Iterable[_Row], name: Callable[[_Row], str]) -> list[tuple[str, list[_Row]]]:
    return [(key, list(some)) for key, some in groupby(sorted(rows, key=name), key=name)]


def _charged(rows: list[_Row]) -> int:
    return sum(row.charged for row in rows)


def _by_tag(rows: list[_Row], month: str | None, shape: str) -> str:
    label = "label" if shape == "data" else "tag"
    found = [
        {label: tag, "requests": len(some), "cost_cents": number(cents(_charged(some)))}
        for tag, some in _sums(_of_month(rows, month), lambda row: row.entry.tag or "")
    ]
    return document({"data": found} if shape == "data" else found)


def _by_account(rows: list[_Row], month: str | None) -> str:
    found = [
        {"sub_account_id": account, "requests": len(some), "cost_cents": number(cents(_charged(some)))}
        for account, some in _sums(_of_month(rows, month), lambda row: row.account)
    ]
    return document({"data": found})


def _account_usage(rows: list[_Row]) -> str:
    def part(some: list[_Row]) -> dict[str, object]:
        return {"requests": len(some), "cost_cents": number(cents(_charged(some)))}

    models = [{"model_id": model, **part(some)} for model, some in _sums(rows, lambda row: row.entry.model)]
    days = [{"date": day, **part(some)} for day, some in _sums(rows, _day)]
    return document({"summary": part(rows), "by_model": models, "by_day": days})


def _day(row: _Row) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(row.seconds))


def _buckets(rows: list[_Row], query: dict[str, str], *, is_costs: bool) -> str:
    """Return a page of OpenAI's daily buckets."""
    now = int(time.time())
    start = _whole(query.get("start_time"), 0) // _DAY * _DAY
    end = min(_whole(query.get("end_time"), now), now)
    limit = min(_whole(query.get("limit"), 7), 180 if is_costs else 31)
    first = start + _whole(query.get("page", "").removeprefix("page_"), 0) * _DAY
    data: list[dict[str, object]] = []
    for at in range(first, min(first + limit * _DAY, end), _DAY):
        some = [row for row in rows if at <= row.seconds < at + _DAY]
        results = _costs(some) if is_costs else _images(some)
        data.append({"object": "bucket", "start_time": at, "end_time": at + _DAY, "results": results})
    has_more = first + limit * _DAY < end
    following = f"page_{(first - start) // _DAY + limit}" if has_more else None
    return document({"object": "page", "data": data, "has_more": has_more, "next_page": following})


def _costs(rows: list[_Row]) -> list[dict[str, object]]:
    return [
        {
            "object": "organization.costs.result",
            "amount": {"value": number(dollars(_charged(some))), "currency": "usd"},
            "line_item": f"{model} image, output",
            "project_id": "proj_stand_in",
            "quantity": sum(row.images for row in some),
            "quantity_unit": "images",
        }
        for model, some in _sums(rows, lambda row: row.entry.model)
    ]


def _images(rows: list[_Row]) -> list[dict[str, object]]:
    return [
        {
            "object": "organization.usage.images.result",
            "images": sum(row.images for row in some),
            "num_model_requests": len(some),
            "size": None,
            "source": _OPENAI_SOURCES.get(operation, "image.generation"),
            "model": model,
            "project_id": "proj_stand_in",
        }
        for model, of_model in _sums((row for row in rows if row.succeeded), lambda row: row.entry.model)
        for operation, some in _sums(of_model, lambda row: row.entry.operation)
    ]


def _generation(rows: list[_Row], wanted: str) -> str | None:
    """Return one generation of OpenRouter, as far as it is known by now."""
    found = next((row for row in rows if f"gen-{row.entry.request_id}" == wanted), None)
    if found is None:
        return None
    entry, cost = found.entry, number(dollars(found.charged))
    data: dict[str, object] = {"id": wanted, "request_id": entry.request_id, "upstream_id": f"up-{entry.request_id}"}
    data |= {"created_at": _iso(entry.received_at), "model": entry.model, "provider_name": "stand-in"}
    data |= {"total_cost": cost, "usage": cost, "upstream_inference_cost": 0, "is_byok": False, "cancelled": False}
    return document({"data": data | {"num_media_completion": found.images, "streamed": False}})


def _activity(rows: list[_Row], day: str | None) -> str:
    found = [
        {
            "date": date,
            "model": model,
            "model_permaslug": model,
            "endpoint_id": f"endpoint-{model}",
            "provider_name": "stand-in",
            "usage": number(dollars(_charged(some))),
            "byok_usage_inference": 0,
            "requests": len(some),
        }
        for date, of_day in _sums(rows, _day)
        if day in (None, date)
        for model, some in _sums(of_day, lambda row: row.entry.model)
    ]
    return document({"data": found})


def _spend_logs(rows: list[_Row], query: dict[str, str], *, is_paged: bool) -> str:
    """Return LiteLLM's log, with all that it has and nobody should keep: prompts, hashes of keys, addresses."""
    first = _seconds(query.get("start_date"), 0)
    last = _seconds(query.get("end_date"), 2**40)
    if not is_paged:
        # Both are days, and the last is part of it.
        last += _DAY - 1
    logs = [_spend_log(row) for row in rows if first <= row.seconds <= last]
    if not is_paged:
        return document(logs)
    size = min(_whole(query.get("page_size"), 50), 100)
    page = _whole(query.get("page"), 1)
    part = logs[(page - 1) * size : page * size]
    pages = -(-len(logs) // size)
    return document({"data": part, "total": len(logs), "page": page, "page_size": size, "total_pages": pages})


def _spend_log(row: _Row) -> dict[str, object]:
    entry = row.entry
    when = _iso(entry.received_at)
    return {
        "request_id": entry.request_id,
        "call_type": "aimage_generation",
        "api_key": "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b",
        "spend": number(dollars(row.charged)),
        "startTime": when,
        "endTime": when,
        "model": entry.model,
        "model_group": entry.model,
        "status": "success" if row.succeeded else "failure",
        "cache_hit": "False",
        "custom_llm_provider": "openai",
        "request_tags": [entry.tag] if entry.tag else [],
        "requester_ip_address": "203.0.113.7",
        "messages": "a fox that nobody else should hear of",
        "metadata": {"user_api_key_alias": "alice", "status": "success" if row.succeeded else "failure"},
    }


def _cloudflare_logs(rows: list[_Row], query: dict[str, str]) -> str:
    for at in range(4):
        bound = query.get(f"filters[{at}][value][]", "")
        if query.get(f"filters[{at}][key]") != "created_at" or not bound:
            continue
        limit = datetime.fromisoformat(bound)
        after = query.get(f"filters[{at}][operator]") == "gt"
        rows = [row for row in rows if (_moment(row) > limit if after else _moment(row) < limit)]
    size = min(_whole(query.get("per_page"), 20), 50)
    page = _whole(query.get("page"), 1)
    part = rows[(page - 1) * size : page * size]
    info = {"page": page, "per_page": size, "count": len(part), "total_count": len(rows)}
    return document({"success": True, "result": list(map(_cloudflare_log, part)), "result_info": info, "errors": []})


def _cloudflare_log(row: _Row) -> dict[str, object]:
    entry = row.entry
    return {
        "id": entry.request_id,
        "created_at": _iso(entry.received_at),
        "provider": "openai",
        "model": entry.model,
        "model_type": "image",
        "path": "images/generations",
        "status_code": entry.status,
        "success": row.succeeded,
        "cached": False,
        "cost": number(dollars(row.charged)),
        "custom_cost": False,
        "duration": 7,
        "step": 0,
        "tokens_in": 0,
        "tokens_out": 0,
        "metadata": '{"user":"alice"}',
    }


def _moment(row: _Row) -> datetime:
    # Millisecond for millisecond, as it is shown.
    return datetime.fromtimestamp(row.entry.received_at // 1000 / 1000, UTC)


def _iso(microseconds: int) -> str:
    seconds, rest = divmod(microseconds, _MICRO)
    return f"{datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()}.{rest // 1000:03}Z"


def _seconds(text: str | None, otherwise: int) -> int:
    if not text:
        return otherwise
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def _whole(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and text.isdecimal() and len(text) < 12 else otherwise
