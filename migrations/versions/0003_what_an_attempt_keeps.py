"""Jobs, the parts of a price, what routing saved, and the service tier."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NEW = {
    "job_id": sa.Text(),
    "priced_parts": sa.Text(),
    "baseline_model": sa.Text(),
    "baseline_cost": _BIG,
    "route_fee": _BIG,
    "savings": _BIG,
    "service_tier": sa.Text(),
}
_ROUTED = sa.text(
    "baseline_model IS NOT NULL OR baseline_cost IS NOT NULL OR route_fee IS NOT NULL OR savings IS NOT NULL"
)


def upgrade() -> None:
    for name, kind in _NEW.items():
        op.add_column("pixelmeter_attempts", sa.Column(name, kind))
    op.create_index(
        "pixelmeter_attempts_routed",
        "pixelmeter_attempts",
        ["started_at"],
        sqlite_where=_ROUTED,
        postgresql_where=_ROUTED,
    )


def downgrade() -> None:
    op.drop_index("pixelmeter_attempts_routed", "pixelmeter_attempts")
    for name in _NEW:
        op.drop_column("pixelmeter_attempts", name)
