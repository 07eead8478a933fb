"""Findings of checks that a webhook has been told of; calls of which nothing is known have NULL and not 0."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pixelmeter_check_notices",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("claimed_by", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True)),
        sa.Column("quiet_until", sa.DateTime(timezone=True), nullable=False),
    )
    _replace_calls(
        images="CASE WHEN sum(images) <> 0 OR count(images) = count(*) THEN sum(images) END",
        cost="CASE WHEN sum(cost) <> 0 OR count(cost) = count(*) THEN sum(cost) END",
        at_risk=f"CASE WHEN sum(at_risk) <> 0 OR max(CASE WHEN {_UNESTIMATED} THEN 1 ELSE 0 END) = 0"
        " THEN coalesce(sum(at_risk), 0) END",
    )


def downgrade() -> None:
    _replace_calls(images="sum(images)", cost="sum(cost)", at_risk="sum(at_risk)")
    op.drop_table("pixelmeter_check_notices")


_UNESTIMATED = "cost IS NULL AND at_risk IS NULL AND billing IN ('unknown', 'pending')"


def _replace_calls(*, images: str, cost: str, at_risk: str) -> None:
    create = "CREATE VIEW"
    if op.get_bind().dialect.name == "postgresql":
        # Replaced in place, it keeps who may read it.
        create = "CREATE OR REPLACE VIEW"
    else:
        op.execute("DROP VIEW pixelmeter_calls")
    op.execute(f"""
{create} pixelmeter_calls AS
SELECT call_id, min(started_at) AS started_at, count(*) AS attempts, {images} AS images,
  max(CASE WHEN outcome = 'success' THEN 1 ELSE 0 END) AS succeeded,
  max(CASE WHEN outcome = 'pending' THEN 1 ELSE 0 END) AS pending,
  {cost} AS cost, count(*) - count(cost) AS unknown_cost_attempts, {at_risk} AS at_risk,
  sum(CASE WHEN outcome = 'blocked' THEN 1 ELSE 0 END) AS blocked
FROM pixelmeter_spend
GROUP BY call_id
""")
