"""Budgets: what they are, what counts towards them, leases, notices and resets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_SUMS = ("attempts", "blocked", "unknown_cost_attempts", "cost", "at_risk")


def upgrade() -> None:
    op.create_table(
        "pixelmeter_budgets",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("counts_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("revision", _BIG, nullable=False),
    )
    op.create_table(
        "pixelmeter_budget_sums",
        *_key(),
        *(sa.Column(name, _BIG, nullable=False) for name in _SUMS),
        *(
            sa.Column(name, _BIG, nullable=False)
            for name in ("credited", "leased", "last_lease", "overrun", "overruns")
        ),
    )
    op.create_table(
        "pixelmeter_budget_leases",
        sa.Column("process", sa.Text(), primary_key=True),
        *_key(),
        sa.Column("number", _BIG, primary_key=True, autoincrement=False),
        sa.Column("amount", _BIG, nullable=False),
        sa.Column("renewed_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("pixelmeter_budget_sums_span", "pixelmeter_budget_sums", ["budget", "starts_at"])
    op.create_index("pixelmeter_budget_leases_key", "pixelmeter_budget_leases", ["budget", "value", "starts_at"])
    op.create_table(
        "pixelmeter_budget_notices",
        *_key(),
        sa.Column("threshold", _BIG, primary_key=True, autoincrement=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("claimed_by", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "pixelmeter_budget_resets",
        sa.Column("number", _BIG, sa.Identity(always=True), primary_key=True),
        sa.Column("budget", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("amount", _BIG, nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("made_by", sa.Text()),
        sa.Column("why", sa.Text()),
    )
    if op.get_bind().dialect.name == "postgresql":
        # Replaced in place, it keeps who may read it.
        op.execute(f"CREATE OR REPLACE VIEW pixelmeter_calls AS {_calls(_BLOCKED)}")
    else:
        op.execute("DROP VIEW pixelmeter_calls")
        op.execute(f"CREATE VIEW pixelmeter_calls AS {_calls(_BLOCKED)}")


def downgrade() -> None:
    op.execute("DROP VIEW pixelmeter_calls")
    op.execute(f"CREATE VIEW pixelmeter_calls AS {_calls()}")
    for name in ("resets", "notices", "leases", "sums"):
        op.drop_table(f"pixelmeter_budget_{name}")
    op.drop_table("pixelmeter_budgets")


_BLOCKED = ",\n  sum(CASE WHEN outcome = 'blocked' THEN 1 ELSE 0 END) AS blocked"


def _calls(more: str = "") -> str:
    return f"""
SELECT call_id, min(started_at) AS started_at, count(*) AS attempts, sum(images) AS images,
  max(CASE WHEN outcome = 'success' THEN 1 ELSE 0 END) AS succeeded,
  max(CASE WHEN outcome = 'pending' THEN 1 ELSE 0 END) AS pending,
  sum(cost) AS cost, count(*) - count(cost) AS unknown_cost_attempts, sum(at_risk) AS at_risk{more}
FROM pixelmeter_spend
GROUP BY call_id
"""


def _key() -> list[sa.Column[object]]:
    return [
        sa.Column("budget", sa.Text(), primary_key=True),
        sa.Column("value", sa.Text(), primary_key=True),
        sa.Column("starts_at", sa.DateTime(timezone=True), primary_key=True),
    ]
