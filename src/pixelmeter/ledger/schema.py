"""The tables. `migrations/` must lead to exactly these; a test compares them."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, DateTime, Identity, Index, Integer, Table, Text, UniqueConstraint

from pixelmeter.core.attempts.adjustment import ADJUSTABLE
from pixelmeter.core.reconciling import reconciliation
from pixelmeter.ledger.budget_tables import BUDGET_LEASES, BUDGET_NOTICES, BUDGET_RESETS, BUDGET_SUMS, BUDGETS
from pixelmeter.ledger.dialect import RETRIED, ROUTED
from pixelmeter.ledger.rollup_tables import DAILY, DELTAS, HOURLY, TAG_DAILY, TOTALS, WIDE_TAGS
from pixelmeter.ledger.sums import ADJUSTMENT_TOTALS_COLUMNS, ADJUSTMENT_TOTALS_KEY
from pixelmeter.ledger.types import BIG, JSON, METADATA, UUID, where

__all__ = [
    "ADJUSTMENTS",
    "ADJUSTMENT_TOTALS",
    "ATTEMPTS",
    "BUDGETS",
    "BUDGET_LEASES",
    "BUDGET_NOTICES",
    "BUDGET_RESETS",
    "BUDGET_SUMS",
    "CHECK_NOTICES",
    "DAILY",
    "DELTAS",
    "HOURLY",
    "JOBS",
    "METADATA",
    "PRUNES",
    "RECONCILIATIONS",
    "SPOOLS",
    "STATEMENTS",
    "STATEMENT_READS",
    "TAG_DAILY",
    "TOTALS",
    "WIDE_TAGS",
]

ATTEMPTS = Table(
    "pixelmeter_attempts",
    METADATA,
    Column("id", UUID, primary_key=True),
    Column("call_id", UUID, nullable=False),
    Column("attempt", BIG, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("gateway", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("requested_model", Text),
    Column("model", Text, nullable=False),
    Column("provider", Text),
    Column("requested_images", BIG, nullable=False),
    Column("images", BIG),
    Column("input_images", BIG, nullable=False),
    Column("requested_size", Text),
    Column("size", Text),
    Column("requested_quality", Text),
    Column("quality", Text),
    Column("output_format", Text),
    Column("input_text_tokens", BIG),
    Column("input_image_tokens", BIG),
    Column("cached_input_tokens", BIG),
    Column("output_text_tokens", BIG),
    Column("output_image_tokens", BIG),
    Column("request_bytes", BIG),
    Column("response_bytes", BIG, nullable=False),
    Column("status", Integer),
    Column("outcome", Text, nullable=False),
    Column("error_type", Text),
    Column("error_code", Text),
    Column("request_id", Text),
    Column("first_byte", BIG),
    Column("duration", BIG, nullable=False),
    Column("billing", Text, nullable=False),
    Column("cost", BIG),
    Column("cost_source", Text, nullable=False),
    Column("cost_reason", Text),
    Column("reported_cost", BIG),
    Column("token_cost", BIG),
    Column("image_cost", BIG),
    Column("reported_text", Text),
    Column("price_id", Text),
    Column("at_risk", BIG),
    Column("byok", Boolean, nullable=False),
    Column("fee_rate", Integer, nullable=False),
    Column("fee", BIG),
    Column("tags", JSON, nullable=False),
    Column("trace_id", Text),
    Column("version", Text, nullable=False),
    Column("first_image", BIG),
    Column("remaining_requests", BIG),
    Column("job_id", Text),
    Column("priced_parts", Text),
    Column("baseline_model", Text),
    Column("baseline_cost", BIG),
    Column("route_fee", BIG),
    Column("savings", BIG),
    Column("service_tier", Text),
    Index("pixelmeter_attempts_started_at", "started_at"),
    Index("pixelmeter_attempts_call_id", "call_id"),
    Index("pixelmeter_attempts_job_id", "job_id", **where("job_id IS NOT NULL")),
    Index("pixelmeter_attempts_routed", "started_at", **where(ROUTED)),
    Index("pixelmeter_attempts_retries", "started_at", **where(RETRIED)),
    postgresql_partition_by="RANGE (id)",
)
"""One row an attempt, in the order of `pixelmeter.core.attempts.record.FIELDS`; rows are never changed.

Its partitions on PostgreSQL are those of `pixelmeter.ledger.partitions`.
"""

SPOOLS = Table(
    "pixelmeter_spools",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("position", BIG, nullable=False),
)
"""How far each spool file has been read, committed together with the rows it gave."""

ADJUSTMENTS = Table(
    "pixelmeter_adjustments",
    METADATA,
    Column("attempt_id", UUID, primary_key=True),
    Column("number", BIG, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("made_at", DateTime(timezone=True), nullable=False),
    Column("source", Text, nullable=False),
    Column("made_by", Text),
    Column("why", Text),
    Column("job_duration", BIG),
    Column("version", Text, nullable=False),
    *(Column(name, ATTEMPTS.c[name].type, nullable=ATTEMPTS.c[name].nullable) for name in ADJUSTABLE),
    Column("is_latest", Boolean, nullable=False),
    Index("pixelmeter_adjustments_latest", "attempt_id", unique=True, **where("is_latest")),
    Index("pixelmeter_adjustments_made_at", "made_at"),
)
"""One row an adjustment, in the order of `pixelmeter.core.attempts.adjustment.FIELDS`.

