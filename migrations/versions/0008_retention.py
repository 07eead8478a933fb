"""Prunes: since when the ledger has the attempts themselves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "pixelmeter_prunes",
        sa.Column("horizon", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("attempts", _BIG, nullable=False),
        sa.Column("made_by", sa.Text()),
        sa.Column("version", sa.Text(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("pixelmeter_prunes")
