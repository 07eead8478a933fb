"""Adjustments, jobs, their totals, and views in which adjustments are laid over attempts."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from pixelmeter.core.reporting.latency import bucket

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_UUID = sa.String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_CHANGED = {
    "model": sa.Text(),
    "provider": sa.Text(),
    "images": _BIG,
    "size": sa.Text(),
    "quality": sa.Text(),
    "input_text_tokens": _BIG,
    "input_image_tokens": _BIG,
    "cached_input_tokens": _BIG,
    "output_text_tokens": _BIG,
    "output_image_tokens": _BIG,
    "outcome": sa.Text(),
    "error_type": sa.Text(),
    "error_code": sa.Text(),
    "billing": sa.Text(),
    "cost": _BIG,
    "cost_source": sa.Text(),
    "cost_reason": sa.Text(),
    "reported_cost": _BIG,
    "token_cost": _BIG,
    "image_cost": _BIG,
    "reported_text": sa.Text(),
    "price_id": sa.Text(),
    "at_risk": _BIG,
    "fee": _BIG,
    "priced_parts": sa.Text(),
}
_REQUIRED = ("model", "outcome", "billing", "cost_source")
_KEY = ("gateway", "operation", "model", "kind", "outcome")
_SUMS = (
    "adjustments",
    "jobs",
    "images",
    "cost_up_usd",
    "cost_up_nano",
    "cost_down_usd",
    "cost_down_nano",
    "at_risk_up_usd",
    "at_risk_up_nano",
    "at_risk_down_usd",
    "at_risk_down_nano",
)
_DAY_KEY = ("day", "gateway", "provider", "operation", "model", "outcome", "latency_bucket")
_ROLLED_UP = ("attempts", "calls", "images", "cost", "fee", "at_risk", "unknown_cost_attempts", "duration")
_COUNTED = ("provider", "model", "outcome", "images", "cost", "fee", "at_risk")
# In the order of the table.
_ATTEMPT = (
    "id", "call_id", "attempt", "started_at", "gateway", "operation", "requested_model", "model", "provider",
    "requested_images", "images", "input_images", "requested_size", "size", "requested_quality", "quality",
    "output_format", "input_text_tokens", "input_image_tokens", "cached_input_tokens", "output_text_tokens",
    "output_image_tokens", "request_bytes", "response_bytes", "status", "outcome", "error_type", "error_code",
    "request_id", "first_byte", "duration", "billing", "cost", "cost_source", "cost_reason", "reported_cost",
    "token_cost", "image_cost", "reported_text", "price_id", "at_risk", "byok", "fee_rate", "fee", "tags", "trace_id",
    "version", "first_image", "remaining_requests", "job_id", "priced_parts", "baseline_model", "baseline_cost",
    "route_fee", "savings", "service_tier",
)  # fmt: skip


def upgrade() -> None:
    op.create_index("pixelmeter_attempts_job_id", "pixelmeter_attempts", ["job_id"], **_where("job_id IS NOT NULL"))
    op.create_table(
        "pixelmeter_adjustments",
        sa.Column("attempt_id", _UUID, primary_key=True),
        sa.Column("number", _BIG, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("made_by", sa.Text()),
        sa.Column("why", sa.Text()),
        sa.Column("job_duration", _BIG),
        sa.Column("version", sa.Text(), nullable=False),
        *(sa.Column(name, kind, nullable=name not in _REQUIRED) for name, kind in _CHANGED.items()),
        sa.Column("is_latest", sa.Boolean(), nullable=False),
    )
    op.create_index(
        "pixelmeter_adjustments_latest", "pixelmeter_adjustments", ["attempt_id"], unique=True, **_where("is_latest")
    )
    op.create_index("pixelmeter_adjustments_made_at", "pixelmeter_adjustments", ["made_at"])
    op.create_table(
        "pixelmeter_jobs",
        sa.Column("job_id", sa.Text(), primary_key=True),
        sa.Column("gateway", sa.Text(), primary_key=True),
        sa.Column("attempt_id", _UUID),
        sa.Column("submitted_at", sa.DateTime(timezone=True)),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("outcome", sa.Text()),
        sa.Column("heard", sa.Text()),
    )
    op.create_index("pixelmeter_jobs_open", "pixelmeter_jobs", ["submitted_at"], **_where("ended_at IS NULL"))
    op.create_index("pixelmeter_jobs_unknown", "pixelmeter_jobs", ["ended_at"], **_where("attempt_id IS NULL"))
    op.create_table(
        "pixelmeter_adjustment_totals",
        sa.Column("number", _BIG, sa.Identity(always=True), primary_key=True),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _KEY),
        *(sa.Column(name, _BIG, nullable=False) for name in _SUMS),
        sa.UniqueConstraint(*_KEY, name="pixelmeter_adjustment_totals_key"),
    )
    columns = ", ".join(
        f"CASE WHEN j.number IS NULL THEN a.{name} ELSE j.{name} END AS {name}" if name in _CHANGED else f"a.{name}"
        for name in _ATTEMPT
    )
    op.execute(f"""