A column that attempts have too is like theirs. Rows are never changed, but for `is_latest`: of an attempt's adjustments
it is true of the one that holds.
"""

JOBS = Table(
    "pixelmeter_jobs",
    METADATA,
    Column("job_id", Text, primary_key=True),
    Column("gateway", Text, primary_key=True),
    Column("attempt_id", UUID),
    Column("submitted_at", DateTime(timezone=True)),
    Column("ended_at", DateTime(timezone=True)),
    Column("outcome", Text),
    Column("heard", Text),
    Index("pixelmeter_jobs_open", "submitted_at", **where("ended_at IS NULL")),
    Index("pixelmeter_jobs_unknown", "ended_at", **where("attempt_id IS NULL")),
)
"""One row a job. `attempt_id` is NULL where only its end is known, `ended_at` where only its submit is.

`heard` is JSON: a `pixelmeter.core.attempts.jobs.JobEnd` with all that was heard of its end.
"""

ADJUSTMENT_TOTALS = Table(
    "pixelmeter_adjustment_totals",
    METADATA,
    Column("number", BIG, Identity(always=True), primary_key=True),
    *(Column(name, Text, nullable=False) for name in ADJUSTMENT_TOTALS_KEY),
    *(Column(name, BIG, nullable=False) for name in ADJUSTMENT_TOTALS_COLUMNS if name not in ADJUSTMENT_TOTALS_KEY),
    UniqueConstraint(*ADJUSTMENT_TOTALS_KEY, name="pixelmeter_adjustment_totals_key"),
)
"""What adjustments added to and took from `TOTALS` since the ledger began, which themselves never fall.

`outcome` is that of the end of a job, and "" of every other adjustment.
"""

STATEMENTS = Table(
    "pixelmeter_statements",
    METADATA,
    Column("gateway", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("external_id", Text, primary_key=True),
    Column("grain", Text, nullable=False),
    Column("starts_at", DateTime(timezone=True), nullable=False),
    Column("ends_at", DateTime(timezone=True)),
    Column("ids", Text, nullable=False),
    Column("model", Text),
    Column("amount", BIG),
    Column("images", BIG),
    Column("requests", BIG),
    Column("status", Text),
    Column("label", Text),
    Column("raw", Text, nullable=False),
    Column("read_at", DateTime(timezone=True), nullable=False),
    Column("number", BIG, primary_key=True, autoincrement=False),
    Index("pixelmeter_statements_starts_at", "gateway", "source", "starts_at"),
)
"""One row of a gateway's own usage report, in the order of `pixelmeter.core.reconciling.statement.FIELDS`.

Rows are never changed. One that is read again with other content is a row of its own with the next `number`, and the
highest number holds. `ids` is a JSON array.
"""

STATEMENT_READS = Table(
    "pixelmeter_statement_reads",
    METADATA,
    Column("gateway", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("month", Text, primary_key=True),
    Column("began_at", DateTime(timezone=True), nullable=False),
    Column("read_at", DateTime(timezone=True), nullable=False),
    Column("pages", BIG, nullable=False),
    Column("problems", BIG, nullable=False),
    Column("covered_from", DateTime(timezone=True)),
    Column("cursor", Text),
    Column("is_complete", Boolean, nullable=False),
)
"""How far the report of a month has been read, committed together with the statements of each page."""

RECONCILIATIONS = Table(
    "pixelmeter_reconciliations",
    METADATA,
    Column("gateway", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("month", Text, primary_key=True),
    Column("number", BIG, primary_key=True, autoincrement=False),
    Column("run_at", DateTime(timezone=True), nullable=False),
    Column("made_by", Text),
    Column("version", Text, nullable=False),
    *(Column(name, BIG, nullable=False) for name in reconciliation.COUNTS),
    *(Column(name, BIG, nullable=False) for name in reconciliation.SUMS),
    Column("coverage", BIG),
)
"""One row a reconciliation that was applied and came to another result than the one before."""

PRUNES = Table(
    "pixelmeter_prunes",
    METADATA,
    Column("horizon", DateTime(timezone=True), primary_key=True),
    Column("began_at", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True)),
    Column("attempts", BIG, nullable=False),
    Column("made_by", Text),
    Column("version", Text, nullable=False),
)
"""One row a horizon, which is a UTC midnight. From when it is there, no attempt that began before it is added.

`attempts` counts those that were deleted, in the transactions that deleted them; `ended_at` is NULL until all are.
"""

CHECK_NOTICES = Table(
    "pixelmeter_check_notices",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("claimed_at", DateTime(timezone=True), nullable=False),
    Column("claimed_by", Text, nullable=False),
    Column("sent_at", DateTime(timezone=True)),
    Column("quiet_until", DateTime(timezone=True), nullable=False),
)
"""One row a finding of `pixelmeter check` that a webhook is told of, until it may be told again.

`id` is a hash of what was found, of the limit, of what was asked and of the webhook.
"""
