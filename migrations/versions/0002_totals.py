"""Sums since the ledger began, by the labels of metrics."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from pixelmeter.core.attempts.record import FIELDS, Attempt
from pixelmeter.core.labels import error_type, quality_label, size_label

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NEW = ("first_image", "remaining_requests")
_KEY = (
    "gateway", "operation", "model", "outcome", "error_type", "cost_source", "cost_reason", "size", "quality",
)  # fmt: skip
_SUMS = {
    "attempts": "count(*)",
    "retries": "sum(CASE WHEN attempt > 0 THEN 1 ELSE 0 END)",
    "images": "sum(coalesce(images, 0))",
    "cost_usd": "sum(coalesce(cost, 0) / 1000000000)",
    "cost_nano": "sum(coalesce(cost, 0) % 1000000000)",
    "at_risk_usd": "sum(coalesce(at_risk, 0) / 1000000000)",
    "at_risk_nano": "sum(coalesce(at_risk, 0) % 1000000000)",
    "unknown_cost_attempts": "sum(CASE WHEN cost IS NULL THEN 1 ELSE 0 END)",
    "duration_s": "sum(duration / 1000000)",
    "duration_us": "sum(duration % 1000000)",
    "input_text_tokens": """sum(CASE WHEN cached_input_tokens > input_text_tokens THEN 0
        ELSE coalesce(input_text_tokens - coalesce(cached_input_tokens, 0), 0) END)""",
    "cached_input_tokens": """sum(CASE WHEN cached_input_tokens > input_text_tokens THEN input_text_tokens
        WHEN input_text_tokens IS NULL THEN 0 ELSE coalesce(cached_input_tokens, 0) END)""",
    "input_image_tokens": "sum(coalesce(input_image_tokens, 0))",
    "output_text_tokens": "sum(coalesce(output_text_tokens, 0))",
    "output_image_tokens": "sum(coalesce(output_image_tokens, 0))",
}
# Microseconds, and the name of the column.
_DURATIONS = {
    100_000: "up_to_0_1_s",
    250_000: "up_to_0_25_s",
    500_000: "up_to_0_5_s",
    1_000_000: "up_to_1_s",
    2_000_000: "up_to_2_s",
    3_000_000: "up_to_3_s",
    5_000_000: "up_to_5_s",
    7_500_000: "up_to_7_5_s",
    10_000_000: "up_to_10_s",
    15_000_000: "up_to_15_s",
    20_000_000: "up_to_20_s",
    30_000_000: "up_to_30_s",
    45_000_000: "up_to_45_s",
    60_000_000: "up_to_60_s",
    90_000_000: "up_to_90_s",
    120_000_000: "up_to_120_s",
    2**63 - 1: "over_120_s",
}
# What labels are worked out from: rows that have these in common have the same labels.
_ALIKE = (
    "gateway", "operation", "model", "outcome", "status", "error_type", "error_code", "cost_source", "cost_reason",
    "size", "quality",
)  # fmt: skip


def upgrade() -> None:
    names = [*_SUMS, *_DURATIONS.values()]
    totals = op.create_table(
        "pixelmeter_totals",
        sa.Column("number", _BIG, sa.Identity(always=True), primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in _KEY),
        *(sa.Column(name, _BIG, nullable=False) for name in names),
        sa.UniqueConstraint(*_KEY, name="pixelmeter_totals_key"),
    )
    # An older writer that is still connected would go on without the totals. With every attempt it names this column:
    # so it fails, connects again, reads the revision, and keeps its attempts in the spool.
    op.alter_column("pixelmeter_daily", "bucket", new_column_name="latency_bucket")
    for name in _NEW:
        op.add_column("pixelmeter_attempts", sa.Column(name, _BIG))
    if rows := _added_up(names):
        op.bulk_insert(totals, rows)


def downgrade() -> None:
    for name in _NEW:
        op.drop_column("pixelmeter_attempts", name)
    op.alter_column("pixelmeter_daily", "latency_bucket", new_column_name="bucket")
    op.drop_table("pixelmeter_totals")


def _added_up(names: list[str]) -> list[dict[str, Any]]:
    sums: dict[tuple[str, ...], dict[str, int]] = {}
    # Not all at once: sizes are what callers asked for, so there may be as many groups as rows.
    for row in op.get_bind().execute(sa.text(_query()), execution_options={"yield_per": 1000}).mappings():
        added = sums.setdefault(_key(row), dict.fromkeys(names, 0))
        for name in names:
            added[name] += int(row[f"sum_{name}"])
    return [dict(zip(_KEY, key, strict=True)) | added for key, added in sums.items()]


def _query() -> str:
    buckets: dict[str, str] = {}
    above = -1
    for bound, name in _DURATIONS.items():
        buckets[name] = f"sum(CASE WHEN duration > {above} AND duration <= {bound} THEN 1 ELSE 0 END)"
        above = bound
    summed = ", ".join(f"{sql} AS sum_{name}" for name, sql in (_SUMS | buckets).items())
    return (
        f"SELECT {', '.join(_ALIKE)}, cost IS NULL AS unknown, {summed} FROM pixelmeter_attempts "
        f"GROUP BY {', '.join(_ALIKE)}, cost IS NULL ORDER BY min(started_at)"
    )


def _key(row: Any) -> tuple[str, ...]:
    one = Attempt(**dict.fromkeys(FIELDS) | {name: row[name] for name in _ALIKE})
    return (
        one.gateway,
        one.operation,
        one.model,
        one.outcome,
        error_type(one),
        one.cost_source,
        one.cost_reason or "" if row["unknown"] else "",
        size_label(one),
        quality_label(one),
    )