CREATE VIEW pixelmeter_spend AS
SELECT {columns}, j.kind AS adjusted_by, coalesce(j.number, 0) AS adjustments
FROM pixelmeter_attempts AS a
LEFT JOIN pixelmeter_adjustments AS j ON j.attempt_id = a.id AND j.is_latest
""")
    op.execute("""
CREATE VIEW pixelmeter_calls AS
SELECT call_id, min(started_at) AS started_at, count(*) AS attempts, sum(images) AS images,
  max(CASE WHEN outcome = 'success' THEN 1 ELSE 0 END) AS succeeded,
  max(CASE WHEN outcome = 'pending' THEN 1 ELSE 0 END) AS pending,
  sum(cost) AS cost, count(*) - count(cost) AS unknown_cost_attempts, sum(at_risk) AS at_risk
FROM pixelmeter_spend
GROUP BY call_id
""")
    # What was submitted before can still come to its end. Of several attempts with one job the first one counts.
    op.execute("""
INSERT INTO pixelmeter_jobs (gateway, job_id, attempt_id, submitted_at)
SELECT gateway, job, id, started_at FROM (
  SELECT gateway, coalesce(job_id, CAST(id AS TEXT)) AS job, id, started_at,
    row_number() OVER (PARTITION BY gateway, coalesce(job_id, CAST(id AS TEXT)) ORDER BY started_at, id) AS place
  FROM pixelmeter_attempts WHERE outcome = 'pending'
) AS submitted WHERE place = 1
""")


def downgrade() -> None:
    _take_back()
    op.execute("DROP VIEW pixelmeter_calls")
    op.execute("DROP VIEW pixelmeter_spend")
    op.drop_table("pixelmeter_adjustment_totals")
    op.drop_table("pixelmeter_jobs")
    op.drop_table("pixelmeter_adjustments")
    op.drop_index("pixelmeter_attempts_job_id", "pixelmeter_attempts")


def _take_back() -> None:
    """Have the day rollup count attempts as they were written: what adjusted them goes."""
    connection = op.get_bind()
    days: dict[tuple[Any, ...], dict[str, int]] = {}
    query = sa.text(
        "SELECT a.started_at, a.gateway, a.operation, a.attempt, a.duration, "
        + ", ".join(f"{table}.{name} AS {table}_{name}" for table in "aj" for name in _COUNTED)
        + " FROM pixelmeter_attempts AS a JOIN pixelmeter_adjustments AS j ON j.attempt_id = a.id AND j.is_latest"
    ).columns(started_at=sa.DateTime(timezone=True))
    for row in connection.execute(query, execution_options={"yield_per": 1000}).mappings():
        started_at = row["started_at"]
        day = (started_at if started_at.tzinfo is None else started_at.astimezone(UTC)).date()
        for table, sign in (("a", 1), ("j", -1)):
            found = {name: row[f"{table}_{name}"] for name in _COUNTED}
            key = (
                day, row["gateway"], found["provider"] or "", row["operation"], found["model"], found["outcome"],
                bucket(row["duration"]),
            )  # fmt: skip
            sums = days.setdefault(key, dict.fromkeys(_ROLLED_UP, 0))
            sums["attempts"] += sign
            sums["calls"] += sign * (row["attempt"] == 0)
            sums["unknown_cost_attempts"] += sign * (found["cost"] is None)
            sums["duration"] += sign * row["duration"]
            for name in ("images", "cost", "fee", "at_risk"):
                sums[name] += sign * (found[name] or 0)
    daily = sa.table(
        "pixelmeter_daily",
        sa.column("day", sa.Date),
        *(sa.column(name, sa.Text) for name in _DAY_KEY[1:-1]),
        sa.column("latency_bucket", sa.SmallInteger),
        *(sa.column(name, sa.BigInteger) for name in _ROLLED_UP),
    )
    for key, sums in days.items():
        here = sa.and_(*(daily.c[name] == value for name, value in zip(_DAY_KEY, key, strict=True)))
        added = {name: daily.c[name] + value for name, value in sums.items()}
        if not connection.execute(sa.update(daily).where(here).values(added)).rowcount:
            connection.execute(sa.insert(daily).values({**dict(zip(_DAY_KEY, key, strict=True)), **sums}))
    connection.execute(sa.delete(daily).where(daily.c.attempts == 0))


def _where(condition: str) -> dict[str, sa.TextClause]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}
