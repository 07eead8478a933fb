"""What the gateway tells about itself and its bills: models, balance, and usage by request and by tag."""

from __future__ import annotations

import time
from itertools import islice

from pixelmeter.testing.billing import Billing
from pixelmeter.testing.body import document, number
from pixelmeter.testing.tariff import PER_IMAGE, PER_TOKEN, cents, dollars

__all__ = ["balance_text", "by_tag_text", "models_text", "recent_text"]


def models_text() -> str:
    """Return the JSON of /v1/models, with the prices."""
    entries = [_model(name, {"unit": "image", "usd": dollars(price)}) for name, price in PER_IMAGE.items()]
    for name, price in PER_TOKEN.items():
        units = {"input_text": price.input_text, "input_image": price.input_image, "output_image": price.output_image}
        per_million = {unit: dollars(nano * 1_000_000) for unit, nano in units.items()}
        entries.append(_model(name, {"unit": "1M tokens", "usd": per_million}))
    return document({"object": "list", "data": entries})


def _model(name: str, pricing: dict[str, object]) -> dict[str, object]:
    owner = name.partition("/")[0] if "/" in name else "stand-in"
    return {"id": name, "object": "model", "owned_by": owner, "modality": "image", "pricing": pricing}


def balance_text(billing: Billing) -> str:
    """Return the JSON of /v1/balance: a wallet of 1000 dollars, less what the log holds."""
    return document(
        {"object": "balance", "currency": "usd", "balance_cents": number(cents(10**12 - billing.charged_nano))}
    )


def recent_text(billing: Billing, limit: int) -> str:
    """Return the JSON of /v1/usage/recent, newest first."""
    rows: list[dict[str, object]] = []
    for entry in islice(reversed(billing.entries), limit):
        row: dict[str, object] = {"request_id": entry.request_id, "model": entry.model, "status": entry.status}
        row |= {"latency_ms": 7, "cost_cents": number(cents(entry.charged_nano))}
        if entry.tag:
            row["tag"] = entry.tag
        rows.append(row | {"created_at": entry.received_at // 1_000_000})
    return document({"data": rows})


def by_tag_text(billing: Billing, month: str | None, shape: str) -> str:
    """Return the JSON of /v1/usage/by-tag for a month (YYYY-MM, UTC; this one when None), in either of its shapes."""
    wanted = month or time.strftime("%Y-%m", time.gmtime())
    label = "label" if shape == "data" else "tag"
    rows = [
        {label: tag, "requests": requests, "cost_cents": number(cents(charged))}
        for (spent_in, tag), (requests, charged) in sorted(billing.by_tag.items())
        if spent_in == wanted
    ]
    return document({"data": rows} if shape == "data" else rows)
