"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_UUID = sa.String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
_JSON = sa.Text().with_variant(postgresql.JSONB(), "postgresql")
_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "pixelmeter_attempts",
        sa.Column("id", _UUID, primary_key=True),
        sa.Column("call_id", _UUID, nullable=False),
        sa.Column("attempt", _BIG, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("gateway", sa.Text, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("requested_model", sa.Text),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("provider", sa.Text),
        sa.Column("requested_images", _BIG, nullable=False),
        sa.Column("images", _BIG),
        sa.Column("input_images", _BIG, nullable=False),
        sa.Column("requested_size", sa.Text),
        sa.Column("size", sa.Text),
        sa.Column("requested_quality", sa.Text),
        sa.Column("quality", sa.Text),
        sa.Column("output_format", sa.Text),
        sa.Column("input_text_tokens", _BIG),
        sa.Column("input_image_tokens", _BIG),
        sa.Column("cached_input_tokens", _BIG),
        sa.Column("output_text_tokens", _BIG),
        sa.Column("output_image_tokens", _BIG),
        sa.Column("request_bytes", _BIG),
        sa.Column("response_bytes", _BIG, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("error_type", sa.Text),
        sa.Column("error_code", sa.Text),
        sa.Column("request_id", sa.Text),
        sa.Column("first_byte", _BIG),
        sa.Column("duration", _BIG, nullable=False),
        sa.Column("billing", sa.Text, nullable=False),
        sa.Column("cost", _BIG),
        sa.Column("cost_source", sa.Text, nullable=False),
        sa.Column("cost_reason", sa.Text),
        sa.Column("reported_cost", _BIG),
        sa.Column("token_cost", _BIG),
        sa.Column("image_cost", _BIG),
        sa.Column("reported_text", sa.Text),
        sa.Column("price_id", sa.Text),
        sa.Column("at_risk", _BIG),
        sa.Column("byok", sa.Boolean, nullable=False),
        sa.Column("fee_rate", sa.Integer, nullable=False),
        sa.Column("fee", _BIG),
        sa.Column("tags", _JSON, nullable=False),
        sa.Column("trace_id", sa.Text),
        sa.Column("version", sa.Text, nullable=False),
    )
    op.create_index("pixelmeter_attempts_started_at", "pixelmeter_attempts", ["started_at"])
    op.create_index("pixelmeter_attempts_call_id", "pixelmeter_attempts", ["call_id"])
    op.create_table(
        "pixelmeter_daily",
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("gateway", sa.Text, primary_key=True),
        sa.Column("provider", sa.Text, primary_key=True),
        sa.Column("operation", sa.Text, primary_key=True),
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("outcome", sa.Text, primary_key=True),
        sa.Column("bucket", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("attempts", _BIG, nullable=False),
        sa.Column("calls", _BIG, nullable=False),
        sa.Column("images", _BIG, nullable=False),
        sa.Column("cost", _BIG, nullable=False),
        sa.Column("fee", _BIG, nullable=False),
        sa.Column("at_risk", _BIG, nullable=False),
        sa.Column("unknown_cost_attempts", _BIG, nullable=False),
        sa.Column("duration", _BIG, nullable=False),
    )
    op.create_table(
        "pixelmeter_spools",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("position", _BIG, nullable=False),
    )


def downgrade() -> None:
    for table in ("pixelmeter_spools", "pixelmeter_daily", "pixelmeter_attempts"):
        op.drop_table(table)
