"""Statements: rows of the gateways' own usage reports, how far each was read, and reconciliations with them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_COUNTS = (
    "statements", "attempts", "equal", "differs", "unsettled", "only_ours", "only_theirs", "too_young", "not_charged",
    "byok", "adjusted",
)  # fmt: skip
_SUMS = ("theirs", "ours", "matched", "differing", "drift")


def upgrade() -> None:
    op.create_table(
        "pixelmeter_statements",
        sa.Column("gateway", sa.Text(), primary_key=True),
        sa.Column("source", sa.Text(), primary_key=True),
        sa.Column("external_id", sa.Text(), primary_key=True),
        sa.Column("grain", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True)),
        sa.Column("ids", sa.Text(), nullable=False),
        sa.Column("model", sa.Text()),
        sa.Column("amount", _BIG),
        sa.Column("images", _BIG),
        sa.Column("requests", _BIG),
        sa.Column("status", sa.Text()),
        sa.Column("label", sa.Text()),
        sa.Column("raw", sa.Text(), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("number", _BIG, primary_key=True, autoincrement=False),
    )
    op.create_index("pixelmeter_statements_starts_at", "pixelmeter_statements", ["gateway", "source", "starts_at"])
    op.create_table(
        "pixelmeter_statement_reads",
        sa.Column("gateway", sa.Text(), primary_key=True),
        sa.Column("source", sa.Text(), primary_key=True),
        sa.Column("month", sa.Text(), primary_key=True),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("pages", _BIG, nullable=False),
        sa.Column("problems", _BIG, nullable=False),
        sa.Column("covered_from", sa.DateTime(timezone=True)),
        sa.Column("cursor", sa.Text()),
        sa.Column("is_complete", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "pixelmeter_reconciliations",
        sa.Column("gateway", sa.Text(), primary_key=True),
        sa.Column("source", sa.Text(), primary_key=True),
        sa.Column("month", sa.Text(), primary_key=True),
        sa.Column("number", _BIG, primary_key=True, autoincrement=False),
        sa.Column("run_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("made_by", sa.Text()),
        sa.Column("version", sa.Text(), nullable=False),
        *(sa.Column(name, _BIG, nullable=False) for name in (*_COUNTS, *_SUMS)),
        sa.Column("coverage", _BIG),
    )


def downgrade() -> None:
    op.drop_table("pixelmeter_reconciliations")
    op.drop_table("pixelmeter_statement_reads")
    op.drop_table("pixelmeter_statements")
